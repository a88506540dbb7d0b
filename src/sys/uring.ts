/**
 * io_uring(7) without a line of C: one system call to set it up, three mappings, and one system
 * call to submit and to wait.
 *
 * @module
 */
import type { UringAbi } from '../abi/index.ts';
import { VhostUserError, assert } from '../util/index.ts';
import { abi, posixOnly } from './host.ts';
import { ERRNO, SystemError, errnoName } from './errno.ts';
import { fellBack } from './fallback.ts';
import { closeFd } from './fd.ts';
import * as libc from './libc.ts';
import { NativeBlock } from './native.ts';
import { SIGNAL } from './notifier.ts';

/** uapi/linux/io_uring.h: `struct io_uring_params`. */
const PARAMS = { sqEntries: 0, cqEntries: 4, flags: 8, features: 20, sq: 40, cq: 80, SIZE: 120 };
/** `struct io_sqring_offsets` and `struct io_cqring_offsets`. */
const SQ_OFF = { head: 0, tail: 4, ringMask: 8, ringEntries: 12, flags: 16, array: 24 };
const CQ_OFF = { head: 0, tail: 4, ringMask: 8, ringEntries: 12, cqes: 20 };
/** `struct io_uring_sqe` in 32-bit words. */
const SQE_WORDS = 16;
/** `struct io_uring_cqe`: user_data 8, res 4, flags 4; in 32-bit words. */
const CQE_WORDS = 4;
/** `struct io_uring_getevents_arg` (24 bytes), followed by a `struct __kernel_timespec`. */
const ARG = { sigmask: 0, ts: 16, SIZE: 24, timespec: 24, END: 40 };

const IORING_SETUP_CQSIZE = 1 << 3;
const IORING_SETUP_R_DISABLED = 1 << 6;
const IORING_SETUP_COOP_TASKRUN = 1 << 8;
const IORING_SETUP_TASKRUN_FLAG = 1 << 9;
const IORING_SETUP_SINGLE_ISSUER = 1 << 12;
const IORING_SETUP_DEFER_TASKRUN = 1 << 13;
/**
 * Best first: completions run when we ask for them, not by interrupting us; older kernels refuse.
 */
const SETUP_FLAGS: readonly number[] = [
  IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
  IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
  0,
];
const IORING_FEAT_SINGLE_MMAP = 1 << 0;
const IORING_FEAT_EXT_ARG = 1 << 8;
/** Came together with multishot poll requests, which no bit tells of. */
const IORING_FEAT_RSRC_TAGS = 1 << 10;
/** Linux 5.17. */
const IORING_FEAT_CQE_SKIP = 1 << 11;
/** Linux 5.13. */
const FEATURES_NEEDED = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_EXT_ARG | IORING_FEAT_RSRC_TAGS;

const IOSQE_CQE_SKIP_SUCCESS = 1 << 6;
const IORING_OFF_SQ_RING = 0;
const IORING_OFF_SQES = 0x10000000;
const IORING_ENTER_GETEVENTS = 1;
const IORING_ENTER_EXT_ARG = 8;
const IORING_SQ_CQ_OVERFLOW = 2;
const IORING_SQ_TASKRUN = 4;
const IORING_FSYNC_DATASYNC = 1;
const IORING_POLL_ADD_MULTI = 1;
const IORING_CQE_F_MORE = 2;

const OP = {
  NOP: 0,
  READV: 1,
  WRITEV: 2,
  FSYNC: 3,
  POLL_ADD: 6,
  ASYNC_CANCEL: 14,
  FALLOCATE: 17,
  READ: 22,
  WRITE: 23,
} as const;

/** What a ring takes; the rest is refused by the kernel, whoever asks. */
const OPS: readonly number[] = Object.values(OP);
const IORING_REGISTER_RESTRICTIONS = 11;
const IORING_REGISTER_ENABLE_RINGS = 12;
const IORING_RESTRICTION_SQE_OP = 1;
const IORING_RESTRICTION_SQE_FLAGS_ALLOWED = 2;
/** `struct io_uring_restriction`. | opcode 2 | sqe_op or sqe_flags 1 | reserved 13 | */
const RESTRICTION = { opcode: 0, sqeOp: 2, SIZE: 16 } as const;

const WORD = 0x1_0000_0000;
const MAP_POPULATE = 0x8000;
const ENTER_ATTEMPTS_MAX = 1000;

/**
 * A ring, for the one thread that opened it. `prep…` puts a request into the submission queue and
 * returns false when that is full; `submit` hands all of them over. The memory and the fds that a
 * request names have to stay until it has completed.
 */
export class Uring {
  readonly #fd: number;
  readonly #setup: number;
  readonly #skipsSuccess: boolean;
  readonly #enter: number;
  readonly #sqHead: Uint32Array;
  readonly #sqTail: Uint32Array;
  readonly #sqFlags: Uint32Array;
  readonly #sqes: Uint32Array;
  readonly #sqEntries: number;
  readonly #cqHead: Uint32Array;
  readonly #cqTail: Uint32Array;
  readonly #cqes: Int32Array;
  readonly #cqMask: number;
  readonly #arg = new NativeBlock(ARG.END);
  readonly #mappings: readonly (readonly [address: number, bytes: number])[];
  #tail = 0; // our side of the submission queue
  #submitted = 0;
  #head = 0; // our side of the completion queue
  #closed = false;

  /**
   * Opens a ring of `entries` submissions, and of `completions` that may wait to be taken (both
   * powers of two); null where there is none to be had.
   */
  static open(entries: number, completions: number = 2 * entries): Uring | null {
    const { uring } = abi;
    if (posixOnly || uring === null || libc.syscall6 === null) return null;
    const params = new NativeBlock(PARAMS.SIZE);
    try {
      for (const flags of SETUP_FLAGS) {
        params.bytes.fill(0);
        params.view.setUint32(
          PARAMS.flags,
          flags | IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED,
          true,
        );
        params.view.setUint32(PARAMS.cqEntries, completions, true);
        const fd = libc.syscall6(uring.SYS_io_uring_setup, entries, params.address, 0, 0, 0, 0);
        if (fd < 0) {
          if (libc.errno() === ERRNO.EINVAL) continue; // a flag that this kernel does not know
          fellBack('io_uring_setup', 'a poller and preadv');
          return null;
        }
        const features = params.view.getUint32(PARAMS.features, true);
        const isKnown = (features & FEATURES_NEEDED) === FEATURES_NEEDED && restrict(fd, uring);
        // A filter may allow the first call only, and a ring that nothing enters is of no use.
        if (isKnown && libc.syscall6(uring.SYS_io_uring_enter, fd, 0, 0, 0, 0, 0) >= 0) {
          return new Uring(fd, flags, uring.SYS_io_uring_enter, params.view);
        }
        closeFd(fd);
        fellBack(isKnown ? 'io_uring_enter' : 'io_uring_setup', 'a poller and preadv');
        return null;
      }
      return null;
    } finally {
      params.free();
    }
  }

  private constructor(fd: number, setup: number, enter: number, params: DataView) {
    this.#fd = fd;
    this.#setup = setup;
    this.#enter = enter;
    this.#skipsSuccess = (params.getUint32(PARAMS.features, true) & IORING_FEAT_CQE_SKIP) !== 0;
    this.#sqEntries = params.getUint32(PARAMS.sqEntries, true);
    const cqEntries = params.getUint32(PARAMS.cqEntries, true);
    const sq = (field: number): number => params.getUint32(PARAMS.sq + field, true);
    const cq = (field: number): number => params.getUint32(PARAMS.cq + field, true);
    const arrayEnd = sq(SQ_OFF.array) + this.#sqEntries * 4;
    const ringBytes = Math.max(arrayEnd, cq(CQ_OFF.cqes) + cqEntries * CQE_WORDS * 4);
    const sqeBytes = this.#sqEntries * SQE_WORDS * 4;
    const ring = mapRing(fd, ringBytes, IORING_OFF_SQ_RING);
    let sqes: number;
    try {
      sqes = mapRing(fd, sqeBytes, IORING_OFF_SQES);
    } catch (error) {
      libc.munmap(ring, ringBytes);
      throw error;
    }
    this.#mappings = [
      [ring, ringBytes],
      [sqes, sqeBytes],
    ];
    // SAFETY: both mappings last until close(), after which no method touches the views.
    const word = (at: number): Uint32Array => new Uint32Array(libc.rawView(ring + at, 4));
    this.#sqHead = word(sq(SQ_OFF.head));
    this.#sqTail = word(sq(SQ_OFF.tail));
    this.#sqFlags = word(sq(SQ_OFF.flags));
    this.#cqHead = word(cq(CQ_OFF.head));
    this.#cqTail = word(cq(CQ_OFF.tail));
    this.#cqMask = cqEntries - 1;
    this.#cqes = new Int32Array(libc.rawView(ring + cq(CQ_OFF.cqes), cqEntries * CQE_WORDS * 4));
    this.#sqes = new Uint32Array(libc.rawView(sqes, sqeBytes));
    // The indirection from queue to entries is the identity, for good.
    const array = new Uint32Array(libc.rawView(ring + sq(SQ_OFF.array), this.#sqEntries * 4));
    for (let i = 0; i < this.#sqEntries; i++) array[i] = i;
  }

  /** Reads into memory. `userData` comes back with the result and is below 2^32. */
  prepRead(fd: number, address: number, bytes: number, offset: number, userData: number): boolean {
    return this.#prepare(OP.READ, fd, offset, address, bytes, 0, userData);
  }

  /** Writes from memory. */
  prepWrite(fd: number, address: number, bytes: number, offset: number, userData: number): boolean {
    return this.#prepare(OP.WRITE, fd, offset, address, bytes, 0, userData);
  }

  /** Reads into the `iovCount` buffers of the `struct iovec` array at `iov`. */
  prepReadv(fd: number, iov: number, iovCount: number, offset: number, userData: number): boolean {
    return this.#prepare(OP.READV, fd, offset, iov, iovCount, 0, userData);
  }

  /** Writes from the buffers of a `struct iovec` array. */
  prepWritev(fd: number, iov: number, iovCount: number, offset: number, userData: number): boolean {
    return this.#prepare(OP.WRITEV, fd, offset, iov, iovCount, 0, userData);
  }

  /** fdatasync(2) or fsync(2). */
  prepFsync(fd: number, dataOnly: boolean, userData: number): boolean {
    return this.#prepare(OP.FSYNC, fd, 0, 0, 0, dataOnly ? IORING_FSYNC_DATASYNC : 0, userData);
  }

  /** fallocate(2). */
  prepFallocate(
    fd: number,
    mode: number,
    offset: number,
    lengthBytes: number,
    userData: number,
  ): boolean {
    return this.#prepare(OP.FALLOCATE, fd, offset, lengthBytes, mode, 0, userData);
  }

  /**
   * Completes when the fd is ready, with the events: once, or with `multishot`
   * each time that somebody makes it ready, ready as it may still be; see `hasMoreAt`.
   */
  prepPollAdd(fd: number, events: number, userData: number, multishot = false): boolean {
    const flags = multishot ? IORING_POLL_ADD_MULTI : 0;
    return this.#prepare(OP.POLL_ADD, fd, 0, 0, flags, events, userData);
  }

  /** Cancels the request with that `userData`, which then completes with -ECANCELED. */
  prepCancel(targetUserData: number, userData: number): boolean {
    return this.#prepare(OP.ASYNC_CANCEL, -1, 0, targetUserData, 0, 0, userData);
  }

  /**
   * Signals the notifier of this fd, when it is handed over: the kernel writes at once. It only
   * completes if that fails. False also where the kernel cannot keep quiet (before Linux 5.17).
   */
  prepSignal(fd: number, userData: number): boolean {
    if (!this.#skipsSuccess) return false;
    const op = OP.WRITE | (IOSQE_CQE_SKIP_SUCCESS << 8); // the flags are the second byte
    return this.#prepare(op, fd, 0, SIGNAL.address, SIGNAL.bytes, 0, userData);
  }

  /** Completes at once and does nothing. */
  prepNop(userData: number): boolean {
    return this.#prepare(OP.NOP, -1, 0, 0, 0, 0, userData);
  }

  /** Hands over what was prepared, without waiting; returns how many requests. */
  submit(): number {
    const count = (this.#tail - this.#submitted) >>> 0;
    return count === 0 ? 0 : this.#call(count, 0, 0, 0, 0);
  }

  /**
   * Hands over what was prepared and waits until `minComplete` completions can be taken, or until
   * `timeoutUs` are over (-1: for ever). Returns early when a signal comes in.
   */
  submitAndWait(minComplete: number, timeoutUs: number): number {
    assert(!this.#closed, 'a closed ring is not used'); // its argument's memory is gone as well
    const count = (this.#tail - this.#submitted) >>> 0;
    if (timeoutUs < 0) return this.#call(count, minComplete, IORING_ENTER_GETEVENTS, 0, 0);
    const { view, address } = this.#arg;
    const seconds = Math.floor(timeoutUs / 1e6);
    view.setUint32(ARG.timespec, seconds, true);
    view.setUint32(ARG.timespec + 8, Math.ceil(timeoutUs - seconds * 1e6) * 1000, true);
    const timespec = address + ARG.timespec;
    view.setUint32(ARG.ts, timespec >>> 0, true);
    view.setUint32(ARG.ts + 4, Math.floor(timespec / WORD), true);
    const flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
    return this.#call(count, minComplete, flags, address, ARG.SIZE);
  }

  /** How many completions can be taken now. A system call only when the kernel asks for one. */
  pending(): number {
    assert(!this.#closed, 'a closed ring is not used');
    const count = (Atomics.load(this.#cqTail, 0) - this.#head) >>> 0;
    if (count > 0) return count;
    const flags = Atomics.load(this.#sqFlags, 0);
    if ((flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) === 0) return 0;
    this.#call(0, 0, IORING_ENTER_GETEVENTS, 0, 0);
    return (Atomics.load(this.#cqTail, 0) - this.#head) >>> 0;
  }

  /** `userData` of the i-th of the completions that `pending` counted. */
  userDataAt(i: number): number {
    return (this.#cqes[((this.#head + i) & this.#cqMask) * CQE_WORDS] as number) >>> 0;
  }

  /** Its result: what the system call would return, or a negative errno. */
  resultAt(i: number): number {
    return this.#cqes[((this.#head + i) & this.#cqMask) * CQE_WORDS + 2] as number;
  }

  /** Whether the same request will complete again. */
  hasMoreAt(i: number): boolean {
    const flags = this.#cqes[((this.#head + i) & this.#cqMask) * CQE_WORDS + 3] as number;
    return (flags & IORING_CQE_F_MORE) !== 0;
  }

  /** Takes `count` completions away. */
  advance(count: number): void {
    assert(!this.#closed, 'a closed ring is not used');
    this.#head = (this.#head + count) >>> 0;
    Atomics.store(this.#cqHead, 0, this.#head); // release: the entries were read before
  }

  /** Closes the ring; the kernel cancels what is under way. May be called again. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeFd(this.#fd);
    for (const [address, bytes] of this.#mappings) libc.munmap(address, bytes);
    this.#arg.free();
  }

  #prepare(
    op: number,
    fd: number,
    offset: number,
    address: number,
    length: number,
    opFlags: number,
    userData: number,
  ): boolean {
    assert(!this.#closed, 'a closed ring is not used'); // its memory is gone
    const tail = this.#tail;
    if ((tail - Atomics.load(this.#sqHead, 0)) >>> 0 >= this.#sqEntries) return false;
    const sqes = this.#sqes;
    const at = (tail & (this.#sqEntries - 1)) * SQE_WORDS;
    sqes[at] = op;
    sqes[at + 1] = fd;
    sqes[at + 2] = offset;
    sqes[at + 3] = offset / WORD;
    sqes[at + 4] = address;
    sqes[at + 5] = address / WORD;
    sqes[at + 6] = length;
    sqes[at + 7] = opFlags;
    sqes[at + 8] = userData;
    sqes[at + 9] = 0;
    sqes[at + 10] = 0; // words 10 to 15 stay zero: nothing else is ever written there
    this.#tail = (tail + 1) >>> 0;
    return true;
  }

  /**
   * io_uring_enter(2), made again after a signal for as long as there is something to hand over.
   */
  #call(count: number, min: number, flags: number, arg: number, argBytes: number): number {
    assert(!this.#closed, 'a closed ring is not used');
    assert(libc.syscall6 !== null, 'a ring is open only where syscall() is');
    Atomics.store(this.#sqTail, 0, this.#tail); // release: the entries come before the index
    let rest = count;
    for (let attempt = 0; attempt < ENTER_ATTEMPTS_MAX; attempt++) {
      const done = libc.syscall6(this.#enter, this.#fd, rest, min, flags, arg, argBytes);
      if (done >= 0) {
        this.#submitted = (this.#submitted + done) >>> 0;
        rest -= done;
        if (rest === 0) return count;
        // An entry that was refused at once ends the batch; it has completed with an error
        continue;
      }
      const errno = libc.errno();
      // The kernel reports what it took in before it reports a time-out or a signal, so nothing is
      // left to hand over here unless the signal came first.
      if (errno === ERRNO.ETIME) return count - rest;
      if (errno === ERRNO.EINTR) {
        if (rest === 0) return count;
        continue;
      }
      // Too many completions wait to be taken: the caller takes them and submits again.
      if (errno === ERRNO.EBUSY || errno === ERRNO.EAGAIN) return count - rest;
      throw new SystemError(
        `io_uring_enter(submit ${String(rest)}, wait for ${String(min)})`,
        errno,
        `set up with flags 0x${this.#setup.toString(16)}`,
      );
    }
    throw new VhostUserError('ERR_VHU_URING_STUCK', 'io_uring_enter() makes no progress');
  }
}

/**
 * Lets a new ring do what we have requests for and nothing more, and starts it. A ring is a way
 * past filters of system calls: without this it opens files and makes sockets.
 */
function restrict(fd: number, { SYS_io_uring_register: register }: UringAbi): boolean {
  assert(libc.syscall6 !== null, 'a ring is open only where syscall() is');
  const count = OPS.length + 1;
  const list = new NativeBlock(count * RESTRICTION.SIZE);
  OPS.forEach((op, i) => {
    const at = i * RESTRICTION.SIZE;
    list.view.setUint16(at + RESTRICTION.opcode, IORING_RESTRICTION_SQE_OP, true);
    list.view.setUint8(at + RESTRICTION.sqeOp, op);
  });
  const last = OPS.length * RESTRICTION.SIZE;
  list.view.setUint16(last + RESTRICTION.opcode, IORING_RESTRICTION_SQE_FLAGS_ALLOWED, true);
  list.view.setUint8(last + RESTRICTION.sqeOp, IOSQE_CQE_SKIP_SUCCESS);
  const { address } = list;
  const done =
    libc.syscall6(register, fd, IORING_REGISTER_RESTRICTIONS, address, count, 0, 0) >= 0 &&
    libc.syscall6(register, fd, IORING_REGISTER_ENABLE_RINGS, 0, 0, 0, 0) >= 0;
  list.free();
  return done;
}

function mapRing(fd: number, bytes: number, offset: number): number {
  const { PROT_READ, PROT_WRITE, MAP_SHARED } = abi.constants;
  const protection = PROT_READ | PROT_WRITE;
  const address = libc.mmap(0, bytes, protection, MAP_SHARED | MAP_POPULATE, fd, offset);
  if (address >= 0) return address;
  const errno = libc.errno();
  closeFd(fd);
  throw new SystemError(
    `mmap(io_uring, ${String(bytes)} bytes)`,
    errno,
    `${errnoName(errno)} here is most often a limit on locked memory: see ulimit -l`,
  );
}
