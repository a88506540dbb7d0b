/**
 * A block device without a disk, on a thread of its own: answers each request at once with success.
 * What a driver reaches against it is the driver's own limit.
 *
 * @module
 */
import { Worker } from 'node:worker_threads';
import type { MemoryRegion } from '../memory/index.ts';
import type { RingConfig } from '../virtqueue/index.ts';

/** What the thread gets. */
export interface NullDeviceOrder {
  readonly regions: readonly MemoryRegion[];
  readonly ring: RingConfig;
  /** One 32-bit word; not 0: end. */
  readonly stop: SharedArrayBuffer;
}

/** A running null device. */
export interface NullDevice {
  /**
   * Ends the thread; the memory may be unmapped when this has resolved. Returns requests served.
   */
  stop(): Promise<number>;
}

/** Starts one on a ring. SAFETY: the regions stay mapped until `stop` has resolved. */
export async function startNullDevice(
  regions: readonly MemoryRegion[],
  ring: RingConfig,
): Promise<NullDevice> {
  const ending = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
  const stop = new SharedArrayBuffer(4);
  const order: NullDeviceOrder = { regions, ring, stop };
  const url = new URL(`./null-device.worker${ending}`, import.meta.url);
  const worker = new Worker(url, { workerData: order });
  const message = (): Promise<unknown> => {
    return new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
  };
  await message();
  return {
    stop: async () => {
      const served = message();
      Atomics.store(new Int32Array(stop), 0, 1);
      const count = await served;
      await worker.terminate();
      return count as number;
    },
  };
}
