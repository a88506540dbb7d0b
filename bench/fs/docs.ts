/**
 * Puts the table into the page on performance, between its two markers.
 *
 * @module
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { optionError } from '../plan.ts';
import { fsReportLines } from './report.ts';
import type { FsReport } from './result.ts';

const BEGIN = '<!-- fs figures: begin -->';
const END = '<!-- fs figures: end -->';
const PAGE = 'docs/performance.md';

/** Writes the page anew. The sources are two folders up from what was compiled. */
export function writeDocs(report: FsReport): void {
  const root = new URL(import.meta.url.endsWith('.ts') ? '../../' : '../../../', import.meta.url);
  const page = fileURLToPath(new URL(PAGE, root));
  writeFileSync(page, withFigures(readFileSync(page, 'utf8'), report));
}

/**
 * The text of the page with the figures of a report.
 * @throws VhostUserError `ERR_VHU_BENCH_OPTION` when the markers are not there.
 */
export function withFigures(text: string, report: FsReport): string {
  const [begin, end] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (begin < 0 || end < begin) throw optionError(`${PAGE}: no ${BEGIN} with an end`);
  const date = report.machine.date.slice(0, 10);
  const lines = [
    `Full run of ${date}, on a virtual machine with ${report.machine.cpuCount} CPUs:`,
    '',
    '```text',
    ...fsReportLines(report),
    '```',
  ];
  return `${text.slice(0, begin)}${BEGIN}\n\n${lines.join('\n')}\n\n${text.slice(end)}`;
}
