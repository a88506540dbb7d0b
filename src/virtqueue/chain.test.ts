/**
 * A chain reads and writes as if its buffers were one, wherever they end.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { mapAnonymous, viewMemory } from '../sys/index.ts';
import { GuestMemory } from '../memory/index.ts';
import { Chain } from './index.ts';

const BYTES = 65536;
const GPA = 0x2_0000_0000;
const mapping = mapAnonymous(BYTES);
after(() => mapping.unmap());
const memory = new GuestMemory([{ gpa: GPA, sizeBytes: BYTES, uva: 0, hva: mapping.address }]);

/** A chain of buffers of these lengths, with holes between them, and the bytes of its parts. */
function build(
  readable: readonly number[],
  writable: readonly number[],
): { chain: Chain; asked: Buffer } {
  const chain = new Chain(3, memory);
  const asked: number[] = [];
  let gpa = GPA;
  const append = (length: number, isWritable: boolean): void => {
    gpa += 5;
    chain.append(gpa, mapping.address + gpa - GPA, length, isWritable);
    for (let i = 0; i < length; i++, gpa++) {
      const byte = (asked.length * 37 + 11) & 0xff;
      memory.writeU8(gpa, isWritable ? 0xee : byte);
      if (!isWritable) asked.push(byte);
    }
  };
  readable.forEach((length) => append(length, false));
  writable.forEach((length) => append(length, true));
  return { chain, asked: Buffer.from(asked) };
}

/** The writable part, byte by byte, from its segments. */
function answerOf(chain: Chain): Buffer {
  const bytes: number[] = [];
  for (let i = chain.readableCount; i < chain.segmentCount; i++) {
    for (let at = 0; at < chain.length[i]!; at++) bytes.push(memory.readU8(chain.gpa[i]! + at));
  }
  return Buffer.from(bytes);
}

const lengths = fc.array(fc.integer({ min: 1, max: 20 }), { maxLength: 30 });

describe('Chain', () => {
  it('counts its segments and bytes on both sides', () => {
    fc.assert(
      fc.property(lengths, lengths, (readable, writable) => {
        const { chain } = build(readable, writable);
        const sum = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);
        assert.equal(chain.head, 3);
        assert.equal(chain.readableCount, readable.length);
        assert.equal(chain.segmentCount, readable.length + writable.length);
        assert.equal(chain.readableBytes, sum(readable));
        assert.equal(chain.writableBytes, sum(writable));
        const all = [...chain.length.subarray(0, chain.segmentCount)];
        assert.deepEqual(all, [...readable, ...writable], 'the arrays grow and keep what they had');
        for (let i = 0; i < chain.segmentCount; i++) {
          assert.equal(chain.hva[i], memory.hvaOf(chain.gpa[i]!, chain.length[i]!));
        }
      }),
    );
  });

  it('reads numbers at every offset, across buffers', () => {
    fc.assert(
      fc.property(lengths, (readable) => {
        const { chain, asked } = build(readable, [4]);
        for (let at = 0; at < asked.length; at++) {
          assert.equal(chain.readableU8(at), asked[at]);
          if (at + 2 <= asked.length) assert.equal(chain.readableU16(at), asked.readUInt16LE(at));
          if (at + 4 <= asked.length) assert.equal(chain.readableU32(at), asked.readUInt32LE(at));
          if (at + 8 > asked.length) continue;
          const wide = asked.readBigUInt64LE(at);
          assert.equal(chain.readableU64(at), wide < 2n ** 53n ? Number(wide) : Infinity);
        }
      }),
    );
  });

  it('a 64-bit number below 2^53 is exact, and Infinity from there on', () => {
    for (const cut of [[16], [3, 13], [8, 8], [1, 1, 1, 1, 1, 1, 1, 1]]) {
      const { chain } = build(cut, []);
      const put = (value: bigint): void => {
        for (let i = 0; i < 8; i++) {
          const index = segmentOf(chain, i);
          memory.writeU8(index, Number((value >> BigInt(8 * i)) & 255n));
        }
      };
      put(2n ** 53n - 1n);
      assert.equal(chain.readableU64(0), 2 ** 53 - 1);
      put(2n ** 53n);
      assert.equal(chain.readableU64(0), Infinity);
      put(0xffff_ffff_ffff_ffffn);
      assert.equal(chain.readableU64(0), Infinity);
      assert.equal(chain.readableU32(0), 0xffff_ffff, 'and a 32-bit one is never negative');
    }
  });

  it('copies from any offset, and returns how much there was', () => {
    fc.assert(
      fc.property(
        lengths,
        lengths,
        fc.nat(200),
        fc.nat(200),
        (readable, writable, offset, count) => {
          const { chain, asked } = build(readable, writable);
          const into = Buffer.alloc(count, 0xcc);
          const expected = asked.subarray(offset, offset + count);
          assert.equal(chain.copyFromReadable(offset, into), expected.length);
          assert.deepEqual(into.subarray(0, expected.length), expected);
          assert.ok(into.subarray(expected.length).every((byte) => byte === 0xcc));
        },
      ),
    );
  });

  it('writes to the writable part alone, from any offset', () => {
    fc.assert(
      fc.property(
        lengths,
        lengths,
        fc.nat(200),
        fc.nat(200),
        (readable, writable, offset, count) => {
          const { chain, asked } = build(readable, writable);
          const from = Buffer.from(Array.from({ length: count }, (_, i) => i & 0xff));
          const before = answerOf(chain);
          const room = Math.max(0, chain.writableBytes - offset);
          assert.equal(chain.copyToWritable(offset, from), Math.min(count, room));
          const expected = Buffer.from(before);
          from.copy(expected, Math.min(offset, expected.length), 0, Math.min(count, room));
          assert.deepEqual(answerOf(chain), expected);
          const still = Buffer.alloc(asked.length);
          chain.copyFromReadable(0, still);
          assert.deepEqual(still, asked, 'the readable part is as it was');
        },
      ),
    );
  });

  it('writes single bytes of the writable part', () => {
    const { chain } = build([4, 1], [2, 1, 3]);
    for (let i = 0; i < 6; i++) chain.writeWritableU8(i, 0x40 + i);
    assert.deepEqual([...answerOf(chain)], [0x40, 0x41, 0x42, 0x43, 0x44, 0x45]);
  });

  it('an access beyond the chain throws and touches nothing', () => {
    const { chain } = build([4], [2]);
    const unmapped = { code: 'ERR_VHU_MEMORY_UNMAPPED' };
    assert.throws(() => chain.writeWritableU8(2, 1), unmapped);
    assert.throws(() => chain.readableU8(6), unmapped);
    assert.throws(() => new Chain(0, memory).readableU8(0), unmapped);
    assert.equal(chain.copyFromReadable(4, Buffer.alloc(4)), 0);
    assert.equal(chain.copyToWritable(2, Buffer.alloc(4)), 0);
  });

  it('is empty after clear, and works on the memory that it was given then', () => {
    const { chain } = build([4, 4, 4, 4, 4, 4], [4, 4, 4, 4, 4, 4]);
    const other = mapAnonymous(4096);
    try {
      const elsewhere = new GuestMemory([
        { gpa: GPA, sizeBytes: 4096, uva: 0, hva: other.address },
      ]);
      elsewhere.writeU32(GPA, 0x1234_5678);
      chain.clear(elsewhere);
      const { readableCount, segmentCount, readableBytes, writableBytes } = chain;
      assert.deepEqual([readableCount, segmentCount, readableBytes, writableBytes], [0, 0, 0, 0]);
      assert.equal(chain.copyFromReadable(0, Buffer.alloc(4)), 0);
      chain.append(GPA, other.address, 4, false);
      assert.equal(chain.readableU32(0), 0x1234_5678);
    } finally {
      other.unmap();
    }
  });

  it('copies to and from native memory what it copies to and from arrays, and nothing beside', () => {
    const native = mapAnonymous(4096);
    const bytes = new Uint8Array(viewMemory(native.address, 4096));
    const view = new DataView(bytes.buffer);
    const place = { address: native.address, view };
    const pieces = fc.array(fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constant(70)), {
      maxLength: 12,
    });
    try {
      fc.assert(
        fc.property(pieces, pieces, fc.nat(400), fc.nat(400), (readable, writable, offset, n) => {
          const { chain, asked } = build(readable, writable);
          const out = Math.max(0, Math.min(n, asked.length - offset));
          bytes.fill(0xaa);
          chain.copyOut(offset, place, 7, out);
          assert.deepEqual(
            [...bytes.subarray(7, 7 + out)],
            [...asked.subarray(offset, offset + out)],
          );
          assert.ok(bytes.subarray(0, 7).every((byte) => byte === 0xaa));
          assert.ok(bytes.subarray(7 + out).every((byte) => byte === 0xaa));
          const into = Math.max(0, Math.min(n, chain.writableBytes - offset));
          for (let i = 0; i < 4096; i++) bytes[i] = i % 211;
          chain.copyIn(offset, place, 9, into);
          const expected = Buffer.alloc(chain.writableBytes, 0xee);
          expected.set(bytes.subarray(9, 9 + into), Math.min(offset, expected.length));
          assert.deepEqual(answerOf(chain), expected);
        }),
      );
    } finally {
      native.unmap();
    }
  });

  it('a cleared chain reads nothing of what it held before', () => {
    const { chain } = build([8], [8]);
    chain.clear(memory);
    const unmapped = { code: 'ERR_VHU_MEMORY_UNMAPPED' };
    assert.throws(() => chain.readableU8(0), unmapped);
    assert.throws(() => chain.readableU16(0), unmapped);
    assert.throws(() => chain.readableU32(0), unmapped);
    assert.throws(() => chain.readableU64(0), unmapped);
  });

  it('more bytes than 32 bits count are counted exactly', () => {
    const chain = new Chain(0, memory);
    for (let i = 0; i < 1024; i++) chain.append(GPA, mapping.address, 0xffff_ffff, i >= 512);
    assert.equal(chain.readableBytes, 512 * 0xffff_ffff);
    assert.equal(chain.writableBytes, 512 * 0xffff_ffff);
    assert.equal(chain.segmentCount, 1024);
  });
});

/** The gpa of a byte of the readable part. */
function segmentOf(chain: Chain, offset: number): number {
  let rest = offset;
  for (let i = 0; i < chain.readableCount; i++) {
    if (rest < chain.length[i]!) return chain.gpa[i]! + rest;
    rest -= chain.length[i]!;
  }
  throw new RangeError(`the chain has no byte ${offset}`);
}
