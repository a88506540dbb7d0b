/**
 * Buffers between the guest's memory and the methods of a file system.
 *
 * @module
 */

const SPARE_MAX = 8;
const BYTES_MIN = 65_536;

/** Lends buffers, and keeps a few of those that come back. */
export class BufferPool {
  readonly #spare: Uint8Array[] = [];

  /** A buffer of at least so many bytes, owned by the caller until he gives it back. */
  take(bytes: number): Uint8Array {
    const last = this.#spare.pop();
    if (last !== undefined && last.length >= bytes) return last;
    let size = BYTES_MIN;
    while (size < bytes) size *= 2;
    return new Uint8Array(size);
  }

  /** Gives one back. */
  give(buffer: Uint8Array): void {
    if (this.#spare.length < SPARE_MAX) this.#spare.push(buffer);
  }
}
