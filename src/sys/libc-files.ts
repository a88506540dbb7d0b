/**
 * The C functions for files by name, directories, attributes and locks. Functions that a host may
 * lack are null there. For addresses and sizes the same holds as in `libc.ts`.
 *
 * @module
 */
import { abi } from './host.ts';
import { find, firstOf, need, syscall6, variadic } from './libc.ts';
import type { NumberFunction } from './libc.ts';

const { calls } = abi.files;

/** A system call by its number, for a C library without a function for it; null without number. */
function numbered(number: number | undefined): NumberFunction | null {
  const call = syscall6;
  if (number === undefined || call === null) return null;
  return (a = 0, b = 0, c = 0, d = 0, e = 0, f = 0) => call(number, a, b, c, d, e, f);
}

/** The function of that name, or else the system call. */
function either(prototype: string, number: number | undefined): NumberFunction | null {
  return find(prototype) ?? numbered(number);
}

/** One of the two, on every host that we have a table for. */
function certain(name: string, one: NumberFunction | null): NumberFunction {
  return one ?? need(`int ${name}()`); // which throws, and names it
}

/** Whether this host has a function under another name than its own. */
function hasSymbol(name: string): boolean {
  return abi.symbols?.[name] !== undefined;
}

// macOS on x64 has two of each of these; `$INODE64` are the ones for 64-bit inode numbers.
// glibc before 2.33 has none of them.
const FSTATAT_ARGS = ['int', 'uintptr_t', 'uintptr_t', 'int'];

export const fstatat: NumberFunction = certain(
  'fstatat',
  firstOf(['fstatat$INODE64', 'fstatat'], 'int', FSTATAT_ARGS) ?? numbered(calls?.SYS_newfstatat),
);
export const fstat: NumberFunction = certain(
  'fstat',
  hasSymbol('fstat')
    ? find('int fstat(int fd, uintptr_t buf)')
    : (firstOf(['fstat$INODE64', 'fstat'], 'int', ['int', 'uintptr_t']) ??
        numbered(calls?.SYS_fstat)),
);
/** NetBSD has statvfs in its place. */
export const fstatfs: NumberFunction = certain(
  'fstatfs',
  abi.files.statfs.call === 'fstatvfs'
    ? find('int fstatvfs(int fd, uintptr_t buf)')
    : firstOf(['fstatfs$INODE64', 'fstatfs'], 'int', ['int', 'uintptr_t']),
);
export const statx: NumberFunction | null = find(
  'int statx(int dirfd, uintptr_t path, int flags, unsigned int mask, uintptr_t buf)',
);
/** `mode_t` is promoted to int, as a variadic argument is. */
export const openat: (type: string, ...args: (number | string)[]) => number = variadic(
  'int openat(int dirfd, uintptr_t path, int flags, ...)',
);

export const mkdirat: NumberFunction = need(
  'int mkdirat(int dirfd, uintptr_t path, uint32_t mode)',
);
/** macOS has had it since version 13. */
export const mknodat: NumberFunction | null =
  abi.files.stat.dev.bytes === 8
    ? either(
        'int mknodat(int dirfd, uintptr_t path, uint32_t mode, uint64_t dev)',
        calls?.SYS_mknodat,
      )
    : find('int mknodat(int dirfd, uintptr_t path, uint32_t mode, uint32_t dev)');
export const mkfifoat: NumberFunction | null = find(
  'int mkfifoat(int dirfd, uintptr_t path, uint32_t mode)',
);
export const unlinkat: NumberFunction = need('int unlinkat(int dirfd, uintptr_t path, int flags)');
export const renameat: NumberFunction = need(
  'int renameat(int olddir, uintptr_t oldpath, int newdir, uintptr_t newpath)',
);
export const renameat2: NumberFunction | null = either(
  'int renameat2(int olddir, uintptr_t oldpath, int newdir, uintptr_t newpath, uint32_t flags)',
  calls?.SYS_renameat2,
);
export const renameatxNp: NumberFunction | null = find(
  'int renameatx_np(int olddir, uintptr_t oldpath, int newdir, uintptr_t newpath, uint32_t flags)',
);
export const symlinkat: NumberFunction = need(
  'int symlinkat(uintptr_t target, int dirfd, uintptr_t path)',
);
export const readlinkat: NumberFunction = need(
  'int64_t readlinkat(int dirfd, uintptr_t path, uintptr_t buf, size_t bytes)',
);
export const linkat: NumberFunction = need(
  'int linkat(int olddir, uintptr_t oldpath, int newdir, uintptr_t newpath, int flags)',
);
export const fchmodat: NumberFunction = need(
  'int fchmodat(int dirfd, uintptr_t path, uint32_t mode, int flags)',
);
export const fchmodat2: NumberFunction | null = numbered(calls?.SYS_fchmodat2);
export const fchmod: NumberFunction = need('int fchmod(int fd, uint32_t mode)');
export const chmod: NumberFunction = need('int chmod(uintptr_t path, uint32_t mode)');
export const fchownat: NumberFunction = need(
  'int fchownat(int dirfd, uintptr_t path, uint32_t uid, uint32_t gid, int flags)',
);
export const fchown: NumberFunction = need('int fchown(int fd, uint32_t uid, uint32_t gid)');
export const utimensat: NumberFunction = need(
  'int utimensat(int dirfd, uintptr_t path, uintptr_t times, int flags)',
);
export const futimens: NumberFunction = need('int futimens(int fd, uintptr_t times)');
export const lseek: NumberFunction = need('int64_t lseek(int fd, int64_t offset, int whence)');
export const posixFallocate: NumberFunction | null = find(
  'int posix_fallocate(int fd, int64_t offset, int64_t length)',
);
export const copyFileRange: NumberFunction | null = either(
  'int64_t copy_file_range(int in, uintptr_t inOff, int out, uintptr_t outOff, size_t bytes, ' +
    'uint32_t flags)',
  calls?.SYS_copy_file_range,
);
export const syncfs: NumberFunction | null = find('int syncfs(int fd)');

/** Linux; the C library's name is younger than the call. */
export const getdents64: NumberFunction | null = either(
  'int64_t getdents64(int fd, uintptr_t buf, size_t bytes)',
  calls?.SYS_getdents64,
);
const { dirent } = abi.files;
/**
 * OpenBSD and NetBSD; FreeBSD, where the result is an `ssize_t`. (musl has one too, which is the
 * former.)
 */
export const getdents: NumberFunction | null = find(
  `${dirent.namlen?.bytes === 2 && dirent.off !== null ? 'int64_t' : 'int'} ` +
    'getdents(int fd, uintptr_t buf, size_t bytes)',
);
/** FreeBSD, and macOS under a name of its own. */
export const getdirentries: NumberFunction | null = firstOf(
  ['__getdirentries64', 'getdirentries'],
  'int64_t',
  ['int', 'uintptr_t', 'size_t', 'uintptr_t'],
);

/** The fifth and sixth argument are macOS's: position and options. */
const darwinXattr = abi.files.xattr?.kind === 'darwin';
const EXTRA = darwinXattr ? ', uint32_t position, int options' : '';
export const fgetxattr: NumberFunction | null = find(
  `int64_t fgetxattr(int fd, uintptr_t name, uintptr_t value, size_t bytes${EXTRA})`,
);
export const fsetxattr: NumberFunction | null = find(
  'int fsetxattr(int fd, uintptr_t name, uintptr_t value, size_t bytes' +
    `${darwinXattr ? EXTRA : ', int flags'})`,
);
export const flistxattr: NumberFunction | null = find(
  `int64_t flistxattr(int fd, uintptr_t list, size_t bytes${darwinXattr ? ', int options' : ''})`,
);
export const fremovexattr: NumberFunction | null = find(
  `int fremovexattr(int fd, uintptr_t name${darwinXattr ? ', int options' : ''})`,
);
/** By path: Linux only, for fds that are no more than places. macOS's take two arguments more. */
function linuxOnly(prototype: string): NumberFunction | null {
  return abi.files.xattr?.kind === 'linux' ? find(prototype) : null;
}
export const getxattr: NumberFunction | null = linuxOnly(
  'int64_t getxattr(uintptr_t path, uintptr_t name, uintptr_t value, size_t bytes)',
);
export const setxattr: NumberFunction | null = linuxOnly(
  'int setxattr(uintptr_t path, uintptr_t name, uintptr_t value, size_t bytes, int flags)',
);
export const listxattr: NumberFunction | null = linuxOnly(
  'int64_t listxattr(uintptr_t path, uintptr_t list, size_t bytes)',
);
export const removexattr: NumberFunction | null = linuxOnly(
  'int removexattr(uintptr_t path, uintptr_t name)',
);
/** FreeBSD. NetBSD's extattr_set_fd returns an int, and is not used. */
function freebsdOnly(prototype: string): NumberFunction | null {
  return abi.files.xattr?.kind === 'extattr' ? find(prototype) : null;
}
export const extattrGetFd: NumberFunction | null = freebsdOnly(
  'int64_t extattr_get_fd(int fd, int space, uintptr_t name, uintptr_t value, size_t bytes)',
);
export const extattrSetFd: NumberFunction | null = freebsdOnly(
  'int64_t extattr_set_fd(int fd, int space, uintptr_t name, uintptr_t value, size_t bytes)',
);
export const extattrListFd: NumberFunction | null = freebsdOnly(
  'int64_t extattr_list_fd(int fd, int space, uintptr_t list, size_t bytes)',
);
export const extattrDeleteFd: NumberFunction | null = freebsdOnly(
  'int extattr_delete_fd(int fd, int space, uintptr_t name)',
);

export const setfsuid: NumberFunction | null = find('int setfsuid(uint32_t uid)');
export const setfsgid: NumberFunction | null = find('int setfsgid(uint32_t gid)');
export const capget: NumberFunction | null = find('int capget(uintptr_t head, uintptr_t data)');
export const capset: NumberFunction | null = find('int capset(uintptr_t head, uintptr_t data)');
export const geteuid: NumberFunction = need('uint32_t geteuid()');
export const getegid: NumberFunction = need('uint32_t getegid()');
/** `mode_t` has 16 bits on macOS and FreeBSD, and what is above them in a result is undefined. */
export const umask: NumberFunction = need(
  abi.files.stat.mode.bytes === 2
    ? 'uint16_t umask(uint32_t mask)'
    : 'uint32_t umask(uint32_t mask)',
);
export const unshare: NumberFunction | null = find('int unshare(int flags)');
export const getrlimit: NumberFunction = need('int getrlimit(int resource, uintptr_t limit)');
export const setrlimit: NumberFunction = need('int setrlimit(int resource, uintptr_t limit)');
export const fpathconf: NumberFunction = need('long fpathconf(int fd, int name)');
export const memcpy: NumberFunction = need(
  'uintptr_t memcpy(uintptr_t to, uintptr_t from, size_t bytes)',
);
export const strncmp: NumberFunction = need('int strncmp(uintptr_t a, uintptr_t b, size_t bytes)');
