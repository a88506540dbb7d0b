/**
 * Frames out of a stream, however it is cut.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FrameReader, HEADER, encodeMessage } from './index.ts';
import type { Frame } from './index.ts';

/** A reader with a list of what it has closed. Fds are mere numbers here. */
class Harness {
  readonly closed: number[] = [];
  readonly reader: FrameReader = new FrameReader('frontend', (fd) => this.closed.push(fd));
  readonly frames: Frame[] = [];

  /** Pushes bytes as a receiver does, never more than is wanted; the fds come with the first. */
  feed(bytes: Uint8Array, fds: readonly number[] = [], pieceBytes: number = Infinity): void {
    let lent = fds;
    for (let at = 0; at < bytes.length;) {
      const { wanted } = this.reader;
      assert.ok(wanted > 0, 'something is always wanted');
      const piece = bytes.subarray(at, at + Math.min(wanted, pieceBytes));
      const frame = this.reader.push(piece, lent);
      lent = [];
      at += piece.length;
      if (frame !== null) this.frames.push(frame);
    }
  }
}

const setNum = encodeMessage('frontend', 8, 'vringState', { index: 1, num: 256 });
const getFeatures = encodeMessage('frontend', 1, 'none', {});
const setTable = encodeMessage('frontend', 5, 'memoryTable', {
  regions: [1, 2, 3].map((gpa) => ({ gpa, sizeBytes: 4096, uva: gpa, mmapOffset: 0 })),
});

function expectFrame(frame: Frame | undefined, bytes: Uint8Array, fds: number[]): void {
  assert.ok(frame);
  assert.equal(frame.request, bytes[0]);
  assert.deepEqual(frame.payload, bytes.slice(HEADER.SIZE));
  assert.deepEqual(frame.fds, fds);
}

describe('frame reader', () => {
  it('takes a message that is cut at any byte, with its fds', () => {
    for (let cut = 1; cut < setTable.length; cut++) {
      const harness = new Harness();
      harness.feed(setTable.subarray(0, cut), [10, 11, 12]);
      assert.equal(harness.frames.length, 0);
      assert.ok(harness.reader.partial);
      harness.feed(setTable.subarray(cut));
      expectFrame(harness.frames[0], setTable, [10, 11, 12]);
      assert.ok(!harness.reader.partial);
      assert.deepEqual(harness.closed, []);
    }
  });

  it('takes messages byte by byte', () => {
    const harness = new Harness();
    harness.feed(setTable, [10, 11, 12], 1);
    harness.feed(getFeatures, [], 1);
    harness.feed(setNum, [13], 1);
    assert.equal(harness.frames.length, 3);
    expectFrame(harness.frames[0], setTable, [10, 11, 12]);
    expectFrame(harness.frames[1], getFeatures, []);
    expectFrame(harness.frames[2], setNum, [13]);
  });

  it('never wants more than the message has left, so that coalesced messages stay apart', () => {
    const harness = new Harness();
    assert.equal(harness.reader.wanted, HEADER.SIZE);
    harness.feed(setNum.subarray(0, 5));
    assert.equal(harness.reader.wanted, HEADER.SIZE - 5);
    harness.feed(setNum.subarray(5, HEADER.SIZE));
    assert.equal(harness.reader.wanted, 8);
    harness.feed(setNum.subarray(HEADER.SIZE, HEADER.SIZE + 3));
    assert.equal(harness.reader.wanted, 5);
    const stream = Buffer.concat([setNum.subarray(HEADER.SIZE + 3), setTable, getFeatures, setNum]);
    harness.feed(stream);
    assert.deepEqual(
      harness.frames.map(({ request }) => request),
      [8, 5, 1, 8],
    );
    assert.equal(harness.reader.wanted, HEADER.SIZE);
  });

  it('gives a message as soon as its header is there when it has no payload', () => {
    const harness = new Harness();
    const frame = harness.reader.push(getFeatures, [10, 11]);
    expectFrame(frame ?? undefined, getFeatures, [10, 11]);
  });

  it('keeps the number of fds as it came, right or wrong: the codec judges it', () => {
    const harness = new Harness();
    const fds = Array.from({ length: 253 }, (_, i) => i + 100);
    harness.feed(getFeatures, fds);
    expectFrame(harness.frames[0], getFeatures, fds);
    assert.deepEqual(harness.closed, []);
    assert.equal(harness.reader.takeStrayFds(), 0);
  });

  it('closes fds that come with a later byte than the first, and counts them', () => {
    for (let cut = 1; cut < setNum.length; cut++) {
      const harness = new Harness();
      harness.feed(setNum.subarray(0, cut), [10]);
      harness.feed(setNum.subarray(cut), [20, 21]);
      expectFrame(harness.frames[0], setNum, [10]);
      assert.deepEqual(harness.closed, [20, 21]);
      assert.equal(harness.reader.takeStrayFds(), 2);
      assert.equal(harness.reader.takeStrayFds(), 0);
    }
  });

  it('gives each message its own list of fds and its own payload', () => {
    const harness = new Harness();
    harness.feed(setNum, [10]);
    const [first] = harness.frames;
    assert.ok(first);
    first.fds.length = 0;
    first.payload.fill(0xff);
    harness.feed(setNum, [11]);
    expectFrame(harness.frames[1], setNum, [11]);
  });

  it('forgets a partial message and closes its fds when it is destroyed', () => {
    for (const cut of [1, HEADER.SIZE - 1, HEADER.SIZE, setTable.length - 1]) {
      const harness = new Harness();
      harness.feed(setTable.subarray(0, cut), [10, 11, 12]);
      harness.reader.destroy();
      assert.deepEqual(harness.closed, [10, 11, 12]);
      assert.ok(!harness.reader.partial);
      harness.reader.destroy();
      assert.equal(harness.closed.length, 3, 'once');
      harness.feed(setNum, [13]);
      expectFrame(harness.frames[0], setNum, [13]);
    }
  });

  it('throws for a header that breaks the framing, and closes its fds', () => {
    const wrongVersion = setNum.slice();
    wrongVersion[4] = 2;
    const tooLong = setNum.slice();
    tooLong.fill(0xff, 8, 12);
    for (const [bytes, code] of [
      [wrongVersion, 'ERR_VHU_VERSION'],
      [tooLong, 'ERR_VHU_MESSAGE_SIZE'],
    ] as const) {
      const harness = new Harness();
      harness.feed(bytes.subarray(0, 6), [10]);
      assert.throws(() => harness.reader.push(bytes.subarray(6, HEADER.SIZE), [11]), { code });
      assert.deepEqual(harness.closed.toSorted(), [10, 11]);
    }
  });

  it('takes a payload of the largest size', () => {
    const harness = new Harness();
    const bytes = new Uint8Array(12 + 16384 - 12);
    const message = encodeMessage('frontend', 25, 'config', {
      offset: 0,
      flags: 0,
      bytes: bytes.subarray(12),
    });
    harness.feed(message, [], 1000);
    expectFrame(harness.frames[0], message, []);
  });
});
