/**
 * The command line of the file system benchmark: `npm run bench -- fs [options]`.
 *
 * @module
 */
import { parseArgs } from 'node:util';
import { errorMessage } from '../../src/util/index.ts';
import { fileSystemOf, machineFacts } from '../machine.ts';
import { optionError } from '../plan.ts';
import { runProcess } from '../process.ts';
import { createProfiler } from '../profile.ts';
import type { Profiler } from '../profile.ts';
import { Progress } from '../progress.ts';
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
} from '../site.ts';
import { writeDocs } from './docs.ts';
import { makeShared } from './files.ts';
import { guestSteps, runFsGuests } from './guest.ts';
import type { GuestBenchPlan } from './guest.ts';
import { chosenLines, guestLines, guestRow } from './guest-script.ts';
import { hostSteps, runHost } from './host.ts';
import type { HostBenchPlan } from './host.ts';
import { CACHES, hostCells, parseRowFilter } from './plan.ts';
import type { CacheMode, FsRow } from './plan.ts';
import { allBarsMet, fsReportLines } from './report.ts';
import { saveReport } from '../report-file.ts';
import { readReport, resumeReport } from './result.ts';
import type { FsEffort, FsReport, FsSetting, Side } from './result.ts';
import { ourFsPlan, peerFsIsInstalled, peerFsPlan, peerVersionPlan } from './servers.ts';
import type { ServerPlan } from '../server.ts';

const HELP = `usage: npm run bench -- fs [options]

Compares our vhost-user-fs server with virtiofsd, side by side on one folder, at cache=auto and at
cache=never: by our own front-end without a virtual machine, and in a Linux guest.
Prints a table; docs/performance.md says how to read it.

  --quick              short runs, for a first look: the figures are rough
  --no-guest           without the guest
  --only-guest         with nothing but the guest
  --runs N             runs of each side for each line (5); the median counts
  --seconds S          length of a run (0.5)
  --idle-seconds S     how long an idle server is watched (5)
  --starts N           starts of each server that are timed (5)
  --patience N         turns that others disturbed are repeated, up to N for each line (3)
  --guest-rounds N     boots of the guest for each cache mode (5); the median counts
  --filter K=V,...     only some lines: place=host|guest, cache=auto|never, name=PART, depth=1|16,
                       size=4k|128k|1m; several values: name=read|write; may be repeated
  --server-args=TEXT   more arguments for our server, such as --server-args="--poll-us 64"
  --posix              our server as on a host with POSIX alone (VHOST_USER_HOST=posix)
  --peer-only          the peer against itself: what the noise of this machine is
  --profile            profiles our server in each line, and says where its time went
  --profiler NAME      perf (also sees the kernel) or cpu (V8's own); perf where it works
  --json FILE          keeps all figures in a file, as they come
  --resume             goes on with the file of --json: what is there is not measured again; with
                       more --guest-rounds than before, the further ones are
  --show FILE          measures nothing, prints the table of a file
  --docs               puts the figures into docs/performance.md and README.md
  --check              ends with status 1 when a bar is missed
  --peer-root DIR      the folder with the newer Debian suite (forky/ in the peers' cache)
  --share-dir DIR      where the folder is made (/dev/shm): /tmp for what a disk is like
`;

const OPTIONS = {
  help: { type: 'boolean', short: 'h' },
  quick: { type: 'boolean' },
  'no-guest': { type: 'boolean' },
  'only-guest': { type: 'boolean' },
  runs: { type: 'string' },
  seconds: { type: 'string' },
  'idle-seconds': { type: 'string' },
  starts: { type: 'string' },
  patience: { type: 'string' },
  'guest-rounds': { type: 'string' },
  filter: { type: 'string', multiple: true },
  'server-args': { type: 'string' },
  posix: { type: 'boolean' },
  'peer-only': { type: 'boolean' },
  profile: { type: 'boolean' },
  profiler: { type: 'string' },
  json: { type: 'string' },
  resume: { type: 'boolean' },
  show: { type: 'string' },
  docs: { type: 'boolean' },
  check: { type: 'boolean' },
  'peer-root': { type: 'string' },
  'share-dir': { type: 'string' },
} as const;

const FULL: FsEffort = {
  runs: 5,
  seconds: 0.5,
  idleSeconds: 5,
  starts: 5,
  patience: 3,
  guestRounds: 5,
  guestSeconds: 1,
};
const QUICK: FsEffort = {
  runs: 3,
  seconds: 0.3,
  idleSeconds: 1,
  starts: 1,
  patience: 0,
  guestRounds: 1,
  guestSeconds: 1,
};

type Values = ReturnType<
  typeof parseArgs<{ options: typeof OPTIONS; allowPositionals: true }>
>['values'];

/** Runs it with what stands behind `fs` on the command line; returns the exit status. */
export async function fsMain(args: readonly string[]): Promise<number> {
  const config = { args: [...args], options: OPTIONS, allowPositionals: true } as const;
  const { values, positionals } = parseArgs(config);
  if (values.help === true || positionals.length > 0) {
    (values.help === true ? process.stdout : process.stderr).write(HELP);
    return values.help === true ? 0 : 2;
  }
  if (values.show !== undefined) return finish(readReport(values.show), values);
  const peerRoot = values['peer-root'] ?? `${peerCache()}/forky`;
  if (!peerFsIsInstalled(peerRoot)) {
    throw optionError(`no virtiofsd in ${peerRoot}: run test/peers/install-debian.sh`);
  }
  return withFolder((folder) => benchmark(values, peerRoot, folder), values['share-dir']);
}

/** What is said about figures, however they came about; returns the exit status. */
async function finish(report: FsReport, values: Values): Promise<number> {
  process.stdout.write(`${fsReportLines(report).join('\n')}\n`);
  if (values.docs === true) await writeDocs(report);
  if (report.failure !== null) return 1;
  return values.check === true && !allBarsMet(report) ? 1 : 0;
}

async function benchmark(values: Values, peerRoot: string, folder: string): Promise<number> {
  const profiling = values.profile === true || values.profiler !== undefined;
  const profiler = profiling
    ? await createProfiler(profileFolder(), profilerOf(values.profiler))
    : null;
  const shared = `${folder}/shared`;
  const setting = settingOf(values, profiling);
  const report = await startReport(values, peerRoot, setting, folder);
  checkSharedWithPeer(peerRoot, folder);
  await makeShared(shared);
  const wanted = rowFilter(values);
  const serverPlan = serverPlans(setting, { folder, shared, peerRoot }, profiler);
  const save = (): void => {
    if (values.json !== undefined) saveReport(values.json, report);
  };
  const { effort } = setting;
  const cells = hostCells().filter(wanted);
  const host: HostBenchPlan = { cells, effort, serverPlan, profiler, save };
  const lines = (cache: CacheMode): ReturnType<typeof guestLines> =>
    chosenLines(guestLines(), (line) => wanted(guestRow(cache, line)));
  const guest: GuestBenchPlan = { folder, shared, effort, lines, serverPlan, save };
  if (cells.length === 0 && CACHES.every((cache) => lines(cache).length === 0)) {
    throw optionError(`--filter ${String(values.filter)}: nothing is left`);
  }
  const progress = new Progress(hostSteps(host, report) + guestSteps(guest, report));
  warnWhenBusy(report.machine, progress);
  try {
    await runHost(host, report, progress);
    await runFsGuests(guest, report, progress);
  } catch (error) {
    report.failure = errorMessage(error);
  }
  progress.end();
  save();
  const status = await finish(report, values);
  if (profiler !== null) {
    process.stdout.write(`\n${await profiler.summary()}\n${profiler.advice()}\n`);
  }
  return status;
}

async function startReport(
  values: Values,
  peerRoot: string,
  setting: FsSetting,
  folder: string,
): Promise<FsReport> {
  const facts = { ...(await machineFacts(peerRoot)), ...(await fileSystemOf(folder)) };
  const version = await runProcess(peerVersionPlan(peerRoot), 20_000);
  const machine = { ...facts, peer: version.trim() };
  const fresh: FsReport = { version: 1, setting, machine, rows: [], servers: [], failure: null };
  if (values.resume !== true) return fresh;
  if (values.json === undefined) throw optionError('--resume: which file? --json FILE names it');
  return resumeReport(values.json, fresh);
}

function rowFilter(values: Values): (row: FsRow) => boolean {
  const tests = (values.filter ?? []).map(parseRowFilter);
  if (values['no-guest'] === true) tests.push((row) => row.place === 'host');
  if (values['only-guest'] === true) tests.push((row) => row.place === 'guest');
  return (row) => tests.every((test) => test(row));
}

function serverPlans(
  setting: FsSetting,
  site: Parameters<typeof peerFsPlan>[1],
  profiler: Profiler | null,
): (cache: CacheMode, side: Side) => ServerPlan {
  if (setting.peerOnly) return (cache, side) => peerFsPlan(cache, site, side);
  const ours = {
    entry: ourEntry(),
    extraArgs: setting.serverArgs,
    nodeArgs: profiler?.nodeArgs ?? [],
    posix: setting.posix,
  };
  return (cache, side) =>
    side === 'ours' ? ourFsPlan(cache, site, ours) : peerFsPlan(cache, site);
}

function settingOf(values: Values, profiling: boolean): FsSetting {
  const base = values.quick === true ? QUICK : FULL;
  const whole = (text: string | undefined, option: string, other: number): number =>
    Math.ceil(positive(text, option) ?? other);
  const effort: FsEffort = {
    runs: whole(values.runs, '--runs', base.runs),
    seconds: positive(values.seconds, '--seconds') ?? base.seconds,
    idleSeconds: positive(values['idle-seconds'], '--idle-seconds') ?? base.idleSeconds,
    patience: whole(values.patience, '--patience', base.patience),
    // A profile is of the server under load; starts under a profiler would say nothing.
    starts: profiling ? 0 : whole(values.starts, '--starts', base.starts),
    guestRounds: whole(values['guest-rounds'], '--guest-rounds', base.guestRounds),
    guestSeconds: base.guestSeconds,
  };
  return {
    effort,
    peerOnly: values['peer-only'] === true,
    posix: values.posix === true,
    serverArgs: serverArgs(values['server-args']),
  };
}
