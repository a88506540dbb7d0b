/**
 * The rules that the models of other kernels enforce: where each is written down, and a program that
 * breaks it. Run by a process that takes its host for another one; see `kernel-models.test.ts`.
 *
 * @module
 */
import { ERRNO, NativeBlock, O } from '../../src/sys/index.ts';
import { abi } from '../../src/sys/host.ts';
import * as files from '../../src/sys/libc-files.ts';
import * as libc from '../../src/sys/libc.ts';
import type { PlayedHost } from './errno.ts';

/** A rule of a kernel. */
export interface Rule {
  /** As the model knows it; VHU_MODEL_WITHOUT switches it off. */
  readonly name: string;
  readonly hosts: readonly PlayedHost[];
  /** File and function of each kernel. */
  readonly source: string;
  /** Breaks it; whether the kernel did what it does then. */
  readonly punishes: () => boolean;
}

const { constants, optional, msghdr, cmsg } = abi;
const kq = abi.kqueue;
const ALL = ['darwin', 'freebsd', 'openbsd'] as const;
const PAGE = 16384;
const block = new NativeBlock(65536);
const IOV = 1024;
const DATA = 2048;
const CONTROL = 16384;
const at = (offset: number): number => block.address + offset;

/** Whether a call failed with that error. */
function failed(result: number, ...names: string[]): boolean {
  const errno = libc.errno();
  return result < 0 && names.some((name) => ERRNO[name] === errno);
}
/** The fds that a call left in memory. */
function two(): [number, number] {
  return [block.view.getInt32(0, true), block.view.getInt32(4, true)];
}
function pair(type: number = constants.SOCK_STREAM): [number, number] {
  libc.socketpair(constants.AF_UNIX, type, 0, at(0));
  return two();
}
function pipe(): [number, number] {
  libc.pipe(at(0));
  return two();
}
function close(...fds: number[]): void {
  for (const fd of fds) libc.close(fd);
}
/** Runs `use` and closes the fds, whichever way it ends. */
function using(fds: readonly number[], use: () => boolean): boolean {
  try {
    return use();
  } finally {
    close(...fds);
  }
}
function shm(bytes: number): number {
  const name = `/rule-${String(process.pid)}-${String(performance.now()).slice(-6)}`;
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
  const fd = libc.shmOpen?.('int', name, flags, 0o600) ?? -1;
  libc.shmUnlink?.(name);
  if (bytes > 0) libc.ftruncate(fd, bytes);
  return fd;
}
function sizeOf(fd: number): number {
  files.fstat(fd, at(0));
  return block.get(0, abi.files.stat.size);
}

/** One change of a kqueue; the errno, or 0. */
function change(queue: number, fd: number, filter: number, flags: number): number {
  if (kq === null || libc.kevent === null) return -1;
  const { event } = kq;
  block.bytes.fill(0, DATA, DATA + event.SIZE);
  block.set(DATA, event.ident, fd);
  block.set(DATA, event.filter, filter);
  block.set(DATA, event.flags, flags);
  return libc.kevent(queue, at(DATA), 1, 0, 0, 0) < 0 ? libc.errno() : 0;
}
/** Looks for events; how many there are, or -1. */
function events(queue: number, seconds = 0, nanoseconds = 0): number {
  block.view.setBigInt64(0, BigInt(seconds), true);
  block.view.setBigInt64(8, BigInt(nanoseconds), true);
  return libc.kevent?.(queue, 0, 0, at(DATA), 8, at(0)) ?? -1;
}
function withKqueue(use: (queue: number, layout: NonNullable<typeof kq>) => boolean): boolean {
  const queue = libc.kqueue?.() ?? -1;
  return using([queue], () => kq !== null && use(queue, kq));
}

/** sendmsg with control messages of fds; `spare` bytes more than they need are announced. */
function send(fd: number, bytes: number, messages: readonly number[][], spare = 0): number {
  let end = CONTROL;
  for (const fds of messages) {
    block.set(end, cmsg.len, cmsg.dataOffset + fds.length * 4);
    block.set(end, cmsg.level, constants.SOL_SOCKET);
    block.set(end, cmsg.type, constants.SCM_RIGHTS);
    fds.forEach((each, i) => {
      block.view.setInt32(end + cmsg.dataOffset + i * 4, each, true);
    });
    end += Math.ceil((cmsg.dataOffset + fds.length * 4) / cmsg.align) * cmsg.align;
  }
  header(bytes, end - CONTROL + spare);
  return libc.sendmsg(fd, at(0), 0);
}
function header(bytes: number, controlBytes: number, iovCount = 1): void {
  block.bytes.fill(0, 0, msghdr.SIZE);
  block.view.setBigUint64(IOV, BigInt(at(DATA)), true);
  block.view.setBigUint64(IOV + 8, BigInt(bytes), true);
  block.set(0, msghdr.iov, at(IOV));
  block.set(0, msghdr.iovlen, iovCount);
  block.set(0, msghdr.control, controlBytes === 0 ? 0 : at(CONTROL));
  block.set(0, msghdr.controllen, controlBytes);
}
/** recvmsg; its bytes, and how many fds came, which are closed. */
function receive(fd: number, bytes: number, controlBytes = 4096): [bytes: number, fds: number] {
  header(bytes, controlBytes);
  const got = libc.recvmsg(fd, at(0), constants.MSG_DONTWAIT);
  if (got < 0) return [-libc.errno(), 0];
  const length = block.get(0, msghdr.controllen);
  if (length === 0) return [got, 0];
  const count = Math.floor((Math.min(length, block.get(CONTROL, cmsg.len)) - cmsg.dataOffset) / 4);
  for (let i = 0; i < count; i++) {
    libc.close(block.view.getInt32(CONTROL + cmsg.dataOffset + i * 4, true));
  }
  return [got, count];
}
function bindTo(path: string, family = constants.AF_UNIX, familyAt = 1): number {
  const bytes = Buffer.from(path);
  block.bytes.fill(0, 0, 256);
  block.bytes[0] = bytes.length + 3;
  block.bytes[familyAt] = family;
  block.bytes.set(bytes, 2);
  const fd = libc.socket(constants.AF_UNIX, constants.SOCK_STREAM, 0);
  const result = libc.bind(fd, at(0), bytes.length + 3);
  const errno = libc.errno();
  libc.close(fd);
  return result < 0 ? errno : 0;
}
function cString(text: string): number {
  block.bytes.set(Buffer.from(`${text}\0`), 32768);
  return at(32768);
}

const MEMORY: readonly Rule[] = [
  {
    name: 'shm-sized-once',
    hosts: ['darwin'],
    source: 'xnu bsd/kern/posix_shm.c pshm_truncate',
    punishes: () => {
      const fd = shm(PAGE);
      return using([fd], () => failed(libc.ftruncate(fd, PAGE * 2), 'EINVAL'));
    },
  },
  {
    name: 'shm-size-rounded',
    hosts: ['darwin'],
    source: 'xnu bsd/kern/posix_shm.c pshm_truncate (vm_map_round_page), pshm_stat',
    punishes: () => {
      const fd = shm(5000);
      return using([fd], () => sizeOf(fd) === PAGE);
    },
  },
  {
    name: 'shm-not-a-file',
    hosts: ['darwin'],
    source: 'xnu bsd/kern/posix_shm.c pshmops; bsd/kern/sys_generic.c preparefileread; vfs lseek',
    punishes: () => {
      const fd = shm(PAGE);
      return using(
        [fd],
        () =>
          failed(libc.read(fd, at(DATA), 8), 'ENXIO') &&
          failed(libc.write(fd, at(DATA), 8), 'ENXIO') &&
          failed(libc.pread(fd, at(DATA), 8, 0), 'ESPIPE') &&
          failed(files.lseek(fd, 0, 0), 'ESPIPE'),
      );
    },
  },
  {
    name: 'shm-end',
    hosts: ['darwin'],
    source: 'xnu bsd/kern/posix_shm.c pshm_mmap (end_pos > pshm_size)',
    punishes: () => {
      const fd = shm(PAGE);
      const { PROT_READ, MAP_SHARED } = constants;
      return using([fd], () =>
        failed(libc.mmap(0, PAGE * 2, PROT_READ, MAP_SHARED, fd, 0), 'EINVAL'),
      );
    },
  },
  {
    name: 'mmap-offset',
    hosts: ['darwin'],
    source: 'xnu bsd/kern/kern_mman.c mmap_sanitize (MAP_UNIX03), pages of 16 KiB',
    punishes: () => {
      const fd = shm(PAGE * 2);
      const { PROT_READ, MAP_SHARED } = constants;
      return using([fd], () =>
        failed(libc.mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 4096), 'EINVAL'),
      );
    },
  },
  {
    name: 'munmap-address',
    hosts: ['darwin'],
    source: 'xnu bsd/kern/kern_mman.c munmap_sanitize',
    punishes: () => {
      const { PROT_READ, MAP_PRIVATE, MAP_ANON } = constants;
      const base = libc.mmap(0, PAGE * 2, PROT_READ, MAP_PRIVATE | MAP_ANON, -1, 0);
      const bad = failed(libc.munmap(base + 4096, 4096), 'EINVAL');
      libc.munmap(base, PAGE * 2);
      return bad;
    },
  },
  {
    name: 'int-max',
    hosts: ['darwin'],
    source: 'xnu bsd/kern/sys_generic.c read_internal, write_internal (nbyte > INT_MAX)',
    punishes: () => {
      const [a, b] = pipe();
      close(b); // so that without the rule it is the end of the file
      return using([a], () => failed(libc.read(a, at(DATA), 2 ** 31), 'EINVAL'));
    },
  },
];

const QUEUES: readonly Rule[] = [
  {
    name: 'kq-delete-enoent',
    hosts: ALL,
    source: 'kevent_register of xnu, kqueue_register of FreeBSD and OpenBSD (no knote, no EV_ADD)',
    punishes: () =>
      withKqueue((queue, { EVFILT_READ, EV_DELETE }) => {
        const [a, b] = pipe();
        return using([a, b], () => change(queue, a, EVFILT_READ, EV_DELETE) === ERRNO.ENOENT);
      }),
  },
  {
    name: 'kq-delete-ebadf',
    hosts: ['freebsd', 'openbsd'],
    source: 'FreeBSD, OpenBSD sys/kern/kern_event.c kqueue_register ("validate descriptor")',
    punishes: () =>
      withKqueue(
        (queue, { EVFILT_READ, EV_DELETE }) =>
          change(queue, 9999, EVFILT_READ, EV_DELETE) === ERRNO.EBADF,
      ),
  },
  {
    name: 'close-drops-knotes',
    hosts: ALL,
    source: 'sys/kern/kern_event.c knote_fdclose of all three',
    punishes: () =>
      withKqueue((queue, { EVFILT_READ, EV_ADD, EV_DELETE }) => {
        const [a, b] = pipe();
        change(queue, a, EVFILT_READ, EV_ADD);
        close(a);
        const [c, d] = pipe(); // the first one takes the number
        return using(
          [b, c, d],
          () => c === a && change(queue, c, EVFILT_READ, EV_DELETE) === ERRNO.ENOENT,
        );
      }),
  },
  {
    name: 'kq-eof',
    hosts: ALL,
    source: 'filt_piperead of all three: EV_EOF, with the bytes that are left in data',
    punishes: () =>
      withKqueue((queue, { EVFILT_READ, EV_ADD, EV_EOF, event }) => {
        const [a, b] = pipe();
        libc.write(b, at(0), 5);
        close(b);
        change(queue, a, EVFILT_READ, EV_ADD);
        const flags = (): number => block.get(DATA, event.flags) & 0xffff;
        return using([a], () => {
          const left = events(queue) === 1 && (flags() & EV_EOF) !== 0;
          return left && block.get(DATA, event.data) === 5;
        });
      }),
  },
  {
    name: 'kq-pipe-epipe',
    hosts: ['freebsd', 'openbsd'],
    source: 'FreeBSD, OpenBSD sys/kern/sys_pipe.c pipe_kqfilter; xnu attaches such a one',
    punishes: () =>
      withKqueue((queue, { EVFILT_WRITE, EV_ADD }) => {
        const [a, b] = pipe();
        close(a);
        return using([b], () => change(queue, b, EVFILT_WRITE, EV_ADD) === ERRNO.EPIPE);
      }),
  },
  {
    name: 'kq-no-shm',
    hosts: ['darwin', 'freebsd'],
    source: 'xnu fo_no_kqfilter (ENOTSUP); FreeBSD sys/kern/uipc_shm.c invfo_kqfilter (EINVAL)',
    punishes: () =>
      withKqueue((queue, { EVFILT_READ, EV_ADD }) => {
        const fd = shm(PAGE);
        return using([fd], () => {
          const errno = change(queue, fd, EVFILT_READ, EV_ADD);
          return errno === ERRNO.ENOTSUP || errno === ERRNO.EINVAL;
        });
      }),
  },
  {
    name: 'kq-timespec',
    hosts: ALL,
    source: 'xnu timespec_is_valid; FreeBSD kqueue_scan; OpenBSD sys_kevent (timespecisvalid)',
    punishes: () =>
      withKqueue(
        (queue) => failed(events(queue, 0, 1e9), 'EINVAL') && failed(events(queue, -1), 'EINVAL'),
      ),
  },
];

const SOCKETS: readonly Rule[] = [
  {
    name: 'sun-path-104',
    hosts: ALL,
    source: 'sys/un.h; OpenBSD sys/kern/uipc_usrreq.c unp_nam2sun (sun_len > sizeof(sockaddr_un))',
    punishes: () => {
      const path = `/tmp/${'x'.repeat(90)}${String(process.pid).padStart(7, '0')}`; // 102
      const longer = `${path}yyy`;
      const good = bindTo(path);
      const bad = bindTo(longer);
      for (const each of [path, longer]) files.unlinkat(abi.files.AT_FDCWD, cString(each), 0);
      return good === 0 && bad === ERRNO.EINVAL;
    },
  },
  {
    name: 'sun-family-byte',
    hosts: ALL,
    source:
      'sys/un.h: sun_len and sun_family are a byte each; unp_bind, unp_nam2sun (EAFNOSUPPORT)',
    punishes: () => bindTo('/tmp/never', 0, 2) === ERRNO.EAFNOSUPPORT,
  },
  {
    name: 'unix-seqpacket',
    hosts: ['darwin'],
    source: 'xnu bsd/kern/uipc_proto.c localsw: no SOCK_SEQPACKET',
    punishes: () => {
      const fd = libc.socket(constants.AF_UNIX, constants.SOCK_SEQPACKET, 0);
      const bad = failed(fd, 'EPROTONOSUPPORT');
      if (fd >= 0) close(fd);
      return bad;
    },
  },
  {
    name: 'unix-sendspace',
    hosts: ALL,
    source: 'uipc_usrreq.c PIPSIZ: 8192 of xnu and FreeBSD, 32768 of OpenBSD',
    punishes: () => {
      const [a, b] = pair();
      return using([a, b], () => {
        const sent = libc.send(a, at(0), 60_000, constants.MSG_DONTWAIT);
        return sent > 0 && sent <= 32768;
      });
    },
  },
  {
    name: 'accept-inherits',
    hosts: ALL,
    source: 'xnu accept_nocancel (fflag); FreeBSD kern_accept4; OpenBSD doaccept (nflag)',
    punishes: () => {
      const path = `/tmp/vhu-rule-${String(process.pid)}`;
      block.bytes.fill(0, 0, 256);
      block.bytes[0] = path.length + 3;
      block.bytes[1] = constants.AF_UNIX;
      block.bytes.set(Buffer.from(path), 2);
      const listener = libc.socket(constants.AF_UNIX, constants.SOCK_STREAM, 0);
      const client = libc.socket(constants.AF_UNIX, constants.SOCK_STREAM, 0);
      libc.bind(listener, at(0), path.length + 3);
      libc.listen(listener, 1);
      libc.fcntl('int', listener, constants.F_SETFL, constants.O_NONBLOCK);
      libc.connect(client, at(0), path.length + 3);
      const server = libc.accept(listener, 0, 0);
      files.unlinkat(abi.files.AT_FDCWD, cString(path), 0);
      return using([listener, client, server], () => {
        const flags = libc.fcntl('int', server, constants.F_GETFL, 0);
        return (flags & constants.O_NONBLOCK) !== 0;
      });
    },
  },
  {
    name: 'setsockopt-shut',
    hosts: ['darwin'],
    source: 'xnu bsd/kern/uipc_socket.c sosetoptlock',
    punishes: () => {
      const [a, b] = pair();
      close(b);
      block.view.setInt32(0, 8192, true);
      return using([a], () => {
        const { SOL_SOCKET, SO_SNDBUF } = constants;
        return failed(libc.setsockopt(a, SOL_SOCKET, SO_SNDBUF, at(0), 4), 'EINVAL');
      });
    },
  },
  {
    name: 'getpeername-shut',
    hosts: ['darwin'],
    source: 'xnu bsd/kern/uipc_syscalls.c getpeername',
    punishes: () => {
      const [a, b] = pair();
      close(b);
      block.view.setUint32(0, 106, true);
      return using([a], () => failed(libc.getpeername(a, at(8), at(0)), 'EINVAL'));
    },
  },
  {
    name: 'no-acceptconn',
    hosts: ['darwin', 'openbsd'],
    source: 'xnu sogetoptlock, OpenBSD sogetopt: no case for SO_ACCEPTCONN',
    punishes: () => {
      const [a, b] = pair();
      block.view.setUint32(0, 4, true);
      return using([a, b], () => {
        const { SOL_SOCKET, SO_ACCEPTCONN } = constants;
        return failed(libc.getsockopt(a, SOL_SOCKET, SO_ACCEPTCONN, at(8), at(0)), 'ENOPROTOOPT');
      });
    },
  },
];

const MESSAGES: readonly Rule[] = [
  {
    name: 'iovlen-emsgsize',
    hosts: ALL,
    source: 'xnu sendmsg_nocancel; FreeBSD copyiniov; OpenBSD sys_sendmsg (IOV_MAX 1024)',
    punishes: () => {
      const [a, b] = pair();
      return using([a, b], () => {
        header(0, 0, 1025);
        return failed(libc.sendmsg(a, at(0), 0), 'EMSGSIZE');
      });
    },
  },
  {
    name: 'one-cmsg',
    hosts: ['darwin', 'openbsd'],
    source: 'xnu, OpenBSD uipc_usrreq.c unp_internalize (cmsg_len against m_len)',
    punishes: () => {
      const [a, b] = pair();
      return using([a, b], () => failed(send(a, 1, [[a], [b]]), 'EINVAL'));
    },
  },
  {
    name: 'cluster-of-fds',
    hosts: ['darwin', 'openbsd'],
    source: 'xnu sockargs (pointers of 8 bytes); OpenBSD unp_internalize (struct fdpass, E2BIG)',
    punishes: () => {
      const [a, b] = pair();
      const most = process.platform === 'darwin' ? 255 : 128;
      return using([a, b], () => {
        const one = new Array<number>(most).fill(a);
        return failed(send(a, 1, [one]), 'EINVAL', 'E2BIG');
      });
    },
  },
  {
    name: 'kqueue-not-passed',
    hosts: ALL,
    source: 'xnu fg_sendable, OpenBSD unp_internalize: EINVAL; FreeBSD DFLAG_PASSABLE: EOPNOTSUPP',
    punishes: () =>
      withKqueue((queue) => {
        const [a, b] = pair();
        return using([a, b], () => failed(send(a, 1, [[queue]]), 'EINVAL', 'EOPNOTSUPP'));
      }),
  },
  {
    name: 'stream-eor',
    hosts: ALL,
    source: 'sosend of xnu and OpenBSD, sosend_generic of FreeBSD: MSG_EOR on SOCK_STREAM',
    punishes: () => {
      const [a, b] = pair();
      return using([a, b], () => failed(libc.send(a, at(0), 1, constants.MSG_EOR), 'EINVAL'));
    },
  },
  {
    name: 'records',
    hosts: ALL,
    source: 'sbappendcontrol begins a record, sbappend joins the last, soreceive takes from one',
    punishes: () => {
      const [a, b] = pair();
      return using([a, b], () => {
        send(a, 2, [[a]]);
        send(a, 1, []);
        return String(receive(b, 100)) === '3,1'; // Linux: 2 bytes with the fd, and then 1
      });
    },
  },
  {
    name: 'control-truncated',
    hosts: ALL,
    source: 'xnu copyout_control, FreeBSD kern_recvit, OpenBSD recvit: MSG_CTRUNC',
    punishes: () => {
      const [a, b] = pair();
      return using([a, b], () => {
        send(a, 1, [[a, b, a]]);
        const small = cmsg.dataOffset + 4;
        receive(b, 1, small);
        return (block.get(0, msghdr.flags) & constants.MSG_CTRUNC) !== 0;
      });
    },
  },
  {
    name: 'externalize-emsgsize',
    hosts: ALL,
    source: 'unp_externalize of all three: EMSGSIZE without room in the table, and the bytes stay',
    punishes: () => {
      const [a, b] = pair();
      const { RLIMIT_NOFILE } = abi.files;
      return using([a, b], () => {
        send(a, 2, [new Array<number>(100).fill(a)]);
        files.getrlimit(RLIMIT_NOFILE, at(32));
        const before = block.view.getBigUint64(32, true);
        block.view.setBigUint64(32, BigInt(Math.max(a, b) + 40), true);
        files.setrlimit(RLIMIT_NOFILE, at(32));
        const [refused] = receive(b, 2);
        const [bytes, fds] = refused < 0 ? receive(b, 2) : [0, 0];
        block.view.setBigUint64(32, before, true);
        files.setrlimit(RLIMIT_NOFILE, at(32));
        return refused === -(ERRNO.EMSGSIZE as number) && bytes === 2 && fds === 0;
      });
    },
  },
];

const NAMES: readonly Rule[] = [
  {
    name: 'nofollow-emlink',
    hosts: ['freebsd'],
    source: 'FreeBSD open(2): EMLINK for O_NOFOLLOW on a link',
    punishes: () => {
      const link = `/tmp/vhu-rule-link-${String(process.pid)}`;
      block.bytes.set(Buffer.from(`${link}\0`), 40000);
      files.symlinkat(cString('nowhere'), abi.files.AT_FDCWD, at(40000));
      const fd = files.openat('int', abi.files.AT_FDCWD, at(40000), O.O_RDONLY | O.O_NOFOLLOW, 0);
      const bad = failed(fd, 'EMLINK');
      files.unlinkat(abi.files.AT_FDCWD, at(40000), 0);
      return bad;
    },
  },
  {
    name: 'unlink-eperm',
    hosts: ALL,
    source: 'xnu unlinkat_internal, FreeBSD kern_funlinkat, OpenBSD dounlinkat: a folder is EPERM',
    punishes: () => failed(files.unlinkat(abi.files.AT_FDCWD, cString('/tmp'), 0), 'EPERM'),
  },
];

/** All of them. */
export const RULES: readonly Rule[] = [...MEMORY, ...QUEUES, ...SOCKETS, ...MESSAGES, ...NAMES];

/** Tries each rule of a host with and without the model's knowing it. */
export function tryRules(os: PlayedHost): { name: string; holds: boolean; without: boolean }[] {
  return RULES.filter(({ hosts }) => hosts.includes(os)).map(({ name, punishes }) => {
    const holds = punishes();
    process.env.VHU_MODEL_WITHOUT = name;
    try {
      return { name, holds, without: punishes() };
    } finally {
      delete process.env.VHU_MODEL_WITHOUT;
    }
  });
}
