/**
 * A file without a name, for what has been unpacked: it goes when it is closed, and when the
 * process ends, however that happens.
 *
 * @module
 */
import { ftruncate, mkdtempSync, openSync, read, rmSync, write } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { VhostUserError, errorMessage } from '../../../util/index.ts';

/**
 * Opens one, readable and writable; the caller owns the fd.
 * @throws VhostUserError `ERR_VHU_FS_ARCHIVE` when the folder for temporary files takes none.
 */
export function openTemporaryFile(): number {
  try {
    const folder = mkdtempSync(join(tmpdir(), 'vhost-user-'));
    try {
      return openSync(join(folder, 'unpacked'), 'wx+', 0o600);
    } finally {
      rmSync(folder, { recursive: true });
    }
  } catch (cause) {
    throw new VhostUserError(
      'ERR_VHU_FS_ARCHIVE',
      `no room for unpacked files in ${tmpdir()} (TMPDIR names another): ${errorMessage(cause)}`,
      { cause },
    );
  }
}

/** `fs.read` as a promise, for fds that others own. */
export const readAt: typeof read.__promisify__ = promisify(read);
const writeAt = promisify(write);

/** `fs.ftruncate` as a promise. */
export const truncateTo: typeof ftruncate.__promisify__ = promisify(ftruncate);

/** Writes all of some bytes at an offset; returns how many there are. */
export async function writeWhole(fd: number, bytes: Uint8Array, offset: number): Promise<number> {
  for (let at = 0; at < bytes.length;) {
    at += (await writeAt(fd, bytes, at, bytes.length - at, offset + at)).bytesWritten;
  }
  return bytes.length;
}
