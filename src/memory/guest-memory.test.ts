/**
 * Guest memory against a plain model: translation, accesses at any alignment, windows and regions.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { mapAnonymous } from '../sys/index.ts';
import type { Mapping } from '../sys/index.ts';
import { GuestMemory, VIEW_BYTES_MAX, joinU64 } from './index.ts';
import type { MemoryRegion } from './index.ts';

const GIB = 2 ** 30;
const PAGE = 4096;
const UVA = 0x7f12_0000_0000;

const mappings: Mapping[] = [];
after(() => mappings.forEach((each) => each.unmap()));

/** Zeroed memory that takes up room only where it is touched. */
function map(lengthBytes: number): number {
  const mapping = mapAnonymous(lengthBytes);
  mappings.push(mapping);
  return mapping.address;
}

function region(gpa: number, sizeBytes: number, hva = 0x1000): MemoryRegion {
  return { gpa, sizeBytes, uva: UVA + gpa, hva };
}

/** Regions that are only translated, never touched: by turns a hole and a region. */
const layouts = fc
  .array(
    fc.record({
      hole: fc.constantFrom(0, 0, 1, 7, PAGE, GIB, 2 ** 40),
      sizeBytes: fc.constantFrom(1, 2, PAGE, 3 * PAGE, GIB, 2 ** 33),
      hva: fc.integer({ min: 1, max: 2 ** 47 }),
    }),
    { maxLength: 12 },
  )
  .map((list) => {
    let gpa = 0;
    return list.map(({ hole, sizeBytes, hva }): MemoryRegion => {
      const start = gpa + hole;
      gpa = start + sizeBytes;
      return { gpa: start, sizeBytes, uva: UVA + 2 * start, hva };
    });
  });

/** Addresses at and around the borders of regions, which is where mistakes live. */
function borders(regions: readonly MemoryRegion[]): number[] {
  const near = regions.flatMap(({ gpa, sizeBytes }) => [
    gpa,
    gpa + Math.floor(sizeBytes / 2),
    gpa + sizeBytes,
  ]);
  return near.flatMap((at) => [at - 1, at, at + 1]).filter((at) => at >= 0);
}

describe('GuestMemory: regions', () => {
  const refused: [string, string, MemoryRegion[]][] = [
    ['no bytes', 'ERR_VHU_MEMORY_REGION', [region(0, 0)]],
    ['a negative address', 'ERR_VHU_MEMORY_REGION', [region(-1, 10)]],
    ['a negative size', 'ERR_VHU_MEMORY_REGION', [region(0, -1)]],
    ['half a byte', 'ERR_VHU_MEMORY_REGION', [region(0, 1.5)]],
    ['no number', 'ERR_VHU_MEMORY_REGION', [region(NaN, 16)]],
    ['an infinite size', 'ERR_VHU_MEMORY_REGION', [region(0, Infinity)]],
    ['an address beyond 2^53', 'ERR_VHU_MEMORY_REGION', [region(2 ** 53, 1)]],
    ['an end beyond 2^53', 'ERR_VHU_MEMORY_REGION', [region(2 ** 53 - PAGE, PAGE + 1)]],
    [
      'an end beyond 2^53 for the front-end',
      'ERR_VHU_MEMORY_REGION',
      [{ gpa: 0, sizeBytes: PAGE, uva: 2 ** 53 - PAGE, hva: 1 }],
    ],
    ['the same region twice', 'ERR_VHU_MEMORY_OVERLAP', [region(0, 16), region(0, 16)]],
    ['one byte shared', 'ERR_VHU_MEMORY_OVERLAP', [region(15, 16), region(0, 16)]],
    [
      'a region within another',
      'ERR_VHU_MEMORY_OVERLAP',
      [region(0, 10 * PAGE), region(PAGE, PAGE)],
    ],
  ];
  for (const [what, code, regions] of refused) {
    it(`refuses ${what}`, () => {
      assert.throws(() => new GuestMemory(regions), { code });
    });
  }

  it('takes them in any order, and when they touch', () => {
    const memory = new GuestMemory([region(32, 16), region(0, 16), region(16, 16)]);
    assert.deepEqual(
      memory.regions.map((each) => each.gpa),
      [0, 16, 32],
    );
  });

  it('knows no address when there are none', () => {
    const memory = new GuestMemory([]);
    assert.equal(memory.hvaOf(0, 0), -1);
    assert.equal(memory.runLength(0), 0);
    assert.equal(memory.uvaToGpa(0, 0), -1);
    assert.throws(() => memory.readU8(0), { code: 'ERR_VHU_MEMORY_UNMAPPED' });
  });

  it('translates as a search through all regions does', () => {
    fc.assert(
      fc.property(
        layouts,
        fc.nat(),
        fc.constantFrom(0, 1, 2, 16, PAGE, 2 ** 32 - 1),
        (list, n, length) => {
          const memory = new GuestMemory(list.toReversed());
          const all = borders(list);
          // Each address twice and in an order that jumps: the last hit is remembered.
          for (let i = 0; i < 2 * all.length; i++) {
            const gpa = all[(i * (2 * n + 1)) % all.length]!;
            const home = list.find((each) => gpa >= each.gpa && gpa < each.gpa + each.sizeBytes);
            const run = home === undefined ? 0 : home.gpa + home.sizeBytes - gpa;
            const fits = home !== undefined && length <= run;
            assert.equal(memory.runLength(gpa), run);
            assert.equal(memory.hvaOf(gpa, length), fits ? home.hva + gpa - home.gpa : -1);
          }
        },
      ),
    );
  });

  it('translates addresses of the front-end, within one region', () => {
    fc.assert(
      fc.property(layouts, fc.constantFrom(0, 1, 16, PAGE), (list, length) => {
        const memory = new GuestMemory(list);
        for (const { gpa, uva, sizeBytes } of list) {
          const last = sizeBytes - length;
          assert.equal(memory.uvaToGpa(uva, length), last >= 0 ? gpa : -1);
          if (last >= 0) assert.equal(memory.uvaToGpa(uva + last, length), gpa + last);
          if (length > 0) assert.equal(memory.uvaToGpa(uva + sizeBytes, length) === gpa, false);
        }
        const end = Math.max(UVA, ...list.map((each) => each.uva + each.sizeBytes));
        assert.equal(memory.uvaToGpa(end, 1), -1);
        assert.equal(memory.uvaToGpa(UVA - 1, 2), -1);
      }),
    );
  });

  it('refuses addresses that are not finite, and ranges whose end is not exact', () => {
    const top = 2 ** 53 - 1;
    const memory = new GuestMemory([{ gpa: top - PAGE, sizeBytes: PAGE, uva: 0, hva: 0x1000 }]);
    assert.equal(memory.hvaOf(Infinity, 16), -1);
    assert.equal(memory.hvaOf(Infinity, 0), -1);
    assert.equal(memory.runLength(Infinity), 0);
    assert.equal(memory.hvaOf(top - 8, 8), 0x1000 + PAGE - 8);
    assert.equal(memory.hvaOf(top - 8, 9), -1);
    assert.equal(memory.hvaOf(top - 8, 10), -1);
    assert.equal(memory.hvaOf(top - 8, 2 ** 32 - 1), -1);
    assert.equal(memory.hvaOf(top, 0), -1);
    assert.equal(memory.hvaOf(top, 1), -1);
  });
});

/** Where accesses are tried: three regions, two of which touch, one with an odd length. */
const GPA = 0x1_0000_0000;
const SPAN = 3 * PAGE + 100;

function smallMemory(): GuestMemory {
  const [low, high, far] = [map(PAGE), map(2 * PAGE + 100), map(PAGE)];
  return new GuestMemory([
    region(GPA, PAGE, low),
    region(GPA + PAGE, 2 * PAGE + 100, high),
    region(GPA + 16 * PAGE, PAGE, far),
  ]);
}

const access = fc.record({
  at: fc.oneof(fc.nat(SPAN - 1), fc.integer({ min: PAGE - 12, max: PAGE + 12 })),
  value: fc.bigInt({ min: 0n, max: 2n ** 53n - 1n }),
  bytes: fc.constantFrom<1 | 2 | 4 | 8 | 'copy'>(1, 2, 4, 8, 'copy'),
  copied: fc.uint8Array({ maxLength: 64 }),
});

describe('GuestMemory: accesses', () => {
  it('read and write what a plain array would, at any alignment', () => {
    fc.assert(
      fc.property(fc.array(access, { maxLength: 60 }), (list) => {
        const memory = smallMemory();
        const model = new DataView(new ArrayBuffer(SPAN));
        for (const { at, value, bytes, copied } of list) {
          const gpa = GPA + at;
          if (bytes === 'copy') {
            const part = copied.subarray(0, SPAN - at);
            memory.copyTo(gpa, part);
            new Uint8Array(model.buffer).set(part, at);
            continue;
          }
          // One value lies in one region: that is what hvaOf is asked before.
          if (memory.hvaOf(gpa, bytes) < 0) continue;
          const low = BigInt.asUintN(8 * bytes, value);
          if (bytes === 1) memory.writeU8(gpa, Number(low));
          else if (bytes === 2) memory.writeU16(gpa, Number(low));
          else if (bytes === 4) memory.writeU32(gpa, Number(low));
          else memory.writeU64(gpa, Number(low));
          for (let i = 0; i < bytes; i++)
            model.setUint8(at + i, Number((low >> BigInt(8 * i)) & 255n));
          if (bytes === 1) assert.equal(memory.readU8(gpa), Number(low));
          else if (bytes === 2) assert.equal(memory.readU16(gpa), model.getUint16(at, true));
          else if (bytes === 4) assert.equal(memory.readU32(gpa), model.getUint32(at, true));
          else assert.equal(memory.readU64(gpa), Number(model.getBigUint64(at, true)));
        }
        const whole = new Uint8Array(SPAN);
        memory.copyFrom(GPA, whole);
        assert.deepEqual(whole, new Uint8Array(model.buffer));
      }),
      { numRuns: 60 },
    );
  });

  it('a 64-bit number from 2^53 on reads as Infinity, which every range check refuses', () => {
    const memory = smallMemory();
    const cases: [bigint, number][] = [
      [2n ** 53n - 1n, Number.MAX_SAFE_INTEGER],
      [2n ** 53n, Infinity],
      [2n ** 53n + 1n, Infinity],
      [2n ** 63n, Infinity],
      [2n ** 64n - 1n, Infinity],
      [0xffff_ffffn, 0xffff_ffff],
      [2n ** 32n, 2 ** 32],
    ];
    for (const [value, expected] of cases) {
      const [low, high] = [Number(value & 0xffff_ffffn), Number(value >> 32n)];
      memory.writeU32(GPA, low);
      memory.writeU32(GPA + 4, high);
      assert.equal(memory.readU64(GPA), expected);
      assert.equal(joinU64(low, high), expected);
    }
  });

  it('a copy goes on in the next region when the two touch', () => {
    const memory = smallMemory();
    memory.copyTo(GPA + PAGE - 3, Buffer.from('abcdef'));
    assert.equal(memory.readU8(GPA + PAGE - 1), 0x63);
    assert.equal(memory.readU8(GPA + PAGE), 0x64);
    const back = Buffer.alloc(6);
    memory.copyFrom(GPA + PAGE - 3, back);
    assert.equal(back.toString(), 'abcdef');
  });

  it('an access outside of the regions throws, and touches nothing there', () => {
    const memory = smallMemory();
    const unmapped = { code: 'ERR_VHU_MEMORY_UNMAPPED' };
    for (const gpa of [-1, 0, GPA - 1, GPA + SPAN, GPA + 16 * PAGE - 1, 2 ** 52, Infinity]) {
      assert.throws(() => memory.readU8(gpa), unmapped);
      assert.throws(() => memory.readU16(gpa), unmapped);
      assert.throws(() => memory.readU32(gpa), unmapped);
      assert.throws(() => memory.readU64(gpa), unmapped);
      assert.throws(() => memory.writeU8(gpa, 1), unmapped);
      assert.throws(() => memory.writeU16(gpa, 1), unmapped);
      assert.throws(() => memory.writeU32(gpa, 1), unmapped);
      assert.throws(() => memory.writeU64(gpa, 1), unmapped);
      assert.throws(() => memory.copyTo(gpa, new Uint8Array(1)), unmapped);
      assert.throws(() => memory.copyFrom(gpa, new Uint8Array(1)), unmapped);
    }
    // Into the hole, from the last bytes in front of it.
    assert.throws(() => memory.copyTo(GPA + SPAN - 4, new Uint8Array(5)), unmapped);
    assert.throws(() => memory.copyFrom(GPA + SPAN - 4, new Uint8Array(5)), unmapped);
    assert.throws(() => memory.readU32(GPA + SPAN - 2), RangeError);
  });

  it('a copy of nothing is nothing, wherever', () => {
    const memory = smallMemory();
    memory.copyTo(0, new Uint8Array(0));
    memory.copyFrom(Infinity, new Uint8Array(0));
  });
});

describe('GuestMemory: a region larger than a view can be', () => {
  const hugeBytes = 5 * GIB + 3 * PAGE;
  const hugeGpa = 0x10_0000_0000;
  const memory = (): GuestMemory => new GuestMemory([region(hugeGpa, hugeBytes, map(hugeBytes))]);

  it('values may lie across the border of two windows', () => {
    const huge = memory();
    for (const border of [GIB, 2 * GIB, 4 * GIB, 5 * GIB]) {
      for (let before = 8; before >= 0; before--) {
        const gpa = hugeGpa + border - before;
        const value = 0x1_2345_6789_abcd + border + before;
        huge.writeU64(gpa, value);
        assert.equal(huge.readU8(hugeGpa), 0, 'which makes another window the current one');
        assert.equal(huge.readU64(gpa), value);
        const bytes = Buffer.alloc(8);
        for (let i = 0; i < 8; i++) bytes[i] = huge.readU8(gpa + i);
        assert.equal(bytes.readBigUInt64LE(), BigInt(value));
        assert.equal(huge.readU32(gpa), bytes.readUInt32LE());
        assert.equal(huge.readU16(gpa + 6), bytes.readUInt16LE(6));
        huge.writeU64(gpa, 0);
      }
    }
  });

  it('copies cross windows, and the overlap of two windows is the same memory', () => {
    const huge = memory();
    const bytes = Buffer.from(Array.from({ length: 3 * PAGE }, (_, i) => i % 251));
    for (const border of [GIB, 3 * GIB]) {
      for (const before of [1, PAGE, 2 * PAGE]) {
        const gpa = hugeGpa + border - before;
        huge.copyTo(gpa, bytes);
        const back = Buffer.alloc(bytes.length);
        huge.copyFrom(gpa, back);
        assert.deepEqual(back, bytes);
        assert.equal(huge.readU8(gpa + before), bytes[before]);
      }
    }
  });

  it('the last byte is there, and the one after it is not', () => {
    const huge = memory();
    const last = hugeGpa + hugeBytes - 1;
    huge.writeU8(last, 0x5a);
    assert.equal(huge.readU8(last), 0x5a);
    assert.equal(huge.readU16(last - 1), 0x5a00);
    assert.equal(huge.runLength(last), 1);
    assert.throws(() => huge.readU8(last + 1), { code: 'ERR_VHU_MEMORY_UNMAPPED' });
  });

  it('a view has the bytes of a range, also of one that crosses windows', () => {
    const huge = memory();
    const border = hugeGpa + 2 * GIB;
    for (const [gpa, bytes] of [
      [border - VIEW_BYTES_MAX + 1, VIEW_BYTES_MAX],
      [border - 1, VIEW_BYTES_MAX],
      [hugeGpa + hugeBytes - 16, 16],
    ] as const) {
      huge.writeU16(gpa, 0x1234);
      huge.writeU8(gpa + bytes - 1, 0x56);
      const view = huge.viewOf(gpa, bytes);
      assert.equal(view?.getUint16(huge.viewOffset, true), 0x1234);
      assert.equal(view.getUint8(huge.viewOffset + bytes - 1), 0x56);
      huge.writeU16(gpa, 0);
      huge.writeU8(gpa + bytes - 1, 0);
    }
    assert.equal(huge.viewOf(hugeGpa + hugeBytes - 15, 16), null);
    assert.equal(huge.viewOf(hugeGpa - 1, 2), null);
  });

  it('a buffer longer than a window is one range', () => {
    const huge = memory();
    assert.equal(huge.hvaOf(hugeGpa, hugeBytes) >= 0, true);
    assert.equal(huge.hvaOf(hugeGpa, hugeBytes + 1), -1);
    assert.equal(huge.hvaOf(hugeGpa + GIB - 1, 2 ** 32 - 1) >= 0, true);
  });
});
