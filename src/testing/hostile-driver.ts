/**
 * A driver without manners: it writes descriptors, entries and indices of any value, for tests of
 * how a device takes it. See also `hostile-chains.ts` for what it can do wrong.
 *
 * @module
 */
import type { GuestMemory } from '../memory/index.ts';
import { AVAIL, DESC, USED, USED_ELEM } from '../virtqueue/index.ts';

/** A descriptor; what is left out is 0. `addr` may be a bigint, for addresses from 2^53 up. */
export interface RawDescriptor {
  readonly addr?: number | bigint;
  readonly len?: number;
  readonly flags?: number;
  readonly next?: number;
}

/** Where the ring is, and memory to play with. */
export interface HostileRing {
  readonly memory: GuestMemory;
  readonly size: number;
  readonly descGpa: number;
  readonly availGpa: number;
  readonly usedGpa: number;
  /** Room for buffers and tables. */
  readonly scratchGpa: number;
  readonly scratchBytes: number;
  /** Where a second region begins in the scratch room, or where memory ends. */
  readonly splitGpa: number;
}

/** An element of the used ring. */
export interface RawUsed {
  readonly id: number;
  readonly len: number;
}

/** Writes to one ring, unchecked. */
export class HostileDriver {
  readonly ring: HostileRing;
  #availIndex: number;
  #usedIndex: number;

  constructor(ring: HostileRing) {
    this.ring = ring;
    this.#availIndex = ring.memory.readU16(ring.availGpa + AVAIL.idx);
    this.#usedIndex = ring.memory.readU16(ring.usedGpa + USED.idx);
  }

  /** The first address that is in no region. */
  get endGpa(): number {
    const last = this.ring.memory.regions.at(-1);
    return last === undefined ? 0 : last.gpa + last.sizeBytes;
  }

  /** Writes entry `index` of the descriptor table, or of the table at `tableGpa`. */
  desc(index: number, descriptor: RawDescriptor, tableGpa: number = this.ring.descGpa): void {
    const { memory } = this.ring;
    const at = tableGpa + index * DESC.SIZE;
    const addr = BigInt(descriptor.addr ?? 0);
    memory.writeU32(at + DESC.addr, Number(addr & 0xffff_ffffn));
    memory.writeU32(at + DESC.addr + 4, Number((addr >> 32n) & 0xffff_ffffn));
    memory.writeU32(at + DESC.len, descriptor.len ?? 0);
    memory.writeU16(at + DESC.flags, descriptor.flags ?? 0);
    memory.writeU16(at + DESC.next, descriptor.next ?? 0);
  }

  /** Writes one entry of the available ring, at any place. */
  availEntry(place: number, head: number): void {
    const { memory, size, availGpa } = this.ring;
    memory.writeU16(availGpa + AVAIL.ring + (place & (size - 1)) * AVAIL.ENTRY_SIZE, head);
  }

  /** Writes avail.idx. */
  availIndex(index: number): void {
    this.#availIndex = index & 0xffff;
    this.ring.memory.writeU16(this.ring.availGpa + AVAIL.idx, this.#availIndex);
  }

  /** Writes avail.flags. */
  availFlags(flags: number): void {
    this.ring.memory.writeU16(this.ring.availGpa + AVAIL.flags, flags);
  }

  /** Writes used_event, behind the available ring. */
  usedEvent(index: number): void {
    const { memory, availGpa, size } = this.ring;
    memory.writeU16(availGpa + AVAIL.ring + size * AVAIL.ENTRY_SIZE, index);
  }

  /** Offers heads the way a driver does: entries first, then the index. */
  offer(...heads: readonly number[]): void {
    let index = this.#availIndex;
    for (const head of heads) {
      this.availEntry(index, head);
      index = (index + 1) & 0xffff;
    }
    this.availIndex(index);
  }

  /** The elements that the device used since the last call. */
  used(): RawUsed[] {
    const { memory, usedGpa, size } = this.ring;
    const list: RawUsed[] = [];
    const end = memory.readU16(usedGpa + USED.idx);
    for (; this.#usedIndex !== end; this.#usedIndex = (this.#usedIndex + 1) & 0xffff) {
      const at = usedGpa + USED.ring + (this.#usedIndex & (size - 1)) * USED.ENTRY_SIZE;
      list.push({
        id: memory.readU32(at + USED_ELEM.id),
        len: memory.readU32(at + USED_ELEM.len),
      });
    }
    return list;
  }
}
