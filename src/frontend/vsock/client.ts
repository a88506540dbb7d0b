/**
 * A guest's sockets on any vhost-user-vsock back-end, for programs: connect, listen, streams.
 *
 * @module
 */
import { VhostUserError, assert } from '../../util/index.ts';
import type { FrontendSession } from '../session.ts';
import { openVsockDriver, readGuestCid } from './driver.ts';
import type { VsockAddress, VsockDriver, VsockDriverOptions } from './driver.ts';
import { VsockClientError } from './errors.ts';
import {
  VSOCK_EVENT_TRANSPORT_RESET,
  VSOCK_HOST_CID,
  VSOCK_OP,
  VSOCK_SEQ,
  VSOCK_TYPE,
  VSOCK_WORD,
} from './layout.ts';
import { readPacket, rxOp, rxType, writePacket } from './packet.ts';
import type { VsockPacket, VsockRawPacket } from './packet.ts';
import type { VsockPoller } from './poller.ts';
import { VsockSocket } from './socket.ts';
import type { VsockLink } from './socket.ts';

const ROUNDS_PER_TURN = 16; // then other things of the event loop have their turn
const BACKLOG_MAX = 4096; // packets without data that wait for a slot
const LINGER_MS = 8000; // as Linux waits for the answer to a SHUTDOWN
const FIRST_FREE_PORT = 1024;
const PORTS = 0x4000_0000;

const DEFAULTS = {
  bufferBytes: 256 * 1024, // as Linux has it
  connectTimeoutMs: 2000, // as Linux has it
} as const;

/** How a {@link VsockClient} is made. */
export interface VsockClientOptions extends VsockDriverOptions {
  /** Room for what came and was not read, of each connection; 256 KiB by default. */
  readonly bufferBytes?: number;
  /** Something went wrong that does not end the session. */
  readonly onError?: (error: VhostUserError) => void;
  /** The session has ended: by an error (it still has to be closed), or null after `close`. */
  readonly onEnd?: (error: VhostUserError | null) => void;
  /** The device has lost all connections, as after a migration; the context id may be another. */
  readonly onTransportReset?: (guestCid: number) => void;
  /** Sees each packet that comes, before the connections do; true: they shall not see it. */
  readonly onPacket?: (packet: VsockPacket) => boolean;
}

/** How to connect. */
export interface VsockDialOptions {
  /** Whom: the host, 2, by default; or another guest. */
  readonly cid?: number;
  readonly type?: 'stream' | 'seqpacket';
  /** Our own port; a free one by default. */
  readonly localPort?: number;
  /** How long to wait for the answer; 2 s by default. */
  readonly timeoutMs?: number;
}

/** Takes connections; see `VsockClient.listen`. */
export interface VsockListener {
  readonly port: number;
  /** Takes no more connections; those that there are live on. May be called again. */
  close(): void;
}

/** A packet without data that waits for a slot. */
interface Waiting {
  readonly socket: VsockSocket | null;
  readonly op: number;
  readonly flags: number;
  readonly packet: VsockRawPacket | null;
}

/**
 * Plays a guest: its sockets reach what the back-end lets them reach, and host programs reach those
 * that it listens on.
 *
 * ```ts
 * const guest = await VsockClient.connect('/tmp/vsock.sock');
 * guest.listen(1234, (socket) => socket.pipe(socket));
 * const socket = await guest.dial(5000);
 * socket.end('hello');
 * for await (const chunk of socket) console.log(String(chunk));
 * await guest.close();
 * ```
 */
export class VsockClient {
  readonly session: FrontendSession;
  /** Whether the device has SEQPACKET sockets. */
  readonly seqpacket: boolean;
  readonly #options: VsockClientOptions;
  readonly #poller: VsockPoller;
  readonly #sockets = new Map<string, VsockSocket>();
  readonly #lingering = new Map<VsockSocket, NodeJS.Timeout>();
  readonly #listeners = new Map<number, (socket: VsockSocket) => void>();
  readonly #waiting = new Set<VsockSocket>(); // for a slot
  readonly #backlog: Waiting[] = [];
  readonly #link: VsockLink;
  #guestCid: number;
  #nextPort: number = FIRST_FREE_PORT + Math.floor(Math.random() * PORTS);
  #flushing = false;
  #again: NodeJS.Immediate | null = null;
  #open = true;
  #closing: Promise<void> | null = null;

  private constructor(driver: VsockDriver, options: VsockClientOptions) {
    this.session = driver.session;
    this.seqpacket = driver.seqpacket;
    this.#poller = driver.poller;
    this.#guestCid = driver.guestCid;
    this.#options = options;
    this.#link = {
      control: (socket, op, flags) => this.#enqueue({ socket, op, flags, packet: null }),
      data: (socket, bytes, at, count, last) => this.#sendData(socket, bytes, at, count, last),
      waitForSlot: (socket) => this.#waiting.add(socket),
      forget: (socket) => this.#forget(socket),
      linger: (socket) => this.#linger(socket),
    };
    for (const queue of driver.queues) queue.watchCalls(() => this.#service());
    this.#service();
  }

  /**
   * Connects to a back-end that listens on `socketPath` and starts the device.
   * @throws VhostUserError see `FrontendSession.open`, and `ERR_VHU_VSOCK_CID`.
   */
  static connect(socketPath: string, options: VsockClientOptions = {}): Promise<VsockClient> {
    return VsockClient.#start({ socketPath }, options);
  }

  /** The same on a connected socket, which the client takes over. */
  static fromFd(fd: number, options: VsockClientOptions = {}): Promise<VsockClient> {
    return VsockClient.#start({ fd }, options);
  }

  static async #start(address: VsockAddress, options: VsockClientOptions): Promise<VsockClient> {
    let client: VsockClient | null = null;
    const driver = await openVsockDriver(address, options, {
      onEnd: (error) => {
        if (client !== null) client.#onEnd(error);
      },
      onError: (error) => options.onError?.(error),
    });
    client = new VsockClient(driver, options);
    if (!driver.session.connected) client.#shut('ENODEV', null); // it has just gone
    return client;
  }

  /** The guest's context id. */
  get guestCid(): number {
    return this.#guestCid;
  }

  /** Connections that are open, or about to be. */
  get connectionCount(): number {
    return this.#sockets.size - this.#lingering.size;
  }

  /**
   * Connects to a port of the host, or of another guest.
   * @throws VsockClientError `ECONNREFUSED`, `ETIMEDOUT`, `ENODEV`, `EADDRINUSE` for a local port
   *   that is in use, `EPROTONOSUPPORT` for SEQPACKET on a device without it.
   */
  dial(port: number, options: VsockDialOptions = {}): Promise<VsockSocket> {
    const { cid = VSOCK_HOST_CID, type = 'stream', localPort = this.#freePort() } = options;
    const { timeoutMs = DEFAULTS.connectTimeoutMs } = options;
    checkPort(port);
    checkPort(localPort);
    const fail = (code: ConstructorParameters<typeof VsockClientError>[0]): Promise<never> =>
      Promise.reject(new VsockClientError(code, 'connect', cid, port));
    if (!this.#open) return fail('ENODEV');
    if (type === 'seqpacket' && !this.seqpacket) return fail('EPROTONOSUPPORT');
    if (this.#sockets.has(keyOf(localPort, cid, port))) return fail('EADDRINUSE');
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#enqueue({ socket, op: VSOCK_OP.RST, flags: 0, packet: null });
        socket.lose('ETIMEDOUT');
      }, timeoutMs);
      const socket = this.#makeSocket(localPort, cid, port, type, (error) => {
        clearTimeout(timer);
        if (error === null) resolve(socket);
        else reject(error);
      });
      this.#enqueue({ socket, op: VSOCK_OP.REQUEST, flags: 0, packet: null });
    });
  }

  /**
   * Takes connections to a port of the guest, of both types.
   * @throws VsockClientError `EADDRINUSE` when somebody does already.
   */
  listen(port: number, onConnection: (socket: VsockSocket) => void): VsockListener {
    checkPort(port);
    if (this.#listeners.has(port)) {
      throw new VsockClientError('EADDRINUSE', 'listen', this.#guestCid, port);
    }
    this.#listeners.set(port, onConnection);
    return {
      port,
      close: () => {
        if (this.#listeners.get(port) === onConnection) this.#listeners.delete(port);
      },
    };
  }

  /** Sends a packet as it is, past all connections: for tests of a device. */
  sendRaw(packet: VsockRawPacket): void {
    this.#enqueue({ socket: null, op: 0, flags: 0, packet });
  }

  /** Resets all connections and ends the session. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    for (const socket of [...this.#sockets.values()]) socket.resetAndDestroy();
    this.#service();
    // A device that stops its queues has read what is in them.
    await this.session.close().finally(() => this.#shut('ENODEV', null));
  }

  #onEnd(error: VhostUserError | null): void {
    this.#shut('ENODEV', error);
    this.#options.onEnd?.(error);
  }

  /** Nothing is sent or taken any more. */
  #shut(code: 'ENODEV', cause: VhostUserError | null): void {
    if (!this.#open) return;
    this.#open = false;
    for (const socket of [...this.#sockets.values()]) socket.lose(code, cause);
    for (const socket of [...this.#lingering.keys()]) this.#forget(socket);
    this.#listeners.clear();
    this.#backlog.length = 0;
    if (this.#again !== null) clearImmediate(this.#again);
    this.#poller.close();
  }

  /** Takes what came, and sends what waits. */
  #service(): void {
    const poller = this.#poller;
    for (let round = 0; round < ROUNDS_PER_TURN && this.#open; round++) {
      poller.pollEvents((id) => this.#onEvent(id));
      poller.pollRx((slot, bytes) => this.#onPacket(slot, bytes));
      poller.reclaimTx();
      this.#sendWaiting();
      poller.flush();
      if (poller.fault !== null) {
        this.#onFault(new VhostUserError(poller.fault.code, poller.fault.message));
        return;
      }
      const needSlot = this.#waiting.size > 0 || this.#backlog.length > 0;
      if (!poller.enableInterrupts(needSlot)) return;
    }
    if (!this.#open || this.#again !== null) return;
    this.#again = setImmediate(() => {
      this.#again = null;
      this.#service();
    });
  }

  /** A device that breaks the rules of its rings is not served any more. */
  #onFault(error: VhostUserError): void {
    this.#shut('ENODEV', error);
    this.#options.onError?.(error);
    void this.close();
  }

  #onEvent(id: number): void {
    if (id !== VSOCK_EVENT_TRANSPORT_RESET) return;
    for (const socket of [...this.#sockets.values()]) socket.lose('ECONNRESET');
    readGuestCid(this.session, this.#options.guestCid).then(
      (cid) => {
        this.#guestCid = cid;
        this.#options.onTransportReset?.(cid);
      },
      (error: unknown) => {
        if (this.session.connected) this.#options.onError?.(error as VhostUserError);
      },
    );
  }

  #onPacket(slot: number, dataBytes: number): void {
    const poller = this.#poller;
    const { onPacket } = this.#options;
    if (onPacket?.(readPacket(poller, slot, dataBytes)) === true) return;
    const word = (at: number): number => poller.rxWord(slot, at);
    const length = word(VSOCK_WORD.length);
    const high = word(VSOCK_WORD.srcCidHigh) | word(VSOCK_WORD.dstCidHigh);
    const good = high === 0 && length <= dataBytes && word(VSOCK_WORD.dstCid) === this.#guestCid;
    if (!good) {
      const text = 'a packet that is cut off, or not for this guest';
      this.#options.onError?.(
        new VhostUserError('ERR_VHU_VSOCK_PACKET', `the device sent ${text}`),
      );
      return;
    }
    const [cid, port] = [word(VSOCK_WORD.srcCid), word(VSOCK_WORD.srcPort)];
    const localPort = word(VSOCK_WORD.dstPort);
    const op = rxOp(poller, slot);
    const socket = this.#sockets.get(keyOf(localPort, cid, port));
    if (socket === undefined || rxType(poller, slot) !== socket.typeNumber) {
      this.#onStranger(slot, localPort, cid, port, op);
      return;
    }
    socket.credit.heard(word(VSOCK_WORD.bufAlloc), word(VSOCK_WORD.fwdCnt));
    if (this.#lingering.has(socket)) {
      if (op === VSOCK_OP.RST) this.#forget(socket);
      return; // what it had on the way to a socket that is closed
    }
    const bytes = length > 0 ? Buffer.from(poller.rxData(slot).subarray(0, length)) : null;
    socket.handle(op, word(VSOCK_WORD.flags), bytes);
  }

  /** A packet of no connection: somebody wants one, or is told that there is none. */
  #onStranger(slot: number, localPort: number, cid: number, port: number, op: number): void {
    if (op === VSOCK_OP.RST) return;
    const type = rxType(this.#poller, slot);
    const onConnection = this.#listeners.get(localPort);
    const known = type === VSOCK_TYPE.STREAM || (type === VSOCK_TYPE.SEQPACKET && this.seqpacket);
    const taken = this.#sockets.has(keyOf(localPort, cid, port));
    if (op !== VSOCK_OP.REQUEST || onConnection === undefined || !known || taken) {
      const ends = { srcCid: this.#guestCid, srcPort: localPort, dstCid: cid, dstPort: port };
      this.sendRaw({ ...ends, type, op: VSOCK_OP.RST });
      return;
    }
    const name = type === VSOCK_TYPE.STREAM ? 'stream' : 'seqpacket';
    const socket = this.#makeSocket(localPort, cid, port, name, null);
    const word = (at: number): number => this.#poller.rxWord(slot, at);
    socket.credit.heard(word(VSOCK_WORD.bufAlloc), word(VSOCK_WORD.fwdCnt));
    this.#enqueue({ socket, op: VSOCK_OP.RESPONSE, flags: 0, packet: null });
    onConnection(socket);
  }

  #makeSocket(
    localPort: number,
    remoteCid: number,
    remotePort: number,
    type: 'stream' | 'seqpacket',
    opened: ((error: VsockClientError | null) => void) | null,
  ): VsockSocket {
    const ends = { localCid: this.#guestCid, localPort, remoteCid, remotePort, type };
    const bufferBytes = this.#options.bufferBytes ?? DEFAULTS.bufferBytes;
    const socket = new VsockSocket(this.#link, ends, bufferBytes, opened);
    this.#sockets.set(keyOf(localPort, remoteCid, remotePort), socket);
    return socket;
  }

  #linger(socket: VsockSocket): void {
    const timer = setTimeout(() => {
      this.#enqueue({ socket, op: VSOCK_OP.RST, flags: 0, packet: null });
      this.#forget(socket);
    }, LINGER_MS);
    timer.unref();
    this.#lingering.set(socket, timer);
  }

  #forget(socket: VsockSocket): void {
    clearTimeout(this.#lingering.get(socket));
    this.#lingering.delete(socket);
    this.#waiting.delete(socket);
    const key = keyOf(socket.localPort, socket.remoteCid, socket.remotePort);
    if (this.#sockets.get(key) === socket) this.#sockets.delete(key);
  }

  /** A packet without data, or a raw one, in its turn. */
  #enqueue(entry: Waiting): void {
    if (!this.#open) return;
    // Only a device that reads nothing gets here; what it is not told it will not miss.
    if (this.#backlog.length >= BACKLOG_MAX) return;
    this.#backlog.push(entry);
    this.#schedule();
  }

  #sendWaiting(): void {
    const poller = this.#poller;
    let sent = 0;
    for (const entry of this.#backlog) {
      const slot = poller.takeTx();
      if (slot < 0) break;
      sent++;
      if (entry.packet !== null) writePacket(poller, slot, entry.packet);
      else if (entry.socket !== null) this.#send(slot, entry.socket, entry.op, entry.flags, 0);
    }
    this.#backlog.splice(0, sent);
    if (this.#backlog.length > 0) return;
    for (const socket of [...this.#waiting]) {
      if (poller.idleTxCount === 0 && poller.reclaimTx() === 0) break;
      this.#waiting.delete(socket); // to the end of the line, if it waits again
      socket.pump();
    }
  }

  #sendData(
    socket: VsockSocket,
    bytes: Uint8Array,
    at: number,
    count: number,
    last: boolean,
  ): number {
    const poller = this.#poller;
    if (!this.#open) return -1;
    if (this.#backlog.length > 0) this.#sendWaiting(); // in its order
    const slot = this.#backlog.length > 0 ? -1 : poller.takeTx();
    if (slot < 0) return -1;
    const sent = Math.min(count, poller.txDataBytes);
    poller.txData(slot).set(bytes.subarray(at, at + sent));
    const ends = last && sent === count && socket.type === 'seqpacket';
    this.#send(slot, socket, VSOCK_OP.RW, ends ? VSOCK_SEQ.EOM : 0, sent);
    socket.credit.sent(sent);
    this.#schedule();
    return sent;
  }

  #send(slot: number, socket: VsockSocket, op: number, flags: number, dataBytes: number): void {
    const { localCid, localPort, remoteCid, remotePort, credit, typeNumber } = socket;
    this.#poller.address(slot, localCid, localPort, remoteCid, remotePort);
    credit.announce();
    this.#poller.send(slot, typeNumber, op, flags, credit.bufAlloc, credit.fwdCnt, dataBytes);
  }

  /** Shows the device what was sent at the end of this turn, so that packets share a kick. */
  #schedule(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      if (this.#open) this.#service();
    });
  }

  #freePort(): number {
    for (let tried = 0; tried < PORTS; tried++) {
      const port = this.#nextPort;
      this.#nextPort = port + 1 < FIRST_FREE_PORT + PORTS ? port + 1 : FIRST_FREE_PORT;
      if (!this.#listeners.has(port)) return port;
    }
    assert(false, 'some port is free');
  }
}

function keyOf(localPort: number, remoteCid: number, remotePort: number): string {
  return `${String(localPort)} ${String(remoteCid)} ${String(remotePort)}`;
}

function checkPort(port: number): void {
  if (Number.isInteger(port) && port >= 0 && port < 0xffff_ffff) return;
  throw new VhostUserError('ERR_VHU_VSOCK_PORT', `port ${String(port)}: from 0 to 2^32 - 2`);
}
