/**
 * FUSE requests as methods: nodes and handles in, values out. One method a request, and nothing
 * more: paths, lookup counts and what a kernel does when a server lacks something are above.
 *
 * @module
 */
import { VhostUserError } from '../../util/index.ts';
import {
  FATTR,
  FUSE_ACCESS_IN,
  FUSE_ATTR_OUT,
  FUSE_BATCH_FORGET_IN,
  FUSE_COPY_FILE_RANGE_IN,
  FUSE_CREATE_IN,
  FUSE_ENTRY_OUT,
  FUSE_FALLOCATE_IN,
  FUSE_FILE_LOCK,
  FUSE_FLUSH_IN,
  FUSE_FORGET_IN,
  FUSE_FORGET_ONE,
  FUSE_FSYNC_FDATASYNC,
  FUSE_FSYNC_IN,
  FUSE_GETATTR_FH,
  FUSE_GETATTR_IN,
  FUSE_GETXATTR_IN,
  FUSE_KSTATFS,
  FUSE_LINK_IN,
  FUSE_LK_FLOCK,
  FUSE_LK_IN,
  FUSE_LK_OUT,
  FUSE_LSEEK_IN,
  FUSE_LSEEK_OUT,
  FUSE_MKDIR_IN,
  FUSE_MKNOD_IN,
  FUSE_OPCODE,
  FUSE_OPEN_IN,
  FUSE_OPEN_OUT,
  FUSE_READ_IN,
  FUSE_RELEASE_FLOCK_UNLOCK,
  FUSE_RELEASE_IN,
  FUSE_RENAME2_IN,
  FUSE_RENAME_IN,
  FUSE_SETATTR_IN,
  FUSE_SETXATTR_IN,
  FUSE_WRITE_IN,
  FUSE_WRITE_OUT,
  fuseOpcodeName,
} from '../../fuse/index.ts';
import type { FuseConnection, FuseRequestOptions } from './connection.ts';
import type { FuseIdentity } from './lane.ts';
import {
  FsStats,
  FuseArguments,
  parseDirents,
  parseEntry,
  parseStatFs,
  splitTime,
  viewOf,
} from './structures.ts';
import type { FsName, FsStatFs, FsTime, FuseDirent, FuseEntry } from './structures.ts';
import { getU64 } from './wire.ts';

const OP = FUSE_OPCODE;
const SETXATTR_COMPAT_BYTES = 8; // of fuse_setxattr_in without SETXATTR_EXT
const LINK_BYTES_MAX = 4096;
/** Forgets of one BATCH_FORGET. */
export const FORGETS_MAX = 512;

/** An open file or folder of the server. */
export interface FuseHandle {
  readonly fh: bigint;
  /** `FOPEN` bits. */
  readonly openFlags: number;
}

/** What SETATTR changes. */
export interface FuseChanges {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size?: number;
  readonly atime?: FsTime;
  readonly mtime?: FsTime;
  /** The open file that it goes by. */
  readonly fh?: bigint;
}

/** A lock on bytes `start` to `end`, both included; `LINUX_F` has the types. */
export interface FuseLock {
  readonly type: number;
  readonly start: bigint;
  readonly end: bigint;
  readonly pid: number;
}

/** Which lock of whom SETLK is about. */
export interface FuseLockRequest extends FuseLock {
  readonly owner: bigint;
  readonly flock: boolean;
  readonly wait: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** See the module. `identity` is whose requests these are. */
export class FuseCalls {
  readonly connection: FuseConnection;
  readonly identity: FuseIdentity;

  constructor(connection: FuseConnection, identity: FuseIdentity) {
    this.connection = connection;
    this.identity = identity;
  }

  /** LOOKUP; null: the server knows that there is nothing. */
  async lookup(parent: number, name: FsName): Promise<FuseEntry | null> {
    const answer = await this.#send(OP.LOOKUP, parent, new FuseArguments(0, name), ENTRY);
    return parseEntry(viewOf(answer), 0);
  }

  /** FORGET of one node, or BATCH_FORGET; `FORGETS_MAX` at most. */
  async forget(
    list: readonly { readonly nodeId: number; readonly lookups: number }[],
  ): Promise<void> {
    const first = list[0];
    if (first !== undefined && list.length === 1) {
      const args = new FuseArguments(FUSE_FORGET_IN.SIZE).u64(
        FUSE_FORGET_IN.nlookup,
        first.lookups,
      );
      await this.connection.post(OP.FORGET, first.nodeId, args.bytes);
      return;
    }
    const { SIZE } = FUSE_FORGET_ONE;
    const args = new FuseArguments(FUSE_BATCH_FORGET_IN.SIZE + list.length * SIZE);
    args.u32(FUSE_BATCH_FORGET_IN.count, list.length);
    for (const [i, { nodeId, lookups }] of list.entries()) {
      const at = FUSE_BATCH_FORGET_IN.SIZE + i * SIZE;
      args.u64(at + FUSE_FORGET_ONE.nodeid, nodeId).u64(at + FUSE_FORGET_ONE.nlookup, lookups);
    }
    await this.connection.post(OP.BATCH_FORGET, 0, args.bytes);
  }

  /** GETATTR, of an open file where `fh` is given. */
  async getattr(node: number, fh?: bigint): Promise<FsStats> {
    const args = new FuseArguments(FUSE_GETATTR_IN.SIZE);
    if (fh !== undefined) {
      args.u32(FUSE_GETATTR_IN.getattrFlags, FUSE_GETATTR_FH).u64(FUSE_GETATTR_IN.fh, fh);
    }
    const answer = await this.#send(OP.GETATTR, node, args, FUSE_ATTR_OUT.SIZE);
    return new FsStats(viewOf(answer), FUSE_ATTR_OUT.attr);
  }

  /** SETATTR. */
  async setattr(node: number, changes: FuseChanges): Promise<FsStats> {
    const args = new FuseArguments(FUSE_SETATTR_IN.SIZE);
    const { mode, uid, gid, size, atime, mtime, fh } = changes;
    let valid = 0;
    const set = (flag: number, value: number | undefined, at: number): void => {
      if (value === undefined) return;
      valid |= flag;
      args.u32(at, value);
    };
    set(FATTR.MODE, mode, FUSE_SETATTR_IN.mode);
    set(FATTR.UID, uid, FUSE_SETATTR_IN.uid);
    set(FATTR.GID, gid, FUSE_SETATTR_IN.gid);
    if (size !== undefined) {
      valid |= FATTR.SIZE;
      args.u64(FUSE_SETATTR_IN.size, size);
    }
    if (fh !== undefined) {
      valid |= FATTR.FH;
      args.u64(FUSE_SETATTR_IN.fh, fh);
    }
    if (atime !== undefined) {
      const { atime: at, atimensec } = FUSE_SETATTR_IN;
      valid |= FATTR.ATIME | putTime(args, atime, at, atimensec, FATTR.ATIME_NOW);
    }
    if (mtime !== undefined) {
      const { mtime: at, mtimensec } = FUSE_SETATTR_IN;
      valid |= FATTR.MTIME | putTime(args, mtime, at, mtimensec, FATTR.MTIME_NOW);
    }
    args.u32(FUSE_SETATTR_IN.valid, valid);
    const answer = await this.#send(OP.SETATTR, node, args, FUSE_ATTR_OUT.SIZE);
    return new FsStats(viewOf(answer), FUSE_ATTR_OUT.attr);
  }

  /** READLINK: the target as the link has it. */
  async readlink(node: number): Promise<Buffer> {
    const answer = await this.#send(OP.READLINK, node, null, 0, { outBytes: LINK_BYTES_MAX });
    return Buffer.from(answer.buffer, answer.byteOffset, answer.length);
  }

  /** SYMLINK. */
  symlink(parent: number, name: FsName, target: FsName): Promise<FuseEntry> {
    return this.#entry(OP.SYMLINK, parent, new FuseArguments(0, name, target));
  }

  /** MKNOD. */
  mknod(parent: number, name: FsName, mode: number, rdev: number): Promise<FuseEntry> {
    const args = new FuseArguments(FUSE_MKNOD_IN.SIZE, name);
    args.u32(FUSE_MKNOD_IN.mode, mode).u32(FUSE_MKNOD_IN.rdev, rdev);
    return this.#entry(OP.MKNOD, parent, args);
  }

  /** MKDIR. */
  mkdir(parent: number, name: FsName, mode: number): Promise<FuseEntry> {
    const args = new FuseArguments(FUSE_MKDIR_IN.SIZE, name).u32(FUSE_MKDIR_IN.mode, mode);
    return this.#entry(OP.MKDIR, parent, args);
  }

  /** UNLINK. */
  async unlink(parent: number, name: FsName): Promise<void> {
    await this.#send(OP.UNLINK, parent, new FuseArguments(0, name), 0);
  }

  /** RMDIR. */
  async rmdir(parent: number, name: FsName): Promise<void> {
    await this.#send(OP.RMDIR, parent, new FuseArguments(0, name), 0);
  }

  /** RENAME, or RENAME2 where there are flags (`RENAME`). */
  async rename(
    from: { readonly parent: number; readonly name: FsName },
    to: { readonly parent: number; readonly name: FsName },
    flags: number,
  ): Promise<void> {
    const plain = flags === 0;
    const { SIZE } = plain ? FUSE_RENAME_IN : FUSE_RENAME2_IN;
    const args = new FuseArguments(SIZE, from.name, to.name);
    args.u64(FUSE_RENAME_IN.newdir, to.parent);
    if (!plain) args.u32(FUSE_RENAME2_IN.flags, flags);
    await this.#send(plain ? OP.RENAME : OP.RENAME2, from.parent, args, 0);
  }

  /** LINK: another name of a node. */
  link(node: number, parent: number, name: FsName): Promise<FuseEntry> {
    const args = new FuseArguments(FUSE_LINK_IN.SIZE, name).u64(FUSE_LINK_IN.oldnodeid, node);
    return this.#entry(OP.LINK, parent, args);
  }

  /** OPEN, or OPENDIR; the flags are Linux's. */
  async open(node: number, flags: number, folder: boolean = false): Promise<FuseHandle> {
    const args = new FuseArguments(FUSE_OPEN_IN.SIZE).u32(FUSE_OPEN_IN.flags, flags);
    const opcode = folder ? OP.OPENDIR : OP.OPEN;
    return parseHandle(await this.#send(opcode, node, args, FUSE_OPEN_OUT.SIZE), 0);
  }

  /** CREATE. */
  async create(
    parent: number,
    name: FsName,
    flags: number,
    mode: number,
  ): Promise<{ readonly entry: FuseEntry; readonly handle: FuseHandle }> {
    const args = new FuseArguments(FUSE_CREATE_IN.SIZE, name);
    args.u32(FUSE_CREATE_IN.flags, flags).u32(FUSE_CREATE_IN.mode, mode);
    const answer = await this.#send(OP.CREATE, parent, args, ENTRY + FUSE_OPEN_OUT.SIZE);
    const entry = parseEntry(viewOf(answer), 0);
    if (entry === null) throw shortReply(OP.CREATE);
    return { entry, handle: parseHandle(answer, ENTRY) };
  }

  /** READ into `into`; returns how many bytes. */
  async read(
    node: number,
    fh: bigint,
    position: number,
    into: Uint8Array,
    signal?: AbortSignal,
  ): Promise<number> {
    const args = new FuseArguments(FUSE_READ_IN.SIZE).u64(FUSE_READ_IN.fh, fh);
    args.u64(FUSE_READ_IN.offset, position).u32(FUSE_READ_IN.size, into.length);
    return (await this.#send(OP.READ, node, args, 0, { into, signal })).length;
  }

  /** WRITE; returns how many bytes. */
  async write(
    node: number,
    fh: bigint,
    position: number,
    data: Uint8Array,
    options: { readonly flags?: number; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<number> {
    const args = new FuseArguments(FUSE_WRITE_IN.SIZE).u64(FUSE_WRITE_IN.fh, fh);
    args.u64(FUSE_WRITE_IN.offset, position).u32(FUSE_WRITE_IN.size, data.length);
    args.u32(FUSE_WRITE_IN.flags, options.flags ?? 0);
    const { signal } = options;
    const answer = await this.#send(OP.WRITE, node, args, FUSE_WRITE_OUT.SIZE, { data, signal });
    const written = viewOf(answer).getUint32(FUSE_WRITE_OUT.size, true);
    if (written <= data.length) return written;
    throw new VhostUserError('ERR_VHU_FS_REPLY', 'write: more was written than there was');
  }

  /** STATFS. */
  async statfs(node: number): Promise<FsStatFs> {
    return parseStatFs(await this.#send(OP.STATFS, node, null, FUSE_KSTATFS.SIZE));
  }

  /** RELEASE, or RELEASEDIR; with `flockOwner` that owner's flock is given up. */
  async release(
    node: number,
    fh: bigint,
    options: { readonly flags?: number; readonly folder?: boolean; readonly flockOwner?: bigint },
  ): Promise<void> {
    const args = new FuseArguments(FUSE_RELEASE_IN.SIZE).u64(FUSE_RELEASE_IN.fh, fh);
    args.u32(FUSE_RELEASE_IN.flags, options.flags ?? 0);
    if (options.flockOwner !== undefined) {
      args.u32(FUSE_RELEASE_IN.releaseFlags, FUSE_RELEASE_FLOCK_UNLOCK);
      args.u64(FUSE_RELEASE_IN.lockOwner, options.flockOwner);
    }
    await this.#send(options.folder === true ? OP.RELEASEDIR : OP.RELEASE, node, args, 0);
  }

  /** FLUSH: a close(2), at which the owner's POSIX locks on the file go. */
  async flush(node: number, fh: bigint, lockOwner: bigint): Promise<void> {
    const args = new FuseArguments(FUSE_FLUSH_IN.SIZE).u64(FUSE_FLUSH_IN.fh, fh);
    args.u64(FUSE_FLUSH_IN.lockOwner, lockOwner);
    await this.#send(OP.FLUSH, node, args, 0);
  }

  /** FSYNC, or FSYNCDIR. */
  async fsync(
    node: number,
    fh: bigint,
    options: { readonly dataOnly?: boolean; readonly folder?: boolean } = {},
  ): Promise<void> {
    const args = new FuseArguments(FUSE_FSYNC_IN.SIZE).u64(FUSE_FSYNC_IN.fh, fh);
    if (options.dataOnly === true) args.u32(FUSE_FSYNC_IN.fsyncFlags, FUSE_FSYNC_FDATASYNC);
    await this.#send(options.folder === true ? OP.FSYNCDIR : OP.FSYNC, node, args, 0);
  }

  /** SETXATTR; `XATTR` has the flags. */
  async setxattr(node: number, name: FsName, value: Uint8Array, flags: number): Promise<void> {
    const args = new FuseArguments(SETXATTR_COMPAT_BYTES, name);
    args.u32(FUSE_SETXATTR_IN.size, value.length).u32(FUSE_SETXATTR_IN.flags, flags);
    await this.#send(OP.SETXATTR, node, args, 0, { data: value });
  }

  /** GETXATTR, of a value that has `bytes` bytes at most. */
  async getxattr(node: number, name: FsName, bytes: number): Promise<Uint8Array> {
    const args = new FuseArguments(FUSE_GETXATTR_IN.SIZE, name).u32(FUSE_GETXATTR_IN.size, bytes);
    return await this.#send(OP.GETXATTR, node, args, 0, { outBytes: bytes });
  }

  /** LISTXATTR: names with a NUL after each. */
  async listxattr(node: number, bytes: number): Promise<Uint8Array> {
    const args = new FuseArguments(FUSE_GETXATTR_IN.SIZE).u32(FUSE_GETXATTR_IN.size, bytes);
    return await this.#send(OP.LISTXATTR, node, args, 0, { outBytes: bytes });
  }

  /** REMOVEXATTR. */
  async removexattr(node: number, name: FsName): Promise<void> {
    await this.#send(OP.REMOVEXATTR, node, new FuseArguments(0, name), 0);
  }

  /** READDIR, or READDIRPLUS, from a cookie on. */
  async readdir(
    node: number,
    fh: bigint,
    from: { readonly cookie: bigint; readonly bytes: number; readonly plus: boolean },
  ): Promise<FuseDirent[]> {
    const args = new FuseArguments(FUSE_READ_IN.SIZE).u64(FUSE_READ_IN.fh, fh);
    args.u64(FUSE_READ_IN.offset, from.cookie).u32(FUSE_READ_IN.size, from.bytes);
    const opcode = from.plus ? OP.READDIRPLUS : OP.READDIR;
    const answer = await this.#send(opcode, node, args, 0, { outBytes: from.bytes });
    return parseDirents(answer, from.plus);
  }

  /** GETLK: the lock that is in the way of this one; its type is UNLCK when none is. */
  async getlk(node: number, fh: bigint, lock: FuseLock, owner: bigint): Promise<FuseLock> {
    const args = lockArguments(fh, lock, owner, false);
    const view = viewOf(await this.#send(OP.GETLK, node, args, FUSE_LK_OUT.SIZE));
    return {
      type: view.getUint32(FUSE_FILE_LOCK.type, true),
      start: view.getBigUint64(FUSE_FILE_LOCK.start, true),
      end: view.getBigUint64(FUSE_FILE_LOCK.end, true),
      pid: view.getUint32(FUSE_FILE_LOCK.pid, true),
    };
  }

  /** SETLK, or SETLKW to wait. */
  async setlk(node: number, fh: bigint, lock: FuseLockRequest): Promise<void> {
    const args = lockArguments(fh, lock, lock.owner, lock.flock);
    const { signal } = lock;
    await this.#send(lock.wait ? OP.SETLKW : OP.SETLK, node, args, 0, { signal });
  }

  /** ACCESS; the mask is access(2)'s. */
  async access(node: number, mask: number): Promise<void> {
    const args = new FuseArguments(FUSE_ACCESS_IN.SIZE).u32(FUSE_ACCESS_IN.mask, mask);
    await this.#send(OP.ACCESS, node, args, 0);
  }

  /** FALLOCATE; the mode is fallocate(2)'s of Linux. */
  async fallocate(
    node: number,
    fh: bigint,
    range: { readonly offset: number; readonly length: number; readonly mode: number },
  ): Promise<void> {
    const args = new FuseArguments(FUSE_FALLOCATE_IN.SIZE).u64(FUSE_FALLOCATE_IN.fh, fh);
    args.u64(FUSE_FALLOCATE_IN.offset, range.offset).u64(FUSE_FALLOCATE_IN.length, range.length);
    await this.#send(OP.FALLOCATE, node, args.u32(FUSE_FALLOCATE_IN.mode, range.mode), 0);
  }

  /** LSEEK: the next data or hole (`LINUX_SEEK`). */
  async lseek(node: number, fh: bigint, offset: number, whence: number): Promise<number> {
    const args = new FuseArguments(FUSE_LSEEK_IN.SIZE).u64(FUSE_LSEEK_IN.fh, fh);
    args.u64(FUSE_LSEEK_IN.offset, offset).u32(FUSE_LSEEK_IN.whence, whence);
    return getU64(viewOf(await this.#send(OP.LSEEK, node, args, FUSE_LSEEK_OUT.SIZE)), 0);
  }

  /** COPY_FILE_RANGE; returns how many bytes. */
  async copyFileRange(
    from: { readonly node: number; readonly fh: bigint; readonly offset: number },
    to: { readonly node: number; readonly fh: bigint; readonly offset: number },
    length: number,
  ): Promise<number> {
    const at = FUSE_COPY_FILE_RANGE_IN;
    const args = new FuseArguments(at.SIZE).u64(at.fhIn, from.fh).u64(at.offIn, from.offset);
    args.u64(at.nodeidOut, to.node).u64(at.fhOut, to.fh).u64(at.offOut, to.offset);
    args.u64(at.len, length);
    const answer = await this.#send(OP.COPY_FILE_RANGE, from.node, args, FUSE_WRITE_OUT.SIZE);
    return viewOf(answer).getUint32(FUSE_WRITE_OUT.size, true);
  }

  /** DESTROY: the end of the session with the server. */
  async destroy(): Promise<void> {
    await this.#send(OP.DESTROY, 0, null, 0);
  }

  async #entry(opcode: number, parent: number, args: FuseArguments): Promise<FuseEntry> {
    const entry = parseEntry(viewOf(await this.#send(opcode, parent, args, ENTRY)), 0);
    if (entry === null) throw shortReply(opcode);
    return entry;
  }

  /** Sends a request whose answer has `outBytes` bytes at least; `options` may have more room. */
  async #send(
    opcode: number,
    node: number,
    args: FuseArguments | null,
    outBytes: number,
    options: FuseRequestOptions = {},
  ): Promise<Uint8Array> {
    const { identity } = this;
    const all = { outBytes, identity, ...(args === null ? {} : { args: args.bytes }), ...options };
    const answer = await this.connection.request(opcode, node, all);
    if (answer.length < outBytes) throw shortReply(opcode);
    return answer;
  }
}

const ENTRY = FUSE_ENTRY_OUT.SIZE;

function parseHandle(bytes: Uint8Array, at: number): FuseHandle {
  const view = viewOf(bytes);
  return {
    fh: view.getBigUint64(at + FUSE_OPEN_OUT.fh, true),
    openFlags: view.getUint32(at + FUSE_OPEN_OUT.openFlags, true),
  };
}

/** Writes a time, and returns the flag that says that it is now, if it is. */
function putTime(
  args: FuseArguments,
  time: FsTime,
  at: number,
  nsAt: number,
  nowFlag: number,
): number {
  const parts = splitTime(time);
  if (parts === null) return nowFlag;
  args.u64(at, parts.seconds).u32(nsAt, parts.ns);
  return 0;
}

function lockArguments(fh: bigint, lock: FuseLock, owner: bigint, flock: boolean): FuseArguments {
  const at = FUSE_LK_IN.lk;
  const args = new FuseArguments(FUSE_LK_IN.SIZE).u64(FUSE_LK_IN.fh, fh);
  args.u64(FUSE_LK_IN.owner, owner).u64(at + FUSE_FILE_LOCK.start, lock.start);
  args.u64(at + FUSE_FILE_LOCK.end, lock.end).u32(at + FUSE_FILE_LOCK.type, lock.type);
  args.u32(at + FUSE_FILE_LOCK.pid, lock.pid);
  return args.u32(FUSE_LK_IN.lkFlags, flock ? FUSE_LK_FLOCK : 0);
}

function shortReply(opcode: number): VhostUserError {
  const syscall = fuseOpcodeName(opcode).toLowerCase();
  return new VhostUserError('ERR_VHU_FS_REPLY', `${syscall}: the answer is cut off`);
}
