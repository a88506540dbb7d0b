/**
 * A statistical check of bytes that ought to be random: for tests of what a guest gets. It finds
 * bytes that are constant, biased, counted or repeated; it cannot tell a good generator from one
 * whose seed somebody knows.
 *
 * @module
 */
import { assert } from '../util/index.ts';

/** Fewer bytes say too little. */
const BYTES_MIN = 8192;

/**
 * How far a figure may lie from what is to be expected, in standard deviations. Truly random bytes
 * are found fault with less than once in a hundred million times.
 */
const DEVIATIONS_MAX = 6;

const BYTE_VALUES = 256;
const BLOCK_BYTES = 8;

/**
 * What is wrong with bytes that ought to be random, a line each; nothing when they look so. At
 * least 8192 bytes are needed; the more there are, the smaller is the bias that is found: of four
 * MiB each bit may be set with a probability of 0.49 or less, or of 0.51 or more.
 *
 * ```ts
 * const faults = randomnessFaults(bytes);
 * ```
 */
export function randomnessFaults(bytes: Uint8Array): string[] {
  assert(bytes.length >= BYTES_MIN, 'there are enough bytes for a figure to mean something');
  const faults: string[] = [];
  const judge = (what: string, deviations: number): void => {
    if (Math.abs(deviations) <= DEVIATIONS_MAX) return;
    faults.push(`${what}: ${deviations.toFixed(1)} standard deviations from what is expected`);
  };
  const bitCount = 8 * bytes.length;
  judge('bits that are set', binomial(setBits(bytes), bitCount));
  judge('bits that differ from the one before', binomial(changes(bytes), bitCount - 1));
  const squares = chiSquare(bytes);
  // Chi-square has as its mean its degrees of freedom, and twice that as its variance.
  const freedom = BYTE_VALUES - 1;
  judge('how often each byte comes', (squares - freedom) / Math.sqrt(2 * freedom));
  const repeated = repeatedBlocks(bytes);
  if (repeated > 0) faults.push(`${repeated} blocks of ${BLOCK_BYTES} bytes come more than once`);
  return faults;
}

/** Standard deviations of a count of coins that fell on one side. */
function binomial(count: number, tosses: number): number {
  return (count - tosses / 2) / Math.sqrt(tosses / 4);
}

function setBits(bytes: Uint8Array): number {
  let count = 0;
  for (const byte of bytes) for (let rest = byte; rest !== 0; rest &= rest - 1) count++;
  return count;
}

/** How many bits differ from the bit before them, from the highest bit of the first byte on. */
function changes(bytes: Uint8Array): number {
  let count = 0;
  let before = (bytes[0] as number) >> 7;
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      const now = (byte >> bit) & 1;
      count += now ^ before;
      before = now;
    }
  }
  return count;
}

function chiSquare(bytes: Uint8Array): number {
  const counts = new Float64Array(BYTE_VALUES);
  for (const byte of bytes) counts[byte] = (counts[byte] as number) + 1;
  const expected = bytes.length / BYTE_VALUES;
  let sum = 0;
  for (const count of counts) sum += (count - expected) ** 2 / expected;
  return sum;
}

/** Blocks that are equal to another one; by chance that happens once in 10^8 runs of 4 MiB. */
function repeatedBlocks(bytes: Uint8Array): number {
  const whole = new Uint8Array(bytes.subarray(0, bytes.length - (bytes.length % BLOCK_BYTES)));
  const blocks = new BigUint64Array(whole.buffer).sort();
  let count = 0;
  for (let i = 1; i < blocks.length; i++) if (blocks[i] === blocks[i - 1]) count++;
  return count;
}
