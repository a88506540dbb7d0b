/**
 * `vhost-user doctor`: looks, and gives what was found in the way that was asked for.
 *
 * @module
 */
import { writeFileSync } from 'node:fs';
import { homedir, hostname, userInfo } from 'node:os';
import { examine, isHealthy } from '../doctor/index.ts';
import type { DoctorCommandOptions } from './commands/doctor.ts';
import { diagnosisJson, reportPage } from './doctor-report.ts';
import type { Secrets } from './doctor-report.ts';
import { diagnosisText } from './doctor-text.ts';
import { EXIT } from './errors.ts';
import { print } from './output.ts';
import { programVersion } from './version.ts';

const COLUMNS = 80;
const CLEAR_LINE = '\r\x1b[K';

/** Looks at this host and prints what was found; returns the exit code. */
export async function doctor(options: DoctorCommandOptions): Promise<number> {
  const { stderr, stdout } = process;
  const isShown = stderr.isTTY && process.env.TERM !== 'dumb';
  const progress = (text: string): void => {
    if (isShown) stderr.write(`${CLEAR_LINE}${text} ...`);
  };
  const diagnosis = await examine(progress, options.qemu ?? null);
  if (isShown) stderr.write(CLEAR_LINE);
  const version = programVersion();
  if (options.json === true) print(diagnosisJson(diagnosis, version));
  else {
    const columns = stdout.isTTY ? stdout.columns : COLUMNS;
    const colours = stdout.isTTY && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
    print(diagnosisText(diagnosis, `vhost-user ${version}`, { columns, colours }));
  }
  // What was found is shown even if it cannot be written.
  if (options.report !== undefined) {
    writeFileSync(options.report, reportPage(diagnosis, version, secrets()));
  }
  if (options.json !== true) print(closing(options.report));
  return isHealthy(diagnosis.findings) ? EXIT.OK : EXIT.FAILED;
}

function closing(report: string | undefined): string {
  if (report === undefined) return "For a bug report: 'vhost-user doctor --report FILE'.\n";
  return `${report} is for a bug report: without this host's name and yours; read it first.\n`;
}

function secrets(): Secrets {
  return { home: homedir(), user: userName(), hostName: hostname() };
}

/** A user without an entry in the user database has no name. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return '';
  }
}
