/**
 * Locks on files that belong to an open file, as the guest's processes have them: of ranges (OFD
 * locks) and of the whole file (flock). Types and operations are Linux's numbers; results are 0 or
 * a negative errno of this host.
 *
 * @module
 */
import { ERRNO } from './errno.ts';
import { fellBack } from './fallback.ts';
import { abi, posixOnly } from './host.ts';
import { fcntl, flock } from './libc.ts';
import { NativeBlock, orErrno } from './native.ts';

const FLOCK = abi.files.flock;
const ENOSYS = ERRNO.ENOSYS as number;
const EINVAL = ERRNO.EINVAL as number;
const SEEK_SET = 0;
const HOST_TYPES = [FLOCK.F_RDLCK, FLOCK.F_WRLCK, FLOCK.F_UNLCK] as const;

/** Linux's types of {@link ofdLock}. */
export const LOCK_TYPE = { READ: 0, WRITE: 1, NONE: 2 } as const;
/** Linux's operations of {@link flockFd}; the other hosts' are the same. */
export const LOCK_OP = { SHARED: 1, EXCLUSIVE: 2, NO_WAIT: 4, UNLOCK: 8 } as const;

const scratch = new NativeBlock(FLOCK.SIZE);

/** A lock as {@link ofdGetLock} takes and gives it. */
export class LockBlock {
  /** One of {@link LOCK_TYPE}; NONE in an answer: nothing is in the way. */
  type = 0;
  start = 0;
  /** Bytes; 0 up to the end of the file, however long it becomes. */
  len = 0;
  /** Of the process that holds the lock; 0 where it belongs to an open file. */
  pid = 0;
}

/**
 * Locks or unlocks a range for the open file behind the fd; -EAGAIN when another has it, and with
 * `wait` -EINTR after a signal. -ENOSYS where locks belong to processes only.
 */
export function ofdLock(
  fd: number,
  type: number,
  start: number,
  length: number,
  wait = false,
): number {
  const command = wait ? FLOCK.F_OFD_SETLKW : FLOCK.F_OFD_SETLK;
  if (command === undefined || posixOnly) return -ENOSYS;
  if (!write(type, start, length)) return -EINVAL;
  const result = orErrno(fcntl('uintptr_t', fd, command, scratch.address));
  if (result === -ENOSYS) fellBack('fcntl(F_OFD_SETLK)', 'locks within the guest');
  return result;
}

/** Asks for the lock that is in the way of `lock`, and writes it there, or the type NONE. */
export function ofdGetLock(fd: number, lock: LockBlock): number {
  if (FLOCK.F_OFD_GETLK === undefined || posixOnly) return -ENOSYS;
  if (!write(lock.type, lock.start, lock.len)) return -EINVAL;
  const result = orErrno(fcntl('uintptr_t', fd, FLOCK.F_OFD_GETLK, scratch.address));
  if (result < 0) return result;
  const type = HOST_TYPES.findIndex((each) => each === scratch.get(0, FLOCK.type));
  lock.type = type < 0 ? LOCK_TYPE.NONE : type;
  if (lock.type === LOCK_TYPE.NONE) return 0; // the rest of the structure is what we asked
  lock.start = scratch.get(0, FLOCK.start);
  lock.len = scratch.get(0, FLOCK.len);
  lock.pid = Math.max(0, scratch.get(0, FLOCK.pid)); // -1: an open file has it, and no process
  return 0;
}

/** Locks the whole file; -EWOULDBLOCK with NO_WAIT, else -EINTR after a signal. */
export function flockFd(fd: number, operation: number): number {
  return orErrno(flock(fd, operation));
}

function write(type: number, start: number, length: number): boolean {
  const hostType = HOST_TYPES[type];
  if (hostType === undefined) return false;
  scratch.set(0, FLOCK.type, hostType);
  scratch.set(0, FLOCK.whence, SEEK_SET);
  scratch.set(0, FLOCK.start, start);
  scratch.set(0, FLOCK.len, length);
  scratch.set(0, FLOCK.pid, 0); // Linux insists on it
  return true;
}
