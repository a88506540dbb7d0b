/**
 * The rules that the models of other kernels enforce: where each is written down, and a program
 * that breaks it. Run by a process that takes its host for another one; see
 * `test/proofs/kernel-models.test.ts`.
 *
 * @module
 */
import { ERRNO, O } from '../../src/sys/index.ts';
import { abi } from '../../src/sys/host.ts';
import * as files from '../../src/sys/libc-files.ts';
import * as libc from '../../src/sys/libc.ts';
import type { PlayedHost } from './errno.ts';
import {
  ALL,
  PAGE,
  block,
  DATA,
  at,
  failed,
  pipe,
  close,
  using,
  shm,
  sizeOf,
  change,
  events,
  withKqueue,
  cString,
} from './rules-support.ts';
import { MESSAGES, SOCKETS } from './rules-sockets.ts';
import type { Rule } from './rules-support.ts';

const { constants } = abi;

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

const NAMES: readonly Rule[] = [
  {
    name: 'nofollow-emlink',
    hosts: ['freebsd'],
    source: 'freebsd/freebsd-src 0061ddb3ede4 sys/kern/vfs_vnops.c: vn_open_vnode, VLNK',
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
    source:
      'xnu unlinkat_internal; freebsd/freebsd-src 002e18eb7f3e kern_funlinkat (VDIR); ' +
      'openbsd/src 0342f33fd03c sys/ufs/ufs/ufs_vnops.c: ufs_remove: a folder is EPERM',
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
