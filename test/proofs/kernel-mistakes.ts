/**
 * Mistakes that are easily made by somebody who has Linux before him, and the tests that see them
 * on a model of another kernel.
 *
 * @module
 */
import type { PlayedHost } from '../hosts/model.ts';
import type { Mutation } from '../hosts/mutate.ts';

/** A mistake, where it is made and who sees it. */
export interface Mistake extends Mutation {
  readonly about: string;
  readonly os: PlayedHost;
  /** The test file. */
  readonly tests: string;
  /** The test in it, where the others would wait for ever. */
  readonly only?: string;
}

const POLLER = { module: 'sys/poller-kqueue', tests: 'src/sys/poller.test.ts' } as const;
const PASSING = { module: 'sys/fd-passing', tests: 'src/sys/fd-passing.test.ts' } as const;

/** All of them. */
export const MISTAKES: readonly Mistake[] = [
  {
    about: 'control data is announced with padding behind it',
    os: 'darwin',
    ...PASSING,
    from: 'block.set(0, msghdr.controllen, controlBytes)',
    to: 'block.set(0, msghdr.controllen, controlBytes && controlBytes + 16)',
  },
  {
    about: 'control data without descriptors is no null pointer',
    os: 'openbsd',
    ...PASSING,
    from: 'controlBytes === 0 ? 0 : block.address + CONTROL_AT',
    to: 'block.address + CONTROL_AT',
  },
  {
    about: 'as many descriptors in a message as Linux takes',
    os: 'openbsd',
    ...PASSING,
    from: 'FDS_PER_MESSAGE_MAX = 127',
    to: 'FDS_PER_MESSAGE_MAX = 253',
  },
  {
    about: 'received descriptors are inherited by programs that are started',
    os: 'darwin',
    ...PASSING,
    from: 'if (receiveFlags === 0)',
    to: 'if (false)',
  },
  {
    about: 'a process without room for descriptors ends the session',
    os: 'freebsd',
    module: 'sys/fd-passing',
    tests: 'src/sys/process.test.ts',
    from: 'errno === EMSGSIZE',
    to: 'false',
  },
  {
    about: 'shared memory is sized twice',
    os: 'darwin',
    module: 'sys/shm',
    tests: 'src/sys/shm.test.ts',
    from: 'seal(fd);',
    to: 'check(libc.ftruncate(fd, sizeBytes), call);',
  },
  {
    about: 'a mapping begins at a multiple of 4 KiB where pages have 16',
    os: 'darwin',
    module: 'sys/mmap',
    tests: 'src/sys/mmap.test.ts',
    from: 'PAGE_BYTES_MAX = 16384',
    to: 'PAGE_BYTES_MAX = 4096',
  },
  {
    about: 'the same, as a session sees it: a region at an odd multiple of 4 KiB',
    os: 'darwin',
    module: 'sys/mmap',
    tests: 'src/backend/session-memory.test.ts',
    from: 'PAGE_BYTES_MAX = 16384',
    to: 'PAGE_BYTES_MAX = 4096',
  },
  {
    about: 'shared memory passes for a notifier',
    os: 'darwin',
    module: 'sys/fd',
    tests: 'src/backend/session-fds.test.ts',
    from: "? 'memory' : 'other'",
    to: "? 'other' : 'other'",
  },
  {
    about: 'edge-triggered: what is not taken is lost',
    os: 'freebsd',
    ...POLLER,
    only: 'is level-triggered',
    from: 'after === 0 ? EV_DELETE : EV_ADD',
    to: 'after === 0 ? EV_DELETE : EV_ADD | 0x20',
  },
  {
    about: 'a knote of a closed descriptor is gone with ENOENT only',
    os: 'openbsd',
    ...POLLER,
    from: 'errno === ENOENT || errno === EBADF',
    to: 'errno === ENOENT',
  },
  {
    about: 'a pipe that nobody reads can be watched for writing',
    os: 'freebsd',
    ...POLLER,
    from: 'errno === EPIPE',
    to: 'false',
  },
  {
    about: 'nanoseconds of a whole second',
    os: 'darwin',
    ...POLLER,
    from: '(us % 1e6) * 1000',
    to: 'Math.ceil(timeoutUs % 1e6) * 1000',
  },
  {
    about: 'an address of a socket begins with two bytes of family',
    os: 'openbsd',
    module: 'sys/socket',
    tests: 'src/sys/socket.test.ts',
    from: 'if (sockaddrUn.hasLength)',
    to: 'if (false)',
  },
  {
    about: 'every host knows SO_ACCEPTCONN',
    os: 'darwin',
    module: 'sys/socket',
    tests: 'src/sys/socket.test.ts',
    from: 'errno === ENOPROTOOPT || errno === EINVAL',
    to: 'false',
  },
];
