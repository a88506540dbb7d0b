/**
 * The figures of the block benchmark, for people and for programs. Pure.
 *
 * @module
 */
import type { BlkBenchPlan, BlkBenchReport, CellResult, Run, ServerFacts } from './blk.ts';
import type { MachineFacts } from './machine.ts';
import type { Cell, Mode } from './plan.ts';
import { OTHERS_CPUS_MAX } from './others.ts';
import { peerAioOf } from './server.ts';
import { RATIO_TEXT, median, pairedRatio, spread } from './stats.ts';
import { bytesText, fixed, formatTable } from './table.ts';
import type { Column } from './table.ts';

/** A figure against its bar. */
export interface Verdict {
  readonly what: 'rate' | 'cpu' | 'fio';
  readonly value: number;
  readonly bar: number;
  readonly met: boolean;
}

/** Medians of a cell, and our figures over the others'. */
export interface CellSummary {
  readonly cell: Cell;
  readonly ours: SideSummary;
  readonly theirs: SideSummary;
  readonly fio: SideSummary | null;
  readonly rate: number;
  readonly cpu: number;
  readonly ofFio: number;
  readonly verdicts: readonly Verdict[];
}

/** Medians of one side. */
export interface SideSummary {
  readonly perSecond: number;
  /** Largest less smallest, in parts of the median. */
  readonly spread: number;
  readonly cpuUs: number;
}

/** Sums a cell up. */
export function summarise({ cell, bars, ours, theirs, fio }: CellResult): CellSummary {
  const [we, they] = [sideOf(ours), sideOf(theirs)];
  const bound = fio.length > 0 ? sideOf(fio) : null;
  const rate = pairedRatio(ours.map(rateOf), theirs.map(rateOf));
  const cpu = pairedRatio(ours.map(cpuOf), theirs.map(cpuOf));
  const ofFio = pairedRatio(ours.map(rateOf), fio.map(rateOf));
  const verdicts: Verdict[] = [];
  const check = (what: Verdict['what'], value: number, bar: number | null, most = false): void => {
    if (bar === null || Number.isNaN(value)) return;
    verdicts.push({ what, value, bar, met: most ? value <= bar : value >= bar });
  };
  check('rate', rate, bars.rate);
  check('cpu', cpu, bars.cpu, true);
  check('fio', ofFio, bars.fio);
  return { cell, ours: we, theirs: they, fio: bound, rate, cpu, ofFio, verdicts };
}

function sideOf(runs: readonly Run[]): SideSummary {
  const rates = runs.map(rateOf);
  return { perSecond: median(rates), spread: spread(rates), cpuUs: median(runs.map(cpuOf)) };
}

const rateOf = (run: Run): number => run.perSecond;
const cpuOf = (run: Run): number => run.cpuUs;

const LEFT = 'left';
const RIGHT = 'right';
const CELL_COLUMNS: readonly Column[] = [
  { title: 'client', align: LEFT },
  { title: 'op', align: LEFT },
  { title: 'size', align: RIGHT },
  { title: 'depth', align: RIGHT },
  { title: 'ours k/s', align: RIGHT },
  { title: '±', align: RIGHT },
  { title: 'theirs k/s', align: RIGHT },
  { title: '±', align: RIGHT },
  { title: 'ratio', align: RIGHT },
  { title: 'bar', align: LEFT },
  { title: 'CPU ours µs', align: RIGHT },
  { title: 'theirs µs', align: RIGHT },
  { title: 'ratio', align: RIGHT },
  { title: 'bar', align: LEFT },
];
const FIO_COLUMNS: readonly Column[] = [
  { title: 'fio k/s', align: RIGHT },
  { title: 'ours/fio', align: RIGHT },
  { title: 'bar', align: LEFT },
];
const SERVER_COLUMNS: readonly Column[] = [
  { title: 'server', align: LEFT },
  { title: 'listens after ms', align: RIGHT },
  { title: 'idle CPU', align: RIGHT },
  { title: 'own memory', align: RIGHT },
];

/** The lines of the whole report, for a terminal. */
export function reportLines(
  plan: BlkBenchPlan,
  machine: MachineFacts,
  report: BlkBenchReport,
): string[] {
  const { runs, seconds } = plan.effort;
  const lines = [
    `${machine.cpu}, ${machine.cpuCount} CPUs, Linux ${machine.kernel}, Node ${machine.node}`,
    `${machine.qemu}; ${machine.fio}; our commit ${machine.commit}`,
    `medians of ${runs} alternating runs of ${seconds} s; ± is largest less smallest; ` +
      RATIO_TEXT,
  ];
  if (machine.fileSystem !== undefined) lines.push(`the image is on ${machine.fileSystem}`);
  const summaries = report.cells.map(summarise);
  for (const mode of ['native', 'posix'] as const) {
    lines.push(...modeLines(plan, mode, summaries, report.servers));
  }
  const missed = summaries.flatMap((summary) => summary.verdicts).filter((each) => !each.met);
  const count = summaries.reduce((sum, { verdicts }) => sum + verdicts.length, 0);
  if (count > 0) lines.push('', `${count - missed.length} of ${count} bars met`);
  lines.push(...othersLines(report));
  if (report.failure !== null) lines.push('', `ended early: ${report.failure}`);
  return lines;
}

/** How much others disturbed the runs, and whether that matters. */
function othersLines(report: BlkBenchReport): string[] {
  const runs = report.cells.flatMap(({ ours, theirs, fio }) => [...ours, ...theirs, ...fio]);
  if (runs.length === 0) return [];
  const shares = runs.map((run) => run.othersCpus);
  const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
  const text = `other processes used ${fixed(mean, 2)} CPUs during the runs (worst run `;
  const lines = [`${text}${fixed(Math.max(...shares), 2)})`];
  if (mean > OTHERS_CPUS_MAX) lines.push('  too much for the figures to be believed');
  return lines;
}

function modeLines(
  plan: BlkBenchPlan,
  mode: Mode,
  all: readonly CellSummary[],
  servers: readonly ServerFacts[],
): string[] {
  const summaries = all.filter(({ cell }) => cell.mode === mode);
  const facts = servers.filter((server) => server.mode === mode);
  if (summaries.length === 0 && facts.length === 0) return [];
  const withFio = summaries.some(({ fio }) => fio !== null);
  const columns = withFio ? [...CELL_COLUMNS, ...FIO_COLUMNS] : CELL_COLUMNS;
  const aio = peerAioOf(mode, plan.site);
  const we = plan.ours === null ? 'qemu-storage-daemon, as "ours",' : 'vhost-user';
  return [
    '',
    `${mode} mode: ${we} against qemu-storage-daemon aio=${aio}`,
    ...formatTable(columns, summaries.map(cellRow)),
    '',
    ...formatTable(SERVER_COLUMNS, facts.map(serverRow)),
  ];
}

function cellRow({ cell, ours, theirs, fio, ...rest }: CellSummary): string[] {
  const rate = (side: SideSummary): string[] => [
    fixed(side.perSecond / 1000, 1),
    `${fixed(side.spread * 100, 0)}%`,
  ];
  const verdict = (what: Verdict['what']): string => {
    const found = rest.verdicts.find((each) => each.what === what);
    if (found === undefined) return '';
    const sign = what === 'cpu' ? '<=' : '>=';
    return `${sign}${found.bar.toFixed(1)} ${found.met ? 'ok' : 'MISSED'}`;
  };
  return [
    cell.client,
    cell.op,
    bytesText(cell.blockBytes),
    String(cell.depth),
    ...rate(ours),
    ...rate(theirs),
    `${fixed(rest.rate, 2)}x`,
    verdict('rate'),
    fixed(ours.cpuUs, 2),
    fixed(theirs.cpuUs, 2),
    `${fixed(rest.cpu, 2)}x`,
    verdict('cpu'),
    fio === null ? '' : fixed(fio.perSecond / 1000, 1),
    fio === null ? '' : `${fixed(rest.ofFio, 2)}x`,
    verdict('fio'),
  ];
}

function serverRow({ name, startMs, idleCpu, residentBytes }: ServerFacts): string[] {
  return [
    name,
    startMs.length === 0 ? '-' : fixed(median(startMs), 0),
    idleCpu === null ? '-' : `${fixed(idleCpu * 100, 3)}%`,
    bytesText(residentBytes),
  ];
}

/** The report for programs: every run, the medians, and where it ran. */
export function reportJson(
  plan: BlkBenchPlan,
  machine: MachineFacts,
  report: BlkBenchReport,
): string {
  const cells = report.cells.map((cell) => {
    const { ours, theirs, fio, ...figures } = summarise(cell);
    return { ...figures, medians: { ours, theirs, fio }, bars: cell.bars, runs: runsOf(cell) };
  });
  const { effort, ours } = plan;
  const options = {
    ...effort,
    peerAgainstItself: ours === null,
    serverArgs: ours?.extraArgs ?? [],
  };
  const { servers, failure } = report;
  return `${JSON.stringify({ version: 1, machine, options, cells, servers, failure }, null, 1)}\n`;
}

function runsOf({ ours, theirs, fio }: CellResult): Record<string, readonly Run[]> {
  return { ours, theirs, fio };
}
