/**
 * The device side of a split virtqueue (virtio 1.3, section 2.7).
 *
 * The guest owns the descriptors and the available ring and may write to them at any moment, so
 * each field is read once into a local and checked there. Memory ordering:
 * `docs/memory-ordering.md`.
 *
 * @module
 */
import { assert } from '../util/index.ts';
import { viewMemory } from '../sys/index.ts';
import { GuestMemory, VIEW_BYTES_MAX, joinU64 } from '../memory/index.ts';
import type { Chain } from './chain.ts';
import { ChainPool } from './chain-pool.ts';
import type {
  RingConfig,
  RingPlacement,
  RingState,
  Virtqueue,
  VirtqueueFault,
} from './virtqueue.ts';
import {
  DESC,
  QUEUE_SIZE_MAX,
  VIRTQ_AVAIL_F_NO_INTERRUPT,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
  VIRTQ_USED_F_NO_NOTIFY,
  availRingBytes,
  descTableBytes,
  needsEvent,
  usedRingBytes,
} from './layout.ts';

/** VIRTIO_F_INDIRECT_DESC and VIRTIO_F_EVENT_IDX (section 6). */
const VIRTIO_F_INDIRECT_DESC = 1n << 28n;
const VIRTIO_F_EVENT_IDX = 1n << 29n;

/**
 * Descriptors of one indirect chain. A driver must not make a chain longer than the ring (section
 * 2.7.5.3.1), but Linux does when the ring is short, and QEMU serves 1024; so do we.
 */
const INDIRECT_DESCRIPTORS_MAX = 1024;

/**
 * Segments of a chain for each descriptor that it may have. A buffer that crosses many regions has
 * more, but a chain of nothing else would make a guest of many regions take up gigabytes here.
 */
const SEGMENTS_PER_DESCRIPTOR = 2;

const NO_MEMORY = new GuestMemory([]);

/** Index of `flags` and `idx` in a ring seen as 16-bit words, and of its first entry. */
const FLAGS = 0;
const IDX = 1;
const RING = 2;

/**
 * A split ring. `pop`, `push` and `publish` allocate nothing once there were as many chains in
 * flight, of as many segments (`ChainPool`).
 *
 * ```ts
 * for (let chain = queue.pop(); chain !== null; chain = queue.pop()) {
 *   queue.push(chain, chain.copyToWritable(0, answer));
 * }
 * if (queue.publish()) call.signal();
 * ```
 */
export class SplitVirtqueue implements Virtqueue {
  readonly index: number;
  readonly size: number;
  inFlight = 0;
  fault: VirtqueueFault | null = null;

  readonly #mask: number;
  readonly #eventIdx: boolean;
  readonly #indirect: boolean;
  readonly #pool: ChainPool;
  readonly #busy: Uint8Array; // by head: 1 while its chain is taken
  #memory: GuestMemory;
  #desc: DataView = new DataView(new ArrayBuffer(0));
  readonly #entry: DataView = new DataView(new ArrayBuffer(DESC.SIZE));
  #avail: Uint16Array = new Uint16Array(0);
  #used: Uint16Array = new Uint16Array(0);
  #usedElems: Uint32Array = new Uint32Array(0);
  #availIndex: number; // next entry to take
  #availSeen: number; // avail.idx as last loaded; entries before it may be read
  #usedIndex: number; // next entry to write
  #published: number; // used.idx as last stored
  #calledAt: number; // used.idx at the last decision about a notification
  #abandoned = false; // the device failed with chains in its hands
  #firstPublish = true; // the driver's used_event may be from before we came: notify once

  /**
   * SAFETY: the three parts lie in mapped memory (the session has checked that each is inside one
   * region) and stay mapped until `relocate` or until the last use of this object.
   *
   * The used index is taken from the ring itself, as the specification has no message for it.
   */
  constructor(config: RingConfig, memory: GuestMemory) {
    const { size } = config;
    const sane = Number.isInteger(size) && size > 0 && size <= QUEUE_SIZE_MAX;
    assert(sane, 'a split ring has 1 to 32768 entries');
    assert((size & (size - 1)) === 0, 'the size of a split ring is a power of two');
    this.index = config.index;
    this.size = size;
    this.#mask = size - 1;
    this.#eventIdx = (config.features & VIRTIO_F_EVENT_IDX) !== 0n;
    this.#indirect = (config.features & VIRTIO_F_INDIRECT_DESC) !== 0n;
    this.#pool = new ChainPool(size);
    this.#busy = new Uint8Array(size);
    this.#memory = memory;
    this.#availIndex = config.availIndex & 0xffff;
    this.#availSeen = this.#availIndex;
    this.#usedIndex = 0;
    this.#published = 0;
    this.#calledAt = 0;
    this.relocate(config, memory);
    this.#usedIndex = Atomics.load(this.#used, IDX);
    this.#published = this.#usedIndex;
    this.#calledAt = this.#usedIndex;
  }

  /** Moves the ring to new host addresses after the memory table changed; nothing is in flight. */
  relocate(placement: RingPlacement, memory: GuestMemory): void {
    assert(this.inFlight === 0, 'a ring moves only when nothing is in flight');
    this.#memory = memory;
    const { size } = this;
    // SAFETY: see the constructor; the alignment (16, 2, 4) was checked by the session.
    this.#desc = new DataView(viewMemory(placement.descHva, descTableBytes(size)));
    this.#avail = new Uint16Array(viewMemory(placement.availHva, availRingBytes(size)));
    const used = viewMemory(placement.usedHva, usedRingBytes(size));
    this.#used = new Uint16Array(used);
    this.#usedElems = new Uint32Array(used, 0, 1 + 2 * size);
  }

  hasAvailable(beyond: number = 0): boolean {
    const waiting = (Atomics.load(this.#avail, IDX) - this.#availIndex) & 0xffff;
    return waiting > beyond && this.fault === null && !this.#pool.exhausted;
  }

  pop(): Chain | null {
    const availIndex = this.#availIndex;
    if (availIndex === this.#availSeen && !this.#loadAvailIndex()) return null;
    if (this.fault !== null || this.#pool.exhausted) return null;
    const head = this.#avail[RING + (availIndex & this.#mask)] as number;
    if (head >= this.size) {
      this.#break(
        'ERR_VHU_RING_HEAD',
        `available entry ${String(availIndex)} names descriptor ${String(head)} of ` +
          String(this.size),
      );
      return null;
    }
    if (this.#busy[head] !== 0) {
      this.#break(
        'ERR_VHU_RING_HEAD_BUSY',
        `available entry ${String(availIndex)} names descriptor ${String(head)}, whose chain is ` +
          'still being processed',
      );
      return null;
    }
    const chain = this.#pool.take(head, this.#memory);
    if (!this.#walk(chain)) {
      this.#pool.give(chain);
      return null;
    }
    chain.taken = true;
    this.#busy[head] = 1;
    this.inFlight++;
    this.#availIndex = (availIndex + 1) & 0xffff;
    return chain;
  }

  push(chain: Chain, writtenBytes: number): void {
    if (!chain.taken) {
      assert(this.#abandoned, 'a chain is given back once');
      return;
    }
    this.#release(chain);
    const at = 1 + 2 * (this.#usedIndex & this.#mask);
    this.#usedElems[at] = chain.head;
    this.#usedElems[at + 1] = writtenBytes;
    this.#usedIndex = (this.#usedIndex + 1) & 0xffff;
  }

  unpop(chain: Chain): void {
    if (!chain.taken) {
      assert(this.#abandoned, 'a chain is given back once');
      return;
    }
    this.#release(chain);
    this.#availIndex = (this.#availIndex - 1) & 0xffff;
  }

  publish(): boolean {
    const next = this.#usedIndex;
    if (next === this.#published) return false;
    // Release: the used elements, and the bytes that the device wrote to the buffers, come before
    // the index that shows them. Pairs with the driver's load of used.idx.
    Atomics.store(this.#used, IDX, next);
    this.#published = next;
    return this.#wantsCall(next);
  }

  publishQuietly(): boolean {
    const next = this.#usedIndex;
    if (next === this.#published || this.#driverListens(next, this.#calledAt)) return false;
    // The driver may have begun to listen just now: publish() looks again, after its store.
    return this.publish();
  }

  disableNotifications(): void {
    // With EVENT_IDX the flag is ignored and a stale avail_event silences the driver by itself.
    if (!this.#eventIdx) Atomics.store(this.#used, FLAGS, VIRTQ_USED_F_NO_NOTIFY);
  }

  enableNotifications(beyond: number = 0): boolean {
    // The driver notifies when it makes the entry of this index available.
    const event = (this.#availIndex + beyond) & 0xffff;
    if (this.#eventIdx) Atomics.store(this.#used, RING + 4 * this.size, event);
    else Atomics.store(this.#used, FLAGS, 0);
    // Full fence between the store above and this load (both are sequentially consistent): either
    // the driver sees that we want to hear, or we see its entry. Pairs with the driver's store of
    // avail.idx followed by its load of avail_event or flags.
    return this.hasAvailable(beyond);
  }

  breakRing(fault: VirtqueueFault): void {
    this.fault ??= fault;
  }

  abandon(): void {
    assert(this.fault !== null, 'only a broken ring is abandoned');
    this.#abandoned = true;
    for (const chain of this.#pool.chains) {
      if (!chain.taken) continue;
      chain.taken = false;
      chain.clear(NO_MEMORY); // whoever holds it must not reach what may be unmapped by then
    }
    this.inFlight = 0;
  }

  savedState(): RingState {
    return { availIndex: this.#availIndex, usedIndex: this.#usedIndex };
  }

  #release(chain: Chain): void {
    chain.taken = false;
    this.#busy[chain.head] = 0;
    this.inFlight--;
    this.#pool.give(chain);
  }

  /** Loads avail.idx; false when there is nothing to take, or when the index cannot be right. */
  #loadAvailIndex(): boolean {
    // Acquire: entries and descriptors are read after it. Pairs with the driver's store of
    // avail.idx.
    const idx = Atomics.load(this.#avail, IDX);
    const waiting = (idx - this.#availIndex) & 0xffff;
    if (waiting === 0 || this.fault !== null) return false;
    if (waiting > this.size) {
      this.#break(
        'ERR_VHU_RING_AVAIL_INDEX',
        `avail.idx ${String(idx)} is ${String(waiting)} entries ahead of ` +
          `${String(this.#availIndex)}, but the ring has ${String(this.size)}: the driver was ` +
          'reset without the device, or wrote over its ring',
      );
      return false;
    }
    this.#availSeen = idx;
    return true;
  }

  /** Whether the driver wants to hear that used.idx reached `next` (sections 2.7.7, 2.7.10). */
  #wantsCall(next: number): boolean {
    // The load follows the store of used.idx, and sequential consistency keeps it behind: else the
    // driver could arm its event just before and neither side would see the other.
    const old = this.#calledAt;
    this.#calledAt = next;
    const listens = this.#driverListens(next, old);
    this.#firstPublish = false;
    return listens;
  }

  #driverListens(next: number, old: number): boolean {
    if (!this.#eventIdx) {
      return (Atomics.load(this.#avail, FLAGS) & VIRTQ_AVAIL_F_NO_INTERRUPT) === 0;
    }
    const event = Atomics.load(this.#avail, RING + this.size);
    return this.#firstPublish || needsEvent(event, next, old);
  }

  /** Follows the chain from its head; false when it broke a rule and with it the ring. */
  #walk(chain: Chain): boolean {
    const desc = this.#desc;
    let index = chain.head;
    for (let seen = 1; seen <= this.size; seen++) {
      const at = index * DESC.SIZE;
      const flags = desc.getUint16(at + DESC.flags, true);
      const address = joinU64(desc.getUint32(at, true), desc.getUint32(at + 4, true));
      const length = desc.getUint32(at + DESC.len, true);
      if ((flags & VIRTQ_DESC_F_INDIRECT) !== 0) {
        return this.#walkIndirect(chain, index, address, length, flags);
      }
      const next = desc.getUint16(at + DESC.next, true);
      if (!this.#append(chain, index, address, length, flags)) return false;
      if ((flags & VIRTQ_DESC_F_NEXT) === 0) return true;
      if (next >= this.size) {
        return this.#break(
          'ERR_VHU_RING_NEXT',
          `descriptor ${String(index)} goes on at ${String(next)} of ${String(this.size)}`,
        );
      }
      index = next;
    }
    return this.#break(
      'ERR_VHU_RING_LOOP',
      `the chain at descriptor ${String(chain.head)} visits more than ${String(this.size)} ` +
        'descriptors: it loops',
    );
  }

  /** Follows an indirect table (section 2.7.5.3), which ends the chain. */
  #walkIndirect(
    chain: Chain,
    tableIndex: number,
    table: number,
    tableBytes: number,
    flags: number,
  ): boolean {
    const count = tableBytes / DESC.SIZE;
    if (!this.#checkTable(tableIndex, count, flags)) return false;
    const memory = this.#memory;
    // Nearly every table is small, and in one region: it is looked for once.
    const whole = tableBytes <= VIEW_BYTES_MAX ? memory.viewOf(table, tableBytes) : null;
    const start = memory.viewOffset;
    let index = 0;
    for (let seen = 1; seen <= count; seen++) {
      let view = whole;
      let offset = start + index * DESC.SIZE;
      if (view === null) {
        const at = table + index * DESC.SIZE;
        if (!this.#copyEntry(at)) {
          return this.#breakTable('ERR_VHU_RING_UNMAPPED', tableIndex, `no memory at ${hex(at)}`);
        }
        view = this.#entry;
        offset = 0;
      }
      const entryFlags = view.getUint16(offset + DESC.flags, true);
      const address = joinU64(view.getUint32(offset, true), view.getUint32(offset + 4, true));
      const length = view.getUint32(offset + DESC.len, true);
      const next = view.getUint16(offset + DESC.next, true);
      if ((entryFlags & VIRTQ_DESC_F_INDIRECT) !== 0) {
        return this.#breakTable('ERR_VHU_RING_INDIRECT', tableIndex, 'holds another such table');
      }
      if (!this.#append(chain, tableIndex, address, length, entryFlags)) return false;
      if ((entryFlags & VIRTQ_DESC_F_NEXT) === 0) return true;
      if (next >= count) {
        const where = `goes on at ${String(next)} of ${String(count)}`;
        return this.#breakTable('ERR_VHU_RING_NEXT', tableIndex, where);
      }
      index = next;
    }
    return this.#breakTable('ERR_VHU_RING_LOOP', tableIndex, 'loops');
  }

  /** Whether a descriptor may be what it says: an indirect table of `count` descriptors. */
  #checkTable(tableIndex: number, count: number, flags: number): boolean {
    const code = 'ERR_VHU_RING_INDIRECT';
    if (!this.#indirect) {
      return this.#breakTable(code, tableIndex, 'INDIRECT_DESC was not negotiated');
    }
    if ((flags & VIRTQ_DESC_F_NEXT) !== 0) {
      return this.#breakTable(code, tableIndex, 'has the flag NEXT as well');
    }
    const limit = this.#descriptorsMax();
    if (count >= 1 && count <= limit && Number.isInteger(count)) return true;
    const bytes = String(count * DESC.SIZE);
    const text = `has ${bytes} bytes: it holds 1 to ${String(limit)} descriptors of 16`;
    return this.#breakTable(code, tableIndex, text);
  }

  /** Descriptors of one chain. */
  #descriptorsMax(): number {
    return Math.max(this.size, INDIRECT_DESCRIPTORS_MAX);
  }

  /**
   * Copies a table entry to `#entry`, of a table that lies in more than one region: an entry may as
   * well, since a table needs no alignment. False when part of it lies in none.
   */
  #copyEntry(gpa: number): boolean {
    let run = 0;
    while (run < DESC.SIZE) {
      const count = this.#memory.runLength(gpa + run); // at least 1, so this ends
      if (count === 0) return false;
      run += count;
    }
    this.#memory.copyFrom(gpa, new Uint8Array(this.#entry.buffer));
    return true;
  }

  /** Adds one descriptor's buffer, split where memory regions end. */
  #append(
    chain: Chain,
    index: number,
    address: number,
    lengthBytes: number,
    flags: number,
  ): boolean {
    const writable = (flags & VIRTQ_DESC_F_WRITE) !== 0;
    if (!writable && chain.segmentCount > chain.readableCount) {
      return this.#break(
        'ERR_VHU_RING_ORDER',
        `descriptor ${String(index)}: a readable buffer after a writable one`,
      );
    }
    const hva = this.#memory.hvaOf(address, lengthBytes);
    if (hva >= 0) {
      if (lengthBytes > 0) chain.append(address, hva, lengthBytes, writable);
      return true;
    }
    let gpa = address;
    let rest = lengthBytes;
    while (rest > 0) {
      // Bounded: each turn uses up one region, and a gpa outside of all regions ends it.
      const count = Math.min(rest, this.#memory.runLength(gpa));
      if (count === 0) {
        return this.#break(
          'ERR_VHU_RING_UNMAPPED',
          `descriptor ${String(index)}: buffer at gpa ${hex(address)} of ${String(lengthBytes)} ` +
            `bytes: no memory at ${hex(gpa)}`,
        );
      }
      if (chain.segmentCount >= SEGMENTS_PER_DESCRIPTOR * this.#descriptorsMax()) {
        return this.#break(
          'ERR_VHU_RING_SEGMENTS',
          `descriptor ${String(index)}: the chain's buffers cross from region to region more ` +
            `than ${String(chain.segmentCount)} times`,
        );
      }
      chain.append(gpa, this.#memory.hvaOf(gpa, count), count, writable);
      gpa += count;
      rest -= count;
    }
    return true;
  }

  #breakTable(code: string, tableIndex: number, text: string): false {
    return this.#break(code, `the indirect table of descriptor ${String(tableIndex)}: ${text}`);
  }

  #break(code: string, text: string): false {
    this.fault ??= { code, message: `queue ${String(this.index)}: ${text}` };
    return false;
  }
}

function hex(value: number): string {
  return Number.isFinite(value) ? `0x${value.toString(16)}` : 'beyond 2^53';
}
