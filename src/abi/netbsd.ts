/**
 * NetBSD 10 and newer on x64 and arm64. Sources: `sys/sys/{socket,un,event,fcntl,mman,eventfd}.h`.
 *
 * Its C library keeps the functions of older releases under their plain names, and gives those that
 * the headers mean another one (`__RENAME` of `sys/cdefs.h`); a program that looks a function up by
 * itself has to ask for that name.
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
import { NETBSD_FILES } from './files-netbsd.ts';
import type { Abi } from './types.ts';

/** The same on both architectures, but for control messages. */
const NETBSD_ABI: Abi = {
  constants: { ...BSD_CONSTANTS, AF_INET6: 24, O_CLOEXEC: 0x400000 },
  optional: {
    SOCK_CLOEXEC: 0x10000000,
    SOCK_NONBLOCK: 0x20000000,
    MSG_NOSIGNAL: 0x400,
    MSG_CMSG_CLOEXEC: 0x800,
    SO_NOSIGPIPE: 0x800,
    MAP_NORESERVE: 0x40,
    EFD_CLOEXEC: 0x400000,
    EFD_NONBLOCK: 4,
    MFD_CLOEXEC: 1, // memfd_create and its seals came with NetBSD 11
    MFD_ALLOW_SEALING: 2,
    F_ADD_SEALS: 16,
    F_GET_SEALS: 17,
    F_SEAL_SEAL: 1,
    F_SEAL_SHRINK: 2,
    F_SEAL_GROW: 4,
    FDATASYNC: 0x10,
    FFILESYNC: 0x20,
    FDISKSYNC: 0x40,
    DIOCGSECTORSIZE: 0x40046485,
    DIOCGMEDIASIZE: 0x40086484,
  },
  symbols: {
    fstat: '__fstat50',
    fstatvfs: '__fstatvfs90',
    getdents: '__getdents30',
    getrusage: '__getrusage50',
    kevent: '__kevent100',
    socket: '__socket30',
  },
  libraries: ['librt.so.1'], // shm_open is not in its C library
  msghdr: BSD_MSGHDR,
  cmsg: { ...BSD_CMSG_FIELDS, dataOffset: 16, align: 8 }, // __ALIGNBYTES is 7 on x64
  sockaddrUn: BSD_SOCKADDR_UN,
  sockaddrIn: BSD_SOCKADDR_IN,
  sockaddrIn6: BSD_SOCKADDR_IN6,
  sockaddrVm: null,
  epoll: null,
  kqueue: {
    ...BSD_KQUEUE,
    EVFILT_READ: 0,
    EVFILT_WRITE: 1,
    // Filter and flags are 32 bits wide here, and NetBSD 11 has put ext[4] behind udata.
    event: {
      SIZE: 72,
      ident: { offset: 0, bytes: 8 },
      filter: { offset: 8, bytes: 4 },
      flags: { offset: 12, bytes: 4 },
      fflags: { offset: 16, bytes: 4 },
      data: { offset: 24, bytes: 8 },
      udata: { offset: 32, bytes: 8 },
    },
    older: { symbol: '__kevent50', SIZE: 40 },
  },
  uring: null,
  files: NETBSD_FILES,
  shmNameBytesMax: 248, // a slash, and a file name without the eight bytes of ".shmobj_"
};

/** The table of an architecture. */
export function netbsdAbi(arch: string): Abi {
  if (arch !== 'arm64') return NETBSD_ABI;
  return { ...NETBSD_ABI, cmsg: { ...NETBSD_ABI.cmsg, align: 16 } }; // __ALIGNBYTES is 15 there
}
