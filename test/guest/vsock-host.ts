/**
 * The host's end of the tests of vsock: the other half of `vsock-guest.c`, which says what a
 * connection begins with. By the library's own interface for programs of the host.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Server } from 'node:net';
import type { Duplex } from 'node:stream';
import { VsockHost } from '../../src/vsock/index.ts';

const BLOCK_BYTES = 65_536;
const WORD_BYTES = 4;
const LINE_BYTES_MAX = 64;

/** Words from the one that byte `at` is in, each of which tells its own place. */
export function fillPattern(words: Uint32Array, at: number): void {
  const first = Math.floor(at / WORD_BYTES);
  for (let i = 0; i < words.length; i++) {
    words[i] = Math.imul(first + i, 2_654_435_761) ^ 0x5bd1e995;
  }
}

/** Checks a stream of the pattern, chunk by chunk. */
export class PatternCheck {
  /** Bytes that were right. */
  bytes = 0;
  readonly #words = new Uint32Array(BLOCK_BYTES / WORD_BYTES + 2);
  readonly #expected = Buffer.from(this.#words.buffer);

  /** @throws AssertionError when a byte is not what belongs there */
  take(chunk: Buffer): void {
    for (let done = 0; done < chunk.length; done += BLOCK_BYTES) {
      const part = chunk.subarray(done, done + BLOCK_BYTES);
      fillPattern(this.#words, this.bytes);
      const skip = this.bytes % WORD_BYTES;
      const right = part.equals(this.#expected.subarray(skip, skip + part.length));
      assert.ok(right, `wrong data in the ${part.length} bytes at ${this.bytes}`);
      this.bytes += part.length;
    }
  }
}

/** Serves a port of the host to the guest; errors go to `onError`, resets among them. */
export async function servePort(
  udsPath: string,
  port: number,
  onError: (error: Error) => void,
): Promise<Server> {
  return new VsockHost(udsPath).listen(
    port,
    (socket) => {
      serveOne(socket).catch(onError);
    },
    { allowHalfOpen: true },
  );
}

/** The other end of one connection. */
export async function serveOne(socket: Duplex): Promise<void> {
  const reader = new LineReader(socket);
  const line = await reader.line();
  const source = /^(source|pour) (\d+) (\d+)$/.exec(line);
  const drain = /^drain (\d+)$/.exec(line);
  if (line === 'echo') {
    for await (const chunk of reader.rest()) await write(socket, chunk);
    socket.end();
  } else if (line === 'sink') {
    const check = new PatternCheck();
    for await (const chunk of reader.rest()) check.take(chunk);
    socket.end(`bytes ${check.bytes}\n`);
  } else if (drain !== null) {
    let bytes = 0;
    for await (const chunk of reader.rest()) {
      bytes += chunk.length;
      if (bytes >= Number(drain[1])) break;
    }
    socket.end(`bytes ${bytes}\n`).resume();
  } else if (source !== null) {
    const [bytes, block] = [Number(source[2]), Number(source[3])];
    if (source[1] === 'source') await writePattern(socket, bytes, block);
    else await writeAny(socket, bytes, block);
    if (source[1] === 'source') socket.end();
    assert.equal(await reader.line(), `got ${bytes}`);
    for await (const chunk of reader.rest()) assert.fail(`${chunk.length} bytes too many`);
  } else if (line === '') {
    socket.end(); // of a benchmark: nothing but a connection
  } else {
    throw new Error(`the guest asked for '${line}'`);
  }
}

/** Sends the pattern to the guest, ends this half, and hears what arrived. */
export async function sendTo(udsPath: string, port: number, bytes: number): Promise<void> {
  await sendOn(await new VsockHost(udsPath).connect(port, { allowHalfOpen: true }), bytes);
}

/** The same on a connection that there is. */
export async function sendOn(socket: Duplex, bytes: number): Promise<void> {
  socket.write('sink\n');
  await writePattern(socket, bytes, BLOCK_BYTES);
  socket.end();
  const reader = new LineReader(socket);
  assert.equal(await reader.line(), `bytes ${bytes}`);
  for await (const chunk of reader.rest()) assert.fail(`${chunk.length} bytes too many`);
}

/** Has the guest send the pattern and end its half, and then says what arrived. */
export async function receiveFrom(udsPath: string, port: number, bytes: number): Promise<void> {
  await receiveOn(await new VsockHost(udsPath).connect(port, { allowHalfOpen: true }), bytes);
}

/** The same on a connection that there is. */
export async function receiveOn(socket: Duplex, bytes: number): Promise<void> {
  socket.write(`source ${bytes} ${BLOCK_BYTES}\n`);
  const check = new PatternCheck();
  for await (const chunk of new LineReader(socket).rest()) check.take(chunk);
  assert.equal(check.bytes, bytes);
  socket.end(`got ${bytes}\n`);
}

/** A connection on which a word goes there and back, again and again. */
export async function echoWords(udsPath: string, port: number, words: number): Promise<void> {
  await echoOn(await new VsockHost(udsPath).connect(port, { allowHalfOpen: true }), words);
}

/** The same on a connection that there is. */
export async function echoOn(socket: Duplex, words: number): Promise<void> {
  socket.write('echo\n');
  const word = Buffer.alloc(WORD_BYTES);
  const chunks = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer, undefined>;
  for (let i = 0; i < words; i++) {
    word.writeUInt32LE(i * 7 + words);
    socket.write(word);
    let back = Buffer.alloc(0);
    while (back.length < WORD_BYTES) {
      const { value, done } = await chunks.next();
      assert.ok(done !== true, 'the connection ended early');
      back = Buffer.concat([back, value]);
    }
    assert.deepEqual(back, word);
  }
  socket.end();
  await chunks.return?.();
}

async function writePattern(socket: Duplex, bytes: number, blockBytes: number): Promise<void> {
  for (let at = 0; at < bytes; at += blockBytes) {
    const words = new Uint32Array(blockBytes / WORD_BYTES);
    fillPattern(words, at);
    await write(socket, Buffer.from(words.buffer, 0, Math.min(blockBytes, bytes - at)));
  }
}

async function writeAny(socket: Duplex, bytes: number, blockBytes: number): Promise<void> {
  const block = Buffer.alloc(blockBytes);
  for (let at = 0; at < bytes; at += blockBytes) await write(socket, block);
}

async function write(socket: Duplex, chunk: Buffer): Promise<void> {
  if (!socket.write(chunk)) await once(socket, 'drain');
}

/** Lines first, and then all the rest. */
class LineReader {
  readonly #chunks: AsyncIterator<Buffer, undefined>;
  #held: Buffer = Buffer.alloc(0);

  constructor(socket: Duplex) {
    // The other half of the socket goes on when this one has ended.
    const chunks = socket.iterator({ destroyOnReturn: false });
    this.#chunks = chunks[Symbol.asyncIterator]() as AsyncIterator<Buffer, undefined>;
  }

  /** The next line without its line feed, or what is left before the end. */
  async line(): Promise<string> {
    for (;;) {
      const end = this.#held.indexOf(10);
      if (end >= 0) {
        const line = this.#held.toString('latin1', 0, end);
        this.#held = this.#held.subarray(end + 1);
        return line;
      }
      const { value, done } = await this.#chunks.next();
      assert.ok(this.#held.length <= LINE_BYTES_MAX, 'a line is short');
      if (done === true) return this.#held.toString('latin1');
      this.#held = Buffer.concat([this.#held, value]);
    }
  }

  /** What comes after the lines, to the end. */
  async *rest(): AsyncGenerator<Buffer, void, void> {
    if (this.#held.length > 0) yield this.#held;
    for (;;) {
      const { value, done } = await this.#chunks.next();
      if (done === true) return;
      yield value;
    }
  }
}
