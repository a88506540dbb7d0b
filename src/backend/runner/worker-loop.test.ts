/**
 * The loop of a worker thread and its driver, both in this thread: how it waits for a driver that
 * asks again some time after each answer. What else runs on the machine delays both alike.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { RingPair } from '../../testing/index.ts';
import { createNotifier, dupFd, monotonicUs } from '../../sys/index.ts';
import { COUNTER } from '../index.ts';
import type { DataPlane } from '../index.ts';
import type { NumberedOrder, WorkerOrder, WorkerReport } from './messages.ts';
import type { WorkerReactor } from './reactor.ts';
import { WorkerLoop } from './worker-loop.ts';

const REQUESTS = 600;
/** From the answer to the next request: longer than a wake-up is worth. */
const PAUSE_US = 300;
/** What a notification takes the driver besides, as it takes an emulated guest. */
const NOTIFY_US = 1000;
/** Long enough that a thread which is not run for a moment has not polled in vain. */
const POLL_US = 20_000;

/** How often the loop had slept after each request, while it served all of them. */
function serve(pollUs: number): { readonly slept: readonly number[]; readonly polls: number } {
  const pair = new RingPair({ size: 4 });
  const { notifier, consumer } = createNotifier();
  const wake = createNotifier();
  const slept: number[] = [];
  let [sleeps, askAtUs] = [0, 0];
  const orders: WorkerOrder[] = [];
  const ordersSent = new Int32Array(new SharedArrayBuffer(4));
  const order = (next: WorkerOrder): void => void (ordersSent[0] = orders.push(next));
  const ask = (): void => {
    if (pair.driver.inFlight > 0 && pair.driver.take() < 0) return;
    pair.driver.addChain([], [{ gpa: pair.dataGpa, lengthBytes: 1 }], 1);
    pair.driver.publish();
    askAtUs = Infinity;
  };
  const plane: DataPlane = {
    serve: (queue) => {
      const chain = queue.pop();
      if (chain === null) return 0;
      queue.push(chain, 0);
      askAtUs = monotonicUs() + PAUSE_US;
      if (slept.push(sleeps) === REQUESTS) order({ kind: 'close' });
      return 1;
    },
  };
  const watch = { setEvents: () => undefined, close: () => undefined };
  const reactor: WorkerReactor = {
    kind: 'of the test',
    uring: null,
    onCompletion: () => 0,
    watch: () => watch,
    watchNotifier: () => watch,
    after: () => ({ cancel: () => undefined }),
    turn: () => 0,
    hasWork: () => {
      if (monotonicUs() >= askAtUs) ask();
      return false;
    },
    timerIsDue: () => false,
    signalByWait: () => undefined,
    wait: () => {
      sleeps++;
      const untilUs = Math.max(askAtUs, monotonicUs()) + NOTIFY_US;
      while (monotonicUs() < untilUs);
      ask();
    },
    close: () => undefined,
  };
  const reports: WorkerReport[] = [];
  const counters = new Float64Array(COUNTER.LENGTH);
  const start = {
    module: '',
    options: null,
    pollUs,
    counters,
    ordersSent,
    wakeFd: wake.consumer.fd,
  };
  const { regions } = pair.memory;
  order({ kind: 'memory', regions, placements: [] });
  const fds = { kickFd: dupFd(consumer.fd), callFd: -1, errFd: -1 };
  order({ kind: 'start', start: { config: pair.config, ...fds, enabled: true } });
  const next = { id: 0 };
  const receive = (): NumberedOrder | undefined => {
    const given = orders[next.id];
    return given === undefined ? undefined : { id: next.id++, order: given };
  };
  try {
    ask();
    new WorkerLoop(start, reactor, plane, { receive, send: (each) => reports.push(each) }).run();
    assert.deepEqual(
      reports.filter(({ kind }) => kind !== 'done'),
      [],
    );
    return { slept, polls: counters[COUNTER.polls] as number };
  } finally {
    for (const each of [notifier, consumer, wake.notifier, wake.consumer]) each.close();
    pair.close();
  }
}

it('a thread finds out that its driver is quicker when it polls, and sleeps no more', () => {
  const { slept } = serve(POLL_US);
  const half = slept[REQUESTS / 2] as number;
  assert.ok(half > 20, `it slept ${String(half)} times before it knew`);
  const later = (slept.at(-1) as number) - half;
  assert.ok(later < REQUESTS / 20, `it slept ${String(later)} times more`);
});

it('a thread that may not poll sleeps after each request', () => {
  const { slept, polls } = serve(0);
  assert.deepEqual(
    slept,
    slept.map((_, i) => i),
  );
  assert.equal(polls, 0);
});
