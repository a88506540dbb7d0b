/**
 * The benchmarks' command line: `npm run bench -- blk [options]`.
 *
 * @module
 */
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { randomFillSync } from 'node:crypto';
import { homedir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { VhostUserError, errorMessage } from '../src/util/index.ts';
import { runBlk, stepCount } from './blk.ts';
import type { BlkBenchPlan, BlkBenchReport, Effort } from './blk.ts';
import { machineFacts, peerIsInstalled, sharedWithPeer } from './machine.ts';
import type { MachineFacts } from './machine.ts';
import { allCells, optionError, parseFilter } from './plan.ts';
import type { Cell } from './plan.ts';
import { killAll } from './process.ts';
import { createProfiler } from './profile.ts';
import type { Profiler } from './profile.ts';
import { Progress } from './progress.ts';
import { reportJson, reportLines, summarise } from './report.ts';

const HELP = `usage: npm run bench -- blk [options]

Compares our vhost-user-blk server with qemu-storage-daemon, side by side on one image in /dev/shm,
and prints a table. docs/performance.md says how to read it.

  --quick              short runs, for a first look: the figures are rough
  --runs N             runs of each side for each line (5); the median counts
  --seconds S          length of a run (1)
  --idle-seconds S     how long an idle server is watched (5)
  --starts N           starts of each server that are timed (5)
  --patience N         runs that others disturbed are repeated, up to N for each line and side (3)
  --filter K=V,...     only some lines: mode=native|posix, client=qemu-img|polling, op=read|write,
                       size=4k|64k, depth=1|4|16|64; several values: depth=1|4; may be repeated
  --server-args=TEXT   more arguments for our server, such as --server-args="--poll-us 64"
  --no-fio             without fio on the bare file, which is the upper bound
  --self               the peer against itself: what the noise of this machine is
  --profile            profiles our server meanwhile, and says where the profile is
  --profiler NAME      perf (also sees the kernel) or cpu (V8's own); perf where it works
  --json FILE          writes all figures to a file
  --check              ends with status 1 when a bar is missed
  --peer-root DIR      the folder with the newer Debian suite (forky/ in the peers' cache)
  --image-mib N        size of the image (256)
`;

const OPTIONS = {
  help: { type: 'boolean', short: 'h' },
  quick: { type: 'boolean' },
  runs: { type: 'string' },
  seconds: { type: 'string' },
  'idle-seconds': { type: 'string' },
  starts: { type: 'string' },
  patience: { type: 'string' },
  filter: { type: 'string', multiple: true },
  'server-args': { type: 'string' },
  'no-fio': { type: 'boolean' },
  self: { type: 'boolean' },
  profile: { type: 'boolean' },
  profiler: { type: 'string' },
  json: { type: 'string' },
  check: { type: 'boolean' },
  'peer-root': { type: 'string' },
  'image-mib': { type: 'string' },
} as const;

const FULL: Effort = { runs: 5, seconds: 1, idleSeconds: 5, starts: 5, patience: 3 };
const QUICK: Effort = { runs: 3, seconds: 0.3, idleSeconds: 1, starts: 1, patience: 0 };
const IMAGE_MIB = 256;
const CHUNK_BYTES = 2 ** 20;
/** Other processes that keep more than this many CPUs busy spoil the figures. */
const BUSY_CPUS_MAX = 0.2;

/** Where the installer of the peers puts them. */
function peerCache(): string {
  return process.env.VHOST_USER_TEST_CACHE ?? `${homedir()}/.cache/vhost-user-test`;
}

type Values = ReturnType<
  typeof parseArgs<{ options: typeof OPTIONS; allowPositionals: true }>
>['values'];

/** Runs the benchmark that the arguments name; returns the exit status. */
async function main(args: readonly string[]): Promise<number> {
  const config = { args: [...args], options: OPTIONS, allowPositionals: true } as const;
  const { values, positionals } = parseArgs(config);
  if (values.help === true || positionals.length !== 1 || positionals[0] !== 'blk') {
    (values.help === true ? process.stdout : process.stderr).write(HELP);
    return values.help === true ? 0 : 2;
  }
  const peerRoot = values['peer-root'] ?? `${peerCache()}/forky`;
  if (!peerIsInstalled(peerRoot)) {
    throw optionError(`no qemu-storage-daemon in ${peerRoot}: run test/peers/install-debian.sh`);
  }
  // The same path in the peer's root, and memory, not a disk.
  const folder = mkdtempSync('/dev/shm/vhost-user-bench-');
  const cleanUp = (): void => {
    killAll();
    rmSync(folder, { recursive: true, force: true });
  };
  for (const [signal, status] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.once(signal, () => {
      cleanUp();
      process.exit(status);
    });
  }
  try {
    return await benchmark(values, peerRoot, folder);
  } finally {
    cleanUp();
  }
}

async function benchmark(values: Values, peerRoot: string, folder: string): Promise<number> {
  const profiling = values.profile === true || values.profiler !== undefined;
  const cells = chosenCells(values.filter ?? []);
  const effort = effortOf(values, profiling);
  const image = makeImage(folder, positive(values['image-mib'], '--image-mib') ?? IMAGE_MIB);
  if (!sharedWithPeer(peerRoot, `${folder}/probe`)) {
    throw optionError(`/dev/shm is not mounted in ${peerRoot}: run test/peers/install-debian.sh`);
  }
  const profiler = profiling ? await createProfiler(profileFolder(), profilerOf(values)) : null;
  const plan: BlkBenchPlan = {
    site: { folder, image, peerRoot },
    cells,
    effort,
    ours: values.self === true ? null : ourOptions(values, profiler),
    withFio: values['no-fio'] !== true,
    profiler,
  };
  const machine = await machineFacts(peerRoot);
  const progress = new Progress(stepCount(plan));
  warnWhenBusy(machine, progress);
  const report = await runBlk(plan, progress);
  process.stdout.write(`${reportLines(plan, machine, report).join('\n')}\n`);
  if (profiler !== null) process.stdout.write(`${profiler.advice()}\n`);
  if (values.json !== undefined) writeFileSync(values.json, reportJson(plan, machine, report));
  return exitStatus(report, values.check === true);
}

function exitStatus(report: BlkBenchReport, check: boolean): number {
  if (report.failure !== null) return 1;
  const missed = report.cells.some((cell) => summarise(cell).verdicts.some(({ met }) => !met));
  return check && missed ? 1 : 0;
}

function chosenCells(filters: readonly string[]): Cell[] {
  const tests = filters.map(parseFilter);
  const cells = allCells().filter((cell) => tests.every((test) => test(cell)));
  if (cells.length === 0) throw optionError(`--filter ${filters.join(' ')}: nothing is left`);
  return cells;
}

function effortOf(values: Values, profiling: boolean): Effort {
  const base = values.quick === true ? QUICK : FULL;
  return {
    runs: Math.ceil(positive(values.runs, '--runs') ?? base.runs),
    seconds: positive(values.seconds, '--seconds') ?? base.seconds,
    idleSeconds: positive(values['idle-seconds'], '--idle-seconds') ?? base.idleSeconds,
    patience: Math.ceil(positive(values.patience, '--patience') ?? base.patience),
    // A profile is of the server under load; starts under a profiler would say nothing.
    starts: profiling ? 0 : Math.ceil(positive(values.starts, '--starts') ?? base.starts),
  };
}

function ourOptions(values: Values, profiler: Profiler | null): BlkBenchPlan['ours'] {
  const entry = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
  if (!existsSync(entry)) throw optionError(`${entry} is missing: npm run build:all`);
  const extraArgs = (values['server-args'] ?? '').split(/\s+/).filter((arg) => arg !== '');
  return { entry, extraArgs, nodeArgs: profiler?.nodeArgs ?? [] };
}

function profilerOf(values: Values): Profiler['name'] | null {
  const name = values.profiler;
  if (name === undefined || name === 'cpu' || name === 'perf') return name ?? null;
  throw optionError(`--profiler ${name}: cpu or perf`);
}

/** Beside what was compiled, so that git ignores it. */
function profileFolder(): string {
  return fileURLToPath(new URL('../profile', import.meta.url));
}

function positive(text: string | undefined, option: string): number | null {
  if (text === undefined) return null;
  const value = Number(text);
  if (!(value > 0 && value < 1e6)) throw optionError(`${option} ${text}: a number above 0`);
  return value;
}

/** Makes the image, of random bytes so that no part is a hole, and a small file to look for. */
function makeImage(folder: string, mib: number): string {
  const image = `${folder}/image.raw`;
  const chunk = randomFillSync(Buffer.alloc(CHUNK_BYTES));
  const fd = openSync(image, 'wx');
  for (let at = 0; at < mib; at++) writeSync(fd, chunk);
  closeSync(fd);
  writeFileSync(`${folder}/probe`, folder);
  return image;
}

function warnWhenBusy(machine: MachineFacts, progress: Progress): void {
  if (machine.busyCpus <= BUSY_CPUS_MAX) return;
  const busy = machine.busyCpus.toFixed(1);
  progress.note(`warning: other processes keep ${busy} of ${machine.cpuCount} CPUs busy`);
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const known = error instanceof VhostUserError || error instanceof TypeError; // parseArgs' own
  process.stderr.write(`bench: ${known ? errorMessage(error) : String((error as Error).stack)}\n`);
  process.exitCode = 2;
}
