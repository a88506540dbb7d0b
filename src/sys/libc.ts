/**
 * Every C function that we call. Functions that a host may lack are null there.
 *
 * SAFETY, for all of them: addresses are passed as numbers (`uintptr_t`) and are host addresses of
 * memory that the caller keeps mapped during the call; sizes are those of that memory. Variadic C
 * functions are declared with `...`, because Apple's arm64 passes such arguments on the stack.
 *
 * @module
 */
import { abi } from './host.ts';
import { loadKoffi } from './koffi.ts';

const koffi = loadKoffi();
const libc = koffi.load(null);
/** What else functions are looked for in, after the C library. */
const others = (abi.libraries ?? []).map(load).filter((library) => library !== null);
const symbols = abi.symbols ?? {};

function load(name: string): typeof libc | null {
  try {
    return koffi.load(name);
  } catch {
    return null; // what is in it is not there then
  }
}

/** A prototype by the name under which this host has the function. */
function asNamed(prototype: string): string {
  return prototype.replace(/\w+(?=\()/, (name) => symbols[name] ?? name);
}

/** A C function that takes and returns numbers. */
export type NumberFunction = (...args: (number | bigint | string | null)[]) => number;

/** Declares a function of the C library; null when this host has none of that name. */
export function find(prototype: string): NumberFunction | null {
  const named = asNamed(prototype);
  for (const library of [libc, ...others]) {
    try {
      return library.func(named);
    } catch {
      // the next one then
    }
  }
  return null;
}

/** Declares a function that every host has. */
export function need(prototype: string): NumberFunction {
  return libc.func(asNamed(prototype));
}

/**
 * The first of these names that this host has, for names that no prototype can spell (`a$B`), or
 * that are not the functions' own.
 */
export function firstOf(
  names: readonly string[],
  result: string,
  args: readonly string[],
): NumberFunction | null {
  for (const name of names) {
    try {
      return libc.func(name, result, [...args]);
    } catch {
      // the next one then
    }
  }
  return null;
}

/** A variadic function with one further argument; koffi wants the type before the value. */
export function variadic(
  prototype: string,
): (type: string, ...args: (number | string)[]) => number {
  const call = (find(prototype) ?? need(prototype)) as unknown as (...args: unknown[]) => number;
  return (type, ...args) => {
    const last = args.at(-1);
    return call(...args.slice(0, -1), type, last);
  };
}

/** `errno` of the last call that this thread made. */
export function errno(): number {
  return koffi.errno();
}

/**
 * An ArrayBuffer over `lengthBytes` of memory. SAFETY: the caller keeps it mapped while it is used.
 */
export function rawView(address: number, lengthBytes: number): ArrayBuffer {
  return koffi.view(BigInt(address), lengthBytes);
}

/** The address of a callback that C may call on this thread until `unregister`. */
export function register(fn: (...args: (number | bigint)[]) => void, prototype: string): bigint {
  return koffi.register(fn, koffi.pointer(koffi.proto(prototype)));
}

export const close: NumberFunction = need('int close(int fd)');
export const dup: NumberFunction = need('int dup(int fd)');
export const read: NumberFunction = need('int64_t read(int fd, uintptr_t buf, size_t count)');
export const write: NumberFunction = need('int64_t write(int fd, uintptr_t buf, size_t count)');
export const pread: NumberFunction = need(
  'int64_t pread(int fd, uintptr_t buf, size_t count, int64_t offset)',
);
export const pwrite: NumberFunction = need(
  'int64_t pwrite(int fd, uintptr_t buf, size_t count, int64_t offset)',
);
export const preadv: NumberFunction | null = find(
  'int64_t preadv(int fd, uintptr_t iov, int iovcnt, int64_t offset)',
);
export const pwritev: NumberFunction | null = find(
  'int64_t pwritev(int fd, uintptr_t iov, int iovcnt, int64_t offset)',
);
export const preadv2: NumberFunction | null = find(
  'int64_t preadv2(int fd, uintptr_t iov, int iovcnt, int64_t offset, int flags)',
);
export const pwritev2: NumberFunction | null = find(
  'int64_t pwritev2(int fd, uintptr_t iov, int iovcnt, int64_t offset, int flags)',
);
export const getrusage: NumberFunction | null = find('int getrusage(int who, uintptr_t usage)');
export const fsync: NumberFunction = need('int fsync(int fd)');
export const fdatasync: NumberFunction | null = find('int fdatasync(int fd)');
export const ftruncate: NumberFunction = need('int ftruncate(int fd, int64_t length)');
/** NetBSD: fsync does not empty a disk's own cache there. */
export const fsyncRange: NumberFunction | null = find(
  'int fsync_range(int fd, int how, int64_t start, int64_t length)',
);
export const fallocate: NumberFunction | null = find(
  'int fallocate(int fd, int mode, int64_t offset, int64_t len)',
);
export const fspacectl: NumberFunction | null = find(
  'int fspacectl(int fd, int cmd, uintptr_t rqsr, int flags, uintptr_t rmsr)',
);
export const flock: NumberFunction = need('int flock(int fd, int operation)');
export const fcntl: (type: string, ...args: (number | string)[]) => number = variadic(
  'int fcntl(int fd, int cmd, ...)',
);
export const ioctl: (type: string, ...args: (number | string)[]) => number = variadic(
  'int ioctl(int fd, unsigned long request, ...)',
);

export const socket: NumberFunction = need('int socket(int domain, int type, int protocol)');
export const bind: NumberFunction = need('int bind(int fd, uintptr_t addr, uint32_t len)');
export const connect: NumberFunction = need('int connect(int fd, uintptr_t addr, uint32_t len)');
export const listen: NumberFunction = need('int listen(int fd, int backlog)');
export const accept: NumberFunction = need('int accept(int fd, uintptr_t addr, uintptr_t len)');
export const accept4: NumberFunction | null = find(
  'int accept4(int fd, uintptr_t addr, uintptr_t len, int flags)',
);
export const shutdown: NumberFunction = need('int shutdown(int fd, int how)');
export const recv: NumberFunction = need(
  'int64_t recv(int fd, uintptr_t buf, size_t len, int flags)',
);
export const send: NumberFunction = need(
  'int64_t send(int fd, uintptr_t buf, size_t len, int flags)',
);
export const readv: NumberFunction = need('int64_t readv(int fd, uintptr_t iov, int iovcnt)');
export const socketpair: NumberFunction = need(
  'int socketpair(int domain, int type, int protocol, uintptr_t sv)',
);
export const sendmsg: NumberFunction = need('int64_t sendmsg(int fd, uintptr_t msg, int flags)');
export const recvmsg: NumberFunction = need('int64_t recvmsg(int fd, uintptr_t msg, int flags)');
export const getsockopt: NumberFunction = need(
  'int getsockopt(int fd, int level, int name, uintptr_t value, uintptr_t len)',
);
export const setsockopt: NumberFunction = need(
  'int setsockopt(int fd, int level, int name, uintptr_t value, uint32_t len)',
);
export const getpeername: NumberFunction = need(
  'int getpeername(int fd, uintptr_t addr, uintptr_t len)',
);
export const getsockname: NumberFunction = need(
  'int getsockname(int fd, uintptr_t addr, uintptr_t len)',
);
export const getpeereid: NumberFunction | null = find(
  'int getpeereid(int fd, uintptr_t uid, uintptr_t gid)',
);

export const eventfd: NumberFunction | null = find('int eventfd(unsigned int initval, int flags)');
export const pipe: NumberFunction = need('int pipe(uintptr_t fds)');
export const memfdCreate: NumberFunction | null = find(
  'int memfd_create(const char *name, unsigned int flags)',
);
/** `mode_t` is promoted to int, as a variadic argument is. */
export const shmOpen: ((type: string, ...args: (number | string)[]) => number) | null =
  find('int shm_unlink(const char *name)') === null
    ? null
    : variadic('int shm_open(const char *name, int flags, ...)');
/**
 * shm_open with SHM_ANON, which is an address and no string. Declared only where there is such a
 * thing: on macOS the function is variadic.
 */
export const shmOpenAddress: NumberFunction | null =
  abi.optional.SHM_ANON === undefined
    ? null
    : find('int shm_open(uintptr_t name, int flags, uint16_t mode)');
export const shmUnlink: NumberFunction | null = find('int shm_unlink(const char *name)');
export const shmMkstemp: NumberFunction | null = find('int shm_mkstemp(uintptr_t template)');

export const mmap: NumberFunction = need(
  'intptr_t mmap(uintptr_t addr, size_t length, int prot, int flags, int fd, int64_t offset)',
);
export const munmap: NumberFunction = need('int munmap(uintptr_t addr, size_t length)');

/** `nfds_t` is a long on Linux, and an int where there is kqueue. */
export const poll: NumberFunction = need(
  `int poll(uintptr_t fds, unsigned ${abi.kqueue === null ? 'long' : 'int'} n, int timeoutMs)`,
);
export const epollCreate1: NumberFunction | null = find('int epoll_create1(int flags)');
export const epollCtl: NumberFunction | null = find(
  'int epoll_ctl(int epfd, int op, int fd, uintptr_t event)',
);
export const epollWait: NumberFunction | null = find(
  'int epoll_wait(int epfd, uintptr_t events, int max, int timeoutMs)',
);
export const kqueue: NumberFunction | null = find('int kqueue()');
/** How many events there are: a size on NetBSD, whose events have filters of 32 bits. */
const EVENTS = abi.kqueue?.event.filter.bytes === 4 ? 'size_t' : 'int';
const newestKevent = find(
  `int kevent(int kq, uintptr_t changes, ${EVENTS} nchanges, uintptr_t events, ` +
    `${EVENTS} nevents, uintptr_t timeout)`,
);
export const kevent: NumberFunction | null = newestKevent ?? olderKevent();
/** Bytes of a `struct kevent` of that function. */
export const keventBytes: number =
  (newestKevent === null ? abi.kqueue?.older?.SIZE : undefined) ?? abi.kqueue?.event.SIZE ?? 0;

function olderKevent(): NumberFunction | null {
  const older = abi.kqueue?.older;
  if (older === undefined) return null;
  const args = ['int', 'uintptr_t', EVENTS, 'uintptr_t', EVENTS, 'uintptr_t'];
  return firstOf([older.symbol], 'int', args);
}

/**
 * syscall(2) with six arguments, for io_uring, which has no function of its own in the C library.
 * Of Linux only: its calling conventions pass the arguments of a variadic function like any others,
 * while that of Apple's arm64 does not, and macOS takes and returns an int.
 */
export const syscall6: NumberFunction | null =
  abi.uring === null
    ? null
    : find('long syscall(long number, long a, long b, long c, long d, long e, long f)');

export const posixOpenpt: NumberFunction = need('int posix_openpt(int flags)');
export const grantpt: NumberFunction = need('int grantpt(int fd)');
export const unlockpt: NumberFunction = need('int unlockpt(int fd)');
/** A name in memory of the C library's own, which koffi copies; null when there is none. */
export const ptsname: (fd: number) => string | null = libc.func('const char *ptsname(int fd)');
export const tcgetattr: NumberFunction = need('int tcgetattr(int fd, uintptr_t termios)');
export const tcsetattr: NumberFunction = need(
  'int tcsetattr(int fd, int actions, uintptr_t termios)',
);
export const cfmakeraw: NumberFunction = need('void cfmakeraw(uintptr_t termios)');

export const malloc: NumberFunction = need('intptr_t malloc(size_t bytes)');
export const free: NumberFunction = need('void free(uintptr_t address)');
/** Of glibc alone. */
export const malloc_trim: NumberFunction | null = find('int malloc_trim(size_t pad)');
export const memcpy: NumberFunction = need(
  'void memcpy(uintptr_t to, uintptr_t from, size_t bytes)',
);
export const launchActivateSocket: NumberFunction | null = find(
  'int launch_activate_socket(const char *name, uintptr_t fds, uintptr_t count)',
);

/** libuv as the Node executable exports it; each is null in a runtime that does not. */
export const uvDefaultLoop: NumberFunction | null = find('intptr_t uv_default_loop()');
export const uvHandleSize: NumberFunction | null = find('size_t uv_handle_size(int type)');
export const uvPollInit: NumberFunction | null = find(
  'int uv_poll_init(uintptr_t loop, uintptr_t handle, int fd)',
);
export const uvPollStart: NumberFunction | null = find(
  'int uv_poll_start(uintptr_t handle, int events, uintptr_t callback)',
);
export const uvPollStop: NumberFunction | null = find('int uv_poll_stop(uintptr_t handle)');
export const uvClose: NumberFunction | null = find(
  'void uv_close(uintptr_t handle, uintptr_t callback)',
);
export const uvRef: NumberFunction | null = find('void uv_ref(uintptr_t handle)');
export const uvUnref: NumberFunction | null = find('void uv_unref(uintptr_t handle)');
