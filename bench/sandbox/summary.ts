/**
 * What the runs of a server in its sandbox and of one in none come to. Pure.
 *
 * @module
 */
import { median, ratio, spread } from '../stats.ts';
import { formatTable } from '../table.ts';

/** The two servers: with the sandbox, and without. */
export type Side = 'auto' | 'none';
/** Both, in the order in which they are started. */
export const SIDES: readonly Side[] = ['auto', 'none'];

/** What holds for each line: operations a second, with the sandbox over without, at least. */
export const SANDBOX_BAR = 0.98;

/** One line, with the operations a second of each run. */
export interface SandboxResult {
  readonly device: string;
  readonly name: string;
  readonly perSecond: Readonly<Record<Side, readonly number[]>>;
  /** CPUs that others kept busy in the run that they disturbed most. */
  readonly othersCpus: number;
}

/** Milliseconds of each start of a server until it listened. */
export interface SandboxStarts {
  readonly device: string;
  readonly startMs: Readonly<Record<Side, readonly number[]>>;
}

/** How many times the rate without the sandbox the one with it is, by the medians. */
export function resultRatio({ perSecond }: SandboxResult): number {
  return ratio(median(perSecond.auto), median(perSecond.none));
}

/** The line that has lost most; null when there is none. */
export function worstOf(results: readonly SandboxResult[]): SandboxResult | null {
  let worst: SandboxResult | null = null;
  for (const each of results) {
    if (worst === null || resultRatio(each) < resultRatio(worst)) worst = each;
  }
  return worst;
}

/** Whether every line keeps the bar; false when nothing was measured. */
export function keepsBar(results: readonly SandboxResult[]): boolean {
  const worst = worstOf(results);
  return worst !== null && resultRatio(worst) >= SANDBOX_BAR;
}

/** The tables, and what they come to. */
export function summaryLines(
  results: readonly SandboxResult[],
  starts: readonly SandboxStarts[],
  isSelf: boolean,
): string[] {
  const [first, second] = isSelf ? ['none', 'none again'] : ['sandbox', 'none'];
  const rows = results.map((each) => [
    `${each.device} ${each.name}`,
    Math.round(median(each.perSecond.auto)).toLocaleString('en'),
    Math.round(median(each.perSecond.none)).toLocaleString('en'),
    resultRatio(each).toFixed(3),
    `${percent(spread(each.perSecond.auto))}, ${percent(spread(each.perSecond.none))}`,
    each.othersCpus.toFixed(2),
  ]);
  const columns = ['operations a second', first, second, 'ratio', 'spread', 'CPUs of others'].map(
    (title, at) => ({ title, align: at === 0 ? ('left' as const) : ('right' as const) }),
  );
  return [...formatTable(columns, rows), ...startLines(starts), ...worstLines(results)];
}

function startLines(starts: readonly SandboxStarts[]): string[] {
  return starts.map(({ device, startMs }) => {
    const [auto, none] = [median(startMs.auto), median(startMs.none)];
    const times = `${auto.toFixed(0)} ms, and ${none.toFixed(0)} ms without the sandbox`;
    return `${device}: listens after ${times} (${ratio(auto, none).toFixed(2)} times)`;
  });
}

function worstLines(results: readonly SandboxResult[]): string[] {
  const worst = worstOf(results);
  if (worst === null) return [];
  const middle = median(results.map(resultRatio));
  const below = results.filter((each) => resultRatio(each) < SANDBOX_BAR).length;
  return [
    `Worst ratio: ${resultRatio(worst).toFixed(3)} (${worst.device} ${worst.name}); ` +
      `median ratio: ${middle.toFixed(3)}`,
    `${String(below)} of ${String(results.length)} lines below ${String(SANDBOX_BAR)}`,
  ];
}

function percent(part: number): string {
  return `${(part * 100).toFixed(1)}%`;
}
