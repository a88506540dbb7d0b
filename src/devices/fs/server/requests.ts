/**
 * Every request that a file system may be asked, in one table: how long its arguments are, which
 * names follow them, how long its answer is at least, and which method it goes to.
 *
 * @module
 */
import {
  FUSE_ACCESS_IN,
  FUSE_ATTR_OUT,
  FUSE_COPY_FILE_RANGE_IN,
  FUSE_COPY_FILE_RANGE_OUT,
  FUSE_CREATE_IN,
  FUSE_ENTRY_OUT,
  FUSE_FALLOCATE_IN,
  FUSE_FLUSH_IN,
  FUSE_FSYNC_IN,
  FUSE_GETATTR_IN,
  FUSE_GETXATTR_IN,
  FUSE_IOCTL_IN,
  FUSE_IOCTL_OUT,
  FUSE_KSTATFS,
  FUSE_LINK_IN,
  FUSE_LK_IN,
  FUSE_LK_OUT,
  FUSE_LSEEK_IN,
  FUSE_LSEEK_OUT,
  FUSE_MKDIR_IN,
  FUSE_MKNOD_IN,
  FUSE_OPCODE,
  FUSE_OPEN_IN,
  FUSE_OPEN_OUT,
  FUSE_READ_IN,
  FUSE_RELEASE_IN,
  FUSE_RENAME2_IN,
  FUSE_RENAME_IN,
  FUSE_SETATTR_IN,
  FUSE_SETXATTR_IN,
  FUSE_STATX_IN,
  FUSE_STATX_OUT,
  FUSE_SYNCFS_IN,
  FUSE_WRITE_IN,
  FUSE_WRITE_OUT,
  LINUX_E,
} from '../../../fuse/index.ts';
import { joinU64 } from '../../../memory/index.ts';
import type { FuseCall, FuseOperations } from '../operations.ts';

/** Which names follow the arguments of a request. */
export const NAMES = {
  none: 0,
  /** One name of a directory entry. */
  one: 1,
  /** One, which may be `.` or `..` as well. */
  lookup: 2,
  /** Two names of directory entries. */
  two: 3,
  /** A name and the target of a symbolic link. */
  target: 4,
  /** The name of an extended attribute. */
  xattr: 5,
  /** The same, and its value. */
  xattrValue: 6,
} as const;

/** Carries out a request. */
export type Method = (call: FuseCall) => number;

/** What is known of a request before a file system looks at it. */
export interface RequestRow {
  /** Bytes of its argument structure, at least. */
  readonly argumentBytes: number;
  /** Of {@link NAMES}. */
  readonly names: number;
  /** Bytes of its answer after the header, at least. */
  readonly answerBytes: number;
  /** Null when the file system does not have it. */
  readonly method: Method | null;
}

/** A method of the file system without its `this`; null when it has none. */
type MethodName = {
  [K in keyof FuseOperations]-?: Required<FuseOperations>[K] extends Method ? K : never;
}[keyof FuseOperations];

const ENTRY = FUSE_ENTRY_OUT.SIZE;
const ATTR = FUSE_ATTR_OUT.SIZE;
const OPEN = FUSE_OPEN_OUT.SIZE;

/** Opcode, bytes of arguments, names, bytes of the answer, method. */
type Line = readonly [number, number, number, number, MethodName];

const LINES: readonly Line[] = [
  [FUSE_OPCODE.LOOKUP, 0, NAMES.lookup, ENTRY, 'lookup'],
  [FUSE_OPCODE.GETATTR, FUSE_GETATTR_IN.SIZE, NAMES.none, ATTR, 'getattr'],
  [FUSE_OPCODE.SETATTR, FUSE_SETATTR_IN.SIZE, NAMES.none, ATTR, 'setattr'],
  [FUSE_OPCODE.READLINK, 0, NAMES.none, 0, 'readlink'],
  [FUSE_OPCODE.SYMLINK, 0, NAMES.target, ENTRY, 'symlink'],
  [FUSE_OPCODE.MKNOD, FUSE_MKNOD_IN.SIZE, NAMES.one, ENTRY, 'mknod'],
  [FUSE_OPCODE.MKDIR, FUSE_MKDIR_IN.SIZE, NAMES.one, ENTRY, 'mkdir'],
  [FUSE_OPCODE.UNLINK, 0, NAMES.one, 0, 'unlink'],
  [FUSE_OPCODE.RMDIR, 0, NAMES.one, 0, 'rmdir'],
  [FUSE_OPCODE.LINK, FUSE_LINK_IN.SIZE, NAMES.one, ENTRY, 'link'],
  [FUSE_OPCODE.OPEN, FUSE_OPEN_IN.SIZE, NAMES.none, OPEN, 'open'],
  [FUSE_OPCODE.READ, FUSE_READ_IN.SIZE, NAMES.none, 0, 'read'],
  [FUSE_OPCODE.WRITE, FUSE_WRITE_IN.SIZE, NAMES.none, FUSE_WRITE_OUT.SIZE, 'write'],
  [FUSE_OPCODE.STATFS, 0, NAMES.none, FUSE_KSTATFS.SIZE, 'statfs'],
  [FUSE_OPCODE.RELEASE, FUSE_RELEASE_IN.SIZE, NAMES.none, 0, 'release'],
  [FUSE_OPCODE.FSYNC, FUSE_FSYNC_IN.SIZE, NAMES.none, 0, 'fsync'],
  [FUSE_OPCODE.SETXATTR, FUSE_SETXATTR_IN.SIZE, NAMES.xattrValue, 0, 'setxattr'],
  [FUSE_OPCODE.GETXATTR, FUSE_GETXATTR_IN.SIZE, NAMES.xattr, 0, 'getxattr'],
  [FUSE_OPCODE.LISTXATTR, FUSE_GETXATTR_IN.SIZE, NAMES.none, 0, 'listxattr'],
  [FUSE_OPCODE.REMOVEXATTR, 0, NAMES.xattr, 0, 'removexattr'],
  [FUSE_OPCODE.FLUSH, FUSE_FLUSH_IN.SIZE, NAMES.none, 0, 'flush'],
  [FUSE_OPCODE.OPENDIR, FUSE_OPEN_IN.SIZE, NAMES.none, OPEN, 'opendir'],
  [FUSE_OPCODE.READDIR, FUSE_READ_IN.SIZE, NAMES.none, 0, 'readdir'],
  [FUSE_OPCODE.RELEASEDIR, FUSE_RELEASE_IN.SIZE, NAMES.none, 0, 'releasedir'],
  [FUSE_OPCODE.FSYNCDIR, FUSE_FSYNC_IN.SIZE, NAMES.none, 0, 'fsyncdir'],
  [FUSE_OPCODE.GETLK, FUSE_LK_IN.SIZE, NAMES.none, FUSE_LK_OUT.SIZE, 'getlk'],
  [FUSE_OPCODE.ACCESS, FUSE_ACCESS_IN.SIZE, NAMES.none, 0, 'access'],
  [FUSE_OPCODE.CREATE, FUSE_CREATE_IN.SIZE, NAMES.one, ENTRY + OPEN, 'create'],
  [FUSE_OPCODE.IOCTL, FUSE_IOCTL_IN.SIZE, NAMES.none, FUSE_IOCTL_OUT.SIZE, 'ioctl'],
  [FUSE_OPCODE.FALLOCATE, FUSE_FALLOCATE_IN.SIZE, NAMES.none, 0, 'fallocate'],
  [FUSE_OPCODE.READDIRPLUS, FUSE_READ_IN.SIZE, NAMES.none, 0, 'readdirplus'],
  [FUSE_OPCODE.LSEEK, FUSE_LSEEK_IN.SIZE, NAMES.none, FUSE_LSEEK_OUT.SIZE, 'lseek'],
  [
    FUSE_OPCODE.COPY_FILE_RANGE,
    FUSE_COPY_FILE_RANGE_IN.SIZE,
    NAMES.none,
    FUSE_WRITE_OUT.SIZE,
    'copyFileRange',
  ],
  // Below 2^32 the number of bytes is the same in either answer.
  [
    FUSE_OPCODE.COPY_FILE_RANGE_64,
    FUSE_COPY_FILE_RANGE_IN.SIZE,
    NAMES.none,
    FUSE_COPY_FILE_RANGE_OUT.SIZE,
    'copyFileRange',
  ],
  [FUSE_OPCODE.STATX, FUSE_STATX_IN.SIZE, NAMES.none, FUSE_STATX_OUT.SIZE, 'statx'],
  [FUSE_OPCODE.SYNCFS, FUSE_SYNCFS_IN.SIZE, NAMES.none, 0, 'syncfs'],
  // The kernel sends a name with it, which is "/": nobody's.
  [FUSE_OPCODE.TMPFILE, FUSE_CREATE_IN.SIZE, NAMES.none, ENTRY + OPEN, 'tmpfile'],
];

/** Opcodes from here on are unknown to this package. */
const OPCODES_END = 64;

/** The rows of a file system, by opcode; undefined for a request that does not exist. */
export function requestRows(operations: FuseOperations): readonly (RequestRow | undefined)[] {
  const rows = new Array<RequestRow | undefined>(OPCODES_END).fill(undefined);
  for (const [opcode, argumentBytes, names, answerBytes, name] of LINES) {
    const method = operations[name]?.bind(operations) ?? null;
    rows[opcode] = { argumentBytes, names, answerBytes, method };
  }
  rows[FUSE_OPCODE.RENAME] = row(FUSE_RENAME_IN.SIZE, NAMES.two, renameMethod(operations, false));
  rows[FUSE_OPCODE.RENAME2] = row(FUSE_RENAME2_IN.SIZE, NAMES.two, renameMethod(operations, true));
  rows[FUSE_OPCODE.SETLK] = row(FUSE_LK_IN.SIZE, NAMES.none, lockMethod(operations, false));
  rows[FUSE_OPCODE.SETLKW] = row(FUSE_LK_IN.SIZE, NAMES.none, lockMethod(operations, true));
  return rows;
}

function row(argumentBytes: number, names: number, method: Method | null): RequestRow {
  return { argumentBytes, names, answerBytes: 0, method };
}

function renameMethod(operations: FuseOperations, second: boolean): Method | null {
  const rename = operations.rename?.bind(operations);
  if (rename === undefined) return null;
  return (call) => {
    const { input } = call;
    const at = FUSE_RENAME2_IN.newdir;
    const newDir = joinU64(input.getUint32(at, true), input.getUint32(at + 4, true));
    if (newDir === Infinity) return -LINUX_E.INVAL;
    return rename(call, newDir, second ? input.getUint32(FUSE_RENAME2_IN.flags, true) : 0);
  };
}

function lockMethod(operations: FuseOperations, wait: boolean): Method | null {
  const setlk = operations.setlk?.bind(operations);
  return setlk === undefined ? null : (call) => setlk(call, wait);
}
