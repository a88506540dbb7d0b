/**
 * Faults of a configuration file, each with its line and column.
 *
 * @module
 */
import { isMap, isNode, isPair, isScalar } from 'yaml';
import type { Document, LineCounter } from 'yaml';
import { UsageError } from './errors.ts';

/** From the top of the file to a value: keys and indices. */
export type Path = readonly PropertyKey[];

/** What is wrong, in the order of the file. */
export class Faults {
  readonly #path: string;
  readonly #document: Document.Parsed;
  readonly #lines: LineCounter;
  readonly #titles: readonly string[] | null;
  readonly #found: { readonly at: number; readonly text: string }[] = [];

  /** `titles` name the devices of a configuration that no file holds, for people. */
  constructor(
    path: string,
    document: Document.Parsed,
    lines: LineCounter,
    titles: readonly string[] | null = null,
  ) {
    this.#path = path;
    this.#document = document;
    this.#lines = lines;
    this.#titles = titles;
  }

  /** A fault of the value at a path; `key` when one of its keys is wrong. */
  add(path: Path, message: string, key?: string): void {
    const whole = key === undefined ? path : [...path, key];
    const at = this.#offsetOf(path, key);
    const title = this.#titles?.[Number(path[1])];
    if (title === undefined) {
      const where = pathText(whole);
      this.addAt(at, where === '' ? message : `${where}: ${message}`);
    } else {
      const where = pathText(whole.slice(2));
      this.#found.push({
        at,
        text: [title, where, message].filter((each) => each !== '').join(': '),
      });
    }
  }

  /** A fault at an offset of the text. */
  addAt(offset: number, message: string): void {
    const { line, col } = this.#lines.linePos(offset);
    this.#found.push({ at: offset, text: `${this.#path}:${line || 1}:${col || 1}: ${message}` });
  }

  /** The value at a path, as it is written. */
  valueAt(path: Path): unknown {
    const node: unknown = this.#document.getIn(path, true);
    return isScalar(node) ? node.value : undefined;
  }

  /** @throws UsageError when there is one */
  throwIfAny(): void {
    if (this.#found.length > 0) throw this.error();
  }

  /** All of them as one error. */
  error(): UsageError {
    const sorted = this.#found.toSorted((a, b) => a.at - b.at).map(({ text: each }) => each);
    if (this.#titles !== null) return new UsageError(sorted.join('\n'));
    return new UsageError(['the configuration is wrong', ...sorted].join('\n'));
  }

  /** Where the value begins; for one that is not there, where its container begins. */
  #offsetOf(path: Path, key?: string): number {
    for (let length = path.length; length >= 0; length--) {
      const node: unknown = this.#document.getIn(path.slice(0, length), true);
      if (!isNode(node)) continue;
      if (key !== undefined && isMap(node)) {
        const pair = node.items.find((item) => isPair(item) && String(item.key) === key);
        if (isNode(pair?.key)) return pair.key.range?.[0] ?? 0;
      }
      return node.range?.[0] ?? 0;
    }
    return 0;
  }
}

/** `devices[0].queue-size`. */
function pathText(path: Path): string {
  return path.reduce<string>((before, key) => {
    if (typeof key === 'number') return `${before}[${key}]`;
    return before === '' ? String(key) : `${before}.${String(key)}`;
  }, '');
}
