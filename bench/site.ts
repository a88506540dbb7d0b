/**
 * What all benchmarks do before and after: a folder, on tmpfs as a rule, that goes away whatever
 * happens, the peers, our own program, and numbers out of text.
 *
 * @module
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { sharedWithPeer } from './machine.ts';
import type { MachineFacts } from './machine.ts';
import { optionError } from './plan.ts';
import { killAll } from './process.ts';
import type { Profiler } from './profile.ts';
import type { Progress } from './progress.ts';

/** Other processes that keep more than this many CPUs busy spoil the figures. */
const BUSY_CPUS_MAX = 0.2;

/** Where the installer of the peers puts them. */
export function peerCache(): string {
  return process.env.VHOST_USER_TEST_CACHE ?? `${homedir()}/.cache/vhost-user-test`;
}

/**
 * Runs `work` with a new folder; the folder, and all processes, are gone afterwards.
 * @param parent where it is made; by default in memory, not on a disk
 */
export async function withFolder<T>(
  work: (folder: string) => Promise<T>,
  parent = '/dev/shm', // the same path in the peer's root
): Promise<T> {
  const folder = mkdtempSync(`${parent}/vhost-user-bench-`);
  const cleanUp = (): void => {
    killAll();
    rmSync(folder, { recursive: true, force: true });
  };
  for (const [signal, status] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.once(signal, () => {
      cleanUp();
      process.exit(status);
    });
  }
  try {
    return await work(folder);
  } finally {
    cleanUp();
  }
}

/** Makes sure that programs in the peer's root see the folder. */
export function checkSharedWithPeer(peerRoot: string, folder: string): void {
  writeFileSync(`${folder}/probe`, folder);
  if (sharedWithPeer(peerRoot, `${folder}/probe`)) return;
  throw optionError(
    `${folder} is not there in ${peerRoot}, which has /dev/shm and /tmp of this machine: ` +
      'choose another folder, or run test/peers/install-debian.sh',
  );
}

/** The entry of our command line, bundled as in the package: what its users start. */
export function ourEntry(): string {
  const entry = fileURLToPath(new URL('../program/cli/main.js', import.meta.url));
  if (existsSync(entry)) return entry;
  throw optionError(`${entry} is missing: npm run bench makes it`);
}

/** Options for our server, out of the text of `--server-args`. */
export function serverArgs(text: string | undefined): string[] {
  return (text ?? '').split(/\s+/).filter((arg) => arg !== '');
}

/** Which profiler the user asked for; null for the best there is. */
export function profilerOf(name: string | undefined): Profiler['name'] | null {
  if (name === undefined || name === 'cpu' || name === 'perf') return name ?? null;
  throw optionError(`--profiler ${name}: cpu or perf`);
}

/** Beside what was compiled, so that git ignores it. */
export function profileFolder(): string {
  return fileURLToPath(new URL('../profile', import.meta.url));
}

/** A number above 0; null when the option was not given. */
export function positive(text: string | undefined, option: string): number | null {
  if (text === undefined) return null;
  const value = Number(text);
  if (!(value > 0 && value < 1e6)) throw optionError(`${option} ${text}: a number above 0`);
  return value;
}

/** Says it when the machine is not quiet. */
export function warnWhenBusy(machine: MachineFacts, progress: Progress): void {
  if (machine.busyCpus <= BUSY_CPUS_MAX) return;
  const busy = machine.busyCpus.toFixed(1);
  progress.note(`warning: other processes keep ${busy} of ${machine.cpuCount} CPUs busy`);
}
