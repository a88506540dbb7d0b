/**
 * Random requests of any shape, to a device with and without a limit, against what must hold:
 * each comes back once and in its order, with no more bytes than it has room for and the limit
 * allows, and the bytes are those of the file, one after the other.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { startBackend } from '../../backend/index.ts';
import { MockFrontend, expectNoLeak, holdings } from '../../testing/index.ts';
import type { MockCompletion } from '../../testing/index.ts';
import { openRng } from './index.ts';

const FILE_BYTES = 4 * 1024 * 1024;
const ANSWER_BYTES_MAX = 65_536;

/** One request: its buffers to be read and to be written, in bytes. */
interface Shape {
  readonly readable: readonly number[];
  readonly writable: readonly number[];
}

const lengths: fc.Arbitrary<number[]> = fc.array(
  fc.oneof(fc.nat(70), fc.nat(5000), fc.constantFrom(0, 1, 64, 4096, 40_000)),
  { maxLength: 5 },
);
const shape: fc.Arbitrary<Shape> = fc
  .record({ readable: fc.oneof(fc.constant([]), lengths), writable: lengths })
  .filter(({ readable, writable }) => readable.length + writable.length > 0);
const batches: fc.Arbitrary<Shape[][]> = fc.array(fc.array(shape, { minLength: 1, maxLength: 6 }), {
  maxLength: 8,
});

/** Each byte is told from its neighbours, and from those 251 bytes further on. */
function content(): Uint8Array {
  return Uint8Array.from({ length: FILE_BYTES }, (_, i) => (i % 251) ^ ((i / 251) & 0xff));
}

const sum = (list: readonly number[]): number => list.reduce((total, each) => total + each, 0);

/** Sends all batches, and returns what came back, in the order of the requests. */
async function converse(
  path: string,
  all: readonly (readonly Shape[])[],
  indirectMax: number,
): Promise<MockCompletion[]> {
  const frontend = await MockFrontend.connect(path);
  const guest = await frontend.bringUp({
    ...{ indirectMax, queueSize: 64, memoryBytes: 4 * 1024 * 1024 },
  });
  const queue = guest.queue(0);
  const done: MockCompletion[] = [];
  try {
    for (const batch of all) {
      const tokens = batch.map(({ readable, writable }) =>
        queue.driver.submit(
          readable.map((length) => new Uint8Array(length).fill(0x5a)),
          writable,
        ),
      );
      queue.publish();
      const part = await queue.completions(batch.length);
      assert.deepEqual(
        part.map(({ token }) => token),
        tokens,
      );
      done.push(...part);
    }
  } finally {
    frontend.close();
    guest.close();
  }
  return done;
}

describe('requests for random bytes, of any shape', () => {
  const limits = [{}, { maxBytes: 3000, periodMs: 1 }, { maxBytes: 100_000, periodMs: 2 }];
  for (const [i, limit] of limits.entries()) {
    it(`come back in order with the next bytes of the file, limit ${i}`, async () => {
      const before = holdings();
      const folder = mkdtempSync(join(tmpdir(), 'vhu-rng-fuzz-'));
      const [file, path] = [join(folder, 'bytes'), join(folder, 's')];
      const bytes = content();
      writeFileSync(file, bytes);
      const run = async (all: Shape[][], indirectMax: number): Promise<void> => {
        const backend = await startBackend(openRng({ file, ...limit }), { kind: 'listen', path });
        try {
          const done = await converse(path, all, indirectMax);
          let at = 0;
          for (const [j, { writable }] of all.flat().entries()) {
            const { usedBytes = 0, written = new Uint8Array(0) } = done[j] ?? {};
            const room = Math.min(sum(writable), ANSWER_BYTES_MAX, limit.maxBytes ?? Infinity);
            assert.ok(usedBytes <= room, `${usedBytes} bytes, and there is room for ${room}`);
            assert.ok(usedBytes > 0 || room === 0, 'one byte at least');
            const expected = bytes.subarray(at, at + usedBytes);
            assert.ok(Buffer.from(written.subarray(0, usedBytes)).equals(expected));
            at += usedBytes;
          }
        } finally {
          await backend.close();
        }
      };
      await fc.assert(fc.asyncProperty(batches, fc.constantFrom(0, 16), run), {
        numRuns: 40,
      });
      rmSync(folder, { recursive: true });
      await expectNoLeak(before);
    });
  }
});
