/**
 * A thread that keeps rewriting memory, so that what a device reads twice differs: for tests that
 * it reads once.
 *
 * @module
 */
import { Worker } from 'node:worker_threads';

/** A place that is rewritten, and what is written there by turns. */
export interface Flip {
  readonly hva: number;
  readonly bytes: 2 | 4;
  readonly values: readonly number[];
}

/** What the thread gets. */
export interface FlipperOrder {
  readonly flips: readonly Flip[];
  /** One 32-bit word; not 0: end. */
  readonly stop: SharedArrayBuffer;
}

/** A running flipper. */
export interface Flipper {
  /** Ends the thread; resolves with how many rounds it made. */
  stop(): Promise<number>;
}

/** Starts one. SAFETY: the places are mapped, aligned to their size, until `stop` has resolved. */
export async function startFlipper(flips: readonly Flip[]): Promise<Flipper> {
  const ending = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
  const stop = new SharedArrayBuffer(4);
  const order: FlipperOrder = { flips, stop };
  const worker = new Worker(new URL(`./flipper.worker${ending}`, import.meta.url), {
    workerData: order,
  });
  const message = (): Promise<unknown> => {
    return new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
  };
  await message();
  return {
    stop: async () => {
      const rounds = message();
      Atomics.store(new Int32Array(stop), 0, 1);
      const count = await rounds;
      await worker.terminate();
      return count as number;
    },
  };
}
