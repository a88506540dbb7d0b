/**
 * A device as a virtual machine monitor has to know it: what is the same for all of them, QEMU,
 * cloud-hypervisor, crosvm, libkrun and libvirt.
 *
 * @module
 */
import type { DeviceConfig } from '../config.ts';
import { standardTag } from '../fs-settings.ts';

/** What every device has. */
interface AttachmentBase {
  /** `blk0`: a name without anything that has to be quoted, and one of its own. */
  readonly id: string;
  readonly socketPath: string;
  /** All of its virtqueues. */
  readonly queueCount: number;
  /** The length of each queue, where somebody has chosen one. */
  readonly queueSize?: number | undefined;
}

/** A disk. */
export interface BlkAttachment extends AttachmentBase {
  readonly type: 'blk';
  readonly readOnly: boolean;
}

/** A file system. One of its queues is that of high priority. */
export interface FsAttachment extends AttachmentBase {
  readonly type: 'fs';
  readonly tag: string;
}

/** A device that is told apart by its type alone. */
export interface PlainAttachment extends AttachmentBase {
  readonly type: 'vsock' | 'rng' | 'console';
}

/** A device that is served, to be attached to a virtual machine. */
export type Attachment = BlkAttachment | FsAttachment | PlainAttachment;

/** Facts of a type of device, virtio 1.3. */
export interface DeviceKind {
  /** Section 5: the device ID. */
  readonly virtioId: number;
  /** Bytes of its configuration space, as far as a guest may read it. */
  readonly configBytes: number;
  /** What a guest gets, for people. */
  readonly title: string;
}

/** By the type of our devices. */
export const DEVICE_KINDS: Readonly<Record<Attachment['type'], DeviceKind>> = {
  blk: { virtioId: 2, configBytes: 60, title: 'a disk' }, // 5.2.4, up to secure erase
  console: { virtioId: 3, configBytes: 12, title: 'a console' }, // 5.3.4
  rng: { virtioId: 4, configBytes: 0, title: 'random bytes' }, // 5.4.4: there is none
  vsock: { virtioId: 19, configBytes: 8, title: 'a vsock' }, // 5.10.4
  fs: { virtioId: 26, configBytes: 40, title: 'a file system' }, // 5.11.4: tag, request queues
};

/** Virtio 1.3, section 5.10.2: receive, transmit and event. */
export const VSOCK_QUEUES = 3;

const CONSOLE_PORT_QUEUES = 2;
const CONSOLE_CONTROL_QUEUES = 2;

/** What a monitor has to know of a device that is served at a path. */
export function attachmentOf(device: DeviceConfig, id: string, socketPath: string): Attachment {
  const place = { id, socketPath };
  switch (device.type) {
    case 'blk': {
      const { queueCount = 1, queueSize, readOnly = false } = device.options;
      return { type: 'blk', ...place, queueCount, queueSize, readOnly };
    }
    case 'fs': {
      const { numRequestQueues = 1, queueSize, tag = standardTag(device.choices) } = device.choices;
      return { type: 'fs', ...place, queueCount: numRequestQueues + 1, queueSize, tag };
    }
    case 'vsock': {
      const { queueSize } = device.choices;
      return { type: 'vsock', ...place, queueCount: VSOCK_QUEUES, queueSize };
    }
    case 'rng':
      return { type: 'rng', ...place, queueCount: 1 };
    case 'console': {
      const { ports = [], queueSize } = device.choices;
      const queueCount = CONSOLE_PORT_QUEUES * (ports.length + 1) + CONSOLE_CONTROL_QUEUES;
      return { type: 'console', ...place, queueCount, queueSize };
    }
  }
}
