/**
 * Slots that wait for their turn, each once, first come first served.
 *
 * @module
 */

/** See the module. Makes no garbage. */
export class SlotQueue {
  readonly #slots: Int32Array;
  readonly #waits: Uint8Array;
  readonly #mask: number;
  #first = 0;
  /** How many wait. */
  count = 0;

  /** For slots 0 to `max` - 1. */
  constructor(max: number) {
    let size = 1;
    while (size < max) size *= 2;
    this.#slots = new Int32Array(size);
    this.#waits = new Uint8Array(max);
    this.#mask = size - 1;
  }

  /** Adds a slot at the end, unless it waits already. */
  push(slot: number): void {
    if (this.#waits[slot] !== 0) return;
    this.#waits[slot] = 1;
    this.#slots[(this.#first + this.count) & this.#mask] = slot;
    this.count++;
  }

  /** Takes the first one, or -1. */
  shift(): number {
    if (this.count === 0) return -1;
    const slot = this.#slots[this.#first] as number;
    this.#first = (this.#first + 1) & this.#mask;
    this.count--;
    this.#waits[slot] = 0;
    return slot;
  }
}
