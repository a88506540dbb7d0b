/**
 * Errors of a file system as Node has them: a `code` such as `ENOENT`, from Linux's number, which
 * is what FUSE carries whatever the hosts are.
 *
 * @module
 */

/** Linux's errors (asm-generic/errno-base.h, errno.h) with what people call them. */
const ERRORS: readonly (readonly [number, string, string])[] = [
  [1, 'EPERM', 'operation not permitted'],
  [2, 'ENOENT', 'no such file or directory'],
  [3, 'ESRCH', 'no such process'],
  [4, 'EINTR', 'interrupted'],
  [5, 'EIO', 'i/o error'],
  [6, 'ENXIO', 'no such device or address'],
  [7, 'E2BIG', 'argument list too long'],
  [9, 'EBADF', 'bad file descriptor'],
  [11, 'EAGAIN', 'resource temporarily unavailable'],
  [12, 'ENOMEM', 'not enough memory'],
  [13, 'EACCES', 'permission denied'],
  [14, 'EFAULT', 'bad address'],
  [16, 'EBUSY', 'resource busy or locked'],
  [17, 'EEXIST', 'file already exists'],
  [18, 'EXDEV', 'cross-device link not permitted'],
  [19, 'ENODEV', 'no such device'],
  [20, 'ENOTDIR', 'not a directory'],
  [21, 'EISDIR', 'illegal operation on a directory'],
  [22, 'EINVAL', 'invalid argument'],
  [23, 'ENFILE', 'file table overflow'],
  [24, 'EMFILE', 'too many open files'],
  [25, 'ENOTTY', 'inappropriate ioctl for device'],
  [26, 'ETXTBSY', 'text file is busy'],
  [27, 'EFBIG', 'file too large'],
  [28, 'ENOSPC', 'no space left on device'],
  [29, 'ESPIPE', 'invalid seek'],
  [30, 'EROFS', 'read-only file system'],
  [31, 'EMLINK', 'too many links'],
  [32, 'EPIPE', 'broken pipe'],
  [33, 'EDOM', 'argument out of domain'],
  [34, 'ERANGE', 'result too large'],
  [35, 'EDEADLK', 'resource deadlock avoided'],
  [36, 'ENAMETOOLONG', 'name too long'],
  [37, 'ENOLCK', 'no locks available'],
  [38, 'ENOSYS', 'function not implemented'],
  [39, 'ENOTEMPTY', 'directory not empty'],
  [40, 'ELOOP', 'too many symbolic links encountered'],
  [61, 'ENODATA', 'no data available'],
  [62, 'ETIME', 'timer expired'],
  [71, 'EPROTO', 'protocol error'],
  [75, 'EOVERFLOW', 'value too large for defined data type'],
  [84, 'EILSEQ', 'illegal byte sequence'],
  [95, 'EOPNOTSUPP', 'operation not supported'],
  [103, 'ECONNABORTED', 'software caused connection abort'],
  [107, 'ENOTCONN', 'not connected'],
  [110, 'ETIMEDOUT', 'connection timed out'],
  [116, 'ESTALE', 'stale file handle'],
  [117, 'EUCLEAN', 'structure needs cleaning'],
  [122, 'EDQUOT', 'disk quota exceeded'],
  [125, 'ECANCELED', 'operation canceled'],
];

const BY_NUMBER = new Map(ERRORS.map(([number, name, text]) => [number, { name, text }]));
const BY_NAME = new Map(ERRORS.map(([number, name]) => [name, number]));

/** The name of an error of Linux: `ENOENT` for 2. */
export function linuxErrorName(errno: number): string {
  return BY_NUMBER.get(errno)?.name ?? `E${String(errno)}`;
}

/** `ENOENT: no such file or directory` for 2. */
export function errnoText(errno: number): string {
  const text = BY_NUMBER.get(errno)?.text ?? 'unknown error';
  return `${linuxErrorName(errno)}: ${text}`;
}

/** What an {@link FsError} is about. */
export interface FsErrorSubject {
  /** What was called, as Node names it: `open`, `mkdir`. */
  readonly syscall: string;
  readonly path?: string | undefined;
  /** The second path: of a rename, a link or a copy. */
  readonly dest?: string | undefined;
}

/**
 * A file system said no. Like the errors of `node:fs`: match on `code`; `errno` is Linux's number,
 * negative, on every host.
 */
export class FsError extends Error {
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;
  readonly path: string | undefined;
  readonly dest: string | undefined;

  /** @param errno Linux's number, or the name of an error. */
  constructor(errno: number | string, subject: FsErrorSubject) {
    const number = typeof errno === 'number' ? errno : (BY_NAME.get(errno) ?? 0);
    const { syscall, path, dest } = subject;
    const where = path === undefined ? '' : ` '${path}'`;
    const to = dest === undefined ? '' : ` -> '${dest}'`;
    super(`${errnoText(number)}, ${syscall}${where}${to}`);
    this.name = 'FsError';
    this.code = linuxErrorName(number);
    this.errno = -number;
    this.syscall = syscall;
    this.path = path;
    this.dest = dest;
  }
}
