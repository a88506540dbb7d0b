/**
 * A file that output is appended to, and its rotation: `FILE` is the current one, `FILE.1` the one
 * before it, and so on.
 *
 * @module
 */
import { closeSync, fstatSync, openSync, renameSync, rmSync, write } from 'node:fs';
import { VhostUserError, errorMessage } from '../../../util/index.ts';
import type { LogLevel } from '../../../backend/index.ts';
import type { LogFileOptions } from '../options.ts';

const MODE = 0o600; // what a console shows is not for everybody
const KEEP = 3;

/** See the module. A log that cannot be written says so once, and does not hold the guest up. */
export class LogFile {
  readonly path: string;
  readonly #maxBytes: number;
  readonly #keep: number;
  readonly #say: (level: LogLevel, text: string) => void;
  #fd = -1;
  #sizeBytes = 0;
  #failed = false;
  #busy = false;
  #stale = false; // it is to be opened anew
  #closed = false;

  constructor(options: LogFileOptions, say: (level: LogLevel, text: string) => void) {
    this.path = options.path;
    this.#maxBytes = options.maxBytes ?? 0;
    this.#keep = options.keep ?? KEEP;
    this.#say = say;
  }

  /** @throws VhostUserError `ERR_VHU_CONSOLE_LOG` */
  open(): void {
    try {
      this.#fd = openSync(this.path, 'a', MODE);
    } catch (error) {
      throw new VhostUserError('ERR_VHU_CONSOLE_LOG', `log: ${errorMessage(error)}`, {
        cause: error,
      });
    }
    this.#sizeBytes = fstatSync(this.#fd).size;
  }

  /** Appends; `bytes` are borrowed until `done` is called. One at a time. */
  write(bytes: Uint8Array, done: () => void): void {
    if (this.#fd < 0) {
      setImmediate(done);
      return;
    }
    this.#busy = true;
    this.#writeFrom(bytes, 0, () => {
      this.#busy = false;
      if (this.#closed) this.#release();
      else if (this.#maxBytes > 0 && this.#sizeBytes >= this.#maxBytes) this.#rotate();
      else if (this.#stale) this.#openAgain();
      done();
    });
  }

  /** Opens the file by its name once more: another program has moved it away. */
  reopen(): void {
    if (this.#closed) return;
    this.#stale = true;
    if (!this.#busy) this.#openAgain();
  }

  /** Closes the file, after the write that is under way: its number may be another file's next. */
  close(): void {
    this.#closed = true;
    if (!this.#busy) this.#release();
  }

  #release(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }

  #writeFrom(bytes: Uint8Array, offset: number, done: () => void): void {
    write(this.#fd, bytes, offset, bytes.length - offset, null, (error, count) => {
      if (error !== null) {
        this.#fail(error);
        done();
        return;
      }
      this.#failed = false;
      this.#sizeBytes += count;
      if (offset + count < bytes.length) this.#writeFrom(bytes, offset + count, done);
      else done();
    });
  }

  #rotate(): void {
    try {
      const name = (index: number): string => {
        return index === 0 ? this.path : `${this.path}.${String(index)}`;
      };
      if (this.#keep === 0) rmSync(this.path, { force: true });
      for (let i = this.#keep; i > 0; i--) renameIfThere(name(i - 1), name(i));
    } catch (error) {
      this.#fail(error as Error);
    }
    this.#openAgain();
  }

  #openAgain(): void {
    this.#stale = false;
    try {
      const fd = openSync(this.path, 'a', MODE);
      if (this.#fd >= 0) closeSync(this.#fd);
      this.#fd = fd;
      this.#sizeBytes = fstatSync(fd).size;
    } catch (error) {
      this.#fail(error as Error); // and goes on in the one that is open
    }
  }

  #fail(error: Error): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#say('error', `log ${this.path}: ${errorMessage(error)}: what does not fit is lost`);
  }
}

function renameIfThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
  }
}
