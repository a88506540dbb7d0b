/**
 * What an archive holds, as a tree.
 *
 * @module
 */
import { VhostUserError } from '../../../util/index.ts';
import type { NodeKind, Stat, Timestamp } from '../tree/index.ts';

/** Entries, with those that are made up; an archive of more is not shown. */
const ENTRIES_MAX = 4_000_000;
/** Directories in directories; deeper than the longest path of Linux goes. */
const DEPTH_MAX = 2048;

/** What an archive says of an entry. */
export interface ArchiveInit {
  readonly kind: NodeKind;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly modified: Timestamp;
  readonly deviceNumber?: number;
  /** Where a symbolic link points to. */
  readonly target?: string;
  readonly xattrs?: ReadonlyMap<string, Uint8Array>;
  /** Where the content begins in the file that it is read from; -1 when it is not there yet. */
  readonly place?: number;
}

/** See the module. It is its own `Stat`. */
export class ArchiveNode implements Stat {
  readonly ino: number;
  kind: NodeKind = 'directory';
  mode = 0o755;
  uid = 0;
  gid = 0;
  size = 0;
  linkCount = 1;
  deviceNumber = 0;
  modified: Timestamp = { seconds: 0, nanoseconds: 0 };
  target = '';
  xattrs: ReadonlyMap<string, Uint8Array> | null = null;
  place = -1;
  children: Map<string, ArchiveNode> | null = null;

  constructor(ino: number) {
    this.ino = ino;
  }
}

/** Makes the tree of an archive out of its entries, in their order. */
export class ArchiveTree {
  readonly root: ArchiveNode;
  readonly #modified: Timestamp;
  #count = 0;

  /** `modified` is for directories that are in paths only. */
  constructor(modified: Timestamp) {
    this.#modified = modified;
    this.root = this.#directory();
  }

  /** Nodes of the tree. */
  get count(): number {
    return this.#count;
  }

  /** Adds an entry. What has its name already is replaced, but a directory keeps what is in it. */
  add(path: string, init: ArchiveInit): ArchiveNode {
    const parts = partsOf(path);
    const name = parts.pop();
    if (name === undefined) return this.#describe(this.root, { ...init, kind: 'directory' });
    const directory = this.#within(parts);
    const before = directory.children?.get(name);
    const isKept = init.kind === 'directory' && before?.kind === 'directory';
    const node = this.#describe(isKept ? before : this.#node(), init);
    if (!isKept) this.#put(directory, name, node);
    return node;
  }

  /** Gives an earlier entry one more name; false when there is none, or it is a directory. */
  link(path: string, target: string): boolean {
    const parts = partsOf(path);
    const name = parts.pop();
    const node = this.find(target);
    if (name === undefined || node === undefined || node.kind === 'directory') return false;
    this.#put(this.#within(parts), name, node);
    node.linkCount++;
    return true;
  }

  /** The node of a path, or undefined. */
  find(path: string): ArchiveNode | undefined {
    let node: ArchiveNode | undefined = this.root;
    for (const part of partsOf(path)) node = node?.children?.get(part);
    return node;
  }

  #put(directory: ArchiveNode, name: string, node: ArchiveNode): void {
    const before = directory.children?.get(name);
    if (before !== undefined) before.linkCount--;
    if (before?.kind === 'directory') directory.linkCount--;
    if (node.kind === 'directory') directory.linkCount++;
    directory.children?.set(name, node);
  }

  /** The directory of a path; what is missing, or is no directory, becomes one. */
  #within(parts: readonly string[]): ArchiveNode {
    let at = this.root;
    for (const part of parts) {
      let next = at.children?.get(part);
      if (next?.kind !== 'directory') {
        next = this.#directory();
        this.#put(at, part, next);
      }
      at = next;
    }
    return at;
  }

  #node(): ArchiveNode {
    if (this.#count >= ENTRIES_MAX) {
      throw new VhostUserError(
        'ERR_VHU_FS_ARCHIVE',
        `the archive has more than ${String(ENTRIES_MAX)} entries`,
      );
    }
    return new ArchiveNode(++this.#count);
  }

  #directory(): ArchiveNode {
    const node = this.#node();
    const init = { kind: 'directory', mode: 0o755, uid: 0, gid: 0, size: 0 } as const;
    return this.#describe(node, { ...init, modified: this.#modified });
  }

  #describe(node: ArchiveNode, init: ArchiveInit): ArchiveNode {
    node.kind = init.kind;
    node.mode = init.mode;
    node.uid = init.uid;
    node.gid = init.gid;
    node.size = init.size;
    node.modified = init.modified;
    node.deviceNumber = init.deviceNumber ?? 0;
    node.target = init.target ?? '';
    node.xattrs = init.xattrs ?? null;
    node.place = init.place ?? -1;
    if (init.kind === 'directory' && node.children === null) {
      node.children = new Map();
      node.linkCount = 2;
    }
    return node;
  }
}

/** The names of a path from the top of the archive, whichever way it tries to leave it. */
function partsOf(path: string): string[] {
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
    if (parts.length > DEPTH_MAX) {
      throw new VhostUserError(
        'ERR_VHU_FS_ARCHIVE',
        `a path goes through more than ${String(DEPTH_MAX)} directories: ${path.slice(0, 60)}…`,
      );
    }
  }
  return parts;
}
