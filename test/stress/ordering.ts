/**
 * A stress of memory ordering: a driver in this process and a device in another one exchange
 * requests over one ring, both sleeping as often as they may. A request or reply that is stale,
 * lost or doubled is an error, and so is a wake-up that never comes; see `docs/memory-ordering.md`.
 *
 *     node build/test/stress/ordering.js [--exchanges 1e8] [--seed N] [--size 512] [--depth 256]
 *                                        [--stall-ms 10000] [--plain]
 *
 * `--plain` takes the ordering out (plain accesses in place of `Atomics`): the run has to fail
 * then.
 *
 * @module
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { closeFd, createNotifier, createSharedMemory } from '../../src/sys/index.ts';
import { SharedArea, areaBytes, makeAtomicsPlain } from './exchange.ts';
import type { RoundPlan } from './exchange.ts';
import type { DeviceReport } from './ordering-device.ts';
import { StressDriver } from './stress-driver.ts';
import type { DriverReport } from './stress-driver.ts';

/** What a run is made of; everything has a default. */
export interface StressOptions {
  /** Over all rounds together. */
  readonly exchanges?: number;
  readonly size?: number;
  readonly depth?: number;
  readonly seed?: number;
  readonly stallMs?: number;
  readonly plain?: boolean;
}

/** What one round saw. */
export interface RoundReport extends DriverReport {
  readonly name: string;
  readonly exchanges: number;
  readonly device: DeviceReport;
}

/** A stall or a wrong message, with the state of the ring. */
export class StressFailure extends Error {
  override readonly name = 'StressFailure';
}

const DEFAULTS = { exchanges: 1e8, size: 512, depth: 256, stallMs: 10_000, plain: false } as const;

/** Suppression in both its forms, each with chains in the ring and in indirect tables. */
const ROUNDS: readonly { readonly name: string; readonly featureBits: readonly number[] }[] = [
  { name: 'EVENT_IDX', featureBits: [29] },
  { name: 'flags', featureBits: [] },
  { name: 'EVENT_IDX, indirect', featureBits: [28, 29] },
  { name: 'flags, indirect', featureBits: [28] },
];

/** Runs all rounds, one after the other. */
export async function runStress(
  options: StressOptions = {},
  onRound: (report: RoundReport) => void = () => undefined,
): Promise<RoundReport[]> {
  const settings = { ...DEFAULTS, seed: Date.now() % 2 ** 31, ...options };
  const exchanges = Math.ceil(settings.exchanges / ROUNDS.length);
  const reports: RoundReport[] = [];
  for (const [i, round] of ROUNDS.entries()) {
    const { size, depth, stallMs, plain } = settings;
    const seed = settings.seed + i;
    const report = await runRound({ ...round, exchanges, size, depth, stallMs, plain, seed });
    reports.push(report);
    onRound(report);
  }
  return reports;
}

async function runRound(plan: RoundPlan): Promise<RoundReport> {
  const memoryFd = createSharedMemory(areaBytes(plan), 'ordering-stress');
  const [kick, call] = [createNotifier(), createNotifier()];
  const area = new SharedArea(memoryFd, plan);
  const driver = new StressDriver(plan, area, kick.notifier, call.consumer.fd);
  const [child, text] = startDevice(plan, [memoryFd, kick.consumer.fd, call.notifier.fd]);
  const exited = once(child, 'close') as Promise<[code: number | null, signal: string | null]>;
  try {
    const counted = driver.run();
    driver.stop();
    const [code, signal] = await exited;
    if (code !== 0) {
      throw new StressFailure(`the device ended with ${String(code ?? signal)}:\n${text()}`);
    }
    const { name, exchanges } = plan;
    return { name, exchanges, ...counted, device: JSON.parse(text()) as DeviceReport };
  } catch (error) {
    driver.stop();
    await exited;
    const message = error instanceof Error ? error.message : String(error);
    throw new StressFailure(
      `${plan.name}, seed ${plan.seed}: ${message}\nthe device says: ${text()}`,
      { cause: error },
    );
  } finally {
    driver.close();
    kick.consumer.close();
    call.notifier.close();
    area.close();
    closeFd(memoryFd);
  }
}

/** The other process; and what it has written so far. */
function startDevice(
  plan: RoundPlan,
  fds: readonly number[],
): [child: ChildProcess, text: () => string] {
  const ending = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
  const entry = fileURLToPath(new URL(`./ordering-device${ending}`, import.meta.url));
  const child = spawn(process.execPath, [...process.execArgv, entry, JSON.stringify(plan)], {
    stdio: ['ignore', 'pipe', 'pipe', ...fds],
    env: { ...process.env, NODE_V8_COVERAGE: '' },
  });
  const chunks: Buffer[] = [];
  child.stdout?.on('data', (chunk: Buffer) => void chunks.push(chunk));
  child.stderr?.on('data', (chunk: Buffer) => void chunks.push(chunk));
  return [child, () => Buffer.concat(chunks).toString()];
}

/** One line for people. */
export function formatRound(report: RoundReport): string {
  const { device } = report;
  const count = (n: number): string => n.toLocaleString('en');
  return (
    `${report.name}: ${count(report.exchanges)} exchanges in ${report.seconds.toFixed(1)} s, ` +
    `${count(Math.round(report.exchanges / report.seconds))}/s; ` +
    `kicks ${count(report.kicks)}, calls ${count(device.calls)}; ` +
    `sleeps ${count(report.sleeps)} (driver) ${count(device.sleeps)} (device); saved by the last ` +
    `look ${count(report.savedByLastLook)} (driver) ${count(device.savedByLastLook)} (device)`
  );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      exchanges: { type: 'string', default: String(DEFAULTS.exchanges) },
      seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
      size: { type: 'string', default: String(DEFAULTS.size) },
      depth: { type: 'string', default: String(DEFAULTS.depth) },
      'stall-ms': { type: 'string', default: String(DEFAULTS.stallMs) },
      plain: { type: 'boolean', default: false },
    },
  });
  const { plain } = values;
  if (plain) makeAtomicsPlain();
  console.log(`seed ${values.seed}${plain ? ', plain accesses' : ''}`);
  const settings = {
    exchanges: Number(values.exchanges),
    seed: Number(values.seed),
    size: Number(values.size),
    depth: Number(values.depth),
    stallMs: Number(values['stall-ms']),
    plain,
  };
  await runStress(settings, (report) => console.log(formatRound(report)));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
