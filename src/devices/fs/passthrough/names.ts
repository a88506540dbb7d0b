/**
 * Names of nodes in native memory, each with its NUL, so that a system call takes one by its
 * address. A name is known by a reference of 32 bits; room is given out in few sizes and used
 * again.
 *
 * @module
 */
import { assert } from '../../../util/index.ts';
import { mapAnonymous, viewMemory } from '../../../sys/index.ts';
import type { Mapping } from '../../../sys/index.ts';

const SLAB_SHIFT = 20;
const SLAB_BYTES = 1 << SLAB_SHIFT;
const SLABS_MAX = 2047; // 2 GiB of names: references stay positive
const SIZE_SHIFT_MIN = 4; // 16 bytes
const SIZE_SHIFT_MAX = 8; // 256: a name of 255 bytes with its NUL

/** In place of a reference: no name. */
export const NO_NAME = -1;

/**
 * Mapped, not allocated: what is unmapped goes back to the host, wherever it lies. Only what names
 * were written to takes up room.
 */
interface Slab {
  readonly mapping: Mapping;
  readonly address: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** See the module. Owns its memory. */
export class NameStore {
  readonly #slabs: Slab[] = [];
  /** By size: the reference that was given back last; each holds the one before in its room. */
  readonly #free: Int32Array = new Int32Array(SIZE_SHIFT_MAX + 1).fill(NO_NAME);
  #next = 0; // room in the last slab that was never given out
  #left = 0;

  /** Bytes of address space that are taken from the system. */
  get totalBytes(): number {
    return this.#slabs.length * SLAB_BYTES;
  }

  /** Keeps `length` bytes of `bytes`, which are 1 to 255; {@link NO_NAME} when there is no room. */
  add(bytes: Uint8Array, offset: number, length: number): number {
    const shift = sizeShift(length);
    const ref = this.#room(shift);
    if (ref === NO_NAME) return ref;
    const into = this.#slab(ref).bytes;
    const at = ref & (SLAB_BYTES - 1);
    for (let i = 0; i < length; i++) into[at + i] = bytes[offset + i] as number;
    into[at + length] = 0;
    return ref;
  }

  /** Takes a name of `length` bytes back. */
  release(ref: number, length: number): void {
    const shift = sizeShift(length);
    this.#slab(ref).view.setInt32(ref & (SLAB_BYTES - 1), this.#free[shift] as number, true);
    this.#free[shift] = ref;
  }

  /** The address of the name's first byte, for a system call. */
  address(ref: number): number {
    return this.#slab(ref).address + (ref & (SLAB_BYTES - 1));
  }

  /** Whether a kept name of `length` bytes is the same as these bytes. */
  equals(ref: number, bytes: Uint8Array, offset: number, length: number): boolean {
    const kept = this.#slab(ref).bytes;
    const at = ref & (SLAB_BYTES - 1);
    for (let i = 0; i < length; i++) if (kept[at + i] !== bytes[offset + i]) return false;
    return true;
  }

  /** Gives all memory back; may be called again. */
  clear(): void {
    // SAFETY: no reference is used any more, and the views go with the slabs.
    for (const { mapping } of this.#slabs.splice(0)) mapping.unmap();
    this.#free.fill(NO_NAME);
    this.#next = 0;
    this.#left = 0;
  }

  #slab(ref: number): Slab {
    return this.#slabs[ref >> SLAB_SHIFT] as Slab;
  }

  /** Room that was given back, or that was never given out. */
  #room(shift: number): number {
    const ref = this.#free[shift] as number;
    if (ref === NO_NAME) return this.#fresh(1 << shift);
    this.#free[shift] = this.#slab(ref).view.getInt32(ref & (SLAB_BYTES - 1), true);
    return ref;
  }

  #fresh(bytes: number): number {
    if (this.#left < bytes) {
      if (this.#slabs.length >= SLABS_MAX) return NO_NAME;
      // Sizes are powers of two, so what is left of the old slab is a small part of it.
      this.#next = this.#slabs.length << SLAB_SHIFT;
      this.#left = SLAB_BYTES;
      this.#slabs.push(newSlab());
    }
    const ref = this.#next;
    this.#next += bytes;
    this.#left -= bytes;
    return ref;
  }
}

function newSlab(): Slab {
  const mapping = mapAnonymous(SLAB_BYTES);
  const { address } = mapping;
  // SAFETY: it is mapped for as long as the slab is in the store.
  const buffer = viewMemory(address, SLAB_BYTES);
  return { mapping, address, bytes: new Uint8Array(buffer), view: new DataView(buffer) };
}

/** The power of two that holds a name and its NUL. */
function sizeShift(length: number): number {
  assert(length > 0 && length < 1 << SIZE_SHIFT_MAX, 'a name has 1 to 255 bytes');
  return Math.max(SIZE_SHIFT_MIN, 32 - Math.clz32(length));
}
