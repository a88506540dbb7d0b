/**
 * A mount namespace of Linux (mount_namespaces(7)) with a root of its own: what the device needs is
 * mounted there, and nothing else has a name. Unlike with Landlock no call looks at a rule, and
 * what looks at a file without opening it (stat, chmod, chown) is shut with the rest.
 *
 * A namespace is one thread's, as Landlock is, and lives on in what that thread executes.
 *
 * @module
 */
import {
  fstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statfsSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { errorMessage } from '../../util/index.ts';
import { ERRNO, SystemError, errnoName } from '../errno.ts';
import { closeFd, setCloseOnExec } from '../fd.ts';
import { NativeBlock } from '../native.ts';
import { reachFolderBy } from '../socket-folders.ts';
import { mayMount, trySettingCapabilities } from './capabilities.ts';
import { linuxCall } from './linux-call.ts';
import { RootPlanner } from './root-plan.ts';
import type { PlannedMount, RootPlan, TreeAccess } from './root-plan.ts';
import type { PathAccess, SandboxNeeds } from './types.ts';

/** What a need of a path is in a root of its own; what is not named here needs the old one. */
const TREE_ACCESS: Readonly<Partial<Record<PathAccess, TreeAccess>>> = {
  read: 'read',
  write: 'write',
  temporary: 'write',
  tree: 'share',
};

/** linux/mount.h, sched.h, fcntl.h and magic.h, and sys/mount.h. */
const MOUNT = {
  CLONE_NEWNS: 0x2_0000,
  MS_NOSUID: 0x2,
  MS_NODEV: 0x4,
  MS_NOEXEC: 0x8,
  MS_REC: 0x4000,
  MS_PRIVATE: 0x4_0000,
  MS_SLAVE: 0x8_0000,
  MNT_DETACH: 2,
  ATTR_RDONLY: 0x1,
  ATTR_NOSUID: 0x2,
  ATTR_NODEV: 0x4,
  ATTR_NOEXEC: 0x8,
  OPEN_TREE_CLONE: 1,
  OPEN_TREE_CLOEXEC: 0x8_0000,
  F_EMPTY_PATH: 0x4, // MOVE_MOUNT_
  AT_FDCWD: -100,
  AT_EMPTY_PATH: 0x1000,
  AT_RECURSIVE: 0x8000,
  TMPFS_MAGIC: 0x0102_1994,
} as const;

/** `struct mount_attr`. | attr_set 8 | attr_clr 8 | propagation 8 | userns_fd 8 | */
const MOUNT_ATTR = { attrSet: 0, propagation: 16, SIZE: 32 } as const;

const M = MOUNT;

/** Rights are given to nobody by what is in there. */
const CLOSED = M.ATTR_NOSUID | M.ATTR_NODEV | M.ATTR_NOEXEC;
const ATTRIBUTES: Readonly<Record<TreeAccess, number>> = {
  read: CLOSED | M.ATTR_RDONLY,
  run: M.ATTR_NOSUID | M.ATTR_NODEV | M.ATTR_RDONLY,
  write: CLOSED,
  share: M.ATTR_NOSUID | M.ATTR_NODEV, // it may be where the program is
};

/** Where the new root is put together: a folder of every host; nothing is looked up in it then. */
const STAGE = '/dev';

const EINVAL = ERRNO.EINVAL as number;
/** A kernel that is asked refuses them by EINVAL, before it looks at anything else. */
const UNKNOWN_FLAGS = -1;

/** In the new root, what the program that is executed in it has to know. */
const NOTE = '/.vhost-user-sandbox';

/** What is in {@link NOTE}. */
interface Note {
  /** Folders of sockets, and the inherited fds that lead there. */
  readonly folders: readonly (readonly [path: string, fd: number])[];
}

/** What makes a root of its own. */
export interface NamespaceNeeds {
  readonly needs: SandboxNeeds;
  /** Files and folders of the program, which may be executed and mapped as code. */
  readonly runs: readonly string[];
}

/** Why these needs cannot be met there, or this process may not have one; null: it can. */
export function namespaceObstacle(needs: SandboxNeeds): string | null {
  if (needs.hasReadOnce) return 'it takes a second start, and what came by a pipe is gone by then';
  if (needs.connectsUnix) return 'a device that connects to sockets needs their names';
  for (const { path, access } of needs.paths) {
    if (access !== 'socket' && TREE_ACCESS[access] === undefined) {
      return `a device with files of its own, such as ${path}, needs their folder`;
    }
    if (path === '/' && access !== 'socket') return 'the folder that is shared is the root itself';
  }
  return mayMount() ? null : 'it takes CAP_SYS_ADMIN, which this process does not have';
}

/**
 * Gives this thread the new root. Returns the fds that what is executed has to inherit, or why the
 * kernel refused it: then the thread sees all files as before.
 *
 * @throws SystemError when the old root does not go away, or what was mounted over its `/dev`
 */
export function enterNamespace({ needs, runs }: NamespaceNeeds): number[] | string {
  const refusal = refusedLater();
  if (refusal !== null) return refusal;
  const { plan, cwd } = planRoot(needs, runs);
  const unshared = linuxCall('unshare', M.CLONE_NEWNS);
  if (unshared < 0) return `unshare(CLONE_NEWNS): ${errnoName(-unshared)}`;
  const trees: number[] = [];
  const folders = new Map<string, number>();
  let isStaged = false;
  try {
    // Nothing that is mounted here is seen outside; what is mounted there is seen in here.
    mount('none', '/', '', M.MS_REC | M.MS_SLAVE);
    for (const each of plan.mounts) trees.push(cloneTree(each, needs));
    for (const { path, access } of needs.paths) {
      if (access === 'socket') cloneFolder(dirname(path), folders);
    }
    mount('tmpfs', STAGE, 'tmpfs', M.MS_NOSUID | M.MS_NODEV | M.MS_NOEXEC, 'mode=755');
    isStaged = true;
    makeRoot(plan, trees, { folders: [...folders] });
    pivotRoot();
  } catch (error) {
    for (const fd of [...trees, ...folders.values()]) closeFd(fd);
    if (isStaged) check(unmount(STAGE), `umount2(${STAGE})`);
    process.chdir(cwd);
    return errorMessage(error);
  }
  for (const fd of trees) closeFd(fd);
  leaveOldRoot(cwd);
  closeFolders();
  return [...folders.values()];
}

/**
 * Which call would be refused when there is no way back any more, as by the filter of a container;
 * or null. Each is made in a way that changes nothing.
 */
function refusedLater(): string | null {
  const nothing = text('');
  const unmounted = linuxCall('umount2', nothing.address, UNKNOWN_FLAGS);
  nothing.free();
  if (unmounted !== -EINVAL) return `umount2(): ${errnoName(-unmounted)}`;
  const set = trySettingCapabilities();
  return set < 0 ? `capset(): ${errnoName(-set)}` : null;
}

/** The first of these fds that is a folder, whence its neighbours are reached by `..`; or null. */
export function openFolder(fds: readonly number[]): number | null {
  return fds.find(isFolder) ?? null;
}

/** Whatever folders of the old root this process has inherited end with it. */
function closeFolders(): void {
  for (const fd of readdirSync('/proc/self/fd').map(Number).filter(isFolder)) setCloseOnExec(fd);
}

function isFolder(fd: number): boolean {
  try {
    return fstatSync(fd).isDirectory();
  } catch {
    return false; // it is not open
  }
}

/** Whether this process is in one; sockets are made in their folders until they are left. */
export function continueInNamespace(): boolean {
  let text: string;
  try {
    if (statfsSync('/').type !== M.TMPFS_MAGIC) return false;
    text = readFileSync(NOTE, 'utf8');
  } catch {
    return false; // Landlock's, or none
  }
  for (const [path, fd] of (JSON.parse(text) as Note).folders) reachFolderBy(path, fd);
  return true;
}

function planRoot(needs: SandboxNeeds, runs: readonly string[]): { plan: RootPlan; cwd: string } {
  const planner = new RootPlanner();
  for (const { path, access } of needs.paths) {
    const tree = TREE_ACCESS[access];
    if (tree !== undefined) planner.add(path, tree);
  }
  for (const path of runs) planner.add(path, 'run');
  // Of all processes there is this one, and of this one what is needed: descriptors lead to nothing
  // that it has not got.
  planner.add('/proc/self/fd', 'read');
  planner.addLink(`/proc/${String(process.pid)}/exe`, process.execPath);
  // Relative paths of the command line mean the same.
  const cwd = workingDirectory();
  planner.addEmpty(cwd);
  return { plan: planner.plan(), cwd };
}

/** The root for one that was removed, or is out of reach, since nothing is relative to that. */
function workingDirectory(): string {
  try {
    return process.cwd();
  } catch {
    return '/';
  }
}

/** A mount of its own of a tree of this root, in no folder yet; an fd. */
function cloneTree({ path, access, isDevice }: PlannedMount, needs: SandboxNeeds): number {
  const fd = openTree(path, M.AT_RECURSIVE);
  const attributes = ATTRIBUTES[access] & ~(isDevice ? M.ATTR_NODEV : 0);
  // What is mounted later would be as its owner mounts it: where nothing may be written, that is
  // left out.
  const isOpen = access === 'share' && needs.ownsFiles;
  setAttributes(fd, '', attributes, isOpen ? 0 : M.MS_PRIVATE);
  return fd;
}

/** A folder alone: by its fd nothing around it is reached. */
function cloneFolder(path: string, folders: Map<string, number>): void {
  if (folders.has(path)) return;
  const fd = openFolderTree(path);
  if (fd === null) return;
  folders.set(path, fd);
  setAttributes(fd, '', CLOSED, M.MS_PRIVATE);
}

/** A clone of a folder's mount; null: there is no such folder, and whoever uses it says so. */
function openFolderTree(path: string): number | null {
  const isAny = (error: unknown, ...names: string[]): boolean =>
    error instanceof SystemError && names.includes(error.errnoName);
  try {
    return openTree(path, 0);
  } catch (error) {
    if (isAny(error, 'ENOENT', 'ENOTDIR')) return null;
    // In a user namespace nobody may look below what its parent has mounted in the folder: then
    // that comes with it (mount_namespaces(7), "Restrictions on mount namespaces").
    if (isAny(error, 'EINVAL')) return openTree(path, M.AT_RECURSIVE);
    throw error;
  }
}

function makeRoot(plan: RootPlan, trees: readonly number[], note: Note): void {
  // Whoever a guest's users are, they walk through these folders.
  const umask = process.umask(0o022);
  for (const path of plan.folders) mkdirSync(`${STAGE}${path}`, { recursive: true });
  for (const [path, text] of plan.links) symlinkSync(text, `${STAGE}${path}`);
  plan.mounts.forEach(({ path, isFolder, isOver }, i) => {
    const place = `${STAGE}${path}`;
    if (!isOver && isFolder) mkdirSync(place, { recursive: true });
    if (!isOver && !isFolder) writeFileSync(place, '');
    attach(trees[i] ?? -1, place);
  });
  writeFileSync(`${STAGE}${NOTE}`, JSON.stringify(note));
  process.umask(umask);
  setAttributes(M.AT_FDCWD, STAGE, CLOSED | M.ATTR_RDONLY, 0);
}

/** The staged root becomes the root. */
function pivotRoot(): void {
  process.chdir(STAGE);
  const here = text('.');
  const result = linuxCall('pivot_root', here.address, here.address);
  here.free();
  check(result, `pivot_root(${STAGE})`, 'the root is an initramfs, or a folder of another mount');
}

/** The old one, which lies on top of it (pivot_root(2), NOTES), is gone with all that is in it. */
function leaveOldRoot(cwd: string): void {
  check(unmount('.'), 'umount2()');
  process.chdir('/');
  process.chdir(cwd);
}

function unmount(path: string): number {
  const name = text(path);
  const result = linuxCall('umount2', name.address, M.MNT_DETACH);
  name.free();
  return result;
}

function openTree(path: string, flags: number): number {
  const name = text(path);
  const all = M.OPEN_TREE_CLONE | M.OPEN_TREE_CLOEXEC | flags;
  const fd = linuxCall('open_tree', M.AT_FDCWD, name.address, all);
  name.free();
  return check(fd, `open_tree(${path})`);
}

/** Of a mount and all below it. `propagation` 0: as it is. */
function setAttributes(fd: number, path: string, attributes: number, propagation: number): void {
  const attr = new NativeBlock(MOUNT_ATTR.SIZE);
  attr.view.setUint32(MOUNT_ATTR.attrSet, attributes, true);
  attr.view.setUint32(MOUNT_ATTR.propagation, propagation, true);
  const name = text(path);
  const flags = path === '' ? M.AT_EMPTY_PATH | M.AT_RECURSIVE : 0;
  const args = [fd, name.address, flags, attr.address, MOUNT_ATTR.SIZE];
  const result = linuxCall('mount_setattr', ...args);
  name.free();
  attr.free();
  check(result, `mount_setattr(${path})`);
}

function attach(tree: number, path: string): void {
  const [nothing, name] = [text(''), text(path)];
  const args = [tree, nothing.address, M.AT_FDCWD, name.address, M.F_EMPTY_PATH];
  const result = linuxCall('move_mount', ...args);
  nothing.free();
  name.free();
  check(result, `move_mount(${path})`);
}

function mount(source: string, path: string, type: string, flags: number, data = ''): void {
  const blocks = [source, path, type, data].map(text);
  const [from, to, kind, options] = blocks.map(({ address }) => address) as [
    number,
    number,
    number,
    number,
  ];
  const result = linuxCall('mount', from, to, kind, flags, options);
  for (const block of blocks) block.free();
  check(
    result,
    `mount(${path})`,
    path === '/' ? 'it is no mount point, as in a chroot' : undefined,
  );
}

/** `advice`: what EINVAL of this call means. */
function check(result: number, call: string, advice?: string): number {
  if (result < 0) throw new SystemError(call, -result, result === -EINVAL ? advice : undefined);
  return result;
}

function text(string: string): NativeBlock {
  const bytes = Buffer.from(`${string}\0`);
  const block = new NativeBlock(bytes.length);
  block.bytes.set(bytes);
  return block;
}
