/**
 * What file calls look like from outside: structures and numbers, one table for each system.
 *
 * @module
 */
import type { Field } from './types.ts';

/** `struct stat`, as fstatat(2) and fstat(2) fill it. Times are `struct timespec`. */
export interface StatLayout {
  readonly SIZE: number;
  readonly dev: Field;
  readonly ino: Field;
  readonly mode: Field;
  readonly nlink: Field;
  readonly uid: Field;
  readonly gid: Field;
  readonly rdev: Field;
  readonly size: Field;
  readonly blocks: Field;
  readonly blksize: Field;
  readonly atimeSec: Field;
  readonly atimeNsec: Field;
  readonly mtimeSec: Field;
  readonly mtimeNsec: Field;
  readonly ctimeSec: Field;
  readonly ctimeNsec: Field;
}

/** `struct statx` (linux/stat.h) and what statx(2) is asked for. */
export interface StatxLayout extends Omit<StatLayout, 'dev' | 'rdev'> {
  readonly devMajor: Field;
  readonly devMinor: Field;
  readonly rdevMajor: Field;
  readonly rdevMinor: Field;
  readonly mask: Field;
  readonly mountId: Field;
  readonly birthSec: Field;
  readonly birthNsec: Field;
  readonly STATX_BASIC_STATS: number;
  readonly STATX_BTIME: number;
  readonly STATX_MNT_ID: number;
}

/** Some bits of a device number: `bits` of them from bit `from` of a `dev_t`, at bit `to`. */
export interface DevicePiece {
  readonly from: number;
  readonly bits: number;
  readonly to: number;
}

/** How a `dev_t` is made of a major and a minor number. */
export interface DeviceNumbers {
  readonly major: readonly DevicePiece[];
  readonly minor: readonly DevicePiece[];
}

/** `struct statfs`, as fstatfs(2) fills it, or the like of another call. */
export interface StatfsLayout {
  readonly call: 'fstatfs' | 'fstatvfs';
  readonly SIZE: number;
  readonly bsize: Field;
  readonly blocks: Field;
  readonly bfree: Field;
  readonly bavail: Field;
  readonly files: Field;
  readonly ffree: Field;
  /** Null where a name has 255 bytes on every file system, or the structure does not say. */
  readonly namelen: Field | null;
  /** Null where `bsize` is the unit of the counts. */
  readonly frsize: Field | null;
}

/** A directory entry, as getdents64(2), getdirentries(2) or getdents(2) write it. */
export interface DirentLayout {
  readonly ino: Field;
  /** Where the next entry is: what lseek(2) on the directory takes. Null: no such field. */
  readonly off: Field | null;
  /** Whether the file systems of this host fill `off` in. */
  readonly offIsPosition: boolean;
  readonly reclen: Field;
  readonly type: Field;
  /** Bytes of the name; null where the name's NUL tells. */
  readonly namlen: Field | null;
  readonly nameOffset: number;
}

/** `struct flock` and its types. */
export interface FlockLayout {
  readonly SIZE: number;
  readonly type: Field;
  readonly whence: Field;
  readonly start: Field;
  readonly len: Field;
  readonly pid: Field;
  readonly F_RDLCK: number;
  readonly F_WRLCK: number;
  readonly F_UNLCK: number;
  /** Locks of an open file description; absent where the host has none. */
  readonly F_OFD_GETLK?: number;
  readonly F_OFD_SETLK?: number;
  readonly F_OFD_SETLKW?: number;
}

/** Extended attributes. */
export interface XattrAbi {
  /** `linux`: fgetxattr of 4 arguments; `darwin`: of 6; `extattr`: FreeBSD's extattr_get_fd. */
  readonly kind: 'linux' | 'darwin' | 'extattr';
  readonly XATTR_CREATE: number;
  readonly XATTR_REPLACE: number;
}

/** Flags of open(2); 0 for one that the host has not. */
export interface OpenFlags {
  readonly O_RDONLY: number;
  readonly O_WRONLY: number;
  readonly O_RDWR: number;
  readonly O_ACCMODE: number;
  readonly O_APPEND: number;
  readonly O_CREAT: number;
  readonly O_EXCL: number;
  readonly O_TRUNC: number;
  readonly O_NOCTTY: number;
  readonly O_NONBLOCK: number;
  readonly O_DSYNC: number;
  readonly O_SYNC: number;
  readonly O_DIRECTORY: number;
  readonly O_NOFOLLOW: number;
  readonly O_CLOEXEC: number;
  readonly O_DIRECT: number;
  readonly O_NOATIME: number;
  readonly O_PATH: number;
  readonly O_TMPFILE: number;
}

/** Numbers of Linux system calls that C libraries have no function for, or had none for long. */
export interface LinuxCalls {
  readonly SYS_fstat: number;
  readonly SYS_newfstatat: number;
  readonly SYS_mknodat: number;
  readonly SYS_getdents64: number;
  readonly SYS_renameat2: number;
  readonly SYS_copy_file_range: number;
  readonly SYS_fchmodat2: number;
}

/** The file calls of one host. */
export interface FileAbi {
  readonly open: OpenFlags;
  readonly AT_FDCWD: number;
  readonly AT_SYMLINK_NOFOLLOW: number;
  readonly AT_SYMLINK_FOLLOW: number;
  readonly AT_REMOVEDIR: number;
  readonly AT_EMPTY_PATH?: number;
  readonly UTIME_NOW: number;
  readonly UTIME_OMIT: number;
  readonly SEEK_DATA?: number;
  readonly SEEK_HOLE?: number;
  readonly RLIMIT_NOFILE: number;
  /** Flags of renameat2(2) or renameatx_np(2). */
  readonly RENAME_NOREPLACE?: number;
  readonly RENAME_EXCHANGE?: number;
  readonly RENAME_WHITEOUT?: number;
  /** What open(2) with O_NOFOLLOW says of a symbolic link. */
  readonly symlinkErrno: 'ELOOP' | 'EMLINK' | 'EFTYPE';
  /** Whether mknodat(2) makes regular files and sockets. */
  readonly mknodMakesFiles: boolean;
  /** "No such attribute", where it is not ENODATA, and other numbers that Node has no name for. */
  readonly extraErrno: Readonly<Record<string, number>>;
  readonly F_PREALLOCATE?: number;
  readonly _PC_CASE_SENSITIVE?: number;
  readonly stat: StatLayout;
  readonly device: DeviceNumbers;
  readonly statfs: StatfsLayout;
  readonly dirent: DirentLayout;
  readonly flock: FlockLayout;
  readonly xattr: XattrAbi | null;
  readonly statx: StatxLayout | null;
  readonly calls: LinuxCalls | null;
}
