/**
 * The figures of the vsock benchmark, for people. Pure.
 *
 * @module
 */
import { duelTable, headLines, summariseDuelRow, tailLines } from '../duel-report.ts';
import type { DuelRowSummary, DuelView, Unit } from '../duel-report.ts';
import { bytesText } from '../table.ts';
import { barOf, isTime, rowName } from './plan.ts';
import type { Place, VsockRow } from './plan.ts';
import type { VsockReport, VsockRowResult } from './result.ts';

const VIEW: DuelView<VsockRow> = {
  labels: [
    { title: 'what', align: 'left' },
    { title: 'size', align: 'right' },
  ],
  labelsOf: (row) => [rowName(row), row.blockBytes === 0 ? '' : bytesText(row.blockBytes)],
  isTime,
  unitOf,
  barOf,
};

/** Sums a line up; null when a side has no run yet. */
export function summariseRow(result: VsockRowResult): DuelRowSummary<VsockRow> | null {
  return result.theirs.length === 0 ? null : summariseDuelRow(VIEW, result);
}

/** Whether every bar of a report is met; false for one that ended early, or has no line. */
export function allBarsMet(report: VsockReport): boolean {
  const rows = summaries(report);
  return report.failure === null && rows.length > 0 && rows.every(({ met }) => met);
}

function summaries(report: VsockReport): DuelRowSummary<VsockRow>[] {
  return report.rows.map(summariseRow).filter((each) => each !== null);
}

/** The lines of the whole report, for a terminal. */
export function vsockReportLines(report: VsockReport): string[] {
  const lines = headLines(report);
  if (report.setting.peerOnly) {
    lines.push('vhost-device-vsock against itself: "ours" is it as well');
  }
  for (const place of ['host', 'guest'] as const) {
    const rows = summaries(report).filter(({ row }) => row.place === place);
    if (rows.length > 0) lines.push('', ...placeLines(report, place, rows));
  }
  return [...lines, ...tailLines(report)];
}

function placeLines(
  report: VsockReport,
  place: Place,
  rows: readonly DuelRowSummary<VsockRow>[],
): string[] {
  const { peerOnly } = report.setting;
  const head =
    place === 'host'
      ? 'by our own front-end, without a guest'
      : `in a guest (TCG), medians of ${bootCount(report)} boots of each side`;
  const good = rows.filter(({ met }) => met).length;
  const verdict = peerOnly ? '' : good === rows.length ? ': ok' : ': MISSED';
  return [
    head,
    ...duelTable(VIEW, rows, { hasPeer: true, peerOnly }),
    `${good} of ${rows.length} bars met${verdict}`,
  ];
}

/** Boots of each side that have measured every line. */
function bootCount({ rows }: VsockReport): number {
  const guest = rows.filter(({ row }) => row.place === 'guest');
  return Math.min(...guest.flatMap(({ ours, theirs }) => [ours.length, theirs.length]));
}

/** In which unit a line's figures read best, and by what a figure is multiplied for it. */
export function unitOf(row: VsockRow): Unit {
  if (isTime(row)) return { unit: 'µs', scale: 1 };
  if (row.blockBytes > 0) return { unit: 'MB/s', scale: row.blockBytes / 1e6 };
  return { unit: 'k/s', scale: 1e-3 };
}
