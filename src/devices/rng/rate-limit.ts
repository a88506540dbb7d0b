/**
 * So many bytes in each period. A period begins with the first bytes after the one before, so that
 * whoever asks seldom is never made to wait.
 *
 * @module
 */
import { assert } from '../../util/index.ts';

/** See the module. Times are milliseconds of a clock that never goes back. */
export class RateLimit {
  readonly #bytesMax: number;
  readonly #periodMs: number;
  #startMs = -Infinity;
  #left = 0;

  constructor(bytesMax: number, periodMs: number) {
    this.#bytesMax = bytesMax;
    this.#periodMs = periodMs;
  }

  /** Bytes that may go out now. */
  available(nowMs: number): number {
    return nowMs - this.#startMs >= this.#periodMs ? this.#bytesMax : this.#left;
  }

  /** Counts bytes that go out, no more than are available. */
  spend(bytes: number, nowMs: number): void {
    if (bytes > 0 && nowMs - this.#startMs >= this.#periodMs) {
      this.#startMs = nowMs;
      this.#left = this.#bytesMax;
    }
    assert(bytes <= this.#left || bytes === 0, 'no more goes out than is available');
    this.#left -= bytes;
  }

  /** How long it is until the next period. */
  waitMs(nowMs: number): number {
    return Math.max(0, this.#startMs + this.#periodMs - nowMs);
  }
}
