/**
 * Errors of a vsock connection, named as those of `node:net`.
 *
 * @module
 */

/** The codes of a {@link VsockClientError}. */
export type VsockClientErrorCode =
  | 'EADDRINUSE'
  | 'ECONNREFUSED'
  | 'ECONNRESET'
  | 'EMSGSIZE'
  | 'ENODEV'
  | 'EPIPE'
  | 'EPROTO'
  | 'EPROTONOSUPPORT'
  | 'ETIMEDOUT';

const TEXTS: Readonly<Record<VsockClientErrorCode, string>> = {
  EADDRINUSE: 'the port is in use',
  ECONNREFUSED: 'connection refused: nobody listens on that port there',
  ECONNRESET: 'connection reset by the other side',
  EMSGSIZE: 'the message is longer than the other side can take',
  ENODEV: 'the device is gone',
  EPIPE: 'the other side does not read any more',
  EPROTO: 'the device broke the rules of the connection',
  EPROTONOSUPPORT: 'the device does not have this type of socket',
  ETIMEDOUT: 'connection timed out: no answer',
};

/** What became of a connection; match on `code`, which is one of those of `node:net`. */
export class VsockClientError extends Error {
  readonly code: VsockClientErrorCode;
  readonly syscall: string;
  /** The context id of the other side. */
  readonly cid: number;
  readonly port: number;

  constructor(
    code: VsockClientErrorCode,
    syscall: string,
    cid: number,
    port: number,
    options: { readonly cause?: unknown; readonly detail?: string } = {},
  ) {
    const detail = options.detail === undefined ? '' : ` (${options.detail})`;
    const where = `${String(cid)}:${String(port)}`;
    super(`${code}: ${TEXTS[code]}${detail}, ${syscall} ${where}`, { cause: options.cause });
    this.name = 'VsockClientError';
    this.code = code;
    this.syscall = syscall;
    this.cid = cid;
    this.port = port;
  }
}
