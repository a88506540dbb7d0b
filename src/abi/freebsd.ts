/**
 * FreeBSD 13 and newer on x64 and arm64. Sources:
 * `sys/sys/{socket,un,event,fcntl,mman,disk,eventfd}.h`.
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
} from './bsd.ts';
import { FREEBSD_FILES } from './files-freebsd.ts';
import type { Abi } from './types.ts';

/** The same on both architectures. */
export const FREEBSD_ABI: Abi = {
  constants: { ...BSD_CONSTANTS, AF_INET6: 28, O_CLOEXEC: 0x100000 },
  optional: {
    SOCK_CLOEXEC: 0x10000000,
    SOCK_NONBLOCK: 0x20000000,
    MSG_NOSIGNAL: 0x20000,
    MSG_CMSG_CLOEXEC: 0x40000,
    SO_NOSIGPIPE: 0x800,
    EFD_CLOEXEC: 0x100000,
    EFD_NONBLOCK: 4,
    MFD_CLOEXEC: 1,
    MFD_ALLOW_SEALING: 2,
    F_ADD_SEALS: 19,
    F_GET_SEALS: 20,
    F_SEAL_SEAL: 1,
    F_SEAL_SHRINK: 2,
    F_SEAL_GROW: 4,
    SHM_ANON: 1,
    DIOCGSECTORSIZE: 0x40046480,
    DIOCGMEDIASIZE: 0x40086481,
    SPACECTL_DEALLOC: 1,
  },
  msghdr: BSD_MSGHDR,
  cmsg: { ...BSD_CMSG_FIELDS, dataOffset: 16, align: 8 }, // _ALIGN is 8 on 64-bit machines
  sockaddrUn: BSD_SOCKADDR_UN,
  sockaddrIn: BSD_SOCKADDR_IN,
  sockaddrIn6: BSD_SOCKADDR_IN6,
  sockaddrVm: null,
  epoll: null,
  kqueue: {
    ...BSD_KQUEUE,
    // FreeBSD 12 widened it: data is 64 bits and ext[4] follows udata.
    event: {
      SIZE: 64,
      ident: { offset: 0, bytes: 8 },
      filter: { offset: 8, bytes: 2 },
      flags: { offset: 10, bytes: 2 },
      fflags: { offset: 12, bytes: 4 },
      data: { offset: 16, bytes: 8 },
      udata: { offset: 24, bytes: 8 },
    },
  },
  uring: null,
  files: FREEBSD_FILES,
  shmNameBytesMax: 255,
};
