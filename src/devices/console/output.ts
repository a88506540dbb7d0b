/**
 * Output on its way from a guest: a ring of bytes with two readers, whoever is attached and the log
 * file. Positions are counts of bytes since the start.
 *
 * @module
 */
import type { Chain } from '../../virtqueue/index.ts';

/** See the module. */
export class OutputBuffer {
  readonly capacity: number;
  /** Written by the guest. */
  written = 0;
  /** Taken by whoever is attached, or given up. */
  sent = 0;
  /** Taken by the log. */
  logged = 0;
  readonly #bytes: Uint8Array;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.#bytes = new Uint8Array(capacity);
  }

  /** Room for more. */
  get free(): number {
    return this.capacity - (this.written - Math.min(this.sent, this.logged));
  }

  /** Appends `lengthBytes`, for which there is room, from `offset` of a chain's readable part. */
  append(chain: Chain, offset: number, lengthBytes: number): void {
    const at = this.written % this.capacity;
    const first = Math.min(lengthBytes, this.capacity - at);
    chain.copyFromReadable(offset, this.#bytes.subarray(at, at + first));
    if (first < lengthBytes) {
      chain.copyFromReadable(offset + first, this.#bytes.subarray(0, lengthBytes - first));
    }
    this.written += lengthBytes;
  }

  /** Appends bytes, for which there is room. */
  appendBytes(bytes: Uint8Array): void {
    const at = this.written % this.capacity;
    const first = Math.min(bytes.length, this.capacity - at);
    this.#bytes.set(bytes.subarray(0, first), at);
    this.#bytes.set(bytes.subarray(first), 0);
    this.written += bytes.length;
  }

  /** What is there from a position on, as far as it is in one piece; borrowed while it is kept. */
  piece(from: number, lengthMax: number): Uint8Array {
    const at = from % this.capacity;
    const length = Math.min(this.written - from, lengthMax, this.capacity - at);
    return this.#bytes.subarray(at, at + length);
  }
}
