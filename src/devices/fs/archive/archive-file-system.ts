/**
 * An archive as a read-only file system.
 *
 * @module
 */
import { readSync } from 'node:fs';
import { preadv } from '../../../sys/index.ts';
import { fsError } from '../tree/index.ts';
import type {
  Awaitable,
  DirectoryEntry,
  FileSystem,
  FileSystemUsage,
  NativeTarget,
} from '../tree/index.ts';
import type { ArchiveNode, ArchiveTree } from './node.ts';

const BLOCK_BYTES = 4096;
const PROVIDE_MAX = 8; // times to unpack a file for one read

/** Where the contents of an archive's files are. */
export interface ArchiveContents {
  /** The file that `ArchiveNode.place` is an offset in. */
  readonly fd: number;
  /** Puts the content of a file with `place` -1 into that file, and sets its `place`. */
  provide(node: ArchiveNode): Awaitable<void>;
  close(): void;
}

/** See the module; made by `openArchive`. */
export class ArchiveFileSystem implements FileSystem<ArchiveNode> {
  readonly root: ArchiveNode;
  /** Nothing ever changes. */
  readonly validMs: number = Infinity;
  readonly noOpen = true;
  /** Entries that are not shown, and why: of kinds that no file system has. */
  readonly skipped: readonly string[];
  readonly #contents: ArchiveContents;
  readonly #count: number;

  /** @internal use `openArchive` */
  constructor(tree: ArchiveTree, contents: ArchiveContents, skipped: readonly string[]) {
    this.root = tree.root;
    this.skipped = skipped;
    this.#contents = contents;
    this.#count = tree.count;
  }

  stat(node: ArchiveNode): ArchiveNode {
    return node;
  }

  inode(node: ArchiveNode): number {
    return node.ino;
  }

  lookup(directory: ArchiveNode, name: string): ArchiveNode | undefined {
    return childrenOf(directory).get(name);
  }

  *list(directory: ArchiveNode): Iterable<DirectoryEntry<ArchiveNode>> {
    for (const [name, node] of childrenOf(directory)) yield [name, node, node.kind];
  }

  readLink(node: ArchiveNode): string {
    if (node.kind !== 'symlink') throw fsError('EINVAL');
    return node.target;
  }

  readNative(node: ArchiveNode, target: NativeTarget, offset: number): number | undefined {
    // What is behind the end of a file is another one's.
    if (node.place < 0 || offset + target.dataBytes > node.size) return undefined;
    return preadv(this.#contents.fd, target.iov, target.iovCount, node.place + offset);
  }

  read(node: ArchiveNode, into: Uint8Array, offset: number): Awaitable<number> {
    if (node.kind !== 'file') throw fsError(node.kind === 'directory' ? 'EISDIR' : 'EINVAL');
    const bytes = Math.min(into.length, node.size - offset);
    if (bytes <= 0) return 0;
    if (node.place >= 0) return this.#read(node, into, offset, bytes);
    return this.#readLater(node, into, offset, bytes);
  }

  getXattr(node: ArchiveNode, name: string): Uint8Array | undefined {
    return node.xattrs?.get(name);
  }

  listXattrs(node: ArchiveNode): Iterable<string> {
    return node.xattrs?.keys() ?? [];
  }

  usage(): FileSystemUsage {
    return { blockBytes: BLOCK_BYTES, blocks: 0, blocksFree: 0, files: this.#count, filesFree: 0 };
  }

  end(): void {
    this.#contents.close();
  }

  async #readLater(
    node: ArchiveNode,
    into: Uint8Array,
    offset: number,
    bytes: number,
  ): Promise<number> {
    for (let i = 0; i < PROVIDE_MAX; i++) {
      await this.#contents.provide(node);
      // Others may have needed the room again, already.
      if (node.place >= 0) return this.#read(node, into, offset, bytes);
    }
    throw fsError('EIO');
  }

  #read(node: ArchiveNode, into: Uint8Array, offset: number, bytes: number): number {
    return readSync(this.#contents.fd, into, 0, bytes, node.place + offset);
  }
}

function childrenOf(directory: ArchiveNode): Map<string, ArchiveNode> {
  if (directory.children === null) throw fsError('ENOTDIR');
  return directory.children;
}
