/**
 * What Linux's sandboxes are made of: Landlock, seccomp, and the instructions of a filter. The same
 * numbers on every architecture.
 *
 * @module
 */

/** uapi/linux/landlock.h. Access rights are bits of 64-bit words, all of them in the low half. */
export const LANDLOCK = {
  CREATE_RULESET_VERSION: 1,
  RULE_PATH_BENEATH: 1,
  RULE_NET_PORT: 2,
  ACCESS_FS_EXECUTE: 0x1,
  ACCESS_FS_WRITE_FILE: 0x2,
  ACCESS_FS_READ_FILE: 0x4,
  ACCESS_FS_READ_DIR: 0x8,
  ACCESS_FS_REMOVE_DIR: 0x10,
  ACCESS_FS_REMOVE_FILE: 0x20,
  ACCESS_FS_MAKE_CHAR: 0x40,
  ACCESS_FS_MAKE_DIR: 0x80,
  ACCESS_FS_MAKE_REG: 0x100,
  ACCESS_FS_MAKE_SOCK: 0x200,
  ACCESS_FS_MAKE_FIFO: 0x400,
  ACCESS_FS_MAKE_BLOCK: 0x800,
  ACCESS_FS_MAKE_SYM: 0x1000,
  /** Since version 2 (Linux 5.19); before it, nothing moves from one folder to another. */
  ACCESS_FS_REFER: 0x2000,
  /** Since version 3 (6.2). */
  ACCESS_FS_TRUNCATE: 0x4000,
  /** Since version 5 (6.10). */
  ACCESS_FS_IOCTL_DEV: 0x8000,
  /** Since version 4 (6.7). */
  ACCESS_NET_BIND_TCP: 0x1,
  ACCESS_NET_CONNECT_TCP: 0x2,
  /** Since version 6 (6.12). */
  SCOPE_ABSTRACT_UNIX_SOCKET: 0x1,
  SCOPE_SIGNAL: 0x2,
} as const;

/** `struct landlock_ruleset_attr`; each field came with a version, which is `bytes` long then. */
export const LANDLOCK_RULESET_ATTR = {
  handledAccessFs: 0,
  handledAccessNet: 8,
  scoped: 16,
  SIZE: 24,
} as const;

/** `struct landlock_path_beneath_attr`, packed. | allowed_access 8 | parent_fd 4 | */
export const LANDLOCK_PATH_BENEATH_ATTR = { allowedAccess: 0, parentFd: 8, SIZE: 12 } as const;

/** `struct landlock_net_port_attr`. | allowed_access 8 | port 8 | */
export const LANDLOCK_NET_PORT_ATTR = { allowedAccess: 0, port: 8, SIZE: 16 } as const;

/** uapi/linux/seccomp.h, and the architectures of uapi/linux/audit.h. */
export const SECCOMP = {
  SET_MODE_FILTER: 1,
  FILTER_FLAG_TSYNC: 1,
  FILTER_FLAG_SPEC_ALLOW: 4,
  RET_KILL_PROCESS: 0x8000_0000,
  RET_TRAP: 0x0003_0000,
  RET_ERRNO: 0x0005_0000,
  RET_LOG: 0x7ffc_0000,
  RET_ALLOW: 0x7fff_0000,
  AUDIT_ARCH_X86_64: 0xc000_003e,
  AUDIT_ARCH_AARCH64: 0xc000_00b7,
  /** arch/x86/include/uapi/asm/unistd.h: calls of the x32 ABI, which a filter sees as x86-64. */
  X32_SYSCALL_BIT: 0x4000_0000,
} as const;

/** `struct seccomp_data`, what a filter reads. | nr 4 | arch 4 | instruction_pointer 8 | args | */
export const SECCOMP_DATA = { nr: 0, arch: 4, args: 16, argBytes: 8, SIZE: 64 } as const;

/** uapi/linux/bpf_common.h and filter.h: the instructions that our filters have. */
export const BPF = {
  LD_W_ABS: 0x20, // BPF_LD | BPF_W | BPF_ABS
  JMP_JA: 0x05,
  JMP_JEQ_K: 0x15,
  JMP_JGT_K: 0x25,
  JMP_JGE_K: 0x35,
  ALU_AND_K: 0x54,
  RET_K: 0x06,
  MAXINSNS: 4096,
} as const;

/** `struct sock_filter`. | code 2 | jt 1 | jf 1 | k 4 | */
export const SOCK_FILTER = { code: 0, jt: 2, jf: 3, k: 4, SIZE: 8 } as const;

/** `struct sock_fprog` of a 64-bit machine. | len 2 | padding 6 | filter 8 | */
export const SOCK_FPROG = { len: 0, filter: 8, SIZE: 16 } as const;

/** What the rules of a filter look into. */
export const SANDBOX_ARGS = {
  PR_SET_NO_NEW_PRIVS: 38,
  /** uapi/linux/sched.h: new namespaces; NEWTIME's bit is part of the signal in clone(2). */
  CLONE_THREAD: 0x10000,
  CLONE_NEWTIME: 0x80,
  CLONE_NEW_ALL: 0x7e02_0000,
  /** asm-generic/ioctls.h: typing into a terminal in the place of its user. */
  TIOCSTI: 0x5412,
  TIOCLINUX: 0x541c,
  /** uapi/linux/personality.h users: this value only asks. */
  PERSONALITY_QUERY: 0xffff_ffff,
  AF_UNIX: 1,
  AF_INET: 2,
  AF_INET6: 10,
  AF_VSOCK: 40,
  SOCK_TYPE_MASK: 0xf,
  SOCK_STREAM: 1,
  SOCK_DGRAM: 2,
  SOCK_SEQPACKET: 5,
} as const;
