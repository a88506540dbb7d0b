/**
 * Which cells are measured, and against which bars.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { allCells, barsOf, parseFilter } from './plan.ts';
import type { Cell } from './plan.ts';

function pick(filter: string): Cell[] {
  return allCells().filter(parseFilter(filter));
}

describe('the plan', () => {
  it('has each combination once', () => {
    const cells = allCells().map((cell) => JSON.stringify(cell));
    assert.equal(cells.length, 2 * 2 * 2 * 2 * 4);
    assert.equal(new Set(cells).size, cells.length);
  });

  it('a filter keeps what matches all of its terms, and any of the values of a term', () => {
    const one = pick('mode=native,client=qemu-img,op=read,size=4k,depth=1');
    assert.deepEqual(one, [
      { mode: 'native', client: 'qemu-img', op: 'read', blockBytes: 4096, depth: 1 },
    ]);
    assert.equal(pick('depth=1|64').length, allCells().length / 2);
    assert.equal(pick('SIZE=64K'.toLowerCase()).length, allCells().length / 2);
    assert.equal(pick(' op=write , client=polling ').length, allCells().length / 4);
  });

  for (const bad of ['', 'depth', 'depth=2', 'colour=red', 'op=', '=4', 'op=read,depth=1|']) {
    it(`the filter "${bad}" is refused with what there is`, () => {
      assert.throws(() => parseFilter(bad), {
        code: 'ERR_VHU_BENCH_OPTION',
        message: /: (use KEY=VALUE|\w+ is )/,
      });
    });
  }
});

describe('the bars', () => {
  const bars = (filter: string): unknown[] =>
    pick(filter).map((cell) => {
      const { rate, cpu, fio } = barsOf(cell);
      return [rate, cpu, fio];
    });

  it('of small reads in native mode grow towards depth 1', () => {
    assert.deepEqual(bars('mode=native,client=qemu-img,op=read,size=4k'), [
      [1.5, null, null],
      [1.2, 1, null],
      [1, 1, null],
      [1, 1, null],
    ]);
    assert.deepEqual(bars('mode=native,client=polling,op=read,size=4k'), [
      [2, null, null],
      [1.5, 1, null],
      [1.3, 1, null],
      [1.3, 1, 0.6],
    ]);
  });

  it('of large requests are on CPU time alone', () => {
    assert.deepEqual(bars('mode=native,client=polling,op=write,size=64k'), [
      [null, null, null],
      [null, 1, null],
      [null, 1, null],
      [null, 1, null],
    ]);
  });

  it('of posix mode are on rates alone', () => {
    for (const each of bars('mode=posix')) assert.deepEqual(each, [1, null, null]);
  });
});
