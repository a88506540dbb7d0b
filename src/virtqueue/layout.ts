/**
 * The split virtqueue as bytes: virtio 1.3, section 2.7, little-endian.
 *
 * @module
 */

/** `struct virtq_desc`, section 2.7.5. | addr 8 | len 4 | flags 2 | next 2 | */
export const DESC = { addr: 0, len: 8, flags: 12, next: 14, SIZE: 16 } as const;

/** `struct virtq_avail`, section 2.7.6. | flags 2 | idx 2 | ring 2 × size | used_event 2 | */
export const AVAIL = { flags: 0, idx: 2, ring: 4, ENTRY_SIZE: 2 } as const;

/** `struct virtq_used`, section 2.7.8. | flags 2 | idx 2 | ring 8 × size | avail_event 2 | */
export const USED = { flags: 0, idx: 2, ring: 4, ENTRY_SIZE: 8 } as const;

/** `struct virtq_used_elem`, section 2.7.8. | id 4 | len 4 | */
export const USED_ELEM = { id: 0, len: 4, SIZE: 8 } as const;

/** The chain goes on at `next` (section 2.7.5). */
export const VIRTQ_DESC_F_NEXT = 1;
/** The device writes to this buffer; otherwise it reads from it (section 2.7.5). */
export const VIRTQ_DESC_F_WRITE = 2;
/** The buffer is a table of descriptors (section 2.7.5.3). */
export const VIRTQ_DESC_F_INDIRECT = 4;
/** The driver wants no notification of used buffers (section 2.7.7). */
export const VIRTQ_AVAIL_F_NO_INTERRUPT = 1;
/** The device wants no notification of available buffers (section 2.7.10). */
export const VIRTQ_USED_F_NO_NOTIFY = 1;

/** The largest Queue Size of a split virtqueue (section 2.7): 2^15. */
export const QUEUE_SIZE_MAX = 32768;

/** Alignment in bytes of the three parts (section 2.7). */
export const ALIGNMENT = { desc: 16, avail: 2, used: 4 } as const;

/** Bytes of the descriptor table of a ring with `size` entries. */
export function descTableBytes(size: number): number {
  return DESC.SIZE * size;
}

/** Bytes of the available ring of a ring with `size` entries, `used_event` included. */
export function availRingBytes(size: number): number {
  return AVAIL.ring + AVAIL.ENTRY_SIZE * size + 2;
}

/** Bytes of the used ring of a ring with `size` entries, `avail_event` included. */
export function usedRingBytes(size: number): number {
  return USED.ring + USED.ENTRY_SIZE * size + 2;
}

/**
 * Whether the other side wants to hear that an index moved from `old` to `next`, when it asked to
 * hear of the move past `event`; all are 16-bit and wrap (`vring_need_event`, section 2.7.7.2).
 */
export function needsEvent(event: number, next: number, old: number): boolean {
  return ((next - event - 1) & 0xffff) < ((next - old) & 0xffff);
}
