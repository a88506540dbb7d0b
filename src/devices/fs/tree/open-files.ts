/**
 * What the guest has open: files and directories, by the number that it calls them by.
 *
 * @module
 */
import { fsError } from './errors.ts';
import type { KnownNode } from './node-table.ts';
import type { Snapshot } from './snapshot.ts';

const OPEN_MAX = 1 << 20;

/** An open file. */
export interface OpenFile<Node, File> {
  readonly known: KnownNode<Node>;
  readonly file: File;
  /** `O_ACCMODE` of the flags that it was opened with. */
  readonly access: number;
  /** What `readFile` gave, when reads come out of that. */
  readonly content: Uint8Array | null;
}

/** An open directory. */
export interface OpenDirectory<Node> {
  readonly known: KnownNode<Node>;
  /** What it held when it was read from its beginning; null before. */
  snapshot: Snapshot<Node> | null;
}

/** A table of numbers, each given once only. */
export class OpenTable<Value> {
  readonly #values = new Map<number, Value>();
  #nextId = 1;

  /** How many are open. */
  get size(): number {
    return this.#values.size;
  }

  /** Throws ENFILE when there are too many. */
  checkRoom(): void {
    if (this.#values.size >= OPEN_MAX) throw fsError('ENFILE', 'the guest has too many files open');
  }

  /** The number for a value. */
  add(value: Value): number {
    const id = this.#nextId++;
    this.#values.set(id, value);
    return id;
  }

  /** The value of a number. */
  get(id: number): Value | undefined {
    return this.#values.get(id);
  }

  /** Takes a value out. */
  remove(id: number): Value | undefined {
    const value = this.#values.get(id);
    this.#values.delete(id);
    return value;
  }

  /** Whether any value is such a one. */
  some(isSuch: (value: Value) => boolean): boolean {
    for (const value of this.#values.values()) if (isSuch(value)) return true;
    return false;
  }

  /** Takes all values out. */
  takeAll(): Value[] {
    const values = [...this.#values.values()];
    this.#values.clear();
    return values;
  }
}
