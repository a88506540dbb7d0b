/**
 * Waiting for fds on the main thread, without blocking it: libuv's own poll handles, called
 * directly, or a thread that polls where the runtime does not export them.
 *
 * @module
 */
import { isMainThread } from 'node:worker_threads';
import { ThreadWatcher } from './watch-thread.ts';
import { UvWatcher } from './watch-uv.ts';

/** An fd that is watched. */
export interface Watch {
  /** `READABLE`, `WRITABLE`, both or 0. */
  setEvents(events: number): void;
  /** Stops watching; may be called again. The fd stays open, and may be closed right after. */
  close(): void;
  /** Whether the watch keeps the process alive; it does at first. */
  ref(): void;
  unref(): void;
}

/** A way of watching. */
export interface Watcher {
  watch(fd: number, events: number, onReady: (events: number) => void): Watch;
}

let watcher: Watcher | null = null;

/**
 * Calls `onReady` on the event loop while the fd is ready: level-triggered. An fd is watched once
 * at a time.
 *
 * @throws VhostUserError `ERR_VHU_WATCH` or `ERR_VHU_SYSTEM` for what cannot be watched.
 */
export function watchFd(fd: number, events: number, onReady: (events: number) => void): Watch {
  // The loop that libuv calls the default one is the main thread's.
  watcher ??= (isMainThread ? UvWatcher.open() : null) ?? new ThreadWatcher();
  return watcher.watch(fd, events, onReady);
}
