/**
 * Connections that are made to the guest: by programs of the host, and by sibling guests.
 *
 * @module
 */
import {
  ERRNO,
  NativeBlock,
  READABLE,
  acceptSocket,
  closeFd,
  errnoName,
  peek,
  receive,
  send,
} from '../../sys/index.ts';
import type { DataPlaneContext, ReactorWatch } from '../../backend/index.ts';
import { FLAG, PENDING, STATE } from './connections.ts';
import { isHostGone } from './ends.ts';
import type { Flows } from './flows.ts';
import { VSOCK_CID, VSOCK_PORT_MAX } from './layout.ts';
import type { LimitedLog } from './limited-log.ts';
import type { PlannedListener, SiblingCall, VsockPlaneOptions } from './plan.ts';
import { ACCEPTED, ANSWER_MS, codeOf, makeRoom } from './set-up.ts';

const EAGAIN = -(ERRNO.EAGAIN as number);
const EMFILE = -(ERRNO.EMFILE as number);
const ENFILE = -(ERRNO.ENFILE as number);

/** Connections that are accepted before others get their turn. */
const ACCEPTS_PER_WAKE_MAX = 32;
/** How long a listener rests when there are no more fds. */
const ACCEPT_REST_MS = 100;
/** How long a program may take to say `CONNECT`. */
const GREETING_MS = 10_000;
const CONNECT_BYTES_MAX = 32;
const NEWLINE = 10;
/** Ports of the host's side of connections to the guest, as Firecracker numbers them. */
const HOST_PORT_FIRST = 0x4000_0000;
const HOST_PORT_LAST = 0x7fff_ffff;

/** A listener and its watch. */
interface Listening {
  readonly listener: PlannedListener;
  readonly watch: ReactorWatch;
}

/** See the module. */
export class Accepting {
  readonly #flows: Flows;
  readonly #context: DataPlaneContext;
  readonly #udsPath: string;
  readonly #log: LimitedLog;
  readonly #listening: Listening[] = [];
  readonly #greetings = new Map<number, string>();
  readonly #scratch = new NativeBlock(64);
  #nextPort = HOST_PORT_FIRST;

  constructor(
    flows: Flows,
    context: DataPlaneContext,
    options: VsockPlaneOptions,
    log: LimitedLog,
  ) {
    this.#flows = flows;
    this.#context = context;
    this.#udsPath = options.udsPath;
    this.#log = log;
    for (const listener of options.listeners) {
      const watch = context.reactor.watch(listener.fd, READABLE, () => this.#accept(listening));
      const listening: Listening = { listener, watch };
      this.#listening.push(listening);
    }
  }

  /** A sibling guest calls. */
  called(call: SiblingCall): void {
    const { table, rx } = this.#flows;
    const { fd, type, fromCid, fromPort, toPort } = call;
    const known = table.find(toPort, fromCid, fromPort) >= 0;
    const slot =
      rx.running && !known && this.#flows.offers(codeOf(type))
        ? this.#flows.take(STATE.greeting, codeOf(type), fd)
        : -1;
    if (slot < 0) {
      closeFd(fd); // the caller sees it, and resets its own side
      return;
    }
    table.mark(slot, FLAG.sibling);
    this.#request(slot, fromCid, fromPort, toPort);
  }

  /** Takes the first line, and not a byte beyond it: what follows is for the guest. */
  greet(slot: number): void {
    const { table } = this.#flows;
    const { bytes, address } = this.#scratch;
    const fd = table.fd[slot] as number;
    const seen = peek(fd, address, CONNECT_BYTES_MAX);
    if (seen === EAGAIN) return;
    if (seen <= 0) {
      this.#flows.ends.release(slot);
      return;
    }
    const newline = bytes.subarray(0, seen).indexOf(NEWLINE);
    const count = newline < 0 ? seen : newline + 1;
    const before = this.#greetings.get(slot) ?? '';
    const text = before + String.fromCharCode(...bytes.subarray(0, count));
    receive(fd, address, count);
    const line = /^connect (\d{1,10})\r?\n$/i.exec(text);
    if (line !== null && Number(line[1]) <= VSOCK_PORT_MAX) {
      if (table.watch[slot] !== null) this.#flows.sockets.watch(slot, 0);
      const guestPort = Number(line[1]);
      this.#request(slot, VSOCK_CID.host, this.#freePort(guestPort), guestPort);
    } else if (newline >= 0 || text.length >= CONNECT_BYTES_MAX) {
      this.#log.once(
        'warn',
        'greeting',
        `${this.#udsPath}: a program said ${JSON.stringify(text)}, and "CONNECT port" ` +
          'was expected: it is hung up on',
      );
      this.#flows.ends.release(slot);
    } else {
      this.#greetings.set(slot, text);
    }
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
    makeRoom(this.#flows, slot);
    // So little fits into a socket that is new, unless its other side is gone already.
    const sent = count > 0 ? send(fd, address, count) : 0;
    const gone = sent !== count;
    if (gone && !(table.has(slot, FLAG.hybrid) && isHostGone(sent))) {
      this.#flows.ends.reset(slot);
      return;
    }
    this.#flows.establish(slot);
    if (gone) this.#flows.ends.hostDeaf(slot); // what it has sent behind its line is the guest's
  }

  /** A connection has come to its end. */
  released(slot: number): void {
    this.#greetings.delete(slot);
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

  /** Stops listening; the fds are the main thread's. */
  close(): void {
    for (const { watch } of this.#listening.splice(0)) watch.close();
    this.#scratch.free();
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
    const type = codeOf(listener.type);
    const hybrid = listener.guestPort < 0;
    const served = rx.running && this.#flows.offers(type);
    const slot = served ? this.#flows.take(STATE.greeting, type, fd) : -1;
    if (slot < 0) {
      if (served) this.full();
      closeFd(fd);
      return;
    }
    if (listener.family === 'vsock') table.mark(slot, FLAG.hostVsock);
    if (listener.family === 'inet') table.mark(slot, FLAG.hostTcp);
    if (!hybrid) {
      this.#request(slot, VSOCK_CID.host, this.#freePort(listener.guestPort), listener.guestPort);
      return;
    }
    table.mark(slot, FLAG.hybrid);
    this.#flows.deadlines.give(slot, GREETING_MS);
    this.greet(slot); // most programs have said it by now
    if (table.fd[slot] === fd && table.state[slot] === STATE.greeting) {
      this.#flows.sockets.watch(slot, READABLE);
    }
  }

  /** Asks the guest to accept. */
  #request(slot: number, peerCid: number, peerPort: number, guestPort: number): void {
    const { table } = this.#flows;
    table.state[slot] = STATE.requested;
    table.list(slot, guestPort, peerCid, peerPort);
    this.#flows.deadlines.give(slot, ANSWER_MS);
    this.#flows.notices.announce(slot, PENDING.request);
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
}
