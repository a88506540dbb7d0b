/**
 * A descriptor chain that the device has taken: its buffers as segments in guest and host
 * addresses.
 *
 * @module
 */
import { copyMemory } from '../sys/index.ts';
import type { GuestMemory } from '../memory/index.ts';
import { joinU64 } from '../memory/index.ts';

/** Up to so many bytes a loop is quicker than a call of memcpy. */
const FEW_BYTES = 64;
const SEGMENTS_AT_FIRST = 8; // most chains are shorter; a longer one makes its arrays grow once

/** Segments that chains have room for beyond {@link SEGMENTS_AT_FIRST} each; counted by them. */
export interface GrownSegments {
  count: number;
}

/** Memory outside of the JavaScript heap, as a view and by the address of its first byte. */
export interface NativeBytes {
  readonly address: number;
  readonly view: DataView;
}

/**
 * The buffers of one request. Segments `[0, readableCount)` are for the device to read, segments
 * `[readableCount, segmentCount)` for it to write; a buffer that crosses two memory regions is two
 * segments. Each field of each descriptor was read from the ring once, so nothing here changes when
 * a guest rewrites its descriptors.
 *
 * Borrowed from its queue between `pop` and `push`; the queue owns it and uses it again.
 */
export class Chain {
  /** Index of the chain's first descriptor: its name in the used ring; set by the queue. */
  head: number;
  /** Free for the device, for example the slot of the request. */
  tag = 0;
  readableCount = 0;
  segmentCount = 0;
  readableBytes = 0;
  writableBytes = 0;
  /** Per segment: guest address, host address, bytes. Entries from `segmentCount` on are stale. */
  gpa: Float64Array = new Float64Array(SEGMENTS_AT_FIRST);
  hva: Float64Array = new Float64Array(SEGMENTS_AT_FIRST);
  length: Uint32Array = new Uint32Array(SEGMENTS_AT_FIRST);
  /** Whether the device holds it; kept by the queue. */
  taken = false;
  #memory: GuestMemory;
  readonly #grown: GrownSegments;

  /** @internal Made by its queue. `grown` is the count of all its chains; this one adds to it. */
  constructor(head: number, memory: GuestMemory, grown: GrownSegments = { count: 0 }) {
    this.head = head;
    this.#memory = memory;
    this.#grown = grown;
  }

  /** Empties the chain, for the queue that fills it next. */
  clear(memory: GuestMemory): void {
    this.#memory = memory;
    this.length[0] = 0; // reads of the first segment look at nothing else
    this.readableCount = 0;
    this.segmentCount = 0;
    this.readableBytes = 0;
    this.writableBytes = 0;
  }

  /** Gives the room for many segments back, and forgets what is in it. */
  shrink(): void {
    const room = this.gpa.length;
    if (room === SEGMENTS_AT_FIRST) return;
    this.#grown.count -= room - SEGMENTS_AT_FIRST;
    this.segmentCount = 0;
    this.readableCount = 0;
    this.#setRoom(SEGMENTS_AT_FIRST);
  }

  /** Appends a segment; readable ones come first, as the queue has checked. */
  append(gpa: number, hva: number, lengthBytes: number, writable: boolean): void {
    const at = this.segmentCount;
    if (at === this.gpa.length) this.#grow();
    this.gpa[at] = gpa;
    this.hva[at] = hva;
    this.length[at] = lengthBytes;
    this.segmentCount = at + 1;
    if (writable) {
      this.writableBytes += lengthBytes;
    } else {
      this.readableCount = at + 1;
      this.readableBytes += lengthBytes;
    }
  }

  /** The byte at `offset` of the readable part; the caller has checked `readableBytes`. */
  readableU8(offset: number): number {
    return this.#memory.readU8(this.#gpaAt(0, offset));
  }

  /** The little-endian 16-bit number at `offset` of the readable part, wherever buffers end. */
  readableU16(offset: number): number {
    if (offset + 2 <= (this.length[0] as number)) {
      return this.#memory.readU16((this.gpa[0] as number) + offset);
    }
    return this.readableU8(offset) | (this.readableU8(offset + 1) << 8);
  }

  /** The little-endian 32-bit number at `offset` of the readable part, wherever buffers end. */
  readableU32(offset: number): number {
    if (offset + 4 <= (this.length[0] as number)) {
      return this.#memory.readU32((this.gpa[0] as number) + offset);
    }
    return (this.readableU16(offset) | (this.readableU16(offset + 2) << 16)) >>> 0;
  }

  /** The little-endian 64-bit number at `offset`; `Infinity` stands for anything from 2^53 up. */
  readableU64(offset: number): number {
    return joinU64(this.readableU32(offset), this.readableU32(offset + 4));
  }

  /** Writes the byte at `offset` of the writable part; the caller has checked `writableBytes`. */
  writeWritableU8(offset: number, value: number): void {
    this.#memory.writeU8(this.#gpaAt(this.readableCount, offset), value);
  }

  /** Copies from `offset` of the readable part; returns the bytes copied, fewer at its end. */
  copyFromReadable(offset: number, into: Uint8Array): number {
    return this.#copy(0, this.readableCount, offset, into, false);
  }

  /** Copies to `offset` of the writable part; returns the bytes copied, fewer at its end. */
  copyToWritable(offset: number, from: Uint8Array): number {
    return this.#copy(this.readableCount, this.segmentCount, offset, from, true);
  }

  /**
   * Copies `lengthBytes` from `offset` of the readable part to byte `at` of native memory; the
   * caller has checked `readableBytes`, and the room. Each byte is read once. Makes no garbage.
   * SAFETY: the segments are in memory that stays mapped while the chain is taken.
   */
  copyOut(offset: number, into: NativeBytes, at: number, lengthBytes: number): void {
    let skip = offset;
    let done = 0;
    for (let i = 0; i < this.readableCount && done < lengthBytes; i++) {
      const length = this.length[i] as number;
      if (skip >= length) {
        skip -= length;
        continue;
      }
      const count = Math.min(length - skip, lengthBytes - done);
      const view = count <= FEW_BYTES ? this.#viewOf(i, skip, count) : null;
      if (view === null)
        copyMemory(into.address + at + done, (this.hva[i] as number) + skip, count);
      else copyFew(view, this.#memory.viewOffset, into.view, at + done, count);
      done += count;
      skip = 0;
    }
  }

  /** Copies from byte `at` of native memory to `offset` of the writable part; as `copyOut`. */
  copyIn(offset: number, from: NativeBytes, at: number, lengthBytes: number): void {
    let skip = offset;
    let done = 0;
    for (let i = this.readableCount; i < this.segmentCount && done < lengthBytes; i++) {
      const length = this.length[i] as number;
      if (skip >= length) {
        skip -= length;
        continue;
      }
      const count = Math.min(length - skip, lengthBytes - done);
      const view = count <= FEW_BYTES ? this.#viewOf(i, skip, count) : null;
      if (view === null)
        copyMemory((this.hva[i] as number) + skip, from.address + at + done, count);
      else copyFew(from.view, at + done, view, this.#memory.viewOffset, count);
      done += count;
      skip = 0;
    }
  }

  #viewOf(segment: number, skip: number, lengthBytes: number): DataView | null {
    return this.#memory.viewOf((this.gpa[segment] as number) + skip, lengthBytes);
  }

  #copy(first: number, end: number, offset: number, bytes: Uint8Array, write: boolean): number {
    let skip = offset;
    let done = 0;
    for (let i = first; i < end && done < bytes.length; i++) {
      const length = this.length[i] as number;
      if (skip >= length) {
        skip -= length;
        continue;
      }
      const count = Math.min(length - skip, bytes.length - done);
      const part = bytes.subarray(done, done + count);
      const gpa = (this.gpa[i] as number) + skip;
      if (write) this.#memory.copyTo(gpa, part);
      else this.#memory.copyFrom(gpa, part);
      done += count;
      skip = 0;
    }
    return done;
  }

  /** Guest address of the byte `offset` bytes into the segments from `first` on. */
  #gpaAt(first: number, offset: number): number {
    let rest = offset;
    for (let i = first; i < this.segmentCount; i++) {
      const length = this.length[i] as number;
      if (rest < length) return (this.gpa[i] as number) + rest;
      rest -= length;
    }
    return -1; // beyond the chain: no region holds it, so the access throws
  }

  #grow(): void {
    const { gpa, hva, length } = this;
    const room = gpa.length;
    this.#setRoom(room * 2);
    this.#grown.count += room;
    this.gpa.set(gpa);
    this.hva.set(hva);
    this.length.set(length);
  }

  #setRoom(segments: number): void {
    this.gpa = new Float64Array(segments);
    this.hva = new Float64Array(segments);
    this.length = new Uint32Array(segments);
  }
}

/** Word by word, and the rest byte by byte. */
function copyFew(from: DataView, at: number, into: DataView, to: number, count: number): void {
  let done = 0;
  for (; done + 4 <= count; done += 4) {
    into.setUint32(to + done, from.getUint32(at + done, true), true);
  }
  for (; done < count; done++) into.setUint8(to + done, from.getUint8(at + done));
}
