/**
 * A directory as it was when its reading began: cookies stay valid however it changes meanwhile,
 * and a guest may seek back.
 *
 * @module
 */
import { NAME_BYTES_MAX } from '../../../fuse/index.ts';
import { fsError } from './errors.ts';
import type { DirectoryEntry, NodeKind } from './file-system.ts';
import { nameBytes } from './names.ts';

/** Entries of all open directories together: what a hostile guest may make us keep. */
const ENTRIES_MAX = 1 << 22;
const DOT = Buffer.from('.');
const DOT_DOT = Buffer.from('..');

/** Entries in all snapshots: one count for each file system. */
export interface SnapshotBudget {
  entries: number;
}

/** One entry of a snapshot; `node` is undefined for `.` and `..`. */
export interface SnapshotEntry<Node> {
  readonly name: Uint8Array;
  readonly node: Node | undefined;
  readonly kind: NodeKind | undefined;
}

/** See above. The cookie of entry i is i + 1: what a guest sends to read on after it. */
export class Snapshot<Node> {
  readonly #entries: SnapshotEntry<Node>[] = [
    { name: DOT, node: undefined, kind: 'directory' },
    { name: DOT_DOT, node: undefined, kind: 'directory' },
  ];
  readonly #budget: SnapshotBudget;
  #isClosed = false;

  /** Takes what a file system's `list` gives; names that Linux cannot have are left out. */
  constructor(list: Iterable<DirectoryEntry<Node>>, budget: SnapshotBudget) {
    this.#budget = budget;
    for (const [text, node, kind] of list) {
      const name = nameBytes(text);
      if (!isValidName(name)) continue;
      if (budget.entries + this.#entries.length >= ENTRIES_MAX) throw fsError('ENOMEM');
      this.#entries.push({ name, node, kind });
    }
    budget.entries += this.#entries.length;
  }

  /** The entry at an index, or undefined after the last. */
  at(index: number): SnapshotEntry<Node> | undefined {
    return this.#entries[index];
  }

  /** Gives its part of the budget back. */
  close(): void {
    if (!this.#isClosed) this.#budget.entries -= this.#entries.length;
    this.#isClosed = true; // who still reads it may go on
  }
}

function isValidName(name: Uint8Array): boolean {
  if (name.length === 0 || name.length > NAME_BYTES_MAX) return false;
  if (name.includes(0) || name.includes(0x2f)) return false;
  return !DOT.equals(name) && !DOT_DOT.equals(name);
}
