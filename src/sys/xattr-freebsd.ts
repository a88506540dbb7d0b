/**
 * FreeBSD's extended attributes (extattr_get_file(2)) under Linux's names: its namespace "user" is
 * the prefix `user.`; the namespace "system" is root's, and is not offered.
 *
 * @module
 */
import { ERRNO } from './errno.ts';
import * as libc from './libc-files.ts';
import { NativeBlock, orErrno } from './native.ts';

const EXTATTR_NAMESPACE_USER = 1;
const ENOTSUP = ERRNO.ENOTSUP as number;
const ERANGE = ERRNO.ERANGE as number;
const EEXIST = ERRNO.EEXIST as number;
const EINVAL = ERRNO.EINVAL as number;
const LIST_BYTES_MAX = 65_536;
const CREATE = 1;
const REPLACE = 2;

const PREFIX = 'user.';
/** The prefix, at the address of the block. */
const prefix = new NativeBlock(8);
new TextEncoder().encodeInto(PREFIX, prefix.bytes);
/** Lists as the kernel has them: a length byte before each name. Made when first used. */
let names: NativeBlock | null = null;

/** The name without its prefix; 0 for one of another namespace. */
function plain(name: number): number {
  const same = libc.strncmp(name, prefix.address, PREFIX.length) === 0;
  return same ? name + PREFIX.length : 0;
}

/** See `getXattrFd`. */
export function get(fd: number, name: number, buf: number, bytes: number): number {
  const call = libc.extattrGetFd;
  const own = plain(name);
  if (call === null || own === 0) return -ENOTSUP;
  const size = orErrno(call(fd, EXTATTR_NAMESPACE_USER, own, 0, 0));
  if (size < 0 || bytes === 0) return size;
  if (size > bytes) return -ERANGE; // the call itself would cut the value short
  return orErrno(call(fd, EXTATTR_NAMESPACE_USER, own, buf, bytes));
}

/** See `setXattrFd`. The check for the flags and the writing are two steps. */
export function set(fd: number, name: number, value: number, bytes: number, flags: number): number {
  const { extattrGetFd, extattrSetFd } = libc;
  const own = plain(name);
  if (extattrGetFd === null || extattrSetFd === null || own === 0) return -ENOTSUP;
  if ((flags & ~(CREATE | REPLACE)) !== 0) return -EINVAL;
  if (flags !== 0) {
    const there = orErrno(extattrGetFd(fd, EXTATTR_NAMESPACE_USER, own, 0, 0));
    if (there >= 0 && (flags & CREATE) !== 0) return -EEXIST;
    if (there < 0 && (flags & REPLACE) !== 0) return there;
  }
  const result = orErrno(extattrSetFd(fd, EXTATTR_NAMESPACE_USER, own, value, bytes));
  return result < 0 ? result : 0;
}

/** See `listXattrFd`. */
export function list(fd: number, buf: number, bytes: number): number {
  const call = libc.extattrListFd;
  if (call === null) return -ENOTSUP;
  names ??= new NativeBlock(LIST_BYTES_MAX);
  const size = orErrno(call(fd, EXTATTR_NAMESPACE_USER, names.address, LIST_BYTES_MAX));
  if (size < 0) return size;
  let done = 0;
  for (let at = 0; at < size;) {
    const length = names.bytes[at] ?? 0;
    const next = done + PREFIX.length + length + 1;
    if (bytes > 0) {
      if (next > bytes) return -ERANGE;
      libc.memcpy(buf + done, prefix.address, PREFIX.length);
      libc.memcpy(buf + done + PREFIX.length, names.address + at + 1, length);
      libc.memcpy(buf + next - 1, prefix.address + PREFIX.length, 1); // the NUL
    }
    done = next;
    at += 1 + length;
  }
  return done;
}

/** See `removeXattrFd`. */
export function remove(fd: number, name: number): number {
  const call = libc.extattrDeleteFd;
  const own = plain(name);
  if (call === null || own === 0) return -ENOTSUP;
  return orErrno(call(fd, EXTATTR_NAMESPACE_USER, own));
}
