/**
 * A virtio-vsock driver for the three queues that makes no garbage and polls, for benchmarks and
 * hostile tests; also what `VsockClient` drives its queues with. It moves packets, and knows
 * nothing of connections.
 * All that it is made from is plain data, so a worker thread can make one.
 *
 * @module
 */
import { assert } from '../../util/index.ts';
import { Notifier, WINDOW_BYTES_MAX, dupFd, viewMemory } from '../../sys/index.ts';
import { DriverRing } from '../../virtqueue/index.ts';
import type { DriverRingConfig, VirtqueueFault } from '../../virtqueue/index.ts';
import { VSOCK_EVENT_BYTES, VSOCK_HEADER_BYTES, VSOCK_WORD } from './layout.ts';

/** A slot is | unused 20 | header 44 | data |, so that data begin on a cache line of their own. */
const DATA_AT = 64;
const HEADER_AT = DATA_AT - VSOCK_HEADER_BYTES;
const SLOT_ALIGN = 64;
const EVENT_SLOTS = 4;
const EVENT_STRIDE = 64;
const HIGH_HALF = 0x1_0000;

/** Slots of one direction. */
export interface VsockSlots {
  readonly count: number;
  /** Bytes of data that each has room for, beside its header. */
  readonly dataBytes: number;
}

/** One started queue. */
export interface VsockQueuePlan {
  readonly ring: DriverRingConfig;
  /** Borrowed while the poller is made. */
  readonly kickFd: number;
}

/** All that a {@link VsockPoller} is made from. */
export interface VsockPollerPlan {
  readonly rx: VsockQueuePlan;
  readonly tx: VsockQueuePlan;
  readonly event: VsockQueuePlan;
  readonly rxSlots: VsockSlots;
  readonly txSlots: VsockSlots;
  /** `vsockMemoryBytes` of shared memory, aligned to 64 bytes. */
  readonly gpa: number;
  readonly hva: number;
  /**
   * The header has a descriptor of its own, as with Linux before 6.3; else header and data are one
   * buffer.
   */
  readonly splitHeader: boolean;
}

/** Bytes of shared memory that the slots take. */
export function vsockMemoryBytes(rxSlots: VsockSlots, txSlots: VsockSlots): number {
  return areaBytes(rxSlots) + areaBytes(txSlots) + EVENT_SLOTS * EVENT_STRIDE;
}

/**
 * Drives the started queues of a device. Not more than one poller, or ring, may use a queue.
 *
 * ```ts
 * const slot = poller.takeTx();
 * poller.txData(slot).fill(1, 0, 100);
 * poller.address(slot, 3, 1024, 2, 5000);
 * poller.send(slot, VSOCK_TYPE.STREAM, VSOCK_OP.RW, 0, 65536, 0, 100);
 * poller.flush();
 * while (poller.pollRx((slot, bytes) => console.log(poller.rxData(slot), bytes)) === 0);
 * ```
 */
export class VsockPoller {
  readonly rxSlotCount: number;
  readonly txSlotCount: number;
  readonly txDataBytes: number;
  readonly rxDataBytes: number;
  /** Kicks that were sent. */
  kickCount = 0;
  readonly #rx: DriverRing;
  readonly #tx: DriverRing;
  readonly #event: DriverRing;
  readonly #kicks: readonly Notifier[];
  readonly #splitHeader: boolean;
  readonly #rxGpa: number;
  readonly #txGpa: number;
  readonly #eventGpa: number;
  readonly #rxStride: number;
  readonly #txStride: number;
  readonly #rxWords: Uint32Array;
  readonly #txWords: Uint32Array;
  readonly #eventWords: Uint32Array;
  readonly #rxData: readonly Uint8Array[];
  readonly #txData: readonly Uint8Array[];
  readonly #idleTx: Int32Array; // a stack
  readonly #rxDataHva: number;
  readonly #txDataHva: number;
  #idleTxCount: number;

  /**
   * Makes the driver's side of the rings, with interrupts off, and offers all rx and event buffers.
   * SAFETY: rings and slots stay mapped until the last use of this object.
   */
  constructor(plan: VsockPollerPlan) {
    const { rxSlots, txSlots, gpa, hva } = plan;
    const [rxBytes, txBytes] = [areaBytes(rxSlots), areaBytes(txSlots)];
    assert(rxBytes <= WINDOW_BYTES_MAX && txBytes <= WINDOW_BYTES_MAX, 'slots fit one view');
    this.rxSlotCount = rxSlots.count;
    this.txSlotCount = txSlots.count;
    this.rxDataBytes = rxSlots.dataBytes;
    this.txDataBytes = txSlots.dataBytes;
    this.#splitHeader = plan.splitHeader;
    this.#rxStride = strideOf(rxSlots);
    this.#txStride = strideOf(txSlots);
    this.#rxGpa = gpa;
    this.#txGpa = gpa + rxBytes;
    this.#eventGpa = gpa + rxBytes + txBytes;
    this.#rxDataHva = hva + DATA_AT;
    this.#txDataHva = hva + rxBytes + DATA_AT;
    // SAFETY: see above.
    const [rx, tx] = [viewMemory(hva, rxBytes), viewMemory(hva + rxBytes, txBytes)];
    const events = viewMemory(hva + rxBytes + txBytes, EVENT_SLOTS * EVENT_STRIDE);
    this.#rxWords = new Uint32Array(rx);
    this.#txWords = new Uint32Array(tx);
    this.#eventWords = new Uint32Array(events);
    this.#rxData = slotData(rx, rxSlots);
    this.#txData = slotData(tx, txSlots);
    this.#idleTx = Int32Array.from({ length: txSlots.count }, (_, i) => txSlots.count - 1 - i);
    this.#idleTxCount = txSlots.count;
    this.#rx = new DriverRing(plan.rx.ring);
    this.#tx = new DriverRing(plan.tx.ring);
    this.#event = new DriverRing(plan.event.ring);
    for (const ring of [this.#rx, this.#tx, this.#event]) ring.disableInterrupts();
    this.#kicks = [plan.rx, plan.tx, plan.event].map(({ kickFd }) => new Notifier(dupFd(kickFd)));
    for (let slot = 0; slot < rxSlots.count; slot++) this.#offerRx(slot);
    for (let slot = 0; slot < EVENT_SLOTS; slot++) this.#offerEvent(slot);
    this.flush();
  }

  /** What the device did wrong, if it did; nothing comes from that queue any more. */
  get fault(): VirtqueueFault | null {
    return this.#rx.fault ?? this.#tx.fault ?? this.#event.fault;
  }

  /** Packets that the device has not given back. */
  get txInFlight(): number {
    return this.#tx.inFlight;
  }

  /** How many slots `takeTx` would give, without those that have come back meanwhile. */
  get idleTxCount(): number {
    return this.#idleTxCount;
  }

  /** An idle slot for a packet, or -1. It is the caller's until it is sent, or given back. */
  takeTx(): number {
    if (this.#idleTxCount === 0 && this.reclaimTx() === 0) return -1;
    return this.#idleTx[--this.#idleTxCount] as number;
  }

  /** Gives a slot back that was not sent. */
  returnTx(slot: number): void {
    this.#idleTx[this.#idleTxCount++] = slot;
  }

  /** Takes back the slots of packets that the device has read; returns how many. */
  reclaimTx(): number {
    const ring = this.#tx;
    let count = 0;
    for (let slot = ring.take(); slot >= 0; slot = ring.take()) {
      this.#idleTx[this.#idleTxCount++] = slot;
      count++;
    }
    return count;
  }

  /** Room for the data of a packet, borrowed for as long as the memory is mapped. */
  txData(slot: number): Uint8Array {
    return this.#txData[slot] as Uint8Array;
  }

  /** Where the data of a slot is, for a system call; borrowed like `txData`. */
  txDataHva(slot: number): number {
    return this.#txDataHva + slot * this.#txStride;
  }

  /** Writes the two ends of a packet into the header of a slot. */
  address(slot: number, srcCid: number, srcPort: number, dstCid: number, dstPort: number): void {
    const words = this.#txWords;
    const at = this.#txHeader(slot);
    words[at + VSOCK_WORD.srcCid] = srcCid;
    words[at + VSOCK_WORD.srcCidHigh] = 0;
    words[at + VSOCK_WORD.dstCid] = dstCid;
    words[at + VSOCK_WORD.dstCidHigh] = 0;
    words[at + VSOCK_WORD.srcPort] = srcPort;
    words[at + VSOCK_WORD.dstPort] = dstPort;
  }

  /**
   * Writes the rest of the header and adds the packet to the ring, unseen by the device until
   * `flush`. `dataBytes` of the slot's data go with it. The slot is idle again when the device has
   * read it.
   */
  send(
    slot: number,
    type: number,
    op: number,
    flags: number,
    bufAlloc: number,
    fwdCnt: number,
    dataBytes: number,
  ): void {
    const words = this.#txWords;
    const at = this.#txHeader(slot);
    words[at + VSOCK_WORD.length] = dataBytes;
    words[at + VSOCK_WORD.typeAndOp] = type + op * HIGH_HALF;
    words[at + VSOCK_WORD.flags] = flags;
    words[at + VSOCK_WORD.bufAlloc] = bufAlloc;
    words[at + VSOCK_WORD.fwdCnt] = fwdCnt;
    this.#addTx(slot, dataBytes);
  }

  /**
   * Sends a header of any words, and pieces of data: for tests of a device with what is no packet.
   * `headerBytes` may be less than 44, and the header may say another length than there are data.
   */
  sendRaw(slot: number, header: ArrayLike<number>, headerBytes: number, dataBytes: number): void {
    assert(headerBytes <= VSOCK_HEADER_BYTES && dataBytes <= this.txDataBytes, 'it fits its slot');
    const at = this.#txHeader(slot);
    for (let i = 0; i < VSOCK_WORD.COUNT; i++) this.#txWords[at + i] = header[i] ?? 0;
    const gpa = this.#txGpa + slot * this.#txStride;
    if (headerBytes > 0) this.#tx.stageReadable(gpa + HEADER_AT, headerBytes);
    if (dataBytes > 0) this.#tx.stageReadable(gpa + DATA_AT, dataBytes);
    assert(this.#tx.add(slot), 'each slot has room in the ring');
  }

  /** Shows the device what was sent and offered since, and kicks it where it wants that. */
  flush(): void {
    if (this.#tx.publish()) this.#kick(1);
    if (this.#rx.publish()) this.#kick(0);
    if (this.#event.publish()) this.#kick(2);
  }

  /** Whether `pollRx` would find something; one load of a shared index. */
  hasRx(): boolean {
    return this.#rx.hasUsed();
  }

  /** Whether packets were read by the device since `reclaimTx`. */
  hasReclaimable(): boolean {
    return this.#tx.hasUsed();
  }

  /**
   * Calls `onPacket` for each packet that came, at most `max` of them, with the slot that holds it,
   * until the call returns, and how many bytes of data there are: those that the device wrote, not
   * those that the header tells. -1: the device has not even written a header. Then offers the
   * slots to the device anew, seen by it at the next `flush`. Returns how many came.
   */
  pollRx(onPacket: (slot: number, dataBytes: number) => void, max: number = Infinity): number {
    const ring = this.#rx;
    let count = 0;
    while (count < max) {
      const slot = ring.take();
      if (slot < 0) break;
      count++;
      const bytes = ring.usedBytes - VSOCK_HEADER_BYTES;
      onPacket(slot, bytes >= 0 ? bytes : -1);
      this.#offerRx(slot);
    }
    return count;
  }

  /** A word of the header of a packet that came; see `VSOCK_WORD`. */
  rxWord(slot: number, word: number): number {
    return this.#rxWords[this.#rxHeader(slot) + word] as number;
  }

  /** Room for the data of a packet that came: valid within `onPacket`. */
  rxData(slot: number): Uint8Array {
    return this.#rxData[slot] as Uint8Array;
  }

  /** Where the data of a packet that came is, for a system call; borrowed like `rxData`. */
  rxDataHva(slot: number): number {
    return this.#rxDataHva + slot * this.#rxStride;
  }

  /** Calls `onEvent` for each event that came, and offers its buffer anew. Returns how many. */
  pollEvents(onEvent: (id: number) => void): number {
    const ring = this.#event;
    let count = 0;
    for (let slot = ring.take(); slot >= 0; slot = ring.take()) {
      count++;
      const short = ring.usedBytes < VSOCK_EVENT_BYTES;
      const id = short ? -1 : (this.#eventWords[(slot * EVENT_STRIDE) >> 2] as number);
      this.#offerEvent(slot);
      onEvent(id);
    }
    return count;
  }

  /**
   * Asks the device to notify after the next packet or event that it gives back; `tx` too, for one
   * that waits for a slot. True when something came meanwhile, so poll again before sleeping.
   */
  enableInterrupts(tx: boolean): boolean {
    const rx = this.#rx.enableInterrupts();
    const event = this.#event.enableInterrupts();
    if (!tx) {
      this.#tx.disableInterrupts();
      return rx || event;
    }
    return this.#tx.enableInterrupts() || rx || event;
  }

  /** Closes the kick fds; may be called again. The memory and the queues are the session's. */
  close(): void {
    for (const kick of this.#kicks) kick.close();
  }

  #kick(queue: number): void {
    this.kickCount++;
    (this.#kicks[queue] as Notifier).signal();
  }

  #txHeader(slot: number): number {
    return (slot * this.#txStride + HEADER_AT) >> 2;
  }

  #rxHeader(slot: number): number {
    return (slot * this.#rxStride + HEADER_AT) >> 2;
  }

  #addTx(slot: number, dataBytes: number): void {
    const ring = this.#tx;
    const gpa = this.#txGpa + slot * this.#txStride + HEADER_AT;
    if (this.#splitHeader) {
      ring.stageReadable(gpa, VSOCK_HEADER_BYTES);
      if (dataBytes > 0) ring.stageReadable(gpa + VSOCK_HEADER_BYTES, dataBytes);
    } else {
      ring.stageReadable(gpa, VSOCK_HEADER_BYTES + dataBytes);
    }
    assert(ring.add(slot), 'each slot has room in the ring');
  }

  #offerRx(slot: number): void {
    const ring = this.#rx;
    const gpa = this.#rxGpa + slot * this.#rxStride + HEADER_AT;
    if (this.#splitHeader) {
      ring.stageWritable(gpa, VSOCK_HEADER_BYTES);
      ring.stageWritable(gpa + VSOCK_HEADER_BYTES, this.rxDataBytes);
    } else {
      ring.stageWritable(gpa, VSOCK_HEADER_BYTES + this.rxDataBytes);
    }
    assert(ring.add(slot), 'each slot has room in the ring');
  }

  #offerEvent(slot: number): void {
    this.#event.stageWritable(this.#eventGpa + slot * EVENT_STRIDE, VSOCK_EVENT_BYTES);
    assert(this.#event.add(slot), 'each slot has room in the ring');
  }
}

function strideOf({ dataBytes }: VsockSlots): number {
  return DATA_AT + Math.ceil(dataBytes / SLOT_ALIGN) * SLOT_ALIGN;
}

function areaBytes(slots: VsockSlots): number {
  return slots.count * strideOf(slots);
}

function slotData(area: ArrayBuffer, slots: VsockSlots): Uint8Array[] {
  const stride = strideOf(slots);
  return Array.from({ length: slots.count }, (_, slot) => {
    return new Uint8Array(area, slot * stride + DATA_AT, slots.dataBytes);
  });
}
