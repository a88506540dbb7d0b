/**
 * From the runs of two servers to one ratio and how sure it is. Pure.
 *
 * Two servers that are the same differ by some parts of a hundred: by where their code and memory
 * lie, and at times by which of them was started first. So there are several rounds, each with
 * servers of its own, and each side is started first in half of them. A round gives one ratio, the
 * median of its pairs of runs; how much the rounds differ says how sure their mean is.
 *
 * @module
 */
import { assert } from '../../src/util/index.ts';
import { median } from '../stats.ts';

/** The two servers: with the sandbox, and without. */
export type Side = 'auto' | 'none';
/** Both. */
export const SIDES: readonly Side[] = ['auto', 'none'];

/** What holds for each line: the speed with the sandbox over that without, at least. */
export const SANDBOX_BAR = 0.98;

/** One round: the speeds of its runs, each of a side beside that of the other with its number. */
export interface Round {
  /** Who was started first. */
  readonly first: Side;
  readonly speeds: Readonly<Record<Side, readonly number[]>>;
}

/** A ratio, with the interval that holds the true one in 95 of 100 cases. */
export interface Estimate {
  readonly ratio: number;
  readonly low: number;
  readonly high: number;
}

/** What an estimate says about the bar. */
export type Verdict = 'within 2 %' | 'falls by more' | 'not told apart';

/** Quantiles of Student's distribution, 0.975, for 1 degree of freedom and more. */
const STUDENT = [
  ...[12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228],
  ...[2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11, 2.101, 2.093, 2.086],
];
/** Of more degrees of freedom than the table has: a little too much, which is the safe side. */
const STUDENT_OF_MORE = 2.086;

/**
 * The speed with the sandbox over that without. The advantage of having been started first is in
 * half of the rounds on this side and in half on the other one, so it is not in the result; it
 * takes one degree of freedom. With fewer than two rounds of a kind the interval is unknown.
 */
export function estimateOf(rounds: readonly Round[]): Estimate {
  assert(rounds.length > 0, 'an estimate is of one round or more');
  const groups = SIDES.map((side) =>
    rounds.filter(({ first }) => first === side).map((round) => Math.log(ratioOf(round))),
  ).filter((group) => group.length > 0);
  const means = groups.map(mean);
  const middle = mean(means);
  const squares = groups.flatMap((group, i) => group.map((x) => (x - (means[i] as number)) ** 2));
  const freedom = rounds.length - groups.length;
  if (freedom < 1) return { ratio: Math.exp(middle), low: 0, high: Infinity };
  const variance = squares.reduce((sum, x) => sum + x, 0) / freedom;
  const parts = groups.reduce((sum, { length }) => sum + 1 / length, 0) / groups.length ** 2;
  const reach = (STUDENT[freedom - 1] ?? STUDENT_OF_MORE) * Math.sqrt(variance * parts);
  return {
    ratio: Math.exp(middle),
    low: Math.exp(middle - reach),
    high: Math.exp(middle + reach),
  };
}

/** What can be said about the bar: something only when the whole interval is on one side of it. */
export function verdictOf({ low, high }: Estimate): Verdict {
  if (low >= SANDBOX_BAR) return 'within 2 %';
  return high < SANDBOX_BAR ? 'falls by more' : 'not told apart';
}

function ratioOf({ speeds }: Round): number {
  return median(speeds.auto.map((speed, i) => speed / (speeds.none[i] as number)));
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, x) => sum + x, 0) / values.length;
}
