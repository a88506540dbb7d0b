/**
 * The benchmark by our own front-end, without a virtual machine: our server and virtiofsd side by
 * side on one folder, each line measured by alternating runs.
 *
 * @module
 */
import { duelSteps, runDuel } from '../duel.ts';
import type { DuelClient } from '../duel.ts';
import type { Profiler } from '../profile.ts';
import type { Progress } from '../progress.ts';
import type { ServerPlan } from '../server.ts';
import { FsLoadClient } from './load.ts';
import type { HostLoad } from './load.ts';
import { CACHES, rowKey } from './plan.ts';
import type { CacheMode, HostCell } from './plan.ts';
import { SIDES, keepFacts, resultOf } from './result.ts';
import type { FsEffort, FsReport, Side } from './result.ts';

/** What is measured, and how; the report has what there is already. */
export interface HostBenchPlan {
  readonly cells: readonly HostCell[];
  readonly effort: FsEffort;
  readonly serverPlan: (cache: CacheMode, side: Side) => ServerPlan;
  readonly profiler: Profiler | null;
  /** Called when there is something new in the report. */
  readonly save: () => void;
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
  return cellsByCache(plan, report).reduce(
    (sum, { cells }) => sum + duelSteps(cells.length, plan.effort, SIDES.length),
    0,
  );
}

/** Runs it. What was measured before a failure is in the report. */
export async function runHost(
  plan: HostBenchPlan,
  report: FsReport,
  progress: Progress,
): Promise<void> {
  for (const { cache, cells } of cellsByCache(plan, report)) {
    await runDuel(
      {
        title: `cache=${cache}: `,
        rows: cells,
        effort: plan.effort,
        sides: SIDES,
        serverPlan: (side) => plan.serverPlan(cache, side),
        keyOf: rowKey,
        clientKeyOf: () => '',
        openClient: ({ socketPath }) => openClient(socketPath),
        profiler: plan.profiler,
        keepRuns: (cell, runs) => {
          const kept = resultOf(report, cell);
          for (const side of SIDES) kept[side].splice(0, Infinity, ...runs[side]);
          plan.save();
        },
        keepFacts: (facts) => {
          keepFacts(report, { place: 'host', cache, ...facts });
          plan.save();
        },
      },
      progress,
    );
  }
}

function cellsByCache(
  plan: HostBenchPlan,
  report: FsReport,
): { readonly cache: CacheMode; readonly cells: HostCell[] }[] {
  const left = hostCellsLeft(plan, report);
  return CACHES.map((cache) => ({ cache, cells: left.filter((cell) => cell.cache === cache) }));
}

async function openClient(socketPath: string): Promise<DuelClient<HostCell>> {
  const client = await FsLoadClient.open(socketPath);
  return {
    prepare: (cell) => client.prepare(loadOf(cell)),
    run: (cell, seconds) => client.run(loadOf(cell), seconds),
    finish: (cell) => client.finish(loadOf(cell)),
    close: () => client.close(),
  };
}

function loadOf({ op, order, blockBytes, depth }: HostCell): HostLoad {
  return { op, order, blockBytes, depth };
}
