/**
 * macOS's file calls, with 64-bit inode numbers. Sources: xnu's
 * `bsd/sys/{stat,fcntl,mount,dirent,unistd,xattr,resource,types,errno}.h`.
 *
 * @module
 */
import { BSD_ERRNO } from './bsd.ts';
import type { FileAbi } from './file-types.ts';

/** The same on both architectures. */
export const DARWIN_FILES: FileAbi = {
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
    O_NOCTTY: 0x20000,
    O_DIRECTORY: 0x100000,
    O_DSYNC: 0x400000,
    O_CLOEXEC: 0x1000000,
    O_DIRECT: 0,
    O_NOATIME: 0,
    O_PATH: 0,
    O_TMPFILE: 0,
  },
  AT_FDCWD: -2,
  AT_SYMLINK_NOFOLLOW: 0x20,
  AT_SYMLINK_FOLLOW: 0x40,
  AT_REMOVEDIR: 0x80,
  UTIME_NOW: -1,
  UTIME_OMIT: -2,
  SEEK_HOLE: 3, // the other way round than everywhere else
  SEEK_DATA: 4,
  RLIMIT_NOFILE: 8,
  RENAME_NOREPLACE: 4, // RENAME_EXCL
  RENAME_EXCHANGE: 2, // RENAME_SWAP
  symlinkErrno: 'ELOOP',
  mknodMakesFiles: false,
  extraErrno: {
    ...BSD_ERRNO,
    EFTYPE: 79,
    ENOATTR: 93,
    ENOTRECOVERABLE: 104,
    EOWNERDEAD: 105,
    EQFULL: 106,
    ENOTCAPABLE: 107,
  },
  F_PREALLOCATE: 42,
  _PC_CASE_SENSITIVE: 11,
  stat: {
    SIZE: 144,
    dev: { offset: 0, bytes: 4 },
    mode: { offset: 4, bytes: 2 },
    nlink: { offset: 6, bytes: 2 },
    ino: { offset: 8, bytes: 8 },
    uid: { offset: 16, bytes: 4 },
    gid: { offset: 20, bytes: 4 },
    rdev: { offset: 24, bytes: 4 },
    atimeSec: { offset: 32, bytes: 8 },
    atimeNsec: { offset: 40, bytes: 8 },
    mtimeSec: { offset: 48, bytes: 8 },
    mtimeNsec: { offset: 56, bytes: 8 },
    ctimeSec: { offset: 64, bytes: 8 },
    ctimeNsec: { offset: 72, bytes: 8 },
    size: { offset: 96, bytes: 8 },
    blocks: { offset: 104, bytes: 8 },
    blksize: { offset: 112, bytes: 4 },
  },
  device: { major: [{ from: 24, bits: 8, to: 0 }], minor: [{ from: 0, bits: 24, to: 0 }] },
  // `struct statfs64`: MFSTYPENAMELEN 16, MAXPATHLEN 1024 twice
  statfs: {
    call: 'fstatfs',
    SIZE: 2168,
    bsize: { offset: 0, bytes: 4 },
    blocks: { offset: 8, bytes: 8 },
    bfree: { offset: 16, bytes: 8 },
    bavail: { offset: 24, bytes: 8 },
    files: { offset: 32, bytes: 8 },
    ffree: { offset: 40, bytes: 8 },
    namelen: null,
    frsize: null,
  },
  dirent: {
    ino: { offset: 0, bytes: 8 },
    off: { offset: 8, bytes: 8 }, // d_seekoff
    offIsPosition: false,
    reclen: { offset: 16, bytes: 2 },
    namlen: { offset: 18, bytes: 2 },
    type: { offset: 20, bytes: 1 },
    nameOffset: 21,
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
    F_OFD_SETLK: 90,
    F_OFD_SETLKW: 91,
    F_OFD_GETLK: 92,
  },
  xattr: { kind: 'darwin', XATTR_CREATE: 2, XATTR_REPLACE: 4 },
  statx: null,
  calls: null,
};
