/**
 * What a block device says of itself: its features and configuration space, as numbers in bytes.
 *
 * @module
 */
import { VhostUserError } from '../../util/index.ts';
import { BLK_FEATURE, CONFIG, SECTOR_BYTES } from './layout.ts';

/** A block device's limits. Those of a feature that was not negotiated are 0, or as said. */
export interface BlkInfo {
  readonly sizeBytes: number;
  /** What offsets and lengths have to be multiples of; 512 without BLK_SIZE. */
  readonly blockBytes: number;
  readonly readOnly: boolean;
  /** Whether there is something to flush; without it each write is on disk when it returns. */
  readonly canFlush: boolean;
  readonly canDiscard: boolean;
  readonly canWriteZeroes: boolean;
  /** The longest buffer that the device takes in one piece; `Infinity` without SIZE_MAX. */
  readonly segmentBytesMax: number;
  /** Pieces of one request; 1 without SEG_MAX. */
  readonly segmentCountMax: number;
  /** 1 without MQ. */
  readonly queueCount: number;
  readonly discardBytesMax: number;
  readonly discardAlignBytes: number;
  readonly writeZeroesBytesMax: number;
}

/** Sizes of the configuration space that devices have had, for those that refuse to answer more. */
export const CONFIG_SIZES: readonly number[] = [CONFIG.SIZE, 36, 24, 8];

/**
 * Reads a configuration space of at least 8 bytes.
 * @throws VhostUserError `ERR_VHU_BLK_CONFIG` for values that no driver could use.
 */
export function parseBlkConfig(bytes: Uint8Array, features: bigint): BlkInfo {
  const padded = new Uint8Array(CONFIG.SIZE);
  padded.set(bytes.subarray(0, CONFIG.SIZE));
  const view = new DataView(padded.buffer);
  const has = (mask: bigint): boolean => (features & mask) !== 0n;
  const u32 = (at: number, feature: bigint, without: number): number =>
    has(feature) ? view.getUint32(at, true) : without;
  const { SIZE_MAX, SEG_MAX, BLK_SIZE, DISCARD, WRITE_ZEROES, MQ } = BLK_FEATURE;
  const sectors =
    view.getUint32(CONFIG.capacity, true) + view.getUint32(CONFIG.capacity + 4, true) * 2 ** 32;
  const info = {
    sizeBytes: sectors * SECTOR_BYTES,
    blockBytes: Math.max(SECTOR_BYTES, u32(CONFIG.blkSize, BLK_SIZE, SECTOR_BYTES)),
    readOnly: has(BLK_FEATURE.RO),
    canFlush: has(BLK_FEATURE.FLUSH),
    canDiscard: has(DISCARD),
    canWriteZeroes: has(WRITE_ZEROES),
    segmentBytesMax: u32(CONFIG.sizeMax, SIZE_MAX, 0) || Infinity,
    segmentCountMax: Math.max(1, u32(CONFIG.segMax, SEG_MAX, 1)),
    queueCount: has(MQ) ? Math.max(1, view.getUint16(CONFIG.numQueues, true)) : 1,
    discardBytesMax: u32(CONFIG.maxDiscardSectors, DISCARD, 0) * SECTOR_BYTES,
    discardAlignBytes: Math.max(1, u32(CONFIG.discardSectorAlignment, DISCARD, 1)) * SECTOR_BYTES,
    writeZeroesBytesMax: u32(CONFIG.maxWriteZeroesSectors, WRITE_ZEROES, 0) * SECTOR_BYTES,
  };
  checkInfo(info);
  return info;
}

function checkInfo(info: BlkInfo): void {
  const { sizeBytes, blockBytes, segmentBytesMax } = info;
  if (!Number.isSafeInteger(sizeBytes)) {
    throw new VhostUserError(
      'ERR_VHU_BLK_CONFIG',
      `the device says it has ${String(sizeBytes)} bytes: sizes from 2^53 up are not supported`,
    );
  }
  if (blockBytes % SECTOR_BYTES !== 0) {
    const text = `the device says its blocks have ${String(blockBytes)} bytes: no multiple of 512`;
    throw new VhostUserError('ERR_VHU_BLK_CONFIG', text);
  }
  if (segmentBytesMax < SECTOR_BYTES) {
    const text = `the device takes pieces of ${String(segmentBytesMax)} bytes: less than a sector`;
    throw new VhostUserError('ERR_VHU_BLK_CONFIG', text);
  }
}
