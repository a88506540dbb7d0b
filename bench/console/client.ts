/**
 * The polling front-end of the benchmark of consoles, and the clients of the console, as a process
 * of its own. Usage: `node client.js SOCKET ADDRESS`, the address of the console's clients as JSON.
 *
 * @module
 */
import { ConsoleBench } from '../../src/frontend/index.ts';
import type { ConsoleBenchAddress } from '../../src/frontend/index.ts';
import { answerLoads } from '../load-child.ts';
import type { ConsoleRow } from './plan.ts';

/** What the client is told, a JSON line each. */
export type ConsoleLoad = ConsoleRow & { readonly durationMs: number };

const STALL_MS = 3000;

const [socketPath, address] = process.argv.slice(2);
if (socketPath === undefined || address === undefined) {
  throw new Error('usage: node client.js SOCKET ADDRESS');
}
const clients = JSON.parse(address) as ConsoleBenchAddress;
await answerLoads(
  () => ConsoleBench.open({ socketPath, clients, stallMs: STALL_MS }),
  (bench, { op, blockBytes, depth, clients: count, durationMs }: ConsoleLoad) => {
    const { operations, seconds, latencyUs } = bench.run({
      op,
      clients: count,
      durationMs,
      ...(blockBytes > 0 ? { blockBytes } : {}),
      ...(depth > 0 ? { depth } : {}),
    });
    return { operations, seconds, p50Us: op === 'round-trip' ? latencyUs.p50 : null };
  },
);
