/**
 * The chain objects of one queue, and how much memory their segments may take up.
 *
 * The guest says how many segments a chain has: with indirect tables as many as the ring has
 * entries, or twice that where buffers cross regions; and all entries of the ring may be such
 * chains at once (virtio 1.3, section 2.7.5.3.1). Kept for good that is 40 MiB for a ring of 1024,
 * and 40 GiB for the longest. QEMU allocates a request's segments and frees them with it, of 1024
 * chains of 1024 at most; rust-vmm reads a descriptor when it is asked for, and keeps none. Here
 * they are kept, so that usual loads make no garbage, but within a bound for each queue. When the
 * chains in flight take up twice that, no more are taken until some are given back: they wait in
 * the ring, and nothing is lost.
 *
 * @module
 */
import type { GuestMemory } from '../memory/index.ts';
import { Chain } from './chain.ts';
import type { GrownSegments } from './chain.ts';

/**
 * Segments, of 20 bytes, that a queue may keep beyond the first few of each chain: those of 128
 * requests of 4 MiB in pages of 4 KiB, and some for each entry of a long ring.
 */
const KEPT_SEGMENTS = 128 * 1024;
const KEPT_SEGMENTS_PER_ENTRY = 16;

/** See the module. Makes no garbage once as many chains were in flight, of as many segments. */
export class ChainPool {
  /** All that were made so far, taken or not. */
  readonly chains: Chain[] = [];
  readonly #idle: (Chain | null)[]; // a stack: what was used last is used next, whatever its head
  #idleCount = 0;
  readonly #grown: GrownSegments = { count: 0 };
  readonly #keptMax: number;
  readonly #grownMax: number;

  /** For a ring of so many entries. */
  constructor(size: number) {
    this.#idle = new Array<Chain | null>(size).fill(null);
    this.#keptMax = KEPT_SEGMENTS + KEPT_SEGMENTS_PER_ENTRY * size;
    this.#grownMax = 2 * this.#keptMax;
  }

  /**
   * Whether a chain has to be given back before the next is taken. Then some are in flight, since
   * those that are idle have half of this at most.
   */
  get exhausted(): boolean {
    return this.#grown.count >= this.#grownMax;
  }

  /** An empty chain of that head. It may grow beyond the bound: that is one chain too much. */
  take(head: number, memory: GuestMemory): Chain {
    if (this.#idleCount === 0) return this.#make(head, memory);
    const chain = this.#idle[--this.#idleCount] as Chain;
    chain.head = head;
    chain.clear(memory);
    return chain;
  }

  /** Takes a chain back. */
  give(chain: Chain): void {
    // So all that is idle is never more than this: it was no more when the last of it was given.
    if (this.#grown.count > this.#keptMax) chain.shrink();
    this.#idle[this.#idleCount++] = chain;
  }

  #make(head: number, memory: GuestMemory): Chain {
    const chain = new Chain(head, memory, this.#grown);
    this.chains.push(chain);
    return chain;
  }
}
