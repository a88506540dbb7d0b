/**
 * The thread of a flipper.
 *
 * @module
 */
import { parentPort, workerData } from 'node:worker_threads';
import { viewMemory } from '../sys/index.ts';
import type { FlipperOrder } from './flipper.ts';

const { flips, stop } = workerData as FlipperOrder;
const stopWord = new Int32Array(stop);
const places = flips.map(({ hva, bytes, values }) => {
  // SAFETY: whoever started the thread keeps the place mapped until it ends.
  const memory = viewMemory(hva, bytes);
  return { at: bytes === 2 ? new Uint16Array(memory) : new Uint32Array(memory), values };
});
parentPort?.postMessage('ready');

let rounds = 0;
while (Atomics.load(stopWord, 0) === 0) {
  for (const { at, values } of places) {
    Atomics.store(at, 0, values[rounds % values.length] as number);
  }
  rounds++;
}
parentPort?.postMessage(rounds);
