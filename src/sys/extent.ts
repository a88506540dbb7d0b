/**
 * Where a file's data is: its size, holes, space, copies, and whether it has reached the medium.
 * Results are at least 0, or a negative errno of this host.
 *
 * @module
 */
import { ERRNO } from './errno.ts';
import { fellBack } from './fallback.ts';
import { dataSync, fileSync, punchHole } from './file.ts';
import { abi, posixOnly } from './host.ts';
import * as libc from './libc-files.ts';
import { fallocate, fcntl, ftruncate } from './libc.ts';
import { NativeBlock, interrupted, orErrno } from './native.ts';
import { StatBlock, statFd } from './stat.ts';

const { files } = abi;
const EINVAL = ERRNO.EINVAL as number;
const ENOSYS = ERRNO.ENOSYS as number;
const EOPNOTSUPP = ERRNO.EOPNOTSUPP as number;

/** Linux's modes of {@link allocateFd} (linux/falloc.h). */
export const FALLOC = {
  KEEP_SIZE: 0x01,
  PUNCH_HOLE: 0x02,
  COLLAPSE_RANGE: 0x08,
  ZERO_RANGE: 0x10,
  INSERT_RANGE: 0x20,
  UNSHARE_RANGE: 0x40,
} as const;

/** Two offsets of copy_file_range, or `fstore_t` of macOS. */
const scratch = new NativeBlock(32);
const stat = new StatBlock();

/** Makes a file shorter or longer. */
export function truncateFd(fd: number, size: number): number {
  let result = ftruncate(fd, size);
  while (interrupted(result)) result = ftruncate(fd, size);
  return orErrno(result);
}

/**
 * fallocate(2) with Linux's mode ({@link FALLOC}); -EOPNOTSUPP for what the host cannot do.
 * Everywhere: mode 0 (but on OpenBSD), and a hole where the host has holes.
 */
export function allocateFd(fd: number, mode: number, offset: number, length: number): number {
  if (fallocate !== null && !posixOnly) {
    let result = fallocate(fd, mode, offset, length);
    while (interrupted(result)) result = fallocate(fd, mode, offset, length);
    result = orErrno(result);
    if (result === -ENOSYS) fellBack('fallocate', 'the guest is told that there is none');
    return result;
  }
  if (mode === (FALLOC.PUNCH_HOLE | FALLOC.KEEP_SIZE)) return punchHole(fd, offset, length);
  if (mode !== 0) return -EOPNOTSUPP;
  if (files.F_PREALLOCATE !== undefined) return darwinAllocate(fd, offset, length);
  if (libc.posixFallocate === null) return -EOPNOTSUPP;
  return 0 - libc.posixFallocate(fd, offset, length); // it returns the number, and sets no errno
}

const F_ALLOCATEALL = 4; // sys/fcntl.h of macOS
const F_PEOFPOSMODE = 3;

/** `fstore_t`: flags 4, posmode 4, offset 8, length 8, bytesalloc 8. Space is added at the end. */
function darwinAllocate(fd: number, offset: number, length: number): number {
  if (offset < 0 || length <= 0) return -EINVAL; // as everywhere else
  const known = statFd(fd, stat);
  if (known < 0) return known;
  const end = offset + length;
  const more = end - Math.max(stat.size, stat.blocks * 512);
  if (more > 0) {
    scratch.view.setUint32(0, F_ALLOCATEALL, true);
    scratch.view.setUint32(4, F_PEOFPOSMODE, true);
    setWords(8, 0);
    setWords(16, more);
    setWords(24, 0);
    const result = orErrno(fcntl('uintptr_t', fd, files.F_PREALLOCATE ?? 0, scratch.address));
    if (result < 0) return result;
  }
  return end > stat.size ? truncateFd(fd, end) : 0;
}

/** The next data, or the next hole, from an offset on; -ENXIO beyond the end. */
export function seekData(fd: number, offset: number, hole: boolean): number {
  const whence = hole ? files.SEEK_HOLE : files.SEEK_DATA;
  return whence === undefined ? -EINVAL : seek(fd, offset, whence);
}

/** lseek(2): 0 from the start, 1 from the position, 2 from the end, as on every host. */
export function seek(fd: number, offset: number, whence: number): number {
  return orErrno(libc.lseek(fd, offset, whence));
}

/** Copies within the kernel; bytes, 0 at the end; -ENOSYS where the caller has to copy. */
export function copyRange(
  inFd: number,
  inOffset: number,
  outFd: number,
  outOffset: number,
  length: number,
): number {
  const copy = libc.copyFileRange;
  if (copy === null || posixOnly) return -ENOSYS;
  let count: number;
  do {
    setWords(0, inOffset);
    setWords(8, outOffset);
    count = copy(inFd, scratch.address, outFd, scratch.address + 8, length, 0);
  } while (interrupted(count));
  count = orErrno(count);
  if (count === -ENOSYS) fellBack('copy_file_range', 'reading and writing');
  return count;
}

/** Makes a file, or a directory's names, durable; F_FULLFSYNC on macOS, fsync_range on NetBSD. */
export function syncFd(fd: number, dataOnly: boolean): number {
  return dataOnly ? dataSync(fd) : fileSync(fd);
}

/** Makes the whole file system of an fd durable; -ENOSYS where the host cannot. */
export function syncFileSystem(fd: number): number {
  if (libc.syncfs === null || posixOnly) return -ENOSYS;
  const result = orErrno(libc.syncfs(fd));
  if (result === -ENOSYS) fellBack('syncfs', 'what the guest has synchronized file by file');
  return result;
}

function setWords(at: number, value: number): void {
  scratch.view.setUint32(at, value >>> 0, true);
  scratch.view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true);
}
