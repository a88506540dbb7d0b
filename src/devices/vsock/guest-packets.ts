/**
 * What the guest sends: each packet checked, and done what it asks for (section 5.10.6).
 *
 * @module
 */
import { IOVECS_MAX, NativeBlock } from '../../sys/index.ts';
import type { Chain, Virtqueue } from '../../virtqueue/index.ts';
import { COUNTER } from '../../backend/index.ts';
import { FLAG, PENDING, STATE } from './connections.ts';
import type { Flows } from './flows.ts';
import type { HostSide } from './host-side.ts';
import {
  VIRTIO_VSOCK_OP,
  VIRTIO_VSOCK_SHUTDOWN,
  VIRTIO_VSOCK_TYPE,
  VSOCK_CID,
  VSOCK_HEADER,
  VSOCK_PORT_MAX,
} from './layout.ts';

/** See the module. */
export class GuestPackets {
  readonly #flows: Flows;
  readonly #host: HostSide;
  readonly #guestCid: number;
  readonly #counters: Float64Array;
  readonly #header = new NativeBlock(VSOCK_HEADER.SIZE);

  constructor(flows: Flows, host: HostSide, guestCid: number, counters: Float64Array) {
    this.#flows = flows;
    this.#host = host;
    this.#guestCid = guestCid;
    this.#counters = counters;
  }

  /** Takes one packet; its buffers go back to the guest, now or when its data has gone on. */
  handle(queue: Virtqueue, chain: Chain): void {
    bump(this.#counters, COUNTER.requests);
    if (chain.readableBytes < VSOCK_HEADER.SIZE || !this.#readHeader(chain)) {
      bump(this.#counters, COUNTER.guestFaults);
      queue.push(chain, 0);
      return;
    }
    if (!this.#data(queue, chain)) queue.push(chain, 0);
  }

  /** Frees its memory. */
  close(): void {
    this.#header.free();
  }

  /** Reads each byte of the header once; false when it is not from this guest at all. */
  #readHeader(chain: Chain): boolean {
    const { view } = this.#header;
    chain.copyOut(0, this.#header, 0, VSOCK_HEADER.SIZE);
    return (
      view.getUint32(VSOCK_HEADER.srcCid, true) === this.#guestCid &&
      view.getUint32(VSOCK_HEADER.srcCid + 4, true) === 0
    );
  }

  /** Does what a packet asks for; true when the chain is kept for its data. */
  #data(queue: Virtqueue, chain: Chain): boolean {
    const { view } = this.#header;
    const { table, batch } = this.#flows;
    const op = view.getUint16(VSOCK_HEADER.op, true);
    const type = view.getUint16(VSOCK_HEADER.type, true);
    const guestPort = view.getUint32(VSOCK_HEADER.srcPort, true);
    const peerPort = view.getUint32(VSOCK_HEADER.dstPort, true);
    const peerCid = view.getUint32(VSOCK_HEADER.dstCid, true);
    const bytes = view.getUint32(VSOCK_HEADER.len, true);
    const far = view.getUint32(VSOCK_HEADER.dstCid + 4, true) !== 0;
    const slot = far ? -1 : table.find(guestPort, peerCid, peerPort);
    if (slot < 0) {
      this.#unknown(op, type, guestPort, peerCid, peerPort, far);
      return false;
    }
    if (op === VIRTIO_VSOCK_OP.RST) {
      if (batch.slot === slot) this.#flows.flushBatch();
      // Flushing may have ended it.
      if (table.find(guestPort, peerCid, peerPort) === slot) this.#flows.ends.guestReset(slot);
      return false;
    }
    const tooLong = bytes > chain.readableBytes - VSOCK_HEADER.SIZE;
    if (type !== table.type[slot] || tooLong) {
      this.#fault(slot);
      return false;
    }
    if (op !== VIRTIO_VSOCK_OP.REQUEST) {
      const bufAlloc = view.getUint32(VSOCK_HEADER.bufAlloc, true);
      this.#flows.credited(slot, bufAlloc, view.getUint32(VSOCK_HEADER.fwdCnt, true));
    }
    if (op === VIRTIO_VSOCK_OP.RW) return this.#received(queue, chain, slot, bytes);
    if (batch.slot === slot) this.#flows.flushBatch();
    if (table.find(guestPort, peerCid, peerPort) === slot) this.#known(slot, op);
    return false;
  }

  /** A packet for a connection that there is none of. */
  #unknown(
    op: number,
    type: number,
    guestPort: number,
    peerCid: number,
    peerPort: number,
    far: boolean,
  ): void {
    if (op === VIRTIO_VSOCK_OP.RST) return; // never in reply to one: it would go on for ever
    const { table, notices } = this.#flows;
    const portsInRange = guestPort <= VSOCK_PORT_MAX && peerPort <= VSOCK_PORT_MAX;
    const reachable = !far && (peerCid === VSOCK_CID.host || peerCid >= VSOCK_CID.firstGuest);
    if (!portsInRange || !reachable) bump(this.#counters, COUNTER.guestFaults);
    let slot = -1;
    if (op === VIRTIO_VSOCK_OP.REQUEST && portsInRange && reachable && this.#flows.offers(type)) {
      slot = this.#flows.take(STATE.connecting, type, -1);
      if (slot < 0) this.#host.accepting.full();
    }
    if (slot < 0) {
      notices.resets.add(type, peerCid, peerPort, guestPort);
      return;
    }
    const { view } = this.#header;
    table.peerBufAlloc[slot] = view.getUint32(VSOCK_HEADER.bufAlloc, true);
    table.peerFwdCnt[slot] = view.getUint32(VSOCK_HEADER.fwdCnt, true);
    table.list(slot, guestPort, peerCid, peerPort);
    if (peerCid === VSOCK_CID.host) this.#host.dialling.dial(slot, peerPort);
    else this.#host.dialling.dialSibling(slot, peerPort);
  }

  /** A packet without data, for a connection that there is. */
  #known(slot: number, op: number): void {
    const { table } = this.#flows;
    const state = table.state[slot] as number;
    switch (op) {
      case VIRTIO_VSOCK_OP.REQUEST:
        this.#requestAgain(slot);
        return;
      case VIRTIO_VSOCK_OP.RESPONSE:
        if (state === STATE.requested) this.#host.accepting.accepted(slot);
        else this.#fault(slot);
        return;
      case VIRTIO_VSOCK_OP.SHUTDOWN: {
        const flags = this.#header.view.getUint32(VSOCK_HEADER.flags, true);
        if (state < STATE.established) {
          this.#fault(slot);
          return;
        }
        this.#flows.ends.guestShutDown(slot, flags & VIRTIO_VSOCK_SHUTDOWN.BOTH);
        return;
      }
      case VIRTIO_VSOCK_OP.CREDIT_UPDATE:
        return; // as every packet is one
      case VIRTIO_VSOCK_OP.CREDIT_REQUEST:
        this.#flows.notices.announce(slot, PENDING.credit);
        return;
      default:
        this.#fault(slot);
    }
  }

  /** A guest that has forgotten a connection of ours may use its ports for another one. */
  #requestAgain(slot: number): void {
    const { table } = this.#flows;
    const state = table.state[slot] as number;
    if (state !== STATE.draining && state !== STATE.closing) {
      this.#fault(slot);
      return;
    }
    const type = this.#header.view.getUint16(VSOCK_HEADER.type, true);
    const guestPort = table.guestPort[slot] as number;
    const peerCid = table.peerCid[slot] as number;
    const peerPort = table.peerPort[slot] as number;
    this.#flows.ends.guestReset(slot);
    this.#unknown(VIRTIO_VSOCK_OP.REQUEST, type, guestPort, peerCid, peerPort, false);
  }

  /** Data; true when the chain is kept. */
  #received(queue: Virtqueue, chain: Chain, slot: number, bytes: number): boolean {
    const { table, bufAlloc } = this.#flows;
    const state = table.state[slot] as number;
    if (state === STATE.closing) return false; // it crossed our SHUTDOWN
    const ended = state !== STATE.established || table.has(slot, FLAG.guestEnded);
    // More pieces than one system call takes come of no driver's own will.
    const scattered = chain.readableCount > IOVECS_MAX;
    if (ended || scattered || table.held(slot) + bytes > bufAlloc) {
      this.#fault(slot);
      return false;
    }
    if (bytes === 0 && table.type[slot] === VIRTIO_VSOCK_TYPE.STREAM) return false;
    if (table.type[slot] === VIRTIO_VSOCK_TYPE.STREAM) {
      this.#flows.forward(queue, chain, slot, bytes);
    } else {
      const flags = this.#header.view.getUint32(VSOCK_HEADER.flags, true);
      this.#flows.forwardMessage(queue, chain, slot, bytes, flags);
    }
    return true;
  }

  /** The guest broke the rules: its connection is reset, all else goes on. */
  #fault(slot: number): void {
    bump(this.#counters, COUNTER.guestFaults);
    this.#flows.ends.reset(slot);
  }
}

function bump(counters: Float64Array, slot: number): void {
  counters[slot] = (counters[slot] as number) + 1;
}
