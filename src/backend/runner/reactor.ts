/**
 * Where a worker thread waits: for its rings' kicks, for its control messages, for the fds and
 * timers of its data plane, and for file I/O. One of two, picked by what the host has: io_uring,
 * which waits for all of these in one system call, or a poller.
 *
 * @module
 */
import { monotonicUs } from '../../sys/index.ts';
import type { Notifier, NotifierConsumer } from '../../sys/index.ts';
import type { Reactor, ReactorTimer, ReactorWatch } from '../device.ts';

/** A reactor as the worker's loop uses it. */
export interface WorkerReactor extends Reactor {
  /** How it waits: `io_uring`, `epoll`, `kqueue` or `poll`. */
  readonly kind: string;
  /**
   * Hands prepared I/O to the kernel and dispatches what has completed; never blocks. Watched fds
   * cost a system call, so they are looked at only with `look`; `hasWork` and `wait` always do.
   */
  turn(look: boolean): number;
  /** Whether `turn` would find something; cheap enough for a polling loop. */
  hasWork(): boolean;
  /** Whether `turn` would fire a timer; a polling loop asks as often as it reads the clock. */
  timerIsDue(nowUs: number): boolean;
  /**
   * Signals a notifier, now or as the first thing that the next `wait` does: one system call does
   * both then. The caller goes on to `wait`.
   */
  signalByWait(notifier: Notifier): void;
  /** Blocks until something happens or the time is over (-1: no limit), then dispatches it. */
  wait(timeoutUs: number): void;
  /**
   * Calls `signalled` after each signal, or once for several, with what `NotifierConsumer.drain`
   * would return. The notifier need not have been drained then, and is not to be.
   */
  watchNotifier(consumer: NotifierConsumer, signalled: (signals: number) => void): ReactorWatch;
  close(): void;
}

/** An fd that is being watched, by its slot. */
export interface WatchSlot extends ReactorWatch {
  readonly fd: number;
  events: number;
  readonly ready: (events: number) => void;
  /** The caller closed it. */
  closed: boolean;
}

/** Timers of a reactor: few, so a list that is looked through. */
export class TimerList {
  readonly #timers: { dueUs: number; fire: () => void }[] = [];

  /** Adds a timer. */
  after(ms: number, fire: () => void): ReactorTimer {
    const timer = { dueUs: monotonicUs() + ms * 1000, fire };
    this.#timers.push(timer);
    return {
      cancel: () => {
        const at = this.#timers.indexOf(timer);
        if (at >= 0) this.#timers.splice(at, 1);
      },
    };
  }

  /** The time to wait: until the next timer, or `limitUs` (-1: no limit) when that is sooner. */
  timeoutUs(limitUs: number): number {
    if (this.#timers.length === 0) return limitUs;
    let dueUs = Infinity;
    for (const timer of this.#timers) dueUs = Math.min(dueUs, timer.dueUs);
    const untilUs = Math.max(0, Math.ceil(dueUs - monotonicUs()));
    return limitUs < 0 ? untilUs : Math.min(limitUs, untilUs);
  }

  /** Whether there is something to fire. */
  isDue(nowUs: number): boolean {
    for (const timer of this.#timers) if (timer.dueUs <= nowUs) return true;
    return false;
  }

  /** Fires what is due; returns how many. */
  fireDue(): number {
    if (this.#timers.length === 0) return 0;
    const nowUs = monotonicUs();
    const due = this.#timers.filter((timer) => timer.dueUs <= nowUs);
    for (const timer of due) {
      const at = this.#timers.indexOf(timer);
      if (at < 0) continue; // an earlier one cancelled it
      this.#timers.splice(at, 1);
      timer.fire();
    }
    return due.length;
  }
}
