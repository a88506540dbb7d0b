/**
 * Gives out ranges of a piece of memory: first fit, neighbours joined when they come back. For
 * set-up and for buffers that live long; requests use what was given out before.
 *
 * @module
 */
import { assert } from '../util/index.ts';

/** A free range. */
interface Hole {
  offset: number;
  bytes: number;
}

/** See the module. Offsets and sizes are in bytes. */
export class RangeAllocator {
  readonly sizeBytes: number;
  readonly #holes: Hole[]; // sorted by offset, no two of them touch
  readonly #taken = new Map<number, number>(); // offset to bytes

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
    this.#holes = [{ offset: 0, bytes: sizeBytes }];
  }

  /** Bytes that are given out. */
  get takenBytes(): number {
    return this.sizeBytes - this.#holes.reduce((sum, hole) => sum + hole.bytes, 0);
  }

  /** The largest range that could be given out with an alignment of 1. */
  get largestHoleBytes(): number {
    return this.#holes.reduce((largest, hole) => Math.max(largest, hole.bytes), 0);
  }

  /** The offset of a new range, a multiple of `align`; -1 when no hole is large enough. */
  allocate(bytes: number, align: number): number {
    assert(bytes > 0 && align > 0, 'a range has bytes and an alignment');
    for (let i = 0; i < this.#holes.length; i++) {
      const hole = this.#holes[i] as Hole;
      const offset = Math.ceil(hole.offset / align) * align;
      const end = hole.offset + hole.bytes;
      if (offset + bytes > end) continue;
      const before = { offset: hole.offset, bytes: offset - hole.offset };
      const after = { offset: offset + bytes, bytes: end - offset - bytes };
      this.#holes.splice(i, 1, ...[before, after].filter((rest) => rest.bytes > 0));
      this.#taken.set(offset, bytes);
      return offset;
    }
    return -1;
  }

  /** Takes a range back by the offset that `allocate` gave. */
  release(offset: number): void {
    const bytes = this.#taken.get(offset);
    assert(bytes !== undefined, 'a range is released once, by its first byte');
    this.#taken.delete(offset);
    let at = this.#holes.findIndex((hole) => hole.offset > offset);
    if (at < 0) at = this.#holes.length;
    this.#holes.splice(at, 0, { offset, bytes });
    this.#join(at);
    if (at > 0) this.#join(at - 1);
  }

  /** Makes hole `at` and the one after it one, when they touch. */
  #join(at: number): void {
    const hole = this.#holes[at];
    const next = this.#holes[at + 1];
    if (hole === undefined || next === undefined || hole.offset + hole.bytes !== next.offset)
      return;
    hole.bytes += next.bytes;
    this.#holes.splice(at + 1, 1);
  }
}
