/**
 * A back-end: a device behind a socket, serving one front-end after the other.
 *
 * @module
 */
import { lstatSync, unlinkSync } from 'node:fs';
import { VhostUserError, errorMessage } from '../util/index.ts';
import {
  READABLE,
  acceptUnix,
  adoptSocket,
  closeFd,
  connectUnix,
  isListening,
  listenUnix,
  peerOf,
  reachedPath,
  watchFd,
} from '../sys/index.ts';
import type { Watch } from '../sys/index.ts';
import { COUNTER } from './device.ts';
import type { Device } from './device.ts';
import type { BackendEvents } from './events.ts';
import { createRunner } from './runner/index.ts';
import type { QueueRunner } from './runner/index.ts';
import { Session } from './session.ts';

/** Where the front-end is met. */
export type BackendAddress =
  /**
   * Listens on a path; `mode` are the permissions of the socket file, such as 0o660, and `group` is
   * the number of its group.
   */
  | {
      readonly kind: 'listen';
      readonly path: string;
      readonly mode?: number;
      readonly group?: number;
    }
  /** Connects to a front-end that listens, and again when it has gone. */
  | { readonly kind: 'connect'; readonly path: string }
  /** A socket that was inherited: one that listens, or one that is connected. Taken over. */
  | { readonly kind: 'fd'; readonly fd: number };

const CONNECT_RETRY_MS = 200;
const ACCEPT_RETRY_MS = 200;

/**
 * Serves a device.
 *
 * ```ts
 * const disk = openBlk({ image: 'disk.img' });
 * const backend = await startBackend(disk, { kind: 'listen', path: '/tmp/d.sock' });
 * process.once('SIGTERM', () => void backend.close());
 * ```
 *
 * @throws VhostUserError when the address cannot be used, or the data plane cannot be made. The
 *   device is closed then.
 */
export async function startBackend(
  device: Device,
  address: BackendAddress,
  events: BackendEvents = {},
): Promise<Backend> {
  const backend = new Backend(device, address, events);
  try {
    await backend.open();
  } catch (error) {
    await backend.close();
    throw error;
  }
  return backend;
}

/** See {@link startBackend}. */
export class Backend {
  /** For people: the path, or `fd 3`. */
  readonly address: string;
  /** Resolves when the back-end is closed, or an inherited connection has come to its end. */
  readonly ended: Promise<void>;
  /** How its threads wait: `io_uring`, `epoll`, `kqueue`, `poll`, `event loop`; empty at first. */
  io = '';
  readonly #device: Device;
  readonly #where: BackendAddress;
  readonly #events: BackendEvents;
  readonly #runner: QueueRunner;
  readonly #resolveEnded: () => void;
  #session: Session | null = null;
  #sessionEnded: Promise<void> = Promise.resolve();
  #listenFd = -1;
  #listenInode = -1n;
  #listenWatch: Watch | null = null;
  #retry: NodeJS.Timeout | null = null;
  #begunMs = 0; // when the last session began
  #closing: Promise<void> | null = null;

  /** @internal use {@link startBackend} */
  constructor(device: Device, address: BackendAddress, events: BackendEvents) {
    this.address = address.kind === 'fd' ? `fd ${String(address.fd)}` : address.path;
    this.#device = device;
    this.#where = address;
    this.#events = events;
    let resolveEnded = (): void => undefined;
    this.ended = new Promise((resolve) => {
      resolveEnded = resolve;
    });
    this.#resolveEnded = resolveEnded;
    this.#runner = createRunner(device, {
      fault: (index, fault) => {
        this.#session?.ringBroken();
        events.fault?.(index, fault);
      },
      log: (level, text) => events.log?.(level, text),
      told: (message) => device.told?.(message),
      failed: (error) => events.failed?.(error),
    });
    device.attach({
      post: (message) => this.#runner.post(message),
      configChanged: () => this.#session?.configChanged(),
    });
  }

  /** Counters of all threads, `COUNTER.LENGTH` slots each; read them, do not write. */
  get counters(): Float64Array {
    return this.#runner.counters;
  }

  /** Whether a front-end is connected now. */
  get connected(): boolean {
    return this.#session !== null;
  }

  /** The sum over all threads of one slot of `COUNTER`. */
  counter(slot: number): number {
    let sum = 0;
    for (let at = slot; at < this.counters.length; at += COUNTER.LENGTH) {
      sum += this.counters[at] as number;
    }
    return sum;
  }

  /** @internal */
  async open(): Promise<void> {
    const where = this.#where;
    if (where.kind === 'listen') {
      this.#listenFd = listenUnix(where.path, where);
      this.#listenInode = inodeOf(where.path);
    } else if (where.kind === 'fd') {
      adoptSocket(where.fd);
      if (isListening(where.fd)) this.#listenFd = where.fd;
    }
    this.io = await this.#runner.ready();
    if (this.#listenFd >= 0) {
      this.#listenWatch = watchFd(this.#listenFd, READABLE, () => this.#accept());
      this.#events.listening?.(this.address);
    } else if (where.kind === 'fd') {
      this.#begin(where.fd);
    } else if (where.kind === 'connect') {
      this.#connect(where.path);
    }
  }

  /** Ends the session, completes what is in flight, closes the device and removes the socket. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#listenWatch?.close();
    if (this.#listenFd >= 0) closeFd(this.#listenFd);
    const where = this.#where;
    if (where.kind === 'listen' && this.#listenFd >= 0) removeSocket(where.path, this.#listenInode);
    this.#session?.close();
    await this.#sessionEnded;
    try {
      await this.#runner.close();
    } finally {
      await this.#device.close();
      this.#resolveEnded();
    }
  }

  #accept(): void {
    if (this.#session !== null) return;
    let fd: number;
    try {
      fd = acceptUnix(this.#listenFd);
    } catch (error) {
      this.#events.log?.('error', errorMessage(error));
      // Whoever waits goes on waiting, and is announced again at once: not before a while.
      this.#listenWatch?.setEvents(0);
      this.#retry = setTimeout(() => this.#listenWatch?.setEvents(READABLE), ACCEPT_RETRY_MS);
      return;
    }
    if (fd >= 0) this.#begin(fd);
  }

  #connect(path: string): void {
    let fd: number;
    try {
      fd = connectUnix(path);
    } catch (error) {
      this.#events.log?.('debug', errorMessage(error));
      this.#retry = setTimeout(() => this.#connect(path), CONNECT_RETRY_MS);
      return;
    }
    this.#begin(fd);
  }

  /** Not at once when the session was a short one: a front-end may hang up again and again. */
  #connectAgain(path: string): void {
    const restMs = CONNECT_RETRY_MS - (performance.now() - this.#begunMs);
    this.#retry = setTimeout(() => this.#connect(path), Math.max(0, restMs));
  }

  #begin(fd: number): void {
    this.#begunMs = performance.now();
    // One front-end at a time, since there is one device: the next waits to be accepted.
    this.#listenWatch?.setEvents(0);
    const session = new Session(fd, this.#device, this.#runner, this.#events);
    this.#session = session;
    this.#events.connected?.(peerOf(fd));
    this.#sessionEnded = session.ended.then(
      (reason) => this.#finish(reason),
      (error: unknown) => {
        this.#finish(
          new VhostUserError('ERR_VHU_SESSION', `ending the session: ${errorMessage(error)}`, {
            cause: error,
          }),
        );
      },
    );
  }

  #finish(reason: VhostUserError | null): void {
    this.#session = null;
    this.#events.disconnected?.(reason);
    if (this.#closing !== null) return;
    const where = this.#where;
    if (this.#listenWatch !== null) this.#listenWatch.setEvents(READABLE);
    else if (where.kind === 'connect') this.#connectAgain(where.path);
    else this.#resolveEnded();
  }
}

function inodeOf(path: string): bigint {
  return lstatSync(reachedPath(path), { bigint: true }).ino;
}

/** Removes our socket file, and not one that somebody else has put in its place. */
function removeSocket(path: string, inode: bigint): void {
  try {
    if (inodeOf(path) === inode) unlinkSync(reachedPath(path));
  } catch {
    // It is gone already, or its folder is out of reach in a sandbox.
  }
}
