/**
 * Our devices on QEMU's command line: by QEMU's own vhost-user device of their kind, or by its
 * generic one, which knows nothing of the kind.
 *
 * @module
 */
import { DEVICE_KINDS } from './attachment.ts';
import type { Attachment } from './attachment.ts';
import { commaTwice } from './option-text.ts';

/** QEMU has it from 10.2 on; before that a device of this kind could not be made by users. */
export const GENERIC_DEVICE = 'vhost-user-test-device-pci';

/** The longest queue of QEMU's devices (VIRTQUEUE_MAX_SIZE). */
const QUEUE_SIZE_MAX = 1024;

/** The length of a file system's queues; QEMU's own default is 128, too short for large reads. */
const FS_QUEUE_SIZE = 1024;

/** What a device of ours may be for QEMU, the best first; `isMainframe`: its bus may be ccw. */
export function deviceNames(type: Attachment['type'], isMainframe: boolean): string[] {
  const own = `vhost-user-${type}`;
  // QEMU has no console of its own for vhost-user, in no release so far.
  if (type === 'console') return [GENERIC_DEVICE];
  return [...(isMainframe ? [`${own}-ccw`] : []), `${own}-pci`, GENERIC_DEVICE];
}

/** The value of `-chardev`. */
export function chardevText(id: string, socketPath: string): string {
  return `socket,id=${id},path=${commaTwice(socketPath)}`;
}

/** The value of `-device`, for one of {@link deviceNames}. */
export function deviceText(attachment: Attachment, chardevId: string, name: string): string {
  const properties =
    name === GENERIC_DEVICE ? genericProperties(attachment) : ownProperties(attachment);
  return [name, `chardev=${chardevId}`, ...properties].join(',');
}

function genericProperties(attachment: Attachment): string[] {
  const { virtioId, configBytes } = DEVICE_KINDS[attachment.type];
  const { queueCount, queueSize } = attachment;
  return [
    `virtio-id=${virtioId}`,
    `num_vqs=${queueCount}`,
    ...(queueSize === undefined ? [] : [`vq_size=${Math.min(queueSize, QUEUE_SIZE_MAX)}`]),
    ...(configBytes === 0 ? [] : [`config_size=${configBytes}`]),
  ];
}

function ownProperties(attachment: Attachment): string[] {
  const { queueCount, queueSize } = attachment;
  switch (attachment.type) {
    case 'blk': {
      const size = queueSize === undefined ? [] : [`queue-size=${shortened(queueSize)}`];
      return [`num-queues=${queueCount}`, ...size];
    }
    case 'fs': {
      const requests = queueCount - 1;
      const more = requests > 1 ? [`num-request-queues=${requests}`] : [];
      const size = shortened(queueSize ?? FS_QUEUE_SIZE);
      return [`tag=${commaTwice(attachment.tag)}`, `queue-size=${size}`, ...more];
    }
    default:
      return [];
  }
}

function shortened(queueSize: number): number {
  return Math.min(queueSize, QUEUE_SIZE_MAX);
}
