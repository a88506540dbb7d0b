/**
 * Guest memory: regions at guest-physical addresses (`gpa`), known to the front-end at its own
 * addresses (`uva`) and mapped here at host addresses (`hva`).
 *
 * This file translates and reads; it neither maps nor unmaps (the session does), and it never
 * touches an address that it did not find inside a region.
 *
 * @module
 */
import { VhostUserError } from '../util/index.ts';
import { viewMemory } from '../sys/index.ts';

/** One region, plain data, so that it can be posted to a worker thread. All sizes are in bytes. */
export interface MemoryRegion {
  readonly gpa: number;
  readonly sizeBytes: number;
  /** Where the front-end has it in its own address space. */
  readonly uva: number;
  /** Where this process has mapped it. */
  readonly hva: number;
}

/**
 * Views are made in windows, since one ArrayBuffer cannot span a large region on every runtime, and
 * overlap so that what begins in a window also ends in it: a value, and what `viewOf` is asked for.
 */
const WINDOW_BYTES = 2 ** 30;
const WINDOW_OVERLAP_BYTES = 65_536;
/** The most bytes that {@link GuestMemory.viewOf} gives. */
export const VIEW_BYTES_MAX: number = WINDOW_OVERLAP_BYTES;

/** The views of one region, made when they are first needed. */
interface RegionViews {
  readonly region: MemoryRegion;
  readonly windows: (DataView | undefined)[];
}

/**
 * The memory of a guest. Lookups remember the last hit, so a loop over neighbouring addresses costs
 * a comparison or two.
 *
 * ```ts
 * const memory = new GuestMemory([{ gpa: 0, sizeBytes: 1 << 20, uva: 0x7f00_0000_0000, hva }]);
 * if (memory.hvaOf(0x1000, 4) >= 0) console.log(memory.readU32(0x1000));
 * ```
 *
 * SAFETY: the owner of the mappings keeps each region mapped for as long as this object is used.
 */
export class GuestMemory {
  readonly regions: readonly MemoryRegion[];
  /** See `viewOf`. */
  viewOffset = 0;
  readonly #views: RegionViews[];
  readonly #gpaStart: Float64Array;
  readonly #gpaEnd: Float64Array;
  readonly #hvaDelta: Float64Array; // hva - gpa
  #hit = 0; // index of the region of the last lookup
  #windowStart = 0; // gpa range of the last window that was used; empty at first
  #windowEnd = 0;
  #window: DataView = new DataView(new ArrayBuffer(0));

  /**
   * @throws VhostUserError `ERR_VHU_MEMORY_REGION` for a region that is empty or beyond 2^53, and
   *   `ERR_VHU_MEMORY_OVERLAP` for two regions that share an address.
   */
  constructor(regions: readonly MemoryRegion[]) {
    const sorted = regions.toSorted((a, b) => a.gpa - b.gpa);
    checkRegions(sorted);
    this.regions = sorted;
    this.#views = sorted.map((region) => ({ region, windows: [] }));
    this.#gpaStart = Float64Array.from(sorted, (region) => region.gpa);
    this.#gpaEnd = Float64Array.from(sorted, (region) => region.gpa + region.sizeBytes);
    this.#hvaDelta = Float64Array.from(sorted, (region) => region.hva - region.gpa);
  }

  /** The gpa of the front-end's address `uva`, or -1 when the range is not inside one region. */
  uvaToGpa(uva: number, lengthBytes: number): number {
    for (const region of this.regions) {
      const offset = uva - region.uva;
      if (offset >= 0 && offset + lengthBytes <= region.sizeBytes) return region.gpa + offset;
    }
    return -1;
  }

  /** The host address of `gpa`, or -1 when the range is not inside one region. */
  hvaOf(gpa: number, lengthBytes: number): number {
    const index = this.#find(gpa);
    if (index < 0 || gpa + lengthBytes > (this.#gpaEnd[index] as number)) return -1;
    return gpa + (this.#hvaDelta[index] as number);
  }

  /**
   * A view with `lengthBytes` bytes (up to `VIEW_BYTES_MAX`) from `gpa` on, which begin in it at
   * `viewOffset`; null when they are not inside one region. Borrowed, and `viewOffset` with it,
   * until the next access: for reading several fields of one thing.
   */
  viewOf(gpa: number, lengthBytes: number): DataView | null {
    if (this.hvaOf(gpa, lengthBytes) < 0) return null;
    this.viewOffset = this.#locate(gpa);
    return this.#window;
  }

  /** Bytes from `gpa` to the end of its region; 0 when nothing is mapped there. */
  runLength(gpa: number): number {
    const index = this.#find(gpa);
    return index < 0 ? 0 : (this.#gpaEnd[index] as number) - gpa;
  }

  /** Reads one byte. Here and in each access below the caller has checked the range by `hvaOf`. */
  readU8(gpa: number): number {
    const at = this.#locate(gpa);
    return this.#window.getUint8(at);
  }

  /** Reads a little-endian 16-bit number, at any alignment. */
  readU16(gpa: number): number {
    const at = this.#locate(gpa);
    return this.#window.getUint16(at, true);
  }

  /** Reads a little-endian 32-bit number, at any alignment. */
  readU32(gpa: number): number {
    const at = this.#locate(gpa);
    return this.#window.getUint32(at, true);
  }

  /** Reads a little-endian 64-bit number; `Infinity` stands for anything from 2^53 up. */
  readU64(gpa: number): number {
    const at = this.#locate(gpa);
    const low = this.#window.getUint32(at, true);
    const high = this.#window.getUint32(at + 4, true);
    return joinU64(low, high);
  }

  /** Writes one byte. */
  writeU8(gpa: number, value: number): void {
    const at = this.#locate(gpa);
    this.#window.setUint8(at, value);
  }

  /** Writes a little-endian 16-bit number, at any alignment. */
  writeU16(gpa: number, value: number): void {
    const at = this.#locate(gpa);
    this.#window.setUint16(at, value, true);
  }

  /** Writes a little-endian 32-bit number, at any alignment. */
  writeU32(gpa: number, value: number): void {
    const at = this.#locate(gpa);
    this.#window.setUint32(at, value, true);
  }

  /** Writes a little-endian 64-bit number below 2^53. */
  writeU64(gpa: number, value: number): void {
    const at = this.#locate(gpa);
    this.#window.setUint32(at, value >>> 0, true);
    this.#window.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true);
  }

  /** Copies `into.length` bytes out of the guest. The range may cross windows, not regions. */
  copyFrom(gpa: number, into: Uint8Array): void {
    for (let done = 0; done < into.length;) {
      const at = this.#locate(gpa + done);
      const count = Math.min(into.length - done, this.#window.byteLength - at);
      into.set(new Uint8Array(this.#window.buffer, at, count), done);
      done += count;
    }
  }

  /** Copies `from` into the guest. The range may cross windows, not regions. */
  copyTo(gpa: number, from: Uint8Array): void {
    for (let done = 0; done < from.length;) {
      const at = this.#locate(gpa + done);
      const count = Math.min(from.length - done, this.#window.byteLength - at);
      new Uint8Array(this.#window.buffer, at, count).set(from.subarray(done, done + count));
      done += count;
    }
  }

  /** Index of the region that holds `gpa`, or -1. */
  #find(gpa: number): number {
    const hit = this.#hit;
    if (gpa >= (this.#gpaStart[hit] as number) && gpa < (this.#gpaEnd[hit] as number)) return hit;
    let low = 0;
    let high = this.#gpaStart.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (gpa < (this.#gpaStart[middle] as number)) high = middle - 1;
      else if (gpa >= (this.#gpaEnd[middle] as number)) low = middle + 1;
      else {
        this.#hit = middle;
        return middle;
      }
    }
    return -1;
  }

  /** Makes `#window` the view that holds `gpa` and returns the offset of `gpa` in it. */
  #locate(gpa: number): number {
    if (gpa >= this.#windowStart && gpa < this.#windowEnd) return gpa - this.#windowStart;
    return this.#openWindow(gpa);
  }

  #openWindow(gpa: number): number {
    const index = this.#find(gpa);
    const views = this.#views[index];
    if (views === undefined) {
      throw new VhostUserError(
        'ERR_VHU_MEMORY_UNMAPPED',
        `guest memory: no region holds gpa 0x${gpa.toString(16)} (the caller did not check it)`,
      );
    }
    const { region, windows } = views;
    const nth = Math.floor((gpa - region.gpa) / WINDOW_BYTES);
    const start = nth * WINDOW_BYTES;
    const bytes = Math.min(WINDOW_BYTES + WINDOW_OVERLAP_BYTES, region.sizeBytes - start);
    // SAFETY: the region is mapped for sizeBytes (see the class), and the window ends inside it.
    const window = (windows[nth] ??= new DataView(viewMemory(region.hva + start, bytes)));
    this.#window = window;
    this.#windowStart = region.gpa + start;
    this.#windowEnd = this.#windowStart + Math.min(WINDOW_BYTES, bytes);
    return gpa - this.#windowStart;
  }
}

/** Two 32-bit words as a number; `Infinity` from 2^53 up, so that every range check refuses it. */
export function joinU64(low: number, high: number): number {
  return high < 0x20_0000 ? high * 0x1_0000_0000 + low : Infinity;
}

function checkRegions(sorted: readonly MemoryRegion[]): void {
  let previous: MemoryRegion | undefined;
  for (const region of sorted) {
    const { gpa, sizeBytes, uva, hva } = region;
    const sane = [gpa, sizeBytes, uva, hva].every((n) => Number.isSafeInteger(n) && n >= 0);
    const ends = Number.isSafeInteger(gpa + sizeBytes) && Number.isSafeInteger(uva + sizeBytes);
    if (!sane || !ends || sizeBytes === 0) {
      throw new VhostUserError(
        'ERR_VHU_MEMORY_REGION',
        `memory region at gpa ${hex(gpa)} with ${String(sizeBytes)} bytes at uva ${hex(uva)}: ` +
          'a region needs at least one byte and has to end below 2^53',
      );
    }
    if (previous !== undefined && previous.gpa + previous.sizeBytes > gpa) {
      throw new VhostUserError(
        'ERR_VHU_MEMORY_OVERLAP',
        `memory regions at gpa ${hex(previous.gpa)} (${String(previous.sizeBytes)} bytes) and at ` +
          `gpa ${hex(gpa)} overlap`,
      );
    }
    previous = region;
  }
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
