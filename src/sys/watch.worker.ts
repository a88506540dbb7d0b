/**
 * Entry of the thread of {@link ThreadWatcher}: blocks in a poller, reports, forgets.
 *
 * @module
 */
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { assert } from '../util/index.ts';
import { NotifierConsumer } from './notifier.ts';
import { createPoller } from './poller.ts';
import type { WatchOrder, WatchReport } from './watch-thread.ts';

assert(parentPort !== null, 'this file is the entry of a worker thread');
const port = parentPort;
const WAKE_KEY = 0;

const wake = new NotifierConsumer((workerData as { wakeFd: number }).wakeFd);
const poller = createPoller();
const watched = new Map<number, number>(); // key -> fd
poller.add(wake.fd, WAKE_KEY);

function obey(order: WatchOrder): void {
  if (watched.has(order.key)) {
    watched.delete(order.key);
    remove(order.fd);
  }
  if (order.events === 0) return;
  watched.set(order.key, order.fd);
  poller.add(order.fd, order.key, order.events);
}

/** The main thread may have closed the fd already, which has removed it from the poller. */
function remove(fd: number): void {
  try {
    poller.remove(fd);
  } catch {
    // gone by itself
  }
}

for (;;) {
  const ready = poller.wait(-1);
  for (let i = 0; i < ready; i++) {
    const key = poller.readyKey(i);
    const fd = watched.get(key);
    if (key === WAKE_KEY || fd === undefined) continue;
    const report: WatchReport = { key, events: poller.readyEvents(i) };
    watched.delete(key);
    remove(fd);
    port.postMessage(report);
  }
  wake.drain();
  for (let order = receiveMessageOnPort(port); order; order = receiveMessageOnPort(port)) {
    obey(order.message as WatchOrder);
  }
}
