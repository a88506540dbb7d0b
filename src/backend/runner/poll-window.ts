/**
 * How long a thread polls its rings before it sleeps. Waking a sleeping thread costs some 25 µs on
 * a virtual machine and polling costs a core, so the window follows what the last waits have shown:
 * it grows when a longer poll would have caught what ended a sleep, and shrinks when none would.
 *
 * That alone is not enough. A driver that asks again after now 40 and now 90 µs keeps a window of
 * 64 µs open that is in vain each other time; and a poll can be in vain for as long as it lasts and
 * the sleep after it be short all the same, when the other side waits for the CPU that polls. So
 * polling has a balance: what it catches is put in, the less the longer it took, what it spends in
 * vain is taken out, and with nothing left the window rests, longer each time.
 *
 * @module
 */

const WINDOW_US_AT_FIRST = 4;

/** What a wake-up costs, and so what a short poll that catches something is worth. */
const CAUGHT_US = 32;
/**
 * From here on a poll is worth less, half a microsecond for each one that it takes, and nothing at
 * three times as long: the other side, whose thread shares a core with ours or waits for it, goes
 * slower for as long as we poll.
 */
const WORTH_LESS_FROM_US = 32;
/** The balance at first, and at most: what polling may spend when its luck turns. */
const BALANCE_US_MAX = 256;
/** The balance after a rest: as much as growing to 64 µs costs when all of it is in vain. */
const BALANCE_US_ON_TRIAL = 128;
/** Sleeps before polling is tried again; doubled each time that it was in vain. */
const REST_SLEEPS_MIN = 16;
const REST_SLEEPS_MAX = 1024;

/** The window of one thread, between 0 and a limit. */
export class PollWindow {
  readonly #limitUs: number;
  #windowUs: number;
  #balanceUs = BALANCE_US_MAX;
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

  /** Whether polling rests: how long a sleep takes does not matter then. */
  get isResting(): boolean {
    return this.#restSleeps > 0;
  }

  /** A poll has found something to do after `polledUs`. */
  caught(polledUs: number): void {
    this.#balanceUs += CAUGHT_US - Math.max(0, polledUs - WORTH_LESS_FROM_US) / 2;
    if (this.#balanceUs < 0) {
      this.#rest();
    } else if (this.#balanceUs >= BALANCE_US_MAX) {
      this.#balanceUs = BALANCE_US_MAX;
      this.#nextRestSleeps = REST_SLEEPS_MIN;
    }
  }

  /** A sleep that followed a vain poll, or none, took `sleptUs`. */
  slept(sleptUs: number): void {
    if (this.#restSleeps > 0) {
      this.#restSleeps--;
      return;
    }
    this.#balanceUs -= this.#windowUs;
    if (this.#balanceUs < 0) {
      this.#rest();
    } else if (sleptUs > this.#limitUs) {
      // Even the longest poll would have been in vain.
      this.#windowUs = this.#windowUs > WINDOW_US_AT_FIRST ? this.#windowUs / 2 : 0;
    } else if (this.#windowUs < this.#limitUs) {
      // A longer poll might have caught it.
      const grown = Math.max(this.#windowUs * 2, WINDOW_US_AT_FIRST);
      this.#windowUs = Math.min(grown, this.#limitUs);
    }
  }

  #rest(): void {
    this.#windowUs = 0;
    this.#balanceUs = BALANCE_US_ON_TRIAL;
    this.#restSleeps = this.#nextRestSleeps;
    this.#nextRestSleeps = Math.min(this.#nextRestSleeps * 2, REST_SLEEPS_MAX);
  }
}
