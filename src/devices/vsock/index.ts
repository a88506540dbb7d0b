/**
 * virtio-vsock: stream and packet sockets between a guest, the host, and other guests.
 *
 * @module
 */
import { VsockDevice } from './device.ts';
import { VsockNetwork } from './network.ts';
import type { VsockOptions } from './options.ts';

export { VsockDevice, VsockNetwork };
export type { NetworkMember } from './network.ts';
export type {
  VsockForward,
  VsockListen,
  VsockOptions,
  VsockSocketType,
  VsockSource,
  VsockTarget,
} from './options.ts';

/**
 * Opens a vsock device. Serve it with `startBackend`, which closes it in the end. Guests that are
 * opened with the same network, and share a group, reach each other.
 *
 * ```ts
 * const vsock = openVsock({ guestCid: 3, udsPath: '/tmp/vm3.vsock' });
 * const backend = await startBackend(vsock, { kind: 'listen', path: '/tmp/vsock.sock' });
 * ```
 *
 * @throws VhostUserError in words for people: `ERR_VHU_OPTION`, `ERR_VHU_SOCKET_PATH`,
 *   `ERR_VHU_SOCKET_IN_USE`, `ERR_VHU_SYSTEM`.
 */
export function openVsock(
  options: VsockOptions,
  network: VsockNetwork = new VsockNetwork(),
): VsockDevice {
  return new VsockDevice(options, network);
}
