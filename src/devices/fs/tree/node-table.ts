/**
 * The nodes that a guest knows: their numbers, and how often it was told of each.
 *
 * @module
 */
import { FUSE_ROOT_ID } from '../../../fuse/index.ts';
import { fsError } from './errors.ts';

/** A guest that never forgets runs into this; its kernel forgets when memory is short. */
const NODES_MAX = 1 << 22;

const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;
const INO_HIGH_MASK = 0x1f_ffff; // 21 bits above the lower 32: below 2^53

/** A node that the guest knows. */
export interface KnownNode<Node> {
  readonly id: number;
  readonly node: Node;
  readonly ino: number;
  /** The inode number of the directory in which it was found last. */
  parentIno: number;
  /** How many times the guest was given this node and has not forgotten it. */
  lookups: number;
  /** Whether the last `stat` knew a size; what has none is read past the guest's page cache. */
  hasSize: boolean;
}

/** See above. A number is given once only, so that a stale one never means another node. */
export class NodeTable<Node> {
  readonly #byId = new Map<number, KnownNode<Node>>();
  readonly #byNode = new Map<Node, KnownNode<Node>>();
  readonly #inos = new WeakMap<object, number>();
  #nextId = FUSE_ROOT_ID;
  readonly #ownIno: ((node: Node) => number) | undefined;
  #nextIno = 1;

  /** `ownIno` numbers the nodes, when the file system does that itself. */
  constructor(root: Node, ownIno?: (node: Node) => number) {
    this.#ownIno = ownIno;
    this.remember(root, 0);
    this.root.parentIno = this.root.ino;
  }

  /** The root, which is never forgotten. */
  get root(): KnownNode<Node> {
    return this.#byId.get(FUSE_ROOT_ID) as KnownNode<Node>;
  }

  /** How many the guest knows, with the root. */
  get size(): number {
    return this.#byId.size;
  }

  /** The node of a number, or undefined. */
  get(id: number): KnownNode<Node> | undefined {
    return this.#byId.get(id);
  }

  /** The inode number of a node: the same each time it is asked for. */
  inoOf(node: Node): number {
    if (this.#ownIno !== undefined) return this.#ownIno(node);
    if (typeof node !== 'object' || node === null) return hashIno(String(node));
    let ino = this.#inos.get(node);
    if (ino === undefined) {
      ino = this.#nextIno++;
      this.#inos.set(node, ino);
    }
    return ino;
  }

  /** The guest is told of a node, in a directory with the number `parentIno`. */
  remember(node: Node, parentIno: number): KnownNode<Node> {
    let known = this.#byNode.get(node);
    if (known === undefined) {
      if (this.#byId.size >= NODES_MAX) throw fsError('ENFILE', 'the guest knows too many nodes');
      const id = this.#nextId++;
      known = { id, node, ino: this.inoOf(node), parentIno, lookups: 0, hasSize: true };
      this.#byId.set(id, known);
      this.#byNode.set(node, known);
    }
    if (known.id !== FUSE_ROOT_ID) known.parentIno = parentIno;
    known.lookups++;
    return known;
  }

  /**
   * The guest forgets lookups of a node. Returns the node when it knows it no more; a count that
   * is too high does not go below that, and the root stays.
   */
  forget(id: number, count: number): KnownNode<Node> | undefined {
    const known = this.#byId.get(id);
    if (known === undefined || id === FUSE_ROOT_ID || !(count > 0)) return undefined;
    known.lookups -= count;
    if (known.lookups > 0) return undefined;
    this.#byId.delete(id);
    this.#byNode.delete(known.node);
    return known;
  }

  /** Forgets all nodes but the root, and calls a function with each. */
  clear(each: (node: Node) => void): void {
    for (const known of [...this.#byId.values()]) {
      if (known.id === FUSE_ROOT_ID) continue;
      this.#byId.delete(known.id);
      this.#byNode.delete(known.node);
      each(known.node);
    }
  }
}

/** FNV-1a, twice, for 53 bits: the inode number of a node that is a string. */
function hashIno(text: string): number {
  let low = FNV_OFFSET;
  let high = ~FNV_OFFSET;
  for (let i = 0; i < text.length; i++) {
    low = Math.imul(low ^ text.charCodeAt(i), FNV_PRIME);
    high = Math.imul(high ^ text.charCodeAt(i), FNV_PRIME ^ 2);
  }
  return (high & INO_HIGH_MASK) * 0x1_0000_0000 + (low >>> 0) || 1;
}
