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

/** How many times `base` the value is; NaN, which is printed as a dash, when there is no base. */
export function ratio(value: number, base: number): number {
  return base > 0 ? value / base : NaN;
}
