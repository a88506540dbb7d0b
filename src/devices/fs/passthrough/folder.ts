/**
 * A folder of this host as a file system for a guest.
 *
 * @module
 */
import { FUSE_INIT, FUSE_INIT2, LINUX_E } from '../../../fuse/index.ts';
import { isMemoryBacked } from '../../../sys/index.ts';
import type { DataPlaneContext } from '../../../backend/index.ts';
import type { FuseAbilities, FuseCall, FuseOperations, FuseSession } from '../operations.ts';
import * as attributes from './attr-ops.ts';
import * as folders from './dir-ops.ts';
import { FileIo } from './file-io.ts';
import * as files from './file-ops.ts';
import { FolderState } from './folder-state.ts';
import { LockOps } from './lock-ops.ts';
import * as names from './name-ops.ts';
import type { HostFolderSettings } from './options.ts';
import { XattrMap } from './xattr-map.ts';
import { XattrOps } from './xattr-ops.ts';

/** See the module. For the thread on which it was made. */
export class HostFolder implements FuseOperations {
  readonly abilities: FuseAbilities;
  readonly #state: FolderState;
  readonly #io: FileIo;
  readonly #locks: LockOps;
  readonly #xattrs: XattrOps | null;
  readonly #readOnly: boolean;

  /** @throws VhostUserError `ERR_VHU_FS_FOLDER`, `ERR_VHU_OPTION`. */
  constructor(settings: HostFolderSettings, context: Pick<DataPlaneContext, 'reactor'>) {
    const { reactor } = context;
    const state = new FolderState(settings);
    this.#state = state;
    this.#io = new FileIo(reactor, state.handles, isMemoryBacked(settings.folder));
    this.#locks = new LockOps(state, reactor);
    this.#xattrs = settings.xattr ? new XattrOps(state) : null;
    this.#readOnly = settings.readOnly;
    this.abilities = abilitiesOf(settings, this.#locks);
  }

  /** Nodes that the guest knows, and descriptors that are open for it; for tests and metrics. */
  get counts(): { readonly nodes: number; readonly nodeFds: number; readonly handles: number } {
    const { nodes, fds, handles } = this.#state;
    return { nodes: nodes.count, nodeFds: fds.count, handles: handles.count };
  }

  /** How files are read and written: for people. */
  get engine(): string {
    return this.#io.engine;
  }

  init(session: FuseSession): void {
    this.#state.session = session;
  }

  destroy(): void {
    this.#locks.clear();
    this.#state.reset();
  }

  close(): void {
    this.#locks.clear();
    this.#state.close();
  }

  forget(nodeId: number, count: number): void {
    const slot = this.#state.nodes.slotOf(nodeId);
    if (slot >= 0) this.#state.nodes.forget(slot, count);
  }

  interrupt(unique: number): void {
    this.#locks.interrupt(unique);
  }

  lookup(call: FuseCall): number {
    return names.lookup(this.#state, call);
  }

  getattr(call: FuseCall): number {
    return attributes.getattr(this.#state, call);
  }

  statx(call: FuseCall): number {
    return attributes.statx(this.#state, call);
  }

  setattr(call: FuseCall): number {
    return this.#readOnly ? -LINUX_E.ROFS : attributes.setattr(this.#state, call);
  }

  readlink(call: FuseCall): number {
    return names.readlink(this.#state, call);
  }

  symlink(call: FuseCall): number {
    return this.#readOnly ? -LINUX_E.ROFS : names.symlink(this.#state, call);
  }

  mknod(call: FuseCall): number {
    return this.#readOnly ? -LINUX_E.ROFS : names.mknod(this.#state, call);
  }

  mkdir(call: FuseCall): number {
    return this.#readOnly ? -LINUX_E.ROFS : names.mkdir(this.#state, call);
  }

  unlink(call: FuseCall): number {
    return this.#readOnly ? -LINUX_E.ROFS : names.unlink(this.#state, call);
  }

  rmdir(call: FuseCall): number {
    return this.#readOnly ? -LINUX_E.ROFS : names.rmdir(this.#state, call);
  }

  rename(call: FuseCall, newDir: number, flags: number): number {
    return this.#readOnly ? -LINUX_E.ROFS : names.rename(this.#state, call, newDir, flags);
  }

  link(call: FuseCall): number {
    return this.#readOnly ? -LINUX_E.ROFS : names.link(this.#state, call);
  }

  open(call: FuseCall): number {
    return files.open(this.#state, call);
  }

  create(call: FuseCall): number {
    return this.#readOnly ? -LINUX_E.ROFS : files.create(this.#state, call);
  }

  tmpfile(call: FuseCall): number {
    return this.#readOnly ? -LINUX_E.ROFS : files.tmpfile(this.#state, call);
  }

  read(call: FuseCall): number {
    return files.read(this.#state, this.#io, call);
  }

  write(call: FuseCall): number {
    return files.write(this.#state, this.#io, call);
  }

  release(call: FuseCall): number {
    return files.release(this.#state, this.#locks, call);
  }

  flush(call: FuseCall): number {
    return this.#locks.flush(call);
  }

  fsync(call: FuseCall): number {
    return files.fsync(this.#state, this.#io, call);
  }

  fallocate(call: FuseCall): number {
    return files.fallocate(this.#state, call);
  }

  lseek(call: FuseCall): number {
    return files.lseek(this.#state, call);
  }

  copyFileRange(call: FuseCall): number {
    return files.copyFileRange(this.#state, call);
  }

  opendir(call: FuseCall): number {
    return folders.opendir(this.#state, call);
  }

  readdir(call: FuseCall): number {
    return folders.readdir(this.#state, call);
  }

  readdirplus(call: FuseCall): number {
    return folders.readdirplus(this.#state, call);
  }

  releasedir(call: FuseCall): number {
    return folders.releasedir(this.#state, call);
  }

  fsyncdir(call: FuseCall): number {
    return folders.fsyncdir(this.#state, call);
  }

  statfs(call: FuseCall): number {
    return attributes.statfs(this.#state, call);
  }

  syncfs(): number {
    return attributes.syncfs(this.#state);
  }

  access(call: FuseCall): number {
    return attributes.access(this.#state, call);
  }

  getxattr(call: FuseCall): number {
    return this.#xattrs?.get(this.#state, call) ?? -LINUX_E.NOSYS;
  }

  setxattr(call: FuseCall): number {
    if (this.#xattrs === null) return -LINUX_E.NOSYS;
    return this.#readOnly ? -LINUX_E.ROFS : this.#xattrs.set(this.#state, call);
  }

  listxattr(call: FuseCall): number {
    return this.#xattrs?.list(this.#state, call) ?? -LINUX_E.NOSYS;
  }

  removexattr(call: FuseCall): number {
    if (this.#xattrs === null) return -LINUX_E.NOSYS;
    return this.#readOnly ? -LINUX_E.ROFS : this.#xattrs.remove(this.#state, call);
  }

  getlk(call: FuseCall): number {
    return this.#locks.get(call);
  }

  setlk(call: FuseCall, wait: boolean): number {
    return this.#locks.set(call, wait);
  }
}

/**
 * Whether capabilities of programs are kept under a name that the host's kernel does not know: it
 * will not take them away when a program is written to, so the guest's kernel has to.
 */
function hidesCapabilities({ xattrMap }: HostFolderSettings): boolean {
  return xattrMap !== '' && XattrMap.parse(xattrMap).renames('security.capability');
}

function abilitiesOf(settings: HostFolderSettings, locks: LockOps): FuseAbilities {
  const { cache, writeback, posixAcl, killpriv, announceSubmounts, allowMmap } = settings;
  // No ATOMIC_O_TRUNC: Linux would have a running program emptied, and then fail with ETXTBSY.
  let flags: number = FUSE_INIT.EXPORT_SUPPORT;
  if (settings.sharedLocks) flags |= FUSE_INIT.FLOCK_LOCKS;
  if (settings.sharedLocks && locks.hasPosixLocks) flags |= FUSE_INIT.POSIX_LOCKS;
  if (cache === 'always') flags |= FUSE_INIT.CACHE_SYMLINKS;
  else flags |= FUSE_INIT.AUTO_INVAL_DATA;
  if (writeback) flags |= FUSE_INIT.WRITEBACK_CACHE;
  if (posixAcl) flags |= FUSE_INIT.POSIX_ACL | FUSE_INIT.DONT_MASK | FUSE_INIT.SETXATTR_EXT;
  if (killpriv && !hidesCapabilities(settings)) flags |= FUSE_INIT.HANDLE_KILLPRIV_V2;
  if (announceSubmounts) flags |= FUSE_INIT.SUBMOUNTS;
  return {
    flags,
    // Only who makes something is looked at here: of all others such a guest says nothing.
    flags2: FUSE_INIT2.ALLOW_IDMAP | (allowMmap ? FUSE_INIT2.DIRECT_IO_ALLOW_MMAP : 0),
    timeGranularityNs: 1,
  };
}
