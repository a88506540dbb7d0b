/**
 * What no header of the compiler says, each with its public source.
 *
 * @module
 */
import { parsePrototype } from './prototypes.ts';
import type { Prototype } from './prototypes.ts';
import type { Value } from './rows.ts';
import type { Target } from './targets.ts';

/** A value and where it can be looked up. */
export interface Fact {
  readonly value: Value;
  /** Repository and path, and the name to look for. */
  readonly source: string;
}

const fact = (value: Value, source: string): Fact => ({ value, source });

const XNU_VSOCK = 'apple-oss-distributions/xnu bsd/sys/vsock.h: struct sockaddr_vm';
const XNU_DISK = 'apple-oss-distributions/xnu e6231be0 bsd/sys/disk.h';
const LINUX_NAMEI = 'torvalds/linux fs/namei.c';

/** Rows of the tables, by the path of the row. */
const FACTS: Readonly<Record<Target['os'], Readonly<Record<string, Fact>>>> = {
  linux: {
    shmNameBytesMax: fact(255, 'shm_open(3): NAME_MAX'),
    'files.symlinkErrno': fact('ELOOP', `${LINUX_NAMEI}: pick_link; open(2), O_NOFOLLOW`),
    'files.mknodMakesFiles': fact(true, `${LINUX_NAMEI}: do_mknodat, S_IFREG and S_IFSOCK`),
    'files.dirent.offIsPosition': fact(true, 'torvalds/linux fs/readdir.c: filldir64, d_off'),
    'files.dirent.namlen': fact(null, 'torvalds/linux include/linux/dirent.h: linux_dirent64'),
    'files.xattr.kind': fact('linux', 'torvalds/linux fs/xattr.c: fgetxattr, four arguments'),
  },
  darwin: {
    'files.symlinkErrno': fact('ELOOP', 'apple-oss-distributions/xnu bsd/man/man2/open.2: ELOOP'),
    'files.mknodMakesFiles': fact(
      false,
      'apple-oss-distributions/xnu bsd/vfs/vfs_syscalls.c: mknod, S_IFCHR and S_IFBLK only',
    ),
    'files.dirent.offIsPosition': fact(
      false,
      'apple-oss-distributions/xnu bsd/sys/dirent.h: d_seekoff',
    ),
    'files.statfs.namelen': fact(
      null,
      'apple-oss-distributions/xnu bsd/sys/mount.h: struct statfs64',
    ),
    'files.statfs.frsize': fact(
      null,
      'apple-oss-distributions/xnu bsd/sys/mount.h: struct statfs64',
    ),
    'files.xattr.kind': fact('darwin', 'apple-oss-distributions/xnu bsd/sys/xattr.h: fgetxattr'),
    'files.xattr.XATTR_CREATE': fact(2, 'apple-oss-distributions/xnu bsd/sys/xattr.h'),
    'files.xattr.XATTR_REPLACE': fact(4, 'apple-oss-distributions/xnu bsd/sys/xattr.h'),
    shmNameBytesMax: fact(31, 'apple-oss-distributions/xnu bsd/sys/posix_shm.h: PSHMNAMLEN'),
    'sockaddrVm.SIZE': fact(12, XNU_VSOCK),
    'sockaddrVm.port.offset': fact(4, XNU_VSOCK),
    'sockaddrVm.port.bytes': fact(4, XNU_VSOCK),
    'sockaddrVm.cid.offset': fact(8, XNU_VSOCK),
    'sockaddrVm.cid.bytes': fact(4, XNU_VSOCK),
    'optional.DKIOCGETBLOCKSIZE': fact(0x40046418, `${XNU_DISK}: _IOR('d', 24, uint32_t)`),
    'optional.DKIOCGETBLOCKCOUNT': fact(0x40086419, `${XNU_DISK}: _IOR('d', 25, uint64_t)`),
  },
  freebsd: {
    'files.symlinkErrno': fact('EMLINK', 'freebsd/freebsd-src sys/kern/vfs_vnops.c: vn_open_vnode'),
    'files.mknodMakesFiles': fact(
      false,
      'freebsd/freebsd-src sys/kern/vfs_syscalls.c: kern_mknodat',
    ),
    'files.dirent.offIsPosition': fact(true, 'freebsd/freebsd-src sys/sys/dirent.h: d_off'),
    'files.statfs.frsize': fact(null, 'freebsd/freebsd-src sys/sys/mount.h: struct statfs'),
    'files.xattr.kind': fact('extattr', 'freebsd/freebsd-src sys/sys/extattr.h: extattr_get_fd'),
    shmNameBytesMax: fact(255, 'freebsd/freebsd-src sys/kern/uipc_shm.c: MAXPATHLEN; ours is less'),
  },
  openbsd: {
    'files.symlinkErrno': fact('ELOOP', 'openbsd/src sys/kern/vfs_vnops.c: vn_open'),
    'files.mknodMakesFiles': fact(false, 'openbsd/src sys/kern/vfs_syscalls.c: domknodat'),
    'files.dirent.offIsPosition': fact(true, 'openbsd/src sys/sys/dirent.h: d_off'),
    'files.statfs.frsize': fact(null, 'openbsd/src sys/sys/mount.h: struct statfs'),
    shmNameBytesMax: fact(
      255,
      'openbsd/src lib/libc/gen/shm_open.c: the name is hashed; ours is less',
    ),
  },
};

/** Names that a host has, and that its table leaves out; each with the reason. */
const LEFT_OUT: Readonly<Record<string, string>> = {
  'freebsd optional.SOL_LOCAL': 'LOCAL_PEERPID, for which it is, is not there',
  'openbsd optional.SO_PEERCRED': 'getpeereid(3) is used; the structure is another one',
  'openbsd optional.MAP_NORESERVE': 'it is 0',
};

const XNU_XATTR = 'apple-oss-distributions/xnu bsd/sys/xattr.h';
const XATTR_ARGS = 'uintptr_t name, uintptr_t value, size_t bytes, uint32_t position, int options';

/** Functions that no header declares. */
const FUNCTIONS: Readonly<Record<string, { readonly c: string; readonly source: string }>> = {
  'darwin fdatasync': {
    c: 'int fdatasync(int fd)',
    source: 'apple-oss-distributions/xnu bsd/kern/syscalls.master: 187',
  },
  'darwin __getdirentries64': {
    c: 'int64_t __getdirentries64(int fd, uintptr_t buf, size_t bytes, uintptr_t position)',
    source: 'apple-oss-distributions/xnu tests/getdirentries64_extended.c',
  },
  'darwin fgetxattr': { c: `int64_t fgetxattr(int fd, ${XATTR_ARGS})`, source: XNU_XATTR },
  'darwin fsetxattr': { c: `int fsetxattr(int fd, ${XATTR_ARGS})`, source: XNU_XATTR },
  'darwin flistxattr': {
    c: 'int64_t flistxattr(int fd, uintptr_t list, size_t bytes, int options)',
    source: XNU_XATTR,
  },
  'darwin fremovexattr': {
    c: 'int fremovexattr(int fd, uintptr_t name, int options)',
    source: XNU_XATTR,
  },
  'darwin sandbox_init': {
    c: 'int sandbox_init(const char *profile, uint64_t flags, uintptr_t errorbuf)',
    source: 'sandbox_init(3) of macOS; chromium/chromium sandbox/mac/seatbelt.cc: Seatbelt::Init',
  },
  'darwin sandbox_free_error': {
    c: 'void sandbox_free_error(uintptr_t errorbuf)',
    source: 'sandbox_init(3) of macOS; chromium/chromium sandbox/mac/seatbelt.cc: FreeError',
  },
  'linux capget': {
    c: 'int capget(uintptr_t head, uintptr_t data)',
    source: 'torvalds/linux kernel/capability.c: SYSCALL_DEFINE2(capget)',
  },
  'linux capset': {
    c: 'int capset(uintptr_t head, uintptr_t data)',
    source: 'torvalds/linux kernel/capability.c: SYSCALL_DEFINE2(capset)',
  },
};

/** Functions that are declared by us in another way than by the headers, with the reason. */
const ACCEPTED: Readonly<Record<string, string>> = {
  'linux ioctl: argument 1 has 8 bytes, the header says 4':
    'musl takes the lower half of the register, as the kernel does',
  'linux syscall: variadic is false, the header says true':
    'all arguments are longs in registers either way on x64 and arm64; Apple has no such call',
  'linux syscall: 7 arguments, the header says 1': 'the six that it may take',
  ...Object.fromEntries(
    ['linux', 'freebsd', 'openbsd'].flatMap((os) => [
      [`${os} shm_open: variadic is true, the header says false`, 'macOS has it so; here alike'],
      [`${os} shm_open: 2 arguments, the header says 3`, 'the third is the variadic one'],
    ]),
  ),
};

/** The fact about a row of a table; undefined when there is none. */
export function factOf(target: Target, path: string): Fact | undefined {
  return FACTS[target.os][path];
}

/** Why a table leaves out what its headers have. */
export function whyLeftOut(target: Target, path: string): string | undefined {
  return LEFT_OUT[`${target.os} ${path}`];
}

/** A function that no header declares; undefined when there is no fact about it. */
export function functionFact(target: Target, name: string): Prototype | undefined {
  const found = FUNCTIONS[`${target.os} ${name}`];
  return found === undefined ? undefined : parsePrototype(found.c);
}

/** Why a difference of a prototype does no harm on a target; undefined when nothing says so. */
export function whyAccepted(target: Target, fault: string): string | undefined {
  return ACCEPTED[`${target.os} ${fault}`];
}
