/**
 * Directories of hosts whose entries do not say where the next one is (macOS: `d_seekoff` is zero;
 * NetBSD: there is no such field), and where only the position between two blocks can be sought.
 * Here an entry's position is its number, and the last block is kept: a guest reads a folder in
 * smaller pieces than we do, and may delete what it has read, so reading the same block again would
 * skip as many entries as are gone.
 *
 * The state belongs to an fd of this thread and ends with `closeFd`.
 *
 * @module
 */
import type { DirentLayout, Field } from '../abi/index.ts';
import { ERRNO } from './errno.ts';
import { whenClosing } from './fd.ts';
import { abi } from './host.ts';
import { rawView } from './libc.ts';
import * as libc from './libc-files.ts';
import { NativeBlock, orErrno } from './native.ts';

const EINVAL = ERRNO.EINVAL as number;
const DIRENT = abi.files.dirent;
const RECLEN_AT = DIRENT.reclen.offset;
/** An entry with room for a position, where those of the host have none. */
const WITH_POSITION = {
  ino: { offset: 0, bytes: 8 },
  off: { offset: 8, bytes: 8 },
  reclen: { offset: 16, bytes: 2 },
  type: { offset: 18, bytes: 1 },
  namlen: { offset: 20, bytes: 2 },
  nameOffset: 24,
} as const;
const RECORD_ALIGN = 8;
const DT_WHT = 14; // stands for a name that a union mount hides

/** Entries as `readDirBlock` hands them out. */
export const HANDED: DirentLayout & { readonly off: Field } =
  DIRENT.off === null ? { ...WITH_POSITION, offIsPosition: false } : { ...DIRENT, off: DIRENT.off };
const FORWARD_BYTES = 16_384; // a block to skip entries with
const SEEK_SET = 0;
const SEEK_CUR = 1;

/** Reads a block from the fd: bytes, 0 at the end, or -errno. */
type ReadBlock = (fd: number, buf: number, bytes: number) => number;

/** A place that lseek knows: the directory's entry `first` is the next one there. */
interface Checkpoint {
  /** As lseek gave it: beyond 2^53 koffi gives a bigint, and takes it back. */
  readonly position: number;
  readonly first: number;
}

/** What is known of one open directory. */
interface Walk {
  /** A copy of the block that was read last; the fd stands behind it. */
  block: NativeBlock | null;
  bytes: number;
  /** Numbers of the block's first entry, and of the one behind it. */
  first: number;
  end: number;
  /** The number of the entry that is to be handed out next: within the block or just behind. */
  next: number;
  /** Where blocks began, in order. */
  checkpoints: Checkpoint[];
}

const walks = new Map<number, Walk>();

/** Forgets what is known of an fd, because it is closed. */
function forget(fd: number): void {
  if (walks.size === 0) return;
  walks.get(fd)?.block?.free();
  walks.delete(fd);
}

/** See `readDirBlock`. */
export function readCounted(read: ReadBlock, fd: number, buf: number, bytes: number): number {
  const walk = walkOf(fd);
  for (;;) {
    if (walk.next === walk.end) {
      const count = readNext(read, fd, walk, bytes);
      if (count <= 0) return count; // and so the loop ends with the directory
    }
    const count = DIRENT.off === null ? handOutWider(walk, buf, bytes) : handOut(walk, buf, bytes);
    if (count !== 0) return count; // 0: none of this block's entries is for anybody
  }
}

/** See `seekDir`; a number beyond the last entry is the end. */
export function seekCounted(read: ReadBlock, fd: number, number: number): number {
  const walk = walkOf(fd);
  if (number === 0 || number < walk.first) {
    const result = goBack(fd, walk, number);
    if (result < 0) return result;
  }
  while (number > walk.end) {
    const count = readNext(read, fd, walk, FORWARD_BYTES);
    if (count < 0) return count;
    if (count === 0) break;
  }
  walk.next = Math.min(number, walk.end);
  return 0;
}

function walkOf(fd: number): Walk {
  let walk = walks.get(fd);
  if (walk === undefined) {
    walk = { block: null, bytes: 0, first: 0, end: 0, next: 0, checkpoints: [] };
    walks.set(fd, walk);
    whenClosing(forget);
  }
  return walk;
}

/** Moves the fd to the last known place that is not behind an entry, and drops the block. */
function goBack(fd: number, walk: Walk, number: number): number {
  const { checkpoints } = walk;
  let place: Checkpoint = { position: 0, first: 0 };
  while (number > 0 && checkpoints.length > 0) {
    const last = checkpoints.pop() as Checkpoint;
    if (last.first > number) continue;
    place = last;
    break;
  }
  if (place.first === 0) checkpoints.length = 0;
  const result = libc.lseek(fd, place.position, SEEK_SET);
  if (result < 0) return orErrno(result);
  walk.bytes = 0;
  walk.first = place.first;
  walk.end = place.first;
  walk.next = place.first;
  return 0;
}

/** Reads the next block into the copy, and numbers its entries. */
function readNext(read: ReadBlock, fd: number, walk: Walk, bytes: number): number {
  const position = libc.lseek(fd, 0, SEEK_CUR);
  if (position < 0) return orErrno(position);
  if (walk.block === null || walk.block.bytes.length < bytes) {
    walk.block?.free();
    walk.block = new NativeBlock(bytes);
  }
  const count = read(fd, walk.block.address, bytes);
  if (count <= 0) return count;
  walk.checkpoints.push({ position, first: walk.end });
  walk.bytes = count;
  walk.first = walk.end;
  const { view } = walk.block;
  for (let at = 0; at < count; at += view.getUint16(at + RECLEN_AT, true)) {
    walk.end++;
    if (DIRENT.off !== null) setNumber(view, at + DIRENT.off.offset, walk.end);
  }
  walk.next = walk.first;
  return count;
}

/** Copies as many whole entries as fit, from the next one on, out of the block. */
function handOut(walk: Walk, buf: number, bytes: number): number {
  const { block } = walk;
  if (block === null) return 0;
  let at = 0;
  for (let number = walk.first; number < walk.next; number++) at += recordBytes(block, at);
  const from = at;
  while (at < walk.bytes && at - from + recordBytes(block, at) <= bytes) {
    at += recordBytes(block, at);
    walk.next++;
  }
  if (at === from) return from < walk.bytes ? -EINVAL : 0; // the buffer is too small for an entry
  libc.memcpy(buf, block.address + from, at - from);
  return at - from;
}

/**
 * As {@link handOut}, into entries with a position. What was deleted (an inode of 0) and what is
 * hidden stay behind, as the C library of NetBSD leaves them out.
 */
function handOutWider(walk: Walk, buf: number, bytes: number): number {
  const { block } = walk;
  if (block === null) return 0;
  const { view } = block;
  const out = new DataView(rawView(buf, bytes)); // SAFETY: the caller's buffer, during this call
  let at = 0;
  for (let number = walk.first; number < walk.next; number++) at += recordBytes(block, at);
  let end = 0;
  for (; walk.next < walk.end; at += recordBytes(block, at)) {
    const nameBytes = view.getUint16(at + (DIRENT.namlen?.offset ?? 0), true);
    const isGone = view.getBigUint64(at + DIRENT.ino.offset, true) === 0n;
    const type = view.getUint8(at + DIRENT.type.offset);
    if (!isGone && type !== DT_WHT) {
      const whole = HANDED.nameOffset + nameBytes + 1;
      const record = Math.ceil(whole / RECORD_ALIGN) * RECORD_ALIGN;
      if (end + record > bytes) return end === 0 ? -EINVAL : end;
      out.setBigUint64(end + HANDED.ino.offset, view.getBigUint64(at + DIRENT.ino.offset), false);
      setNumber(out, end + HANDED.off.offset, walk.next + 1);
      out.setUint16(end + HANDED.reclen.offset, record, true);
      out.setUint8(end + HANDED.type.offset, type);
      out.setUint16(end + WITH_POSITION.namlen.offset, nameBytes, true);
      const name = block.address + at + DIRENT.nameOffset;
      libc.memcpy(buf + end + HANDED.nameOffset, name, nameBytes + 1);
      end += record;
    }
    walk.next++;
  }
  return end;
}

function setNumber(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true);
}

function recordBytes(block: NativeBlock, at: number): number {
  return block.view.getUint16(at + RECLEN_AT, true);
}
