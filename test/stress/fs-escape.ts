/**
 * A stress of a shared folder's borders: the host swaps folders and files of the share for links
 * that lead out of it, while a hostile guest looks up, opens, reads, writes, makes, links, renames
 * and removes whatever it finds. What is outside has the same names as what is inside; not a byte
 * of it may reach the guest, and nothing of it may be changed, read or even looked at. No request
 * may hang, though files become FIFOs and devices.
 *
 *     node build/test/stress/fs-escape.js [--seconds 60] [--seed N] [--cache auto] [--owner xattr]
 *
 * @module
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startBackend } from '../../src/backend/index.ts';
import { openFs } from '../../src/devices/fs/index.ts';
import { FuseConnection } from '../../src/frontend/index.ts';
import { openFdCount } from '../../src/sys/index.ts';
import { Random } from './exchange.ts';
import { CANARY, FILE_PATHS, Surroundings } from './fs-canary.ts';
import { HostileGuest } from './fs-guest.ts';
import type { SwapPlan, SwapReport } from './fs-swapper.ts';

/** What a run is made of; everything has a default. */
export interface EscapeOptions {
  readonly seconds?: number;
  readonly seed?: number;
  readonly cache?: 'never' | 'auto';
  readonly owner?: 'host' | 'squash' | 'xattr';
}

/** What a run saw. */
export interface EscapeReport {
  readonly seconds: number;
  readonly requests: number;
  /** Answers by the name of their error; `ok` for none. */
  readonly answers: ReadonlyMap<string, number>;
  /** Requests by their name that were answered well. */
  readonly successes: ReadonlyMap<string, number>;
  readonly host: SwapReport;
  /** What must not be: what came through, and what has changed outside. */
  readonly escapes: readonly string[];
  /** Descriptors that are open now and were not before. */
  readonly leakedFds: number;
}

const DEFAULTS = { seconds: 60, cache: 'never', owner: 'host' } as const;
const GUEST_TASKS = 8;
/** The swapper has to be at it before the guest begins, and to stop after it. */
const HOST_HEAD_SECONDS = 1;

/** Lets both at the folder, and reports. @throws when a request is not answered in time. */
export async function runEscape(options: EscapeOptions = {}): Promise<EscapeReport> {
  const settings = { ...DEFAULTS, seed: Date.now() % 2 ** 31, ...options };
  const { seconds, seed } = settings;
  const around = new Surroundings();
  const cwd = process.cwd();
  process.chdir(around.outside); // so that /proc/self/cwd leads there
  try {
    const plan = { base: around.base, seed, isRoot: process.getuid?.() === 0 };
    await runGuest(around, { ...settings, seconds: 0 }); // what the runtime opens once is open now
    await runHost({ ...plan, seconds: 0 });
    const fdsBefore = openFdCount();
    const host = runHost({ ...plan, seconds: seconds + HOST_HEAD_SECONDS });
    const guest = await runGuest(around, settings);
    const report = await host;
    const changes = around.changes().map((line) => `outside: ${line}`);
    const escapes = [...guest.escapes, ...changes];
    const leakedFds = openFdCount() - fdsBefore;
    const { requests, answers, successes } = guest;
    return { seconds, requests, answers, successes, host: report, escapes, leakedFds };
  } finally {
    process.chdir(cwd);
    around.remove();
  }
}

async function runGuest(
  around: Surroundings,
  settings: Required<EscapeOptions>,
): Promise<HostileGuest> {
  const { seconds, seed, cache, owner } = settings;
  const source = { kind: 'folder', folder: around.share, cache, owner, xattr: true } as const;
  const device = openFs({ tag: 'escape', source });
  const path = join(around.base, 's');
  const faults: string[] = [];
  const backend = await startBackend(
    device,
    { kind: 'listen', path },
    {
      fault: (queue, { message }) => faults.push(`ring ${String(queue)} was broken: ${message}`),
      failed: (error) => faults.push(`the back-end failed: ${error.message}`),
      log: (level, text) => {
        if (level === 'error') faults.push(`the back-end says: ${text}`);
      },
    },
  );
  const connection = await FuseConnection.connect(path);
  const guest = new HostileGuest(connection, around);
  try {
    const endMs = performance.now() + seconds * 1000;
    const tasks = Array.from({ length: GUEST_TASKS }, (_, i) =>
      guest.run(new Random(seed + 7919 * (i + 1)), endMs),
    );
    await Promise.all(tasks);
    guest.escapes.push(...faults);
    return guest;
  } finally {
    await connection.close();
    await backend.close();
  }
}

/**
 * Control run: the same host, and in place of the guest somebody who opens files of the share by
 * their paths. Returns how often that led outside.
 */
export async function runNaive(seconds: number, seed: number): Promise<number> {
  const around = new Surroundings();
  try {
    const host = runHost({ base: around.base, seed, seconds, isRoot: false });
    const buffer = Buffer.alloc(256);
    const endMs = performance.now() + seconds * 1000;
    let led = 0;
    while (performance.now() < endMs) {
      for (const path of FILE_PATHS) if (readByPath(join(around.share, path), buffer)) led++;
      await new Promise(setImmediate);
    }
    await host;
    return led;
  } finally {
    around.remove();
  }
}

function readByPath(path: string, buffer: Buffer): boolean {
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      return buffer.subarray(0, readSync(fd, buffer)).includes(CANARY);
    } finally {
      closeSync(fd);
    }
  } catch {
    return false; // it has just gone, or is no file now
  }
}

async function runHost(plan: SwapPlan): Promise<SwapReport> {
  const ending = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
  const entry = fileURLToPath(new URL(`./fs-swapper${ending}`, import.meta.url));
  const child = spawn(process.execPath, [...process.execArgv, entry, JSON.stringify(plan)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    // The host is as quick as it can be, whatever the back-end is allowed to use.
    env: { ...process.env, NODE_V8_COVERAGE: '', VHOST_USER_HOST: '' },
  });
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => void chunks.push(chunk));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`the swapper ended with ${String(code)}`);
  return JSON.parse(Buffer.concat(chunks).toString()) as SwapReport;
}

/** Lines for people. */
export function formatEscape(report: EscapeReport): string {
  const { seconds, requests, host, answers, successes, escapes, leakedFds } = report;
  const number = (value: number): string => value.toLocaleString('en');
  const list = (map: ReadonlyMap<string, number>): string =>
    [...map]
      .sort((a, b) => b[1] - a[1])
      .map(([name, count]) => `${name} ${number(count)}`)
      .join(', ');
  return [
    `${String(seconds)} s: ${number(requests)} requests; the host swapped ${number(host.swaps)} ` +
      `times, moved ${number(host.moves)} folders and mended ${number(host.repairs)}`,
    `answers: ${list(answers)}`,
    `done: ${list(successes)}`,
    `escapes: ${escapes.length === 0 ? 'none' : `\n  ${escapes.join('\n  ')}`}`,
    `descriptors left: ${String(leakedFds)}`,
  ].join('\n');
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: String(DEFAULTS.seconds) },
      seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
      cache: { type: 'string', default: DEFAULTS.cache },
      owner: { type: 'string', default: DEFAULTS.owner },
    },
  });
  console.log(`seed ${values.seed}`);
  const report = await runEscape({
    seconds: Number(values.seconds),
    seed: Number(values.seed),
    cache: values.cache === 'auto' ? 'auto' : 'never',
    owner: values.owner === 'xattr' || values.owner === 'squash' ? values.owner : 'host',
  });
  console.log(formatEscape(report));
  if (report.escapes.length > 0 || report.leakedFds > 0) process.exitCode = 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
