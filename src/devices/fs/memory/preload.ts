/**
 * What a file system in memory begins with: a copy of a folder, of an archive, or of any other file
 * system.
 *
 * @module
 */
import {
  closeSync,
  lstatSync,
  openSync,
  readSync,
  readdirSync,
  readlinkSync,
  statSync,
} from 'node:fs';
import type { Stats } from 'node:fs';
import { openArchive } from '../archive/index.ts';
import { nameBytes, nameText } from '../tree/index.ts';
import type { FileSystem, FsRequest, NodeKind, Stat } from '../tree/index.ts';
import type { MemoryFileSystem } from './memory-file-system.ts';
import type { MemoryNode } from './node.ts';

const READ_BYTES = 1024 * 1024;
const PERMISSIONS = 0o7777;

/**
 * Copies a folder of this host, or what is in an archive, into a file system in memory.
 * @throws VhostUserError `ERR_VHU_FS_ARCHIVE`; errors of Node's with the path that cannot be read;
 *   ENOSPC when it does not fit.
 */
export async function preload(memory: MemoryFileSystem, path: string): Promise<void> {
  if (statSync(path).isDirectory()) {
    await copyTree(hostFiles(path), memory);
    return;
  }
  const archive = await openArchive(path);
  try {
    await copyTree(archive, memory);
  } finally {
    archive.end();
  }
}

/** Copies all of a file system, with owners, times and links. */
export async function copyTree<Node, File>(
  from: FileSystem<Node, File>,
  to: MemoryFileSystem,
): Promise<void> {
  const copies = new Map<Node, MemoryNode>([[from.root, to.root]]);
  const directories: Node[] = [from.root];
  // The list grows while it is gone through: it ends with the deepest directories.
  for (const directory of directories) {
    const parent = copies.get(directory) as MemoryNode;
    const list = (await from.list?.(directory, requestOf(0, 0))) ?? [];
    for (const [name, node] of list) {
      const known = copies.get(node);
      if (known !== undefined) {
        to.link(known, parent, name);
        continue;
      }
      const copy = await copyNode(from, node, to, parent, name);
      copies.set(node, copy);
      if (copy.kind === 'directory') directories.push(node);
    }
  }
  // What was put into a directory has changed its time.
  for (const directory of directories) {
    const stat = await from.stat(directory, requestOf(0, 0));
    describe(to, copies.get(directory) as MemoryNode, stat);
  }
}

async function copyNode<Node, File>(
  from: FileSystem<Node, File>,
  node: Node,
  to: MemoryFileSystem,
  parent: MemoryNode,
  name: string,
): Promise<MemoryNode> {
  const stat = await from.stat(node, requestOf(0, 0));
  const request = requestOf(stat.uid ?? 0, stat.gid ?? 0);
  const mode = (stat.mode ?? 0o644) & PERMISSIONS;
  const { kind, deviceNumber = 0 } = stat;
  let copy: MemoryNode;
  if (kind === 'directory') copy = to.makeDirectory(parent, name, mode, request);
  else if (kind === 'symlink') {
    const target = (await from.readLink?.(node, request)) ?? '';
    copy = to.makeSymlink(parent, name, target, request);
  } else if (kind === 'file') {
    copy = to.create(parent, name, mode, request);
    await copyContent(from, node, to, copy, request);
  } else copy = to.makeNode(parent, name, { kind, mode, deviceNumber }, request);
  for (const each of (await from.listXattrs?.(node, request)) ?? []) {
    const value = await from.getXattr?.(node, each, request);
    if (value !== undefined) to.setXattr(copy, each, value, { create: false, replace: false });
  }
  describe(to, copy, stat);
  return copy;
}

async function copyContent<Node, File>(
  from: FileSystem<Node, File>,
  node: Node,
  to: MemoryFileSystem,
  copy: MemoryNode,
  request: FsRequest,
): Promise<void> {
  if (from.read === undefined) {
    const content = (await from.readFile?.(node, request)) ?? '';
    to.write(copy, Buffer.from(content), 0);
    return;
  }
  const mode = { read: true, write: false, append: false };
  const file = (await from.open?.(node, mode, request)) ?? (node as unknown as File);
  const buffer = new Uint8Array(READ_BYTES);
  for (let at = 0; ;) {
    const result = await from.read(file, buffer, at, request);
    const data = typeof result === 'number' ? buffer.subarray(0, result) : result;
    if (data.length === 0) break;
    to.write(copy, data, at);
    at += data.length;
  }
  await from.close?.(file);
}

function describe(to: MemoryFileSystem, copy: MemoryNode, stat: Stat): void {
  const { mode, uid, gid, modified } = stat;
  if (mode !== undefined) copy.mode = mode & PERMISSIONS;
  copy.uid = uid ?? 0;
  copy.gid = gid ?? 0;
  if (typeof modified !== 'object' || modified instanceof Date) return;
  to.setStat(copy, { modified, accessed: modified });
}

function requestOf(uid: number, gid: number): FsRequest {
  return { uid, gid, pid: 0, signal: new AbortController().signal };
}

/** A folder of this host as a file system; its nodes are paths, a byte a character. */
function hostFiles(folder: string): FileSystem<string, number> {
  const bytesOf = (path: string): Buffer => Buffer.from(path, 'latin1');
  const below = (path: string, name: Buffer): string => `${path}/${name.toString('latin1')}`;
  return {
    root: Buffer.from(folder).toString('latin1'),
    stat: (path) => statOf(lstatSync(bytesOf(path))),
    list: (path) =>
      readdirSync(bytesOf(path), { encoding: 'buffer' }).map((name) => [
        nameText(name),
        below(path, name),
      ]),
    lookup: (path, name) => below(path, Buffer.from(nameBytes(name))),
    readLink: (path) => nameText(readlinkSync(bytesOf(path), { encoding: 'buffer' })),
    open: (path) => openSync(bytesOf(path), 'r'),
    read: (fd, into, offset) => readSync(fd, into, 0, into.length, offset),
    close: (fd) => closeSync(fd),
  };
}

function statOf(stats: Stats): Stat {
  const { mode, size, uid, gid, mtimeMs } = stats;
  const seconds = Math.floor(mtimeMs / 1000);
  const nanoseconds = Math.round((mtimeMs - seconds * 1000) * 1_000_000) % 1_000_000_000;
  return {
    kind: kindOf(stats),
    mode: mode & PERMISSIONS,
    size,
    uid,
    gid,
    modified: { seconds, nanoseconds },
  };
}

function kindOf(stats: Stats): NodeKind {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  if (stats.isSymbolicLink()) return 'symlink';
  // Device nodes of the host are none of the guest's.
  return stats.isFIFO() ? 'fifo' : 'socket';
}
