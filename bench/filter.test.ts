/**
 * Filters of lines, which all benchmarks of devices share.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseRowFilter, sizeWord } from './filter.ts';

const KEYS = {
  op: (row: { op: string; bytes: number }) => row.op,
  size: (row: { op: string; bytes: number }) => sizeWord(row.bytes),
};

describe('a filter of lines', () => {
  it('takes one of several values for each key, and all keys together', () => {
    const test = parseRowFilter(KEYS, 'op=read|Write, size=64|4k');
    assert.equal(test({ op: 'read', bytes: 64 }), true);
    assert.equal(test({ op: 'write', bytes: 4096 }), true);
    assert.equal(test({ op: 'write', bytes: 65_536 }), false);
    assert.equal(test({ op: 'trim', bytes: 64 }), false);
  });

  it('refuses keys that there are not, and keys without a value', () => {
    for (const text of ['sise=4k', 'size', 'size=', 'toString=a', '']) {
      assert.throws(() => parseRowFilter(KEYS, text), { code: 'ERR_VHU_BENCH_OPTION' }, text);
    }
  });

  it('has a word for each size', () => {
    assert.deepEqual([0, 64, 4096, 65_536].map(sizeWord), ['0k', '64', '4k', '64k']);
  });
});
