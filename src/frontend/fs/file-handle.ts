/**
 * An open file of a {@link FsClient}: the methods of Node's `FileHandle`, and locks.
 *
 * @module
 */
import { FUSE_OPCODE, LINUX_F, LINUX_O, LINUX_SEEK } from '../../fuse/index.ts';
import type { FuseCalls, FuseChanges } from './calls.ts';
import { FsError } from './errors.ts';
import { about, isError } from './mount.ts';
import type { FsMount } from './mount.ts';
import type { FsNode } from './nodes.ts';
import type { FsStats, FsTime } from './structures.ts';
import { readAt, writeAt } from './transfer.ts';
import type { OpenFile } from './transfer.ts';

const READ_BYTES = 64 * 1024; // at a time, of a file that does not say how long it is
const LOCK_END = 0x7fff_ffff_ffff_ffffn; // OFFSET_MAX: to the end of the file

/** Data to be written; text is UTF-8. */
export type FsData = string | Uint8Array;

/** Options of `readFile`. */
export interface ReadFileOptions {
  readonly encoding?: BufferEncoding | null;
  readonly signal?: AbortSignal;
}

/** Options of `writeFile` and `appendFile` of a handle. */
export interface WriteDataOptions {
  readonly encoding?: BufferEncoding;
  readonly signal?: AbortSignal;
}

/** Options of a lock. */
export interface LockOptions {
  /** `shared` and `exclusive` take a lock, `none` gives it up. */
  readonly type: 'shared' | 'exclusive' | 'none';
  /** Waits for a lock that somebody else has; else that is `EAGAIN`. */
  readonly wait?: boolean;
  /** Ends the waiting. */
  readonly signal?: AbortSignal;
}

/** Bytes of a file, for a POSIX lock; all of it by default. */
export interface LockRange {
  readonly start?: number;
  /** 0 or nothing: to the end of the file, wherever that will be. */
  readonly length?: number;
}

/** What a {@link FsFileHandle} is made of. */
export interface FileHandleParts {
  readonly mount: FsMount;
  readonly calls: FuseCalls;
  /** Pinned; the handle releases it. */
  readonly node: FsNode;
  readonly fh: bigint;
  /** `LINUX_O` flags that it was opened with. */
  readonly flags: number;
  readonly path: string;
  /** It was opened by OPENDIR. */
  readonly folder: boolean;
  /** The server keeps no handle (OPEN was answered with ENOSYS). */
  readonly stateless: boolean;
  /** The owner of the client's POSIX locks. */
  readonly owner: bigint;
}

/**
 * See the module; made by `FsClient.open`, closed by `close`. Reads and writes without a position
 * go on where the last one ended, one after the other; those with a position run at the same time.
 */
export class FsFileHandle {
  /** The path that it was opened by. */
  readonly path: string;
  readonly #parts: FileHandleParts;
  readonly #file: OpenFile;
  readonly #append: boolean;
  #position = 0;
  #turn: Promise<unknown> = Promise.resolve(); // of what depends on the position
  #flockOwner: bigint | undefined;
  #closing: Promise<void> | null = null;

  /** @internal made by `FsClient.open` */
  constructor(parts: FileHandleParts) {
    this.#parts = parts;
    this.#file = { node: parts.node.id, fh: parts.fh };
    this.path = parts.path;
    this.#append = (parts.flags & LINUX_O.APPEND) !== 0;
  }

  /**
   * Reads up to `length` bytes into `buffer` at `offset`; fewer at the end of the file.
   * @param position in the file; null or nothing: the handle's own
   */
  async read<B extends Uint8Array>(
    buffer: B,
    offset: number = 0,
    length: number = buffer.length - offset,
    position: number | null = null,
    signal?: AbortSignal,
  ): Promise<{ bytesRead: number; buffer: B }> {
    const into = buffer.subarray(offset, offset + length);
    const read = (at: number): Promise<number> =>
      this.#about('read', () => readAt(this.#parts.calls, this.#file, at, into, signal));
    if (position !== null) return { bytesRead: await read(position), buffer };
    const bytesRead = await this.#inTurn(async () => {
      const count = await read(this.#position);
      this.#position += count;
      return count;
    });
    return { bytesRead, buffer };
  }

  /**
   * Writes `length` bytes of `data`, all of them; text as UTF-8.
   * @param position in the file; null or nothing: the handle's own, or the end with O_APPEND
   */
  async write<D extends FsData>(
    data: D,
    offset: number = 0,
    length?: number,
    position: number | null = null,
    signal?: AbortSignal,
  ): Promise<{ bytesWritten: number; buffer: D }> {
    const all: Uint8Array = typeof data === 'string' ? Buffer.from(data) : data;
    const bytes = all.subarray(offset, length === undefined ? undefined : offset + length);
    await this.#write(bytes, position, signal);
    return { bytesWritten: bytes.length, buffer: data };
  }

  /** Reads from the handle's position to the end of the file. */
  readFile(options: ReadFileOptions & { readonly encoding: BufferEncoding }): Promise<string>;
  /** The same as bytes. */
  readFile(options?: ReadFileOptions & { readonly encoding?: null }): Promise<Buffer>;
  /** Either, by the encoding. */
  readFile(options?: ReadFileOptions): Promise<Buffer | string>;
  /** Either, by the encoding. */
  async readFile(options: ReadFileOptions = {}): Promise<Buffer | string> {
    const bytes = await this.#about('read', () =>
      this.#inTurn(() => this.#readAll(options.signal)),
    );
    const { encoding } = options;
    return encoding === undefined || encoding === null ? bytes : bytes.toString(encoding);
  }

  /** Writes data at the handle's position. The file is not made shorter, as with Node's. */
  async writeFile(data: FsData, options: WriteDataOptions = {}): Promise<void> {
    const bytes = typeof data === 'string' ? Buffer.from(data, options.encoding) : data;
    await this.#write(bytes, null, options.signal);
  }

  /** The same: where it goes depends on how the file was opened. */
  appendFile(data: FsData, options: WriteDataOptions = {}): Promise<void> {
    return this.writeFile(data, options);
  }

  /** What the file is. */
  stat(): Promise<FsStats> {
    return this.#about('fstat', () => {
      const { calls, stateless, folder, node, fh } = this.#parts;
      return stateless || folder ? calls.getattr(node.id) : calls.getattr(node.id, fh);
    });
  }

  /** Makes the file so many bytes long. */
  truncate(bytes: number = 0): Promise<void> {
    return this.#change('ftruncate', { size: bytes });
  }

  /** Changes the permissions. */
  chmod(mode: number): Promise<void> {
    return this.#change('fchmod', { mode });
  }

  /** Changes the owner; -1 leaves one as it is. */
  chown(uid: number, gid: number): Promise<void> {
    return this.#change('fchown', ownerChange(uid, gid));
  }

  /** Changes the times. */
  utimes(atime: FsTime, mtime: FsTime): Promise<void> {
    return this.#change('futimes', { atime, mtime });
  }

  /** Resolves when the file is on disk. */
  sync(): Promise<void> {
    return this.#sync('fsync', false);
  }

  /** Resolves when the file's data are on disk. */
  datasync(): Promise<void> {
    return this.#sync('fdatasync', true);
  }

  /**
   * Makes sure that there is room for a range (fallocate); other modes are Linux's: 1 keeps the
   * size, 3 punches a hole.
   */
  allocate(offset: number, length: number, mode: number = 0): Promise<void> {
    return this.#about('fallocate', async () => {
      const { calls, node, fh } = this.#parts;
      const send = (): Promise<void> => calls.fallocate(node.id, fh, { offset, length, mode });
      await this.#parts.mount.optional(FUSE_OPCODE.FALLOCATE, send, notSupported);
    });
  }

  /** Where the next data begin, at or after an offset; null: none come. */
  seekData(offset: number): Promise<number | null> {
    return this.#seek(offset, LINUX_SEEK.DATA);
  }

  /** Where the next hole begins, the end of the file at the latest; null beyond the end. */
  seekHole(offset: number): Promise<number | null> {
    return this.#seek(offset, LINUX_SEEK.HOLE);
  }

  /**
   * flock(2): a lock on the whole file that belongs to this handle, and goes with it.
   * @throws FsError `EAGAIN` when somebody else has it; what aborted the signal
   */
  flock(options: LockOptions): Promise<void> {
    return this.#about('flock', async () => {
      const owner = (this.#flockOwner ??= this.#parts.mount.newOwner());
      await this.#lock(options, { start: 0n, end: LOCK_END }, { owner, flock: true });
    });
  }

  /** A POSIX lock on a range, which belongs to the client; gone when it closes a handle of it. */
  lock(options: LockOptions & LockRange): Promise<void> {
    return this.#about('fcntl', async () => {
      const { owner } = this.#parts;
      await this.#lock(options, rangeOf(options), { owner, flock: false });
    });
  }

  /** The POSIX lock of somebody else that is in the way of one; null: none is. */
  getLock(
    type: 'shared' | 'exclusive',
    range: LockRange = {},
  ): Promise<{ type: 'shared' | 'exclusive'; start: number; length: number; pid: number } | null> {
    return this.#about('fcntl', async () => {
      const { calls, node, fh, owner } = this.#parts;
      const wanted = { type: lockType(type), ...rangeOf(range), pid: calls.identity.pid };
      const found = await calls.getlk(node.id, fh, wanted, owner);
      if (found.type === LINUX_F.UNLCK) return null;
      const start = Number(found.start);
      const length = found.end >= LOCK_END ? 0 : Number(found.end - found.start) + 1;
      const kind = found.type === LINUX_F.WRLCK ? 'exclusive' : 'shared';
      return { type: kind, start, length, pid: found.pid };
    });
  }

  /** Closes the file; rejects with what the server says of data that it still had. */
  close(): Promise<void> {
    this.#closing ??= this.#about('close', () => this.#close());
    return this.#closing;
  }

  /** The same as `close`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** @internal The open file, for requests that take several. */
  get file(): OpenFile {
    return this.#file;
  }

  async #close(): Promise<void> {
    const { mount, calls, node, fh, folder, stateless, flags, owner } = this.#parts;
    const flockOwner = this.#flockOwner;
    try {
      if (!folder) {
        const flush = (): Promise<void> => calls.flush(node.id, fh, owner);
        await mount.optional(FUSE_OPCODE.FLUSH, flush, () => undefined);
      }
    } finally {
      const options = { flags, folder, ...(flockOwner === undefined ? {} : { flockOwner }) };
      try {
        if (!stateless) await calls.release(node.id, fh, options);
      } catch (error) {
        if (!(error instanceof FsError)) throw error; // nobody can do anything about it
      } finally {
        mount.nodes.release(node);
      }
    }
  }

  async #readAll(signal: AbortSignal | undefined): Promise<Buffer> {
    const { calls } = this.#parts;
    const { size } = await this.stat();
    const known = size - this.#position;
    if (known > 0) {
      const bytes = Buffer.allocUnsafeSlow(known);
      const count = await readAt(calls, this.#file, this.#position, bytes, signal);
      this.#position += count;
      return bytes.subarray(0, count);
    }
    const pieces: Buffer[] = [];
    for (;;) {
      const piece = Buffer.allocUnsafeSlow(READ_BYTES);
      const count = await readAt(calls, this.#file, this.#position, piece, signal);
      if (count === 0) return Buffer.concat(pieces);
      this.#position += count;
      pieces.push(piece.subarray(0, count));
    }
  }

  async #write(bytes: Uint8Array, position: number | null, signal?: AbortSignal): Promise<void> {
    const { calls, flags } = this.#parts;
    const write = (at: number): Promise<void> => {
      const options = { flags, inOrder: this.#append, signal };
      return this.#about('write', () => writeAt(calls, this.#file, at, bytes, options));
    };
    if (position !== null && !this.#append) {
      await write(position);
      return;
    }
    await this.#inTurn(async () => {
      // As a kernel does; a server that opened the file for appending finds the end by itself.
      const at = this.#append ? (await this.stat()).size : this.#position;
      await write(at);
      this.#position = at + bytes.length;
    });
  }

  #change(syscall: string, changes: FuseChanges): Promise<void> {
    return this.#about(syscall, async () => {
      const { calls, node, fh, stateless, folder } = this.#parts;
      await calls.setattr(node.id, stateless || folder ? changes : { ...changes, fh });
    });
  }

  #sync(syscall: string, dataOnly: boolean): Promise<void> {
    return this.#about(syscall, async () => {
      const { mount, calls, node, fh, folder } = this.#parts;
      const opcode = folder ? FUSE_OPCODE.FSYNCDIR : FUSE_OPCODE.FSYNC;
      const send = (): Promise<void> => calls.fsync(node.id, fh, { dataOnly, folder });
      await mount.optional(opcode, send, () => undefined); // as a kernel does
    });
  }

  #seek(offset: number, whence: number): Promise<number | null> {
    return this.#about('lseek', async () => {
      const { mount, calls, node, fh } = this.#parts;
      const send = (): Promise<number> => calls.lseek(node.id, fh, offset, whence);
      try {
        return await mount.optional(FUSE_OPCODE.LSEEK, send, notSupported);
      } catch (error) {
        if (isError(error, 'ENXIO')) return null;
        throw error;
      }
    });
  }

  async #lock(
    options: LockOptions,
    range: { readonly start: bigint; readonly end: bigint },
    whose: { readonly owner: bigint; readonly flock: boolean },
  ): Promise<void> {
    const { calls, node, fh } = this.#parts;
    const { type, wait = false, signal } = options;
    const { pid } = calls.identity;
    const lock = { type: lockType(type), ...range, pid, ...whose, wait, signal };
    await calls.setlk(node.id, fh, lock);
  }

  /** Runs things that depend on the position one after the other. */
  #inTurn<T>(body: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(body);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  #about<T>(syscall: string, body: () => Promise<T>): Promise<T> {
    const closed = this.#closing !== null && syscall !== 'close';
    return about(syscall, this.path, async () => {
      if (closed) throw new FsError('EBADF', { syscall });
      if (this.#parts.folder && (syscall === 'read' || syscall === 'write')) {
        throw new FsError('EISDIR', { syscall });
      }
      return body();
    });
  }
}

/** SETATTR's idea of chown(2), where -1 is no change. */
export function ownerChange(uid: number, gid: number): FuseChanges {
  return { ...(uid === -1 ? {} : { uid }), ...(gid === -1 ? {} : { gid }) };
}

function lockType(type: LockOptions['type']): number {
  if (type === 'none') return LINUX_F.UNLCK;
  return type === 'shared' ? LINUX_F.RDLCK : LINUX_F.WRLCK;
}

function rangeOf(range: LockRange): { start: bigint; end: bigint } {
  const start = BigInt(range.start ?? 0);
  const length = BigInt(range.length ?? 0);
  return { start, end: length === 0n ? LOCK_END : start + length - 1n };
}

function notSupported(): never {
  throw new FsError('EOPNOTSUPP', { syscall: 'fuse' });
}
