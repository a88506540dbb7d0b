/**
 * Unix stream sockets: listening, connecting, and messages with file descriptors.
 *
 * @module
 */
import { chmodSync, chownSync, lstatSync, unlinkSync } from 'node:fs';
import { VhostUserError } from '../util/index.ts';
import { abi } from './host.ts';
import { ERRNO, SystemError } from './errno.ts';
import { closeFd, fdKind, setCloseOnExec, setNonBlocking } from './fd.ts';
import * as libc from './libc.ts';
import { NativeBlock, check, interrupted } from './native.ts';
import { reachedPath } from './socket-folders.ts';

const { constants, optional, sockaddrUn } = abi;
const EACCES = ERRNO.EACCES as number;
const EAGAIN = ERRNO.EAGAIN as number;
const ECONNREFUSED = ERRNO.ECONNREFUSED as number;
const ECONNABORTED = ERRNO.ECONNABORTED as number;
const EINVAL = ERRNO.EINVAL as number;
const ENOENT = ERRNO.ENOENT as number;
const ENOPROTOOPT = ERRNO.ENOPROTOOPT as number;

const SOCKADDR_BYTES = sockaddrUn.pathOffset + sockaddrUn.pathBytes;
const address = new NativeBlock(SOCKADDR_BYTES);
const option = new NativeBlock(32);

/** Options of {@link listenUnix}. */
export interface ListenOptions {
  /** Connections that may wait to be accepted. */
  readonly backlog?: number;
  /** Permissions of the socket file, such as 0o660; the umask decides without it. */
  readonly mode?: number;
  /** The group of the socket file, by its number. */
  readonly group?: number;
  /** Default: stream. */
  readonly type?: 'stream' | 'seqpacket';
}

/**
 * Listens on a path and returns the fd, which is non-blocking and the caller's. A socket file that
 * nobody listens on is replaced; a live one, or any other kind of file, is refused.
 *
 * @throws VhostUserError `ERR_VHU_SOCKET_PATH`, `ERR_VHU_SOCKET_IN_USE`, `ERR_VHU_SYSTEM`.
 */
export function listenUnix(path: string, options: ListenOptions = {}): number {
  fillAddress(path);
  const place = reachedPath(path);
  removeDeadSocket(path, place, options.type);
  const fd = newSocket(options.type);
  let bound = false;
  try {
    const length = fillAddress(place);
    check(libc.bind(fd, address.address, length), `bind(${path})`, bindAdvice(path));
    bound = true;
    // Before anybody can connect. A uid of -1 leaves the owner.
    if (options.group !== undefined) chownSync(place, -1, options.group);
    if (options.mode !== undefined) chmodSync(place, options.mode);
    check(libc.listen(fd, options.backlog ?? 16), `listen(${path})`);
    return fd;
  } catch (error) {
    closeFd(fd);
    if (bound) unlinkSync(place);
    throw error;
  }
}

/** Connects to a path; the fd is non-blocking and the caller's. */
export function connectUnix(path: string): number {
  const fd = newSocket();
  try {
    const length = fillAddress(path);
    let result = libc.connect(fd, address.address, length);
    while (interrupted(result)) result = libc.connect(fd, address.address, length);
    check(result, `connect(${path})`, 'is the other side running, and listening there?');
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** Accepts a connection; -1 when nobody waits. The fd is non-blocking and the caller's. */
export function acceptUnix(listenFd: number): number {
  for (;;) {
    const fd = libc.accept(listenFd, 0, 0);
    if (fd >= 0) {
      prepareSocket(fd);
      return fd;
    }
    const errno = libc.errno();
    if (errno === EAGAIN) return -1;
    if (errno !== (ERRNO.EINTR as number) && errno !== ECONNABORTED) {
      throw new SystemError(`accept(fd ${String(listenFd)})`, errno, 'no more fds? see ulimit -n');
    }
  }
}

/** Whether the fd is a socket that listens (SO_ACCEPTCONN), rather than a connected one. */
export function isListening(fd: number): boolean {
  option.view.setUint32(0, 0, true);
  option.view.setUint32(8, 4, true);
  const { SOL_SOCKET, SO_ACCEPTCONN } = constants;
  if (libc.getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, option.address, option.address + 8) >= 0) {
    return option.view.getUint32(0, true) !== 0; // the BSDs answer with the flag's own value, 2
  }
  const errno = libc.errno();
  // macOS and OpenBSD have the name, but not the option.
  if (errno === ENOPROTOOPT || errno === EINVAL) return !hasPeer(fd);
  const advice = `fd ${String(fd)} is ${fdKind(fd)}, a socket is needed`;
  throw new SystemError(`getsockopt(fd ${String(fd)}, SO_ACCEPTCONN)`, errno, advice);
}

/** Whether a socket is connected: it then has a peer's name, if only an empty one. */
export function hasPeer(fd: number): boolean {
  const length = new NativeBlock(4);
  length.view.setUint32(0, SOCKADDR_BYTES, true);
  const result = libc.getpeername(fd, address.address, length.address);
  length.free();
  return result >= 0;
}

/** Takes over a socket that was inherited: non-blocking, close-on-exec. */
export function adoptSocket(fd: number): void {
  prepareSocket(fd);
}

/** Two connected sockets, non-blocking, both the caller's. */
export function socketPair(type: 'stream' | 'seqpacket' = 'stream'): [number, number] {
  const { AF_UNIX, SOCK_STREAM, SOCK_SEQPACKET } = constants;
  const kind = type === 'stream' ? SOCK_STREAM : SOCK_SEQPACKET;
  check(
    libc.socketpair(AF_UNIX, kind, 0, option.address),
    type === 'stream' ? 'socketpair(AF_UNIX)' : `socketpair(AF_UNIX, ${type})`,
  );
  const first = option.view.getInt32(0, true);
  const second = option.view.getInt32(4, true);
  prepareSocket(first);
  prepareSocket(second);
  return [first, second];
}

/** Who is at the other end, as far as this host tells. */
export function peerOf(fd: number): { pid?: number; uid?: number } {
  const { SO_PEERCRED, SOL_LOCAL, LOCAL_PEERPID } = optional;
  const [valueAt, lengthAt] = [option.address, option.address + 16];
  if (SO_PEERCRED !== undefined) {
    option.view.setUint32(16, 12, true); // struct ucred: pid, uid, gid
    if (libc.getsockopt(fd, constants.SOL_SOCKET, SO_PEERCRED, valueAt, lengthAt) < 0) return {};
    return { pid: option.view.getInt32(0, true), uid: option.view.getUint32(4, true) };
  }
  const peer: { pid?: number; uid?: number } = {};
  if (libc.getpeereid !== null && libc.getpeereid(fd, valueAt, valueAt + 4) === 0) {
    peer.uid = option.view.getUint32(0, true);
  }
  if (SOL_LOCAL !== undefined && LOCAL_PEERPID !== undefined) {
    option.view.setUint32(16, 4, true);
    if (libc.getsockopt(fd, SOL_LOCAL, LOCAL_PEERPID, valueAt, lengthAt) === 0) {
      peer.pid = option.view.getInt32(0, true);
    }
  }
  return peer;
}

function newSocket(type: 'stream' | 'seqpacket' = 'stream'): number {
  const { AF_UNIX, SOCK_STREAM, SOCK_SEQPACKET } = constants;
  const kind = type === 'stream' ? SOCK_STREAM : SOCK_SEQPACKET;
  const fd = check(
    libc.socket(AF_UNIX, kind, 0),
    type === 'stream' ? 'socket(AF_UNIX)' : `socket(AF_UNIX, ${type})`,
  );
  prepareSocket(fd);
  return fd;
}

/** Flags that accept4 and SOCK_CLOEXEC would set where they exist; every host has fcntl. */
export function prepareSocket(fd: number): void {
  setCloseOnExec(fd);
  setNonBlocking(fd, true);
  const { SO_NOSIGPIPE } = optional;
  if (SO_NOSIGPIPE === undefined) return;
  option.view.setUint32(16, 1, true);
  libc.setsockopt(fd, constants.SOL_SOCKET, SO_NOSIGPIPE, option.address + 16, 4);
}

function fillAddress(path: string): number {
  return fillUnixAddress(address, path);
}

/**
 * Fills a block of 128 bytes with the address of a path; returns its exact length, which some hosts
 * insist on.
 * @throws VhostUserError `ERR_VHU_SOCKET_PATH` for a path that no socket can have.
 */
export function fillUnixAddress(into: NativeBlock, path: string): number {
  const bytes = Buffer.from(path);
  const limit = sockaddrUn.pathBytes - 1;
  if (bytes.length === 0 || bytes.length > limit || bytes.includes(0)) {
    throw new VhostUserError(
      'ERR_VHU_SOCKET_PATH',
      bytes.length > limit
        ? `socket path ${path}: ${String(bytes.length)} bytes, and this host allows ` +
            `${String(limit)}: choose a shorter folder, such as /tmp or /run`
        : `socket path ${JSON.stringify(path)}: it must have at least one byte and no NUL`,
    );
  }
  const length = sockaddrUn.pathOffset + bytes.length + 1;
  into.bytes.fill(0);
  if (sockaddrUn.hasLength) {
    into.bytes[0] = length;
    into.bytes[1] = constants.AF_UNIX;
  } else {
    into.view.setUint16(0, constants.AF_UNIX, true);
  }
  into.bytes.set(bytes, sockaddrUn.pathOffset);
  return length;
}

/** `place` is the path by which it is reached. */
function removeDeadSocket(path: string, place: string, type?: 'stream' | 'seqpacket'): void {
  let isSocket: boolean;
  try {
    isSocket = lstatSync(place).isSocket();
  } catch {
    return; // there is nothing, or bind will say what is wrong with the folder
  }
  if (!isSocket) {
    throw new VhostUserError(
      'ERR_VHU_SOCKET_PATH',
      `socket path ${path}: a file that is no socket is there: remove it or choose another path`,
    );
  }
  const fd = newSocket(type);
  try {
    const result = libc.connect(fd, address.address, fillAddress(place));
    const errno = result < 0 ? libc.errno() : 0;
    if (errno === ENOENT) return; // its owner has just removed it
    if (errno === ECONNREFUSED) {
      unlinkSync(place);
      return;
    }
    if (errno === EACCES) {
      throw new VhostUserError(
        'ERR_VHU_SOCKET_PATH',
        `socket path ${path}: a socket is there that this user may not connect to, so whether it ` +
          'is in use is not known: remove it or choose another path',
      );
    }
    throw new VhostUserError(
      'ERR_VHU_SOCKET_IN_USE',
      `socket path ${path}: another process is listening there: stop it or choose another path`,
    );
  } finally {
    closeFd(fd);
  }
}

function bindAdvice(path: string): string {
  const folder = path.includes('/') ? path.slice(0, path.lastIndexOf('/')) || '/' : '.';
  return `does the folder ${folder} exist, and may this user write to it?`;
}
