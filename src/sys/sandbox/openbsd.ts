/**
 * The sandbox of OpenBSD: unveil(2), which paths there are, and pledge(2), which kinds of calls.
 * Both are about the whole process, with the threads that it has.
 *
 * Paths are unveiled and locked before the device is opened. Promises are made twice: what the
 * start needs, and when all is set up what is needed from then on, since they can only become
 * fewer.
 *
 * @module
 */
import { dirname } from 'node:path';
import { isatty } from 'node:tty';
import { ERRNO, SystemError } from '../errno.ts';
import { raiseFdLimit } from '../identity.ts';
import * as libc from '../libc.ts';
import { openbsdCalls } from './bsd-calls.ts';
import type { OpenbsdCalls } from './bsd-calls.ts';
import type { PathAccess, RefusalAction, Sandbox, SandboxNeeds, SandboxPlan } from './types.ts';

/** A path and what may be done with it, by the letters of unveil(2). */
export interface Unveiled {
  readonly path: string;
  readonly permissions: string;
}

/** What the promises depend on beside the needs. */
export interface PledgeFacts {
  readonly onRefusal: RefusalAction;
  /** Standard input, output or error is a terminal. */
  readonly onTerminal: boolean;
}

/** What is done with each kind of path. Sockets are names in folders: bind(2) creates them. */
const PERMISSIONS: Readonly<Record<PathAccess, string>> = {
  read: 'r',
  write: 'rw',
  tree: 'rwc',
  socket: 'rwc',
  file: 'rwc',
  link: 'rwc',
  temporary: 'rwc',
  terminals: 'rw',
  connect: 'rw',
  'connect-prefix': 'rw',
};

/** Read by Node and the C library, by any user; the folders are for libraries of koffi. */
const SYSTEM_READS = [
  ...['/etc/ssl/openssl.cnf', '/etc/localtime', '/usr/share/zoneinfo', '/etc/group'],
  ...['/usr/lib', '/usr/local/lib', '/dev/urandom', '/etc/malloc.conf'],
];
const NAME_READS = ['/etc/resolv.conf', '/etc/hosts', '/etc/services'];

/** A disk, of which DIOCGDINFO tells the size: needs the promise `disklabel`. */
const DISK_DEVICE = /^\/dev\/r?(sd|wd|vnd|fd|cd)\d/;

/** The unveils of a plan, the broadest first, each path once. */
export function unveils(needs: SandboxNeeds, program: readonly string[]): Unveiled[] {
  const found = new Map<string, Set<string>>();
  const add = (path: string, permissions: string): void => {
    const letters = found.get(path) ?? new Set<string>();
    for (const letter of permissions) letters.add(letter);
    found.set(path, letters);
  };
  const names = needs.looksUpNames ? NAME_READS : [];
  for (const path of [...SYSTEM_READS, ...names, ...program]) add(path, 'r');
  add('/dev/null', 'rw');
  // shm_open(3) is a file there, which the record of requests in flight is made of.
  add('/tmp', 'rwc');
  for (const { path, access } of needs.paths) {
    switch (access) {
      case 'file': // a log is renamed, and begun anew
      case 'connect-prefix': // a name of its own for each port
        add(dirname(path), PERMISSIONS[access]);
        break;
      case 'terminals': // posix_openpt(3) opens /dev/ptm; the other end is any of some 700 names
        add('/dev', PERMISSIONS[access]);
        break;
      default:
        add(path, PERMISSIONS[access]);
    }
  }
  return [...found].map(([path, letters]) => ({ path, permissions: inOrder(letters) }));
}

function inOrder(letters: ReadonlySet<string>): string {
  return ['r', 'w', 'x', 'c'].filter((letter) => letters.has(letter)).join('');
}

/**
 * The promises from when all is set up.
 *
 * `prot_exec` is V8's, which compiles. `unix` is for accept(2) of the next front-end. `cpath` and
 * `wpath` are for the socket, which is removed at the end, and for shared memory, which is a file.
 */
export function runningPromises(needs: SandboxNeeds, facts: PledgeFacts): string[] {
  const promises = ['stdio', 'rpath', 'wpath', 'cpath', 'unix', 'recvfd', 'sendfd', 'prot_exec'];
  const { connectsTcp, listensTcp } = needs;
  if (connectsTcp === null || connectsTcp.length + listensTcp.length > 0) promises.push('inet');
  if (needs.looksUpNames) promises.push('inet', 'dns');
  if (needs.ownsFiles) promises.push('fattr', 'chown', 'dpath');
  if (has(needs, 'tree')) promises.push('flock');
  if (facts.onTerminal || has(needs, 'terminals')) promises.push('tty');
  if (needs.paths.some(({ path }) => DISK_DEVICE.test(path))) promises.push('disklabel');
  // As a filter of Linux that answers with an error: a call that nobody thought of costs no guest.
  if (facts.onRefusal === 'error' || facts.onRefusal === 'log') promises.push('error');
  return [...new Set(promises)];
}

/**
 * The promises until then: a socket gets its permissions and group, an image its lock, and a new
 * thread of Node asks how much memory there is (hw.physmem, `ps`; vm.uvmexp, `vminfo`).
 */
export function startPromises(needs: SandboxNeeds, facts: PledgeFacts): string[] {
  const start = ['fattr', 'chown', 'flock', 'ps', 'vminfo'];
  return [...new Set([...runningPromises(needs, facts), ...start])];
}

function has({ paths }: SandboxNeeds, access: PathAccess): boolean {
  return paths.some((need) => need.access === access);
}

/** Enters it. @throws SystemError when a call fails, which on this system is a mistake of ours */
export function enterOpenbsd(plan: SandboxPlan): Sandbox {
  const { needs, onRefusal } = plan;
  const calls = openbsdCalls();
  raiseFdLimit(); // setrlimit(2) would need `proc`
  for (const { path, permissions } of unveils(needs, plan.program)) {
    unveil(calls, path, permissions);
  }
  unveil(calls, null, null);
  if (onRefusal === 'none') {
    const missing = ['pledge: it is not wanted'];
    return { parts: ['unveil'], missing, seal: () => undefined };
  }
  const onTerminal = [0, 1, 2].some((fd) => isatty(fd));
  const facts = { onRefusal, onTerminal };
  pledge(calls, startPromises(needs, facts));
  const seal = (): void => pledge(calls, runningPromises(needs, facts));
  return { parts: ['pledge', 'unveil'], missing: [], seal };
}

function unveil({ unveil: call }: OpenbsdCalls, path: string | null, how: string | null): void {
  if (call(path, how) >= 0) return;
  const errno = libc.errno();
  // Its folder is not there: whoever opens it says so.
  if (path !== null && (errno === ERRNO.ENOENT || errno === ERRNO.ENOTDIR)) return;
  throw new SystemError(`unveil(${path ?? 'NULL'}, ${how ?? 'NULL'})`, errno);
}

function pledge({ pledge: call }: OpenbsdCalls, promises: readonly string[]): void {
  const text = promises.join(' ');
  if (call(text, null) < 0) throw new SystemError(`pledge(${text})`, libc.errno());
}
