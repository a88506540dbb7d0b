/**
 * What a file system is to the FUSE server: one method a request.
 *
 * This is the interface at the level of the wire, for file systems that must be fast: numbers,
 * native addresses and preallocated buffers. A file system in plain TypeScript is easier written
 * as a `FileSystem` (`tree/`), which an adapter makes one of these.
 *
 * @module
 */

/**
 * What a method returns when its answer comes later, by {@link FuseCall.finish}. Every other
 * negative number is an error.
 */
export const PENDING = -0x7fff_ffff;

/**
 * One request. Borrowed: `input`, names and `out` are valid until the method returns, and are
 * memory that all requests share. A method that returns PENDING keeps the call itself, its numbers
 * and its data buffers (`iov`), and copies everything else that it still needs.
 */
export interface FuseCall {
  readonly opcode: number;
  /** `unique` of the header, which INTERRUPT names: below 2^53, checked. */
  readonly unique: number;
  readonly nodeId: number;
  /** Who asks, in the guest's numbers. */
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  /** The arguments: what follows `fuse_in_header`, a copy; its structure is there whole. */
  readonly input: DataView;
  /** Bytes of the arguments. */
  readonly inputBytes: number;
  /**
   * The first name of the request (without its NUL, which follows it): native address and length.
   * Checked: not empty, at most 255 bytes, no `/`; `.` and `..` reach LOOKUP only. For symlink the
   * name of the link; for xattrs the attribute's name, up to 255 bytes, `/` allowed.
   */
  readonly nameAddress: number;
  readonly nameBytes: number;
  /**
   * The second one: the new name of a rename (checked in the same way), the target of a symbolic
   * link (up to 4095 bytes, not empty), the value of SETXATTR (any bytes).
   */
  readonly secondAddress: number;
  readonly secondBytes: number;
  /** The bytes behind the addresses: the input as bytes; `nameOffset` is where the name begins. */
  readonly inputArray: Uint8Array;
  readonly nameOffset: number;
  readonly secondOffset: number;
  /** Where the answer goes, after `fuse_out_header`; as a view, as bytes, and as an address. */
  readonly out: DataView;
  readonly outArray: Uint8Array;
  readonly outAddress: number;
  /** The most bytes of an answer: what the guest has room for, and what `out` holds. */
  readonly outBytesMax: number;
  /**
   * READ and WRITE: a `struct iovec` array over the guest's buffers, with `dataBytes` bytes
   * altogether (never more than the request's `size`). Valid until the call is finished.
   */
  readonly iov: number;
  readonly iovCount: number;
  readonly dataBytes: number;
  /** WRITE: copies the data out of the guest; `into` has `dataBytes` bytes. */
  copyData(into: Uint8Array): void;
  /** READ: copies up to `dataBytes` bytes into the guest's buffers; returns how many. */
  putData(from: Uint8Array): number;
  /**
   * Answers a call that was PENDING: `result` as a method returns it, with `out` filled just
   * before. Once a call; on the thread of the data plane.
   */
  finish(result: number): void;
  /** A number of the file system's own, for a call that is pending; 0 at first. */
  tag: number;
}

/** What the guest's kernel and the server have agreed on (FUSE_INIT). */
export interface FuseSession {
  readonly minor: number;
  /** `FUSE_INIT` flags that both have. */
  readonly flags: number;
  /** `FUSE_INIT2` flags that both have. */
  readonly flags2: number;
}

/** What a file system can do, for the negotiation of FUSE_INIT. */
export interface FuseAbilities {
  /** Bits of `FUSE_INIT` and `FUSE_INIT2` that the file system wants when the guest has them. */
  readonly flags: number;
  readonly flags2: number;
  /** The granularity of times, in nanoseconds. */
  readonly timeGranularityNs: number;
}

/**
 * A method returns the bytes of its answer (0 for none), a negative **Linux** errno, or PENDING.
 * READ returns the bytes that it put into the guest's buffers. Methods neither throw nor block for
 * long. What is left out is answered with ENOSYS, which the guest's kernel remembers.
 */
export interface FuseOperations {
  readonly abilities: FuseAbilities;
  /** The guest mounts; everything of a session before it is forgotten. */
  init(session: FuseSession): void;
  /** The guest unmounted, was reset or went away: forget all nodes, close all handles. */
  destroy(): void;
  /** The end of the device. */
  close(): void;
  /** A guest forgets `count` lookups of a node; the server has checked neither. */
  forget(nodeId: number, count: number): void;
  /** INTERRUPT of the request `unique`, which may be finished already: answer it soon. */
  interrupt?(unique: number): void;

  lookup(call: FuseCall): number;
  getattr(call: FuseCall): number;
  setattr?(call: FuseCall): number;
  readlink?(call: FuseCall): number;
  symlink?(call: FuseCall): number;
  mknod?(call: FuseCall): number;
  mkdir?(call: FuseCall): number;
  unlink?(call: FuseCall): number;
  rmdir?(call: FuseCall): number;
  /** RENAME and RENAME2; `newDir` and `flags` (Linux's) were taken out of the input. */
  rename?(call: FuseCall, newDir: number, flags: number): number;
  link?(call: FuseCall): number;
  open?(call: FuseCall): number;
  read?(call: FuseCall): number;
  write?(call: FuseCall): number;
  statfs?(call: FuseCall): number;
  release?(call: FuseCall): number;
  fsync?(call: FuseCall): number;
  setxattr?(call: FuseCall): number;
  getxattr?(call: FuseCall): number;
  listxattr?(call: FuseCall): number;
  removexattr?(call: FuseCall): number;
  flush?(call: FuseCall): number;
  opendir?(call: FuseCall): number;
  readdir?(call: FuseCall): number;
  readdirplus?(call: FuseCall): number;
  releasedir?(call: FuseCall): number;
  fsyncdir?(call: FuseCall): number;
  getlk?(call: FuseCall): number;
  /** SETLK, and SETLKW where `wait` says that the lock is to be waited for. */
  setlk?(call: FuseCall, wait: boolean): number;
  access?(call: FuseCall): number;
  create?(call: FuseCall): number;
  ioctl?(call: FuseCall): number;
  fallocate?(call: FuseCall): number;
  lseek?(call: FuseCall): number;
  /** COPY_FILE_RANGE and COPY_FILE_RANGE_64: the answer's 8 bytes are a number below 2^32. */
  copyFileRange?(call: FuseCall): number;
  syncfs?(call: FuseCall): number;
  tmpfile?(call: FuseCall): number;
  /** STATX, which Linux sends (from 6.6 on) to whom asks when a file was made. */
  statx?(call: FuseCall): number;
}
