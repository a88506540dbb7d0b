/**
 * What a file system throws, as the guest's errno.
 *
 * @module
 */
import { LINUX_E } from '../../../fuse/index.ts';

/** Errors that FUSE itself has no use for, and that what a file system calls may throw. */
const MORE = {
  CHILD: 10,
  FAULT: 14,
  NOTBLK: 15,
  SPIPE: 29,
  PIPE: 32,
  DOM: 33,
  DEADLK: 35,
  BADMSG: 74,
  ILSEQ: 84,
  NOTSUP: 95,
  ADDRINUSE: 98,
  NETDOWN: 100,
  NETUNREACH: 101,
  CONNABORTED: 103,
  CONNRESET: 104,
  TIMEDOUT: 110,
  CONNREFUSED: 111,
  HOSTDOWN: 112,
  HOSTUNREACH: 113,
  DQUOT: 122,
  CANCELED: 125,
  WOULDBLOCK: 11,
} as const;

const NUMBERS: ReadonlyMap<string, number> = new Map(
  Object.entries({ ...LINUX_E, ...MORE }).map(([name, number]) => [`E${name}`, number]),
);

/** The name of an error that a guest understands. */
export type FsErrorCode = `E${keyof typeof LINUX_E | keyof typeof MORE}`;

/** An error for a guest; see {@link fsError}. */
export class FileSystemError extends Error {
  readonly code: FsErrorCode;

  constructor(code: FsErrorCode, message: string) {
    super(message);
    this.name = 'FileSystemError';
    this.code = code;
  }
}

/** An error to throw from a method of a file system: `throw fsError('ENOENT')`. */
export function fsError(code: FsErrorCode, message: string = code): FileSystemError {
  return new FileSystemError(code, message);
}

/**
 * Linux's number for what was thrown, positive; 0 for what has no such number, and is a mistake of
 * the file system.
 */
export function errnoOf(error: unknown): number {
  if (typeof error !== 'object' || error === null) return 0;
  const { code, name } = error as { code?: unknown; name?: unknown };
  if (typeof code === 'string') {
    const number = NUMBERS.get(code);
    if (number !== undefined) return number;
  }
  return name === 'AbortError' ? LINUX_E.INTR : 0;
}
