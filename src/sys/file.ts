/**
 * Files and block devices as the data path uses them: by address, without allocation, with a
 * negative errno for a result.
 *
 * @module
 */
import { constants as fsConstants, fstatSync, openSync, statfsSync } from 'node:fs';
import { VhostUserError, errorCode, errorMessage } from '../util/index.ts';
import { abi } from './host.ts';
import { ERRNO } from './errno.ts';
import { fellBack } from './fallback.ts';
import * as libc from './libc.ts';
import { NativeBlock, interrupted, orErrno } from './native.ts';

const { constants, optional } = abi;
const EBADF = ERRNO.EBADF as number;
const ENOTTY = ERRNO.ENOTTY as number;
const EOPNOTSUPP = ERRNO.EOPNOTSUPP as number;
const ENOSYS = ERRNO.ENOSYS as number;
const ENOTSUP = ERRNO.ENOTSUP as number;
const IOVEC_BYTES = 16;
const SECTOR_BYTES = 512;

const scratch = new NativeBlock(64);

/** How to open a file. */
export interface OpenOptions {
  readonly writable: boolean;
  /** Past the page cache, where the host can. */
  readonly direct?: boolean;
}

/** Opens a file or a block device and returns its fd, which the caller owns. */
export function openFile(path: string, options: OpenOptions): number {
  let flags = options.writable ? fsConstants.O_RDWR : fsConstants.O_RDONLY;
  const direct = options.direct === true;
  const { O_DIRECT } = fsConstants as { O_DIRECT?: number };
  if (direct && O_DIRECT !== undefined) flags |= O_DIRECT;
  let fd: number;
  try {
    fd = openSync(path, flags); // close-on-exec, as all that Node opens
  } catch (error) {
    throw new VhostUserError('ERR_VHU_OPEN', openError(path, options, error), { cause: error });
  }
  if (direct && O_DIRECT === undefined && optional.F_NOCACHE !== undefined) {
    libc.fcntl('int', fd, optional.F_NOCACHE, 1);
  }
  return fd;
}

/** What an open file is. Sizes in bytes. */
export interface FileInfo {
  readonly kind: 'file' | 'block' | 'other';
  readonly sizeBytes: number;
  /** The logical block: the smallest unit of I/O. 512 for a file. */
  readonly blockBytes: number;
  /** What suits the file system or the device best. */
  readonly optimalBytes: number;
}

/** Describes an open file; the size of a block device comes from the device. */
export function fileInfo(fd: number): FileInfo {
  const stat = fstatSync(fd);
  const optimalBytes = stat.blksize;
  if (stat.isFile()) {
    return { kind: 'file', sizeBytes: stat.size, blockBytes: SECTOR_BYTES, optimalBytes };
  }
  // FreeBSD and macOS offer disks as character devices.
  if (stat.isBlockDevice() || stat.isCharacterDevice()) {
    const size = deviceSize(fd);
    if (size !== null) return { kind: 'block', optimalBytes, ...size };
  }
  return { kind: 'other', sizeBytes: 0, blockBytes: SECTOR_BYTES, optimalBytes };
}

/** Takes the advisory lock of an image; false when another process holds one that conflicts. */
export function lockImage(fd: number, options: { readonly exclusive: boolean }): boolean {
  const kind = options.exclusive ? constants.LOCK_EX : constants.LOCK_SH;
  if (libc.flock(fd, kind | constants.LOCK_NB) >= 0) return true;
  // A file system without locks (some network ones) must not make images unusable.
  return libc.errno() !== (ERRNO.EWOULDBLOCK as number);
}

/** Reads into memory; bytes, 0 at the end of the file, or -errno. */
export function pread(fd: number, address: number, lengthBytes: number, offset: number): number {
  let count = libc.pread(fd, address, lengthBytes, offset);
  while (interrupted(count)) count = libc.pread(fd, address, lengthBytes, offset);
  return orErrno(count);
}

/** Writes from memory; bytes or -errno. */
export function pwrite(fd: number, address: number, lengthBytes: number, offset: number): number {
  let count = libc.pwrite(fd, address, lengthBytes, offset);
  while (interrupted(count)) count = libc.pwrite(fd, address, lengthBytes, offset);
  return orErrno(count);
}

/** Reads into the buffers of a `struct iovec` array; bytes, 0 at the end, or -errno. */
export function preadv(fd: number, iov: number, iovCount: number, offset: number): number {
  if (libc.preadv === null) return eachBuffer(pread, fd, iov, iovCount, offset);
  let count = libc.preadv(fd, iov, iovCount, offset);
  while (interrupted(count)) count = libc.preadv(fd, iov, iovCount, offset);
  return orErrno(count);
}

/** Writes the buffers of a `struct iovec` array; bytes or -errno. */
export function pwritev(fd: number, iov: number, iovCount: number, offset: number): number {
  if (libc.pwritev === null) return eachBuffer(pwrite, fd, iov, iovCount, offset);
  let count = libc.pwritev(fd, iov, iovCount, offset);
  while (interrupted(count)) count = libc.pwritev(fd, iov, iovCount, offset);
  return orErrno(count);
}

/**
 * Reads only what is in the page cache: bytes, or -EAGAIN where it would have to wait, and
 * -EOPNOTSUPP on hosts and file systems that cannot tell.
 */
export function preadvCached(fd: number, iov: number, iovCount: number, offset: number): number {
  if (libc.preadv2 === null || optional.RWF_NOWAIT === undefined) return -EOPNOTSUPP;
  const result = orErrno(libc.preadv2(fd, iov, iovCount, offset, optional.RWF_NOWAIT));
  return orCannotTell('preadv2(RWF_NOWAIT)', 'io_uring', result);
}

/**
 * Writes only what the page cache takes at once; see {@link preadvCached}. Where a file system
 * cannot tell, there is `BriskWriter`.
 */
export function pwritevCached(fd: number, iov: number, iovCount: number, offset: number): number {
  if (libc.pwritev2 === null || optional.RWF_NOWAIT === undefined) return -EOPNOTSUPP;
  const result = orErrno(libc.pwritev2(fd, iov, iovCount, offset, optional.RWF_NOWAIT));
  return orCannotTell('pwritev2(RWF_NOWAIT)', 'pwritev, or io_uring while that waits', result);
}

/** A kernel without the call cannot tell either (glibc says so by itself, musl does not). */
function orCannotTell(call: string, instead: string, result: number): number {
  if (result !== -EOPNOTSUPP && result !== -ENOSYS) return result;
  fellBack(call, instead);
  return -EOPNOTSUPP;
}

/**
 * Whether a file lives in memory, so that reading and writing it never waits for a device. False
 * where the host does not say.
 */
export function isMemoryBacked(path: string): boolean {
  const { TMPFS_MAGIC, RAMFS_MAGIC } = optional;
  if (TMPFS_MAGIC === undefined) return false;
  try {
    const { type } = statfsSync(path);
    return type === TMPFS_MAGIC || type === RAMFS_MAGIC;
  } catch {
    return false; // whoever opens the path says what is wrong with it
  }
}

/**
 * Makes written data durable: F_FULLFSYNC or FDISKSYNC where fsync does not reach the medium, else
 * fdatasync.
 */
export function dataSync(fd: number): number {
  if (optional.F_FULLFSYNC !== undefined) {
    const result = libc.fcntl('int', fd, optional.F_FULLFSYNC, 0);
    if (result >= 0) return 0;
    // Not every file system has it; fsync is then the most that there is.
  }
  if (optional.FDATASYNC !== undefined) return diskSync(fd, optional.FDATASYNC);
  return repeated(libc.fdatasync ?? libc.fsync, fd);
}

/** As {@link dataSync}, with all that is known of the file; also of a directory. */
export function fileSync(fd: number): number {
  if (optional.F_FULLFSYNC !== undefined) return dataSync(fd);
  if (optional.FFILESYNC !== undefined) return diskSync(fd, optional.FFILESYNC);
  return repeated(libc.fsync, fd);
}

/** fsync_range(2) of NetBSD, whose other calls leave the disk's own cache as it is. */
function diskSync(fd: number, what: number): number {
  const { fsyncRange } = libc;
  const { FDISKSYNC = 0 } = optional;
  if (fsyncRange !== null) {
    const result = repeated((each) => fsyncRange(each, what | FDISKSYNC, 0, 0), fd);
    // EBADF: not open for writing, as a directory; so fdatasync says, too. ENOTTY: no cache.
    if (result !== -EBADF && result !== -ENOTTY && result !== -EOPNOTSUPP) return result;
  }
  return repeated(libc.fsync, fd);
}

function repeated(sync: (fd: number) => number, fd: number): number {
  let result = sync(fd);
  while (interrupted(result)) result = sync(fd);
  return orErrno(result);
}

/**
 * Gives a range back to the file system: reads give zeros. -EOPNOTSUPP where that cannot be done.
 */
export function punchHole(fd: number, offset: number, lengthBytes: number): number {
  const { FALLOC_FL_PUNCH_HOLE, FALLOC_FL_KEEP_SIZE = 0 } = optional;
  if (libc.fallocate !== null && FALLOC_FL_PUNCH_HOLE !== undefined) {
    return allocate(
      libc.fallocate,
      fd,
      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
      offset,
      lengthBytes,
    );
  }
  if (optional.F_PUNCHHOLE !== undefined) return darwinPunchHole(fd, offset, lengthBytes);
  if (libc.fspacectl !== null && optional.SPACECTL_DEALLOC !== undefined) {
    setRange(offset, lengthBytes);
    return orErrno(libc.fspacectl(fd, optional.SPACECTL_DEALLOC, scratch.address, 0, 0));
  }
  return -EOPNOTSUPP;
}

/** Makes a range read as zeros without writing them, keeping its space. */
export function zeroRange(fd: number, offset: number, lengthBytes: number): number {
  const { FALLOC_FL_ZERO_RANGE, FALLOC_FL_KEEP_SIZE = 0 } = optional;
  if (libc.fallocate === null || FALLOC_FL_ZERO_RANGE === undefined) return -EOPNOTSUPP;
  return allocate(
    libc.fallocate,
    fd,
    FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
    offset,
    lengthBytes,
  );
}

/** Discards (or zeroes) a range of a block device; -EOPNOTSUPP where the host cannot. */
export function blockDeviceZero(fd: number, offset: number, bytes: number, keep: boolean): number {
  const request = keep ? optional.BLKZEROOUT : optional.BLKDISCARD;
  if (request === undefined) return -EOPNOTSUPP;
  setRange(offset, bytes);
  return orErrno(libc.ioctl('uintptr_t', fd, request, scratch.address));
}

/** fallocate(2), which a signal may interrupt half-way: doing it again changes nothing. */
function allocate(
  fallocate: libc.NumberFunction,
  fd: number,
  mode: number,
  offset: number,
  lengthBytes: number,
): number {
  let result = fallocate(fd, mode, offset, lengthBytes);
  while (interrupted(result)) result = fallocate(fd, mode, offset, lengthBytes);
  result = orErrno(result);
  if (result !== -ENOSYS) return result;
  fellBack('fallocate', 'writing zeroes, or nothing for a discard');
  return -EOPNOTSUPP;
}

/**
 * preadv(2) or pwritev(2) out of `pread` or `pwrite`, one buffer after the other: macOS has had the
 * former since version 11 only.
 */
export function eachBuffer(
  move: (fd: number, address: number, bytes: number, offset: number) => number,
  fd: number,
  iov: number,
  iovCount: number,
  offset: number,
): number {
  const view = new DataView(libc.rawView(iov, iovCount * IOVEC_BYTES));
  let done = 0;
  for (let i = 0; i < iovCount; i++) {
    const address = Number(view.getBigUint64(i * IOVEC_BYTES, true));
    const bytes = Number(view.getBigUint64(i * IOVEC_BYTES + 8, true));
    const count = move(fd, address, bytes, offset + done);
    if (count < 0) return done > 0 ? done : count;
    done += count;
    if (count < bytes) break;
  }
  return done;
}

/** `struct fpunchhole`: flags 4, reserved 4, offset 8, length 8. */
function darwinPunchHole(fd: number, offset: number, lengthBytes: number): number {
  scratch.bytes.fill(0);
  scratch.view.setBigUint64(8, BigInt(offset), true);
  scratch.view.setBigUint64(16, BigInt(lengthBytes), true);
  const result = orErrno(libc.fcntl('uintptr_t', fd, optional.F_PUNCHHOLE ?? 0, scratch.address));
  // Two numbers on macOS: file systems without holes (exFAT, SMB) give the other one.
  return result === -ENOTSUP ? -EOPNOTSUPP : result;
}

function setRange(offset: number, lengthBytes: number): void {
  scratch.view.setBigUint64(0, BigInt(offset), true);
  scratch.view.setBigUint64(8, BigInt(lengthBytes), true);
}

function deviceSize(fd: number): { sizeBytes: number; blockBytes: number } | null {
  const { BLKGETSIZE64, BLKSSZGET, DIOCGMEDIASIZE, DIOCGSECTORSIZE } = optional;
  const { DKIOCGETBLOCKCOUNT, DKIOCGETBLOCKSIZE } = optional;
  const number = (request: number | undefined): number | null => {
    if (request === undefined) return null;
    scratch.bytes.fill(0);
    if (libc.ioctl('uintptr_t', fd, request, scratch.address) < 0) return null;
    return Number(scratch.view.getBigUint64(0, true));
  };
  const bytes = number(BLKGETSIZE64) ?? number(DIOCGMEDIASIZE);
  const block = number(BLKSSZGET) ?? number(DIOCGSECTORSIZE) ?? number(DKIOCGETBLOCKSIZE);
  if (bytes !== null) return { sizeBytes: bytes, blockBytes: block ?? SECTOR_BYTES };
  const count = number(DKIOCGETBLOCKCOUNT);
  return count === null || block === null ? null : { sizeBytes: count * block, blockBytes: block };
}

function openError(path: string, options: OpenOptions, error: unknown): string {
  const advice: Readonly<Record<string, string>> = {
    ENOENT: 'there is no such file',
    EACCES: `this user may not ${options.writable ? 'write' : 'read'} it`,
    EROFS: 'it is on a read-only file system: serve it read-only',
    EISDIR: 'it is a folder',
    EINVAL: options.direct === true ? 'this file system has no direct I/O' : 'invalid',
    EPERM: 'it may be immutable, or its file system forbids it',
  };
  const code = errorCode(error);
  const why = code === undefined ? undefined : advice[code];
  return `open(${path}): ${code ?? errorMessage(error)}${why === undefined ? '' : `: ${why}`}`;
}
