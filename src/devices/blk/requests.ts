/**
 * The requests that one thread has under way, in slots: arrays instead of objects, so that taking
 * and finishing a request makes no garbage.
 *
 * @module
 */
import { mapAnew, mapAnonymous, viewMemory } from '../../sys/index.ts';
import type { Mapping } from '../../sys/index.ts';
import type { Chain, Virtqueue } from '../../virtqueue/index.ts';
import { IOVEC_BYTES } from './engine/engine.ts';

/** Buffers of one system call (IOV_MAX everywhere); a longer chain takes several calls. */
const IOVECS_PER_CALL = 1024;

/** What a request is doing. */
export const PHASE = { idle: 0, read: 1, write: 2, sync: 3, range: 4 } as const;

/** See the module. All arrays are indexed by slot. */
export class RequestSlots {
  readonly count: number;
  readonly queue: (Virtqueue | null)[];
  readonly chain: (Chain | null)[];
  readonly phase: Uint8Array;
  /** Offset in the image, bytes in all, and bytes done, of the transfer or of the current range. */
  readonly offset: Float64Array;
  readonly total: Float64Array;
  readonly done: Float64Array;
  /** Ranges of a DISCARD or WRITE_ZEROES request: which one it is at, and of what kind it is. */
  readonly rangeIndex: Uint16Array;
  readonly rangeOp: Uint8Array;
  /** Calls in a row that a signal interrupted. */
  readonly interrupted: Uint16Array;
  readonly #free: Uint32Array; // a stack
  #freeCount: number;
  #iovecs: Mapping;
  #iovecWords: Uint32Array;
  #givesBack = false;

  constructor(count: number) {
    this.count = count;
    this.queue = new Array<Virtqueue | null>(count).fill(null);
    this.chain = new Array<Chain | null>(count).fill(null);
    this.phase = new Uint8Array(count);
    this.offset = new Float64Array(count);
    this.total = new Float64Array(count);
    this.done = new Float64Array(count);
    this.rangeIndex = new Uint16Array(count);
    this.rangeOp = new Uint8Array(count);
    this.interrupted = new Uint16Array(count);
    this.#free = Uint32Array.from({ length: count }, (_, i) => count - 1 - i);
    this.#freeCount = count;
    // Takes up memory only where long chains have been.
    const bytes = count * IOVECS_PER_CALL * IOVEC_BYTES;
    this.#iovecs = mapAnonymous(bytes);
    this.#iovecWords = new Uint32Array(viewMemory(this.#iovecs.address, bytes));
  }

  /** Whether all slots are in use. */
  get full(): boolean {
    return this.#freeCount === 0;
  }

  /** Takes a free slot; the caller has looked at `full`. */
  take(queue: Virtqueue, chain: Chain): number {
    this.#freeCount--;
    const slot = this.#free[this.#freeCount] as number;
    this.queue[slot] = queue;
    this.chain[slot] = chain;
    this.done[slot] = 0;
    this.interrupted[slot] = 0;
    return slot;
  }

  /** Gives a slot back. */
  release(slot: number): void {
    this.phase[slot] = PHASE.idle;
    this.#free[this.#freeCount] = slot;
    this.#freeCount++;
    if (this.#givesBack) this.giveBack();
  }

  /** Gives the memory of the arrays back to the host, at once or when no slot is in use. */
  giveBack(): void {
    this.#givesBack = this.#freeCount < this.count;
    if (this.#givesBack) return;
    this.#iovecs = mapAnew(this.#iovecs);
    const { address, lengthBytes } = this.#iovecs;
    this.#iovecWords = new Uint32Array(viewMemory(address, lengthBytes));
  }

  /** Address of the slot's `struct iovec` array. */
  iovecAddress(slot: number): number {
    return this.#iovecs.address + slot * IOVECS_PER_CALL * IOVEC_BYTES;
  }

  /**
   * Fills the slot's array with `limitBytes` of the segments `[first, end)` of its chain, after
   * `skip` bytes of them. Returns how many entries it has.
   */
  fillIovecs(slot: number, first: number, end: number, skip: number, limitBytes: number): number {
    const chain = this.chain[slot] as Chain;
    const words = this.#iovecWords;
    let at = slot * IOVECS_PER_CALL * (IOVEC_BYTES / 4);
    let count = 0;
    let before = skip;
    let rest = limitBytes;
    for (let i = first; i < end && rest > 0 && count < IOVECS_PER_CALL; i++) {
      const length = chain.length[i] as number;
      if (before >= length) {
        before -= length;
        continue;
      }
      const address = (chain.hva[i] as number) + before;
      const bytes = Math.min(length - before, rest);
      before = 0;
      rest -= bytes;
      words[at] = address;
      words[at + 1] = address / 0x1_0000_0000;
      words[at + 2] = bytes;
      words[at + 3] = 0;
      at += IOVEC_BYTES / 4;
      count++;
    }
    return count;
  }

  /** Whether the addresses and lengths of `count` entries of the slot's array are multiples. */
  aligned(slot: number, count: number, alignBytes: number): boolean {
    const words = this.#iovecWords;
    const first = slot * IOVECS_PER_CALL * (IOVEC_BYTES / 4);
    for (let at = first; at < first + count * (IOVEC_BYTES / 4); at += IOVEC_BYTES / 4) {
      const address = words[at] as number; // its low half decides
      const lengthBytes = words[at + 2] as number;
      if (address % alignBytes !== 0 || lengthBytes % alignBytes !== 0) return false;
    }
    return true;
  }

  /** Unmaps the arrays; nothing is under way. */
  close(): void {
    this.#iovecs.unmap();
  }
}
