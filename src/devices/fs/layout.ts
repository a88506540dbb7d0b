/**
 * virtio-fs as bytes: virtio 1.3, section 5.11, little-endian. What is inside of the requests is
 * FUSE, in the layer `fuse`.
 *
 * @module
 */

/** The device id (section 5.11.1). */
export const VIRTIO_ID_FS = 26;

/** `struct virtio_fs_config` (section 5.11.4). */
export const FS_CONFIG = {
  tag: 0, // 36, UTF-8, filled up with NULs
  numRequestQueues: 36, // 4
  SIZE: 40,
} as const;

/** Bytes of the tag, which needs no NUL when it is that long. */
export const FS_TAG_BYTES = 36;

/** The queue of FORGET and INTERRUPT (section 5.11.2); request queues are numbered from 1. */
export const FS_HIPRIO_QUEUE = 0;
