/**
 * The turns of a side in one boot: which of them counts.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { together } from './guest-turns.ts';
import type { Measured } from './guest-turns.ts';

function turn(count: number, ms: number, cpuNs = 0, othersCpus = 0): Measured {
  return { side: 'ours', id: 'walk', count, ms, cpuNs, othersCpus };
}

describe('the turns of a side', () => {
  it('have the rate of the middle one, so that a turn in which the machine slept does not decide', () => {
    assert.equal(together([turn(100, 100), turn(90, 100), turn(100, 5000)]).perSecond, 900);
    assert.equal(together([turn(100, 100), turn(80, 100)]).perSecond, 900);
  });

  it('have the CPU time of all of them, and the most that others used', () => {
    const run = together([turn(100, 100, 1e6, 0.5), turn(300, 100, 1e6, 0.1)]);
    assert.deepEqual([run.cpuUs, run.othersCpus], [5, 0.5]);
  });
});
