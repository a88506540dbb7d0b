/**
 * What takes more than one request on a tree of a {@link FsClient}: removing all of it, copying a
 * file.
 *
 * @module
 */
import { FUSE_OPCODE, S_IF, direntType } from '../../fuse/index.ts';
import type { FuseCalls } from './calls.ts';
import { listFolder } from './directory.ts';
import { FsError } from './errors.ts';
import type { FsFileHandle } from './file-handle.ts';
import { isError } from './mount.ts';
import type { FsMount } from './mount.ts';
import type { FsNode } from './nodes.ts';
import type { FuseEntry } from './structures.ts';

const REMOVALS_AT_ONCE = 32;
const REMOVE_TRIES_MAX = 5; // a folder that others fill meanwhile
const COPY_BYTES = 64 * 1024 * 1024; // of one COPY_FILE_RANGE
const PIECE_BYTES = 4 * 1024 * 1024; // that are read and written where there is none

/** Removes a folder and everything in it; links are removed and not followed. */
export async function removeTree(
  mount: FsMount,
  calls: FuseCalls,
  parent: FsNode,
  name: Buffer,
): Promise<void> {
  const entry = await lookupForced(calls, parent, name);
  if (entry === null) return;
  const node = mount.nodes.learn(entry.nodeId);
  try {
    if (!entry.stats.isDirectory()) {
      await calls.unlink(parent.id, name);
      return;
    }
    for (let tries = 1; ; tries++) {
      await removeContents(mount, calls, node);
      try {
        await calls.rmdir(parent.id, name);
        return;
      } catch (error) {
        if (!isError(error, 'ENOTEMPTY') || tries === REMOVE_TRIES_MAX) throw error;
      }
    }
  } catch (error) {
    if (!isError(error, 'ENOENT')) throw error; // somebody else has removed it
  } finally {
    mount.nodes.release(node);
  }
}

/** Copies all bytes of a file to the beginning of another one. */
export async function copyData(
  mount: FsMount,
  calls: FuseCalls,
  from: FsFileHandle,
  to: FsFileHandle,
): Promise<void> {
  let offset = 0;
  for (;;) {
    const at = offset;
    const copy = (): Promise<number> =>
      calls.copyFileRange({ ...from.file, offset: at }, { ...to.file, offset: at }, COPY_BYTES);
    try {
      const count = await mount.optional(FUSE_OPCODE.COPY_FILE_RANGE, copy, () => -1);
      if (count === 0) return;
      if (count < 0) break;
      offset += count;
    } catch (error) {
      if (!isError(error, 'EXDEV', 'EOPNOTSUPP', 'EINVAL', 'EIO')) throw error;
      break;
    }
  }
  const piece = new Uint8Array(PIECE_BYTES);
  for (;;) {
    const { bytesRead } = await from.read(piece, 0, piece.length, offset);
    if (bytesRead === 0) return;
    await to.write(piece, 0, bytesRead, offset);
    offset += bytesRead;
  }
}

async function removeContents(mount: FsMount, calls: FuseCalls, node: FsNode): Promise<void> {
  // All names first: where a listing goes on is not certain once entries are removed.
  const names: { readonly name: Buffer; readonly type: number }[] = [];
  for await (const { name, type } of listFolder(mount, calls, node, false)) {
    names.push({ name, type });
  }
  for (let at = 0; at < names.length; at += REMOVALS_AT_ONCE) {
    const some = names.slice(at, at + REMOVALS_AT_ONCE);
    const results = await Promise.allSettled(
      some.map(({ name, type }) => {
        const certain = type !== 0 && type !== direntType(S_IF.DIR);
        return certain ? unlinkForced(calls, node, name) : removeTree(mount, calls, node, name);
      }),
    );
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }
}

async function unlinkForced(calls: FuseCalls, parent: FsNode, name: Buffer): Promise<void> {
  try {
    await calls.unlink(parent.id, name);
  } catch (error) {
    if (!isError(error, 'ENOENT')) throw error;
  }
}

async function lookupForced(
  calls: FuseCalls,
  parent: FsNode,
  name: Buffer,
): Promise<FuseEntry | null> {
  try {
    return await calls.lookup(parent.id, name);
  } catch (error) {
    if (error instanceof FsError && error.code === 'ENOENT') return null;
    throw error;
  }
}
