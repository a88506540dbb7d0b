/**
 * Requests about the content of files.
 *
 * @module
 */
import {
  FOPEN,
  FUSE_COPY_FILE_RANGE_IN,
  FUSE_CREATE_IN,
  FUSE_ENTRY_OUT,
  FUSE_FALLOCATE_IN,
  FUSE_FLUSH_IN,
  FUSE_FSYNC_FDATASYNC,
  FUSE_FSYNC_IN,
  FUSE_LSEEK_IN,
  FUSE_LSEEK_OUT,
  FUSE_OPEN_IN,
  FUSE_OPEN_KILL_SUIDGID,
  FUSE_OPEN_OUT,
  FUSE_READ_IN,
  FUSE_RELEASE_FLOCK_UNLOCK,
  FUSE_RELEASE_IN,
  FUSE_WRITE_CACHE,
  FUSE_WRITE_IN,
  FUSE_WRITE_KILL_SUIDGID,
  FUSE_WRITE_OUT,
  LINUX_E,
  LINUX_O,
  LINUX_SEEK,
} from '../../../fuse/index.ts';
import type { FuseCall } from '../operations.ts';
import { after, otherwise } from './awaitable.ts';
import type { Found, TreeCore } from './core.ts';
import { errnoOf, fsError } from './errors.ts';
import type { AllocateMode, Awaitable, FsRequest } from './file-system.ts';
import { killPrivileges, nameOf, setStat } from './nodes.ts';
import type { OpenFile } from './open-files.ts';
import type { KnownNode } from './node-table.ts';
import { readU64, writeU64 } from './wire.ts';

/** fallocate(2): what of its modes there is here. */
const FALLOC = { KEEP_SIZE: 0x1, PUNCH_HOLE: 0x2, ZERO_RANGE: 0x10 } as const;
/** Of one request, so that no copy holds the thread for long; the guest asks again. */
const COPY_BYTES_MAX = 16 * 1024 * 1024;
const PERMISSIONS = 0o7777;

/** A file that is open, before the guest has a number for it. */
type Opened<Node, File> = Omit<OpenFile<Node, File>, 'known'>;

/** OPEN; not wanted again (ENOSYS) where files are read without. */
export function open<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  const flags = call.input.getUint32(FUSE_OPEN_IN.flags, true);
  if (core.noOpen && (flags & LINUX_O.ACCMODE) === LINUX_O.RDONLY) return -LINUX_E.NOSYS;
  const kills = (call.input.getUint32(FUSE_OPEN_IN.openFlags, true) & FUSE_OPEN_KILL_SUIDGID) !== 0;
  return core.run(
    call,
    (request) => opened(core, core.known(call.nodeId).node, flags, kills, request),
    (file) => writeOpen(core, call, 0, core.known(call.nodeId), file),
    (file) => core.closeQuietly(file.file),
  );
}

/** CREATE: makes the file when it is not there, and opens it. */
export function create<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  if (call.outBytesMax < FUSE_ENTRY_OUT.SIZE + FUSE_OPEN_OUT.SIZE) return -LINUX_E.INVAL;
  const flags = call.input.getUint32(FUSE_CREATE_IN.flags, true);
  const mode = call.input.getUint32(FUSE_CREATE_IN.mode, true) & PERMISSIONS;
  return madeAndOpened(core, call, flags, (directory, request) => {
    const { fs } = core;
    const name = nameOf(call);
    return otherwise(
      () => {
        if (fs.create === undefined) throw core.lacking();
        return fs.create(directory, name, mode, request);
      },
      (error) => {
        const isThere = errnoOf(error) === LINUX_E.EXIST && (flags & LINUX_O.EXCL) === 0;
        if (!isThere) throw error;
        return core.find(directory, name, request);
      },
    );
  });
}

/** TMPFILE: a file without a name, open. */
export function tmpfile<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  const { fs } = core;
  if (fs.makeUnnamed === undefined) return -LINUX_E.NOSYS;
  if (call.outBytesMax < FUSE_ENTRY_OUT.SIZE + FUSE_OPEN_OUT.SIZE) return -LINUX_E.INVAL;
  const flags = call.input.getUint32(FUSE_CREATE_IN.flags, true);
  const mode = call.input.getUint32(FUSE_CREATE_IN.mode, true) & PERMISSIONS;
  return madeAndOpened(core, call, flags, (directory, request) => {
    if (fs.makeUnnamed === undefined) throw core.lacking();
    return fs.makeUnnamed(directory, mode, request);
  });
}

function madeAndOpened<Node, File>(
  core: TreeCore<Node, File>,
  call: FuseCall,
  flags: number,
  make: (directory: Node, request: FsRequest) => Awaitable<Node>,
): number {
  let parentIno = 0;
  return core.run<{ file: Opened<Node, File>; found: Found<Node> }>(
    call,
    (request) => {
      const directory = core.known(call.nodeId);
      parentIno = directory.ino;
      checkFlags(core, flags);
      return after(make(directory.node, request), (node) =>
        after(opened(core, node, flags, false, request), (file) =>
          after(core.described(node, request), (found) => ({ file, found })),
        ),
      );
    },
    ({ file, found }) => {
      const known = core.writeEntry(call.out, 0, found, parentIno);
      return FUSE_ENTRY_OUT.SIZE + writeOpen(core, call, FUSE_ENTRY_OUT.SIZE, known, file);
    },
    ({ file }) => core.closeQuietly(file.file),
  );
}

/** Refuses what cannot be opened, before anything is made. */
function checkFlags<Node, File>(core: TreeCore<Node, File>, flags: number): void {
  const access = flags & LINUX_O.ACCMODE;
  core.files.checkRoom();
  if (access === LINUX_O.ACCMODE) throw fsError('EINVAL');
  if (access !== LINUX_O.RDONLY && core.fs.write === undefined) throw core.lacking();
}

/** Opens a node, truncated when the flags say so. */
function opened<Node, File>(
  core: TreeCore<Node, File>,
  node: Node,
  flags: number,
  kills: boolean,
  request: FsRequest,
): Awaitable<Opened<Node, File>> {
  const { fs } = core;
  checkFlags(core, flags);
  const access = flags & LINUX_O.ACCMODE;
  const read = access !== LINUX_O.WRONLY;
  const write = access !== LINUX_O.RDONLY;
  const mode = { read, write, append: (flags & LINUX_O.APPEND) !== 0 };
  const isTruncated = (flags & LINUX_O.TRUNC) !== 0;
  const ready = isTruncated ? setStat(core, node, { size: 0 }, kills, request) : undefined;
  const wantsContent = read && fs.read === undefined;
  return after(ready, () =>
    // Without `open`, `File` is `Node`: that is what the interface says.
    after(fs.open?.(node, mode, request) ?? (node as unknown as File), (file) => {
      if (!wantsContent || fs.readFile === undefined) return { file, access, content: null };
      return after(fs.readFile(node, request), (content) => ({
        file,
        access,
        content: typeof content === 'string' ? Buffer.from(content) : content,
      }));
    }),
  );
}

/** Gives an open file its number and fills a `struct fuse_open_out`. */
function writeOpen<Node, File>(
  core: TreeCore<Node, File>,
  call: FuseCall,
  at: number,
  known: KnownNode<Node>,
  file: Opened<Node, File>,
): number {
  let flags = 0;
  if (core.validMs === 0 || !known.hasSize) flags |= FOPEN.DIRECT_IO;
  else if (core.validMs === Infinity) flags |= FOPEN.KEEP_CACHE;
  writeU64(call.out, at + FUSE_OPEN_OUT.fh, core.files.add({ known, ...file }));
  call.out.setUint32(at + FUSE_OPEN_OUT.openFlags, flags, true);
  call.out.setUint32(at + FUSE_OPEN_OUT.openFlags + 4, 0, true);
  return FUSE_OPEN_OUT.SIZE;
}

/** READ. */
export function read<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  const { fs } = core;
  const file = core.readable(readU64(call.input, FUSE_READ_IN.fh), call.nodeId);
  const offset = readU64(call.input, FUSE_READ_IN.offset);
  if (file === undefined || file.access === LINUX_O.WRONLY) return -LINUX_E.BADF;
  if (!Number.isSafeInteger(offset + call.dataBytes)) return -LINUX_E.INVAL;
  if (call.dataBytes === 0) return 0;
  if (file.content !== null) {
    return call.putData(file.content.subarray(offset, offset + call.dataBytes));
  }
  try {
    const bytes = fs.readNative?.(file.file, call, offset);
    if (bytes !== undefined) return bytes;
  } catch (error) {
    return core.failure(error);
  }
  const buffer = core.buffers.take(call.dataBytes);
  const into = buffer.subarray(0, call.dataBytes);
  return core.run(
    call,
    (request) => {
      if (fs.read === undefined) throw fsError('EINVAL');
      return fs.read(file.file, into, offset, request);
    },
    (value) => {
      const bytes = putResult(call, into, value);
      core.buffers.give(buffer);
      return bytes;
    },
  );
}

function putResult(call: FuseCall, into: Uint8Array, value: number | Uint8Array): number {
  if (typeof value !== 'number') return call.putData(value.subarray(0, into.length));
  if (!Number.isInteger(value) || value < 0 || value > into.length) {
    throw new TypeError(`read: ${String(value)} is no count of bytes up to ${into.length}`);
  }
  return value === 0 ? 0 : call.putData(into.subarray(0, value));
}

/** WRITE. */
export function write<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  const { fs } = core;
  const file = core.files.get(readU64(call.input, FUSE_WRITE_IN.fh));
  const offset = readU64(call.input, FUSE_WRITE_IN.offset);
  if (file === undefined || file.access === LINUX_O.RDONLY) return -LINUX_E.BADF;
  if (!Number.isSafeInteger(offset + call.dataBytes)) return -LINUX_E.FBIG;
  const writeFlags = call.input.getUint32(FUSE_WRITE_IN.writeFlags, true);
  const kills = (writeFlags & FUSE_WRITE_KILL_SUIDGID) !== 0 && fs.setStat !== undefined;
  // What the page cache writes back has its offset; what a program appends goes to the end.
  const isAppended =
    (call.input.getUint32(FUSE_WRITE_IN.flags, true) & LINUX_O.APPEND) !== 0 &&
    (writeFlags & FUSE_WRITE_CACHE) === 0;
  const { node } = file.known;
  const bytes = call.dataBytes;
  const buffer = core.buffers.take(bytes);
  const data = buffer.subarray(0, bytes);
  call.copyData(data);
  return core.run(
    call,
    (request) => {
      if (fs.write === undefined) throw core.lacking();
      const killed = kills ? killPrivileges(core, node, request) : undefined;
      return after(killed, () => {
        if (!isAppended) return fs.write?.(file.file, data, offset, request);
        return after(fs.stat(node, request), (stat) =>
          fs.write?.(file.file, data, stat.size ?? offset, request),
        );
      });
    },
    () => {
      core.buffers.give(buffer);
      return writeSize(call.out, bytes);
    },
  );
}

function writeSize(out: DataView, bytes: number): number {
  out.setUint32(FUSE_WRITE_OUT.size, bytes, true);
  out.setUint32(FUSE_WRITE_OUT.size + 4, 0, true);
  return FUSE_WRITE_OUT.SIZE;
}

/** RELEASE: the last descriptor of an open file is closed. */
export function release<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  const file = core.files.remove(readU64(call.input, FUSE_RELEASE_IN.fh));
  if (file === undefined) return -LINUX_E.BADF;
  const { id } = file.known;
  if (core.locks.has(id)) {
    const flags = call.input.getUint32(FUSE_RELEASE_IN.releaseFlags, true);
    const isFlock = (flags & FUSE_RELEASE_FLOCK_UNLOCK) !== 0;
    if (isFlock) releaseLocks(core, call.input, FUSE_RELEASE_IN.lockOwner, id, true);
    if (!core.files.some((each) => each.known.id === id)) core.locks.releaseNode(id);
  }
  return core.run(
    call,
    () => core.fs.close?.(file.file),
    () => 0,
  );
}

function releaseLocks<Node, File>(
  core: TreeCore<Node, File>,
  input: DataView,
  ownerAt: number,
  id: number,
  isFlock: boolean,
): void {
  const low = input.getUint32(ownerAt, true);
  core.locks.release(id, isFlock, low, input.getUint32(ownerAt + 4, true));
}

/** FLUSH; not wanted again (ENOSYS) where there are neither locks nor a `flush`. */
export function flush<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  const file = core.files.get(readU64(call.input, FUSE_FLUSH_IN.fh));
  if (file === undefined) return core.noOpen ? -LINUX_E.NOSYS : -LINUX_E.BADF;
  const { id } = file.known;
  const hasLocks = core.locks.has(id);
  if (hasLocks) releaseLocks(core, call.input, FUSE_FLUSH_IN.lockOwner, id, false);
  if (core.fs.flush === undefined) return hasLocks ? 0 : -LINUX_E.NOSYS;
  return core.run(
    call,
    (request) => core.fs.flush?.(file.file, request),
    () => 0,
  );
}

/** FSYNC. */
export function fsync<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  if (core.fs.sync === undefined) return -LINUX_E.NOSYS;
  const flags = call.input.getUint32(FUSE_FSYNC_IN.fsyncFlags, true);
  return core.run(
    call,
    (request) => {
      const { file } = core.openFile(readU64(call.input, FUSE_FSYNC_IN.fh));
      return core.fs.sync?.(file, (flags & FUSE_FSYNC_FDATASYNC) !== 0, request);
    },
    () => 0,
  );
}

/** FALLOCATE: reserving, punching holes, and zeroing. */
export function fallocate<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  const { fs } = core;
  if (fs.allocate === undefined) return -LINUX_E.NOSYS;
  const offset = readU64(call.input, FUSE_FALLOCATE_IN.offset);
  const length = readU64(call.input, FUSE_FALLOCATE_IN.length);
  const mode = allocateMode(call.input.getUint32(FUSE_FALLOCATE_IN.mode, true));
  if (mode === null) return -LINUX_E.OPNOTSUPP;
  if (!Number.isSafeInteger(offset + length)) return -LINUX_E.FBIG;
  if (length === 0) return -LINUX_E.INVAL;
  return core.run(
    call,
    (request) => {
      const { file, access } = core.openFile(readU64(call.input, FUSE_FALLOCATE_IN.fh));
      if (access === LINUX_O.RDONLY) throw fsError('EBADF');
      return fs.allocate?.(file, offset, length, mode, request);
    },
    () => 0,
  );
}

function allocateMode(bits: number): AllocateMode | null {
  const keepSize = (bits & FALLOC.KEEP_SIZE) !== 0;
  switch (bits & ~FALLOC.KEEP_SIZE) {
    case 0:
      return { keepSize, action: 'reserve' };
    case FALLOC.PUNCH_HOLE:
      return keepSize ? { keepSize, action: 'punch' } : null;
    case FALLOC.ZERO_RANGE:
      return { keepSize, action: 'zero' };
    default:
      return null;
  }
}

/** LSEEK, which a kernel sends for data and holes only. */
export function lseek<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  const { fs } = core;
  if (fs.seek === undefined) return -LINUX_E.NOSYS;
  const offset = readU64(call.input, FUSE_LSEEK_IN.offset);
  const whence = call.input.getUint32(FUSE_LSEEK_IN.whence, true);
  if (whence !== LINUX_SEEK.DATA && whence !== LINUX_SEEK.HOLE) return -LINUX_E.INVAL;
  if (!Number.isSafeInteger(offset)) return -LINUX_E.NXIO;
  return core.run(
    call,
    (request) => {
      const { file } = core.openFile(readU64(call.input, FUSE_LSEEK_IN.fh));
      return fs.seek?.(file, offset, whence === LINUX_SEEK.DATA ? 'data' : 'hole', request) ?? 0;
    },
    (found) => {
      writeU64(call.out, FUSE_LSEEK_OUT.offset, found);
      return FUSE_LSEEK_OUT.SIZE;
    },
  );
}

/** COPY_FILE_RANGE, a piece at a time. */
export function copyFileRange<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  const { fs } = core;
  if (fs.copyRange === undefined) return -LINUX_E.NOSYS;
  const at = FUSE_COPY_FILE_RANGE_IN;
  const fromOffset = readU64(call.input, at.offIn);
  const toOffset = readU64(call.input, at.offOut);
  const bytes = Math.min(readU64(call.input, at.len), COPY_BYTES_MAX);
  if (call.input.getUint32(at.flags, true) !== 0) return -LINUX_E.INVAL;
  if (!Number.isSafeInteger(fromOffset + bytes)) return -LINUX_E.INVAL;
  if (!Number.isSafeInteger(toOffset + bytes)) return -LINUX_E.FBIG;
  return core.run(
    call,
    (request) => {
      const from = core.openFile(readU64(call.input, at.fhIn));
      const to = core.openFile(readU64(call.input, at.fhOut));
      const isReadable = from.access !== LINUX_O.WRONLY;
      if (!isReadable || to.access === LINUX_O.RDONLY) throw fsError('EBADF');
      return fs.copyRange?.(from.file, fromOffset, to.file, toOffset, bytes, request) ?? 0;
    },
    (copied) => writeSize(call.out, copied),
  );
}
