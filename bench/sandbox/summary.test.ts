/**
 * What the comparison of a server with itself says.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Side } from './estimate.ts';
import { keepsBar, summaryLines, verdictCounts } from './summary.ts';
import type { SandboxResult } from './summary.ts';

/** A line with so many rounds, by their ratios. */
function result(name: string, ratios: readonly number[]): SandboxResult {
  const rounds = ratios.map((ratio, i) => {
    const first: Side = i % 2 === 0 ? 'auto' : 'none';
    return { first, speeds: { auto: [ratio], none: [1] } };
  });
  return { device: 'blk', name, rounds, perSecond: { auto: [100], none: [101] }, othersCpus: 0 };
}

const good = result('read', [0.99, 0.991, 0.99, 0.991]);
const bad = result('write', [0.97, 0.971, 0.97, 0.971]);
const unsure = result('flush', [0.9, 0.9, 1.1, 1.1]);

describe('the comparison of a server in its sandbox with one in none', () => {
  it('counts the verdicts', () => {
    assert.deepEqual(verdictCounts([good, bad, unsure, good]), {
      'within 2 %': 2,
      'not told apart': 1,
      'falls by more': 1,
    });
  });

  it('keeps the bar when no line is known to lose more than two parts of a hundred', () => {
    assert.equal(keepsBar([good, unsure]), true);
    assert.equal(keepsBar([good, bad]), false);
    assert.equal(keepsBar([]), false);
  });

  it('prints each ratio with its interval and verdict, and what a start costs', () => {
    const starts = [{ device: 'blk', startMs: { auto: [300, 310, 320], none: [150, 155, 160] } }];
    const text = summaryLines([good, bad, unsure], starts, false).join('\n');
    assert.match(text, /^blk read +100 +101 +0\.990 +0\.99\d to 0\.99\d +within 2 % +0\.00$/m);
    assert.match(text, /^blk write .* falls by more /m);
    assert.match(
      text,
      /^blk: listens after 310 ms, and 155 ms without the sandbox \(2\.00 times\)$/m,
    );
    assert.match(text, /^Of 3 lines 1 are within 2 %, 1 fall by more, 1 are not told apart/m);
    assert.match(text, /^Median ratio: 0\.990; least: 0\.970$/m);
  });
});
