/**
 * Runs files of tests, each in a process of its own, some at a time, and reports each test in them.
 *
 * @module
 */
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { BUILD, readText } from '../support/repository.ts';
import { runCommand } from './command.ts';
import type { Check } from './outcome.ts';
import type { ReportedProof, ReportedTest } from './reporter.ts';

/** How files of tests are run. */
export interface TestFileOptions {
  readonly atATime: number;
  /** The limit of one file. */
  readonly limitMs: number;
  readonly env?: Readonly<Record<string, string>>;
  /** Is told how long each file took. */
  readonly took?: (file: string, ms: number) => void;
}

/** Runs files, named as their TypeScript from the root of the repository. */
export async function runTestFiles(
  files: readonly string[],
  options: TestFileOptions,
  report: (check: Check) => void,
): Promise<void> {
  const waiting = [...files];
  const lane = async (): Promise<void> => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const start = performance.now();
      for (const check of await runTestFile(file, options)) report(check);
      options.took?.(file, performance.now() - start);
    }
  };
  await Promise.all(Array.from({ length: options.atATime }, lane));
}

async function runTestFile(file: string, options: TestFileOptions): Promise<Check[]> {
  const compiled = join(BUILD, file.replace(/\.ts$/, '.js'));
  if (!existsSync(compiled)) {
    return [{ name: file, status: 'failed', detail: 'It was not compiled: npm run build:all.' }];
  }
  const folder = mkdtempSync(join(tmpdir(), 'vhu-run-'));
  try {
    const events = join(folder, 'events');
    const command = [process.execPath, ...nodeArguments(file), compiled];
    const { limitMs, env = {} } = options;
    const fd3 = openSync(events, 'a');
    const result = await runCommand(command, { limitMs, env, fd3 }).finally(() => {
      closeSync(fd3);
    });
    const checks = readEvents(file, events);
    const hasFailed = checks.some(({ status }) => status === 'failed');
    if (result.code !== 0 && !hasFailed) {
      // A crash, or an open handle after the last test.
      checks.push({ name: file, status: 'failed', detail: `${result.end}\n${result.output}` });
    } else if (result.code === 0 && checks.length === 0) {
      checks.push({ name: file, status: 'failed', detail: 'It has no tests.' });
    } else if (hasFailed && result.output.trim() !== '') {
      const last = checks.findLastIndex(({ status }) => status === 'failed');
      const check = checks[last];
      if (check !== undefined) {
        const detail = `${check.detail ?? ''}\noutput of the file:\n${result.output.slice(-8000)}`;
        checks[last] = { ...check, detail };
      }
    }
    return checks;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function nodeArguments(file: string): string[] {
  const script = (name: string): string => pathToFileURL(join(BUILD, 'test/runner', name)).href;
  const seed = readText(file).includes(`'fast-check'`) ? ['--import', script('seed.js')] : [];
  return [
    '--enable-source-maps',
    ...seed,
    `--test-reporter=${script('reporter.js')}`,
    '--test-reporter-destination=stdout',
  ];
}

function readEvents(file: string, events: string): Check[] {
  if (!existsSync(events)) return [];
  const lines = readFileSync(events, 'utf8').split('\n');
  const checks: Check[] = [];
  for (const line of lines.filter((each) => each.endsWith('}'))) {
    const told = JSON.parse(line) as ReportedTest | ReportedProof;
    if ('name' in told) {
      checks.push({ ...told, name: `${file}: ${told.name}` });
      continue;
    }
    const test = checks.pop();
    if (test === undefined) continue;
    // A test that failed after it told a proof has proved nothing.
    const proofs = [...(test.proofs ?? []), told.proof];
    checks.push(test.status === 'passed' ? { ...test, proofs } : test);
  }
  return checks;
}
