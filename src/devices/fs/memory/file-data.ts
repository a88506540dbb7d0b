/**
 * The content of one file in memory: chunks, of which those that hold nothing are not there.
 *
 * @module
 */
import { fsError } from '../tree/index.ts';
import type { Budget } from './budget.ts';

const CHUNK_BYTES = 65_536;
/** A chunk grows from this by doubling, so that small files take little. */
const CHUNK_BYTES_MIN = 4096;
/** As large as files are elsewhere (ext4's limit): offsets are numbers. */
const FILE_BYTES_MAX = 16 * 2 ** 40;

/**
 * See above. A chunk may be shorter than `CHUNK_BYTES`: the rest is a hole. What chunks hold behind
 * `size` is zero, so that a file which grows shows zeroes.
 */
export class FileData {
  readonly #chunks = new Map<number, Uint8Array>();
  readonly #budget: Budget;
  #size = 0;
  #allocated = 0;

  constructor(budget: Budget) {
    this.#budget = budget;
  }

  /** Bytes of the file. */
  get size(): number {
    return this.#size;
  }

  /** Bytes of memory that it takes. */
  get allocated(): number {
    return this.#allocated;
  }

  /** Fills a buffer from an offset; returns how many bytes there were. */
  read(into: Uint8Array, offset: number): number {
    const bytes = Math.max(0, Math.min(into.length, this.#size - offset));
    for (let at = 0; at < bytes;) {
      const index = Math.floor((offset + at) / CHUNK_BYTES);
      const start = offset + at - index * CHUNK_BYTES;
      const count = Math.min(bytes - at, CHUNK_BYTES - start);
      const part = this.#chunks.get(index)?.subarray(start, start + count);
      if (part !== undefined) into.set(part, at);
      into.fill(0, at + (part?.length ?? 0), at + count);
      at += count;
    }
    return bytes;
  }

  /** Writes at an offset. ENOSPC may come after a part of it. */
  write(data: Uint8Array, offset: number): void {
    checkEnd(offset + data.length);
    for (let at = 0; at < data.length;) {
      const index = Math.floor((offset + at) / CHUNK_BYTES);
      const start = offset + at - index * CHUNK_BYTES;
      const count = Math.min(data.length - at, CHUNK_BYTES - start);
      this.#chunk(index, start + count).set(data.subarray(at, at + count), start);
      at += count;
      this.#size = Math.max(this.#size, offset + at);
    }
  }

  /** Makes the file shorter, or longer by zeroes that take no memory. */
  truncate(size: number): void {
    checkEnd(size);
    // Also what was reserved behind the end.
    if (size <= this.#size) this.#clear(size, Infinity);
    this.#size = size;
  }

  /** Makes a hole. */
  punch(offset: number, length: number): void {
    this.#clear(offset, offset + length);
  }

  /** Takes memory for a range. */
  reserve(offset: number, length: number): void {
    checkEnd(offset + length);
    if (length - this.#allocated > this.#budget.bytesFree) throw fsError('ENOSPC');
    for (let at = offset; at < offset + length;) {
      const index = Math.floor(at / CHUNK_BYTES);
      const start = at - index * CHUNK_BYTES;
      const count = Math.min(offset + length - at, CHUNK_BYTES - start);
      this.#chunk(index, start + count);
      at += count;
    }
  }

  /** Where the next data is, at or behind an offset; ENXIO when there is none. */
  seekData(offset: number): number {
    let found = Infinity;
    const index = Math.floor(offset / CHUNK_BYTES);
    for (const [each, chunk] of this.#chunks) {
      const start = Math.max(offset, each * CHUNK_BYTES);
      if (each >= index && start < each * CHUNK_BYTES + chunk.length) {
        found = Math.min(found, start);
      }
    }
    if (found >= this.#size) throw fsError('ENXIO');
    return found;
  }

  /** Where the next hole is, which there is one of behind the end at the latest. */
  seekHole(offset: number): number {
    if (offset >= this.#size) throw fsError('ENXIO');
    let at = offset;
    for (;;) {
      const index = Math.floor(at / CHUNK_BYTES);
      const end = index * CHUNK_BYTES + (this.#chunks.get(index)?.length ?? 0);
      if (at >= end || at >= this.#size) return Math.min(at, this.#size);
      at = end;
      if (end % CHUNK_BYTES !== 0) return Math.min(at, this.#size);
    }
  }

  /** Gives all memory back; the file is empty. */
  close(): void {
    this.truncate(0);
  }

  /** A chunk that has at least so many bytes. */
  #chunk(index: number, bytes: number): Uint8Array {
    const chunk = this.#chunks.get(index);
    if (chunk !== undefined && chunk.length >= bytes) return chunk;
    let length = Math.max(CHUNK_BYTES_MIN, chunk?.length ?? 0);
    while (length < bytes) length *= 2;
    this.#charge(length - (chunk?.length ?? 0));
    const grown = new Uint8Array(length);
    if (chunk !== undefined) grown.set(chunk);
    this.#chunks.set(index, grown);
    return grown;
  }

  #charge(bytes: number): void {
    this.#budget.takeBytes(bytes);
    this.#allocated += bytes;
  }

  /** Makes zeroes of a range: whole chunks go. */
  #clear(from: number, to: number): void {
    for (const [index, chunk] of this.#chunks) {
      const start = from - index * CHUNK_BYTES;
      const end = to - index * CHUNK_BYTES;
      if (start >= chunk.length || end <= 0) continue;
      if (start > 0 || end < chunk.length) {
        chunk.fill(0, Math.max(0, start), Math.min(chunk.length, end));
        continue;
      }
      this.#chunks.delete(index);
      this.#charge(-chunk.length);
    }
  }
}

function checkEnd(end: number): void {
  if (end > FILE_BYTES_MAX) throw fsError('EFBIG');
}
