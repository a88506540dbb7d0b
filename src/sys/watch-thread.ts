/**
 * Watching fds by a thread that blocks in a poller, for runtimes that do not export libuv.
 *
 * @module
 */
import { Worker } from 'node:worker_threads';
import { VhostUserError } from '../util/index.ts';
import { atExit } from './exit.ts';
import { isNonBlocking } from './fd.ts';
import { createNotifier } from './notifier.ts';
import type { Notifier } from './notifier.ts';
import type { Watch, Watcher } from './watch.ts';

const ENDING = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
const ENTRY = new URL(`./watch.worker${ENDING}`, import.meta.url);

/** What the thread is told: watch this fd for these events, once; 0 removes it. */
export interface WatchOrder {
  readonly key: number;
  readonly fd: number;
  readonly events: number;
}

/** Ends the thread. */
export const STOP: WatchOrder = { key: -1, fd: -1, events: 0 };

/** What the thread says: the fd of this key was ready, and is no longer watched. */
export interface WatchReport {
  readonly key: number;
  readonly events: number;
}

/** See the module. */
export class ThreadWatcher implements Watcher {
  readonly #worker: Worker;
  readonly #wake: Notifier;
  readonly #watches = new Map<number, ThreadWatch>();
  #nextKey = 1;
  #refs = 0;

  constructor() {
    const { notifier, consumer } = createNotifier();
    this.#wake = notifier;
    this.#worker = new Worker(ENTRY, {
      workerData: { wakeFd: consumer.fd },
      trackUnmanagedFds: false,
    });
    this.#worker.unref();
    // A thread that blocks in a system call cannot be ended, and the process would wait for it.
    atExit(() => {
      this.#worker.postMessage(STOP);
      this.#wake.signal();
    });
    this.#worker.on('message', ({ key, events }: WatchReport) => {
      this.#watches.get(key)?.fired(events);
    });
  }

  watch(fd: number, events: number, onReady: (events: number) => void): Watch {
    isNonBlocking(fd); // throws for an fd that is not open, which poll(2) would report for ever
    for (const other of this.#watches.values()) {
      if (other.fd !== fd) continue;
      throw new VhostUserError('ERR_VHU_WATCH', `fd ${String(fd)}: it is watched already`);
    }
    const key = this.#nextKey++;
    const watch = new ThreadWatch(key, fd, onReady, {
      order: (order) => this.#order(order),
      count: (change) => this.#count(change),
      forget: () => this.#watches.delete(key),
    });
    this.#watches.set(key, watch);
    watch.setEvents(events);
    watch.ref();
    return watch;
  }

  #order(order: WatchOrder): void {
    this.#worker.postMessage(order);
    this.#wake.signal();
  }

  #count(change: number): void {
    this.#refs += change;
    if (this.#refs > 0) this.#worker.ref();
    else this.#worker.unref();
  }
}

/** What a watch asks of its thread. */
interface ThreadLink {
  order(order: WatchOrder): void;
  count(change: number): void;
  forget(): void;
}

class ThreadWatch implements Watch {
  readonly fd: number;
  readonly #key: number;
  readonly #onReady: (events: number) => void;
  readonly #link: ThreadLink;
  #events = 0;
  #closed = false;
  #referenced = false;

  constructor(key: number, fd: number, onReady: (events: number) => void, link: ThreadLink) {
    this.#key = key;
    this.fd = fd;
    this.#onReady = onReady;
    this.#link = link;
  }

  setEvents(events: number): void {
    if (this.#closed) return;
    this.#events = events;
    this.#link.order({ key: this.#key, fd: this.fd, events });
  }

  close(): void {
    if (this.#closed) return;
    this.unref();
    this.#closed = true;
    this.#link.order({ key: this.#key, fd: this.fd, events: 0 });
    this.#link.forget();
  }

  ref(): void {
    if (this.#closed || this.#referenced) return;
    this.#referenced = true;
    this.#link.count(1);
  }

  unref(): void {
    if (!this.#referenced) return;
    this.#referenced = false;
    this.#link.count(-1);
  }

  /** One-shot in the thread: watched again after the work was done. */
  fired(events: number): void {
    if (this.#closed) return;
    const wanted = events & this.#events;
    if (wanted !== 0) this.#onReady(wanted);
    this.setEvents(this.#events);
  }
}
