/**
 * virtio-blk as bytes: virtio 1.3, section 5.2, little-endian.
 *
 * @module
 */

/** The device id (section 5.2.1). */
export const VIRTIO_ID_BLOCK = 2;

/** Feature bits (section 5.2.3), as masks. */
export const VIRTIO_BLK_F = {
  SIZE_MAX: 0x2n,
  SEG_MAX: 0x4n,
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
export const VIRTIO_BLK_T = {
  IN: 0,
  OUT: 1,
  FLUSH: 4,
  GET_ID: 8,
  DISCARD: 11,
  WRITE_ZEROES: 13,
} as const;

/** The status, which is the last byte that the device writes (section 5.2.6). */
export const VIRTIO_BLK_S = { OK: 0, IOERR: 1, UNSUPP: 2 } as const;

/** The unit of `sector` and `capacity`, whatever the block size is. */
export const SECTOR_BYTES = 512;

/** Bytes of the answer to GET_ID. */
export const VIRTIO_BLK_ID_BYTES = 20;

/** `struct virtio_blk_req` up to its data. | type 4 | reserved 4 | sector 8 | */
export const REQUEST_HEADER = { type: 0, reserved: 4, sector: 8, SIZE: 16 } as const;

/** `struct virtio_blk_discard_write_zeroes`. | sector 8 | num_sectors 4 | flags 4 | */
export const RANGE = { sector: 0, sectorCount: 8, flags: 12, SIZE: 16 } as const;

/** The flag of a WRITE_ZEROES range that allows to unmap it. */
export const RANGE_F_UNMAP = 1;

/** `struct virtio_blk_config` (section 5.2.4), up to the fields of WRITE_ZEROES. */
export const CONFIG = {
  capacity: 0, // 8, in sectors
  sizeMax: 8, // 4
  segMax: 12, // 4
  geometry: 16, // 4
  blkSize: 20, // 4
  physicalBlockExp: 24, // 1
  alignmentOffset: 25, // 1
  minIoSize: 26, // 2, in blocks
  optIoSize: 28, // 4, in blocks
  writeback: 32, // 1, then 1 unused
  numQueues: 34, // 2
  maxDiscardSectors: 36, // 4
  maxDiscardSeg: 40, // 4
  discardSectorAlignment: 44, // 4
  maxWriteZeroesSectors: 48, // 4
  maxWriteZeroesSeg: 52, // 4
  writeZeroesMayUnmap: 56, // 1, then 3 unused
  SIZE: 60,
} as const;
