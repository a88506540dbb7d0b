/**
 * Numbers of Linux that FUSE carries, whatever the host is: errors, open flags, modes, directory
 * entry types, seek and lock constants. x86-64's and arm64's differ in four open flags only
 * (O_DIRECT, O_DIRECTORY, O_NOFOLLOW, O_LARGEFILE), of which a kernel sends O_DIRECT to a server.
 *
 * @module
 */

/** Error numbers (asm-generic/errno-base.h and errno.h). */
export const LINUX_E = {
  PERM: 1,
  NOENT: 2,
  INTR: 4,
  IO: 5,
  NXIO: 6,
  BADF: 9,
  CHILD: 10,
  AGAIN: 11,
  NOMEM: 12,
  ACCES: 13,
  FAULT: 14,
  BUSY: 16,
  EXIST: 17,
  XDEV: 18,
  NODEV: 19,
  NOTDIR: 20,
  ISDIR: 21,
  INVAL: 22,
  NFILE: 23,
  MFILE: 24,
  NOTTY: 25,
  FBIG: 27,
  NOSPC: 28,
  SPIPE: 29,
  ROFS: 30,
  MLINK: 31,
  PIPE: 32,
  DOM: 33,
  RANGE: 34,
  DEADLK: 35,
  NAMETOOLONG: 36,
  NOLCK: 37,
  NOSYS: 38,
  NOTEMPTY: 39,
  LOOP: 40,
  NODATA: 61,
  PROTO: 71,
  BADMSG: 74,
  OVERFLOW: 75,
  ILSEQ: 84,
  OPNOTSUPP: 95,
  ADDRINUSE: 98,
  NETDOWN: 100,
  NETUNREACH: 101,
  CONNABORTED: 103,
  CONNRESET: 104,
  TIMEDOUT: 110,
  CONNREFUSED: 111,
  HOSTDOWN: 112,
  HOSTUNREACH: 113,
  STALE: 116,
  DQUOT: 122,
  CANCELED: 125,
} as const;

/** Open flags (asm-generic/fcntl.h; x86-64's). */
export const LINUX_O = {
  ACCMODE: 3,
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  NOCTTY: 0o400,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  NONBLOCK: 0o4000,
  DSYNC: 0o10000,
  DIRECT: 0o40000,
  LARGEFILE: 0o100000,
  DIRECTORY: 0o200000,
  NOFOLLOW: 0o400000,
  NOATIME: 0o1000000,
  CLOEXEC: 0o2000000,
  SYNC: 0o4010000,
  PATH: 0o10000000,
  TMPFILE: 0o20200000,
} as const;

/** Kinds of files in a mode. */
export const S_IF = {
  MT: 0o170000,
  SOCK: 0o140000,
  LNK: 0o120000,
  REG: 0o100000,
  BLK: 0o060000,
  DIR: 0o040000,
  CHR: 0o020000,
  IFO: 0o010000,
} as const;

/** `d_type` of a directory entry: a mode's kind, shifted. */
export function direntType(mode: number): number {
  return (mode & S_IF.MT) >> 12;
}

/** `fuse_file_lock.type`. */
export const LINUX_F = { RDLCK: 0, WRLCK: 1, UNLCK: 2 } as const;

/** `fuse_lseek_in.whence`, as the kernel sends it: DATA and HOLE only. */
export const LINUX_SEEK = { SET: 0, CUR: 1, END: 2, DATA: 3, HOLE: 4 } as const;

/** `fuse_rename2_in.flags`. */
export const RENAME = { NOREPLACE: 1, EXCHANGE: 2, WHITEOUT: 4 } as const;

/** `fuse_setxattr_in.flags`. */
export const XATTR = { CREATE: 1, REPLACE: 2 } as const;

/** A device number as FUSE carries it: the kernel's `new_encode_dev`. */
export function encodeDev(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}

/** The parts of {@link encodeDev}. */
export function devMajor(dev: number): number {
  return (dev & 0xfff00) >>> 8;
}

/** See {@link devMajor}. */
export function devMinor(dev: number): number {
  return (dev & 0xff) | ((dev >>> 12) & 0xfff00);
}
