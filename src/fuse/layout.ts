/**
 * The structures of the FUSE protocol as tables of offsets, in the order of `linux/fuse.h`. Their
 * numbers have the guest's byte order; whoever reads them takes them for little-endian, and for a
 * big-endian guest `byte-order.ts` has turned them around before. Fields that are padding, or that
 * nobody reads any more, are left out.
 *
 * @module
 */

/** `struct fuse_in_header`. */
export const FUSE_IN_HEADER = {
  len: 0,
  opcode: 4,
  unique: 8,
  nodeid: 16,
  uid: 24,
  gid: 28,
  pid: 32,
  totalExtlen: 36,
  SIZE: 40,
} as const;

/** `struct fuse_out_header`. */
export const FUSE_OUT_HEADER = { len: 0, error: 4, unique: 8, SIZE: 16 } as const;

/** `struct fuse_attr`. */
export const FUSE_ATTR = {
  ino: 0,
  size: 8,
  blocks: 16,
  atime: 24,
  mtime: 32,
  ctime: 40,
  atimensec: 48,
  mtimensec: 52,
  ctimensec: 56,
  mode: 60,
  nlink: 64,
  uid: 68,
  gid: 72,
  rdev: 76,
  blksize: 80,
  flags: 84,
  SIZE: 88,
} as const;

/** `struct fuse_entry_out`. */
export const FUSE_ENTRY_OUT = {
  nodeid: 0,
  generation: 8,
  entryValid: 16,
  attrValid: 24,
  entryValidNsec: 32,
  attrValidNsec: 36,
  attr: 40,
  SIZE: 128,
} as const;

/** `struct fuse_attr_out`. */
export const FUSE_ATTR_OUT = { attrValid: 0, attrValidNsec: 8, attr: 16, SIZE: 104 } as const;

/** `struct fuse_kstatfs`. */
export const FUSE_KSTATFS = {
  blocks: 0,
  bfree: 8,
  bavail: 16,
  files: 24,
  ffree: 32,
  bsize: 40,
  namelen: 44,
  frsize: 48,
  SIZE: 80,
} as const;

/** `struct fuse_file_lock`. */
export const FUSE_FILE_LOCK = { start: 0, end: 8, type: 16, pid: 20, SIZE: 24 } as const;

/** `struct fuse_forget_in`. */
export const FUSE_FORGET_IN = { nlookup: 0, SIZE: 8 } as const;

/** `struct fuse_forget_one`. */
export const FUSE_FORGET_ONE = { nodeid: 0, nlookup: 8, SIZE: 16 } as const;

/** `struct fuse_batch_forget_in`. */
export const FUSE_BATCH_FORGET_IN = { count: 0, SIZE: 8 } as const;

/** `struct fuse_getattr_in`. */
export const FUSE_GETATTR_IN = { getattrFlags: 0, fh: 8, SIZE: 16 } as const;

/** `struct fuse_setattr_in`. */
export const FUSE_SETATTR_IN = {
  valid: 0,
  fh: 8,
  size: 16,
  lockOwner: 24,
  atime: 32,
  mtime: 40,
  ctime: 48,
  atimensec: 56,
  mtimensec: 60,
  ctimensec: 64,
  mode: 68,
  uid: 76,
  gid: 80,
  SIZE: 88,
} as const;

/** `struct fuse_mknod_in`. */
export const FUSE_MKNOD_IN = { mode: 0, rdev: 4, umask: 8, SIZE: 16 } as const;

/** `struct fuse_mkdir_in`. */
export const FUSE_MKDIR_IN = { mode: 0, umask: 4, SIZE: 8 } as const;

/** `struct fuse_rename_in`. */
export const FUSE_RENAME_IN = { newdir: 0, SIZE: 8 } as const;

/** `struct fuse_rename2_in`. */
export const FUSE_RENAME2_IN = { newdir: 0, flags: 8, SIZE: 16 } as const;

/** `struct fuse_link_in`. */
export const FUSE_LINK_IN = { oldnodeid: 0, SIZE: 8 } as const;

/** `struct fuse_open_in`. */
export const FUSE_OPEN_IN = { flags: 0, openFlags: 4, SIZE: 8 } as const;

/** `struct fuse_create_in`. */
export const FUSE_CREATE_IN = { flags: 0, mode: 4, umask: 8, openFlags: 12, SIZE: 16 } as const;

/** `struct fuse_open_out`. */
export const FUSE_OPEN_OUT = { fh: 0, openFlags: 8, SIZE: 16 } as const;

/** `struct fuse_release_in`. */
export const FUSE_RELEASE_IN = {
  fh: 0,
  flags: 8,
  releaseFlags: 12,
  lockOwner: 16,
  SIZE: 24,
} as const;

/** `struct fuse_flush_in`. */
export const FUSE_FLUSH_IN = { fh: 0, lockOwner: 16, SIZE: 24 } as const;

/** `struct fuse_read_in`. */
export const FUSE_READ_IN = {
  fh: 0,
  offset: 8,
  size: 16,
  readFlags: 20,
  lockOwner: 24,
  flags: 32,
  SIZE: 40,
} as const;

/** `struct fuse_write_in`. */
export const FUSE_WRITE_IN = {
  fh: 0,
  offset: 8,
  size: 16,
  writeFlags: 20,
  lockOwner: 24,
  flags: 32,
  SIZE: 40,
} as const;

/** `struct fuse_write_out`. */
export const FUSE_WRITE_OUT = { size: 0, SIZE: 8 } as const;

/** `struct fuse_fsync_in`. */
export const FUSE_FSYNC_IN = { fh: 0, fsyncFlags: 8, SIZE: 16 } as const;

/** `struct fuse_setxattr_in`. */
export const FUSE_SETXATTR_IN = { size: 0, flags: 4, setxattrFlags: 8, SIZE: 16 } as const;

/** `struct fuse_getxattr_in`. */
export const FUSE_GETXATTR_IN = { size: 0, SIZE: 8 } as const;

/** `struct fuse_getxattr_out`. */
export const FUSE_GETXATTR_OUT = { size: 0, SIZE: 8 } as const;

/** `struct fuse_lk_in`. */
export const FUSE_LK_IN = { fh: 0, owner: 8, lk: 16, lkFlags: 40, SIZE: 48 } as const;

/** `struct fuse_lk_out`. */
export const FUSE_LK_OUT = { lk: 0, SIZE: 24 } as const;

/** `struct fuse_access_in`. */
export const FUSE_ACCESS_IN = { mask: 0, SIZE: 8 } as const;

/** `struct fuse_init_in`. */
export const FUSE_INIT_IN = {
  major: 0,
  minor: 4,
  maxReadahead: 8,
  flags: 12,
  flags2: 16,
  SIZE: 64,
} as const;

/** `struct fuse_init_out`. */
export const FUSE_INIT_OUT = {
  major: 0,
  minor: 4,
  maxReadahead: 8,
  flags: 12,
  maxBackground: 16,
  congestionThreshold: 18,
  maxWrite: 20,
  timeGran: 24,
  maxPages: 28,
  mapAlignment: 30,
  flags2: 32,
  SIZE: 64,
} as const;

/** `struct fuse_interrupt_in`. */
export const FUSE_INTERRUPT_IN = { unique: 0, SIZE: 8 } as const;

/** `struct fuse_bmap_in`. */
export const FUSE_BMAP_IN = { block: 0, blocksize: 8, SIZE: 16 } as const;

/** `struct fuse_ioctl_in`. */
export const FUSE_IOCTL_IN = {
  fh: 0,
  flags: 8,
  cmd: 12,
  arg: 16,
  inSize: 24,
  outSize: 28,
  SIZE: 32,
} as const;

/** `struct fuse_ioctl_out`. */
export const FUSE_IOCTL_OUT = { result: 0, flags: 4, inIovs: 8, outIovs: 12, SIZE: 16 } as const;

/** `struct fuse_poll_in`. */
export const FUSE_POLL_IN = { fh: 0, kh: 8, flags: 16, events: 20, SIZE: 24 } as const;

/** `struct fuse_poll_out`. */
export const FUSE_POLL_OUT = { revents: 0, SIZE: 8 } as const;

/** `struct fuse_fallocate_in`. */
export const FUSE_FALLOCATE_IN = { fh: 0, offset: 8, length: 16, mode: 24, SIZE: 32 } as const;

/** `struct fuse_lseek_in`. */
export const FUSE_LSEEK_IN = { fh: 0, offset: 8, whence: 16, SIZE: 24 } as const;

/** `struct fuse_lseek_out`. */
export const FUSE_LSEEK_OUT = { offset: 0, SIZE: 8 } as const;

/** `struct fuse_copy_file_range_in`. */
export const FUSE_COPY_FILE_RANGE_IN = {
  fhIn: 0,
  offIn: 8,
  nodeidOut: 16,
  fhOut: 24,
  offOut: 32,
  len: 40,
  flags: 48,
  SIZE: 56,
} as const;

/** `struct fuse_copy_file_range_out`. */
export const FUSE_COPY_FILE_RANGE_OUT = { bytesCopied: 0, SIZE: 8 } as const;

/** `struct fuse_sx_time`. */
export const FUSE_SX_TIME = { tvSec: 0, tvNsec: 8, SIZE: 16 } as const;

/** `struct fuse_statx`. */
export const FUSE_STATX = {
  mask: 0,
  blksize: 4,
  attributes: 8,
  nlink: 16,
  uid: 20,
  gid: 24,
  mode: 28,
  ino: 32,
  size: 40,
  blocks: 48,
  attributesMask: 56,
  atime: 64,
  btime: 80,
  ctime: 96,
  mtime: 112,
  rdevMajor: 128,
  rdevMinor: 132,
  devMajor: 136,
  devMinor: 140,
  SIZE: 256,
} as const;

/** `struct fuse_statx_in`; it begins as `fuse_getattr_in` does. */
export const FUSE_STATX_IN = { getattrFlags: 0, fh: 8, sxFlags: 16, sxMask: 20, SIZE: 24 } as const;

/** `struct fuse_statx_out`. */
export const FUSE_STATX_OUT = { attrValid: 0, attrValidNsec: 8, stat: 32, SIZE: 288 } as const;

/** `struct fuse_syncfs_in`. */
export const FUSE_SYNCFS_IN = { SIZE: 8 } as const;

/** `struct fuse_dirent`. */
export const FUSE_DIRENT = { ino: 0, off: 8, namelen: 16, type: 20, name: 24, SIZE: 24 } as const;

/** `struct fuse_direntplus`. */
export const FUSE_DIRENTPLUS = { entryOut: 0, dirent: 128, SIZE: 152 } as const;

/** Directory entries begin at multiples of this (`FUSE_REC_ALIGN`). */
export const FUSE_REC_ALIGN = 8;

/** Bytes of a directory entry whose head has `headBytes` and whose name has `nameBytes`. */
export function fuseRecordBytes(headBytes: number, nameBytes: number): number {
  return (headBytes + nameBytes + FUSE_REC_ALIGN - 1) & -FUSE_REC_ALIGN;
}
