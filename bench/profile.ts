/**
 * Profiles of our server while it is measured: V8's own, or those of `perf`, which also see the
 * kernel.
 *
 * @module
 */
import { mkdirSync, rmSync } from 'node:fs';
import { treePids } from './proc.ts';
import { processError, runProcess, startProcess, stopProcess } from './process.ts';

/** Which program takes the profile. */
export type ProfilerName = 'cpu' | 'perf';

const SAMPLES_PER_SECOND = 999; // not a round number, so as not to run in step with timers
const PROBE_MS = 10_000;
const REPORT_MS = 60_000;
const FUNCTIONS_MAX = 25; // of one profile

/** Takes profiles of one server after another. */
export interface Profiler {
  readonly name: ProfilerName;
  /** Arguments for the Node that runs the server. */
  readonly nodeArgs: readonly string[];
  /**
   * Begins with a server that runs; `label` is part of a file's name. The returned function is
   * called before the server is stopped.
   */
  attach(pid: number, label: string): Promise<() => Promise<void>>;
  /** Where the profiles are, for people. */
  advice(): string;
  /** Where the time went, by profile: the functions that had most of it. */
  summary(): Promise<string>;
}

/** A profiler that writes to `folder`, made anew; `perf` when it works here, by default. */
export async function createProfiler(
  folder: string,
  wanted: ProfilerName | null,
): Promise<Profiler> {
  const perf = wanted !== 'cpu' && (await perfWorks());
  if (wanted === 'perf' && !perf) {
    throw processError('perf cannot record here: see /proc/sys/kernel/perf_event_paranoid');
  }
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  return perf ? perfProfiler(folder) : cpuProfiler(folder);
}

function cpuProfiler(folder: string): Profiler {
  return {
    name: 'cpu',
    nodeArgs: ['--cpu-prof', `--cpu-prof-dir=${folder}`],
    attach: () => Promise.resolve(() => Promise.resolve()),
    summary: () => Promise.resolve(''),
    advice: () => `profiles, one a thread, for Chrome's DevTools: ${folder}/*.cpuprofile`,
  };
}

function perfProfiler(folder: string): Profiler {
  const files: string[] = [];
  return {
    name: 'perf',
    // Lets perf name compiled functions; V8's log, which comes with it, goes to the same folder.
    nodeArgs: ['--perf-basic-prof', '--no-logfile-per-isolate', `--logfile=${folder}/v8.log`],
    attach: (pid, label) => {
      const file = `${folder}/${label}.perf`;
      files.push(file);
      const args = [
        'record',
        '-q',
        '-g',
        '-F',
        String(SAMPLES_PER_SECOND),
        '-o',
        file,
        '-p',
        treePids(pid).join(),
      ];
      const child = startProcess({ file: 'perf', args }, { stdio: 'ignore' });
      return Promise.resolve(() => stopProcess(child));
    },
    summary: async () => {
      const parts: string[] = [];
      for (const file of files) parts.push(`${file}:\n${await topFunctions(file)}`);
      return parts.join('\n');
    },
    advice: () => files.map((file) => `profile: perf report --no-children -i ${file}`).join('\n'),
  };
}

/** The functions that had most of the time, each with its part of it in percent. */
async function topFunctions(file: string): Promise<string> {
  const args = ['report', '-q', '--stdio', '--no-children', '-g', 'none', '--percent-limit', '1'];
  const columns = ['--sort', 'symbol,dso', '-w', '0,90,24', '-i', file];
  const text = await runProcess({ file: 'perf', args: [...args, ...columns] }, REPORT_MS);
  const lines = text.split('\n').filter((line) => /^\s*\d/.test(line));
  return lines
    .slice(0, FUNCTIONS_MAX)
    .map((line) => `  ${line.trim()}`)
    .join('\n');
}

async function perfWorks(): Promise<boolean> {
  const args = ['record', '-q', '-g', '-o', '/dev/null', '--', 'true'];
  try {
    await runProcess({ file: 'perf', args }, PROBE_MS);
    return true;
  } catch {
    return false;
  }
}
