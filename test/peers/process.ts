/**
 * Programs that a test starts: their output is kept, they are waited for, and nothing of them is
 * left when the test ends, however it ends (a killed test included).
 *
 * @module
 */
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import type { WriteStream } from 'node:fs';

const OUTPUT_CHARS_MAX = 8 << 20; // a flood of output does not take the test's memory
const KILL_AFTER_MS = 30_000; // for a busy machine

/** How a program ended: one of the two is there. */
export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** What {@link startProgram} may be told. */
export interface ProgramOptions {
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Everything that the program prints goes into this file as well. */
  readonly logFile?: string;
  /** Called with each complete line of either output. */
  readonly onLine?: (line: string) => void;
}

/** A started program. Its starter ends it by {@link TestProgram.stop} or waits for `ended`. */
export class TestProgram {
  readonly command: readonly string[];
  /** Resolves when the program has ended and its output is read; rejects when it cannot start. */
  readonly ended: Promise<Ending>;
  readonly #child: ChildProcess;
  readonly #log: WriteStream | undefined;
  #output = '';
  #partial = '';
  #running = true;

  constructor(command: readonly string[], options: ProgramOptions = {}) {
    this.command = command;
    this.#log = options.logFile === undefined ? undefined : createWriteStream(options.logFile);
    // The parent's death kills the program too; it leads a process group for what it starts itself.
    this.#child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...command], {
      env: { ...process.env, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    const killGroup = (): void => this.#kill('SIGKILL');
    process.on('exit', killGroup);
    this.ended = new Promise((resolve, reject) => {
      this.#child.once('error', reject);
      this.#child.once('close', (code, signal) => {
        this.#running = false;
        process.off('exit', killGroup);
        if (this.#partial !== '') options.onLine?.(this.#partial);
        this.#log?.end();
        resolve({ code, signal });
      });
    });
    this.ended.catch(() => {
      this.#running = false;
      process.off('exit', killGroup);
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8');
      stream?.on('data', (text: string) => this.#take(text, options.onLine));
    }
  }

  /** Of the program itself, as its own process sees it. */
  get pid(): number {
    return this.#child.pid ?? -1;
  }

  /** All that it has printed so far, both outputs in the order of arrival. */
  get output(): string {
    return this.#output;
  }

  get running(): boolean {
    return this.#running;
  }

  /** Sends a signal to the program alone. */
  signal(name: NodeJS.Signals): void {
    if (this.#running) this.#child.kill(name);
  }

  /** Asks the program and what it started to end, and kills them when they do not within 30 s. */
  async stop(name: NodeJS.Signals = 'SIGTERM'): Promise<Ending> {
    this.#kill(name);
    const timer = setTimeout(() => this.#kill('SIGKILL'), KILL_AFTER_MS);
    try {
      return await this.ended;
    } finally {
      clearTimeout(timer);
    }
  }

  #kill(name: NodeJS.Signals): void {
    if (!this.#running || this.#child.pid === undefined) return;
    try {
      process.kill(-this.#child.pid, name);
    } catch {
      // It has just ended by itself.
    }
  }

  #take(text: string, onLine: ((line: string) => void) | undefined): void {
    this.#log?.write(text);
    if (this.#output.length < OUTPUT_CHARS_MAX) this.#output += text;
    if (onLine === undefined) return;
    const lines = (this.#partial + text).split('\n');
    this.#partial = lines.pop() ?? '';
    for (const line of lines) onLine(line.replace(/\r$/, ''));
  }
}

/** Starts a program. */
export function startProgram(
  command: readonly string[],
  options: ProgramOptions = {},
): TestProgram {
  return new TestProgram(command, options);
}

/** Runs a short program to its end and returns what it printed; throws with that when it fails. */
export async function runProgram(
  command: readonly string[],
  options: ProgramOptions & { readonly timeoutMs?: number } = {},
): Promise<string> {
  const program = startProgram(command, options);
  const timeoutMs = options.timeoutMs ?? 60_000;
  const timer = setTimeout(() => void program.stop('SIGKILL'), timeoutMs);
  try {
    const { code, signal } = await program.ended;
    if (code === 0) return program.output;
    const how = signal === null ? `exit status ${code ?? '?'}` : `signal ${signal}`;
    throw new Error(`${command.join(' ')}\nended with ${how}:\n${program.output.slice(-4_000)}`);
  } finally {
    clearTimeout(timer);
  }
}

/** The output of a quick program, or undefined when it is not there or fails. */
export function probeProgram(command: readonly string[]): string | undefined {
  const [file, ...rest] = command;
  const result = spawnSync(file ?? '', rest, { encoding: 'utf8', timeout: 10_000 });
  return result.error === undefined && result.status === 0 ? result.stdout : undefined;
}
