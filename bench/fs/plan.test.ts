/**
 * Which lines the file system benchmark has.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { guestLines, guestRow } from './guest-script.ts';
import { CACHES, hostCells, parseRowFilter, rowKey } from './plan.ts';
import type { FsRow } from './plan.ts';

const GUEST: FsRow[] = CACHES.flatMap((cache) => guestLines().map((line) => guestRow(cache, line)));
const ALL: readonly FsRow[] = [...hostCells(), ...GUEST];

describe('the plan of the file system benchmark', () => {
  it('has each line once', () => {
    const keys = ALL.map(rowKey);
    assert.equal(new Set(keys).size, keys.length);
  });

  it('has reads and writes, in order and at random, at depth 1 and 16, in both places', () => {
    for (const place of ['host', 'guest']) {
      for (const cache of CACHES) {
        for (const name of ['read', 'write']) {
          for (const order of ['sequential', 'random']) {
            for (const depth of [1, 16]) {
              const found = ALL.filter(
                (row) =>
                  row.place === place &&
                  row.cache === cache &&
                  row.depth === depth &&
                  row.name.includes(`${name} ${order}`),
              );
              assert.ok(found.length > 0, `${place} ${cache} ${name} ${order} ${depth}`);
            }
          }
        }
      }
    }
  });

  it('has the operations on files, each in both cache modes', () => {
    for (const cache of CACHES) {
      const names = ALL.filter((row) => row.cache === cache).map(({ name }) => name);
      for (const name of [
        'lookup',
        'first lookup',
        'getattr',
        'open-read-close',
        'create',
        'readdirplus of 5000 files',
        'unlink',
        'create 5000 files of 1 KiB',
        'stat of 5000 files',
        'unlink 5000 files',
        'tar x of 3000 files',
        'walk of 3000 files',
      ]) {
        assert.ok(names.includes(name), `${name}, ${cache}`);
      }
    }
  });

  it('makes files before it unlinks them', () => {
    const ops = hostCells().map(({ op }) => op);
    assert.ok(ops.indexOf('create') < ops.indexOf('unlink'));
  });
});

describe('the filter of lines', () => {
  const pick = (filter: string): string[] => ALL.filter(parseRowFilter(filter)).map(rowKey);

  it('keeps what matches all terms, and any value of a term', () => {
    assert.deepEqual(pick('place=host,cache=never,name=read random,size=4k,depth=1|16'), [
      'host never read random 4k depth 1',
      'host never read random 4k depth 16',
    ]);
    assert.deepEqual(pick('place=host,cache=auto,depth=1,name=lookup|getattr'), [
      'host auto lookup depth 1',
      'host auto first lookup depth 1',
      'host auto getattr depth 1',
    ]);
  });

  for (const bad of ['', 'depth', 'depth=', 'colour=red']) {
    it(`the filter "${bad}" is refused with what there is`, () => {
      assert.throws(() => parseRowFilter(bad), {
        code: 'ERR_VHU_BENCH_OPTION',
        message: /place, cache, name, size, depth/,
      });
    });
  }
});
