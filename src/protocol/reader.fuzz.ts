/**
 * The frame reader against any stream that is cut anywhere: every message comes out once, whole, in
 * order and with the fds of its first byte; and every fd is either handed over or closed, once.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { VhostUserError } from '../util/index.ts';
import { FrameReader, HEADER, encodeHeader } from './index.ts';
import type { Channel, Frame } from './index.ts';

interface Message {
  readonly request: number;
  readonly payload: Uint8Array;
  /** How many fds come with the first byte. */
  readonly fdCount: number;
  /** The bytes of each piece, and how many fds a peer without manners sends along with it. */
  readonly cuts: readonly { readonly lengthBytes: number; readonly strayFds: number }[];
}

const message: fc.Arbitrary<Message> = fc.record({
  request: fc.integer({ min: 0, max: 0xffffffff }),
  payload: fc.uint8Array({ maxLength: 300 }),
  fdCount: fc.nat(9),
  cuts: fc.array(
    fc.record({
      lengthBytes: fc.integer({ min: 1, max: 40 }),
      strayFds: fc.oneof({ weight: 5, arbitrary: fc.constant(0) }, fc.nat(3)),
    }),
    { minLength: 1, maxLength: 12 },
  ),
});

/** Fds are numbers that are given out once, and tell where they have gone. */
class Fds {
  readonly #open = new Set<number>();
  #next = 3;

  make(count: number): number[] {
    return Array.from({ length: count }, () => {
      this.#open.add(this.#next);
      return this.#next++;
    });
  }

  close(fd: number): void {
    assert.ok(this.#open.delete(fd), 'an fd is closed once, and none that is not ours');
  }

  get openCount(): number {
    return this.#open.size;
  }
}

function bytesOf(channel: Channel, { request, payload }: Message): Uint8Array {
  const bytes = new Uint8Array(HEADER.SIZE + payload.length);
  const flags = channel === 'gpu' ? 0 : 1;
  encodeHeader({ request, flags, sizeBytes: payload.length }, bytes);
  bytes.set(payload, HEADER.SIZE);
  return bytes;
}

/** Sends one message in its pieces; returns the frame, and how many stray fds went along. */
function feed(
  reader: FrameReader,
  fds: Fds,
  bytes: Uint8Array,
  { cuts, fdCount }: Message,
): { frame: Frame; own: number[]; stray: number } {
  const own = fds.make(fdCount);
  let stray = 0;
  for (let at = 0, turn = 0; ; turn++) {
    const { lengthBytes, strayFds } = cuts[turn % cuts.length]!;
    const piece = bytes.subarray(at, at + Math.min(lengthBytes, reader.wanted));
    assert.ok(piece.length > 0, 'the message is not over before its bytes are');
    assert.equal(reader.partial, at > 0);
    if (at > 0) stray += strayFds;
    const frame = reader.push(piece, at === 0 ? own : fds.make(strayFds));
    at += piece.length;
    if (frame === null) continue;
    assert.equal(at, bytes.length, 'a frame comes with its last byte');
    return { frame, own, stray };
  }
}

describe('frame reader', () => {
  it('every message comes out once, whole, in order, with its own fds', () => {
    const channel = fc.constantFrom<Channel>('frontend', 'backend', 'gpu');
    fc.assert(
      fc.property(channel, fc.array(message, { maxLength: 20 }), (which, messages) => {
        const fds = new Fds();
        const reader = new FrameReader(which, (fd) => fds.close(fd));
        for (const each of messages) {
          const { frame, own, stray } = feed(reader, fds, bytesOf(which, each), each);
          assert.equal(frame.request, each.request);
          assert.deepEqual(frame.payload, each.payload);
          assert.deepEqual(frame.fds, own);
          assert.equal(reader.takeStrayFds(), stray);
          for (const fd of frame.fds) fds.close(fd);
          assert.equal(fds.openCount, 0, 'nothing leaks');
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('any bytes at all end in frames or in an error of ours, and no fd leaks', () => {
    const piece = fc.record({
      bytes: fc.uint8Array({ minLength: 1, maxLength: 80 }),
      fds: fc.nat(3),
    });
    // Mostly plausible headers: plain noise would hardly ever get beyond the version.
    const plausible = fc
      .tuple(fc.nat(50), fc.constantFrom(1, 5, 9, 2), fc.nat(60), fc.nat(3))
      .map(([request, flags, sizeBytes, count]) => {
        const bytes = new Uint8Array(HEADER.SIZE);
        encodeHeader({ request, flags, sizeBytes }, bytes);
        return { bytes, fds: count };
      });
    const stream = fc.array(fc.oneof(piece, { weight: 3, arbitrary: plausible }), {
      maxLength: 30,
    });
    fc.assert(
      fc.property(stream, (pieces) => {
        const fds = new Fds();
        const reader = new FrameReader('frontend', (fd) => fds.close(fd));
        const take = (bytes: Uint8Array, lent: number[]): void => {
          const frame = reader.push(bytes, lent);
          assert.ok(reader.wanted > 0);
          for (const fd of frame?.fds ?? []) fds.close(fd);
        };
        try {
          for (const each of pieces) {
            let lent = fds.make(each.fds);
            for (let at = 0; at < each.bytes.length; lent = []) {
              const end = Math.min(each.bytes.length, at + reader.wanted);
              take(each.bytes.subarray(at, end), lent);
              at = end;
            }
          }
        } catch (error) {
          if (!(error instanceof VhostUserError)) throw error;
          assert.match(error.code, /^ERR_VHU_(VERSION|MESSAGE_SIZE)$/);
        }
        reader.destroy();
        assert.equal(fds.openCount, 0, 'nothing leaks');
      }),
      { numRuns: 3000 },
    );
  });
});
