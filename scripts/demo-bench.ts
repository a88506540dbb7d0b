/**
 * The speed of a disk that is served, measured without a virtual machine: a polling front-end on
 * one queue.
 *
 * @module
 */
import {
  BLK_FEATURE,
  BlkPoller,
  CONFIG,
  FrontendSession,
  parseBlkConfig,
  runBlkBench,
  slotMemoryBytes,
} from '../src/frontend/index.ts';

const QUEUE_SIZE = 256;
const DEPTH_MAX = 64;
const BUFFER_BYTES = 64 * 1024;
const SLOT_BYTES = slotMemoryBytes(DEPTH_MAX, BUFFER_BYTES);
const DURATION_MS = 1500;

const RUNS = [
  { op: 'read', blockBytes: 4096, depth: 1 },
  { op: 'read', blockBytes: 4096, depth: 32 },
  { op: 'write', blockBytes: 4096, depth: 32 },
  { op: 'read', blockBytes: 65_536, depth: 32 },
] as const;

/** Measures, and returns a line for each kind of request. */
export async function benchmark(socketPath: string): Promise<string[]> {
  const features = BLK_FEATURE.SIZE_MAX | BLK_FEATURE.SEG_MAX | BLK_FEATURE.FLUSH;
  const memoryBytes = 2 ** 20 + SLOT_BYTES;
  const session = await FrontendSession.open({ socketPath, memoryBytes, features });
  try {
    const config = parseBlkConfig(await session.readConfig(0, CONFIG.SIZE), session.features);
    const queue = await session.startQueue({ index: 0, size: QUEUE_SIZE });
    const { gpa, hva } = session.memory.allocate(SLOT_BYTES, 4096);
    const poller = new BlkPoller({
      ring: queue.config,
      kickFd: queue.kickFd,
      slots: { count: DEPTH_MAX, bufferBytes: BUFFER_BYTES, gpa, hva },
      segmentBytesMax: Math.min(config.segmentBytesMax, BUFFER_BYTES),
    });
    try {
      return RUNS.map((run) => {
        const options = { ...run, order: 'random', durationMs: DURATION_MS } as const;
        const result = runBlkBench([poller], { ...options, capacityBytes: config.sizeBytes });
        if (result.errors > 0) throw new Error(`${result.errors} requests failed`);
        return describe(run, result);
      });
    } finally {
      poller.close();
    }
  } finally {
    await session.close();
  }
}

function describe(
  run: (typeof RUNS)[number],
  result: { iops: number; bytesPerSecond: number; latencyUs: { p50: number; p99: number } },
): string {
  const kind = `random ${run.op}s of ${run.blockBytes / 1024} KiB, ${run.depth} at a time`;
  const rate = Math.round(result.iops).toLocaleString('en-US').padStart(9);
  const mib = Math.round(result.bytesPerSecond / 2 ** 20)
    .toLocaleString('en-US')
    .padStart(6);
  const { p50, p99 } = result.latencyUs;
  const latency = `half of them within ${p50.toFixed(0)} µs, 99 % within ${p99.toFixed(0)} µs`;
  return `${kind.padEnd(41)} ${rate} /s ${mib} MiB/s   ${latency}`;
}
