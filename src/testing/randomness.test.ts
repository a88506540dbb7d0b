/**
 * The check of randomness finds what it is there for, and lets random bytes pass.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { randomnessFaults } from './index.ts';

const MIB = 1024 * 1024;

/** Each bit is set with this probability. */
function biased(lengthBytes: number, probability: number): Uint8Array {
  const draws = new Uint16Array(lengthBytes * 8);
  for (let at = 0; at < draws.length; at += 32768) {
    const part = draws.subarray(at, at + 32768);
    part.set(new Uint16Array(randomBytes(part.byteLength).buffer.slice(0, part.byteLength)));
  }
  const limit = probability * 65536;
  return Uint8Array.from({ length: lengthBytes }, (_, i) => {
    let byte = 0;
    for (let bit = 0; bit < 8; bit++) byte |= Number((draws[8 * i + bit] ?? 0) < limit) << bit;
    return byte;
  });
}

/** Each bit is the one before it with this probability. */
function sticky(lengthBytes: number, probability: number): Uint8Array {
  let last = 0;
  return biased(lengthBytes, 1 - probability).map((flips) => {
    let byte = 0;
    for (let bit = 7; bit >= 0; bit--) {
      last ^= (flips >> bit) & 1;
      byte |= last << bit;
    }
    return byte;
  });
}

describe('the check of randomness', () => {
  it('passes the bytes of this host, few or many', () => {
    for (const length of [8192, 100_001, 4 * MIB]) {
      assert.deepEqual(randomnessFaults(randomBytes(length)), [], `${length} bytes`);
    }
  });

  const wrong: readonly (readonly [string, Uint8Array, RegExp])[] = [
    ['zeroes', new Uint8Array(MIB), /bits that are set/],
    ['ones', new Uint8Array(MIB).fill(0xff), /bits that are set/],
    ['a counter', Uint8Array.from({ length: MIB }, (_, i) => i), /each byte comes/],
    ['an alternating pattern', new Uint8Array(MIB).fill(0x55), /differ from the one before/],
    ['bits that are set 51 times in 100', biased(4 * MIB, 0.51), /bits that are set/],
    ['bits that stay as they were 51 times in 100', sticky(4 * MIB, 0.51), /differ from the one/],
    ['text', Buffer.from('The quick brown fox. '.repeat(50_000)), /each byte comes/],
    ['the same bytes twice', Buffer.concat(Array(2).fill(randomBytes(MIB))), /more than once/],
  ];
  for (const [name, bytes, fault] of wrong) {
    it(`finds fault with ${name}`, () => {
      assert.match(randomnessFaults(bytes).join('\n'), fault);
    });
  }

  it('wants enough bytes to say anything', () => {
    assert.throws(() => randomnessFaults(randomBytes(8191)), /enough bytes/);
  });
});
