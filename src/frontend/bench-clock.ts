/**
 * Gives a benchmark up when nothing happens any more. A loop that polls must not look at the clock
 * each time that it finds nothing, and must not wait for ever either.
 *
 * @module
 */
import { VhostUserError } from '../util/index.ts';
import type { VirtqueueFault } from '../virtqueue/index.ts';

const SPINS_PER_CLOCK = 4096;

/** See the module. */
export class BenchClock {
  readonly #stallMs: number;
  readonly #fault: () => VirtqueueFault | null;
  #spins = 0;
  #deadlineMs = 0;

  /** `fault` says what the device did wrong, if it did. */
  constructor(stallMs: number, fault: () => VirtqueueFault | null) {
    this.#stallMs = stallMs;
    this.#fault = fault;
  }

  /** Something happened: time counts from now on. */
  progress(): void {
    this.#deadlineMs = 0;
  }

  /**
   * Nothing happened; `what` is waited for, in words.
   * @throws VhostUserError `ERR_VHU_BENCH_STALLED`, or the code of the ring's fault.
   */
  idle(what: string): void {
    if (++this.#spins % SPINS_PER_CLOCK === 0) this.#look(what);
  }

  #look(what: string): void {
    const fault = this.#fault();
    if (fault !== null) throw new VhostUserError(fault.code, fault.message);
    const nowMs = performance.now();
    if (this.#deadlineMs === 0) this.#deadlineMs = nowMs + this.#stallMs;
    if (nowMs < this.#deadlineMs) return;
    throw new VhostUserError(
      'ERR_VHU_BENCH_STALLED',
      `benchmark: nothing happens for ${String(this.#stallMs)} ms while ${what}: has the ` +
        'back-end died, or does it wait for a kick that was not sent?',
    );
  }
}
