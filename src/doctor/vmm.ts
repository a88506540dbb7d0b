/**
 * The virtual machine monitors of a host: who could attach a device.
 *
 * @module
 */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { QemuProbe } from '../qemu/index.ts';
import { remedy } from './finding.ts';
import type { Finding, Remedy } from './finding.ts';
import type { HostFacts } from './host.ts';
import { buildQemu, installQemu, ownGuestArch } from './install.ts';
import { ATTACHED_BY, judgeQemu, qemuFindings } from './qemu-findings.ts';
import type { JudgedQemu } from './qemu-findings.ts';

/** Other programs that vhost-user devices are for; only whether they are there is told. */
const OTHERS: readonly (readonly [program: string, about: string])[] = [
  ['cloud-hypervisor', 'takes disks, shared folders and network cards by vhost-user'],
  ['crosvm', 'takes vhost-user devices by --vhost-user'],
  ['krunvm', 'uses libkrun, which has devices of its own'],
  ['virsh', 'libvirt: its QEMU takes shared folders and disks by vhost-user'],
];
/** Those of them that attach vhost-user devices by themselves. */
const FRONT_ENDS: readonly string[] = ['cloud-hypervisor', 'crosvm'];

/** All that is to be said of the monitors of a host. */
export function vmmFindings(
  probes: readonly QemuProbe[],
  host: HostFacts,
  pipes: boolean,
  programs: readonly string[],
): Finding[] {
  const judged = probes.map((probe) => judgeQemu(probe, host, pipes));
  return [
    attachFinding(judged, host, programs),
    ...deviceFindings(judged, host),
    ...qemuFindings(judged, host),
    ...programs.map(otherFinding),
  ];
}

/** Which of the other monitors are in the folders of a PATH. */
export function otherMonitors(path: string): string[] {
  const folders = path.split(delimiter).filter((folder) => folder !== '');
  const isThere = (name: string): boolean =>
    folders.some((folder) => isProgram(join(folder, name)));
  return OTHERS.map(([name]) => name).filter(isThere);
}

/** The QEMU that is taken first: of this architecture, and with the most of our devices. */
function bestOf(judged: readonly JudgedQemu[], host: HostFacts): JudgedQemu | null {
  const own = ownGuestArch(host.arch);
  const score = ({ probe, attaches }: JudgedQemu): number =>
    attaches.length + (['', own].includes(probe.guestArch) ? 100 : 0);
  const usable = judged.filter(({ status }) => status === 'works');
  return usable.reduce<JudgedQemu | null>(
    (best, each) => (best === null || score(each) > score(best) ? each : best),
    null,
  );
}

function attachFinding(
  judged: readonly JudgedQemu[],
  host: HostFacts,
  programs: readonly string[],
): Finding {
  const common = { id: 'vmm', section: 'vmm', title: 'A monitor', needed: true } as const;
  const best = bestOf(judged, host);
  if (best !== null) {
    const detail = `${best.probe.path} attaches ${best.attaches.join(', ')}`;
    return { ...common, status: 'works', detail, remedy: null };
  }
  const other = programs.find((program) => FRONT_ENDS.includes(program));
  if (other !== undefined) {
    const detail = `${other} is here, and no QEMU that works with vhost-user`;
    return { ...common, status: 'works', detail, remedy: null };
  }
  if (judged.length === 0) {
    const detail = 'no QEMU was found';
    return { ...common, status: 'missing', detail, remedy: installQemu(host) };
  }
  const mayWork = judged.some(({ status, probe }) => status === 'unknown' && probe.fault === null);
  const how = mayWork ? 'is known to work' : 'works';
  const detail = `no QEMU here ${how} with vhost-user: see below`;
  // What is wrong with a QEMU that is there has its own remedy.
  return { ...common, status: mayWork ? 'unknown' : 'missing', detail, remedy: null };
}

/** Devices that no QEMU here attaches, although there is one that attaches others. */
function deviceFindings(judged: readonly JudgedQemu[], host: HostFacts): Finding[] {
  const all = new Set(judged.flatMap(({ attaches }) => attaches));
  if (all.size === 0) return [];
  return Object.keys(ATTACHED_BY)
    .filter((device) => !all.has(device))
    .map((device) => ({
      id: `attach:${device}`,
      section: 'vmm' as const,
      title: `Attach ${device}`,
      status: 'missing' as const,
      needed: false,
      detail:
        'no QEMU here has a device for it: it takes vhost-user-test-device-pci, ' +
        'which there is from 10.2 on',
      remedy: newerQemu(host),
    }));
}

function newerQemu(host: HostFacts): Remedy {
  if (host.os !== 'linux') return buildQemu(host);
  return remedy('Use QEMU 10.2 or later, of a newer release of your distribution');
}

function otherFinding(program: string): Finding {
  const about = OTHERS.find(([name]) => name === program)?.[1] ?? '';
  return {
    id: `vmm:${program}`,
    section: 'vmm',
    title: program,
    status: 'works',
    needed: false,
    detail: `found; ${about}`,
    remedy: null,
  };
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
