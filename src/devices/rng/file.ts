/**
 * A file, a device or a FIFO that random bytes are read from.
 *
 * @module
 */
import { constants, fstatSync, openSync, read, readSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { VhostUserError, errorCode, errorMessage } from '../../util/index.ts';
import { closeFd } from '../../sys/index.ts';

/** Called once for each read: with a count of bytes, or with the error that there was. */
export type RngReceiver = (count: number, error: VhostUserError | null) => void;

/** The files that are open, by device and inode. */
const open = new Map<string, RngFile>();

/**
 * See the module. Devices of this process that name the same file share one, and its position with
 * it: no two guests get the same bytes out of it.
 *
 * It is read on a thread of Node's own, since a disk may be slow, and without waiting for bytes
 * that are not there yet (O_NONBLOCK): a thread that waits could not be ended.
 */
export class RngFile {
  readonly path: string;
  /** A regular file: everything that it has is known, and comes to an end. */
  readonly isRegular: boolean;
  readonly #fd: number;
  readonly #key: string;
  #users = 1; // owners and reads under way; the last one closes

  private constructor(path: string, fd: number, stats: Stats) {
    this.path = path;
    this.isRegular = stats.isFile();
    this.#fd = fd;
    this.#key = keyOf(stats);
  }

  /**
   * Opens a file; every call is to be answered by one of `close`.
   * @throws VhostUserError `ERR_VHU_OPEN`, `ERR_VHU_RNG_FILE`.
   */
  static open(path: string): RngFile {
    let fd: number;
    try {
      fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    } catch (error) {
      const text = `${path} cannot be opened: ${errorMessage(error)}`;
      throw new VhostUserError('ERR_VHU_OPEN', text, { cause: error });
    }
    try {
      const stats = fstatSync(fd);
      const known = open.get(keyOf(stats));
      if (known !== undefined) {
        closeFd(fd);
        known.#users++;
        return known;
      }
      checkKind(path, stats);
      if (stats.isFile()) checkContent(path, fd);
      const file = new RngFile(path, fd, stats);
      open.set(file.#key, file);
      return file;
    } catch (error) {
      closeFd(fd);
      throw error;
    }
  }

  /**
   * Reads up to `lengthBytes` into the start of `into`, which has to stay until the receiver is
   * called. 0 bytes: there are none now.
   */
  read(into: Uint8Array, lengthBytes: number, receive: RngReceiver): void {
    this.#users++;
    // From where the last read ended. Reads of several devices at once get different bytes: POSIX
    // has read() atomic with respect to others (XSH 2.9.7).
    read(this.#fd, into, 0, lengthBytes, null, (error, count) => {
      this.close();
      if (error === null) receive(count, null);
      else if (errorCode(error) === 'EAGAIN') receive(0, null);
      else receive(0, readError(this.path, error));
    });
  }

  /** Closes the file, once each of its owners has done so and nothing is being read. */
  close(): void {
    this.#users--;
    if (this.#users > 0) return;
    open.delete(this.#key);
    closeFd(this.#fd);
  }
}

function readError(path: string, error: unknown): VhostUserError {
  const text = `reading ${path}: ${errorMessage(error)}`;
  return new VhostUserError('ERR_VHU_RNG_FILE', text, { cause: error });
}

function keyOf(stats: Stats): string {
  return `${String(stats.dev)}:${String(stats.ino)}`;
}

function checkKind(path: string, stats: Stats): void {
  if (stats.isFile() || stats.isCharacterDevice() || stats.isFIFO()) return;
  throw new VhostUserError(
    'ERR_VHU_RNG_FILE',
    `${path}: neither a file nor a character device nor a FIFO, so nothing random comes out of it`,
  );
}

/** Reads the first byte of a file, as a try; a size alone says nothing of files in /proc. */
function checkContent(path: string, fd: number): void {
  let count: number;
  try {
    count = readSync(fd, new Uint8Array(1), 0, 1, 0);
  } catch (error) {
    throw readError(path, error);
  }
  if (count > 0) return;
  throw new VhostUserError(
    'ERR_VHU_RNG_FILE',
    `${path}: the file is empty, so there is nothing to give to a guest`,
  );
}
