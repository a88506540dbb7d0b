/**
 * Names in folders: looking them up, making, linking, renaming and removing them.
 *
 * @module
 */
import {
  FUSE_LINK_IN,
  FUSE_MKDIR_IN,
  FUSE_MKNOD_IN,
  LINUX_E,
  RENAME,
  S_IF,
  devMajor,
  devMinor,
} from '../../../fuse/index.ts';
import {
  linkAt,
  linkFd,
  readlinkAt,
  readlinkFd,
  renameAt,
  rmdirAt,
  statAt,
  unlinkAt,
} from '../../../sys/index.ts';
import type { FuseCall } from '../operations.ts';
import { STALE, entryOf, writeEntry } from './entries.ts';
import { listsExactly } from './exact-names.ts';
import { toLinux } from './folder-state.ts';
import type { FolderState } from './folder-state.ts';
import { MAKE, make, wanted } from './make.ts';
import { NO_SLOT, ROOT_SLOT } from './node-table.ts';
import { getU64 } from './owners.ts';

const DOT = 0x2e;
const LINK_BYTES_MAX = 4096;
const RENAME_FLAGS = RENAME.NOREPLACE | RENAME.EXCHANGE | RENAME.WHITEOUT;
const KIND_LINK = S_IF.LNK >> 12;
/** Getting two folders may close the first one; it is tried again so often. */
const FOLDERS_ATTEMPTS_MAX = 4;

/** LOOKUP, of `.` and `..` as well, for a guest that exports the folder by NFS. */
export function lookup(state: FolderState, call: FuseCall): number {
  const parent = state.slotOf(call);
  if (call.inputArray[call.nameOffset] === DOT) {
    const self = dotsOf(state, call, parent);
    if (self !== NO_SLOT) {
      const result = state.statNode(self);
      return result < 0 ? result : writeEntry(state, call.out, 0, self);
    }
  }
  const folder = state.folderFd(parent);
  if (folder < 0) return folder;
  if (state.foldsNames && !isSpelt(state, call, parent, folder)) return -LINUX_E.NOENT;
  return entryBelow(state, call, parent, folder);
}

/** Whether a name that leads to a file is the file's own; one that was listed before is known. */
function isSpelt(state: FolderState, call: FuseCall, parent: number, folder: number): boolean {
  const { nameAddress, inputArray, nameOffset, nameBytes } = call;
  if (statAt(folder, nameAddress, state.stat) < 0) return true; // it leads nowhere
  const slot = state.nodes.find(state.stat);
  const known =
    slot !== NO_SLOT && state.nodes.isAt(slot, parent, inputArray, nameOffset, nameBytes);
  return known || listsExactly(folder, inputArray, nameOffset, nameBytes);
}

/** The node that `.` or `..` is, NO_SLOT for any other name. Above the root there is nothing. */
function dotsOf(state: FolderState, call: FuseCall, slot: number): number {
  if (call.nameBytes === 1) return slot;
  if (call.nameBytes !== 2 || call.inputArray[call.nameOffset + 1] !== DOT) return NO_SLOT;
  const parent = slot === NO_SLOT ? NO_SLOT : (state.nodes.parent[slot] as number);
  return parent === NO_SLOT ? ROOT_SLOT : parent;
}

/** Answers with what the first name of the call leads to. */
function entryBelow(state: FolderState, call: FuseCall, parent: number, folder: number): number {
  const result = toLinux(statAt(folder, call.nameAddress, state.stat));
  if (result < 0) return result;
  const { inputArray, nameOffset, nameBytes } = call;
  return entryOf(state, call.out, parent, inputArray, nameOffset, nameBytes);
}

/** MKDIR. */
export function mkdir(state: FolderState, call: FuseCall): number {
  wanted.kind = MAKE.folder;
  wanted.mode = call.input.getUint32(FUSE_MKDIR_IN.mode, true) & 0o7777;
  wanted.umask = call.input.getUint32(FUSE_MKDIR_IN.umask, true);
  return makeEntry(state, call);
}

/** MKNOD: devices, FIFOs, sockets and plain files. */
export function mknod(state: FolderState, call: FuseCall): number {
  const rdev = call.input.getUint32(FUSE_MKNOD_IN.rdev, true);
  wanted.kind = MAKE.node;
  wanted.mode = call.input.getUint32(FUSE_MKNOD_IN.mode, true);
  wanted.umask = call.input.getUint32(FUSE_MKNOD_IN.umask, true);
  wanted.major = devMajor(rdev);
  wanted.minor = devMinor(rdev);
  return makeEntry(state, call);
}

/** SYMLINK: the target is the guest's own affair, it is never followed here. */
export function symlink(state: FolderState, call: FuseCall): number {
  wanted.kind = MAKE.link;
  wanted.mode = 0o777;
  wanted.umask = 0;
  return makeEntry(state, call);
}

function makeEntry(state: FolderState, call: FuseCall): number {
  const parent = state.slotOf(call);
  const folder = state.folderFd(parent);
  if (folder < 0) return folder;
  wanted.folder = folder;
  wanted.parent = parent;
  wanted.name = call.nameAddress;
  const result = make(state, call);
  return result < 0 ? result : entryBelow(state, call, parent, folder);
}

/** UNLINK. */
export function unlink(state: FolderState, call: FuseCall): number {
  return remove(state, call, unlinkAt);
}

/** RMDIR. */
export function rmdir(state: FolderState, call: FuseCall): number {
  return remove(state, call, rmdirAt);
}

function remove(
  state: FolderState,
  call: FuseCall,
  removeAt: (folder: number, nameAddress: number) => number,
): number {
  const parent = state.slotOf(call);
  const folder = state.folderFd(parent);
  if (folder < 0) return folder;
  const { inputArray, nameOffset, nameBytes, nameAddress } = call;
  let result = toLinux(statAt(folder, nameAddress, state.stat));
  if (result < 0) return result;
  const slot = state.keepOpen(parent, folder, inputArray, nameOffset, nameBytes);
  result = toLinux(removeAt(folder, nameAddress));
  if (result < 0) return result;
  state.lostName(slot);
  return 0;
}

/** RENAME and RENAME2. */
export function rename(state: FolderState, call: FuseCall, newDir: number, flags: number): number {
  if ((flags & ~RENAME_FLAGS) !== 0) return -LINUX_E.INVAL;
  const parent = state.slotOf(call);
  const newParent = state.nodes.slotOf(newDir);
  const folder = bothFolders(state, parent, newParent);
  if (folder < 0) return folder;
  const newFolder = state.folderFd(newParent);
  const { inputArray, secondOffset, secondBytes, nameAddress, secondAddress } = call;
  let kept = NO_SLOT; // what the new name leads to now, and will not
  if (statAt(newFolder, secondAddress, state.stat) >= 0) {
    kept = state.keepOpen(newParent, newFolder, inputArray, secondOffset, secondBytes);
  }
  const result = toLinux(renameAt(folder, nameAddress, newFolder, secondAddress, flags));
  if (result < 0) return result;
  if ((flags & RENAME.EXCHANGE) !== 0) {
    moved(state, parent, folder, nameAddress, inputArray, call.nameOffset, call.nameBytes);
  } else if (statAt(newFolder, secondAddress, state.stat) < 0 || !isSelf(state, kept)) {
    state.lostName(kept);
  }
  moved(state, newParent, newFolder, secondAddress, inputArray, secondOffset, secondBytes);
  return 0;
}

/** Renaming one hard link over another of the same file does nothing (rename(2)). */
function isSelf(state: FolderState, slot: number): boolean {
  return slot !== NO_SLOT && state.nodes.matches(slot, state.stat);
}

/** A known node has got this place. */
function moved(
  state: FolderState,
  parent: number,
  folder: number,
  nameAddress: number,
  bytes: Uint8Array,
  offset: number,
  length: number,
): void {
  if (statAt(folder, nameAddress, state.stat) < 0) return; // the host was quicker
  if (state.nodes.find(state.stat) === NO_SLOT) return;
  state.seen(parent, bytes, offset, length);
}

/** LINK: another name for a node. */
export function link(state: FolderState, call: FuseCall): number {
  const parent = state.slotOf(call);
  const slot = state.nodes.slotOf(getU64(call.input, FUSE_LINK_IN.oldnodeid));
  if (slot === NO_SLOT || parent === NO_SLOT) return STALE;
  const oldParent = state.nodes.parent[slot] as number;
  let result: number;
  let folder: number;
  if (oldParent === NO_SLOT) {
    const fd = state.nodeFd(slot);
    folder = state.folderFd(parent);
    if (fd < 0) return fd;
    if (folder < 0) return folder;
    result = toLinux(linkFd(fd, folder, call.nameAddress));
  } else {
    const oldFolder = bothFolders(state, oldParent, parent);
    if (oldFolder < 0) return oldFolder;
    folder = state.folderFd(parent);
    const oldName = state.nodes.nameAddress(slot);
    result = toLinux(linkAt(oldFolder, oldName, folder, call.nameAddress));
  }
  if (result < 0) return result === -LINUX_E.NOENT ? STALE : result;
  result = toLinux(statAt(folder, call.nameAddress, state.stat));
  if (result < 0) return result;
  if (!state.nodes.matches(slot, state.stat)) {
    unlinkAt(folder, call.nameAddress); // the host has put another file there
    return STALE;
  }
  return entryOf(state, call.out, parent, call.inputArray, call.nameOffset, call.nameBytes);
}

/** READLINK. */
export function readlink(state: FolderState, call: FuseCall): number {
  const slot = state.slotOf(call);
  let result = state.statNode(slot);
  if (result < 0) return result;
  if (state.nodes.kind[slot] !== KIND_LINK) return -LINUX_E.INVAL;
  const room = Math.min(call.outBytesMax, LINK_BYTES_MAX);
  const parent = state.nodes.parent[slot] as number;
  if (parent === NO_SLOT) {
    const fd = state.nodeFd(slot);
    return fd < 0 ? fd : toLinux(readlinkFd(fd, call.outAddress, room));
  }
  const folder = state.folderFd(parent);
  if (folder < 0) return folder;
  result = toLinux(readlinkAt(folder, state.nodes.nameAddress(slot), call.outAddress, room));
  return result === -LINUX_E.NOENT || result === -LINUX_E.INVAL ? STALE : result;
}

/**
 * Descriptors for two folders at once: returns the one of `a`, and `folderFd(b)` gives the other
 * one without closing it.
 */
function bothFolders(state: FolderState, a: number, b: number): number {
  for (let attempt = 0; attempt < FOLDERS_ATTEMPTS_MAX; attempt++) {
    const first = state.folderFd(a);
    const second = state.folderFd(b);
    if (first < 0) return first;
    if (second < 0) return second;
    if (state.folderFd(a) === first && state.folderFd(b) === second) return first;
  }
  return -LINUX_E.NFILE;
}
