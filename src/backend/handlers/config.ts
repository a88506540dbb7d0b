/**
 * The device's configuration space.
 *
 * @module
 */
import { VhostUserError } from '../../util/index.ts';
import { CONFIG_BYTES_MAX, FRONTEND } from '../../protocol/index.ts';
import { handle, reply } from '../session-state.ts';
import type { HandlerEntry } from '../session-state.ts';

/** VHOST_SET_CONFIG_TYPE_*: 0 for the driver's writes, 1 for a migration's. */
const TYPE_MIGRATION = 1;

/** See the module. */
export const configHandlers: readonly HandlerEntry[] = [
  handle<'config'>(FRONTEND.GET_CONFIG, ({ device }, { offset, flags, bytes }) => {
    checkRange(offset, bytes.length, CONFIG_BYTES_MAX);
    // A front-end asks for the structure that it knows, which may be longer than the device's:
    // zeroes.
    const space = new Uint8Array(CONFIG_BYTES_MAX);
    space.set(device.readConfig());
    return reply('config', { offset, flags, bytes: space.slice(offset, offset + bytes.length) });
  }),
  handle<'config'>(FRONTEND.SET_CONFIG, ({ device }, { offset, flags, bytes }) => {
    checkRange(offset, bytes.length, device.readConfig().length);
    if (flags > TYPE_MIGRATION) {
      throw new VhostUserError('ERR_VHU_CONFIG', `flags ${String(flags)}: 0 and 1 exist`);
    }
    if (device.writeConfig === undefined) {
      throw new VhostUserError(
        'ERR_VHU_CONFIG',
        `nothing in the configuration space of a ${device.name} device can be written`,
      );
    }
    device.writeConfig(offset, bytes, flags === TYPE_MIGRATION ? 'migration' : 'driver');
    return undefined;
  }),
];

function checkRange(offset: number, lengthBytes: number, limitBytes: number): void {
  if (offset + lengthBytes <= limitBytes) return;
  throw new VhostUserError(
    'ERR_VHU_CONFIG',
    `${String(lengthBytes)} bytes at offset ${String(offset)}: the space has ${String(limitBytes)}`,
  );
}
