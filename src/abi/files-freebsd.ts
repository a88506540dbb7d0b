/**
 * FreeBSD's file calls, version 12 and newer (64-bit inode numbers). Sources:
 * `sys/sys/{stat,_stat,fcntl,mount,dirent,unistd,extattr,resource,types,errno}.h`.
 *
 * @module
 */
import { BSD_ERRNO } from './bsd.ts';
import type { FileAbi } from './file-types.ts';

/** The same on both architectures. */
export const FREEBSD_FILES: FileAbi = {
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
    O_DIRECT: 0x10000,
    O_DIRECTORY: 0x20000,
    O_CLOEXEC: 0x100000,
    O_PATH: 0x400000, // since 13.1
    O_DSYNC: 0x1000000,
    O_NOATIME: 0,
    O_TMPFILE: 0,
  },
  AT_FDCWD: -100,
  AT_SYMLINK_NOFOLLOW: 0x200,
  AT_SYMLINK_FOLLOW: 0x400,
  AT_REMOVEDIR: 0x800,
  AT_EMPTY_PATH: 0x4000,
  UTIME_NOW: -1,
  UTIME_OMIT: -2,
  SEEK_DATA: 3,
  SEEK_HOLE: 4,
  RLIMIT_NOFILE: 8,
  symlinkErrno: 'EMLINK',
  mknodMakesFiles: false,
  extraErrno: {
    ...BSD_ERRNO,
    EFTYPE: 79,
    ENOATTR: 87,
    ENOTCAPABLE: 93,
    ECAPMODE: 94,
    ENOTRECOVERABLE: 95,
    EOWNERDEAD: 96,
    EINTEGRITY: 97,
  },
  stat: {
    SIZE: 224,
    dev: { offset: 0, bytes: 8 },
    ino: { offset: 8, bytes: 8 },
    nlink: { offset: 16, bytes: 8 },
    mode: { offset: 24, bytes: 2 },
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
  // sys/types.h, __major and __minor
  device: {
    major: [
      { from: 8, bits: 8, to: 0 },
      { from: 40, bits: 24, to: 8 },
    ],
    minor: [
      { from: 0, bits: 8, to: 0 },
      { from: 32, bits: 8, to: 8 },
      { from: 16, bits: 16, to: 16 },
    ],
  },
  // STATFS_VERSION 0x20140518: MFSNAMELEN 16, MNAMELEN 1024
  statfs: {
    call: 'fstatfs',
    SIZE: 2344,
    bsize: { offset: 16, bytes: 8 },
    blocks: { offset: 32, bytes: 8 },
    bfree: { offset: 40, bytes: 8 },
    bavail: { offset: 48, bytes: 8 },
    files: { offset: 56, bytes: 8 },
    ffree: { offset: 64, bytes: 8 },
    namelen: { offset: 184, bytes: 4 },
    frsize: null,
  },
  dirent: {
    ino: { offset: 0, bytes: 8 },
    off: { offset: 8, bytes: 8 },
    offIsPosition: true,
    reclen: { offset: 16, bytes: 2 },
    type: { offset: 18, bytes: 1 },
    namlen: { offset: 20, bytes: 2 },
    nameOffset: 24,
  },
  flock: {
    SIZE: 32,
    start: { offset: 0, bytes: 8 },
    len: { offset: 8, bytes: 8 },
    pid: { offset: 16, bytes: 4 },
    type: { offset: 20, bytes: 2 },
    whence: { offset: 22, bytes: 2 },
    F_RDLCK: 1,
    F_UNLCK: 2,
    F_WRLCK: 3,
  },
  xattr: { kind: 'extattr', XATTR_CREATE: 0, XATTR_REPLACE: 0 },
  statx: null,
  calls: null,
};
