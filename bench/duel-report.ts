/**
 * What a duel of two servers came to, as plain data that a file can hold, and as tables for people.
 * Pure.
 *
 * @module
 */
import { SIDES } from './duel.ts';
import type { DuelEffort, DuelRun, DuelServerFacts, Side } from './duel.ts';
import type { MachineFacts } from './machine.ts';
import { OTHERS_CPUS_MAX } from './others.ts';
import { RATIO_TEXT, median, pairedRatio, spread } from './stats.ts';
import { bytesText, fixed, formatTable } from './table.ts';
import type { Column } from './table.ts';

/** A line's runs, in the order in which they alternated. */
export interface DuelRowResult<Row> {
  readonly row: Row;
  readonly ours: DuelRun[];
  readonly theirs: DuelRun[];
  /** Why the other side has no figures here, when it should have some. */
  note?: string;
}

/** How it was measured. */
export interface DuelSetting<Effort extends DuelEffort = DuelEffort> {
  readonly effort: Effort;
  /** The peer against itself. */
  readonly peerOnly: boolean;
  /** `VHOST_USER_HOST=posix` for our server. */
  readonly posix: boolean;
  readonly serverArgs: readonly string[];
}

/** All that was measured, up to the failure if there was one. */
export interface DuelReport<Row, Effort extends DuelEffort = DuelEffort> {
  readonly version: 1;
  /** Which benchmark it is of. */
  readonly kind: string;
  readonly setting: DuelSetting<Effort>;
  readonly machine: MachineFacts;
  readonly rows: DuelRowResult<Row>[];
  readonly servers: DuelServerFacts[];
  failure: string | null;
}

/** What holds for a line: a rate ours over theirs at least, or a time at most. */
export interface Bar {
  readonly kind: 'at least' | 'at most';
  readonly ratio: number;
}

/** Whether a ratio, ours over theirs, meets a bar. */
export function meets(value: number, { kind, ratio: limit }: Bar): boolean {
  return kind === 'at least' ? value >= limit : value <= limit;
}

/** In which unit a line's figures read best, and by what a figure is multiplied for it. */
export interface Unit {
  readonly unit: string;
  readonly scale: number;
}

/** How the lines of a benchmark are shown. */
export interface DuelView<Row> {
  /** The first columns, which say what a line is. */
  readonly labels: readonly Column[];
  readonly labelsOf: (row: Row) => readonly string[];
  /** Whether the figure of a line is a time, and not a rate. */
  readonly isTime: (row: Row) => boolean;
  readonly unitOf: (row: Row) => Unit;
  /** Where there are bars. */
  readonly barOf?: (row: Row) => Bar;
}

/** Medians of one side of a line. */
export interface DuelSideSummary {
  /** Operations a second; of a time, microseconds. */
  readonly figure: number;
  /** Largest less smallest, in parts of the median. */
  readonly spread: number;
  readonly cpuUs: number;
}

/**
 * A line's medians, and ours over theirs by the pairs of runs (see `pairedRatio`); NaN where there
 * is no other side.
 */
export interface DuelRowSummary<Row> {
  readonly row: Row;
  readonly ours: DuelSideSummary;
  readonly theirs: DuelSideSummary | null;
  readonly ratio: number;
  readonly cpu: number;
  /** Whether the bar of the line is met; true where there is none. */
  readonly met: boolean;
  readonly note: string | null;
}

/** Sums a line up; null when our side has no run yet. */
export function summariseDuelRow<Row>(
  view: DuelView<Row>,
  { row, ours, theirs, note }: DuelRowResult<Row>,
): DuelRowSummary<Row> | null {
  if (ours.length === 0) return null;
  const isTime = view.isTime(row);
  const figuresOf = (runs: readonly DuelRun[]): number[] =>
    runs.map(({ perSecond, p50Us }) => (isTime ? (p50Us ?? NaN) : perSecond));
  const cpuOf = (runs: readonly DuelRun[]): number[] => runs.map(({ cpuUs }) => cpuUs);
  const sideOf = (runs: readonly DuelRun[]): DuelSideSummary => {
    const figures = figuresOf(runs);
    return { figure: median(figures), spread: spread(figures), cpuUs: median(cpuOf(runs)) };
  };
  const we = sideOf(ours);
  const they = theirs.length > 0 ? sideOf(theirs) : null;
  const times = pairedRatio(figuresOf(ours), figuresOf(theirs));
  const cpu = pairedRatio(cpuOf(ours), cpuOf(theirs));
  const met = view.barOf === undefined || meets(times, view.barOf(row));
  return { row, ours: we, theirs: they, ratio: times, cpu, met, note: note ?? null };
}

/** The runs of a line so far; made when there are none. */
export function duelResultOf<Row>(
  report: Pick<DuelReport<Row>, 'rows'>,
  row: Row,
  keyOf: (row: Row) => string,
): DuelRowResult<Row> {
  const key = keyOf(row);
  const found = report.rows.find((each) => keyOf(each.row) === key);
  if (found !== undefined) return found;
  const made: DuelRowResult<Row> = { row, ours: [], theirs: [] };
  report.rows.push(made);
  return made;
}

const LEFT = 'left';
const RIGHT = 'right';
const SERVER_COLUMNS: readonly Column[] = [
  { title: 'server', align: LEFT },
  { title: 'listens after ms', align: RIGHT },
  { title: 'idle CPU', align: RIGHT },
  { title: 'own memory', align: RIGHT },
];

/** The lines that say where and how it was measured. */
export function headLines(report: Pick<DuelReport<unknown>, 'machine' | 'setting'>): string[] {
  const { machine, setting } = report;
  const { runs, seconds } = setting.effort;
  const hasPeer = machine.peer !== undefined;
  const alternating = hasPeer ? 'alternating ' : '';
  return [
    `${machine.cpu}, ${machine.cpuCount} CPUs, Linux ${machine.kernel}, Node ${machine.node}`,
    `${machine.peer ?? 'no peer'}; our commit ${machine.commit}`,
    `medians of ${runs} ${alternating}runs of ${seconds} s; ± is largest less smallest` +
      (hasPeer ? `; ${RATIO_TEXT}` : ''),
    ...(setting.posix ? ['our server with VHOST_USER_HOST=posix'] : []),
  ];
}

/** What tables of lines are to have. */
export interface DuelTableOptions {
  /** Whether there was another side at all. */
  readonly hasPeer: boolean;
  /** The peer against itself, to which no bar applies. */
  readonly peerOnly: boolean;
}

/** The table of some lines, and below it why some have no figures of the other side. */
export function duelTable<Row>(
  view: DuelView<Row>,
  rows: readonly DuelRowSummary<Row>[],
  { hasPeer, peerOnly }: DuelTableOptions,
): string[] {
  const right = (...titles: string[]): Column[] => titles.map((title) => ({ title, align: RIGHT }));
  const columns: Column[] = [
    ...view.labels,
    { title: 'unit', align: LEFT },
    ...right('ours', '±'),
    ...(hasPeer ? right('theirs', '±', 'ratio') : []),
    ...(hasPeer && view.barOf !== undefined ? [{ title: 'bar', align: LEFT } as const] : []),
    ...(hasPeer ? right('CPU ours µs', 'theirs µs', 'ratio') : right('CPU µs')),
  ];
  const cells = rows.map((row) => cellsOf(view, row, { hasPeer, peerOnly }));
  const notes = rows.flatMap(({ row, note }) =>
    note === null ? [] : [`not measured: ${view.labelsOf(row).join(' ').trim()}: ${note}`],
  );
  return [...formatTable(columns, cells), ...notes];
}

function cellsOf<Row>(
  view: DuelView<Row>,
  summary: DuelRowSummary<Row>,
  { hasPeer, peerOnly }: DuelTableOptions,
): string[] {
  const { row, ours, theirs, met } = summary;
  const { unit, scale } = view.unitOf(row);
  const figures = (side: DuelSideSummary | null): string[] =>
    side === null ? ['-', '-'] : [fixed(side.figure * scale, 1), `${fixed(side.spread * 100, 0)}%`];
  const times = (value: number): string => (Number.isNaN(value) ? '-' : `${fixed(value, 2)}x`);
  const cells = [...view.labelsOf(row), unit, ...figures(ours)];
  if (!hasPeer) return [...cells, fixed(ours.cpuUs, 2)];
  cells.push(...figures(theirs), times(summary.ratio));
  if (view.barOf !== undefined) {
    const bar = view.barOf(row);
    const sign = bar.kind === 'at least' ? '>=' : '<=';
    cells.push(peerOnly ? '' : `${sign}${bar.ratio.toFixed(1)} ${met ? 'ok' : 'MISSED'}`);
  }
  return [...cells, fixed(ours.cpuUs, 2), fixed(theirs?.cpuUs, 2), times(summary.cpu)];
}

/** The servers, who disturbed the runs, and whether it ended early. */
export function tailLines(report: DuelReport<unknown>): string[] {
  const lines: string[] = [];
  if (report.servers.length > 0) {
    lines.push('', ...formatTable(SERVER_COLUMNS, report.servers.map(serverRow)));
  }
  lines.push(...othersLines(report));
  if (report.failure !== null) lines.push('', `ended early: ${report.failure}`);
  return lines;
}

function serverRow({ name, startMs, idleCpu, residentBytes }: DuelServerFacts): string[] {
  return [
    name,
    startMs.length === 0 ? '-' : fixed(median(startMs), 0),
    `${fixed(idleCpu * 100, 3)}%`,
    bytesText(residentBytes),
  ];
}

/** How much others disturbed the runs, and whether that matters. */
function othersLines(report: DuelReport<unknown>): string[] {
  const shares = report.rows.flatMap((row) =>
    SIDES.flatMap((side: Side) => row[side].map((run) => run.othersCpus)),
  );
  if (shares.length === 0) return [];
  const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
  const text = `other processes used ${fixed(mean, 2)} CPUs during the runs (worst run `;
  const lines = ['', `${text}${fixed(Math.max(...shares), 2)})`];
  if (mean > OTHERS_CPUS_MAX) lines.push('  too much for the figures to be believed');
  return lines;
}
