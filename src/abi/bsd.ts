/**
 * What macOS, FreeBSD, OpenBSD and NetBSD share: 4.4BSD's socket structures and constants, on
 * 64-bit machines.
 *
 * @module
 */
import type {
  CommonConstants,
  KeventLayout,
  MsghdrLayout,
  SockaddrInLayout,
  SockaddrUnLayout,
} from './types.ts';

/** `struct msghdr` (sys/socket.h of each): 32-bit `msg_iovlen` and `msg_controllen`. */
export const BSD_MSGHDR: MsghdrLayout = {
  SIZE: 48,
  name: { offset: 0, bytes: 8 },
  namelen: { offset: 8, bytes: 4 },
  iov: { offset: 16, bytes: 8 },
  iovlen: { offset: 24, bytes: 4 },
  control: { offset: 32, bytes: 8 },
  controllen: { offset: 40, bytes: 4 },
  flags: { offset: 44, bytes: 4 },
};

/** `struct sockaddr_un` (sys/un.h of each). */
export const BSD_SOCKADDR_UN: SockaddrUnLayout = {
  hasLength: true,
  pathOffset: 2,
  pathBytes: 104,
};

/** `struct sockaddr_in` (netinet/in.h of each). */
export const BSD_SOCKADDR_IN: SockaddrInLayout = { SIZE: 16, portOffset: 2, addressOffset: 4 };

/** `struct sockaddr_in6` (netinet6/in6.h, netinet/in.h of OpenBSD). */
export const BSD_SOCKADDR_IN6: SockaddrInLayout = { SIZE: 28, portOffset: 2, addressOffset: 8 };

/** The fields of `struct cmsghdr` (sys/socket.h of each); where the data begins differs. */
export const BSD_CMSG_FIELDS = {
  len: { offset: 0, bytes: 4 },
  level: { offset: 4, bytes: 4 },
  type: { offset: 8, bytes: 4 },
} as const;

/** `struct kevent` of macOS and OpenBSD (sys/event.h): 32 bytes on 64-bit machines. */
export const KEVENT_32: KeventLayout = {
  SIZE: 32,
  ident: { offset: 0, bytes: 8 },
  filter: { offset: 8, bytes: 2 },
  flags: { offset: 10, bytes: 2 },
  fflags: { offset: 12, bytes: 4 },
  data: { offset: 16, bytes: 8 },
  udata: { offset: 24, bytes: 8 },
};

/** sys/socket.h, fcntl.h, sys/mman.h, sys/file.h, poll.h: the same number on all of them. */
export const BSD_CONSTANTS: Omit<CommonConstants, 'O_CLOEXEC' | 'AF_INET6'> = {
  AF_UNIX: 1,
  AF_INET: 2,
  SOCK_STREAM: 1,
  SOCK_SEQPACKET: 5,
  SOL_SOCKET: 0xffff,
  SO_ACCEPTCONN: 0x2,
  SO_REUSEADDR: 0x4,
  SO_ERROR: 0x1007,
  SO_SNDBUF: 0x1001,
  IPPROTO_TCP: 6,
  TCP_NODELAY: 1,
  SCM_RIGHTS: 1,
  MSG_PEEK: 0x2,
  MSG_TRUNC: 0x10,
  MSG_EOR: 0x8,
  MSG_CTRUNC: 0x20,
  MSG_DONTWAIT: 0x80,
  SHUT_RD: 0,
  SHUT_WR: 1,
  F_GETFD: 1,
  F_SETFD: 2,
  F_GETFL: 3,
  F_SETFL: 4,
  FD_CLOEXEC: 1,
  O_RDWR: 2,
  O_CREAT: 0x200,
  O_EXCL: 0x800,
  O_NONBLOCK: 4,
  PROT_READ: 1,
  PROT_WRITE: 2,
  MAP_SHARED: 1,
  MAP_PRIVATE: 2,
  MAP_ANON: 0x1000,
  LOCK_SH: 1,
  LOCK_EX: 2,
  LOCK_NB: 4,
  POLLIN: 1,
  POLLOUT: 4,
  POLLHUP: 0x10,
  TIOCGWINSZ: 0x40087468, // sys/ttycom.h: _IOR('t', 104, struct winsize)
  TCSANOW: 0, // termios.h
};

/** sys/event.h: the same on all of them, but for the filters of NetBSD. */
export const BSD_KQUEUE = {
  EVFILT_READ: -1,
  EVFILT_WRITE: -2,
  EV_ADD: 1,
  EV_DELETE: 2,
  EV_ERROR: 0x4000,
  EV_EOF: 0x8000,
} as const;

/** sys/errno.h: names that Node does not know, with the same number on all of them. */
export const BSD_ERRNO: Readonly<Record<string, number>> = {
  ENOTBLK: 15,
  ESOCKTNOSUPPORT: 44,
  EPFNOSUPPORT: 46,
  ESHUTDOWN: 58,
  ETOOMANYREFS: 59,
  EHOSTDOWN: 64,
  EUSERS: 68,
  EREMOTE: 71,
};
