/**
 * The descriptors of nodes: few of them for any number of nodes, the ones used last. A descriptor
 * whose node has no name any more is kept until the guest forgets the node, since nothing else
 * leads to the file.
 *
 * @module
 */
import { closeFd } from '../../../sys/index.ts';

const NONE = -1;
/** Those used last stay when room is made: a call may be about to use them. */
const KEPT_MIN = 8;

/** See the module. Owns its fds. */
export class FdCache {
  readonly limit: number;
  /** Descriptors that may be given up. */
  count = 0;
  /** Those that may not: of nodes without a name. */
  pinnedCount = 0;
  #fd: Int32Array = new Int32Array(0);
  #older: Int32Array = new Int32Array(0);
  #newer: Int32Array = new Int32Array(0);
  #pinned: Uint8Array = new Uint8Array(0);
  #oldest = NONE;
  #newest = NONE;

  /** @param limit descriptors that are kept at most, those of nodes without a name not counted */
  constructor(limit: number) {
    this.limit = Math.max(limit, 2 * KEPT_MIN);
  }

  /** Has room for slots below `capacity` from now on; those above have no descriptor. */
  resize(capacity: number): void {
    const fresh = (from: Int32Array): Int32Array => {
      const other = new Int32Array(capacity).fill(NONE);
      other.set(from.subarray(0, capacity));
      return other;
    };
    this.#fd = fresh(this.#fd);
    this.#older = fresh(this.#older);
    this.#newer = fresh(this.#newer);
    const pinned = new Uint8Array(capacity);
    pinned.set(this.#pinned.subarray(0, capacity));
    this.#pinned = pinned;
  }

  /** The descriptor of a node, used now; -1 when it has none. */
  use(slot: number): number {
    const fd = this.#fd[slot] as number;
    if (fd >= 0 && this.#pinned[slot] === 0 && this.#newest !== slot) {
      this.#unlink(slot);
      this.#linkNewest(slot);
    }
    return fd;
  }

  /** Whether a node has one; it is not used by that. */
  has(slot: number): boolean {
    return (this.#fd[slot] as number) >= 0;
  }

  /** Takes a descriptor over for a node that has none. */
  put(slot: number, fd: number): void {
    this.#fd[slot] = fd;
    this.#linkNewest(slot);
    this.count++;
    if (this.count > this.limit) this.#giveUpOldest();
  }

  /** Keeps a node's descriptor until {@link unpin} or {@link drop}. */
  pin(slot: number): void {
    if (this.#pinned[slot] !== 0) return;
    this.#unlink(slot);
    this.#pinned[slot] = 1;
    this.count--;
    this.pinnedCount++;
  }

  /** The node has a name again: its descriptor is like any other. */
  unpin(slot: number): void {
    if (this.#pinned[slot] === 0) return;
    this.#pinned[slot] = 0;
    this.#linkNewest(slot);
    this.count++;
    this.pinnedCount--;
  }

  /** Closes a node's descriptor, if it has one. */
  drop(slot: number): void {
    const fd = this.#fd[slot] as number;
    if (fd < 0) return;
    if (this.#pinned[slot] === 0) {
      this.#unlink(slot);
      this.count--;
    } else {
      this.pinnedCount--;
    }
    this.#pinned[slot] = 0;
    this.#fd[slot] = NONE;
    closeFd(fd);
  }

  /** This process has too many descriptors open: gives up half of those here. */
  shrink(): boolean {
    const target = Math.max(KEPT_MIN, this.count >> 1);
    const before = this.count;
    while (this.count > target) this.#giveUpOldest();
    return this.count < before;
  }

  #giveUpOldest(): void {
    this.drop(this.#oldest);
  }

  #linkNewest(slot: number): void {
    this.#older[slot] = this.#newest;
    this.#newer[slot] = NONE;
    if (this.#newest === NONE) this.#oldest = slot;
    else this.#newer[this.#newest] = slot;
    this.#newest = slot;
  }

  #unlink(slot: number): void {
    const older = this.#older[slot] as number;
    const newer = this.#newer[slot] as number;
    if (older === NONE) this.#oldest = newer;
    else this.#newer[older] = newer;
    if (newer === NONE) this.#newest = older;
    else this.#older[newer] = older;
  }
}
