/**
 * Runs a program to its end, with a limit of time, and kills everything that it started when the
 * limit is over.
 *
 * @module
 */
import { spawn } from 'node:child_process';
import { ROOT } from '../support/repository.ts';
import type { Check } from './outcome.ts';

const OUTPUT_CHARS_MAX = 60_000; // of one program; the end of what it printed is kept

/** How a program is run; the folder is the repository's unless it is named. */
export interface CommandOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly limitMs: number;
  /** An open file that the program gets as its fd 3. */
  readonly fd3?: number;
}

/** How a program ended. */
export interface CommandResult {
  /** Undefined when a signal ended it. */
  readonly code: number | undefined;
  /** Both of its outputs, in the order in which they came. */
  readonly output: string;
  /** In words, as `exit status 1`. */
  readonly end: string;
}

/** Runs a program; never throws because of what it does. */
export async function runCommand(
  command: readonly string[],
  options: CommandOptions,
): Promise<CommandResult> {
  const [program = '', ...args] = command;
  const child = spawn(program, args, {
    cwd: options.cwd ?? ROOT,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe', options.fd3 ?? 'ignore'],
    detached: true, // a process group of its own, so that all of it can be ended
  });
  let output = '';
  const keep = (chunk: string): void => {
    output = (output + chunk).slice(-OUTPUT_CHARS_MAX);
  };
  child.stdout?.setEncoding('utf8').on('data', keep);
  child.stderr?.setEncoding('utf8').on('data', keep);
  const limit = { isOver: false };
  const timer = setTimeout(() => {
    limit.isOver = true;
    endGroup(child.pid);
  }, options.limitMs);
  const end = await new Promise<number | string>((resolve) => {
    child.once('error', (error) => {
      resolve(error.message);
    });
    // `exit` and not `close`: what it left running may hold the pipes open.
    child.once('exit', (code, signal) => {
      setTimeout(() => {
        resolve(code ?? `ended by ${signal ?? 'a signal'}`);
      }, 20);
    });
  });
  clearTimeout(timer);
  child.stdout?.destroy();
  child.stderr?.destroy();
  endGroup(child.pid);
  const words = limit.isOver ? `no end in ${options.limitMs / 1000} s` : String(end);
  if (typeof end !== 'number') return { code: undefined, output, end: words };
  return { code: end, output, end: `exit status ${words}` };
}

function endGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // Nothing of it is left.
  }
}

/** Runs a program as one check: it passes with exit status 0. */
export async function checkCommand(
  name: string,
  command: readonly string[],
  options: CommandOptions,
): Promise<Check> {
  const { code, output, end } = await runCommand(command, options);
  if (code === 0) return { name, status: 'passed' };
  return { name, status: 'failed', detail: `${command.join(' ')}: ${end}\n${output}` };
}
