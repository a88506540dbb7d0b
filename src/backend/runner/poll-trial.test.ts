/**
 * The comparison of two ways to wait, with drivers whose times are known.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PollTrial } from './poll-trial.ts';

const LONGEST_US = 800;

describe('a trial of polling', () => {
  it('does each way twice, in turns', () => {
    const trial = new PollTrial(LONGEST_US);
    const ways: number[] = [];
    run(trial, (way) => {
      if (ways.at(-1) !== way) ways.push(way);
      return { us: 100, requests: 1 };
    });
    assert.deepEqual(ways, [0, 1, 0, 1]);
  });

  it('tells how long a request takes in the one, in parts of the other', () => {
    assert.equal(
      ratioOf((way) => ({ us: way === 1 ? 60 : 80, requests: 1 })),
      0.75,
    );
  });

  it('counts requests and not waits: fewer waits with more requests each may be quicker', () => {
    assert.equal(
      ratioOf((way) => ({ us: way === 1 ? 50 : 100, requests: way === 1 ? 1 : 4 })),
      2,
    );
  });

  it('leaves out the pauses that are the own of the driver', () => {
    let waits = 0;
    const ratio = ratioOf((way) => {
      if (++waits % 5 === 0) return { us: way === 1 ? 50_000 : 5000, requests: 1 };
      return { us: way === 1 ? 70 : 100, requests: 1 };
    });
    assert.equal(Math.round(ratio * 100), 70);
  });

  it('leaves out the first waits of each way, in which threads are moved', () => {
    let last = -1;
    let since = 0;
    const ratio = ratioOf((way) => {
      since = way === last ? since + 1 : 0;
      last = way;
      return { us: since < 8 && way === 1 ? 700 : 100, requests: 1 };
    });
    assert.equal(ratio, 1);
  });

  it('is lost when nothing was measured, and when it was abandoned', () => {
    assert.equal(
      ratioOf(() => ({ us: LONGEST_US + 1, requests: 1 })),
      Infinity,
    );
    const trial = new PollTrial(LONGEST_US);
    trial.start();
    trial.abandon();
    assert.equal(trial.isRunning, false);
    assert.equal(trial.ratio, Infinity);
  });
});

interface Wait {
  /** From the beginning of this wait to that of the next. */
  readonly us: number;
  /** Taken meanwhile. */
  readonly requests: number;
}

function ratioOf(next: (way: number) => Wait): number {
  const trial = new PollTrial(LONGEST_US);
  run(trial, () => ({ us: 1, requests: 1000 })); // of an earlier one nothing is left
  run(trial, next);
  return trial.ratio;
}

function run(trial: PollTrial, next: (way: number) => Wait): void {
  let nowUs = 0;
  let requests = 0;
  trial.start();
  for (let waits = 0; trial.isRunning; waits++) {
    assert.ok(waits < 1000, 'it ends');
    trial.waitBegins(nowUs, requests);
    const wait = next(trial.way);
    nowUs += wait.us;
    requests += wait.requests;
    trial.waitEnded();
  }
}
