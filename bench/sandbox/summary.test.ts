/**
 * What the comparison of a server with itself says.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { keepsBar, resultRatio, summaryLines, worstOf } from './summary.ts';
import type { SandboxResult } from './summary.ts';

function result(name: string, auto: number[], none: number[]): SandboxResult {
  return { device: 'blk', name, perSecond: { auto, none }, othersCpus: 0 };
}

const good = result('read', [100, 99, 500, 1, 101], [100, 100, 100, 100, 100]);
const bad = result('write', [97, 97, 97], [100, 99, 101]);

describe('the comparison of a server in its sandbox with one in none', () => {
  it('goes by the medians, so that single runs do not count', () => {
    assert.equal(resultRatio(good), 1);
    assert.equal(resultRatio(bad), 0.97);
  });

  it('finds the line that has lost most', () => {
    assert.equal(worstOf([good, bad]), bad);
    assert.equal(worstOf([bad, good]), bad);
    assert.equal(worstOf([]), null);
  });

  it('keeps the bar when no line loses more than two parts of a hundred', () => {
    assert.equal(keepsBar([good]), true);
    assert.equal(keepsBar([good, result('edge', [98], [100])]), true);
    assert.equal(keepsBar([good, bad]), false);
    assert.equal(keepsBar([]), false);
  });

  it('prints the worst ratio, and what a start costs', () => {
    const starts = [{ device: 'blk', startMs: { auto: [300, 310, 320], none: [150, 155, 160] } }];
    const text = summaryLines([good, bad], starts, false).join('\n');
    assert.match(text, /^blk read +100 +100 +1\.000 /m);
    assert.match(
      text,
      /^blk: listens after 310 ms, and 155 ms without the sandbox \(2\.00 times\)$/m,
    );
    assert.match(text, /^Worst ratio: 0\.970 \(blk write\); median ratio: 0\.985$/m);
    assert.match(text, /^1 of 2 lines below 0\.98$/m);
  });
});
