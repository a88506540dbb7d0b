/**
 * Tests of devices that are served for a companion: the one does not outlive the other.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Device, WorkerDataPlane } from '../backend/index.ts';
import { openRng } from '../devices/rng/index.ts';
import { RngClient } from '../frontend/index.ts';
import { createLog } from './log.ts';
import type { Log } from './log.ts';
import { serve } from './serve.ts';
import type { Companion, ServeEntry } from './serve.ts';

let folder = '';
let socketPath = '';
before(() => {
  folder = mkdtempSync('/tmp/vhu-companion-');
  socketPath = join(folder, 'rng.sock');
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** A device that asks for the end of all so many milliseconds after it was opened, if at all. */
function entry(endAfterMs: number | null = null): ServeEntry {
  return {
    name: 'rng0',
    address: { kind: 'listen', path: socketPath },
    describe: () => 'random bytes',
    open: (end) => {
      if (endAfterMs !== null) setTimeout(end, endAfterMs);
      return Promise.resolve(openRng({}));
    },
  };
}

/** A device whose thread ends at its first request. */
class Doomed implements Device {
  readonly name = 'doomed';
  readonly deviceId = 4;
  readonly queueCount = 1;
  readonly queueSizeMax = 256;
  readonly features = 0n;
  readonly dataPlane: WorkerDataPlane = {
    kind: 'worker',
    module: new URL(`data:text/javascript,${encodeURIComponent(DOOMED)}`),
    options: null,
    threads: 1,
    pollUs: 0,
  };

  readConfig(): Uint8Array {
    return new Uint8Array(0);
  }

  attach(): void {
    // It asks for nothing.
  }

  close(): void {
    // It holds nothing.
  }
}

const DOOMED = 'export const createDataPlane = () => ({ serve() { process.exit(3); } });';

/** A companion that ends by itself with a code, or waits to be ended. */
class Fake implements Companion {
  readonly name = 'the monitor';
  readonly calls: string[] = [];
  readonly #code: number | Error | null;
  #finish: (code: number) => void = () => undefined;

  constructor(code: number | Error | null) {
    this.#code = code;
  }

  run(): Promise<number> {
    this.calls.push(`run, socket ${existsSync(socketPath) ? 'there' : 'missing'}`);
    if (this.#code instanceof Error) return Promise.reject(this.#code);
    if (this.#code !== null) return Promise.resolve(this.#code);
    return new Promise((resolve) => (this.#finish = resolve));
  }

  signal(name: NodeJS.Signals): void {
    this.calls.push(name);
    this.#finish(40);
  }

  end(): Promise<void> {
    this.calls.push(`end, socket ${existsSync(socketPath) ? 'there' : 'missing'}`);
    this.#finish(41);
    return Promise.resolve();
  }

  abandon(): void {
    this.calls.push('abandon');
  }
}

function quietLog(said: string[]): Log {
  return createLog({ level: 'info', format: 'text', sink: (text) => void said.push(text) });
}

test('a companion is run when the devices listen, and its code is that of all', async () => {
  const companion = new Fake(6);
  assert.equal(await serve([entry()], quietLog([]), companion), 6);
  assert.deepEqual(companion.calls, ['run, socket there', 'abandon']);
  assert.ok(!existsSync(socketPath));
});

test('when a device goes, the companion is ended before the others are, and that is a failure', async () => {
  const companion = new Fake(null);
  const said: string[] = [];
  assert.equal(await serve([entry(50)], quietLog(said), companion), 1);
  assert.deepEqual(companion.calls, ['run, socket there', 'end, socket there', 'abandon']);
  assert.match(said.join(''), /the monitor is ended: a device that it uses is gone/);
  assert.ok(!existsSync(socketPath));
});

test('when the thread of a device fails, it is named, and the companion is ended', async () => {
  const companion = new Fake(null);
  const said: string[] = [];
  const doomed: ServeEntry = { ...entry(), open: () => Promise.resolve(new Doomed()) };
  const running = serve([doomed], quietLog(said), companion);
  while (companion.calls.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const awake = setInterval(() => undefined, 1000); // neither side keeps this process
  const client = await RngClient.connect(socketPath);
  await assert.rejects(client.read(16));
  await client.close();
  assert.equal(await running, 1);
  clearInterval(awake);
  assert.match(companion.calls.join(), /^run, socket there,end, .*,abandon$/);
  assert.match(said.join(''), /error rng0: a thread has failed: the queue thread has ended/);
});

test('a companion that cannot be started ends the devices', async () => {
  const companion = new Fake(new Error('no such program'));
  await assert.rejects(serve([entry()], quietLog([]), companion), /no such program/);
  assert.deepEqual(companion.calls, ['run, socket there', 'abandon']);
  assert.ok(!existsSync(socketPath));
});

test('each signal is the companion’s, the one that means something to devices as well', async () => {
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    const companion = new Fake(null);
    const running = serve([entry()], quietLog([]), companion);
    while (companion.calls.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    process.kill(process.pid, signal);
    assert.equal(await running, 40, signal);
    assert.deepEqual(companion.calls, ['run, socket there', signal, 'abandon']);
  }
});
