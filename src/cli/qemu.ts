/**
 * The QEMU command line that goes with a device, on the host at hand.
 *
 * @module
 */
import { accessSync, constants } from 'node:fs';
import { shellWord } from './shell.ts';
import { VSOCK_QUEUES } from './vmm/attachment.ts';
import type { Attachment } from './vmm/attachment.ts';
import { GENERIC_DEVICE, chardevText, deviceNames, deviceText } from './vmm/qemu-devices.ts';

/** What QEMU is like on a host. */
export interface QemuHost {
  /** For people. */
  readonly name: string;
  readonly program: string;
  readonly machine: string;
  readonly accelerator: 'kvm' | 'hvf' | 'tcg';
  readonly memory: 'memory-backend-memfd' | 'memory-backend-shm';
  /** Whether its usual packages have vhost-user, and a device of that name for disks. */
  readonly complete: boolean;
  /** A command that makes an empty image of 1 GiB. */
  readonly makeImage: string;
}

/** What the command line of a block device depends on. */
export interface BlkAttachment {
  readonly socketPath: string;
  readonly queueCount: number;
}

/** What the command line of a shared folder depends on. */
export interface FsAttachment {
  readonly socketPath: string;
  readonly tag: string;
  readonly requestQueueCount: number;
}

/** What the command line of a console depends on. */
export interface ConsoleAttachment {
  readonly socketPath: string;
  /** Two for each port, and two more. */
  readonly queueCount: number;
}

/** What the command line of a vsock depends on. */
export interface VsockAttachment {
  readonly socketPath: string;
}

/** How a system's QEMU differs; by the name that the `sys` layer has for it. */
const SYSTEMS: Readonly<Record<string, Pick<QemuHost, 'name' | 'accelerator'>>> = {
  linux: { name: 'Linux', accelerator: 'kvm' },
  darwin: { name: 'macOS', accelerator: 'hvf' },
  freebsd: { name: 'FreeBSD', accelerator: 'tcg' },
  openbsd: { name: 'OpenBSD', accelerator: 'tcg' },
};

/** Why not a newer one. */
const PIPES_NOTE =
  '(QEMU 11.1 starts no vhost-user device without eventfd; whether 11.0 and later ones do is not ' +
  'known to us.)';

/** What to say where QEMU's packages lack vhost-user; paragraphs without line ends. */
export const ELSEWHERE_NOTES: readonly string[] = [
  'Packages of QEMU for macOS and the BSDs leave vhost-user out: build QEMU 10.2 with ' +
    `'./configure --enable-vhost-user'. ${PIPES_NOTE}`,
  'Its vhost-user-blk device is for Linux only. The generic device vhost-user-test-device-pci, ' +
    'which QEMU has from 10.2 on, takes its place: virtio-id=2 is a disk, num_vqs is what ' +
    '--num-queues says.',
];

/** What to say of consoles, on every host. */
export const CONSOLE_NOTES: readonly string[] = [
  'QEMU has no vhost-user console of its own: its generic device vhost-user-test-device-pci, ' +
    'which it has from 10.2 on, takes the place. virtio-id=3 is a console, num_vqs is 4 and 2 ' +
    'more for each further port.',
  'Packages of QEMU for macOS and the BSDs leave vhost-user out: build QEMU 10.2 with ' +
    `'./configure --enable-vhost-user'. ${PIPES_NOTE}`,
];

/** The same for file systems and vsock, whose devices QEMU has on every host. */
export const FS_ELSEWHERE_NOTES: readonly string[] = [
  'Packages of QEMU for macOS and the BSDs leave vhost-user out: build QEMU 9.1 to 10.2 with ' +
    `'./configure --enable-vhost-user'. ${PIPES_NOTE}`,
];

/** The facts of a host. `canUse` tells whether a device file may be opened. */
export function qemuHost(
  os: string,
  arch: string,
  canUse: (path: string) => boolean = mayOpen,
): QemuHost {
  const { name, accelerator } = SYSTEMS[os] ?? { name: os, accelerator: 'tcg' };
  const linux = name === 'Linux';
  const arm = arch === 'arm64';
  return {
    name,
    program: arm ? 'qemu-system-aarch64' : 'qemu-system-x86_64',
    machine: arm ? 'virt' : 'q35',
    accelerator: accelerator === 'kvm' && !canUse('/dev/kvm') ? 'tcg' : accelerator,
    memory: linux ? 'memory-backend-memfd' : 'memory-backend-shm',
    complete: linux,
    // Not every system has truncate(1)
    makeImage: linux ? 'truncate -s 1G /tmp/disk.img' : 'qemu-img create -f raw /tmp/disk.img 1G',
  };
}

/** The command line as its parts, to be joined by line continuations. */
export function qemuBlkLines(host: QemuHost, disk: BlkAttachment): string[] {
  const device: Attachment = { type: 'blk', id: 'disk', readOnly: false, ...disk };
  return qemuLines(host, device, host.complete ? 'vhost-user-blk-pci' : GENERIC_DEVICE);
}

/** The same for a shared folder. */
export function qemuFsLines(host: QemuHost, folder: FsAttachment): string[] {
  const { socketPath, tag, requestQueueCount } = folder;
  const queueCount = requestQueueCount + 1; // with that of high priority
  return qemuLines(host, { type: 'fs', id: 'fs', socketPath, tag, queueCount });
}

/** The same for a console. */
export function qemuConsoleLines(host: QemuHost, console: ConsoleAttachment): string[] {
  return qemuLines(host, { type: 'console', id: 'console', ...console });
}

/** The same for a vsock; the guest's CID is the back-end's to say. */
export function qemuVsockLines(host: QemuHost, { socketPath }: VsockAttachment): string[] {
  return qemuLines(host, { type: 'vsock', id: 'vsock', socketPath, queueCount: VSOCK_QUEUES });
}

/** The same for an entropy device. */
export function qemuRngLines(host: QemuHost, socketPath: string): string[] {
  return qemuLines(host, { type: 'rng', id: 'rng', socketPath, queueCount: 1 });
}

/** What the guest does with a tag. */
export function mountLine(tag: string): string {
  return `mount -t virtiofs ${shellWord(tag)} /mnt`;
}

function qemuLines(
  host: QemuHost,
  attachment: Attachment,
  name: string = deviceNames(attachment.type, false)[0] ?? GENERIC_DEVICE,
): string[] {
  const { id, socketPath } = attachment;
  const cpu = host.accelerator === 'tcg' ? 'max' : 'host';
  const processor = `-accel ${host.accelerator} -cpu ${cpu}`;
  return [
    `${host.program} -machine ${host.machine},memory-backend=mem ${processor} -m 1G`,
    `-object ${host.memory},id=mem,size=1G,share=on`,
    `-chardev ${shellWord(chardevText(id, socketPath))}`,
    `-device ${shellWord(deviceText(attachment, id, name))}`,
  ];
}

function mayOpen(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
