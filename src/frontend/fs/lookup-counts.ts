/**
 * How often a server has told us of each node: what has to be forgotten in the end. An open hash
 * table of numbers, which grows seldom and makes no garbage in between.
 *
 * @module
 */
import { assert } from '../../util/index.ts';

const CAPACITY_AT_FIRST = 4096; // a power of two

/** See the module. */
export class LookupCounts {
  /** Nodes in the table. */
  size = 0;
  #nodes: Float64Array = new Float64Array(CAPACITY_AT_FIRST); // 0: the place is free
  #counts: Float64Array = new Float64Array(CAPACITY_AT_FIRST);

  /** Counts one lookup of a node, a number from 1 to 2^53 - 1. */
  add(nodeId: number): void {
    assert(nodeId > 0 && nodeId <= Number.MAX_SAFE_INTEGER, 'a node id is a number below 2^53');
    if (this.size * 2 >= this.#nodes.length) this.#grow();
    this.#put(nodeId, 1);
  }

  /** Lookups of a node. */
  get(nodeId: number): number {
    const at = this.#placeOf(nodeId);
    return this.#nodes[at] === nodeId ? (this.#counts[at] as number) : 0;
  }

  /** Hands out every node with its count, and empties the table. */
  drain(take: (nodeId: number, count: number) => void): void {
    for (let at = 0; at < this.#nodes.length; at++) {
      const nodeId = this.#nodes[at] as number;
      if (nodeId !== 0) take(nodeId, this.#counts[at] as number);
    }
    this.#nodes.fill(0);
    this.size = 0;
  }

  #put(nodeId: number, count: number): void {
    const at = this.#placeOf(nodeId);
    if (this.#nodes[at] === nodeId) {
      this.#counts[at] = (this.#counts[at] as number) + count;
      return;
    }
    this.#nodes[at] = nodeId;
    this.#counts[at] = count;
    this.size++;
  }

  /** Where a node is, or would be. */
  #placeOf(nodeId: number): number {
    const mask = this.#nodes.length - 1;
    // Fibonacci hashing (Knuth 6.4): servers count nodes, or use addresses.
    const mixed = Math.imul(nodeId | 0, 0x9e37_79b1) ^ ((nodeId / 2 ** 32) | 0);
    let at = (mixed ^ (mixed >>> 15)) & mask;
    while (this.#nodes[at] !== 0 && this.#nodes[at] !== nodeId) at = (at + 1) & mask;
    return at;
  }

  #grow(): void {
    const nodes = this.#nodes;
    const counts = this.#counts;
    this.#nodes = new Float64Array(nodes.length * 2);
    this.#counts = new Float64Array(nodes.length * 2);
    this.size = 0;
    for (let i = 0; i < nodes.length; i++) {
      if (nodes[i] !== 0) this.#put(nodes[i] as number, counts[i] as number);
    }
  }
}
