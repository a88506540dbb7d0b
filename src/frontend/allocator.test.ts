/**
 * Ranges that are given out never overlap, and come back whole.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { RangeAllocator } from './allocator.ts';

describe('RangeAllocator', () => {
  it('aligns, fills holes from the front, and says -1 when nothing fits', () => {
    const ranges = new RangeAllocator(100);
    assert.equal(ranges.allocate(10, 1), 0);
    assert.equal(ranges.allocate(10, 16), 16);
    assert.equal(ranges.allocate(6, 1), 10, 'the gap that the alignment left');
    assert.equal(ranges.allocate(75, 1), -1);
    assert.equal(ranges.allocate(74, 1), 26);
    assert.equal(ranges.allocate(1, 1), -1);
    assert.equal(ranges.takenBytes, 100);
    ranges.release(16);
    assert.equal(ranges.largestHoleBytes, 10);
    ranges.release(10);
    assert.equal(ranges.largestHoleBytes, 16, 'neighbours are one hole');
  });

  it('a range is released once', () => {
    const ranges = new RangeAllocator(8);
    ranges.allocate(8, 8);
    ranges.release(0);
    assert.throws(() => ranges.release(0), /released once/);
  });

  it('ranges do not overlap, are aligned, and in the end all of it is free again', () => {
    const request = fc.record({
      bytes: fc.integer({ min: 1, max: 300 }),
      alignLog2: fc.nat(7),
      release: fc.option(fc.nat(), { nil: null }),
    });
    fc.assert(
      fc.property(fc.array(request, { maxLength: 60 }), (requests) => {
        const ranges = new RangeAllocator(2048);
        const taken: { offset: number; bytes: number }[] = [];
        for (const { bytes, alignLog2, release } of requests) {
          if (release !== null && taken.length > 0) {
            ranges.release(taken.splice(release % taken.length, 1)[0]!.offset);
          }
          const offset = ranges.allocate(bytes, 2 ** alignLog2);
          if (offset < 0) continue;
          assert.equal(offset % 2 ** alignLog2, 0);
          assert.ok(offset + bytes <= 2048);
          for (const other of taken) {
            assert.ok(offset + bytes <= other.offset || other.offset + other.bytes <= offset);
          }
          taken.push({ offset, bytes });
        }
        assert.equal(
          ranges.takenBytes,
          taken.reduce((sum, each) => sum + each.bytes, 0),
        );
        for (const { offset } of taken) ranges.release(offset);
        assert.equal(ranges.largestHoleBytes, 2048);
      }),
    );
  });
});
