/**
 * poll(2): on every host.
 *
 * @module
 */
import { ERRNO, SystemError } from './errno.ts';
import * as libc from './libc.ts';
import { NativeBlock } from './native.ts';
import type { Poller } from './poller.ts';

const POLLFD_BYTES = 8; // struct pollfd: fd 4, events 2, revents 2
const FDS_AT_FIRST = 64;
const POLLIN_POLLOUT = 5;
const EINTR = ERRNO.EINTR as number;
const EEXIST = ERRNO.EEXIST as number;
const ENOENT = ERRNO.ENOENT as number;

/** See the module. */
export class PollPoller implements Poller {
  readonly kind = 'poll';
  #block = new NativeBlock(FDS_AT_FIRST * POLLFD_BYTES);
  #capacity = FDS_AT_FIRST;
  readonly #fds: number[] = [];
  readonly #keys: number[] = [];
  // Copies, since removing an fd moves another one to its position.
  readonly #readyKeys: number[] = [];
  readonly #readyEvents: number[] = [];
  #closed = false;

  add(fd: number, key: number, events: number = 1): void {
    if (this.#fds.includes(fd)) throw new SystemError(`poll set(ADD, fd ${String(fd)})`, EEXIST);
    if (this.#fds.length === this.#capacity) this.#grow();
    this.#fds.push(fd);
    this.#keys.push(key);
    this.#write(this.#fds.length - 1, events);
  }

  modify(fd: number, key: number, events: number): void {
    const at = this.#find(fd, 'MOD');
    this.#keys[at] = key;
    this.#write(at, events);
  }

  remove(fd: number): void {
    const at = this.#find(fd, 'DEL');
    const last = this.#fds.length - 1;
    const events = this.#block.view.getInt16(last * POLLFD_BYTES + 4, true);
    this.#fds[at] = this.#fds[last] as number;
    this.#keys[at] = this.#keys[last] as number;
    this.#write(at, events);
    this.#fds.pop();
    this.#keys.pop();
  }

  wait(timeoutUs: number): number {
    const timeoutMs = timeoutUs < 0 ? -1 : Math.ceil(timeoutUs / 1000);
    const count = libc.poll(this.#block.address, this.#fds.length, timeoutMs);
    if (count < 0) {
      const errno = libc.errno();
      if (errno === EINTR) return 0;
      throw new SystemError(`poll(${String(this.#fds.length)} fds)`, errno);
    }
    let ready = 0;
    for (let at = 0; at < this.#fds.length && ready < count; at++) {
      const revents = this.#block.view.getInt16(at * POLLFD_BYTES + 6, true);
      if (revents === 0) continue;
      this.#readyKeys[ready] = this.#keys[at] as number;
      this.#readyEvents[ready] = (revents & ~POLLIN_POLLOUT) === 0 ? revents : POLLIN_POLLOUT;
      ready++;
    }
    return ready;
  }

  readyKey(i: number): number {
    return this.#readyKeys[i] as number;
  }

  readyEvents(i: number): number {
    return this.#readyEvents[i] as number;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#block.free();
    this.#fds.length = 0;
  }

  /** The same errors as those of epoll, so that this poller finds the same mistakes. */
  #find(fd: number, operation: string): number {
    const at = this.#fds.indexOf(fd);
    if (at < 0) throw new SystemError(`poll set(${operation}, fd ${String(fd)})`, ENOENT);
    return at;
  }

  #write(at: number, events: number): void {
    const { view } = this.#block;
    // poll skips negative fds, so that an fd that waits for nothing does not report hang-ups
    // either.
    const fd = this.#fds[at] as number;
    view.setInt32(at * POLLFD_BYTES, events === 0 ? -1 - fd : fd, true);
    view.setInt16(at * POLLFD_BYTES + 4, events, true);
    view.setInt16(at * POLLFD_BYTES + 6, 0, true);
  }

  #grow(): void {
    const old = this.#block;
    this.#capacity *= 2;
    this.#block = new NativeBlock(this.#capacity * POLLFD_BYTES);
    this.#block.bytes.set(old.bytes);
    old.free();
  }
}
