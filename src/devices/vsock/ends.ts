/**
 * The ways to a connection's end: each side is done with sending, with receiving or with both, goes
 * away, or breaks the rules; and what the guest has sent arrives before its socket is closed.
 *
 * @module
 */
import { assert } from '../../util/index.ts';
import {
  ERRNO,
  READABLE,
  SHUT,
  WRITABLE,
  isHungUp,
  isVsockHungUp,
  shutDown,
} from '../../sys/index.ts';
import type { Backlog } from './backlog.ts';
import { FLAG, PENDING, STATE } from './connections.ts';
import type { Connections } from './connections.ts';
import type { Deadlines } from './deadlines.ts';
import type { HostSockets } from './host-sockets.ts';
import { VIRTIO_VSOCK_SHUTDOWN, VIRTIO_VSOCK_TYPE } from './layout.ts';
import { Lingering } from './lingering.ts';
import type { Messages } from './messages.ts';
import type { Notices } from './notices.ts';
import type { TxBatch } from './tx-batch.ts';

const EPIPE = -(ERRNO.EPIPE as number);
const ECONNRESET = -(ERRNO.ECONNRESET as number);

/** How long a guest may take to confirm that the host is done with a connection. */
const CLOSING_MS = 10_000;
/** How long the host's program may go without reading anything of what the guest left for it. */
const DRAINING_MS = 60_000;
/** How long a program that has it all, by TCP, may take to end its own side (nginx: the same). */
const LINGERING_MS = 30_000;

/** What the ends of connections have to do with. */
export interface EndsParts {
  readonly table: Connections;
  readonly sockets: HostSockets;
  readonly notices: Notices;
  readonly deadlines: Deadlines;
  readonly backlog: Backlog;
  readonly batch: TxBatch;
  readonly messages: Messages;
  /** A connection failed for a reason that is worth a line in the log; it is to be reset. */
  readonly onFailed: (slot: number, errno: number) => void;
  /** A connection came to its end. */
  readonly onReleased: (slot: number) => void;
}

/** See the module. */
export class Ends {
  readonly #parts: EndsParts;
  readonly #table: Connections;
  readonly #lingering = new Lingering();
  #lingeringCount = 0; // connections in that state

  constructor(parts: EndsParts) {
    this.#parts = parts;
    this.#table = parts.table;
  }

  /** The guest is done with sending, receiving, or both (section 5.10.6.5). */
  guestShutDown(slot: number, flags: number): void {
    const table = this.#table;
    const { sockets, notices, messages, backlog } = this.#parts;
    if ((flags & VIRTIO_VSOCK_SHUTDOWN.SEND) !== 0) table.mark(slot, FLAG.guestEnded);
    if ((flags & VIRTIO_VSOCK_SHUTDOWN.RECEIVE) !== 0) table.mark(slot, FLAG.guestDeaf);
    const ended = table.has(slot, FLAG.guestEnded);
    if (ended) notices.forwarded(slot, messages.dropPartial(slot));
    const deaf = table.has(slot, FLAG.guestDeaf);
    const waiting = backlog.bytes(slot) > 0;
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
      sockets.leave(slot, READABLE);
    }
  }

  /** The guest has reset the connection, or wants to hear no more of it. */
  guestReset(slot: number): void {
    // What the guest has sent is still the host's, although nobody waits for it to arrive.
    if (this.#table.state[slot] === STATE.draining) this.#orphan(slot);
    else this.release(slot);
  }

  /** The guest knows no connection any more; those that it was done with come to their end. */
  forgetGuest(): void {
    const table = this.#table;
    for (let slot = 0; slot < table.end; slot++) {
      const state = table.state[slot];
      if (state === STATE.draining) this.#orphan(slot);
      else if (state !== STATE.free && state !== STATE.lingering) this.release(slot);
    }
    this.#parts.notices.resets.clear();
  }

  /** The host's program has sent its last byte; it may be gone altogether. */
  hostEnded(slot: number): void {
    const table = this.#table;
    table.mark(slot, FLAG.hostEnded);
    this.#parts.sockets.leave(slot, READABLE);
    const fd = table.fd[slot] as number;
    const gone = table.has(slot, FLAG.hostVsock) ? isVsockHungUp(fd) : isHungUp(fd);
    if (gone) this.#deafen(slot);
    this.#hostDone(slot);
  }

  /** The host's program takes nothing any more; what it has sent before is still the guest's. */
  hostDeaf(slot: number): void {
    this.#deafen(slot);
    this.#hostDone(slot);
  }

  /** Bytes of the guest could not be sent; those that are in no backlog are lost. */
  writeFailed(slot: number, errno: number, bytes: number): void {
    if (!isHostGone(errno)) {
      this.#parts.onFailed(slot, errno);
      return;
    }
    this.#parts.notices.forwarded(slot, bytes);
    this.hostDeaf(slot);
  }

  /** The host's program has taken some of what waited for it. */
  progressed(slot: number): void {
    if (this.#table.state[slot] !== STATE.draining) return;
    this.#parts.deadlines.give(slot, DRAINING_MS);
  }

  /** Nothing that the guest has sent waits any more. */
  drained(slot: number): void {
    const table = this.#table;
    if (table.state[slot] === STATE.draining) {
      this.#handedOver(slot);
      return;
    }
    this.#parts.sockets.leave(slot, WRITABLE);
    if (table.has(slot, FLAG.guestEnded)) shutDown(table.fd[slot] as number, SHUT.WR);
  }

  /** The host's program has sent something, or its end, to a guest that is done. */
  dropUnwanted(slot: number): void {
    const table = this.#table;
    if (table.state[slot] === STATE.closing || table.has(slot, FLAG.hostEnded)) return;
    const { sockets } = this.#parts;
    const found = this.#lingering.drop(table.fd[slot] as number);
    if (found > 0) {
      sockets.foundSome(slot);
    } else if (found === 0) {
      sockets.foundNothing(slot);
    } else {
      table.mark(slot, FLAG.hostEnded);
      if (table.state[slot] === STATE.lingering) this.release(slot);
      else sockets.watch(slot, WRITABLE);
    }
  }

  /** A connection's time is over. */
  overdue(slot: number): void {
    if (this.#table.state[slot] === STATE.greeting) this.release(slot);
    else this.reset(slot);
  }

  /** Ends a connection for both sides at once. */
  reset(slot: number): void {
    const table = this.#table;
    if (!table.has(slot, FLAG.orphaned)) this.#parts.notices.resets.addOf(table, slot);
    this.release(slot);
  }

  /** Forgets a connection; the host's program sees its end, and the guest is told nothing. */
  release(slot: number): void {
    const table = this.#table;
    const { sockets, backlog, batch, messages, onReleased } = this.#parts;
    assert(table.state[slot] !== STATE.free, 'a connection is released once');
    if (batch.slot === slot) batch.end();
    sockets.close(slot);
    if (backlog.bytes(slot) > 0) backlog.drop(slot, backlog.bytes(slot));
    messages.release(slot);
    onReleased(slot);
    if (table.state[slot] === STATE.lingering) this.#lingeringCount--;
    if (table.state[slot] !== STATE.greeting) table.unlist(slot);
    table.release(slot);
  }

  /**
   * Makes room for a new connection where all slots are in use: the guest has long been done with
   * those that linger. Returns whether there was one; the one that has lingered longest goes.
   */
  makeRoom(): boolean {
    if (this.#lingeringCount === 0) return false;
    const table = this.#table;
    let oldest = -1;
    let oldestMs = Infinity;
    for (let slot = 0; slot < table.end; slot++) {
      const dueMs = table.deadlineMs[slot] as number;
      if (table.state[slot] !== STATE.lingering || dueMs >= oldestMs) continue;
      oldest = slot;
      oldestMs = dueMs;
    }
    this.release(oldest);
    return true;
  }

  /** Ends all. */
  close(): void {
    const table = this.#table;
    for (let slot = 0; slot < table.end; slot++) {
      if (table.state[slot] !== STATE.free) this.release(slot);
    }
    this.#lingering.close();
  }

  /** The guest sends nothing more and takes nothing more. */
  #guestDone(slot: number, waiting: boolean): void {
    const table = this.#table;
    const state = table.state[slot];
    if (state === STATE.draining) return; // it has said so before
    if (state === STATE.closing) {
      this.reset(slot);
    } else if (!waiting) {
      this.#handedOver(slot);
    } else {
      table.state[slot] = STATE.draining;
      this.#parts.deadlines.give(slot, DRAINING_MS);
      const ended = table.has(slot, FLAG.hostEnded);
      this.#parts.sockets.watch(slot, ended ? WRITABLE : READABLE | WRITABLE);
    }
  }

  /**
   * The host's kernel has all that the guest has sent, and the guest may know it. A TCP socket is
   * closed only when its other side has ended, too (see `Lingering`).
   */
  #handedOver(slot: number): void {
    const table = this.#table;
    const fd = table.fd[slot] as number;
    if (!table.has(slot, FLAG.hostTcp) || table.has(slot, FLAG.hostEnded)) {
      if (!table.has(slot, FLAG.hostTcp | FLAG.hostVsock | FLAG.hostEnded)) this.#leaveEmpty(slot);
      this.reset(slot);
      return;
    }
    if (!table.has(slot, FLAG.orphaned)) {
      this.#parts.notices.resets.addOf(table, slot);
      this.#orphan(slot);
    }
    shutDown(fd, SHUT.WR);
    table.state[slot] = STATE.lingering;
    this.#lingeringCount++;
    this.#parts.deadlines.give(slot, LINGERING_MS);
    this.#parts.sockets.watch(slot, READABLE);
  }

  /**
   * Empties a Unix socket that is to be closed: with something unread in it, its program would read
   * an error, on SOCK_SEQPACKET before what the guest has sent and else behind it.
   */
  #leaveEmpty(slot: number): void {
    const fd = this.#table.fd[slot] as number;
    const isStream = this.#table.type[slot] === VIRTIO_VSOCK_TYPE.STREAM;
    // Most have nothing in them. A stream may get something now: nothing of the guest's is lost.
    if (isStream && this.#lingering.drop(fd) <= 0) return;
    shutDown(fd, SHUT.RD); // or more could come meanwhile
    this.#lingering.empty(fd);
  }

  /** The guest knows nothing of a connection any more, and may use its ports for another one. */
  #orphan(slot: number): void {
    this.#table.unlist(slot);
    this.#table.mark(slot, FLAG.orphaned);
    this.#table.pending[slot] = 0;
  }

  /** What the guest has sent is taken by nobody, and counts as if it had been. */
  #deafen(slot: number): void {
    const { backlog, messages, notices, sockets } = this.#parts;
    this.#table.mark(slot, FLAG.hostDeaf);
    const waiting = backlog.bytes(slot);
    messages.dropGuests(slot);
    if (waiting > 0) {
      backlog.drop(slot, waiting);
      notices.forwarded(slot, waiting);
      sockets.leave(slot, WRITABLE);
    }
  }

  /** Tells the guest which halves the host is done with; with both, its socket is not needed. */
  #hostDone(slot: number): void {
    const table = this.#table;
    if (table.state[slot] === STATE.draining) {
      this.reset(slot);
      return;
    }
    this.#parts.notices.announce(slot, PENDING.shutdown);
    if (!table.has(slot, FLAG.hostEnded) || !table.has(slot, FLAG.hostDeaf)) return;
    table.state[slot] = STATE.closing;
    this.#parts.sockets.close(slot);
    this.#parts.deadlines.give(slot, CLOSING_MS);
  }
}

/** Whether an error of a socket says no more than that nobody is at its other end. */
export function isHostGone(errno: number): boolean {
  return errno === EPIPE || errno === ECONNRESET;
}
