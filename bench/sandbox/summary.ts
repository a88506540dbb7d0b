/**
 * What the rounds of a server in its sandbox and of one in none come to. Pure.
 *
 * @module
 */
import { median, ratio } from '../stats.ts';
import { formatTable } from '../table.ts';
import { SANDBOX_BAR, estimateOf, verdictOf } from './estimate.ts';
import type { Round, Side, Verdict } from './estimate.ts';

/** One line. */
export interface SandboxResult {
  readonly device: string;
  readonly name: string;
  /** What the ratio is of. */
  readonly rounds: readonly Round[];
  /** Operations a second of each run. */
  readonly perSecond: Readonly<Record<Side, readonly number[]>>;
  /** CPUs that others kept busy in the run that they disturbed most. */
  readonly othersCpus: number;
}

/** Milliseconds of each start of a server until it listened. */
export interface SandboxStarts {
  readonly device: string;
  readonly startMs: Readonly<Record<Side, readonly number[]>>;
}

/** How many lines have which verdict. */
export function verdictCounts(results: readonly SandboxResult[]): Record<Verdict, number> {
  const counts: Record<Verdict, number> = {
    'within 2 %': 0,
    'not told apart': 0,
    'falls by more': 0,
  };
  for (const { rounds } of results) counts[verdictOf(estimateOf(rounds))]++;
  return counts;
}

/** Whether no line is known to fall by more than the bar allows; false when there is none. */
export function keepsBar(results: readonly SandboxResult[]): boolean {
  return results.length > 0 && verdictCounts(results)['falls by more'] === 0;
}

/** The tables, and what they come to. */
export function summaryLines(
  results: readonly SandboxResult[],
  starts: readonly SandboxStarts[],
  isSelf: boolean,
): string[] {
  const [first, second] = isSelf ? ['none', 'none again'] : ['sandbox', 'none'];
  const rows = results.map((each) => {
    const estimate = estimateOf(each.rounds);
    return [
      `${each.device} ${each.name}`,
      Math.round(median(each.perSecond.auto)).toLocaleString('en'),
      Math.round(median(each.perSecond.none)).toLocaleString('en'),
      estimate.ratio.toFixed(3),
      `${estimate.low.toFixed(3)} to ${estimate.high.toFixed(3)}`,
      verdictOf(estimate),
      each.othersCpus.toFixed(2),
    ];
  });
  const titles = ['operations a second', first, second, 'ratio', 'interval', 'verdict', 'others'];
  const columns = titles.map((title) => {
    const left = title === 'operations a second' || title === 'verdict';
    return { title, align: left ? ('left' as const) : ('right' as const) };
  });
  return [...formatTable(columns, rows), ...startLines(starts), ...verdictLines(results)];
}

function startLines(starts: readonly SandboxStarts[]): string[] {
  return starts.map(({ device, startMs }) => {
    const [auto, none] = [median(startMs.auto), median(startMs.none)];
    const times = `${auto.toFixed(0)} ms, and ${none.toFixed(0)} ms without the sandbox`;
    return `${device}: listens after ${times} (${ratio(auto, none).toFixed(2)} times)`;
  });
}

function verdictLines(results: readonly SandboxResult[]): string[] {
  if (results.length === 0) return [];
  const counts = verdictCounts(results);
  const ratios = results.map(({ rounds }) => estimateOf(rounds).ratio);
  return [
    `Of ${String(results.length)} lines ${String(counts['within 2 %'])} are within 2 %, ` +
      `${String(counts['falls by more'])} fall by more, ` +
      `${String(counts['not told apart'])} are not told apart from ${String(SANDBOX_BAR)}`,
    `Median ratio: ${median(ratios).toFixed(3)}; least: ${Math.min(...ratios).toFixed(3)}`,
  ];
}
