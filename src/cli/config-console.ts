/**
 * A console in a configuration file of `vhost-user run`.
 *
 * @module
 */
import type { z as Zod } from 'zod';
import { NAME, SOCKET, checkedText, flag, text, wholeNumber } from './config-parts.ts';
import type { DeviceInput } from './config-parts.ts';
import {
  CONSOLE_SIZE_RULE,
  ESCAPE_RULE,
  RESIZE_ORDERS,
  TCP_RULE,
  UNATTENDED,
  consoleInFolder,
  parseConsoleSize,
  parseEscape,
  parseTcp,
  portNameFault,
} from './console-settings.ts';
import type { ConsoleChoices, PortChoices } from './console-settings.ts';
import { LIMITS, SIZE_RULE, parseMode, parseSize } from './limits.ts';
import type { ResizeOrder, Unattended } from '../devices/console/index.ts';
import { z } from './zod.ts';

/** A port, as the file has it. */
interface PortInput {
  readonly stdio?: boolean | undefined;
  readonly pty?: string | true | undefined;
  readonly unix?: string | undefined;
  readonly tcp?: string | number | undefined;
  readonly 'unix-mode'?: string | undefined;
  readonly 'unix-group'?: string | undefined;
  readonly 'max-clients'?: number | undefined;
  readonly log?: string | undefined;
  readonly 'log-size'?: string | number | undefined;
  readonly 'log-keep'?: number | undefined;
  readonly unattended?: Unattended | undefined;
  readonly backlog?: string | number | undefined;
  readonly size?: string | undefined;
}

/** A console, as the file has it. */
export interface ConsoleInput extends DeviceInput, PortInput {
  readonly type: 'console';
  readonly 'port-name'?: string | undefined;
  readonly escape?: string | undefined;
  readonly ports?: readonly NamedPortInput[] | undefined;
  readonly 'queue-size'?: number | undefined;
  readonly 'resize-order'?: ResizeOrder | undefined;
}

interface NamedPortInput extends PortInput {
  readonly name: string;
  readonly console?: boolean | undefined;
}

const byteSize = z
  .union([z.number().int().positive(), z.string()])
  .refine((value) => parseSize(String(value)) !== null, { error: `must be ${SIZE_RULE}` })
  .optional();

/** A text that a function has to make something of. */
function readable(read: (value: string) => unknown, rule: string): Zod.ZodString {
  return text.refine((value) => read(value) !== null, { error: `must be ${rule}` });
}

const PORT = {
  stdio: flag.optional().describe('standard input and output'),
  pty: z
    .union([z.literal(true), text], { error: 'must be true, or the path of a link' })
    .optional()
    .describe('a pseudo terminal: true, or the path of a link to it'),
  unix: text.optional().describe('a Unix socket for several clients'),
  tcp: z
    .union([wholeNumber(LIMITS.tcpPort), readable(parseTcp, TCP_RULE)], {
      error: `must be ${TCP_RULE}`,
    })
    .optional(),
  'unix-mode': SOCKET['socket-mode'],
  'unix-group': text.optional().describe('the group of the Unix socket'),
  'max-clients': wholeNumber(LIMITS.clients).optional(),
  log: text.optional().describe('a file that all output is appended to'),
  'log-size': byteSize,
  'log-keep': wholeNumber(LIMITS.logKeep).optional(),
  unattended: z.enum(UNATTENDED).optional(),
  backlog: byteSize,
  size: readable(parseConsoleSize, CONSOLE_SIZE_RULE).optional(),
};

/** A console. */
export const CONSOLE: Zod.ZodObject<{ type: Zod.ZodLiteral<'console'> }> = z.strictObject({
  type: z.literal('console'),
  name: NAME,
  ...PORT,
  'port-name': checkedText(portNameFault),
  escape: readable(parseEscape, ESCAPE_RULE).optional(),
  ports: z
    .array(
      z.strictObject({
        name: text.refine((value) => portNameFault(value) === null, {
          error: 'must be a name of up to 63 bytes without a slash',
        }),
        console: flag.optional().describe('a console, and no serial port'),
        ...PORT,
      }),
      { error: 'must be a list of ports' },
    )
    .optional(),
  'queue-size': wholeNumber(LIMITS.queueSize).optional(),
  'resize-order': z.enum(RESIZE_ORDERS).optional(),
  ...SOCKET,
});

/** The settings by the names that the options of the command have in a program. */
export function consoleChoices(device: ConsoleInput, folder: string): ConsoleChoices {
  const { escape, ports } = device;
  const choices: ConsoleChoices = {
    ...portChoices(device),
    portName: device['port-name'],
    escape: escape === undefined ? undefined : (parseEscape(escape) ?? undefined),
    ports: ports?.map((port) => ({
      ...portChoices(port),
      name: port.name,
      console: port.console,
    })),
    queueSize: device['queue-size'],
    resizeOrder: device['resize-order'],
  };
  return consoleInFolder(choices, folder);
}

function portChoices(port: PortInput): PortChoices {
  const { tcp, 'unix-mode': mode, size } = port;
  const bytes = (value: string | number | undefined): number | undefined =>
    value === undefined ? undefined : (parseSize(String(value)) ?? undefined);
  return {
    stdio: port.stdio,
    pty: port.pty,
    unix: port.unix,
    tcp: tcp === undefined ? undefined : (parseTcp(String(tcp)) ?? undefined),
    unixMode: mode === undefined ? undefined : (parseMode(mode) ?? undefined),
    unixGroup: port['unix-group'],
    maxClients: port['max-clients'],
    log: port.log,
    logSize: bytes(port['log-size']),
    logKeep: port['log-keep'],
    unattended: port.unattended,
    backlog: bytes(port.backlog),
    size: size === undefined ? undefined : (parseConsoleSize(size) ?? undefined),
  };
}
