/**
 * Turns that others disturbed, and what takes their place.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mostDisturbed, parseIdle, replaceTurn } from './others.ts';

interface Run {
  readonly name: string;
  readonly othersCpus: number;
}

function runs(name: string, shares: readonly number[]): Run[] {
  return shares.map((othersCpus, i) => ({ name: `${name}${String(i)}`, othersCpus }));
}

describe('the turn that others disturbed most', () => {
  it('is that of the worst run of any side', () => {
    assert.equal(mostDisturbed([runs('a', [0.2, 0, 0.3]), runs('b', [0, 0.4, 0])]), 1);
    assert.equal(mostDisturbed([runs('a', [0, 0, 0.3]), runs('b', [0, 0, 0.4])]), 2);
    assert.equal(mostDisturbed([runs('a', [0.2, 0.3])]), 1);
  });

  it('is none when none was disturbed by more than a tenth of a CPU, or there is none', () => {
    assert.equal(mostDisturbed([runs('a', [0.05, 0.1]), runs('b', [0, 0])]), -1);
    assert.equal(mostDisturbed([[], []]), -1);
  });

  it('gives way to a calmer one, with all of its sides', () => {
    const [ours, theirs] = [runs('a', [0, 0.3]), runs('b', [0, 0])];
    const again = [runs('again a', [0.1])[0] as Run, runs('again b', [0.2])[0] as Run];
    replaceTurn([ours, theirs], 1, again);
    assert.deepEqual(
      [ours, theirs].map((side) => side.map(({ name }) => name)),
      [
        ['a0', 'again a0'],
        ['b0', 'again b0'],
      ],
    );
  });

  it('stays when the new one was disturbed as much, on whichever side', () => {
    const [ours, theirs] = [runs('a', [0.3]), runs('b', [0])];
    replaceTurn([ours, theirs], 0, [runs('c', [0])[0] as Run, runs('d', [0.3])[0] as Run]);
    assert.deepEqual([ours[0]?.name, theirs[0]?.name], ['a0', 'b0']);
  });
});

describe('the idle time of /proc/stat', () => {
  it('is that of all CPUs, with the time in which they waited for a disk', () => {
    const text = 'cpu  10 20 30 40 5 0 0 0 0 0\ncpu0 5 10 15 20 2 0 0 0 0 0\n';
    assert.equal(parseIdle(text), 450_000_000);
  });
});
