/**
 * Looks at a host and says what works, what is slower, what is missing, and what to do about it.
 * Loads nothing native until it is asked to, since that may be what is broken.
 *
 * @module
 */
import { findQemus, probeQemus, qemuFolders } from '../qemu/index.ts';
import type { QemuProbe } from '../qemu/index.ts';
import type { Finding } from './finding.ts';
import { hostFacts } from './host.ts';
import type { HostFacts } from './host.ts';
import { otherMonitors, vmmFindings } from './vmm.ts';

export { SECTIONS, isHealthy } from './finding.ts';
export type { Finding, Remedy, Section, Status } from './finding.ts';
export type { HostFacts } from './host.ts';

/** What a look at a host has given. */
export interface Diagnosis {
  readonly host: HostFacts;
  readonly findings: readonly Finding[];
  readonly qemus: readonly QemuProbe[];
}

/** Looks at this host. `progress` is given what is being done. */
export async function examine(progress: (text: string) => void): Promise<Diagnosis> {
  const host = hostFacts();
  const path = process.env.PATH ?? '';
  const paths = findQemus(qemuFolders(path));
  const asking = (done: number): void => {
    if (done < paths.length) progress(`asking QEMU ${done + 1} of ${paths.length}`);
  };
  asking(0);
  const qemus = await probeQemus(paths, { onProbed: asking });
  const pipes = host.os === 'darwin' || host.os === 'openbsd';
  return { host, qemus, findings: vmmFindings(qemus, host, pipes, otherMonitors(path)) };
}
