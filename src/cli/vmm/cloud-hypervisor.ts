/**
 * Our devices on the command line of cloud-hypervisor 53: `vmm/src/config.rs` of that release has
 * the syntax (`DiskConfig`, `FsConfig`, `GenericVhostUserConfig`).
 *
 * @module
 */
import { DEVICE_KINDS } from './attachment.ts';
import type { Attachment } from './attachment.ts';

/** Queues where nobody has chosen a length: what the device of that kind has there by default. */
const QUEUE_SIZE = { blk: 128, fs: 1024, other: 256 } as const;

/** What has to be known. */
export const CLOUD_HYPERVISOR_REMARKS: readonly string[] = [
  'cloud-hypervisor 53 (release 52 calls device_type= by its older name virtio_id=)',
  'Guest memory has to be shared with the devices: --memory …,shared=on',
];

/** The words after `cloud-hypervisor`, an option with its value each. */
export function cloudHypervisorOptions(
  attachments: readonly Attachment[],
  userWords: readonly string[],
): string[][] {
  const { memory, rest } = takeMemory(userWords);
  const hasConsole = attachments.some(({ type }) => type === 'console');
  // Its own console would come first.
  const own = hasConsole && !userWords.includes('--console') ? [['--console', 'off']] : [];
  return [
    ['--memory', sharedMemory(memory ?? 'size=1G')],
    ...own,
    ...attachments.map(deviceOption),
    ...(rest.length > 0 ? [rest] : []),
  ];
}

function deviceOption(attachment: Attachment): string[] {
  const { type, queueCount, queueSize } = attachment;
  const socket = `socket=${quoted(attachment.socketPath)}`;
  switch (type) {
    case 'blk': {
      const queues = `num_queues=${queueCount},queue_size=${queueSize ?? QUEUE_SIZE.blk}`;
      return ['--disk', `vhost_user=on,${socket},${queues},readonly=${onOff(attachment.readOnly)}`];
    }
    case 'fs': {
      // It counts the request queues alone.
      const queues = `num_queues=${queueCount - 1},queue_size=${queueSize ?? QUEUE_SIZE.fs}`;
      return ['--fs', `tag=${quoted(attachment.tag)},${socket},${queues}`];
    }
    default: {
      const sizes = Array.from({ length: queueCount }, () => queueSize ?? QUEUE_SIZE.other);
      const { virtioId } = DEVICE_KINDS[type];
      return [
        '--generic-vhost-user',
        `device_type=${virtioId},${socket},queue_sizes=[${sizes.join(',')}]`,
      ];
    }
  }
}

function onOff(value: boolean): string {
  return value ? 'on' : 'off';
}

/** The user's `--memory`, which has to be shared, and all else. */
function takeMemory(words: readonly string[]): { memory: string | null; rest: string[] } {
  const at = words.findLastIndex((word) => word === '--memory' || word.startsWith('--memory='));
  const word = words[at];
  if (word === undefined) return { memory: null, rest: [...words] };
  if (word !== '--memory') {
    return { memory: word.slice('--memory='.length), rest: words.filter((_, i) => i !== at) };
  }
  const rest = words.filter((_, i) => i !== at && i !== at + 1);
  return { memory: words[at + 1] ?? '', rest };
}

function sharedMemory(text: string): string {
  const others = text.split(',').filter((part) => part !== '' && !part.startsWith('shared='));
  return [...others, 'shared=on'].join(',');
}

/** Quotation marks keep commas and brackets; one inside of them is written twice. */
function quoted(value: string): string {
  return /[",[\]]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
}
