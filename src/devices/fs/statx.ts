/**
 * FUSE_STATX: what GETATTR tells, and when the file was made. Linux's guests send it from 6.6 on,
 * for programs that ask for that time (`stat`, `ls --time=birth`).
 *
 * @module
 */
import {
  FUSE_ATTR,
  FUSE_ATTR_OUT,
  FUSE_STATX,
  FUSE_STATX_MASK,
  FUSE_STATX_OUT,
  FUSE_SX_TIME,
  devMajor,
  devMinor,
} from '../../fuse/index.ts';

const WORD = 0x1_0000_0000;
const ATTR = FUSE_ATTR_OUT.attr;
const STAT = FUSE_STATX_OUT.stat;

/** Room for a `fuse_attr_out`, for {@link statxFromAttr}; one for a thread. */
export const attrScratch: DataView = new DataView(new ArrayBuffer(FUSE_ATTR_OUT.SIZE));

/**
 * Writes `struct fuse_statx_out` to `out`, out of the `fuse_attr_out` in `attr`; returns its size.
 * `birthNsec` is -1 for a file of which nobody knows when it was made.
 */
export function statxFromAttr(
  out: DataView,
  attr: DataView,
  birthSec: number,
  birthNsec: number,
): number {
  for (let at = 0; at < FUSE_STATX_OUT.SIZE; at += 4) out.setUint32(at, 0, true);
  copy(out, FUSE_STATX_OUT.attrValid, attr, FUSE_ATTR_OUT.attrValid, 8);
  copy(out, FUSE_STATX_OUT.attrValidNsec, attr, FUSE_ATTR_OUT.attrValidNsec, 4);
  copy(out, STAT + FUSE_STATX.blksize, attr, ATTR + FUSE_ATTR.blksize, 4);
  copy(out, STAT + FUSE_STATX.nlink, attr, ATTR + FUSE_ATTR.nlink, 4);
  copy(out, STAT + FUSE_STATX.uid, attr, ATTR + FUSE_ATTR.uid, 4);
  copy(out, STAT + FUSE_STATX.gid, attr, ATTR + FUSE_ATTR.gid, 4);
  out.setUint16(STAT + FUSE_STATX.mode, attr.getUint32(ATTR + FUSE_ATTR.mode, true), true);
  copy(out, STAT + FUSE_STATX.ino, attr, ATTR + FUSE_ATTR.ino, 8);
  copy(out, STAT + FUSE_STATX.size, attr, ATTR + FUSE_ATTR.size, 8);
  copy(out, STAT + FUSE_STATX.blocks, attr, ATTR + FUSE_ATTR.blocks, 8);
  copyTime(out, FUSE_STATX.atime, attr, FUSE_ATTR.atime, FUSE_ATTR.atimensec);
  copyTime(out, FUSE_STATX.mtime, attr, FUSE_ATTR.mtime, FUSE_ATTR.mtimensec);
  copyTime(out, FUSE_STATX.ctime, attr, FUSE_ATTR.ctime, FUSE_ATTR.ctimensec);
  const rdev = attr.getUint32(ATTR + FUSE_ATTR.rdev, true);
  out.setUint32(STAT + FUSE_STATX.rdevMajor, devMajor(rdev), true);
  out.setUint32(STAT + FUSE_STATX.rdevMinor, devMinor(rdev), true);
  let mask: number = FUSE_STATX_MASK.BASIC_STATS;
  if (birthNsec >= 0) {
    mask |= FUSE_STATX_MASK.BTIME;
    const at = STAT + FUSE_STATX.btime;
    out.setUint32(at + FUSE_SX_TIME.tvSec, birthSec >>> 0, true);
    out.setInt32(at + FUSE_SX_TIME.tvSec + 4, Math.floor(birthSec / WORD), true);
    out.setUint32(at + FUSE_SX_TIME.tvNsec, birthNsec, true);
  }
  out.setUint32(STAT + FUSE_STATX.mask, mask, true);
  return FUSE_STATX_OUT.SIZE;
}

/** Copies a number of 4 or 8 bytes. */
function copy(out: DataView, to: number, from: DataView, at: number, bytes: number): void {
  for (let i = 0; i < bytes; i += 4) out.setUint32(to + i, from.getUint32(at + i, true), true);
}

function copyTime(out: DataView, to: number, attr: DataView, sec: number, nsec: number): void {
  copy(out, STAT + to + FUSE_SX_TIME.tvSec, attr, ATTR + sec, 8);
  copy(out, STAT + to + FUSE_SX_TIME.tvNsec, attr, ATTR + nsec, 4);
}
