/**
 * The configuration space as bytes, read by the driver's own table.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CONFIG } from '../../frontend/index.ts';
import { blkConfigSpace } from './config.ts';
import type { BlkConfig } from './config.ts';

const DISK: BlkConfig = {
  sizeBytes: 5 * 2 ** 40 + 511,
  blockBytes: 512,
  optimalBytes: 4096,
  queueCount: 3,
  writeback: true,
};

const space = (changes: Partial<BlkConfig>): DataView =>
  new DataView(blkConfigSpace({ ...DISK, ...changes }).buffer);

describe('the configuration space of a disk', () => {
  it('has each field where the driver looks for it', () => {
    const view = space({});
    assert.equal(view.byteLength, CONFIG.SIZE);
    assert.equal(view.getBigUint64(CONFIG.capacity, true), BigInt(5 * 2 ** 31));
    assert.equal(view.getUint32(CONFIG.segMax, true), 126);
    assert.equal(view.getUint32(CONFIG.blkSize, true), 512);
    assert.equal(view.getUint8(CONFIG.writeback), 1);
    assert.equal(view.getUint16(CONFIG.numQueues, true), 3);
    assert.equal(view.getUint32(CONFIG.maxDiscardSeg, true), 32);
    assert.equal(view.getUint32(CONFIG.maxWriteZeroesSeg, true), 1);
    assert.equal(view.getUint8(CONFIG.writeZeroesMayUnmap), 1);
  });

  it('tells of physical blocks of 4 KiB at most, and of more as what suits best', () => {
    for (const [blockBytes, optimalBytes, exponent, optimal] of [
      [512, 4096, 3, 8],
      [512, 1024 * 1024, 3, 2048],
      [4096, 4096, 0, 1],
      [4096, 512, 0, 1],
      [512, 131_072, 3, 256],
    ] as const) {
      const view = space({ blockBytes, optimalBytes });
      assert.equal(view.getUint8(CONFIG.physicalBlockExp), exponent);
      assert.equal(view.getUint16(CONFIG.minIoSize, true), 2 ** exponent);
      assert.equal(view.getUint32(CONFIG.optIoSize, true), optimal);
      const discardSectors = (2 ** exponent * blockBytes) / 512;
      assert.equal(view.getUint32(CONFIG.discardSectorAlignment, true), discardSectors);
    }
  });
});
