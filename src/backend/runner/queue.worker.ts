/**
 * Entry of a worker thread: loads the device's data plane and serves until told to close.
 *
 * @module
 */
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { assert } from '../../util/index.ts';
import { Uring, closeFd, fallbackText, onFallback } from '../../sys/index.ts';
import type { DataPlaneFactory } from '../device.ts';
import type { NumberedOrder, WorkerReport, WorkerStart } from './messages.ts';
import { PollerReactor } from './reactor-poller.ts';
import { UringReactor } from './reactor-uring.ts';
import type { WorkerReactor } from './reactor.ts';
import { WorkerLoop } from './worker-loop.ts';

/** Requests that one thread may have in the kernel's submission queue. */
const URING_ENTRIES = 256;
/**
 * Completions that may wait to be taken: more than a device has under way, since kernels before
 * 5.18 refuse requests while completions wait for room.
 */
const URING_COMPLETIONS = 16384;

assert(parentPort !== null, 'this file is the entry of a worker thread');
const port = parentPort;
const start = workerData as WorkerStart;
const send = (report: WorkerReport): void => port.postMessage(report);

onFallback((call, instead) => {
  send({ kind: 'log', level: 'debug', text: fallbackText(call, instead) });
});

const uring = Uring.open(URING_ENTRIES, URING_COMPLETIONS);
const reactor: WorkerReactor = uring === null ? new PollerReactor() : new UringReactor(uring);
try {
  const module = (await import(start.module)) as { createDataPlane: DataPlaneFactory };
  const plane = await module.createDataPlane({
    options: start.options,
    reactor,
    counters: start.counters,
    log: (level, text) => {
      send({ kind: 'log', level, text });
    },
    tell: (message) => {
      send({ kind: 'told', message });
    },
    flush: () => undefined, // the loop publishes at the end of each round
  });
  const loop = new WorkerLoop(start, reactor, plane, {
    receive: () => receiveMessageOnPort(port)?.message as NumberedOrder | undefined,
    send,
  });
  send({ kind: 'ready', io: reactor.kind });
  loop.run();
} finally {
  // Also when the device could not be made: the thread's end alone closes neither.
  reactor.close();
  closeFd(start.wakeFd);
  port.close();
}
