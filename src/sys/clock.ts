/**
 * The monotonic clock.
 *
 * @module
 */

/** Microseconds since some moment of the past; never goes back. */
export function monotonicUs(): number {
  return performance.now() * 1000;
}
