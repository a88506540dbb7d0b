/**
 * Bytes and messages through connected sockets, by address: without allocation, with a negative
 * errno for a result.
 *
 * @module
 */
import { abi } from './host.ts';
import { ERRNO } from './errno.ts';
import * as libc from './libc.ts';
import { NativeBlock, interrupted, orErrno } from './native.ts';
import { pollNow } from './poll-now.ts';

const { constants, optional, msghdr } = abi;
const SEND_FLAGS = optional.MSG_NOSIGNAL ?? 0; // elsewhere the socket has SO_NOSIGPIPE
const IOVEC_BYTES = 16;
const EAGAIN = -(ERRNO.EAGAIN as number);
const ENOBUFS = -(ERRNO.ENOBUFS as number);
const EPIPE = -(ERRNO.EPIPE as number);

/** `struct msghdr` without name and control data, and a `struct iovec`. */
const IOV_AT = msghdr.SIZE;
const block = new NativeBlock(IOV_AT + IOVEC_BYTES);

/** What is shut down: receiving, or sending. */
export const SHUT: { readonly RD: number; readonly WR: number } = {
  RD: constants.SHUT_RD,
  WR: constants.SHUT_WR,
};

/** Buffers of one call (IOV_MAX everywhere). */
export const IOVECS_MAX = 1024;

/** Receives up to `bytes`; 0 at the end of the stream, or -errno. */
export function receive(fd: number, address: number, bytes: number): number {
  let count = libc.recv(fd, address, bytes, 0);
  while (interrupted(count)) count = libc.recv(fd, address, bytes, 0);
  return orErrno(count);
}

/** The same, and the bytes stay to be received. */
export function peek(fd: number, address: number, bytes: number): number {
  let count = libc.recv(fd, address, bytes, constants.MSG_PEEK);
  while (interrupted(count)) count = libc.recv(fd, address, bytes, constants.MSG_PEEK);
  return orErrno(count);
}

/** Sends up to `bytes`, without SIGPIPE; bytes or -errno. */
export function send(fd: number, address: number, bytes: number): number {
  let count = libc.send(fd, address, bytes, SEND_FLAGS);
  while (interrupted(count)) count = libc.send(fd, address, bytes, SEND_FLAGS);
  return orErrno(count);
}

/** Receives into the buffers of a `struct iovec` array; see {@link receive}. */
export function receiveVector(fd: number, iov: number, iovCount: number): number {
  let count = libc.readv(fd, iov, iovCount);
  while (interrupted(count)) count = libc.readv(fd, iov, iovCount);
  return orErrno(count);
}

/**
 * Sends the buffers of a `struct iovec` array, without SIGPIPE; on a socket that keeps messages
 * apart as one, and as the end of a record when `endsRecord`. Bytes or -errno.
 */
export function sendVector(fd: number, iov: number, iovCount: number, endsRecord: boolean): number {
  fillHeader(iov, iovCount);
  const flags = endsRecord ? SEND_FLAGS | constants.MSG_EOR : SEND_FLAGS;
  let count = libc.sendmsg(fd, block.address, flags);
  while (interrupted(count)) count = libc.sendmsg(fd, block.address, flags);
  return orErrno(count);
}

/** What {@link receiveMessage} found beside the bytes. */
export interface MessageMarks {
  /** The message was longer; the rest of it is lost. */
  truncated: boolean;
  /** It was sent as the end of a record (MSG_EOR). */
  endsRecord: boolean;
  /** There was no message and will be none; an empty one looks the same, where that is not told. */
  ended: boolean;
}

/** Receives one message; its bytes, or -errno. `marks` is the caller's and filled in. */
export function receiveMessage(
  fd: number,
  address: number,
  bytes: number,
  marks: MessageMarks,
): number {
  const { view } = block;
  view.setUint32(IOV_AT, address >>> 0, true);
  view.setUint32(IOV_AT + 4, Math.floor(address / 0x1_0000_0000), true);
  view.setUint32(IOV_AT + 8, bytes, true);
  fillHeader(block.address + IOV_AT, 1);
  let count = libc.recvmsg(fd, block.address, 0);
  while (interrupted(count)) count = libc.recvmsg(fd, block.address, 0);
  if (count < 0) return orErrno(count);
  const flags = block.get(0, msghdr.flags);
  marks.truncated = (flags & constants.MSG_TRUNC) !== 0;
  marks.endsRecord = (flags & constants.MSG_EOR) !== 0;
  // Credentials that there is no room for here: see `tellEmptyMessages`.
  marks.ended = count === 0 && (flags & constants.MSG_CTRUNC) === 0;
  return count;
}

/** shutdown(2) of one half, by a value of {@link SHUT}; 0 or -errno. */
export function shutDown(fd: number, how: number): number {
  return orErrno(libc.shutdown(fd, how));
}

/** Whether the other side can neither send nor receive any more: its program closed the socket. */
export function isHungUp(fd: number): boolean {
  // No events: errors and hang-ups are told all the same.
  return (pollNow(fd, 0) & constants.POLLHUP) !== 0;
}

/**
 * The same for a connected socket of AF_VSOCK, for which Linux tells no hang-up while this side may
 * still send. Nothing is sent, but that there is nobody to send to is said all the same.
 */
export function isVsockHungUp(fd: number): boolean {
  return send(fd, block.address, 0) === EPIPE || isHungUp(fd);
}

/**
 * Sends a message as {@link sendVector} does, on a socket of AF_VSOCK that does not block. When the
 * other side has room for a part of it, Linux sends that part, says EAGAIN, and does not say how
 * much it was: the message cannot be completed any more, and the result is -ENOBUFS. -EAGAIN: it is
 * as if nothing had been tried.
 */
export function sendVsockMessage(
  fd: number,
  iov: number,
  iovCount: number,
  endsRecord: boolean,
): number {
  if (pollNow(fd, constants.POLLOUT) === 0) return EAGAIN;
  const sent = sendVector(fd, iov, iovCount, endsRecord);
  return sent === EAGAIN ? ENOBUFS : sent;
}

function fillHeader(iov: number, iovCount: number): void {
  block.set(0, msghdr.iov, iov);
  block.set(0, msghdr.iovlen, iovCount);
  block.set(0, msghdr.flags, 0);
}
