/**
 * The benchmark by our own front-end, without a virtual machine: our server and vhost-device-vsock
 * side by side, each line measured by alternating runs.
 *
 * @module
 */
import { duelSteps, runDuel } from '../duel.ts';
import type { Side } from '../duel.ts';
import type { Profiler } from '../profile.ts';
import type { Progress } from '../progress.ts';
import { openVsockClient } from './load.ts';
import { rowKey } from './plan.ts';
import type { VsockRow } from './plan.ts';
import { SIDES, resultOf } from './result.ts';
import type { VsockEffort, VsockReport } from './result.ts';
import type { VsockServerPlan } from './servers.ts';

/** What is measured, and how. */
export interface HostBenchPlan {
  readonly rows: readonly VsockRow[];
  readonly effort: VsockEffort;
  readonly serverPlan: (side: Side) => VsockServerPlan;
  readonly profiler: Profiler | null;
  /** Called when there is something new in the report. */
  readonly save: () => void;
}

/** Steps of the progress that `runHost` makes. */
export function hostSteps({ rows, effort }: HostBenchPlan): number {
  return duelSteps(rows.length, effort, SIDES.length);
}

/** Runs it. What was measured before a failure is in the report. */
export function runHost(
  plan: HostBenchPlan,
  report: VsockReport,
  progress: Progress,
): Promise<void> {
  const { rows, effort, serverPlan, profiler, save } = plan;
  return runDuel(
    {
      title: '',
      rows,
      effort,
      sides: SIDES,
      serverPlan,
      keyOf: rowKey,
      clientKeyOf: ({ bufferBytes }) => String(bufferBytes),
      openClient: ({ socketPath, udsPath }: VsockServerPlan, { bufferBytes }: VsockRow) =>
        openVsockClient(socketPath, udsPath, bufferBytes),
      profiler,
      keepRuns: (row, runs) => {
        const kept = resultOf(report, row);
        for (const side of SIDES) kept[side].splice(0, Infinity, ...runs[side]);
        save();
      },
      keepFacts: (facts) => {
        report.servers.push(facts);
        save();
      },
    },
    progress,
  );
}
