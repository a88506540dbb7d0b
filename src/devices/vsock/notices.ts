/**
 * Packets to the guest that carry no data: what became of its connections, and how much room it
 * has. They wait for a buffer of the guest, one bit each.
 *
 * @module
 */
import { FLAG, PENDING, STATE } from './connections.ts';
import type { Connections } from './connections.ts';
import type { GuestRx } from './guest-rx.ts';
import { VIRTIO_VSOCK_OP, VIRTIO_VSOCK_SHUTDOWN } from './layout.ts';
import { Resets } from './resets.ts';
import { SlotQueue } from './slot-queue.ts';

/** The guest is told of room once so much of its buffer has become free. */
const CREDIT_FRACTION = 4;

/** See the module. */
export class Notices {
  readonly resets: Resets = new Resets();
  readonly #table: Connections;
  readonly #rx: GuestRx;
  readonly #bufAlloc: number;
  readonly #control: SlotQueue;
  readonly #credit: SlotQueue; // those that only tell of room

  constructor(table: Connections, rx: GuestRx, bufAlloc: number) {
    this.#table = table;
    this.#rx = rx;
    this.#bufAlloc = bufAlloc;
    this.#control = new SlotQueue(table.max);
    this.#credit = new SlotQueue(table.max);
  }

  /** Whether packets wait that have to go before data. */
  get urgent(): boolean {
    return this.#control.count > 0;
  }

  /** Has a packet sent as soon as the guest has a buffer. */
  announce(slot: number, pending: number): void {
    const table = this.#table;
    table.pending[slot] = (table.pending[slot] as number) | pending;
    (pending === PENDING.credit ? this.#credit : this.#control).push(slot);
  }

  /** The host has taken bytes; the guest is told before it has to wait for that. */
  forwarded(slot: number, bytes: number): void {
    const table = this.#table;
    const forwarded = ((table.forwardedCnt[slot] as number) + bytes) >>> 0;
    table.forwardedCnt[slot] = forwarded;
    if (table.has(slot, FLAG.orphaned)) return;
    const untold = (forwarded - (table.toldCnt[slot] as number)) >>> 0;
    if (untold >= this.#bufAlloc / CREDIT_FRACTION) this.announce(slot, PENDING.credit);
  }

  /** Sends what goes before data, as far as there are buffers; returns how many packets. */
  sendUrgent(): number {
    let sent = 0;
    if (this.resets.count > 0) sent += this.resets.send(this.#rx);
    if (this.#control.count > 0) sent += this.#sendControl();
    return sent;
  }

  /** Sends what only tells of room, as above: data has told of it by the way. */
  sendCredit(): number {
    const table = this.#table;
    let sent = 0;
    while (this.#credit.count > 0 && this.#rx.available()) {
      const slot = this.#credit.shift();
      const pending = table.pending[slot] as number;
      if (table.state[slot] === STATE.free || (pending & PENDING.credit) === 0) continue;
      table.pending[slot] = pending & ~PENDING.credit;
      this.#rx.sendControl(slot, VIRTIO_VSOCK_OP.CREDIT_UPDATE, 0);
      sent++;
    }
    return sent;
  }

  #sendControl(): number {
    const table = this.#table;
    let sent = 0;
    while (this.#control.count > 0 && this.#rx.available()) {
      const slot = this.#control.shift();
      const pending = (table.pending[slot] as number) & ~PENDING.credit;
      if (table.state[slot] === STATE.free || pending === 0) continue;
      const first = pending & -pending; // in the order of the bits: request, response, shutdown
      table.pending[slot] = (table.pending[slot] as number) & ~first;
      this.#send(slot, first);
      sent++;
      if (pending !== first) this.#control.push(slot);
    }
    return sent;
  }

  #send(slot: number, pending: number): void {
    const rx = this.#rx;
    if (pending === PENDING.request) {
      rx.sendControl(slot, VIRTIO_VSOCK_OP.REQUEST, 0);
    } else if (pending === PENDING.response) {
      rx.sendControl(slot, VIRTIO_VSOCK_OP.RESPONSE, 0);
    } else {
      let flags = 0;
      if (this.#table.has(slot, FLAG.hostEnded)) flags |= VIRTIO_VSOCK_SHUTDOWN.SEND;
      if (this.#table.has(slot, FLAG.hostDeaf)) flags |= VIRTIO_VSOCK_SHUTDOWN.RECEIVE;
      rx.sendControl(slot, VIRTIO_VSOCK_OP.SHUTDOWN, flags);
    }
  }
}
