/**
 * The command line of the comparison of our servers with themselves: `npm run bench -- sandbox`.
 *
 * Both servers, the one in its sandbox and the one in none, run at the same time; the runs of a
 * line alternate. There are several rounds, each with servers of its own, and who is started first
 * changes from round to round.
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
import type { Device, Row, RunResult, SandboxSite } from './parties.ts';
import { SIDES } from './estimate.ts';
import type { Round, Side } from './estimate.ts';
import { keepsBar, summaryLines } from './summary.ts';
import type { SandboxResult, SandboxStarts } from './summary.ts';

const HELP = `usage: npm run bench -- sandbox [blk] [fs] [vsock] [options]

Compares our own servers with --sandbox auto and with --sandbox none, side by side, by our own
front-end: each ratio with its interval, and whether it is within 2 %. No peer and no guest is
needed. Some six minutes in all.

  --rounds N     rounds, each with new servers; an even number, 4 or more (8)
  --runs N       runs of each side for each line of a round (4)
  --seconds S    length of a run (0.06)
  --only TEXT    only lines with this in their name, such as --only "read, 4 KiB"
  --self         without the sandbox on both sides: what the noise of this machine is
  --json FILE    writes all figures to a file
  --check        ends with status 1 when a line is known to fall by more
`;

const OPTIONS = {
  help: { type: 'boolean', short: 'h' },
  rounds: { type: 'string' },
  runs: { type: 'string' },
  seconds: { type: 'string' },
  only: { type: 'string' },
  self: { type: 'boolean' },
  json: { type: 'string' },
  check: { type: 'boolean' },
} as const;

const IMAGE_MIB = 256;
const CHUNK_BYTES = 2 ** 20;
const WARM_UP_SECONDS = 0.3; // of a server, before its first line
const ROW_WARM_UP_SECONDS = 0.1;
const ROUNDS_MIN = 4;

/** How much is measured. */
interface Effort {
  readonly rounds: number;
  readonly runs: number;
  readonly seconds: number;
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
    rounds: roundsOf(positive(values.rounds, '--rounds') ?? 8),
    runs: Math.ceil(positive(values.runs, '--runs') ?? 4),
    seconds: positive(values.seconds, '--seconds') ?? 0.06,
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

/** Each side is the first one in half of them. */
function roundsOf(count: number): number {
  return Math.max(ROUNDS_MIN, Math.ceil(count / 2) * 2);
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
  const progress = new Progress(rowCount * effort.rounds);
  const results: SandboxResult[] = [];
  const starts: SandboxStarts[] = [];
  let failure: string | null = null;
  try {
    const site = await makeSite(folder);
    for (const { device, rows } of plan) {
      if (rows.length === 0) continue;
      const bench = { device, site, effort, progress };
      const measured = rows.map((row) => new Measured(device, row));
      const startMs: Record<Side, number[]> = { auto: [], none: [] };
      for (let round = 1; round <= effort.rounds; round++) {
        await measureRound(bench, round, measured, startMs);
      }
      starts.push({ device, startMs });
      results.push(...measured);
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

/** A line, and what has been measured of it. */
class Measured implements SandboxResult {
  readonly device: string;
  readonly name: string;
  readonly row: Row;
  readonly rounds: Round[] = [];
  readonly perSecond: Record<Side, number[]> = { auto: [], none: [] };
  othersCpus = 0;

  constructor(device: Device, row: Row) {
    this.device = device;
    this.name = row.name;
    this.row = row;
  }
}

interface Bench {
  readonly device: Device;
  readonly site: SandboxSite;
  readonly effort: Effort;
  readonly progress: Progress;
}

/** Starts both servers anew, and measures all lines. */
async function measureRound(
  { device, site, effort, progress }: Bench,
  round: number,
  lines: readonly Measured[],
  startMs: Readonly<Record<Side, number[]>>,
): Promise<void> {
  const order = inTurn(round);
  const [first] = order as [Side];
  const parties = {} as Record<Side, Party>;
  progress.group(`${device}, round ${String(round)} of ${String(effort.rounds)}`);
  try {
    for (const side of order) {
      const mode = modeOf(side, effort);
      const server = await startServer(planOf(device, site, side, mode), mode);
      startMs[side].push(server.startMs);
      parties[side] = new Party(server);
    }
    const [line] = lines as [Measured];
    for (const side of order) await parties[side].run(line.row, WARM_UP_SECONDS);
    for (const each of lines) {
      progress.step(each.name);
      each.rounds.push({ first, speeds: await measureLine(each, parties, effort) });
    }
  } finally {
    for (const party of Object.values(parties)) await party.close();
  }
}

/** The runs of one line in one round, in turn. */
async function measureLine(
  line: Measured,
  parties: Readonly<Record<Side, Party>>,
  { runs, seconds }: Effort,
): Promise<Round['speeds']> {
  const speeds: Record<Side, number[]> = { auto: [], none: [] };
  for (const side of SIDES) await parties[side].run(line.row, ROW_WARM_UP_SECONDS);
  for (let run = 1; run <= runs; run++) {
    for (const side of inTurn(run)) {
      const others = new OthersMeter();
      const result = await parties[side].run(line.row, seconds);
      line.othersCpus = Math.max(line.othersCpus, others.othersCpus());
      line.perSecond[side].push(result.operations / result.seconds);
      speeds[side].push(speedOf(result));
    }
  }
  return speeds;
}

/**
 * By the middle latency where there is one: another process that holds a run up for a while makes
 * its rate less, and leaves this as it is.
 */
function speedOf({ operations, seconds, p50Us }: RunResult): number {
  return p50Us !== null && p50Us > 0 ? 1 / p50Us : operations / seconds;
}

/** Who goes first changes, so that neither has the warmer caches every time. */
function inTurn(round: number): readonly Side[] {
  return round % 2 === 0 ? SIDES : SIDES.toReversed();
}
