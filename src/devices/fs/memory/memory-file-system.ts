/**
 * A POSIX file system in memory.
 *
 * @module
 */
import { totalmem } from 'node:os';
import { fsError, timestampNow } from '../tree/index.ts';
import type {
  AllocateMode,
  DirectoryEntry,
  FileSystem,
  FileSystemUsage,
  FsRequest,
  NodeKind,
  StatChanges,
} from '../tree/index.ts';
import { Budget } from './budget.ts';
import { FileData } from './file-data.ts';
import { MemoryNode } from './node.ts';
import type { NodeInit } from './node.ts';
import { getXattr, listXattrs, removeXattr, setXattr } from './xattrs.ts';

const S_ISGID = 0o2000;
const LINKS_MAX = 65_000;
const BLOCK_BYTES = 4096;
const COPY_BYTES = 65_536;
const CAPABILITY = 'security.capability';

/** What a file system in memory is like. */
export interface MemoryOptions {
  /** The most bytes of contents; half of this machine's memory by default, as tmpfs has it. */
  readonly bytesMax?: number;
  /** The most names; one for each 4 KiB of `bytesMax` by default, and a million at most. */
  readonly namesMax?: number;
  /** The root's owner and permissions: 0, 0 and 0o755 by default. */
  readonly uid?: number;
  readonly gid?: number;
  readonly mode?: number;
  /** See {@link FileSystem.validMs}: Infinity suits one that only its guest changes. */
  readonly validMs?: number;
}

const NAMES_MAX = 1_000_000;

/**
 * Files, directories, symbolic and hard links, FIFOs, sockets and device nodes, sparse files,
 * extended attributes of `user.`, `trusted.` and `security.`; what a file system of a disk has, but
 * for the disk.
 *
 * ```ts
 * const files = new MemoryFileSystem({ bytesMax: 64 * 1024 * 1024 });
 * const device = openFs({ tag: 'scratch', source: { kind: 'file-system', fileSystem: files } });
 * ```
 */
export class MemoryFileSystem implements FileSystem<MemoryNode> {
  readonly root: MemoryNode;
  readonly validMs: number;
  readonly #budget: Budget;
  #nextIno = 1;

  constructor(options: MemoryOptions = {}) {
    const bytesMax = options.bytesMax ?? Math.floor(totalmem() / 2);
    const namesMax = options.namesMax ?? Math.min(NAMES_MAX, Math.ceil(bytesMax / BLOCK_BYTES));
    this.validMs = options.validMs ?? 1000;
    this.#budget = new Budget(bytesMax, Math.max(1, namesMax));
    const { uid = 0, gid = 0, mode = 0o755 } = options;
    this.root = this.#node({ kind: 'directory', mode, uid, gid });
    this.root.parent = this.root;
  }

  stat(node: MemoryNode): MemoryNode {
    return node;
  }

  inode(node: MemoryNode): number {
    return node.ino;
  }

  lookup(directory: MemoryNode, name: string): MemoryNode | undefined {
    return childrenOf(directory).get(name);
  }

  *list(directory: MemoryNode): Iterable<DirectoryEntry<MemoryNode>> {
    for (const [name, node] of childrenOf(directory)) yield [name, node, node.kind];
  }

  readLink(node: MemoryNode): string {
    if (node.kind !== 'symlink') throw fsError('EINVAL');
    return node.target;
  }

  open(node: MemoryNode): MemoryNode {
    node.opens++;
    return node;
  }

  close(node: MemoryNode): void {
    node.opens--;
    this.#freeUnused(node);
  }

  read(node: MemoryNode, into: Uint8Array, offset: number): number {
    const { accessed, modified } = node;
    // As `relatime` does it: the first read after a change is worth a note.
    if (accessed.seconds <= modified.seconds) node.accessed = timestampNow();
    return dataOf(node).read(into, offset);
  }

  write(node: MemoryNode, data: Uint8Array, offset: number): void {
    dataOf(node).write(data, offset);
    this.#contentChanged(node);
  }

  sync(): void {
    // There is nothing more permanent than this memory.
  }

  setStat(node: MemoryNode, changes: StatChanges): void {
    if (changes.size !== undefined) {
      dataOf(node).truncate(changes.size);
      this.#contentChanged(node);
    }
    if (changes.mode !== undefined) node.mode = changes.mode;
    if (changes.uid !== undefined) node.uid = changes.uid;
    if (changes.gid !== undefined) node.gid = changes.gid;
    const isNewOwner = changes.uid !== undefined || changes.gid !== undefined;
    if (isNewOwner) this.#dropCapability(node);
    if (changes.accessed !== undefined) node.accessed = changes.accessed;
    if (changes.modified !== undefined) node.modified = changes.modified;
    node.changed = changes.changed ?? timestampNow();
  }

  create(directory: MemoryNode, name: string, mode: number, request: FsRequest): MemoryNode {
    return this.#add(directory, name, request, { kind: 'file', mode });
  }

  makeDirectory(directory: MemoryNode, name: string, mode: number, request: FsRequest): MemoryNode {
    const node = this.#add(directory, name, request, { kind: 'directory', mode });
    node.parent = directory;
    directory.linkCount++;
    return node;
  }

  makeSymlink(directory: MemoryNode, name: string, target: string, request: FsRequest): MemoryNode {
    return this.#add(directory, name, request, { kind: 'symlink', mode: 0o777, target });
  }

  makeNode(
    directory: MemoryNode,
    name: string,
    what: { readonly kind: NodeKind; readonly mode: number; readonly deviceNumber: number },
    request: FsRequest,
  ): MemoryNode {
    return this.#add(directory, name, request, what);
  }

  makeUnnamed(directory: MemoryNode, mode: number, request: FsRequest): MemoryNode {
    checkAlive(directory);
    const { uid } = request;
    this.#budget.takeNames(1);
    const node = this.#node({ kind: 'file', mode, uid, gid: groupIn(directory, request) });
    node.linkCount = 0;
    node.isUnnamed = true;
    return node;
  }

  link(node: MemoryNode, directory: MemoryNode, name: string): void {
    checkFree(directory, name);
    if (node.kind === 'directory') throw fsError('EPERM');
    if (node.linkCount === 0 && !node.isUnnamed) throw fsError('ENOENT');
    if (node.linkCount >= LINKS_MAX) throw fsError('EMLINK');
    // The first name of a node without one was paid for when it was made.
    if (!node.isUnnamed) this.#budget.takeNames(1);
    node.isUnnamed = false;
    node.linkCount++;
    node.changed = timestampNow();
    childrenOf(directory).set(name, node);
    directory.touch();
  }

  unlink(directory: MemoryNode, name: string): void {
    const node = childOf(directory, name);
    if (node.kind === 'directory') throw fsError('EISDIR');
    childrenOf(directory).delete(name);
    directory.touch();
    this.#unlinked(node);
  }

  removeDirectory(directory: MemoryNode, name: string): void {
    const node = childOf(directory, name);
    if (childrenOf(node).size > 0) throw fsError('ENOTEMPTY');
    childrenOf(directory).delete(name);
    directory.touch();
    this.#unlinked(node);
  }

  rename(directory: MemoryNode, name: string, newDirectory: MemoryNode, newName: string): void {
    const node = childOf(directory, name);
    const children = childrenOf(newDirectory);
    const replaced = children.get(newName);
    if (replaced === node) return;
    checkAlive(newDirectory);
    checkOutside(node, newDirectory);
    if (replaced !== undefined) checkReplaceable(node, replaced);
    childrenOf(directory).delete(name);
    children.set(newName, node);
    moveTo(node, newDirectory);
    if (replaced !== undefined) this.#unlinked(replaced);
    directory.touch();
    newDirectory.touch();
    node.changed = timestampNow();
  }

  exchange(
    directory: MemoryNode,
    name: string,
    otherDirectory: MemoryNode,
    otherName: string,
  ): void {
    const node = childOf(directory, name);
    const other = childOf(otherDirectory, otherName);
    checkOutside(node, otherDirectory);
    checkOutside(other, directory);
    childrenOf(directory).set(name, other);
    childrenOf(otherDirectory).set(otherName, node);
    moveTo(node, otherDirectory);
    moveTo(other, directory);
    directory.touch();
    otherDirectory.touch();
    node.changed = timestampNow();
    other.changed = node.changed;
  }

  allocate(node: MemoryNode, offset: number, length: number, mode: AllocateMode): void {
    const data = dataOf(node);
    if (mode.action === 'reserve') data.reserve(offset, length);
    else data.punch(offset, length);
    if (!mode.keepSize && offset + length > data.size) data.truncate(offset + length);
    this.#contentChanged(node);
  }

  seek(node: MemoryNode, offset: number, what: 'data' | 'hole'): number {
    return what === 'data' ? dataOf(node).seekData(offset) : dataOf(node).seekHole(offset);
  }

  copyRange(
    from: MemoryNode,
    fromOffset: number,
    to: MemoryNode,
    toOffset: number,
    length: number,
  ): number {
    const isOverlap = Math.abs(fromOffset - toOffset) < length;
    if (from === to && isOverlap) throw fsError('EINVAL');
    const piece = new Uint8Array(Math.min(length, COPY_BYTES));
    let copied = 0;
    while (copied < length) {
      const part = piece.subarray(0, Math.min(piece.length, length - copied));
      const bytes = dataOf(from).read(part, fromOffset + copied);
      if (bytes === 0) break;
      dataOf(to).write(part.subarray(0, bytes), toOffset + copied);
      copied += bytes;
    }
    if (copied > 0) this.#contentChanged(to);
    return copied;
  }

  getXattr(node: MemoryNode, name: string): Uint8Array | undefined {
    return getXattr(node, name);
  }

  setXattr(
    node: MemoryNode,
    name: string,
    value: Uint8Array,
    mode: { readonly create: boolean; readonly replace: boolean },
  ): void {
    setXattr(this.#budget, node, name, value, mode);
  }

  listXattrs(node: MemoryNode): Iterable<string> {
    return listXattrs(node);
  }

  removeXattr(node: MemoryNode, name: string): void {
    removeXattr(this.#budget, node, name);
  }

  usage(): FileSystemUsage {
    const { bytesMax, bytesFree, namesMax, namesFree } = this.#budget;
    return {
      blockBytes: BLOCK_BYTES,
      blocks: Math.floor(bytesMax / BLOCK_BYTES),
      blocksFree: Math.floor(bytesFree / BLOCK_BYTES),
      files: namesMax,
      filesFree: namesFree,
    };
  }

  #node(init: Omit<NodeInit, 'ino' | 'data'>): MemoryNode {
    const ino = this.#nextIno++;
    if (init.kind !== 'file') return new MemoryNode({ ...init, ino });
    return new MemoryNode({ ...init, ino, data: new FileData(this.#budget) });
  }

  /** Makes a node with a name, with the owners that Linux gives it. */
  #add(
    directory: MemoryNode,
    name: string,
    request: FsRequest,
    init: Omit<NodeInit, 'ino' | 'data' | 'uid' | 'gid'>,
  ): MemoryNode {
    checkFree(directory, name);
    this.#budget.takeNames(1);
    const isInherited = init.kind === 'directory' && (directory.mode & S_ISGID) !== 0;
    const mode = isInherited ? init.mode | S_ISGID : init.mode;
    const gid = groupIn(directory, request);
    const node = this.#node({ ...init, mode, uid: request.uid, gid });
    childrenOf(directory).set(name, node);
    directory.touch();
    return node;
  }

  /** A name of a node is gone. */
  #unlinked(node: MemoryNode): void {
    node.changed = timestampNow();
    if (node.children !== null) {
      node.linkCount = 0;
      if (node.parent !== null) node.parent.linkCount--;
    } else node.linkCount--;
    // An open file that has no name any more is paid for until it is closed.
    if (node.linkCount > 0 || node.opens === 0) this.#budget.takeNames(-1);
    if (node.linkCount === 0 && node.opens === 0) this.#free(node);
  }

  #freeUnused(node: MemoryNode): void {
    if (node.linkCount > 0 || node.opens > 0) return;
    this.#budget.takeNames(-1);
    this.#free(node);
  }

  #free(node: MemoryNode): void {
    node.data?.close();
    for (const name of [...listXattrs(node)]) removeXattr(this.#budget, node, name);
  }

  #contentChanged(node: MemoryNode): void {
    node.touch();
    this.#dropCapability(node);
  }

  /** Rights that a file gave to who runs it go with its content. */
  #dropCapability(node: MemoryNode): void {
    if (node.xattrs?.has(CAPABILITY) === true) removeXattr(this.#budget, node, CAPABILITY);
  }
}

function childrenOf(directory: MemoryNode): Map<string, MemoryNode> {
  if (directory.children === null) throw fsError('ENOTDIR');
  return directory.children;
}

function childOf(directory: MemoryNode, name: string): MemoryNode {
  const node = childrenOf(directory).get(name);
  if (node === undefined) throw fsError('ENOENT');
  return node;
}

function dataOf(node: MemoryNode): FileData {
  if (node.data === null) throw fsError(node.kind === 'directory' ? 'EISDIR' : 'EINVAL');
  return node.data;
}

/** A directory that was removed takes no new names. */
function checkAlive(directory: MemoryNode): void {
  if (directory.linkCount === 0) throw fsError('ENOENT');
}

function checkFree(directory: MemoryNode, name: string): void {
  checkAlive(directory);
  if (childrenOf(directory).has(name)) throw fsError('EEXIST');
}

/** A directory does not move into itself. */
function checkOutside(node: MemoryNode, directory: MemoryNode): void {
  if (node.children === null) return;
  for (let at = directory; ; at = at.parent) {
    if (at === node) throw fsError('EINVAL');
    if (at.parent === null || at.parent === at) return;
  }
}

function checkReplaceable(node: MemoryNode, replaced: MemoryNode): void {
  if (replaced.children === null) {
    if (node.children !== null) throw fsError('ENOTDIR');
    return;
  }
  if (node.children === null) throw fsError('EISDIR');
  if (replaced.children.size > 0) throw fsError('ENOTEMPTY');
}

function moveTo(node: MemoryNode, directory: MemoryNode): void {
  if (node.parent === null || node.parent === directory) return;
  node.parent.linkCount--;
  directory.linkCount++;
  node.parent = directory;
}

function groupIn(directory: MemoryNode, request: FsRequest): number {
  return (directory.mode & S_ISGID) !== 0 ? directory.gid : request.gid;
}
