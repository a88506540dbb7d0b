/**
 * How a thread waits: as its {@link PollWindow} says, by what a wake-up costs; or polling through
 * each pause up to the limit. A driver that is slow and waits for each answer, as an emulated guest
 * does, may become a fifth to a half quicker by the latter, at the price of a core; or slower, when
 * it shares that core. So now and then both are tried ({@link PollTrial}), and what has won is kept
 * for a while. An idle device is polled by neither.
 *
 * @module
 */
import { PollTrial } from './poll-trial.ts';
import { PollWindow } from './poll-window.ts';

/** A core is dear: polling through must save a tenth of the time. */
const WORTHWHILE_RATIO = 0.9;
/** Waits that are polled through after a trial, before the next one. */
const THROUGH_WAITS = 2048;
/** Waits before a trial; doubled each time that it found nothing. */
const WAITS_BEFORE_TRIAL_MIN = 64;
const WAITS_BEFORE_TRIAL_MAX = 4096;
/** What a poll in vain takes of the luck while pauses are polled through; a catch gives 1. */
const VAIN_LUCK = 4;
const LUCK_MAX = 32;
/** A pause of more than so many limits is not one that a poll could have shortened. */
const PAUSE_LIMITS = 4;

/** The waits of one thread. */
export class PollPolicy {
  readonly #limitUs: number;
  readonly #window: PollWindow;
  readonly #trial: PollTrial;
  #isThrough = false;
  #luck = 0;
  #waits: number; // before the next trial
  #nextWaits = WAITS_BEFORE_TRIAL_MIN;

  constructor(limitUs: number) {
    this.#limitUs = limitUs;
    this.#waits = limitUs === 0 ? Infinity : WAITS_BEFORE_TRIAL_MIN;
    this.#window = new PollWindow(limitUs);
    this.#trial = new PollTrial(limitUs * PAUSE_LIMITS);
  }

  /** The time to poll now, in microseconds; 0: do not. */
  get us(): number {
    return this.#pollsThrough() ? this.#limitUs : this.#window.us;
  }

  /** Whether nobody asks when a wait begins and how long a sleep takes. */
  get isBlind(): boolean {
    return this.#window.isResting && !this.#isThrough && !this.#trial.isRunning;
  }

  /** A wait begins, at `nowUs`: a poll, or a sleep without one. `requests` were taken so far. */
  waitBegins(nowUs: number, requests: number): void {
    if (this.#trial.isRunning) this.#trial.waitBegins(nowUs, requests);
  }

  /** A poll has found something to do after `polledUs`. */
  caught(polledUs: number): void {
    if (this.#pollsThrough()) this.#luck = Math.min(this.#luck + 1, LUCK_MAX);
    else this.#window.caught(polledUs);
    this.#waitEnded();
  }

  /** A sleep that followed a vain poll, or none, took `sleptUs`. */
  slept(sleptUs: number): void {
    if (this.#pollsThrough()) this.#luck -= VAIN_LUCK;
    else this.#window.slept(sleptUs);
    this.#waitEnded();
  }

  #pollsThrough(): boolean {
    return this.#trial.isRunning ? this.#trial.way === 1 : this.#isThrough;
  }

  #waitEnded(): void {
    if (this.#trial.isRunning) {
      if (this.#luck >= 0 && this.#trial.waitEnded()) return;
      if (this.#luck < 0) this.#trial.abandon();
      this.#choose(this.#trial.ratio < WORTHWHILE_RATIO);
    } else if (this.#luck < 0) {
      this.#choose(false);
    } else if (--this.#waits === 0) {
      this.#luck = LUCK_MAX;
      this.#trial.start();
    }
  }

  #choose(isThrough: boolean): void {
    this.#isThrough = isThrough;
    this.#luck = LUCK_MAX;
    if (isThrough) {
      this.#waits = THROUGH_WAITS;
      this.#nextWaits = WAITS_BEFORE_TRIAL_MIN;
    } else {
      this.#waits = this.#nextWaits;
      this.#nextWaits = Math.min(this.#nextWaits * 2, WAITS_BEFORE_TRIAL_MAX);
    }
  }
}
