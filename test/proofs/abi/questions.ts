/**
 * What the headers are asked about each row of a table: C++ by the path of the row.
 *
 * @module
 */
import type { Probe } from './compiler.ts';
import type { Row } from './rows.ts';
import type { Target } from './targets.ts';

const HEADERS: readonly string[] = [
  ...['types', 'param', 'socket', 'un', 'uio', 'mman', 'file', 'stat', 'ioctl', 'event', 'epoll'],
  ...['eventfd', 'resource', 'syscall', 'sysmacros', 'statfs', 'extattr', 'xattr', 'time', 'vfs'],
  ...[
    'disk',
    'dkio',
    'statvfs',
    'ttycom',
    'wait',
    'timerfd',
    'fsuid',
    'sendfile',
    'vsock',
    'capsicum',
  ],
]
  .map((name) => `sys/${name}.h`)
  .concat(
    ['netinet/in.h', 'netinet/tcp.h', 'fcntl.h', 'poll.h', 'dirent.h', 'unistd.h', 'errno.h'],
    ['termios.h', 'stdio.h', 'stdlib.h', 'stddef.h', 'stdint.h', 'string.h', 'sched.h', 'limits.h'],
    ['linux/falloc.h', 'linux/fs.h', 'linux/vm_sockets.h', 'linux/magic.h', 'linux/capability.h'],
    ['linux/seccomp.h', 'linux/audit.h', 'linux/filter.h', 'asm/unistd.h'],
    ['linux/io_uring.h', 'linux/kvm.h', 'linux/landlock.h', 'linux/mount.h', 'linux/prctl.h'],
    ['launch.h'],
  );

/** What comes before every probe of a target. */
export function headOf(target: Target): string {
  const lines = ['#define _GNU_SOURCE 1'];
  const { os } = target;
  // sys/mount.h of Linux is about mount(2) and disagrees with linux/fs.h; elsewhere it has statfs.
  // malloc.h is an error on the BSDs.
  const headers = [...HEADERS, os === 'linux' ? 'malloc.h' : 'sys/mount.h'];
  for (const header of headers) {
    lines.push(`#if __has_include(<${header}>)`, `#include <${header}>`, '#endif');
  }
  if (target.libc === 'musl') {
    // musl's own statx is older than the mount's number; ours is the kernel's.
    lines.push('namespace vhu_kernel {', '#include <linux/stat.h>', '}');
  }
  if (target.libc === 'glibc') {
    // glibc's major() is a function of the library; its header has the same as a template.
    lines.push(
      '#define VHU_INLINE(type, name, arguments) static inline type vhu_##name arguments',
      '#undef _BITS_SYSMACROS_H',
      '#include <bits/sysmacros.h>',
      '__SYSMACROS_DEFINE_MAJOR(VHU_INLINE)',
      '__SYSMACROS_DEFINE_MINOR(VHU_INLINE)',
    );
  }
  return lines.join('\n');
}

/** How C spells a structure of a table: its tag, and the fields that are not `prefix` + name. */
interface Spelling {
  readonly tag: string;
  readonly prefix: string;
  readonly other?: Readonly<Record<string, string>>;
}

const TIMES = ['atime', 'mtime', 'ctime'] as const;

function timesOf(prefix: string, suffix: string): Record<string, string> {
  return Object.fromEntries(
    TIMES.flatMap((time) => [
      [`${time}Sec`, `${prefix}${time}${suffix}.tv_sec`],
      [`${time}Nsec`, `${prefix}${time}${suffix}.tv_nsec`],
    ]),
  );
}

function statTimes(target: Target): Record<string, string> {
  if (target.os === 'darwin') return timesOf('st_', 'spec');
  return Object.fromEntries(
    Object.entries(timesOf('st_', '')).map(([key, value]) => [key, value.replace('time.', 'tim.')]),
  );
}

/** The structures by the path that they have in a table. */
function spellingsOf(target: Target): Readonly<Record<string, Spelling>> {
  const { os } = target;
  const ino = os === 'linux' || os === 'darwin' ? 'd_ino' : 'd_fileno';
  return {
    msghdr: { tag: 'msghdr', prefix: 'msg_' },
    cmsg: { tag: 'cmsghdr', prefix: 'cmsg_' },
    sockaddrVm: { tag: 'sockaddr_vm', prefix: 'svm_' },
    'epoll.event': { tag: 'epoll_event', prefix: '' },
    'kqueue.event': { tag: 'kevent', prefix: '' },
    'files.stat': { tag: 'stat', prefix: 'st_', other: statTimes(target) },
    'files.statx': {
      tag: target.libc === 'musl' ? 'vhu_kernel::statx' : 'statx',
      prefix: 'stx_',
      other: {
        ...timesOf('stx_', ''),
        devMajor: 'stx_dev_major',
        devMinor: 'stx_dev_minor',
        rdevMajor: 'stx_rdev_major',
        rdevMinor: 'stx_rdev_minor',
        mountId: 'stx_mnt_id',
        birthSec: 'stx_btime.tv_sec',
        birthNsec: 'stx_btime.tv_nsec',
      },
    },
    'files.statfs': {
      tag: os === 'netbsd' ? 'statvfs' : 'statfs',
      prefix: 'f_',
      other: os === 'linux' ? {} : { namelen: 'f_namemax' },
    },
    'files.dirent': {
      tag: target.libc === 'glibc' ? 'dirent64' : 'dirent',
      prefix: 'd_',
      other: { ino, ...(os === 'darwin' ? { off: 'd_seekoff' } : {}) },
    },
    'files.flock': { tag: 'flock', prefix: 'l_' },
  };
}

/** musl declares these as 32 bits with padding up to what follows: the kernel's 64. */
const PADDED: Readonly<Record<string, string>> = {
  'msghdr.iovlen.bytes': 'offsetof(msghdr, msg_control) - offsetof(msghdr, msg_iovlen)',
  'msghdr.controllen.bytes': 'offsetof(msghdr, msg_flags) - offsetof(msghdr, msg_controllen)',
  'cmsg.len.bytes': 'offsetof(cmsghdr, cmsg_level) - offsetof(cmsghdr, cmsg_len)',
};

/** Rows that are no constant and no field of the same name. */
const OWN: Readonly<Record<string, string>> = {
  'cmsg.dataOffset': 'CMSG_LEN(0)',
  'cmsg.align': 'CMSG_SPACE(1) - CMSG_SPACE(0)',
  'sockaddrUn.hasLength': 'sizeof(((sockaddr_un *)0)->sun_family) == 1',
  'sockaddrUn.pathOffset': 'offsetof(sockaddr_un, sun_path)',
  'sockaddrUn.pathBytes': 'sizeof(((sockaddr_un *)0)->sun_path)',
  'sockaddrIn.SIZE': 'sizeof(sockaddr_in)',
  'sockaddrIn.portOffset': 'offsetof(sockaddr_in, sin_port)',
  'sockaddrIn.addressOffset': 'offsetof(sockaddr_in, sin_addr)',
  'sockaddrIn6.SIZE': 'sizeof(sockaddr_in6)',
  'sockaddrIn6.portOffset': 'offsetof(sockaddr_in6, sin6_port)',
  'sockaddrIn6.addressOffset': 'offsetof(sockaddr_in6, sin6_addr)',
  'files.dirent.nameOffset': 'offsetof(struct dirent, d_name)',
};

/** What says that a host has not a whole part of the table: true when it is not there. */
const ABSENT_PARTS: Readonly<Record<string, string>> = {
  sockaddrVm: '!defined(AF_VSOCK)',
  epoll: '!__has_include(<sys/epoll.h>)',
  kqueue: '!__has_include(<sys/event.h>)',
  uring: '!defined(SYS_io_uring_setup)',
  'files.statx': '!defined(STATX_BASIC_STATS)',
  'files.calls': '!defined(SYS_getdents64)',
  'files.xattr': '!__has_include(<sys/xattr.h>) && !__has_include(<sys/extattr.h>)',
};

/** Constants that a host spells in another way, or has under more bits than the kernel's. */
function constantOf(name: string, target: Target): string {
  if (target.os === 'darwin' && name === 'RENAME_NOREPLACE') return 'RENAME_EXCL';
  if (target.os === 'darwin' && name === 'RENAME_EXCHANGE') return 'RENAME_SWAP';
  return name;
}

/** The question about a row, or undefined when headers cannot answer it. */
export function questionOf(row: Row, target: Target): Probe | undefined {
  const { path, value } = row;
  const name = path.slice(path.lastIndexOf('.') + 1);
  const parent = path.slice(0, path.length - name.length - 1);
  if (value === null) {
    const guard = ABSENT_PARTS[path];
    return guard === undefined ? undefined : { name: path, guard, expression: '0' };
  }
  const padded = target.libc === 'musl' ? PADDED[path] : undefined;
  const own = padded ?? OWN[path];
  if (own !== undefined) return { name: path, expression: own };
  // musl lets O_ACCMODE take O_PATH in, which opens for executing; the kernel has two bits.
  if (target.libc === 'musl' && name === 'O_ACCMODE') {
    return { name: path, expression: 'O_ACCMODE & ~O_PATH' };
  }
  if (
    /^_?[A-Z][A-Z0-9]*(_\w+)+$|^E[A-Z0-9]+$|^F[A-Z]+SYNC$|^TCSANOW$|^POLL(IN|OUT|HUP)$/.test(name)
  ) {
    const constant = constantOf(name, target);
    return { name: path, expression: constant, guard: `defined(${constant})` };
  }
  if (/^(TIOCGWINSZ|BLK[A-Z0-9]+|DIOC[A-Z]+|DKIOC[A-Z]+)$/.test(name)) {
    return { name: path, expression: name, guard: `defined(${name})` };
  }
  return fieldQuestion(path, parent, name, target);
}

function fieldQuestion(
  path: string,
  parent: string,
  name: string,
  target: Target,
): Probe | undefined {
  const spellings = spellingsOf(target);
  if (name === 'SIZE') {
    const tag = spellings[parent]?.tag;
    return tag === undefined ? undefined : { name: path, expression: `sizeof(struct ${tag})` };
  }
  const dot = parent.lastIndexOf('.');
  const field = parent.slice(dot + 1);
  const spelling = spellings[parent.slice(0, Math.max(dot, 0))];
  if (spelling === undefined) return undefined;
  const { tag, prefix, other = {} } = spelling;
  const member = other[field] ?? prefix + field;
  if (name === 'offset') return { name: path, expression: `offsetof(struct ${tag}, ${member})` };
  if (name !== 'bytes') return undefined;
  return { name: path, expression: `sizeof(((struct ${tag} *)0)->${member})` };
}
