/**
 * What the rules of the models are written with: memory for arguments, and calls as C makes them.
 *
 * @module
 */
import { ERRNO, NativeBlock } from '../../src/sys/index.ts';
import type { KqueueAbi } from '../../src/abi/index.ts';
import { abi } from '../../src/sys/host.ts';
import * as files from '../../src/sys/libc-files.ts';
import * as libc from '../../src/sys/libc.ts';
import type { PlayedHost } from './errno.ts';

/** A rule of a kernel. */
export interface Rule {
  /** As the model knows it; VHU_MODEL_WITHOUT switches it off. */
  readonly name: string;
  readonly hosts: readonly PlayedHost[];
  /** File and function of each kernel. */
  readonly source: string;
  /** Breaks it; whether the kernel did what it does then. */
  readonly punishes: () => boolean;
}

const { constants, msghdr, cmsg } = abi;
/** The table of kqueue of this host. */
export const kq: KqueueAbi | null = abi.kqueue;
/** All hosts. */
export const ALL = ['darwin', 'freebsd', 'openbsd'] as const;
/** A page of Apple silicon. */
export const PAGE = 16384;
/** Memory for the arguments of calls; what is where in it: */
export const block: NativeBlock = new NativeBlock(65536);
/** … an iovec, */
export const IOV = 1024;
/** … data, or a kevent, */
export const DATA = 2048;
/** … and control data. */
export const CONTROL = 16384;
/** The address of an offset in it. */
export const at = (offset: number): number => block.address + offset;

/** Whether a call failed with that error. */
export function failed(result: number, ...names: string[]): boolean {
  const errno = libc.errno();
  return result < 0 && names.some((name) => ERRNO[name] === errno);
}
/** The fds that a call left in memory. */
export function two(): [number, number] {
  return [block.view.getInt32(0, true), block.view.getInt32(4, true)];
}
/** Two connected Unix sockets. */
export function pair(type: number = constants.SOCK_STREAM): [number, number] {
  libc.socketpair(constants.AF_UNIX, type, 0, at(0));
  return two();
}
/** The two ends of a pipe. */
export function pipe(): [number, number] {
  libc.pipe(at(0));
  return two();
}
/** Closes all of them. */
export function close(...fds: number[]): void {
  for (const fd of fds) libc.close(fd);
}
/** Runs `use` and closes the fds, whichever way it ends. */
export function using(fds: readonly number[], use: () => boolean): boolean {
  try {
    return use();
  } finally {
    close(...fds);
  }
}
/** A shared memory object without a name. */
export function shm(bytes: number): number {
  const name = `/rule-${String(process.pid)}-${String(performance.now()).slice(-6)}`;
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
  const fd = libc.shmOpen?.('int', name, flags, 0o600) ?? -1;
  libc.shmUnlink?.(name);
  if (bytes > 0) libc.ftruncate(fd, bytes);
  return fd;
}
/** st_size. */
export function sizeOf(fd: number): number {
  files.fstat(fd, at(0));
  return block.get(0, abi.files.stat.size);
}

/** One change of a kqueue; the errno, or 0. */
export function change(queue: number, fd: number, filter: number, flags: number): number {
  if (kq === null || libc.kevent === null) return -1;
  const { event } = kq;
  block.bytes.fill(0, DATA, DATA + event.SIZE);
  block.set(DATA, event.ident, fd);
  block.set(DATA, event.filter, filter);
  block.set(DATA, event.flags, flags);
  return libc.kevent(queue, at(DATA), 1, 0, 0, 0) < 0 ? libc.errno() : 0;
}
/** Looks for events; how many there are, or -1. */
export function events(queue: number, seconds = 0, nanoseconds = 0): number {
  block.view.setBigInt64(0, BigInt(seconds), true);
  block.view.setBigInt64(8, BigInt(nanoseconds), true);
  return libc.kevent?.(queue, 0, 0, at(DATA), 8, at(0)) ?? -1;
}
/** Runs `use` with a kqueue. */
export function withKqueue(
  use: (queue: number, layout: NonNullable<typeof kq>) => boolean,
): boolean {
  const queue = libc.kqueue?.() ?? -1;
  return using([queue], () => kq !== null && use(queue, kq));
}

/** sendmsg with control messages of fds; `spare` bytes more than they need are announced. */
export function send(fd: number, bytes: number, messages: readonly number[][], spare = 0): number {
  let end = CONTROL;
  for (const fds of messages) {
    block.set(end, cmsg.len, cmsg.dataOffset + fds.length * 4);
    block.set(end, cmsg.level, constants.SOL_SOCKET);
    block.set(end, cmsg.type, constants.SCM_RIGHTS);
    fds.forEach((each, i) => {
      block.view.setInt32(end + cmsg.dataOffset + i * 4, each, true);
    });
    end += Math.ceil((cmsg.dataOffset + fds.length * 4) / cmsg.align) * cmsg.align;
  }
  header(bytes, end - CONTROL + spare);
  return libc.sendmsg(fd, at(0), 0);
}
/** Fills a `struct msghdr`. */
export function header(bytes: number, controlBytes: number, iovCount = 1): void {
  block.bytes.fill(0, 0, msghdr.SIZE);
  block.view.setBigUint64(IOV, BigInt(at(DATA)), true);
  block.view.setBigUint64(IOV + 8, BigInt(bytes), true);
  block.set(0, msghdr.iov, at(IOV));
  block.set(0, msghdr.iovlen, iovCount);
  block.set(0, msghdr.control, controlBytes === 0 ? 0 : at(CONTROL));
  block.set(0, msghdr.controllen, controlBytes);
}
/** recvmsg; its bytes, and how many fds came, which are closed. */
export function receive(
  fd: number,
  bytes: number,
  controlBytes = 4096,
): [bytes: number, fds: number] {
  header(bytes, controlBytes);
  const got = libc.recvmsg(fd, at(0), constants.MSG_DONTWAIT);
  if (got < 0) return [-libc.errno(), 0];
  const length = block.get(0, msghdr.controllen);
  if (length === 0) return [got, 0];
  const count = Math.floor((Math.min(length, block.get(CONTROL, cmsg.len)) - cmsg.dataOffset) / 4);
  for (let i = 0; i < count; i++) {
    libc.close(block.view.getInt32(CONTROL + cmsg.dataOffset + i * 4, true));
  }
  return [got, count];
}
/** Binds a new socket; the errno, or 0. */
export function bindTo(path: string, family: number = constants.AF_UNIX, familyAt = 1): number {
  const bytes = Buffer.from(path);
  block.bytes.fill(0, 0, 256);
  block.bytes[0] = bytes.length + 3;
  block.bytes[familyAt] = family;
  block.bytes.set(bytes, 2);
  const fd = libc.socket(constants.AF_UNIX, constants.SOCK_STREAM, 0);
  const result = libc.bind(fd, at(0), bytes.length + 3);
  const errno = libc.errno();
  libc.close(fd);
  return result < 0 ? errno : 0;
}
/** The address of a text with its NUL. */
export function cString(text: string): number {
  block.bytes.set(Buffer.from(`${text}\0`), 32768);
  return at(32768);
}
