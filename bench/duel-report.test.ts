/**
 * The report of two servers side by side, of one alone, and of a peer that cannot do a line.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { consoleRowKey, consoleRows } from './console/plan.ts';
import { CONSOLE_BENCH } from './console/main.ts';
import type { DuelRun } from './duel.ts';
import { duelLines } from './duel-main.ts';
import { duelResultOf, summariseDuelRow } from './duel-report.ts';
import type { DuelReport } from './duel-report.ts';
import type { MachineFacts } from './machine.ts';
import { parseRowFilter } from './filter.ts';
import { RNG_BENCH } from './rng/main.ts';
import { RNG_FILTER_KEYS, RNG_VIEW, rngRowKey, rngRows } from './rng/plan.ts';
import type { RngRow } from './rng/plan.ts';

const MACHINE: MachineFacts = {
  date: '2026-01-01T00:00:00.000Z',
  commit: 'abc',
  kernel: '6.18',
  cpu: 'A CPU',
  cpuCount: 2,
  memoryGiB: 24,
  node: 'v20',
  v8: '11',
  qemu: 'QEMU 10',
  fio: 'fio-3',
  load: 0,
  busyCpus: 0,
};
const PEER = { ...MACHINE, peer: 'vhost-device-rng 0.1.0' };
const RATE: RngRow = { what: 'rate', blockBytes: 4096, depth: 16 };
const TIME: RngRow = { what: 'time', blockBytes: 64, depth: 1 };

function runs(rates: readonly number[], cpuUs: number, othersCpus = 0): DuelRun[] {
  return rates.map((perSecond) => ({ perSecond, cpuUs, p50Us: 1e6 / perSecond, othersCpus }));
}

function report(change: Partial<DuelReport<RngRow>>): DuelReport<RngRow> {
  return {
    version: 1,
    kind: 'rng',
    setting: {
      effort: { runs: 3, seconds: 1, idleSeconds: 5, starts: 3, patience: 0 },
      peerOnly: false,
      posix: false,
      serverArgs: [],
    },
    machine: PEER,
    rows: [],
    servers: [],
    failure: null,
    ...change,
  };
}

const text = (of: DuelReport<RngRow>): string => duelLines(RNG_BENCH, of).join('\n');

describe('the report of two servers side by side', () => {
  it('has the medians of both, their spread, and ours over theirs by pairs', () => {
    const rows = [
      { row: RATE, ours: runs([1e5, 3e5, 2e5], 5), theirs: runs([1e5, 1.2e5, 0.8e5], 20) },
      { row: TIME, ours: runs([500_000], 5), theirs: runs([250_000], 5) },
    ];
    const lines = text(report({ rows }));
    assert.match(lines, /requests +4 KiB +16 +MB\/s +819\.2 +100% +409\.6 +40% +2\.50x +5\.00/);
    assert.match(lines, /time of a request +64 B +1 +µs +2\.0 +0% +4\.0 +0% +0\.50x/);
    assert.match(lines, /^vhost-device-rng 0\.1\.0; our commit abc$/m);
    assert.ok(!lines.includes('was not there'));
    assert.ok(!/\bbar\b/.test(lines), 'there are no bars');
  });

  it('has our column alone without a peer, and says so', () => {
    const rows = [{ row: RATE, ours: runs([100_000], 5), theirs: [] }];
    const lines = text(report({ rows, machine: MACHINE }));
    assert.match(lines, /^no peer; our commit abc$/m);
    assert.match(lines, /^vhost-device-rng was not there: our server by itself$/m);
    assert.match(lines, /^medians of 3 runs of 1 s/m);
    assert.match(lines, /^what +size +depth +unit +ours +± +CPU µs$/m);
    assert.match(lines, /MB\/s +409\.6 +0% +5\.00$/m);
  });

  it('says what the peer could not do in a line, in place of its figures', () => {
    const rows = [
      { row: RATE, ours: runs([100_000], 5), theirs: [], note: 'it hung up' },
      { row: TIME, ours: runs([500_000], 5), theirs: runs([250_000], 5) },
    ];
    const lines = text(report({ rows, failure: 'died' }));
    assert.match(lines, /MB\/s +409\.6 +0% +- +- +- +5\.00 +- +-$/m);
    assert.match(lines, /^not measured: requests 4 KiB 16: it hung up$/m);
    assert.match(lines, /^ended early: died$/m);
  });

  it('tells figures that others disturbed', () => {
    const rows = [{ row: RATE, ours: runs([100], 5, 0.9), theirs: runs([100], 5, 0.7) }];
    const lines = text(report({ rows }));
    assert.match(lines, /used 0\.80 CPUs during the runs \(worst run 0\.90\)/);
    assert.match(lines, /too much for the figures to be believed/);
  });

  it('keeps the runs of a line in one place, and leaves out what was not measured', () => {
    const made = report({});
    duelResultOf(made, RATE, rngRowKey).ours.push(...runs([1], 1));
    assert.equal(duelResultOf(made, { ...RATE }, rngRowKey), made.rows[0]);
    assert.equal(summariseDuelRow(RNG_VIEW, duelResultOf(made, TIME, rngRowKey)), null);
  });
});

describe('the plans of the small benchmarks', () => {
  it('have each line once', () => {
    assert.equal(new Set(rngRows().map(rngRowKey)).size, rngRows().length);
    assert.equal(new Set(consoleRows().map(consoleRowKey)).size, consoleRows().length);
  });

  it('measure random bytes at 64 B, 4 and 64 KiB, one and 16 at once', () => {
    for (const size of ['64', '4k', '64k']) {
      for (const depth of ['1', '16']) {
        const test = parseRowFilter(RNG_FILTER_KEYS, `what=rate,size=${size},depth=${depth}`);
        assert.equal(rngRows().filter(test).length, 1, `${size} ${depth}`);
      }
    }
  });

  it('measure consoles both ways, a byte there and back, and several clients', () => {
    const count = (filter: string): number =>
      consoleRows().filter(parseRowFilter(CONSOLE_BENCH.filterKeys, filter)).length;
    assert.equal(count('op=output,size=64,clients=1'), 2);
    assert.equal(count('op=output,size=4k,clients=1'), 1);
    assert.equal(count('op=input'), 2);
    assert.equal(count('op=round-trip'), 2);
    assert.equal(count('clients=4'), 2);
  });

  it('start each server of the peer at a port of its own', () => {
    const [first, second] = ['a', 'b'].map((tag) => CONSOLE_BENCH.peer.plan('/x', 'file', tag));
    assert.notDeepEqual(first?.clients, second?.clients);
    assert.equal(first?.socketPath, '/x/a.sock0');
  });
});
