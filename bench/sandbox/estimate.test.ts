/**
 * Ratios of rounds, with their intervals.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { estimateOf, verdictOf } from './estimate.ts';
import type { Round, Side } from './estimate.ts';

/** A round of three pairs of runs with this ratio. */
function round(first: Side, ratio: number): Round {
  return { first, speeds: { auto: [90 * ratio, 100 * ratio, 500], none: [90, 100, 1] } };
}

function near(value: number, wanted: number): void {
  assert.ok(Math.abs(value - wanted) < 1e-3, `${String(value)}, not ${String(wanted)}`);
}

describe('the ratio of rounds', () => {
  it('is of pairs of runs, so that a run that is held up does not count', () => {
    const { ratio, low, high } = estimateOf([round('auto', 0.9), round('auto', 0.9)]);
    near(ratio, 0.9);
    near(low, 0.9);
    near(high, 0.9);
  });

  it('has nothing of who was started first, however many rounds of a kind there are', () => {
    const rounds = [round('auto', 0.95), round('none', 1.05), round('auto', 0.95)];
    const { ratio, low, high } = estimateOf(rounds);
    near(ratio, Math.sqrt(0.95 * 1.05));
    near(low, ratio);
    near(high, ratio);
  });

  it('is the less sure the more the rounds differ', () => {
    // Logarithms -d, d, -d, d: the variance is 4 d² / 2, the mean has a quarter of it; t is 4.303.
    const d = 0.01;
    const rounds = [-d, d].flatMap((x) => [round('auto', Math.exp(x)), round('none', Math.exp(x))]);
    const { ratio, low, high } = estimateOf(rounds);
    near(ratio, 1);
    near(Math.log(high), 4.303 * d * Math.sqrt(0.5));
    near(Math.log(low), -4.303 * d * Math.sqrt(0.5));
  });

  it('is not sure at all when there is one round of a kind', () => {
    assert.equal(estimateOf([round('auto', 1)]).low, 0);
    assert.equal(estimateOf([round('auto', 1), round('none', 1)]).high, Infinity);
  });

  it('says something about the bar only when the whole interval does', () => {
    assert.equal(verdictOf({ ratio: 1, low: 0.98, high: 1.1 }), 'within 2 %');
    assert.equal(verdictOf({ ratio: 1, low: 0.979, high: 1.1 }), 'not told apart');
    assert.equal(verdictOf({ ratio: 0.97, low: 0.96, high: 0.98 }), 'not told apart');
    assert.equal(verdictOf({ ratio: 0.97, low: 0.96, high: 0.979 }), 'falls by more');
  });
});
