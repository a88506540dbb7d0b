/**
 * What a host has to shut a process in with.
 *
 * @module
 */
import { existsSync } from 'node:fs';
import { remedy } from './finding.ts';
import type { Finding } from './finding.ts';
import type { HostFacts } from './host.ts';
import type { Sys } from './program.ts';

/** The finding; of Linux only, whose kernels differ in this. */
export function sandboxFinding(sys: Sys, host: HostFacts): Finding[] {
  const verdict = sys.tryLandlock();
  if (verdict.kind === 'absent') return [];
  // The list of actions is there when filters of system calls are (CONFIG_SECCOMP_FILTER).
  return [judgeSandbox(verdict, existsSync('/proc/sys/kernel/seccomp/actions_avail'), host)];
}

/** What there is to be said of Landlock and seccomp. */
export function judgeSandbox(
  landlock: Exclude<ReturnType<Sys['tryLandlock']>, { kind: 'absent' }>,
  hasSeccomp: boolean,
  host: HostFacts,
): Finding {
  const common = { id: 'sandbox', section: 'sandbox', title: 'Sandbox', needed: false } as const;
  const seccomp = hasSeccomp ? 'seccomp' : 'no seccomp';
  if (landlock.kind === 'works') {
    const detail = `Landlock ABI ${landlock.abi}, ${seccomp}`;
    const status = hasSeccomp ? 'works' : 'missing';
    const todo = hasSeccomp ? null : remedy('Use a kernel with CONFIG_SECCOMP_FILTER');
    return { ...common, status, detail, remedy: todo };
  }
  const { errnoName } = landlock;
  if (errnoName === 'EOPNOTSUPP' || errnoName === 'ENOTSUP') {
    const detail = `Landlock is in this kernel and was not switched on when it started; ${seccomp}`;
    const todo = remedy('Add landlock to lsm= of the kernel command line, and start anew');
    return { ...common, status: 'missing', detail, remedy: todo };
  }
  const detail = `no Landlock (${errnoName}); ${seccomp}`;
  const todo = host.isContainer
    ? remedy('Give the container a filter of system calls that allows Landlock')
    : remedy('Use Linux 5.13 or later with CONFIG_SECURITY_LANDLOCK');
  return { ...common, status: 'missing', detail, remedy: todo };
}
