/**
 * Errors as a program knows them from sockets: a `code`, a `syscall`, and an address.
 *
 * @module
 */

/**
 * What can go wrong, as AF_VSOCK says it:
 *
 * - `ECONNRESET`: the guest refused. Nobody listens on the port there, or no guest is running.
 * - `ENODEV`: nobody serves the guest's vsock at the path.
 * - `ETIMEDOUT`: there was no answer in time.
 * - `EACCES`: this user may not use the socket.
 * - `EADDRINUSE`: another program listens on the port.
 * - `EADDRNOTAVAIL`: there can be no socket at the path: no such folder, or too long a name.
 * - `EINVAL`: there is no such port.
 * - `ENOTSOCK`: what is at the path is no socket, such as a file or a folder.
 * - `EPROTO`: what answers at the path is no vsock.
 */
export type VsockErrorCode =
  | 'ECONNRESET'
  | 'ENODEV'
  | 'ETIMEDOUT'
  | 'EACCES'
  | 'EADDRINUSE'
  | 'EADDRNOTAVAIL'
  | 'EINVAL'
  | 'ENOTSOCK'
  | 'EPROTO';

/** Where an error happened. */
export interface VsockErrorPlace {
  readonly syscall: 'connect' | 'listen';
  /** The port that was asked for. */
  readonly port: number;
  /** The path of the vsock on this host. */
  readonly path: string;
}

/** Nothing came of {@link VsockHost.connect} or {@link VsockHost.listen}; match on `code`. */
export class VsockError extends Error {
  readonly code: VsockErrorCode;
  readonly syscall: 'connect' | 'listen';
  readonly port: number;
  readonly path: string;

  constructor(code: VsockErrorCode, text: string, place: VsockErrorPlace, cause?: unknown) {
    const { syscall, port, path } = place;
    super(`${syscall} ${code} port ${port} of ${path}: ${text}`, { cause });
    this.name = 'VsockError';
    this.code = code;
    this.syscall = syscall;
    this.port = port;
    this.path = path;
  }
}
