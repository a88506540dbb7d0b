/**
 * What no header of the compiler says, each with its public source.
 *
 * @module
 */
import { parsePrototype } from './prototypes.ts';
import type { Prototype } from './prototypes.ts';
import type { Value } from './rows.ts';
import type { Target } from './targets.ts';
import { ZIG_VERSION } from '../../peers/zig.ts';

/** A value and where it can be looked up. */
export interface Fact {
  readonly value: Value;
  /** See {@link isSource}. */
  readonly source: string;
}

/**
 * Whether a text names a public source: `owner/name REVISION path: what to look for`, the revision
 * a commit or a release; or a section of an RFC, which never changes.
 */
export function isSource(text: string): boolean {
  const revision = String.raw`(?:[0-9a-f]{8,40}|v?\d+\.\d+\.\d+|xnu-\d+(?:\.\d+)+)`;
  const file = new RegExp(String.raw`^[\w.-]+/[\w.-]+ ${revision} [\w./-]+\w: \S.*$`);
  return file.test(text) || /^RFC \d+ section \d+(\.\d+)*: \S.*$/.test(text);
}

const fact = (value: Value, source: string): Fact => ({ value, source });

/** One release of macOS's kernel for all of its facts. */
const XNU = 'apple-oss-distributions/xnu xnu-11417.101.15';
const XNU_VSOCK = `${XNU} bsd/sys/vsock.h: struct sockaddr_vm`;
const XNU_DISK = `${XNU} bsd/sys/disk.h`;
const XNU_STATFS = `${XNU} bsd/sys/mount.h: struct statfs64 has no such field`;
/** Headers that the compiler brings, where they say in words or by what is not there. */
const ZIG = `ziglang/zig ${ZIG_VERSION} lib/libc/include`;
const FREEBSD = `${ZIG}/generic-freebsd/sys`;
const OPENBSD = `${ZIG}/generic-openbsd/sys`;
const NETBSD = `${ZIG}/generic-netbsd/sys`;
const NETBSD_SRC = 'NetBSD/src';
/** A copy of it with work on Linux's system calls, which brought the newer kevent. */
const NETBSD_KEVENT = '6167656e74323431/gsoc-netbsd-linux-emulation 0818d2097d1a';
const UV = 'libuv/libuv 6179e7af8741 include/uv.h';
const LINUX_NAMEI = 'torvalds/linux 8bb1f229527d fs/namei.c';
const LINUX_READDIR = 'torvalds/linux 022a1692444c fs/readdir.c';

/** Rows of the tables, by the path of the row. */
const FACTS: Readonly<Record<Target['os'], Readonly<Record<string, Fact>>>> = {
  linux: {
    shmNameBytesMax: fact(255, `${ZIG}/any-linux-any/linux/limits.h: NAME_MAX, a file of /dev/shm`),
    'files.symlinkErrno': fact('ELOOP', `${LINUX_NAMEI}: path_openat, a trailing symlink`),
    'files.mknodMakesFiles': fact(true, `${LINUX_NAMEI}: may_mknod, S_IFREG and S_IFSOCK`),
    'files.dirent.offIsPosition': fact(true, `${LINUX_READDIR}: filldir64, d_off of the previous`),
    'files.statfs.call': fact('fstatfs', `${ZIG}/generic-musl/sys/statfs.h: fstatfs`),
    'files.dirent.namlen': fact(null, `${LINUX_READDIR}: filldir64 has no length of the name`),
    'files.xattr.kind': fact('linux', `${ZIG}/generic-musl/sys/xattr.h: fgetxattr, four arguments`),
  },
  darwin: {
    'files.symlinkErrno': fact('ELOOP', `${XNU} bsd/man/man2/open.2: ELOOP, O_NOFOLLOW`),
    'files.mknodMakesFiles': fact(
      false,
      `${XNU} bsd/vfs/vfs_syscalls.c: mknodat_internal, S_IFCHR and S_IFBLK only`,
    ),
    'files.dirent.offIsPosition': fact(
      false,
      `${XNU} bsd/sys/dirent.h: d_seekoff, optional, used by servers`,
    ),
    'files.statfs.call': fact('fstatfs', `${XNU} bsd/sys/mount.h: fstatfs`),
    'files.statfs.namelen': fact(null, XNU_STATFS),
    'files.statfs.frsize': fact(null, XNU_STATFS),
    'files.xattr.kind': fact('darwin', `${XNU} bsd/sys/xattr.h: fgetxattr, six arguments`),
    'files.xattr.XATTR_CREATE': fact(2, `${XNU} bsd/sys/xattr.h: XATTR_CREATE`),
    'files.xattr.XATTR_REPLACE': fact(4, `${XNU} bsd/sys/xattr.h: XATTR_REPLACE`),
    shmNameBytesMax: fact(31, `${XNU} bsd/sys/posix_shm.h: PSHMNAMLEN`),
    'sockaddrVm.SIZE': fact(12, XNU_VSOCK),
    'sockaddrVm.port.offset': fact(4, XNU_VSOCK),
    'sockaddrVm.port.bytes': fact(4, XNU_VSOCK),
    'sockaddrVm.cid.offset': fact(8, XNU_VSOCK),
    'sockaddrVm.cid.bytes': fact(4, XNU_VSOCK),
    'optional.DKIOCGETBLOCKSIZE': fact(0x40046418, `${XNU_DISK}: _IOR('d', 24, uint32_t)`),
    'optional.DKIOCGETBLOCKCOUNT': fact(0x40086419, `${XNU_DISK}: _IOR('d', 25, uint64_t)`),
  },
  freebsd: {
    'files.symlinkErrno': fact(
      'EMLINK',
      'freebsd/freebsd-src 0061ddb3ede4 sys/kern/vfs_vnops.c: vn_open_vnode, VLNK',
    ),
    'files.mknodMakesFiles': fact(
      false,
      'freebsd/freebsd-src 002e18eb7f3e sys/kern/vfs_syscalls.c: kern_mknodat, EINVAL by default',
    ),
    'files.dirent.offIsPosition': fact(true, `${FREEBSD}/dirent.h: d_off, of the next entry`),
    'files.statfs.call': fact('fstatfs', `${FREEBSD}/mount.h: fstatfs`),
    'files.statfs.frsize': fact(null, `${FREEBSD}/mount.h: struct statfs has no such field`),
    'files.xattr.kind': fact('extattr', `${FREEBSD}/extattr.h: extattr_get_fd`),
    // The kernel takes a whole path (MAXPATHLEN).
    shmNameBytesMax: fact(255, `${FREEBSD}/syslimits.h: NAME_MAX, which is less than it takes`),
  },
  openbsd: {
    'files.symlinkErrno': fact(
      'ELOOP',
      'openbsd/src 054d2545f2f2 sys/kern/vfs_vnops.c: vn_open, VLNK',
    ),
    'files.mknodMakesFiles': fact(
      false,
      'openbsd/src 0168633b2ab2 sys/kern/vfs_syscalls.c: domknodat, EINVAL by default',
    ),
    'files.dirent.offIsPosition': fact(true, `${OPENBSD}/dirent.h: d_off, after this entry`),
    'files.statfs.call': fact('fstatfs', `${OPENBSD}/mount.h: fstatfs`),
    'files.statfs.frsize': fact(null, `${OPENBSD}/mount.h: struct statfs has no such field`),
    // The name is hashed, so that it may have any length.
    shmNameBytesMax: fact(
      255,
      'openbsd/src 264376d6d570 lib/libc/gen/shm_open.c: makeshmpath takes any; ours is less',
    ),
  },
  netbsd: {
    'files.symlinkErrno': fact(
      'EFTYPE',
      `${NETBSD_SRC} 8ede7f91d600 sys/kern/vfs_vnops.c: vn_open, VLNK`,
    ),
    'files.mknodMakesFiles': fact(
      false,
      `${NETBSD_SRC} f918177cdb6d sys/kern/vfs_syscalls.c: sys_mknod, EINVAL by default`,
    ),
    'files.dirent.off': fact(null, `${NETBSD}/dirent.h: struct dirent has no such field`),
    'files.dirent.offIsPosition': fact(false, `${NETBSD}/dirent.h: no d_off in struct dirent`),
    'files.statfs.call': fact('fstatvfs', `${NETBSD}/statvfs.h: fstatvfs`),
    'files.xattr.kind': fact('linux', `${NETBSD}/xattr.h: fgetxattr, four arguments`),
    'kqueue.older.symbol': fact(
      '__kevent50',
      `${NETBSD_KEVENT} sys/compat/sys/event.h: __kevent50 of struct kevent100`,
    ),
    'kqueue.older.SIZE': fact(
      40,
      `${NETBSD_KEVENT} sys/compat/sys/event.h: struct kevent100 ends with udata`,
    ),
    'libraries.0': fact(
      'librt.so.1',
      'NetBSDfr/NetBSD-src 02e4273dc799 distrib/sets/lists/base/shl.mi: librt.so.1, base',
    ),
    shmNameBytesMax: fact(
      248,
      `${NETBSD_SRC} 7938cb79eede lib/librt/shm.c: _shm_get_path, SHMFS_OBJ_PREFIX, in NAME_MAX`,
    ),
  },
};

const SYSTEMD_FDS = 'systemd/systemd 0675cc4a02df src/systemd/sd-daemon.h: SD_LISTEN_FDS_START';

const DNS = 'RFC 1035 section 4.2.1: server port 53';

/** Numbers of `src/sys` that are of others, by the names that the proof has for them. */
const NUMBERS: Readonly<Record<string, Fact>> = {
  'activation.ts FIRST_FD': fact(3, SYSTEMD_FDS),
  'sandbox/execute-again.ts LISTEN_FDS_START': fact(3, SYSTEMD_FDS),
  'dir.ts RECORD_ALIGN': fact(8, `${LINUX_READDIR}: filldir64, sizeof(u64)`),
  'sandbox/linux.ts VERSION_WITH_PORTS': fact(
    4,
    `${ZIG}/any-linux-any/linux/landlock.h: LANDLOCK_ACCESS_NET_BIND_TCP, the fourth version`,
  ),
  'sandbox/namespace.ts MOUNT.MNT_DETACH': fact(
    2,
    `${ZIG}/generic-musl/sys/mount.h: MNT_DETACH; sys/mount.h and linux/fs.h disagree`,
  ),
  'sandbox/landlock.ts DNS_PORT': fact(53, DNS),
  'sandbox/darwin.ts DNS_PORT': fact(53, DNS),
  'sandbox/linux.ts VERSION_WITH_REFER': fact(
    2,
    `${ZIG}/any-linux-any/linux/landlock.h: LANDLOCK_ACCESS_FS_REFER, the second version`,
  ),
  'watch-uv.ts UV_POLL': fact(8, `${UV}: UV_HANDLE_TYPE_MAP, UNKNOWN_HANDLE is 0`),
  'watch-uv.ts UV_READABLE': fact(1, `${UV}: enum uv_poll_event`),
  'watch-uv.ts UV_WRITABLE': fact(2, `${UV}: enum uv_poll_event`),
};

/** Names that a host has, and that its table leaves out; each with the reason. */
const LEFT_OUT: Readonly<Record<string, string>> = {
  'freebsd optional.SOL_LOCAL': 'LOCAL_PEERPID, for which it is, is not there',
  'openbsd optional.SO_PEERCRED': 'getpeereid(3) is used; the structure is another one',
  'openbsd optional.MAP_NORESERVE': 'it is 0',
  'netbsd optional.SOL_LOCAL': 'LOCAL_PEERPID, for which it is, is not there',
};

const XNU_XATTR = `${XNU} bsd/sys/xattr.h`;
const XATTR_ARGS = 'uintptr_t name, uintptr_t value, size_t bytes, uint32_t position, int options';
/** A program that calls them: Apple publishes no source of theirs. */
const SEATBELT = 'chromium/chromium 01b092c088bf sandbox/mac/seatbelt.cc';
const LINUX_CAPABILITY = 'torvalds/linux 0558c1bf5a08 kernel/capability.c';

/** A function as its source has it. */
interface FunctionFact {
  readonly c: string;
  readonly source: string;
}

/** Functions that no header declares, by the host and the name. */
const FUNCTIONS: Readonly<Record<string, FunctionFact>> = {
  'darwin fdatasync': {
    c: 'int fdatasync(int fd)',
    source: `${XNU} bsd/kern/syscalls.master: 187`,
  },
  'darwin __getdirentries64': {
    c: 'int64_t __getdirentries64(int fd, uintptr_t buf, size_t bytes, uintptr_t position)',
    source: `${XNU} tests/extended_getdirentries64.c: __getdirentries64`,
  },
  'darwin fgetxattr': {
    c: `int64_t fgetxattr(int fd, ${XATTR_ARGS})`,
    source: `${XNU_XATTR}: fgetxattr`,
  },
  'darwin fsetxattr': {
    c: `int fsetxattr(int fd, ${XATTR_ARGS})`,
    source: `${XNU_XATTR}: fsetxattr`,
  },
  'darwin flistxattr': {
    c: 'int64_t flistxattr(int fd, uintptr_t list, size_t bytes, int options)',
    source: `${XNU_XATTR}: flistxattr`,
  },
  'darwin fremovexattr': {
    c: 'int fremovexattr(int fd, uintptr_t name, int options)',
    source: `${XNU_XATTR}: fremovexattr`,
  },
  'darwin sandbox_init': {
    c: 'int sandbox_init(const char *profile, uint64_t flags, uintptr_t errorbuf)',
    source: `${SEATBELT}: Seatbelt::Init, ::sandbox_init`,
  },
  'darwin sandbox_free_error': {
    c: 'void sandbox_free_error(uintptr_t errorbuf)',
    source: `${SEATBELT}: Seatbelt::FreeError, ::sandbox_free_error`,
  },
  'linux capget': {
    c: 'int capget(uintptr_t head, uintptr_t data)',
    source: `${LINUX_CAPABILITY}: SYSCALL_DEFINE2(capget`,
  },
  'linux capset': {
    c: 'int capset(uintptr_t head, uintptr_t data)',
    source: `${LINUX_CAPABILITY}: SYSCALL_DEFINE2(capset`,
  },
};

/** Of libuv, which is in the program itself: the same on every host. */
const LIBUV: Readonly<Record<string, FunctionFact>> = Object.fromEntries(
  [
    'intptr_t uv_default_loop()',
    'size_t uv_handle_size(int type)',
    'int uv_poll_init(uintptr_t loop, uintptr_t handle, int fd)',
    'int uv_poll_start(uintptr_t handle, int events, uintptr_t callback)',
    'int uv_poll_stop(uintptr_t handle)',
    'void uv_close(uintptr_t handle, uintptr_t callback)',
    'void uv_ref(uintptr_t handle)',
    'void uv_unref(uintptr_t handle)',
  ].map((c) => {
    const { name } = parsePrototype(c);
    return [name, { c, source: `${UV}: ${name}` }];
  }),
);

/** Functions of ours that C calls, by our names for them. */
const CALLBACKS: Readonly<Record<string, FunctionFact>> = {
  UvPollCallback: {
    c: 'void UvPollCallback(uintptr_t handle, int status, int events)',
    source: `${UV}: uv_poll_cb`,
  },
  UvCloseCallback: {
    c: 'void UvCloseCallback(uintptr_t handle)',
    source: `${UV}: uv_close_cb`,
  },
};

const KEVENT_OF_10 = 'the headers are those of 11; the structure of the older one is a fact';

/** Functions that are declared by us in another way than by the headers, with the reason. */
const ACCEPTED: Readonly<Record<string, string>> = {
  'linux ioctl: argument 1 has 8 bytes, the header says 4':
    'musl takes the lower half of the register, as the kernel does',
  'linux syscall: variadic is false, the header says true':
    'all arguments are longs in registers either way on x64 and arm64; Apple has no such call',
  'linux syscall: 7 arguments, the header says 1': 'the six that it may take',
  'netbsd-10-x64 kevent: we call __kevent50, the header means __kevent100': KEVENT_OF_10,
  'netbsd-10-arm64 kevent: we call __kevent50, the header means __kevent100': KEVENT_OF_10,
  ...Object.fromEntries(
    ['linux', 'freebsd', 'openbsd', 'netbsd'].flatMap((os) => [
      [`${os} shm_open: variadic is true, the header says false`, 'macOS has it so; here alike'],
      [`${os} shm_open: 2 arguments, the header says 3`, 'the third is the variadic one'],
    ]),
  ),
};

/** The fact about a row of a table; undefined when there is none. */
export function factOf(target: Target, path: string): Fact | undefined {
  return FACTS[target.os][path];
}

/** The fact about a number of `src/sys`; undefined when there is none. */
export function numberFact(name: string): Fact | undefined {
  return NUMBERS[name];
}

/** Every number that there is a fact about. */
export function numbersWithFacts(): readonly string[] {
  return Object.keys(NUMBERS);
}

/** Why a table leaves out what its headers have. */
export function whyLeftOut(target: Target, path: string): string | undefined {
  return LEFT_OUT[`${target.os} ${path}`];
}

/** A function that no header declares; undefined when there is no fact about it. */
export function functionFact(target: Target, name: string): Prototype | undefined {
  const found = FUNCTIONS[`${target.os} ${name}`] ?? LIBUV[name];
  return found === undefined ? undefined : parsePrototype(found.c);
}

/** What a function of ours is called by; undefined when there is no fact about it. */
export function callbackFact(name: string): Prototype | undefined {
  const found = CALLBACKS[name];
  return found === undefined ? undefined : parsePrototype(found.c);
}

/** The source of every fact, with what it is about. */
export function sourcesOfFacts(): readonly { readonly about: string; readonly source: string }[] {
  const rows = Object.entries(FACTS).flatMap(([os, facts]) =>
    Object.entries(facts).map(([path, { source }]) => ({ about: `${os} ${path}`, source })),
  );
  const functions = Object.entries({ ...FUNCTIONS, ...LIBUV, ...CALLBACKS });
  const numbers = Object.entries(NUMBERS);
  return [...rows, ...[...functions, ...numbers].map(([about, { source }]) => ({ about, source }))];
}

/** Why a difference of a prototype does no harm on a target; undefined when nothing says so. */
export function whyAccepted(target: Target, fault: string): string | undefined {
  return ACCEPTED[`${target.os} ${fault}`] ?? ACCEPTED[`${target.name} ${fault}`];
}
