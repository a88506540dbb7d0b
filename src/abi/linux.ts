/**
 * Linux on x64 and arm64, with glibc or musl. Sources: the kernel's `include/uapi`, and glibc's and
 * musl's `bits/` headers. musl declares `msg_iovlen` and `msg_controllen` as 32 bits with padding,
 * which is the same bytes as the kernel's 64-bit fields on a little-endian machine once the padding
 * is zero.
 *
 * @module
 */
import { linuxFiles } from './files-linux.ts';
import type { Abi, EpollLayout } from './types.ts';

/** `__attribute__((packed))` on x86-64 only (uapi/linux/eventpoll.h). */
const EPOLL_EVENT: Readonly<Record<string, EpollLayout>> = {
  x64: { SIZE: 12, events: { offset: 0, bytes: 4 }, data: { offset: 4, bytes: 8 } },
  arm64: { SIZE: 16, events: { offset: 0, bytes: 4 }, data: { offset: 8, bytes: 8 } },
};

/** asm-generic/fcntl.h; arm64 has its own values for O_DIRECT only, which Node knows. */
const CONSTANTS: Abi['constants'] = {
  AF_UNIX: 1,
  AF_INET: 2,
  AF_INET6: 10,
  SOCK_STREAM: 1,
  SOCK_SEQPACKET: 5,
  SOL_SOCKET: 1,
  SO_ACCEPTCONN: 30,
  SO_REUSEADDR: 2,
  SO_ERROR: 4,
  SO_SNDBUF: 7,
  IPPROTO_TCP: 6,
  TCP_NODELAY: 1,
  SCM_RIGHTS: 1,
  MSG_PEEK: 0x2,
  MSG_TRUNC: 0x20,
  MSG_EOR: 0x80,
  MSG_CTRUNC: 0x8,
  MSG_DONTWAIT: 0x40,
  SHUT_RD: 0,
  SHUT_WR: 1,
  F_GETFD: 1,
  F_SETFD: 2,
  F_GETFL: 3,
  F_SETFL: 4,
  FD_CLOEXEC: 1,
  O_RDWR: 2,
  O_CREAT: 0o100,
  O_EXCL: 0o200,
  O_NONBLOCK: 0o4000,
  O_CLOEXEC: 0o2000000,
  PROT_READ: 1,
  PROT_WRITE: 2,
  MAP_SHARED: 1,
  MAP_PRIVATE: 2,
  MAP_ANON: 0x20,
  LOCK_SH: 1,
  LOCK_EX: 2,
  LOCK_NB: 4,
  POLLIN: 1,
  POLLOUT: 4,
  POLLHUP: 0x10,
  TIOCGWINSZ: 0x5413, // asm-generic/ioctls.h
  TCSANOW: 0, // asm-generic/termbits-common.h
};

const OPTIONAL: Abi['optional'] = {
  MSG_NOSIGNAL: 0x4000,
  MSG_CMSG_CLOEXEC: 0x40000000,
  SO_PEERCRED: 17,
  SOCK_CLOEXEC: 0o2000000,
  SOCK_NONBLOCK: 0o4000,
  AF_VSOCK: 40,
  SO_PASSCRED: 16,
  SO_VM_SOCKETS_BUFFER_SIZE: 0, // uapi/linux/vm_sockets.h
  SO_VM_SOCKETS_BUFFER_MAX_SIZE: 2,
  MAP_NORESERVE: 0x4000,
  EFD_CLOEXEC: 0o2000000,
  EFD_NONBLOCK: 0o4000,
  MFD_CLOEXEC: 1,
  MFD_ALLOW_SEALING: 2,
  F_ADD_SEALS: 1033,
  F_GET_SEALS: 1034,
  F_SEAL_SEAL: 1,
  F_SEAL_SHRINK: 2,
  F_SEAL_GROW: 4,
  FALLOC_FL_KEEP_SIZE: 1,
  FALLOC_FL_PUNCH_HOLE: 2,
  FALLOC_FL_ZERO_RANGE: 0x10,
  RWF_DSYNC: 2,
  RWF_NOWAIT: 8,
  TMPFS_MAGIC: 0x01021994,
  RAMFS_MAGIC: 0x858458f6,
  BLKGETSIZE64: 0x80081272,
  BLKSSZGET: 0x1268,
  BLKDISCARD: 0x1277,
  BLKZEROOUT: 0x127f,
};

/** The table for an architecture as `process.arch` names it; undefined when we have none. */
export function linuxAbi(arch: string): Abi | undefined {
  const event = EPOLL_EVENT[arch];
  if (event === undefined) return undefined;
  return {
    constants: CONSTANTS,
    optional: OPTIONAL,
    msghdr: {
      SIZE: 56,
      name: { offset: 0, bytes: 8 },
      namelen: { offset: 8, bytes: 4 },
      iov: { offset: 16, bytes: 8 },
      iovlen: { offset: 24, bytes: 8 },
      control: { offset: 32, bytes: 8 },
      controllen: { offset: 40, bytes: 8 },
      flags: { offset: 48, bytes: 4 },
    },
    cmsg: {
      len: { offset: 0, bytes: 8 },
      level: { offset: 8, bytes: 4 },
      type: { offset: 12, bytes: 4 },
      dataOffset: 16,
      align: 8,
    },
    sockaddrUn: { hasLength: false, pathOffset: 2, pathBytes: 108 },
    sockaddrIn: { SIZE: 16, portOffset: 2, addressOffset: 4 },
    sockaddrIn6: { SIZE: 28, portOffset: 2, addressOffset: 8 },
    // uapi/linux/vm_sockets.h: family 2, reserved 2, port 4, cid 4, flags 1, zero 3
    sockaddrVm: {
      SIZE: 16,
      port: { offset: 4, bytes: 4 },
      cid: { offset: 8, bytes: 4 },
    },
    epoll: {
      event,
      EPOLL_CLOEXEC: 0o2000000,
      EPOLL_CTL_ADD: 1,
      EPOLL_CTL_DEL: 2,
      EPOLL_CTL_MOD: 3,
    },
    kqueue: null,
    uring: { SYS_io_uring_setup: 425, SYS_io_uring_enter: 426, SYS_io_uring_register: 427 },
    files: linuxFiles(arch),
    shmNameBytesMax: 255,
  };
}
