/**
 * kqueue(2), level-triggered: no EV_CLEAR.
 *
 * @module
 */
import { assert } from '../util/index.ts';
import type { KqueueAbi } from '../abi/index.ts';
import { abi } from './host.ts';
import { ERRNO, SystemError } from './errno.ts';
import { closeFd } from './fd.ts';
import * as libc from './libc.ts';
import { NativeBlock, check } from './native.ts';
import type { Poller } from './poller.ts';

const READY_MAX = 64; // those that do not fit are ready at the next wait
const TIMESPEC_BYTES = 16;
const READABLE = 1;
const WRITABLE = 4;
const SECONDS_MAX = 2 ** 31 - 1;
const EBADF = ERRNO.EBADF as number;
const EINTR = ERRNO.EINTR as number;
const ENOENT = ERRNO.ENOENT as number;
const EPIPE = ERRNO.EPIPE as number;

/** See the module. */
export class KqueuePoller implements Poller {
  readonly kind = 'kqueue';
  readonly #fd: number;
  readonly #layout: KqueueAbi;
  readonly #events: NativeBlock;
  readonly #change: NativeBlock;
  readonly #timeout = new NativeBlock(TIMESPEC_BYTES);
  readonly #registered = new Map<number, number>(); // fd -> events
  /**
   * Pipes that nobody reads, fd -> key. The BSDs do not take such a one for writing at all (EPIPE
   * of pipe_kqfilter, EBADF on NetBSD); a write would fail at once, so it is ready.
   */
  readonly #readerless = new Map<number, number>();
  #closed = false;

  private constructor(fd: number, layout: KqueueAbi) {
    this.#fd = fd;
    this.#layout = layout;
    this.#events = new NativeBlock(layout.event.SIZE * READY_MAX);
    this.#change = new NativeBlock(layout.event.SIZE);
  }

  /** A new set, or null where the kernel has no kqueue. */
  static open(): KqueuePoller | null {
    const { kqueue } = abi;
    if (kqueue === null || libc.kqueue === null || libc.kevent === null) return null;
    const fd = libc.kqueue();
    if (fd < 0) return null;
    return new KqueuePoller(fd, { ...kqueue, event: { ...kqueue.event, SIZE: libc.keventBytes } });
  }

  add(fd: number, key: number, events: number = READABLE): void {
    this.#registered.set(fd, 0);
    this.modify(fd, key, events);
  }

  modify(fd: number, key: number, events: number): void {
    const before = this.#registered.get(fd) ?? 0;
    this.#filter(fd, key, this.#layout.EVFILT_READ, before & READABLE, events & READABLE);
    this.#filter(fd, key, this.#layout.EVFILT_WRITE, before & WRITABLE, events & WRITABLE);
    this.#registered.set(fd, events);
  }

  remove(fd: number): void {
    this.modify(fd, 0, 0);
    this.#registered.delete(fd);
  }

  wait(timeoutUs: number): number {
    const timeout = this.#readerless.size > 0 ? this.#timespec(0) : this.#timespec(timeoutUs);
    assert(libc.kevent !== null, 'kevent is where kqueue is');
    const count = libc.kevent(this.#fd, 0, 0, this.#events.address, READY_MAX, timeout);
    if (count >= 0) return this.#readerless.size > 0 ? this.#addReaderless(count) : count;
    const errno = libc.errno();
    if (errno === EINTR) return 0;
    throw new SystemError('kevent()', errno);
  }

  readyKey(i: number): number {
    const { event } = this.#layout;
    return this.#events.get(i * event.SIZE, event.udata);
  }

  readyEvents(i: number): number {
    const { event, EVFILT_WRITE } = this.#layout;
    const filter = this.#events.get(i * event.SIZE, event.filter);
    return filter === EVFILT_WRITE ? WRITABLE : READABLE;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeFd(this.#fd);
    for (const block of [this.#events, this.#change, this.#timeout]) block.free();
  }

  /** The address of a `struct timespec`, or 0 for one that never ends. */
  #timespec(timeoutUs: number): number {
    if (timeoutUs < 0) return 0;
    // Rounded before it is divided: a tv_nsec of a whole second is EINVAL.
    const us = Math.ceil(timeoutUs);
    const { view, address } = this.#timeout;
    view.setUint32(0, Math.min(Math.floor(us / 1e6), SECONDS_MAX), true);
    view.setUint32(8, (us % 1e6) * 1000, true); // the upper halves stay 0
    return address;
  }

  /** Appends the events that the kernel cannot tell of; returns how many there are then. */
  #addReaderless(count: number): number {
    const { event, EVFILT_WRITE } = this.#layout;
    for (const [fd, key] of this.#readerless) {
      if (count === READY_MAX) break;
      this.#events.set(count * event.SIZE, event.ident, fd);
      this.#events.set(count * event.SIZE, event.filter, EVFILT_WRITE);
      this.#events.set(count * event.SIZE, event.udata, key);
      count++;
    }
    return count;
  }

  #filter(fd: number, key: number, filter: number, before: number, after: number): void {
    if (before === 0 && after === 0) return;
    const { event, EV_ADD, EV_DELETE, EVFILT_WRITE } = this.#layout;
    if (filter === EVFILT_WRITE) this.#readerless.delete(fd);
    this.#change.bytes.fill(0);
    this.#change.set(0, event.ident, fd);
    this.#change.set(0, event.filter, filter);
    this.#change.set(0, event.flags, after === 0 ? EV_DELETE : EV_ADD);
    this.#change.set(0, event.udata, key);
    assert(libc.kevent !== null, 'kevent is where kqueue is');
    const result = libc.kevent(this.#fd, this.#change.address, 1, 0, 0, 0);
    if (result < 0) {
      const errno = libc.errno();
      // A filter is gone by itself once its fd was closed; the BSDs look for the fd first.
      if (after === 0 && (errno === ENOENT || errno === EBADF)) return;
      if (after !== 0 && filter === EVFILT_WRITE && isReaderless(fd, errno)) {
        this.#readerless.set(fd, key);
        return;
      }
    }
    check(result, `kevent(fd ${String(fd)}, filter ${String(filter)})`);
  }
}

/** Whether kevent(2) said that nobody reads a pipe, and not that there is no such fd. */
function isReaderless(fd: number, errno: number): boolean {
  if (errno === EPIPE) return true;
  return errno === EBADF && libc.fcntl('int', fd, abi.constants.F_GETFD, 0) >= 0;
}
