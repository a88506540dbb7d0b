/**
 * Child processes of the benchmark. All of them are known, so that none outlives it.
 *
 * @module
 */
import { spawn } from 'node:child_process';
import type { ChildProcess, SpawnOptions } from 'node:child_process';
import { VhostUserError } from '../src/util/index.ts';
import { treePids } from './proc.ts';

const live = new Set<ChildProcess>();
const STOP_MS = 5000;

/** A command line. */
export interface Command {
  readonly file: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts a process that is killed, at the latest, by `killAll`. */
export function startProcess(command: Command, options: SpawnOptions): ChildProcess {
  const env = { ...process.env, ...command.env };
  const child = spawn(command.file, command.args, { ...options, env });
  live.add(child);
  child.once('exit', () => live.delete(child));
  child.once('error', () => live.delete(child));
  return child;
}

/** Runs a process to its end and returns its output; an exit status other than 0 is an error. */
export function runProcess(command: Command, timeoutMs: number): Promise<string> {
  const child = startProcess(command, { stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => {
      const said = `${stderr}${stdout}`.trim();
      reject(processError(`${commandText(command)}: ${why}${said === '' ? '' : `: ${said}`}`));
    };
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      fail(`not done after ${timeoutMs / 1000} s`);
    }, timeoutMs);
    child.once('error', (error) => {
      clearTimeout(timer);
      fail(error.message);
    });
    child.once('close', (status, signal) => {
      clearTimeout(timer);
      if (status === 0) resolve(stdout);
      else fail(`ended with ${signal ?? `status ${String(status)}`}`);
    });
  });
}

/** Asks a process to end, kills it when it does not, and waits until it has gone. */
export async function stopProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  child.kill('SIGTERM');
  await gone;
  clearTimeout(timer);
}

/** Kills what still runs; for the end of the benchmark, whichever it is. */
export function killAll(): void {
  for (const { pid } of live) {
    if (pid !== undefined) killTree(pid);
  }
}

/** Kills a process and what it has started: a server may serve in a child of its own. */
function killTree(pid: number): void {
  for (const each of treePids(pid)) {
    try {
      process.kill(each, 'SIGKILL');
    } catch {
      // It has ended.
    }
  }
}

/** A command line as it would be typed. */
export function commandText(command: Command): string {
  return [command.file, ...command.args].join(' ');
}

/** An error of a child process. */
export function processError(message: string): VhostUserError {
  return new VhostUserError('ERR_VHU_BENCH_PROCESS', message);
}
