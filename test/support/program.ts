/**
 * The program as a child process, for tests of the command line.
 *
 * @module
 */
import { spawn } from 'node:child_process';
import type { ChildProcess, StdioOptions } from 'node:child_process';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The compiled program, or another one, such as what `npm run build` has made of it. */
export const PROGRAM_FILE: string = resolve(
  process.env.VHOST_USER_TEST_PROGRAM ??
    fileURLToPath(new URL('../../src/cli/main.js', import.meta.url)),
);

const LIMIT_MS = 60_000;

/** How a program is started. */
export interface StartOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** What is at fd 3, 4 and so on. */
  readonly extraFds?: readonly number[];
  /** The name that it is started under; its own file without it. */
  readonly file?: string;
  /** Another Node than the one that runs the tests. */
  readonly node?: string;
  /** What Node is given before the program, such as `--import`. */
  readonly nodeArgs?: readonly string[];
  /** A program that runs it: its words, after which come Node's and its own. */
  readonly within?: readonly string[];
  /** Descriptors that it may open at most (ulimit -n), which it cannot raise again. */
  readonly fdLimit?: number;
}

/** What a program has left behind. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running program. */
export class RunningProgram {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  #stdout = '';
  #stderr = '';
  #changed: () => void = () => undefined;

  constructor(args: readonly string[], options: StartOptions = {}) {
    const stdio: StdioOptions = ['ignore', 'pipe', 'pipe', ...(options.extraFds ?? [])];
    const node = [options.node ?? process.execPath, ...(options.nodeArgs ?? [])];
    const words = [...node, options.file ?? PROGRAM_FILE, ...args];
    if (options.fdLimit !== undefined) {
      words.unshift('sh', '-c', `ulimit -n ${options.fdLimit}; exec "$@"`, 'sh');
    }
    words.unshift(...(options.within ?? []));
    this.child = spawn(words[0] as string, words.slice(1), {
      stdio,
      env: { ...process.env, ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
      this.#changed();
    });
    this.ended = new Promise((resolve, reject) => {
      this.child.on('error', reject);
      this.child.on('close', (code, signal) => {
        resolve({ code, signal, stdout: this.#stdout, stderr: this.#stderr });
        this.#changed();
      });
    });
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** Waits until stderr matches; fails when the program ends before that, or is too slow. */
  async says(pattern: RegExp): Promise<RegExpMatchArray> {
    const until = Date.now() + LIMIT_MS;
    for (;;) {
      const found = pattern.exec(this.#stderr);
      if (found !== null) return found;
      const hasEnded = this.child.exitCode !== null || this.child.signalCode !== null;
      const leftMs = until - Date.now();
      if (hasEnded || leftMs <= 0) {
        throw new Error(
          `${hasEnded ? 'it ended' : 'too late'} without ${pattern}: ${this.#stderr}`,
        );
      }
      await this.#change(Math.min(leftMs, 1000));
    }
  }

  /** Sends a signal and waits for the end; returns how long that took, too. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<Ended & { readonly ms: number }> {
    const begin = performance.now();
    this.child.kill(signal);
    const ended = await this.ended;
    return { ...ended, ms: performance.now() - begin };
  }

  /** Ends it without ceremony, when a test has failed before its end. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill('SIGKILL');
    await this.ended.catch(() => undefined);
  }

  #change(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, limitMs);
      this.#changed = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** Runs the program to its end; one that does not end is killed, and has no exit code. */
export async function runProgram(
  args: readonly string[],
  options: StartOptions = {},
): Promise<Ended> {
  const running = new RunningProgram(args, options);
  const timer = setTimeout(() => running.child.kill('SIGKILL'), LIMIT_MS);
  try {
    return await running.ended;
  } finally {
    clearTimeout(timer);
  }
}

/** Runs a program for the time of a test, and ends it whatever happens. */
export async function withProgram(
  args: readonly string[],
  options: StartOptions,
  body: (program: RunningProgram) => Promise<void>,
): Promise<void> {
  const program = new RunningProgram(args, options);
  try {
    await body(program);
  } finally {
    await program[Symbol.asyncDispose]();
  }
}

/** The objects of a JSON log. */
export function linesOf(log: string): Record<string, unknown>[] {
  return log
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
