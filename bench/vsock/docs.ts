/**
 * Puts the figures into the page on performance, between its two markers.
 *
 * @module
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import { optionError } from '../plan.ts';
import { vsockReportLines } from './report.ts';
import type { VsockReport } from './result.ts';

const PAGE = 'docs/performance.md';
const BEGIN = '<!-- vsock figures: begin -->';
const END = '<!-- vsock figures: end -->';

/** Writes the page anew. The sources are two folders up from what was compiled. */
export async function writeDocs(report: VsockReport): Promise<void> {
  const root = new URL(import.meta.url.endsWith('.ts') ? '../../' : '../../../', import.meta.url);
  const path = fileURLToPath(new URL(PAGE, root));
  const text = withFigures(readFileSync(path, 'utf8'), report);
  const style = (await resolveConfig(path)) ?? {};
  writeFileSync(path, await format(text, { ...style, filepath: path }));
}

/**
 * The text of the page with the figures of a report.
 * @throws VhostUserError `ERR_VHU_BENCH_OPTION` when the markers are not there.
 */
export function withFigures(text: string, report: VsockReport): string {
  const [from, to] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (from < 0 || to < from) throw optionError(`no ${BEGIN} with an end in the page`);
  const { date, cpuCount } = report.machine;
  const lines = [
    `Run of ${date.slice(0, 10)}, on a virtual machine with ${cpuCount} CPUs:`,
    '',
    '```text',
    ...vsockReportLines(report),
    '```',
  ];
  return `${text.slice(0, from)}${BEGIN}\n\n${lines.join('\n')}\n\n${text.slice(to)}`;
}
