/**
 * Looks at a host and says what works, what is slower, what is missing, and what to do about it.
 * Loads nothing native until it is asked to, since that may be what is broken.
 *
 * @module
 */
import { findQemus, probeQemus, qemuFolders } from '../qemu/index.ts';
import type { QemuProbe } from '../qemu/index.ts';
import { acceleratorFinding } from './accelerator.ts';
import { SECTIONS } from './finding.ts';
import type { Finding } from './finding.ts';
import { hostFacts } from './host.ts';
import type { HostFacts } from './host.ts';
import { kernelFindings } from './kernel.ts';
import { limitFindings, readLimits } from './limits.ts';
import { loadSys, nativeFinding, nodeFinding } from './program.ts';
import type { Sys } from './program.ts';
import { sandboxFinding } from './sandbox.ts';
import { sharedFolderFinding } from './shared-folder.ts';
import { socketFinding } from './sockets.ts';
import { otherMonitors, vmmFindings } from './vmm.ts';

export { SECTIONS, isHealthy } from './finding.ts';
export { ATTACHED_BY } from './qemu-findings.ts';
export type { Finding, Remedy, Section, Status } from './finding.ts';
export type { HostFacts } from './host.ts';

/** What a look at a host has given. */
export interface Diagnosis {
  readonly host: HostFacts;
  /** In the order of their sections. */
  readonly findings: readonly Finding[];
  readonly qemus: readonly QemuProbe[];
}

/**
 * Looks at this host. `progress` is given what is being done; `paths` are the QEMUs to look at, and
 * null those that are found.
 */
export async function examine(
  progress: (text: string) => void,
  paths: readonly string[] | null = null,
): Promise<Diagnosis> {
  const host = hostFacts();
  progress('trying what the kernel does');
  // The shell and the sockets before the many files of native calls: fds may be few.
  const limits = await readLimits();
  const sockets = await socketFinding(host, process.env);
  const loaded = await loadSys();
  const sys = 'error' in loaded ? null : loaded;
  const path = process.env.PATH ?? '';
  const qemus = await askQemus(paths ?? findQemus(qemuFolders(path)), progress);
  const findings = [
    nodeFinding(host, new Date()),
    nativeFinding(loaded, host),
    ...(sys === null ? [] : kernelFindings(sys, host)),
    ...sandboxFinding(sys, host),
    ...(await sharedFolderFinding(sys, host)),
    ...limitFindings(limits, host),
    sockets,
    ...vmmFindings(qemus, host, hasPipesOnly(host, sys), otherMonitors(path)),
    ...(await acceleratorFinding(qemus, host, sys)),
  ];
  const rank = ({ section }: Finding): number => SECTIONS.indexOf(section);
  return { host, qemus, findings: findings.sort((a, b) => rank(a) - rank(b)) };
}

async function askQemus(
  paths: readonly string[],
  progress: (text: string) => void,
): Promise<QemuProbe[]> {
  const asking = (done: number): void => {
    if (done < paths.length) progress(`asking QEMU: ${done} of ${paths.length} have answered`);
  };
  asking(0);
  return await probeQemus(paths, { onProbed: asking });
}

/** Whether QEMU has no eventfd here; on Linux it always has, whatever we are told to use. */
function hasPipesOnly(host: HostFacts, sys: Sys | null): boolean {
  if (host.os === 'linux') return false;
  if (sys === null) return host.os !== 'freebsd';
  return sys.notifierKind() === 'pipe';
}
