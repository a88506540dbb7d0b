/**
 * Connections that the guest makes: to programs of the host, by the addresses that forwards and
 * sockets name, and to sibling guests.
 *
 * @module
 */
import {
  ERRNO,
  NO_VSOCK,
  WRITABLE,
  READABLE,
  NativeBlock,
  connectSocket,
  errnoName,
  openSocket,
  receive,
  setVsockBuffer,
  socketError,
  socketName,
  socketPair,
} from '../../sys/index.ts';
import type { SocketAddress } from '../../sys/index.ts';
import { errorMessage } from '../../util/index.ts';
import type { DataPlaneContext } from '../../backend/index.ts';
import { FLAG, PENDING, STATE } from './connections.ts';
import type { Flows } from './flows.ts';
import type { LimitedLog } from './limited-log.ts';
import type { NameQuestion, SiblingCall, VsockPlaneOptions } from './plan.ts';
import { ACCEPTED, ANSWER_MS, makeRoom, typeOf, vsockRoom } from './set-up.ts';
import { Targets } from './targets.ts';

const EAGAIN = -(ERRNO.EAGAIN as number);
const EINPROGRESS = -(ERRNO.EINPROGRESS as number);
const EMFILE = -(ERRNO.EMFILE as number);
const ENFILE = -(ERRNO.ENFILE as number);
const ENOENT = -(ERRNO.ENOENT as number);
const ECONNREFUSED = -(ERRNO.ECONNREFUSED as number);
const ECONNRESET = -(ERRNO.ECONNRESET as number);

/** What to do, by -errno: when there are too few fds, or AF_VSOCK of the host leads nowhere. */
const ADVICE: ReadonlyMap<number, string> = new Map([
  [-(ERRNO.EAFNOSUPPORT as number), NO_VSOCK],
  [
    -(ERRNO.ENODEV as number),
    "no driver of this host leads to that CID: 'modprobe vsock_loopback' is for CID 1, " +
      "'modprobe vhost_vsock' for guests",
  ],
  [EMFILE, 'see ulimit -n'],
]);

/** A Unix socket whose queue of connections is full is tried again after this. */
const CONNECT_AGAIN_MS = 1;

/** What is left to try for a connection of the guest. */
interface Attempt {
  readonly addresses: readonly SocketAddress[];
  next: number;
}

/** See the module. */
export class Dialling {
  readonly #flows: Flows;
  readonly #context: DataPlaneContext;
  readonly #options: VsockPlaneOptions;
  readonly #log: LimitedLog;
  readonly #targets: Targets;
  readonly #attempts = new Map<number, Attempt>();
  /** Slots that wait for room in the queue of the socket at a path, in the order of the guest. */
  readonly #waiting = new Map<string, number[]>();
  readonly #answer = new NativeBlock(8); // of a sibling
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
  }

  /** The guest connects to a port of the host; its connection has a slot and no host side yet. */
  dial(slot: number, port: number): void {
    const { table } = this.#flows;
    const target = this.#targets.find(port);
    if (target === null) {
      this.#flows.ends.reset(slot);
      return;
    }
    if (target.kind === 'address') {
      this.#connect(slot, [target.address]);
      return;
    }
    this.#flows.deadlines.give(slot, ANSWER_MS);
    this.#context.tell({
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
      this.#flows.ends.reset(slot);
      return;
    }
    const type = typeOf(table.type[slot] as number);
    let ours: number;
    let theirs: number;
    try {
      [ours, theirs] = socketPair(type);
    } catch (error) {
      this.#log.once('error', 'socketpair', errorMessage(error));
      this.#flows.ends.reset(slot);
      return;
    }
    table.fd[slot] = ours;
    table.mark(slot, FLAG.sibling);
    this.#flows.deadlines.give(slot, ANSWER_MS);
    this.#flows.sockets.watch(slot, READABLE);
    const call: SiblingCall = {
      fd: theirs,
      type,
      fromCid: this.#options.guestCid,
      fromPort: table.guestPort[slot] as number,
      toCid: table.peerCid[slot] as number,
      toPort: port,
    };
    this.#context.tell({ kind: 'call', call });
  }

  /** The device has looked a name up. */
  resolved(answer: NameQuestion & { readonly addresses: readonly string[] }): void {
    const { table } = this.#flows;
    const { slot, serial, host, addresses } = answer;
    if (table.serial[slot] !== serial || table.state[slot] !== STATE.connecting) return;
    if (addresses.length === 0) {
      this.#log.once('warn', host, `no address is known for ${host}: the guest is refused`);
      this.#flows.ends.reset(slot);
      return;
    }
    const target = this.#targets.find(table.peerPort[slot] as number);
    if (target?.kind !== 'name') {
      this.#flows.ends.reset(slot);
      return;
    }
    const { port } = target;
    const list = addresses.map((each): SocketAddress => ({ family: 'inet', host: each, port }));
    this.#connect(slot, list);
  }

  /** Something happened to the host's side of a connection that the guest waits for. */
  onSetUp(slot: number, events: number): void {
    const { table } = this.#flows;
    if (events === 0) return;
    if (table.has(slot, FLAG.sibling)) {
      this.#siblingAnswers(slot);
      return;
    }
    const error = socketError(table.fd[slot] as number);
    if (error === 0) this.#connected(slot);
    else this.#failed(slot, error);
  }

  /** A connection has come to its end. */
  released(slot: number): void {
    const where = this.#where(slot);
    this.#attempts.delete(slot);
    if (where?.family !== 'unix') return;
    const waiting = this.#waiting.get(where.path);
    const at = waiting?.indexOf(slot) ?? -1; // the slot may be another connection's by then
    if (at >= 0) waiting?.splice(at, 1);
  }

  /** Frees what it holds. */
  close(): void {
    this.#answer.free();
  }

  #siblingAnswers(slot: number): void {
    const { table } = this.#flows;
    const { address, bytes } = this.#answer;
    const got = receive(table.fd[slot] as number, address, 1);
    if (got === EAGAIN) return;
    if (got === 1 && bytes[0] === ACCEPTED) this.#connected(slot);
    else this.#flows.ends.reset(slot);
  }

  #connect(slot: number, addresses: readonly SocketAddress[]): void {
    const attempt: Attempt = { addresses, next: 0 };
    this.#attempts.set(slot, attempt);
    this.#flows.deadlines.give(slot, ANSWER_MS);
    this.#tryNext(slot, attempt);
  }

  #tryNext(slot: number, attempt: Attempt): void {
    const { table } = this.#flows;
    const where = attempt.addresses[attempt.next];
    if (where === undefined) {
      this.#flows.ends.reset(slot);
      return;
    }
    const type = typeOf(table.type[slot] as number);
    if (type === 'seqpacket' && where.family === 'inet') {
      this.#log.once('warn', 'tcp', `${socketName(where)}: TCP has no SOCK_SEQPACKET: refused`);
      this.#flows.ends.reset(slot);
      return;
    }
    const fd = openSocket(where, type);
    if (fd < 0) {
      this.#failed(slot, fd);
      return;
    }
    table.fd[slot] = fd;
    if (where.family === 'inet') table.mark(slot, FLAG.hostTcp);
    if (where.family === 'vsock') {
      table.mark(slot, FLAG.hostVsock);
      if (type === 'seqpacket') setVsockBuffer(fd, vsockRoom(this.#flows.bufAlloc));
    }
    if (where.family !== 'unix') {
      this.#tryConnect(slot, where);
      return;
    }
    // Who comes later does not overtake: the program may have made room just now.
    const waiting = this.#waiting.get(where.path);
    if (waiting !== undefined) waiting.push(slot);
    else if (this.#tryConnect(slot, where) === EAGAIN) {
      this.#waiting.set(where.path, [slot]);
      this.#planAgain();
    }
  }

  /** Returns `EAGAIN` when the program accepts too slowly for its queue, 0 for all that is done. */
  #tryConnect(slot: number, where: SocketAddress): number {
    const { table } = this.#flows;
    let result: number;
    try {
      result = connectSocket(table.fd[slot] as number, where);
    } catch (error) {
      this.#log.once('error', 'path', errorMessage(error)); // a path that is too long
      this.#flows.ends.reset(slot);
      return 0;
    }
    if (result === EAGAIN && where.family === 'unix') return EAGAIN;
    if (result === 0) this.#connected(slot);
    else if (result === EINPROGRESS) this.#flows.sockets.watch(slot, WRITABLE);
    else this.#failed(slot, result);
    return 0;
  }

  #planAgain(): void {
    if (this.#againPlanned) return;
    this.#againPlanned = true;
    this.#context.reactor.after(CONNECT_AGAIN_MS, () => {
      this.#againPlanned = false;
      for (const [path, waiting] of this.#waiting) {
        this.#tryInTurn(path, waiting);
        if (waiting.length === 0) this.#waiting.delete(path);
      }
      if (this.#waiting.size > 0) this.#planAgain();
    });
  }

  /** Connects those that wait for the socket at a path, up to the first that finds no room. */
  #tryInTurn(path: string, waiting: number[]): void {
    const where: SocketAddress = { family: 'unix', path };
    for (let slot = waiting.shift(); slot !== undefined; slot = waiting.shift()) {
      if (this.#flows.table.state[slot] !== STATE.connecting) continue;
      if (this.#tryConnect(slot, where) !== EAGAIN) continue;
      waiting.unshift(slot);
      return;
    }
  }

  #where(slot: number): SocketAddress | undefined {
    const attempt = this.#attempts.get(slot);
    return attempt?.addresses[attempt.next];
  }

  #failed(slot: number, errno: number): void {
    const attempt = this.#attempts.get(slot);
    const where = this.#where(slot);
    const name = where === undefined ? '' : socketName(where);
    const isVsock = where?.family === 'vsock';
    // Nobody listens there, which is no news; of AF_VSOCK that is ECONNRESET.
    const closed = errno === ECONNREFUSED || errno === ENOENT || (isVsock && errno === ECONNRESET);
    if (!closed) {
      const advice = isVsock || errno === EMFILE ? ADVICE.get(errno) : undefined;
      this.#log.once(
        errno === EMFILE || errno === ENFILE ? 'error' : 'warn',
        `connect ${errnoName(-errno)}`,
        `${name}: ${errnoName(-errno)}: the guest's connection is refused` +
          (advice === undefined ? '' : `; ${advice}`),
      );
    }
    this.#flows.sockets.close(slot);
    if (attempt === undefined) {
      this.#flows.ends.reset(slot);
      return;
    }
    attempt.next++;
    this.#tryNext(slot, attempt);
  }

  #connected(slot: number): void {
    this.#attempts.delete(slot);
    makeRoom(this.#flows, slot);
    this.#flows.notices.announce(slot, PENDING.response);
    this.#flows.establish(slot);
  }
}
