/**
 * The host's side of a guest's console: a program that types at a pseudo terminal, and waits for
 * what is shown.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, constants, openSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import { setTimeout as sleep } from 'node:timers/promises';

const LOOK_MS = 10;
const SHOWN_MAX = 400;

/** See the module. */
export class HostTerminal {
  readonly #stream: ReadStream;
  #pieces: Buffer[] = [];
  #bytes: Buffer = Buffer.alloc(0);

  /** Opens the terminal that a link leads to. */
  constructor(link: string) {
    const fd = openSync(link, constants.O_RDWR | constants.O_NOCTTY);
    this.#stream = new ReadStream(fd);
    closeSync(fd); // libuv has opened the terminal once more
    this.#stream.on('data', (piece: Buffer) => this.#pieces.push(piece));
    this.#stream.on('error', () => undefined); // the server is gone
  }

  /** What was shown and not yet taken by {@link shows}. */
  get shown(): string {
    return this.#all().toString('latin1');
  }

  /** Types; resolves when the terminal has taken it. */
  async type(text: string | Uint8Array): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#stream.write(text, (error) => (error ? reject(error) : resolve()));
    });
  }

  /** Waits until something is shown, takes all up to its end, and returns the match. */
  async shows(pattern: RegExp, limitMs = 60_000): Promise<RegExpExecArray> {
    const endMs = performance.now() + limitMs;
    for (;;) {
      const found = pattern.exec(this.shown);
      if (found !== null) {
        this.#bytes = this.#all().subarray(found.index + found[0].length);
        return found;
      }
      if (performance.now() > endMs) {
        throw new Error(`the console did not show ${pattern}: …${this.shown.slice(-SHOWN_MAX)}`);
      }
      await sleep(LOOK_MS);
    }
  }

  /** Takes exactly so many bytes. */
  async take(count: number, limitMs = 120_000): Promise<Buffer> {
    const endMs = performance.now() + limitMs;
    while (this.#all().length < count) {
      if (performance.now() > endMs) {
        throw new Error(`only ${this.#all().length} of ${count} bytes were shown`);
      }
      await sleep(LOOK_MS);
    }
    const taken = this.#bytes.subarray(0, count);
    this.#bytes = this.#bytes.subarray(count);
    return taken;
  }

  /** Takes all that was shown. */
  forget(): void {
    this.#all();
    this.#bytes = Buffer.alloc(0);
  }

  /** Runs a command of the guest's shell, and returns what it printed. */
  async run(command: string, limitMs = 60_000): Promise<string> {
    // The word is not in what is echoed, which may be so twice, but in what is printed.
    await this.type(`${command}; echo "do""ne:$?"\n`);
    const [text] = await this.shows(/[^]*?done:\d+\r?\n/, limitMs);
    const [, output = '', status = ''] = /^[^]*"do""ne:\$\?"\r?\n([^]*)done:(\d+)/.exec(text) ?? [];
    if (status !== '0') throw new Error(`${command}: exit status ${status}: ${text}`);
    return output.replaceAll('\r', '');
  }

  close(): void {
    this.#stream.destroy();
  }

  #all(): Buffer {
    if (this.#pieces.length > 0) {
      this.#bytes = Buffer.concat([this.#bytes, ...this.#pieces.splice(0)]);
    }
    return this.#bytes;
  }
}

/** Any bytes, so many, into a program that reads from the terminal. */
export async function paste(terminal: HostTerminal, byteCount: number): Promise<void> {
  const bytes = randomBytes(byteCount);
  const sum = createHash('sha256').update(bytes).digest('hex');
  await terminal.type(
    `stty raw -echo; echo "be""gin"; head -c ${byteCount} | sha256sum; stty sane\n`,
  );
  await terminal.shows(/begin\n/);
  await terminal.type(bytes);
  const [, found] = await terminal.shows(/([0-9a-f]{64}) /, 120_000);
  assert.equal(found, sum);
  await terminal.run('true');
}

/** Any bytes, so many, which a program of the guest writes to the terminal. */
export async function show(terminal: HostTerminal, byteCount: number): Promise<void> {
  await terminal.run(`head -c ${byteCount} /dev/urandom >/tmp/data`);
  const sum = await terminal.run('sha256sum </tmp/data');
  await terminal.type('stty raw -echo; echo "be""gin"; cat /tmp/data; stty sane\n');
  await terminal.shows(/begin\n/);
  const bytes = await terminal.take(byteCount);
  assert.equal(createHash('sha256').update(bytes).digest('hex'), sum.slice(0, 64));
  await terminal.run('true');
}

/** Gives the terminal behind a link another size. */
export function setSize(link: string, rows: number, columns: number): void {
  const fd = openSync(link, constants.O_RDWR | constants.O_NOCTTY);
  try {
    const size = ['rows', String(rows), 'cols', String(columns)];
    execFileSync('stty', size, { stdio: [fd, 'pipe', 'pipe'] });
  } finally {
    closeSync(fd);
  }
}
