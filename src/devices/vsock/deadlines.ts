/**
 * What may not take for ever: a connection's deadline, looked at now and then while there are some.
 *
 * @module
 */
import type { Reactor, ReactorTimer } from '../../backend/index.ts';
import { STATE } from './connections.ts';
import type { Connections } from './connections.ts';

/** How often deadlines are looked at, while there are some. */
const SWEEP_MS = 500;

/** See the module. */
export class Deadlines {
  readonly #table: Connections;
  readonly #reactor: Reactor;
  readonly #onOver: (slot: number) => void;
  #sweep: ReactorTimer | null = null;

  /** `onOver` is called for a connection whose time is over; it is released or given more. */
  constructor(table: Connections, reactor: Reactor, onOver: (slot: number) => void) {
    this.#table = table;
    this.#reactor = reactor;
    this.#onOver = onOver;
  }

  /** Gives a connection so much time for what it is doing. */
  give(slot: number, ms: number): void {
    this.#table.deadlineMs[slot] = performance.now() + ms;
    this.#plan();
  }

  /** It may take as long as it likes from now on. */
  lift(slot: number): void {
    this.#table.deadlineMs[slot] = 0;
  }

  /** No time is over any more. */
  close(): void {
    this.#sweep?.cancel();
    this.#sweep = null;
  }

  #plan(): void {
    this.#sweep ??= this.#reactor.after(SWEEP_MS, () => {
      this.#sweep = null;
      this.#look();
    });
  }

  #look(): void {
    const table = this.#table;
    const nowMs = performance.now();
    let more = false;
    for (let slot = 0; slot < table.end; slot++) {
      const dueMs = table.deadlineMs[slot] as number;
      if (dueMs === 0 || table.state[slot] === STATE.free) continue;
      if (dueMs > nowMs) more = true;
      else this.#onOver(slot);
    }
    if (more) this.#plan();
  }
}
