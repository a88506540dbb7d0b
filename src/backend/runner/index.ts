/**
 * Who serves the virtqueues: worker threads, or the event loop.
 *
 * @module
 */
import type { Device } from '../device.ts';
import { EventLoopRunner } from './event-loop-runner.ts';
import type { QueueRunner, RunnerEvents } from './queue-runner.ts';
import { WorkerRunner } from './worker-runner.ts';

export { EventLoopRunner, WorkerRunner };
export type { QueueRunner, RingStart, RunnerEvents } from './queue-runner.ts';

/** Makes the runner that a device's data plane asks for. */
export function createRunner(device: Device, events: RunnerEvents): QueueRunner {
  const { dataPlane } = device;
  return dataPlane.kind === 'worker'
    ? new WorkerRunner(dataPlane, events)
    : new EventLoopRunner(dataPlane, events);
}
