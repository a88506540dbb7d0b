/**
 * Input on its way to a guest: what came from the host, in order, until the guest has room for it.
 *
 * @module
 */
import type { Chain } from '../../virtqueue/index.ts';

/** See the module. */
export class InputQueue {
  /** Bytes that wait. */
  lengthBytes = 0;
  #chunks: Uint8Array[] = [];
  #first = 0; // index of the chunk that is next
  #offset = 0; // bytes of it that are gone

  /** Appends; the bytes are the queue's from now on. */
  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#chunks.push(bytes);
    this.lengthBytes += bytes.length;
  }

  /** Moves as much as fits into the writable part of a chain; returns how much that is. */
  moveTo(chain: Chain): number {
    let done = 0;
    while (this.lengthBytes > 0 && done < chain.writableBytes) {
      const chunk = this.#chunks[this.#first] as Uint8Array;
      const moved = chain.copyToWritable(done, chunk.subarray(this.#offset));
      done += moved;
      this.lengthBytes -= moved;
      this.#offset += moved;
      if (this.#offset === chunk.length) this.#next();
    }
    return done;
  }

  #next(): void {
    this.#offset = 0;
    this.#first++;
    if (this.#first === this.#chunks.length) {
      this.#chunks = [];
      this.#first = 0;
    } else if (this.#first > this.#chunks.length / 2) {
      this.#chunks = this.#chunks.slice(this.#first); // each chunk is moved once on average
      this.#first = 0;
    }
  }
}
