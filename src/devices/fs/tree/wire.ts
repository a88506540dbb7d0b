/**
 * Numbers, times and attributes between a file system's objects and the structures of FUSE.
 *
 * @module
 */
import { FUSE_ATTR, S_IF } from '../../../fuse/index.ts';
import type { NodeKind, Stat, Time, Timestamp } from './file-system.ts';

const U32 = 0x1_0000_0000;
const NS_PER_MS = 1_000_000;
const NS_MAX = 999_999_999;
const BLOCK_BYTES = 512;
const IO_BYTES = 4096; // st_blksize: a page of the guest
const PERMISSIONS = 0o7777;

const KIND_BITS: Readonly<Record<NodeKind, number>> = {
  file: S_IF.REG,
  directory: S_IF.DIR,
  symlink: S_IF.LNK,
  fifo: S_IF.IFO,
  socket: S_IF.SOCK,
  'character-device': S_IF.CHR,
  'block-device': S_IF.BLK,
};

const KINDS: ReadonlyMap<number, NodeKind> = new Map(
  Object.entries(KIND_BITS).map(([kind, bits]) => [bits, kind as NodeKind]),
);

/** An unsigned number of 64 bits; exact below 2^53, which `Number.isSafeInteger` tells. */
export function readU64(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * U32;
}

/** A signed one. */
export function readI64(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getInt32(at + 4, true) * U32;
}

/** Writes an integer between -2^53 and 2^53 in 64 bits. */
export function writeU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % U32, true);
  view.setUint32(at + 4, Math.floor(value / U32), true);
}

/** The bits of a mode that say what a node is. */
export function kindBits(kind: NodeKind): number {
  const bits = KIND_BITS[kind] as number | undefined;
  if (bits === undefined) throw new TypeError(`stat: there is no kind ${kind}`);
  return bits;
}

/** What the bits of a mode say; undefined when they say nothing. */
export function kindOf(mode: number): NodeKind | undefined {
  return KINDS.get(mode & S_IF.MT);
}

/** The whole mode of a node, as the guest has it. */
export function modeOf(stat: Stat): number {
  const usual = stat.kind === 'directory' ? 0o555 : stat.kind === 'symlink' ? 0o777 : 0o444;
  return kindBits(stat.kind) | ((stat.mode ?? usual) & PERMISSIONS);
}

function millisecondsOf(time: number | Date): number {
  return typeof time === 'number' ? time : time.getTime();
}

function isExact(time: Time): time is Timestamp {
  return typeof time === 'object' && 'seconds' in time;
}

/** The whole seconds of a time. */
export function secondsOf(time: Time): number {
  return isExact(time) ? time.seconds : Math.floor(millisecondsOf(time) / 1000);
}

/** What is beyond the whole seconds. */
export function nanosecondsOf(time: Time): number {
  if (isExact(time)) return time.nanoseconds;
  const ms = millisecondsOf(time);
  return Math.min(NS_MAX, Math.round((ms - Math.floor(ms / 1000) * 1000) * NS_PER_MS));
}

/** Now, by the host's clock. */
export function timestampNow(): Timestamp {
  const ms = Date.now();
  const seconds = Math.floor(ms / 1000);
  return { seconds, nanoseconds: (ms - seconds * 1000) * NS_PER_MS };
}

/** Fills a `struct fuse_attr`. */
export function writeAttr(
  out: DataView,
  at: number,
  ino: number,
  stat: Stat,
  usualTime: Time,
): void {
  const size = stat.size ?? 0;
  const accessed = stat.accessed ?? stat.modified ?? usualTime;
  const modified = stat.modified ?? usualTime;
  const changed = stat.changed ?? modified;
  const mode = modeOf(stat);
  writeU64(out, at + FUSE_ATTR.ino, ino);
  writeU64(out, at + FUSE_ATTR.size, size);
  writeU64(out, at + FUSE_ATTR.blocks, stat.blocks ?? Math.ceil(size / BLOCK_BYTES));
  writeU64(out, at + FUSE_ATTR.atime, secondsOf(accessed));
  writeU64(out, at + FUSE_ATTR.mtime, secondsOf(modified));
  writeU64(out, at + FUSE_ATTR.ctime, secondsOf(changed));
  out.setUint32(at + FUSE_ATTR.atimensec, nanosecondsOf(accessed), true);
  out.setUint32(at + FUSE_ATTR.mtimensec, nanosecondsOf(modified), true);
  out.setUint32(at + FUSE_ATTR.ctimensec, nanosecondsOf(changed), true);
  out.setUint32(at + FUSE_ATTR.mode, mode, true);
  const usualLinks = stat.kind === 'directory' ? 2 : 1;
  out.setUint32(at + FUSE_ATTR.nlink, stat.linkCount ?? usualLinks, true);
  out.setUint32(at + FUSE_ATTR.uid, stat.uid ?? 0, true);
  out.setUint32(at + FUSE_ATTR.gid, stat.gid ?? 0, true);
  out.setUint32(at + FUSE_ATTR.rdev, stat.deviceNumber ?? 0, true);
  out.setUint32(at + FUSE_ATTR.blksize, IO_BYTES, true);
  out.setUint32(at + FUSE_ATTR.flags, 0, true);
}
