/**
 * The figures of the vsock benchmark, for people. Pure.
 *
 * @module
 */
import { OTHERS_CPUS_MAX } from '../others.ts';
import { median, ratio, spread } from '../stats.ts';
import { bytesText, fixed, formatTable } from '../table.ts';
import type { Column } from '../table.ts';
import { barOf, isTime, meets, rowName } from './plan.ts';
import type { Place, VsockRow } from './plan.ts';
import { SIDES } from './result.ts';
import type { VsockReport, VsockRowResult, VsockRun, VsockServerFacts } from './result.ts';

/** Medians of one side of a line. */
export interface VsockSideSummary {
  /** Operations a second; of a round trip, microseconds. */
  readonly figure: number;
  /** Largest less smallest, in parts of the median. */
  readonly spread: number;
  readonly cpuUs: number;
}

/** A line's medians, and ours over theirs. */
export interface VsockRowSummary {
  readonly row: VsockRow;
  readonly ours: VsockSideSummary;
  readonly theirs: VsockSideSummary;
  readonly ratio: number;
  readonly cpu: number;
  /** Whether the bar of the line is met. */
  readonly met: boolean;
}

/** Sums a line up; null when a side has no run yet. */
export function summariseRow({ row, ours, theirs }: VsockRowResult): VsockRowSummary | null {
  if (ours.length === 0 || theirs.length === 0) return null;
  const [we, they] = [sideOf(row, ours), sideOf(row, theirs)];
  const times = ratio(we.figure, they.figure);
  const cpu = ratio(we.cpuUs, they.cpuUs);
  return { row, ours: we, theirs: they, ratio: times, cpu, met: meets(times, barOf(row)) };
}

/** Whether every bar of a report is met; false for one that ended early, or has no line. */
export function allBarsMet(report: VsockReport): boolean {
  const rows = summaries(report);
  return report.failure === null && rows.length > 0 && rows.every(({ met }) => met);
}

function summaries(report: VsockReport): VsockRowSummary[] {
  return report.rows.map(summariseRow).filter((each) => each !== null);
}

function sideOf(row: VsockRow, runs: readonly VsockRun[]): VsockSideSummary {
  const figures = runs.map(({ perSecond, p50Us }) => (isTime(row) ? (p50Us ?? NaN) : perSecond));
  return {
    figure: median(figures),
    spread: spread(figures),
    cpuUs: median(runs.map(({ cpuUs }) => cpuUs)),
  };
}

const LEFT = 'left';
const RIGHT = 'right';
const ROW_COLUMNS: readonly Column[] = [
  { title: 'what', align: LEFT },
  { title: 'size', align: RIGHT },
  { title: 'unit', align: LEFT },
  { title: 'ours', align: RIGHT },
  { title: '±', align: RIGHT },
  { title: 'theirs', align: RIGHT },
  { title: '±', align: RIGHT },
  { title: 'ratio', align: RIGHT },
  { title: 'bar', align: LEFT },
  { title: 'CPU ours µs', align: RIGHT },
  { title: 'theirs µs', align: RIGHT },
  { title: 'ratio', align: RIGHT },
];
const SERVER_COLUMNS: readonly Column[] = [
  { title: 'server', align: LEFT },
  { title: 'listens after ms', align: RIGHT },
  { title: 'idle CPU', align: RIGHT },
  { title: 'own memory', align: RIGHT },
];

/** The lines of the whole report, for a terminal. */
export function vsockReportLines(report: VsockReport): string[] {
  const { machine, setting } = report;
  const { runs, seconds } = setting.effort;
  const lines = [
    `${machine.cpu}, ${machine.cpuCount} CPUs, Linux ${machine.kernel}, Node ${machine.node}`,
    `${machine.peer ?? 'unknown'}; our commit ${machine.commit}`,
    `medians of ${runs} alternating runs of ${seconds} s; ± is largest less smallest`,
  ];
  if (setting.peerOnly) lines.push('vhost-device-vsock against itself: "ours" is it as well');
  if (setting.posix) lines.push('our server with VHOST_USER_HOST=posix');
  for (const place of ['host', 'guest'] as const) {
    const rows = summaries(report).filter(({ row }) => row.place === place);
    if (rows.length > 0) lines.push('', ...placeLines(report, place, rows));
  }
  if (report.servers.length > 0) {
    lines.push('', ...formatTable(SERVER_COLUMNS, report.servers.map(serverRow)));
  }
  lines.push(...othersLines(report));
  if (report.failure !== null) lines.push('', `ended early: ${report.failure}`);
  return lines;
}

function placeLines(report: VsockReport, place: Place, rows: readonly VsockRowSummary[]): string[] {
  const { setting } = report;
  const head =
    place === 'host'
      ? 'by our own front-end, without a guest'
      : `in a guest (TCG), medians of ${bootCount(report)} boots of each side`;
  const good = rows.filter(({ met }) => met).length;
  const verdict = setting.peerOnly ? '' : good === rows.length ? ': ok' : ': MISSED';
  return [
    head,
    ...formatTable(
      ROW_COLUMNS,
      rows.map((row) => cellsOf(row, setting.peerOnly)),
    ),
    `${good} of ${rows.length} bars met${verdict}`,
  ];
}

/** Boots of each side that have measured every line. */
function bootCount({ rows }: VsockReport): number {
  const guest = rows.filter(({ row }) => row.place === 'guest');
  return Math.min(...guest.flatMap(({ ours, theirs }) => [ours.length, theirs.length]));
}

function cellsOf(summary: VsockRowSummary, peerOnly: boolean): string[] {
  const { row, ours, theirs, cpu, met } = summary;
  const { unit, scale } = unitOf(row);
  const figures = (side: VsockSideSummary): string[] => [
    fixed(side.figure * scale, 1),
    `${fixed(side.spread * 100, 0)}%`,
  ];
  const bar = barOf(row);
  const sign = bar.kind === 'at least' ? '>=' : '<=';
  return [
    rowName(row),
    row.blockBytes === 0 ? '' : bytesText(row.blockBytes),
    unit,
    ...figures(ours),
    ...figures(theirs),
    `${fixed(summary.ratio, 2)}x`,
    peerOnly ? '' : `${sign}${bar.ratio.toFixed(1)} ${met ? 'ok' : 'MISSED'}`,
    fixed(ours.cpuUs, 2),
    fixed(theirs.cpuUs, 2),
    `${fixed(cpu, 2)}x`,
  ];
}

/** In which unit a line's figures read best, and by what a figure is multiplied for it. */
export function unitOf(row: VsockRow): { unit: string; scale: number } {
  if (isTime(row)) return { unit: 'µs', scale: 1 };
  if (row.blockBytes > 0) return { unit: 'MB/s', scale: row.blockBytes / 1e6 };
  return { unit: 'k/s', scale: 1e-3 };
}

function serverRow({ name, startMs, idleCpu, residentBytes }: VsockServerFacts): string[] {
  return [
    name,
    startMs.length === 0 ? '-' : fixed(median(startMs), 0),
    `${fixed(idleCpu * 100, 3)}%`,
    bytesText(residentBytes),
  ];
}

/** How much others disturbed the runs, and whether that matters. */
function othersLines(report: VsockReport): string[] {
  const shares = report.rows.flatMap((row) =>
    SIDES.flatMap((side) => row[side].map((run) => run.othersCpus)),
  );
  if (shares.length === 0) return [];
  const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
  const text = `other processes used ${fixed(mean, 2)} CPUs during the runs (worst run `;
  const lines = ['', `${text}${fixed(Math.max(...shares), 2)})`];
  if (mean > OTHERS_CPUS_MAX) lines.push('  too much for the figures to be believed');
  return lines;
}
