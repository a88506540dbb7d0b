/**
 * The shared folder as its operations see it: from nodes to descriptors and attributes, without
 * ever leaving the folder.
 *
 * A path is never given to the kernel, only one name at a time below the descriptor of a folder,
 * and a symbolic link is never followed: what is opened is compared with the node's mount and
 * inode number. So whoever swaps folders and links meanwhile gets ESTALE.
 *
 * Results are negative Linux errnos, whatever the host's numbers are.
 *
 * @module
 */
import { statSync } from 'node:fs';
import { VhostUserError } from '../../../util/index.ts';
import { LINUX_E, LINUX_O, S_IF } from '../../../fuse/index.ts';
import {
  StatBlock,
  closeFd,
  fdLimit,
  hasPathFds,
  holdProcFds,
  hostOpenFlags,
  isCaseInsensitive,
  linuxErrno,
  openAt,
  openFile,
  raiseFdLimit,
  releaseProcFds,
  reopenFd,
  statAt,
  statFd,
} from '../../../sys/index.ts';
import type { FuseCall, FuseSession } from '../operations.ts';
import { FdCache } from './fd-cache.ts';
import { HandleTable } from './handles.ts';
import { Identity } from './identity.ts';
import { NO_SLOT, NodeTable, ROOT_SLOT } from './node-table.ts';
import { FOLDER_FDS_MIN } from './options.ts';
import type { HostFolderSettings } from './options.ts';
import { Owners } from './owners.ts';

/** Folders between a node and the nearest one that is open, at most. */
const DEPTH_MAX = 4096;
/**
 * Descriptors for everything but the shared files: sockets, rings, the runtime's own, the memory of
 * a guest that is plugged in later. A quarter of what there is, within these bounds.
 */
const FDS_RESERVED_MIN = 64;
const FDS_RESERVED_MAX = 512;
/** However few there are, a guest gets so many. */
const GUEST_FDS_MIN = FOLDER_FDS_MIN - FDS_RESERVED_MIN;
const NODE_FDS_MAX = 8192;
const KIND_FOLDER = S_IF.DIR >> 12;
const KIND_FILE = S_IF.REG >> 12;

const STALE = -LINUX_E.STALE;
const PATH_FLAGS = hostOpenFlags(LINUX_O.PATH);
const FOLDER_FLAGS = hostOpenFlags(LINUX_O.RDONLY | LINUX_O.DIRECTORY | LINUX_O.NONBLOCK);
const READ_FLAGS = hostOpenFlags(LINUX_O.RDONLY | LINUX_O.NONBLOCK | LINUX_O.NOCTTY);

/** A result of the `sys` layer in Linux's numbers. */
export function toLinux(result: number): number {
  return result >= 0 ? result : -linuxErrno(-result);
}

/** See the module. Owns all descriptors of the folder. */
export class FolderState {
  readonly settings: HostFolderSettings;
  readonly nodes: NodeTable;
  readonly fds: FdCache;
  readonly handles: HandleTable = new HandleTable();
  readonly owners: Owners;
  readonly identity: Identity;
  /** The result of the last stat; every operation uses it. */
  readonly stat: StatBlock = new StatBlock();
  readonly rootFd: number;
  /** The host takes names that differ in case only, or in how accents are written, for one. */
  readonly foldsNames: boolean;
  /** What was agreed on with the guest; null before it mounted. */
  session: FuseSession | null = null;
  /** Descriptors that locks have; kept by those. */
  lockFds = 0;
  /** Descriptors that a guest may make this process hold, all in all. */
  readonly #guestFdsMax: number;
  readonly #path = new Int32Array(DEPTH_MAX);

  /** @throws VhostUserError `ERR_VHU_FS_FOLDER`, `ERR_VHU_OPTION`, `ERR_VHU_SYSTEM`. */
  constructor(settings: HostFolderSettings) {
    this.settings = settings;
    this.owners = new Owners(settings);
    this.identity = new Identity();
    this.#guestFdsMax = guestFdsMax(settings.fdLimit);
    // Nodes may have half of them, as the guest opens files, too.
    this.fds = new FdCache(Math.min(NODE_FDS_MAX, this.#guestFdsMax >> 1));
    this.nodes = new NodeTable(
      (slot) => this.fds.drop(slot),
      (capacity) => this.fds.resize(capacity),
    );
    this.rootFd = openRoot(settings.folder);
    this.foldsNames = isCaseInsensitive(this.rootFd);
    this.#addRoot();
    holdProcFds(); // files are opened by way of their nodes' descriptors
  }

  /** Forgets what the guest knows: all nodes but the root, and all handles. */
  reset(): void {
    this.session = null;
    this.handles.clear();
    this.nodes.clear();
    this.#addRoot();
  }

  /** Closes everything. */
  close(): void {
    this.session = null;
    this.handles.clear();
    this.nodes.clear();
    closeFd(this.rootFd);
    releaseProcFds();
  }

  /** The node of a call, or NO_SLOT. */
  slotOf(call: FuseCall): number {
    return this.nodes.slotOf(call.nodeId);
  }

  /**
   * A descriptor of a node for calls that take one (fstat, fchmod, …), or that begin at a folder.
   * On hosts without O_PATH it is there for folders and readable files only. Borrowed: any of the
   * next calls here may close it.
   */
  nodeFd(slot: number): number {
    const known = this.#knownFd(slot);
    return known >= 0 ? known : this.#open(slot);
  }

  /** The same for a folder, for calls that end in `at`; ENOTDIR when it is none. */
  folderFd(slot: number): number {
    if (slot === NO_SLOT) return STALE;
    if (this.nodes.kind[slot] !== KIND_FOLDER) return -LINUX_E.NOTDIR;
    if (slot === ROOT_SLOT) return this.rootFd;
    const fd = this.fds.use(slot);
    return fd >= 0 ? fd : this.nodeFd(slot);
  }

  /** Fills `stat` for a node; 0, or ESTALE when the host has taken it away. */
  statNode(slot: number): number {
    if (slot === NO_SLOT) return STALE;
    const known = this.#knownFd(slot);
    if (known >= 0) return toLinux(statFd(known, this.stat));
    const parent = this.nodes.parent[slot] as number;
    const folder = this.folderFd(parent);
    if (folder < 0) return STALE;
    const result = toLinux(statAt(folder, this.nodes.nameAddress(slot), this.stat));
    if (result < 0) return result === -LINUX_E.NOENT ? STALE : result;
    return this.nodes.matches(slot, this.stat) ? 0 : STALE;
  }

  /**
   * Opens a file of the guest's for reading or writing; the fd is the caller's. Only regular files:
   * opening anything else can wait for ever, or do something.
   */
  openNode(slot: number, flags: number): number {
    if (slot === NO_SLOT) return STALE;
    const kind = this.nodes.kind[slot];
    if (kind === KIND_FOLDER) return -LINUX_E.ISDIR;
    if (kind !== KIND_FILE) return -LINUX_E.NXIO;
    // By its name a FIFO or a device may be there by now, and opening one of those does something:
    // where the host can, what is opened is what was looked at.
    const known = hasPathFds ? this.nodeFd(slot) : this.#knownFd(slot);
    if (known >= 0) {
      const again = this.reopen(known, flags);
      if (again !== -LINUX_E.NOSYS) return again;
    } else if (hasPathFds) {
      return known;
    }
    const folder = this.folderFd(this.nodes.parent[slot] as number);
    if (folder < 0) return STALE;
    const there = toLinux(statAt(folder, this.nodes.nameAddress(slot), this.stat));
    if (there < 0) return there === -LINUX_E.NOENT ? STALE : there;
    if (!this.nodes.matches(slot, this.stat)) return STALE;
    const fd = this.openBelow(folder, this.nodes.nameAddress(slot), flags | READ_FLAGS, 0);
    if (fd < 0) return fd === -LINUX_E.NOENT || fd === -LINUX_E.LOOP ? STALE : fd;
    const result = toLinux(statFd(fd, this.stat));
    if (result >= 0 && this.nodes.matches(slot, this.stat)) return fd;
    closeFd(fd);
    return STALE;
  }

  /** openat(2) that makes room once when too many descriptors are open. */
  openBelow(folder: number, nameAddress: number, flags: number, mode: number): number {
    if (!this.#hasFdLeft()) return -LINUX_E.NFILE;
    let fd = toLinux(openAt(folder, nameAddress, flags, mode));
    if (isOutOfFds(fd) && this.fds.shrink()) fd = toLinux(openAt(folder, nameAddress, flags, mode));
    return isOutOfFds(fd) ? -LINUX_E.NFILE : fd;
  }

  /**
   * Another descriptor of what an fd has open. It may be one of the cache: room is made only when
   * the first attempt has failed, and never by closing those used last.
   */
  reopen(from: number, flags: number): number {
    if (!this.#hasFdLeft()) return -LINUX_E.NFILE;
    let fd = toLinux(reopenFd(from, flags));
    if (isOutOfFds(fd) && this.fds.shrink()) fd = toLinux(reopenFd(from, flags));
    return isOutOfFds(fd) ? -LINUX_E.NFILE : fd;
  }

  /**
   * The node of the file that `stat` describes, which was seen at this place; made when it is new.
   * A negative errno when there is no room.
   */
  seen(parent: number, bytes: Uint8Array, offset: number, length: number): number {
    const { nodes, stat } = this;
    let slot = nodes.find(stat);
    if (slot === ROOT_SLOT) return slot; // mounted into itself
    if (slot !== NO_SLOT && !nodes.matches(slot, stat)) {
      nodes.orphan(slot); // the host made another file, which got the number of the old one
      slot = NO_SLOT;
    }
    if (slot === NO_SLOT) {
      slot = nodes.add(stat);
      if (slot === NO_SLOT) return -LINUX_E.NOMEM;
    } else if (nodes.isAt(slot, parent, bytes, offset, length)) {
      return slot;
    }
    if (!nodes.place(slot, parent, bytes, offset, length)) {
      nodes.removeIfUnused(slot);
      return -LINUX_E.NOMEM;
    }
    this.fds.unpin(slot);
    return slot;
  }

  /** The node of an open file that has no name: it lives until the guest forgets it. */
  addNameless(fd: number): number {
    const result = toLinux(statFd(fd, this.stat));
    if (result < 0) return result;
    const own = this.reopen(fd, PATH_FLAGS);
    if (own < 0) return own;
    const slot = this.nodes.add(this.stat);
    if (slot === NO_SLOT) {
      closeFd(own);
      return -LINUX_E.NOMEM;
    }
    this.fds.put(slot, own);
    this.fds.pin(slot);
    return slot;
  }

  /**
   * Before a name is taken away: if it is the one by which `stat`'s node is known, the node gets a
   * descriptor that stays. Returns that node, or NO_SLOT.
   */
  keepOpen(
    parent: number,
    folder: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
  ): number {
    const slot = this.nodes.find(this.stat);
    if (slot === NO_SLOT || slot === ROOT_SLOT) return NO_SLOT;
    if (!this.nodes.isAt(slot, parent, bytes, offset, length)) return NO_SLOT;
    if (!this.fds.has(slot)) this.#openAs(folder, slot); // without one it will be stale
    return slot;
  }

  /** The name at which {@link keepOpen} found a node is gone. */
  lostName(slot: number): void {
    if (slot === NO_SLOT) return;
    if (this.fds.has(slot)) this.fds.pin(slot);
    this.nodes.displace(slot);
  }

  /** A descriptor that is open already; -1 when there is none. */
  #knownFd(slot: number): number {
    if (slot === ROOT_SLOT) return this.rootFd;
    const fd = this.fds.use(slot);
    if (fd >= 0 || this.nodes.handles[slot] === 0) return fd;
    return this.handles.ofNode(slot)?.fd ?? fd;
  }

  /** Opens a node by way of the nearest folder that is open. */
  #open(slot: number): number {
    let depth = 0;
    let at = slot;
    let fd = this.#knownFd(at);
    while (fd < 0) {
      if (depth === DEPTH_MAX) return STALE; // deeper than any path, or the host made a loop
      this.#path[depth++] = at;
      at = this.nodes.parent[at] as number;
      if (at === NO_SLOT) return STALE;
      fd = this.#knownFd(at);
    }
    while (depth > 0 && fd >= 0) fd = this.#openAs(fd, this.#path[--depth] as number);
    return fd;
  }

  /** Opens a node by its name below its folder, and keeps the descriptor if it is that node. */
  #openAs(folder: number, slot: number): number {
    const kind = this.nodes.kind[slot];
    if (!hasPathFds && kind !== KIND_FOLDER && kind !== KIND_FILE) return -LINUX_E.OPNOTSUPP;
    const plain = kind === KIND_FOLDER ? FOLDER_FLAGS : READ_FLAGS;
    const flags = hasPathFds ? PATH_FLAGS : plain;
    const fd = this.openBelow(folder, this.nodes.nameAddress(slot), flags, 0);
    if (fd < 0) return fd === -LINUX_E.NOENT || fd === -LINUX_E.LOOP ? STALE : fd;
    const saved = probe;
    const result = toLinux(statFd(fd, saved));
    if (result < 0 || !this.nodes.matches(slot, saved)) {
      closeFd(fd);
      return STALE;
    }
    this.fds.put(slot, fd);
    return fd;
  }

  /**
   * Whether the guest may have one more: it must not take them all, since others of this process
   * need some, too.
   */
  #hasFdLeft(): boolean {
    const held = this.handles.count + this.fds.count + this.fds.pinnedCount + this.lockFds;
    return held < this.#guestFdsMax || this.fds.shrink();
  }

  #addRoot(): void {
    statFd(this.rootFd, this.stat);
    this.nodes.add(this.stat);
    this.nodes.lookups[ROOT_SLOT] = 1;
  }
}

/** Of {@link FolderState.nodeFd}: an operation's own stat result stays as it is. */
const probe: StatBlock = new StatBlock();

function isOutOfFds(result: number): boolean {
  return result === -LINUX_E.MFILE || result === -LINUX_E.NFILE;
}

function guestFdsMax(limit: number): number {
  raiseFdLimit();
  const { soft } = fdLimit();
  const allowed = limit > 0 ? Math.min(limit, soft) : soft;
  const reserved = Math.min(FDS_RESERVED_MAX, Math.max(FDS_RESERVED_MIN, allowed / 4));
  return Math.max(GUEST_FDS_MIN, Math.floor(allowed - reserved));
}

function openRoot(folder: string): number {
  try {
    if (!statSync(folder).isDirectory()) throw new Error('it is not a folder');
    return openFile(folder, { writable: false });
  } catch (error) {
    throw new VhostUserError('ERR_VHU_FS_FOLDER', `${folder}: it cannot be opened as a folder`, {
      cause: error,
    });
  }
}
