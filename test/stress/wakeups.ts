/**
 * A stress of wake-ups: a whole runner, with its reactor, its notifiers and a device that finishes
 * requests now and later, against drivers that sleep until they are notified, while the control
 * plane stops rings and starts them again, switches them off and on, moves the memory and replaces
 * fds. A kick or a call that is lost leaves a driver asleep for ever: that is an error.
 *
 *     node build/test/stress/wakeups.js [--exchanges 1e6] [--seed N] [--stall-ms 20000]
 *                                       [--pause-us 30] [--filter TEXT]
 *
 * The other stress, `ordering.ts`, is about the ring alone, and quicker.
 *
 * @module
 */
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { COUNTER } from '../../src/backend/index.ts';
import { EventLoopRunner, WorkerRunner } from '../../src/backend/runner/index.ts';
import type { QueueRunner, RunnerEvents } from '../../src/backend/runner/index.ts';
import {
  closeFd,
  createNotifier,
  createPipeNotifier,
  createSharedMemory,
  dupFd,
  notifierKind,
} from '../../src/sys/index.ts';
import type { Notifier, NotifierConsumer } from '../../src/sys/index.ts';
import type { DriverRingConfig } from '../../src/virtqueue/index.ts';
import { CONTROL, Random, SharedArea, areaBytes } from './exchange.ts';
import type { RoundPlan } from './exchange.ts';
import type { DriverReport } from './stress-driver.ts';
import type { WakeupsDriverStart } from './wakeups-driver.worker.ts';
import { localPlane } from './wakeups-plane.ts';

/** How a round is served. */
interface Service {
  readonly name: string;
  readonly featureBits: readonly number[];
  readonly ringCount: number;
  /** `local` is the event loop. */
  readonly runner: 'worker' | 'local';
  readonly pollUs: number;
  /** A front-end may send pipes to a host that has eventfd, too. */
  readonly notifiers: 'eventfd' | 'pipe';
}

/** What a run is made of; everything has a default. */
export interface WakeupsOptions {
  /** Over all rounds and rings together. */
  readonly exchanges?: number;
  readonly seed?: number;
  readonly stallMs?: number;
  /** How late an access of a ring may be, at most. */
  readonly pauseUs?: number;
  /** Only rounds whose name holds this. */
  readonly filter?: string;
}

/** What the control plane did to the rings. */
type Disturbances = Record<(typeof DISTURBANCES)[number], number>;

/** What one round saw. */
export interface WakeupsReport {
  readonly name: string;
  /** How the thread waits: `io_uring`, `poll`, `event loop`, and so on. */
  readonly waits: string;
  readonly exchanges: number;
  readonly seconds: number;
  readonly drivers: readonly DriverReport[];
  readonly kicks: number;
  readonly calls: number;
  /** Of the thread; 0 for the event loop, which does not count them. */
  readonly sleeps: number;
  readonly disturbances: Disturbances;
}

const DEFAULTS = { exchanges: 1e6, stallMs: 20_000, pauseUs: 30, filter: '' } as const;
const DISTURBANCES = ['stops', 'disabled', 'moves', 'newKicks', 'newCalls', 'kicked'] as const;
const EVENT_IDX = 29;
const CLOSE_MS = 10_000;

const OWN = notifierKind();
const NOTIFIERS = [...new Set([OWN, 'pipe'] as const)];
const HOW: readonly Omit<Service, 'featureBits' | 'ringCount'>[] = [
  ...NOTIFIERS.flatMap((notifiers) => [
    { name: `thread, ${notifiers}`, runner: 'worker' as const, pollUs: 0, notifiers },
    { name: `thread that polls, ${notifiers}`, runner: 'worker' as const, pollUs: 40, notifiers },
  ]),
  { name: `event loop, ${OWN}`, runner: 'local', pollUs: 0, notifiers: OWN },
];

/**
 * Each way to wait, with both forms of suppression; with one ring, since a second one that wakes
 * the thread hides what was lost of the first, and with two, which must not make each other deaf.
 */
const SERVICES: readonly Service[] = HOW.flatMap((how) =>
  [1, 2].flatMap((ringCount) => [
    { ...how, ringCount, name: `${how.name}, EVENT_IDX, ${ringCount}`, featureBits: [EVENT_IDX] },
    { ...how, ringCount, name: `${how.name}, flags, ${ringCount}`, featureBits: [] },
  ]),
);

const GPAS: readonly number[] = [0x1_0000_0000, 0x2_0000_0000];
const RING = { size: 16, depth: 8 } as const;
/** Exchanges of each ring between two disturbances: more than it has in flight. */
const SETTLED_MIN = 2 * RING.depth;
const SETTLED_MORE = 32;

/** Runs the rounds, one after the other. */
export async function runWakeups(
  options: WakeupsOptions = {},
  onRound: (report: WakeupsReport) => void = () => undefined,
): Promise<WakeupsReport[]> {
  const settings = { ...DEFAULTS, seed: Date.now() % 2 ** 31, ...options };
  const services = SERVICES.filter(({ name }) => name.includes(settings.filter));
  const perRound = settings.exchanges / services.length;
  const reports: WakeupsReport[] = [];
  for (const [i, service] of services.entries()) {
    const { stallMs, pauseUs } = settings;
    const seed = settings.seed + i;
    const { name, featureBits, ringCount } = service;
    const exchanges = Math.ceil(perRound / ringCount);
    const plan = { ...RING, name, featureBits, exchanges, stallMs, seed, plain: false };
    const round = new Round(service, plan, pauseUs);
    try {
      const report = await round.run();
      reports.push(report);
      onRound(report);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      throw new Error(`${name}, seed ${seed}: ${message}; ${round.describe()}`, { cause: error });
    } finally {
      await round.close();
    }
  }
  return reports;
}

/** One ring: its memory, mapped twice, and the notifiers, of which each side gets copies. */
class StressRing {
  readonly index: number;
  readonly gpa: number;
  readonly memoryFd: number;
  readonly areas: readonly SharedArea[];
  readonly kick: { readonly notifier: Notifier; readonly consumer: NotifierConsumer };
  readonly call: { readonly notifier: Notifier; readonly consumer: NotifierConsumer };
  /** Nobody listens to it. */
  readonly masked: { readonly notifier: Notifier; readonly consumer: NotifierConsumer };

  constructor(index: number, gpa: number, plan: RoundPlan, notifiers: Service['notifiers']) {
    this.index = index;
    this.gpa = gpa;
    this.memoryFd = createSharedMemory(areaBytes(plan), 'wakeups-stress');
    this.areas = [0, 1].map(() => new SharedArea(this.memoryFd, plan, gpa));
    const create = notifiers === 'pipe' ? createPipeNotifier : createNotifier;
    this.kick = create();
    this.call = create();
    this.masked = create();
  }

  /** Exchanges that its driver has done. */
  get done(): number {
    return Atomics.load(this.areas[0]!.control, CONTROL.done);
  }

  /** The ring as one of the two mappings has it. */
  config(mapping: number): DriverRingConfig {
    return { ...this.areas[mapping]!.ring, index: this.index };
  }

  close(): void {
    for (const { notifier, consumer } of [this.kick, this.call, this.masked]) {
      notifier.close();
      consumer.close();
    }
    for (const area of this.areas) area.close();
    closeFd(this.memoryFd);
  }
}

class Round {
  readonly #service: Service;
  readonly #plan: RoundPlan;
  readonly #pauseUs: number;
  readonly #random: Random;
  readonly #rings: readonly StressRing[];
  readonly #runner: QueueRunner;
  readonly #threads: Worker[] = [];
  readonly #done: Disturbances;
  #failed: (error: Error) => void = () => undefined;
  #at = 'starting';
  #mapping = 0;
  #over = false;

  constructor(service: Service, plan: RoundPlan, pauseUs: number) {
    this.#service = service;
    this.#plan = plan;
    this.#pauseUs = pauseUs;
    this.#random = new Random(plan.seed ^ 0x0f0f_0f0f);
    const gpas = GPAS.slice(0, service.ringCount);
    this.#rings = gpas.map((gpa, i) => new StressRing(i, gpa, plan, service.notifiers));
    const options = { seed: plan.seed, pauseUs };
    const ending = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
    const module = new URL(`./wakeups-plane${ending}`, import.meta.url);
    const events: RunnerEvents = {
      fault: (index, { message }) => this.#failed(new Error(`ring ${index}: ${message}`)),
      log: (level, text) => {
        if (level === 'error') this.#failed(new Error(text));
      },
      told: () => undefined,
      failed: (error) => this.#failed(error),
    };
    const { pollUs } = service;
    this.#runner =
      service.runner === 'local'
        ? new EventLoopRunner(localPlane(options), events)
        : new WorkerRunner({ kind: 'worker', module, options, threads: 1, pollUs }, events);
    this.#done = Object.fromEntries(DISTURBANCES.map((each) => [each, 0])) as Disturbances;
  }

  async run(): Promise<WakeupsReport> {
    const failure = new Promise<never>((_resolve, reject) => {
      this.#failed = reject;
    });
    return Promise.race([this.#work(), failure]);
  }

  /** What the control plane was at, and the rings' words. */
  describe(): string {
    const rings = this.#rings.map(
      ({ index, areas }) => `ring ${index}: ${areas[0]?.describe() ?? ''}`,
    );
    return [`control plane: ${this.#at}`, JSON.stringify(this.#done), ...rings].join('; ');
  }

  /** Also after a failure, when drivers may be asleep, and the runner as well. */
  async close(): Promise<void> {
    this.#over = true;
    await Promise.all(this.#threads.map((thread) => thread.terminate()));
    const closed = this.#runner.close().then(() => true);
    const isClosed = await Promise.race([closed, sleep(CLOSE_MS, false, { ref: false })]);
    if (!isClosed) return; // what it does not give back it may use
    for (const ring of this.#rings) ring.close();
  }

  async #work(): Promise<WakeupsReport> {
    const waits = await this.#runner.ready();
    await this.#runner.setFeatures(this.#features);
    await this.#runner.setMemory(this.#regions, []);
    for (const ring of this.#rings) await this.#start(ring, 0);
    const start = performance.now();
    let left = this.#rings.length;
    const drivers = this.#rings.map(async (ring) => {
      const report = await this.#drive(ring);
      left--;
      return report;
    });
    const all = Promise.all(drivers);
    all.catch((error: unknown) => this.#failed(error as Error));
    while (left > 0 && !this.#over) {
      await this.#disturb();
      if (this.#random.below(4) !== 0) await this.#settle(); // else two of them meet
    }
    const reports = await all;
    const seconds = (performance.now() - start) / 1000;
    const { counters } = this.#runner;
    const { name, exchanges } = this.#plan;
    const [kicks, calls, sleeps] = [COUNTER.kicks, COUNTER.calls, COUNTER.sleeps].map(
      (slot) => counters[slot] as number,
    ) as [number, number, number];
    return {
      ...{ name, waits, exchanges: exchanges * this.#rings.length, seconds, drivers: reports },
      ...{ kicks, calls, sleeps, disturbances: this.#done },
    };
  }

  /** Does one thing to a ring that its driver must not notice. */
  async #disturb(): Promise<void> {
    const what = DISTURBANCES[this.#random.below(DISTURBANCES.length)]!;
    const ring = this.#rings[this.#random.below(this.#rings.length)]!;
    const { index } = ring;
    const runner = this.#runner;
    this.#at = `${what} of ring ${index}`;
    switch (what) {
      case 'stops': {
        const { availIndex } = await runner.stopRing(index);
        if (this.#random.below(2) === 0) await this.#quiet();
        await this.#start(ring, availIndex);
        break;
      }
      case 'disabled':
        await runner.setEnabled(index, false);
        if (this.#random.below(2) === 0) await this.#quiet();
        await runner.setEnabled(index, true);
        break;
      case 'moves':
        this.#mapping = 1 - this.#mapping;
        await runner.setMemory(
          this.#regions,
          this.#rings.map((each) => each.config(this.#mapping)),
        );
        break;
      case 'newKicks':
        if (this.#random.below(2) === 0) {
          await runner.setKickFd(index, -1); // the ring is polled until there is one again
          await this.#settle();
        }
        await runner.setKickFd(index, dupFd(ring.kick.consumer.fd));
        break;
      case 'newCalls':
        // As QEMU masks an interrupt: what is told meanwhile nobody hears.
        await runner.setCallFd(index, dupFd(ring.masked.notifier.fd));
        if (this.#random.below(2) === 0) await this.#quiet();
        await runner.setCallFd(index, dupFd(ring.call.notifier.fd));
        break;
      case 'kicked':
        runner.kick(index);
        break;
    }
    this.#done[what]++;
    this.#at = `after ${this.#at}`;
  }

  /**
   * Leaves the rings alone until each driver has had all its requests answered, some times over.
   * What is done to a ring wakes its sides as well: the next thing would hide what this one lost.
   */
  async #settle(): Promise<void> {
    const { exchanges } = this.#plan;
    const wanted = this.#rings.map(({ done }) =>
      Math.min(done + SETTLED_MIN + this.#random.below(SETTLED_MORE), exchanges),
    );
    while (!this.#over && this.#rings.some(({ done }, i) => done < wanted[i]!)) await this.#quiet();
  }

  /** Lets a moment pass. */
  async #quiet(): Promise<void> {
    if (this.#random.below(4) === 0) await sleep(this.#random.below(3));
    else await turn();
  }

  async #start(ring: StressRing, availIndex: number): Promise<void> {
    const config = { ...ring.config(this.#mapping), availIndex };
    const [kickFd, callFd] = [dupFd(ring.kick.consumer.fd), dupFd(ring.call.notifier.fd)];
    await this.#runner.startRing({ config, kickFd, callFd, errFd: -1, enabled: true });
  }

  #drive(ring: StressRing): Promise<DriverReport> {
    const ending = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
    const entry = new URL(`./wakeups-driver.worker${ending}`, import.meta.url);
    const workerData: WakeupsDriverStart = {
      plan: { ...this.#plan, seed: this.#plan.seed + 1000 * (ring.index + 1) },
      ...{ gpa: ring.gpa, pauseUs: this.#pauseUs, memoryFd: ring.memoryFd },
      kickFd: dupFd(ring.kick.notifier.fd),
      callFd: dupFd(ring.call.consumer.fd),
    };
    const thread = new Worker(entry, { workerData, trackUnmanagedFds: false });
    this.#threads.push(thread);
    return new Promise((resolve, reject) => {
      thread.once('message', (report: DriverReport) => resolve(report));
      thread.once('error', (error) => reject(new Error(`ring ${ring.index}: ${error.message}`)));
    });
  }

  get #features(): bigint {
    return this.#plan.featureBits.reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n);
  }

  get #regions(): SharedArea['memory']['regions'] {
    return this.#rings.flatMap((each) => each.areas[this.#mapping]!.memory.regions);
  }
}

/** One line for people. */
export function formatWakeups(report: WakeupsReport): string {
  const count = (n: number): string => n.toLocaleString('en');
  const { drivers, disturbances } = report;
  const driverSleeps = drivers.reduce((sum, { sleeps }) => sum + sleeps, 0);
  const done = DISTURBANCES.map((each) => `${each} ${count(disturbances[each])}`).join(', ');
  return (
    `${report.name} (${report.waits}): ${count(report.exchanges)} exchanges in ` +
    `${report.seconds.toFixed(1)} s; kicks ${count(report.kicks)}, calls ${count(report.calls)}; ` +
    `sleeps ${count(driverSleeps)} (drivers) ${count(report.sleeps)} (thread); ${done}`
  );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      exchanges: { type: 'string', default: String(DEFAULTS.exchanges) },
      seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
      'stall-ms': { type: 'string', default: String(DEFAULTS.stallMs) },
      'pause-us': { type: 'string', default: String(DEFAULTS.pauseUs) },
      filter: { type: 'string', default: DEFAULTS.filter },
    },
  });
  console.log(`seed ${values.seed}`);
  const settings = {
    exchanges: Number(values.exchanges),
    seed: Number(values.seed),
    stallMs: Number(values['stall-ms']),
    pauseUs: Number(values['pause-us']),
    filter: values.filter,
  };
  await runWakeups(settings, (report) => console.log(formatWakeups(report)));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
