/**
 * Extended attributes of open files. A name is the address of NUL-terminated bytes, with Linux's
 * prefix: `user.x`. Results are at least 0, or a negative errno of this host; -ENOTSUP where the
 * host has no such thing, and ENOATTR where Linux says ENODATA.
 *
 * @module
 */
import { ERRNO } from './errno.ts';
import { absoluteFdPath, hasReopen } from './fd-path.ts';
import { abi } from './host.ts';
import * as libc from './libc-files.ts';
import { orErrno } from './native.ts';
import * as extattr from './xattr-freebsd.ts';

const { xattr } = abi.files;
const KIND = xattr?.kind ?? 'none';
const EBADF = ERRNO.EBADF as number;
const EINVAL = ERRNO.EINVAL as number;
const ENOTSUP = ERRNO.ENOTSUP as number;
const { fgetxattr, fsetxattr, flistxattr, fremovexattr } = libc;
const { getxattr, setxattr, listxattr, removexattr } = libc;

/** Linux's flags of {@link setXattrFd}. */
export const XATTR = { CREATE: 1, REPLACE: 2 } as const;

/** Reads an attribute; its bytes. With 0 for `bytes` it only says how many there are. */
export function getXattrFd(fd: number, name: number, buf: number, bytes: number): number {
  if (KIND === 'extattr') return extattr.get(fd, name, buf, bytes);
  if (fgetxattr === null || KIND === 'none') return -ENOTSUP;
  if (KIND === 'darwin') return orErrno(fgetxattr(fd, name, buf, bytes, 0, 0));
  const result = orErrno(fgetxattr(fd, name, buf, bytes));
  return isPlace(result) ? getXattrPathFd(fd, name, buf, bytes) : result;
}

/**
 * As {@link getXattrFd}, for a caller that knows the fd to be one of O_PATH: a call less. A
 * symbolic link's own attributes are meant.
 */
export function getXattrPathFd(fd: number, name: number, buf: number, bytes: number): number {
  if (!hasReopen || getxattr === null) return -ENOTSUP;
  return orErrno(getxattr(absoluteFdPath(fd), name, buf, bytes));
}

/** Writes an attribute, with Linux's flags ({@link XATTR}). */
export function setXattrFd(
  fd: number,
  name: number,
  value: number,
  bytes: number,
  flags: number,
): number {
  if (KIND === 'extattr') return extattr.set(fd, name, value, bytes, flags);
  if (fsetxattr === null || xattr === null) return -ENOTSUP;
  if ((flags & ~(XATTR.CREATE | XATTR.REPLACE)) !== 0) return -EINVAL;
  if (KIND === 'darwin') {
    let options = (flags & XATTR.CREATE) === 0 ? 0 : xattr.XATTR_CREATE;
    if ((flags & XATTR.REPLACE) !== 0) options |= xattr.XATTR_REPLACE;
    return orErrno(fsetxattr(fd, name, value, bytes, 0, options));
  }
  const result = orErrno(fsetxattr(fd, name, value, bytes, flags));
  if (!isPlace(result) || setxattr === null) return result;
  return orErrno(setxattr(absoluteFdPath(fd), name, value, bytes, flags));
}

/** Writes the names, each with its NUL; their bytes. With 0 for `bytes` it only says how many. */
export function listXattrFd(fd: number, buf: number, bytes: number): number {
  if (KIND === 'extattr') return extattr.list(fd, buf, bytes);
  if (flistxattr === null || KIND === 'none') return -ENOTSUP;
  if (KIND === 'darwin') return orErrno(flistxattr(fd, buf, bytes, 0));
  const result = orErrno(flistxattr(fd, buf, bytes));
  if (!isPlace(result) || listxattr === null) return result;
  return orErrno(listxattr(absoluteFdPath(fd), buf, bytes));
}

/** Removes an attribute. */
export function removeXattrFd(fd: number, name: number): number {
  if (KIND === 'extattr') return extattr.remove(fd, name);
  if (fremovexattr === null || KIND === 'none') return -ENOTSUP;
  if (KIND === 'darwin') return orErrno(fremovexattr(fd, name, 0));
  const result = orErrno(fremovexattr(fd, name));
  if (!isPlace(result) || removexattr === null) return result;
  return orErrno(removexattr(absoluteFdPath(fd), name));
}

/** Whether an answer is that of an fd that only names a place (O_PATH). */
function isPlace(result: number): boolean {
  return result === -EBADF && hasReopen;
}
