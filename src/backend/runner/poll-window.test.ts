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
    for (let i = 0; i < 5; i++) {
      window.slept(20);
      seen.push(window.us);
    }
    assert.deepEqual(seen, [4, 8, 16, 32, 32]);
  });

  it('rests when long polls are in vain and the sleeps after them short, and tries again', () => {
    const window = new PollWindow(32);
    const rests: number[] = [];
    for (let i = 0, length = 0; rests.length < 9; i++) {
      window.slept(5); // the other side works only while this one sleeps
      if (window.us === 0) length++;
      else if (length > 0) rests.push(length);
      if (window.us > 0) length = 0;
    }
    assert.deepEqual(rests, [17, 33, 65, 129, 257, 513, 1025, 1025, 1025]);
  });

  it('polls on when a poll catches something now and then', () => {
    const window = new PollWindow(32);
    for (let i = 0; i < 100; i++) {
      window.slept(5);
      window.caught(5);
      assert.equal(window.us, 32);
    }
  });

  it('rests when what it catches is worth less than what it spends', () => {
    const polled = polledUs(64, (i) => (i % 2 === 0 ? 40 : 110));
    assert.ok(polled.caught < 100, `${polled.caught} of 5000 waits of 40 µs were caught`);
    assert.ok(polled.vainUs < 5000 * 2, `${polled.vainUs} µs in vain, 2 µs for each pair at most`);
  });

  it('stays open when most of what it waits for comes in time', () => {
    const polled = polledUs(64, (i) => (i % 4 === 0 ? 110 : 40));
    assert.ok(polled.caught > 7000, `${polled.caught} of 7500 waits of 40 µs were caught`);
  });

  it('rests when what it catches comes late, though each poll catches something', () => {
    const polled = polledUs(128, () => 120);
    assert.ok(polled.caught < 500, `${polled.caught} of 10000 waits of 120 µs were caught`);
  });

  it('opens again when the other side has become quicker', () => {
    const window = new PollWindow(64);
    const polled = polledUs(64, (i) => (i < 5000 ? 63 + (i % 3) * 20 : 10), window);
    assert.ok(polled.caught > 3500, `${polled.caught} of 5000 waits of 10 µs were caught`);
    assert.ok(window.us >= 10);
  });

  it('never polls with a limit of 0', () => {
    const window = new PollWindow(0);
    window.slept(0);
    window.slept(10);
    assert.equal(window.us, 0);
  });
});

/** A row of 10 000 waits: how many of them the polls caught, and their time in vain. */
function polledUs(
  limitUs: number,
  waitUs: (i: number) => number,
  window: PollWindow = new PollWindow(limitUs),
): { readonly caught: number; readonly vainUs: number } {
  let caught = 0;
  let vainUs = 0;
  for (let i = 0; i < 10_000; i++) {
    const wait = waitUs(i);
    if (window.us >= wait) {
      caught++;
      window.caught(wait);
    } else {
      vainUs += window.us;
      window.slept(wait - window.us);
    }
  }
  return { caught, vainUs };
}
