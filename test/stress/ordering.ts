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
import { Notifier, closeFd, createNotifier, createSharedMemory } from '../../src/sys/index.ts';
import { DriverRing } from '../../src/virtqueue/index.ts';
import {
  CONTROL,
  MARK,
  Random,
  SLOT,
  SharedArea,
  Waiter,
  areaBytes,
  makeAtomicsPlain,
} from './exchange.ts';
import type { RoundPlan } from './exchange.ts';
import type { DeviceReport } from './ordering-device.ts';

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
export interface RoundReport {
  readonly name: string;
  readonly exchanges: number;
  readonly seconds: number;
  readonly kicks: number;
  readonly sleeps: number;
  /** Times that the driver's last look before sleeping found a reply. */
  readonly savedByLastLook: number;
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

const IDLE_LOOKS_MAX = 60; // looks at the ring before sleeping; often none

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
    return { ...counted, device: JSON.parse(text()) as DeviceReport };
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

class StressDriver {
  readonly #plan: RoundPlan;
  readonly #area: SharedArea;
  readonly #ring: DriverRing;
  readonly #kick: Notifier;
  readonly #call: Waiter;
  readonly #random: Random;
  readonly #batchMax: number;
  readonly #freeSlots: number[];
  readonly #sequence: Uint32Array; // by slot
  #sent = 0;
  #done = 0;
  #kicks = 0;
  #sleeps = 0;
  #savedByLastLook = 0;

  /** Takes over the notifier and the fd. */
  constructor(plan: RoundPlan, area: SharedArea, kick: Notifier, callFd: number) {
    this.#plan = plan;
    this.#area = area;
    this.#ring = new DriverRing(area.ring);
    this.#kick = kick;
    this.#call = new Waiter(callFd, plan.stallMs);
    this.#batchMax = plan.depth >> 1;
    this.#random = new Random(plan.seed);
    this.#freeSlots = Array.from({ length: plan.depth }, (_, i) => i);
    this.#sequence = new Uint32Array(plan.depth);
  }

  run(): Omit<RoundReport, 'device'> {
    const { name, exchanges } = this.#plan;
    const { control } = this.#area;
    const start = performance.now();
    while (this.#done < exchanges) {
      this.#turn();
      if (Atomics.load(control, CONTROL.failed) !== 0) throw new Error('the device gave up');
    }
    const seconds = (performance.now() - start) / 1000;
    const [kicks, sleeps] = [this.#kicks, this.#sleeps];
    return { name, exchanges, seconds, kicks, sleeps, savedByLastLook: this.#savedByLastLook };
  }

  /** Tells the device to end. */
  stop(): void {
    Atomics.store(this.#area.control, CONTROL.stop, 1);
    this.#kick.signal();
  }

  close(): void {
    this.#kick.close();
    this.#call.close();
  }

  #turn(): void {
    const room = Math.min(this.#freeSlots.length, this.#plan.exchanges - this.#sent);
    if (room > 0) this.#submit(Math.min(room, this.#random.batch(this.#batchMax)));
    if (this.#random.below(4) === 0) this.#ring.disableInterrupts();
    if (this.#takeAll() > 0) return;
    // With room left, go on submitting as often as not, so that the ring is full, empty and
    // between.
    if (this.#freeSlots.length > 0 && this.#random.below(2) === 0) return;
    this.#idle();
  }

  #submit(count: number): void {
    const ring = this.#ring;
    const { words } = this.#area;
    for (let i = 0; i < count; i++) {
      const slot = this.#freeSlots.pop()!;
      const sequence = this.#sent++ >>> 0;
      const at = slot * SLOT.SIZE;
      words[at] = sequence ^ MARK.first;
      words[at + SLOT.LAST] = sequence ^ MARK.last;
      this.#sequence[slot] = sequence;
      const gpa = this.#area.slotGpa(slot);
      ring.stageReadable(gpa, SLOT.MESSAGE_BYTES);
      ring.stageWritable(gpa + 4 * SLOT.reply, SLOT.MESSAGE_BYTES);
      if (!ring.add(slot)) throw new Error('the ring has no room for what is in flight at most');
    }
    if (!ring.publish()) return;
    this.#kicks++;
    this.#kick.signal();
  }

  #takeAll(): number {
    const ring = this.#ring;
    let count = 0;
    for (let slot = ring.take(); slot >= 0; slot = ring.take()) {
      this.#check(slot);
      this.#freeSlots.push(slot);
      count++;
    }
    if (ring.fault !== null) throw new Error(`${ring.fault.code}: ${ring.fault.message}`);
    this.#done += count;
    return count;
  }

  /** Whether the reply is to this request, whole and fresh. */
  #check(slot: number): void {
    const { words } = this.#area;
    const at = slot * SLOT.SIZE + SLOT.reply;
    const expected = this.#sequence[slot]!;
    const first = (words[at]! ^ MARK.reply ^ MARK.first) >>> 0;
    const last = (words[at + SLOT.LAST]! ^ MARK.reply ^ MARK.last) >>> 0;
    if (first === expected && last === expected && this.#ring.usedBytes === SLOT.MESSAGE_BYTES) {
      return;
    }
    throw new Error(
      `the reply to ${expected} reads ${first} and ${last}: ${this.#area.describe()}`,
    );
  }

  /** Sleeps until some of what is in flight is back. */
  #idle(): void {
    const ring = this.#ring;
    if (ring.inFlight === 0) return;
    const looks = this.#random.below(2) === 0 ? 0 : this.#random.below(IDLE_LOOKS_MAX);
    for (let i = 0; i < looks; i++) if (ring.hasUsed()) return;
    const after = this.#random.below(4) === 0 ? this.#random.batch(ring.inFlight) : 1;
    if (ring.enableInterrupts(after)) {
      this.#savedByLastLook++;
      return;
    }
    this.#sleeps++;
    if (this.#call.wait()) return;
    const what = ring.hasUsed() ? 'although replies are waiting' : 'and no reply is waiting';
    throw new Error(
      `stalled after ${this.#done} exchanges: no notification for ${this.#plan.stallMs} ms, ` +
        `${what}; ${ring.inFlight} in flight, wanted after ${after}; ${this.#area.describe()}`,
    );
  }
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
