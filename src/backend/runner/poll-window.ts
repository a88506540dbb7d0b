/**
 * How long a thread polls its rings before it sleeps. Waking a sleeping thread costs some 25 µs on
 * a virtual machine and polling costs a core, so the window follows what the last waits have shown.
 *
 * A poll can be in vain for as long as it lasts and the sleep after it be short all the same: the
 * other side is waiting for the CPU that polls. Then the window rests, longer each time, so that
 * two threads on one CPU take turns by sleeping.
 *
 * @module
 */

const WINDOW_US_AT_FIRST = 4;

/** Polls of the longest kind, one after the other, that may be in vain before the window rests. */
const VAIN_POLLS_MAX = 2;
/** Sleeps before polling is tried again; doubled each time that it was in vain. */
const REST_SLEEPS_MIN = 16;
const REST_SLEEPS_MAX = 1024;

/** The window of one thread, between 0 and a limit; grows when a sleep was short, else shrinks. */
export class PollWindow {
  readonly #limitUs: number;
  #windowUs: number;
  #vainPolls = 0;
  #restSleeps = 0; // that are left
  #nextRestSleeps = REST_SLEEPS_MIN;

  constructor(limitUs: number) {
    this.#limitUs = limitUs;
    this.#windowUs = limitUs;
  }

  /** The time to poll now, in microseconds; 0: do not. */
  get us(): number {
    return this.#windowUs;
  }

  /** A poll has found something to do. */
  caught(): void {
    this.#vainPolls = 0;
    this.#nextRestSleeps = REST_SLEEPS_MIN;
  }

  /** A sleep that followed a vain poll, or none, took `sleptUs`. */
  slept(sleptUs: number): void {
    if (this.#restSleeps > 0) {
      this.#restSleeps--;
    } else if (sleptUs > this.#limitUs) {
      // Even the longest poll would have been in vain.
      this.#windowUs = this.#windowUs > WINDOW_US_AT_FIRST ? this.#windowUs / 2 : 0;
    } else if (this.#windowUs < this.#limitUs) {
      // A longer poll might have caught it.
      const grown = Math.max(this.#windowUs * 2, WINDOW_US_AT_FIRST);
      this.#windowUs = Math.min(grown, this.#limitUs);
    } else if (++this.#vainPolls >= VAIN_POLLS_MAX) {
      this.#rest();
    }
  }

  /** The longest poll saw nothing, and as soon as this thread slept there was something. */
  #rest(): void {
    this.#windowUs = 0;
    this.#vainPolls = 0;
    this.#restSleeps = this.#nextRestSleeps;
    this.#nextRestSleeps = Math.min(this.#nextRestSleeps * 2, REST_SLEEPS_MAX);
  }
}
