/**
 * Messages over a real socket.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  closeFd,
  closeFds,
  openFdCount,
  receiveWithFds,
  sendWithFds,
  socketPair,
  WRITABLE,
  watchFd,
} from '../sys/index.ts';
import { FrameReader, SocketChannel, encodeMessage } from './index.ts';
import type { Channel, Frame } from './index.ts';
import { VhostUserError } from '../util/index.ts';

const END_MS = 30_000;

const setNum = (index: number): Uint8Array =>
  encodeMessage('frontend', 8, 'vringState', { index, num: 256 });
const indexOf = (frame: Frame): number => frame.payload[0] ?? -1;

/** A channel on one end of a pair, and what it has told; the other end is driven by hand. */
class Pair {
  readonly peer: number;
  readonly channel: SocketChannel;
  readonly frames: Frame[] = [];
  /** What the next frames' handlers return. */
  work: () => Promise<void> | undefined = () => undefined;
  ends: (VhostUserError | null)[] = [];
  stray = 0;
  #peerOpen = true;

  constructor(kind: Channel = 'frontend') {
    const [own, peer] = socketPair();
    this.peer = peer;
    this.channel = new SocketChannel(own, kind, {
      frame: (frame) => {
        this.frames.push(frame);
        return this.work();
      },
      strayFds: (count) => (this.stray += count),
      end: (error) => this.ends.push(error),
    });
  }

  /** Sends from the peer's side; all of it has to fit. */
  send(bytes: Uint8Array, fds: readonly number[] = []): void {
    assert.equal(sendWithFds(this.peer, bytes, fds), bytes.length);
  }

  /** Reads all that is there on the peer's side. */
  drain(limitBytes: number = Infinity): Buffer {
    const chunk = new Uint8Array(65536);
    const parts: Buffer[] = [];
    let total = 0;
    while (total < limitBytes) {
      const received = { fds: [], truncated: false };
      const count = receiveWithFds(this.peer, chunk, received);
      closeFds(received.fds);
      if (count <= 0) break;
      parts.push(Buffer.from(chunk.subarray(0, count)));
      total += count;
    }
    return Buffer.concat(parts);
  }

  closePeer(): void {
    if (this.#peerOpen) closeFd(this.peer);
    this.#peerOpen = false;
  }

  close(): void {
    for (const { fds } of this.frames) closeFds(fds);
    this.channel.close();
    this.closePeer();
  }
}

async function until(what: string, condition: () => boolean): Promise<void> {
  const endMs = performance.now() + END_MS;
  while (!condition()) {
    assert.ok(performance.now() < endMs, `${what} within ${String(END_MS)} ms`);
    await sleep(1);
  }
}

const open: Pair[] = [];
function newPair(kind?: Channel): Pair {
  const pair = new Pair(kind);
  open.push(pair);
  return pair;
}

afterEach(() => {
  for (const pair of open.splice(0)) pair.close();
});

describe('socket channel: receiving', () => {
  it('gives whole messages, whether they come in pieces or together', async () => {
    const pair = newPair();
    for (const byte of setNum(1)) {
      pair.send(Uint8Array.of(byte));
      await sleep(1);
    }
    pair.send(Buffer.concat([setNum(2), setNum(3), setNum(4).subarray(0, 13)]));
    await until('three messages', () => pair.frames.length === 3);
    pair.send(setNum(4).subarray(13));
    await until('the fourth message', () => pair.frames.length === 4);
    assert.deepEqual(pair.frames.map(indexOf), [1, 2, 3, 4]);
    assert.deepEqual(pair.ends, []);
  });

  it('hands over the fds of each message with that message', async () => {
    const spare = openSync('/dev/null', 'r');
    const before = openFdCount();
    const pair = newPair();
    const kick = (index: bigint): Uint8Array =>
      encodeMessage('frontend', 12, 'vringFd', { value: index });
    pair.send(kick(0n), [spare]);
    pair.send(setNum(1));
    pair.send(kick(1n), [spare, spare]);
    await until('three messages', () => pair.frames.length === 3);
    assert.deepEqual(
      pair.frames.map(({ fds }) => fds.length),
      [1, 0, 2],
    );
    pair.close();
    await until('no fd more than before', () => openFdCount() <= before);
    closeSync(spare);
  });

  it('closes fds that come in the middle of a message, and tells', async () => {
    const spare = openSync('/dev/null', 'r');
    const pair = newPair();
    pair.send(setNum(1).subarray(0, 3));
    await sleep(5);
    const before = openFdCount();
    pair.send(setNum(1).subarray(3), [spare]);
    await until('the message', () => pair.frames.length === 1);
    assert.equal(pair.stray, 1);
    assert.deepEqual(pair.frames[0]?.fds, []);
    assert.equal(openFdCount(), before);
    closeSync(spare);
  });

  it('reads nothing while a handler is at work, and goes on afterwards', async () => {
    const pair = newPair();
    const releases: (() => void)[] = [];
    pair.work = () => new Promise<void>((resolve) => releases.push(resolve));
    pair.send(Buffer.concat([setNum(1), setNum(2), setNum(3)]));
    for (const count of [1, 2, 3]) {
      await until('one more message', () => pair.frames.length === count);
      await sleep(10);
      assert.equal(pair.frames.length, count, 'one after the other');
      releases.shift()?.();
    }
  });

  it('tells of an orderly end once all messages are carried out', async () => {
    const pair = newPair();
    let release = (): void => undefined;
    pair.work = () => new Promise<void>((resolve) => (release = resolve));
    pair.send(Buffer.concat([setNum(1), setNum(2)]));
    pair.closePeer();
    await until('the first message', () => pair.frames.length === 1);
    await sleep(10);
    assert.deepEqual(pair.ends, [], 'a handler is at work');
    pair.work = () => undefined;
    release();
    await until('the end', () => pair.ends.length === 1);
    assert.equal(pair.frames.length, 2);
    assert.deepEqual(pair.ends, [null]);
  });

  it('tells when the peer goes away in the middle of a message, and closes its fds', async () => {
    for (const cut of [1, 11, 12, 19]) {
      const spare = openSync('/dev/null', 'r');
      const before = openFdCount();
      const pair = newPair();
      pair.send(setNum(1).subarray(0, cut), [spare]);
      pair.closePeer();
      await until('the end', () => pair.ends.length === 1);
      assert.equal(pair.ends[0]?.code, 'ERR_VHU_CUT_OFF');
      assert.equal(pair.frames.length, 0);
      await until('no fd more than before', () => openFdCount() <= before);
      closeSync(spare);
    }
  });

  it('ends for a header that breaks the framing, and reads no further', async () => {
    const pair = newPair();
    const wrong = setNum(1);
    wrong[4] = 3;
    pair.send(Buffer.concat([wrong, setNum(2)]));
    await until('the end', () => pair.ends.length === 1);
    assert.equal(pair.ends[0]?.code, 'ERR_VHU_VERSION');
    await sleep(10);
    assert.equal(pair.frames.length, 0);
    assert.equal(pair.ends.length, 1);
  });

  it('leaves time for others while a peer floods it', async () => {
    const pair = newPair();
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    const message = setNum(1);
    let sent = 0;
    const watch = watchFd(pair.peer, WRITABLE, () => {
      while (sent < 20000 && sendWithFds(pair.peer, message, []) === message.length) sent++;
      if (sent === 20000) watch.setEvents(0);
    });
    await until('all messages', () => pair.frames.length === 20000);
    clearInterval(timer);
    watch.close();
    assert.ok(turns > 10, `${String(turns)} turns of a timer`);
  });
});

describe('socket channel: sending', () => {
  it('leaves time for others while a peer floods it with what is carried out at once', async () => {
    const pair = new Pair();
    pair.work = () => Promise.resolve();
    const COUNT = 2000;
    const each = setNum(1);
    const flood = Buffer.concat(Array.from({ length: COUNT }, () => each));
    let sent = 0; // some hosts have room for 8 KiB only
    let before = 0;
    let most = 0;
    while (pair.frames.length < COUNT) {
      if (sent < flood.length)
        sent += Math.max(0, sendWithFds(pair.peer, flood.subarray(sent), []));
      await new Promise(setImmediate);
      most = Math.max(most, pair.frames.length - before);
      before = pair.frames.length;
    }
    assert.ok(most <= 64, `${String(most)} messages in one turn of the event loop`);
    pair.close();
  });

  it('sends messages with their fds, in order', async () => {
    const spare = openSync('/dev/null', 'r');
    const pair = newPair();
    for (let index = 0; index < 10; index++) {
      pair.channel.send(setNum(index), index % 3 === 0 ? [spare] : []);
    }
    const reader = new FrameReader('frontend', closeFd);
    const seen: [number, number][] = [];
    while (seen.length < 10) {
      const bytes = new Uint8Array(reader.wanted);
      const received = { fds: [] as number[], truncated: false };
      const count = receiveWithFds(pair.peer, bytes, received);
      assert.ok(count > 0);
      const frame = reader.push(bytes.subarray(0, count), received.fds);
      if (frame === null) continue;
      seen.push([indexOf(frame), frame.fds.length]);
      closeFds(frame.fds);
    }
    assert.deepEqual(
      seen,
      Array.from({ length: 10 }, (_, i) => [i, i % 3 === 0 ? 1 : 0]),
    );
    closeSync(spare);
    await sleep(0);
  });

  it('keeps what the socket does not take, and sends it once the peer reads', async () => {
    const pair = newPair();
    const spare = openSync('/dev/null', 'r');
    const sizes = Array.from({ length: 60 }, (_, i) => 15000 + i);
    for (const [i, size] of sizes.entries()) {
      const bytes = new Uint8Array(size).fill(i);
      pair.channel.send(bytes, [spare]);
    }
    assert.deepEqual(pair.ends, []);
    const parts: Buffer[] = [];
    const all = sizes.reduce((sum, each) => sum + each, 0);
    await until('all bytes', () => {
      parts.push(pair.drain(50000));
      return parts.reduce((sum, { length }) => sum + length, 0) >= all;
    });
    const expected = Buffer.concat(sizes.map((size, i) => Buffer.alloc(size, i)));
    assert.ok(Buffer.concat(parts).equals(expected));
    closeSync(spare);
  });

  it('still reads while the peer does not', async () => {
    const pair = newPair();
    for (let i = 0; i < 40; i++) pair.channel.send(new Uint8Array(16384));
    pair.send(setNum(7));
    await until('the message', () => pair.frames.length === 1);
    assert.deepEqual(pair.ends, []);
  });

  it('gives a peer up that never reads, and lets go of everything', async () => {
    const pair = newPair();
    const before = openFdCount();
    for (let i = 0; i < 200 && pair.ends.length === 0; i++) {
      pair.channel.send(new Uint8Array(16384));
    }
    assert.equal(pair.ends[0]?.code, 'ERR_VHU_PEER_STUCK');
    await until('the socket is closed', () => openFdCount() < before);
    pair.channel.send(setNum(1)); // is dropped
    assert.equal(pair.ends.length, 1);
  });

  it('tells when the peer is gone, once', async () => {
    const pair = newPair();
    pair.closePeer();
    pair.channel.send(setNum(1));
    pair.channel.send(setNum(2));
    await until('the end', () => pair.ends.length === 1);
    await sleep(10);
    assert.equal(pair.ends.length, 1);
    assert.equal(pair.ends[0]?.code, 'ERR_VHU_SEND');
  });

  it('sends from within a handler', async () => {
    const pair = newPair();
    pair.work = () => {
      pair.channel.send(setNum(pair.frames.length));
      return undefined;
    };
    pair.send(Buffer.concat([setNum(1), setNum(2)]));
    await until('two messages', () => pair.frames.length === 2);
    assert.deepEqual(pair.drain(), Buffer.concat([setNum(1), setNum(2)]));
  });
});

describe('socket channel: closing', () => {
  it('closes the socket, drops what was received in part, and tells nobody', async () => {
    const spare = openSync('/dev/null', 'r');
    const before = openFdCount();
    const pair = new Pair();
    pair.send(setNum(1).subarray(0, 5), [spare]);
    await sleep(10);
    pair.channel.close();
    pair.channel.close();
    const received = { fds: [], truncated: false };
    assert.equal(receiveWithFds(pair.peer, new Uint8Array(1), received), 0);
    pair.closePeer();
    await until('no fd more than before', () => openFdCount() <= before);
    assert.deepEqual(pair.ends, []);
    closeSync(spare);
  });

  it('may be closed by the handler of a message; the rest is not read', async () => {
    const pair = newPair();
    pair.work = () => {
      pair.channel.close();
      return undefined;
    };
    pair.send(Buffer.concat([setNum(1), setNum(2)]));
    await until('the message', () => pair.frames.length === 1);
    await sleep(10);
    assert.equal(pair.frames.length, 1);
    assert.deepEqual(pair.ends, []);
  });

  it('may be closed while a handler is at work', async () => {
    const pair = newPair();
    let release = (): void => undefined;
    pair.work = () => new Promise<void>((resolve) => (release = resolve));
    pair.send(Buffer.concat([setNum(1), setNum(2)]));
    await until('the message', () => pair.frames.length === 1);
    pair.channel.close();
    release();
    await sleep(10);
    assert.equal(pair.frames.length, 1);
    assert.deepEqual(pair.ends, []);
  });

  it('shows its fd, and need not keep a process alive', () => {
    const pair = newPair();
    assert.ok(pair.channel.fd >= 0);
    assert.notEqual(pair.channel.fd, pair.peer);
    pair.channel.unref();
    assert.equal(sendWithFds(pair.channel.fd, new Uint8Array(1), []), 1);
  });
});
