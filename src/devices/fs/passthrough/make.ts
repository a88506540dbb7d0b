/**
 * Making files, folders, links and nodes for a user of the guest: with its owner, its group and
 * exactly its mode, whatever this process may do on this host.
 *
 * @module
 */
import { FUSE_INIT, LINUX_E, LINUX_O, S_IF } from '../../../fuse/index.ts';
import {
  StatBlock,
  chmodAt,
  chmodFd,
  chownAt,
  chownFd,
  closeFd,
  hostOpenFlags,
  mkdirAt,
  mknodAt,
  rmdirAt,
  statAt,
  statFd,
  symlinkAt,
  unlinkAt,
} from '../../../sys/index.ts';
import type { FuseCall } from '../operations.ts';
import { toLinux } from './folder-state.ts';
import type { FolderState } from './folder-state.ts';
import { overrideOf, saveOverride } from './override-file.ts';
import { OverrideStat } from './override-stat.ts';

/** What is made. */
export const MAKE = { folder: 0, node: 1, link: 2, file: 3 } as const;

/** What a request wants to be made; one object, used again. */
export interface Wanted {
  kind: number;
  /** Folder: an open descriptor of it, and its slot. */
  folder: number;
  parent: number;
  /** Native address of the name. */
  name: number;
  /** As the guest says it, its umask taken off already unless DONT_MASK was agreed on. */
  mode: number;
  umask: number;
  /** Nodes. */
  major: number;
  minor: number;
  /** Files: the host's open flags. */
  flags: number;
}

const MODE_BITS = 0o7777;
const S_ISGID = 0o2000;
const S_IXGRP = 0o010;
/** With owners in attributes this process keeps its own access to everything that it makes. */
const OWN_ACCESS = { folder: 0o700, file: 0o600 } as const;
const READ_FLAGS = hostOpenFlags(LINUX_O.RDONLY | LINUX_O.NONBLOCK);

/** Filled by each operation that makes something. */
export const wanted: Wanted = {
  kind: 0,
  folder: -1,
  parent: 0,
  name: 0,
  mode: 0,
  umask: 0,
  major: 0,
  minor: 0,
  flags: 0,
};

const folderStat = new StatBlock();
/** What was made, where `isMadeSeen`; and what has its name when it is taken away again. */
const made = new StatBlock();
const named = new StatBlock();
let isMadeSeen = false;
const said = new OverrideStat();

/**
 * Makes what `wanted` says; a link's target is the second name of the call.
 * Returns an fd for a file, which the caller owns, 0 for anything else, or a negative errno.
 */
export function make(state: FolderState, call: FuseCall): number {
  isMadeSeen = false;
  if (state.owners.policy === 'xattr') return makeWithAttribute(state, call);
  if (state.owners.policy === 'squash') return masked(state, call, wanted.mode);
  const uid = state.owners.hostUid(call.uid);
  const gid = state.owners.hostGid(call.gid);
  if (uid < 0 || gid < 0) return -LINUX_E.PERM;
  let isOwn = state.identity.enter(uid, gid);
  let result = masked(state, call, wanted.mode);
  // The user may, in the guest, by one of its further groups, which nobody told us.
  if (result === -LINUX_E.ACCES && state.identity.overrideAccess()) {
    result = masked(state, call, wanted.mode);
  }
  state.identity.leave();
  if (result === -LINUX_E.ACCES && isOwn) {
    isOwn = false;
    result = masked(state, call, wanted.mode);
  }
  return result < 0 || isOwn ? result : handOver(state, result, uid, gid);
}

function masked(state: FolderState, call: FuseCall, mode: number): number {
  const dontMask = ((state.session?.flags ?? 0) & FUSE_INIT.DONT_MASK) !== 0;
  if (dontMask) state.identity.setUmask(wanted.umask);
  const result = issue(state, call, mode);
  if (dontMask) state.identity.setUmask(0);
  if (result < 0 || state.identity.exactModes || wanted.kind === MAKE.link) return result;
  // The umask of this process has taken bits away that it has no say in.
  let exact = dontMask ? mode & ~wanted.umask : mode;
  if (wanted.kind === MAKE.folder && isFolderSetgid()) exact |= S_ISGID; // as Linux hands it on
  return setMode(result, exact & MODE_BITS);
}

function isFolderSetgid(): boolean {
  return statFd(wanted.folder, folderStat) >= 0 && (folderStat.mode & S_ISGID) !== 0;
}

function issue(state: FolderState, call: FuseCall, mode: number): number {
  const { folder, name } = wanted;
  switch (wanted.kind) {
    case MAKE.folder:
      return toLinux(mkdirAt(folder, name, mode & MODE_BITS));
    case MAKE.node:
      return toLinux(mknodAt(folder, name, mode, wanted.major, wanted.minor));
    case MAKE.link:
      return toLinux(symlinkAt(call.secondAddress, folder, name));
    default:
      return state.openBelow(folder, name, wanted.flags, mode & MODE_BITS);
  }
}

/** Gives what was made to its user, and the group that Linux would have given it. */
function handOver(state: FolderState, result: number, uid: number, gid: number): number {
  if (!state.identity.isRoot) return result; // it stays ours
  toLinux(statFd(wanted.folder, folderStat));
  const inherits = (folderStat.mode & S_ISGID) !== 0;
  const group = inherits ? folderStat.gid : gid;
  const isFile = wanted.kind === MAKE.file;
  const seen = isFile ? statFd(result, made) : statAt(wanted.folder, wanted.name, made);
  if (seen < 0) return undo(result, toLinux(seen));
  isMadeSeen = true;
  if (made.uid === uid && made.gid === group) return result;
  const moved = isFile
    ? chownFd(result, uid, group)
    : chownAt(wanted.folder, wanted.name, uid, group);
  if (moved < 0) return undo(result, toLinux(moved));
  if (wanted.kind === MAKE.link) return result;
  let mode = made.mode & MODE_BITS; // chown(2) takes setuid and setgid away
  if (inherits && wanted.kind === MAKE.folder) mode |= S_ISGID;
  if (inherits && isFile && gid !== group && uid !== 0 && (mode & S_IXGRP) !== 0) mode &= ~S_ISGID;
  return setMode(result, mode);
}

function setMode(result: number, mode: number): number {
  const done =
    wanted.kind === MAKE.file ? chmodFd(result, mode) : chmodAt(wanted.folder, wanted.name, mode);
  return done < 0 ? undo(result, toLinux(done)) : result;
}

/**
 * What is not as it was asked for is not given out, and not left behind: it would be ours, setuid
 * and all. The name was made new a moment ago, but whoever shares the folder may have put something
 * else there since: that stays. No host but FreeBSD has a call that compares and removes in one, so
 * what is put there between these two is lost.
 */
function undo(result: number, error: number): number {
  const { kind, folder, name } = wanted;
  if (kind === MAKE.file) isMadeSeen = statFd(result, made) >= 0;
  // A file of no name has that of its folder here.
  const isThere = statAt(folder, name, named) >= 0 && isMade();
  if (isThere && kind === MAKE.folder) rmdirAt(folder, name);
  else if (isThere) unlinkAt(folder, name);
  if (kind === MAKE.file) closeFd(result); // not before: its number would be free for another one
  return error;
}

/** Whether what has the name now is what was made; as far as can be told, where it was not seen. */
function isMade(): boolean {
  if (isMadeSeen) {
    const { dev, inoLow, inoHigh } = made;
    return named.dev === dev && named.inoLow === inoLow && named.inoHigh === inoHigh;
  }
  const type = named.mode & S_IF.MT;
  if (wanted.kind === MAKE.file) return false;
  if (wanted.kind === MAKE.folder) return type === S_IF.DIR; // and removed only when it is empty
  const isLink = type === S_IF.LNK;
  if (type === S_IF.DIR || isLink !== (wanted.kind === MAKE.link) || named.nlink !== 1)
    return false;
  return isLink || named.size === 0;
}

/** What was made is ours; whose it is, and what it is, the attribute tells. */
function makeWithAttribute(state: FolderState, call: FuseCall): number {
  const { kind, mode } = wanted;
  if (kind === MAKE.link) return masked(state, call, mode); // cannot have one on Linux
  const type = mode & S_IF.MT;
  // Linux lets only files and folders have such an attribute; the guest's kernel does the rest.
  const isSpecial = kind === MAKE.node && type !== S_IF.REG;
  const parent = overrideOf(state, wanted.parent);
  const inherits = parent !== null && (parent.mode & S_ISGID) !== 0;
  const group = inherits ? parent.gid : call.gid;
  said.uid = call.uid;
  said.gid = group;
  said.mode = mode & MODE_BITS;
  if (inherits && kind === MAKE.folder) said.mode |= S_ISGID;
  said.type = isSpecial ? type : 0;
  said.major = wanted.major;
  said.minor = wanted.minor;
  const access = kind === MAKE.folder ? OWN_ACCESS.folder : OWN_ACCESS.file;
  const hostType = isSpecial ? S_IF.REG : type;
  const result = masked(state, call, hostType | (mode & 0o777) | access);
  if (result < 0) return result;
  const fd = kind === MAKE.file ? result : openMade(state);
  if (fd < 0) return undo(result, fd);
  const saved = saveOverride(fd, said);
  if (kind !== MAKE.file) closeFd(fd);
  return saved < 0 ? undo(result, saved) : result;
}

function openMade(state: FolderState): number {
  return state.openBelow(wanted.folder, wanted.name, READ_FLAGS, 0);
}
