/**
 * virtio-blk as bytes, as its driver needs it: virtio 1.3, section 5.2, little-endian. The device
 * has a table of its own, so that the two check each other.
 *
 * @module
 */

/**
 * Feature bits (section 5.2.3): masks, as literals so that the types are known without inference.
 */
export const BLK_FEATURE = {
  SIZE_MAX: 0x2n,
  SEG_MAX: 0x4n,
  GEOMETRY: 0x10n,
  RO: 0x20n,
  BLK_SIZE: 0x40n,
  FLUSH: 0x200n,
  TOPOLOGY: 0x400n,
  CONFIG_WCE: 0x800n,
  MQ: 0x1000n,
  DISCARD: 0x2000n,
  WRITE_ZEROES: 0x4000n,
} as const;

/** Request types (section 5.2.6). */
export const BLK_TYPE = {
  IN: 0,
  OUT: 1,
  FLUSH: 4,
  GET_ID: 8,
  DISCARD: 11,
  WRITE_ZEROES: 13,
} as const;

/** What a device writes to a request's last byte (section 5.2.6). */
export const BLK_STATUS = { OK: 0, IOERR: 1, UNSUPP: 2 } as const;

/** Sectors are 512 bytes, whatever the block size of the device. */
export const SECTOR_BYTES = 512;

/** The header of `struct virtio_blk_req`. | type 4 | reserved 4 | sector 8 | */
export const REQUEST = { type: 0, reserved: 4, sector: 8, SIZE: 16 } as const;

/** `struct virtio_blk_discard_write_zeroes`. | sector 8 | num_sectors 4 | flags 4 | */
export const RANGE = { sector: 0, sectorCount: 8, flags: 12, SIZE: 16 } as const;

/** The device may unmap the range rather than write zeroes to it. */
export const RANGE_F_UNMAP = 1;

/** Bytes of the answer to GET_ID; padded with NULs, without one when all 20 are used. */
export const ID_BYTES = 20;

/** `struct virtio_blk_config` (section 5.2.4), as far as a driver of these features reads it. */
export const CONFIG = {
  capacity: 0, // 8, in sectors
  sizeMax: 8, // 4
  segMax: 12, // 4
  cylinders: 16, // 2
  heads: 18, // 1
  sectors: 19, // 1
  blkSize: 20, // 4
  physicalBlockExp: 24, // 1
  alignmentOffset: 25, // 1
  minIoSize: 26, // 2, in blocks
  optIoSize: 28, // 4, in blocks
  writeback: 32, // 1
  numQueues: 34, // 2
  maxDiscardSectors: 36, // 4
  maxDiscardSeg: 40, // 4
  discardSectorAlignment: 44, // 4
  maxWriteZeroesSectors: 48, // 4
  maxWriteZeroesSeg: 52, // 4
  writeZeroesMayUnmap: 56, // 1, then 3 unused
  SIZE: 60,
} as const;
