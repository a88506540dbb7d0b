/**
 * Paths that lead to an open fd again: `/proc/self/fd/N`, built in memory of this thread. They work
 * for fds of O_PATH, which most calls refuse.
 *
 * @module
 */
import { accessSync, closeSync, openSync } from 'node:fs';
import { assert } from '../util/index.ts';
import { fellBack } from './fallback.ts';
import { abi, posixOnly } from './host.ts';
import { NativeBlock } from './native.ts';

const PREFIX = '/proc/self/fd/';
const DIGITS_MAX = 10;

/**
 * Whether O_PATH makes fds that only name a file, and all of Linux's calls on them work: some, as
 * chmod, need the path of the fd for it, so not where /proc is not mounted.
 */
export const hasPathFds: boolean =
  !posixOnly && abi.files.calls !== null && abi.files.open.O_PATH !== 0 && isThere(PREFIX);

/** Whether an fd can be opened again under other flags. */
export const hasReopen: boolean = hasPathFds;

const block = new NativeBlock(64);
new TextEncoder().encodeInto(PREFIX, block.bytes);

/** An fd of `/proc/self/fd`, whence paths are resolved; -1: they are absolute. */
let procFd = -1;
let holders = 0;

/**
 * Lets this thread's calls begin at an fd of `/proc/self/fd`, which saves the walk to it: a third
 * of the time of reopening. Each call has to be taken back by {@link releaseProcFds}.
 */
export function holdProcFds(): void {
  if (holders++ > 0 || !hasPathFds) return;
  try {
    // O_PATH: a sandbox need not let the folder be read, and lets nothing else in it be reached.
    procFd = openSync(PREFIX, abi.files.open.O_PATH | abi.files.open.O_DIRECTORY);
  } catch {
    procFd = -1; // the absolute path leads there as well, if anything does
  }
}

/** Takes one {@link holdProcFds} back; the last one closes the fd. */
export function releaseProcFds(): void {
  assert(holders > 0, 'what is released was held');
  if (--holders > 0 || procFd < 0) return;
  closeSync(procFd);
  procFd = -1;
}

/** Where the path of the last {@link fdPath} begins: a dirfd for `openat` and its kin. */
export function fdPathBase(): number {
  return procFd < 0 ? abi.files.AT_FDCWD : procFd;
}

/** The absolute path of an fd, NUL-terminated; borrowed until the next call. */
export function absoluteFdPath(fd: number): number {
  writeNumber(fd);
  return block.address;
}

/** A path of an fd relative to {@link fdPathBase}, NUL-terminated; borrowed until the next call. */
export function fdPath(fd: number): number {
  writeNumber(fd);
  return procFd < 0 ? block.address : block.address + PREFIX.length;
}

/** Writes the decimal digits of an fd behind the prefix. */
function writeNumber(fd: number): void {
  const { bytes } = block;
  let digits = 1;
  for (let rest = fd; rest >= 10 && digits < DIGITS_MAX; digits++) rest = Math.floor(rest / 10);
  let at = PREFIX.length + digits;
  bytes[at] = 0;
  for (let rest = fd, i = 0; i < digits; i++) {
    bytes[--at] = 0x30 + (rest % 10);
    rest = Math.floor(rest / 10);
  }
}

function isThere(path: string): boolean {
  try {
    accessSync(path);
    return true;
  } catch {
    fellBack(path, 'the names of files');
    return false;
  }
}
