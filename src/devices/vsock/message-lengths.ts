/**
 * The lengths of messages that wait, first in, first out, and whether each ends a record. A guest
 * may have as many of them wait as it was told of bytes, so one takes a word, and none is moved.
 *
 * @module
 */
import { assert } from '../../util/index.ts';

const WORDS_MIN = 16;
/** A length shares its word with the mark. */
const BYTES_MAX = 2 ** 31 - 1;

/** See the module. */
export class MessageLengths {
  /** How many wait. */
  count = 0;
  #words = new Uint32Array(WORDS_MIN); // a ring: the length twice, and one more for the mark
  #first = 0;

  /** Length of the first one, in bytes; there is one. */
  get firstBytes(): number {
    return (this.#words[this.#first] as number) >>> 1;
  }

  /** Whether the first one ends a record. */
  get firstEndsRecord(): boolean {
    return ((this.#words[this.#first] as number) & 1) !== 0;
  }

  /** Adds one at the end. */
  push(bytes: number, endsRecord: boolean): void {
    assert(bytes <= BYTES_MAX, 'a message is shorter than 2 GiB');
    if (this.count === this.#words.length) this.#grow();
    this.#words[(this.#first + this.count) & (this.#words.length - 1)] =
      bytes * 2 + (endsRecord ? 1 : 0);
    this.count++;
  }

  /** Forgets the first one. */
  shift(): void {
    assert(this.count > 0, 'there is a first one');
    this.#first = (this.#first + 1) & (this.#words.length - 1);
    this.count--;
    if (this.count === 0) this.clear();
  }

  /** Forgets all, and gives the memory back. */
  clear(): void {
    if (this.#words.length > WORDS_MIN) this.#words = new Uint32Array(WORDS_MIN);
    this.#first = 0;
    this.count = 0;
  }

  #grow(): void {
    const before = this.#words;
    const words = new Uint32Array(2 * before.length);
    words.set(before.subarray(this.#first));
    words.set(before.subarray(0, this.#first), before.length - this.#first);
    this.#words = words;
    this.#first = 0;
  }
}
