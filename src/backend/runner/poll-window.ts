/**
 * How long a thread polls its rings before it sleeps. Waking a sleeping thread costs some 25 µs on
 * a virtual machine and polling costs a core, so the window follows what the last waits have shown.
 *
 * @module
 */

const WINDOW_US_AT_FIRST = 4;

/** The window of one thread, between 0 and a limit; grows when a sleep was short, else shrinks. */
export class PollWindow {
  readonly #limitUs: number;
  #windowUs: number;

  constructor(limitUs: number) {
    this.#limitUs = limitUs;
    this.#windowUs = limitUs;
  }

  /** The time to poll now, in microseconds; 0: do not. */
  get us(): number {
    return this.#windowUs;
  }

  /** A sleep that followed a vain poll took `sleptUs`. */
  slept(sleptUs: number): void {
    if (sleptUs <= this.#limitUs) {
      // A longer poll would have caught it.
      const grown = Math.max(this.#windowUs * 2, WINDOW_US_AT_FIRST);
      this.#windowUs = Math.min(grown, this.#limitUs);
    } else if (this.#windowUs > 0) {
      // Even the longest poll would have been in vain.
      this.#windowUs = this.#windowUs > WINDOW_US_AT_FIRST ? this.#windowUs / 2 : 0;
    }
  }
}
