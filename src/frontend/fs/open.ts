/**
 * Opening a file by its path, as a kernel does it: create it or find it, follow what is a link,
 * refuse what cannot be opened in the way that was asked for.
 *
 * @module
 */
import { FUSE_INIT, FUSE_OPCODE, LINUX_O, S_IF } from '../../fuse/index.ts';
import type { FuseCalls, FuseHandle } from './calls.ts';
import { FsError } from './errors.ts';
import { FsFileHandle } from './file-handle.ts';
import { isError } from './mount.ts';
import type { FsMount } from './mount.ts';
import type { FsNode } from './nodes.ts';
import type { Step, Trail, Walker } from './walk.ts';
import type { FsPath } from './walk.ts';
import { pathText } from './walk.ts';

const NO_HANDLE: FuseHandle = { fh: 0n, openFlags: 0 };
const CREATE_TRIES_MAX = 10; // a file that others remove and make meanwhile

const { RDONLY, WRONLY, RDWR, CREAT, TRUNC, EXCL, APPEND, SYNC, NOCTTY, ACCMODE } = LINUX_O;

/** Node's names of ways to open a file. */
const FLAGS: Readonly<Record<string, number>> = {
  r: RDONLY,
  rs: RDONLY | SYNC,
  'r+': RDWR,
  'rs+': RDWR | SYNC,
  w: WRONLY | CREAT | TRUNC,
  wx: WRONLY | CREAT | TRUNC | EXCL,
  'w+': RDWR | CREAT | TRUNC,
  'wx+': RDWR | CREAT | TRUNC | EXCL,
  a: WRONLY | CREAT | APPEND,
  ax: WRONLY | CREAT | APPEND | EXCL,
  as: WRONLY | CREAT | APPEND | SYNC,
  'a+': RDWR | CREAT | APPEND,
  'ax+': RDWR | CREAT | APPEND | EXCL,
  'as+': RDWR | CREAT | APPEND | SYNC,
};

/** `LINUX_O` flags of a name such as `r+`, or the number itself. */
export function openFlags(flags: string | number): number {
  if (typeof flags === 'number') return flags;
  const found = FLAGS[flags];
  if (found === undefined) throw new FsError('EINVAL', { syscall: 'open', path: `flags ${flags}` });
  return found;
}

/** Who opens, and how what is opened belongs to the client. */
export interface Opener {
  readonly mount: FsMount;
  readonly calls: FuseCalls;
  readonly walker: Walker;
  /** The owner of the client's POSIX locks. */
  readonly owner: bigint;
}

/** Opens a path. @throws FsError without a path in it. */
export async function openPath(
  opener: Opener,
  path: FsPath,
  flags: number,
  mode: number,
): Promise<FsFileHandle> {
  const text = pathText(path);
  if ((flags & CREAT) !== 0) {
    const trail = await opener.walker.walk(path, 'parent');
    try {
      return await openOrCreate(opener, trail, text, { flags, mode });
    } finally {
      trail.release();
    }
  }
  const follow = (flags & LINUX_O.NOFOLLOW) === 0;
  const trail = await opener.walker.walk(path, follow ? 'follow' : 'nofollow');
  try {
    return await openStep(opener, trail.end, text, flags);
  } finally {
    trail.release();
  }
}

async function openOrCreate(
  opener: Opener,
  trail: Trail,
  path: string,
  how: { readonly flags: number; readonly mode: number },
): Promise<FsFileHandle> {
  const { walker, mount } = opener;
  const { flags, mode } = how;
  for (let tries = 0; tries < CREATE_TRIES_MAX; tries++) {
    const { name } = trail;
    const there = name === null && (flags & EXCL) !== 0; // the root, or `.`, or `..`
    if (there) throw new FsError('EEXIST', { syscall: 'open' });
    if (name === null || trail.wantsFolder) throw new FsError('EISDIR', { syscall: 'open' });
    const step = await walker.child(trail, name);
    if (step === null) {
      try {
        return await create(opener, trail.end.node, name, { flags, mode, path });
      } catch (error) {
        if (!isError(error, 'EEXIST') || (flags & EXCL) !== 0) throw error;
        continue; // somebody was faster
      }
    }
    try {
      if ((flags & EXCL) !== 0) throw new FsError('EEXIST', { syscall: 'open' });
      if (step.stats?.isSymbolicLink() !== true || (flags & LINUX_O.NOFOLLOW) !== 0) {
        return await openStep(opener, step, path, flags);
      }
      await walker.advance(trail, await walker.target(trail, step), 'parent');
    } finally {
      mount.nodes.release(step.node);
    }
  }
  throw new FsError('EEXIST', { syscall: 'open' });
}

async function create(
  opener: Opener,
  parent: FsNode,
  name: Buffer,
  how: { readonly flags: number; readonly mode: number; readonly path: string },
): Promise<FsFileHandle> {
  const { mount, calls } = opener;
  const mode = S_IF.REG | how.mode;
  const made = await mount.optional(
    FUSE_OPCODE.CREATE,
    () => calls.create(parent.id, name, how.flags & ~NOCTTY, mode),
    () => null,
  );
  if (made === null) {
    // Without CREATE: make the file, and then open it.
    const entry = await calls.mknod(parent.id, name, mode, 0);
    const step = { node: mount.nodes.learn(entry.nodeId), name, stats: entry.stats };
    try {
      return await openStep(opener, step, how.path, how.flags & ~TRUNC);
    } finally {
      mount.nodes.release(step.node);
    }
  }
  const node = mount.nodes.learn(made.entry.nodeId);
  return handleOf(opener, node, made.handle, { ...how, folder: false, stateless: false });
}

async function openStep(
  opener: Opener,
  step: Step,
  path: string,
  flags: number,
): Promise<FsFileHandle> {
  const { mount, calls } = opener;
  const { node } = step;
  const folder = step.stats?.isDirectory() ?? true; // the root has none
  checkKind(step, flags);
  const atomic = (calls.connection.agreement.flags & FUSE_INIT.ATOMIC_O_TRUNC) !== 0;
  const sent = flags & ~(CREAT | EXCL | NOCTTY | (atomic ? 0 : TRUNC));
  const opcode = folder ? FUSE_OPCODE.OPENDIR : FUSE_OPCODE.OPEN;
  const open = (): Promise<FuseHandle> => calls.open(node.id, sent, folder);
  const handle = await mount.optional(opcode, open, () => NO_HANDLE);
  const stateless = handle === NO_HANDLE;
  mount.nodes.pin(node);
  const opened = handleOf(opener, node, handle, { flags, path, folder, stateless });
  if ((flags & TRUNC) === 0 || (atomic && !stateless)) return opened;
  try {
    await opened.truncate(0);
    return opened;
  } catch (error) {
    await opened.close();
    throw error;
  }
}

/** What open(2) refuses by itself. FIFOs and devices are the kernel's, never the server's. */
function checkKind({ stats }: Step, flags: number): void {
  const folder = stats?.isDirectory() ?? true;
  const changes = (flags & ACCMODE) !== RDONLY || (flags & (TRUNC | CREAT)) !== 0;
  if (folder && changes) throw new FsError('EISDIR', { syscall: 'open' });
  if (folder) return;
  if ((flags & LINUX_O.DIRECTORY) !== 0) throw new FsError('ENOTDIR', { syscall: 'open' });
  if (stats?.isSymbolicLink() === true) throw new FsError('ELOOP', { syscall: 'open' });
  if (stats?.isFile() !== true) throw new FsError('ENXIO', { syscall: 'open' });
}

function handleOf(
  opener: Opener,
  node: FsNode,
  handle: FuseHandle,
  how: {
    readonly flags: number;
    readonly path: string;
    readonly folder: boolean;
    readonly stateless: boolean;
  },
): FsFileHandle {
  const { mount, calls, owner } = opener;
  return new FsFileHandle({ mount, calls, node, fh: handle.fh, owner, ...how });
}
