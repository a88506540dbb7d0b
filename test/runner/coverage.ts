/**
 * How much of the sources the tests have run, and that it is enough.
 *
 * @module
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { BUILD, ROOT, filesIn, readText } from '../support/repository.ts';
import { runCommand } from './command.ts';
import type { Check } from './outcome.ts';

const LINES_PERCENT_MIN = 90;
const LIMIT_MS = 180_000;

/** Where Node writes what it has run, and where the report goes. */
const REPORT = join(ROOT, 'coverage');
const RAW = join(REPORT, 'raw');

/** Files that no Linux machine can run, each with the reason. */
const OTHER_HOSTS: ReadonlyMap<string, string> = new Map([
  ['src/sys/poller-kqueue.ts', 'kqueue is of macOS and the BSDs'],
]);

/** The environment of a program whose lines are to be counted. */
export const COUNTED: Readonly<Record<string, string>> = { NODE_V8_COVERAGE: RAW };

/** Forgets what was counted before. */
export function resetCoverage(): void {
  rmSync(REPORT, { recursive: true, force: true });
}

/** The files that have lines to run: not tests, not types only, not of another host. */
function countedFiles(): string[] {
  return filesIn('src').filter((file) => {
    if (!file.endsWith('.ts') || /\.(test|fuzz|bench)\.ts$/.test(file)) return false;
    return !OTHER_HOSTS.has(file) && hasCode(file);
  });
}

function hasCode(file: string): boolean {
  const compiled = join(BUILD, file.replace(/\.ts$/, '.js'));
  if (!existsSync(compiled)) return true;
  const code = readFileSync(compiled, 'utf8').replaceAll(/\/\*[^]*?\*\/|\/\/.*/g, '');
  return (
    code.replaceAll(/export (\{\}|\* from '[^']*'|\{[^}]*\} from '[^']*');/g, '').trim() !== ''
  );
}

type Summary = Record<string, { lines: { total: number; covered: number; pct: number } }>;

/** Checks the share of lines that ran; the report is left in coverage/. */
export async function checkCoverage(report: (check: Check) => void): Promise<void> {
  const summary = await summarise();
  if (typeof summary === 'string') {
    report({ name: 'coverage of lines', status: 'failed', detail: summary });
    return;
  }
  const files = countedFiles();
  const rows = files.map((file) => ({ file, lines: summary[join(ROOT, file)]?.lines }));
  const unseen = rows.filter(({ lines }) => lines === undefined);
  for (const { file } of unseen) {
    report({ name: `coverage of ${file}`, status: 'failed', detail: 'No test loads it.' });
  }
  let total = 0;
  let covered = 0;
  for (const { file, lines } of rows) {
    total += lines?.total ?? readText(file).split('\n').length;
    covered += lines?.covered ?? 0;
  }
  const percent = (100 * covered) / Math.max(1, total);
  const place = `${relative(ROOT, REPORT)}/`;
  const found = `${percent.toFixed(1)} % of ${total} lines have run, see ${place}`;
  const worst = rows
    .filter(({ lines }) => lines !== undefined && lines.pct < LINES_PERCENT_MIN)
    .map(({ file, lines }) => `${(lines?.pct ?? 0).toFixed(1).padStart(5)} %  ${file}`)
    .sort();
  const isEnough = percent >= LINES_PERCENT_MIN;
  const wanted = `${LINES_PERCENT_MIN} % are wanted; below it are\n${worst.join('\n')}`;
  report({
    name: 'coverage of lines',
    status: isEnough ? 'passed' : 'failed',
    detail: isEnough ? found : `${found}; ${wanted}`,
  });
  for (const [file, reason] of OTHER_HOSTS) {
    report({ name: `coverage of ${file}`, status: 'skipped', detail: reason });
  }
}

/** c8's summary by file, or what went wrong. */
async function summarise(): Promise<Summary | string> {
  const c8 = join(ROOT, 'node_modules/c8/bin/c8.js');
  const command = [
    process.execPath,
    ...[c8, 'report', '--temp-directory', RAW, '--reports-dir', REPORT],
    ...['--reporter', 'json-summary', '--reporter', 'lcovonly', '--reporter', 'text'],
    ...['--include', 'src/**/*.ts', '--exclude', 'src/**/*.{test,fuzz,bench}.ts'],
    ...['--exclude', 'test/**', '--exclude', 'scripts/**', '--exclude-after-remap'],
  ];
  const { code, output, end } = await runCommand(command, { limitMs: LIMIT_MS });
  const file = join(REPORT, 'coverage-summary.json');
  if (code !== 0 || !existsSync(file)) return `c8: ${end}\n${output}`;
  return JSON.parse(readFileSync(file, 'utf8')) as Summary;
}
