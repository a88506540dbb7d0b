/**
 * The statistics of a benchmark.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { median, pairedRatio, ratio, spread } from './stats.ts';

const values = fc.array(fc.double({ min: 1, max: 1e9, noNaN: true }), { minLength: 1 });

describe('median', () => {
  it('is the middle value, and does not reorder what it was given', () => {
    const given = [9, 1, 100, 2, 3];
    assert.equal(median(given), 3);
    assert.deepEqual(given, [9, 1, 100, 2, 3]);
  });

  it('is the mean of the two in the middle of an even count', () => {
    assert.equal(median([4, 1, 3, 2]), 2.5);
    assert.equal(median([7]), 7);
  });

  it('sorts by value, not by spelling', () => assert.equal(median([10, 9, 100]), 10));

  it('has at most half of the values on either side', () => {
    fc.assert(
      fc.property(values, (given) => {
        const middle = median(given);
        const half = given.length / 2;
        assert.ok(given.filter((value) => value < middle).length <= half);
        assert.ok(given.filter((value) => value > middle).length <= half);
      }),
    );
  });

  it('of nothing is a mistake', () => assert.throws(() => median([]), /one value or more/));
});

describe('spread and ratio', () => {
  it('the spread is the range in parts of the median', () => {
    assert.equal(spread([8, 10, 12]), 0.4);
    assert.equal(spread([5]), 0);
    assert.equal(spread([0, 0]), 0);
  });

  it('the ratio of runs is the median of their pairs', () => {
    assert.equal(pairedRatio([10, 30, 20], [10, 10, 10]), 2);
    // Medians of 20 and 20, on a machine that became twice as fast: each pair says 0.5, 1 or 1.5.
    assert.equal(pairedRatio([20, 20, 60], [40, 20, 40]), 1);
    assert.equal(pairedRatio([10, 20, 30, 40], [5, 40, 20, 20]), 1.75);
  });

  it('runs without a partner, or with one that did nothing, do not count', () => {
    assert.equal(pairedRatio([10, 90, 90], [5]), 2);
    assert.equal(pairedRatio([10, 90], [0, 45]), 2);
    assert.ok(Number.isNaN(pairedRatio([1, 2], [])));
    assert.ok(Number.isNaN(pairedRatio([], [1, 2])));
  });

  it('the ratio of runs does not change when both runs of a pair were k times as fast', () => {
    const pair = fc.tuple(
      fc.double({ min: 1, max: 1e3, noNaN: true }),
      fc.double({ min: 1, max: 1e3, noNaN: true }),
      fc.double({ min: 0.5, max: 2, noNaN: true }),
    );
    fc.assert(
      fc.property(fc.array(pair, { minLength: 1 }), (pairs) => {
        const before = pairedRatio(
          pairs.map(([we]) => we),
          pairs.map(([, they]) => they),
        );
        const after = pairedRatio(
          pairs.map(([we, , k]) => we * k),
          pairs.map(([, they, k]) => they * k),
        );
        assert.ok(Math.abs(after / before - 1) < 1e-9);
      }),
    );
  });

  it('a ratio to nothing is no number', () => {
    assert.equal(ratio(3, 2), 1.5);
    assert.ok(Number.isNaN(ratio(3, 0)));
  });
});
