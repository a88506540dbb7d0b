/**
 * What a file system in memory may take of it.
 *
 * @module
 */
import { fsError } from '../tree/index.ts';

/** Bytes of contents, and names; ENOSPC beyond. */
export class Budget {
  readonly bytesMax: number;
  readonly namesMax: number;
  #bytes = 0;
  #names = 0;

  constructor(bytesMax: number, namesMax: number) {
    this.bytesMax = bytesMax;
    this.namesMax = namesMax;
  }

  /** Bytes that are left. */
  get bytesFree(): number {
    return this.bytesMax - this.#bytes;
  }

  /** Names that are left. */
  get namesFree(): number {
    return this.namesMax - this.#names;
  }

  /** Takes bytes, or gives them back where the count is negative. */
  takeBytes(bytes: number): void {
    if (bytes > this.bytesFree) throw fsError('ENOSPC');
    this.#bytes += bytes;
  }

  /** Takes names, or gives them back. */
  takeNames(count: number): void {
    if (count > this.namesFree) throw fsError('ENOSPC');
    this.#names += count;
  }
}
