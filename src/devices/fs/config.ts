/**
 * The configuration space of a shared folder.
 *
 * @module
 */
import { FS_CONFIG } from './layout.ts';

/** `struct virtio_fs_config`, the caller's; the tag has been checked. */
export function fsConfigSpace(tag: string, requestQueues: number): Uint8Array {
  const bytes = new Uint8Array(FS_CONFIG.SIZE);
  new TextEncoder().encodeInto(tag, bytes.subarray(FS_CONFIG.tag, FS_CONFIG.numRequestQueues));
  const view = new DataView(bytes.buffer);
  view.setUint32(FS_CONFIG.numRequestQueues, requestQueues, true);
  return bytes;
}
