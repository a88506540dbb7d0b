/**
 * The device side of a split ring, while another thread rewrites what the driver owns: nothing is
 * read twice, and nothing outside of memory is ever touched.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RingPair, startFlipper } from '../testing/index.ts';
import type { Flip, HostileDriver } from '../testing/index.ts';
import { SplitVirtqueue } from './index.ts';
import type { Chain } from './index.ts';

const [NEXT, WRITE, INDIRECT] = [1, 2, 4];
const INDIRECT_DESC = 1n << 28n;
const EVENT_IDX = 1n << 29n;

/** Segments of a chain as plain data. */
function segmentsOf(chain: Chain): { gpa: number; length: number; writable: boolean }[] {
  return Array.from({ length: chain.segmentCount }, (_, i) => {
    return { gpa: chain.gpa[i]!, length: chain.length[i]!, writable: i >= chain.readableCount };
  });
}

/** One descriptor for each head, all of one byte. */
function fillDescriptors(driver: HostileDriver): void {
  for (let i = 0; i < driver.ring.size; i++) {
    driver.desc(i, { addr: driver.ring.scratchGpa, len: 1, flags: WRITE });
  }
}

/** All that can be said of a chain that was taken while its ring was being rewritten. */
function checkChain(pair: RingPair, chain: Chain): void {
  let [readable, writable] = [0, 0];
  for (let i = 0; i < chain.segmentCount; i++) {
    const length = chain.length[i]!;
    assert.equal(pair.memory.hvaOf(chain.gpa[i]!, length), chain.hva[i], 'inside of memory');
    if (i < chain.readableCount) readable += length;
    else writable += length;
  }
  assert.deepEqual([chain.readableBytes, chain.writableBytes], [readable, writable]);
}

const FIRE_MS = 400;
const FIRE_MS_MAX = 20_000;

/** Whether each of these was seen. */
function sees(...what: string[]): (seen: ReadonlyMap<string, number>) => boolean {
  return (seen) => what.every((each) => seen.has(each));
}

/**
 * Makes queues and takes chains while `flips` go on, until `enough` was seen; returns counts, by
 * fault or 'served'.
 */
async function popUnderFire(
  pair: RingPair,
  flips: readonly Flip[],
  enough: (seen: ReadonlyMap<string, number>) => boolean,
): Promise<Map<string, number>> {
  const seen = new Map<string, number>();
  const count = (what: string): void => void seen.set(what, (seen.get(what) ?? 0) + 1);
  const flipper = await startFlipper(flips);
  const beginMs = performance.now();
  const passedMs = (): number => performance.now() - beginMs;
  try {
    // On a busy machine the other thread may get to nothing in so short a time.
    while (passedMs() < FIRE_MS || (!enough(seen) && passedMs() < FIRE_MS_MAX)) {
      const device = new SplitVirtqueue({ ...pair.config, availIndex: 0 }, pair.memory);
      for (let pops = 0; pops < 64; pops++) {
        const chain = device.pop();
        if (chain === null) {
          count(device.fault?.code ?? 'empty');
          if (device.fault !== null) break;
          continue;
        }
        checkChain(pair, chain);
        count('served');
        device.push(chain, 0);
        device.publish();
        device.enableNotifications();
      }
    }
  } finally {
    await flipper.stop();
  }
  return seen;
}

describe('SplitVirtqueue: a driver that rewrites its ring while it is read', () => {
  const features = INDIRECT_DESC | EVENT_IDX;

  it('descriptors: every field is checked as it was read', async () => {
    const pair = new RingPair({ size: 4, features, twoRegions: true });
    try {
      const driver = pair.hostileDriver();
      const { descHva } = pair.config;
      const low = pair.dataGpa % 2 ** 32;
      const high = Math.floor(pair.dataGpa / 2 ** 32);
      const end = (pair.splitGpa % 2 ** 32) - 8; // a length from here on crosses regions
      driver.desc(1, { addr: pair.dataGpa, len: 16, flags: WRITE });
      driver.availIndex(4);
      const seen = await popUnderFire(
        pair,
        [
          { hva: descHva, bytes: 4, values: [low, end, 0xffff_fff0, low, low] },
          { hva: descHva + 4, bytes: 4, values: [high, high, 0xffff_ffff, high] },
          { hva: descHva + 8, bytes: 4, values: [16, 0xffff_ffff, 4000, 0, 32] },
          { hva: descHva + 12, bytes: 2, values: [0, NEXT, WRITE, INDIRECT, NEXT | WRITE] },
          { hva: descHva + 14, bytes: 2, values: [1, 1, 0, 9, 0xffff] },
        ],
        (kinds) => kinds.has('served') && kinds.size > 2,
      );
      assert.ok(seen.get('served')! > 0, `served among ${[...seen.keys()].join()}`);
      assert.ok(seen.size > 2, 'and more than one kind of fault');
    } finally {
      pair.close();
    }
  });

  it('the available ring: heads and index', async () => {
    const pair = new RingPair({ size: 4, features });
    try {
      const driver = pair.hostileDriver();
      const { availHva } = pair.config;
      fillDescriptors(driver);
      const seen = await popUnderFire(
        pair,
        [
          { hva: availHva + 2, bytes: 2, values: [0, 1, 4, 2, 3, 5, 65535, 4, 4, 1] },
          { hva: availHva + 4, bytes: 2, values: [0, 1, 4, 2, 0xffff] },
          { hva: availHva + 6, bytes: 2, values: [3, 1, 0] },
        ],
        sees('served', 'ERR_VHU_RING_HEAD', 'ERR_VHU_RING_AVAIL_INDEX'),
      );
      assert.ok(seen.get('served')! > 0);
      assert.ok(seen.get('ERR_VHU_RING_HEAD')! > 0);
      assert.ok(seen.get('ERR_VHU_RING_AVAIL_INDEX')! > 0);
    } finally {
      pair.close();
    }
  });

  it('indirect tables, and the descriptor that names them', async () => {
    const pair = new RingPair({ size: 4, features, twoRegions: true });
    try {
      const driver = pair.hostileDriver();
      const table = pair.splitGpa - 16; // its second entry is in the second region
      const at = pair.memory.hvaOf(table, 16);
      const next = pair.memory.hvaOf(pair.splitGpa, 16);
      driver.desc(0, { addr: table, len: 32, flags: INDIRECT });
      driver.desc(0, { addr: pair.dataGpa, len: 16, flags: NEXT, next: 1 }, table);
      driver.desc(1, { addr: pair.dataGpa, len: 16, flags: WRITE }, table);
      driver.availIndex(4);
      const seen = await popUnderFire(
        pair,
        [
          { hva: pair.config.descHva + 8, bytes: 4, values: [32, 16, 24, 0xffff_fff0, 32] },
          {
            hva: at + 4,
            bytes: 4,
            values: [Math.floor(pair.dataGpa / 2 ** 32), 0xffff, 0xffff_ffff],
          },
          { hva: at + 8, bytes: 4, values: [16, 0xffff_ffff, 5000] },
          { hva: at + 12, bytes: 2, values: [NEXT, 0, WRITE, NEXT, INDIRECT] },
          { hva: at + 14, bytes: 2, values: [1, 1, 2, 0] },
          { hva: next + 12, bytes: 2, values: [WRITE, 0, NEXT, WRITE] },
        ],
        sees('served', 'ERR_VHU_RING_INDIRECT'),
      );
      assert.ok(seen.get('served')! > 0);
      assert.ok(seen.get('ERR_VHU_RING_INDIRECT')! > 0);
    } finally {
      pair.close();
    }
  });

  it('a taken chain does not change when its descriptors do', () => {
    const pair = new RingPair({ size: 4, features });
    try {
      const [driver, { device }] = [pair.hostileDriver(), pair];
      driver.desc(0, { addr: pair.dataGpa, len: 8, flags: NEXT, next: 1 });
      driver.desc(1, { addr: pair.dataGpa + 8, len: 4, flags: WRITE });
      driver.offer(0);
      const chain = device.pop()!;
      const before = segmentsOf(chain);
      for (let i = 0; i < 4; i++) driver.desc(i, { addr: 0, len: 0xffff_ffff, flags: 7, next: 9 });
      assert.deepEqual(segmentsOf(chain), before);
      device.push(chain, 4);
      device.publish();
      assert.deepEqual(driver.used(), [{ id: 0, len: 4 }], 'not what the descriptors say now');
    } finally {
      pair.close();
    }
  });
});
