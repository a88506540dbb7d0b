/**
 * A vsock in a configuration file of `vhost-user run`.
 *
 * @module
 */
import type { z as Zod } from 'zod';
import { NAME, SOCKET, flag, text, wholeNumber } from './config-parts.ts';
import type { DeviceInput } from './config-parts.ts';
import { LIMITS, parseMode } from './limits.ts';
import type { VsockChoices } from './vsock-settings.ts';
import { inFolder } from './vsock-settings.ts';
import { TextFault, parseForward, parseGroups, parseListen, parsePorts } from './vsock-text.ts';
import { bufferSize } from './vsock-vms.ts';
import { z } from './zod.ts';

/** A vsock, as the file has it. */
export interface VsockInput extends DeviceInput {
  readonly type: 'vsock';
  readonly 'guest-cid'?: number | undefined;
  readonly 'uds-path'?: string | undefined;
  readonly 'uds-mode'?: string | undefined;
  readonly 'uds-group'?: string | undefined;
  readonly forward?: readonly string[] | undefined;
  readonly listen?: readonly string[] | undefined;
  readonly 'forward-cid'?: number | undefined;
  readonly 'forward-listen'?: string | number | readonly number[] | undefined;
  readonly groups?: string | readonly string[] | undefined;
  readonly seqpacket?: boolean | undefined;
  readonly 'tx-buffer-size'?: string | number | undefined;
  readonly 'max-connections'?: number | undefined;
  readonly 'queue-size'?: number | undefined;
  readonly 'poll-us'?: number | undefined;
}

/** A text that one of the readers of the command line reads. */
function readable(read: (value: string) => unknown): Zod.ZodString {
  return text.superRefine((value, context) => {
    try {
      read(value);
    } catch (error) {
      if (!(error instanceof TextFault)) throw error;
      context.addIssue({ code: 'custom', message: error.message });
    }
  });
}

const PORT = wholeNumber(LIMITS.vsockPort);
const PORTS = `must be a port, ports with '+' between them, or a list of ports`;
const GROUPS = `must be names with '+' between them, or a list of names`;
const SIZE = 'must be a number of bytes from 4096 to 16777216, or such as 64K';

/** A vsock. */
export const VSOCK: Zod.ZodObject<{ type: Zod.ZodLiteral<'vsock'> }> = z.strictObject({
  type: z.literal('vsock'),
  name: NAME,
  'guest-cid': wholeNumber(LIMITS.guestCid).optional().describe("the guest's address"),
  'uds-path': text.optional().describe("where programs of this host say 'CONNECT port'"),
  'uds-mode': SOCKET['socket-mode'],
  'uds-group': text.optional().describe('the group of sockets made for programs'),
  forward: z
    .array(readable(parseForward), { error: 'must be a list of rules' })
    .optional()
    .describe('such as guest:1234=tcp:127.0.0.1:22'),
  listen: z
    .array(readable(parseListen), { error: 'must be a list of rules' })
    .optional()
    .describe('such as tcp:127.0.0.1:2222=guest:22'),
  'forward-cid': wholeNumber(LIMITS.vsockPort).optional(),
  'forward-listen': z
    .union([PORT, readable(parsePorts), z.array(PORT)], { error: PORTS })
    .optional(),
  groups: z.union([readable(parseGroups), z.array(text)], { error: GROUPS }).optional(),
  seqpacket: flag.optional().describe('offer sockets that keep the borders of messages'),
  'tx-buffer-size': z
    .union([wholeNumber(LIMITS.txBuffer), readable(bufferSize)], { error: SIZE })
    .optional(),
  'max-connections': wholeNumber(LIMITS.connections).optional(),
  'queue-size': wholeNumber(LIMITS.queueSize).optional(),
  'poll-us': wholeNumber(LIMITS.pollUs).optional(),
  ...SOCKET,
});

/** The settings by the names that the options of the command have in a program. */
export function vsockChoices(device: VsockInput, folder: string): VsockChoices {
  const { groups, 'forward-listen': ports, 'uds-mode': mode, 'tx-buffer-size': size } = device;
  return inFolder(
    {
      guestCid: device['guest-cid'],
      udsPath: device['uds-path'],
      udsMode: mode === undefined ? undefined : (parseMode(mode) ?? undefined),
      udsGroup: device['uds-group'],
      forward: device.forward?.map(parseForward),
      listen: device.listen?.map(parseListen),
      forwardCid: device['forward-cid'],
      forwardListen: ports === undefined ? undefined : parsePorts(joined(ports)),
      groups: groups === undefined ? undefined : parseGroups(joined(groups)),
      seqpacket: device.seqpacket,
      txBufferSize: size === undefined ? undefined : bufferSize(String(size)),
      maxConnections: device['max-connections'],
      queueSize: device['queue-size'],
      pollUs: device['poll-us'],
    },
    folder,
  );
}

function joined(value: string | number | readonly (string | number)[]): string {
  return Array.isArray(value) ? value.join('+') : String(value);
}
