/**
 * What the requests of one file system share: its tables, and how a result that may be a promise
 * becomes an answer.
 *
 * @module
 */
import { FUSE_ATTR_OUT, FUSE_ENTRY_OUT, FUSE_INIT, LINUX_E, LINUX_O } from '../../../fuse/index.ts';
import { PENDING } from '../operations.ts';
import type { FuseCall, FuseSession } from '../operations.ts';
import { after, isPromise } from './awaitable.ts';
import { BufferPool } from './buffer-pool.ts';
import { errnoOf, fsError } from './errors.ts';
import type { FileSystemError } from './errors.ts';
import type { Awaitable, FileSystem, FsRequest, Stat, Timestamp } from './file-system.ts';
import { LockTable } from './lock-table.ts';
import { NodeTable } from './node-table.ts';
import type { KnownNode } from './node-table.ts';
import { OpenTable } from './open-files.ts';
import type { OpenDirectory, OpenFile } from './open-files.ts';
import { isWritable, readOnlyView } from './read-only.ts';
import type { SnapshotBudget } from './snapshot.ts';
import { timestampNow, writeAttr, writeU64 } from './wire.ts';

const VALID_MS = 1000;
const VALID_SECONDS_MAX = 31_536_000; // a year, for what is valid for ever
const NS_PER_MS = 1_000_000;
/** Lists that are kept of directories which nobody closes: they can be made again at any time. */
const UNOPENED_MAX = 64;

/** How a file system is served. */
export interface TreeOptions {
  /** Nothing may be changed, whatever the file system can do. */
  readonly readOnly?: boolean;
  /** Called after answers that came later than their requests, once for several. */
  readonly completed?: () => void;
  /** Told of what a file system threw that is no error for a guest: a mistake of its author. */
  readonly report?: (error: unknown) => void;
}

/** A node together with what it is. */
export interface Found<Node> {
  readonly node: Node;
  readonly stat: Stat;
}

/** Who asks; the signal is made when it is first looked at. */
class CallRequest implements FsRequest {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  #controller: AbortController | null = null;
  #isAborted = false;

  constructor(call: FuseCall) {
    this.uid = call.uid;
    this.gid = call.gid;
    this.pid = call.pid;
  }

  get signal(): AbortSignal {
    if (this.#controller === null) {
      this.#controller = new AbortController();
      if (this.#isAborted) this.#controller.abort();
    }
    return this.#controller.signal;
  }

  abort(): void {
    this.#isAborted = true;
    this.#controller?.abort();
  }
}

interface Pending {
  readonly call: FuseCall;
  readonly unique: number;
  readonly request: CallRequest;
}

/** One file system as its requests see it. */
export class TreeCore<Node, File> {
  readonly fs: FileSystem<Node, File>;
  readonly isWritable: boolean;
  /** See {@link FileSystem.validMs}. */
  readonly validMs: number;
  /** The guest reads without having opened (FUSE_NO_OPEN_SUPPORT); as it was agreed on. */
  noOpen = false;
  /** The same of directories (FUSE_NO_OPENDIR_SUPPORT). */
  noOpendir = false;
  readonly nodes: NodeTable<Node>;
  readonly files: OpenTable<OpenFile<Node, File>>;
  readonly directories: OpenTable<OpenDirectory<Node>>;
  /** Directories that are read without having been opened, by their nodes; the last ones. */
  readonly #unopened = new Map<number, OpenDirectory<Node>>();
  readonly locks: LockTable;
  readonly buffers: BufferPool;
  readonly snapshots: SnapshotBudget;
  readonly #options: TreeOptions;
  readonly #startedAt: Timestamp;
  readonly #pending = new Set<Pending>();
  #isCompleting = false;

  constructor(fs: FileSystem<Node, File>, options: TreeOptions) {
    this.fs = options.readOnly === true ? readOnlyView(fs) : fs;
    this.isWritable = isWritable(this.fs);
    this.validMs = fs.validMs ?? VALID_MS;
    this.nodes = new NodeTable(fs.root, fs.inode?.bind(fs));
    this.files = new OpenTable();
    this.directories = new OpenTable();
    this.locks = new LockTable();
    this.buffers = new BufferPool();
    this.snapshots = { entries: 0 };
    this.#options = options;
    this.#startedAt = timestampNow();
  }

  /** The node of a number that the guest sent; throws ESTALE for one that it cannot know. */
  known(id: number): KnownNode<Node> {
    const known = this.nodes.get(id);
    if (known === undefined) throw fsError('ESTALE');
    return known;
  }

  /** A guest mounts. */
  begin(session: FuseSession): void {
    this.clear();
    const understood = (session.flags & FUSE_INIT.NO_OPEN_SUPPORT) !== 0;
    this.noOpen = this.fs.noOpen === true && understood;
    const opendir = (session.flags & FUSE_INIT.NO_OPENDIR_SUPPORT) !== 0;
    this.noOpendir = this.fs.noOpen === true && opendir;
  }

  /**
   * The directory that a READDIR is about: an open one, or one that need not be open. Undefined for
   * a number that is none.
   */
  listable(fh: number, nodeId: number): OpenDirectory<Node> | undefined {
    if (fh !== 0 || !this.noOpendir) return this.directories.get(fh);
    const before = this.#unopened.get(nodeId);
    if (before !== undefined) return before;
    const known = this.nodes.get(nodeId);
    if (known === undefined) return undefined;
    const directory = { known, snapshot: null };
    this.#unopened.set(nodeId, directory);
    for (const [id, each] of this.#unopened) {
      if (this.#unopened.size <= UNOPENED_MAX) break;
      each.snapshot?.close();
      this.#unopened.delete(id);
    }
    return directory;
  }

  /**
   * The file that a READ is about: an open one, or one that need not be open. Undefined for a
   * number that is none.
   */
  readable(fh: number, nodeId: number): OpenFile<Node, File> | undefined {
    if (fh !== 0 || !this.noOpen) return this.files.get(fh);
    const known = this.nodes.get(nodeId);
    if (known === undefined) return undefined;
    // Without `open`, `File` is `Node`: that is what the interface says.
    const file = known.node as unknown as File;
    return { known, file, access: LINUX_O.RDONLY, content: null };
  }

  /** The open file of a number that the guest sent; throws EBADF. */
  openFile(id: number): OpenFile<Node, File> {
    const open = this.files.get(id);
    if (open === undefined) throw fsError('EBADF');
    return open;
  }

  /** What is thrown for a method that the file system does not have. */
  lacking(): FileSystemError {
    return fsError(this.isWritable ? 'EPERM' : 'EROFS');
  }

  /** The node of a name; ENOENT when there is none. */
  find(directory: Node, name: string, request: FsRequest): Awaitable<Node> {
    if (this.fs.lookup !== undefined) {
      return after(this.fs.lookup(directory, name, request), (node) => {
        if (node === undefined) throw fsError('ENOENT');
        return node;
      });
    }
    if (this.fs.list === undefined) throw fsError('ENOENT');
    return after(this.fs.list(directory, request), (list) => {
      for (const [text, node] of list) if (text === name) return node;
      throw fsError('ENOENT');
    });
  }

  /** A node with its attributes. */
  described(node: Node, request: FsRequest): Awaitable<Found<Node>> {
    return after(this.fs.stat(node, request), (stat) => ({ node, stat }));
  }

  /**
   * Does a request: starts it, and answers with what `encode` makes of its value, now or later.
   * `abandon` gets the value when the guest went away meanwhile.
   */
  run<Value>(
    call: FuseCall,
    start: (request: FsRequest) => Awaitable<Value>,
    encode: (value: Value) => number,
    abandon?: (value: Value) => void,
  ): number {
    const request = new CallRequest(call);
    try {
      const value = start(request);
      if (!isPromise(value)) return encode(value);
      const pending = { call, unique: call.unique, request };
      this.#pending.add(pending);
      value.then(
        (each) => {
          const result = (): number => encode(each);
          if (!this.#finish(pending, result)) abandon?.(each);
        },
        (error: unknown) => this.#finish(pending, () => this.failure(error)),
      );
      return PENDING;
    } catch (error) {
      return this.failure(error);
    }
  }

  /** The answer for what a method threw. */
  failure(error: unknown): number {
    const errno = errnoOf(error);
    if (errno !== 0) return -errno;
    this.#options.report?.(error);
    return -LINUX_E.IO;
  }

  /** Answers a call later; false when its guest went away. */
  #finish(pending: Pending, encode: () => number): boolean {
    if (!this.#pending.delete(pending)) return false;
    let result: number;
    try {
      result = encode();
    } catch (error) {
      result = this.failure(error);
    }
    pending.call.finish(result);
    this.completeSoon();
    return true;
  }

  /** Tells the server, at the end of this turn, that calls were finished. */
  completeSoon(): void {
    if (this.#isCompleting) return;
    this.#isCompleting = true;
    queueMicrotask(() => {
      this.#isCompleting = false;
      this.#options.completed?.();
    });
  }

  /** Tells those who still work on a request that nobody waits for it. */
  interrupt(unique: number): void {
    for (const pending of this.#pending) if (pending.unique === unique) pending.request.abort();
    this.locks.cancel(unique);
  }

  /** Answers what is under way, closes what is open, and forgets what the guest knew. */
  clear(): void {
    const pending = [...this.#pending];
    this.#pending.clear();
    for (const each of pending) {
      each.request.abort();
      each.call.finish(-LINUX_E.INTR);
    }
    this.locks.clear();
    for (const open of this.files.takeAll()) this.closeQuietly(open.file);
    for (const open of this.directories.takeAll()) open.snapshot?.close();
    for (const each of this.#unopened.values()) each.snapshot?.close();
    this.#unopened.clear();
    this.nodes.clear((node) => this.forgotten(node));
    if (pending.length > 0) this.completeSoon();
  }

  /** Tells the file system that the guest knows a node no more. */
  forgotten(node: Node): void {
    try {
      this.fs.forget?.(node);
    } catch (error) {
      this.#options.report?.(error);
    }
  }

  /** Closes a file of which nobody asks any more how that went. */
  closeQuietly(file: File): void {
    try {
      const closed = this.fs.close?.(file);
      if (isPromise(closed)) closed.then(undefined, (error: unknown) => this.failure(error));
    } catch (error) {
      this.failure(error);
    }
  }

  /** Fills a `struct fuse_entry_out`: from now on the guest knows the node, once more. */
  writeEntry(out: DataView, at: number, found: Found<Node>, parentIno: number): KnownNode<Node> {
    const { node, stat } = found;
    // What could throw comes first: a node is counted only when the guest hears of it.
    writeAttr(out, at + FUSE_ENTRY_OUT.attr, 0, stat, this.#startedAt);
    const known = this.nodes.remember(node, parentIno);
    known.hasSize = stat.kind !== 'file' || stat.size !== undefined;
    writeU64(out, at + FUSE_ENTRY_OUT.attr, known.ino);
    writeU64(out, at + FUSE_ENTRY_OUT.nodeid, known.id);
    writeU64(out, at + FUSE_ENTRY_OUT.generation, 0);
    this.#writeValid(out, at + FUSE_ENTRY_OUT.entryValid, at + FUSE_ENTRY_OUT.entryValidNsec);
    this.#writeValid(out, at + FUSE_ENTRY_OUT.attrValid, at + FUSE_ENTRY_OUT.attrValidNsec);
    return known;
  }

  /** Fills a `struct fuse_attr_out`; returns its size. */
  writeAttrOut(out: DataView, known: KnownNode<Node>, stat: Stat): number {
    writeAttr(out, FUSE_ATTR_OUT.attr, known.ino, stat, this.#startedAt);
    out.setUint32(FUSE_ATTR_OUT.attrValidNsec + 4, 0, true); // padding
    this.#writeValid(out, FUSE_ATTR_OUT.attrValid, FUSE_ATTR_OUT.attrValidNsec);
    known.hasSize = stat.kind !== 'file' || stat.size !== undefined;
    return FUSE_ATTR_OUT.SIZE;
  }

  #writeValid(out: DataView, secondsAt: number, nanosecondsAt: number): void {
    const seconds = Math.min(VALID_SECONDS_MAX, Math.floor(this.validMs / 1000));
    writeU64(out, secondsAt, seconds);
    const rest = seconds === VALID_SECONDS_MAX ? 0 : (this.validMs - seconds * 1000) * NS_PER_MS;
    out.setUint32(nanosecondsAt, rest, true);
  }
}
