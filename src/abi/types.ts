/**
 * What a host's kernel and C library look like from outside: numbers only. One table per system;
 * the layers above read them and never ask which system it is.
 *
 * @module
 */

import type { FileAbi } from './file-types.ts';

/** A field of a C structure. */
export interface Field {
  readonly offset: number;
  readonly bytes: 1 | 2 | 4 | 8;
}

/** `struct msghdr`, as sendmsg(2) and recvmsg(2) take it. */
export interface MsghdrLayout {
  readonly SIZE: number;
  readonly name: Field;
  readonly namelen: Field;
  readonly iov: Field;
  readonly iovlen: Field;
  readonly control: Field;
  readonly controllen: Field;
  readonly flags: Field;
}

/** `struct cmsghdr` and the rules of CMSG_LEN and CMSG_SPACE. */
export interface CmsgLayout {
  readonly len: Field;
  readonly level: Field;
  readonly type: Field;
  /** Bytes from the header's start to the data (CMSG_LEN(0)). */
  readonly dataOffset: number;
  /** What CMSG_SPACE rounds up to. */
  readonly align: number;
}

/** `struct sockaddr_un`. */
export interface SockaddrUnLayout {
  /** The BSDs begin with a length byte and have a family of one byte. */
  readonly hasLength: boolean;
  readonly pathOffset: number;
  readonly pathBytes: number;
}

/** `struct sockaddr_in` and `struct sockaddr_in6`; port and address are in network order. */
export interface SockaddrInLayout {
  readonly SIZE: number;
  readonly portOffset: number;
  readonly addressOffset: number;
}

/** `struct sockaddr_vm`; begins like the other addresses of its host. */
export interface SockaddrVmLayout {
  readonly SIZE: number;
  readonly port: Field;
  readonly cid: Field;
}

/** `struct epoll_event`; packed on x86-64 only. */
export interface EpollLayout {
  readonly SIZE: number;
  readonly events: Field;
  readonly data: Field;
}

/** `struct kevent`. */
export interface KeventLayout {
  readonly SIZE: number;
  readonly ident: Field;
  readonly filter: Field;
  readonly flags: Field;
  readonly fflags: Field;
  readonly data: Field;
  readonly udata: Field;
}

/** Constants that every host has. */
export interface CommonConstants {
  readonly AF_UNIX: number;
  readonly AF_INET: number;
  readonly AF_INET6: number;
  readonly SOCK_STREAM: number;
  /** The number is there on every host; that of macOS has no Unix sockets of this type. */
  readonly SOCK_SEQPACKET: number;
  readonly SOL_SOCKET: number;
  readonly SO_ACCEPTCONN: number;
  readonly SO_REUSEADDR: number;
  readonly SO_ERROR: number;
  readonly SO_SNDBUF: number;
  readonly IPPROTO_TCP: number;
  readonly TCP_NODELAY: number;
  readonly SCM_RIGHTS: number;
  readonly MSG_PEEK: number;
  readonly MSG_TRUNC: number;
  readonly MSG_EOR: number;
  readonly MSG_CTRUNC: number;
  readonly MSG_DONTWAIT: number;
  readonly SHUT_RD: number;
  readonly SHUT_WR: number;
  readonly F_GETFD: number;
  readonly F_SETFD: number;
  readonly F_GETFL: number;
  readonly F_SETFL: number;
  readonly FD_CLOEXEC: number;
  readonly O_RDWR: number;
  readonly O_CREAT: number;
  readonly O_EXCL: number;
  readonly O_NONBLOCK: number;
  readonly O_CLOEXEC: number;
  readonly PROT_READ: number;
  readonly PROT_WRITE: number;
  readonly MAP_SHARED: number;
  readonly MAP_PRIVATE: number;
  readonly MAP_ANON: number;
  readonly LOCK_SH: number;
  readonly LOCK_EX: number;
  readonly LOCK_NB: number;
  readonly POLLIN: number;
  readonly POLLOUT: number;
  readonly POLLHUP: number;
  /** ioctl request for the size of a terminal. */
  readonly TIOCGWINSZ: number;
  /** tcsetattr(3): at once. */
  readonly TCSANOW: number;
}

/** Constants that only some hosts have; absent means that the host lacks the facility. */
export interface OptionalConstants {
  readonly MSG_NOSIGNAL?: number;
  readonly MSG_CMSG_CLOEXEC?: number;
  readonly SO_NOSIGPIPE?: number;
  readonly SOCK_CLOEXEC?: number;
  readonly SOCK_NONBLOCK?: number;
  readonly AF_VSOCK?: number;
  readonly SO_VM_SOCKETS_BUFFER_SIZE?: number;
  readonly SO_PASSCRED?: number;
  readonly SO_VM_SOCKETS_BUFFER_MAX_SIZE?: number;
  readonly SO_PEERCRED?: number;
  readonly SOL_LOCAL?: number;
  readonly LOCAL_PEERPID?: number;
  readonly MAP_NORESERVE?: number;
  readonly EFD_CLOEXEC?: number;
  readonly EFD_NONBLOCK?: number;
  readonly MFD_CLOEXEC?: number;
  readonly MFD_ALLOW_SEALING?: number;
  readonly F_ADD_SEALS?: number;
  readonly F_GET_SEALS?: number;
  readonly F_SEAL_SEAL?: number;
  readonly F_SEAL_SHRINK?: number;
  readonly F_SEAL_GROW?: number;
  /** FreeBSD's nameless object: the pointer value that shm_open takes for a path. */
  readonly SHM_ANON?: number;
  readonly F_FULLFSYNC?: number;
  /** Of fsync_range(2): data, or all of a file; and out of the disk's own cache as well. */
  readonly FDATASYNC?: number;
  readonly FFILESYNC?: number;
  readonly FDISKSYNC?: number;
  readonly F_NOCACHE?: number;
  readonly F_PUNCHHOLE?: number;
  readonly FALLOC_FL_KEEP_SIZE?: number;
  readonly FALLOC_FL_PUNCH_HOLE?: number;
  readonly FALLOC_FL_ZERO_RANGE?: number;
  readonly RWF_DSYNC?: number;
  readonly RWF_NOWAIT?: number;
  /** `f_type` of statfs(2) for file systems in memory. */
  readonly TMPFS_MAGIC?: number;
  readonly RAMFS_MAGIC?: number;
  readonly BLKGETSIZE64?: number;
  readonly BLKSSZGET?: number;
  readonly BLKDISCARD?: number;
  readonly BLKZEROOUT?: number;
  readonly DIOCGMEDIASIZE?: number;
  readonly DIOCGSECTORSIZE?: number;
  readonly DKIOCGETBLOCKSIZE?: number;
  readonly DKIOCGETBLOCKCOUNT?: number;
  readonly SPACECTL_DEALLOC?: number;
}

/** epoll(7). */
export interface EpollAbi {
  readonly event: EpollLayout;
  readonly EPOLL_CLOEXEC: number;
  readonly EPOLL_CTL_ADD: number;
  readonly EPOLL_CTL_DEL: number;
  readonly EPOLL_CTL_MOD: number;
}

/** An earlier kevent(2) of a host, for releases that have no newer one; its fields are the same. */
export interface OlderKevent {
  readonly symbol: string;
  readonly SIZE: number;
}

/** kqueue(2). */
export interface KqueueAbi {
  readonly event: KeventLayout;
  readonly older?: OlderKevent;
  readonly EVFILT_READ: number;
  readonly EVFILT_WRITE: number;
  readonly EV_ADD: number;
  readonly EV_DELETE: number;
  readonly EV_ERROR: number;
  readonly EV_EOF: number;
}

/** io_uring(7): system call numbers, the same on every architecture since Linux 5.1. */
export interface UringAbi {
  readonly SYS_io_uring_setup: number;
  readonly SYS_io_uring_enter: number;
  readonly SYS_io_uring_register: number;
}

/** One host. */
export interface Abi {
  readonly constants: CommonConstants;
  readonly optional: OptionalConstants;
  /** Functions whose plain names are those of older ones, and the names to look them up by. */
  readonly symbols?: Readonly<Record<string, string>>;
  /** Where functions are that the C library of other hosts has. */
  readonly libraries?: readonly string[];
  readonly msghdr: MsghdrLayout;
  readonly cmsg: CmsgLayout;
  readonly sockaddrUn: SockaddrUnLayout;
  readonly sockaddrIn: SockaddrInLayout;
  readonly sockaddrIn6: SockaddrInLayout;
  /** Null where there is no AF_VSOCK. */
  readonly sockaddrVm: SockaddrVmLayout | null;
  readonly epoll: EpollAbi | null;
  readonly kqueue: KqueueAbi | null;
  readonly uring: UringAbi | null;
  readonly files: FileAbi;
  /** Longest name that shm_open takes, without the final NUL. */
  readonly shmNameBytesMax: number;
}
