/**
 * The polling front-end as a process of its own: connects to a vhost-user-vsock server and runs
 * what it is told on standard input, a JSON line each; the answers are JSON lines too. It stays
 * connected, and idle, in between. Usage: `node client.js SOCKET UDS_PATH BUFFER_BYTES`.
 *
 * @module
 */
import { createInterface } from 'node:readline';
import { errorMessage } from '../../src/util/index.ts';
import { VsockBench } from '../../src/frontend/index.ts';
import type { ClientFailure } from '../json-child.ts';
import type { LoadReply, LoadRequest } from './load.ts';

const QUEUE_SIZE = 128; // as QEMU has it

async function main(socketPath: string, udsPath: string, rxDataBytes: number): Promise<void> {
  const setup = { socketPath, udsPath, rxDataBytes, queueSize: QUEUE_SIZE };
  const bench = await VsockBench.open(setup);
  try {
    say({ done: 'open' });
    for await (const line of createInterface({ input: process.stdin })) {
      const { op, blockBytes, durationMs } = JSON.parse(line) as LoadRequest;
      const block = blockBytes > 0 ? { blockBytes } : {};
      const { operations, seconds, latencyUs } = bench.run({ op, durationMs, ...block });
      say({ operations, seconds, p50Us: latencyUs.p50 });
    }
  } finally {
    await bench.close();
  }
}

function say(reply: LoadReply | ClientFailure): void {
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}

const [socketPath, udsPath, bufferBytes] = process.argv.slice(2);
if (socketPath === undefined || udsPath === undefined || bufferBytes === undefined) {
  throw new Error('usage: node client.js SOCKET UDS_PATH BUFFER_BYTES');
}
try {
  await main(socketPath, udsPath, Number(bufferBytes));
} catch (error) {
  say({ error: errorMessage(error) });
  process.exitCode = 1;
}
