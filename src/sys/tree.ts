/**
 * Names in directories: opening, making, moving and removing what is under them, and changing what
 * a file says of itself.
 *
 * Names are addresses of NUL-terminated bytes in native memory that the caller keeps. A result is
 * at least 0, or a negative errno of this host. A symbolic link under the final name is never
 * followed.
 *
 * @module
 */
import { ERRNO } from './errno.ts';
import { fellBack } from './fallback.ts';
import { fdPath, fdPathBase, hasPathFds, hasReopen } from './fd-path.ts';
import { abi, posixOnly } from './host.ts';
import * as libc from './libc-files.ts';
import { close } from './libc.ts';
import { NativeBlock, interrupted, orErrno } from './native.ts';
import { O } from './open-flags.ts';
import { makeDevice } from './stat.ts';

const { files } = abi;
const { AT_SYMLINK_NOFOLLOW, AT_SYMLINK_FOLLOW, AT_REMOVEDIR, AT_EMPTY_PATH } = files;
const EBADF = ERRNO.EBADF as number;
const EINVAL = ERRNO.EINVAL as number;
const ELOOP = ERRNO.ELOOP as number;
const ENOSYS = ERRNO.ENOSYS as number;
const SYMLINK_ERRNO = ERRNO[files.symlinkErrno] as number;
const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
const S_IFIFO = 0o010000;

/** Linux's flags of {@link renameAt}. */
export const RENAME = { NOREPLACE: 1, EXCHANGE: 2, WHITEOUT: 4 } as const;
/** Instead of nanoseconds: the time of the call. This host's number. */
export const UTIME_NOW: number = files.UTIME_NOW;
/** Instead of nanoseconds: no change. */
export const UTIME_OMIT: number = files.UTIME_OMIT;

/** Two `struct timespec` at 0, an empty path at 40. */
const scratch = new NativeBlock(48);
const TIMES = scratch.address;
const EMPTY = scratch.address + 40;

/**
 * Opens what is under a name, with this host's flags and O_CLOEXEC and O_NOFOLLOW; an fd that the
 * caller owns, or -errno: -ELOOP for a symbolic link. A FIFO blocks unless O_NONBLOCK is given.
 */
export function openAt(dirFd: number, name: number, flags: number, mode: number): number {
  const all = flags | O.O_CLOEXEC | O.O_NOFOLLOW;
  let fd = libc.openat('int', dirFd, name, all, mode);
  while (interrupted(fd)) fd = libc.openat('int', dirFd, name, all, mode);
  if (fd >= 0) return fd;
  const error = orErrno(fd);
  return error === -SYMLINK_ERRNO ? -ELOOP : error;
}

/**
 * Opens the file behind an fd again, under other flags of this host; also behind one of O_PATH. An
 * fd that the caller owns, or -errno; -ENOSYS where there is no way.
 */
export function reopenFd(fd: number, flags: number): number {
  if (!hasReopen) return -ENOSYS;
  const all = (flags | O.O_CLOEXEC) & ~O.O_NOFOLLOW; // the path is a link to the file
  let result = libc.openat('int', fdPathBase(), fdPath(fd), all, 0);
  while (interrupted(result)) result = libc.openat('int', fdPathBase(), fdPath(fd), all, 0);
  return orErrno(result);
}

/** Makes a directory. */
export function mkdirAt(dirFd: number, name: number, mode: number): number {
  return orErrno(libc.mkdirat(dirFd, name, mode));
}

/**
 * Makes a FIFO, a device node, a socket's name or an empty file, by the type in `mode`; -EINVAL for
 * what the host cannot make.
 */
export function mknodAt(
  dirFd: number,
  name: number,
  mode: number,
  major: number,
  minor: number,
): number {
  const type = mode & S_IFMT;
  if ((type === S_IFREG || type === 0) && (!files.mknodMakesFiles || posixOnly)) {
    const fd = openAt(dirFd, name, O.O_CREAT | O.O_EXCL | O.O_WRONLY, mode & 0o7777);
    if (fd < 0) return fd;
    close(fd);
    return 0;
  }
  if (type === S_IFIFO && libc.mkfifoat !== null) {
    return orErrno(libc.mkfifoat(dirFd, name, mode & 0o7777));
  }
  if (libc.mknodat === null) return -ENOSYS;
  return orErrno(libc.mknodat(dirFd, name, mode, makeDevice(major, minor)));
}

/** Removes a name that is no directory. */
export function unlinkAt(dirFd: number, name: number): number {
  return orErrno(libc.unlinkat(dirFd, name, 0));
}

/** Removes an empty directory. */
export function rmdirAt(dirFd: number, name: number): number {
  return orErrno(libc.unlinkat(dirFd, name, AT_REMOVEDIR));
}

/** Renames, with Linux's flags ({@link RENAME}); -EINVAL for those that the host cannot do. */
export function renameAt(
  oldDir: number,
  oldName: number,
  newDir: number,
  newName: number,
  flags: number,
): number {
  if (flags === 0) return orErrno(libc.renameat(oldDir, oldName, newDir, newName));
  const rename = libc.renameatxNp ?? libc.renameat2;
  if (posixOnly || rename === null) return -EINVAL;
  const host = hostRenameFlags(flags);
  if (host < 0) return host;
  const result = orErrno(rename(oldDir, oldName, newDir, newName, host));
  if (result !== -ENOSYS && result !== -EINVAL) return result;
  // EINVAL is what glibc makes of ENOSYS, and what file systems say that know no such flag.
  fellBack('renameat2', 'the guest is told that there are plain renames only');
  return -EINVAL;
}

function hostRenameFlags(flags: number): number {
  const { RENAME_NOREPLACE = 0, RENAME_EXCHANGE = 0, RENAME_WHITEOUT = 0 } = files;
  let host = 0;
  let left = flags;
  if ((flags & RENAME.NOREPLACE) !== 0 && RENAME_NOREPLACE !== 0) {
    host |= RENAME_NOREPLACE;
    left &= ~RENAME.NOREPLACE;
  }
  if ((flags & RENAME.EXCHANGE) !== 0 && RENAME_EXCHANGE !== 0) {
    host |= RENAME_EXCHANGE;
    left &= ~RENAME.EXCHANGE;
  }
  if ((flags & RENAME.WHITEOUT) !== 0 && RENAME_WHITEOUT !== 0) {
    host |= RENAME_WHITEOUT;
    left &= ~RENAME.WHITEOUT;
  }
  return left === 0 ? host : -EINVAL;
}

/** Makes a symbolic link that says `target` (an address, as a name). */
export function symlinkAt(target: number, dirFd: number, name: number): number {
  return orErrno(libc.symlinkat(target, dirFd, name));
}

/** Reads what a symbolic link says; its bytes, cut at the buffer's, without a NUL. */
export function readlinkAt(dirFd: number, name: number, buf: number, bytes: number): number {
  return orErrno(libc.readlinkat(dirFd, name, buf, bytes));
}

/** Reads the symbolic link that an fd of O_PATH is open on; -ENOSYS where there are none. */
export function readlinkFd(fd: number, buf: number, bytes: number): number {
  if (!hasPathFds) return -ENOSYS;
  return orErrno(libc.readlinkat(fd, EMPTY, buf, bytes));
}

/** Gives a file a second name; a symbolic link is linked itself. */
export function linkAt(oldDir: number, oldName: number, newDir: number, newName: number): number {
  return orErrno(libc.linkat(oldDir, oldName, newDir, newName, 0));
}

/** Gives the file behind an fd, also one of O_PATH, a name; -ENOSYS where there is no way. */
export function linkFd(fd: number, newDir: number, newName: number): number {
  if (!hasReopen) return -ENOSYS;
  return orErrno(libc.linkat(fdPathBase(), fdPath(fd), newDir, newName, AT_SYMLINK_FOLLOW));
}

let fchmodat2 = posixOnly ? null : libc.fchmodat2;

/** Sets permissions; -EOPNOTSUPP for a symbolic link on Linux, whose links have none. */
export function chmodAt(dirFd: number, name: number, mode: number): number {
  if (fchmodat2 !== null) {
    const result = orErrno(fchmodat2(dirFd, name, mode & 0o7777, AT_SYMLINK_NOFOLLOW));
    if (result !== -ENOSYS) return result;
    fchmodat2 = null; // Linux before 6.6: the C library does it in steps
    fellBack('fchmodat2', 'fchmodat');
  }
  return orErrno(libc.fchmodat(dirFd, name, mode & 0o7777, AT_SYMLINK_NOFOLLOW));
}

/** Sets permissions of an open file, also of one that is open by O_PATH. */
export function chmodFd(fd: number, mode: number): number {
  const result = orErrno(libc.fchmod(fd, mode & 0o7777));
  if (result !== -EBADF || !hasReopen) return result;
  return orErrno(libc.fchmodat(fdPathBase(), fdPath(fd), mode & 0o7777, 0));
}

/** Sets the owner; -1 leaves an id as it is. */
export function chownAt(dirFd: number, name: number, uid: number, gid: number): number {
  return orErrno(libc.fchownat(dirFd, name, uid >>> 0, gid >>> 0, AT_SYMLINK_NOFOLLOW));
}

/** Sets the owner of an open file, also of one that is open by O_PATH. */
export function chownFd(fd: number, uid: number, gid: number): number {
  if (!hasPathFds || AT_EMPTY_PATH === undefined) {
    return orErrno(libc.fchown(fd, uid >>> 0, gid >>> 0));
  }
  return orErrno(libc.fchownat(fd, EMPTY, uid >>> 0, gid >>> 0, AT_EMPTY_PATH));
}

/** Sets access and modification time; nanoseconds may be {@link UTIME_NOW} or UTIME_OMIT. */
export function utimensAt(
  dirFd: number,
  name: number,
  atimeSec: number,
  atimeNsec: number,
  mtimeSec: number,
  mtimeNsec: number,
): number {
  setTimes(atimeSec, atimeNsec, mtimeSec, mtimeNsec);
  return orErrno(libc.utimensat(dirFd, name, TIMES, AT_SYMLINK_NOFOLLOW));
}

/** Sets times of an open file, also of one that is open by O_PATH. */
export function utimensFd(
  fd: number,
  atimeSec: number,
  atimeNsec: number,
  mtimeSec: number,
  mtimeNsec: number,
): number {
  setTimes(atimeSec, atimeNsec, mtimeSec, mtimeNsec);
  const result = orErrno(libc.futimens(fd, TIMES));
  if (result !== -EBADF || !hasPathFds || AT_EMPTY_PATH === undefined) return result;
  const byPath = orErrno(libc.utimensat(fd, EMPTY, TIMES, AT_EMPTY_PATH));
  if (byPath !== -EINVAL || !hasReopen) return byPath; // EINVAL: Linux before 5.8
  return orErrno(libc.utimensat(fdPathBase(), fdPath(fd), TIMES, 0));
}

function setTimes(atimeSec: number, atimeNsec: number, mtimeSec: number, mtimeNsec: number): void {
  setSigned(0, atimeSec);
  setSigned(8, atimeNsec);
  setSigned(16, mtimeSec);
  setSigned(24, mtimeNsec);
}

/** A number within ±2^53 as 64 bits, two's complement. */
function setSigned(at: number, value: number): void {
  scratch.view.setUint32(at, value >>> 0, true);
  scratch.view.setInt32(at + 4, Math.floor(value / 0x1_0000_0000), true);
}
