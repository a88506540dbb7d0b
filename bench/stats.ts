/**
 * The little statistics that a benchmark of a few runs can bear.
 *
 * @module
 */
import { assert } from '../src/util/index.ts';

/** The middle value, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  assert(values.length > 0, 'a median is of one value or more');
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] as number;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] as number)) / 2;
}

/** The largest value less the smallest, in parts of the median; 0 when all are the same. */
export function spread(values: readonly number[]): number {
  const range = Math.max(...values) - Math.min(...values);
  return range === 0 ? 0 : range / median(values);
}

/** What a table says of its ratios. */
export const RATIO_TEXT = 'a ratio is the median of the pairs';

/**
 * How many times theirs ours are: the median of the ratios of runs that were made side by side,
 * `ours[i]` over `theirs[i]`. A machine that becomes faster or slower meanwhile does so for both
 * runs of a pair; of two medians each might be of another time. Runs without a partner do not
 * count. NaN when there is no pair.
 */
export function pairedRatio(ours: readonly number[], theirs: readonly number[]): number {
  const pairs = ours.slice(0, theirs.length).map((value, i) => ratio(value, theirs[i] as number));
  const ratios = pairs.filter((each) => !Number.isNaN(each));
  return ratios.length === 0 ? NaN : median(ratios);
}

/** How many times `base` the value is; NaN, which is printed as a dash, when there is no base. */
export function ratio(value: number, base: number): number {
  return base > 0 ? value / base : NaN;
}
