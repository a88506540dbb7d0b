/**
 * macOS on arm64 and x64. Sources: xnu's `bsd/sys/{socket,un,event,fcntl,mman,disk}.h` and
 * `bsd/sys/posix_shm.h`.
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
import { DARWIN_FILES } from './files-darwin.ts';
import type { Abi } from './types.ts';

/** The same on both architectures. */
export const DARWIN_ABI: Abi = {
  constants: { ...BSD_CONSTANTS, AF_INET6: 30, O_CLOEXEC: 0x1000000 },
  optional: {
    AF_VSOCK: 40,
    MSG_NOSIGNAL: 0x80000,
    SO_NOSIGPIPE: 0x1022,
    SOL_LOCAL: 0,
    LOCAL_PEERPID: 2,
    MAP_NORESERVE: 0x40,
    F_FULLFSYNC: 51,
    F_NOCACHE: 48,
    F_PUNCHHOLE: 99,
    DKIOCGETBLOCKSIZE: 0x40046418,
    DKIOCGETBLOCKCOUNT: 0x40086419,
  },
  msghdr: BSD_MSGHDR,
  // __DARWIN_ALIGN32: the header's 12 bytes need no padding, and one control message must fill
  // msg_controllen exactly (uipc_usrreq.c, unp_internalize).
  cmsg: { ...BSD_CMSG_FIELDS, dataOffset: 12, align: 4 },
  sockaddrUn: BSD_SOCKADDR_UN,
  sockaddrIn: BSD_SOCKADDR_IN,
  sockaddrIn6: BSD_SOCKADDR_IN6,
  sockaddrVm: {
    // bsd/sys/vsock.h: len 1, family 1, reserved 2, port 4, cid 4
    SIZE: 12,
    port: { offset: 4, bytes: 4 },
    cid: { offset: 8, bytes: 4 },
  },
  epoll: null,
  kqueue: { ...BSD_KQUEUE, event: KEVENT_32 },
  uring: null,
  files: DARWIN_FILES,
  shmNameBytesMax: 31, // PSHMNAMLEN
};
