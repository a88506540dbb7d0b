/**
 * A file system as an author in TypeScript writes it: three members are enough for one that can be
 * read, and every method may answer at once or by a promise.
 *
 * @module
 */

/** A value, or a promise of one. */
export type Awaitable<T> = T | PromiseLike<T>;

/** What a node is. */
export type NodeKind =
  'file' | 'directory' | 'symlink' | 'fifo' | 'socket' | 'character-device' | 'block-device';

/** Milliseconds since 1970 (fractions allowed), a date, or exactly: seconds and nanoseconds. */
export type Time = number | Date | Timestamp;

/** A point in time, exact to the nanosecond. */
export interface Timestamp {
  /** Since 1970; negative before. */
  readonly seconds: number;
  /** 0 to 999 999 999. */
  readonly nanoseconds: number;
}

/** What the guest is told of a node. Only `kind` has to be given. */
export interface Stat {
  readonly kind: NodeKind;
  /** Permission bits, with setuid, setgid and sticky: 0o444, 0o555 for directories by default. */
  readonly mode?: number | undefined;
  /**
   * Bytes. A file without it is one of unknown size: it is shown with 0, and read past the guest's
   * page cache until a read returns nothing.
   */
  readonly size?: number | undefined;
  /** 512-byte units in use; by default as many as `size` takes. */
  readonly blocks?: number | undefined;
  /** Names that the node has; 1, or 2 for a directory, by default. */
  readonly linkCount?: number | undefined;
  /** Owners, in the guest's numbers; 0 by default. */
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  /** A device node's number, as `encodeDev` of `vhost-user/fuse` makes it. */
  readonly deviceNumber?: number | undefined;
  /** Times; by default the moment at which the file system was made. */
  readonly accessed?: Time | undefined;
  readonly modified?: Time | undefined;
  readonly changed?: Time | undefined;
  /** When it was made, if that is known. */
  readonly created?: Time | undefined;
}

/** What {@link FileSystem.setStat} is to change: what is there. */
export interface StatChanges {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Truncates, or extends by zeroes. */
  readonly size?: number;
  readonly accessed?: Timestamp;
  readonly modified?: Timestamp;
  readonly changed?: Timestamp;
}

/** Who asks, and whether he still wants to know. */
export interface FsRequest {
  /** In the guest's numbers. */
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  /** Aborted when the guest's program is interrupted, or the guest goes away. */
  readonly signal: AbortSignal;
}

/** How a file is opened. */
export interface OpenMode {
  readonly read: boolean;
  readonly write: boolean;
  readonly append: boolean;
}

/** What `df` shows. */
export interface FileSystemUsage {
  readonly blockBytes: number;
  readonly blocks: number;
  readonly blocksFree: number;
  readonly files: number;
  readonly filesFree: number;
}

/** An entry of a directory. With its kind, a plain listing needs no `stat`. */
export type DirectoryEntry<Node> =
  readonly [name: string, node: Node] | readonly [name: string, node: Node, kind: NodeKind];

/** What {@link FileSystem.allocate} does with a range. */
export interface AllocateMode {
  /** The size of the file stays. */
  readonly keepSize: boolean;
  /** `reserve` space, `punch` a hole (with keepSize), or `zero` what is there. */
  readonly action: 'reserve' | 'punch' | 'zero';
}

/** Memory of the guest that a read fills: for {@link FileSystem.readNative}. */
export interface NativeTarget {
  /** A `struct iovec` array; borrowed until the method returns. */
  readonly iov: number;
  readonly iovCount: number;
  readonly dataBytes: number;
}

/**
 * A file system. `Node` is whatever stands for a file: an object of the author's own, known by its
 * identity, or a string such as a path. Two names of one node (hard links) lead to the same one.
 * `File` is what `open` returns, and is the node where there is no `open`.
 *
 * **Errors.** What a method throws, or a promise is rejected with, becomes an errno: a `code` such
 * as `ENOENT`, as Node's errors and {@link fsError} have it; anything else is EIO, and is reported.
 *
 * **What may be left out.** Everything but `root`, `stat`, and one of `lookup` and `list`. The
 * methods that change something make a file system writable; without all of them it is read-only
 * (EROFS). Permissions are checked by the guest's kernel, by mode and owner. Locks are the guest's.
 *
 * **Names** are strings. Bytes of a name that are no UTF-8 are the surrogates U+DC80 to U+DCFF, one
 * each, as in Python's `surrogateescape`; {@link nameText} and {@link nameBytes} convert.
 *
 * **Buffers** that a method gets are borrowed until it returns, or its promise is settled.
 */
export interface FileSystem<Node, File = Node> {
  /** The topmost directory. */
  readonly root: Node;
  /**
   * For how long, in milliseconds, the guest may take names and attributes for unchanged; 1000 by
   * default. 0: everything is asked for anew each time, and contents are not cached. Infinity:
   * nothing changes but by the guest's own doing, and its page cache is kept.
   */
  readonly validMs?: number;
  /**
   * Files and directories are read without being opened, which saves the guest two requests for
   * each: nothing ever changes, all files have a `size`, and there are neither `open` nor `close`.
   * Default: false.
   */
  readonly noOpen?: boolean;

  stat(node: Node, request: FsRequest): Awaitable<Stat>;
  /**
   * The inode number of a node, below 2^53 and not 0, when the file system has numbers of its own.
   * Without it an object is numbered when it is first seen, and a string by its characters.
   */
  inode?(node: Node): number;
  /** The node of a name, or undefined. Without it, it is looked for in `list`. */
  lookup?(directory: Node, name: string, request: FsRequest): Awaitable<Node | undefined>;
  /**
   * All entries but `.` and `..`: a Map, `Object.entries()`, a generator. Without it, a directory
   * looks empty, and its names are found when they are known.
   */
  list?(directory: Node, request: FsRequest): Awaitable<Iterable<DirectoryEntry<Node>>>;
  /** Where a symbolic link points to. */
  readLink?(node: Node, request: FsRequest): Awaitable<string>;

  /**
   * The whole content, taken when a file is opened and kept until it is closed: the simplest way,
   * for small files. `read` goes before it.
   */
  readFile?(node: Node, request: FsRequest): Awaitable<string | Uint8Array>;
  /**
   * Reads at an offset: fills `into` and returns the count of bytes, or returns the bytes (at most
   * `into.length`). Less than asked for is the end of the file.
   */
  read?(
    file: File,
    into: Uint8Array,
    offset: number,
    request: FsRequest,
  ): Awaitable<number | Uint8Array>;
  /**
   * Reads straight into the guest's memory by a system call: bytes, a negative Linux errno, or
   * undefined for "by `read`, please". For file systems on top of an fd.
   */
  readNative?(file: File, target: NativeTarget, offset: number): number | undefined;
  /** Opens a file; what is returned is what `read`, `write`, `sync` and `close` get. */
  open?(node: Node, mode: OpenMode, request: FsRequest): Awaitable<File>;
  /** The guest closed one of its descriptors (of perhaps several): the place for late errors. */
  flush?(file: File, request: FsRequest): Awaitable<void>;
  /** The last descriptor was closed; nobody hears of errors any more. Once an `open`. */
  close?(file: File): Awaitable<void>;

  /** Writes all of `data`. */
  write?(file: File, data: Uint8Array, offset: number, request: FsRequest): Awaitable<void>;
  /** Makes what was written permanent. */
  sync?(file: File, dataOnly: boolean, request: FsRequest): Awaitable<void>;
  setStat?(node: Node, changes: StatChanges, request: FsRequest): Awaitable<void>;
  /** Makes a file; EEXIST when the name is taken. The owner is the request's. */
  create?(directory: Node, name: string, mode: number, request: FsRequest): Awaitable<Node>;
  makeDirectory?(directory: Node, name: string, mode: number, request: FsRequest): Awaitable<Node>;
  makeSymlink?(directory: Node, name: string, target: string, request: FsRequest): Awaitable<Node>;
  /** Makes a FIFO, a socket, or a device node. */
  makeNode?(
    directory: Node,
    name: string,
    what: { readonly kind: NodeKind; readonly mode: number; readonly deviceNumber: number },
    request: FsRequest,
  ): Awaitable<Node>;
  /** Makes a file without a name (`O_TMPFILE`). */
  makeUnnamed?(directory: Node, mode: number, request: FsRequest): Awaitable<Node>;
  /** Gives a node one more name. */
  link?(node: Node, directory: Node, name: string, request: FsRequest): Awaitable<void>;
  /** Removes a name that is no directory. A node that is open stays usable until it is closed. */
  unlink?(directory: Node, name: string, request: FsRequest): Awaitable<void>;
  /** Removes an empty directory; ENOTEMPTY for another. */
  removeDirectory?(directory: Node, name: string, request: FsRequest): Awaitable<void>;
  /** Gives a node another name; what has that name already is replaced, in one step. */
  rename?(
    directory: Node,
    name: string,
    newDirectory: Node,
    newName: string,
    request: FsRequest,
  ): Awaitable<void>;
  /** Two names change places (`RENAME_EXCHANGE`). */
  exchange?(
    directory: Node,
    name: string,
    otherDirectory: Node,
    otherName: string,
    request: FsRequest,
  ): Awaitable<void>;

  /** A range of a file: `fallocate(2)`. */
  allocate?(
    file: File,
    offset: number,
    length: number,
    mode: AllocateMode,
    request: FsRequest,
  ): Awaitable<void>;
  /** The next byte of data or of a hole at or after an offset; ENXIO behind the end. */
  seek?(file: File, offset: number, what: 'data' | 'hole', request: FsRequest): Awaitable<number>;
  /** Copies between files of this file system; returns how many bytes. */
  copyRange?(
    from: File,
    fromOffset: number,
    to: File,
    toOffset: number,
    length: number,
    request: FsRequest,
  ): Awaitable<number>;

  /** An extended attribute, or undefined. */
  getXattr?(node: Node, name: string, request: FsRequest): Awaitable<Uint8Array | undefined>;
  /** `create`: EEXIST when it is there. `replace`: ENODATA when it is not. */
  setXattr?(
    node: Node,
    name: string,
    value: Uint8Array,
    mode: { readonly create: boolean; readonly replace: boolean },
    request: FsRequest,
  ): Awaitable<void>;
  listXattrs?(node: Node, request: FsRequest): Awaitable<Iterable<string>>;
  /** ENODATA when there is none. */
  removeXattr?(node: Node, name: string, request: FsRequest): Awaitable<void>;

  usage?(): Awaitable<FileSystemUsage>;
  /** The guest knows a node no more. */
  forget?(node: Node): void;
  /** The end of the device. */
  end?(): void;
}
