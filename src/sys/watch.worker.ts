/**
 * Entry of the thread of {@link ThreadWatcher}: blocks in a poller, reports, forgets.
 *
 * @module
 */
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { assert } from '../util/index.ts';
import { NotifierConsumer } from './notifier.ts';
import { PollPoller } from './poller-poll.ts';
import { STOP } from './watch-thread.ts';
import type { WatchOrder, WatchReport } from './watch-thread.ts';

assert(parentPort !== null, 'this file is the entry of a worker thread');
const port = parentPort;
const WAKE_KEY = 0;

const wake = new NotifierConsumer((workerData as { wakeFd: number }).wakeFd);
// poll(2) on every host, because it takes fds by number, at each call. The main thread closes fds
// whenever it likes, and in an epoll set an entry stays behind, and fires for ever, when somebody
// else has the same open file: the other end of a notifier, or the peer that sent it.
const poller = new PollPoller();
const watched = new Map<number, number>(); // key -> fd
poller.add(wake.fd, WAKE_KEY);

function obey(order: WatchOrder): void {
  if (watched.has(order.key)) {
    watched.delete(order.key);
    poller.remove(order.fd);
  }
  if (order.events === 0) return;
  watched.set(order.key, order.fd);
  poller.add(order.fd, order.key, order.events);
}

for (let running = true; running;) {
  const ready = poller.wait(-1);
  for (let i = 0; i < ready; i++) {
    const key = poller.readyKey(i);
    const fd = watched.get(key);
    if (key === WAKE_KEY || fd === undefined) continue;
    const report: WatchReport = { key, events: poller.readyEvents(i) };
    watched.delete(key);
    poller.remove(fd);
    port.postMessage(report);
  }
  wake.drain();
  for (let order = receiveMessageOnPort(port); order; order = receiveMessageOnPort(port)) {
    if ((order.message as WatchOrder).key === STOP.key) running = false;
    else obey(order.message as WatchOrder);
  }
}
