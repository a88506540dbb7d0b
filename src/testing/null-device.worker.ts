/**
 * The thread of a null device.
 *
 * @module
 */
import { parentPort, workerData } from 'node:worker_threads';
import { GuestMemory } from '../memory/index.ts';
import { SplitVirtqueue } from '../virtqueue/index.ts';
import type { NullDeviceOrder } from './null-device.ts';

const OK = 0;
const LOOKS_PER_STOP_CHECK = 1024;

const { regions, ring, stop } = workerData as NullDeviceOrder;
const queue = new SplitVirtqueue(ring, new GuestMemory(regions));
const stopWord = new Int32Array(stop);
parentPort?.postMessage('ready');

let served = 0;
while (Atomics.load(stopWord, 0) === 0) {
  for (let look = 0; look < LOOKS_PER_STOP_CHECK; look++) {
    for (let chain = queue.pop(); chain !== null; chain = queue.pop()) {
      if (chain.writableBytes > 0) chain.writeWritableU8(chain.writableBytes - 1, OK);
      queue.push(chain, chain.writableBytes);
      served++;
    }
    queue.publish();
    queue.disableNotifications();
  }
}
parentPort?.postMessage(served);
