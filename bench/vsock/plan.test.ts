/**
 * Which lines the vsock benchmark has, what bars they are held against, and what a guest runs.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { meets } from '../duel-report.ts';
import { guestScript, lineOf, parseGuestLine } from './guest-script.ts';
import { barOf, parseVsockFilter, rowKey, rowName, vsockRows } from './plan.ts';
import type { VsockRow } from './plan.ts';

const ALL = vsockRows();
const EFFORT = { mib: 64, roundTrips: 10, connections: 20 };
const of = (filter: string): VsockRow[] => ALL.filter(parseVsockFilter(filter));

describe('the plan of the vsock benchmark', () => {
  it('has each line once', () => {
    assert.equal(new Set(ALL.map(rowKey)).size, ALL.length);
  });

  it('sends both ways at 4 and 64 KiB, makes round trips and connects, in both places', () => {
    for (const place of ['host', 'guest']) {
      for (const op of ['send', 'receive']) {
        for (const size of ['4k', '64k']) {
          assert.ok(of(`place=${place},op=${op},size=${size},buffers=4k`).length === 1);
        }
      }
      assert.equal(of(`place=${place},op=round-trip|connect|accept`).length, 3);
    }
  });

  it('has a bar for each line: rates from below, times from above, in a guest no worse', () => {
    const bars = (filter: string): string[] =>
      of(filter).map((row) => `${barOf(row).kind} ${String(barOf(row).ratio)}`);
    assert.deepEqual(new Set(bars('place=host,op=send|receive|connect|accept')).size, 1);
    assert.deepEqual(bars('place=host,op=send,size=4k'), ['at least 1.5']);
    assert.deepEqual(bars('place=host,op=round-trip'), ['at most 0.7']);
    assert.deepEqual(bars('place=guest,op=round-trip'), ['at most 1']);
    assert.deepEqual(bars('place=guest,op=connect'), ['at least 1']);
    assert.ok(meets(1.5, { kind: 'at least', ratio: 1.5 }));
    assert.ok(!meets(1.49, { kind: 'at least', ratio: 1.5 }));
    assert.ok(meets(0.7, { kind: 'at most', ratio: 0.7 }));
    assert.ok(!meets(0.71, { kind: 'at most', ratio: 0.7 }));
    assert.ok(!meets(NaN, { kind: 'at most', ratio: 0.7 }), 'no figure meets no bar');
  });

  it('says what is wrong with a filter', () => {
    assert.throws(() => parseVsockFilter('sise=4k'), { code: 'ERR_VHU_BENCH_OPTION' });
    assert.throws(() => parseVsockFilter('size='), { code: 'ERR_VHU_BENCH_OPTION' });
    assert.deepEqual(of('size=1k'), []);
  });

  it('names lines in words', () => {
    assert.deepEqual(of('place=host,op=receive').map(rowName), [
      'host to guest',
      'host to guest',
      'host to guest, buffers of 64 KiB',
    ]);
  });
});

describe('what a guest does for the vsock benchmark', () => {
  it('counts blocks, round trips and connections', () => {
    const counts = of('place=guest').map((row) => lineOf(row, EFFORT).count);
    assert.deepEqual(counts, [4096, 1024, 4096, 1024, 10, 20, 20]);
  });

  it('is told where a line begins and ends', () => {
    const script = guestScript(of('place=guest'), EFFORT);
    assert.equal(script.split('@bench.begin=').length - 1, 7);
    assert.match(script, /vsock-guest send 2 5000 67108864 65536 1 >\/tmp\/out/);
    assert.deepEqual(parseGuestLine('@bench.begin=3\r'), { what: 'begin', at: 3 });
    assert.deepEqual(parseGuestLine('@bench.end=3 12.5'), { what: 'end', at: 3, ms: 12.5 });
    assert.equal(parseGuestLine('@listening=1234'), null);
    assert.throws(() => parseGuestLine('@bench.end=3 '), { code: 'ERR_VHU_BENCH_PROCESS' });
  });
});
