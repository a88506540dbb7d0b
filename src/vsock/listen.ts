/**
 * A port of this host on which a guest finds a program: the Unix socket `UDS_PORT`.
 *
 * @module
 */
import { lstatSync, unlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { closeFd, listenUnix } from '../sys/index.ts';
import { errorCode, errorMessage } from '../util/index.ts';
import { VsockError } from './errors.ts';
import type { VsockErrorCode, VsockErrorPlace } from './errors.ts';

/** Options of `VsockHost.listen`. */
export interface VsockListenOptions {
  /** Permissions of the socket file, such as 0o660: the device connects to it. Default: umask. */
  readonly mode?: number;
  /** Connections that may wait to be accepted. Default: 128. */
  readonly backlog?: number;
  /** Closes the server. */
  readonly signal?: AbortSignal;
  /** As for `net.createServer`. Default: false. */
  readonly allowHalfOpen?: boolean;
}

const BACKLOG = 128;

/** Listens. @throws VsockError */
export async function listenOn(
  place: VsockErrorPlace,
  onConnection: ((socket: Socket) => void) | undefined,
  options: VsockListenOptions,
): Promise<Server> {
  const { mode, backlog = BACKLOG, signal, allowHalfOpen = false } = options;
  const path = `${place.path}_${place.port}`;
  const fd = openListener(path, backlog, mode, place);
  const identity = identityOf(path);
  const server = createServer({ allowHalfOpen });
  if (onConnection !== undefined) server.on('connection', onConnection);
  // Not by libuv, which was not told the name.
  server.once('close', () => {
    if (identity !== '' && identityOf(path) === identity) unlinkSync(path);
  });
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen({ fd, backlog }, () => {
        server.off('error', reject);
        resolve();
      });
    });
  } catch (error) {
    closeFd(fd);
    throw new VsockError('EADDRNOTAVAIL', errorMessage(error), place, error);
  }
  const close = (): void => void server.close();
  signal?.addEventListener('abort', close, { once: true });
  server.once('close', () => signal?.removeEventListener('abort', close));
  return server;
}

function openListener(
  path: string,
  backlog: number,
  mode: number | undefined,
  place: VsockErrorPlace,
): number {
  try {
    return listenUnix(path, { backlog, ...(mode !== undefined && { mode }) });
  } catch (error) {
    throw new VsockError(codeOf(error), errorMessage(error), place, error);
  }
}

function codeOf(error: unknown): VsockErrorCode {
  if (errorCode(error) === 'ERR_VHU_SOCKET_IN_USE') return 'EADDRINUSE';
  const name = error instanceof Error && 'errnoName' in error ? error.errnoName : '';
  return name === 'EACCES' || name === 'EPERM' ? 'EACCES' : 'EADDRNOTAVAIL';
}

/** Which file is at a path, so that another one is never removed; empty when there is none. */
function identityOf(path: string): string {
  try {
    const { dev, ino } = lstatSync(path);
    return `${dev}:${ino}`;
  } catch {
    return '';
  }
}
