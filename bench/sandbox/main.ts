/**
 * The command line of the comparison of our servers with themselves: `npm run bench -- sandbox`.
 *
 * Both servers, the one in its sandbox and the one in none, run at the same time; the runs of a
 * line alternate, and who begins changes from round to round.
 *
 * @module
 */
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { randomFillSync } from 'node:crypto';
import { parseArgs } from 'node:util';
import { errorMessage } from '../../src/util/index.ts';
import { makeShared } from '../fs/files.ts';
import { OthersMeter } from '../others.ts';
import { optionError } from '../plan.ts';
import { Progress } from '../progress.ts';
import { positive, withFolder } from '../site.ts';
import { DEVICES, Party, planOf, rowsOf, startServer } from './parties.ts';
import type { Device, Row, SandboxSite } from './parties.ts';
import { SIDES, keepsBar, summaryLines } from './summary.ts';
import type { SandboxResult, SandboxStarts, Side } from './summary.ts';

const HELP = `usage: npm run bench -- sandbox [blk] [fs] [vsock] [options]

Compares our own servers with --sandbox auto and with --sandbox none, side by side, by our own
front-end, and prints the worst ratio. No peer and no guest is needed. Some five minutes in all.

  --runs N       runs of each side for each line (5); the median counts
  --seconds S    length of a run (0.35)
  --starts N     starts of each server that are timed (5)
  --only TEXT    only lines with this in their name, such as --only "read, 4 KiB"
  --self         without the sandbox on both sides: what the noise of this machine is
  --json FILE    writes all figures to a file
  --check        ends with status 1 when a ratio is below 0.98
`;

const OPTIONS = {
  help: { type: 'boolean', short: 'h' },
  runs: { type: 'string' },
  seconds: { type: 'string' },
  starts: { type: 'string' },
  only: { type: 'string' },
  self: { type: 'boolean' },
  json: { type: 'string' },
  check: { type: 'boolean' },
} as const;

const IMAGE_MIB = 256;
const CHUNK_BYTES = 2 ** 20;
const WARM_UP_SECONDS = 1; // of a server, before its first line
const ROW_WARM_UP_SECONDS_MAX = 0.15;

/** How much is measured. */
interface Effort {
  readonly runs: number;
  readonly seconds: number;
  readonly starts: number;
  readonly only: string;
  readonly isSelf: boolean;
}

/** Runs it with what stands behind `sandbox` on the command line; returns the exit status. */
export async function sandboxMain(args: readonly string[]): Promise<number> {
  const config = { args: [...args], options: OPTIONS, allowPositionals: true } as const;
  const { values, positionals } = parseArgs(config);
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  const devices = positionals.length === 0 ? [...DEVICES] : positionals.map(deviceOf);
  const effort: Effort = {
    runs: Math.ceil(positive(values.runs, '--runs') ?? 5),
    seconds: positive(values.seconds, '--seconds') ?? 0.35,
    starts: Math.ceil(positive(values.starts, '--starts') ?? 5),
    only: values.only ?? '',
    isSelf: values.self === true,
  };
  return withFolder(async (folder) => {
    const { results, starts, failure } = await compare(devices, effort, folder);
    process.stdout.write(`${summaryLines(results, starts, effort.isSelf).join('\n')}\n`);
    if (failure !== null) process.stderr.write(`bench: ${failure}\n`);
    if (values.json !== undefined) {
      writeFileSync(values.json, JSON.stringify({ effort, results, starts, failure }, null, 1));
    }
    return failure !== null || (values.check === true && !keepsBar(results)) ? 1 : 0;
  });
}

function deviceOf(name: string): Device {
  const device = DEVICES.find((each) => each === name);
  if (device !== undefined) return device;
  throw optionError(`${name}: it is ${DEVICES.join(', ')} that are compared`);
}

interface Comparison {
  readonly results: SandboxResult[];
  readonly starts: SandboxStarts[];
  readonly failure: string | null;
}

async function compare(
  devices: readonly Device[],
  effort: Effort,
  folder: string,
): Promise<Comparison> {
  const plan = devices.map((device) => ({
    device,
    rows: rowsOf(device).filter(({ name }) => name.includes(effort.only)),
  }));
  const rowCount = plan.reduce((sum, { rows }) => sum + rows.length, 0);
  if (rowCount === 0) throw optionError(`--only ${effort.only}: nothing is left`);
  const progress = new Progress(rowCount * effort.runs + devices.length * effort.starts);
  const results: SandboxResult[] = [];
  const starts: SandboxStarts[] = [];
  let failure: string | null = null;
  try {
    const site = await makeSite(folder);
    for (const { device, rows } of plan) {
      if (rows.length === 0) continue;
      starts.push(await measureStarts(device, site, effort, progress));
      await measureRows(device, rows, { site, effort, progress, results });
    }
  } catch (error) {
    failure = errorMessage(error);
  }
  progress.end();
  return { results, starts, failure };
}

async function makeSite(folder: string): Promise<SandboxSite> {
  const site = { folder, image: `${folder}/image.raw`, shared: `${folder}/shared` };
  // Random bytes, so that no part is a hole.
  const chunk = randomFillSync(Buffer.alloc(CHUNK_BYTES));
  const fd = openSync(site.image, 'wx');
  for (let at = 0; at < IMAGE_MIB; at++) writeSync(fd, chunk);
  closeSync(fd);
  await makeShared(site.shared);
  return site;
}

function modeOf(side: Side, { isSelf }: Effort): Side {
  return isSelf ? 'none' : side;
}

async function measureStarts(
  device: Device,
  site: SandboxSite,
  effort: Effort,
  progress: Progress,
): Promise<SandboxStarts> {
  const startMs: Record<Side, number[]> = { auto: [], none: [] };
  progress.group(`${device}: start to listening`);
  for (let start = 1; start <= effort.starts; start++) {
    progress.step(`${String(start)} of ${String(effort.starts)}`);
    for (const side of inTurn(start)) {
      const mode = modeOf(side, effort);
      const server = await startServer(planOf(device, site, side, mode), mode);
      startMs[side].push(server.startMs);
      await server.stop();
    }
  }
  return { device, startMs };
}

interface Bench {
  readonly site: SandboxSite;
  readonly effort: Effort;
  readonly progress: Progress;
  readonly results: SandboxResult[];
}

async function measureRows(device: Device, rows: readonly Row[], bench: Bench): Promise<void> {
  const { site, effort, results } = bench;
  const parties = {} as Record<Side, Party>;
  try {
    for (const side of SIDES) {
      const mode = modeOf(side, effort);
      parties[side] = new Party(await startServer(planOf(device, site, side, mode), mode));
    }
    const [first] = rows as [Row];
    const seconds = Math.min(WARM_UP_SECONDS, effort.seconds * 2);
    for (const side of SIDES) await parties[side].run(first, seconds);
    for (const row of rows) results.push(await measureRow(device, row, parties, bench));
  } finally {
    for (const party of Object.values(parties)) await party.close();
  }
}

async function measureRow(
  device: Device,
  row: Row,
  parties: Readonly<Record<Side, Party>>,
  { effort, progress }: Bench,
): Promise<SandboxResult> {
  const perSecond: Record<Side, number[]> = { auto: [], none: [] };
  let othersCpus = 0;
  progress.group(`${device} ${row.name}`);
  for (const side of SIDES) {
    await parties[side].run(row, Math.min(effort.seconds, ROW_WARM_UP_SECONDS_MAX));
  }
  for (let run = 1; run <= effort.runs; run++) {
    progress.step(`${String(run)} of ${String(effort.runs)}`);
    for (const side of inTurn(run)) {
      const others = new OthersMeter();
      const { operations, seconds } = await parties[side].run(row, effort.seconds);
      othersCpus = Math.max(othersCpus, others.othersCpus());
      perSecond[side].push(operations / seconds);
    }
  }
  return { device, name: row.name, perSecond, othersCpus };
}

/** Who goes first changes, so that neither has the warmer caches every time. */
function inTurn(round: number): readonly Side[] {
  return round % 2 === 0 ? SIDES : SIDES.toReversed();
}
