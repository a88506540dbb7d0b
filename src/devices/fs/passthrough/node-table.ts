/**
 * The nodes that the guest knows: files by mount and inode number, each with the place where it was
 * seen last, so that it can be opened again when its descriptor was given up.
 *
 * A million nodes are arrays of numbers here, some 80 bytes each and their names.
 *
 * @module
 */
import { assert } from '../../../util/index.ts';
import { S_IF } from '../../../fuse/index.ts';
import { releaseMemory } from '../../../sys/index.ts';
import type { StatBlock } from '../../../sys/index.ts';
import { MountTable, NO_MOUNT } from './mount-table.ts';
import { NO_NAME, NameStore } from './names.ts';

/** In place of a slot: there is none. */
export const NO_SLOT = -1;
/** The slot of the shared folder itself. */
export const ROOT_SLOT = 0;

const CAPACITY_AT_FIRST = 1024;
const CAPACITY_MAX = 1 << 26;
/** A table of so many slots, some 5 MB, is given back when all nodes but the root have left. */
const CAPACITY_KEPT = 1 << 16;
/** A node's number is its slot and one, and above these 32 bits how often the slot was used. */
const GENERATION_UNIT = 2 ** 32;
const GENERATIONS_MAX = 2 ** 20; // keeps a node's number below 2^53
/** Above all indices of mounts: the node is not found by its inode number any more. */
const UNFINDABLE = 65_535;

/**
 * See the module. A slot is an index into the arrays below, which are replaced as the table grows:
 * read them through the table each time.
 */
export class NodeTable {
  /** Lookups that the guest has not forgotten. */
  lookups: Float64Array = new Float64Array(CAPACITY_AT_FIRST);
  /** Kind of file, as `S_IF` shifted right by 12. */
  kind: Uint8Array = new Uint8Array(CAPACITY_AT_FIRST);
  /** The slot of the folder where it was seen last; NO_SLOT when that name is gone. */
  parent: Int32Array = new Int32Array(CAPACITY_AT_FIRST).fill(NO_SLOT);
  nameRef: Int32Array = new Int32Array(CAPACITY_AT_FIRST).fill(NO_NAME);
  nameBytes: Uint8Array = new Uint8Array(CAPACITY_AT_FIRST);
  /** Nodes that have this one as their parent: it stays for as long. */
  children: Uint32Array = new Uint32Array(CAPACITY_AT_FIRST);
  /** Open handles of it. */
  handles: Uint32Array = new Uint32Array(CAPACITY_AT_FIRST);
  readonly names: NameStore = new NameStore();
  /** Nodes in the table. */
  count = 0;
  #capacity = CAPACITY_AT_FIRST;
  /** Of slots that are new: above all generations of slots that were given back. */
  #firstGeneration = 0;
  #ids = new Float64Array(CAPACITY_AT_FIRST); // 0: the slot is free
  #generation = new Uint32Array(CAPACITY_AT_FIRST);
  #inoLow = new Uint32Array(CAPACITY_AT_FIRST);
  #inoHigh = new Uint32Array(CAPACITY_AT_FIRST);
  #mount = new Uint16Array(CAPACITY_AT_FIRST);
  #next = new Int32Array(CAPACITY_AT_FIRST).fill(NO_SLOT); // in a bucket, or in the free list
  #buckets = new Int32Array(CAPACITY_AT_FIRST).fill(NO_SLOT);
  #freeHead = NO_SLOT;
  #used = 0; // slots that were ever in use
  readonly #mounts = new MountTable();
  readonly #onRemove: (slot: number) => void;
  readonly #onResize: (capacity: number) => void;

  /**
   * @param onRemove a node is about to leave: its descriptor is to be closed
   * @param onResize arrays by slot have to have room for so many, and need no more
   */
  constructor(onRemove: (slot: number) => void, onResize: (capacity: number) => void) {
    this.#onRemove = onRemove;
    this.#onResize = onResize;
    onResize(CAPACITY_AT_FIRST);
  }

  /** Slots that there is memory for. */
  get capacity(): number {
    return this.#capacity;
  }

  /** The slot of a node's number as the guest sends it; NO_SLOT for one that it does not know. */
  slotOf(nodeId: number): number {
    const slot = (nodeId >>> 0) - 1;
    return slot >= 0 && this.#ids[slot] === nodeId ? slot : NO_SLOT;
  }

  /** The number that the guest knows a node by. */
  idOf(slot: number): number {
    return this.#ids[slot] as number;
  }

  /** The node that a stat result describes, or NO_SLOT. */
  find(stat: StatBlock): number {
    const mount = this.#mounts.indexOf(stat.dev, stat.mountId);
    if (mount === NO_MOUNT) return NO_SLOT;
    let slot = this.#buckets[this.#bucket(stat.inoLow, stat.inoHigh)] as number;
    while (slot !== NO_SLOT && !this.#isInode(slot, stat, mount)) {
      slot = this.#next[slot] as number;
    }
    return slot;
  }

  /** Whether a stat result describes this node, and still the same kind of file. */
  matches(slot: number, stat: StatBlock): boolean {
    return (
      this.#inoLow[slot] === stat.inoLow &&
      this.#inoHigh[slot] === stat.inoHigh &&
      this.#mounts.is(this.#mount[slot] as number, stat.dev, stat.mountId) &&
      this.kind[slot] === (stat.mode & S_IF.MT) >> 12
    );
  }

  /** Whether two nodes are on the same mount. */
  sameMount(a: number, b: number): boolean {
    return this.#mount[a] === this.#mount[b];
  }

  /** Mounts that nodes are on. */
  get mountCount(): number {
    return this.#mounts.count;
  }

  /** Adds a node without a place; the first is the root. NO_SLOT when the table is full. */
  add(stat: StatBlock): number {
    if (this.#freeHead === NO_SLOT && this.#used === this.#capacity && !this.#grow()) {
      return NO_SLOT;
    }
    const mount = this.#mounts.enter(stat.dev, stat.mountId);
    if (mount === NO_MOUNT) return NO_SLOT;
    let slot = this.#freeHead;
    if (slot === NO_SLOT) slot = this.#used++;
    else this.#freeHead = this.#next[slot] as number;
    this.#ids[slot] = (this.#generation[slot] as number) * GENERATION_UNIT + slot + 1;
    this.#inoLow[slot] = stat.inoLow;
    this.#inoHigh[slot] = stat.inoHigh;
    this.#mount[slot] = mount;
    this.kind[slot] = (stat.mode & S_IF.MT) >> 12;
    this.lookups[slot] = 0;
    this.children[slot] = 0;
    this.handles[slot] = 0;
    this.parent[slot] = NO_SLOT;
    this.nameRef[slot] = NO_NAME;
    const bucket = this.#bucket(stat.inoLow, stat.inoHigh);
    this.#next[slot] = this.#buckets[bucket] as number;
    this.#buckets[bucket] = slot;
    this.count++;
    return slot;
  }

  /** Whether `parent` and this name are the place of a node. */
  isAt(slot: number, parent: number, bytes: Uint8Array, offset: number, length: number): boolean {
    return (
      this.parent[slot] === parent &&
      this.nameBytes[slot] === length &&
      this.names.equals(this.nameRef[slot] as number, bytes, offset, length)
    );
  }

  /** Gives a node a place. False when there is no room for the name. */
  place(slot: number, parent: number, bytes: Uint8Array, offset: number, length: number): boolean {
    const ref = this.names.add(bytes, offset, length);
    if (ref === NO_NAME) return false;
    this.children[parent] = (this.children[parent] as number) + 1; // first: it may be the same
    this.displace(slot);
    this.parent[slot] = parent;
    this.nameRef[slot] = ref;
    this.nameBytes[slot] = length;
    return true;
  }

  /** Takes the place of a node away: the name does not lead to it any more. */
  displace(slot: number): void {
    const parent = this.parent[slot] as number;
    if (parent === NO_SLOT) return;
    this.#detach(slot);
    this.removeIfUnused(parent);
  }

  /** The address of the name at which the node was seen last; it has a place. */
  nameAddress(slot: number): number {
    return this.names.address(this.nameRef[slot] as number);
  }

  /** The guest forgets `count` lookups, at most as many as there are. */
  forget(slot: number, count: number): void {
    if (slot === ROOT_SLOT) return;
    this.lookups[slot] = Math.max(0, (this.lookups[slot] as number) - count);
    this.removeIfUnused(slot);
  }

  /** A node leaves when nobody knows it any more: no guest, no node below it, no handle. */
  removeIfUnused(slot: number): void {
    // Its folder may have stayed for its sake alone, and so on: a loop, as trees can be deep.
    for (let at = slot; at > ROOT_SLOT && this.#isUnused(at);) {
      const parent = this.parent[at] as number;
      this.#onRemove(at);
      this.#unlink(at);
      this.#leaveMount(at);
      this.#ids[at] = 0;
      this.#generation[at] = this.#nextGeneration(at);
      this.#next[at] = this.#freeHead;
      this.#freeHead = at;
      this.count--;
      this.#detach(at);
      at = parent;
    }
    if (this.count === 1 && this.#capacity > CAPACITY_KEPT) this.#giveBack();
  }

  /**
   * Separates a node from its inode number, which another file has now: the guest's old node stays,
   * without a place, until it is forgotten.
   */
  orphan(slot: number): void {
    this.#unlink(slot);
    this.#inoLow[slot] = slot;
    this.#inoHigh[slot] = 0;
    this.#leaveMount(slot);
    this.#mount[slot] = UNFINDABLE; // no stat result has it
    const bucket = this.#bucket(slot, 0);
    this.#next[slot] = this.#buckets[bucket] as number;
    this.#buckets[bucket] = slot;
    this.displace(slot);
  }

  /** Slots that were ever in use; some of them may be free: `idOf` is 0 then. */
  get slotEnd(): number {
    return this.#used;
  }

  /** Forgets all nodes; the next `add` makes the root. Numbers given out before stay unknown. */
  clear(): void {
    for (let slot = 0; slot < this.#used; slot++) {
      if (this.#ids[slot] === 0) continue;
      this.#onRemove(slot);
      this.#ids[slot] = 0;
      if (slot !== ROOT_SLOT) this.#generation[slot] = this.#nextGeneration(slot);
    }
    if (this.#capacity > CAPACITY_KEPT) this.#giveBack();
    this.names.clear();
    this.#mounts.clear();
    this.#buckets.fill(NO_SLOT);
    this.#freeHead = NO_SLOT;
    this.#used = 0;
    this.count = 0;
  }

  #isUnused(slot: number): boolean {
    return this.lookups[slot] === 0 && this.children[slot] === 0 && this.handles[slot] === 0;
  }

  #detach(slot: number): void {
    const parent = this.parent[slot] as number;
    if (parent === NO_SLOT) return;
    this.names.release(this.nameRef[slot] as number, this.nameBytes[slot] as number);
    this.nameRef[slot] = NO_NAME;
    this.parent[slot] = NO_SLOT;
    this.children[parent] = (this.children[parent] as number) - 1;
  }

  #nextGeneration(slot: number): number {
    return ((this.#generation[slot] as number) + 1) % GENERATIONS_MAX;
  }

  #isInode(slot: number, stat: StatBlock, mount: number): boolean {
    return (
      this.#inoLow[slot] === stat.inoLow &&
      this.#inoHigh[slot] === stat.inoHigh &&
      this.#mount[slot] === mount
    );
  }

  /** The upper bits of a product: numbers that follow each other spread (Fibonacci hashing). */
  #bucket(inoLow: number, inoHigh: number): number {
    const mixed = Math.imul(inoLow ^ Math.imul(inoHigh, 0x85eb_ca6b), 0x9e37_79b1);
    return mixed >>> (Math.clz32(this.#capacity) + 1);
  }

  #unlink(slot: number): void {
    const bucket = this.#bucket(this.#inoLow[slot] as number, this.#inoHigh[slot] as number);
    let at = this.#buckets[bucket] as number;
    if (at === slot) {
      this.#buckets[bucket] = this.#next[slot] as number;
      return;
    }
    while (this.#next[at] !== slot) {
      at = this.#next[at] as number;
      assert(at !== NO_SLOT, 'a node is in the bucket of its inode');
    }
    this.#next[at] = this.#next[slot] as number;
  }

  #leaveMount(slot: number): void {
    const mount = this.#mount[slot] as number;
    if (mount !== UNFINDABLE) this.#mounts.leave(mount);
  }

  /** Only the root is left, and the arrays are those of many: they are made anew, as at first. */
  #giveBack(): void {
    const capacity = CAPACITY_AT_FIRST;
    // Numbers that were given out stay unknown, also in slots that come again.
    let generation = this.#firstGeneration;
    for (let slot = ROOT_SLOT + 1; slot < this.#used; slot++) {
      generation = Math.max(generation, this.#generation[slot] as number);
    }
    this.#firstGeneration = generation;
    this.#capacity = capacity;
    this.#used = ROOT_SLOT + 1;
    this.#freeHead = NO_SLOT;
    this.lookups = this.lookups.slice(0, capacity);
    this.kind = this.kind.slice(0, capacity);
    this.parent = this.parent.slice(0, capacity);
    this.nameRef = this.nameRef.slice(0, capacity);
    this.nameBytes = this.nameBytes.slice(0, capacity);
    this.children = this.children.slice(0, capacity);
    this.handles = this.handles.slice(0, capacity);
    this.#ids = this.#ids.slice(0, capacity);
    this.#generation = new Uint32Array(capacity).fill(generation);
    this.#generation[ROOT_SLOT] = 0;
    this.#inoLow = this.#inoLow.slice(0, capacity);
    this.#inoHigh = this.#inoHigh.slice(0, capacity);
    this.#mount = this.#mount.slice(0, capacity);
    this.#rehash();
    this.names.clear(); // the root has none
    this.#onResize(capacity);
    releaseMemory(); // else the old arrays stay until something else is allocated
  }

  #grow(): boolean {
    if (this.#capacity >= CAPACITY_MAX) return false;
    const capacity = this.#capacity * 2;
    this.#capacity = capacity;
    this.#onResize(capacity);
    this.lookups = grown(this.lookups, new Float64Array(capacity));
    this.kind = grown(this.kind, new Uint8Array(capacity));
    this.parent = grown(this.parent, new Int32Array(capacity));
    this.nameRef = grown(this.nameRef, new Int32Array(capacity));
    this.nameBytes = grown(this.nameBytes, new Uint8Array(capacity));
    this.children = grown(this.children, new Uint32Array(capacity));
    this.handles = grown(this.handles, new Uint32Array(capacity));
    this.#ids = grown(this.#ids, new Float64Array(capacity));
    this.#generation = grown(
      this.#generation,
      new Uint32Array(capacity).fill(this.#firstGeneration),
    );
    this.#inoLow = grown(this.#inoLow, new Uint32Array(capacity));
    this.#inoHigh = grown(this.#inoHigh, new Uint32Array(capacity));
    this.#mount = grown(this.#mount, new Uint16Array(capacity));
    this.#rehash();
    return true;
  }

  /** Makes the buckets anew; no slot is free. */
  #rehash(): void {
    this.#next = new Int32Array(this.#capacity).fill(NO_SLOT);
    this.#buckets = new Int32Array(this.#capacity).fill(NO_SLOT);
    for (let slot = 0; slot < this.#used; slot++) {
      const bucket = this.#bucket(this.#inoLow[slot] as number, this.#inoHigh[slot] as number);
      this.#next[slot] = this.#buckets[bucket] as number;
      this.#buckets[bucket] = slot;
    }
  }
}

function grown<T extends Float64Array | Uint8Array | Int32Array | Uint32Array | Uint16Array>(
  old: T,
  larger: T,
): T {
  larger.set(old);
  return larger;
}
