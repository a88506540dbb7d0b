/**
 * Files that the guest has open.
 *
 * @module
 */
import {
  FOPEN,
  FUSE_COPY_FILE_RANGE_IN,
  FUSE_CREATE_IN,
  FUSE_FALLOCATE_IN,
  FUSE_FSYNC_FDATASYNC,
  FUSE_FSYNC_IN,
  FUSE_LSEEK_IN,
  FUSE_LSEEK_OUT,
  FUSE_OPEN_IN,
  FUSE_OPEN_KILL_SUIDGID,
  FUSE_OPEN_OUT,
  FUSE_READ_IN,
  FUSE_RELEASE_IN,
  FUSE_WRITE_IN,
  FUSE_WRITE_KILL_SUIDGID,
  LINUX_E,
  LINUX_O,
  LINUX_SEEK,
  S_IF,
} from '../../../fuse/index.ts';
import {
  NativeBlock,
  allocateFd,
  closeFd,
  copyRange,
  hostOpenFlags,
  seekData,
  statAt,
  statFd,
} from '../../../sys/index.ts';
import type { FuseCall } from '../operations.ts';
import { killPrivileges } from './attr-ops.ts';
import { STALE, entryOf, writeAnswer, writeEntry } from './entries.ts';
import type { FileIo } from './file-io.ts';
import { toLinux } from './folder-state.ts';
import type { FolderState } from './folder-state.ts';
import type { Handle } from './handles.ts';
import type { LockOps } from './lock-ops.ts';
import { MAKE, make, wanted } from './make.ts';
import { NO_SLOT } from './node-table.ts';
import { getU64, setU53 } from './owners.ts';

/** Copied by one request, so that others get their turn. */
const COPY_BYTES_MAX = 16 * 1024 * 1024;
/** Flags that say how a file is opened, and nothing about names. */
const PASSED_ON =
  LINUX_O.ACCMODE | LINUX_O.APPEND | LINUX_O.TRUNC | LINUX_O.NONBLOCK | LINUX_O.SYNC;
const CREATE_FLAGS = hostOpenFlags(LINUX_O.CREAT | LINUX_O.EXCL | LINUX_O.NONBLOCK);
const TMPFILE_FLAGS = hostOpenFlags(LINUX_O.TMPFILE | LINUX_O.RDWR);
/** The name `.`, for the folder itself. */
const DOT = new NativeBlock(2);
DOT.bytes[0] = 0x2e;
const HAS_TMPFILE = TMPFILE_FLAGS !== hostOpenFlags(LINUX_O.RDWR);

/** OPEN. */
export function open(state: FolderState, call: FuseCall): number {
  const slot = state.slotOf(call);
  if (slot === NO_SLOT) return STALE;
  const asked = call.input.getUint32(FUSE_OPEN_IN.flags, true);
  const flags = openFlags(state, asked);
  if (state.settings.readOnly && changes(asked)) return -LINUX_E.ROFS;
  const fd = state.openNode(slot, hostOpenFlags(flags));
  if (fd < 0) return fd;
  const kill = call.input.getUint32(FUSE_OPEN_IN.openFlags, true) & FUSE_OPEN_KILL_SUIDGID;
  if (kill !== 0 && (asked & LINUX_O.TRUNC) !== 0) killPrivileges(state, fd, slot);
  return opened(state, call.out, 0, slot, fd, flags);
}

/** CREATE: makes the file, or opens it if it is there and need not be new. */
export function create(state: FolderState, call: FuseCall): number {
  const parent = state.slotOf(call);
  const folder = state.folderFd(parent);
  if (folder < 0) return folder;
  const { input, inputArray, nameOffset, nameBytes } = call;
  const asked = input.getUint32(FUSE_CREATE_IN.flags, true);
  const flags = openFlags(state, asked);
  wanted.kind = MAKE.file;
  wanted.folder = folder;
  wanted.parent = parent;
  wanted.name = call.nameAddress;
  wanted.mode = (input.getUint32(FUSE_CREATE_IN.mode, true) & 0o7777) | S_IF.REG;
  wanted.umask = input.getUint32(FUSE_CREATE_IN.umask, true);
  wanted.flags = hostOpenFlags(flags & ~LINUX_O.TRUNC) | CREATE_FLAGS;
  const fd = make(state, call);
  if (fd === -LINUX_E.EXIST && (asked & LINUX_O.EXCL) === 0) {
    return openExisting(state, call, parent, folder, flags);
  }
  if (fd < 0) return fd;
  const result = toLinux(statFd(fd, state.stat));
  const entry =
    result < 0 ? result : entryOf(state, call.out, parent, inputArray, nameOffset, nameBytes);
  if (entry < 0) return closed(fd, entry);
  return opened(state, call.out, entry, state.nodes.find(state.stat), fd, flags);
}

/** The guest did not know that the file is there: somebody else made it. */
function openExisting(
  state: FolderState,
  call: FuseCall,
  parent: number,
  folder: number,
  flags: number,
): number {
  const result = toLinux(statAt(folder, call.nameAddress, state.stat));
  if (result < 0) return result;
  const { out, inputArray, nameOffset, nameBytes } = call;
  const slot = state.seen(parent, inputArray, nameOffset, nameBytes);
  if (slot < 0) return slot;
  const fd = state.openNode(slot, hostOpenFlags(flags));
  if (fd < 0) {
    state.nodes.removeIfUnused(slot);
    return fd;
  }
  const seen = toLinux(statFd(fd, state.stat));
  const entry = seen < 0 ? seen : entryOf(state, out, parent, inputArray, nameOffset, nameBytes);
  return entry < 0 ? closed(fd, entry) : opened(state, out, entry, slot, fd, flags);
}

/** TMPFILE: a file without a name, which a LINK may give it. */
export function tmpfile(state: FolderState, call: FuseCall): number {
  if (!HAS_TMPFILE) return -LINUX_E.OPNOTSUPP;
  const parent = state.slotOf(call);
  const folder = state.folderFd(parent);
  if (folder < 0) return folder;
  const { input, out } = call;
  const flags = openFlags(state, input.getUint32(FUSE_CREATE_IN.flags, true));
  wanted.kind = MAKE.file;
  wanted.folder = folder;
  wanted.parent = parent;
  wanted.name = DOT.address;
  wanted.mode = (input.getUint32(FUSE_CREATE_IN.mode, true) & 0o7777) | S_IF.REG;
  wanted.umask = input.getUint32(FUSE_CREATE_IN.umask, true);
  wanted.flags = TMPFILE_FLAGS;
  const fd = make(state, call);
  if (fd < 0) return fd;
  const slot = state.addNameless(fd);
  if (slot < 0) return closed(fd, slot);
  const entry = writeEntry(state, out, 0, slot);
  return opened(state, out, entry, slot, fd, flags);
}

/** Makes a handle of an open file and writes `fuse_open_out` behind `entryBytes`. */
function opened(
  state: FolderState,
  out: DataView,
  entryBytes: number,
  slot: number,
  fd: number,
  flags: number,
): number {
  const { nodes, handles, settings } = state;
  const handle = handles.open(slot, fd, false);
  if (handle === null) {
    if (entryBytes > 0) nodes.forget(slot, 1); // an entry that the guest is not told of
    return closed(fd, -LINUX_E.NFILE);
  }
  nodes.handles[slot] = (nodes.handles[slot] as number) + 1;
  handle.writable = (flags & LINUX_O.ACCMODE) !== LINUX_O.RDONLY;
  handle.append = (flags & LINUX_O.APPEND) !== 0;
  handle.readsWait = (flags & LINUX_O.DIRECT) !== 0;
  handle.writesWait = (flags & (LINUX_O.DIRECT | LINUX_O.SYNC)) !== 0; // SYNC has the bit of DSYNC
  const { cache } = settings;
  let said = 0;
  if (cache === 'never' || cache === 'metadata') said = FOPEN.DIRECT_IO;
  else if (cache === 'always') said = FOPEN.KEEP_CACHE;
  if (said === FOPEN.DIRECT_IO) said |= FOPEN.PARALLEL_DIRECT_WRITES;
  setU53(out, entryBytes + FUSE_OPEN_OUT.fh, handle.id);
  out.setUint32(entryBytes + FUSE_OPEN_OUT.openFlags, said, true);
  out.setUint32(entryBytes + FUSE_OPEN_OUT.openFlags + 4, 0, true);
  return entryBytes + FUSE_OPEN_OUT.SIZE;
}

function closed(fd: number, error: number): number {
  closeFd(fd);
  return error;
}

function changes(flags: number): boolean {
  return (flags & LINUX_O.ACCMODE) !== LINUX_O.RDONLY || (flags & LINUX_O.TRUNC) !== 0;
}

/** The open flags that the host gets, for those that the guest has. */
function openFlags(state: FolderState, asked: number): number {
  const { writeback, allowDirectIo, preserveNoatime } = state.settings;
  let flags = asked & PASSED_ON;
  if (allowDirectIo) flags |= asked & LINUX_O.DIRECT;
  if (preserveNoatime) flags |= asked & LINUX_O.NOATIME;
  if (writeback) {
    // The guest's page cache reads what it fills up, and knows by itself where the end is.
    if ((flags & LINUX_O.ACCMODE) === LINUX_O.WRONLY)
      flags = (flags & ~LINUX_O.ACCMODE) | LINUX_O.RDWR;
    flags &= ~LINUX_O.APPEND;
  }
  return flags;
}

/** READ. */
export function read(state: FolderState, io: FileIo, call: FuseCall): number {
  const handle = state.handles.file(getU64(call.input, FUSE_READ_IN.fh));
  if (handle === undefined) return -LINUX_E.BADF;
  const offset = getU64(call.input, FUSE_READ_IN.offset);
  if (offset > Number.MAX_SAFE_INTEGER) return -LINUX_E.INVAL;
  return call.dataBytes === 0 ? 0 : io.read(call, handle, offset);
}

/** WRITE; the answer is `fuse_write_out`. */
export function write(state: FolderState, io: FileIo, call: FuseCall): number {
  const handle = state.handles.file(getU64(call.input, FUSE_WRITE_IN.fh));
  if (handle === undefined) return -LINUX_E.BADF;
  const offset = getU64(call.input, FUSE_WRITE_IN.offset);
  if (offset > Number.MAX_SAFE_INTEGER) return -LINUX_E.FBIG;
  const flags = call.input.getUint32(FUSE_WRITE_IN.writeFlags, true);
  if ((flags & FUSE_WRITE_KILL_SUIDGID) !== 0) killPrivileges(state, handle.fd, handle.slot);
  const result = call.dataBytes === 0 ? 0 : io.write(call, handle, offset);
  return result < 0 ? result : writeAnswer(call.out, result);
}

/** RELEASE. */
export function release(state: FolderState, locks: LockOps, call: FuseCall): number {
  const handle = state.handles.file(getU64(call.input, FUSE_RELEASE_IN.fh));
  if (handle === undefined) return -LINUX_E.BADF;
  locks.released(handle);
  releaseHandle(state, handle);
  return 0;
}

/** Closes a handle of a file or a folder. */
export function releaseHandle(state: FolderState, handle: Handle): void {
  const { nodes, handles } = state;
  const { slot } = handle;
  handles.release(handle);
  nodes.handles[slot] = (nodes.handles[slot] as number) - 1;
  nodes.removeIfUnused(slot);
}

/** FSYNC. */
export function fsync(state: FolderState, io: FileIo, call: FuseCall): number {
  const handle = state.handles.file(getU64(call.input, FUSE_FSYNC_IN.fh));
  if (handle === undefined) return -LINUX_E.BADF;
  const flags = call.input.getUint32(FUSE_FSYNC_IN.fsyncFlags, true);
  return io.sync(call, handle, (flags & FUSE_FSYNC_FDATASYNC) !== 0);
}

/** FALLOCATE. */
export function fallocate(state: FolderState, call: FuseCall): number {
  const { input } = call;
  const handle = state.handles.file(getU64(input, FUSE_FALLOCATE_IN.fh));
  if (handle === undefined) return -LINUX_E.BADF;
  const offset = getU64(input, FUSE_FALLOCATE_IN.offset);
  const length = getU64(input, FUSE_FALLOCATE_IN.length);
  if (offset + length > Number.MAX_SAFE_INTEGER) return -LINUX_E.FBIG;
  const mode = input.getUint32(FUSE_FALLOCATE_IN.mode, true);
  return toLinux(allocateFd(handle.fd, mode, offset, length));
}

/** LSEEK: data and holes only, the guest knows the rest. */
export function lseek(state: FolderState, call: FuseCall): number {
  const { input, out } = call;
  const handle = state.handles.file(getU64(input, FUSE_LSEEK_IN.fh));
  if (handle === undefined) return -LINUX_E.BADF;
  const offset = getU64(input, FUSE_LSEEK_IN.offset);
  const whence = input.getUint32(FUSE_LSEEK_IN.whence, true);
  if (whence !== LINUX_SEEK.DATA && whence !== LINUX_SEEK.HOLE) return -LINUX_E.INVAL;
  if (offset > Number.MAX_SAFE_INTEGER) return -LINUX_E.NXIO;
  const result = toLinux(seekData(handle.fd, offset, whence === LINUX_SEEK.HOLE));
  if (result < 0) return result;
  setU53(out, FUSE_LSEEK_OUT.offset, result);
  return FUSE_LSEEK_OUT.SIZE;
}

/** COPY_FILE_RANGE; what the host cannot do the guest does by reading and writing. */
export function copyFileRange(state: FolderState, call: FuseCall): number {
  const { input } = call;
  const from = state.handles.file(getU64(input, FUSE_COPY_FILE_RANGE_IN.fhIn));
  const into = state.handles.file(getU64(input, FUSE_COPY_FILE_RANGE_IN.fhOut));
  if (from === undefined || into === undefined) return -LINUX_E.BADF;
  const fromOffset = getU64(input, FUSE_COPY_FILE_RANGE_IN.offIn);
  const intoOffset = getU64(input, FUSE_COPY_FILE_RANGE_IN.offOut);
  const length = Math.min(getU64(input, FUSE_COPY_FILE_RANGE_IN.len), COPY_BYTES_MAX);
  if (Math.max(fromOffset, intoOffset) + length > Number.MAX_SAFE_INTEGER) return -LINUX_E.FBIG;
  if (getU64(input, FUSE_COPY_FILE_RANGE_IN.flags) !== 0) return -LINUX_E.INVAL;
  const result = toLinux(copyRange(from.fd, fromOffset, into.fd, intoOffset, length));
  if (result === -LINUX_E.NOSYS || result === -LINUX_E.XDEV) return -LINUX_E.OPNOTSUPP;
  return result < 0 ? result : writeAnswer(call.out, result);
}
