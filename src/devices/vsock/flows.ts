/**
 * What happens to an established connection: bytes both ways, credit, and the ways to its end.
 *
 * @module
 */
import { assert } from '../../util/index.ts';
import {
  ERRNO,
  READABLE,
  SHUT,
  WRITABLE,
  closeFd,
  isHungUp,
  isVsockHungUp,
  receiveVector,
  shutDown,
} from '../../sys/index.ts';
import type { Chain, Virtqueue } from '../../virtqueue/index.ts';
import { COUNTER } from '../../backend/index.ts';
import type { Reactor } from '../../backend/index.ts';
import { Backlog } from './backlog.ts';
import { Connections, FLAG, PENDING, STATE } from './connections.ts';
import { GuestRx } from './guest-rx.ts';
import { VIRTIO_VSOCK_OP, VIRTIO_VSOCK_SEQ, VIRTIO_VSOCK_SHUTDOWN } from './layout.ts';
import { VIRTIO_VSOCK_TYPE } from './layout.ts';
import { Lingering } from './lingering.ts';
import { Messages, READ } from './messages.ts';
import { Resets } from './resets.ts';
import { SlotQueue } from './slot-queue.ts';
import { TxBatch } from './tx-batch.ts';

const EAGAIN = -(ERRNO.EAGAIN as number);
const EPIPE = -(ERRNO.EPIPE as number);

/** Reads of one round, so that the guest's own packets are not kept waiting. */
const READS_PER_ROUND_MAX = 32;
/** What a read asks for at first, and at most. It grows while reads find that much. */
const READ_BYTES_MIN = 4096;
const READ_BYTES_MAX = 256 * 1024;
/** The guest is told of room once so much of its buffer has become free. */
const CREDIT_FRACTION = 4;
/** How long a guest may take to confirm that the host is done with a connection. */
const CLOSING_MS = 10_000;
/** How long the host's program may go without reading anything of what the guest left for it. */
const DRAINING_MS = 60_000;
/** How long a program that has it all, by TCP, may take to end its own side (nginx: the same). */
const LINGERING_MS = 30_000;

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

/** See the module. */
export class Flows {
  readonly table: Connections;
  readonly rx: GuestRx;
  readonly resets: Resets = new Resets();
  readonly backlog: Backlog;
  readonly batch: TxBatch = new TxBatch();
  readonly messages: Messages;
  readonly #lingering = new Lingering();
  readonly bufAlloc: number;
  /** Whether the guest may have connections of each `VIRTIO_VSOCK_TYPE`. */
  streamsOffered = true;
  messagesOffered = false;
  /** Some connection has a deadline. */
  timed = false;
  readonly #options: FlowsOptions;
  readonly #counters: Float64Array;
  readonly #ready: SlotQueue; // the host's program has sent something
  readonly #control: SlotQueue; // packets without data wait to be sent
  readonly #credit: SlotQueue; // so does one that only tells of room

  constructor(options: FlowsOptions) {
    const { connectionsMax, bufAlloc } = options;
    this.#options = options;
    this.#counters = options.counters;
    this.bufAlloc = bufAlloc;
    this.table = new Connections(connectionsMax);
    this.rx = new GuestRx(this.table, options.guestCid, bufAlloc);
    this.backlog = new Backlog(connectionsMax, bufAlloc);
    this.messages = new Messages(this.table, this.rx, this.backlog);
    this.#ready = new SlotQueue(connectionsMax);
    this.#control = new SlotQueue(connectionsMax);
    this.#credit = new SlotQueue(connectionsMax);
  }

  /** Sends to both sides what waits and what there is room for; returns how much that was. */
  submit(): number {
    let done = this.flushBatch();
    if (!this.rx.running) return done;
    if (this.resets.count > 0) done += this.resets.send(this.rx);
    if (this.#control.count > 0) done += this.#sendControl();
    if (this.#ready.count > 0) done += this.#readAll();
    if (this.#credit.count > 0) done += this.#sendCredit();
    return done;
  }

  /** Whether the guest may have connections of this `VIRTIO_VSOCK_TYPE`. */
  offers(type: number): boolean {
    if (type === VIRTIO_VSOCK_TYPE.STREAM) return this.streamsOffered;
    return type === VIRTIO_VSOCK_TYPE.SEQPACKET && this.messagesOffered;
  }

  /** The guest has sent data; its buffer is given back once the data has gone on. */
  forward(queue: Virtqueue, chain: Chain, slot: number, bytes: number): void {
    const { batch, table } = this;
    const segments = chain.readableCount;
    if (batch.slot >= 0 && (batch.slot !== slot || batch.fullFor(segments))) this.flushBatch();
    table.receivedCnt[slot] = ((table.receivedCnt[slot] as number) + bytes) >>> 0;
    batch.add(queue, chain, slot, bytes);
  }

  /** Hands collected data to the host; returns whether there was some. */
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
        this.watch(slot, (table.events[slot] as number) | WRITABLE);
      }
    }
    batch.end();
    bump(this.#counters, COUNTER.bytesWritten, bytes);
    if (failed !== 0) {
      this.#writeFailed(slot, failed, bytes);
      return 1;
    }
    this.#forwarded(slot, sent);
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
    if (sent >= 0) this.#forwarded(slot, bytes);
    else if (sent !== EAGAIN) this.#writeFailed(slot, sent, bytes);
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
    table.deadlineMs[slot] = 0;
    table.readHint[slot] = READ_BYTES_MIN;
    this.watch(slot, READABLE);
  }

  /** Has a packet sent as soon as the guest has a buffer. */
  announce(slot: number, pending: number): void {
    const { table } = this;
    table.pending[slot] = (table.pending[slot] as number) | pending;
    (pending === PENDING.credit ? this.#credit : this.#control).push(slot);
  }

  /** The guest is done with sending, receiving, or both (section 5.10.6.5). */
  guestShutDown(slot: number, flags: number): void {
    const { table } = this;
    if ((flags & VIRTIO_VSOCK_SHUTDOWN.SEND) !== 0) table.mark(slot, FLAG.guestEnded);
    if ((flags & VIRTIO_VSOCK_SHUTDOWN.RECEIVE) !== 0) table.mark(slot, FLAG.guestDeaf);
    const ended = table.has(slot, FLAG.guestEnded);
    if (ended) this.#forwarded(slot, this.messages.dropPartial(slot));
    const deaf = table.has(slot, FLAG.guestDeaf);
    const waiting = this.backlog.bytes(slot) > 0;
    if (ended && deaf) {
      this.#guestDone(slot, waiting);
      return;
    }
    if (table.state[slot] !== STATE.established) return;
    const fd = table.fd[slot] as number;
    if (ended && !waiting) shutDown(fd, SHUT.WR);
    if (deaf && !table.has(slot, FLAG.hostEnded)) {
      // A TCP socket tells its other side nothing of that, and would answer it by a reset later.
      if (!table.has(slot, FLAG.hostTcp)) shutDown(fd, SHUT.RD);
      this.watch(slot, (table.events[slot] as number) & ~READABLE);
    }
  }

  /** The guest has reset the connection, or wants to hear no more of it. */
  guestReset(slot: number): void {
    const { table } = this;
    if (table.state[slot] !== STATE.draining) {
      this.release(slot);
      return;
    }
    // What the guest has sent is still the host's, although nobody waits for it to arrive.
    this.#orphan(slot);
  }

  /** Ends a connection for both sides at once. */
  reset(slot: number): void {
    const { table } = this;
    if (!table.has(slot, FLAG.orphaned)) this.resets.addOf(table, slot);
    this.release(slot);
  }

  /** Forgets a connection; the host's program sees its end, and the guest is told nothing. */
  release(slot: number): void {
    const { table, backlog, batch } = this;
    assert(table.state[slot] !== STATE.free, 'a connection is released once');
    if (batch.slot === slot) batch.end();
    this.#closeHost(slot);
    if (backlog.bytes(slot) > 0) backlog.drop(slot, backlog.bytes(slot));
    this.messages.release(slot);
    this.#options.onReleased(slot);
    if (table.state[slot] !== STATE.greeting) table.unlist(slot);
    table.release(slot);
  }

  /** The guest knows no connection any more; those that it was done with come to their end. */
  forgetGuest(): void {
    const { table } = this;
    for (let slot = 0; slot < table.end; slot++) {
      const state = table.state[slot];
      if (state === STATE.draining) this.#orphan(slot);
      else if (state !== STATE.free && state !== STATE.lingering) this.release(slot);
    }
    this.resets.clear();
  }

  /** Waits for events of the host's side. */
  watch(slot: number, events: number): void {
    const { table } = this;
    const watch = table.watch[slot];
    if (watch === null || watch === undefined) {
      const fd = table.fd[slot] as number;
      table.watch[slot] = this.#options.reactor.watch(fd, events, (ready) => {
        this.#onReady(slot, ready);
      });
    } else {
      watch.setEvents(events);
    }
    table.events[slot] = events;
  }

  /** Gives a connection so much time for what it is doing. */
  deadline(slot: number, ms: number): void {
    this.table.deadlineMs[slot] = performance.now() + ms;
    this.timed = true;
  }

  /** Frees what it holds. */
  close(): void {
    for (let slot = 0; slot < this.table.end; slot++) {
      if (this.table.state[slot] !== STATE.free) this.release(slot);
    }
    this.#lingering.close();
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
      this.#dropUnwanted(slot);
      return;
    }
    if (!this.#mayRead(slot)) return;
    const inTurn = this.#ready.count === 0 && this.#control.count === 0 && this.rx.available();
    if (inTurn && !this.#read(slot)) return;
    // Level-triggered: silent until its turn comes.
    if (!this.#mayRead(slot)) return;
    this.watch(slot, (table.events[slot] as number) & ~READABLE);
    if (!table.has(slot, FLAG.starved)) this.#ready.push(slot);
  }

  /** The guest sends nothing more and takes nothing more. */
  #guestDone(slot: number, waiting: boolean): void {
    const { table } = this;
    const state = table.state[slot];
    if (state === STATE.draining) return; // it has said so before
    if (state === STATE.closing) {
      this.reset(slot);
    } else if (!waiting) {
      this.#handedOver(slot);
    } else {
      table.state[slot] = STATE.draining;
      this.deadline(slot, DRAINING_MS);
      this.watch(slot, table.has(slot, FLAG.hostEnded) ? WRITABLE : READABLE | WRITABLE);
    }
  }

  /**
   * The host's kernel has all that the guest has sent, and the guest may know it. A TCP socket is
   * closed only when its other side has ended, too (see `Lingering`).
   */
  #handedOver(slot: number): void {
    const { table } = this;
    if (!table.has(slot, FLAG.hostTcp) || table.has(slot, FLAG.hostEnded)) {
      this.reset(slot);
      return;
    }
    if (!table.has(slot, FLAG.orphaned)) {
      this.resets.addOf(table, slot);
      this.#orphan(slot);
    }
    shutDown(table.fd[slot] as number, SHUT.WR);
    table.state[slot] = STATE.lingering;
    this.deadline(slot, LINGERING_MS);
    this.watch(slot, READABLE);
  }

  /** The host's program has sent something, or its end, to a guest that is done. */
  #dropUnwanted(slot: number): void {
    const { table } = this;
    if (table.state[slot] === STATE.closing || table.has(slot, FLAG.hostEnded)) return;
    if (this.#lingering.drop(table.fd[slot] as number)) return;
    table.mark(slot, FLAG.hostEnded);
    if (table.state[slot] === STATE.lingering) this.release(slot);
    else this.watch(slot, WRITABLE);
  }

  /** The guest knows nothing of a connection any more, and may use its ports for another one. */
  #orphan(slot: number): void {
    this.table.unlist(slot);
    this.table.mark(slot, FLAG.orphaned);
    this.table.pending[slot] = 0;
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
      else if (this.#mayRead(slot) && !table.has(slot, FLAG.starved))
        this.watch(slot, (table.events[slot] as number) | READABLE);
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
      this.watch(slot, (table.events[slot] as number) & ~READABLE);
      return false;
    }
    if (table.type[slot] === VIRTIO_VSOCK_TYPE.SEQPACKET) return this.#readMessage(slot);
    const hint = table.readHint[slot] as number;
    rx.fill(Math.min(credit, hint));
    const wanted = rx.filledBytes;
    const got = receiveVector(table.fd[slot] as number, rx.iovecs, rx.filledCount);
    if (got <= 0) {
      if (got === 0) this.#hostEnded(slot);
      else if (got !== EAGAIN) this.#options.onFailed(slot, got);
      return false;
    }
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
    if (got === READ.nothing) return false;
    if (got === READ.ended) this.#hostEnded(slot);
    else if (got < 0) this.#options.onFailed(slot, got);
    if (got < 0) return false;
    bump(this.#counters, COUNTER.bytesRead, got);
    bump(this.#counters, COUNTER.requests, 1);
    return true;
  }

  /** The host's program has sent its last byte; it may be gone altogether. */
  #hostEnded(slot: number): void {
    const { table } = this;
    table.mark(slot, FLAG.hostEnded);
    this.watch(slot, (table.events[slot] as number) & ~READABLE);
    const fd = table.fd[slot] as number;
    const gone = table.has(slot, FLAG.hostVsock) ? isVsockHungUp(fd) : isHungUp(fd);
    if (gone) this.#hostDeaf(slot);
    this.#hostDone(slot);
  }

  /** The host's program takes nothing any more. */
  #hostDeaf(slot: number): void {
    const { table, backlog } = this;
    table.mark(slot, FLAG.hostDeaf);
    const waiting = backlog.bytes(slot);
    this.messages.dropGuests(slot);
    if (waiting > 0) {
      backlog.drop(slot, waiting);
      this.#forwarded(slot, waiting);
      this.watch(slot, (table.events[slot] as number) & ~WRITABLE);
    }
  }

  /** Tells the guest which halves the host is done with; with both, its socket is not needed. */
  #hostDone(slot: number): void {
    const { table } = this;
    if (table.state[slot] === STATE.draining) {
      this.reset(slot);
      return;
    }
    this.announce(slot, PENDING.shutdown);
    if (!table.has(slot, FLAG.hostEnded) || !table.has(slot, FLAG.hostDeaf)) return;
    table.state[slot] = STATE.closing;
    this.#closeHost(slot);
    this.deadline(slot, CLOSING_MS);
  }

  #writeFailed(slot: number, errno: number, bytes: number): void {
    if (errno !== EPIPE) {
      this.#options.onFailed(slot, errno);
      return;
    }
    this.#forwarded(slot, bytes);
    this.#hostDeaf(slot);
    this.#hostDone(slot);
  }

  /** Sends what waited for the host's program to read. */
  #drain(slot: number): void {
    const { table, backlog } = this;
    const fd = table.fd[slot] as number;
    const messages = table.type[slot] === VIRTIO_VSOCK_TYPE.SEQPACKET;
    const sent = messages ? this.messages.drain(slot, fd) : backlog.send(slot, fd);
    if (sent === EAGAIN) {
      this.watch(slot, (table.events[slot] as number) | WRITABLE);
      return;
    }
    if (sent < 0) {
      this.#writeFailed(slot, sent, 0);
      return;
    }
    this.#forwarded(slot, sent);
    if (table.state[slot] === STATE.draining) this.deadline(slot, DRAINING_MS);
    if (messages ? this.messages.waits(slot) : backlog.bytes(slot) > 0) {
      this.watch(slot, (table.events[slot] as number) | WRITABLE);
      return;
    }
    if (table.state[slot] === STATE.draining) {
      this.#handedOver(slot);
      return;
    }
    this.watch(slot, (table.events[slot] as number) & ~WRITABLE);
    if (table.has(slot, FLAG.guestEnded)) shutDown(table.fd[slot] as number, SHUT.WR);
  }

  /** The host has taken bytes; the guest is told before it has to wait for that. */
  #forwarded(slot: number, bytes: number): void {
    const { table } = this;
    const forwarded = ((table.forwardedCnt[slot] as number) + bytes) >>> 0;
    table.forwardedCnt[slot] = forwarded;
    if (table.has(slot, FLAG.orphaned)) return;
    const untold = (forwarded - (table.toldCnt[slot] as number)) >>> 0;
    if (untold >= this.bufAlloc / CREDIT_FRACTION) this.announce(slot, PENDING.credit);
  }

  #sendControl(): number {
    const { table, rx } = this;
    let done = 0;
    while (this.#control.count > 0 && rx.available()) {
      const slot = this.#control.shift();
      const pending = table.pending[slot] as number;
      if (table.state[slot] === STATE.free || (pending & ~PENDING.credit) === 0) continue;
      let op: number;
      let sent: number;
      let flags = 0;
      if ((pending & PENDING.request) !== 0) {
        op = VIRTIO_VSOCK_OP.REQUEST;
        sent = PENDING.request;
      } else if ((pending & PENDING.response) !== 0) {
        op = VIRTIO_VSOCK_OP.RESPONSE;
        sent = PENDING.response;
      } else {
        op = VIRTIO_VSOCK_OP.SHUTDOWN;
        sent = PENDING.shutdown;
        if (table.has(slot, FLAG.hostEnded)) flags |= VIRTIO_VSOCK_SHUTDOWN.SEND;
        if (table.has(slot, FLAG.hostDeaf)) flags |= VIRTIO_VSOCK_SHUTDOWN.RECEIVE;
      }
      table.pending[slot] = pending & ~sent;
      rx.sendControl(slot, op, flags);
      done++;
      if ((pending & ~sent & ~PENDING.credit) !== 0) this.#control.push(slot);
    }
    bump(this.#counters, COUNTER.requests, done);
    return done;
  }

  #sendCredit(): number {
    const { table, rx } = this;
    let done = 0;
    while (this.#credit.count > 0 && rx.available()) {
      const slot = this.#credit.shift();
      const pending = table.pending[slot] as number;
      if (table.state[slot] === STATE.free || (pending & PENDING.credit) === 0) continue;
      table.pending[slot] = pending & ~PENDING.credit;
      rx.sendControl(slot, VIRTIO_VSOCK_OP.CREDIT_UPDATE, 0);
      done++;
    }
    bump(this.#counters, COUNTER.requests, done);
    return done;
  }

  #closeHost(slot: number): void {
    const { table } = this;
    table.watch[slot]?.close();
    table.watch[slot] = null;
    table.events[slot] = 0;
    const fd = table.fd[slot] as number;
    table.fd[slot] = -1;
    if (fd >= 0) closeFd(fd);
  }
}

function bump(counters: Float64Array, slot: number, by: number): void {
  counters[slot] = (counters[slot] as number) + by;
}
