/**
 * A C compiler that has the headers of other systems with it: `zig cc`, from the package `ziglang`
 * of Python's registry. It is installed into the cache of the peers, without root, where there is
 * pip; where there is none, the installer of the peers gets it, on the hosts on which that may.
 *
 * @module
 */
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { runCommand } from '../runner/command.ts';
import { INSTALLER, mayInstall, peerCache } from './setup.ts';

/** The version whose headers the tables are compared with. */
export const ZIG_VERSION = '0.17.1';

const INSTALL_LIMIT_MS = 600_000;
const LOOK_LIMIT_MS = 60_000;

/** How pip is called; the last is where the installer of the peers puts it. */
const PIPS: readonly (readonly string[])[] = [
  ['python3', '-m', 'pip'],
  ['pip3'],
  ['/usr/bin/python3', '-m', 'pip'],
];

const NO_PIP =
  'neither python3 nor pip3 answers: install pip of Python 3 first, as the package python3-pip';

/** The compiler, or why there is none. */
export interface ZigSearch {
  /** The path of the program. */
  readonly zig?: string;
  /** A phrase for people, with what to do. */
  readonly missing?: string;
}

function folder(): string {
  return join(peerCache(), `zig-${ZIG_VERSION}`);
}

/** Where Zig keeps what it has built; it looks into it by what was compiled. */
export function zigCache(): string {
  return join(peerCache(), 'zig-cache');
}

/** Looks for the compiler, and changes nothing. */
export function findZig(): ZigSearch {
  const zig = join(folder(), 'ziglang', 'zig');
  if (existsSync(zig)) return { zig };
  const how = `pip install --no-deps --target ${folder()} ziglang==${ZIG_VERSION}`;
  return { missing: `missing: the compiler zig ${ZIG_VERSION}; get it by ${how}` };
}

/** By what the compiler may be fetched. */
export interface ZigMeans {
  /** How pip is called, one after the other. */
  readonly pips: readonly (readonly string[])[];
  /** Whether pip may be installed by apt. */
  readonly apt: boolean;
}

/** A pip that answers; undefined when there is none and none may be installed. */
async function findPip(
  { pips, apt }: ZigMeans,
  progress: (line: string) => void,
): Promise<readonly string[] | undefined> {
  const found = await firstThatAnswers(pips);
  if (found !== undefined || !apt) return found;
  progress('setup: pip by apt');
  await runCommand(['bash', INSTALLER, '--pip', peerCache()], { limitMs: INSTALL_LIMIT_MS });
  return firstThatAnswers(pips);
}

async function firstThatAnswers(pips: ZigMeans['pips']): Promise<readonly string[] | undefined> {
  for (const pip of pips) {
    const { code } = await runCommand([...pip, '--version'], { limitMs: LOOK_LIMIT_MS });
    if (code === 0) return pip;
  }
  return undefined;
}

/** The compiler, after installing it by pip unless VHOST_USER_TEST_INSTALL=0. */
export async function ensureZig(
  progress: (line: string) => void = (line) => void process.stderr.write(`${line}\n`),
  means: ZigMeans = { pips: PIPS, apt: mayInstall() },
): Promise<ZigSearch> {
  const before = findZig();
  if (before.zig !== undefined) return before;
  if (process.env.VHOST_USER_TEST_INSTALL === '0') {
    return { missing: `${before.missing ?? ''} (VHOST_USER_TEST_INSTALL=0 forbids to fetch it)` };
  }
  const pip = await findPip(means, progress);
  if (pip === undefined) return { missing: `${before.missing ?? ''} (${NO_PIP})` };
  progress(`setup: the compiler zig ${ZIG_VERSION} by pip`);
  mkdirSync(peerCache(), { recursive: true });
  const work = mkdtempSync(join(peerCache(), 'zig.'));
  try {
    const command = [...pip, 'install', '--quiet', '--no-deps', '--target', work];
    command.push('--only-binary', ':all:', `ziglang==${ZIG_VERSION}`);
    const { code, output, end } = await runCommand(command, { limitMs: INSTALL_LIMIT_MS });
    if (code !== 0)
      return { missing: `${before.missing ?? ''} (pip: ${end}: ${lastLine(output)})` };
    // Somebody else may have been faster: both are the same.
    if (!existsSync(folder())) renameSync(work, folder());
    return findZig();
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) ?? '';
}
