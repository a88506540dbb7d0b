/**
 * What the kernel does for us, tried out: each check makes a small one of what devices live on, and
 * looks whether it does what it is for.
 *
 * @module
 */
import { existsSync, readFileSync } from 'node:fs';
import { VhostUserError, assert, errorMessage } from '../util/index.ts';
import { remedy } from './finding.ts';
import type { Finding, Remedy, Status } from './finding.ts';
import type { HostFacts } from './host.ts';
import { asRoot } from './install.ts';
import { mountShm } from './limits.ts';
import type { Sys } from './program.ts';

const WAKE_LIMIT_US = 2_000_000;
const MEMORY_BYTES = 64 * 1024;

/** Something that did not do what it is for, though no call failed. */
class SelfTestError extends Error {}

function expect(condition: boolean, otherwise: string): void {
  if (!condition) throw new SelfTestError(otherwise);
}

/** All findings about the kernel. */
export function kernelFindings(sys: Sys, host: HostFacts): Finding[] {
  return [
    ...modeFinding(sys),
    ...procFinding(host, isProcMounted()),
    tried('fd-passing', 'Passing of fds', () => fdPassing(sys), SANDBOXED),
    tried('notifiers', 'Notifiers', () => notifiers(sys, host), SANDBOXED),
    tried('shared-memory', 'Shared memory', () => sharedMemory(sys, host), shmRemedy(host)),
    tried('poller', 'Waiting', () => poller(sys, host), SANDBOXED),
    ...uringFinding(sys, host),
  ];
}

interface Verdict {
  readonly status: Status;
  readonly detail: string;
  readonly remedy?: Remedy;
}

const SANDBOXED: Remedy = remedy(
  'Run it outside of whatever filters its system calls (a container, a sandbox)',
);
/** Where memory without a name comes from when there is no memfd. */
function shmRemedy(host: HostFacts): Remedy {
  if (host.os === 'linux') return mountShm(host);
  return remedy(
    host.os === 'openbsd' ? 'Make /tmp writable' : 'Allow shm_open (a sandbox, a jail)',
  );
}

/** Whether the kernel tells of processes: containers and chroots may be without. */
export function isProcMounted(): boolean {
  return existsSync('/proc/self/status');
}

/** Nothing when it is mounted, as nearly everywhere. */
export function procFinding(host: HostFacts, isMounted: boolean): Finding[] {
  if (host.os !== 'linux' || isMounted) return [];
  const finding: Finding = {
    id: 'proc',
    section: 'kernel',
    title: '/proc',
    status: 'missing',
    needed: false,
    detail:
      'not mounted: the sandbox is made with its help (else: --sandbox none), and a shared ' +
      'folder reaches files by their names only',
    remedy: remedy('Mount it', asRoot(host, 'mount -t proc proc /proc')),
  };
  return [finding];
}

/** Runs a check; what it throws is what is missing. */
function tried(id: string, title: string, check: () => Verdict, ifMissing: Remedy): Finding {
  const common = { id, section: 'kernel', title, needed: true } as const;
  try {
    const { status, detail, remedy: todo = null } = check();
    return { ...common, status, detail, remedy: todo };
  } catch (error) {
    if (!(error instanceof VhostUserError || error instanceof SelfTestError)) throw error;
    return { ...common, status: 'missing', detail: errorMessage(error), remedy: ifMissing };
  }
}

function modeFinding(sys: Sys): Finding[] {
  if (sys.host().mode === 'native') return [];
  const finding: Finding = {
    id: 'mode',
    section: 'kernel',
    title: 'Mode',
    status: 'slower',
    needed: false,
    detail: 'VHOST_USER_HOST=posix is set: only what every POSIX host has is used',
    remedy: remedy('Take it out of the environment', 'unset VHOST_USER_HOST'),
  };
  return [finding];
}

/** A byte with two fds goes through a socket; both are used at the other end. */
function fdPassing(sys: Sys): Verdict {
  const [here, there] = sys.socketPair();
  const { notifier, consumer } = sys.createNotifier();
  const received = { fds: [] as number[], truncated: false };
  const memory = sys.createSharedMemory(MEMORY_BYTES, 'vhost-user doctor');
  try {
    const sent = sys.sendWithFds(here, Uint8Array.of(7), [notifier.fd, memory]);
    expect(sent === 1, `sendmsg with two fds: ${sys.errnoName(-sent)}`);
    const bytes = new Uint8Array(1);
    const got = sys.receiveWithFds(there, bytes, received);
    expect(got === 1 && bytes[0] === 7, `recvmsg: ${got < 0 ? sys.errnoName(-got) : 'no byte'}`);
    expect(received.fds.length === 2, `${received.fds.length} of two fds came through a socket`);
    const [signal = -1, far = -1] = received.fds.splice(0);
    const other = new sys.Notifier(signal);
    const woken = other.signal() === 0 && consumer.drain() === 1;
    other.close();
    const isShared = sharesBytes(sys, memory, far);
    sys.closeFd(far);
    expect(woken, 'a notifier that came through a socket did not signal');
    expect(isShared, 'memory that came through a socket was other memory');
  } finally {
    sys.closeFds(received.fds);
    for (const fd of [here, there, memory]) sys.closeFd(fd);
    notifier.close();
    consumer.close();
  }
  return { status: 'works', detail: 'a notifier and memory went through a socket, and were used' };
}

/** Whether what is written through one fd is seen through the other one. */
function sharesBytes(sys: Sys, first: number, second: number): boolean {
  const one = sys.mapFd(first, MEMORY_BYTES, 0, { writable: true });
  const two = sys.mapFd(second, MEMORY_BYTES, 0, { writable: false });
  const at = MEMORY_BYTES - 4;
  new DataView(sys.viewMemory(one.address, MEMORY_BYTES)).setUint32(at, 0x76687531, true);
  const seen = new DataView(sys.viewMemory(two.address, MEMORY_BYTES)).getUint32(at, true);
  one.unmap();
  two.unmap();
  return seen === 0x76687531;
}

/** Signals through what this host makes of its own, and through a pipe, which a peer may send. */
function notifiers(sys: Sys, host: HostFacts): Verdict {
  const kind = sys.notifierKind();
  roundTrip(sys.createNotifier(), kind);
  roundTrip(sys.createPipeNotifier(), 'pipe');
  if (kind === 'eventfd') return { status: 'works', detail: 'eventfd, and pipes' };
  if (host.os !== 'linux' || sys.host().mode === 'posix') {
    return { status: 'works', detail: 'pipes' };
  }
  return { status: 'slower', detail: 'pipes: eventfd is refused', remedy: SANDBOXED };
}

function roundTrip(pair: ReturnType<Sys['createNotifier']>, kind: string): void {
  const { notifier, consumer } = pair;
  try {
    const drained = consumer.drain();
    expect(drained === 0, `a new ${kind} is signalled, or cannot be read (${drained})`);
    expect(notifier.signal() === 0 && notifier.signal() === 0, `a ${kind} takes no signal`);
    expect(consumer.drain() === 1, `a signal of a ${kind} was lost`);
    expect(consumer.drain() === 0, `a signal of a ${kind} does not go away`);
  } finally {
    notifier.close();
    consumer.close();
  }
}

function sharedMemory(sys: Sys, host: HostFacts): Verdict {
  const kind = sys.sharedMemoryKind();
  const fd = sys.createSharedMemory(MEMORY_BYTES, 'vhost-user doctor');
  try {
    expect(sharesBytes(sys, fd, fd), `two mappings of one ${kind} are not the same memory`);
  } finally {
    sys.closeFd(fd);
  }
  if (kind === 'shm_open') return { status: 'works', detail: kind };
  let named: number;
  try {
    named = sys.createNamedSharedMemory(MEMORY_BYTES);
  } catch (error) {
    // Ours works; it is QEMU's memory-backend-shm that has none.
    const why = error instanceof sys.SystemError ? error.errnoName : errorMessage(error);
    const detail = `${kind}; shm_open fails with ${why}: only memory-backend-shm of QEMU needs it`;
    return { status: 'works', detail, remedy: shmRemedy(host) };
  }
  try {
    expect(sharesBytes(sys, named, named), 'two mappings by shm_open are not the same memory');
  } finally {
    sys.closeFd(named);
  }
  return { status: 'works', detail: `${kind}, and shm_open` };
}

/** A wake-up: nothing at first, the right fd when it is signalled, nothing when it is drained. */
function poller(sys: Sys, host: HostFacts): Verdict {
  const kind = sys.pollerKind();
  const set = sys.createPoller();
  const { notifier, consumer } = sys.createNotifier();
  try {
    set.add(consumer.fd, 42);
    expect(set.wait(0) === 0, `${kind}: an fd that is not signalled is ready`);
    assert(notifier.signal() === 0, 'the check of notifiers has seen this work');
    expect(set.wait(WAKE_LIMIT_US) === 1 && set.readyKey(0) === 42, `${kind}: no wake-up came`);
    consumer.drain();
    expect(set.wait(0) === 0, `${kind}: an fd stays ready when it is drained`);
  } finally {
    set.close();
    notifier.close();
    consumer.close();
  }
  const isExpected = kind !== 'poll' || sys.host().mode === 'posix';
  if (isExpected) return { status: 'works', detail: `${kind}, woken by a notifier` };
  const better = host.os === 'linux' ? 'epoll' : 'kqueue';
  return { status: 'slower', detail: `poll: ${better} is refused`, remedy: SANDBOXED };
}

/** What it costs to do without. */
const WITHOUT_URING = 'files are read by preadv, which waits for slow disks one request at a time';

function uringFinding(sys: Sys, host: HostFacts): Finding[] {
  const verdict = sys.tryUring();
  const common = { id: 'io_uring', section: 'kernel', title: 'io_uring', needed: false } as const;
  switch (verdict.kind) {
    case 'absent':
      return []; // Nobody misses what this system never had.
    case 'works':
      return [{ ...common, status: 'works', detail: `Linux ${host.release}`, remedy: null }];
    case 'too old': {
      const detail = `Linux ${host.release}, and 5.13 is needed; ${WITHOUT_URING}`;
      const todo = remedy('Use Linux 5.13 or later');
      return [{ ...common, status: 'slower', detail, remedy: todo }];
    }
    case 'refused': {
      const [why, todo] = uringRefusal(verdict.errnoName, host, readSetting, isFiltered());
      return [{ ...common, status: 'slower', detail: `${why}; ${WITHOUT_URING}`, remedy: todo }];
    }
  }
}

/** Why io_uring is refused, and what to do: a setting, a filter of system calls, or a limit. */
export function uringRefusal(
  errnoName: string,
  host: HostFacts,
  setting: (name: string) => string,
  filtered: boolean,
): [why: string, todo: Remedy] {
  const disabled = setting('kernel/io_uring_disabled');
  if (errnoName === 'EPERM' && (disabled === '2' || disabled === '1')) {
    const group = disabled === '1' ? ' (for all but kernel.io_uring_group)' : '';
    return [
      `switched off: kernel.io_uring_disabled is ${disabled}${group}`,
      remedy('Switch it on', asRoot(host, 'sysctl kernel.io_uring_disabled=0')),
    ];
  }
  if (errnoName === 'ENOMEM') {
    const todo = remedy('Allow more locked memory', 'ulimit -l unlimited');
    return ['refused with ENOMEM: too little memory may be locked (ulimit -l)', todo];
  }
  if (host.isContainer || filtered) {
    return [
      `refused with ${errnoName}: the filter of system calls of this container or service`,
      remedy(
        'Give the container a filter that allows io_uring, or none',
        'docker run --security-opt seccomp=unconfined ...',
      ),
    ];
  }
  const todo = remedy('Use a kernel that has io_uring (CONFIG_IO_URING)');
  return [`refused with ${errnoName}`, todo];
}

/** A setting of the kernel; empty where there is none. */
function readSetting(name: string): string {
  return readOr(`/proc/sys/${name}`).trim();
}

/** Whether a filter of system calls holds this process (2: seccomp's filter mode). */
function isFiltered(): boolean {
  return /^Seccomp:\s*2$/m.test(readOr('/proc/self/status'));
}

function readOr(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
