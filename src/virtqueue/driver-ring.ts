/**
 * The driver side of a split virtqueue (virtio 1.3, section 2.7): makes chains of buffers available
 * to a device and takes them back when it has used them.
 *
 * The device is not trusted: what it can write is the used ring alone, each element of which is
 * read once and checked; everything that the driver has to remember it keeps in memory of its own.
 * Memory ordering: `docs/memory-ordering.md`.
 *
 * @module
 */
import { assert } from '../util/index.ts';
import { viewMemory } from '../sys/index.ts';
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
import type { RingPlacement, VirtqueueFault } from './virtqueue.ts';

/** VIRTIO_F_INDIRECT_DESC and VIRTIO_F_EVENT_IDX (section 6). */
const VIRTIO_F_INDIRECT_DESC = 1n << 28n;
const VIRTIO_F_EVENT_IDX = 1n << 29n;

/** Index of `flags` and `idx` in a ring seen as 16-bit words, and of its first entry. */
const FLAGS = 0;
const IDX = 1;
const RING = 2;

const WORDS_PER_DESC = 4; // as 32-bit words: | addr low | addr high | len | flags, next |
const NO_DESC = 0xffff; // ends the free list; no ring has a descriptor of this number
const IDLE = -1; // in place of a token: this descriptor begins no chain that the device holds

/** A buffer as the device sees it. */
export interface Segment {
  readonly gpa: number;
  readonly lengthBytes: number;
}

/** Room in shared memory for the tables of indirect chains, one per descriptor of the ring. */
export interface IndirectTables {
  /** Where the device sees it; a multiple of 16. */
  readonly gpa: number;
  /** Where this process has mapped it. `size × descriptorsMax × 16` bytes are used. */
  readonly hva: number;
  /** The longest indirect chain; a longer one has to be direct. */
  readonly descriptorsMax: number;
}

/** A ring in shared memory, which the driver has zeroed (or which holds idle indices of before). */
export interface DriverRingConfig extends RingPlacement {
  /** Entries: a power of two up to 32768. */
  readonly size: number;
  /** The negotiated virtio features; INDIRECT_DESC and EVENT_IDX matter here. */
  readonly features: bigint;
  /** Without it no chain is indirect. */
  readonly indirect?: IndirectTables;
}

/**
 * The driver side of one split ring. Stage the buffers of a chain, `add` it under a token (a number
 * of the caller's), `publish` what was added, and `take` tokens back; none of this allocates.
 *
 * ```ts
 * ring.stageReadable(headerGpa, 16);
 * ring.stageWritable(dataGpa, 4096);
 * ring.stageWritable(statusGpa, 1);
 * ring.add(7);
 * if (ring.publish()) kick.signal();
 * for (let token = ring.take(); token >= 0; token = ring.take()) done(token, ring.usedBytes);
 * ```
 */
export class DriverRing {
  readonly index: number;
  readonly size: number;
  /** Chains that the device holds, or will at the next `publish`. */
  inFlight = 0;
  /** Descriptors that are not in use. */
  freeCount: number;
  /** Of the chain last taken: bytes that the device wrote, never more than it had room for. */
  usedBytes = 0;
  /** How often the device claimed to have written more than there was room for. */
  overlongCount = 0;
  /** Set once, when the device broke the rules; `take` then gives nothing for ever. */
  fault: VirtqueueFault | null = null;

  readonly #mask: number;
  readonly #eventIdx: boolean;
  readonly #indirect: IndirectTables | null;
  readonly #desc: Uint32Array;
  readonly #avail: Uint16Array;
  readonly #used: Uint16Array;
  readonly #usedElems: Uint32Array;
  readonly #tables: Uint32Array;
  // Per descriptor; what the device might overwrite in shared memory is never read back.
  readonly #next: Uint16Array; // of the free list, and of the chain that the descriptor is in
  readonly #tail: Uint16Array; // by head: the chain's last descriptor
  readonly #count: Uint16Array; // by head: descriptors of the ring that the chain takes
  readonly #token: Int32Array; // by head: the caller's token, or IDLE
  readonly #writable: Float64Array; // by head: bytes that the device may write
  #freeHead = 0;
  #availIndex: number; // next entry to write
  #published: number; // avail.idx as last stored
  #usedIndex: number; // next element to take
  #usedSeen: number; // used.idx as last loaded
  // The chain being staged.
  readonly #stagedGpa: Float64Array;
  readonly #stagedLength: Uint32Array;
  #staged = 0;
  #stagedReadable = 0;

  /**
   * SAFETY: the three parts and the indirect tables lie in mapped memory and stay mapped until the
   * last use of this object; the owner of the memory sees to it.
   */
  constructor(config: DriverRingConfig) {
    const { size, indirect } = config;
    assert(size > 0 && size <= QUEUE_SIZE_MAX, 'a split ring has 1 to 32768 entries');
    assert((size & (size - 1)) === 0, 'the size of a split ring is a power of two');
    this.index = config.index;
    this.size = size;
    this.#mask = size - 1;
    this.#eventIdx = (config.features & VIRTIO_F_EVENT_IDX) !== 0n;
    const mayIndirect = (config.features & VIRTIO_F_INDIRECT_DESC) !== 0n;
    this.#indirect = mayIndirect && indirect !== undefined ? indirect : null;
    // SAFETY: see above.
    this.#desc = new Uint32Array(viewMemory(config.descHva, descTableBytes(size)));
    this.#avail = new Uint16Array(viewMemory(config.availHva, availRingBytes(size)));
    const used = viewMemory(config.usedHva, usedRingBytes(size));
    this.#used = new Uint16Array(used);
    this.#usedElems = new Uint32Array(used, 0, 1 + 2 * size);
    const tableBytes = (this.#indirect?.descriptorsMax ?? 0) * DESC.SIZE * size;
    this.#tables =
      this.#indirect === null || tableBytes === 0
        ? new Uint32Array(0)
        : new Uint32Array(viewMemory(this.#indirect.hva, tableBytes));

    this.#next = Uint16Array.from({ length: size }, (_, i) => (i + 1 < size ? i + 1 : NO_DESC));
    this.#tail = new Uint16Array(size);
    this.#count = new Uint16Array(size);
    this.#token = new Int32Array(size).fill(IDLE);
    this.#writable = new Float64Array(size);
    this.#stagedGpa = new Float64Array(size);
    this.#stagedLength = new Uint32Array(size);
    this.freeCount = size;
    this.#availIndex = Atomics.load(this.#avail, IDX);
    this.#published = this.#availIndex;
    this.#usedIndex = Atomics.load(this.#used, IDX);
    this.#usedSeen = this.#usedIndex;
  }

  /** Whether a chain of `segmentCount` buffers fits right now; never one of more than `size`. */
  hasRoom(segmentCount: number): boolean {
    if (segmentCount > this.size) return false;
    return this.freeCount >= (this.#isIndirect(segmentCount) ? 1 : segmentCount);
  }

  /** Stages a buffer that the device reads; these come before those that it writes. */
  stageReadable(gpa: number, lengthBytes: number): void {
    assert(this.#staged === this.#stagedReadable, 'readable buffers come before writable ones');
    this.#stage(gpa, lengthBytes);
    this.#stagedReadable = this.#staged;
  }

  /** Stages a buffer that the device writes. */
  stageWritable(gpa: number, lengthBytes: number): void {
    this.#stage(gpa, lengthBytes);
  }

  /**
   * Makes the staged buffers a chain, to be shown to the device by the next `publish`. `token` is a
   * number from 0 to 2^31 - 1. Returns false, and drops what was staged, when there is no room.
   */
  add(token: number): boolean {
    const count = this.#staged;
    assert(count > 0, 'a chain has at least one buffer');
    assert(token >= 0, 'tokens are not negative');
    const indirect = this.#isIndirect(count);
    const needed = indirect ? 1 : count;
    const head = this.#freeHead;
    const readable = this.#stagedReadable;
    this.#staged = 0;
    this.#stagedReadable = 0;
    if (this.freeCount < needed) return false;
    const tail = indirect ? this.#fillTable(head, count, readable) : this.#fill(count, readable);
    this.#freeHead = this.#next[tail] as number;
    this.freeCount -= needed;
    this.#tail[head] = tail;
    this.#count[head] = needed;
    this.#token[head] = token;
    this.#writable[head] = this.#stagedWritableBytes(readable, count);
    this.#avail[RING + (this.#availIndex & this.#mask)] = head;
    this.#availIndex = (this.#availIndex + 1) & 0xffff;
    this.inFlight++;
    return true;
  }

  /** Stages and adds a chain in one call, for code that is not in a hurry. */
  addChain(readable: readonly Segment[], writable: readonly Segment[], token: number): boolean {
    if (readable.length + writable.length > this.size) return false;
    for (const { gpa, lengthBytes } of readable) this.stageReadable(gpa, lengthBytes);
    for (const { gpa, lengthBytes } of writable) this.stageWritable(gpa, lengthBytes);
    return this.add(token);
  }

  /** Shows all added chains to the device at once; true when it wants to be kicked. */
  publish(): boolean {
    const old = this.#published;
    const next = this.#availIndex;
    if (next === old) return false;
    // Release: descriptors and entries come before the index that shows them. Pairs with the
    // device's load of avail.idx.
    Atomics.store(this.#avail, IDX, next);
    this.#published = next;
    // Full fence between the store above and the loads below (all are sequentially consistent):
    // either we see that the device went to sleep, or it sees the entry. Pairs with the device's
    // store of avail_event or flags followed by its load of avail.idx.
    if (!this.#eventIdx) return (Atomics.load(this.#used, FLAGS) & VIRTQ_USED_F_NO_NOTIFY) === 0;
    return needsEvent(Atomics.load(this.#used, RING + 4 * this.size), next, old);
  }

  /** Whether `take` would find something; one load, for a polling loop. */
  hasUsed(): boolean {
    return Atomics.load(this.#used, IDX) !== this.#usedIndex && this.fault === null;
  }

  /** The token of the next chain that the device has used, or -1: there is none, or a fault. */
  take(): number {
    const usedIndex = this.#usedIndex;
    if (usedIndex === this.#usedSeen && !this.#loadUsedIndex()) return -1;
    if (this.fault !== null) return -1;
    const at = 1 + 2 * (usedIndex & this.#mask);
    const head = this.#usedElems[at] as number;
    const length = this.#usedElems[at + 1] as number;
    const token = head < this.size ? (this.#token[head] as number) : IDLE;
    if (token === IDLE) return this.#refuseElement(usedIndex, head);
    const room = this.#writable[head] as number;
    if (length > room) this.overlongCount++;
    this.usedBytes = Math.min(length, room);
    this.#release(head);
    this.#usedIndex = (usedIndex + 1) & 0xffff;
    this.inFlight--;
    return token;
  }

  /** Asks the device not to notify: a hint; with EVENT_IDX it still does once in 2^16 chains. */
  disableInterrupts(): void {
    // With EVENT_IDX the flag stays 0 (section 2.7.7.1), and an event that has just passed is
    // silent.
    if (this.#eventIdx) {
      Atomics.store(this.#avail, RING + this.size, (this.#usedIndex - 1) & 0xffff);
    } else {
      Atomics.store(this.#avail, FLAGS, VIRTQ_AVAIL_F_NO_INTERRUPT);
    }
  }

  /**
   * Asks the device to notify after the next `after` used chains (with EVENT_IDX; else after each).
   * True when chains were used meanwhile, so `take` again before sleeping.
   */
  enableInterrupts(after: number = 1): boolean {
    if (this.#eventIdx) {
      Atomics.store(this.#avail, RING + this.size, (this.#usedIndex + after - 1) & 0xffff);
    } else {
      Atomics.store(this.#avail, FLAGS, 0);
    }
    // Full fence between the store above and this load. Pairs with the device's store of used.idx
    // followed by its load of used_event or flags.
    const waiting = (Atomics.load(this.#used, IDX) - this.#usedIndex) & 0xffff;
    return waiting >= after || this.fault !== null;
  }

  /** Takes back every chain that the device still holds, once the device is gone. */
  abandon(onToken: (token: number) => void): void {
    for (let head = 0; head < this.size; head++) {
      const token = this.#token[head] as number;
      if (token === IDLE) continue;
      this.#release(head);
      this.inFlight--;
      onToken(token);
    }
  }

  #stage(gpa: number, lengthBytes: number): void {
    const at = this.#staged;
    assert(at < this.size, 'a chain fits its ring');
    this.#stagedGpa[at] = gpa;
    this.#stagedLength[at] = lengthBytes;
    this.#staged = at + 1;
  }

  #isIndirect(segmentCount: number): boolean {
    const indirect = this.#indirect;
    return indirect !== null && segmentCount > 1 && segmentCount <= indirect.descriptorsMax;
  }

  /** Writes the staged buffers to descriptors from the free list on; returns the last of them. */
  #fill(count: number, readable: number): number {
    let index = this.#freeHead;
    for (let i = 0; ; i++) {
      const last = i === count - 1;
      const next = this.#next[index] as number; // the free list is in the order of the chain
      const flags = (i < readable ? 0 : VIRTQ_DESC_F_WRITE) | (last ? 0 : VIRTQ_DESC_F_NEXT);
      this.#fillOne(this.#desc, index, i, flags, last ? 0 : next);
      if (last) return index;
      index = next;
    }
  }

  /** Writes the staged buffers to the table of `head`, and its one descriptor. */
  #fillTable(head: number, count: number, readable: number): number {
    const { gpa, descriptorsMax } = this.#indirect as IndirectTables;
    const first = head * descriptorsMax;
    for (let i = 0; i < count; i++) {
      const last = i === count - 1;
      const flags = (i < readable ? 0 : VIRTQ_DESC_F_WRITE) | (last ? 0 : VIRTQ_DESC_F_NEXT);
      this.#fillOne(this.#tables, first + i, i, flags, last ? 0 : i + 1);
    }
    const tableGpa = gpa + first * DESC.SIZE;
    const at = head * WORDS_PER_DESC;
    this.#desc[at] = tableGpa;
    this.#desc[at + 1] = tableGpa / 0x1_0000_0000;
    this.#desc[at + 2] = count * DESC.SIZE;
    this.#desc[at + 3] = VIRTQ_DESC_F_INDIRECT;
    return head;
  }

  #fillOne(table: Uint32Array, index: number, staged: number, flags: number, next: number): void {
    const gpa = this.#stagedGpa[staged] as number;
    const at = index * WORDS_PER_DESC;
    table[at] = gpa; // stored modulo 2^32
    table[at + 1] = gpa / 0x1_0000_0000;
    table[at + 2] = this.#stagedLength[staged] as number;
    table[at + 3] = flags | (next << 16);
  }

  #stagedWritableBytes(readable: number, count: number): number {
    let bytes = 0;
    for (let i = readable; i < count; i++) bytes += this.#stagedLength[i] as number;
    return bytes;
  }

  /** Loads used.idx; false when there is nothing to take, or when the index cannot be right. */
  #loadUsedIndex(): boolean {
    // Acquire: used elements and the bytes of buffers are read after it. Pairs with the device's
    // store of used.idx.
    const idx = Atomics.load(this.#used, IDX);
    const waiting = (idx - this.#usedIndex) & 0xffff;
    if (waiting === 0 || this.fault !== null) return false;
    const held = this.inFlight - ((this.#availIndex - this.#published) & 0xffff);
    if (waiting > held) {
      this.#break(
        'ERR_VHU_RING_USED_INDEX',
        `used.idx ${String(idx)} is ${String(waiting)} elements ahead of ` +
          `${String(this.#usedIndex)}, but the device holds ${String(held)} chains`,
      );
      return false;
    }
    this.#usedSeen = idx;
    return true;
  }

  #release(head: number): void {
    this.#next[this.#tail[head] as number] = this.#freeHead;
    this.#freeHead = head;
    this.freeCount += this.#count[head] as number;
    this.#token[head] = IDLE;
  }

  #refuseElement(usedIndex: number, head: number): -1 {
    const where = `used element ${String(usedIndex)} names descriptor ${String(head)}`;
    if (head >= this.size) {
      this.#break('ERR_VHU_RING_USED_ID', `${where} of ${String(this.size)}`);
    } else {
      const text = `${where}, which begins no chain that the device holds: it was used twice?`;
      this.#break('ERR_VHU_RING_USED_IDLE', text);
    }
    return -1;
  }

  #break(code: string, text: string): void {
    this.fault ??= { code, message: `queue ${String(this.index)}: ${text}` };
  }
}
