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
import {
  accessMode,
  closeFd,
  fdKind,
  isNonBlocking,
  setCloseOnExec,
  setNonBlocking,
} from './fd.ts';
import * as libc from './libc.ts';
import { NativeBlock, check } from './native.ts';
import { O } from './open-flags.ts';
import { pollNow } from './poll-now.ts';
import { reopenFd } from './tree.ts';

const { constants } = abi;

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
  readonly #asksFirst: boolean;

  /** `asksFirst`: whether a write would wait is asked before each, since O_NONBLOCK may go. */
  constructor(fd: number, asksFirst: boolean = false) {
    this.#fd = fd;
    this.#asksFirst = asksFirst;
    // A full pipe would block the thread that serves everyone else. Set only when it is not set:
    // the flag is shared with the peer that sent the fd, and it expects it anyway.
    if (!isNonBlocking(fd)) setNonBlocking(fd, true);
  }

  /** The same on an fd of a peer, who may do to its flags what it likes: see {@link unshared}. */
  static ofPeer(fd: number): Notifier {
    const own = unshared(fd, O.O_WRONLY);
    return new Notifier(own.fd, own.asksFirst);
  }

  /** The fd, borrowed; -1 once closed. */
  get fd(): number {
    return this.#fd;
  }

  /** Signals; 0, or a negative errno. A full pipe or a saturated eventfd has been signalled: 0. */
  signal(): number {
    if (this.#asksFirst && pollNow(this.#fd, constants.POLLOUT) === 0) return 0; // it is full
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
  readonly #asksFirst: boolean;

  /** `asksFirst`: as {@link Notifier} has it, of reads. */
  constructor(fd: number, asksFirst: boolean = false) {
    this.#fd = fd;
    this.#asksFirst = asksFirst;
    if (!isNonBlocking(fd)) setNonBlocking(fd, true);
  }

  /** The same on an fd of a peer: see {@link unshared}. */
  static ofPeer(fd: number): NotifierConsumer {
    const own = unshared(fd, O.O_RDONLY);
    return new NotifierConsumer(own.fd, own.asksFirst);
  }

  /** The fd, borrowed, for a poller; -1 once closed. */
  get fd(): number {
    return this.#fd;
  }

  /**
   * Takes all signals: 1 when there was one, 0 when there was none, -1 when there will be none any
   * more (end of file, or not an fd that can be read). `unasked`: no poller has told of a signal,
   * and there may be none.
   */
  drain(unasked: boolean = false): number {
    const asksFirst = unasked || this.#asksFirst;
    let signalled = 0;
    for (let reads = 0; reads < DRAIN_READS_MAX; reads++) {
      if (asksFirst && pollNow(this.#fd, constants.POLLIN) === 0) return signalled;
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

/**
 * An fd of a peer, as one whose flags the peer cannot change. O_NONBLOCK belongs to the open file,
 * which whoever sent the fd shares: a peer that clears it has this thread, which serves everyone
 * else, wait in a write to a pipe that is full, or a read from an empty one.
 *
 * Where the host can open what is behind an fd again, the pipe is opened anew, and the peer's fd is
 * closed. Elsewhere, and where the peer is another user whose pipe may not be opened, it is asked
 * before each call whether it would wait. A peer that fills the pipe between the two still has us
 * wait, but then it has to try for that, all the time.
 *
 * An eventfd is left as it is: it cannot be opened again, to ask would cost each request a system
 * call, and neither a read that a poller has told of nor a write below 2^64 - 1 waits, but for a
 * peer that takes its own signal back in between, or counts up to there.
 */
function unshared(fd: number, mode: number): { readonly fd: number; readonly asksFirst: boolean } {
  const kind = fdKind(fd);
  const given = accessMode(fd);
  // Of a pipe's wrong end each call fails, and is to go on failing.
  const isWrong = given !== mode && given !== O.O_RDWR;
  if (kind === 'other' || isWrong) return { fd, asksFirst: false };
  const own = kind === 'pipe' ? reopenFd(fd, given | O.O_NONBLOCK) : -1;
  if (own < 0) return { fd, asksFirst: true };
  closeFd(fd);
  return { fd: own, asksFirst: false };
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
