/**
 * Our own device side against everything that the hostile driver can do, and against a thread that
 * rewrites the ring while it is read.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SplitVirtqueue } from '../virtqueue/index.ts';
import type { Chain } from '../virtqueue/index.ts';
import { HOSTILE_CHAINS, RingPair, startFlipper } from './index.ts';

const FEATURE_SETS = [0n, 0x1000_0000n, 0x2000_0000n, 0x3000_0000n];

/**
 * Takes chains until there are none; bounded, since a ring cannot give more than it has entries.
 */
function popAll(pair: RingPair): Chain[] {
  const chains: Chain[] = [];
  for (let chain = pair.device.pop(); chain !== null; chain = pair.device.pop()) {
    chains.push(chain);
    assert.ok(chains.length <= pair.config.size, 'a ring gives no more chains than it has entries');
  }
  return chains;
}

describe('hostile chains', () => {
  for (const each of HOSTILE_CHAINS) {
    for (const features of FEATURE_SETS) {
      if ((features & each.features) !== each.features || (features & each.without) !== 0n)
        continue;
      for (const size of [4, 256]) {
        const where = `size ${String(size)}, features 0x${features.toString(16)}`;
        it(`${each.name} (${where})`, () => {
          const { twoRegions } = each;
          const pair = new RingPair({ size, features, twoRegions, dataBytes: 8192 });
          try {
            each.offer(pair.hostileDriver());
            const chains = popAll(pair);
            if (each.legal) {
              assert.equal(pair.device.fault, null);
              assert.equal(chains.length, 1);
            } else {
              assert.match(pair.device.fault?.code ?? 'no fault', /^ERR_VHU_RING_/);
              assert.match(pair.device.fault?.message ?? '', /^queue 0: /);
            }
          } finally {
            pair.close();
          }
        });
      }
    }
  }

  it('the table has cases of both kinds, each with a name of its own', () => {
    const names = new Set(HOSTILE_CHAINS.map((each) => each.name));
    assert.equal(names.size, HOSTILE_CHAINS.length);
    assert.ok(HOSTILE_CHAINS.filter((each) => each.legal).length >= 5);
    assert.ok(HOSTILE_CHAINS.filter((each) => !each.legal).length >= 25);
  });

  it('the driver sees what a device used', () => {
    const pair = new RingPair({ size: 4, startIndex: 65535 });
    const hostile = pair.hostileDriver();
    hostile.desc(2, { addr: pair.dataGpa, len: 8, flags: 2 });
    hostile.availFlags(0);
    hostile.usedEvent(0);
    hostile.offer(2);
    const [chain] = popAll(pair);
    assert.ok(chain);
    pair.device.push(chain, 8);
    assert.ok(pair.device.publish());
    assert.deepEqual(hostile.used(), [{ id: 2, len: 8 }]);
    assert.deepEqual(hostile.used(), []);
    pair.close();
  });
});

describe('a driver that rewrites its ring while the device reads it', () => {
  it('never makes the device see a buffer outside of memory', async () => {
    const pair = new RingPair({ size: 4, features: 0x1000_0000n, dataBytes: 65536 });
    const hostile = pair.hostileDriver();
    const { descHva } = pair.config;
    const inside = pair.dataGpa % 2 ** 32;
    hostile.desc(0, { addr: pair.dataGpa, len: 16, flags: 1, next: 1 });
    hostile.desc(1, { addr: pair.dataGpa, len: 16, flags: 2 });
    const flipper = await startFlipper([
      { hva: descHva, bytes: 4, values: [inside, 0, inside + 60000, 0xffff_fff0] },
      { hva: descHva + 4, bytes: 4, values: [0x12, 0x12, 0x12, 0xffff] },
      { hva: descHva + 8, bytes: 4, values: [16, 0xffff_ffff, 5000, 0, 64] },
      { hva: descHva + 12, bytes: 4, values: [1 | (1 << 16), 4, 1, 1 | (9 << 16), 2] },
      { hva: descHva + 24, bytes: 4, values: [1, 0x8000_0000, 512] },
    ]);
    let [served, broken] = [0, 0];
    for (let i = 0; i < 20_000; i++) {
      const device = new SplitVirtqueue({ ...pair.config, availIndex: 0 }, pair.memory);
      hostile.availIndex(0);
      hostile.offer(0);
      const chain = device.pop();
      if (chain === null) {
        assert.match(device.fault?.code ?? 'no fault', /^ERR_VHU_RING_/);
        broken++;
        continue;
      }
      served++;
      let [readable, writable] = [0, 0];
      for (let at = 0; at < chain.segmentCount; at++) {
        const gpa: number = chain.gpa[at] ?? -1;
        const hva: number = chain.hva[at] ?? -1;
        const length: number = chain.length[at] ?? -1;
        assert.equal(pair.memory.hvaOf(gpa, length), hva, 'each segment is inside of memory');
        if (at < chain.readableCount) readable += length;
        else writable += length;
      }
      assert.deepEqual([chain.readableBytes, chain.writableBytes], [readable, writable]);
    }
    assert.ok((await flipper.stop()) > 0);
    pair.close();
    assert.equal(served + broken, 20_000);
  });
});
