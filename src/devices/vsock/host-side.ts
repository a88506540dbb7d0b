/**
 * Connections while they are being made, as the host's side sees them: programs that connect,
 * programs that are connected to, and sibling guests.
 *
 * @module
 */
import {
  ERRNO,
  NativeBlock,
  READABLE,
  WRITABLE,
  acceptSocket,
  closeFd,
  connectSocket,
  errnoName,
  openSocket,
  peek,
  receive,
  send,
  setSendBuffer,
  socketError,
  socketName,
  socketPair,
} from '../../sys/index.ts';
import type { SocketAddress, SocketType } from '../../sys/index.ts';
import { errorMessage } from '../../util/index.ts';
import type { DataPlaneContext, ReactorWatch } from '../../backend/index.ts';
import { FLAG, PENDING, STATE } from './connections.ts';
import type { Flows } from './flows.ts';
import { VIRTIO_VSOCK_TYPE, VSOCK_CID, VSOCK_PORT_MAX } from './layout.ts';
import type { LimitedLog } from './limited-log.ts';
import type {
  PlannedListener,
  SiblingCall,
  VsockControl,
  VsockPlaneOptions,
  VsockReport,
} from './plan.ts';
import { Targets } from './targets.ts';

const EAGAIN = -(ERRNO.EAGAIN as number);
const EINPROGRESS = -(ERRNO.EINPROGRESS as number);
const EMFILE = -(ERRNO.EMFILE as number);
const ENFILE = -(ERRNO.ENFILE as number);
const ENOENT = -(ERRNO.ENOENT as number);
const EMSGSIZE = -(ERRNO.EMSGSIZE as number);
const ECONNREFUSED = -(ERRNO.ECONNREFUSED as number);

/** Connections that are accepted before others get their turn. */
const ACCEPTS_PER_WAKE_MAX = 32;
/** How long a listener rests when there are no more fds. */
const ACCEPT_REST_MS = 100;
/** How long a program may take to say `CONNECT`. */
const GREETING_MS = 10_000;
/** How long the guest, or the host's side, may take to answer; Linux's guests wait for 2 s. */
const ANSWER_MS = 10_000;
/** A Unix socket whose queue of connections is full is tried again after this. */
const CONNECT_AGAIN_MS = 1;
const CONNECT_BYTES_MAX = 32;
const NEWLINE = 10;
/** Says to the sibling's device that its guest has accepted. */
const ACCEPTED = 1;
/** Ports of the host's side of connections to the guest, as Firecracker numbers them. */
const HOST_PORT_FIRST = 0x4000_0000;
const HOST_PORT_LAST = 0x7fff_ffff;

/** What is left to try for a connection of the guest. */
interface Attempt {
  readonly addresses: readonly SocketAddress[];
  next: number;
}

/** A listener and its watch. */
interface Listening {
  readonly listener: PlannedListener;
  readonly watch: ReactorWatch;
}

/** See the module. */
export class HostSide {
  readonly #flows: Flows;
  readonly #context: DataPlaneContext;
  readonly #options: VsockPlaneOptions;
  readonly #log: LimitedLog;
  readonly #targets: Targets;
  readonly #listening: Listening[] = [];
  readonly #attempts = new Map<number, Attempt>();
  readonly #again: number[] = []; // slots whose connection is tried again in a moment
  readonly #greetings = new Map<number, string>();
  readonly #scratch = new NativeBlock(64);
  #nextPort = HOST_PORT_FIRST;
  #againPlanned = false;

  constructor(
    flows: Flows,
    context: DataPlaneContext,
    options: VsockPlaneOptions,
    log: LimitedLog,
  ) {
    this.#flows = flows;
    this.#context = context;
    this.#options = options;
    this.#log = log;
    this.#targets = new Targets(options.forwards, options.udsPath);
    for (const listener of options.listeners) {
      const watch = context.reactor.watch(listener.fd, READABLE, () => this.#accept(listening));
      const listening: Listening = { listener, watch };
      this.#listening.push(listening);
    }
  }

  /** The guest connects to a port of the host; its connection has a slot and no host side yet. */
  dial(slot: number, port: number): void {
    const { table } = this.#flows;
    const target = this.#targets.find(port);
    if (target === null) {
      this.#flows.reset(slot);
      return;
    }
    if (target.kind === 'address') {
      this.#connect(slot, [target.address]);
      return;
    }
    this.#flows.deadline(slot, ANSWER_MS);
    this.#tell({
      kind: 'resolve',
      slot,
      serial: table.serial[slot] as number,
      host: target.host,
    });
  }

  /** The guest connects to another guest. */
  dialSibling(slot: number, port: number): void {
    const { table } = this.#flows;
    if (!this.#options.siblings) {
      this.#flows.reset(slot);
      return;
    }
    const type = typeOf(table.type[slot] as number);
    let ours: number;
    let theirs: number;
    try {
      [ours, theirs] = socketPair(type);
    } catch (error) {
      this.#log.once('error', 'socketpair', errorMessage(error));
      this.#flows.reset(slot);
      return;
    }
    table.fd[slot] = ours;
    table.mark(slot, FLAG.sibling);
    this.#flows.deadline(slot, ANSWER_MS);
    this.#flows.watch(slot, READABLE);
    const call: SiblingCall = {
      fd: theirs,
      type,
      fromCid: this.#options.guestCid,
      fromPort: table.guestPort[slot] as number,
      toCid: table.peerCid[slot] as number,
      toPort: port,
    };
    this.#tell({ kind: 'call', call });
  }

  /** The device tells something. */
  told(message: Exclude<VsockControl, { kind: 'gone' }>): void {
    if (message.kind === 'call') {
      this.#called(message.call);
      return;
    }
    const { table } = this.#flows;
    const { slot, serial, host, addresses } = message;
    if (table.serial[slot] !== serial || table.state[slot] !== STATE.connecting) return;
    if (addresses.length === 0) {
      this.#log.once('warn', host, `no address is known for ${host}: the guest is refused`);
      this.#flows.reset(slot);
      return;
    }
    const target = this.#targets.find(table.peerPort[slot] as number);
    if (target?.kind !== 'name') {
      this.#flows.reset(slot);
      return;
    }
    const { port } = target;
    const list = addresses.map((each): SocketAddress => ({ family: 'inet', host: each, port }));
    this.#connect(slot, list);
  }

  /** Something happened to the host's side of a connection that is not established. */
  onSetUp(slot: number, events: number): void {
    const { table } = this.#flows;
    if (table.state[slot] === STATE.greeting) {
      this.#greet(slot);
      return;
    }
    if (table.state[slot] !== STATE.connecting || events === 0) return;
    if (table.has(slot, FLAG.sibling)) {
      this.#siblingAnswers(slot);
      return;
    }
    const error = socketError(table.fd[slot] as number);
    if (error === 0) this.#connected(slot);
    else this.#failed(slot, error);
  }

  /** The guest has accepted a connection of the host. */
  accepted(slot: number): void {
    const { table } = this.#flows;
    const fd = table.fd[slot] as number;
    const { bytes, address } = this.#scratch;
    let count = 0;
    if (table.has(slot, FLAG.hybrid)) {
      count = Buffer.from(`OK ${String(table.peerPort[slot])}\n`).copy(bytes);
    } else if (table.has(slot, FLAG.sibling)) {
      bytes[0] = ACCEPTED;
      count = 1;
    }
    this.#makeRoom(slot);
    // So little fits into a socket that is new, unless its other side is gone already.
    if (count > 0 && send(fd, address, count) !== count) {
      this.#flows.reset(slot);
      return;
    }
    this.#flows.establish(slot);
  }

  /** An established connection failed on the host's side. */
  failed(slot: number, errno: number): void {
    const { table } = this.#flows;
    if (errno === EMSGSIZE) {
      this.#log.once(
        'warn',
        'message',
        `guest port ${String(table.guestPort[slot])}, port ${String(table.peerPort[slot])}: a ` +
          'message is longer than the other side takes at once: the connection is reset',
      );
    }
    this.#flows.reset(slot);
  }

  /** A connection has come to its end. */
  released(slot: number): void {
    this.#attempts.delete(slot);
    this.#greetings.delete(slot);
    const again = this.#again.indexOf(slot); // the slot may be another connection's by then
    if (again >= 0) this.#again.splice(again, 1);
  }

  /** Stops listening; the fds are the main thread's. */
  close(): void {
    for (const { watch } of this.#listening.splice(0)) watch.close();
    this.#scratch.free();
  }

  #tell(report: VsockReport): void {
    this.#context.tell(report);
  }

  #accept(listening: Listening): void {
    const { listener, watch } = listening;
    for (let i = 0; i < ACCEPTS_PER_WAKE_MAX; i++) {
      const fd = acceptSocket(listener.fd);
      if (fd >= 0) {
        this.#arrived(fd, listener);
      } else if (fd === EMFILE || fd === ENFILE) {
        // Whoever waits goes on waiting, and is announced again at once: not before a while.
        watch.setEvents(0);
        this.#context.reactor.after(ACCEPT_REST_MS, () => watch.setEvents(READABLE));
        this.#log.once(
          'error',
          'accept',
          `${listener.name}: accept: ${errnoName(-fd)}: connections wait until others are ` +
            'closed; see ulimit -n',
        );
        return;
      } else if (fd === EAGAIN) {
        return;
      }
    }
  }

  #arrived(fd: number, listener: PlannedListener): void {
    const { table, rx } = this.#flows;
    const type =
      listener.type === 'stream' ? VIRTIO_VSOCK_TYPE.STREAM : VIRTIO_VSOCK_TYPE.SEQPACKET;
    const hybrid = listener.guestPort < 0;
    const served = rx.running && this.#flows.offers(type);
    const slot = served ? table.take(STATE.greeting, type, fd) : -1;
    if (slot < 0) {
      if (served) this.full();
      closeFd(fd);
      return;
    }
    if (!hybrid) {
      this.#request(slot, VSOCK_CID.host, this.#freePort(listener.guestPort), listener.guestPort);
      return;
    }
    table.mark(slot, FLAG.hybrid);
    this.#flows.deadline(slot, GREETING_MS);
    this.#greet(slot); // most programs have said it by now
    if (table.fd[slot] === fd && table.state[slot] === STATE.greeting) {
      this.#flows.watch(slot, READABLE);
    }
  }

  /** Takes the first line, and not a byte beyond it: what follows is for the guest. */
  #greet(slot: number): void {
    const { table } = this.#flows;
    const { bytes, address } = this.#scratch;
    const fd = table.fd[slot] as number;
    const seen = peek(fd, address, CONNECT_BYTES_MAX);
    if (seen === EAGAIN) return;
    if (seen <= 0) {
      this.#flows.release(slot);
      return;
    }
    const newline = bytes.subarray(0, seen).indexOf(NEWLINE);
    const count = newline < 0 ? seen : newline + 1;
    const before = this.#greetings.get(slot) ?? '';
    const text = before + String.fromCharCode(...bytes.subarray(0, count));
    receive(fd, address, count);
    const line = /^connect (\d{1,10})\r?\n$/i.exec(text);
    if (line !== null && Number(line[1]) <= VSOCK_PORT_MAX) {
      if (table.watch[slot] !== null) this.#flows.watch(slot, 0);
      const guestPort = Number(line[1]);
      this.#request(slot, VSOCK_CID.host, this.#freePort(guestPort), guestPort);
    } else if (newline >= 0 || text.length >= CONNECT_BYTES_MAX) {
      this.#log.once(
        'warn',
        'greeting',
        `${this.#options.udsPath}: a program said ${JSON.stringify(text)}, and "CONNECT port" ` +
          'was expected: it is hung up on',
      );
      this.#flows.release(slot);
    } else {
      this.#greetings.set(slot, text);
    }
  }

  /** Asks the guest to accept. */
  #request(slot: number, peerCid: number, peerPort: number, guestPort: number): void {
    const { table } = this.#flows;
    table.state[slot] = STATE.requested;
    table.list(slot, guestPort, peerCid, peerPort);
    this.#flows.deadline(slot, ANSWER_MS);
    this.#flows.announce(slot, PENDING.request);
  }

  /** A port of the host that is not in use with this port of the guest. */
  #freePort(guestPort: number): number {
    const { table } = this.#flows;
    for (let tries = 0; tries <= table.max; tries++) {
      const port = this.#nextPort;
      this.#nextPort = port === HOST_PORT_LAST ? HOST_PORT_FIRST : port + 1;
      if (table.find(guestPort, VSOCK_CID.host, port) < 0) return port;
    }
    return this.#nextPort; // cannot be: there are more ports than connections
  }

  /** A sibling guest calls. */
  #called(call: SiblingCall): void {
    const { table, rx } = this.#flows;
    const { fd, type, fromCid, fromPort, toPort } = call;
    const known = table.find(toPort, fromCid, fromPort) >= 0;
    const slot =
      rx.running && !known && this.#flows.offers(codeOf(type))
        ? table.take(STATE.greeting, codeOf(type), fd)
        : -1;
    if (slot < 0) {
      closeFd(fd);
      return;
    } // the caller sees it, and resets its own side
    table.mark(slot, FLAG.sibling);
    this.#request(slot, fromCid, fromPort, toPort);
  }

  #siblingAnswers(slot: number): void {
    const { table } = this.#flows;
    const { address, bytes } = this.#scratch;
    const got = receive(table.fd[slot] as number, address, 1);
    if (got === EAGAIN) return;
    if (got === 1 && bytes[0] === ACCEPTED) this.#connected(slot);
    else this.#flows.reset(slot);
  }

  #connect(slot: number, addresses: readonly SocketAddress[]): void {
    const attempt: Attempt = { addresses, next: 0 };
    this.#attempts.set(slot, attempt);
    this.#flows.deadline(slot, ANSWER_MS);
    this.#tryNext(slot, attempt);
  }

  #tryNext(slot: number, attempt: Attempt): void {
    const { table } = this.#flows;
    const where = attempt.addresses[attempt.next];
    if (where === undefined) {
      this.#flows.reset(slot);
      return;
    }
    const type = typeOf(table.type[slot] as number);
    if (type === 'seqpacket' && where.family === 'inet') {
      this.#log.once('warn', 'tcp', `${socketName(where)}: TCP has no SOCK_SEQPACKET: refused`);
      this.#flows.reset(slot);
      return;
    }
    const fd = openSocket(where, type);
    if (fd < 0) {
      this.#failed(slot, fd);
      return;
    }
    table.fd[slot] = fd;
    this.#tryConnect(slot, where);
  }

  #tryConnect(slot: number, where: SocketAddress): void {
    const { table } = this.#flows;
    let result: number;
    try {
      result = connectSocket(table.fd[slot] as number, where);
    } catch (error) {
      this.#log.once('error', 'path', errorMessage(error)); // a path that is too long
      this.#flows.reset(slot);
      return;
    }
    if (result === 0) {
      this.#connected(slot);
      return;
    }
    if (result === EINPROGRESS) {
      this.#flows.watch(slot, WRITABLE);
      return;
    }
    if (result !== EAGAIN || where.family !== 'unix') {
      this.#failed(slot, result);
      return;
    }
    // The program accepts too slowly for its queue of connections.
    this.#again.push(slot);
    this.#planAgain();
  }

  #planAgain(): void {
    if (this.#againPlanned) return;
    this.#againPlanned = true;
    this.#context.reactor.after(CONNECT_AGAIN_MS, () => {
      this.#againPlanned = false;
      const { table } = this.#flows;
      for (const slot of this.#again.splice(0)) {
        const attempt = this.#attempts.get(slot);
        const where = attempt?.addresses[attempt.next];
        if (where === undefined || table.state[slot] !== STATE.connecting) continue;
        this.#tryConnect(slot, where);
      }
    });
  }

  #failed(slot: number, errno: number): void {
    const { table } = this.#flows;
    const attempt = this.#attempts.get(slot);
    const where = attempt?.addresses[attempt.next];
    const name = where === undefined ? '' : socketName(where);
    if (errno !== ECONNREFUSED && errno !== ENOENT) {
      this.#log.once(
        errno === EMFILE || errno === ENFILE ? 'error' : 'warn',
        `connect ${errnoName(-errno)}`,
        `${name}: ${errnoName(-errno)}: the guest's connection is refused` +
          (errno === EMFILE ? '; see ulimit -n' : ''),
      );
    }
    const fd = table.fd[slot] as number;
    if (fd >= 0) {
      table.watch[slot]?.close();
      table.watch[slot] = null;
      table.fd[slot] = -1;
      closeFd(fd);
    }
    if (attempt === undefined) {
      this.#flows.reset(slot);
      return;
    }
    attempt.next++;
    this.#tryNext(slot, attempt);
  }

  #connected(slot: number): void {
    this.#attempts.delete(slot);
    this.#makeRoom(slot);
    this.#flows.announce(slot, PENDING.response);
    this.#flows.establish(slot);
  }

  /** A message of the guest may be as long as its room, and has to go at once. */
  #makeRoom(slot: number): void {
    const { table, bufAlloc } = this.#flows;
    if (table.type[slot] !== VIRTIO_VSOCK_TYPE.SEQPACKET) return;
    setSendBuffer(table.fd[slot] as number, 2 * bufAlloc);
  }

  /** Says that there are too many connections. */
  full(): void {
    const { max } = this.#flows.table;
    this.#log.once(
      'error',
      'full',
      `there are ${String(max)} connections, as many as max-connections allows: more are refused`,
    );
  }
}

function codeOf(type: SocketType): number {
  return type === 'stream' ? VIRTIO_VSOCK_TYPE.STREAM : VIRTIO_VSOCK_TYPE.SEQPACKET;
}

function typeOf(type: number): SocketType {
  return type === VIRTIO_VSOCK_TYPE.SEQPACKET ? 'seqpacket' : 'stream';
}
