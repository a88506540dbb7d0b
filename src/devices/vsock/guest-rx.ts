/**
 * The way to the guest: its empty buffers, collected in advance, and the packets that go into them.
 *
 * One system call fills many buffers, since each keeps room for a header in front of its data; the
 * headers are written once it is known how much there was.
 *
 * @module
 */
import { NativeBlock, mapAnonymous, viewMemory } from '../../sys/index.ts';
import type { Mapping } from '../../sys/index.ts';
import type { Chain, NativeBytes, Virtqueue } from '../../virtqueue/index.ts';
import type { Connections } from './connections.ts';
import { VIRTIO_VSOCK_OP, VSOCK_HEADER } from './layout.ts';

const IOVEC_BYTES = 16;
const IOVEC_WORDS = IOVEC_BYTES / 4;
const WORD = 0x1_0000_0000;
/** Buffers of one call (IOV_MAX everywhere). */
const IOVECS_MAX = 1024;
/** A buffer has to have room for a header, and for a byte. */
const BUFFER_BYTES_MIN = VSOCK_HEADER.SIZE + 1;

/** See the module. */
export class GuestRx {
  /** Buffers that were collected. */
  count = 0;
  /** Buffers that came to be used, and were too small to be of use. */
  tooSmall = 0;
  readonly #table: Connections;
  readonly #bufAlloc: number;
  readonly #header = new NativeBlock(VSOCK_HEADER.SIZE);
  readonly #iovecs: Mapping = mapAnonymous(IOVECS_MAX * IOVEC_BYTES);
  readonly #words: Uint32Array;
  #queue: Virtqueue | null = null;
  #chains: (Chain | null)[] = [];
  #mask = 0;
  #first = 0;
  /** Entries that the last `fill` made, and the bytes that they hold. */
  filledCount = 0;
  filledBytes = 0;

  constructor(table: Connections, guestCid: number, bufAlloc: number) {
    this.#table = table;
    this.#bufAlloc = bufAlloc;
    const bytes = IOVECS_MAX * IOVEC_BYTES;
    this.#words = new Uint32Array(viewMemory(this.#iovecs.address, bytes));
    this.#header.view.setUint32(VSOCK_HEADER.dstCid, guestCid, true);
    this.#header.view.setUint32(VSOCK_HEADER.bufAlloc, bufAlloc, true);
  }

  /** Address of the `struct iovec` array of `fill`. */
  get iovecs(): number {
    return this.#iovecs.address;
  }

  /** Whether the guest takes packets at all now. */
  get running(): boolean {
    return this.#queue !== null;
  }

  /** The ring was started. */
  start(queue: Virtqueue): void {
    this.#queue = queue;
    this.#chains = new Array<Chain | null>(queue.size).fill(null);
    this.#mask = queue.size - 1;
    this.#first = 0;
    this.count = 0;
  }

  /** The ring is being stopped: what was collected is given back as if it had never been taken. */
  stop(): void {
    const queue = this.#queue;
    if (queue === null) return;
    for (; this.count > 0; this.count--) {
      const at = (this.#first + this.count - 1) & this.#mask;
      queue.unpop(this.#chains[at] as Chain);
      this.#chains[at] = null;
    }
    this.#queue = null;
  }

  /** Takes up to `budget` buffers out of the ring; returns how many. */
  collect(budget: number): number {
    const queue = this.#queue;
    if (queue === null) return 0;
    let taken = 0;
    while (taken < budget && this.count <= this.#mask) {
      const chain = queue.pop();
      if (chain === null) break;
      // Kept in the order of the ring whatever it is, so that `stop` can give all of them back.
      this.#chains[(this.#first + this.count) & this.#mask] = chain;
      this.count++;
      taken++;
    }
    return taken;
  }

  /** Whether there is a buffer; one that is of no use is given back to the guest at once. */
  available(): boolean {
    while (this.count > 0) {
      const chain = this.#chains[this.#first] as Chain;
      if (chain.writableBytes >= BUFFER_BYTES_MIN) return true;
      this.tooSmall++;
      this.#use(chain, 0);
    }
    return false;
  }

  /** Sends a packet without data; the caller has seen that a buffer is available. */
  sendControl(slot: number, op: number, flags: number): void {
    this.#fillHeader(slot, op, flags, 0);
    this.#write();
  }

  /** Resets a connection that there is none of, or none any more; as above. */
  sendReset(type: number, peerCid: number, peerPort: number, guestPort: number): void {
    const { view } = this.#header;
    view.setUint32(VSOCK_HEADER.srcCid, peerCid, true);
    view.setUint32(VSOCK_HEADER.srcPort, peerPort, true);
    view.setUint32(VSOCK_HEADER.dstPort, guestPort, true);
    view.setUint32(VSOCK_HEADER.len, 0, true);
    view.setUint16(VSOCK_HEADER.type, type, true);
    view.setUint16(VSOCK_HEADER.op, VIRTIO_VSOCK_OP.RST, true);
    view.setUint32(VSOCK_HEADER.flags, 0, true);
    view.setUint32(VSOCK_HEADER.bufAlloc, 0, true);
    view.setUint32(VSOCK_HEADER.fwdCnt, 0, true);
    this.#write();
    view.setUint32(VSOCK_HEADER.bufAlloc, this.#bufAlloc, true);
  }

  /**
   * Makes a `struct iovec` array of the room for data in the next buffers, for up to `limitBytes`.
   * `filledCount` and `filledBytes` tell how much that is: 0 when there is no buffer.
   */
  fill(limitBytes: number): void {
    const words = this.#words;
    let at = 0;
    let rest = limitBytes;
    for (let i = 0; i < this.count && rest > 0; i++) {
      const chain = this.#chains[(this.#first + i) & this.#mask] as Chain;
      if (chain.writableBytes < BUFFER_BYTES_MIN) break; // dealt with when it comes to be the first
      let skip: number = VSOCK_HEADER.SIZE;
      for (let s = chain.readableCount; s < chain.segmentCount && rest > 0; s++) {
        const length = chain.length[s] as number;
        if (skip >= length) {
          skip -= length;
          continue;
        }
        if (at === IOVECS_MAX * IOVEC_WORDS) break;
        const address = (chain.hva[s] as number) + skip;
        const bytes = Math.min(length - skip, rest);
        skip = 0;
        rest -= bytes;
        words[at] = address;
        words[at + 1] = address / WORD;
        words[at + 2] = bytes;
        words[at + 3] = 0;
        at += IOVEC_WORDS;
      }
    }
    this.filledCount = at / IOVEC_WORDS;
    this.filledBytes = limitBytes - rest;
  }

  /** Sends `bytes` of what `fill` has made room for, one packet in each buffer. */
  sendFilled(slot: number, bytes: number): number {
    let packets = 0;
    this.#fillHeader(slot, VIRTIO_VSOCK_OP.RW, 0, 0);
    for (let rest = bytes; rest > 0; packets++) {
      const chain = this.#chains[this.#first] as Chain;
      const count = Math.min(rest, chain.writableBytes - VSOCK_HEADER.SIZE);
      rest -= count;
      this.#header.view.setUint32(VSOCK_HEADER.len, count, true);
      chain.copyIn(0, this.#header, 0, VSOCK_HEADER.SIZE);
      this.#use(chain, VSOCK_HEADER.SIZE + count);
    }
    return packets;
  }

  /** Bytes of data that fit into the next buffer; the caller has seen that there is one. */
  room(): number {
    return (this.#chains[this.#first] as Chain).writableBytes - VSOCK_HEADER.SIZE;
  }

  /** Sends a packet whose data is copied; it fits. SAFETY: the bytes are mapped. */
  sendCopy(slot: number, from: NativeBytes, at: number, bytes: number, flags: number): void {
    this.#fillHeader(slot, VIRTIO_VSOCK_OP.RW, flags, bytes);
    const chain = this.#chains[this.#first] as Chain;
    chain.copyIn(0, this.#header, 0, VSOCK_HEADER.SIZE);
    chain.copyIn(VSOCK_HEADER.SIZE, from, at, bytes);
    this.#use(chain, VSOCK_HEADER.SIZE + bytes);
  }

  /** Frees its memory. */
  close(): void {
    this.#header.free();
    this.#iovecs.unmap();
  }

  #fillHeader(slot: number, op: number, flags: number, bytes: number): void {
    const { view } = this.#header;
    const table = this.#table;
    const forwarded = table.forwardedCnt[slot] as number;
    view.setUint32(VSOCK_HEADER.srcCid, table.peerCid[slot] as number, true);
    view.setUint32(VSOCK_HEADER.srcPort, table.peerPort[slot] as number, true);
    view.setUint32(VSOCK_HEADER.dstPort, table.guestPort[slot] as number, true);
    view.setUint32(VSOCK_HEADER.len, bytes, true);
    view.setUint16(VSOCK_HEADER.type, table.type[slot] as number, true);
    view.setUint16(VSOCK_HEADER.op, op, true);
    view.setUint32(VSOCK_HEADER.flags, flags, true);
    view.setUint32(VSOCK_HEADER.fwdCnt, forwarded, true);
    table.toldCnt[slot] = forwarded;
  }

  #write(): void {
    const chain = this.#chains[this.#first] as Chain;
    chain.copyIn(0, this.#header, 0, VSOCK_HEADER.SIZE);
    this.#use(chain, VSOCK_HEADER.SIZE);
  }

  #use(chain: Chain, bytes: number): void {
    this.#chains[this.#first] = null;
    this.#first = (this.#first + 1) & this.#mask;
    this.count--;
    this.#queue?.push(chain, bytes);
  }
}
