/**
 * Attributes of nodes, and of the whole file system.
 *
 * @module
 */
import {
  FATTR,
  FUSE_ACCESS_IN,
  FUSE_ATTR,
  FUSE_ATTR_OUT,
  FUSE_GETATTR_FH,
  FUSE_GETATTR_IN,
  FUSE_KSTATFS,
  FUSE_SETATTR_IN,
  LINUX_E,
  LINUX_O,
  S_IF,
} from '../../../fuse/index.ts';
import {
  StatFsBlock,
  UTIME_NOW,
  UTIME_OMIT,
  chmodAt,
  chmodFd,
  chownAt,
  chownFd,
  closeFd,
  hostOpenFlags,
  statFd,
  statFs,
  syncFileSystem,
  truncateFd,
  utimensAt,
  utimensFd,
} from '../../../sys/index.ts';
import type { FuseCall } from '../operations.ts';
import { attrScratch, statxFromAttr } from '../statx.ts';
import { STALE, writeAttrOut } from './entries.ts';
import { toLinux } from './folder-state.ts';
import type { FolderState } from './folder-state.ts';
import type { Handle } from './handles.ts';
import { NO_SLOT } from './node-table.ts';
import { overrideOf, overrideOrStat, saveOverride } from './override-file.ts';
import type { OverrideStat } from './override-stat.ts';
import { getI64, getU64, setU53 } from './owners.ts';

const KEEP_ID = 0xffff_ffff;
const MODE_BITS = 0o7777;
const S_ISUID = 0o4000;
const S_ISGID = 0o2000;
const S_IXGRP = 0o010;
const WRITE_FLAGS = hostOpenFlags(LINUX_O.WRONLY | LINUX_O.NONBLOCK);
const KIND_LINK = S_IF.LNK >> 12;
const KIND_FILE = S_IF.REG >> 12;

const fsBlock = new StatFsBlock();

/** GETATTR. */
export function getattr(state: FolderState, call: FuseCall): number {
  const slot = state.slotOf(call);
  const result = look(state, call, slot);
  return result < 0 ? result : writeAttrOut(state, call.out, slot);
}

/** STATX: the same, and when the file was made, where this host tells. */
export function statx(state: FolderState, call: FuseCall): number {
  const slot = state.slotOf(call);
  const result = look(state, call, slot);
  if (result < 0) return result;
  writeAttrOut(state, attrScratch, slot);
  return statxFromAttr(call.out, attrScratch, state.stat.birthSec, state.stat.birthNsec);
}

/** Fills `state.stat` for a GETATTR or a STATX, whose arguments begin in the same way. */
function look(state: FolderState, call: FuseCall, slot: number): number {
  if (slot === NO_SLOT) return STALE;
  const { input } = call;
  const byHandle = (input.getUint32(FUSE_GETATTR_IN.getattrFlags, true) & FUSE_GETATTR_FH) !== 0;
  const handle = byHandle ? state.handles.file(getU64(input, FUSE_GETATTR_IN.fh)) : undefined;
  if (handle?.slot === slot) return toLinux(statFd(handle.fd, state.stat));
  return state.statNode(slot);
}

/** SETATTR: what is asked for, in the order in which a later change needs the earlier one. */
export function setattr(state: FolderState, call: FuseCall): number {
  const slot = state.slotOf(call);
  if (slot === NO_SLOT) return STALE;
  const { input } = call;
  const valid = input.getUint32(FUSE_SETATTR_IN.valid, true);
  const byHandle = (valid & FATTR.FH) !== 0;
  const handle = byHandle ? state.handles.file(getU64(input, FUSE_SETATTR_IN.fh)) : undefined;
  if (handle !== undefined && handle.slot !== slot) return -LINUX_E.BADF;
  let result = 0;
  if ((valid & (FATTR.UID | FATTR.GID)) !== 0) result = setOwner(state, slot, input, valid);
  if (result >= 0 && (valid & FATTR.SIZE) !== 0) {
    result = setSize(state, slot, handle, input, valid);
  }
  if (result >= 0 && (valid & FATTR.MODE) !== 0) {
    const mode = input.getUint32(FUSE_SETATTR_IN.mode, true) & MODE_BITS;
    result = setMode(state, slot, mode);
  }
  if (result >= 0 && (valid & (FATTR.ATIME | FATTR.MTIME)) !== 0) {
    result = setTimes(state, slot, handle, input, valid);
  }
  if (result >= 0) result = state.statNode(slot);
  return result < 0 ? result : writeAttrOut(state, call.out, slot);
}

/** Takes setuid, and setgid of what a group may execute, from an open file (write(2)). */
export function killPrivileges(state: FolderState, fd: number, slot: number): number {
  const result = toLinux(statFd(fd, state.stat));
  if (result < 0) return result;
  const said = overrideOf(state, slot);
  const mode = said !== null && said.mode >= 0 ? said.mode : state.stat.mode;
  const kept = withoutPrivileges(mode);
  if (kept === mode) return 0;
  if (said === null) return toLinux(chmodFd(fd, kept & MODE_BITS));
  said.mode = kept;
  return saveOverride(fd, said);
}

function withoutPrivileges(mode: number): number {
  const kept = mode & ~S_ISUID;
  return (mode & S_IXGRP) !== 0 ? kept & ~S_ISGID : kept;
}

function setOwner(state: FolderState, slot: number, input: DataView, valid: number): number {
  const { owners } = state;
  const setsUid = (valid & FATTR.UID) !== 0;
  const setsGid = (valid & FATTR.GID) !== 0;
  const uid = setsUid ? input.getUint32(FUSE_SETATTR_IN.uid, true) : KEEP_ID;
  const gid = setsGid ? input.getUint32(FUSE_SETATTR_IN.gid, true) : KEEP_ID;
  if (owners.policy === 'squash') return state.statNode(slot);
  if (owners.policy === 'xattr') return setOverrideOwner(state, slot, uid, gid);
  const hostUid = setsUid ? owners.hostUid(uid) : KEEP_ID;
  const hostGid = setsGid ? owners.hostGid(gid) : KEEP_ID;
  if (hostUid < 0 || hostGid < 0) return -LINUX_E.PERM;
  const fd = state.nodeFd(slot);
  if (fd >= 0) return toLinux(chownFd(fd, hostUid, hostGid));
  const folder = checkedFolder(state, slot);
  if (folder < 0) return folder;
  return toLinux(chownAt(folder, state.nodes.nameAddress(slot), hostUid, hostGid));
}

/** The owner in the attribute changes as chown(2) changes one: setuid and setgid go. */
function setOverrideOwner(state: FolderState, slot: number, uid: number, gid: number): number {
  return changeOverride(state, slot, (said) => {
    if (uid !== KEEP_ID) said.uid = uid;
    if (gid !== KEEP_ID) said.gid = gid;
    if (said.mode < 0) said.mode = state.stat.mode & MODE_BITS;
    if (state.nodes.kind[slot] === KIND_FILE) said.mode = withoutPrivileges(said.mode);
  });
}

function setMode(state: FolderState, slot: number, mode: number): number {
  if (state.nodes.kind[slot] === KIND_LINK) return -LINUX_E.OPNOTSUPP;
  if (state.owners.policy === 'xattr') {
    return changeOverride(state, slot, (said) => {
      said.mode = mode;
    });
  }
  const fd = state.nodeFd(slot);
  if (fd >= 0) return toLinux(chmodFd(fd, mode));
  const folder = checkedFolder(state, slot);
  return folder < 0 ? folder : toLinux(chmodAt(folder, state.nodes.nameAddress(slot), mode));
}

function setSize(
  state: FolderState,
  slot: number,
  handle: Handle | undefined,
  input: DataView,
  valid: number,
): number {
  const size = getU64(input, FUSE_SETATTR_IN.size);
  if (size > Number.MAX_SAFE_INTEGER) return -LINUX_E.FBIG;
  const own = handle?.writable === true ? handle.fd : -1;
  const fd = own >= 0 ? own : state.openNode(slot, WRITE_FLAGS);
  if (fd < 0) return fd;
  let result = toLinux(truncateFd(fd, size));
  if (result >= 0 && (valid & FATTR.KILL_SUIDGID) !== 0) result = killPrivileges(state, fd, slot);
  if (fd !== own) closeFd(fd);
  return result;
}

function setTimes(
  state: FolderState,
  slot: number,
  handle: Handle | undefined,
  input: DataView,
  valid: number,
): number {
  const atimeSec = getI64(input, FUSE_SETATTR_IN.atime);
  const mtimeSec = getI64(input, FUSE_SETATTR_IN.mtime);
  const atimeNsec = nanoseconds(input, FUSE_SETATTR_IN.atimensec, valid, FATTR.ATIME);
  const mtimeNsec = nanoseconds(input, FUSE_SETATTR_IN.mtimensec, valid, FATTR.MTIME);
  const fd = handle?.fd ?? state.nodeFd(slot);
  if (fd >= 0) return toLinux(utimensFd(fd, atimeSec, atimeNsec, mtimeSec, mtimeNsec));
  const folder = checkedFolder(state, slot);
  if (folder < 0) return folder;
  const name = state.nodes.nameAddress(slot);
  return toLinux(utimensAt(folder, name, atimeSec, atimeNsec, mtimeSec, mtimeNsec));
}

/** `flag` is FATTR.ATIME or FATTR.MTIME; three bits above it stands the one for "now". */
function nanoseconds(input: DataView, at: number, valid: number, flag: number): number {
  if ((valid & flag) === 0) return UTIME_OMIT;
  return (valid & (flag << 3)) !== 0 ? UTIME_NOW : input.getUint32(at, true);
}

/** The folder of a node that cannot be opened by itself here, after a look that it is there. */
function checkedFolder(state: FolderState, slot: number): number {
  const result = state.statNode(slot);
  if (result < 0) return result;
  const parent = state.nodes.parent[slot] as number;
  return state.folderFd(parent);
}

function changeOverride(
  state: FolderState,
  slot: number,
  change: (said: OverrideStat) => void,
): number {
  const result = state.statNode(slot);
  if (result < 0) return result;
  const said = overrideOrStat(state, slot);
  change(said);
  const fd = state.nodeFd(slot);
  return fd < 0 ? fd : saveOverride(fd, said);
}

/** ACCESS: by the mode alone, as the guest's kernel does it for everything else. */
export function access(state: FolderState, call: FuseCall): number {
  const slot = state.slotOf(call);
  const result = state.statNode(slot);
  if (result < 0) return result;
  const mask = call.input.getUint32(FUSE_ACCESS_IN.mask, true) & 7;
  writeAttrOut(state, call.out, slot);
  const mode = call.out.getUint32(FUSE_ATTR_OUT.attr + FUSE_ATTR.mode, true);
  const uid = call.out.getUint32(FUSE_ATTR_OUT.attr + FUSE_ATTR.uid, true);
  const gid = call.out.getUint32(FUSE_ATTR_OUT.attr + FUSE_ATTR.gid, true);
  if (call.uid === 0) return (mask & 1) === 0 || (mode & 0o111) !== 0 ? 0 : -LINUX_E.ACCES;
  const shift = call.uid === uid ? 6 : call.gid === gid ? 3 : 0;
  return ((mode >> shift) & mask) === mask ? 0 : -LINUX_E.ACCES;
}

/** STATFS. */
export function statfs(state: FolderState, call: FuseCall): number {
  const slot = state.slotOf(call);
  const fd = slot === NO_SLOT ? state.rootFd : state.nodeFd(slot);
  const result = toLinux(statFs(fd >= 0 ? fd : state.rootFd, fsBlock));
  if (result < 0) return result;
  const { out } = call;
  for (let at = 0; at < FUSE_KSTATFS.SIZE; at += 4) out.setUint32(at, 0, true);
  setU53(out, FUSE_KSTATFS.blocks, fsBlock.blocks);
  setU53(out, FUSE_KSTATFS.bfree, fsBlock.bfree);
  setU53(out, FUSE_KSTATFS.bavail, fsBlock.bavail);
  setU53(out, FUSE_KSTATFS.files, fsBlock.files);
  setU53(out, FUSE_KSTATFS.ffree, fsBlock.ffree);
  out.setUint32(FUSE_KSTATFS.bsize, fsBlock.bsize, true);
  out.setUint32(FUSE_KSTATFS.namelen, fsBlock.namelen, true);
  out.setUint32(FUSE_KSTATFS.frsize, fsBlock.frsize, true);
  return FUSE_KSTATFS.SIZE;
}

/** SYNCFS. */
export function syncfs(state: FolderState): number {
  return toLinux(syncFileSystem(state.rootFd));
}
