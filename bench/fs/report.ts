/**
 * The figures of the file system benchmark, for people. Pure.
 *
 * @module
 */
import { OTHERS_CPUS_MAX } from '../others.ts';
import { RATIO_TEXT, median, pairedRatio, spread } from '../stats.ts';
import { bytesText, fixed, formatTable } from '../table.ts';
import type { Column } from '../table.ts';
import { CACHES, GOOD_BAR, GOOD_SHARE, ROW_BAR } from './plan.ts';
import type { CacheMode, FsRow, Place } from './plan.ts';
import type { FsReport, FsRowResult, FsRun, FsServerFacts, Side } from './result.ts';

/** Medians of one side of a line. */
export interface FsSideSummary {
  readonly perSecond: number;
  /** Largest less smallest, in parts of the median. */
  readonly spread: number;
  /** NaN where it is not known. */
  readonly cpuUs: number;
}

/** A line's medians, and ours over theirs by the pairs of runs (see `pairedRatio`). */
export interface FsRowSummary {
  readonly row: FsRow;
  readonly ours: FsSideSummary;
  readonly theirs: FsSideSummary;
  readonly rate: number;
  readonly cpu: number;
}

/** Whether a group of lines meets its bars. */
export interface FsVerdict {
  readonly rows: number;
  /** Lines of at least `ROW_BAR`. */
  readonly good: number;
  /** Lines of at least `GOOD_BAR`. */
  readonly better: number;
  readonly met: boolean;
}

/** Sums a line up; null when a side has no run yet. */
export function summariseRow({ row, ours, theirs }: FsRowResult): FsRowSummary | null {
  if (ours.length === 0 || theirs.length === 0) return null;
  const [we, they] = [sideOf(ours), sideOf(theirs)];
  const rate = pairedRatio(
    ours.map((run) => run.perSecond),
    theirs.map((run) => run.perSecond),
  );
  const cpu = pairedRatio(
    ours.map((run) => run.cpuUs ?? NaN),
    theirs.map((run) => run.cpuUs ?? NaN),
  );
  return { row, ours: we, theirs: they, rate, cpu };
}

/** Holds lines of one place and cache mode against the bars. */
export function verdictOf(place: Place, rows: readonly FsRowSummary[]): FsVerdict {
  const good = rows.filter(({ rate }) => rate >= ROW_BAR).length;
  const better = rows.filter(({ rate }) => rate >= GOOD_BAR).length;
  const share = place === 'host' ? GOOD_SHARE : 0;
  return {
    rows: rows.length,
    good,
    better,
    met: good === rows.length && better >= rows.length * share,
  };
}

/** Whether every bar of a report is met; false for one that ended early. */
export function allBarsMet(report: FsReport): boolean {
  const groups = groupsOf(report);
  return report.failure === null && groups.every(({ place, rows }) => verdictOf(place, rows).met);
}

interface Group {
  readonly place: Place;
  readonly cache: CacheMode;
  readonly rows: readonly FsRowSummary[];
}

function groupsOf(report: FsReport): Group[] {
  const all = report.rows.map(summariseRow).filter((each) => each !== null);
  const places: readonly Place[] = ['host', 'guest'];
  return places.flatMap((place) =>
    CACHES.map((cache) => ({
      place,
      cache,
      rows: all.filter(({ row }) => row.place === place && row.cache === cache),
    })).filter(({ rows }) => rows.length > 0),
  );
}

function sideOf(runs: readonly FsRun[]): FsSideSummary {
  const rates = runs.map((run) => run.perSecond);
  const cpus = runs.flatMap(({ cpuUs }) => (cpuUs === null ? [] : [cpuUs]));
  return {
    perSecond: median(rates),
    spread: spread(rates),
    cpuUs: cpus.length === 0 ? NaN : median(cpus),
  };
}

const LEFT = 'left';
const RIGHT = 'right';
const ROW_COLUMNS: readonly Column[] = [
  { title: 'operation', align: LEFT },
  { title: 'size', align: RIGHT },
  { title: 'depth', align: RIGHT },
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
  { title: 'cache', align: LEFT },
  { title: 'listens after ms', align: RIGHT },
  { title: 'idle CPU', align: RIGHT },
  { title: 'own memory', align: RIGHT },
];
const LARGE_BYTES = 65_536; // from here on a rate is told in bytes
const SMALL_RATE = 1000; // below this it is told one by one

/** The lines of the whole report, for a terminal. */
export function fsReportLines(report: FsReport): string[] {
  const { machine, setting } = report;
  const { runs, seconds } = setting.effort;
  const lines = [
    `${machine.cpu}, ${machine.cpuCount} CPUs, Linux ${machine.kernel}, Node ${machine.node}`,
    `${machine.peer ?? 'unknown'}; ${machine.qemu}; our commit ${machine.commit}`,
    `medians of ${runs} alternating runs of ${seconds} s; ± is largest less smallest; ` +
      RATIO_TEXT,
  ];
  if (machine.fileSystem !== undefined) lines.push(`the folder is on ${machine.fileSystem}`);
  if (setting.peerOnly) lines.push('virtiofsd against itself: "ours" is virtiofsd as well');
  if (setting.posix) lines.push('our server with VHOST_USER_HOST=posix');
  for (const group of groupsOf(report)) lines.push('', ...groupLines(report, group));
  const hosts = report.servers.filter(({ place }) => place === 'host');
  if (hosts.length > 0) lines.push('', ...formatTable(SERVER_COLUMNS, hosts.map(serverRow)));
  lines.push(...othersLines(report));
  if (report.failure !== null) lines.push('', `ended early: ${report.failure}`);
  return lines;
}

function groupLines(report: FsReport, { place, cache, rows }: Group): string[] {
  const where = place === 'host' ? 'by our own front-end, without a guest' : 'in a guest (TCG)';
  const { good, better, met } = verdictOf(place, rows);
  const bar = report.setting.peerOnly ? '' : met ? ': ok' : ': MISSED';
  const half = place === 'host' ? `, ${better} of ${rows.length} >= ${GOOD_BAR.toFixed(1)}x` : '';
  const head = `cache=${cache}, ${where}`;
  return [
    place === 'host' ? head : `${head}, medians of ${bootCount(report, cache)} boots`,
    ...formatTable(
      ROW_COLUMNS,
      rows.map((row) => cellsOf(row, report.setting.peerOnly)),
    ),
    `${good} of ${rows.length} lines >= ${ROW_BAR.toFixed(1)}x${half}${bar}`,
  ];
}

/** Boots that have measured every line. */
function bootCount(report: FsReport, cache: CacheMode): number {
  const lines = report.rows.filter(({ row }) => row.place === 'guest' && row.cache === cache);
  return Math.min(...lines.flatMap(({ ours, theirs }) => [ours.length, theirs.length]));
}

function cellsOf(summary: FsRowSummary, peerOnly: boolean): string[] {
  const { row, ours, theirs, rate, cpu } = summary;
  const { unit, scale } = unitOf(row, Math.max(ours.perSecond, theirs.perSecond));
  const figures = (side: FsSideSummary): string[] => [
    fixed(side.perSecond * scale, 1),
    `${fixed(side.spread * 100, 0)}%`,
  ];
  const verdict = `>=${ROW_BAR.toFixed(1)} ${rate >= ROW_BAR ? 'ok' : 'MISSED'}`;
  return [
    row.name,
    row.blockBytes === 0 ? '' : bytesText(row.blockBytes),
    String(row.depth),
    unit,
    ...figures(ours),
    ...figures(theirs),
    `${fixed(rate, 2)}x`,
    peerOnly ? '' : verdict,
    fixed(ours.cpuUs, 2),
    fixed(theirs.cpuUs, 2),
    `${fixed(cpu, 2)}x`,
  ];
}

/** In which unit a line's rates read best, and by what a rate is multiplied for it. */
export function unitOf(row: FsRow, perSecond: number): { unit: string; scale: number } {
  if (row.blockBytes >= LARGE_BYTES) return { unit: 'MB/s', scale: row.blockBytes / 1e6 };
  return perSecond < SMALL_RATE ? { unit: '/s', scale: 1 } : { unit: 'k/s', scale: 1e-3 };
}

function serverRow({ name, cache, startMs, idleCpu, residentBytes }: FsServerFacts): string[] {
  return [
    name,
    cache,
    startMs.length === 0 ? '-' : fixed(median(startMs), 0),
    idleCpu === null ? '-' : `${fixed(idleCpu * 100, 3)}%`,
    bytesText(residentBytes),
  ];
}

/** How much others disturbed the runs, and whether that matters. */
function othersLines(report: FsReport): string[] {
  const sides: readonly Side[] = ['ours', 'theirs'];
  const runs = report.rows.flatMap((row) => sides.flatMap((side) => row[side]));
  if (runs.length === 0) return [];
  const shares = runs.map((run) => run.othersCpus);
  const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
  const text = `other processes used ${fixed(mean, 2)} CPUs during the runs (worst run `;
  const lines = ['', `${text}${fixed(Math.max(...shares), 2)})`];
  if (mean > OTHERS_CPUS_MAX) lines.push('  too much for the figures to be believed');
  return lines;
}
