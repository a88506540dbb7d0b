/**
 * The bytes of established connections, both ways, each as far as the other side has room.
 *
 * @module
 */
import { ERRNO, READABLE, WRITABLE, receiveVector } from '../../sys/index.ts';
import type { Chain, Virtqueue } from '../../virtqueue/index.ts';
import { COUNTER } from '../../backend/index.ts';
import type { Reactor } from '../../backend/index.ts';
import { Backlog } from './backlog.ts';
import { Connections, FLAG, STATE } from './connections.ts';
import { Deadlines } from './deadlines.ts';
import { Ends } from './ends.ts';
import { GuestRx } from './guest-rx.ts';
import { HostSockets } from './host-sockets.ts';
import { VIRTIO_VSOCK_SEQ, VIRTIO_VSOCK_TYPE } from './layout.ts';
import { Messages, READ } from './messages.ts';
import { Notices } from './notices.ts';
import { SlotQueue } from './slot-queue.ts';
import { TxBatch } from './tx-batch.ts';

const EAGAIN = -(ERRNO.EAGAIN as number);
const ECONNRESET = -(ERRNO.ECONNRESET as number);

/** Reads of one round, so that the guest's own packets are not kept waiting. */
const READS_PER_ROUND_MAX = 32;
/** What a read asks for at first, and at most. It grows while reads find that much. */
const READ_BYTES_MIN = 4096;
const READ_BYTES_MAX = 256 * 1024;

/** What `Flows` is made with. */
export interface FlowsOptions {
  readonly reactor: Reactor;
  readonly counters: Float64Array;
  readonly guestCid: number;
  readonly bufAlloc: number;
  readonly connectionsMax: number;
  /** An fd of a connection that is not established yet is ready. */
  readonly onSetUp: (slot: number, events: number) => void;
  /** A connection failed for a reason that is worth a line in the log; it is to be reset. */
  readonly onFailed: (slot: number, errno: number) => void;
  /** A connection came to its end. */
  readonly onReleased: (slot: number) => void;
}

/** See the module. Owns all that belongs to the connections of one guest. */
export class Flows {
  readonly table: Connections;
  readonly rx: GuestRx;
  readonly sockets: HostSockets;
  readonly notices: Notices;
  readonly deadlines: Deadlines;
  readonly backlog: Backlog;
  readonly batch: TxBatch = new TxBatch();
  readonly messages: Messages;
  readonly ends: Ends;
  readonly bufAlloc: number;
  /** Whether the guest may have connections of each `VIRTIO_VSOCK_TYPE`. */
  streamsOffered = true;
  messagesOffered = false;
  readonly #options: FlowsOptions;
  readonly #counters: Float64Array;
  readonly #ready: SlotQueue; // the host's program has sent something

  constructor(options: FlowsOptions) {
    const { reactor, connectionsMax, bufAlloc, onFailed, onReleased } = options;
    this.#options = options;
    this.#counters = options.counters;
    this.bufAlloc = bufAlloc;
    const table = new Connections(connectionsMax);
    this.table = table;
    this.rx = new GuestRx(table, options.guestCid, bufAlloc);
    this.sockets = new HostSockets(table, reactor, (slot, events) => this.#onReady(slot, events));
    this.notices = new Notices(table, this.rx, bufAlloc);
    this.deadlines = new Deadlines(table, reactor, (slot) => this.ends.overdue(slot));
    this.backlog = new Backlog(connectionsMax, bufAlloc);
    this.messages = new Messages(table, this.rx, this.backlog);
    const { sockets, notices, deadlines, backlog, batch, messages } = this;
    const parts = { table, sockets, notices, deadlines, backlog, batch, messages };
    this.ends = new Ends({ ...parts, onFailed, onReleased });
    this.#ready = new SlotQueue(connectionsMax);
  }

  /** Sends to both sides what waits and what there is room for; returns how much that was. */
  submit(): number {
    let done = this.flushBatch();
    if (!this.rx.running) return done;
    const urgent = this.notices.sendUrgent();
    done += urgent;
    if (this.#ready.count > 0) done += this.#readAll();
    const credit = this.notices.sendCredit();
    done += credit;
    bump(this.#counters, COUNTER.requests, urgent + credit);
    return done;
  }

  /** Whether the guest may have connections of this `VIRTIO_VSOCK_TYPE`. */
  offers(type: number): boolean {
    if (type === VIRTIO_VSOCK_TYPE.STREAM) return this.streamsOffered;
    return type === VIRTIO_VSOCK_TYPE.SEQPACKET && this.messagesOffered;
  }

  /** A slot for a new connection: see `Connections.take`. -1: there are as many as there may be. */
  take(state: number, type: number, fd: number): number {
    const slot = this.table.take(state, type, fd);
    return slot < 0 && this.ends.makeRoom() ? this.table.take(state, type, fd) : slot;
  }

  /** The guest has sent data; its buffer is given back once the data has gone on. */
  forward(queue: Virtqueue, chain: Chain, slot: number, bytes: number): void {
    const { batch, table } = this;
    const segments = chain.readableCount;
    if (batch.slot >= 0 && (batch.slot !== slot || batch.fullFor(segments))) this.flushBatch();
    table.receivedCnt[slot] = ((table.receivedCnt[slot] as number) + bytes) >>> 0;
    batch.add(queue, chain, slot, bytes);
  }

  /** Hands collected data to the host; returns 1 when there was some, else 0. */
  flushBatch(): number {
    const { batch, backlog, table } = this;
    const { slot, bytes } = batch;
    if (slot < 0) return 0;
    let sent = bytes; // as if, when nobody takes it any more
    let failed = 0;
    if (!table.has(slot, FLAG.hostDeaf) && bytes > 0) {
      sent = backlog.bytes(slot) > 0 ? 0 : batch.send(table.fd[slot] as number);
      if (sent < 0) {
        failed = sent === EAGAIN ? 0 : sent;
        sent = 0;
      }
      if (failed === 0 && sent < bytes) {
        batch.keep(backlog, sent);
        this.sockets.want(slot, WRITABLE);
      }
    }
    batch.end();
    bump(this.#counters, COUNTER.bytesWritten, bytes);
    if (failed !== 0) {
      this.ends.writeFailed(slot, failed, bytes);
      return 1;
    }
    this.notices.forwarded(slot, sent);
    return 1;
  }

  /** The guest has sent a part of a message; its buffer is given back. */
  forwardMessage(queue: Virtqueue, chain: Chain, slot: number, bytes: number, flags: number): void {
    const { batch, backlog, messages, table } = this;
    this.flushBatch();
    table.receivedCnt[slot] = ((table.receivedCnt[slot] as number) + bytes) >>> 0;
    batch.add(queue, chain, slot, bytes);
    const whole = (flags & VIRTIO_VSOCK_SEQ.EOM) !== 0 && bytes > 0;
    let sent = table.has(slot, FLAG.hostDeaf) ? bytes : EAGAIN;
    if (sent === EAGAIN && whole && messages.inOrder(slot)) {
      const endsRecord = (flags & VIRTIO_VSOCK_SEQ.EOR) !== 0;
      const facts = table.flags[slot] as number;
      sent = batch.sendMessage(table.fd[slot] as number, endsRecord, facts);
    }
    if (sent === EAGAIN) {
      batch.keep(backlog, 0);
      messages.added(slot, bytes, flags);
    }
    batch.end();
    bump(this.#counters, COUNTER.bytesWritten, bytes);
    if (sent >= 0) this.notices.forwarded(slot, bytes);
    else if (sent !== EAGAIN) this.ends.writeFailed(slot, sent, bytes);
    else if (messages.waits(slot)) this.#drain(slot);
  }

  /** The guest has said how much room it has. */
  credited(slot: number, bufAlloc: number, fwdCnt: number): void {
    const { table } = this;
    table.peerBufAlloc[slot] = bufAlloc;
    table.peerFwdCnt[slot] = fwdCnt;
    if (!table.has(slot, FLAG.starved) || table.credit(slot) === 0) return;
    table.unmark(slot, FLAG.starved);
    this.#ready.push(slot);
  }

  /** Both sides agree: bytes may go. */
  establish(slot: number): void {
    const { table } = this;
    table.state[slot] = STATE.established;
    this.deadlines.lift(slot);
    table.readHint[slot] = READ_BYTES_MIN;
    this.sockets.watch(slot, READABLE);
  }

  /** Frees what it holds. */
  close(): void {
    this.deadlines.close();
    this.sockets.stop();
    this.ends.close();
    this.batch.close();
    this.messages.close();
    this.backlog.close();
    this.rx.close();
  }

  #onReady(slot: number, events: number): void {
    const { table, backlog } = this;
    const state = table.state[slot] as number;
    if (state < STATE.established) {
      this.#options.onSetUp(slot, events);
      return;
    }
    const trouble = (events & ~(READABLE | WRITABLE)) !== 0;
    if ((trouble || (events & WRITABLE) !== 0) && backlog.bytes(slot) > 0) this.#drain(slot);
    if (!trouble && (events & READABLE) === 0) return;
    if ((table.state[slot] as number) >= STATE.draining) {
      this.ends.dropUnwanted(slot);
      return;
    }
    if (!this.#mayRead(slot)) return;
    const inTurn = this.#ready.count === 0 && !this.notices.urgent && this.rx.available();
    if (inTurn && !this.#read(slot)) return;
    // Level-triggered: silent until its turn comes.
    if (!this.#mayRead(slot)) return;
    this.sockets.leave(slot, READABLE);
    if (!table.has(slot, FLAG.starved)) this.#ready.push(slot);
  }

  /** Sends what waited for the host's program to read. */
  #drain(slot: number): void {
    const { table, backlog } = this;
    const fd = table.fd[slot] as number;
    const messages = table.type[slot] === VIRTIO_VSOCK_TYPE.SEQPACKET;
    const sent = messages ? this.messages.drain(slot, fd) : backlog.send(slot, fd);
    if (sent === EAGAIN) {
      this.sockets.want(slot, WRITABLE);
      return;
    }
    if (sent < 0) {
      this.ends.writeFailed(slot, sent, 0);
      return;
    }
    this.notices.forwarded(slot, sent);
    this.ends.progressed(slot);
    if (messages ? this.messages.waits(slot) : backlog.bytes(slot) > 0) {
      this.sockets.want(slot, WRITABLE);
    } else {
      this.ends.drained(slot);
    }
  }

  #readAll(): number {
    const { table } = this;
    let done = 0;
    while (done < READS_PER_ROUND_MAX && this.rx.available()) {
      const slot = this.#ready.shift();
      if (slot < 0) break;
      if (!this.#mayRead(slot)) continue;
      done++;
      if (this.#read(slot)) this.#ready.push(slot);
      else if (this.#mayRead(slot) && !table.has(slot, FLAG.starved | FLAG.resting))
        this.sockets.want(slot, READABLE);
    }
    return done;
  }

  /** Whether the host's program may still send something that the guest takes. */
  #mayRead(slot: number): boolean {
    const { table } = this;
    const over = FLAG.hostEnded | FLAG.guestDeaf;
    return table.state[slot] === STATE.established && !table.has(slot, over);
  }

  /**
   * Reads once, straight into the guest's buffers; the caller has seen that there is one. Returns
   * whether there may be more to read at once.
   */
  #read(slot: number): boolean {
    const { table, rx } = this;
    const credit = table.credit(slot);
    if (credit === 0) {
      table.mark(slot, FLAG.starved);
      this.sockets.leave(slot, READABLE);
      return false;
    }
    if (table.type[slot] === VIRTIO_VSOCK_TYPE.SEQPACKET) return this.#readMessage(slot);
    const hint = table.readHint[slot] as number;
    rx.fill(Math.min(credit, hint));
    const wanted = rx.filledBytes;
    const got = receiveVector(table.fd[slot] as number, rx.iovecs, rx.filledCount);
    if (got <= 0) {
      if (got === EAGAIN) this.sockets.foundNothing(slot);
      else if (got === 0) this.ends.hostEnded(slot);
      else this.#options.onFailed(slot, got);
      return false;
    }
    this.sockets.foundSome(slot);
    const packets = rx.sendFilled(slot, got);
    table.sentCnt[slot] = ((table.sentCnt[slot] as number) + got) >>> 0;
    bump(this.#counters, COUNTER.bytesRead, got);
    bump(this.#counters, COUNTER.requests, packets);
    if (got < wanted) {
      table.readHint[slot] = Math.max(READ_BYTES_MIN, got);
      return false;
    }
    if (wanted === hint) table.readHint[slot] = Math.min(hint * 2, READ_BYTES_MAX);
    return true;
  }

  /** The same for SOCK_SEQPACKET. */
  #readMessage(slot: number): boolean {
    const { table } = this;
    const got = this.messages.read(slot, table.fd[slot] as number);
    if (got === READ.nothing) {
      this.sockets.foundNothing(slot);
      return false;
    }
    this.sockets.foundSome(slot);
    if (got === ECONNRESET && !table.has(slot, FLAG.hostDeaf)) {
      this.ends.hostDeaf(slot);
      return true; // a Unix socket says so once, and before the messages that are in it
    }
    if (got === READ.ended) this.ends.hostEnded(slot);
    else if (got < 0) this.#options.onFailed(slot, got);
    if (got < 0) return false;
    bump(this.#counters, COUNTER.bytesRead, got);
    bump(this.#counters, COUNTER.requests, 1);
    return true;
  }
}

function bump(counters: Float64Array, slot: number, by: number): void {
  counters[slot] = (counters[slot] as number) + by;
}
