/**
 * The configuration space of block devices as numbers.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CONFIG_SIZES, parseBlkConfig } from './config.ts';
import { BLK_FEATURE, CONFIG } from './layout.ts';

const ALL = Object.values(BLK_FEATURE).reduce((mask, bit) => mask | bit, 0n);

function space(fields: Partial<Record<keyof typeof CONFIG, number>>): Uint8Array {
  const bytes = new Uint8Array(CONFIG.SIZE);
  const view = new DataView(bytes.buffer);
  for (const [name, value] of Object.entries(fields)) {
    const at = CONFIG[name as keyof typeof CONFIG];
    if (name === 'capacity') view.setBigUint64(at, BigInt(value), true);
    else if (name === 'numQueues') view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
  }
  return bytes;
}

describe('parseBlkConfig', () => {
  it('gives every limit in bytes', () => {
    const fields = { capacity: 2 ** 33, sizeMax: 65536, segMax: 126, blkSize: 4096, numQueues: 4 };
    const ranges = { maxDiscardSectors: 8, discardSectorAlignment: 2, maxWriteZeroesSectors: 16 };
    assert.deepEqual(parseBlkConfig(space({ ...fields, ...ranges }), ALL), {
      sizeBytes: 2 ** 42,
      blockBytes: 4096,
      readOnly: true,
      canFlush: true,
      canDiscard: true,
      canWriteZeroes: true,
      segmentBytesMax: 65536,
      segmentCountMax: 126,
      queueCount: 4,
      discardBytesMax: 4096,
      discardAlignBytes: 1024,
      writeZeroesBytesMax: 8192,
    });
  });

  it('does not look at fields whose feature was not negotiated', () => {
    const bytes = new Uint8Array(CONFIG.SIZE).fill(0xee);
    bytes.set(space({ capacity: 1 }).subarray(0, 8));
    assert.deepEqual(parseBlkConfig(bytes, 0n), {
      sizeBytes: 512,
      blockBytes: 512,
      readOnly: false,
      canFlush: false,
      canDiscard: false,
      canWriteZeroes: false,
      segmentBytesMax: Infinity,
      segmentCountMax: 1,
      queueCount: 1,
      discardBytesMax: 0,
      discardAlignBytes: 512,
      writeZeroesBytesMax: 0,
    });
  });

  it('takes a space that ends early, or goes on, as far as it is known', () => {
    for (const count of CONFIG_SIZES) {
      assert.equal(parseBlkConfig(space({ capacity: 7 }).subarray(0, count), ALL).sizeBytes, 3584);
    }
    const long = new Uint8Array(256);
    long.set(space({ capacity: 7 }));
    assert.equal(parseBlkConfig(long, ALL).sizeBytes, 3584);
  });

  it('zeroes where a limit is wanted mean that there is none, or the smallest that works', () => {
    const info = parseBlkConfig(space({ capacity: 1 }), ALL);
    assert.deepEqual(
      [info.segmentBytesMax, info.segmentCountMax, info.blockBytes, info.queueCount],
      [Infinity, 1, 512, 1],
    );
  });

  it('refuses numbers that no driver could use', () => {
    const refused = { code: 'ERR_VHU_BLK_CONFIG' };
    assert.throws(() => parseBlkConfig(space({ capacity: 2 ** 50 }), ALL), refused);
    assert.throws(() => parseBlkConfig(space({ blkSize: 1000 }), ALL), refused);
    assert.throws(() => parseBlkConfig(space({ sizeMax: 511 }), ALL), refused);
  });
});
