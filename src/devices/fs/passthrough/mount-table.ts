/**
 * The mounts that nodes are on, by a small number each: a device, seen by way of one mount. What is
 * bound to two places of the folder is two mounts of one device, and each file in it two nodes: in
 * the guest a folder cannot be at two places, and no file is on two file systems.
 *
 * @module
 */

/** In place of an index: there is none. */
export const NO_MOUNT = -1;

/** At the same time; an index fits 16 bits, and one value is left over for the caller. */
const MOUNTS_MAX = 65_535;
/** No device has this number. */
const FREE = -1;

/** See the module. An index is free again when the last node on its mount has left. */
export class MountTable {
  readonly #devices: number[] = [];
  readonly #mountIds: number[] = [];
  readonly #nodeCounts: number[] = [];
  readonly #free: number[] = [];
  readonly #max: number;
  #last = 0; // asked for: files of one mount follow each other

  /** @param max mounts at the same time */
  constructor(max: number = MOUNTS_MAX) {
    this.#max = max;
  }

  /** Mounts that a node is on. */
  get count(): number {
    return this.#devices.length - this.#free.length;
  }

  /** The index of a mount that a node is on, or {@link NO_MOUNT}. */
  indexOf(dev: number, mountId: number): number {
    if (this.is(this.#last, dev, mountId)) return this.#last;
    for (let index = 0; index < this.#devices.length; index++) {
      if (!this.is(index, dev, mountId)) continue;
      this.#last = index;
      return index;
    }
    return NO_MOUNT;
  }

  /** Whether this index is that mount's. */
  is(index: number, dev: number, mountId: number): boolean {
    return this.#devices[index] === dev && this.#mountIds[index] === mountId;
  }

  /** The index of a mount that one node more is on; {@link NO_MOUNT} when there are too many. */
  enter(dev: number, mountId: number): number {
    let index = this.indexOf(dev, mountId);
    if (index === NO_MOUNT) {
      if (this.count >= this.#max) return NO_MOUNT;
      index = this.#free.pop() ?? this.#devices.length;
      this.#devices[index] = dev;
      this.#mountIds[index] = mountId;
      this.#nodeCounts[index] = 0;
    }
    this.#nodeCounts[index] = (this.#nodeCounts[index] as number) + 1;
    return index;
  }

  /** A node on it has left. */
  leave(index: number): void {
    const left = (this.#nodeCounts[index] as number) - 1;
    this.#nodeCounts[index] = left;
    if (left > 0) return;
    this.#devices[index] = FREE;
    this.#free.push(index);
  }

  /** All nodes have left. */
  clear(): void {
    for (const list of [this.#devices, this.#mountIds, this.#nodeCounts, this.#free]) {
      list.length = 0;
    }
  }
}
