/**
 * What was measured, as plain data that a file can hold: a benchmark that was interrupted goes on
 * from there.
 *
 * @module
 */
import { existsSync, readFileSync } from 'node:fs';
import type { DuelEffort, DuelRun, DuelServerFacts } from '../duel.ts';
import type { MachineFacts } from '../machine.ts';
import { optionError } from '../plan.ts';
import { rowKey } from './plan.ts';
import type { CacheMode, FsRow, Place } from './plan.ts';

export { SIDES } from '../duel.ts';
export type { Side } from '../duel.ts';

/** One run, of one side. */
export interface FsRun extends Omit<DuelRun, 'cpuUs'> {
  /** The server's CPU time, in microseconds an operation; null where it is not known. */
  readonly cpuUs: number | null;
}

/** A line's runs, in the order in which they alternated. */
export interface FsRowResult {
  readonly row: FsRow;
  readonly ours: FsRun[];
  readonly theirs: FsRun[];
}

/** What was seen of one server apart from the lines. */
export interface FsServerFacts extends Omit<DuelServerFacts, 'idleCpu'> {
  readonly place: Place;
  readonly cache: CacheMode;
  /** CPU time in parts of the wall time, with a client connected that asks nothing. */
  readonly idleCpu: number | null;
}

/** How much is measured. */
export interface FsEffort extends DuelEffort {
  /** Boots of a guest for each cache mode; each measures both sides. */
  readonly guestRounds: number;
  /** Length of a run of fio in the guest. */
  readonly guestSeconds: number;
}

/** What has to be the same for two runs of the benchmark to be put together. */
export interface FsSetting {
  readonly effort: FsEffort;
  /** The peer against itself. */
  readonly peerOnly: boolean;
  /** `VHOST_USER_HOST=posix` for our server. */
  readonly posix: boolean;
  readonly serverArgs: readonly string[];
}

/** All that was measured, up to the failure if there was one. */
export interface FsReport {
  readonly version: 1;
  readonly setting: FsSetting;
  readonly machine: MachineFacts;
  readonly rows: FsRowResult[];
  readonly servers: FsServerFacts[];
  failure: string | null;
}

/** The runs of a line so far; made when there are none. */
export function resultOf(report: FsReport, row: FsRow): FsRowResult {
  const key = rowKey(row);
  const found = report.rows.find((each) => rowKey(each.row) === key);
  if (found !== undefined) return found;
  const { place, cache, name, blockBytes, depth } = row;
  const made: FsRowResult = {
    row: { place, cache, name, blockBytes, depth },
    ours: [],
    theirs: [],
  };
  report.rows.push(made);
  return made;
}

/** Puts facts of a server in the place of older ones. */
export function keepFacts(report: FsReport, facts: FsServerFacts): void {
  const same = ({ place, cache, side }: FsServerFacts): boolean =>
    place === facts.place && cache === facts.cache && side === facts.side;
  const at = report.servers.findIndex(same);
  if (at < 0) report.servers.push(facts);
  else report.servers[at] = facts;
}

/**
 * A report out of a file.
 * @throws VhostUserError `ERR_VHU_BENCH_OPTION` when there is none in it.
 */
export function readReport(path: string): FsReport {
  if (!existsSync(path)) throw optionError(`${path}: there is no such file`);
  try {
    const report = JSON.parse(readFileSync(path, 'utf8')) as Partial<FsReport>;
    if (report.version === 1 && Array.isArray(report.rows)) return report as FsReport;
  } catch {
    // Not JSON: said below.
  }
  throw optionError(`${path}: not figures of this benchmark`);
}

/**
 * What a file holds already of this measurement.
 * @throws VhostUserError `ERR_VHU_BENCH_OPTION` when it was measured in another way, or with other
 *   sources.
 */
export function resumeReport(path: string, fresh: FsReport): FsReport {
  if (!existsSync(path)) return fresh;
  const old = readReport(path);
  const differs = (what: string): Error =>
    optionError(`${path} was measured with ${what}: go on without --resume, or with another file`);
  if (comparable(old.setting) !== comparable(fresh.setting)) throw differs('other options');
  if (old.machine.commit !== fresh.machine.commit) throw differs(`commit ${old.machine.commit}`);
  return { ...old, setting: fresh.setting, failure: null };
}

/** What makes a figure what it is: how many boots there are is seen in the figures themselves. */
function comparable({ effort, ...rest }: FsSetting): string {
  return JSON.stringify({ ...rest, effort: { ...effort, guestRounds: 0 } });
}
