/**
 * Folders that the guest has open, and what is in them.
 *
 * @module
 */
import {
  FOPEN,
  FUSE_DIRENT,
  FUSE_DIRENTPLUS,
  FUSE_FSYNC_FDATASYNC,
  FUSE_FSYNC_IN,
  FUSE_OPEN_OUT,
  FUSE_READ_IN,
  FUSE_RELEASE_IN,
  LINUX_E,
  LINUX_O,
  fuseRecordBytes,
} from '../../../fuse/index.ts';
import {
  DirCursor,
  NativeBlock,
  closeFd,
  hostOpenFlags,
  readDirBlock,
  seekDir,
  statAt,
  syncFd,
} from '../../../sys/index.ts';
import type { FuseCall } from '../operations.ts';
import { writeEntry } from './entries.ts';
import { compose } from './exact-names.ts';
import { releaseHandle } from './file-ops.ts';
import { toLinux } from './folder-state.ts';
import type { FolderState } from './folder-state.ts';
import type { Handle } from './handles.ts';
import { ROOT_SLOT } from './node-table.ts';
import { getU64, setU53 } from './owners.ts';

const BLOCK_BYTES = 64 * 1024;
const BLOCK_BYTES_MIN = 4096;
/** Entries of the host are so much shorter than ones with attributes. */
const PLUS_RATIO = 4;
const FOLDER_FLAGS = hostOpenFlags(LINUX_O.RDONLY | LINUX_O.DIRECTORY | LINUX_O.NONBLOCK);
const DOT_CODE = 0x2e;

const block = new NativeBlock(BLOCK_BYTES);
const cursor = new DirCursor();
const dot = new NativeBlock(2);
dot.bytes[0] = DOT_CODE;

/** OPENDIR: each open folder has a descriptor, and a place in it, of its own. */
export function opendir(state: FolderState, call: FuseCall): number {
  const slot = state.slotOf(call);
  const folder = state.folderFd(slot);
  if (folder < 0) return folder;
  const fd = state.openBelow(folder, dot.address, FOLDER_FLAGS, 0);
  if (fd < 0) return fd;
  const handle = state.handles.open(slot, fd, true);
  if (handle === null) {
    closeFd(fd);
    return -LINUX_E.NFILE;
  }
  const { nodes, settings } = state;
  nodes.handles[slot] = (nodes.handles[slot] as number) + 1;
  const keep = settings.cache === 'always' || settings.cache === 'metadata';
  setU53(call.out, FUSE_OPEN_OUT.fh, handle.id);
  const flags = keep ? FOPEN.CACHE_DIR | FOPEN.KEEP_CACHE : 0;
  call.out.setUint32(FUSE_OPEN_OUT.openFlags, flags, true);
  call.out.setUint32(FUSE_OPEN_OUT.openFlags + 4, 0, true);
  return FUSE_OPEN_OUT.SIZE;
}

/** READDIR. */
export function readdir(state: FolderState, call: FuseCall): number {
  return list(state, call, false);
}

/** READDIRPLUS: each name is looked up by that. */
export function readdirplus(state: FolderState, call: FuseCall): number {
  return list(state, call, true);
}

function list(state: FolderState, call: FuseCall, plus: boolean): number {
  const handle = state.handles.folder(getU64(call.input, FUSE_READ_IN.fh));
  if (handle === undefined) return -LINUX_E.BADF;
  const { input } = call;
  const asked = input.getUint32(FUSE_READ_IN.size, true);
  const room = Math.min(asked, call.outBytesMax);
  const low = input.getUint32(FUSE_READ_IN.offset, true);
  const high = input.getUint32(FUSE_READ_IN.offset + 4, true);
  if (low !== handle.cookieLow || high !== handle.cookieHigh) {
    const result = toLinux(seekDir(handle.fd, low, high));
    if (result < 0) return result;
    handle.cookieLow = low;
    handle.cookieHigh = high;
  }
  const wanted = plus ? Math.floor(room / PLUS_RATIO) : room;
  const blockBytes = Math.min(BLOCK_BYTES, Math.max(BLOCK_BYTES_MIN, wanted));
  let used = 0;
  for (;;) {
    const bytes = toLinux(readDirBlock(handle.fd, block.address, blockBytes));
    if (bytes < 0) return used > 0 ? used : bytes;
    if (bytes === 0) return used;
    const whole = fill(state, call, handle, bytes, room, used, plus);
    const full = whole < 0;
    const before = used;
    used = full ? -whole - 1 : whole;
    // What did not fit is read again: the descriptor stands behind the block, the cookie does not.
    if (full) {
      const back = toLinux(seekDir(handle.fd, handle.cookieLow, handle.cookieHigh));
      if (back < 0) return back;
      return used === 0 ? -LINUX_E.INVAL : used;
    }
    // One block nearly fills the guest's buffer: another one would mostly be read twice.
    if (used > before && room - used < room >> 2) return used;
  }
}

/**
 * Writes the entries of a block. Returns the bytes that are used then; `-bytes - 1` when the room
 * has come to its end before the block.
 */
function fill(
  state: FolderState,
  call: FuseCall,
  handle: Handle,
  blockBytes: number,
  room: number,
  usedBefore: number,
  plus: boolean,
): number {
  const head = plus ? FUSE_DIRENTPLUS.dirent + FUSE_DIRENT.name : FUSE_DIRENT.name;
  let used = usedBefore;
  for (let at = 0; at < blockBytes;) {
    at = cursor.load(block.view, at, block.address);
    if (state.foldsNames) {
      cursor.nameBytes = compose(block.bytes, cursor.nameAt, cursor.nameBytes);
      block.bytes[cursor.nameAt + cursor.nameBytes] = 0;
    }
    const { nameBytes } = cursor;
    const size = fuseRecordBytes(head, nameBytes);
    if (used + size > room) return -used - 1;
    const entryAt = plus ? used + FUSE_DIRENTPLUS.dirent : used;
    if (plus) plusEntry(state, call.out, used, handle);
    writeDirent(state, call, entryAt, used + size, handle);
    used += size;
    handle.cookieLow = cursor.offsetLow;
    handle.cookieHigh = cursor.offsetHigh;
  }
  return used;
}

function writeDirent(
  state: FolderState,
  call: FuseCall,
  at: number,
  end: number,
  handle: Handle,
): void {
  const { out, outArray } = call;
  const { nameBytes, nameAt: nameOffset } = cursor;
  // What is above the shared folder is nobody's business: `..` of the root is the root.
  const hide = handle.slot === ROOT_SLOT && isDots(nameOffset, nameBytes);
  if (hide) statOfRoot(state);
  out.setUint32(at + FUSE_DIRENT.ino, hide ? state.stat.inoLow : cursor.inoLow, true);
  out.setUint32(at + FUSE_DIRENT.ino + 4, hide ? state.stat.inoHigh : cursor.inoHigh, true);
  out.setUint32(at + FUSE_DIRENT.off, cursor.offsetLow, true);
  out.setUint32(at + FUSE_DIRENT.off + 4, cursor.offsetHigh, true);
  out.setUint32(at + FUSE_DIRENT.namelen, nameBytes, true);
  out.setUint32(at + FUSE_DIRENT.type, cursor.type, true);
  const nameAt = at + FUSE_DIRENT.name;
  const { bytes } = block;
  for (let i = 0; i < nameBytes; i++) outArray[nameAt + i] = bytes[nameOffset + i] as number;
  for (let i = nameAt + nameBytes; i < end; i++) outArray[i] = 0;
}

/** Looks a name up; one that has gone meanwhile, and the dots, are entries without a node. */
function plusEntry(state: FolderState, out: DataView, at: number, handle: Handle): void {
  const { nameBytes, nameAt: nameOffset, nameAddress } = cursor;
  if (!isDots(nameOffset, nameBytes) && statAt(handle.fd, nameAddress, state.stat) >= 0) {
    const slot = state.seen(handle.slot, block.bytes, nameOffset, nameBytes);
    if (slot >= 0) {
      writeEntry(state, out, at, slot);
      return;
    }
  }
  for (let i = 0; i < FUSE_DIRENTPLUS.dirent; i += 4) out.setUint32(at + i, 0, true);
}

function isDots(nameOffset: number, nameBytes: number): boolean {
  const { bytes } = block;
  if (nameBytes > 2 || bytes[nameOffset] !== DOT_CODE) return false;
  return nameBytes === 1 || bytes[nameOffset + 1] === DOT_CODE;
}

function statOfRoot(state: FolderState): void {
  state.statNode(ROOT_SLOT);
}

/** RELEASEDIR. */
export function releasedir(state: FolderState, call: FuseCall): number {
  const handle = state.handles.folder(getU64(call.input, FUSE_RELEASE_IN.fh));
  if (handle === undefined) return -LINUX_E.BADF;
  releaseHandle(state, handle);
  return 0;
}

/** FSYNCDIR. */
export function fsyncdir(state: FolderState, call: FuseCall): number {
  const handle = state.handles.folder(getU64(call.input, FUSE_FSYNC_IN.fh));
  if (handle === undefined) return -LINUX_E.BADF;
  const flags = call.input.getUint32(FUSE_FSYNC_IN.fsyncFlags, true);
  return toLinux(syncFd(handle.fd, (flags & FUSE_FSYNC_FDATASYNC) !== 0));
}
