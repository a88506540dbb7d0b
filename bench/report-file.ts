/**
 * The files in which reports wait.
 *
 * @module
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { optionError } from './plan.ts';

/** Writes a report so that a reader sees the old one or the new one, and never a part. */
export function saveReport(path: string, report: object): void {
  const temporary = `${path}.${String(process.pid)}.tmp`;
  writeFileSync(temporary, `${JSON.stringify(report, null, 1)}\n`);
  renameSync(temporary, path);
}

/**
 * A report out of a file, of the version 1 of one kind.
 * @throws VhostUserError `ERR_VHU_BENCH_OPTION` when there is none in it.
 */
export function readReport<Report extends { readonly version: 1; readonly kind: string }>(
  path: string,
  kind: Report['kind'],
): Report {
  if (!existsSync(path)) throw optionError(`${path}: there is no such file`);
  try {
    const report = JSON.parse(readFileSync(path, 'utf8')) as Partial<Report>;
    if (report.version === 1 && report.kind === kind) return report as Report;
  } catch {
    // Not JSON: said below.
  }
  throw optionError(`${path}: not figures of this benchmark`);
}
