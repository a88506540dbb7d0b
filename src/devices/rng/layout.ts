/**
 * The entropy device as bytes, of which it has few: no features, no configuration space, one queue
 * whose chains are buffers to be filled (virtio 1.3, section 5.4).
 *
 * @module
 */

/** The device id (section 5.4.1). */
export const VIRTIO_ID_ENTROPY = 4;

/** `requestq`, the only queue (section 5.4.2). */
export const RNG_QUEUE = 0;
