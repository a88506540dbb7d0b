/**
 * Flags of open(2) and error numbers, between Linux, which the guest is, and this host.
 *
 * @module
 */
import { LINUX_ERRNO, LINUX_OPEN_FLAGS } from '../abi/index.ts';
import type { OpenFlags } from '../abi/index.ts';
import { ERRNO } from './errno.ts';
import { abi } from './host.ts';

/** This host's flags of open(2); 0 for one that it has not. */
export const O: OpenFlags = abi.files.open;

/** Flags that are single facts; the access mode has the same number everywhere. */
const TRANSLATED = [
  'O_APPEND',
  'O_CREAT',
  'O_EXCL',
  'O_TRUNC',
  'O_NOCTTY',
  'O_NONBLOCK',
  'O_DSYNC',
  'O_SYNC',
  'O_DIRECTORY',
  'O_NOFOLLOW',
  'O_CLOEXEC',
  'O_DIRECT',
  'O_NOATIME',
  'O_PATH',
  'O_TMPFILE',
] as const satisfies readonly (keyof OpenFlags)[];

/** Linux's flags as a guest on this host's architecture has them. */
const LINUX: OpenFlags = process.arch === 'arm64' ? LINUX_OPEN_FLAGS.arm64 : LINUX_OPEN_FLAGS.x64;
const LINUX_BITS = Int32Array.from(TRANSLATED, (name) => LINUX[name]);
const HOST_BITS = Int32Array.from(TRANSLATED, (name) => O[name]);

/**
 * Linux's flags of open(2) as this host's. What the host lacks is dropped, and so is what Linux has
 * no meaning for. A few numbers differ between architectures; the guest's is taken to be ours.
 */
export function hostOpenFlags(linuxFlags: number): number {
  let flags = linuxFlags & LINUX.O_ACCMODE;
  // Linux's O_SYNC contains its O_DSYNC; elsewhere the two are apart, and the first is enough.
  if ((linuxFlags & LINUX.O_SYNC) === LINUX.O_SYNC) {
    flags |= O.O_SYNC;
    linuxFlags &= ~LINUX.O_SYNC;
  }
  for (let i = 0; i < TRANSLATED.length; i++) {
    const bits = LINUX_BITS[i] as number;
    if ((linuxFlags & bits) === bits) flags |= HOST_BITS[i] as number;
  }
  return flags;
}

const HOST_ERRNO_MAX = 256;
const LINUX_BY_HOST = linuxByHost(
  { ...ERRNO, ...abi.files.extraErrno },
  abi.files.calls !== null, // which only Linux has
);

/**
 * Linux's number for an error number of this host (both positive); EIO for one that Linux has no
 * name for.
 */
export function linuxErrno(hostErrno: number): number {
  return LINUX_BY_HOST[hostErrno] ?? (LINUX_ERRNO.EIO as number);
}

/**
 * The table of {@link linuxErrno} for a host whose numbers by name are `host`. Linux's own need no
 * name: a few of them (EUCLEAN, ENOKEY) are ones that Node does not know.
 */
export function linuxByHost(host: Readonly<Record<string, number>>, isLinux: boolean): Int32Array {
  const table = new Int32Array(HOST_ERRNO_MAX).fill(LINUX_ERRNO.EIO as number);
  table[0] = 0; // no error
  if (isLinux) for (let i = 0; i < HOST_ERRNO_MAX; i++) table[i] = i;
  for (const [name, number] of Object.entries(host)) {
    const linux = LINUX_ERRNO[name];
    if (linux !== undefined && number < HOST_ERRNO_MAX) table[number] = linux;
  }
  return table;
}
