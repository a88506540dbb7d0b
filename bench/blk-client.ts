/**
 * The polling front-end as a process of its own: connects to a vhost-user-blk server, starts a
 * queue, and runs what it is told on standard input, a JSON line each; the answers are JSON lines
 * too. It stays connected, and idle, in between. Usage: `node blk-client.js SOCKET`.
 *
 * @module
 */
import { createInterface } from 'node:readline';
import { errorMessage } from '../src/util/index.ts';
import {
  BLK_FEATURE,
  BlkPoller,
  CONFIG,
  FrontendSession,
  SECTOR_BYTES,
  runBlkBench,
  slotMemoryBytes,
} from '../src/frontend/index.ts';
import type { PollingReply, PollingRequest } from './load.ts';
import { BLOCK_BYTES_MAX, DEPTH_MAX } from './plan.ts';

const QUEUE_SIZE = 256; // as libblkio's; room for the direct chains of 64 requests
const MEMORY_BYTES = 2 ** 20 + slotMemoryBytes(DEPTH_MAX, BLOCK_BYTES_MAX);
const STALL_MS = 5000;

async function main(socketPath: string): Promise<void> {
  const session = await FrontendSession.open({
    socketPath,
    memoryBytes: MEMORY_BYTES,
    features: BLK_FEATURE.SIZE_MAX | BLK_FEATURE.SEG_MAX | BLK_FEATURE.FLUSH,
  });
  try {
    const config = await session.readConfig(0, CONFIG.SIZE);
    const view = new DataView(config.buffer, config.byteOffset, config.byteLength);
    const capacityBytes = Number(view.getBigUint64(CONFIG.capacity, true)) * SECTOR_BYTES;
    const limited = (session.features & BLK_FEATURE.SIZE_MAX) !== 0n;
    const queue = await session.startQueue({ index: 0, size: QUEUE_SIZE });
    const { gpa, hva } = session.memory.allocate(slotMemoryBytes(DEPTH_MAX, BLOCK_BYTES_MAX), 4096);
    const poller = new BlkPoller({
      ring: queue.config,
      kickFd: queue.kickFd,
      slots: { count: DEPTH_MAX, bufferBytes: BLOCK_BYTES_MAX, gpa, hva },
      segmentBytesMax: limited ? view.getUint32(CONFIG.sizeMax, true) : BLOCK_BYTES_MAX,
    });
    try {
      await serve(poller, capacityBytes);
    } finally {
      poller.close();
    }
  } finally {
    await session.close();
  }
}

async function serve(poller: BlkPoller, capacityBytes: number): Promise<void> {
  say({ ready: true });
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line) as PollingRequest;
    const options = { ...request, order: 'sequential', capacityBytes, stallMs: STALL_MS } as const;
    say(runBlkBench([poller], options));
  }
}

function say(reply: PollingReply): void {
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}

const socketPath = process.argv[2];
if (socketPath === undefined) throw new Error('usage: node blk-client.js SOCKET');
try {
  await main(socketPath);
} catch (error) {
  say({ error: errorMessage(error) });
  process.exitCode = 1;
}
