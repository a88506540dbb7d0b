/**
 * The command line of a benchmark of a small device, by our own front-end alone: beside a peer
 * where there is one, by itself else.
 *
 * @module
 */
import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { errorMessage } from '../src/util/index.ts';
import { SIDES, duelSteps, runDuel } from './duel.ts';
import type { DuelClient, DuelEffort, DuelPlan, Side } from './duel.ts';
import { duelResultOf, duelTable, headLines, summariseDuelRow, tailLines } from './duel-report.ts';
import type { DuelReport, DuelSetting, DuelView } from './duel-report.ts';
import { parseRowFilter } from './filter.ts';
import type { FilterKeys } from './filter.ts';
import { machineFacts } from './machine.ts';
import { PERFORMANCE_PAGE, between, figureLines, updatePage } from './page.ts';
import { optionError } from './plan.ts';
import { runProcess } from './process.ts';
import { createProfiler } from './profile.ts';
import type { Profiler } from './profile.ts';
import { Progress } from './progress.ts';
import { readReport, saveReport } from './report-file.ts';
import type { ServerPlan } from './server.ts';
import {
  ourEntry,
  peerCache,
  positive,
  profileFolder,
  profilerOf,
  serverArgs,
  warnWhenBusy,
  withFolder,
} from './site.ts';

/** A benchmark of one device. */
export interface DuelBench<Row, Plan extends ServerPlan> {
  /** The device, by which the benchmark is called: `rng`. */
  readonly kind: string;
  /** Begins the help. */
  readonly about: string;
  /** What `--filter` may say, for the help. */
  readonly filterHelp: string;
  readonly rows: () => Row[];
  readonly filterKeys: FilterKeys<Row>;
  readonly keyOf: (row: Row) => string;
  readonly view: DuelView<Row>;
  readonly openClient: (plan: Plan, row: Row) => Promise<DuelClient<Row>>;
  /** Our server, with its files in a folder. */
  readonly ourPlan: (folder: string, start: OurStart) => Plan;
  readonly peer: DuelPeer<Plan>;
}

/** How our server is started. */
export interface OurStart {
  readonly nodeArgs: readonly string[];
  /** The compiled entry of the command line. */
  readonly entry: string;
  readonly extraArgs: readonly string[];
}

/** The other server. */
export interface DuelPeer<Plan> {
  /** The name of its program. */
  readonly program: string;
  /** `file` is the program; two of them in one folder have different tags. */
  readonly plan: (folder: string, file: string, tag: string) => Plan;
}

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
  posix: { type: 'boolean' },
  'peer-only': { type: 'boolean' },
  'no-peer': { type: 'boolean' },
  'peer-folder': { type: 'string' },
  profile: { type: 'boolean' },
  profiler: { type: 'string' },
  json: { type: 'string' },
  show: { type: 'string' },
  docs: { type: 'boolean' },
} as const;

const FULL: DuelEffort = { runs: 5, seconds: 0.5, idleSeconds: 5, starts: 5, patience: 3 };
const QUICK: DuelEffort = { runs: 3, seconds: 0.3, idleSeconds: 1, starts: 1, patience: 0 };
/** Where `test/peers/install-debian.sh --devices` puts the peers, in their cache. */
const PEER_FOLDER = 'vhost-devices/bin';
const VERSION_MS = 20_000;

type Values = ReturnType<
  typeof parseArgs<{ options: typeof OPTIONS; allowPositionals: true }>
>['values'];

function helpOf(bench: {
  readonly kind: string;
  readonly about: string;
  readonly filterHelp: string;
  readonly peer: { readonly program: string };
}): string {
  const { kind, about, filterHelp, peer } = bench;
  return `usage: npm run bench -- ${kind} [options]

${about}

  --quick              short runs, for a first look: the figures are rough
  --runs N             runs of each side for each line (5); the median counts
  --seconds S          length of a run (0.5)
  --idle-seconds S     how long an idle server is watched (5)
  --starts N           starts of each server that are timed (5)
  --patience N         turns that others disturbed are repeated, up to N for each line (3)
  --filter K=V,...     only some lines: ${filterHelp}
  --server-args=TEXT   more arguments for our server, such as --server-args="--log-level debug"
  --posix              our server as on a host with POSIX alone (VHOST_USER_HOST=posix)
  --peer-only          the peer against itself: what the noise of this machine is
  --no-peer            our server alone
  --peer-folder DIR    the folder with ${peer.program}
                       (${PEER_FOLDER} in the peers' cache)
  --profile            profiles our server in each line, and says where its time went
  --profiler NAME      perf (also sees the kernel) or cpu (V8's own); perf where it works
  --json FILE          keeps all figures in a file, as they come
  --show FILE          measures nothing, prints the table of a file
  --docs               puts the figures into docs/performance.md
`;
}

/** Runs a benchmark with what stands behind its name; returns the exit status. */
export async function duelMain<Row, Plan extends ServerPlan>(
  bench: DuelBench<Row, Plan>,
  args: readonly string[],
): Promise<number> {
  const config = { args: [...args], options: OPTIONS, allowPositionals: true } as const;
  const { values, positionals } = parseArgs(config);
  if (values.help === true || positionals.length > 0) {
    (values.help === true ? process.stdout : process.stderr).write(helpOf(bench));
    return values.help === true ? 0 : 2;
  }
  if (values.show !== undefined) {
    return finish(bench, readReport<DuelReport<Row>>(values.show, bench.kind), values);
  }
  return withFolder((folder) => measureAll(bench, values, folder));
}

async function measureAll<Row, Plan extends ServerPlan>(
  bench: DuelBench<Row, Plan>,
  values: Values,
  folder: string,
): Promise<number> {
  const profiling = values.profile === true || values.profiler !== undefined;
  const profiler = profiling
    ? await createProfiler(profileFolder(), profilerOf(values.profiler))
    : null;
  const setting = settingOf(values, profiling);
  const file = peerFile(bench.peer.program, values);
  const report = await startReport<Row>(bench.kind, setting, file);
  const rows = bench.rows().filter(rowFilter(bench.filterKeys, values));
  if (rows.length === 0) throw optionError(`--filter ${String(values.filter)}: nothing is left`);
  const sides = file === null ? SIDES.slice(0, 1) : SIDES;
  const progress = new Progress(duelSteps(rows.length, setting.effort, sides.length));
  warnWhenBusy(report.machine, progress);
  const save = (): void => {
    if (values.json !== undefined) saveReport(values.json, report);
  };
  try {
    const serverPlan = serverPlans(bench, { setting, folder, file, profiler });
    const measured = { title: '', rows, effort: setting.effort, sides, serverPlan, profiler };
    await runDuel({ ...measured, ...keeping(bench, report, save) }, progress);
  } catch (error) {
    report.failure = errorMessage(error);
  }
  progress.end();
  save();
  const status = await finish(bench, report, values);
  if (profiler !== null) {
    process.stdout.write(`\n${await profiler.summary()}\n${profiler.advice()}\n`);
  }
  return status;
}

interface Site {
  readonly setting: DuelSetting;
  readonly folder: string;
  /** The peer's program; null when it is not there. */
  readonly file: string | null;
  readonly profiler: Profiler | null;
}

function serverPlans<Row, Plan extends ServerPlan>(
  bench: DuelBench<Row, Plan>,
  { setting, folder, file, profiler }: Site,
): (side: Side) => Plan {
  const start: OurStart = {
    entry: ourEntry(),
    nodeArgs: profiler?.nodeArgs ?? [],
    extraArgs: setting.serverArgs,
  };
  return (side) => {
    if (file !== null && setting.peerOnly) return bench.peer.plan(folder, file, `peer-${side}`);
    if (file !== null && side === 'theirs') return bench.peer.plan(folder, file, 'peer');
    return posixIfWanted(bench.ourPlan(folder, start), setting.posix);
  };
}

type Keeping<Row, Plan extends ServerPlan> = Pick<
  DuelPlan<Row, Plan>,
  'keyOf' | 'clientKeyOf' | 'openClient' | 'onTheirFailure' | 'keepRuns' | 'keepFacts'
>;

/** What becomes of figures, and of what the peer could not do. */
function keeping<Row, Plan extends ServerPlan>(
  { keyOf, openClient }: DuelBench<Row, Plan>,
  report: DuelReport<Row>,
  save: () => void,
): Keeping<Row, Plan> {
  return {
    keyOf,
    clientKeyOf: () => '',
    openClient,
    onTheirFailure: (row, why) => {
      // Not by whom it was said: that is a path of this run.
      duelResultOf(report, row, keyOf).note = why.replace(/^client of [^:]*: /, '');
    },
    keepRuns: (row, runs) => {
      const kept = duelResultOf(report, row, keyOf);
      for (const side of SIDES) kept[side].splice(0, Infinity, ...runs[side]);
      save();
    },
    keepFacts: (facts) => {
      report.servers.push(facts);
      save();
    },
  };
}

/** What is said about figures, however they came about; returns the exit status. */
async function finish<Row, Plan extends ServerPlan>(
  bench: DuelBench<Row, Plan>,
  report: DuelReport<Row>,
  values: Values,
): Promise<number> {
  const lines = duelLines(bench, report);
  process.stdout.write(`${lines.join('\n')}\n`);
  if (values.docs === true) {
    const figures = figureLines(report.machine, lines);
    await updatePage(PERFORMANCE_PAGE, (text) => between(text, `${bench.kind} figures`, figures));
  }
  return report.failure === null ? 0 : 1;
}

/** The lines of the whole report, for a terminal. */
export function duelLines<Row>(
  { view, peer }: { readonly view: DuelView<Row>; readonly peer: { readonly program: string } },
  report: DuelReport<Row>,
): string[] {
  const hasPeer = report.machine.peer !== undefined;
  const { peerOnly } = report.setting;
  const lines = headLines(report);
  if (!hasPeer) lines.push(`${peer.program} was not there: our server by itself`);
  if (peerOnly) lines.push(`${peer.program} against itself: "ours" is it as well`);
  const rows = report.rows
    .map((row) => summariseDuelRow(view, row))
    .filter((each) => each !== null);
  return [...lines, '', ...duelTable(view, rows, { hasPeer, peerOnly }), ...tailLines(report)];
}

/** The peer's program; null when it is not there, or not wanted. */
function peerFile(program: string, values: Values): string | null {
  if (values['no-peer'] === true) return null;
  const folder = values['peer-folder'] ?? `${peerCache()}/${PEER_FOLDER}`;
  const file = `${folder}/${program}`;
  if (existsSync(file)) return file;
  if (values['peer-folder'] === undefined && values['peer-only'] !== true) return null;
  throw optionError(`no ${program} in ${folder}: test/peers/install-debian.sh --devices makes it`);
}

async function startReport<Row>(
  kind: string,
  setting: DuelSetting,
  peer: string | null,
): Promise<DuelReport<Row>> {
  const facts = await machineFacts(`${peerCache()}/forky`);
  const version =
    peer === null ? null : await runProcess({ file: peer, args: ['--version'] }, VERSION_MS);
  const machine = version === null ? facts : { ...facts, peer: version.trim() };
  return { version: 1, kind, setting, machine, rows: [], servers: [], failure: null };
}

function posixIfWanted<Plan extends ServerPlan>(plan: Plan, posix: boolean): Plan {
  if (!posix) return plan;
  const command = { ...plan.command, env: { VHOST_USER_HOST: 'posix' } };
  return { ...plan, name: `${plan.name} (posix)`, command };
}

function rowFilter<Row>(keys: FilterKeys<Row>, values: Values): (row: Row) => boolean {
  const tests = (values.filter ?? []).map((text) => parseRowFilter(keys, text));
  return (row) => tests.every((test) => test(row));
}

function settingOf(values: Values, profiling: boolean): DuelSetting {
  const base = values.quick === true ? QUICK : FULL;
  const whole = (text: string | undefined, option: string, other: number): number =>
    Math.ceil(positive(text, option) ?? other);
  return {
    effort: {
      runs: whole(values.runs, '--runs', base.runs),
      seconds: positive(values.seconds, '--seconds') ?? base.seconds,
      idleSeconds: positive(values['idle-seconds'], '--idle-seconds') ?? base.idleSeconds,
      patience: whole(values.patience, '--patience', base.patience),
      // A profile is of the server under load; starts under a profiler would say nothing.
      starts: profiling ? 0 : whole(values.starts, '--starts', base.starts),
    },
    peerOnly: values['peer-only'] === true,
    posix: values.posix === true,
    serverArgs: serverArgs(values['server-args']),
  };
}
