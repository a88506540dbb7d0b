/**
 * virtio-console: terminals and serial ports of a guest, at a terminal, a pseudo terminal or a
 * socket of this host.
 *
 * @module
 */
import { ConsoleDevice } from './device.ts';
import type { ConsoleOptions } from './options.ts';

export { ConsoleDevice };
export type { ConsoleEnd, EndEvents } from './ends/end.ts';
export { BACKLOG_BYTES_MAX, NAME_BYTES_MAX, PORTS_MAX, SIZE_MAX } from './options.ts';
export type {
  ConsoleOptions,
  EndOptions,
  LogFileOptions,
  NamedPortOptions,
  PortOptions,
  ResizeOrder,
  Unattended,
} from './options.ts';

/**
 * Opens a console and what is at the other ends of its ports. Serve it with `startBackend`, which
 * closes it in the end.
 *
 * ```ts
 * const vmConsole = await openConsole({ end: { kind: 'pty', link: '/tmp/vm-console' } });
 * const backend = await startBackend(vmConsole, { kind: 'listen', path: '/tmp/console.sock' });
 * ```
 *
 * @throws VhostUserError in words for people: `ERR_VHU_OPTION`, `ERR_VHU_CONSOLE_END`,
 *   `ERR_VHU_CONSOLE_LOG`, `ERR_VHU_SOCKET_PATH`, `ERR_VHU_SOCKET_IN_USE`, `ERR_VHU_SYSTEM`.
 */
export function openConsole(options: ConsoleOptions): Promise<ConsoleDevice> {
  return ConsoleDevice.open(options);
}
