/**
 * Sockets of programs: Unix, TCP and AF_VSOCK, streams and packets. Setting up throws; connecting
 * and accepting, which happen while others are served, return a negative errno.
 *
 * @module
 */
import { isIPv4, isIPv6 } from 'node:net';
import { VhostUserError, assert } from '../util/index.ts';
import { abi, posixOnly } from './host.ts';
import { ERRNO, SystemError, errnoName } from './errno.ts';
import { fellBack } from './fallback.ts';
import { closeFd } from './fd.ts';
import * as libc from './libc.ts';
import { NativeBlock, check, interrupted, orErrno } from './native.ts';
import { fillUnixAddress, prepareSocket, socketPair } from './socket.ts';

const { constants, optional, sockaddrUn, sockaddrIn, sockaddrIn6, sockaddrVm } = abi;
const EAFNOSUPPORT = ERRNO.EAFNOSUPPORT as number;
const EADDRINUSE = ERRNO.EADDRINUSE as number;
const EINVAL = ERRNO.EINVAL as number;
const ENOSYS = ERRNO.ENOSYS as number;

/** What a program says where {@link openSocket} fails for an address of AF_VSOCK. */
export const NO_VSOCK =
  "this host has no AF_VSOCK, or not of this type: it is Linux's, by 'modprobe vsock' there";

/** Streams of bytes, or messages in order. */
export type SocketType = 'stream' | 'seqpacket';

/** Where a socket is: a path, an IPv4 or IPv6 address in digits, or a context id. */
export type SocketAddress =
  | { readonly family: 'unix'; readonly path: string }
  | { readonly family: 'inet'; readonly host: string; readonly port: number }
  | { readonly family: 'vsock'; readonly cid: number; readonly port: number };

const ADDRESS_BYTES = 128;
const address = new NativeBlock(ADDRESS_BYTES);
const option = new NativeBlock(8);

/** Flags that make one call of three; posix mode does without, as macOS has to. */
const AT_ONCE = posixOnly ? 0 : (optional.SOCK_CLOEXEC ?? 0) | (optional.SOCK_NONBLOCK ?? 0);
/** What socket(2) and accept4(2) take of that: nothing, once the kernel has refused it. */
let socketFlags = AT_ONCE;
let acceptFlags = libc.accept4 === null ? 0 : AT_ONCE;

let unixSeqpacket: boolean | null = null;

/** Whether this host has Unix sockets that keep messages apart (macOS does not). */
export function hasUnixSeqpacket(): boolean {
  if (unixSeqpacket !== null) return unixSeqpacket;
  try {
    for (const fd of socketPair('seqpacket')) closeFd(fd);
    unixSeqpacket = true;
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    unixSeqpacket = false;
  }
  return unixSeqpacket;
}

/** A socket for an address, non-blocking and the caller's; or -errno. */
export function openSocket(where: SocketAddress, type: SocketType): number {
  const family = familyOf(where);
  if (family < 0) return -EAFNOSUPPORT;
  const kind = type === 'stream' ? constants.SOCK_STREAM : constants.SOCK_SEQPACKET;
  let fd = libc.socket(family, kind | socketFlags, 0);
  if (fd < 0 && socketFlags !== 0 && isUnknown(libc.errno())) {
    fd = libc.socket(family, kind, 0);
    if (fd >= 0) {
      socketFlags = 0; // else it was not the flags
      fellBack('socket(SOCK_CLOEXEC | SOCK_NONBLOCK)', 'socket and fcntl');
    }
  }
  if (fd < 0) return -libc.errno();
  if (socketFlags === 0) prepareSocket(fd);
  if (where.family === 'inet') setNoDelay(fd);
  return fd;
}

/** Connects: 0, -EINPROGRESS when `WRITABLE` and `socketError` will tell, or another -errno. */
export function connectSocket(fd: number, where: SocketAddress): number {
  const lengthBytes = fillAddress(where);
  let result = libc.connect(fd, address.address, lengthBytes);
  while (interrupted(result)) result = libc.connect(fd, address.address, lengthBytes);
  return orErrno(result);
}

/**
 * Listens; the fd is non-blocking and the caller's. A Unix socket is {@link listenUnix}'s.
 * @throws VhostUserError `ERR_VHU_SOCKET_IN_USE`, `ERR_VHU_SYSTEM`.
 */
export function listenSocket(
  where: Exclude<SocketAddress, { family: 'unix' }>,
  type: SocketType,
  backlog: number,
): number {
  const name = socketName(where);
  const fd = openSocket(where, type);
  if (fd < 0) throw new SystemError(`socket(${name})`, -fd, familyAdvice(where));
  try {
    if (where.family === 'inet') setOption(fd, constants.SOL_SOCKET, constants.SO_REUSEADDR, 1);
    const result = libc.bind(fd, address.address, fillAddress(where));
    if (result < 0 && libc.errno() === EADDRINUSE) {
      throw new VhostUserError(
        'ERR_VHU_SOCKET_IN_USE',
        `bind(${name}): another program is listening there: stop it or choose another port`,
      );
    }
    check(result, `bind(${name})`, 'is it an address of this host, and may this user take it?');
    check(libc.listen(fd, backlog), `listen(${name})`);
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** Accepts a connection: its fd, non-blocking and the caller's, or -errno (-EAGAIN: nobody). */
export function acceptSocket(listenFd: number): number {
  const { accept4 } = libc;
  const accept = (): number =>
    acceptFlags === 0 || accept4 === null
      ? libc.accept(listenFd, 0, 0)
      : accept4(listenFd, 0, 0, acceptFlags);
  let fd = accept();
  if (fd < 0 && acceptFlags !== 0 && libc.errno() === ENOSYS) {
    acceptFlags = 0;
    fellBack('accept4', 'accept and fcntl');
    fd = accept();
  }
  while (interrupted(fd)) fd = accept();
  if (fd < 0) return -libc.errno();
  if (acceptFlags === 0) prepareSocket(fd);
  return fd;
}

/** What a kernel says to flags of socket(2) that it does not know. */
function isUnknown(errno: number): boolean {
  return errno === EINVAL || errno === ENOSYS;
}

/** How a connection attempt came out: 0, or -errno. Taken away from the socket. */
export function socketError(fd: number): number {
  const { SOL_SOCKET, SO_ERROR } = constants;
  option.view.setInt32(0, 0, true);
  option.view.setUint32(4, 4, true);
  const result = libc.getsockopt(fd, SOL_SOCKET, SO_ERROR, option.address, option.address + 4);
  return result < 0 ? -libc.errno() : 0 - option.view.getInt32(0, true);
}

/** Sends what is small at once; a failure costs speed only. */
export function setNoDelay(fd: number): void {
  setOption(fd, constants.IPPROTO_TCP, constants.TCP_NODELAY, 1);
}

/** Asks for room for bytes that were sent and not yet read; the host gives what it allows. */
export function setSendBuffer(fd: number, bytes: number): void {
  setOption(fd, constants.SOL_SOCKET, constants.SO_SNDBUF, bytes);
}

/**
 * Has {@link receiveMessage} tell empty messages of a Unix socket from its end: on Linux, where a
 * message then comes with its sender's credentials, and the end with none.
 */
export function tellEmptyMessages(fd: number): void {
  const { SO_PASSCRED } = optional;
  if (SO_PASSCRED !== undefined) setOption(fd, constants.SOL_SOCKET, SO_PASSCRED, 1);
}

/**
 * Room of an AF_VSOCK socket for what comes and is not read, which is also the longest message each
 * way; those that a listener accepts have its room. Nothing where a host has no such option.
 */
export function setVsockBuffer(fd: number, bytes: number): void {
  const {
    AF_VSOCK,
    SO_VM_SOCKETS_BUFFER_SIZE: size,
    SO_VM_SOCKETS_BUFFER_MAX_SIZE: max,
  } = optional;
  if (AF_VSOCK === undefined || size === undefined || max === undefined) return;
  option.view.setUint32(0, bytes, true);
  option.view.setUint32(4, 0, true);
  // The limit first, which a size beyond it is cut to: no root is needed for either.
  libc.setsockopt(fd, AF_VSOCK, max, option.address, 8);
  libc.setsockopt(fd, AF_VSOCK, size, option.address, 8);
}

/** The port that a TCP or AF_VSOCK socket is bound to. */
export function localPort(fd: number): number {
  option.view.setUint32(0, ADDRESS_BYTES, true);
  check(libc.getsockname(fd, address.address, option.address), `getsockname(fd ${String(fd)})`);
  const family = sockaddrUn.hasLength ? address.bytes[1] : address.view.getUint16(0, true);
  if (sockaddrVm !== null && family === optional.AF_VSOCK) return address.get(0, sockaddrVm.port);
  return address.view.getUint16(sockaddrIn.portOffset, false);
}

/** For people: `/run/s`, `127.0.0.1:22`, `[::1]:22`, `vsock 1:22`. */
export function socketName(where: SocketAddress): string {
  switch (where.family) {
    case 'unix':
      return where.path;
    case 'inet':
      return isIPv6(where.host)
        ? `[${where.host}]:${String(where.port)}`
        : `${where.host}:${String(where.port)}`;
    case 'vsock':
      return `vsock ${String(where.cid)}:${String(where.port)}`;
  }
}

function familyAdvice(where: SocketAddress): string | undefined {
  if (where.family === 'vsock') return NO_VSOCK;
  return `${errnoName(EAFNOSUPPORT)}: IPv4 and IPv6 addresses in digits are known`;
}

/** Node's number of the address family, or -1. */
function familyOf(where: SocketAddress): number {
  if (where.family === 'unix') return constants.AF_UNIX;
  if (where.family === 'vsock') return sockaddrVm === null ? -1 : (optional.AF_VSOCK ?? -1);
  if (isIPv4(where.host)) return constants.AF_INET;
  return isIPv6(where.host) ? constants.AF_INET6 : -1;
}

/** Fills `address`; returns its length. */
function fillAddress(where: SocketAddress): number {
  if (where.family === 'unix') return fillUnixAddress(address, where.path);
  address.bytes.fill(0);
  const family = familyOf(where);
  let lengthBytes: number;
  if (where.family === 'vsock') {
    assert(sockaddrVm !== null, 'a socket of this family was opened');
    address.set(0, sockaddrVm.port, where.port);
    address.set(0, sockaddrVm.cid, where.cid);
    lengthBytes = sockaddrVm.SIZE;
  } else {
    const layout = family === constants.AF_INET ? sockaddrIn : sockaddrIn6;
    address.view.setUint16(layout.portOffset, where.port, false);
    const bytes = family === constants.AF_INET ? ipv4Bytes(where.host) : ipv6Bytes(where.host);
    address.bytes.set(bytes, layout.addressOffset);
    lengthBytes = layout.SIZE;
  }
  if (sockaddrUn.hasLength) {
    address.bytes[0] = lengthBytes;
    address.bytes[1] = family;
  } else {
    address.view.setUint16(0, family, true);
  }
  return lengthBytes;
}

function ipv4Bytes(host: string): Uint8Array {
  return Uint8Array.from(host.split('.'), Number);
}

/** The caller has checked it by `isIPv6`; a zone is left away. */
function ipv6Bytes(host: string): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  let text = host.replace(/%.*/, '');
  const dotted = /(?<=:)\d+\.\d+\.\d+\.\d+$/.exec(text)?.[0];
  if (dotted !== undefined) {
    const [a = 0, b = 0, c = 0, d = 0] = ipv4Bytes(dotted);
    const high = ((a << 8) | b).toString(16);
    text = `${text.slice(0, -dotted.length)}${high}:${((c << 8) | d).toString(16)}`;
  }
  const [head = '', tail] = text.split('::');
  const groups = (part: string): string[] => (part === '' ? [] : part.split(':'));
  groups(head).forEach((group, i) => {
    view.setUint16(2 * i, parseInt(group, 16) & 0xffff, false);
  });
  const last = groups(tail ?? '');
  last.forEach((group, i) => {
    view.setUint16(2 * (8 - last.length + i), parseInt(group, 16) & 0xffff, false);
  });
  return bytes;
}

function setOption(fd: number, level: number, name: number, value: number): void {
  option.view.setInt32(0, value, true);
  libc.setsockopt(fd, level, name, option.address, 4);
}
