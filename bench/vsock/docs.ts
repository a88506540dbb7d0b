/**
 * Puts the figures into the page on performance, between its two markers.
 *
 * @module
 */
import { PERFORMANCE_PAGE, between, figureLines, updatePage } from '../page.ts';
import { vsockReportLines } from './report.ts';
import type { VsockReport } from './result.ts';

/** Writes the page anew. */
export async function writeDocs(report: VsockReport): Promise<void> {
  await updatePage(PERFORMANCE_PAGE, (text) => withFigures(text, report));
}

/**
 * The text of the page with the figures of a report.
 * @throws VhostUserError `ERR_VHU_BENCH_OPTION` when the markers are not there.
 */
export function withFigures(text: string, report: VsockReport): string {
  return between(text, 'vsock figures', figureLines(report.machine, vsockReportLines(report)));
}
