/**
 * virtio-blk: a disk, from a raw image file or a block device.
 *
 * @module
 */
import { BlkDevice } from './device.ts';
import type { BlkOptions } from './options.ts';

export { BlkDevice };
export type { BlkEngineName, BlkOptions } from './options.ts';

/**
 * Opens an image as a disk. Serve it with `startBackend`, which closes it in the end.
 *
 * ```ts
 * const disk = openBlk({ image: 'disk.img', serial: 'DISK0001' });
 * const backend = await startBackend(disk, { kind: 'listen', path: '/tmp/disk.sock' });
 * ```
 *
 * @throws VhostUserError in words for people: `ERR_VHU_OPTION`, `ERR_VHU_OPEN`,
 *   `ERR_VHU_BLK_IMAGE`, `ERR_VHU_BLK_LOCKED`.
 */
export function openBlk(options: BlkOptions): BlkDevice {
  return new BlkDevice(options);
}
