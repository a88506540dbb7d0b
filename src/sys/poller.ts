/**
 * Waiting for fds on a worker thread. Level-triggered on every host: what is still ready fires
 * again, so nothing is lost when a consumer takes less than all.
 *
 * @module
 */
import { fellBack } from './fallback.ts';
import { abi, posixOnly } from './host.ts';
import * as libc from './libc.ts';
import { EpollPoller } from './poller-epoll.ts';
import { KqueuePoller } from './poller-kqueue.ts';
import { PollPoller } from './poller-poll.ts';

/** Events: the values of POLLIN and POLLOUT. Errors and hang-ups are reported as both. */
export const READABLE = 1;
export const WRITABLE = 4;

/** The timeout of `wait` that means: for ever. */
export const FOREVER = -1;

/**
 * A set of fds to wait for; the fds may be added, changed and removed between `wait` and
 * `readyKey`.
 */
export interface Poller {
  /** Adds an fd under a key of the caller's, a number from 0 below 2^31. */
  add(fd: number, key: number, events?: number): void;
  /** Changes what is waited for; with events 0 the fd is silent, even about errors and hang-ups. */
  modify(fd: number, key: number, events: number): void;
  /** Removes an fd, before it is closed. */
  remove(fd: number): void;
  /**
   * Waits until an fd is ready or `timeoutUs` are over (-1: for ever, 0: just look); returns how
   * many are ready, 0 also when a signal came in.
   */
  wait(timeoutUs: number): number;
  /** Key and events of the i-th ready fd; good until the next `wait`. */
  readyKey(i: number): number;
  readyEvents(i: number): number;
  /** May be called again. */
  close(): void;
  /** What it is made of. */
  readonly kind: PollerKind;
}

/** What pollers are made of. */
export type PollerKind = 'epoll' | 'kqueue' | 'poll';

/** What a poller is made of on this host. */
export function pollerKind(): PollerKind {
  if (posixOnly) return 'poll';
  if (abi.epoll !== null && libc.epollCreate1 !== null) return 'epoll';
  return abi.kqueue !== null && libc.kqueue !== null ? 'kqueue' : 'poll';
}

/** The poller of this host: epoll, kqueue, or poll(2), which all have. */
export function createPoller(): Poller {
  switch (pollerKind()) {
    case 'epoll':
      return EpollPoller.open() ?? withoutEpoll();
    case 'kqueue':
      return KqueuePoller.open() ?? new PollPoller();
    case 'poll':
      return new PollPoller();
  }
}

function withoutEpoll(): Poller {
  fellBack('epoll', 'poll');
  return new PollPoller();
}
