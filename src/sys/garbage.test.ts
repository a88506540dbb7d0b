/**
 * Memory that was dropped is the host's again, also where the C library would keep it.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { releaseMemory } from './index.ts';

const MIB = 2 ** 20;
const LARGE = 4 * MIB;
const COUNT = 12;
/** What glibc takes from its heap as long as nothing is said: see M_MMAP_THRESHOLD. */
const SMALL = 64 * 1024;
/** Once a block of this size was freed, glibc takes those of up to it from its heap, too. */
const RAISES_THRESHOLD = 30 * MIB;

const skip = process.platform === 'linux' ? false : 'it looks into /proc';

test('large buffers that were dropped are given back, below others that stay', { skip }, () => {
  let first: Uint8Array | null = new Uint8Array(RAISES_THRESHOLD).fill(1);
  assert.equal(first[RAISES_THRESHOLD - 1], 1);
  first = null;
  releaseMemory();
  const large: Uint8Array[] = [];
  const stay: Uint8Array[] = [];
  for (let i = 0; i < COUNT; i++) {
    large.push(new Uint8Array(LARGE).fill(i));
    stay.push(new Uint8Array(SMALL).fill(i));
  }
  const full = anonymousBytes();
  large.length = 0;
  releaseMemory();
  const given = full - anonymousBytes();
  assert.ok(given > 0.8 * COUNT * LARGE, `${(given / MIB).toFixed(1)} MiB were given back`);
  assert.equal(stay.at(-1)?.[SMALL - 1], COUNT - 1);
});

function anonymousBytes(): number {
  const [, kib] = /^RssAnon:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return Number(kib) * 1024;
}
