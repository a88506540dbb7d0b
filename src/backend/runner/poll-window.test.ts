/**
 * How long a thread polls, by what its last waits have shown.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PollWindow } from './poll-window.ts';

describe('the polling window', () => {
  it('shrinks to nothing when sleeps are long, so that an idle device costs nothing', () => {
    const window = new PollWindow(32);
    for (let i = 0; i < 10; i++) window.slept(1_000_000);
    assert.equal(window.us, 0);
  });

  it('grows to its limit and no further when sleeps are short', () => {
    const window = new PollWindow(32);
    for (let i = 0; i < 10; i++) window.slept(1_000_000);
    const seen: number[] = [];
    for (let i = 0; i < 6; i++) {
      window.slept(20);
      seen.push(window.us);
    }
    assert.deepEqual(seen, [4, 8, 16, 32, 32, 32]);
  });

  it('never polls with a limit of 0', () => {
    const window = new PollWindow(0);
    window.slept(0);
    window.slept(10);
    assert.equal(window.us, 0);
  });
});
