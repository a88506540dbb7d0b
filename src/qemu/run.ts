/**
 * A program that is asked one question: it gets a limit of time and of output, so that one that
 * hangs or floods holds nobody up.
 *
 * @module
 */
import { spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { errorCode, errorMessage } from '../util/index.ts';

const OUTPUT_BYTES_MAX = 1 << 20;
const STDERR_COLUMNS_MAX = 200;

/** What a program has answered. */
export interface Answer {
  readonly stdout: string;
  readonly stderr: string;
  /** Why there is no good answer, as a phrase: `did not end within 5 s`; null when there is one. */
  readonly fault: string | null;
}

/**
 * Starts a program with nothing at its standard input and waits for its end, for `limitMs` at most;
 * it is killed then. Does not throw: what goes wrong is the answer's `fault`.
 */
export function ask(file: string, args: readonly string[], limitMs: number): Promise<Answer> {
  return new Promise((resolve) => {
    const child = spawn(file, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    });
    // Node makes none when it has no descriptors left for them: only the error comes then.
    const streams: readonly (Readable | undefined)[] = [child.stdout, child.stderr];
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    let bytes = 0;
    const settle = (fault: string | null): void => {
      clearTimeout(timer);
      // A child of its own may still hold the pipes.
      for (const stream of streams) stream?.destroy();
      child.kill('SIGKILL');
      resolve({ stdout: textOf(out), stderr: textOf(err), fault });
    };
    const timer = setTimeout(() => settle(`did not end within ${limitMs / 1000} s`), limitMs);
    const take = (into: Buffer[]) => (chunk: Buffer) => {
      bytes += chunk.length;
      into.push(chunk);
      if (bytes > OUTPUT_BYTES_MAX) settle(`printed more than ${OUTPUT_BYTES_MAX} bytes`);
    };
    streams[0]?.on('data', take(out));
    streams[1]?.on('data', take(err));
    child.on('error', (error) => settle(`could not be started: ${reason(error)}`));
    child.on('close', (code, signal) => settle(endFault(code, signal, textOf(err))));
  });
}

function reason(error: Error): string {
  return errorCode(error) ?? errorMessage(error);
}

function endFault(code: number | null, signal: string | null, stderr: string): string | null {
  if (code === 0) return null;
  const line = stderr.split('\n').find((each) => each.trim() !== '') ?? '';
  const said = line === '' ? '' : `: ${line.trim().slice(0, STDERR_COLUMNS_MAX)}`;
  return signal === null ? `ended with status ${String(code)}${said}` : `ended by ${signal}${said}`;
}

function textOf(chunks: readonly Buffer[]): string {
  return Buffer.concat(chunks).toString('utf8');
}
