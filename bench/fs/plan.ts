/**
 * What the file system benchmark measures, and the bars that it holds the figures against. Pure.
 *
 * @module
 */
import { optionError } from '../plan.ts';

/** Who asks: our own front-end, which polls, without a virtual machine; or a Linux guest. */
export type Place = 'host' | 'guest';
/** `--cache` of both servers. */
export type CacheMode = 'auto' | 'never';
/** Where the next block of a file is. */
export type Order = 'sequential' | 'random';
/** What our own front-end does over and over. */
export type HostOp =
  | 'read'
  | 'write'
  | 'lookup'
  | 'first-lookup'
  | 'getattr'
  | 'open-read-close'
  | 'create'
  | 'readdirplus'
  | 'first-readdirplus'
  | 'unlink';

/** One line of the table. */
export interface FsRow {
  readonly place: Place;
  readonly cache: CacheMode;
  /** Of an operation: what the line is called. */
  readonly name: string;
  /** Bytes that one operation moves; 0 where that is not the point. */
  readonly blockBytes: number;
  /** Operations at once. */
  readonly depth: number;
}

/** One line of the table that our own front-end measures. */
export interface HostCell extends FsRow {
  readonly place: 'host';
  readonly op: HostOp;
  readonly order: Order;
}

/** What holds for each line: operations a second, ours over theirs, at least. */
export const ROW_BAR = 1.0;
/** What holds for a part of the lines … */
export const GOOD_BAR = 1.3;
/** … by our own front-end, which shows the servers and not an emulated guest. */
export const GOOD_SHARE = 0.5;

/** Both cache modes, in the order in which they are measured. */
export const CACHES: readonly CacheMode[] = ['auto', 'never'];
/** Files in the folder that is listed, and those that a guest makes. */
export const FILE_COUNT = 5000;
/** Files of each run of `create` and `unlink`: a thousand is over too soon to be measured. */
export const FRESH_COUNT = 10_000;
/** The file that is read and written. */
export const DATA_BYTES: number = 256 * 2 ** 20;
/** Bytes of each of the small files. */
export const SMALL_FILE_BYTES = 4096;

const KIB = 1024;
const DEPTHS = [1, 16] as const;
const DATA_SHAPES: readonly (readonly [Order, number])[] = [
  ['sequential', 1024 * KIB],
  ['sequential', 128 * KIB], // what a Linux guest reads ahead
  ['random', 4 * KIB],
];
/**
 * Operations on files. A `first` one is of files that the server was told to forget; the others are
 * of files that it knows. `create` stands before `unlink`, which undoes it.
 */
const FILE_SHAPES: readonly (readonly [HostOp, string, number, readonly number[]])[] = [
  ['lookup', 'lookup', 0, DEPTHS],
  ['first-lookup', 'first lookup', 0, DEPTHS],
  ['getattr', 'getattr', 0, DEPTHS],
  ['open-read-close', 'open-read-close', SMALL_FILE_BYTES, DEPTHS],
  ['create', 'create', 0, DEPTHS],
  ['readdirplus', `readdirplus of ${FILE_COUNT} files`, 4 * KIB, [1]], // Linux before 6.14
  ['readdirplus', `readdirplus of ${FILE_COUNT} files`, 32 * KIB, [1]],
  ['first-readdirplus', `first readdirplus of ${FILE_COUNT} files`, 4 * KIB, [1]],
  ['unlink', 'unlink', 0, DEPTHS],
];

/** All lines that our own front-end measures. */
export function hostCells(): HostCell[] {
  return CACHES.flatMap((cache) => [...dataCells(cache), ...fileCells(cache)]);
}

function dataCells(cache: CacheMode): HostCell[] {
  const cells: HostCell[] = [];
  for (const op of ['read', 'write'] as const) {
    for (const [order, blockBytes] of DATA_SHAPES) {
      for (const depth of DEPTHS) {
        cells.push({ place: 'host', cache, name: `${op} ${order}`, blockBytes, depth, op, order });
      }
    }
  }
  return cells;
}

function fileCells(cache: CacheMode): HostCell[] {
  return FILE_SHAPES.flatMap(([op, name, blockBytes, depths]) =>
    depths.map((depth): HostCell => ({
      place: 'host',
      cache,
      name,
      blockBytes,
      depth,
      op,
      order: 'sequential',
    })),
  );
}

/** What tells a line from all others; also what `--filter` looks at. */
export function rowKey({ place, cache, name, blockBytes, depth }: FsRow): string {
  const size = blockBytes === 0 ? '' : ` ${sizeText(blockBytes)}`;
  return `${place} ${cache} ${name}${size} depth ${depth}`;
}

/**
 * A filter from text such as `cache=auto,name=read|write,size=4k,depth=1`: a name matches by any
 * part of it.
 * @throws VhostUserError `ERR_VHU_BENCH_OPTION` when there is no such key.
 */
export function parseRowFilter(text: string): (row: FsRow) => boolean {
  const tests = text.split(',').map((term) => parseTerm(term.trim()));
  return (row) => tests.every((test) => test(row));
}

function parseTerm(term: string): (row: FsRow) => boolean {
  const [key = '', list] = term.split('=', 2);
  const of = KEYS[key];
  if (of === undefined || list === undefined || list === '') {
    throw optionError(`--filter ${term}: use KEY=VALUE, KEY is ${Object.keys(KEYS).join(', ')}`);
  }
  const wanted = list.toLowerCase().split('|');
  if (key === 'name') return (row) => wanted.some((value) => row.name.includes(value));
  return (row) => wanted.includes(of(row));
}

const KEYS: Record<string, (row: FsRow) => string> = {
  place: (row) => row.place,
  cache: (row) => row.cache,
  name: (row) => row.name,
  size: (row) => sizeText(row.blockBytes),
  depth: (row) => String(row.depth),
};

function sizeText(bytes: number): string {
  return bytes % (KIB * KIB) === 0 && bytes > 0 ? `${bytes / KIB / KIB}m` : `${bytes / KIB}k`;
}
