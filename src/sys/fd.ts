/**
 * File descriptors: owning, copying, flags, and what kind of object is behind one.
 *
 * @module
 */
import { fstatSync, readdirSync } from 'node:fs';
import { abi, posixOnly } from './host.ts';
import * as libc from './libc.ts';
import { check } from './native.ts';

const { constants } = abi;

/** Who wants to know of fds that are closed; null while nobody does. */
let closing: ((fd: number) => void) | null = null;

/** Has `forget` told of each fd that this thread closes. For one module of this layer. */
export function whenClosing(forget: (fd: number) => void): void {
  closing = forget;
}

/** Closes an fd that the caller owns. Closing cannot fail in a way that a caller could mend. */
export function closeFd(fd: number): void {
  closing?.(fd);
  libc.close(fd);
}

/** A second fd for the same open file, which the caller owns; close-on-exec. */
export function dupFd(fd: number): number {
  const copy = check(libc.dup(fd), `dup(fd ${String(fd)})`);
  setCloseOnExec(copy);
  return copy;
}

/** Keeps an fd from being inherited by programs that this process starts. */
export function setCloseOnExec(fd: number): void {
  check(
    libc.fcntl('int', fd, constants.F_SETFD, constants.FD_CLOEXEC),
    `fcntl(fd ${String(fd)}, F_SETFD, FD_CLOEXEC)`,
  );
}

/** Whether O_NONBLOCK is set on the open file behind the fd. */
export function isNonBlocking(fd: number): boolean {
  const flags = check(
    libc.fcntl('int', fd, constants.F_GETFL, 0),
    `fcntl(fd ${String(fd)}, F_GETFL)`,
  );
  return (flags & constants.O_NONBLOCK) !== 0;
}

/** What an fd was opened for: `O_RDONLY`, `O_WRONLY` or `O_RDWR` of `O`. */
export function accessMode(fd: number): number {
  const flags = libc.fcntl('int', fd, constants.F_GETFL, 0);
  return check(flags, `fcntl(fd ${String(fd)}, F_GETFL)`) & abi.files.open.O_ACCMODE;
}

/**
 * Sets or clears O_NONBLOCK. The flag belongs to the open file, which a peer that sent the fd
 * shares: never clear it on an fd that was received.
 */
export function setNonBlocking(fd: number, on: boolean): void {
  const flags = check(
    libc.fcntl('int', fd, constants.F_GETFL, 0),
    `fcntl(fd ${String(fd)}, F_GETFL)`,
  );
  const wanted = on ? flags | constants.O_NONBLOCK : flags & ~constants.O_NONBLOCK;
  if (wanted === flags) return;
  check(libc.fcntl('int', fd, constants.F_SETFL, wanted), `fcntl(fd ${String(fd)}, F_SETFL)`);
}

/**
 * What is behind an fd. An eventfd and the like are `other`; `memory` is a POSIX shared memory
 * object of macOS, which is a `file` on the other hosts.
 */
export type FdKind =
  'file' | 'block' | 'char' | 'pipe' | 'socket' | 'directory' | 'memory' | 'other';

/** Where there is no eventfd, nothing but shared memory has an st_mode without a kind. */
const KINDLESS: FdKind = abi.optional.EFD_CLOEXEC === undefined ? 'memory' : 'other';

/** What is behind an fd; `other` for a closed one too. */
export function fdKind(fd: number): FdKind {
  try {
    // As bigint: Node's resolver of modules reads what the last call without it has left behind,
    // and sees no symbolic links on the way to a module after the stat of a socket or pipe.
    const stat = fstatSync(fd, { bigint: true });
    if (stat.isFile()) return 'file';
    if (stat.isFIFO()) return 'pipe';
    if (stat.isSocket()) return 'socket';
    if (stat.isBlockDevice()) return 'block';
    if (stat.isCharacterDevice()) return 'char';
    return stat.isDirectory() ? 'directory' : KINDLESS;
  } catch {
    return 'other';
  }
}

/** Where the kernel lists no fds: how far to look for open ones. */
const PROBED_FDS = 4096;

/** How many fds this process has open; for tests that look for leaks. */
export function openFdCount(): number {
  if (!posixOnly) {
    try {
      return readdirSync('/proc/self/fd').length - 1; // less the one that listing them opened
    } catch {
      // no such list: /dev/fd of the BSDs may be a fixed one, so it does not help either
    }
  }
  let count = 0;
  for (let fd = 0; fd < PROBED_FDS; fd++) {
    if (libc.fcntl('int', fd, constants.F_GETFD, 0) >= 0) count++;
  }
  return count;
}
