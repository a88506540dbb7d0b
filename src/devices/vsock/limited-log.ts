/**
 * Lines of the log that a guest or a program could cause without end: each kind once in a while.
 *
 * @module
 */
import type { LogLevel } from '../../backend/index.ts';

/** A line of the same kind comes again after this. */
const AGAIN_MS = 60_000;
const KINDS_MAX = 256;

/** See the module. */
export class LimitedLog {
  readonly #log: (level: LogLevel, text: string) => void;
  readonly #toldMs = new Map<string, number>();

  constructor(log: (level: LogLevel, text: string) => void) {
    this.#log = log;
  }

  /** Writes a line, unless one of its kind was written less than a minute ago. */
  once(level: LogLevel, kind: string, text: string): void {
    const nowMs = performance.now();
    const toldMs = this.#toldMs.get(kind);
    if (toldMs !== undefined && nowMs - toldMs < AGAIN_MS) return;
    if (this.#toldMs.size >= KINDS_MAX) this.#toldMs.clear();
    this.#toldMs.set(kind, nowMs);
    this.#log(level, text);
  }
}
