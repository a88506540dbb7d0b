/**
 * The block benchmark: our server and qemu-storage-daemon side by side, on the same image, at the
 * same time of the same run. Each cell of the plan is measured by alternating runs.
 *
 * @module
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { errorMessage } from '../src/util/index.ts';
import { FioClient, PollingClient, QemuImgClient } from './load.ts';
import type { LoadClient, LoadResult } from './load.ts';
import { OthersMeter, mostDisturbed, replaceTurn } from './others.ts';
import { NO_BARS, barsOf } from './plan.ts';
import type { Bars, Cell, Client, Mode } from './plan.ts';
import { cpuBetweenNs, ownResidentBytes, sampleCpu } from './proc.ts';
import type { Profiler } from './profile.ts';
import type { Progress } from './progress.ts';
import { Server, ourPlan, peerPlan } from './server.ts';
import type { OurOptions, ServerPlan, ServerSite } from './server.ts';
import { processError } from './process.ts';

const WARM_UP_SECONDS = 1; // of a client and both servers, in each direction
const WARM_UP_LOAD = { blockBytes: 4096, depth: 16 };
const CELL_WARM_UP_SECONDS_MAX = 0.3; // of a cell
const SETTLE_MS = 300; // after a client has connected, before a server counts as idle

/** How much is measured. */
export interface Effort {
  /** Runs of each side for each cell. */
  readonly runs: number;
  readonly seconds: number;
  readonly idleSeconds: number;
  readonly starts: number;
  /** Further rounds for a cell whose runs were disturbed; each replaces the most disturbed run. */
  readonly patience: number;
}

/** Everything that the benchmark is made from. */
export interface BlkBenchPlan {
  readonly site: ServerSite;
  readonly cells: readonly Cell[];
  readonly effort: Effort;
  /** Null: the peer against itself, which shows the noise of the machine. */
  readonly ours: OurOptions | null;
  readonly withFio: boolean;
  /** Takes a profile of our server. */
  readonly profiler: Profiler | null;
}

/** One run, of one side. */
export interface Run extends LoadResult {
  readonly perSecond: number;
  /** The server's CPU time, in microseconds a request; for fio its own. */
  readonly cpuUs: number;
  /** CPUs that were busy with something else meanwhile. */
  readonly othersCpus: number;
}

/** A cell's runs, in the order in which they alternated. */
export interface CellResult {
  readonly cell: Cell;
  readonly bars: Bars;
  readonly ours: readonly Run[];
  readonly theirs: readonly Run[];
  /** On the bare file; empty where it is not measured. */
  readonly fio: readonly Run[];
}

/** What was seen of one server apart from the cells. */
export interface ServerFacts {
  readonly mode: Mode;
  readonly side: 'ours' | 'theirs';
  readonly name: string;
  /** From the start of the process until it listened, for each start. */
  readonly startMs: readonly number[];
  /** CPU time in parts of the wall time, with a client connected that asks nothing. */
  readonly idleCpu: number | null;
  /** Resident memory of its own, after the load; the shared memory of the client not counted. */
  readonly residentBytes: number;
}

/** All that was measured, up to the failure if there was one. */
export interface BlkBenchReport {
  readonly cells: CellResult[];
  readonly servers: ServerFacts[];
  failure: string | null;
}

/** Steps of the progress that `runBlk` makes. */
export function stepCount(plan: BlkBenchPlan): number {
  const { runs, starts } = plan.effort;
  const modes = new Set(plan.cells.map((cell) => cell.mode)).size;
  const perCell = (cell: Cell): number => (fioWanted(plan, cell) ? 3 : 2) * (runs + 1);
  const ofCells = plan.cells.reduce((sum, cell) => sum + perCell(cell), 0);
  const warmUps = 4 * new Set(plan.cells.map((cell) => `${cell.mode} ${cell.client}`)).size;
  return ofCells + warmUps + modes * (2 * starts + 1);
}

/** Runs it all. A failure ends the measuring, and is in the report. */
export async function runBlk(plan: BlkBenchPlan, progress: Progress): Promise<BlkBenchReport> {
  const report: BlkBenchReport = { cells: [], servers: [], failure: null };
  try {
    for (const mode of ['native', 'posix'] as const) {
      const cells = plan.cells.filter((cell) => cell.mode === mode);
      if (cells.length > 0) await new Duel(plan, mode, report, progress).run(cells);
    }
  } catch (error) {
    report.failure = errorMessage(error);
  }
  progress.end();
  return report;
}

function fioWanted(plan: BlkBenchPlan, cell: Cell): boolean {
  return plan.withFio && cell.mode === 'native' && cell.client === 'polling';
}

/** The two servers of one mode. */
class Duel {
  readonly #plan: BlkBenchPlan;
  readonly #mode: Mode;
  readonly #report: BlkBenchReport;
  readonly #progress: Progress;
  readonly #plans: readonly [ServerPlan, ServerPlan];

  constructor(plan: BlkBenchPlan, mode: Mode, report: BlkBenchReport, progress: Progress) {
    const { site, ours } = plan;
    this.#plan = plan;
    this.#mode = mode;
    this.#report = report;
    this.#progress = progress;
    this.#plans =
      ours === null
        ? [peerPlan(mode, site, 'first'), peerPlan(mode, site, 'second')]
        : [ourPlan(mode, site, ours), peerPlan(mode, site)];
  }

  async run(cells: readonly Cell[]): Promise<void> {
    const starts = await this.#measureStarts();
    const servers = await this.#startBoth();
    const detach = await this.#plan.profiler?.attach(servers[0].pid, this.#mode);
    try {
      for (const client of ['polling', 'qemu-img'] as const) {
        const chosen = cells.filter((cell) => cell.client === client);
        if (chosen.length > 0) await this.#runClient(client, servers, chosen);
      }
      await this.#measureIdle(servers, starts);
    } catch (error) {
      const dead = servers.find((server) => !server.running);
      if (dead === undefined) throw error;
      throw processError(`${dead.plan.name} has died: ${errorMessage(error)}\n${dead.logTail}`);
    } finally {
      await detach?.();
      await Promise.all(servers.map((server) => server.stop()));
    }
  }

  async #startBoth(): Promise<[Server, Server]> {
    const ours = await Server.start(this.#plans[0]);
    try {
      return [ours, await Server.start(this.#plans[1])];
    } catch (error) {
      await ours.stop();
      throw error;
    }
  }

  /** Milliseconds to listen, by side. */
  async #measureStarts(): Promise<[number[], number[]]> {
    const times: [number[], number[]] = [[], []];
    this.#progress.group(`${this.#mode}: start to listening`);
    for (let start = 1; start <= this.#plan.effort.starts; start++) {
      for (const side of [0, 1] as const) {
        this.#progress.step(`${start} of ${this.#plan.effort.starts}`);
        const server = await Server.start(this.#plans[side]);
        times[side].push(server.startMs);
        await server.stop();
      }
    }
    return times;
  }

  async #runClient(
    client: Client,
    servers: readonly [Server, Server],
    cells: readonly Cell[],
  ): Promise<void> {
    const { peerRoot } = this.#plan.site;
    const open = (server: Server): Promise<LoadClient> =>
      client === 'polling'
        ? PollingClient.open(server.plan.socketPath)
        : Promise.resolve(new QemuImgClient(peerRoot, server.plan.socketPath));
    const clients: LoadClient[] = [];
    try {
      for (const server of servers) clients.push(await open(server));
      const [ours, theirs] = clients as [LoadClient, LoadClient];
      await this.#warmUp(client, [ours, theirs]);
      for (const cell of cells) {
        this.#report.cells.push(await this.#runCell(cell, servers, [ours, theirs]));
      }
    } finally {
      await Promise.all(clients.map((each) => each.close()));
    }
  }

  /** Lets both sides compile what they run often, with more requests than a first cell may have. */
  async #warmUp(client: Client, clients: readonly LoadClient[]): Promise<void> {
    const seconds = Math.min(this.#plan.effort.seconds, WARM_UP_SECONDS);
    this.#progress.group(`${this.#mode}, ${client}: warm-up`);
    for (const op of ['read', 'write'] as const) {
      for (const each of clients) {
        this.#progress.step(op);
        await each.run({ ...WARM_UP_LOAD, op }, seconds);
      }
    }
  }

  async #runCell(
    cell: Cell,
    servers: readonly [Server, Server],
    clients: readonly [LoadClient, LoadClient],
  ): Promise<CellResult> {
    const { effort, site } = this.#plan;
    const sides = [
      { name: 'ours', pid: servers[0].pid, client: clients[0], runs: [] as Run[] },
      { name: 'theirs', pid: servers[1].pid, client: clients[1], runs: [] as Run[] },
      { name: 'fio', pid: null, client: new FioClient(site.image), runs: [] as Run[] },
    ].slice(0, fioWanted(this.#plan, cell) ? 3 : 2);
    this.#progress.group(cellText(cell));
    for (let run = 0; run <= effort.runs; run++) {
      for (const { name, pid, client, runs } of sides) {
        const warmUp = run === 0; // and qemu-img's client learns how many requests make a run
        this.#progress.step(`${name} ${warmUp ? 'warm-up' : `${run} of ${effort.runs}`}`);
        const seconds = warmUp
          ? Math.min(effort.seconds, CELL_WARM_UP_SECONDS_MAX)
          : effort.seconds;
        const result = await measure(client, pid, cell, seconds);
        if (!warmUp) runs.push(result);
      }
    }
    for (let round = 1; round <= effort.patience; round++) {
      const runs = sides.map((side) => side.runs);
      const worst = mostDisturbed(runs);
      if (worst < 0) break;
      const again: Run[] = [];
      for (const { name, pid, client } of sides) {
        this.#progress.again(`${name} again ${round} of ${effort.patience}`);
        again.push(await measure(client, pid, cell, effort.seconds));
      }
      replaceTurn(runs, worst, again);
    }
    const [ours = [], theirs = [], fio = []] = sides.map((side) => side.runs);
    // The bars are for us, not for the peer in our place.
    const bars = this.#plan.ours === null ? NO_BARS : barsOf(cell);
    return { cell, bars, ours, theirs, fio };
  }

  async #measureIdle(
    servers: readonly [Server, Server],
    starts: readonly [number[], number[]],
  ): Promise<void> {
    const { idleSeconds } = this.#plan.effort;
    this.#progress.group(`${this.#mode}: idle, with a client that is connected`);
    this.#progress.step(`${idleSeconds} s`);
    const clients: LoadClient[] = [];
    try {
      for (const server of servers) clients.push(await PollingClient.open(server.plan.socketPath));
      await sleep(SETTLE_MS);
      const before = servers.map((server) => sampleCpu(server.pid));
      const startMs = performance.now();
      await sleep(idleSeconds * 1000);
      const wallNs = (performance.now() - startMs) * 1e6;
      for (const [at, side] of (['ours', 'theirs'] as const).entries()) {
        const { pid, plan } = servers[at] as Server;
        this.#report.servers.push({
          mode: this.#mode,
          side,
          name: plan.name,
          startMs: starts[at] as number[],
          idleCpu:
            cpuBetweenNs(before[at] as ReturnType<typeof sampleCpu>, sampleCpu(pid)) / wallNs,
          residentBytes: ownResidentBytes(pid),
        });
      }
    } finally {
      await Promise.all(clients.map((each) => each.close()));
    }
  }
}

/** One run of a client, with the CPU time of the server `pid` around it. */
async function measure(
  client: LoadClient,
  pid: number | null,
  cell: Cell,
  seconds: number,
): Promise<Run> {
  const { op, blockBytes, depth } = cell;
  const others = new OthersMeter();
  const before = pid === null ? null : sampleCpu(pid);
  const result = await client.run({ op, blockBytes, depth }, seconds);
  const requests = Math.max(result.requests, 1);
  const serverUs =
    before === null || pid === null ? null : cpuBetweenNs(before, sampleCpu(pid)) / 1000 / requests;
  return {
    ...result,
    perSecond: result.requests / result.seconds,
    cpuUs: serverUs ?? result.cpuUs ?? NaN,
    othersCpus: others.othersCpus(),
  };
}

/** A cell in words. */
export function cellText({ mode, client, op, blockBytes, depth }: Cell): string {
  return `${mode}, ${client}: ${op} ${blockBytes / 1024} KiB, depth ${depth}`;
}
