/**
 * What ends the program before its time: exit codes, and errors as text for people.
 *
 * @module
 */
import { VhostUserError, errorMessage } from '../util/index.ts';

/** The exit codes of every command. To SIGNALLED the number of a signal is added, as shells do. */
export const EXIT = { OK: 0, FAILED: 1, USAGE: 2, SIGNALLED: 128 } as const;

/** The command line or a configuration file is wrong; nothing has been started. */
export class UsageError extends Error {
  /** Where to read more: `vhost-user blk --help`; empty when the message says it all. */
  readonly help: string;

  constructor(message: string, help = '') {
    super(message);
    this.name = 'UsageError';
    this.help = help;
  }
}

/** The exit code that an error asks for. */
export function exitCodeOf(error: unknown): number {
  return error instanceof UsageError ? EXIT.USAGE : EXIT.FAILED;
}

/**
 * An error in words, without its stack; with `debug` the stack comes after it.
 * Errors of operators and peers have a code and a message that is enough; all others are mistakes
 * of ours, and are said to be.
 */
export function errorText(program: string, error: unknown, debug: boolean): string {
  const lines = [`${program}: ${errorMessage(error)}`];
  if (error instanceof UsageError) {
    if (error.help !== '') lines.push(`Try '${error.help}'.`);
  } else if (!isExpected(error)) {
    lines.push('This is a bug of vhost-user: please report it, with what --log-level debug says.');
  } else if (lines[0]?.includes('EMFILE') === true) {
    lines.push("This process may open too few files: raise the limit, as by 'ulimit -n 1024'.");
  }
  if (debug && error instanceof Error && error.stack !== undefined) lines.push(error.stack);
  return `${lines.join('\n')}\n`;
}

/** Ours, or a system call of the runtime's own modules. */
function isExpected(error: unknown): boolean {
  if (error instanceof VhostUserError) return true;
  return error instanceof Error && 'syscall' in error;
}
