/**
 * virtio-rng: random bytes of this host, or of a file or device, for a guest.
 *
 * @module
 */
import { RngDevice } from './device.ts';
import type { RngOptions } from './options.ts';

export { RngDevice };
export { RNG_QUEUE, VIRTIO_ID_ENTROPY } from './layout.ts';
export type { RngOptions } from './options.ts';

/**
 * Makes an entropy device. Serve it with `startBackend`, which closes it in the end.
 *
 * ```ts
 * const rng = openRng({ maxBytes: 4096, periodMs: 1000 });
 * const backend = await startBackend(rng, { kind: 'listen', path: '/tmp/rng.sock' });
 * ```
 *
 * @throws VhostUserError in words for people: `ERR_VHU_OPTION`, `ERR_VHU_OPEN`,
 *   `ERR_VHU_RNG_FILE`.
 */
export function openRng(options: RngOptions = {}): RngDevice {
  return new RngDevice(options);
}
