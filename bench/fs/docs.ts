/**
 * Puts the figures into the pages: the whole table into the one on performance, a few lines into
 * the README, each between its two markers.
 *
 * @module
 */
import { PERFORMANCE_PAGE, between, updatePage } from '../page.ts';
import { fixed } from '../table.ts';
import { fsReportLines, summariseRow } from './report.ts';
import type { FsRowSummary } from './report.ts';
import type { FsReport } from './result.ts';

const README = 'README.md';

/** Writes both pages anew. */
export async function writeDocs(report: FsReport): Promise<void> {
  await updatePage(PERFORMANCE_PAGE, (text) => withFigures(text, report));
  await updatePage(README, (text) => withSpeed(text, report));
}

/**
 * The text of the page on performance with the figures of a report.
 * @throws VhostUserError `ERR_VHU_BENCH_OPTION` when the markers are not there.
 */
export function withFigures(text: string, report: FsReport): string {
  const { date, cpuCount } = report.machine;
  return between(text, 'fs figures', [
    `Full run of ${date.slice(0, 10)}, on a virtual machine with ${cpuCount} CPUs:`,
    '',
    '```text',
    ...fsReportLines(report),
    '```',
  ]);
}

/** A line of the README's table: what it says, and the lines of the report that are its figures. */
interface SpeedLine {
  readonly text: string;
  /** Of the two depths, or of the one that there is. */
  readonly find: (summary: FsRowSummary) => boolean;
  readonly figure: (perSecond: number) => number;
}

const byHost = ({ row }: FsRowSummary): boolean => row.place === 'host' && row.cache === 'auto';
const thousands = (perSecond: number): number => perSecond / 1000;
const SPEED_LINES: readonly SpeedLine[] = [
  {
    text: 'reads of 4 KiB, 1 and 16 at once, thousands a second',
    find: (each) => byHost(each) && each.row.name === 'read random',
    figure: thousands,
  },
  {
    text: 'to open, read and close a file, 1 and 16 at once, thousands a second',
    find: (each) => byHost(each) && each.row.name === 'open-read-close',
    figure: thousands,
  },
  {
    text: 'new files, 1 and 16 at once, thousands a second',
    find: (each) => byHost(each) && each.row.name === 'create',
    figure: thousands,
  },
  {
    text: 'in an emulated guest: `tar x`, files a second',
    find: ({ row }) =>
      row.place === 'guest' && row.cache === 'auto' && row.name.startsWith('tar x'),
    figure: (perSecond) => perSecond,
  },
];

/** The text of the README with a few of the figures. */
export function withSpeed(text: string, report: FsReport): string {
  const summaries = report.rows.map(summariseRow).filter((each) => each !== null);
  const rows = SPEED_LINES.flatMap(({ text: words, find, figure }) => {
    const found = summaries.filter(find).sort((a, b) => a.row.depth - b.row.depth);
    if (found.length === 0) return [];
    const list = (side: 'ours' | 'theirs'): string =>
      found.map((each) => roundText(figure(each[side].perSecond))).join(' and ');
    return [`| ${words} | ${list('ours')} | ${list('theirs')} |`];
  });
  if (rows.length === 0) return text;
  return between(text, 'fs speed', [
    'A shared folder in memory, `vhost-user fs` beside virtiofsd 1.14, both with `--cache auto`,',
    'by our own front-end, which polls (medians of alternating runs, on the same machine):',
    '',
    '| | `vhost-user fs` | virtiofsd |',
    '| --- | :---: | :---: |',
    ...rows,
    '',
    '`npm run bench -- fs` makes [the whole table](docs/performance.md#shared-folders).',
  ]);
}

/** Two significant digits below a hundred, whole numbers above. */
function roundText(value: number): string {
  return fixed(value, value < 10 ? 1 : 0);
}
