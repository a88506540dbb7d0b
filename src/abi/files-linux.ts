/**
 * Linux's file calls. Sources: the kernel's `include/uapi/asm-generic/{fcntl,unistd}.h`,
 * `arch/{x86,arm64}/include/uapi/asm/{stat,fcntl}.h`, `include/uapi/linux/{stat,fs,xattr}.h`,
 * `arch/x86/entry/syscalls/syscall_64.tbl`. glibc and musl use the kernel's structures on these
 * machines.
 *
 * @module
 */
import type {
  StatfsLayout,
  FileAbi,
  LinuxCalls,
  OpenFlags,
  StatLayout,
  StatxLayout,
} from './file-types.ts';

/** arch/x86/include/uapi/asm/stat.h, `struct stat` of 64-bit programs. */
const STAT_X64: StatLayout = {
  SIZE: 144,
  dev: { offset: 0, bytes: 8 },
  ino: { offset: 8, bytes: 8 },
  nlink: { offset: 16, bytes: 8 },
  mode: { offset: 24, bytes: 4 },
  uid: { offset: 28, bytes: 4 },
  gid: { offset: 32, bytes: 4 },
  rdev: { offset: 40, bytes: 8 },
  size: { offset: 48, bytes: 8 },
  blksize: { offset: 56, bytes: 8 },
  blocks: { offset: 64, bytes: 8 },
  atimeSec: { offset: 72, bytes: 8 },
  atimeNsec: { offset: 80, bytes: 8 },
  mtimeSec: { offset: 88, bytes: 8 },
  mtimeNsec: { offset: 96, bytes: 8 },
  ctimeSec: { offset: 104, bytes: 8 },
  ctimeNsec: { offset: 112, bytes: 8 },
};

/** asm-generic/stat.h. */
const STAT_ARM64: StatLayout = {
  ...STAT_X64,
  SIZE: 128,
  mode: { offset: 16, bytes: 4 },
  nlink: { offset: 20, bytes: 4 },
  uid: { offset: 24, bytes: 4 },
  gid: { offset: 28, bytes: 4 },
  rdev: { offset: 32, bytes: 8 },
  blksize: { offset: 56, bytes: 4 },
};

/** `struct statx`, the same on every architecture. */
const STATX: StatxLayout = {
  SIZE: 256,
  mask: { offset: 0, bytes: 4 },
  blksize: { offset: 4, bytes: 4 },
  nlink: { offset: 16, bytes: 4 },
  uid: { offset: 20, bytes: 4 },
  gid: { offset: 24, bytes: 4 },
  mode: { offset: 28, bytes: 2 },
  ino: { offset: 32, bytes: 8 },
  size: { offset: 40, bytes: 8 },
  blocks: { offset: 48, bytes: 8 },
  atimeSec: { offset: 64, bytes: 8 },
  atimeNsec: { offset: 72, bytes: 4 },
  birthSec: { offset: 80, bytes: 8 },
  birthNsec: { offset: 88, bytes: 4 },
  ctimeSec: { offset: 96, bytes: 8 },
  ctimeNsec: { offset: 104, bytes: 4 },
  mtimeSec: { offset: 112, bytes: 8 },
  mtimeNsec: { offset: 120, bytes: 4 },
  rdevMajor: { offset: 128, bytes: 4 },
  rdevMinor: { offset: 132, bytes: 4 },
  devMajor: { offset: 136, bytes: 4 },
  devMinor: { offset: 140, bytes: 4 },
  mountId: { offset: 144, bytes: 8 },
  STATX_BASIC_STATS: 0x7ff,
  STATX_BTIME: 0x800,
  STATX_MNT_ID: 0x1000,
};

/** asm-generic/fcntl.h. */
const OPEN_X64: OpenFlags = {
  O_RDONLY: 0,
  O_WRONLY: 1,
  O_RDWR: 2,
  O_ACCMODE: 3,
  O_CREAT: 0o100,
  O_EXCL: 0o200,
  O_NOCTTY: 0o400,
  O_TRUNC: 0o1000,
  O_APPEND: 0o2000,
  O_NONBLOCK: 0o4000,
  O_DSYNC: 0o10000,
  O_DIRECT: 0o40000,
  O_DIRECTORY: 0o200000,
  O_NOFOLLOW: 0o400000,
  O_NOATIME: 0o1000000,
  O_CLOEXEC: 0o2000000,
  O_SYNC: 0o4010000,
  O_PATH: 0o10000000,
  O_TMPFILE: 0o20200000, // __O_TMPFILE | O_DIRECTORY
};

/** arch/arm64/include/uapi/asm/fcntl.h has its own values for these. */
const OPEN_ARM64: OpenFlags = {
  ...OPEN_X64,
  O_DIRECTORY: 0o40000,
  O_NOFOLLOW: 0o100000,
  O_DIRECT: 0o200000,
  O_TMPFILE: 0o20040000,
};

/** syscall_64.tbl and asm-generic/unistd.h; from 424 on all architectures count alike. */
const CALLS_X64: LinuxCalls = {
  SYS_fstat: 5,
  SYS_getdents64: 217,
  SYS_mknodat: 259,
  SYS_newfstatat: 262,
  SYS_renameat2: 316,
  SYS_copy_file_range: 326,
  SYS_fchmodat2: 452,
};
const CALLS_ARM64: LinuxCalls = {
  SYS_mknodat: 33,
  SYS_getdents64: 61,
  SYS_newfstatat: 79,
  SYS_fstat: 80,
  SYS_renameat2: 276,
  SYS_copy_file_range: 285,
  SYS_fchmodat2: 452,
};

/** What Linux numbers that open(2) takes mean to a guest of an architecture. */
export const LINUX_OPEN_FLAGS: { readonly x64: OpenFlags; readonly arm64: OpenFlags } = {
  x64: OPEN_X64,
  arm64: OPEN_ARM64,
};

/** `struct statfs` of asm-generic/statfs.h. */
const STATFS: StatfsLayout = {
  call: 'fstatfs',
  SIZE: 120,
  bsize: { offset: 8, bytes: 8 },
  blocks: { offset: 16, bytes: 8 },
  bfree: { offset: 24, bytes: 8 },
  bavail: { offset: 32, bytes: 8 },
  files: { offset: 40, bytes: 8 },
  ffree: { offset: 48, bytes: 8 },
  namelen: { offset: 64, bytes: 8 },
  frsize: { offset: 72, bytes: 8 },
};

/** The file calls of an architecture as `process.arch` names it: x64, else arm64. */
export function linuxFiles(arch: string): FileAbi {
  const x64 = arch === 'x64';
  return {
    open: x64 ? OPEN_X64 : OPEN_ARM64,
    AT_FDCWD: -100,
    AT_SYMLINK_NOFOLLOW: 0x100,
    AT_REMOVEDIR: 0x200,
    AT_SYMLINK_FOLLOW: 0x400,
    AT_EMPTY_PATH: 0x1000,
    UTIME_NOW: 0x3fffffff,
    UTIME_OMIT: 0x3ffffffe,
    SEEK_DATA: 3,
    SEEK_HOLE: 4,
    RLIMIT_NOFILE: 7,
    RENAME_NOREPLACE: 1,
    RENAME_EXCHANGE: 2,
    RENAME_WHITEOUT: 4,
    symlinkErrno: 'ELOOP',
    mknodMakesFiles: true,
    extraErrno: {},
    stat: x64 ? STAT_X64 : STAT_ARM64,
    // linux/kdev_t.h, new_encode_dev, and its 64-bit form in glibc's sys/sysmacros.h
    device: {
      major: [
        { from: 8, bits: 12, to: 0 },
        { from: 44, bits: 20, to: 12 },
      ],
      minor: [
        { from: 0, bits: 8, to: 0 },
        { from: 20, bits: 24, to: 8 },
      ],
    },
    statfs: STATFS,
    // include/linux/dirent.h, `struct linux_dirent64`
    dirent: {
      ino: { offset: 0, bytes: 8 },
      off: { offset: 8, bytes: 8 },
      offIsPosition: true,
      reclen: { offset: 16, bytes: 2 },
      type: { offset: 18, bytes: 1 },
      namlen: null,
      nameOffset: 19,
    },
    flock: {
      SIZE: 32,
      type: { offset: 0, bytes: 2 },
      whence: { offset: 2, bytes: 2 },
      start: { offset: 8, bytes: 8 },
      len: { offset: 16, bytes: 8 },
      pid: { offset: 24, bytes: 4 },
      F_RDLCK: 0,
      F_WRLCK: 1,
      F_UNLCK: 2,
      F_OFD_GETLK: 36,
      F_OFD_SETLK: 37,
      F_OFD_SETLKW: 38,
    },
    xattr: { kind: 'linux', XATTR_CREATE: 1, XATTR_REPLACE: 2 },
    statx: STATX,
    calls: x64 ? CALLS_X64 : CALLS_ARM64,
  };
}
