/**
 * The polling front-end of the vsock benchmark as a process of its own.
 * Usage: `node client.js SOCKET UDS_PATH BUFFER_BYTES`.
 *
 * @module
 */
import { VsockBench } from '../../src/frontend/index.ts';
import { answerLoads } from '../load-child.ts';
import type { VsockLoad } from './load.ts';

const QUEUE_SIZE = 128; // as QEMU has it

const [socketPath, udsPath, bufferBytes] = process.argv.slice(2);
if (socketPath === undefined || udsPath === undefined || bufferBytes === undefined) {
  throw new Error('usage: node client.js SOCKET UDS_PATH BUFFER_BYTES');
}
const setup = { socketPath, udsPath, rxDataBytes: Number(bufferBytes), queueSize: QUEUE_SIZE };
await answerLoads(
  () => VsockBench.open(setup),
  (bench, { op, blockBytes, durationMs }: VsockLoad) => {
    const block = blockBytes > 0 ? { blockBytes } : {};
    const { operations, seconds, latencyUs } = bench.run({ op, durationMs, ...block });
    return { operations, seconds, p50Us: op === 'round-trip' ? latencyUs.p50 : null };
  },
);
