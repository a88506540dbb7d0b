/**
 * One try to connect to a port of a guest: `CONNECT port`, answered by `OK hostPort`.
 *
 * @module
 */
import { statSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { errorCode, errorMessage } from '../util/index.ts';
import { VsockError } from './errors.ts';
import type { VsockErrorPlace } from './errors.ts';

/** The two ends of a connection. */
export interface GuestPorts {
  /** The port in the guest. */
  readonly guestPort: number;
  /** The port that the guest sees as this side's. */
  readonly hostPort: number;
}

/** A connection to a guest. */
export type GuestSocket = Socket & GuestPorts;

/** How to connect. */
export interface AttemptOptions {
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  readonly allowHalfOpen: boolean;
}

/** `OK 4294967295` and its end fit; what is longer is no answer. */
const ANSWER_BYTES_MAX = 32;
const NEWLINE = 10;

/** Tries once. @throws VsockError; the reason of the signal */
export async function connectOnce(
  place: VsockErrorPlace,
  options: AttemptOptions,
): Promise<GuestSocket> {
  const { timeoutMs, signal, allowHalfOpen } = options;
  const socket = connect({ path: place.path, allowHalfOpen });
  let timer: NodeJS.Timeout | undefined;
  let onAbort: () => void = () => undefined;
  try {
    const hostPort = await new Promise<number>((resolve, reject) => {
      readAnswer(socket, place, resolve, reject);
      socket.write(`CONNECT ${place.port}\n`);
      onAbort = () => reject(signal?.reason as Error);
      signal?.addEventListener('abort', onAbort);
      if (timeoutMs === 0) return;
      timer = setTimeout(() => {
        const text = `no answer within ${timeoutMs} ms`;
        reject(new VsockError('ETIMEDOUT', text, place));
      }, timeoutMs);
    });
    return Object.assign(socket, { guestPort: place.port, hostPort });
  } catch (error) {
    socket.on('error', () => undefined); // of no interest any more
    socket.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}

/** Reads the answer and no byte of what comes after it; then nothing listens to the socket. */
function readAnswer(
  socket: Socket,
  place: VsockErrorPlace,
  resolve: (hostPort: number) => void,
  reject: (error: VsockError) => void,
): void {
  let answer = Buffer.alloc(0);
  const onReadable = (): void => {
    for (let chunk = read(socket); chunk !== null; chunk = read(socket)) {
      answer = Buffer.concat([answer, chunk]);
      const end = answer.indexOf(NEWLINE);
      if (end < 0 && answer.length < ANSWER_BYTES_MAX) continue;
      finish();
      const text = answer.toString('latin1', 0, end < 0 ? ANSWER_BYTES_MAX : end);
      const [, hostPort] = /^OK ([0-9]{1,10})\r?$/.exec(text) ?? [];
      if (hostPort === undefined) {
        reject(noVsock(text, place));
        return;
      }
      if (end + 1 < answer.length) socket.unshift(answer.subarray(end + 1));
      resolve(Number(hostPort));
      return;
    }
  };
  const onEnd = (): void => {
    finish();
    reject(refused(place));
  };
  const onError = (error: Error): void => {
    finish();
    reject(asVsock(error, place));
  };
  const finish = (): void => {
    socket.off('readable', onReadable).off('end', onEnd).off('close', onEnd).off('error', onError);
  };
  socket.on('readable', onReadable).on('end', onEnd).on('close', onEnd).on('error', onError);
}

/** What has come, or null. */
function read(socket: Socket): Buffer | null {
  return socket.read() as Buffer | null;
}

function refused(place: VsockErrorPlace, cause?: unknown): VsockError {
  const text =
    'the guest refused: nobody listens on that port there, or no guest is running on this vsock';
  return new VsockError('ECONNRESET', text, place, cause);
}

function noVsock(answer: string, place: VsockErrorPlace): VsockError {
  const text = `the answer was ${JSON.stringify(answer)}: is this the --uds-path of a vsock?`;
  return new VsockError('EPROTO', text, place);
}

/** What Node says of a Unix socket, in terms of the guest behind it. */
function asVsock(error: Error, place: VsockErrorPlace): VsockError {
  switch (errorCode(error)) {
    case 'ENOENT':
    case 'ENOTDIR':
    case 'ECONNREFUSED':
    case 'ENOTSOCK':
      return notServed(place, error);
    case 'EACCES':
    case 'EPERM':
      return new VsockError('EACCES', 'this user may not connect to the socket', place, error);
    case 'ECONNRESET':
    case 'EPIPE':
      return refused(place, error);
    default:
      return new VsockError('EADDRNOTAVAIL', errorMessage(error), place, error);
  }
}

/** Hosts say the same of a socket that nobody listens on, and of a file that is none. */
function notServed(place: VsockErrorPlace, cause: Error): VsockError {
  const kind = kindOf(place.path);
  if (kind !== null && kind !== 'socket') {
    const text = `a ${kind} is there, and no socket: give the path that --uds-path says`;
    return new VsockError('ENOTSOCK', text, place, cause);
  }
  const found = kind === null ? 'nothing is at the path' : 'nobody listens on the socket there';
  const text = `nobody serves it (${found}): is 'vhost-user vsock' running with this --uds-path?`;
  return new VsockError('ENODEV', text, place, cause);
}

/** What is at a path; null for nothing. */
function kindOf(path: string): string | null {
  let stats: Stats;
  try {
    stats = statSync(path);
  } catch {
    return null;
  }
  if (stats.isSocket()) return 'socket';
  if (stats.isDirectory()) return 'folder';
  if (stats.isFile()) return 'file';
  return stats.isFIFO() ? 'FIFO' : 'device';
}
