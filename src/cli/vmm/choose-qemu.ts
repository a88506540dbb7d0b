/**
 * The QEMU that is to run a guest: the one that the user names, or the first of this host that can.
 *
 * @module
 */
import { findQemus, probeQemu, qemuFolders } from '../../qemu/index.ts';
import type { QemuProbe } from '../../qemu/index.ts';
import { VhostUserError } from '../../util/index.ts';
import type { Attachment } from './attachment.ts';
import { GENERIC_DEVICE } from './qemu-devices.ts';
import { qemuFaults } from './qemu-fitness.ts';
import type { QemuHostFacts } from './qemu-plan.ts';
import { hostGuestArch } from './qemu-plan.ts';

/** What a QEMU is needed for. */
export interface QemuNeeds {
  readonly host: QemuHostFacts;
  readonly attachments: readonly Attachment[];
  /** Whether guest memory is ours to make. */
  readonly needsMemory: boolean;
  /** The user's PATH. */
  readonly searchPath: string;
}

/** The QEMU that a user has named. @throws VhostUserError `ERR_VHU_QEMU` when it cannot do it */
export async function namedQemu(name: string, needs: QemuNeeds): Promise<QemuProbe> {
  const path = name.includes('/') ? name : pathOf(name, needs.searchPath);
  const probe = await probeQemu(path);
  if (probe.fault?.endsWith(': ENOENT') === true) {
    const where = path.includes('/') ? '' : ' in PATH';
    throw new VhostUserError('ERR_VHU_QEMU', `${path}: there is no such program${where}`);
  }
  const faults = faultsOf(probe, needs);
  if (faults.length === 0) return probe;
  throw new VhostUserError('ERR_VHU_QEMU', faultText(probe, faults));
}

/**
 * The first QEMU of this host that can do it, for guests of the host's own architecture; null when
 * there is none of that architecture at all.
 * @throws VhostUserError `ERR_VHU_QEMU` when none of them can, with what to do about each
 */
export async function findQemu(needs: QemuNeeds): Promise<QemuProbe | null> {
  const found: string[] = [];
  const arch = hostGuestArch(needs.host.arch);
  for (const path of findQemus(qemuFolders(needs.searchPath))) {
    const name = path.slice(path.lastIndexOf('/') + 1);
    if (name !== `qemu-system-${arch}` && name !== 'qemu-kvm') continue;
    const probe = await probeQemu(path);
    const faults = faultsOf(probe, needs);
    if (faults.length === 0) return probe;
    found.push(faultText(probe, faults));
  }
  if (found.length === 0) return null;
  throw new VhostUserError('ERR_VHU_QEMU', found.join('\n'));
}

/** What to say where there is no QEMU. */
export function missingQemu(arch: string): VhostUserError {
  return new VhostUserError(
    'ERR_VHU_QEMU',
    `there is no qemu-system-${hostGuestArch(arch)} in PATH: install QEMU, or say where it is by ` +
      '--qemu PATH',
  );
}

/** A recent QEMU with all that its release has, to write a command line for another machine. */
export function assumedQemu(host: QemuHostFacts): QemuProbe {
  const guestArch = hostGuestArch(host.arch);
  const isLinux = host.os === 'linux';
  const named = ['fs', 'vsock', 'rng', ...(isLinux ? ['blk'] : [])];
  return {
    path: `qemu-system-${guestArch}`,
    guestArch,
    version: null,
    devices: [...named.map((name) => `vhost-user-${name}-pci`), GENERIC_DEVICE],
    objects: ['memory-backend-shm', ...(isLinux ? ['memory-backend-memfd'] : [])],
    accelerators: ['kvm', 'hvf', 'tcg'],
    fault: null,
  };
}

function faultsOf(probe: QemuProbe, needs: QemuNeeds): string[] {
  return qemuFaults(probe, needs.host.os, needs.attachments, needs.needsMemory);
}

function faultText(probe: QemuProbe, faults: readonly string[]): string {
  return `${probe.path}: ${faults.join('; ')}`;
}

function pathOf(name: string, searchPath: string): string {
  const paths = findQemus(qemuFolders(searchPath));
  return paths.find((path) => path.endsWith(`/${name}`)) ?? name;
}
