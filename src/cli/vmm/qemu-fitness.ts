/**
 * Whether a QEMU can take our devices, and what to do about it when it cannot.
 *
 * @module
 */
import { pipesFitness, vhostUserDevices } from '../../qemu/index.ts';
import type { QemuProbe } from '../../qemu/index.ts';
import { VhostUserError } from '../../util/index.ts';
import { DEVICE_KINDS } from './attachment.ts';
import type { Attachment } from './attachment.ts';
import { deviceNames } from './qemu-devices.ts';

/** Why a QEMU cannot do what is asked of it, each with what to do; empty when it can. */
export function qemuFaults(
  qemu: QemuProbe,
  os: string,
  attachments: readonly Attachment[],
  needsMemory: boolean,
): string[] {
  if (qemu.fault !== null) return [`it does not say what it can: ${qemu.fault}`];
  if (vhostUserDevices(qemu).length === 0) return [buildRemedy(os)];
  const faults: string[] = [];
  if (needsMemory && memoryOf(qemu, os) === undefined) {
    faults.push(
      'it has no memory that devices could map (memory-backend-shm is in QEMU 9.1 and newer): ' +
        'use a newer one',
    );
  }
  const isMainframe = qemu.guestArch === 's390x';
  for (const type of new Set(attachments.map((each) => each.type))) {
    if (deviceOf(qemu, type, isMainframe) === undefined) faults.push(missingDevice(qemu, type));
  }
  return faults;
}

/** What is known of a QEMU that works only in part; empty when it is fine. */
export function qemuRemarks(qemu: QemuProbe, os: string): string[] {
  const { version } = qemu;
  const hasEventfd = os === 'linux' || os === 'freebsd';
  if (hasEventfd || version === null) return [];
  const todo = 'use 9.1 to 10.2 if the guest does not see its devices';
  switch (pipesFitness(version)) {
    case 'works':
      return [];
    case 'fails':
      return [
        `QEMU ${version.text} starts no vhost-user device where there is no eventfd, unless its ` +
          `kick is mended: ${todo}`,
      ];
    case 'unknown':
      return [
        `whether QEMU ${version.text} starts vhost-user devices where there is no eventfd is not ` +
          `known to us, since 11.1 does not: ${todo}`,
      ];
  }
}

/** The device of QEMU for one of ours. @throws VhostUserError `ERR_VHU_QEMU` when it has none */
export function chooseDevice(
  qemu: QemuProbe,
  type: Attachment['type'],
  isMainframe: boolean,
): string {
  const name = deviceOf(qemu, type, isMainframe);
  if (name !== undefined) return name;
  throw new VhostUserError('ERR_VHU_QEMU', `${qemu.path}: ${missingDevice(qemu, type)}`);
}

/** Memory that another process can map. @throws VhostUserError `ERR_VHU_QEMU` for want of any */
export function chooseMemory(qemu: QemuProbe, os: string): string {
  const name = memoryOf(qemu, os);
  if (name !== undefined) return name;
  throw new VhostUserError('ERR_VHU_QEMU', `${qemu.path}: there is no memory that can be shared`);
}

function deviceOf(
  qemu: QemuProbe,
  type: Attachment['type'],
  isMainframe: boolean,
): string | undefined {
  return deviceNames(type, isMainframe).find((name) => qemu.devices.includes(name));
}

function memoryOf(qemu: QemuProbe, os: string): string | undefined {
  const memfd = os === 'linux' ? ['memory-backend-memfd'] : [];
  return [...memfd, 'memory-backend-shm'].find((name) => qemu.objects.includes(name));
}

function missingDevice(qemu: QemuProbe, type: Attachment['type']): string {
  const { title } = DEVICE_KINDS[type];
  const version = qemu.version === null ? '' : ` ${qemu.version.text}`;
  return (
    `QEMU${version} has no vhost-user device for ${title}: ` +
    'QEMU 10.2 and newer have vhost-user-test-device-pci, which takes its place'
  );
}

function buildRemedy(os: string): string {
  if (os === 'linux') {
    return (
      'it has no vhost-user devices at all: use the QEMU of your distribution ' +
      '(qemu-system-x86 or qemu-kvm), or build it without --disable-vhost-user'
    );
  }
  return (
    'it was built without vhost-user, as the packages for macOS and the BSDs are: build QEMU ' +
    "10.2 with './configure --enable-vhost-user'"
  );
}
