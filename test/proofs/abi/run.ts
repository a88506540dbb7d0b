/**
 * Runs a program that starts no others and takes all that it prints.
 *
 * @module
 */
import { execFile } from 'node:child_process';

const OUTPUT_BYTES_MAX = 1 << 24;
const LIMIT_MS = 900_000;

/** How it ended. */
export interface Printed {
  readonly code: number | undefined;
  /** What it printed: the answer, and what it complains of. */
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs it to its end, and until the last byte of its output has been read. */
export function run(
  command: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>>,
): Promise<Printed> {
  const [program = '', ...args] = command;
  const options = {
    cwd,
    env: { ...process.env, ...env },
    timeout: LIMIT_MS,
    maxBuffer: OUTPUT_BYTES_MAX,
  };
  return new Promise((resolve) => {
    execFile(program, args, options, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : undefined;
      resolve({ code, stdout, stderr: error === null ? stderr : `${error.message}\n${stderr}` });
    });
  });
}
