/**
 * Notifiers: how one side of a virtqueue wakes the other. An eventfd where there is one, else a
 * non-blocking pipe; which of the two a peer sent does not matter, since each end is only ever
 * written or only ever read here.
 *
 * @module
 */
import { abi, posixOnly } from './host.ts';
import { ERRNO } from './errno.ts';
import { fellBack } from './fallback.ts';
import { closeFd, isNonBlocking, setCloseOnExec, setNonBlocking } from './fd.ts';
import * as libc from './libc.ts';
import { NativeBlock, check } from './native.ts';

const EAGAIN = ERRNO.EAGAIN as number;
const EINTR = ERRNO.EINTR as number;
const ENOSYS = ERRNO.ENOSYS as number;
const VALUE_BYTES = 8; // a notification is a 64-bit number; on a pipe its value has no meaning
const DRAIN_BYTES = 4096;
/**
 * A peer that writes as fast as we read must not hold the reader: what is left fires the poller
 * again.
 */
const DRAIN_READS_MAX = 64;

const value = new NativeBlock(VALUE_BYTES);
value.view.setUint32(0, 1, true);
const drained = new NativeBlock(DRAIN_BYTES);

/** What is written to signal, for somebody else who writes it: a ring of io_uring. */
export const SIGNAL: { readonly address: number; readonly bytes: number } = {
  address: value.address,
  bytes: VALUE_BYTES,
};

/** The end that signals. Owns its fd. */
export class Notifier {
  #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
    // A full pipe would block the thread that serves everyone else. Set only when it is not set:
    // the flag is shared with the peer that sent the fd, and it expects it anyway.
    if (!isNonBlocking(fd)) setNonBlocking(fd, true);
  }

  /** The fd, borrowed; -1 once closed. */
  get fd(): number {
    return this.#fd;
  }

  /** Signals; 0, or a negative errno. A full pipe or a saturated eventfd has been signalled: 0. */
  signal(): number {
    return signal(this.#fd);
  }

  /** Closes the fd; may be called again. */
  close(): void {
    const fd = this.#fd;
    this.#fd = -1;
    if (fd >= 0) closeFd(fd);
  }
}

/** The end that is signalled. Owns its fd. */
export class NotifierConsumer {
  #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
    if (!isNonBlocking(fd)) setNonBlocking(fd, true);
  }

  /** The fd, borrowed, for a poller; -1 once closed. */
  get fd(): number {
    return this.#fd;
  }

  /**
   * Takes all signals: 1 when there was one, 0 when there was none, -1 when there will be none any
   * more (end of file, or not an fd that can be read).
   */
  drain(): number {
    let signalled = 0;
    for (let reads = 0; reads < DRAIN_READS_MAX; reads++) {
      const count = libc.read(this.#fd, drained.address, DRAIN_BYTES);
      if (count === DRAIN_BYTES) {
        signalled = 1; // the pipe may hold more
      } else if (count > 0) {
        return 1; // an eventfd is read whole, and a short read has emptied a pipe
      } else if (count === 0) {
        return -1;
      } else {
        const errno = libc.errno();
        if (errno === EINTR) continue;
        return errno === EAGAIN ? signalled : -1;
      }
    }
    return 1;
  }

  /**
   * Signals again what was taken, for who has the notifier next; 0, or a negative errno. Both ends
   * of an eventfd are one; that of a pipe is not for writing: -EBADF.
   */
  putBack(): number {
    return signal(this.#fd);
  }

  /** Closes the fd; may be called again. */
  close(): void {
    const fd = this.#fd;
    this.#fd = -1;
    if (fd >= 0) closeFd(fd);
  }
}

function signal(fd: number): number {
  for (;;) {
    if (libc.write(fd, value.address, VALUE_BYTES) >= 0) return 0;
    const errno = libc.errno();
    if (errno === EAGAIN) return 0;
    if (errno !== EINTR) return -errno;
  }
}

/** Both ends of a new notifier, each owned by the caller. */
export function createNotifier(): { notifier: Notifier; consumer: NotifierConsumer } {
  const [writeFd, readFd] = notifierFds();
  return { notifier: new Notifier(writeFd), consumer: new NotifierConsumer(readFd) };
}

/** What a new notifier is made of on this host. */
export function notifierKind(): 'eventfd' | 'pipe' {
  if (posixOnly || libc.eventfd === null) return 'pipe';
  const { EFD_CLOEXEC, EFD_NONBLOCK } = abi.optional;
  if (EFD_CLOEXEC === undefined || EFD_NONBLOCK === undefined) return 'pipe';
  const fd = libc.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) return 'pipe';
  closeFd(fd);
  return 'eventfd';
}

function notifierFds(): [write: number, read: number] {
  const { EFD_CLOEXEC, EFD_NONBLOCK } = abi.optional;
  if (!posixOnly && libc.eventfd !== null && EFD_CLOEXEC !== undefined) {
    const fd = libc.eventfd(0, EFD_CLOEXEC | (EFD_NONBLOCK ?? 0));
    if (fd >= 0) {
      const copy = libc.dup(fd);
      if (copy >= 0) {
        setCloseOnExec(copy);
        return [fd, copy];
      }
      closeFd(fd);
    } else if (libc.errno() === ENOSYS) {
      fellBack('eventfd2', 'a pipe');
    }
  }
  const fds = new NativeBlock(8);
  check(libc.pipe(fds.address), 'pipe()');
  const readFd = fds.view.getInt32(0, true);
  const writeFd = fds.view.getInt32(4, true);
  fds.free();
  setCloseOnExec(readFd);
  setCloseOnExec(writeFd);
  return [writeFd, readFd];
}
