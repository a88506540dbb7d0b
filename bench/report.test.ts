/**
 * The report: medians, ratios, verdicts, and the table that shows them.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { BlkBenchPlan, BlkBenchReport, CellResult, Run } from './blk.ts';
import type { MachineFacts } from './machine.ts';
import { barsOf } from './plan.ts';
import type { Cell } from './plan.ts';
import { reportJson, reportLines, summarise } from './report.ts';

function runs(perSecond: readonly number[], cpuUs: number, othersCpus = 0): Run[] {
  return perSecond.map((rate) => ({
    requests: rate,
    seconds: 1,
    perSecond: rate,
    cpuUs,
    othersCpus,
  }));
}

const CELL: Cell = { mode: 'native', client: 'polling', op: 'read', blockBytes: 4096, depth: 64 };

function result(change: Partial<CellResult> = {}): CellResult {
  return {
    cell: CELL,
    bars: barsOf(CELL),
    ours: runs([100_000, 300_000, 200_000], 2),
    theirs: runs([100_000, 120_000, 80_000], 2.5),
    fio: runs([400_000, 400_000, 400_000], 1),
    ...change,
  };
}

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
  load: 0,
  busyCpus: 0,
};

const PLAN: BlkBenchPlan = {
  site: { folder: '/f', image: '/f/i', peerRoot: '/r' },
  cells: [CELL],
  effort: { runs: 3, seconds: 1, idleSeconds: 5, starts: 3, patience: 0 },
  ours: { entry: '/e', extraArgs: ['--poll-us', '64'], nodeArgs: [] },
  withFio: true,
  profiler: null,
};

const REPORT: BlkBenchReport = {
  cells: [result()],
  servers: [
    {
      mode: 'native',
      side: 'ours',
      name: 'vhost-user',
      startMs: [90, 100, 140],
      idleCpu: 0.0004,
      residentBytes: 50 * 2 ** 20,
    },
  ],
  failure: null,
};

describe('summarise', () => {
  it('ratios are of pairs, not of medians, and each figure meets its bar or misses it', () => {
    const { rate, cpu, ofFio, verdicts } = summarise(result());
    assert.deepEqual([rate, cpu, ofFio], [2.5, 0.8, 0.5]);
    const short = verdicts.map(({ what, bar, met }) => [what, bar, met]);
    assert.deepEqual(short, [
      ['rate', 1.3, true],
      ['cpu', 1, true],
      ['fio', 0.6, false],
    ]);
  });

  it('exactly the bar is enough', () => {
    const { verdicts } = summarise(
      result({ ours: runs([130_000], 2.5), theirs: runs([100_000], 2.5), fio: [] }),
    );
    assert.deepEqual(
      verdicts.map(({ what, met }) => [what, met]),
      [
        ['rate', true],
        ['cpu', true],
      ],
    );
  });
});

describe('reportLines', () => {
  it('has the machine, a line for each cell and server, and the count of bars', () => {
    const text = reportLines(PLAN, MACHINE, REPORT).join('\n');
    assert.match(text, /A CPU, 2 CPUs, Linux 6\.18, Node v20/);
    assert.match(text, /polling +read +4 KiB +64 +200\.0 +100% +100\.0 +40% +2\.50x +>=1\.3 ok/);
    assert.match(text, /400\.0 +0\.50x +>=0\.6 MISSED/);
    assert.match(text, /vhost-user +100 +0\.040% +50 MiB/);
    assert.match(text, /2 of 3 bars met/);
  });

  it('says how much others disturbed the runs, and warns when it was much', () => {
    const quiet = reportLines(PLAN, MACHINE, REPORT).join('\n');
    assert.match(quiet, /used 0\.00 CPUs during the runs \(worst run 0\.00\)/);
    assert.doesNotMatch(quiet, /believed/);
    const cells = [result({ ours: runs([1, 1, 1], 1, 1.5) })];
    const busy = reportLines(PLAN, MACHINE, { ...REPORT, cells }).join('\n');
    assert.match(busy, /used 0\.50 CPUs during the runs \(worst run 1\.50\)\n.*believed/);
  });

  it('says why it ended early', () => {
    const report = { ...REPORT, cells: [], failure: 'the server has died' };
    const lines = reportLines(PLAN, MACHINE, report);
    assert.equal(lines.at(-1), 'ended early: the server has died');
  });
});

describe('reportJson', () => {
  it('holds every run, the medians, the options and the machine', () => {
    const parsed = JSON.parse(reportJson(PLAN, MACHINE, REPORT)) as {
      machine: MachineFacts;
      options: Record<string, unknown>;
      cells: { runs: { ours: Run[] }; medians: { ours: { perSecond: number } }; rate: number }[];
    };
    assert.deepEqual(parsed.machine, MACHINE);
    assert.deepEqual(parsed.options.serverArgs, ['--poll-us', '64']);
    const cell = parsed.cells[0]!;
    assert.equal(cell.runs.ours.length, 3);
    assert.equal(cell.medians.ours.perSecond, 200_000);
    assert.equal(cell.rate, 2.5);
  });
});
