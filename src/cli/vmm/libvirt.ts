/**
 * A domain of libvirt's with our devices, by https://libvirt.org/formatdomain.html: disks and file
 * systems by libvirt's own elements, everything else by `qemu:commandline`, since libvirt has no
 * element for a vhost-user vsock, console or entropy device.
 *
 * @module
 */
import type { Attachment } from './attachment.ts';
import { GENERIC_DEVICE, chardevText, deviceText } from './qemu-devices.ts';
import { commandLines } from './shell-script.ts';
import type { ServerCommand } from './shell-script.ts';

/** What is not of the devices. */
export interface LibvirtMachine {
  readonly domainType: 'kvm' | 'hvf' | 'qemu';
  readonly arch: string;
  readonly machine: string;
  readonly cpuCount: number;
  readonly memoryBytes: number;
  /** What libvirt hands to QEMU as it is. */
  readonly words: readonly string[];
}

const FS_QUEUE_SIZE = 1024;
const KIB = 1024;

/** The XML of a domain. */
export function libvirtDomain(
  attachments: readonly Attachment[],
  servers: readonly ServerCommand[],
  machine: LibvirtMachine,
): string {
  const disks = attachments.filter(({ type }) => type === 'blk');
  const devices = attachments.flatMap((each) => elementOf(each, disks.indexOf(each)));
  const plain = attachments.filter(({ type }) => type !== 'blk' && type !== 'fs');
  const words = [...plain.flatMap(argumentsOf), ...machine.words];
  return [
    `<domain type='${machine.domainType}' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>`,
    '  <name>vhost-user</name>',
    // No comment may hold two dashes, and a description is kept by libvirt.
    '  <description>Its devices have to be there before it starts:',
    ...servers.map(({ words: each }) => `${xmlText(commandLines([each], ''))} &amp;`),
    '  </description>',
    `  <memory unit='KiB'>${Math.ceil(machine.memoryBytes / KIB)}</memory>`,
    '  <memoryBacking>',
    `    <source type='${machine.domainType === 'hvf' ? 'file' : 'memfd'}'/>`,
    "    <access mode='shared'/>",
    '  </memoryBacking>',
    `  <vcpu>${machine.cpuCount}</vcpu>`,
    '  <os>',
    `    <type arch='${xmlText(machine.arch)}' machine='${xmlText(machine.machine)}'>hvm</type>`,
    '  </os>',
    "  <cpu mode='maximum'/>",
    '  <devices>',
    ...devices.map((line) => `    ${line}`),
    '  </devices>',
    ...(words.length === 0
      ? []
      : [
          '  <!-- For what libvirt has no element for -->',
          '  <qemu:commandline>',
          ...words.map((word) => `    <qemu:arg value='${xmlText(word)}'/>`),
          '  </qemu:commandline>',
        ]),
    '</domain>',
    '',
  ].join('\n');
}

function elementOf(attachment: Attachment, index: number): string[] {
  const socket = xmlText(attachment.socketPath);
  if (attachment.type === 'blk') return diskElement(attachment, index);
  if (attachment.type === 'fs') {
    return [
      "<filesystem type='mount'>",
      `  <driver type='virtiofs' queue='${attachment.queueSize ?? FS_QUEUE_SIZE}'/>`,
      `  <source socket='${socket}'/>`,
      `  <target dir='${xmlText(attachment.tag)}'/>`,
      '</filesystem>',
    ];
  }
  return [];
}

function diskElement(attachment: Attachment, index: number): string[] {
  const socket = xmlText(attachment.socketPath);
  const readOnly = attachment.type === 'blk' && attachment.readOnly ? ['  <readonly/>'] : [];
  return [
    "<disk type='vhostuser' device='disk'>",
    `  <driver name='qemu' type='raw' queues='${attachment.queueCount}'/>`,
    `  <source type='unix' path='${socket}'/>`,
    `  <target dev='${diskName(index)}' bus='virtio'/>`,
    ...readOnly,
    '</disk>',
  ];
}

function argumentsOf(attachment: Attachment): string[] {
  const { id, type, socketPath } = attachment;
  const name = type === 'console' ? GENERIC_DEVICE : `vhost-user-${type}-pci`;
  return [
    ...['-chardev', chardevText(id, socketPath)],
    ...['-device', deviceText(attachment, id, name)],
  ];
}

const LETTERS = 26;

/** `vda`, and `vdaa` after `vdz`. */
function diskName(index: number): string {
  const letter = String.fromCharCode('a'.charCodeAt(0) + (index % LETTERS));
  return index < LETTERS ? `vd${letter}` : `${diskName(Math.floor(index / LETTERS) - 1)}${letter}`;
}

/** A text inside of an element or of an attribute's quotation marks. */
function xmlText(text: string): string {
  const names: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    "'": '&apos;',
    '"': '&quot;',
  };
  // Other control characters are not allowed in XML, not even by their numbers.
  return text
    .replaceAll(/[\x00-\x08\x0b\x0c\x0e-\x1f]/g, '\ufffd')
    .replaceAll(/[&<>'"]/g, (letter) => names[letter] ?? letter)
    .replaceAll(/[\t\n\r]/g, (letter) => `&#${letter.charCodeAt(0)};`);
}
