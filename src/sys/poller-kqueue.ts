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
const EINTR = ERRNO.EINTR as number;
const ENOENT = ERRNO.ENOENT as number;

/** See the module. */
export class KqueuePoller implements Poller {
  readonly kind = 'kqueue';
  readonly #fd: number;
  readonly #layout: KqueueAbi;
  readonly #events: NativeBlock;
  readonly #change: NativeBlock;
  readonly #timeout = new NativeBlock(TIMESPEC_BYTES);
  readonly #registered = new Map<number, number>(); // fd -> events
  #closed = false;

  private constructor(fd: number, layout: KqueueAbi) {
    this.#fd = fd;
    this.#layout = layout;
    this.#events = new NativeBlock(layout.event.SIZE * READY_MAX);
    this.#change = new NativeBlock(layout.event.SIZE);
  }

  /**
   * A new set, or null where the kernel has no kqueue.
   *
   * @param layout for tests: that of a library which has kqueue on another system
   */
  static open(layout: KqueueAbi | null = abi.kqueue): KqueuePoller | null {
    if (layout === null || libc.kqueue === null) return null;
    const fd = libc.kqueue();
    return fd < 0 ? null : new KqueuePoller(fd, layout);
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
    let timeout = 0;
    if (timeoutUs >= 0) {
      this.#timeout.view.setBigInt64(0, BigInt(Math.floor(timeoutUs / 1e6)), true);
      this.#timeout.view.setBigInt64(8, BigInt(Math.ceil(timeoutUs % 1e6) * 1000), true);
      timeout = this.#timeout.address;
    }
    assert(libc.kevent !== null, 'kevent is where kqueue is');
    const count = libc.kevent(this.#fd, 0, 0, this.#events.address, READY_MAX, timeout);
    if (count >= 0) return count;
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

  #filter(fd: number, key: number, filter: number, before: number, after: number): void {
    if (before === 0 && after === 0) return;
    const { event, EV_ADD, EV_DELETE } = this.#layout;
    this.#change.bytes.fill(0);
    this.#change.set(0, event.ident, fd);
    this.#change.set(0, event.filter, filter);
    this.#change.set(0, event.flags, after === 0 ? EV_DELETE : EV_ADD);
    this.#change.set(0, event.udata, key);
    assert(libc.kevent !== null, 'kevent is where kqueue is');
    const result = libc.kevent(this.#fd, this.#change.address, 1, 0, 0, 0);
    // A filter is gone by itself once its fd was closed.
    if (result < 0 && after === 0 && libc.errno() === ENOENT) return;
    check(result, `kevent(fd ${String(fd)}, filter ${String(filter)})`);
  }
}
