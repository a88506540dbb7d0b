/**
 * Limits of this process and of the system, and room in shared memory.
 *
 * @module
 */
import { readFileSync, statfsSync } from 'node:fs';
import { ask } from '../qemu/index.ts';
import { remedy } from './finding.ts';
import type { Finding, Remedy } from './finding.ts';
import type { HostFacts } from './host.ts';
import { asRoot } from './install.ts';

/** A device starts with so many (test/hosts/scarce.test.ts); several in a process need more. */
const FDS_MIN = 64;
/** A queue is three fds, a connection of vsock one, a file that a guest has open one. */
const FDS_GOOD = 1024;
/** Plenty, and below what any kernel forbids. */
const FDS_RAISED = 65_536;
const SHELL_LIMIT_MS = 10_000;
const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** What the shell says of limits: `fds` and `lockedKib` are null where it does not. */
export interface Limits {
  /** The limit up to which this process may raise the number of fds (ulimit -Hn). */
  readonly fds: number | null;
  /** Memory that may be locked, in KiB (ulimit -l). */
  readonly lockedKib: number | null;
}

/** Asks a shell, which works without native calls and on every host. */
export async function readLimits(): Promise<Limits> {
  const answer = async (flags: string): Promise<number | null> => {
    const { stdout, fault } = await ask('/bin/sh', ['-c', `ulimit ${flags}`], SHELL_LIMIT_MS);
    const text = stdout.trim();
    if (fault !== null) return null;
    if (text === 'unlimited') return Infinity;
    return /^\d+$/.test(text) ? Number(text) : null;
  };
  return { fds: await answer('-Hn'), lockedKib: await answer('-l') };
}

/** All findings about limits. */
export function limitFindings(limits: Limits, host: HostFacts): Finding[] {
  return [
    fdFinding(limits.fds, host),
    ...systemFdFinding(host),
    ...lockedFinding(limits.lockedKib, host),
    ...shmRoomFinding(host),
  ];
}

/** Node raises the soft limit as far as it goes when it starts, so only the hard one counts. */
export function fdFinding(fds: number | null, host: HostFacts): Finding {
  const common = { id: 'open-files', section: 'limits', title: 'Open files' } as const;
  if (fds === null) {
    const detail = 'the shell does not tell how many are allowed';
    return { ...common, needed: false, status: 'unknown', detail, remedy: null };
  }
  const said = fds === Infinity ? 'no limit' : `${fds} at a time`;
  if (fds >= FDS_GOOD) {
    return { ...common, needed: true, status: 'works', detail: said, remedy: null };
  }
  const isTooFew = fds < FDS_MIN;
  const detail = isTooFew
    ? `${said}: no device starts with less than ${FDS_MIN}`
    : `${said}: enough for one device and a few queues; a shared folder keeps fewer files open, ` +
      'and vsock has fewer connections';
  const status = isTooFew ? 'missing' : 'slower';
  return { ...common, needed: true, status, detail, remedy: moreFds(host) };
}

function moreFds(host: HostFacts): Remedy {
  if (host.os === 'linux') {
    const forShell = `prlimit --pid $$ --nofile=${FDS_RAISED}:${FDS_RAISED}`;
    return remedy(
      'Raise it for this shell (for good: /etc/security/limits.conf, LimitNOFILE= of a service)',
      asRoot(host, forShell),
    );
  }
  if (host.os === 'darwin') {
    return remedy('Raise it', `sudo launchctl limit maxfiles ${FDS_RAISED} ${FDS_RAISED}`);
  }
  return remedy('Raise openfiles of your class in /etc/login.conf, and log in again');
}

function systemFdFinding(host: HostFacts): Finding[] {
  if (host.os !== 'linux') return [];
  const [used = NaN, , max = NaN] = readOr('/proc/sys/fs/file-nr').split(/\s+/).map(Number);
  if (!(used > max * 0.9)) return [];
  const finding: Finding = {
    id: 'file-max',
    section: 'limits',
    title: 'Files of the system',
    needed: false,
    status: 'missing',
    detail: `${used} of ${max} are open`,
    remedy: remedy('Allow more', asRoot(host, `sysctl fs.file-max=${max * 2}`)),
  };
  return [finding];
}

/** Of no concern since Linux 5.12, where rings are charged to the memory of the control group. */
function lockedFinding(lockedKib: number | null, host: HostFacts): Finding[] {
  const [major = 0, minor = 0] = host.release.split('.').map(Number);
  const isOld = host.os === 'linux' && (major < 5 || (major === 5 && minor < 12));
  if (!isOld || lockedKib === null || lockedKib >= 1024) return [];
  const finding: Finding = {
    id: 'locked-memory',
    section: 'limits',
    title: 'Locked memory',
    needed: false,
    status: 'slower',
    detail: `${lockedKib} KiB: io_uring of Linux ${host.release} needs more for several threads`,
    remedy: remedy('Allow more', 'ulimit -l unlimited'),
  };
  return [finding];
}

/** Where QEMU's memory-backend-shm puts a guest's memory. */
function shmRoomFinding(host: HostFacts): Finding[] {
  if (host.os !== 'linux') return [];
  const common = { id: 'dev-shm', section: 'limits', title: '/dev/shm', needed: false } as const;
  try {
    const { bsize, bavail } = statfsSync('/dev/shm');
    return [{ ...common, ...shmRoom(bsize * bavail, host) }];
  } catch {
    const detail = 'not there: memory-backend-shm does not work, memory-backend-memfd does';
    return [{ ...common, status: 'missing', detail, remedy: mountShm(host) }];
  }
}

/** How a host comes to a /dev/shm that may be written to. */
export function mountShm(host: HostFacts): Remedy {
  if (host.isContainer) {
    return remedy('Start the container with one', 'docker run --shm-size=4g ...');
  }
  return remedy('Mount it', asRoot(host, 'mount -t tmpfs -o mode=1777 tmpfs /dev/shm'));
}

/** What so much room in /dev/shm is enough for. */
export function shmRoom(
  bytes: number,
  host: HostFacts,
): Pick<Finding, 'status' | 'detail' | 'remedy'> {
  const room = bytes < GIB ? `${Math.floor(bytes / MIB)} MiB` : `${(bytes / GIB).toFixed(1)} GiB`;
  if (bytes >= GIB) return { status: 'works', detail: `room for ${room}`, remedy: null };
  const detail =
    `room for ${room} only: too little for a guest's memory by memory-backend-shm; ` +
    'memory-backend-memfd is not bound by it';
  const command = host.isContainer
    ? 'docker run --shm-size=4g ...'
    : asRoot(host, 'mount -o remount,size=4G /dev/shm');
  return { status: 'missing', detail, remedy: remedy('Make it larger, or use memfd', command) };
}

function readOr(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
