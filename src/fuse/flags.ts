/**
 * The flags of the FUSE protocol, spelt as `linux/fuse.h` spells them.
 *
 * @module
 */

/** The protocol's major version. */
export const FUSE_MAJOR = 7;
/** The minor version that this package speaks at most. */
export const FUSE_MINOR = 45;
/** The oldest that virtio-fs may speak (virtio 1.3, section 5.11.5.1). */
export const FUSE_MINOR_MIN = 27;

/** The node of a file system's root. */
export const FUSE_ROOT_ID = 1;

/** `fuse_init_in.flags` and `fuse_init_out.flags`: bits 0 to 31. */
export const FUSE_INIT = {
  ASYNC_READ: 0x1,
  POSIX_LOCKS: 0x2,
  ATOMIC_O_TRUNC: 0x8,
  EXPORT_SUPPORT: 0x10,
  BIG_WRITES: 0x20,
  DONT_MASK: 0x40,
  FLOCK_LOCKS: 0x400,
  AUTO_INVAL_DATA: 0x1000,
  DO_READDIRPLUS: 0x2000,
  READDIRPLUS_AUTO: 0x4000,
  ASYNC_DIO: 0x8000,
  WRITEBACK_CACHE: 0x10000,
  NO_OPEN_SUPPORT: 0x20000,
  PARALLEL_DIROPS: 0x40000,
  HANDLE_KILLPRIV: 0x80000,
  POSIX_ACL: 0x100000,
  ABORT_ERROR: 0x200000,
  MAX_PAGES: 0x400000,
  CACHE_SYMLINKS: 0x800000,
  NO_OPENDIR_SUPPORT: 0x1000000,
  EXPLICIT_INVAL_DATA: 0x2000000,
  MAP_ALIGNMENT: 0x4000000,
  SUBMOUNTS: 0x8000000,
  HANDLE_KILLPRIV_V2: 0x10000000,
  SETXATTR_EXT: 0x20000000,
  INIT_EXT: 0x40000000,
} as const;

/** `flags2`: bits 32 to 63 of the same, counted from 0 here. */
export const FUSE_INIT2 = {
  SECURITY_CTX: 0x1,
  HAS_INODE_DAX: 0x2,
  CREATE_SUPP_GROUP: 0x4,
  HAS_EXPIRE_ONLY: 0x8,
  DIRECT_IO_ALLOW_MMAP: 0x10,
  PASSTHROUGH: 0x20,
  NO_EXPORT_SUPPORT: 0x40,
  HAS_RESEND: 0x80,
  ALLOW_IDMAP: 0x100,
  OVER_IO_URING: 0x200,
  REQUEST_TIMEOUT: 0x400,
} as const;

/** `fuse_statx.mask`, as statx(2) has it: everything that stat(2) tells, and when it was made. */
export const FUSE_STATX_MASK = { BASIC_STATS: 0x7ff, BTIME: 0x800 } as const;

/** `fuse_setattr_in.valid`. */
export const FATTR = {
  MODE: 0x1,
  UID: 0x2,
  GID: 0x4,
  SIZE: 0x8,
  ATIME: 0x10,
  MTIME: 0x20,
  FH: 0x40,
  ATIME_NOW: 0x80,
  MTIME_NOW: 0x100,
  LOCKOWNER: 0x200,
  CTIME: 0x400,
  KILL_SUIDGID: 0x800,
} as const;

/** `fuse_open_out.open_flags`. */
export const FOPEN = {
  DIRECT_IO: 0x1,
  KEEP_CACHE: 0x2,
  NONSEEKABLE: 0x4,
  CACHE_DIR: 0x8,
  STREAM: 0x10,
  NOFLUSH: 0x20,
  PARALLEL_DIRECT_WRITES: 0x40,
  PASSTHROUGH: 0x80,
} as const;

/** `fuse_getattr_in.getattr_flags`: `fh` is valid. */
export const FUSE_GETATTR_FH = 0x1;
/** `fuse_release_in.release_flags`: flush, too. */
export const FUSE_RELEASE_FLUSH = 0x1;
/** `fuse_release_in.release_flags`: give up the flock of `lock_owner`. */
export const FUSE_RELEASE_FLOCK_UNLOCK = 0x2;
/** `fuse_lk_in.lk_flags`: an flock, and no POSIX lock. */
export const FUSE_LK_FLOCK = 0x1;
/** `fuse_write_in.write_flags`: out of the page cache; the handle is a guess. */
export const FUSE_WRITE_CACHE = 0x1;
/** `fuse_write_in.write_flags`: `lock_owner` is valid. */
export const FUSE_WRITE_LOCKOWNER = 0x2;
/** `fuse_write_in.write_flags`: take setuid and setgid away. */
export const FUSE_WRITE_KILL_SUIDGID = 0x4;
/** `fuse_fsync_in.fsync_flags`: data only. */
export const FUSE_FSYNC_FDATASYNC = 0x1;
/** `fuse_attr.flags`: the root of another file system. */
export const FUSE_ATTR_SUBMOUNT = 0x1;
/** `fuse_open_in.open_flags`: take setuid and setgid away when it is truncated. */
export const FUSE_OPEN_KILL_SUIDGID = 0x1;
/** `fuse_setxattr_in.setxattr_flags`: take setgid away with a new ACL. */
export const FUSE_SETXATTR_ACL_KILL_SGID = 0x1;

/** The page that `max_pages` of INIT counts in: the guest's, which is 4 KiB at least. */
export const FUSE_PAGE_BYTES = 4096;
/** The most pages of one request that a kernel takes. */
export const FUSE_MAX_PAGES_LIMIT = 256;
/** The longest name, without its NUL (`FUSE_NAME_MAX` is 1024; file systems have 255). */
export const NAME_BYTES_MAX = 255;
