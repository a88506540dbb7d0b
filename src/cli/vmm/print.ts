/**
 * What to type, write or compile so that a virtual machine has the devices, for each monitor.
 *
 * @module
 */
import type { QemuProbe } from '../../qemu/index.ts';
import type { Attachment } from './attachment.ts';
import { CLOUD_HYPERVISOR_REMARKS, cloudHypervisorOptions } from './cloud-hypervisor.ts';
import { CROSVM_REMARKS, crosvmOptions } from './crosvm.ts';
import { libkrunSource } from './libkrun.ts';
import { libvirtDomain } from './libvirt.ts';
import { lastValue } from './option-text.ts';
import { machineText, optionWords } from './qemu-arguments.ts';
import type { QemuArguments } from './qemu-arguments.ts';
import { MACHINES, hostGuestArch, planQemu, plannedMemoryBytes } from './qemu-plan.ts';
import type { QemuHostFacts } from './qemu-plan.ts';
import { qemuRemarks } from './qemu-fitness.ts';
import { shellScript } from './shell-script.ts';
import type { ServerCommand } from './shell-script.ts';

/** What a virtual machine is run by. */
export const MONITORS: readonly ['qemu', 'cloud-hypervisor', 'crosvm', 'libkrun', 'libvirt'] = [
  'qemu',
  'cloud-hypervisor',
  'crosvm',
  'libkrun',
  'libvirt',
];

/** One of {@link MONITORS}. */
export type Monitor = (typeof MONITORS)[number];

/** What is to be printed. */
export interface PrintJob {
  readonly host: QemuHostFacts;
  readonly attachments: readonly Attachment[];
  readonly servers: readonly ServerCommand[];
  /** A folder that has to be made for the sockets; null when none has. */
  readonly folder: string | null;
}

/** A script that runs QEMU. `isAssumed`: no QEMU of this host was asked. */
export function qemuScript(
  job: PrintJob,
  qemu: QemuProbe,
  user: QemuArguments,
  isAssumed: boolean,
): string {
  const { host, attachments, folder, servers } = job;
  const plan = planQemu(qemu, host, attachments, user);
  const version = qemu.version === null ? 'QEMU' : `QEMU ${qemu.version.text}`;
  return shellScript({
    about: [`A virtual machine of ${version} with its devices.`],
    folder,
    servers,
    remarks: [
      ...(isAssumed ? ['No QEMU was found here: these options are for release 10.2'] : []),
      ...qemuRemarks(qemu, host.os),
      ...plan.groups.map(
        ({ title, options }) => `${title}: ${options.map(([name]) => name).join(' ')}`,
      ),
    ],
    monitor: [[plan.program], ...plan.groups.flatMap(({ options }) => options)],
  });
}

/** A script that runs cloud-hypervisor; `words` are its own options. */
export function cloudHypervisorScript(job: PrintJob, words: readonly string[]): string {
  return shellScript({
    about: ['A virtual machine of cloud-hypervisor with its devices.'],
    folder: job.folder,
    servers: job.servers,
    remarks: CLOUD_HYPERVISOR_REMARKS,
    monitor: [['cloud-hypervisor'], ...cloudHypervisorOptions(job.attachments, words)],
  });
}

/** A script that runs crosvm; `words` are its own options. */
export function crosvmScript(job: PrintJob, words: readonly string[]): string {
  return shellScript({
    about: ['A virtual machine of crosvm with its devices.'],
    folder: job.folder,
    servers: job.servers,
    remarks: CROSVM_REMARKS,
    monitor: [['crosvm', 'run'], ...crosvmOptions(job.attachments, words)],
  });
}

/** A source in C for libkrun. */
export function libkrunText(job: PrintJob, user: QemuArguments): string {
  const memoryBytes = plannedMemoryBytes(user);
  return libkrunSource(job.attachments, job.servers, { cpuCount: user.cpuCount, memoryBytes });
}

/** What elements of a domain say. */
const DOMAIN_HAS: readonly string[] = ['smp', 'accel', 'enable-kvm', 'cpu'];

/** A domain for libvirt; what the user says to QEMU is handed on to it. */
export function libvirtText(job: PrintJob, user: QemuArguments): string {
  const arch = hostGuestArch(job.host.arch);
  const { os, mayUseKvm } = job.host;
  const fast = os === 'darwin' ? 'hvf' : 'qemu';
  const machine = lastValue(user.machine, 'type') ?? MACHINES[arch] ?? 'virt';
  const properties = user.machine.filter(({ key }) => key !== 'type');
  // The domain has the machine and its memory; the rest of -machine is QEMU's to merge.
  const more =
    properties.length === 0 ? [] : ['-machine', machineText(user.machine, machine, null)];
  return libvirtDomain(job.attachments, job.servers, {
    domainType: os === 'linux' && mayUseKvm ? 'kvm' : fast,
    arch,
    machine,
    cpuCount: user.cpuCount,
    memoryBytes: plannedMemoryBytes(user),
    words: [...more, ...optionWords(user.rest.filter(({ name }) => !DOMAIN_HAS.includes(name)))],
  });
}
