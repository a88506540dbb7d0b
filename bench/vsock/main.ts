/**
 * The command line of the vsock benchmark: `npm run bench -- vsock [options]`.
 *
 * @module
 */
import { parseArgs } from 'node:util';
import { errorMessage } from '../../src/util/index.ts';
import { machineFacts } from '../machine.ts';
import { optionError } from '../plan.ts';
import { runProcess } from '../process.ts';
import { createProfiler } from '../profile.ts';
import type { Profiler } from '../profile.ts';
import { Progress } from '../progress.ts';
import { readReport, saveReport } from '../report-file.ts';
import {
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
import { guestSteps, runGuests } from './guest.ts';
import type { GuestBenchPlan } from './guest.ts';
import { hostSteps, runHost } from './host.ts';
import type { HostBenchPlan } from './host.ts';
import { parseVsockFilter, vsockRows } from './plan.ts';
import type { VsockRow } from './plan.ts';
import { allBarsMet, vsockReportLines } from './report.ts';
import type { Side, VsockEffort, VsockReport, VsockSetting } from './result.ts';
import { ourVsockPlan, peerVersionPlan, peerVsockIsInstalled, peerVsockPlan } from './servers.ts';
import type { VsockServerPlan, VsockSite } from './servers.ts';

const HELP = `usage: npm run bench -- vsock [options]

Compares our vhost-user-vsock server with vhost-device-vsock, side by side: by our own front-end
without a virtual machine, and in a Linux guest. Prints a table; docs/performance.md says how to
read it.

  --quick              short runs, for a first look: the figures are rough
  --no-guest           without the guest
  --only-guest         with nothing but the guest
  --runs N             runs of each side for each line (5); the median counts
  --seconds S          length of a run (0.5)
  --idle-seconds S     how long an idle server is watched (5)
  --starts N           starts of each server that are timed (5)
  --patience N         turns that others disturbed are repeated, up to N for each line (3)
  --guest-rounds N     boots of the guest for each side (5); the median counts
  --filter K=V,...     only some lines: place=host|guest, op=send|receive|round-trip|connect|accept,
                       size=4k|64k, buffers=4k|64k; several values: op=send|receive; may be repeated
  --server-args=TEXT   more arguments for our server, such as --server-args="--poll-us 64"
  --posix              our server as on a host with POSIX alone (VHOST_USER_HOST=posix)
  --peer-only          the peer against itself: what the noise of this machine is
  --profile            profiles our server in each line, and says where its time went
  --profiler NAME      perf (also sees the kernel) or cpu (V8's own); perf where it works
  --json FILE          keeps all figures in a file, as they come
  --show FILE          measures nothing, prints the table of a file
  --docs               puts the figures into docs/performance.md
  --check              ends with status 1 when a bar is missed
  --peer-root DIR      the folder with the newer Debian suite (forky/ in the peers' cache)
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
  show: { type: 'string' },
  docs: { type: 'boolean' },
  check: { type: 'boolean' },
  'peer-root': { type: 'string' },
} as const;

const FULL: VsockEffort = {
  runs: 5,
  seconds: 0.5,
  idleSeconds: 5,
  starts: 5,
  patience: 3,
  guestRounds: 5,
};
const QUICK: VsockEffort = {
  runs: 3,
  seconds: 0.3,
  idleSeconds: 1,
  starts: 1,
  patience: 0,
  guestRounds: 1,
};
const GUEST_EFFORT = { mib: 128, roundTrips: 5000, connections: 1000 } as const;

type Values = ReturnType<
  typeof parseArgs<{ options: typeof OPTIONS; allowPositionals: true }>
>['values'];

/** Runs it with what stands behind `vsock` on the command line; returns the exit status. */
export async function vsockMain(args: readonly string[]): Promise<number> {
  const config = { args: [...args], options: OPTIONS, allowPositionals: true } as const;
  const { values, positionals } = parseArgs(config);
  if (values.help === true || positionals.length > 0) {
    (values.help === true ? process.stdout : process.stderr).write(HELP);
    return values.help === true ? 0 : 2;
  }
  if (values.show !== undefined)
    return finish(readReport<VsockReport>(values.show, 'vsock'), values);
  const peerRoot = values['peer-root'] ?? `${peerCache()}/forky`;
  if (!peerVsockIsInstalled(peerRoot)) {
    throw optionError(`no vhost-device-vsock in ${peerRoot}: run test/peers/install-debian.sh`);
  }
  return withFolder((folder) => benchmark(values, { folder, peerRoot }));
}

/** What is said about figures, however they came about; returns the exit status. */
async function finish(report: VsockReport, values: Values): Promise<number> {
  process.stdout.write(`${vsockReportLines(report).join('\n')}\n`);
  if (values.docs === true) await writeDocs(report);
  if (report.failure !== null) return 1;
  return values.check === true && !allBarsMet(report) ? 1 : 0;
}

async function benchmark(values: Values, site: VsockSite): Promise<number> {
  const profiling = values.profile === true || values.profiler !== undefined;
  const profiler = profiling
    ? await createProfiler(profileFolder(), profilerOf(values.profiler))
    : null;
  const setting = settingOf(values, profiling);
  const report = await startReport(site, setting);
  const serverPlan = serverPlans(setting, site, profiler);
  const save = (): void => {
    if (values.json !== undefined) saveReport(values.json, report);
  };
  const { effort } = setting;
  const rows = vsockRows().filter(rowFilter(values));
  if (rows.length === 0) throw optionError(`--filter ${String(values.filter)}: nothing is left`);
  const of = (place: VsockRow['place']): VsockRow[] => rows.filter((row) => row.place === place);
  const host: HostBenchPlan = { rows: of('host'), effort, serverPlan, profiler, save };
  const guest: GuestBenchPlan = {
    rows: of('guest'),
    rounds: effort.guestRounds,
    effort: GUEST_EFFORT,
    serverPlan,
    save,
  };
  const progress = new Progress(hostSteps(host) + guestSteps(guest));
  warnWhenBusy(report.machine, progress);
  try {
    await runHost(host, report, progress);
    await runGuests(guest, report, progress);
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

async function startReport({ peerRoot }: VsockSite, setting: VsockSetting): Promise<VsockReport> {
  const facts = await machineFacts(peerRoot);
  const version = await runProcess(peerVersionPlan(peerRoot), 20_000);
  const machine = { ...facts, peer: version.trim() };
  return { version: 1, kind: 'vsock', setting, machine, rows: [], servers: [], failure: null };
}

function rowFilter(values: Values): (row: VsockRow) => boolean {
  const tests = (values.filter ?? []).map(parseVsockFilter);
  if (values['no-guest'] === true) tests.push((row) => row.place === 'host');
  if (values['only-guest'] === true) tests.push((row) => row.place === 'guest');
  return (row) => tests.every((test) => test(row));
}

function serverPlans(
  setting: VsockSetting,
  site: VsockSite,
  profiler: Profiler | null,
): (side: Side) => VsockServerPlan {
  if (setting.peerOnly) return (side) => peerVsockPlan(site, side);
  const ours = {
    entry: ourEntry(),
    extraArgs: setting.serverArgs,
    nodeArgs: profiler?.nodeArgs ?? [],
    posix: setting.posix,
  };
  return (side) => (side === 'ours' ? ourVsockPlan(site, ours) : peerVsockPlan(site));
}

function settingOf(values: Values, profiling: boolean): VsockSetting {
  const base = values.quick === true ? QUICK : FULL;
  const whole = (text: string | undefined, option: string, other: number): number =>
    Math.ceil(positive(text, option) ?? other);
  const effort: VsockEffort = {
    runs: whole(values.runs, '--runs', base.runs),
    seconds: positive(values.seconds, '--seconds') ?? base.seconds,
    idleSeconds: positive(values['idle-seconds'], '--idle-seconds') ?? base.idleSeconds,
    patience: whole(values.patience, '--patience', base.patience),
    // A profile is of the server under load; starts under a profiler would say nothing.
    starts: profiling ? 0 : whole(values.starts, '--starts', base.starts),
    guestRounds: whole(values['guest-rounds'], '--guest-rounds', base.guestRounds),
  };
  return {
    effort,
    peerOnly: values['peer-only'] === true,
    posix: values.posix === true,
    serverArgs: serverArgs(values['server-args']),
  };
}
