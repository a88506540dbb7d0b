/**
 * System calls that a strict host refuses: their numbers, whom they are refused to, and a harmless
 * call of each that shows whether it is refused.
 *
 * @module
 */

/** What a refused call says. */
export const ENOSYS = 38;
export const EINVAL = 22;

/** When a call is refused; else always. */
export type When =
  /** An argument has one of these bits. */
  | { readonly argument: number; readonly bits: number }
  /** An argument is one of these numbers. */
  | { readonly argument: number; readonly among: readonly number[] }
  /** Its first argument is an epoll set that is none of libuv's, which exist before the filter. */
  | 'on a set of ours';

/**
 * Whom a call is refused to.
 *
 * - `process`: every thread, from the filter on; children too. libuv has a way round each of these,
 *   or does not make them.
 * - `data plane`: threads that Node has set up completely. libuv cannot be without epoll, and makes
 *   a set for each thread before any code of ours runs there; the main thread waits by libuv only.
 *   Its servers, which a console's sockets are, take connections by accept4 and nothing else.
 * - `main and data plane`: the same, and the main thread. libuv wants an eventfd for each thread
 *   that it starts, on that thread: those are told apart by a supervisor, since a filter is
 *   inherited.
 */
export type Scope = 'process' | 'data plane' | 'main and data plane';

/** A call that can be refused. */
export interface StrictCall {
  readonly scope: Scope;
  /** Its number on x64 and arm64; null where the architecture has none. */
  readonly numbers: readonly [x64: number | null, arm64: number | null];
  readonly when?: When;
  /** Default: ENOSYS. */
  readonly errno?: number;
  /** Arguments that make it fail, or do nothing, where it is not refused. */
  readonly probe: readonly number[];
}

/** Of socket(2): `SOCK_CLOEXEC | SOCK_NONBLOCK`. */
const SOCKET_FLAGS = 0o2004000;
const MSG_CMSG_CLOEXEC = 0x4000_0000;
/** fcntl(2): F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW. */
const OFD_COMMANDS = [36, 37, 38];
const RENAME_NOREPLACE = 1;
/** Where there is no memory, so that a call which is not refused fails. */
const NOWHERE = 1;

const always = (
  x64: number | null,
  arm64: number | null,
  ...probe: readonly number[]
): StrictCall => ({ scope: 'process', numbers: [x64, arm64], probe });

/** The calls that can be refused, by their names in the kernel and what of them is. */
export type StrictCallName =
  | 'eventfd2'
  | 'memfd_create'
  | 'io_uring_setup'
  | 'io_uring_enter'
  | 'epoll_create1'
  | 'epoll_ctl'
  | 'epoll_wait'
  | 'epoll_pwait'
  | 'accept4'
  | 'recvmsg(MSG_CMSG_CLOEXEC)'
  | 'socket(SOCK_CLOEXEC)'
  | 'preadv2'
  | 'pwritev2'
  | 'openat2'
  | 'close_range'
  | 'statx'
  | 'renameat2'
  | 'copy_file_range'
  | 'fallocate'
  | 'fchmodat2'
  | 'syncfs'
  | 'unshare'
  | 'setfsuid'
  | 'setfsgid'
  | 'capset'
  | 'fcntl(F_OFD_SETLK)';

/** All of them, by their names in the kernel. */
export const STRICT_CALLS: Readonly<Record<StrictCallName, StrictCall>> = {
  eventfd2: { ...always(290, 19, 0, -1), scope: 'main and data plane' },
  memfd_create: always(319, 279, NOWHERE, 0),
  io_uring_setup: always(425, 425, 0, NOWHERE),
  io_uring_enter: always(426, 426, -1, 0, 0, 0),
  epoll_create1: { ...always(291, 20, -1), scope: 'data plane' },
  epoll_ctl: { ...always(233, 21, -1, 0, -1), scope: 'data plane', when: 'on a set of ours' },
  epoll_wait: { ...always(232, null, -1), scope: 'data plane', when: 'on a set of ours' },
  epoll_pwait: { ...always(281, 22, -1), scope: 'data plane', when: 'on a set of ours' },
  accept4: { ...always(288, 242, -1, 0, 0, 0), scope: 'data plane' },
  'recvmsg(MSG_CMSG_CLOEXEC)': {
    ...always(47, 212, -1, NOWHERE, MSG_CMSG_CLOEXEC),
    when: { argument: 2, bits: MSG_CMSG_CLOEXEC },
    errno: EINVAL,
  },
  'socket(SOCK_CLOEXEC)': {
    ...always(41, 198, -1, SOCKET_FLAGS, 0), // -1: EAFNOSUPPORT where it is not refused
    when: { argument: 1, bits: SOCKET_FLAGS },
    errno: EINVAL,
  },
  preadv2: always(327, 286, -1, NOWHERE, 1, 0, 0, 8),
  pwritev2: always(328, 287, -1, NOWHERE, 1, 0, 0, 8),
  openat2: always(437, 437, -1, NOWHERE, NOWHERE, 0),
  close_range: always(436, 436, 1, 0, 0),
  statx: always(332, 291, -1, NOWHERE, 0, 0, NOWHERE),
  renameat2: always(316, 276, -1, NOWHERE, -1, NOWHERE, RENAME_NOREPLACE),
  copy_file_range: always(326, 285, -1, 0, -1, 0, 1, 0),
  fallocate: always(285, 47, -1, 0, 0, 1),
  fchmodat2: always(452, 452, -1, NOWHERE, 0, -1),
  syncfs: always(306, 267, -1),
  unshare: always(272, 97, 0),
  setfsuid: always(122, 151, -1),
  setfsgid: always(123, 152, -1),
  capset: always(126, 91, NOWHERE, NOWHERE),
  'fcntl(F_OFD_SETLK)': {
    ...always(72, 25, -1, 37, NOWHERE),
    when: { argument: 1, among: OFD_COMMANDS },
  },
};

/** Its number on this architecture; null where it has none. */
export function numberOf(call: StrictCall): number | null {
  return call.numbers[process.arch === 'arm64' ? 1 : 0];
}
