/**
 * The report of the vsock benchmark: medians, bars, the page, and the file in which figures wait.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { MachineFacts } from '../machine.ts';
import { readReport, saveReport } from '../report-file.ts';
import { withFigures } from './docs.ts';
import type { VsockRow } from './plan.ts';
import { allBarsMet, summariseRow, unitOf, vsockReportLines } from './report.ts';
import { resultOf } from './result.ts';
import type { VsockReport, VsockRun, VsockSetting } from './result.ts';

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
  peer: 'vhost-device-vsock 0.3.0',
  load: 0,
  busyCpus: 0,
};
const SETTING: VsockSetting = {
  effort: { runs: 3, seconds: 1, idleSeconds: 5, starts: 3, patience: 0, guestRounds: 5 },
  peerOnly: false,
  posix: false,
  serverArgs: [],
};
const SEND: VsockRow = { place: 'host', op: 'send', blockBytes: 65_536, bufferBytes: 4096 };
const TRIP: VsockRow = { place: 'host', op: 'round-trip', blockBytes: 0, bufferBytes: 4096 };

function runs(rates: readonly number[], cpuUs: number, othersCpus = 0): VsockRun[] {
  return rates.map((perSecond) => ({ perSecond, cpuUs, p50Us: 1e6 / perSecond, othersCpus }));
}

function report(change: Partial<VsockReport> = {}): VsockReport {
  return {
    version: 1,
    kind: 'vsock',
    setting: SETTING,
    machine: MACHINE,
    rows: [
      { row: SEND, ours: runs([1e4, 3e4, 2e4], 10), theirs: runs([1e4, 1.2e4, 0.8e4], 40) },
      { row: TRIP, ours: runs([20_000], 30), theirs: runs([10_000], 60) },
    ],
    servers: [],
    failure: null,
    ...change,
  };
}

const folder = mkdtempSync(join(tmpdir(), 'vhu-'));
after(() => rmSync(folder, { recursive: true }));

describe('the report of the vsock benchmark', () => {
  it('has the median, its spread, and ours over theirs by pairs', () => {
    const [send] = report().rows.map(summariseRow);
    assert.equal(send?.ours.figure, 20_000);
    assert.equal(send.ours.spread, 1);
    assert.equal(send.ratio, 2.5);
    assert.equal(send.cpu, 0.25);
    assert.equal(send.met, true);
  });

  it('has a time for a round trip, and its bar from above', () => {
    const trip = summariseRow(report().rows[1] as VsockReport['rows'][number]);
    assert.equal(trip?.ours.figure, 50);
    assert.equal(trip.ratio, 0.5);
    assert.equal(trip.met, true);
    const slow = summariseRow({ row: TRIP, ours: runs([10_000], 1), theirs: runs([10_000], 1) });
    assert.equal(slow?.met, false);
  });

  it('meets all bars only when each line does, and nothing ended it early', () => {
    assert.equal(allBarsMet(report()), true);
    assert.equal(allBarsMet(report({ failure: 'died' })), false);
    assert.equal(allBarsMet(report({ rows: [] })), false);
    const missed = { row: SEND, ours: runs([14_000], 1), theirs: runs([10_000], 1) };
    assert.equal(allBarsMet(report({ rows: [missed] })), false);
  });

  it('says in its lines what was measured, and by whom it was disturbed', () => {
    const text = vsockReportLines(report()).join('\n');
    assert.match(text, /^A CPU, 2 CPUs/);
    assert.match(
      text,
      /guest to host +64 KiB +MB\/s +1310\.7 +100% +655\.4 +40% +2\.50x +>=1\.5 ok/,
    );
    assert.match(text, /round trip of a byte +µs +50\.0 .* 100\.0 .* 0\.50x +<=0\.7 ok/);
    assert.match(text, /2 of 2 bars met: ok/);
    assert.match(text, /other processes used 0\.00 CPUs/);
    const disturbed = { row: SEND, ours: runs([1], 1, 0.9), theirs: runs([1], 1, 0.9) };
    const worse = vsockReportLines(report({ rows: [disturbed], failure: 'died' })).join('\n');
    assert.match(worse, /too much for the figures to be believed/);
    assert.match(worse, /0 of 1 bars met: MISSED/);
    assert.match(worse, /ended early: died/);
  });

  it('has a unit for each kind of line', () => {
    assert.equal(unitOf(SEND).unit, 'MB/s');
    assert.equal(unitOf(TRIP).unit, 'µs');
    assert.equal(unitOf({ ...TRIP, op: 'connect' }).unit, 'k/s');
  });

  it('comes back from its file, and refuses another one', () => {
    const path = join(folder, 'report.json');
    const kept = report();
    resultOf(kept, { ...SEND, place: 'guest' }).ours.push(...runs([1], 1));
    assert.equal(resultOf(kept, SEND), kept.rows[0]);
    saveReport(path, kept);
    assert.deepEqual(readReport<VsockReport>(path, 'vsock'), kept);
    writeFileSync(path, '{"version":1,"rows":[]}');
    assert.throws(() => readReport<VsockReport>(path, 'vsock'), { code: 'ERR_VHU_BENCH_OPTION' });
    assert.throws(() => readReport<VsockReport>(`${path}.no`, 'vsock'), {
      code: 'ERR_VHU_BENCH_OPTION',
    });
  });

  it('stands between the markers of the page, which have to be there', () => {
    const page = 'a\n<!-- vsock figures: begin -->\nold\n<!-- vsock figures: end -->\nz\n';
    const text = withFigures(page, report());
    assert.match(text, /^a\n<!-- vsock figures: begin -->\n\nRun of 2026-01-01/);
    assert.match(text, /```\n\n<!-- vsock figures: end -->\nz\n$/);
    assert.ok(!text.includes('old'));
    assert.throws(() => withFigures('a', report()), { code: 'ERR_VHU_BENCH_OPTION' });
  });
});
