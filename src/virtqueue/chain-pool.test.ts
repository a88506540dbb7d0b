/**
 * The memory that a queue takes up for the segments of its chains: a guest with chains as long as
 * it may make them gets no more than the bound, and loses nothing; usual loads make no garbage.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RingPair } from '../testing/index.ts';
import type { HostileDriver } from '../testing/index.ts';
import type { Chain } from './index.ts';

const [NEXT, WRITE, INDIRECT] = [1, 2, 4];
const INDIRECT_DESC = 1n << 28n;
const DESC_BYTES = 16;
const MIB = 2 ** 20;

/** A ring whose chains are as long as the driver likes, by tables that its heads share. */
class LongChains {
  readonly pair: RingPair;
  readonly driver: HostileDriver;
  /** Chains in the device's hands, in the order in which it took them. */
  readonly taken: Chain[] = [];
  readonly #seen = new Set<Chain>(); // the idle ones as well
  readonly #arrays = new WeakSet<Float64Array>();
  readonly #tables = new Map<number, number>();
  /** How often a chain had arrays that no chain had before. */
  made = 0;

  constructor(size: number) {
    const room = { features: INDIRECT_DESC, twoRegions: true, bufferBytes: 2 * MIB };
    this.pair = new RingPair({ size, ...room });
    this.driver = this.pair.hostileDriver();
  }

  /** Offers chains of so many descriptors, each of which is two segments. */
  offer(descriptors: number, ...heads: readonly number[]): void {
    let addr = this.#tables.get(descriptors);
    if (addr === undefined) {
      addr = this.#table(descriptors);
      this.#tables.set(descriptors, addr);
    }
    for (const head of heads) {
      this.driver.desc(head, { addr, len: DESC_BYTES * descriptors, flags: INDIRECT });
    }
    this.driver.offer(...heads);
  }

  /** Takes a chain; false when the device gets none. */
  take(): boolean {
    const chain = this.pair.device.pop();
    assert.equal(this.pair.device.fault, null);
    if (chain === null) return false;
    this.taken.push(chain);
    this.#seen.add(chain);
    if (!this.#arrays.has(chain.gpa)) this.made++;
    this.#arrays.add(chain.gpa);
    return true;
  }

  /** Gives back one of the chains that are taken. */
  give(at = 0): void {
    const [chain] = this.taken.splice(at, 1);
    assert.ok(chain);
    this.pair.device.push(chain, 0);
    this.pair.device.publish();
  }

  /** Bytes of the arrays of all chains, taken or not. */
  get bytes(): number {
    let bytes = 0;
    for (const { gpa, hva, length } of this.#seen) {
      bytes += gpa.byteLength + hva.byteLength + length.byteLength;
    }
    return bytes;
  }

  #table(descriptors: number): number {
    const { gpa } = this.pair.shared.allocate(DESC_BYTES * descriptors, 64);
    const addr = this.pair.splitGpa - 1; // crosses from one region to the next
    for (let i = 0; i < descriptors; i++) {
      const flags = WRITE | (i === descriptors - 1 ? 0 : NEXT);
      this.driver.desc(i, { addr, len: 2, flags, next: i + 1 }, gpa);
    }
    return gpa;
  }
}

function withChains(size: number, body: (chains: LongChains) => void): void {
  const chains = new LongChains(size);
  try {
    body(chains);
  } finally {
    chains.pair.close();
  }
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** Of these no bound lets so many be taken, and to take all of them would last for minutes. */
const COUNT_MAX = 1000;

describe('ChainPool: all chains of a ring as long as they may be', () => {
  // Without a bound these would be 40 MiB, and 40 GiB.
  for (const [size, descriptors, mib] of [
    [1024, 1024, 8],
    [32_768, 32_768, 36],
  ] as const) {
    it(`of ${size} entries take up less than ${mib} MiB at once, and some are taken`, () => {
      withChains(size, (chains) => {
        chains.offer(descriptors, ...upTo(size));
        while (chains.taken.length < COUNT_MAX && chains.take());
        assert.ok(chains.bytes < mib * MIB, `${chains.bytes} bytes`);
        assert.ok(chains.taken.length >= 8, `${chains.taken.length} chains`);
        const { segmentCount } = chains.taken[0]!;
        assert.equal(segmentCount, 2 * descriptors);
        assert.equal(chains.pair.device.inFlight, chains.taken.length);
        while (chains.taken.length > 0) chains.give();
        assert.ok(chains.bytes < (mib / 2) * MIB, `${chains.bytes} bytes are kept`);
      });
    });
  }

  it('wait in the ring, and come in their order when others were given back', () => {
    withChains(1024, (chains) => {
      const { device } = chains.pair;
      chains.offer(1024, ...upTo(1024));
      const heads: number[] = [];
      for (let turns = 0; heads.length < 1024; turns++) {
        assert.ok(turns < 100, `${heads.length} chains came, with ${device.inFlight} in flight`);
        while (chains.take());
        if (heads.length + chains.taken.length < 1024) {
          assert.equal(device.hasAvailable(), false, 'a loop does not spin on what has to wait');
          assert.equal(device.enableNotifications(), false, 'nor does one that wants to sleep');
        }
        heads.push(...chains.taken.map(({ head }) => head));
        chains.taken.reverse(); // given back in another order
        while (chains.taken.length > 0) chains.give();
        assert.equal(device.hasAvailable(), heads.length < 1024);
      }
      assert.deepEqual(heads, upTo(1024));
      const used = chains.driver.used().map(({ id }) => id);
      assert.deepEqual(
        used.sort((a, b) => a - b),
        upTo(1024),
      );
      assert.equal(device.inFlight, 0);
    });
  });

  it('may be taken back into the ring, and come again', () => {
    withChains(1024, (chains) => {
      const { device } = chains.pair;
      chains.offer(1024, ...upTo(1024));
      while (chains.take());
      const count = chains.taken.length;
      assert.ok(count < 1024);
      for (const chain of chains.taken.splice(0).reverse()) device.unpop(chain);
      assert.deepEqual([device.inFlight, device.savedState().availIndex], [0, 0]);
      while (chains.take());
      assert.deepEqual(
        chains.taken.map(({ head }) => head),
        upTo(chains.taken.length),
      );
      assert.ok(chains.taken.length >= count / 2);
    });
  });

  it('are bounded in any order of long and short ones', () => {
    const SIZE = 1024;
    withChains(SIZE, (chains) => {
      const free = upTo(SIZE);
      const random = lcg(7);
      let most = 0;
      let waits = 0;
      for (let step = 0; step < 4000; step++) {
        const phase = Math.floor(step / 500) % 3; // more are taken, or fewer, or as many
        const wantsMore = random(10) < (phase === 0 ? 8 : phase === 1 ? 3 : 5);
        if (wantsMore && free.length > 0) {
          chains.offer(random(3) === 0 ? 1024 : 1 + random(3) * 40, free.shift()!);
        }
        if (wantsMore ? !chains.take() : false) waits++;
        if (!wantsMore && chains.taken.length > 0) chains.give(random(chains.taken.length));
        free.push(...chains.driver.used().map(({ id }) => id));
        most = Math.max(most, chains.bytes);
      }
      assert.ok(most < 8 * MIB, `${most} bytes`);
      assert.ok(most > 5 * MIB, `the bound was reached: ${most} bytes`);
      assert.ok(waits > 0, 'chains had to wait');
      while (chains.taken.length > 0 || chains.take()) if (!chains.take()) chains.give();
      assert.ok(chains.bytes < 4 * MIB, `${chains.bytes} bytes are kept`);
      assert.equal(chains.pair.device.hasAvailable(), false);
    });
  });
});

describe('ChainPool: usual loads', () => {
  for (const [what, depth, descriptors] of [
    ['one request of 1 MiB in pages', 1, 129],
    ['64 requests of 1 MiB in pages', 64, 129],
    ['64 requests of 4 MiB in pages', 64, 512],
    ['256 requests of 64 KiB in pages', 256, 9],
  ] as const) {
    it(`${what} at a time make arrays once, whichever descriptors the driver takes`, () => {
      withChains(1024, (chains) => {
        const free = upTo(1024);
        const round = (): void => {
          while (chains.taken.length < depth) {
            chains.offer(descriptors, free.shift()!);
            assert.ok(chains.take());
          }
          assert.equal(chains.taken.at(-1)!.segmentCount, 2 * descriptors);
          chains.give(depth >> 1);
          free.push(...chains.driver.used().map(({ id }) => id));
        };
        for (let i = 0; i < depth; i++) round();
        const { made } = chains;
        for (let i = 0; i < 3000; i++) round();
        assert.equal(chains.made, made);
      });
    });
  }
});

/** Numbers below `count` that look random, the same each time. */
function lcg(seed: number): (count: number) => number {
  let state = seed;
  return (count) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((state / 2 ** 32) * count);
  };
}
