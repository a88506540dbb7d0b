/**
 * The vsock of one guest, as a program of this host uses it: ports to connect to and to listen on,
 * by the Unix sockets of the hybrid convention (`--uds-path`).
 *
 * @module
 */
import type { Server, Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { connectOnce } from './connect.ts';
import type { GuestSocket } from './connect.ts';
import { VsockError } from './errors.ts';
import type { VsockErrorPlace } from './errors.ts';
import { listenOn } from './listen.ts';
import type { VsockListenOptions } from './listen.ts';

/** Options of {@link VsockHost.connect}. */
export interface VsockConnectOptions {
  /**
   * How long the guest may take to answer, in milliseconds; 0 waits for ever. Default: 10 000.
   * (Linux's AF_VSOCK waits for 2 000.)
   */
  readonly timeoutMs?: number;
  /**
   * Try again for so many milliseconds when nobody listens there yet, as while the guest boots.
   * Default: 0.
   */
  readonly waitMs?: number;
  /** Gives up; the promise is rejected with the signal's reason. It does not end a connection. */
  readonly signal?: AbortSignal;
  /**
   * Whether this side stays open when the guest has sent its last byte, as for `net.connect`.
   * Default: false, which ends this side, too. The other way round, `socket.end()` never ends what
   * comes from the guest.
   */
  readonly allowHalfOpen?: boolean;
}

/** The highest port; the number above stands for any port (`VMADDR_PORT_ANY`). */
export const VSOCK_PORT_MAX = 0xffff_fffe;

const TIMEOUT_MS = 10_000;
/** Between two tries while nobody listens: long enough to cost nothing. */
const RETRY_MS = 50;
/** What a guest that is about to be there says, or the place where it will be. */
const PASSING: readonly string[] = ['ECONNRESET', 'ENODEV'];

/**
 * The vsock of one guest. It holds nothing open: there is no `close()`.
 *
 * ```ts
 * const guest = new VsockHost('/tmp/vm.vsock'); // vhost-user vsock --uds-path /tmp/vm.vsock
 *
 * const socket = await guest.connect(22); // a net.Socket to port 22 in the guest
 * socket.once('data', (banner) => console.log(String(banner)));
 *
 * // Port 1234 of the host, as the guest sees it: nc --vsock 2 1234
 * const server = await guest.listen(1234, (peer) => peer.pipe(peer));
 * ```
 */
export class VsockHost {
  /** The path of the vsock on this host. */
  readonly udsPath: string;

  /** @param udsPath what `--uds-path` says */
  constructor(udsPath: string) {
    this.udsPath = udsPath;
  }

  /**
   * Connects to a port of the guest. The caller owns the socket.
   * @throws VsockError; the reason of the signal
   */
  async connect(port: number, options: VsockConnectOptions = {}): Promise<GuestSocket> {
    const { timeoutMs = TIMEOUT_MS, waitMs = 0, signal, allowHalfOpen = false } = options;
    const place: VsockErrorPlace = { syscall: 'connect', port, path: this.udsPath };
    checkPort(place);
    const until = performance.now() + waitMs;
    for (;;) {
      signal?.throwIfAborted();
      try {
        return await connectOnce(place, { timeoutMs, signal, allowHalfOpen });
      } catch (error) {
        const passes = error instanceof VsockError && PASSING.includes(error.code);
        if (!passes || performance.now() + RETRY_MS > until) throw error;
      }
      // The reason of the signal is thrown above.
      await delay(RETRY_MS, undefined, signal === undefined ? {} : { signal }).catch(
        () => undefined,
      );
    }
  }

  /**
   * Listens on a port of this host for connections of the guest; it listens once the promise is
   * fulfilled. The caller owns the server; closing it removes its socket file (`UDS_PORT`). A file
   * that nobody listens on any more is replaced.
   *
   * @param onConnection called with each connection, as for `net.createServer`
   * @throws VsockError; the reason of the signal, which closes the server, too
   */
  async listen(
    port: number,
    onConnection?: (socket: Socket) => void,
    options: VsockListenOptions = {},
  ): Promise<Server> {
    const place: VsockErrorPlace = { syscall: 'listen', port, path: this.udsPath };
    checkPort(place);
    options.signal?.throwIfAborted();
    return await listenOn(place, onConnection, options);
  }
}

function checkPort(place: VsockErrorPlace): void {
  const { port } = place;
  if (Number.isInteger(port) && port >= 0 && port <= VSOCK_PORT_MAX) return;
  throw new VsockError('EINVAL', `a port is a whole number from 0 to ${VSOCK_PORT_MAX}`, place);
}
