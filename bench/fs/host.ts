/**
 * The benchmark by our own front-end, without a virtual machine: our server and virtiofsd side by
 * side on one folder, each line measured by alternating runs.
 *
 * @module
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { errorMessage } from '../../src/util/index.ts';
import { OTHERS_CPUS_MAX, OthersMeter } from '../others.ts';
import { cpuBetweenNs, sampleTree, treeResidentBytes } from '../proc.ts';
import { processError } from '../process.ts';
import type { Profiler } from '../profile.ts';
import type { Progress } from '../progress.ts';
import { Server } from '../server.ts';
import type { ServerPlan } from '../server.ts';
import { FsLoadClient } from './load.ts';
import { CACHES, rowKey } from './plan.ts';
import type { CacheMode, HostCell } from './plan.ts';
import { SIDES, keepFacts, resultOf } from './result.ts';
import type { FsEffort, FsReport, FsRun, Side } from './result.ts';

const CELL_WARM_UP_SECONDS_MAX = 0.3;
const SETTLE_MS = 300; // before a server counts as idle

/** What is measured, and how; the report has what there is already. */
export interface HostBenchPlan {
  readonly cells: readonly HostCell[];
  readonly effort: FsEffort;
  readonly serverPlan: (cache: CacheMode, side: Side) => ServerPlan;
  readonly profiler: Profiler | null;
  /** Called when there is something new in the report. */
  readonly save: () => void;
}

interface Party {
  readonly side: Side;
  readonly server: Server;
  readonly client: FsLoadClient;
}

/** Cells that have not been measured yet. */
export function hostCellsLeft(plan: HostBenchPlan, report: FsReport): HostCell[] {
  const { runs } = plan.effort;
  return plan.cells.filter((cell) => {
    const { ours, theirs } = resultOf(report, cell);
    return ours.length < runs || theirs.length < runs;
  });
}

/** Steps of the progress that `runHost` makes. */
export function hostSteps(plan: HostBenchPlan, report: FsReport): number {
  const left = hostCellsLeft(plan, report);
  const { runs, starts } = plan.effort;
  const modes = new Set(left.map((cell) => cell.cache)).size;
  return left.length * 2 * (runs + 1) + modes * (2 * starts + 1);
}

/** Runs it. What was measured before a failure is in the report. */
export async function runHost(
  plan: HostBenchPlan,
  report: FsReport,
  progress: Progress,
): Promise<void> {
  const left = hostCellsLeft(plan, report);
  for (const cache of CACHES) {
    const cells = left.filter((cell) => cell.cache === cache);
    if (cells.length > 0) await new HostDuel(plan, cache, report, progress).run(cells);
  }
}

/** The two servers of one cache mode. */
class HostDuel {
  readonly #plan: HostBenchPlan;
  readonly #cache: CacheMode;
  readonly #report: FsReport;
  readonly #progress: Progress;

  constructor(plan: HostBenchPlan, cache: CacheMode, report: FsReport, progress: Progress) {
    this.#plan = plan;
    this.#cache = cache;
    this.#report = report;
    this.#progress = progress;
  }

  async run(cells: readonly HostCell[]): Promise<void> {
    const starts = await this.#measureStarts();
    const parties: Party[] = [];
    try {
      for (const side of SIDES) parties.push(await this.#open(side));
      for (const cell of cells) await this.#profileCell(cell, parties);
      await this.#measureIdle(parties, starts);
    } catch (error) {
      const dead = parties.find(({ server }) => !server.running)?.server;
      if (dead === undefined) throw error;
      throw processError(`${dead.plan.name} has died: ${errorMessage(error)}\n${dead.logTail}`);
    } finally {
      for (const { client } of parties) await client.close();
      for (const { server } of parties) await server.stop();
      this.#plan.save();
    }
  }

  async #open(side: Side): Promise<Party> {
    const server = await Server.start(this.#plan.serverPlan(this.#cache, side));
    try {
      return { side, server, client: await FsLoadClient.open(server.plan.socketPath) };
    } catch (error) {
      const { logTail } = server;
      await server.stop();
      throw processError(`${server.plan.name}: ${errorMessage(error)}\n${logTail}`);
    }
  }

  /** Milliseconds to listen, by side. */
  async #measureStarts(): Promise<Record<Side, number[]>> {
    const times: Record<Side, number[]> = { ours: [], theirs: [] };
    const { starts } = this.#plan.effort;
    this.#progress.group(`cache=${this.#cache}: start to listening`);
    for (let start = 1; start <= starts; start++) {
      for (const side of SIDES) {
        this.#progress.step(`${start} of ${starts}`);
        const server = await Server.start(this.#plan.serverPlan(this.#cache, side));
        times[side].push(server.startMs);
        await server.stop();
      }
    }
    return times;
  }

  /** With a profile of our server of its own, when one is wanted. */
  async #profileCell(cell: HostCell, parties: readonly Party[]): Promise<void> {
    const [ours] = parties as [Party, Party];
    const label = rowKey(cell).replaceAll(/[^\w]+/g, '-');
    const detach = await this.#plan.profiler?.attach(ours.server.pid, label);
    try {
      await this.#runCell(cell, parties);
    } finally {
      await detach?.();
    }
  }

  async #runCell(cell: HostCell, parties: readonly Party[]): Promise<void> {
    const { effort } = this.#plan;
    const runs: Record<Side, FsRun[]> = { ours: [], theirs: [] };
    this.#progress.group(rowKey(cell));
    for (let run = 0; run <= effort.runs; run++) {
      for (const party of parties) {
        const warmUp = run === 0;
        const text = warmUp ? 'warm-up' : `${run} of ${effort.runs}`;
        this.#progress.step(`${party.side} ${text}`);
        const seconds = warmUp
          ? Math.min(effort.seconds, CELL_WARM_UP_SECONDS_MAX)
          : effort.seconds;
        const result = await measure(party, cell, seconds);
        if (!warmUp) runs[party.side].push(result);
      }
    }
    for (let round = 1; round <= effort.patience; round++) {
      for (const party of parties) {
        const mine = runs[party.side];
        const worst = mostDisturbed(mine);
        if (worst < 0) continue;
        this.#progress.again(`${party.side} again ${round} of ${effort.patience}`);
        const result = await measure(party, cell, effort.seconds);
        if (result.othersCpus < (mine[worst] as FsRun).othersCpus) mine[worst] = result;
      }
    }
    const kept = resultOf(this.#report, cell);
    for (const side of SIDES) kept[side].splice(0, Infinity, ...runs[side]);
    this.#plan.save();
  }

  async #measureIdle(
    parties: readonly Party[],
    starts: Readonly<Record<Side, number[]>>,
  ): Promise<void> {
    const { idleSeconds } = this.#plan.effort;
    this.#progress.group(`cache=${this.#cache}: idle, with a client that is connected`);
    this.#progress.step(`${idleSeconds} s`);
    await sleep(SETTLE_MS);
    const before = parties.map(({ server }) => sampleTree(server.pid));
    const startMs = performance.now();
    await sleep(idleSeconds * 1000);
    const wallNs = (performance.now() - startMs) * 1e6;
    for (const [at, { side, server }] of parties.entries()) {
      const from = before[at] as ReturnType<typeof sampleTree>;
      keepFacts(this.#report, {
        place: 'host',
        cache: this.#cache,
        side,
        name: server.plan.name,
        startMs: starts[side],
        idleCpu: cpuBetweenNs(from, sampleTree(server.pid)) / wallNs,
        residentBytes: treeResidentBytes(server.pid),
      });
    }
  }
}

/** The place of the run that others disturbed most; -1 when none was disturbed. */
function mostDisturbed(runs: readonly FsRun[]): number {
  const shares = runs.map((run) => run.othersCpus);
  const most = Math.max(...shares);
  return most > OTHERS_CPUS_MAX ? shares.indexOf(most) : -1;
}

/** One run, with the CPU time of the server around it. */
async function measure({ server, client }: Party, cell: HostCell, seconds: number): Promise<FsRun> {
  const { op, order, blockBytes, depth } = cell;
  const load = { op, order, blockBytes, depth };
  await client.prepare(load);
  const others = new OthersMeter();
  const before = sampleTree(server.pid);
  const result = await client.run(load, seconds);
  const cpuNs = cpuBetweenNs(before, sampleTree(server.pid));
  const othersCpus = others.othersCpus();
  await client.finish(load);
  return {
    perSecond: result.operations / result.seconds,
    cpuUs: cpuNs / 1000 / result.operations,
    p50Us: result.p50Us,
    othersCpus,
  };
}
