/**
 * What a host has to shut a process in with.
 *
 * @module
 */
import { existsSync } from 'node:fs';
import { remedy } from './finding.ts';
import type { Finding } from './finding.ts';
import type { HostFacts } from './host.ts';
import { asRoot } from './install.ts';
import { isProcMounted } from './kernel.ts';
import type { Sys } from './program.ts';

/** The finding; on Linux, whose kernels differ in this, by asking the kernel. */
export function sandboxFinding(sys: Sys | null, host: HostFacts): Finding[] {
  if (host.os !== 'linux') return otherSandbox(host.os);
  const verdict = sys?.tryLandlock();
  if (verdict === undefined || verdict.kind === 'absent') return [];
  // The list of actions is there when filters of system calls are (CONFIG_SECCOMP_FILTER).
  const hasSeccomp = existsSync('/proc/sys/kernel/seccomp/actions_avail');
  return [judgeSandbox(verdict, isProcMounted() ? hasSeccomp : null, host)];
}

const COMMON = { id: 'sandbox', section: 'sandbox', title: 'Sandbox', needed: false } as const;

/** What every release of another system has. */
const OF_SYSTEMS: Readonly<Record<string, string>> = {
  openbsd: 'pledge and unveil',
  freebsd: 'Capsicum, for devices that name no file and no address once they run',
  darwin: 'Seatbelt (sandbox_init), which Apple calls deprecated and uses',
};

/** What there is on hosts other than Linux; nothing is tried, since there is no way back. */
export function otherSandbox(os: string): Finding[] {
  const known = OF_SYSTEMS[os];
  if (known !== undefined) {
    const detail = `${known}; ours was tried on a model of this system only`;
    return [{ ...COMMON, status: 'works', detail, remedy: null }];
  }
  const detail = `no program can enter one by itself on ${os}`;
  const todo = remedy('Run devices as a user of few rights');
  return [{ ...COMMON, status: 'missing', detail, remedy: todo }];
}

/** What there is to be said of Landlock and seccomp; `hasSeccomp` is null where nothing tells. */
export function judgeSandbox(
  landlock: Exclude<ReturnType<Sys['tryLandlock']>, { kind: 'absent' }>,
  hasSeccomp: boolean | null,
  host: HostFacts,
): Finding {
  const seccomp = SECCOMP[String(hasSeccomp)] ?? '';
  if (landlock.kind === 'works' && hasSeccomp === null) {
    const todo = remedy('Mount /proc', asRoot(host, 'mount -t proc proc /proc'));
    return { ...COMMON, status: 'unknown', detail: said(landlock.abi, seccomp), remedy: todo };
  }
  if (landlock.kind === 'works') {
    const detail = said(landlock.abi, seccomp);
    const status = hasSeccomp === true ? 'works' : 'missing';
    const todo = hasSeccomp === true ? null : remedy('Use a kernel with CONFIG_SECCOMP_FILTER');
    return { ...COMMON, status, detail, remedy: todo };
  }
  const { errnoName } = landlock;
  if (errnoName === 'EOPNOTSUPP' || errnoName === 'ENOTSUP') {
    const detail = `Landlock is in this kernel and was not switched on when it started; ${seccomp}`;
    const todo = remedy('Add landlock to lsm= of the kernel command line, and start anew');
    return { ...COMMON, status: 'missing', detail, remedy: todo };
  }
  const detail = `no Landlock (${errnoName}); ${seccomp}`;
  const todo = host.isContainer
    ? remedy('Give the container a filter of system calls that allows Landlock')
    : remedy('Use Linux 5.13 or later with CONFIG_SECURITY_LANDLOCK');
  return { ...COMMON, status: 'missing', detail, remedy: todo };
}

const SECCOMP: Readonly<Record<string, string>> = {
  true: 'seccomp',
  false: 'no seccomp',
  null: 'and without /proc nothing tells of seccomp',
};

function said(abi: number, seccomp: string): string {
  return `Landlock ABI ${abi}, ${seccomp}`;
}
