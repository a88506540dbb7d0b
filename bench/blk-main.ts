/**
 * The command line of the block benchmark: `npm run bench -- blk [options]`.
 *
 * @module
 */
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { randomFillSync } from 'node:crypto';
import { parseArgs } from 'node:util';
import { runBlk, stepCount } from './blk.ts';
import type { BlkBenchPlan, BlkBenchReport, Effort } from './blk.ts';
import { fileSystemOf, machineFacts, peerIsInstalled } from './machine.ts';
import { allCells, optionError, parseFilter } from './plan.ts';
import type { Cell } from './plan.ts';
import { createProfiler } from './profile.ts';
import type { Profiler } from './profile.ts';
import { Progress } from './progress.ts';
import type { ServerSite } from './server.ts';
import { reportJson, reportLines, summarise } from './report.ts';
import {
  checkSharedWithPeer,
  ourEntry,
  peerCache,
  positive,
  profileFolder,
  profilerOf,
  serverArgs,
  warnWhenBusy,
  withFolder,
} from './site.ts';

const HELP = `usage: npm run bench -- blk [options]

Compares our vhost-user-blk server with qemu-storage-daemon, side by side on one image, and prints a
table. docs/performance.md says how to read it.

  --quick              short runs, for a first look: the figures are rough
  --runs N             runs of each side for each line (5); the median counts
  --seconds S          length of a run (1)
  --idle-seconds S     how long an idle server is watched (5)
  --starts N           starts of each server that are timed (5)
  --patience N         turns that others disturbed are repeated, up to N for each line (3)
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
  --image-dir DIR      where the image lies (/dev/shm); the peer's root has /dev/shm and /tmp, so a
                       disk is measured with --image-dir /tmp
  --peer-aio NAME      io_uring or threads: how the peer reads and writes, in both modes
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
  'image-dir': { type: 'string' },
  'peer-aio': { type: 'string' },
} as const;

const FULL: Effort = { runs: 5, seconds: 1, idleSeconds: 5, starts: 5, patience: 3 };
const QUICK: Effort = { runs: 3, seconds: 0.3, idleSeconds: 1, starts: 1, patience: 0 };
const IMAGE_MIB = 256;
const CHUNK_BYTES = 2 ** 20;

type Values = ReturnType<
  typeof parseArgs<{ options: typeof OPTIONS; allowPositionals: true }>
>['values'];

/** Runs it with what stands behind `blk` on the command line; returns the exit status. */
export async function blkMain(args: readonly string[]): Promise<number> {
  const config = { args: [...args], options: OPTIONS, allowPositionals: true } as const;
  const { values, positionals } = parseArgs(config);
  if (values.help === true || positionals.length > 0) {
    (values.help === true ? process.stdout : process.stderr).write(HELP);
    return values.help === true ? 0 : 2;
  }
  const peerRoot = values['peer-root'] ?? `${peerCache()}/forky`;
  if (!peerIsInstalled(peerRoot)) {
    throw optionError(`no qemu-storage-daemon in ${peerRoot}: run test/peers/install-debian.sh`);
  }
  return withFolder((folder) => benchmark(values, peerRoot, folder), values['image-dir']);
}

async function benchmark(values: Values, peerRoot: string, folder: string): Promise<number> {
  const profiling = values.profile === true || values.profiler !== undefined;
  const cells = chosenCells(values.filter ?? []);
  const effort = effortOf(values, profiling);
  const image = makeImage(folder, positive(values['image-mib'], '--image-mib') ?? IMAGE_MIB);
  checkSharedWithPeer(peerRoot, folder);
  const profiler = profiling
    ? await createProfiler(profileFolder(), profilerOf(values.profiler))
    : null;
  const plan: BlkBenchPlan = {
    site: { folder, image, peerRoot, ...peerAio(values['peer-aio']) },
    cells,
    effort,
    ours: values.self === true ? null : ourOptions(values, profiler),
    withFio: values['no-fio'] !== true,
    profiler,
  };
  const machine = { ...(await machineFacts(peerRoot)), ...(await fileSystemOf(folder)) };
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
  const extraArgs = serverArgs(values['server-args']);
  return { entry: ourEntry(), extraArgs, nodeArgs: profiler?.nodeArgs ?? [] };
}

function peerAio(name: string | undefined): Pick<ServerSite, 'peerAio'> {
  if (name === undefined) return {};
  if (name === 'io_uring' || name === 'threads') return { peerAio: name };
  throw optionError(`--peer-aio ${name}: io_uring or threads`);
}

/** Makes the image, of random bytes so that no part is a hole. */
function makeImage(folder: string, mib: number): string {
  const image = `${folder}/image.raw`;
  const chunk = randomFillSync(Buffer.alloc(CHUNK_BYTES));
  const fd = openSync(image, 'wx');
  for (let at = 0; at < mib; at++) writeSync(fd, chunk);
  closeSync(fd);
  return image;
}
