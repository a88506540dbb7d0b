/**
 * Two servers side by side, each with a client of our own front-end: every line is measured by
 * alternating runs, and those that others disturbed are repeated. One side alone is measured in the
 * same way, where there is no peer.
 *
 * @module
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { errorMessage } from '../src/util/index.ts';
import { OthersMeter, mostDisturbed, replaceTurn } from './others.ts';
import { cpuBetweenNs, sampleTree, treeResidentBytes } from './proc.ts';
import { processError } from './process.ts';
import type { Profiler } from './profile.ts';
import type { Progress } from './progress.ts';
import { Server } from './server.ts';
import type { ServerPlan } from './server.ts';

const WARM_UP_SECONDS_MAX = 0.3;
const SETTLE_MS = 300; // before a server counts as idle

/** Which of the two servers. */
export type Side = 'ours' | 'theirs';
/** Both, in the order in which they are measured. */
export const SIDES: readonly Side[] = ['ours', 'theirs'];

/** One run, of one side. */
export interface DuelRun {
  /** Operations a second: requests, blocks, round trips, connections. */
  readonly perSecond: number;
  /** The server's CPU time, in microseconds an operation. */
  readonly cpuUs: number;
  /** Microseconds, half of the operations took less; null where it is not known. */
  readonly p50Us: number | null;
  /** CPUs that were busy with something else meanwhile. */
  readonly othersCpus: number;
}

/** What was seen of one server apart from the lines. */
export interface DuelServerFacts {
  readonly side: Side;
  readonly name: string;
  /** From the start of the process until it listened. */
  readonly startMs: readonly number[];
  /** CPU time in parts of the wall time, with a client connected that does nothing. */
  readonly idleCpu: number;
  /** Resident memory of its own, after the load. */
  readonly residentBytes: number;
}

/** How much is measured. */
export interface DuelEffort {
  /** Runs of each side for each line. */
  readonly runs: number;
  readonly seconds: number;
  readonly idleSeconds: number;
  readonly starts: number;
  /** Further rounds for a line whose runs were disturbed; each replaces the most disturbed run. */
  readonly patience: number;
}

/** What a client saw of one run. */
export interface DuelLoadResult {
  readonly operations: number;
  readonly seconds: number;
  /** Microseconds; null where that says nothing. */
  readonly p50Us: number | null;
}

/** A client of one server. */
export interface DuelClient<Row> {
  /** Around each run, and not measured. */
  prepare?(row: Row): Promise<void>;
  run(row: Row, seconds: number): Promise<DuelLoadResult>;
  finish?(row: Row): Promise<void>;
  close(): Promise<void>;
}

/** What is measured, and how. */
export interface DuelPlan<Row, Plan extends ServerPlan = ServerPlan> {
  /** Before what is said of the progress, such as `cache=auto: `. */
  readonly title: string;
  readonly rows: readonly Row[];
  readonly effort: DuelEffort;
  /** Who is measured; ours is among them, and the first. */
  readonly sides: readonly Side[];
  readonly serverPlan: (side: Side) => Plan;
  readonly keyOf: (row: Row) => string;
  /** Lines with the same word here share a client, which stays connected. */
  readonly clientKeyOf: (row: Row) => string;
  readonly openClient: (plan: Plan, row: Row) => Promise<DuelClient<Row>>;
  /**
   * Present when the other side may fail in a line: what it did then is said, in place of its
   * figures, and the next line meets a new one of it.
   */
  readonly onTheirFailure?: (row: Row, why: string) => void;
  readonly profiler: Profiler | null;
  readonly keepRuns: (row: Row, runs: Readonly<Record<Side, readonly DuelRun[]>>) => void;
  readonly keepFacts: (facts: DuelServerFacts) => void;
}

/** Steps of the progress that `runDuel` makes. */
export function duelSteps(rowCount: number, effort: DuelEffort, sideCount: number): number {
  if (rowCount === 0) return 0;
  return sideCount * (rowCount * (effort.runs + 1) + effort.starts) + 1;
}

/** Runs it. What was measured before a failure has been kept. */
export async function runDuel<Row, Plan extends ServerPlan>(
  plan: DuelPlan<Row, Plan>,
  progress: Progress,
): Promise<void> {
  if (plan.rows.length > 0) await new Duel(plan, progress).run();
}

interface Party<Row, Plan> {
  readonly side: Side;
  readonly plan: Plan;
  server: Server;
  client: DuelClient<Row>;
}

class Duel<Row, Plan extends ServerPlan> {
  readonly #plan: DuelPlan<Row, Plan>;
  readonly #progress: Progress;
  readonly #parties: Party<Row, Plan>[] = [];
  #clientKey: string; // of the clients that there are

  constructor(plan: DuelPlan<Row, Plan>, progress: Progress) {
    this.#plan = plan;
    this.#progress = progress;
    this.#clientKey = plan.clientKeyOf(plan.rows[0] as Row);
  }

  async run(): Promise<void> {
    const { sides, rows } = this.#plan;
    const parties = this.#parties;
    const starts = await this.#measureStarts();
    try {
      for (const side of sides) parties.push(await this.#open(side, rows[0] as Row));
      for (const row of rows) await this.#profileRow(row);
      await this.#measureIdle(starts);
    } catch (error) {
      const dead = parties.find(({ server }) => !server.running)?.server;
      if (dead === undefined) throw error;
      throw processError(`${dead.plan.name} has died: ${errorMessage(error)}\n${dead.logTail}`);
    } finally {
      for (const { client } of parties) await client.close();
      for (const { server } of parties) await server.stop();
    }
  }

  async #open(side: Side, row: Row): Promise<Party<Row, Plan>> {
    const plan = this.#plan.serverPlan(side);
    const server = await Server.start(plan);
    try {
      return { side, plan, server, client: await this.#plan.openClient(plan, row) };
    } catch (error) {
      const { logTail } = server;
      await server.stop();
      throw processError(`${plan.name}: ${errorMessage(error)}\n${logTail}`);
    }
  }

  /** Milliseconds to listen, by side. */
  async #measureStarts(): Promise<Record<Side, number[]>> {
    const times: Record<Side, number[]> = { ours: [], theirs: [] };
    const { effort, sides, serverPlan, title } = this.#plan;
    this.#progress.group(`${title}start to listening`);
    for (let start = 1; start <= effort.starts; start++) {
      for (const side of sides) {
        this.#progress.step(`${String(start)} of ${String(effort.starts)}`);
        const server = await Server.start(serverPlan(side));
        times[side].push(server.startMs);
        await server.stop();
      }
    }
    return times;
  }

  /** With a profile of our server of its own, when one is wanted. */
  async #profileRow(row: Row): Promise<void> {
    const { keyOf, clientKeyOf, openClient, profiler } = this.#plan;
    const clientKey = clientKeyOf(row);
    if (clientKey !== this.#clientKey) {
      this.#clientKey = clientKey;
      for (const party of this.#parties) {
        await party.client.close();
        party.client = await openClient(party.plan, row);
      }
    }
    const [ours] = this.#parties as [Party<Row, Plan>];
    const detach = await profiler?.attach(ours.server.pid, keyOf(row).replaceAll(/[^\w]+/g, '-'));
    try {
      await this.#runRow(row);
    } finally {
      await detach?.();
    }
  }

  async #runRow(row: Row): Promise<void> {
    const { effort, keyOf, keepRuns } = this.#plan;
    const runs: Record<Side, DuelRun[]> = { ours: [], theirs: [] };
    const failed = new Set<Side>();
    const measured = async (side: Side, seconds: number): Promise<DuelRun | null> => {
      const party = this.#parties.find((each) => each.side === side) as Party<Row, Plan>;
      const run = failed.has(side) ? null : await this.#measure(party, row, seconds);
      if (run === null) failed.add(side);
      return run;
    };
    const sides = this.#parties.map(({ side }) => side);
    this.#progress.group(keyOf(row));
    for (let run = 0; run <= effort.runs; run++) {
      for (const side of sides) {
        const warmUp = run === 0;
        const text = warmUp ? 'warm-up' : `${String(run)} of ${String(effort.runs)}`;
        this.#progress.step(`${side} ${text}`);
        const seconds = warmUp ? Math.min(effort.seconds, WARM_UP_SECONDS_MAX) : effort.seconds;
        const result = await measured(side, seconds);
        if (!warmUp && result !== null) runs[side].push(result);
      }
    }
    for (let round = 1; round <= effort.patience; round++) {
      const going = sides.filter((side) => !failed.has(side));
      const kept = going.map((side) => runs[side]);
      const worst = mostDisturbed(kept);
      if (worst < 0) break;
      const again: DuelRun[] = [];
      for (const side of going) {
        this.#progress.again(`${side} again ${String(round)} of ${String(effort.patience)}`);
        const result = await measured(side, effort.seconds);
        if (result !== null) again.push(result);
      }
      if (again.length === going.length) replaceTurn(kept, worst, again);
    }
    for (const side of failed) runs[side].length = 0; // its figures are not worth anything
    keepRuns(row, runs);
  }

  /** One run; null when the other side failed and may do so: then there is a new one of it. */
  async #measure(party: Party<Row, Plan>, row: Row, seconds: number): Promise<DuelRun | null> {
    const { onTheirFailure } = this.#plan;
    try {
      return await measure(party, row, seconds);
    } catch (error) {
      if (party.side === 'ours' || onTheirFailure === undefined) throw error;
      onTheirFailure(row, errorMessage(error).split('\n', 1)[0] as string);
    }
    await party.client.close();
    await party.server.stop();
    const again = await this.#open(party.side, row);
    party.server = again.server;
    party.client = again.client;
    return null;
  }

  async #measureIdle(starts: Readonly<Record<Side, readonly number[]>>): Promise<void> {
    const { effort, title, keepFacts } = this.#plan;
    this.#progress.group(`${title}idle, with a client that is connected`);
    this.#progress.step(`${String(effort.idleSeconds)} s`);
    await sleep(SETTLE_MS);
    const before = this.#parties.map(({ server }) => sampleTree(server.pid));
    const startMs = performance.now();
    await sleep(effort.idleSeconds * 1000);
    const wallNs = (performance.now() - startMs) * 1e6;
    for (const [at, { side, server }] of this.#parties.entries()) {
      const from = before[at] as ReturnType<typeof sampleTree>;
      keepFacts({
        side,
        name: server.plan.name,
        startMs: starts[side],
        idleCpu: cpuBetweenNs(from, sampleTree(server.pid)) / wallNs,
        residentBytes: treeResidentBytes(server.pid),
      });
    }
  }
}

/** One run, with the CPU time of the server around it. */
async function measure<Row>(
  { server, client }: { readonly server: Server; readonly client: DuelClient<Row> },
  row: Row,
  seconds: number,
): Promise<DuelRun> {
  await client.prepare?.(row);
  const others = new OthersMeter();
  const before = sampleTree(server.pid);
  const { operations, seconds: taken, p50Us } = await client.run(row, seconds);
  const cpuNs = cpuBetweenNs(before, sampleTree(server.pid));
  const othersCpus = others.othersCpus();
  await client.finish?.(row);
  const perSecond = operations / taken;
  return { perSecond, cpuUs: cpuNs / 1000 / operations, p50Us, othersCpus };
}
