/**
 * Ways out of a sandbox, to be tried from inside the process, in any of its threads.
 *
 * Each goes by the C library or by a bare system call, as code of an attacker would, and says how
 * it ended: `ok`, or the name of an errno. Those that would do harm outside of a sandbox are made
 * with arguments that the kernel refuses for another reason, after it has looked at the rights.
 *
 * @module
 */
import koffi from 'koffi';
import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import { linuxSyscalls } from '../../src/abi/index.ts';
import type { SyscallName } from '../../src/abi/index.ts';

/** What the attempts are aimed at. */
export interface Targets {
  /** A folder that no device has anything to do with, with a file `there` in it. */
  readonly folder: string;
  /** A process that is not ours: the parent. */
  readonly pid: number;
}

/** What a device has that others have not: a shared folder, Unix sockets, TCP ports. */
export type Ability = 'folder' | 'connections' | 'internet' | 'namespace';

/** A way out. */
export interface Attempt {
  readonly name: string;
  /** What the sandbox answers: EPERM is the filter's, EACCES is Landlock's; null: it lets it be. */
  readonly shut: 'EPERM' | 'EACCES' | null;
  /** What a mount namespace answers in the place of Landlock: there is no file of that name. */
  readonly shutInNamespace?: 'ENOENT' | 'EROFS';
  /** What a device has to have for it to be open. */
  readonly openFor?: Ability;
  /** What the sandbox answers where there are sockets of the internet. */
  readonly shutInInternet?: 'EACCES';
  /** `ok`, or the name of an errno. */
  readonly run: () => string;
}

const libc = koffi.load(null);
const call = libc.func('long syscall(long n, long a, long b, long c, long d, long e, long f)') as (
  ...args: readonly (number | bigint)[]
) => number;
const connect = libc.func('int connect(int fd, const uint8_t *address, unsigned int bytes)');
const close = libc.func('int close(int fd)');
const byPath = {
  open: libc.func('int open(const char *path, int flags, ...)'),
  unlink: libc.func('int unlink(const char *path)'),
  rename: libc.func('int rename(const char *from, const char *to)'),
  link: libc.func('int link(const char *from, const char *to)'),
  symlink: libc.func('int symlink(const char *to, const char *path)'),
  mkdir: libc.func('int mkdir(const char *path, unsigned int mode)'),
  mkfifo: libc.func('int mkfifo(const char *path, unsigned int mode)'),
  truncate: libc.func('int truncate(const char *path, int64_t bytes)'),
  chmod: libc.func('int chmod(const char *path, unsigned int mode)'),
  chown: libc.func('int chown(const char *path, unsigned int uid, unsigned int gid)'),
  stat: libc.func('int stat(const char *path, _Out_ uint8_t *stat)'),
  access: libc.func('int access(const char *path, int mode)'),
  chdir: libc.func('int chdir(const char *path)'),
  readlink: libc.func('int64_t readlink(const char *path, _Out_ uint8_t *text, size_t bytes)'),
  setxattr: libc.func(
    'int setxattr(const char *path, const char *name, const char *value, size_t n, int flags)',
  ),
};

const STAT_BYTES = 256;
/** More than any path here has folders, and more descriptors than a device has. */
const [UP, FDS] = [20, 64];
const [O_RDONLY, O_WRONLY, O_CREAT] = [0, 1, 0o100];
const NO_SIGNAL = 0;
const MODE = 0o600;

/** The root folder by another name. */
const ROOT_LINK = ['', 'proc', 'self', 'root'].join('/');
const numbers = linuxSyscalls(process.arch === 'arm64' ? 'arm64' : 'x64');

/** All of them; each may be made again and again. */
export function sandboxAttempts({ folder, pid }: Targets): Attempt[] {
  return [
    ...fileAttempts(folder, pid),
    ...processAttempts(pid),
    ...socketAttempts(),
    ...kernelAttempts(),
  ];
}

function fileAttempts(folder: string, pid: number): Attempt[] {
  const there = join(folder, 'there');
  const fresh = (): string => join(folder, `new-${String(process.hrtime.bigint())}`);
  // In a sandbox none can be made: then it is the one that is there.
  const victim = (): string => {
    const name = fresh();
    return byPath.link(there, name) === 0 ? name : there;
  };
  return [
    open('/etc/passwd', O_RDONLY),
    open(`${ROOT_LINK}/etc/passwd`, O_RDONLY),
    open(`/proc/${String(pid)}/environ`, O_RDONLY),
    // Of a namespace it is the root itself, which has nothing in it to be changed.
    { ...open('/', O_RDONLY), openFor: 'namespace' },
    path('mkdir', () => [`/new-${String(process.pid)}`, MODE], 'EROFS'),
    open(there, O_RDONLY),
    open(there, O_WRONLY),
    path('open', () => [fresh(), O_WRONLY | O_CREAT, 'int', MODE]),
    path('unlink', () => [victim()]),
    path('rename', () => [victim(), fresh()]),
    path('link', () => [there, fresh()]),
    path('symlink', () => ['/', fresh()]),
    path('mkdir', () => [fresh(), 0o700]),
    path('truncate', () => [there, 1]),
    attribute('chmod', () => [there, 0o666]), // as it is: others are to find it so
    attribute('chown', () => [there, 0, 0]),
    attribute('setxattr', () => [there, 'user.x', 'y', 1, 0]),
    { ...path('mkfifo', () => [fresh(), MODE]), shut: 'EPERM', openFor: 'folder' },
    looked('stat', () => [there, Buffer.alloc(STAT_BYTES)]),
    looked('access', () => [there, 0]),
    looked('chdir', () => [folder]),
    looked('readlink', () => [`/proc/${String(pid)}/exe`, Buffer.alloc(1), 1]),
    looked('stat', () => [join('/proc', String(pid), 'root/etc'), Buffer.alloc(STAT_BYTES)]),
    looked('stat', () => ['/proc/1/root', Buffer.alloc(STAT_BYTES)]),
    ...throughDescriptors(there),
  ];
}

function processAttempts(pid: number): Attempt[] {
  return [
    bare('execve'),
    bare('execveat', -1),
    { name: 'fork() and exec()', shut: 'EPERM', run: startProgram },
    bare('ptrace', 3, pid), // PTRACE_PEEKUSER of a process that is not traced
    bare('process_vm_readv', pid),
    bare('process_vm_writev', pid),
    bare('pidfd_open', pid),
    bare('kill', pid, NO_SIGNAL),
    bare('tgkill', pid, pid, NO_SIGNAL),
    bare('tkill', pid, NO_SIGNAL),
    bare('prlimit64', pid, 0),
  ];
}

function socketAttempts(): Attempt[] {
  return [
    { ...bare('socket', 2, 1), openFor: 'internet' }, // AF_INET
    { ...bare('socket', 10, 1), openFor: 'internet' }, // AF_INET6
    bare('socket', 2, 2), // UDP
    bare('socket', 40, 1), // AF_VSOCK
    { name: 'another TCP port', shut: 'EPERM', shutInInternet: 'EACCES', run: connectTcp },
    bare('socket', 2, 3, 1), // ICMP
    bare('socket', 16, 3), // AF_NETLINK
    bare('socket', 17, 3), // AF_PACKET
    bare('socket', 38, 5), // AF_ALG
    { ...bare('socket', 1, 1), openFor: 'connections' }, // AF_UNIX
    { ...bare('connect', -1), openFor: 'connections' },
    bare('socketpair', 1, 2),
    bare('listen', -1),
  ];
}

function kernelAttempts(): Attempt[] {
  return [
    bare('io_uring_setup', 1),
    bare('mount'),
    bare('umount2'),
    bare('fsopen'),
    bare('open_tree', -1),
    bare('chroot'),
    bare('pivot_root'),
    bare('unshare', 0x1000_0000), // CLONE_NEWUSER
    bare('setns', -1),
    bare('bpf', -1),
    bare('perf_event_open'),
    bare('userfaultfd', -1),
    bare('keyctl', 0, -3), // KEYCTL_GET_KEYRING_ID of the session
    bare('add_key'),
    bare('open_by_handle_at', -1),
    bare('init_module'),
    bare('kexec_load', 0, 1),
    bare('reboot'),
    bare('swapon'),
    bare('clock_settime', -1),
    bare('setuid', -1),
    bare('setresuid', -1, -1, -1),
    bare('shmget', -1, 0, 0),
    bare('personality', 0x4_0000),
    bare('ioctl', 0, 0x5412), // TIOCSTI
    bare('ioctl', 0, 0x541c), // TIOCLINUX
  ];
}

/** A system call without the C library; arguments that are left out are 0. */
function bare(name: SyscallName, ...args: readonly number[]): Attempt {
  return {
    name: `${name}(${args.join(', ')})`,
    shut: 'EPERM',
    run: () => {
      const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = args;
      return outcome(call(numbers[name], a, b, c, d, e, f));
    },
  };
}

/** From each folder that this process has open, up to the root and down again. */
function throughDescriptors(there: string): Attempt[] {
  const up = '../'.repeat(UP);
  return ['/proc/self/fd', '/proc/thread-self/fd', '/dev/fd'].map((descriptors) => ({
    name: `stat(${descriptors}/N/${up}${there})`,
    shut: null,
    shutInNamespace: 'ENOENT' as const,
    run: () => {
      const answers = Array.from({ length: FDS }, (_, fd) => {
        const file = join(descriptors, String(fd)) + `/${up}${there.slice(1)}`;
        return outcome(byPath.stat(file, Buffer.alloc(STAT_BYTES)) as number);
      });
      return answers.find((each) => each === 'ok') ?? 'ENOENT';
    },
  }));
}

function open(file: string, flags: number): Attempt {
  return {
    name: `open(${file}, ${String(flags)})`,
    shut: 'EACCES',
    shutInNamespace: 'ENOENT',
    run: () => outcome(byPath.open(file, flags, 'int', MODE) as number),
  };
}

function path(
  name: keyof typeof byPath,
  args: () => readonly unknown[],
  shutInNamespace: 'ENOENT' | 'EROFS' = 'ENOENT',
): Attempt {
  return {
    name: `${name}()`,
    shut: 'EACCES',
    shutInNamespace,
    run: () => outcome(byPath[name](...args()) as number),
  };
}

function attribute(name: keyof typeof byPath, args: () => readonly unknown[]): Attempt {
  return { ...path(name, args), shut: 'EPERM', openFor: 'folder' };
}

/** A look at a file, of which Landlock and the filter have nothing against. */
function looked(name: keyof typeof byPath, args: () => readonly unknown[]): Attempt {
  return { ...path(name, args), name: `${name}(${String(args()[0])})`, shut: null };
}

/** Makes each attempt in this thread; how each ended. */
export function tryAll(targets: Targets): string[] {
  return sandboxAttempts(targets).map(({ run }) => run());
}

/** `ok`, or the errno's name. */
function outcome(result: number): string {
  if (result >= 0) return 'ok';
  const errno = koffi.errno();
  const found = Object.entries(constants.errno).find(([, number]) => number === errno);
  return found?.[0] ?? String(errno);
}

/** To port 1 of this host, where nobody listens. */
function connectTcp(): string {
  const fd = call(numbers.socket, 2, 1, 0, 0, 0, 0);
  if (fd < 0) return outcome(fd);
  // struct sockaddr_in: family 2, in this host's order; port 2 and address 4 in the network's.
  const address = Uint8Array.of(2, 0, 0, 1, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0);
  const result = outcome(connect(fd, address, address.length) as number);
  close(fd);
  return result;
}

function startProgram(): string {
  const { error } = spawnSync('/bin/true');
  return error === undefined ? 'ok' : ((error as NodeJS.ErrnoException).code ?? error.message);
}

/** Reads a file and makes a socket in a thread of libuv's pool; how each ended. */
export async function tryInPool(): Promise<string[]> {
  const opened = await readFile('/etc/passwd').then(
    () => 'ok',
    (error: unknown) => (error as NodeJS.ErrnoException).code ?? String(error),
  );
  const socket = await new Promise<number>((resolve, reject) => {
    const done = (error: Error | null, value: number): void => {
      if (error === null) resolve(value);
      else reject(error);
    };
    const asynchronous = call as unknown as { async(...args: unknown[]): void };
    asynchronous.async(numbers.socket, 2, 1, 0, 0, 0, 0, done);
  });
  return [opened, socket < 0 ? 'EPERM' : 'ok']; // errno stays in the other thread
}
