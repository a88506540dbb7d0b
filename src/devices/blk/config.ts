/**
 * The configuration space of a disk.
 *
 * @module
 */
import { CONFIG, SECTOR_BYTES } from './layout.ts';

/** Segments of one request: what fits a ring of 128, beside header and status. */
export const SEG_MAX = 126;
/** The longest segment. */
export const SIZE_MAX_BYTES: number = 4 * 1024 * 1024;
/** Ranges of one DISCARD request. */
export const DISCARD_RANGES_MAX = 32;
/** Ranges of one WRITE_ZEROES request, each of which may have to be written. */
export const ZERO_RANGES_MAX = 1;
/** The largest physical block that is told. */
const PHYSICAL_BYTES_MAX = 4096;
/**
 * Sectors of one range: 1 GiB, so that one request cannot keep the file system busy for minutes.
 */
export const RANGE_SECTORS_MAX: number = (1024 * 1024 * 1024) / SECTOR_BYTES;

/** What the configuration space is made from. */
export interface BlkConfig {
  readonly sizeBytes: number;
  /** The logical block: a power of two from 512 up. */
  readonly blockBytes: number;
  /**
   * The size of I/O that suits the image; a multiple of `blockBytes`, or less: then it says
   * nothing.
   */
  readonly optimalBytes: number;
  readonly queueCount: number;
  readonly writeback: boolean;
}

/** `struct virtio_blk_config`, the caller's. */
export function blkConfigSpace(config: BlkConfig): Uint8Array {
  const { blockBytes, optimalBytes } = config;
  const bytes = new Uint8Array(CONFIG.SIZE);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(CONFIG.capacity, BigInt(Math.floor(config.sizeBytes / SECTOR_BYTES)), true);
  view.setUint32(CONFIG.sizeMax, SIZE_MAX_BYTES, true);
  view.setUint32(CONFIG.segMax, SEG_MAX, true);
  view.setUint32(CONFIG.blkSize, blockBytes, true);
  // Some file systems report megabytes for what suits them: a hint, and not a block of the disk.
  const physicalBytes = Math.max(blockBytes, Math.min(optimalBytes, PHYSICAL_BYTES_MAX));
  const exponent = Math.floor(Math.log2(physicalBytes / blockBytes));
  view.setUint8(CONFIG.physicalBlockExp, exponent);
  view.setUint16(CONFIG.minIoSize, 2 ** exponent, true);
  view.setUint32(CONFIG.optIoSize, Math.max(1, Math.floor(optimalBytes / blockBytes)), true);
  view.setUint8(CONFIG.writeback, config.writeback ? 1 : 0);
  view.setUint16(CONFIG.numQueues, config.queueCount, true);
  view.setUint32(CONFIG.maxDiscardSectors, RANGE_SECTORS_MAX, true);
  view.setUint32(CONFIG.maxDiscardSeg, DISCARD_RANGES_MAX, true);
  view.setUint32(CONFIG.discardSectorAlignment, (2 ** exponent * blockBytes) / SECTOR_BYTES, true);
  view.setUint32(CONFIG.maxWriteZeroesSectors, RANGE_SECTORS_MAX, true);
  view.setUint32(CONFIG.maxWriteZeroesSeg, ZERO_RANGES_MAX, true);
  view.setUint8(CONFIG.writeZeroesMayUnmap, 1);
  return bytes;
}
