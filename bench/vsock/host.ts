/**
 * The benchmark by our own front-end, without a virtual machine: our server and vhost-device-vsock
 * side by side, each line measured by alternating runs.
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
import { VsockLoadClient } from './load.ts';
import { rowKey } from './plan.ts';
import type { VsockRow } from './plan.ts';
import { SIDES, resultOf } from './result.ts';
import type { Side, VsockEffort, VsockReport, VsockRun } from './result.ts';
import type { VsockServerPlan } from './servers.ts';

const WARM_UP_SECONDS_MAX = 0.3;
const SETTLE_MS = 300; // before a server counts as idle

/** What is measured, and how. */
export interface HostBenchPlan {
  readonly rows: readonly VsockRow[];
  readonly effort: VsockEffort;
  readonly serverPlan: (side: Side) => VsockServerPlan;
  readonly profiler: Profiler | null;
  /** Called when there is something new in the report. */
  readonly save: () => void;
}

interface Party {
  readonly side: Side;
  readonly server: Server;
  readonly plan: VsockServerPlan;
  client: VsockLoadClient;
}

/** Steps of the progress that `runHost` makes. */
export function hostSteps({ rows, effort }: HostBenchPlan): number {
  if (rows.length === 0) return 0;
  return rows.length * 2 * (effort.runs + 1) + 2 * effort.starts + 1;
}

/** Runs it. What was measured before a failure is in the report. */
export async function runHost(
  plan: HostBenchPlan,
  report: VsockReport,
  progress: Progress,
): Promise<void> {
  if (plan.rows.length > 0) await new HostDuel(plan, report, progress).run();
}

class HostDuel {
  readonly #plan: HostBenchPlan;
  readonly #report: VsockReport;
  readonly #progress: Progress;
  #bufferBytes = 0; // of the clients that there are

  constructor(plan: HostBenchPlan, report: VsockReport, progress: Progress) {
    this.#plan = plan;
    this.#report = report;
    this.#progress = progress;
  }

  async run(): Promise<void> {
    const starts = await this.#measureStarts();
    const parties: Party[] = [];
    const [first] = this.#plan.rows as [VsockRow];
    this.#bufferBytes = first.bufferBytes;
    try {
      for (const side of SIDES) parties.push(await this.#open(side));
      for (const row of this.#plan.rows) await this.#profileRow(row, parties);
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
    const plan = this.#plan.serverPlan(side);
    const server = await Server.start(plan);
    try {
      return { side, server, plan, client: await this.#openClient(plan) };
    } catch (error) {
      const { logTail } = server;
      await server.stop();
      throw processError(`${plan.name}: ${errorMessage(error)}\n${logTail}`);
    }
  }

  #openClient({ socketPath, udsPath }: VsockServerPlan): Promise<VsockLoadClient> {
    return VsockLoadClient.open(socketPath, udsPath, this.#bufferBytes);
  }

  /** Milliseconds to listen, by side. */
  async #measureStarts(): Promise<Record<Side, number[]>> {
    const times: Record<Side, number[]> = { ours: [], theirs: [] };
    const { starts } = this.#plan.effort;
    this.#progress.group('start to listening');
    for (let start = 1; start <= starts; start++) {
      for (const side of SIDES) {
        this.#progress.step(`${start} of ${starts}`);
        const server = await Server.start(this.#plan.serverPlan(side));
        times[side].push(server.startMs);
        await server.stop();
      }
    }
    return times;
  }

  /** With a profile of our server of its own, when one is wanted. */
  async #profileRow(row: VsockRow, parties: readonly Party[]): Promise<void> {
    if (row.bufferBytes !== this.#bufferBytes) {
      this.#bufferBytes = row.bufferBytes;
      for (const party of parties) {
        await party.client.close();
        party.client = await this.#openClient(party.plan);
      }
    }
    const [ours] = parties as [Party, Party];
    const label = rowKey(row).replaceAll(/[^\w]+/g, '-');
    const detach = await this.#plan.profiler?.attach(ours.server.pid, label);
    try {
      await this.#runRow(row, parties);
    } finally {
      await detach?.();
    }
  }

  async #runRow(row: VsockRow, parties: readonly Party[]): Promise<void> {
    const { effort } = this.#plan;
    const runs: Record<Side, VsockRun[]> = { ours: [], theirs: [] };
    this.#progress.group(rowKey(row));
    for (let run = 0; run <= effort.runs; run++) {
      for (const party of parties) {
        const warmUp = run === 0;
        this.#progress.step(`${party.side} ${warmUp ? 'warm-up' : `${run} of ${effort.runs}`}`);
        const seconds = warmUp ? Math.min(effort.seconds, WARM_UP_SECONDS_MAX) : effort.seconds;
        const result = await measure(party, row, seconds);
        if (!warmUp) runs[party.side].push(result);
      }
    }
    for (let round = 1; round <= effort.patience; round++) {
      for (const party of parties) {
        const mine = runs[party.side];
        const worst = mostDisturbed(mine);
        if (worst < 0) continue;
        this.#progress.again(`${party.side} again ${round} of ${effort.patience}`);
        const result = await measure(party, row, effort.seconds);
        if (result.othersCpus < (mine[worst] as VsockRun).othersCpus) mine[worst] = result;
      }
    }
    const kept = resultOf(this.#report, row);
    for (const side of SIDES) kept[side].splice(0, Infinity, ...runs[side]);
    this.#plan.save();
  }

  async #measureIdle(
    parties: readonly Party[],
    starts: Readonly<Record<Side, number[]>>,
  ): Promise<void> {
    const { idleSeconds } = this.#plan.effort;
    this.#progress.group('idle, with a client that is connected');
    this.#progress.step(`${idleSeconds} s`);
    await sleep(SETTLE_MS);
    const before = parties.map(({ server }) => sampleTree(server.pid));
    const startMs = performance.now();
    await sleep(idleSeconds * 1000);
    const wallNs = (performance.now() - startMs) * 1e6;
    for (const [at, { side, server }] of parties.entries()) {
      const from = before[at] as ReturnType<typeof sampleTree>;
      this.#report.servers.push({
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
function mostDisturbed(runs: readonly VsockRun[]): number {
  const shares = runs.map((run) => run.othersCpus);
  const most = Math.max(...shares);
  return most > OTHERS_CPUS_MAX ? shares.indexOf(most) : -1;
}

/** One run, with the CPU time of the server around it. */
async function measure(
  { server, client }: Party,
  { op, blockBytes }: VsockRow,
  seconds: number,
): Promise<VsockRun> {
  const others = new OthersMeter();
  const before = sampleTree(server.pid);
  const result = await client.run(op, blockBytes, seconds);
  const cpuNs = cpuBetweenNs(before, sampleTree(server.pid));
  return {
    perSecond: result.operations / result.seconds,
    cpuUs: cpuNs / 1000 / result.operations,
    p50Us: op === 'round-trip' ? result.p50Us : null,
    othersCpus: others.othersCpus(),
  };
}
