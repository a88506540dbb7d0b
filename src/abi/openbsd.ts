/**
 * OpenBSD on x64 and arm64. Sources: `sys/sys/{socket,un,event,fcntl,mman}.h`.
 *
 * @module
 */
import {
  BSD_CMSG_FIELDS,
  BSD_CONSTANTS,
  BSD_KQUEUE,
  BSD_MSGHDR,
  BSD_SOCKADDR_IN,
  BSD_SOCKADDR_IN6,
  BSD_SOCKADDR_UN,
  KEVENT_32,
} from './bsd.ts';
import { OPENBSD_FILES } from './files-openbsd.ts';
import type { Abi } from './types.ts';

/** The same on both architectures. */
export const OPENBSD_ABI: Abi = {
  constants: { ...BSD_CONSTANTS, AF_INET6: 24, O_CLOEXEC: 0x10000 },
  optional: {
    MSG_NOSIGNAL: 0x400,
    MSG_CMSG_CLOEXEC: 0x800,
    SOCK_CLOEXEC: 0x8000,
    SOCK_NONBLOCK: 0x4000,
  },
  msghdr: BSD_MSGHDR,
  cmsg: { ...BSD_CMSG_FIELDS, dataOffset: 16, align: 8 }, // _ALIGN is 8 on 64-bit machines
  sockaddrUn: BSD_SOCKADDR_UN,
  sockaddrIn: BSD_SOCKADDR_IN,
  sockaddrIn6: BSD_SOCKADDR_IN6,
  sockaddrVm: null,
  epoll: null,
  kqueue: { ...BSD_KQUEUE, event: KEVENT_32 },
  uring: null,
  files: OPENBSD_FILES,
  shmNameBytesMax: 255,
};
