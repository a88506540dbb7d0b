/**
 * The data plane of a device that gives back what it is sent, for a thread or for the event loop.
 *
 * @module
 */
import type { DataPlane, WorkerDataPlane } from '../backend/index.ts';
import type { Virtqueue } from '../virtqueue/index.ts';

/** Answers what waits with its own bytes, each before the next is taken; how many were taken. */
export function serveEcho(queue: Virtqueue, budget: number): number {
  let taken = 0;
  for (; taken < budget; taken++) {
    const chain = queue.pop();
    if (chain === null) break;
    const bytes = new Uint8Array(chain.readableBytes);
    chain.copyFromReadable(0, bytes);
    queue.push(chain, chain.copyToWritable(0, bytes));
  }
  return taken;
}

/** What the thread calls. */
export function createDataPlane(): DataPlane {
  return { serve: serveEcho };
}

/** It on one thread, which does not poll. */
export function echoOnThread(): WorkerDataPlane {
  const module = new URL(import.meta.url);
  return { kind: 'worker', module, options: null, threads: 1, pollUs: 0 };
}
