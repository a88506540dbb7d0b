/**
 * Requests that read directories.
 *
 * @module
 */
import {
  FOPEN,
  FUSE_DIRENT,
  FUSE_DIRENTPLUS,
  FUSE_OPEN_OUT,
  FUSE_READ_IN,
  FUSE_RELEASE_IN,
  LINUX_E,
  direntType,
  fuseRecordBytes,
} from '../../../fuse/index.ts';
import type { FuseCall } from '../operations.ts';
import { after, isPromise, otherwise } from './awaitable.ts';
import type { Found, TreeCore } from './core.ts';
import { fsError } from './errors.ts';
import type { Awaitable, DirectoryEntry, FsRequest } from './file-system.ts';
import type { OpenDirectory } from './open-files.ts';
import { Snapshot } from './snapshot.ts';
import type { SnapshotEntry } from './snapshot.ts';
import { kindBits, readU64, writeU64 } from './wire.ts';

/** Nodes that one READDIRPLUS asks the attributes of, at the same time where that takes time. */
const STATS_MAX = 1024;

/** OPENDIR. What is in it is read by the first READDIR. */
export function opendir<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  const known = core.nodes.get(call.nodeId);
  if (known === undefined) return -LINUX_E.STALE;
  if (core.noOpendir) return -LINUX_E.NOSYS;
  return core.run(
    call,
    () => {
      core.directories.checkRoom();
    },
    () => {
      const isForEver = core.validMs === Infinity;
      const flags = isForEver ? FOPEN.CACHE_DIR | FOPEN.KEEP_CACHE : 0;
      writeU64(call.out, FUSE_OPEN_OUT.fh, core.directories.add({ known, snapshot: null }));
      call.out.setUint32(FUSE_OPEN_OUT.openFlags, flags, true);
      call.out.setUint32(FUSE_OPEN_OUT.openFlags + 4, 0, true);
      return FUSE_OPEN_OUT.SIZE;
    },
  );
}

/** RELEASEDIR. */
export function releasedir<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  const directory = core.directories.remove(readU64(call.input, FUSE_RELEASE_IN.fh));
  if (directory === undefined) return -LINUX_E.BADF;
  directory.snapshot?.close();
  return 0;
}

/** READDIR. */
export function readdir<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  const directory = core.listable(readU64(call.input, FUSE_READ_IN.fh), call.nodeId);
  if (directory === undefined) return -LINUX_E.BADF;
  const first = readU64(call.input, FUSE_READ_IN.offset);
  const bytesMax = Math.min(call.input.getUint32(FUSE_READ_IN.size, true), call.outBytesMax);
  return core.run(
    call,
    (request) => snapshotOf(core, directory, first, request),
    (snapshot) => {
      let at = 0;
      for (let index = first; ; index++) {
        const entry = snapshot.at(index);
        if (entry === undefined) return at;
        const bytes = fuseRecordBytes(FUSE_DIRENT.SIZE, entry.name.length);
        if (at + bytes > bytesMax) return at === 0 ? -LINUX_E.INVAL : at;
        const bits = entry.kind === undefined ? 0 : kindBits(entry.kind);
        writeDirent(call, at, entry, index, inoOf(core, directory, entry, index), bits);
        at += bytes;
      }
    },
  );
}

/** READDIRPLUS: entries with their attributes, which count as lookups. */
export function readdirplus<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  const directory = core.listable(readU64(call.input, FUSE_READ_IN.fh), call.nodeId);
  if (directory === undefined) return -LINUX_E.BADF;
  const first = readU64(call.input, FUSE_READ_IN.offset);
  const bytesMax = Math.min(call.input.getUint32(FUSE_READ_IN.size, true), call.outBytesMax);
  return core.run(
    call,
    (request) =>
      after(snapshotOf(core, directory, first, request), (snapshot) => {
        const entries = entriesThatFit(snapshot, first, bytesMax);
        return after(foundOf(core, entries, request), (found) => ({ entries, found }));
      }),
    ({ entries, found }) => {
      let at = 0;
      for (const [i, entry] of entries.entries()) {
        writePlus(core, directory, call, at, entry, first + i, found[i] ?? null);
        at += fuseRecordBytes(FUSE_DIRENTPLUS.SIZE, entry.name.length);
      }
      return at;
    },
  );
}

/**
 * A directory as it is, when it is read from its beginning; as it was, further on. What need not be
 * opened never changes, and who reads one from its beginning is not the only one who does.
 */
function snapshotOf<Node, File>(
  core: TreeCore<Node, File>,
  directory: OpenDirectory<Node>,
  first: number,
  request: FsRequest,
): Awaitable<Snapshot<Node>> {
  const isKept = first !== 0 || core.noOpendir;
  if (isKept && directory.snapshot !== null) return directory.snapshot;
  const nothing: Iterable<DirectoryEntry<Node>> = [];
  return after(core.fs.list?.(directory.known.node, request) ?? nothing, (list) => {
    directory.snapshot?.close();
    directory.snapshot = new Snapshot(list, core.snapshots);
    return directory.snapshot;
  });
}

function entriesThatFit<Node>(
  snapshot: Snapshot<Node>,
  first: number,
  bytesMax: number,
): SnapshotEntry<Node>[] {
  const entries: SnapshotEntry<Node>[] = [];
  let at = 0;
  for (let index = first; entries.length < STATS_MAX; index++) {
    const entry = snapshot.at(index);
    if (entry === undefined) break;
    at += fuseRecordBytes(FUSE_DIRENTPLUS.SIZE, entry.name.length);
    if (at > bytesMax) {
      if (entries.length === 0) throw fsError('EINVAL');
      break;
    }
    entries.push(entry);
  }
  return entries;
}

/** The attributes of entries; null for one that has just gone, or that cannot say. */
function foundOf<Node, File>(
  core: TreeCore<Node, File>,
  entries: readonly SnapshotEntry<Node>[],
  request: FsRequest,
): Awaitable<readonly (Found<Node> | null)[]> {
  const found = entries.map(({ node }, i): Awaitable<Found<Node> | null> => {
    if (node === undefined && i < 2) return null;
    return otherwise<Found<Node> | null>(
      () => core.described(node as Node, request),
      () => null,
    );
  });
  if (!found.some(isPromise)) return found as (Found<Node> | null)[];
  return Promise.all(found.map((each) => Promise.resolve(each)));
}

function inoOf<Node, File>(
  core: TreeCore<Node, File>,
  directory: OpenDirectory<Node>,
  entry: SnapshotEntry<Node>,
  index: number,
): number {
  if (index === 0) return directory.known.ino;
  if (index === 1) return directory.known.parentIno;
  return core.nodes.inoOf(entry.node as Node);
}

function writeDirent<Node>(
  call: FuseCall,
  at: number,
  entry: SnapshotEntry<Node>,
  index: number,
  ino: number,
  bits: number,
): void {
  const { name } = entry;
  writeU64(call.out, at + FUSE_DIRENT.ino, ino);
  writeU64(call.out, at + FUSE_DIRENT.off, index + 1);
  call.out.setUint32(at + FUSE_DIRENT.namelen, name.length, true);
  call.out.setUint32(at + FUSE_DIRENT.type, direntType(bits), true);
  call.outArray.set(name, at + FUSE_DIRENT.name);
  const nameEnd = at + FUSE_DIRENT.name + name.length;
  call.outArray.fill(0, nameEnd, at + fuseRecordBytes(FUSE_DIRENT.SIZE, name.length));
}

function writePlus<Node, File>(
  core: TreeCore<Node, File>,
  directory: OpenDirectory<Node>,
  call: FuseCall,
  at: number,
  entry: SnapshotEntry<Node>,
  index: number,
  found: Found<Node> | null,
): void {
  const direntAt = at + FUSE_DIRENTPLUS.dirent;
  const kind = found?.stat.kind ?? entry.kind;
  const bits = kind === undefined ? 0 : kindBits(kind);
  const ino = inoOf(core, directory, entry, index);
  if (found === null)
    call.outArray.fill(0, at, direntAt); // node 0: an entry, and no lookup
  else core.writeEntry(call.out, at + FUSE_DIRENTPLUS.entryOut, found, directory.known.ino);
  writeDirent(call, direntAt, entry, index, ino, bits);
}
