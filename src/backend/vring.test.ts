/**
 * Where a ring is, in our memory.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { MemoryRegion } from '../memory/index.ts';
import { Vring } from './vring.ts';

const UVA = 0x7f00_0000_0000;

function ringAt(desc: number, avail: number, used: number): Vring {
  const ring = new Vring(3);
  ring.size = 64;
  ring.addresses = { desc, avail, used };
  return ring;
}

describe('the placement of a ring', () => {
  const region: MemoryRegion = { gpa: 0, sizeBytes: 65536, uva: UVA, hva: 0x1_0000 };

  it('is found in the region that holds it', () => {
    const placement = ringAt(UVA + 16, UVA + 2050, UVA + 4100).placement([region]);
    assert.deepEqual(placement, {
      index: 3,
      descHva: 0x1_0010,
      availHva: 0x1_0802,
      usedHva: 0x1_1004,
    });
  });

  it('is refused when it is aligned for the front-end and not where we have mapped it', () => {
    const refused = { code: 'ERR_VHU_RING_ADDRESS', message: /is not aligned to/ };
    const ring = ringAt(UVA, UVA + 2048, UVA + 4096);
    for (const skew of [1, 2, 4, 8]) {
      const skewed = { ...region, hva: region.hva + skew };
      assert.throws(() => ring.placement([skewed]), refused, `skew ${skew}`);
    }
    ring.placement([{ ...region, hva: region.hva + 16 }]);
    const byTwo = { ...region, hva: region.hva + 2 };
    const descAligned = ringAt(UVA + 14, UVA + 2048, UVA + 4096);
    assert.throws(() => descAligned.placement([byTwo]), refused, 'aligned here, not there');
  });
});
