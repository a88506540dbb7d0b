/**
 * Requests about a node: what it is, what it shall be, and where a name leads.
 *
 * @module
 */
import {
  FATTR,
  FUSE_ACCESS_IN,
  FUSE_ENTRY_OUT,
  FUSE_KSTATFS,
  FUSE_SETATTR_IN,
  LINUX_E,
  NAME_BYTES_MAX,
} from '../../../fuse/index.ts';
import type { FuseCall } from '../operations.ts';
import { attrScratch, statxFromAttr } from '../statx.ts';
import { after } from './awaitable.ts';
import type { TreeCore } from './core.ts';
import { fsError } from './errors.ts';
import type { Awaitable, FsRequest, Stat, StatChanges, Timestamp } from './file-system.ts';
import { nameBytes, textAt } from './names.ts';
import {
  modeOf,
  nanosecondsOf,
  readI64,
  readU64,
  secondsOf,
  timestampNow,
  writeU64,
} from './wire.ts';

const NS_MAX = 999_999_999;
const S_ISUID = 0o4000;
const S_ISGID = 0o2000;
const S_IXGRP = 0o010;
const ANY_X = 0o111;
const X_OK = 1;
const BLOCK_BYTES = 4096;
const PATH_BYTES_MAX = 4095;
const DOT = 0x2e;

/** The first name of a request. */
export function nameOf(call: FuseCall): string {
  return textAt(call.inputArray, call.nameOffset, call.nameBytes);
}

/** The second one. */
export function secondOf(call: FuseCall): string {
  return textAt(call.inputArray, call.secondOffset, call.secondBytes);
}

/** LOOKUP. Of `.` and `..`, which a server of exports would ask for, `.` is known here. */
export function lookup<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  if (call.outBytesMax < FUSE_ENTRY_OUT.SIZE) return -LINUX_E.INVAL;
  let parentIno = 0;
  return core.run(
    call,
    (request) => {
      const directory = core.known(call.nodeId);
      parentIno = directory.ino;
      if (call.inputArray[call.nameOffset] === DOT) {
        if (call.nameBytes === 1) return core.described(directory.node, request);
        if (call.nameBytes === 2 && call.inputArray[call.nameOffset + 1] === DOT) {
          throw fsError('ENOENT');
        }
      }
      return after(core.find(directory.node, nameOf(call), request), (node) =>
        core.described(node, request),
      );
    },
    (found) => {
      core.writeEntry(call.out, 0, found, parentIno);
      return FUSE_ENTRY_OUT.SIZE;
    },
  );
}

/** GETATTR. */
export function getattr<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  return core.run(
    call,
    (request) => core.fs.stat(core.known(call.nodeId).node, request),
    (stat) => core.writeAttrOut(call.out, core.known(call.nodeId), stat),
  );
}

/** STATX: the same, and when the node was made, if the file system knows. */
export function statx<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  return core.run(
    call,
    (request) => core.fs.stat(core.known(call.nodeId).node, request),
    (stat) => {
      core.writeAttrOut(attrScratch, core.known(call.nodeId), stat);
      const { created } = stat;
      const seconds = created === undefined ? 0 : secondsOf(created);
      const nanoseconds = created === undefined ? -1 : nanosecondsOf(created);
      return statxFromAttr(call.out, attrScratch, seconds, nanoseconds);
    },
  );
}

/** SETATTR, which answers with what the node is then. */
export function setattr<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  return core.run(
    call,
    (request) => {
      const { node } = core.known(call.nodeId);
      const valid = call.input.getUint32(FUSE_SETATTR_IN.valid, true);
      const changes = readChanges(call.input, valid);
      // A new owner takes setuid and setgid away, and so do others that change a file's size.
      const isNewOwner = (valid & (FATTR.UID | FATTR.GID)) !== 0;
      const kills = isNewOwner || (valid & FATTR.KILL_SUIDGID) !== 0;
      const done = setStat(core, node, changes, kills && (valid & FATTR.MODE) === 0, request);
      return after(done, () => core.fs.stat(node, request));
    },
    (stat) => core.writeAttrOut(call.out, core.known(call.nodeId), stat),
  );
}

/** Changes a node and, when asked to, takes setuid and setgid away from it as Linux does. */
export function setStat<Node, File>(
  core: TreeCore<Node, File>,
  node: Node,
  changes: StatChanges,
  kills: boolean,
  request: FsRequest,
): Awaitable<void> {
  const { fs } = core;
  if (fs.setStat === undefined) throw core.lacking();
  if (!kills) return fs.setStat(node, changes, request);
  return after(fs.stat(node, request), (stat) =>
    fs.setStat?.(node, { ...changes, ...withoutPrivileges(stat) }, request),
  );
}

/** Takes setuid and setgid away after a write, where there is something to take. */
export function killPrivileges<Node, File>(
  core: TreeCore<Node, File>,
  node: Node,
  request: FsRequest,
): Awaitable<void> {
  return after(core.fs.stat(node, request), (stat) => {
    const change = withoutPrivileges(stat);
    return change.mode === undefined ? undefined : core.fs.setStat?.(node, change, request);
  });
}

/** setgid without a group's right to run the file is a mark for mandatory locks, and stays. */
function withoutPrivileges(stat: Stat): { mode?: number } {
  if (stat.kind === 'directory') return {};
  const mode = modeOf(stat);
  const kept = mode & ~S_ISUID & ((mode & S_IXGRP) !== 0 ? ~S_ISGID : -1);
  return kept === mode ? {} : { mode: kept & 0o7777 };
}

function readChanges(input: DataView, valid: number): StatChanges {
  const at = FUSE_SETATTR_IN;
  const changes: { -readonly [Key in keyof StatChanges]: StatChanges[Key] } = {};
  if ((valid & FATTR.MODE) !== 0) changes.mode = input.getUint32(at.mode, true) & 0o7777;
  if ((valid & FATTR.UID) !== 0) changes.uid = input.getUint32(at.uid, true);
  if ((valid & FATTR.GID) !== 0) changes.gid = input.getUint32(at.gid, true);
  if ((valid & FATTR.SIZE) !== 0) {
    changes.size = readU64(input, at.size);
    if (!Number.isSafeInteger(changes.size)) throw fsError('EFBIG');
  }
  if ((valid & FATTR.ATIME_NOW) !== 0) changes.accessed = timestampNow();
  else if ((valid & FATTR.ATIME) !== 0) changes.accessed = readTime(input, at.atime, at.atimensec);
  if ((valid & FATTR.MTIME_NOW) !== 0) changes.modified = timestampNow();
  else if ((valid & FATTR.MTIME) !== 0) changes.modified = readTime(input, at.mtime, at.mtimensec);
  if ((valid & FATTR.CTIME) !== 0) changes.changed = readTime(input, at.ctime, at.ctimensec);
  return changes;
}

function readTime(input: DataView, secondsAt: number, nanosecondsAt: number): Timestamp {
  const seconds = readI64(input, secondsAt);
  const nanoseconds = input.getUint32(nanosecondsAt, true);
  if (!Number.isSafeInteger(seconds) || nanoseconds > NS_MAX) throw fsError('EINVAL');
  return { seconds, nanoseconds };
}

/** READLINK. */
export function readlink<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  return core.run(
    call,
    (request) => {
      if (core.fs.readLink === undefined) throw fsError('EINVAL');
      return core.fs.readLink(core.known(call.nodeId).node, request);
    },
    (target) => {
      const bytes = nameBytes(target);
      if (bytes.length === 0 || bytes.length > PATH_BYTES_MAX) throw fsError('ENAMETOOLONG');
      if (bytes.length > call.outBytesMax) throw fsError('EINVAL');
      call.outArray.set(bytes);
      return bytes.length;
    },
  );
}

/** ACCESS, which the kernel of a guest answers by itself; the caller's other groups are unknown. */
export function access<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  const mask = call.input.getUint32(FUSE_ACCESS_IN.mask, true) & 7;
  return core.run(
    call,
    (request) => core.fs.stat(core.known(call.nodeId).node, request),
    (stat) => {
      const mode = modeOf(stat);
      if (call.uid === 0) {
        const isRunnable = stat.kind === 'directory' || (mode & ANY_X) !== 0;
        return (mask & X_OK) !== 0 && !isRunnable ? -LINUX_E.ACCES : 0;
      }
      const isOwner = (stat.uid ?? 0) === call.uid;
      const shift = isOwner ? 6 : (stat.gid ?? 0) === call.gid ? 3 : 0;
      return (mask & ~(mode >> shift)) === 0 ? 0 : -LINUX_E.ACCES;
    },
  );
}

/** STATFS; nothing, where the file system does not say. */
export function statfs<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  const nothing = { blockBytes: BLOCK_BYTES, blocks: 0, blocksFree: 0, files: 0, filesFree: 0 };
  return core.run(
    call,
    () => core.fs.usage?.() ?? nothing,
    (usage) => {
      const { out } = call;
      call.outArray.fill(0, 0, FUSE_KSTATFS.SIZE);
      writeU64(out, FUSE_KSTATFS.blocks, usage.blocks);
      writeU64(out, FUSE_KSTATFS.bfree, usage.blocksFree);
      writeU64(out, FUSE_KSTATFS.bavail, usage.blocksFree);
      writeU64(out, FUSE_KSTATFS.files, usage.files);
      writeU64(out, FUSE_KSTATFS.ffree, usage.filesFree);
      out.setUint32(FUSE_KSTATFS.bsize, usage.blockBytes, true);
      out.setUint32(FUSE_KSTATFS.frsize, usage.blockBytes, true);
      out.setUint32(FUSE_KSTATFS.namelen, NAME_BYTES_MAX, true);
      return FUSE_KSTATFS.SIZE;
    },
  );
}
