/**
 * Our devices as calls of libkrun 1.18, a library: `krun_add_vhost_user_device` of
 * `include/libkrun.h`.
 *
 * @module
 */
import { DEVICE_KINDS } from './attachment.ts';
import type { Attachment } from './attachment.ts';
import type { ServerCommand } from './shell-script.ts';
import { commandLines } from './shell-script.ts';

/** What libkrun takes by itself when it is given no lengths. */
const QUEUE_SIZE = 256;
const MIB = 2 ** 20;

/** A machine. */
export interface KrunMachine {
  readonly cpuCount: number;
  readonly memoryBytes: number;
}

/** A function in C that adds the devices to a context of libkrun. */
export function libkrunSource(
  attachments: readonly Attachment[],
  servers: readonly ServerCommand[],
  machine: KrunMachine,
): string {
  const commands = servers.map(({ words }) => commandLines([words], ''));
  const implicit = (['console', 'vsock'] as const).filter((type) =>
    attachments.some((each) => each.type === type),
  );
  return [
    '/*',
    ' * For libkrun 1.18 and newer, built with its feature vhost-user (make VHOST_USER=1).',
    ' * The devices have to be there before the machine starts:',
    ...commands.map((command) => ` *   ${inComment(command)} &`),
    ' */',
    '#include <stdint.h>',
    '#include <libkrun.h>',
    '',
    'int32_t add_vhost_user_devices(uint32_t ctx)',
    '{',
    '    int32_t error;',
    '',
    ...call(
      `krun_set_vm_config(ctx, ${machine.cpuCount}, ${Math.ceil(machine.memoryBytes / MIB)})`,
    ),
    ...implicit.flatMap((type) => [
      `    /* Ours takes the place of the ${type} that libkrun makes by itself */`,
      ...call(`krun_disable_implicit_${type}(ctx)`),
    ]),
    ...attachments.flatMap(deviceLines),
    '    return 0;',
    '}',
    '',
  ].join('\n');
}

function deviceLines(attachment: Attachment): string[] {
  const { id, type, socketPath, queueCount, queueSize = QUEUE_SIZE } = attachment;
  const { virtioId, title } = DEVICE_KINDS[type];
  const sizes = Array.from({ length: queueCount }, () => queueSize).join(', ');
  return [
    `    /* ${title} */`,
    ...call(
      `krun_add_vhost_user_device(ctx, ${virtioId}, ${cText(socketPath)}, "${id}", ` +
        `${queueCount}, (const uint16_t[]){${sizes}})`,
    ),
  ];
}

function call(text: string): string[] {
  return [`    if ((error = ${text}) < 0)`, '        return error;'];
}

/** A literal of C; what is not plain ASCII in octal, which takes three digits at the most. */
function cText(text: string): string {
  const bytes = [...Buffer.from(text)].map((byte) => {
    const letter = String.fromCharCode(byte);
    if (/[\w ./,:@%+=~-]/.test(letter) && byte < 0x80) return letter;
    return `\\${byte.toString(8).padStart(3, '0')}`;
  });
  return `"${bytes.join('')}"`;
}

/** A comment of C ends at the first such pair. */
function inComment(text: string): string {
  return text.replaceAll('*/', '* /').replaceAll(/[\r\n]/g, ' ');
}
