/**
 * Bytes with file descriptors over a Unix socket: sendmsg(2), recvmsg(2) and SCM_RIGHTS, in the
 * layout that each host has for control messages.
 *
 * @module
 */
import { assert } from '../util/index.ts';
import { ERRNO } from './errno.ts';
import { abi } from './host.ts';
import { fellBack } from './fallback.ts';
import { closeFd, setCloseOnExec } from './fd.ts';
import * as libc from './libc.ts';
import { NativeBlock, interrupted, orErrno } from './native.ts';

const { constants, optional, msghdr, cmsg } = abi;
const EINTR = ERRNO.EINTR as number;
const EMSGSIZE = ERRNO.EMSGSIZE as number;

/**
 * The largest number of fds in one message that is sent; more than the protocol needs. OpenBSD has
 * the smallest one: 16 bytes for each in a cluster of 2048, with a header (unp_internalize, E2BIG).
 */
export const FDS_PER_MESSAGE_MAX = 127;
/** The largest number that is received: Linux's SCM_MAX_FD. */
const FDS_RECEIVED_MAX = 253;
/** Bytes that one call moves at most; callers loop. */
const CHUNK_BYTES = 65536;

const FD_BYTES = 4;
const IOV_AT = msghdr.SIZE; // struct iovec: base 8, len 8
const CONTROL_AT = IOV_AT + 16;
// Two control messages, if a peer does that
const CONTROL_BYTES = space(FDS_RECEIVED_MAX * FD_BYTES) * 2;
const DATA_AT = CONTROL_AT + CONTROL_BYTES;

const block = new NativeBlock(DATA_AT + CHUNK_BYTES);

/** MSG_CMSG_CLOEXEC; 0 where the fds that come are marked afterwards. */
let receiveFlags = optional.MSG_CMSG_CLOEXEC ?? 0;

/** What {@link receiveWithFds} found beside the bytes. */
export interface Received {
  /** Close-on-exec; the caller owns them. */
  readonly fds: number[];
  /** The kernel dropped fds: too many, or this process has reached its limit of open files. */
  truncated: boolean;
}

/**
 * Sends bytes, with fds on the first of them; fds need at least one byte. Returns the bytes sent,
 * or a negative errno.
 */
export function sendWithFds(fd: number, bytes: Uint8Array, fds: readonly number[]): number {
  assert(fds.length <= FDS_PER_MESSAGE_MAX, 'a message has at most 127 fds');
  assert(fds.length === 0 || bytes.length > 0, 'fds travel on a byte: without one they are lost');
  const count = Math.min(bytes.length, CHUNK_BYTES);
  block.bytes.set(bytes.subarray(0, count), DATA_AT);
  let controlBytes = 0;
  if (fds.length > 0) {
    const lengthBytes = cmsg.dataOffset + fds.length * FD_BYTES;
    // One control message that fills msg_controllen: macOS takes no tail padding.
    controlBytes = cmsg.align === FD_BYTES ? lengthBytes : space(fds.length * FD_BYTES);
    block.bytes.fill(0, CONTROL_AT, CONTROL_AT + controlBytes);
    block.set(CONTROL_AT, cmsg.len, lengthBytes);
    block.set(CONTROL_AT, cmsg.level, constants.SOL_SOCKET);
    block.set(CONTROL_AT, cmsg.type, constants.SCM_RIGHTS);
    fds.forEach((each, i) => {
      block.view.setInt32(CONTROL_AT + cmsg.dataOffset + i * FD_BYTES, each, true);
    });
  }
  fillHeader(count, controlBytes);
  const flags = optional.MSG_NOSIGNAL ?? 0;
  let sent = libc.sendmsg(fd, block.address, flags);
  while (interrupted(sent)) sent = libc.sendmsg(fd, block.address, flags);
  return orErrno(sent);
}

/**
 * Receives up to `into.length` bytes. Returns how many, 0 at the end of the stream, or a negative
 * errno. `received.fds` is replaced by the fds that came with these bytes.
 *
 * A receive ends after bytes that have fds on them, but it may begin with earlier ones that have
 * none (unix_stream_read_generic of Linux glues them). So ask for no more than the rest of one
 * message: then the fds are those of its first byte.
 */
export function receiveWithFds(fd: number, into: Uint8Array, received: Received): number {
  received.fds.length = 0;
  received.truncated = false;
  const count = Math.min(into.length, CHUNK_BYTES);
  fillHeader(count, CONTROL_BYTES);
  let got = libc.recvmsg(fd, block.address, receiveFlags);
  while (got < 0) {
    const errno = libc.errno();
    // No fds left in this process: Linux gives the bytes, with MSG_CTRUNC; the others refuse once
    // (unp_externalize), have lost the fds, and give the bytes to whoever asks again.
    if (errno === EMSGSIZE && !received.truncated) received.truncated = true;
    else if (errno !== EINTR && !isFlagRefused(got)) return -errno;
    fillHeader(count, CONTROL_BYTES);
    got = libc.recvmsg(fd, block.address, receiveFlags);
  }
  into.set(block.bytes.subarray(DATA_AT, DATA_AT + got));
  if ((block.get(0, msghdr.flags) & constants.MSG_CTRUNC) !== 0) received.truncated = true;
  collectFds(Math.min(block.get(0, msghdr.controllen), CONTROL_BYTES), received.fds);
  if (receiveFlags === 0) received.fds.forEach(setCloseOnExec);
  return got;
}

/** Whether a receive failed for its flag alone, which is not given any more then. */
function isFlagRefused(got: number): boolean {
  if (got >= 0 || receiveFlags === 0) return false;
  const errno = libc.errno();
  if (errno !== ERRNO.EINVAL && errno !== ERRNO.ENOSYS) return false;
  receiveFlags = 0;
  fellBack('recvmsg(MSG_CMSG_CLOEXEC)', 'recvmsg and fcntl');
  return true;
}

/** Closes all fds of a list and empties it. */
export function closeFds(fds: number[]): void {
  for (const fd of fds.splice(0)) closeFd(fd);
}

/** Walks all control messages, so that no fd is lost whichever way the peer has packed them. */
function collectFds(controlBytes: number, fds: number[]): void {
  let at = 0;
  while (at + cmsg.dataOffset <= controlBytes) {
    const base = CONTROL_AT + at;
    const lengthBytes = block.get(base, cmsg.len);
    if (lengthBytes < cmsg.dataOffset) return;
    const rights =
      block.get(base, cmsg.level) === constants.SOL_SOCKET &&
      block.get(base, cmsg.type) === constants.SCM_RIGHTS;
    const end = Math.min(lengthBytes, controlBytes - at);
    for (let data = cmsg.dataOffset; rights && data + FD_BYTES <= end; data += FD_BYTES) {
      fds.push(block.view.getInt32(base + data, true));
    }
    at += roundUp(lengthBytes);
  }
}

function fillHeader(dataBytes: number, controlBytes: number): void {
  block.bytes.fill(0, 0, msghdr.SIZE);
  block.view.setBigUint64(IOV_AT, BigInt(block.address + DATA_AT), true);
  block.view.setBigUint64(IOV_AT + 8, BigInt(dataBytes), true);
  block.set(0, msghdr.iov, block.address + IOV_AT);
  block.set(0, msghdr.iovlen, 1);
  // NULL when there is no control data: macOS refuses a pointer with a length below a header's.
  block.set(0, msghdr.control, controlBytes === 0 ? 0 : block.address + CONTROL_AT);
  block.set(0, msghdr.controllen, controlBytes);
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / cmsg.align) * cmsg.align;
}

/** CMSG_SPACE. */
function space(dataBytes: number): number {
  return roundUp(cmsg.dataOffset) + roundUp(dataBytes);
}
