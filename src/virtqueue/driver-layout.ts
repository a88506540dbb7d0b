/**
 * Where a driver puts the parts of a split ring in memory that it shares with the device.
 *
 * @module
 */
import { DESC, availRingBytes, descTableBytes, usedRingBytes } from './layout.ts';

/** The two sides write to different cache lines; 128 is for Apple's and adjacent-line prefetch. */
const CACHE_LINE_BYTES = 128;

/** Offsets in bytes from the ring's first byte, which is aligned to 128. */
export interface SplitRingLayout {
  readonly descOffset: number;
  readonly availOffset: number;
  readonly usedOffset: number;
  /** Tables of indirect chains: `size × indirectMax` descriptors. */
  readonly tablesOffset: number;
  /** All of it, a multiple of 128. */
  readonly totalBytes: number;
}

/** Lays out a ring of `size` entries with room for indirect tables of `indirectMax` descriptors. */
export function splitRingLayout(size: number, indirectMax: number): SplitRingLayout {
  const availOffset = roundUp(descTableBytes(size));
  const usedOffset = availOffset + roundUp(availRingBytes(size));
  const tablesOffset = usedOffset + roundUp(usedRingBytes(size));
  const totalBytes = tablesOffset + roundUp(size * indirectMax * DESC.SIZE);
  return { descOffset: 0, availOffset, usedOffset, tablesOffset, totalBytes };
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / CACHE_LINE_BYTES) * CACHE_LINE_BYTES;
}
