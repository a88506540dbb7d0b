/**
 * Which of two ways of waiting gets more requests from the driver, found out by doing each for a
 * while, in turns. Nothing cheaper tells: a thread that polls saves the driver a kick and both
 * sides a wake-up, and takes a core, or its half of one, away from whoever else would run.
 *
 * @module
 */

/** One way, the other, and both once more: what changes with time alone does not decide. */
const BLOCKS = 4;
const WAITS_PER_BLOCK = 40;
/** Waits after each change that are not counted: the scheduler has to move threads first. */
const WAITS_TO_SETTLE = 8;

/** One comparison at a time; used again and again. Way 1 is the one on trial. */
export class PollTrial {
  readonly #longestUs: number;
  /** Per way: the time, and what was asked in it. */
  readonly #us = new Float64Array(2);
  readonly #requests = new Float64Array(2);
  #block = BLOCKS;
  #waits = 0; // of this block
  #lastUs = 0;
  #lastRequests = 0;

  /** A pause of more than `longestUs` is the driver's own, and counts for neither way. */
  constructor(longestUs: number) {
    this.#longestUs = longestUs;
  }

  /** Whether it goes on. */
  get isRunning(): boolean {
    return this.#block < BLOCKS;
  }

  /** The way to wait now, while it goes on. */
  get way(): number {
    return this.#block % 2;
  }

  /** Begins anew. */
  start(): void {
    this.#us.fill(0);
    this.#requests.fill(0);
    this.#block = 0;
    this.#waits = 0;
  }

  /** Ends it; way 1 has lost. */
  abandon(): void {
    this.#requests.fill(0);
    this.#block = BLOCKS;
  }

  /** A wait begins, at `nowUs`, after `requests` in all. */
  waitBegins(nowUs: number, requests: number): void {
    if (this.#waits > WAITS_TO_SETTLE) this.#count(nowUs - this.#lastUs, requests);
    this.#lastUs = nowUs;
    this.#lastRequests = requests;
  }

  /** It has ended; false: and so has the trial. */
  waitEnded(): boolean {
    if (++this.#waits === WAITS_PER_BLOCK) {
      this.#waits = 0;
      this.#block++;
    }
    return this.isRunning;
  }

  /** The time of a request in way 1, in parts of that in way 0; infinite when it was abandoned. */
  get ratio(): number {
    const [before, tried] = this.#requests as unknown as readonly [number, number];
    if (before === 0 || tried === 0) return Infinity;
    const [beforeUs, triedUs] = this.#us as unknown as readonly [number, number];
    return triedUs / tried / (beforeUs / before);
  }

  #count(us: number, requests: number): void {
    if (us > this.#longestUs) return;
    this.#us[this.way] = (this.#us[this.way] as number) + us;
    const taken = requests - this.#lastRequests;
    this.#requests[this.way] = (this.#requests[this.way] as number) + taken;
  }
}
