/**
 * NetBSD's file calls, version 10 and newer. Sources:
 * `sys/sys/{stat,fcntl,statvfs,dirent,xattr,unistd,resource,types,errno}.h`.
 *
 * @module
 */
import { BSD_ERRNO } from './bsd.ts';
import type { FileAbi } from './file-types.ts';

/** The same on both architectures. */
export const NETBSD_FILES: FileAbi = {
  open: {
    O_RDONLY: 0,
    O_WRONLY: 1,
    O_RDWR: 2,
    O_ACCMODE: 3,
    O_NONBLOCK: 4,
    O_APPEND: 8,
    O_SYNC: 0x80,
    O_NOFOLLOW: 0x100,
    O_CREAT: 0x200,
    O_TRUNC: 0x400,
    O_EXCL: 0x800,
    O_NOCTTY: 0x8000,
    O_DSYNC: 0x10000,
    O_DIRECT: 0x80000,
    O_DIRECTORY: 0x200000,
    O_CLOEXEC: 0x400000,
    O_NOATIME: 0,
    O_PATH: 0,
    O_TMPFILE: 0,
  },
  AT_FDCWD: -100,
  AT_SYMLINK_NOFOLLOW: 0x200,
  AT_SYMLINK_FOLLOW: 0x400,
  AT_REMOVEDIR: 0x800,
  UTIME_NOW: 0x3fff_ffff,
  UTIME_OMIT: 0x3fff_fffe,
  RLIMIT_NOFILE: 8,
  symlinkErrno: 'EFTYPE',
  mknodMakesFiles: false, // regular files only, and only for root
  extraErrno: {
    ...BSD_ERRNO,
    EFTYPE: 79,
    ENOATTR: 93,
    EOWNERDEAD: 97,
    ENOTRECOVERABLE: 98,
  },
  stat: {
    SIZE: 152,
    dev: { offset: 0, bytes: 8 },
    mode: { offset: 8, bytes: 4 },
    ino: { offset: 16, bytes: 8 },
    nlink: { offset: 24, bytes: 4 },
    uid: { offset: 28, bytes: 4 },
    gid: { offset: 32, bytes: 4 },
    rdev: { offset: 40, bytes: 8 },
    atimeSec: { offset: 48, bytes: 8 },
    atimeNsec: { offset: 56, bytes: 8 },
    mtimeSec: { offset: 64, bytes: 8 },
    mtimeNsec: { offset: 72, bytes: 8 },
    ctimeSec: { offset: 80, bytes: 8 },
    ctimeNsec: { offset: 88, bytes: 8 },
    size: { offset: 112, bytes: 8 },
    blocks: { offset: 120, bytes: 8 },
    blksize: { offset: 128, bytes: 4 },
  },
  // sys/types.h, major and minor: of the lower 32 bits
  device: {
    major: [{ from: 8, bits: 12, to: 0 }],
    minor: [
      { from: 0, bits: 8, to: 0 },
      { from: 20, bits: 12, to: 8 },
    ],
  },
  // statfs(2) is there for old programs only
  statfs: {
    call: 'fstatvfs',
    SIZE: 3296,
    bsize: { offset: 8, bytes: 8 },
    frsize: { offset: 16, bytes: 8 },
    blocks: { offset: 32, bytes: 8 },
    bfree: { offset: 40, bytes: 8 },
    bavail: { offset: 48, bytes: 8 },
    files: { offset: 64, bytes: 8 },
    ffree: { offset: 72, bytes: 8 },
    namelen: { offset: 144, bytes: 8 },
  },
  dirent: {
    ino: { offset: 0, bytes: 8 },
    off: null,
    offIsPosition: false,
    reclen: { offset: 8, bytes: 2 },
    namlen: { offset: 10, bytes: 2 },
    type: { offset: 12, bytes: 1 },
    nameOffset: 13,
  },
  flock: {
    SIZE: 24,
    start: { offset: 0, bytes: 8 },
    len: { offset: 8, bytes: 8 },
    pid: { offset: 16, bytes: 4 },
    type: { offset: 20, bytes: 2 },
    whence: { offset: 22, bytes: 2 },
    F_RDLCK: 1,
    F_UNLCK: 2,
    F_WRLCK: 3,
  },
  xattr: { kind: 'linux', XATTR_CREATE: 1, XATTR_REPLACE: 2 },
  statx: null,
  calls: null,
};
