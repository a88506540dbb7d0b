/**
 * FUSE in the other byte order: the widths of the fields of each structure, and what turns them
 * around in place. What is written here is read by the tables of offsets afterwards, so that nobody
 * else has to know which order a guest has.
 *
 * @module
 */
import { FUSE_DIRENT, FUSE_ENTRY_OUT, fuseRecordBytes } from './layout.ts';
import { FUSE_OPCODE } from './opcode.ts';

/** Bytes of each field, in their order; padding is a field, too. */
export type FuseWidths = readonly number[];

const ATTR: FuseWidths = [8, 8, 8, 8, 8, 8, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4];
const ENTRY_OUT: FuseWidths = [8, 8, 8, 8, 4, 4, ...ATTR];
const OPEN_OUT: FuseWidths = [8, 4, 4];
const FILE_LOCK: FuseWidths = [8, 8, 4, 4];
const DIRENT: FuseWidths = [8, 8, 4, 4];
const SX_TIME: FuseWidths = [8, 4, 4];
const STATX: FuseWidths = [
  ...[4, 4, 8, 4, 4, 4, 2, 2, 8, 8, 8, 8],
  ...[...SX_TIME, ...SX_TIME, ...SX_TIME, ...SX_TIME],
  ...[4, 4, 4, 4, ...new Array<number>(28).fill(4)],
];

const W = {
  in_header: [4, 4, 8, 8, 4, 4, 4, 2, 2],
  out_header: [4, 4, 8],
  attr: ATTR,
  entry_out: ENTRY_OUT,
  attr_out: [8, 4, 4, ...ATTR],
  kstatfs: [8, 8, 8, 8, 8, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4],
  file_lock: FILE_LOCK,
  forget_in: [8],
  forget_one: [8, 8],
  batch_forget_in: [4, 4],
  getattr_in: [4, 4, 8],
  setattr_in: [4, 4, 8, 8, 8, 8, 8, 8, 4, 4, 4, 4, 4, 4, 4, 4],
  mknod_in: [4, 4, 4, 4],
  mkdir_in: [4, 4],
  rename_in: [8],
  rename2_in: [8, 4, 4],
  link_in: [8],
  open_in: [4, 4],
  create_in: [4, 4, 4, 4],
  open_out: OPEN_OUT,
  release_in: [8, 4, 4, 8],
  flush_in: [8, 4, 4, 8],
  read_in: [8, 8, 4, 4, 8, 4, 4],
  write_in: [8, 8, 4, 4, 8, 4, 4],
  write_out: [4, 4],
  fsync_in: [8, 4, 4],
  setxattr_in: [4, 4, 4, 4],
  getxattr_in: [4, 4],
  getxattr_out: [4, 4],
  lk_in: [8, 8, ...FILE_LOCK, 4, 4],
  lk_out: FILE_LOCK,
  access_in: [4, 4],
  init_in: [4, 4, 4, 4, 4, ...new Array<number>(11).fill(4)],
  init_out: [4, 4, 4, 4, 2, 2, 4, 4, 2, 2, 4, ...new Array<number>(7).fill(4)],
  interrupt_in: [8],
  bmap_in: [8, 4, 4],
  ioctl_in: [8, 4, 4, 8, 4, 4],
  ioctl_out: [4, 4, 4, 4],
  poll_in: [8, 8, 4, 4],
  poll_out: [4, 4],
  fallocate_in: [8, 8, 8, 4, 4],
  lseek_in: [8, 8, 4, 4],
  lseek_out: [8],
  copy_file_range_in: [8, 8, 8, 8, 8, 8, 8],
  copy_file_range_out: [8],
  sx_time: SX_TIME,
  statx: STATX,
  statx_in: [4, 4, 8, 4, 4],
  statx_out: [8, 4, 4, 4, 4, 4, 4, ...STATX],
  syncfs_in: [8],
  dirent: DIRENT,
  direntplus: [...ENTRY_OUT, ...DIRENT],
} as const satisfies Readonly<Record<string, FuseWidths>>;

/** `struct fuse_in_header`. */
export const FUSE_IN_HEADER_WIDTHS: FuseWidths = W.in_header;

/** `struct fuse_out_header`. */
export const FUSE_OUT_HEADER_WIDTHS: FuseWidths = W.out_header;

/** `struct fuse_forget_one`. */
export const FUSE_FORGET_ONE_WIDTHS: FuseWidths = W.forget_one;

/** All, by the name that `linux/fuse.h` gives a structure, without its `fuse_`. */
export const FUSE_WIDTHS: ReadonlyMap<string, FuseWidths> = new Map(Object.entries(W));

/** What follows the header of a request, and of its answer, as far as it is numbers. */
export interface FuseOrderRow {
  readonly arguments: FuseWidths;
  readonly answer: FuseWidths;
}

const NOTHING: FuseWidths = [];
const CREATED: FuseWidths = [...ENTRY_OUT, ...OPEN_OUT];

const ROWS = new Map<number, FuseOrderRow>(
  (
    [
      [FUSE_OPCODE.LOOKUP, NOTHING, W.entry_out],
      [FUSE_OPCODE.FORGET, W.forget_in, NOTHING],
      [FUSE_OPCODE.GETATTR, W.getattr_in, W.attr_out],
      [FUSE_OPCODE.SETATTR, W.setattr_in, W.attr_out],
      [FUSE_OPCODE.SYMLINK, NOTHING, W.entry_out],
      [FUSE_OPCODE.MKNOD, W.mknod_in, W.entry_out],
      [FUSE_OPCODE.MKDIR, W.mkdir_in, W.entry_out],
      [FUSE_OPCODE.RENAME, W.rename_in, NOTHING],
      [FUSE_OPCODE.LINK, W.link_in, W.entry_out],
      [FUSE_OPCODE.OPEN, W.open_in, W.open_out],
      [FUSE_OPCODE.READ, W.read_in, NOTHING],
      [FUSE_OPCODE.WRITE, W.write_in, W.write_out],
      [FUSE_OPCODE.STATFS, NOTHING, W.kstatfs],
      [FUSE_OPCODE.RELEASE, W.release_in, NOTHING],
      [FUSE_OPCODE.FSYNC, W.fsync_in, NOTHING],
      [FUSE_OPCODE.SETXATTR, W.setxattr_in, NOTHING],
      [FUSE_OPCODE.GETXATTR, W.getxattr_in, W.getxattr_out],
      [FUSE_OPCODE.LISTXATTR, W.getxattr_in, W.getxattr_out],
      [FUSE_OPCODE.FLUSH, W.flush_in, NOTHING],
      [FUSE_OPCODE.INIT, W.init_in, W.init_out],
      [FUSE_OPCODE.OPENDIR, W.open_in, W.open_out],
      [FUSE_OPCODE.READDIR, W.read_in, NOTHING],
      [FUSE_OPCODE.RELEASEDIR, W.release_in, NOTHING],
      [FUSE_OPCODE.FSYNCDIR, W.fsync_in, NOTHING],
      [FUSE_OPCODE.GETLK, W.lk_in, W.lk_out],
      [FUSE_OPCODE.SETLK, W.lk_in, NOTHING],
      [FUSE_OPCODE.SETLKW, W.lk_in, NOTHING],
      [FUSE_OPCODE.ACCESS, W.access_in, NOTHING],
      [FUSE_OPCODE.CREATE, W.create_in, CREATED],
      [FUSE_OPCODE.INTERRUPT, W.interrupt_in, NOTHING],
      [FUSE_OPCODE.IOCTL, W.ioctl_in, W.ioctl_out],
      [FUSE_OPCODE.BATCH_FORGET, W.batch_forget_in, NOTHING],
      [FUSE_OPCODE.FALLOCATE, W.fallocate_in, NOTHING],
      [FUSE_OPCODE.READDIRPLUS, W.read_in, NOTHING],
      [FUSE_OPCODE.RENAME2, W.rename2_in, NOTHING],
      [FUSE_OPCODE.LSEEK, W.lseek_in, W.lseek_out],
      [FUSE_OPCODE.COPY_FILE_RANGE, W.copy_file_range_in, W.write_out],
      [FUSE_OPCODE.SYNCFS, W.syncfs_in, NOTHING],
      [FUSE_OPCODE.TMPFILE, W.create_in, CREATED],
      [FUSE_OPCODE.STATX, W.statx_in, W.statx_out],
      [FUSE_OPCODE.COPY_FILE_RANGE_64, W.copy_file_range_in, W.copy_file_range_out],
    ] as const
  ).map(([opcode, arguments_, answer]) => [opcode, { arguments: arguments_, answer }]),
);

/** The row of a request; undefined when there is nothing but bytes in it and in its answer. */
export function fuseOrderRow(opcode: number): FuseOrderRow | undefined {
  return ROWS.get(opcode);
}

/** A 32-bit number with its bytes the other way round. */
export function swapU32(value: number): number {
  const odd = ((value & 0xff) << 24) | ((value & 0xff00) << 8);
  return (odd | ((value >>> 8) & 0xff00) | (value >>> 24)) >>> 0;
}

/**
 * Turns the bytes of each field around, from `at` on and as far as they end before `end`; returns
 * where the next would begin.
 */
export function swapFuseFields(
  view: DataView,
  at: number,
  end: number,
  widths: FuseWidths,
): number {
  for (const width of widths) {
    if (at + width > end) break;
    if (width === 2) {
      view.setUint16(at, view.getUint16(at, true), false);
    } else if (width === 4) {
      view.setUint32(at, view.getUint32(at, true), false);
    } else {
      const low = view.getUint32(at, true);
      view.setUint32(at, view.getUint32(at + 4, true), false);
      view.setUint32(at + 4, low, false);
    }
    at += width;
  }
  return at;
}

/**
 * Turns the answer of a READDIR or, if `plus`, a READDIRPLUS around, which is little-endian before:
 * `bytes` of it, from 0 on.
 */
export function swapFuseDirents(view: DataView, bytes: number, plus: boolean): void {
  const lead = plus ? FUSE_ENTRY_OUT.SIZE : 0;
  const head = lead + FUSE_DIRENT.SIZE;
  let at = 0;
  while (at + head <= bytes) {
    const nameBytes = view.getUint32(at + lead + FUSE_DIRENT.namelen, true);
    swapFuseFields(view, at, bytes, plus ? W.direntplus : W.dirent);
    at += fuseRecordBytes(head, nameBytes);
  }
}
