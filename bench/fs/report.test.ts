/**
 * The report of the file system benchmark: medians, bars, and the file in which figures wait.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { MachineFacts } from '../machine.ts';
import { withFigures, withSpeed } from './docs.ts';
import type { FsRow } from './plan.ts';
import { allBarsMet, fsReportLines, summariseRow, unitOf, verdictOf } from './report.ts';
import type { FsRowSummary } from './report.ts';
import { saveReport } from '../report-file.ts';
import { readReport, resultOf, resumeReport } from './result.ts';
import type { FsReport, FsRun, FsSetting } from './result.ts';

const MACHINE: MachineFacts = {
  date: '2026-01-01T00:00:00.000Z',
  commit: 'abc',
  kernel: '6.18',
  cpu: 'A CPU',
  cpuCount: 2,
  memoryGiB: 24,
  node: 'v20',
  v8: '11',
  qemu: 'qemu-storage-daemon 11.1',
  fio: 'fio-3',
  peer: 'virtiofsd 1.14',
  load: 0,
  busyCpus: 0,
};
const SETTING: FsSetting = {
  effort: {
    runs: 3,
    seconds: 1,
    idleSeconds: 5,
    starts: 3,
    patience: 0,
    guestRounds: 5,
    guestSeconds: 2,
  },
  peerOnly: false,
  posix: false,
  serverArgs: [],
};
const LOOKUP: FsRow = { place: 'host', cache: 'auto', name: 'lookup', blockBytes: 0, depth: 1 };
const READ: FsRow = {
  place: 'guest',
  cache: 'never',
  name: 'fio read sequential, direct',
  blockBytes: 2 ** 20,
  depth: 16,
};

function runs(rates: readonly number[], cpuUs: number | null, othersCpus = 0): FsRun[] {
  return rates.map((perSecond) => ({ perSecond, cpuUs, p50Us: null, othersCpus }));
}

function report(change: Partial<FsReport> = {}): FsReport {
  return {
    version: 1,
    setting: SETTING,
    machine: MACHINE,
    rows: [
      {
        row: LOOKUP,
        ours: runs([100_000, 300_000, 200_000], 2),
        theirs: runs([20_000, 25_000, 10_000], 8),
      },
      { row: READ, ours: runs([900], null), theirs: runs([1000], 100) },
    ],
    servers: [],
    failure: null,
    ...change,
  };
}

function rated(rates: readonly number[]): FsRowSummary[] {
  const side = { perSecond: 1, spread: 0, cpuUs: 1 };
  return rates.map((rate) => ({ row: LOOKUP, ours: side, theirs: side, rate, cpu: 1 }));
}

describe('the bars', () => {
  it('ratios are of pairs, not of medians; a line without runs of both sides is none', () => {
    const summary = summariseRow(report().rows[0]!);
    assert.deepEqual([summary?.rate, summary?.cpu], [12, 0.25]);
    assert.equal(summariseRow({ row: LOOKUP, ours: runs([1], 1), theirs: [] }), null);
  });

  it('by our own front-end: every line as fast, and half of them by a third faster', () => {
    assert.ok(verdictOf('host', rated([1, 1, 1.3, 2])).met);
    assert.ok(!verdictOf('host', rated([1, 1, 1, 2])).met, 'only a quarter is faster');
    assert.ok(!verdictOf('host', rated([0.99, 2, 2, 2])).met, 'one is slower');
  });

  it('in a guest: every line as fast', () => {
    assert.ok(verdictOf('guest', rated([1, 1])).met);
    assert.ok(!verdictOf('guest', rated([5, 0.9])).met);
  });

  it('a report meets its bars when all groups do, and when it came to its end', () => {
    assert.ok(!allBarsMet(report()), 'the guest reads 0.9 times as fast');
    const [first] = report().rows;
    assert.ok(allBarsMet(report({ rows: [first!] })));
    assert.ok(!allBarsMet(report({ rows: [first!], failure: 'the server has died' })));
  });
});

describe('the report', () => {
  it('has the machine, the versions, and each line with its verdict', () => {
    const text = fsReportLines(report()).join('\n');
    assert.match(text, /A CPU, 2 CPUs, Linux 6\.18, Node v20\nvirtiofsd 1\.14;/);
    assert.match(text, /cache=auto, by our own front-end/);
    assert.match(
      text,
      /lookup +1 +k\/s +200\.0 +100% +20\.0 +75% +12\.00x +>=1\.0 ok +2\.00 +8\.00/,
    );
    assert.match(text, /1 of 1 lines >= 1\.0x, 1 of 1 >= 1\.3x: ok/);
    assert.match(
      text,
      /read sequential.* 16 +MB\/s +943\.7 +0% +1048\.6 +0% +0\.90x +>=1\.0 MISSED/,
    );
    assert.match(text, /0 of 1 lines >= 1\.0x: MISSED/);
    assert.match(text, /used 0\.00 CPUs during the runs/);
  });

  it('of the peer against itself has no verdicts', () => {
    const text = fsReportLines(report({ setting: { ...SETTING, peerOnly: true } })).join('\n');
    assert.doesNotMatch(text, /MISSED/);
    assert.doesNotMatch(text, /: ok$|>=1\.0 ok/m);
  });

  it('says when others disturbed it, and why it ended early', () => {
    const rows = [{ row: LOOKUP, ours: runs([1], 1, 1.5), theirs: runs([1], 1, 0.5) }];
    const lines = fsReportLines(report({ rows, failure: 'the server has died' }));
    assert.match(
      lines.join('\n'),
      /used 1\.00 CPUs during the runs \(worst run 1\.50\)\n.*believed/,
    );
    assert.equal(lines.at(-1), 'ended early: the server has died');
  });

  it('tells large blocks in bytes, many operations in thousands, and few one by one', () => {
    assert.deepEqual(unitOf(READ, 5000), { unit: 'MB/s', scale: 1.048576 });
    assert.equal(unitOf(LOOKUP, 5000).unit, 'k/s');
    assert.equal(unitOf(LOOKUP, 500).unit, '/s');
  });

  it('stands in the page between the markers, in place of the last one', () => {
    const page = 'a\n<!-- fs figures: begin -->\nold\n<!-- fs figures: end -->\nz\n';
    const once = withFigures(page, report());
    assert.match(once, /^a\n<!-- fs figures: begin -->\n\nFull run of 2026-01-01/);
    assert.doesNotMatch(once, /old/);
    assert.match(once, /```\n\n<!-- fs figures: end -->\nz\n$/);
    assert.equal(withFigures(once, report()), once);
    assert.throws(() => withFigures('no markers', report()), { code: 'ERR_VHU_BENCH_OPTION' });
  });
});

describe('the few lines of the README', () => {
  const page = 'a\n<!-- fs speed: begin -->\n<!-- fs speed: end -->\nz\n';

  it('have both depths of a line, ours and theirs', () => {
    const row = { ...LOOKUP, name: 'create' };
    const at = (depth: number, ours: number, theirs: number): FsReport['rows'][number] => ({
      row: { ...row, depth },
      ours: runs([ours], 1),
      theirs: runs([theirs], 1),
    });
    const rows = [at(16, 90_000, 20_400), at(1, 45_600, 9_960)];
    const text = withSpeed(page, report({ rows }));
    assert.match(text, /\| new files, .* \| 46 and 90 \| 10\.0 and 20 \|/);
    assert.match(text, /<!-- fs speed: end -->\nz\n$/);
  });

  it('stay as they are when none of them was measured', () => {
    assert.equal(withSpeed(page, report()), page);
  });
});

describe('the file of figures', () => {
  const folder = mkdtempSync(join(tmpdir(), 'vhost-user-bench-test-'));
  const path = join(folder, 'figures.json');
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('gives back what was put there, and its runs go on', () => {
    const fresh = report({ rows: [] });
    assert.equal(resumeReport(path, fresh), fresh, 'there is no file yet');
    saveReport(path, report({ failure: 'interrupted' }));
    const resumed = resumeReport(path, fresh);
    assert.equal(resumed.failure, null);
    assert.equal(resultOf(resumed, { ...LOOKUP }).ours.length, 3);
    assert.equal(resultOf(resumed, { ...LOOKUP, cache: 'never' }).ours.length, 0);
  });

  it('is not mixed with figures of other options or other sources', () => {
    saveReport(path, report());
    const posix = report({ setting: { ...SETTING, posix: true } });
    assert.throws(() => resumeReport(path, posix), /other options/);
    const effort = { ...SETTING.effort, guestRounds: 9 };
    const more = resumeReport(path, report({ rows: [], setting: { ...SETTING, effort } }));
    assert.equal(more.rows.length, 2, 'more boots of the guest go on with those that there are');
    assert.equal(more.setting.effort.guestRounds, 9);
    const newer = report({ machine: { ...MACHINE, commit: 'def' } });
    assert.throws(() => resumeReport(path, newer), /commit abc/);
  });

  it('that holds something else is refused', () => {
    writeFileSync(path, '{"version": 2}');
    assert.throws(() => readReport(path), { code: 'ERR_VHU_BENCH_OPTION' });
    writeFileSync(path, 'no JSON');
    assert.throws(() => readReport(path), { code: 'ERR_VHU_BENCH_OPTION' });
    assert.throws(() => readReport(join(folder, 'none')), { code: 'ERR_VHU_BENCH_OPTION' });
  });
});
