/**
 * Filters of lines, out of text such as `op=send|receive,size=4k`. Pure.
 *
 * @module
 */
import { optionError } from './plan.ts';

/** What a filter may look at, by the key of a term. */
export type FilterKeys<Row> = Readonly<Record<string, (row: Row) => string>>;

/**
 * A filter out of its text.
 * @throws VhostUserError `ERR_VHU_BENCH_OPTION` when there is no such key.
 */
export function parseRowFilter<Row>(keys: FilterKeys<Row>, text: string): (row: Row) => boolean {
  const tests = text.split(',').map((term) => parseTerm(keys, term.trim()));
  return (row) => tests.every((test) => test(row));
}

function parseTerm<Row>(keys: FilterKeys<Row>, term: string): (row: Row) => boolean {
  const [key = '', list] = term.split('=', 2);
  const of = Object.hasOwn(keys, key) ? keys[key] : undefined;
  if (of === undefined || list === undefined || list === '') {
    throw optionError(`--filter ${term}: use KEY=VALUE, KEY is ${Object.keys(keys).join(', ')}`);
  }
  const wanted = list.toLowerCase().split('|');
  return (row) => wanted.includes(of(row));
}

/** A size as it stands in a filter: `64`, `4k`. */
export function sizeWord(bytes: number): string {
  return bytes > 0 && bytes < 1024 ? String(bytes) : `${String(bytes / 1024)}k`;
}
