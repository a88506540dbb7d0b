/**
 * Locks of the guest's programs, as locks on the host: programs of this host and of other guests
 * that share the folder see them.
 *
 * A lock that is not to be had is waited for without a thread: it is tried again when one of this
 * guest's is given up, and from time to time, since nobody tells when the host's are.
 *
 * @module
 */
import {
  FUSE_FILE_LOCK,
  FUSE_FLUSH_IN,
  FUSE_LK_FLOCK,
  FUSE_LK_IN,
  FUSE_LK_OUT,
  LINUX_E,
  LINUX_F,
  LINUX_O,
} from '../../../fuse/index.ts';
import {
  LOCK_OP,
  LockBlock,
  closeFd,
  flockFd,
  hostOpenFlags,
  ofdGetLock,
  ofdLock,
} from '../../../sys/index.ts';
import type { Reactor, ReactorTimer } from '../../../backend/index.ts';
import { PENDING } from '../operations.ts';
import type { FuseCall } from '../operations.ts';
import { toLinux } from './folder-state.ts';
import type { FolderState } from './folder-state.ts';
import type { Handle } from './handles.ts';
import { LockTable } from '../tree/lock-table.ts';
import type { Lock } from '../tree/lock-table.ts';
import { getU64, setU53 } from './owners.ts';

const RETRY_MS_FIRST = 2;
const RETRY_MS_MAX = 100;
/** Owners that have a lock, and requests that wait: each of them costs a descriptor, or memory. */
const OWNERS_MAX = 4096;
const WAITERS_MAX = 4096;
const FLAGS_WRITE = hostOpenFlags(LINUX_O.RDWR | LINUX_O.NONBLOCK);
const FLAGS_READ = hostOpenFlags(LINUX_O.RDONLY | LINUX_O.NONBLOCK);
/** By `LINUX_F`. */
const FLOCK_OPS = [LOCK_OP.SHARED, LOCK_OP.EXCLUSIVE, LOCK_OP.UNLOCK] as const;
/** The `end` of a lock to the end of the file, however long that gets: 2^63 - 1, or near it. */
const END_OF_FILE = Number.MAX_SAFE_INTEGER;

/** One request for a lock. */
interface LockRequest {
  readonly handle: Handle;
  readonly owner: string;
  readonly lock: Lock;
}

/** A POSIX owner: what the host knows him by, and what the guest does. */
interface Owner {
  readonly fd: number;
  readonly slot: number;
  readonly low: number;
  readonly high: number;
}

interface Waiter {
  readonly call: FuseCall;
  readonly unique: number;
  readonly request: LockRequest;
}

/** See the module. */
export class LockOps {
  readonly #state: FolderState;
  readonly #reactor: Reactor;
  /** POSIX locks belong to an owner, and on the host to a descriptor: one for each owner. */
  readonly #owners = new Map<string, Owner>();
  /** The guest's POSIX locks once more: the host does not know which process has one. */
  readonly #table = new LockTable();
  #waiters: Waiter[] = [];
  #timer: ReactorTimer | null = null;
  #retryMs = RETRY_MS_FIRST;
  readonly #found = new LockBlock();

  constructor(state: FolderState, reactor: Reactor) {
    this.#state = state;
    this.#reactor = reactor;
  }

  /** Whether the host has locks that belong to a descriptor; else the guest's kernel keeps them. */
  get hasPosixLocks(): boolean {
    return ofdLock(this.#state.rootFd, LINUX_F.UNLCK, 0, 0) !== -LINUX_E.NOSYS;
  }

  /** GETLK: who is in the way. */
  get(call: FuseCall): number {
    const request = this.#request(call);
    if (typeof request === 'number') return request;
    const { lock, handle } = request;
    const own = this.#table.conflict(handle.slot, lock);
    if (own !== null) return lockAnswer(call, own.type, own.start, own.end, own.pid);
    const fd = this.#ownerFd(request);
    if (fd < 0) return fd;
    const found = this.#found;
    found.type = lock.type;
    found.start = lock.start;
    found.len = lengthOf(lock);
    const result = toLinux(ofdGetLock(fd, found));
    if (result < 0) return result;
    const end = found.len === 0 ? Infinity : found.start + found.len - 1;
    return lockAnswer(call, found.type, found.start, end, 0); // no process of the guest's
  }

  /** SETLK and SETLKW. */
  set(call: FuseCall, wait: boolean): number {
    const request = this.#request(call);
    if (typeof request === 'number') return request;
    const result = this.#try(request);
    if (request.lock.type === LINUX_F.UNLCK && result >= 0) this.#retrySoon();
    if (result !== -LINUX_E.AGAIN || !wait) return result;
    if (this.#waiters.length >= WAITERS_MAX) return -LINUX_E.NOLCK;
    this.#waiters.push({ call, unique: call.unique, request });
    this.#plan();
    return PENDING;
  }

  /**
   * FLUSH: one of the guest's programs closed the file, and with that gives up its locks. Where
   * locks are the guest's own there is nothing to do, and the guest is told (ENOSYS), so that it
   * asks no more.
   */
  flush(call: FuseCall): number {
    const { input } = call;
    const handle = this.#state.handles.file(getU64(input, FUSE_FLUSH_IN.fh));
    if (handle === undefined) return -LINUX_E.BADF;
    if (!this.#state.settings.sharedLocks) return -LINUX_E.NOSYS;
    const low = input.getUint32(FUSE_FLUSH_IN.lockOwner, true);
    const high = input.getUint32(FUSE_FLUSH_IN.lockOwner + 4, true);
    if (this.#owners.size > 0) this.#forgetOwner(ownerKey(handle.slot, low, high));
    return 0;
  }

  /** A handle is about to be closed; its flock goes with it. */
  released(handle: Handle): void {
    for (const waiter of this.#waiters.filter((each) => each.request.handle === handle)) {
      this.#answer(waiter, -LINUX_E.BADF);
    }
    // A guest flushes what it closes; if one does not, its locks end with the last handle.
    if (this.#owners.size > 0 && this.#state.nodes.handles[handle.slot] === 1) {
      const ofNode = `${String(handle.slot)}:`;
      for (const owner of [...this.#owners.keys()]) {
        if (owner.startsWith(ofNode)) this.#forgetOwner(owner);
      }
    }
    this.#retrySoon();
  }

  /** The guest does not want to wait any more. */
  interrupt(unique: number): void {
    const waiter = this.#waiters.find((each) => each.unique === unique);
    if (waiter !== undefined) this.#answer(waiter, -LINUX_E.INTR);
  }

  /** Gives up all locks, and answers who waits. */
  clear(): void {
    for (const waiter of [...this.#waiters]) this.#answer(waiter, -LINUX_E.INTR);
    for (const { fd } of this.#owners.values()) closeFd(fd);
    this.#owners.clear();
    this.#table.clear();
    this.#state.lockFds = 0;
    this.#timer?.cancel();
    this.#timer = null;
  }

  #request(call: FuseCall): LockRequest | number {
    const { input } = call;
    const handle = this.#state.handles.file(getU64(input, FUSE_LK_IN.fh));
    if (handle === undefined) return -LINUX_E.BADF;
    const start = getU64(input, FUSE_LK_IN.lk);
    const end = getU64(input, FUSE_LK_IN.lk + FUSE_FILE_LOCK.end);
    const type = input.getUint32(FUSE_LK_IN.lk + FUSE_FILE_LOCK.type, true);
    if (type > LINUX_F.UNLCK || end < start) return -LINUX_E.INVAL;
    if (start >= END_OF_FILE) return -LINUX_E.OVERFLOW;
    const isFlock = (input.getUint32(FUSE_LK_IN.lkFlags, true) & FUSE_LK_FLOCK) !== 0;
    const lock: Lock = {
      isFlock,
      ownerLow: input.getUint32(FUSE_LK_IN.owner, true),
      ownerHigh: input.getUint32(FUSE_LK_IN.owner + 4, true),
      pid: input.getUint32(FUSE_LK_IN.lk + FUSE_FILE_LOCK.pid, true),
      type,
      start,
      end: end >= END_OF_FILE ? Infinity : end,
    };
    return { handle, owner: ownerKey(handle.slot, lock.ownerLow, lock.ownerHigh), lock };
  }

  #try(request: LockRequest): number {
    const { handle, lock, owner } = request;
    const { type } = lock;
    if (lock.isFlock) {
      const operation = (FLOCK_OPS[type] as number) | LOCK_OP.NO_WAIT;
      return again(toLinux(flockFd(handle.fd, operation)));
    }
    if (type === LINUX_F.UNLCK && !this.#owners.has(owner)) return 0;
    const fd = this.#ownerFd(request);
    if (fd < 0) return fd;
    const result = again(toLinux(ofdLock(fd, type, lock.start, lengthOf(lock))));
    if (result < 0) return result;
    const kept = this.#table.set(handle.slot, lock);
    // Beyond what the table holds there is nobody to be asked about, and so no lock.
    if (kept < 0) ofdLock(fd, LINUX_F.UNLCK, lock.start, lengthOf(lock));
    return kept;
  }

  #ownerFd(request: LockRequest): number {
    const { handle, owner, lock } = request;
    const known = this.#owners.get(owner);
    if (known !== undefined) return known.fd;
    if (this.#owners.size >= OWNERS_MAX) return -LINUX_E.NOLCK;
    const state = this.#state;
    let fd = state.openNode(handle.slot, FLAGS_WRITE);
    if (fd < 0) fd = state.openNode(handle.slot, FLAGS_READ);
    if (fd >= 0) {
      const { slot } = handle;
      this.#owners.set(owner, { fd, slot, low: lock.ownerLow, high: lock.ownerHigh });
      state.lockFds++;
    }
    return fd;
  }

  #forgetOwner(owner: string): void {
    const known = this.#owners.get(owner);
    if (known === undefined) return;
    this.#owners.delete(owner);
    this.#table.release(known.slot, false, known.low, known.high);
    this.#state.lockFds--;
    closeFd(known.fd);
    this.#retrySoon();
  }

  #answer(waiter: Waiter, result: number): void {
    this.#waiters = this.#waiters.filter((each) => each !== waiter);
    waiter.call.finish(result);
  }

  /** A lock of this guest was given up: whoever waits may have it, after this request. */
  #retrySoon(): void {
    this.#retryMs = RETRY_MS_FIRST;
    this.#timer?.cancel();
    this.#timer = null;
    this.#plan(0);
  }

  #plan(ms: number = this.#retryMs): void {
    if (this.#waiters.length === 0 || this.#timer !== null) return;
    this.#timer = this.#reactor.after(ms, () => {
      this.#timer = null;
      this.#retry();
    });
  }

  #retry(): void {
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MS_MAX);
    for (const waiter of [...this.#waiters]) {
      const result = this.#try(waiter.request);
      if (result !== -LINUX_E.AGAIN) this.#answer(waiter, result);
    }
    this.#plan();
  }
}

/** Writes `fuse_lk_out`; `end` is Infinity for the end of the file, wherever that is. */
function lockAnswer(call: FuseCall, type: number, start: number, end: number, pid: number): number {
  const { out } = call;
  const at = FUSE_LK_OUT.lk;
  setU53(out, at + FUSE_FILE_LOCK.start, start);
  if (end === Infinity) setOffsetMax(out, at + FUSE_FILE_LOCK.end);
  else setU53(out, at + FUSE_FILE_LOCK.end, end);
  out.setUint32(at + FUSE_FILE_LOCK.type, type, true);
  out.setUint32(at + FUSE_FILE_LOCK.pid, pid, true);
  return FUSE_LK_OUT.SIZE;
}

/** Bytes of a lock, as fcntl(2) takes them: 0 for one to the end of the file. */
function lengthOf(lock: Lock): number {
  return lock.end === Infinity ? 0 : lock.end - lock.start + 1;
}

/** Linux's OFFSET_MAX: to the end of the file. */
function setOffsetMax(view: DataView, at: number): void {
  view.setUint32(at, 0xffff_ffff, true);
  view.setUint32(at + 4, 0x7fff_ffff, true);
}

/** A lock that is taken: EAGAIN, or EACCES on some hosts. */
function again(result: number): number {
  return result === -LINUX_E.ACCES ? -LINUX_E.AGAIN : result;
}

function ownerKey(slot: number, low: number, high: number): string {
  return `${String(slot)}:${String(high)}:${String(low)}`;
}
