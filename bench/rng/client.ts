/**
 * The polling front-end of the benchmark of random bytes as a process of its own.
 * Usage: `node client.js SOCKET`.
 *
 * @module
 */
import { VhostUserError } from '../../src/util/index.ts';
import { RngBench } from '../../src/frontend/index.ts';
import type { RngBenchOptions } from '../../src/frontend/index.ts';
import { answerLoads } from '../load-child.ts';

const [socketPath] = process.argv.slice(2);
if (socketPath === undefined) throw new Error('usage: node client.js SOCKET');
await answerLoads(
  () => RngBench.open({ socketPath }),
  (bench, options: RngBenchOptions) => {
    const { operations, seconds, bytes, latencyUs } = bench.run(options);
    if (bytes !== operations * options.blockBytes) {
      const asked = String(operations * options.blockBytes);
      const text = `the device gave ${String(bytes)} of ${asked} bytes: its answers were short`;
      throw new VhostUserError('ERR_VHU_BENCH_PROCESS', text);
    }
    return { operations, seconds, p50Us: options.depth === 1 ? latencyUs.p50 : null };
  },
);
