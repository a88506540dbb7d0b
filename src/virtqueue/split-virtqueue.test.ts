/**
 * The device side of a split ring: which chains it takes, and which it refuses.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { GuestMemory } from '../memory/index.ts';
import { HOSTILE_CHAINS, RingPair } from '../testing/index.ts';
import type { HostileDriver, RawDescriptor, RingPairOptions } from '../testing/index.ts';
import { SplitVirtqueue } from './index.ts';
import type { Chain } from './index.ts';

const [NEXT, WRITE, INDIRECT] = [1, 2, 4];
const INDIRECT_DESC = 1n << 28n;

function withRing(
  options: RingPairOptions,
  body: (driver: HostileDriver, device: SplitVirtqueue, pair: RingPair) => void,
): void {
  const pair = new RingPair(options);
  try {
    body(pair.hostileDriver(), pair.device, pair);
  } finally {
    pair.close();
  }
}

/** Segments of a chain as plain data. */
function segmentsOf(chain: Chain): { gpa: number; length: number; writable: boolean }[] {
  return Array.from({ length: chain.segmentCount }, (_, i) => {
    return { gpa: chain.gpa[i]!, length: chain.length[i]!, writable: i >= chain.readableCount };
  });
}

/** Descriptors 0, 1, … chained by their flags, and head 0 offered. */
function offerChain(driver: HostileDriver, list: readonly RawDescriptor[]): void {
  list.forEach((each, i) => {
    const last = i === list.length - 1;
    driver.desc(i, {
      ...each,
      flags: (each.flags ?? 0) | (last ? 0 : NEXT),
      next: last ? 0 : i + 1,
    });
  });
  driver.offer(0);
}

/** One descriptor for each head, all of one byte. */
function fillDescriptors(driver: HostileDriver): void {
  for (let i = 0; i < driver.ring.size; i++) {
    driver.desc(i, { addr: driver.ring.scratchGpa, len: 1, flags: WRITE });
  }
}

describe('SplitVirtqueue: chains that are taken back, the last one first', () => {
  for (const startIndex of [0, 65_534]) {
    it(`come again in their order, from index ${startIndex} on`, () => {
      withRing({ size: 4, startIndex }, (driver, device) => {
        fillDescriptors(driver);
        for (const head of [2, 0, 3]) driver.offer(head);
        const taken = [device.pop(), device.pop(), device.pop()] as Chain[];
        device.push(taken[0]!, 1);
        device.unpop(taken[2]!);
        device.unpop(taken[1]!);
        assert.equal(device.inFlight, 0);
        assert.ok(device.hasAvailable());
        assert.equal(device.savedState().availIndex, (startIndex + 1) & 0xffff);
        assert.deepEqual([device.pop()?.head, device.pop()?.head, device.pop()], [0, 3, null]);
        assert.equal(device.fault, null);
      });
    });
  }

  it('are given back in vain once the ring was abandoned', () => {
    withRing({ size: 4 }, (driver, device) => {
      fillDescriptors(driver);
      driver.offer(1);
      const chain = device.pop() as Chain;
      device.breakRing({ code: 'ERR_VHU_TEST', message: 'broken' });
      device.abandon();
      device.unpop(chain);
      assert.equal(device.inFlight, 0);
    });
  });
});

describe('SplitVirtqueue: a chain of many buffers, each of which crosses many regions', () => {
  it('breaks the ring before it takes up memory without bound', () => {
    const PAGE_BYTES = 4096;
    const REGIONS = 64;
    const COUNT = 1024;
    const features = INDIRECT_DESC;
    withRing({ size: 2, features, dataBytes: 65536 }, (driver, _device, pair) => {
      const { gpa, hva, uva, sizeBytes } = pair.memory.regions[0]!;
      const far = gpa + 2 ** 40;
      const many = Array.from({ length: REGIONS }, (_, i) => ({
        gpa: far + i * PAGE_BYTES,
        sizeBytes: PAGE_BYTES,
        uva: uva + 2 ** 40 + i * PAGE_BYTES,
        hva, // the same page each time: nothing is written here
      }));
      const memory = new GuestMemory([{ gpa, hva, uva, sizeBytes }, ...many]);
      const device = new SplitVirtqueue(pair.config, memory);
      const table = pair.dataGpa;
      for (let i = 0; i < COUNT; i++) {
        const at = table + i * 16;
        pair.memory.writeU64(at, far);
        pair.memory.writeU32(at + 8, REGIONS * PAGE_BYTES);
        pair.memory.writeU16(at + 12, WRITE | (i === COUNT - 1 ? 0 : NEXT));
        pair.memory.writeU16(at + 14, i + 1);
      }
      driver.desc(0, { addr: table, len: COUNT * 16, flags: INDIRECT });
      driver.offer(0);
      assert.equal(device.pop(), null);
      assert.equal(device.fault?.code, 'ERR_VHU_RING_SEGMENTS');
    });
  });
});

describe('SplitVirtqueue: a chain that was abandoned with its device', () => {
  it('reaches no memory any more, since that may be unmapped, and is given back in vain', () => {
    withRing({ size: 4 }, (driver, device, pair) => {
      const addr = pair.dataGpa;
      offerChain(driver, [
        { addr, len: 4 },
        { addr, len: 8, flags: WRITE },
      ]);
      const chain = device.pop();
      assert.ok(chain);
      device.breakRing({ code: 'ERR_VHU_DEVICE', message: 'the device failed' });
      device.abandon();
      assert.equal(chain.copyToWritable(0, Buffer.from('late')), 0);
      assert.equal(chain.copyFromReadable(0, new Uint8Array(4)), 0);
      assert.throws(() => chain.writeWritableU8(0, 1), { code: 'ERR_VHU_MEMORY_UNMAPPED' });
      assert.throws(() => chain.readableU32(0), { code: 'ERR_VHU_MEMORY_UNMAPPED' });
      device.push(chain, 1);
      assert.equal(device.publish(), false);
      assert.equal(device.inFlight, 0);
      assert.equal(pair.memory.readU8(addr), 0);
    });
  });
});

describe('SplitVirtqueue: chains that are right', () => {
  it('a buffer across two regions is two segments, at their own host addresses', () => {
    withRing({ size: 4, twoRegions: true }, (driver, device, pair) => {
      const gpa = pair.splitGpa - 100;
      offerChain(driver, [
        { addr: gpa, len: 300 },
        { addr: gpa, len: 101, flags: WRITE },
      ]);
      const chain = device.pop();
      assert.ok(chain);
      assert.deepEqual(segmentsOf(chain), [
        { gpa, length: 100, writable: false },
        { gpa: pair.splitGpa, length: 200, writable: false },
        { gpa, length: 100, writable: true },
        { gpa: pair.splitGpa, length: 1, writable: true },
      ]);
      const [first, second] = [chain.hva[0]!, chain.hva[1]!];
      assert.equal(first, pair.memory.hvaOf(gpa, 100));
      assert.equal(second, pair.memory.hvaOf(pair.splitGpa, 200));
      assert.notEqual(second, first + 100, 'the second region is mapped elsewhere');
      assert.equal(chain.copyToWritable(98, Buffer.from('xyz')), 3);
      assert.equal(pair.memory.readU8(pair.splitGpa - 1), 0x79);
      assert.equal(pair.memory.readU8(pair.splitGpa), 0x7a);
    });
  });

  it('a buffer that ends where a region ends is one segment', () => {
    withRing({ size: 4, twoRegions: true }, (driver, device, pair) => {
      offerChain(driver, [
        { addr: pair.splitGpa - 8, len: 8 },
        { addr: pair.splitGpa, len: 8 },
        { addr: driver.endGpa - 8, len: 8 },
      ]);
      const chain = device.pop();
      assert.ok(chain);
      assert.deepEqual(
        segmentsOf(chain).map((each) => each.length),
        [8, 8, 8],
      );
    });
  });

  it('an empty buffer is nothing, wherever it points', () => {
    withRing({ size: 8 }, (driver, device, pair) => {
      const addr = pair.dataGpa;
      offerChain(driver, [
        { addr: 0, len: 0 },
        { addr, len: 3 },
        { addr: 2n ** 64n - 1n, len: 0, flags: WRITE },
        { addr, len: 2, flags: WRITE },
        { addr: driver.endGpa, len: 0, flags: WRITE },
      ]);
      const chain = device.pop();
      assert.equal(device.fault, null);
      assert.ok(chain);
      assert.equal(chain.segmentCount, 2);
      assert.deepEqual([chain.readableBytes, chain.writableBytes], [3, 2]);
    });
  });

  it('a chain of nothing but empty buffers is taken and given back', () => {
    withRing({ size: 4 }, (driver, device) => {
      offerChain(driver, [{ len: 0 }, { len: 0, flags: WRITE }]);
      const chain = device.pop();
      assert.ok(chain);
      assert.equal(chain.segmentCount, 0);
      device.push(chain, 0);
      device.publish();
      assert.deepEqual(driver.used(), [{ id: 0, len: 0 }]);
    });
  });

  it('an indirect table is read across regions, and its own WRITE flag is ignored', () => {
    const options = { size: 4, features: INDIRECT_DESC, twoRegions: true };
    withRing(options, (driver, device, pair) => {
      const table = pair.splitGpa - 32;
      const addr = pair.dataGpa;
      driver.desc(0, { addr, len: 1, flags: NEXT, next: 3 }, table);
      driver.desc(3, { addr, len: 2, flags: NEXT, next: 1 }, table);
      driver.desc(1, { addr, len: 3, flags: NEXT | WRITE, next: 2 }, table);
      driver.desc(2, { addr: pair.splitGpa - 1, len: 4, flags: WRITE }, table);
      driver.desc(0, { addr: table, len: 64, flags: INDIRECT | WRITE });
      driver.offer(0);
      const chain = device.pop();
      assert.equal(device.fault, null);
      assert.ok(chain);
      assert.deepEqual(
        segmentsOf(chain).map((each) => each.length),
        [1, 2, 3, 1, 3],
      );
      assert.equal(chain.readableCount, 2);
    });
  });

  it('an indirect table at an odd address may have an entry in two regions', () => {
    const options = { size: 4, features: INDIRECT_DESC, twoRegions: true };
    withRing(options, (driver, device, pair) => {
      for (let shift = 0; shift <= 16; shift++) {
        const table = pair.splitGpa - shift;
        const raw = Buffer.alloc(32);
        raw.writeBigUInt64LE(BigInt(pair.dataGpa), 0);
        raw.writeUInt32LE(7, 8);
        raw.writeUInt16LE(NEXT, 12);
        raw.writeUInt16LE(1, 14);
        raw.writeBigUInt64LE(BigInt(pair.dataGpa + 64), 16);
        raw.writeUInt32LE(9, 24);
        raw.writeUInt16LE(WRITE, 28);
        pair.memory.copyTo(table, raw);
        driver.desc(0, { addr: table, len: 32, flags: INDIRECT });
        driver.offer(0);
        const chain = device.pop();
        assert.equal(device.fault, null, `shift ${shift}`);
        assert.ok(chain);
        assert.deepEqual([chain.readableBytes, chain.writableBytes], [7, 9]);
        device.push(chain, 0);
      }
    });
  });

  it('an indirect chain may be longer than a short ring, up to 1024 descriptors', () => {
    const options = { size: 2, features: INDIRECT_DESC, dataBytes: 65536 };
    withRing(options, (driver, device, pair) => {
      const table = (count: number): void => {
        for (let i = 0; i < count; i++) {
          const flags = i < count - 1 ? NEXT : 0;
          driver.desc(i, { addr: pair.dataGpa, len: 1, flags, next: i + 1 }, pair.dataGpa);
        }
        driver.desc(0, { addr: pair.dataGpa, len: 16 * count, flags: INDIRECT });
        driver.offer(0);
      };
      table(1024);
      const chain = device.pop();
      assert.equal(chain?.segmentCount, 1024);
      device.push(chain, 0);
      table(1025);
      assert.equal(device.pop(), null);
      assert.equal(device.fault?.code, 'ERR_VHU_RING_INDIRECT');
    });
  });

  it('a table may end before its last descriptor', () => {
    withRing({ size: 4, features: INDIRECT_DESC }, (driver, device, pair) => {
      driver.desc(0, { addr: pair.dataGpa, len: 5 }, pair.dataGpa);
      driver.desc(0, { addr: pair.dataGpa, len: 16 * 8, flags: INDIRECT });
      driver.offer(0);
      assert.equal(device.pop()?.readableBytes, 5);
    });
  });
});

describe('SplitVirtqueue: faults', () => {
  const codes: [string, string][] = [
    ['a head beyond the table', 'ERR_VHU_RING_HEAD'],
    ['a next beyond the table', 'ERR_VHU_RING_NEXT'],
    ['a descriptor that goes on at itself', 'ERR_VHU_RING_LOOP'],
    ['two descriptors that go on at each other', 'ERR_VHU_RING_LOOP'],
    ['a loop of the whole table', 'ERR_VHU_RING_LOOP'],
    ['a readable buffer after a writable one', 'ERR_VHU_RING_ORDER'],
    ['a buffer outside of memory', 'ERR_VHU_RING_UNMAPPED'],
    ['a buffer of 2^32 - 1 bytes', 'ERR_VHU_RING_UNMAPPED'],
    ['an address near 2^64, so that its end wraps', 'ERR_VHU_RING_UNMAPPED'],
    ['an address beyond 2^53', 'ERR_VHU_RING_UNMAPPED'],
    ['the same head twice', 'ERR_VHU_RING_HEAD_BUSY'],
    ['an index further ahead than the ring is long', 'ERR_VHU_RING_AVAIL_INDEX'],
    ['an index that runs backwards', 'ERR_VHU_RING_AVAIL_INDEX'],
    ['an empty indirect table', 'ERR_VHU_RING_INDIRECT'],
    ['an indirect table of 24 bytes', 'ERR_VHU_RING_INDIRECT'],
    ['an indirect table of 4 GiB', 'ERR_VHU_RING_INDIRECT'],
    ['an indirect table in an indirect table', 'ERR_VHU_RING_INDIRECT'],
    ['an indirect table with a next', 'ERR_VHU_RING_INDIRECT'],
    ['an indirect table outside of memory', 'ERR_VHU_RING_UNMAPPED'],
    ['an indirect table that ends behind memory', 'ERR_VHU_RING_UNMAPPED'],
    ['an indirect table that was not negotiated', 'ERR_VHU_RING_INDIRECT'],
    ['a next beyond the indirect table', 'ERR_VHU_RING_NEXT'],
    ['an indirect table that loops', 'ERR_VHU_RING_LOOP'],
  ];
  for (const [name, code] of codes) {
    it(`${name} is ${code}, once and for all`, () => {
      const hostile = HOSTILE_CHAINS.find((each) => each.name === name);
      assert.ok(hostile, 'the case is in the table');
      withRing({ size: 8, features: hostile.features, dataBytes: 8192 }, (driver, device) => {
        hostile.offer(driver);
        while (device.pop() !== null);
        const { fault } = device;
        assert.equal(fault?.code, code);
        assert.equal(device.pop(), null);
        assert.equal(device.hasAvailable(), false, 'a polling loop does not spin on it');
        assert.equal(device.enableNotifications(), false, 'nor does one that wants to sleep');
        driver.desc(5, { addr: driver.ring.scratchGpa, len: 1 });
        driver.offer(5);
        assert.equal(device.pop(), null);
        assert.equal(device.fault, fault, 'the first fault stays');
      });
    });
  }

  it('a hole in the middle of a buffer is found', () => {
    withRing({ size: 4, twoRegions: true }, (driver, _, pair) => {
      const [first, second] = pair.memory.regions;
      assert.ok(first && second);
      // The first region ends a page earlier than the second begins.
      const short = { ...first, sizeBytes: first.sizeBytes - 4096 };
      const memory = new GuestMemory([short, second]);
      const device = new SplitVirtqueue(pair.config, memory);
      offerChain(driver, [{ addr: pair.splitGpa - 4096 - 10, len: 4096 + 20 }]);
      assert.equal(device.pop(), null);
      assert.equal(device.fault?.code, 'ERR_VHU_RING_UNMAPPED');
      assert.match(device.fault.message, new RegExp(`0x${(pair.splitGpa - 4096).toString(16)}$`));
    });
  });

  it('the message names queue, descriptor and address', () => {
    withRing({ size: 8 }, (driver, device, pair) => {
      driver.desc(3, { addr: pair.dataGpa, len: 1, flags: NEXT, next: 5 });
      driver.desc(5, { addr: 0x1000, len: 32 });
      driver.offer(3);
      assert.equal(device.pop(), null);
      const message =
        'queue 0: descriptor 5: buffer at gpa 0x1000 of 32 bytes: no memory at 0x1000';
      assert.deepEqual(device.fault, { code: 'ERR_VHU_RING_UNMAPPED', message });
    });
  });

  it('chains that were taken before a fault can be given back', () => {
    withRing({ size: 4 }, (driver, device) => {
      fillDescriptors(driver);
      driver.offer(2, 1, 99);
      const chains = [device.pop(), device.pop()];
      assert.equal(device.pop(), null);
      assert.equal(device.inFlight, 2);
      for (const chain of chains) device.push(chain!, 1);
      assert.equal(device.publish(), true);
      assert.deepEqual(driver.used(), [
        { id: 2, len: 1 },
        { id: 1, len: 1 },
      ]);
      assert.equal(device.inFlight, 0);
    });
  });

  it('a device may break its own ring, and the first fault stays', () => {
    withRing({ size: 4 }, (driver, device) => {
      fillDescriptors(driver);
      driver.offer(0);
      device.breakRing({ code: 'ERR_VHU_DEVICE', message: 'first' });
      device.breakRing({ code: 'ERR_VHU_DEVICE', message: 'second' });
      assert.equal(device.fault?.message, 'first');
      assert.equal(device.pop(), null);
      assert.equal(device.hasAvailable(), false);
    });
  });

  it('a chain is given back once', () => {
    withRing({ size: 4 }, (driver, device) => {
      fillDescriptors(driver);
      driver.offer(0);
      const chain = device.pop()!;
      device.push(chain, 0);
      assert.throws(() => device.push(chain, 0), /given back once/);
    });
  });

  it('a broken ring forgets the chains that its device holds, and takes none of them back', () => {
    withRing({ size: 4 }, (driver, device) => {
      fillDescriptors(driver);
      driver.offer(0, 1, 2);
      const [first, second] = [device.pop()!, device.pop()!];
      device.push(first, 1);
      assert.throws(() => device.abandon(), /only a broken ring/);
      device.breakRing({ code: 'ERR_VHU_DEVICE', message: 'the device failed' });
      device.abandon();
      assert.equal(device.inFlight, 0);
      device.push(second, 1);
      device.publish();
      assert.deepEqual(driver.used(), [{ id: 0, len: 1 }], 'what was given back before is shown');
      assert.equal(device.inFlight, 0);
      assert.equal(device.pop(), null);
      assert.deepEqual(device.savedState(), { availIndex: 2, usedIndex: 1 });
    });
  });

  it('refuses sizes that no split ring has', () => {
    withRing({ size: 4 }, (_, __, pair) => {
      for (const size of [0, 3, -4, 65536, 1.5, NaN]) {
        const make = (): SplitVirtqueue =>
          new SplitVirtqueue({ ...pair.config, size }, pair.memory);
        assert.throws(make, /split ring/, String(size));
      }
    });
  });
});
