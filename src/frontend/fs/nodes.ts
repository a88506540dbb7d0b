/**
 * The nodes of a server that a client knows: how often each was looked up, who uses it now, and
 * when it is forgotten. A node that nobody uses stays known for a while, so that a path that is
 * walked often does not make the server find it anew each time; never more of them than a limit.
 *
 * @module
 */
import { assert } from '../../util/index.ts';
import { FUSE_ROOT_ID } from '../../fuse/index.ts';

/** A node of the server. Used between `learn` (or `pin`) and `release`. */
export interface FsNode {
  readonly id: number;
}

/** Tells the server that nodes are not needed any more. */
export type Forget = (
  list: readonly { readonly nodeId: number; readonly lookups: number }[],
) => void;

interface Known extends FsNode {
  lookups: number; // what the server has told, and was not forgotten
  pins: number;
}

/** See the module. */
export class NodeTable {
  /** The root, which is not looked up and not forgotten. */
  readonly root: FsNode = { id: FUSE_ROOT_ID };
  readonly #idleMax: number;
  readonly #batchMax: number;
  readonly #forget: Forget;
  readonly #known = new Map<number, Known>();
  readonly #idle = new Map<number, Known>(); // from the one that was used longest ago on
  #forgotten: { nodeId: number; lookups: number }[] = [];
  #scheduled = false;

  /**
   * @param idleMax nodes that nobody uses and that stay known
   * @param batchMax the most that `forget` takes at once; it is called at the end of a turn
   */
  constructor(idleMax: number, batchMax: number, forget: Forget) {
    this.#idleMax = idleMax;
    this.#batchMax = batchMax;
    this.#forget = forget;
  }

  /** Nodes that are known, used or not; without the root. */
  get size(): number {
    return this.#known.size;
  }

  /** The server has told of a node (an entry): counts that, and pins it. */
  learn(nodeId: number): FsNode {
    if (nodeId === FUSE_ROOT_ID) return this.root; // some server may say so of `..`
    let node = this.#known.get(nodeId);
    if (node === undefined) {
      node = { id: nodeId, lookups: 0, pins: 0 };
      this.#known.set(nodeId, node);
    }
    node.lookups++;
    this.pin(node);
    return node;
  }

  /** The same for a node that nobody is going to use now. */
  note(nodeId: number): void {
    this.release(this.learn(nodeId));
  }

  /** Keeps a node from being forgotten, once more. */
  pin(node: FsNode): void {
    if (node === this.root) return;
    const known = node as Known;
    if (known.pins++ === 0) this.#idle.delete(known.id);
  }

  /** Takes one pin back. */
  release(node: FsNode): void {
    if (node === this.root) return;
    const known = node as Known;
    assert(known.pins > 0, 'a node is released as often as it is pinned');
    if (--known.pins > 0) return;
    this.#idle.set(known.id, known);
    for (const oldest of this.#idle.values()) {
      if (this.#idle.size <= this.#idleMax) break;
      this.#drop(oldest);
    }
  }

  /** Forgets all nodes that nobody uses. */
  trim(): void {
    for (const node of this.#idle.values()) this.#drop(node);
    this.#flush();
  }

  #drop(node: Known): void {
    this.#idle.delete(node.id);
    this.#known.delete(node.id);
    this.#forgotten.push({ nodeId: node.id, lookups: node.lookups });
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => this.#flush());
  }

  #flush(): void {
    this.#scheduled = false;
    const list = this.#forgotten;
    this.#forgotten = [];
    for (let at = 0; at < list.length; at += this.#batchMax) {
      this.#forget(list.slice(at, at + this.#batchMax));
    }
  }
}
