/**
 * Requests that make, rename and remove names.
 *
 * @module
 */
import {
  FUSE_ENTRY_OUT,
  FUSE_LINK_IN,
  FUSE_MKDIR_IN,
  FUSE_MKNOD_IN,
  LINUX_E,
  RENAME,
} from '../../../fuse/index.ts';
import type { FuseCall } from '../operations.ts';
import { after, otherwise } from './awaitable.ts';
import type { TreeCore } from './core.ts';
import { errnoOf, fsError } from './errors.ts';
import type { Awaitable, FsRequest } from './file-system.ts';
import { nameOf, secondOf } from './nodes.ts';
import { kindOf, readU64 } from './wire.ts';

const PERMISSIONS = 0o7777;

/** Makes a node in the directory of a request, and answers with its entry. */
function made<Node, File>(
  core: TreeCore<Node, File>,
  call: FuseCall,
  make: (directory: Node, name: string, request: FsRequest) => Awaitable<Node>,
): number {
  if (call.outBytesMax < FUSE_ENTRY_OUT.SIZE) return -LINUX_E.INVAL;
  let parentIno = 0;
  return core.run(
    call,
    (request) => {
      const directory = core.known(call.nodeId);
      parentIno = directory.ino;
      const node = make(directory.node, nameOf(call), request);
      return after(node, (each) => core.described(each, request));
    },
    (found) => {
      core.writeEntry(call.out, 0, found, parentIno);
      return FUSE_ENTRY_OUT.SIZE;
    },
  );
}

/** MKDIR. */
export function mkdir<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  const mode = call.input.getUint32(FUSE_MKDIR_IN.mode, true) & PERMISSIONS;
  return made(core, call, (directory, name, request) => {
    if (core.fs.makeDirectory === undefined) throw core.lacking();
    return core.fs.makeDirectory(directory, name, mode, request);
  });
}

/** MKNOD, also for plain files. */
export function mknod<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  const mode = call.input.getUint32(FUSE_MKNOD_IN.mode, true);
  const deviceNumber = call.input.getUint32(FUSE_MKNOD_IN.rdev, true);
  return made(core, call, (directory, name, request) => {
    const { fs } = core;
    const kind = kindOf(mode);
    if (kind === undefined || kind === 'directory' || kind === 'symlink') throw fsError('EINVAL');
    if (kind === 'file') {
      if (fs.create === undefined) throw core.lacking();
      return fs.create(directory, name, mode & PERMISSIONS, request);
    }
    if (fs.makeNode === undefined) throw core.lacking();
    const what = { kind, mode: mode & PERMISSIONS, deviceNumber };
    return fs.makeNode(directory, name, what, request);
  });
}

/** SYMLINK. */
export function symlink<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  return made(core, call, (directory, name, request) => {
    if (core.fs.makeSymlink === undefined) throw core.lacking();
    return core.fs.makeSymlink(directory, name, secondOf(call), request);
  });
}

/** LINK. */
export function link<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  const oldId = readU64(call.input, FUSE_LINK_IN.oldnodeid);
  return made(core, call, (directory, name, request) => {
    if (core.fs.link === undefined) throw core.lacking();
    const { node } = core.known(oldId);
    return after(core.fs.link(node, directory, name, request), () => node);
  });
}

/** UNLINK. */
export function unlink<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  return core.run(
    call,
    (request) => {
      if (core.fs.unlink === undefined) throw core.lacking();
      return core.fs.unlink(core.known(call.nodeId).node, nameOf(call), request);
    },
    () => 0,
  );
}

/** RMDIR. */
export function rmdir<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  return core.run(
    call,
    (request) => {
      if (core.fs.removeDirectory === undefined) throw core.lacking();
      return core.fs.removeDirectory(core.known(call.nodeId).node, nameOf(call), request);
    },
    () => 0,
  );
}

/** RENAME and RENAME2; a file system need not know of NOREPLACE. */
export function rename<Node, File>(
  core: TreeCore<Node, File>,
  call: FuseCall,
  newDirectoryId: number,
  flags: number,
): number {
  const { fs } = core;
  return core.run(
    call,
    (request) => {
      const from = core.known(call.nodeId).node;
      const to = core.known(newDirectoryId).node;
      const name = nameOf(call);
      const newName = secondOf(call);
      if (flags === RENAME.EXCHANGE) {
        if (fs.exchange === undefined) throw fsError('EINVAL');
        return fs.exchange(from, name, to, newName, request);
      }
      if ((flags & ~RENAME.NOREPLACE) !== 0) throw fsError('EINVAL');
      if (fs.rename === undefined) throw core.lacking();
      if (flags === 0) return fs.rename(from, name, to, newName, request);
      return after(exists(core, to, newName, request), (isThere) => {
        if (isThere) throw fsError('EEXIST');
        return fs.rename?.(from, name, to, newName, request);
      });
    },
    () => 0,
  );
}

function exists<Node, File>(
  core: TreeCore<Node, File>,
  directory: Node,
  name: string,
  request: FsRequest,
): Awaitable<boolean> {
  return otherwise(
    () => after(core.find(directory, name, request), () => true),
    (error) => {
      if (errnoOf(error) !== LINUX_E.NOENT) throw error;
      return false;
    },
  );
}
