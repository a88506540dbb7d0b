/**
 * epoll(7), level-triggered.
 *
 * @module
 */
import { assert } from '../util/index.ts';
import { abi } from './host.ts';
import { ERRNO, SystemError } from './errno.ts';
import { closeFd } from './fd.ts';
import * as libc from './libc.ts';
import { NativeBlock, check } from './native.ts';
import type { Poller } from './poller.ts';

const READY_MAX = 64; // those that do not fit are ready at the next wait
const READ_WRITE = 5;
const EINTR = ERRNO.EINTR as number;
const ENOSYS = ERRNO.ENOSYS as number;

/** See the module. */
export class EpollPoller implements Poller {
  readonly kind = 'epoll';
  readonly #fd: number;
  readonly #layout: NonNullable<typeof abi.epoll>;
  readonly #events: NativeBlock;
  readonly #change: NativeBlock;
  /** Fds that wait for nothing: outside of the kernel's set, which always reports hang-ups. */
  readonly #silent = new Set<number>();
  #closed = false;

  private constructor(fd: number, layout: NonNullable<typeof abi.epoll>) {
    this.#fd = fd;
    this.#layout = layout;
    this.#events = new NativeBlock(layout.event.SIZE * READY_MAX);
    this.#change = new NativeBlock(layout.event.SIZE);
  }

  /** A new set, or null where the kernel has no epoll. */
  static open(): EpollPoller | null {
    if (abi.epoll === null || libc.epollCreate1 === null) return null;
    const fd = libc.epollCreate1(abi.epoll.EPOLL_CLOEXEC);
    if (fd < 0) return null;
    const poller = new EpollPoller(fd, abi.epoll);
    if (poller.#works()) return poller;
    poller.close();
    return null;
  }

  add(fd: number, key: number, events: number = 1): void {
    if (events !== 0) this.#control(this.#layout.EPOLL_CTL_ADD, 'ADD', fd, key, events);
    if (events === 0) this.#silent.add(fd);
    else this.#silent.delete(fd); // one of that number was closed without being removed
  }

  modify(fd: number, key: number, events: number): void {
    if (this.#silent.has(fd)) {
      this.add(fd, key, events);
    } else if (events === 0) {
      this.remove(fd);
      this.#silent.add(fd);
    } else {
      this.#control(this.#layout.EPOLL_CTL_MOD, 'MOD', fd, key, events);
    }
  }

  remove(fd: number): void {
    if (this.#silent.delete(fd)) return;
    this.#control(this.#layout.EPOLL_CTL_DEL, 'DEL', fd, 0, 0);
  }

  wait(timeoutUs: number): number {
    const timeoutMs = timeoutUs < 0 ? -1 : Math.ceil(timeoutUs / 1000);
    assert(libc.epollWait !== null, 'epoll_wait is where epoll_create1 is');
    const count = libc.epollWait(this.#fd, this.#events.address, READY_MAX, timeoutMs);
    if (count >= 0) return count;
    const errno = libc.errno();
    if (errno === EINTR) return 0;
    throw new SystemError('epoll_wait()', errno);
  }

  readyKey(i: number): number {
    const { event } = this.#layout;
    return this.#events.get(i * event.SIZE, event.data);
  }

  readyEvents(i: number): number {
    const { event } = this.#layout;
    const events = this.#events.get(i * event.SIZE, event.events);
    return (events & ~READ_WRITE) === 0 ? events : READ_WRITE;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeFd(this.#fd);
    this.#events.free();
    this.#change.free();
  }

  /** Whether the other two calls are there as well: a filter may allow the first one only. */
  #works(): boolean {
    const removed = libc.epollCtl?.(this.#fd, this.#layout.EPOLL_CTL_DEL, this.#fd, 0) ?? -1;
    if (removed < 0 && libc.errno() === ENOSYS) return false; // else EINVAL: a set is not in itself
    return (libc.epollWait?.(this.#fd, this.#events.address, 1, 0) ?? -1) >= 0;
  }

  #control(operation: number, name: string, fd: number, key: number, events: number): void {
    const { event } = this.#layout;
    assert(libc.epollCtl !== null, 'epoll_ctl is where epoll_create1 is');
    this.#change.set(0, event.events, events);
    this.#change.set(0, event.data, key);
    check(
      libc.epollCtl(this.#fd, operation, fd, this.#change.address),
      `epoll_ctl(${name}, fd ${String(fd)})`,
    );
  }
}
