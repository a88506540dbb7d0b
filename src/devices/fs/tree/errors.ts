/**
 * What a file system throws, as the guest's errno.
 *
 * @module
 */
import type { LINUX_E } from '../../../fuse/index.ts';
import { LINUX_ERRNO } from '../../../sys/index.ts';

/** The name of an error that a guest understands. */
export type FsErrorCode = `E${keyof typeof LINUX_E}`;

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
  if (typeof code === 'string' && Object.hasOwn(LINUX_ERRNO, code)) {
    return LINUX_ERRNO[code] as number;
  }
  return name === 'AbortError' ? (LINUX_ERRNO.EINTR as number) : 0;
}
