/**
 * The choice between two ways to wait, with drivers that wait for each answer.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PollPolicy } from './poll-policy.ts';

const LIMIT_US = 200;
const WAITS = 20_000;

describe('the waits of a thread', () => {
  it('are polled through when that makes a slow driver quicker', () => {
    const seen = serve(new PollPolicy(LIMIT_US), (polls) => (polls ? 120 : 170));
    assert.ok(seen.caught > WAITS * 0.9, `${seen.caught} of ${WAITS} caught`);
  });

  it('are slept through when polling makes a slow driver no quicker', () => {
    const seen = serve(new PollPolicy(LIMIT_US), () => 150);
    assert.ok(seen.caught < WAITS * 0.05, `${seen.caught} of ${WAITS} caught`);
  });

  it('are slept through when the driver works only while this thread sleeps', () => {
    const seen = serve(new PollPolicy(LIMIT_US), (polls) => (polls ? 5000 : 20));
    assert.ok(seen.vainUs < seen.us * 0.05, `${seen.vainUs} µs of ${seen.us} polled in vain`);
  });

  it('cost next to nothing when the driver comes now and then', () => {
    const seen = serve(new PollPolicy(LIMIT_US), () => 10_000);
    assert.ok(seen.vainUs < seen.us * 0.001, `${seen.vainUs} µs of ${seen.us} polled in vain`);
  });

  it('change with the driver, each way', () => {
    const policy = new PollPolicy(LIMIT_US);
    const slow = (polls: boolean): number => (polls ? 120 : 170);
    const idle = (): number => 10_000;
    assert.ok(serve(policy, slow).caught > WAITS * 0.9);
    const seen = serve(policy, idle);
    assert.equal(seen.caught, 0);
    assert.ok(seen.vainUs < seen.us * 0.0005, `${seen.vainUs} µs of ${seen.us} polled in vain`);
    assert.ok(serve(policy, slow).caught > WAITS * 0.7, 'it tries again');
  });

  it('are polled through no longer when polling has ceased to help', () => {
    const policy = new PollPolicy(LIMIT_US);
    serve(policy, (polls) => (polls ? 120 : 170));
    const seen = serve(policy, (polls) => (polls ? 170 : 120));
    assert.ok(seen.caught < WAITS * 0.25, `${seen.caught} of ${WAITS} caught`);
  });

  it('are short polls, and remain so, where the driver comes at once', () => {
    const seen = serve(new PollPolicy(LIMIT_US), () => 3);
    assert.equal(seen.caught, WAITS);
  });

  it('are never polled with a limit of 0', () => {
    const policy = new PollPolicy(0);
    const seen = serve(policy, () => 10);
    assert.equal(seen.caught, 0);
    assert.equal(policy.us, 0);
  });

  it('read no clock while nobody asks', () => {
    const policy = new PollPolicy(LIMIT_US);
    let blind = 0;
    serve(
      policy,
      () => 150,
      () => void (blind += policy.isBlind ? 1 : 0),
    );
    assert.ok(blind > WAITS * 0.8, `${blind} of ${WAITS} waits`);
  });
});

/** A driver that asks again so long after the answer, when the thread polls and when it sleeps. */
function serve(
  policy: PollPolicy,
  pauseUs: (polls: boolean) => number,
  onWait: () => void = () => undefined,
): { readonly caught: number; readonly vainUs: number; readonly us: number } {
  let caught = 0;
  let vainUs = 0;
  let nowUs = 0;
  for (let i = 0; i < WAITS; i++) {
    onWait();
    const windowUs = policy.us;
    policy.waitBegins(nowUs, i);
    const pause = pauseUs(windowUs > 0);
    nowUs += pause;
    if (pause <= windowUs) {
      caught++;
      policy.caught(pause);
    } else {
      vainUs += windowUs;
      policy.slept(pause - windowUs);
    }
  }
  return { caught, vainUs, us: nowUs };
}
