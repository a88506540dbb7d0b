/**
 * A {@link FileSystem} as the FUSE server wants it.
 *
 * @module
 */
import { FUSE_INIT } from '../../../fuse/index.ts';
import type { FuseOperations } from '../operations.ts';
import { TreeCore } from './core.ts';
import type { TreeOptions } from './core.ts';
import * as directories from './directories.ts';
import * as entries from './entries.ts';
import type { FileSystem } from './file-system.ts';
import * as files from './files.ts';
import * as locks from './locks.ts';
import * as nodes from './nodes.ts';
import * as xattrs from './xattrs.ts';

/** The FUSE bits that suit a file system. */
function flagsFor<Node, File>(core: TreeCore<Node, File>): number {
  // Files that change by themselves are noticed by their size and time of modification.
  let flags = core.validMs === Infinity ? FUSE_INIT.CACHE_SYMLINKS : FUSE_INIT.AUTO_INVAL_DATA;
  // No ATOMIC_O_TRUNC: Linux would have a running program emptied, and then fail with ETXTBSY.
  if (core.fs.setStat !== undefined) flags |= FUSE_INIT.HANDLE_KILLPRIV_V2;
  if (core.fs.noOpen === true) flags |= FUSE_INIT.NO_OPEN_SUPPORT | FUSE_INIT.NO_OPENDIR_SUPPORT;
  return flags;
}

/**
 * Serves a file system of objects through FUSE. What its methods answer at once is answered at
 * once; promises are answered when they are settled, after which `options.completed` is called.
 */
export function treeOperations<Node, File = Node>(
  fs: FileSystem<Node, File>,
  options: TreeOptions = {},
): FuseOperations {
  const core = new TreeCore(fs, options);
  return {
    abilities: { flags: flagsFor(core), flags2: 0, timeGranularityNs: 1 },
    init: (session) => core.begin(session),
    destroy: () => core.clear(),
    close: () => {
      core.clear();
      fs.end?.();
    },
    forget: (id, count) => {
      const gone = core.nodes.forget(id, count);
      if (gone !== undefined) core.forgotten(gone.node);
    },
    interrupt: (unique) => core.interrupt(unique),

    lookup: (call) => nodes.lookup(core, call),
    getattr: (call) => nodes.getattr(core, call),
    statx: (call) => nodes.statx(core, call),
    setattr: (call) => nodes.setattr(core, call),
    readlink: (call) => nodes.readlink(core, call),
    access: (call) => nodes.access(core, call),
    statfs: (call) => nodes.statfs(core, call),

    symlink: (call) => entries.symlink(core, call),
    mknod: (call) => entries.mknod(core, call),
    mkdir: (call) => entries.mkdir(core, call),
    unlink: (call) => entries.unlink(core, call),
    rmdir: (call) => entries.rmdir(core, call),
    rename: (call, newDirectory, flags) => entries.rename(core, call, newDirectory, flags),
    link: (call) => entries.link(core, call),

    open: (call) => files.open(core, call),
    create: (call) => files.create(core, call),
    tmpfile: (call) => files.tmpfile(core, call),
    read: (call) => files.read(core, call),
    write: (call) => files.write(core, call),
    release: (call) => files.release(core, call),
    flush: (call) => files.flush(core, call),
    fsync: (call) => files.fsync(core, call),
    fallocate: (call) => files.fallocate(core, call),
    lseek: (call) => files.lseek(core, call),
    copyFileRange: (call) => files.copyFileRange(core, call),

    opendir: (call) => directories.opendir(core, call),
    readdir: (call) => directories.readdir(core, call),
    readdirplus: (call) => directories.readdirplus(core, call),
    releasedir: (call) => directories.releasedir(core, call),

    getxattr: (call) => xattrs.getxattr(core, call),
    listxattr: (call) => xattrs.listxattr(core, call),
    setxattr: (call) => xattrs.setxattr(core, call),
    removexattr: (call) => xattrs.removexattr(core, call),

    getlk: (call) => locks.getlk(core, call),
    setlk: (call, waits) => locks.setlk(core, call, waits),
  };
}
