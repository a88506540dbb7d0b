/**
 * What was measured, as plain data that a file can hold.
 *
 * @module
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { MachineFacts } from '../machine.ts';
import { optionError } from '../plan.ts';
import { rowKey } from './plan.ts';
import type { VsockRow } from './plan.ts';

/** Which of the two servers. */
export type Side = 'ours' | 'theirs';
/** Both, in the order in which they are measured. */
export const SIDES: readonly Side[] = ['ours', 'theirs'];

/** One run, of one side. */
export interface VsockRun {
  /** Operations a second: blocks, round trips, connections. */
  readonly perSecond: number;
  /** The server's CPU time, in microseconds an operation. */
  readonly cpuUs: number;
  /** Microseconds, half of the operations took less; null where it is not known. */
  readonly p50Us: number | null;
  /** CPUs that were busy with something else meanwhile. */
  readonly othersCpus: number;
}

/** A line's runs, in the order in which they alternated. */
export interface VsockRowResult {
  readonly row: VsockRow;
  readonly ours: VsockRun[];
  readonly theirs: VsockRun[];
}

/** What was seen of one server apart from the lines. */
export interface VsockServerFacts {
  readonly side: Side;
  readonly name: string;
  /** From the start of the process until it listened. */
  readonly startMs: readonly number[];
  /** CPU time in parts of the wall time, with a client connected that does nothing. */
  readonly idleCpu: number;
  /** Resident memory of its own, after the load. */
  readonly residentBytes: number;
}

/** How much is measured. */
export interface VsockEffort {
  /** Runs of each side for each line. */
  readonly runs: number;
  readonly seconds: number;
  readonly idleSeconds: number;
  readonly starts: number;
  /** Further rounds for a line whose runs were disturbed; each replaces the most disturbed run. */
  readonly patience: number;
  /** Boots of a guest; each measures one side. */
  readonly guestRounds: number;
}

/** How it was measured. */
export interface VsockSetting {
  readonly effort: VsockEffort;
  /** The peer against itself. */
  readonly peerOnly: boolean;
  /** `VHOST_USER_HOST=posix` for our server. */
  readonly posix: boolean;
  readonly serverArgs: readonly string[];
}

/** All that was measured, up to the failure if there was one. */
export interface VsockReport {
  readonly version: 1;
  readonly kind: 'vsock';
  readonly setting: VsockSetting;
  readonly machine: MachineFacts;
  readonly rows: VsockRowResult[];
  readonly servers: VsockServerFacts[];
  failure: string | null;
}

/** The runs of a line so far; made when there are none. */
export function resultOf(report: VsockReport, row: VsockRow): VsockRowResult {
  const key = rowKey(row);
  const found = report.rows.find((each) => rowKey(each.row) === key);
  if (found !== undefined) return found;
  const made: VsockRowResult = { row, ours: [], theirs: [] };
  report.rows.push(made);
  return made;
}

/** Writes a report so that a reader sees the old one or the new one, and never a part. */
export function saveReport(path: string, report: VsockReport): void {
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, `${JSON.stringify(report, null, 1)}\n`);
  renameSync(temporary, path);
}

/**
 * A report out of a file.
 * @throws VhostUserError `ERR_VHU_BENCH_OPTION` when there is none in it.
 */
export function readReport(path: string): VsockReport {
  if (!existsSync(path)) throw optionError(`${path}: there is no such file`);
  try {
    const report = JSON.parse(readFileSync(path, 'utf8')) as Partial<VsockReport>;
    if (report.version === 1 && report.kind === 'vsock') return report as VsockReport;
  } catch {
    // Not JSON: said below.
  }
  throw optionError(`${path}: not figures of this benchmark`);
}
