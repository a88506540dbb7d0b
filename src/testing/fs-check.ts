/**
 * What a check of a file system is, and what the checks have in common.
 *
 * @module
 */
import type { FsClient, FsError } from '../frontend/index.ts';

/** What not every file system has. */
export type FsTrait =
  | 'links'
  | 'owners'
  | 'devices'
  | 'xattrs'
  | 'flocks'
  | 'record-locks'
  | 'holes'
  | 'allocate'
  | 'rename-flags'
  | 'huge';

/** One check. */
export interface FsCheck {
  /** What it says of the file system, as a sentence. */
  readonly name: string;
  /** Traits that it needs. */
  readonly needs: readonly FsTrait[];
  /** Rejects when it does not hold. `at` is the path of an empty folder, which it may fill. */
  readonly run: (fs: FsClient, at: string) => Promise<void>;
}

/** Bytes that are not zeroes, and not the same in any two pages. */
export function pattern(length: number, seed: number = 1): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >> 12) * 7 + seed) & 0xff;
  return bytes;
}

/** The code of what an operation rejects with; empty when it resolves. */
export async function codeOf(operation: Promise<unknown>): Promise<string> {
  try {
    await operation;
    return '';
  } catch (error) {
    return (error as FsError).code;
  }
}
