/**
 * The loops of the benchmarks of random bytes and of consoles: what they count is what went through
 * the device, and a device that does not do its part ends them.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { before, describe, it } from 'node:test';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { COUNTER, startBackend } from '../backend/index.ts';
import type { Backend, Device } from '../backend/index.ts';
import { openConsole } from '../devices/console/index.ts';
import { openRng } from '../devices/rng/index.ts';
import { expectNoLeak, holdings } from '../testing/index.ts';
import type { Virtqueue } from '../virtqueue/index.ts';
import type { ConsoleBenchOptions, ConsoleBenchResult } from './console/bench.ts';
import type { RngBenchOptions, RngBenchResult } from './rng/bench.ts';

const SUFFIX = import.meta.url.endsWith('.ts') ? '.ts' : '.js';

/** The first child of a process makes Node open what it keeps. */
before(() => promisify(execFile)(process.execPath, ['--version']));

/** A benchmark keeps its thread, and the control side of the device is here. */
async function inProcess<Result>(
  name: 'RngBench' | 'ConsoleBench',
  setup: object,
  runs: readonly object[],
): Promise<Result> {
  const url = new URL(`./index${SUFFIX}`, import.meta.url).href;
  const text = `
    const { ${name} } = await import(${JSON.stringify(url)});
    try {
      const bench = await ${name}.open(${JSON.stringify(setup)});
      try {
        const results = ${JSON.stringify(runs)}.map((options) => bench.run(options));
        console.log(JSON.stringify(results));
      } finally {
        await bench.close();
      }
    } catch (error) {
      console.log(JSON.stringify({ code: error.code }));
    }`;
  const args = ['--input-type=module', '--eval', text];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return JSON.parse(stdout) as Result;
}

/** A device in a folder with room for a socket more. */
async function withDevice(
  open: (clientPath: string) => Device | Promise<Device>,
  body: (socketPath: string, clientPath: string, backend: Backend) => Promise<void>,
): Promise<void> {
  const before = holdings();
  const folder = mkdtempSync(join(tmpdir(), 'vhu-'));
  const [socketPath, clientPath] = [join(folder, 's'), join(folder, 'c')];
  try {
    const device = await open(clientPath);
    const backend = await startBackend(device, { kind: 'listen', path: socketPath });
    try {
      await body(socketPath, clientPath, backend);
    } finally {
      await backend.close();
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  await expectNoLeak(before);
}

/** Gives a share of what it is asked for; when that is negative, it never looks at its rings. */
function stingy(share: (roomBytes: number) => number): Device {
  const serve = (queue: Virtqueue, budget: number): number => {
    let taken = 0;
    for (; taken < budget; taken++) {
      const chain = share(1) < 0 ? null : queue.pop();
      if (chain === null) break;
      queue.push(chain, share(chain.writableBytes));
    }
    return taken;
  };
  return {
    name: 'stingy',
    deviceId: 4,
    queueCount: 1,
    queueSizeMax: 64,
    features: 0n,
    dataPlane: { kind: 'local', create: () => ({ serve, full: () => false }) },
    readConfig: () => new Uint8Array(0),
    attach: () => undefined,
    close: () => undefined,
  };
}

const RNG_RUNS: readonly RngBenchOptions[] = [64, 4096, 65_536].flatMap((blockBytes) =>
  [1, 16].map((depth) => ({ blockBytes, depth, durationMs: 20 })),
);

describe('RngBench', () => {
  it('counts the requests that the device has answered, and their bytes', async () => {
    await withDevice(
      () => openRng(),
      async (socketPath, _, backend) => {
        const results = await inProcess<RngBenchResult[]>('RngBench', { socketPath }, RNG_RUNS);
        let [requests, bytes] = [0, 0];
        for (const [at, result] of results.entries()) {
          const { blockBytes, depth } = RNG_RUNS[at] as RngBenchOptions;
          assert.ok(result.operations >= depth && result.seconds > 0);
          assert.equal(result.bytes, result.operations * blockBytes);
          assert.ok(result.latencyUs.p50 > 0 && result.kicks > 0);
          requests += result.operations;
          bytes += result.bytes;
        }
        assert.equal(backend.counter(COUNTER.requests), requests);
        assert.equal(backend.counter(COUNTER.bytesRead), bytes);
      },
    );
  });

  it('tells of short answers, and ends when there is nothing in one, or none at all', async () => {
    const run = { blockBytes: 100, depth: 2, durationMs: 20 };
    const outcome = async (share: (roomBytes: number) => number): Promise<unknown> => {
      let result: unknown;
      await withDevice(
        () => stingy(share),
        async (socketPath) => {
          result = await inProcess('RngBench', { socketPath, stallMs: 100 }, [run]);
        },
      );
      return result;
    };
    const [half] = (await outcome((room) => room / 2)) as [RngBenchResult];
    assert.equal(half.bytes, half.operations * 50);
    assert.deepEqual(await outcome(() => 0), { code: 'ERR_VHU_RNG_EMPTY' });
    assert.deepEqual(await outcome(() => -1), { code: 'ERR_VHU_BENCH_STALLED' });
  });
});

const CONSOLE_RUNS: readonly ConsoleBenchOptions[] = [
  { op: 'output', blockBytes: 64, depth: 1, durationMs: 20 },
  { op: 'output', blockBytes: 4096, durationMs: 20 },
  { op: 'output', blockBytes: 4096, clients: 3, durationMs: 20 },
  { op: 'round-trip', durationMs: 20 },
  { op: 'round-trip', clients: 3, durationMs: 20 },
  { op: 'input', blockBytes: 64, durationMs: 20 },
  { op: 'input', blockBytes: 10_000, clients: 2, durationMs: 20 },
];

describe('ConsoleBench', () => {
  it('counts what went through the device both ways', async () => {
    await withDevice(
      (path) => openConsole({ end: { kind: 'unix', path } }),
      async (socketPath, path, backend) => {
        const setup = { socketPath, clients: { family: 'unix', path } };
        const results = await inProcess<ConsoleBenchResult[]>('ConsoleBench', setup, CONSOLE_RUNS);
        assert.equal(results.length, CONSOLE_RUNS.length);
        let [fromGuest, toGuest, clients] = [0, 0, 0];
        for (const [at, result] of results.entries()) {
          const options = CONSOLE_RUNS[at] as ConsoleBenchOptions;
          const { op, blockBytes = 1 } = options;
          assert.ok(result.operations >= 1 && result.seconds > 0, op);
          assert.ok(Number.isInteger(result.operations), `${op}: whole blocks`);
          assert.equal(result.bytesPerSecond > 0, op !== 'round-trip', op);
          assert.equal(result.latencyUs.p50 > 0, op === 'round-trip', op);
          if (op !== 'input') fromGuest += result.operations * blockBytes;
          if (op !== 'output') toGuest += result.operations * blockBytes;
          if ((options.clients ?? 1) === clients) continue;
          clients = options.clients ?? 1; // they meet: each types a byte, two are written
          fromGuest += 2;
          toGuest += clients;
        }
        const hello = 16; // of control messages: DEVICE_READY, PORT_READY, PORT_OPEN
        const written = backend.counter(COUNTER.bytesWritten);
        assert.ok(written >= fromGuest && written <= fromGuest + 2 * hello, String(written));
        const read = backend.counter(COUNTER.bytesRead);
        assert.ok(read >= toGuest && read <= toGuest + 100 * hello, String(read));
      },
    );
  });

  it('says that nobody listens for clients, that no console is told of, and of a stall', async () => {
    const run: ConsoleBenchOptions = { op: 'output', durationMs: 20 };
    await withDevice(
      (path) => openConsole({ end: { kind: 'unix', path } }),
      async (socketPath, path) => {
        const setup = { socketPath, clients: { family: 'unix', path: `${path}.no` } };
        const code = await inProcess('ConsoleBench', setup, [run]);
        assert.deepEqual(code, { code: 'ERR_VHU_CONSOLE_BENCH' });
      },
    );
    await withDevice(
      () => ({ ...stingy(() => -1), deviceId: 3, queueCount: 4, features: 2n }),
      async (socketPath, path) => {
        const clients = { family: 'unix', path };
        const setup = { socketPath, clients, stallMs: 100 };
        const code = await inProcess('ConsoleBench', setup, [run]);
        assert.deepEqual(code, { code: 'ERR_VHU_CONSOLE_BENCH' });
      },
    );
    await withDevice(
      () => ({ ...stingy(() => -1), deviceId: 3, queueCount: 4 }),
      async (socketPath, path) => {
        const clients = { family: 'unix', path };
        const setup = { socketPath, clients, stallMs: 100 };
        const code = await inProcess('ConsoleBench', setup, [run]);
        assert.deepEqual(code, { code: 'ERR_VHU_BENCH_STALLED' });
      },
    );
  });
});
