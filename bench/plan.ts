/**
 * What the block benchmark measures, and the bars that it holds the figures against. Pure.
 *
 * @module
 */
import { VhostUserError } from '../src/util/index.ts';

/** How our server runs: with all that this host has, or as on a host with POSIX alone. */
export type Mode = 'native' | 'posix';
/** Who asks: libblkio in `qemu-img bench`, or our own front-end, which polls. */
export type Client = 'qemu-img' | 'polling';
/** The direction. */
export type Op = 'read' | 'write';

/** One line of the table. */
export interface Cell {
  readonly mode: Mode;
  readonly client: Client;
  readonly op: Op;
  readonly blockBytes: number;
  readonly depth: number;
}

/** Bounds for a cell; null where there is none. Each is of our figure over the other one. */
export interface Bars {
  /** Requests per second over the peer's, at least. */
  readonly rate: number | null;
  /** The server's CPU time per request over the peer's, at most. */
  readonly cpu: number | null;
  /** Requests per second over those of fio on the bare file, at least. */
  readonly fio: number | null;
}

/** No bounds. */
export const NO_BARS: Bars = { rate: null, cpu: null, fio: null };

const MODES = ['native', 'posix'] as const;
const CLIENTS = ['polling', 'qemu-img'] as const;
const OPS = ['read', 'write'] as const;
const BLOCK_BYTES = [4096, 65536] as const;
const DEPTHS = [1, 4, 16, 64] as const;

/** Slots that a client needs, and the longest request. */
export const DEPTH_MAX: number = Math.max(...DEPTHS);
export const BLOCK_BYTES_MAX: number = Math.max(...BLOCK_BYTES);

const SMALL_BYTES = 4096; // the bars on rates in native mode are for small requests
const RATE_BARS: Record<Client, Record<number, number>> = {
  'qemu-img': { 1: 1.5, 4: 1.2, 16: 1.0, 64: 1.0 },
  polling: { 1: 2.0, 4: 1.5, 16: 1.3, 64: 1.3 },
};
const FIO_BAR = { depth: 64, rate: 0.6 };
const CPU_BAR = { depthMin: 4, cpu: 1.0 };
const POSIX_RATE_BAR = 1.0;

/** All cells, in the order in which they are measured. */
export function allCells(): Cell[] {
  const cells: Cell[] = [];
  for (const mode of MODES) {
    for (const client of CLIENTS) {
      for (const op of OPS) {
        for (const blockBytes of BLOCK_BYTES) {
          for (const depth of DEPTHS) cells.push({ mode, client, op, blockBytes, depth });
        }
      }
    }
  }
  return cells;
}

/** The bars of a cell. */
export function barsOf(cell: Cell): Bars {
  if (cell.mode === 'posix') return { rate: POSIX_RATE_BAR, cpu: null, fio: null };
  const small = cell.blockBytes === SMALL_BYTES;
  return {
    rate: small ? (RATE_BARS[cell.client][cell.depth] ?? null) : null,
    cpu: cell.depth >= CPU_BAR.depthMin ? CPU_BAR.cpu : null,
    fio: small && cell.client === 'polling' && cell.depth === FIO_BAR.depth ? FIO_BAR.rate : null,
  };
}

/**
 * A filter from text such as `op=read,depth=1|4,client=qemu-img,size=4k,mode=native`.
 * @throws VhostUserError `ERR_VHU_BENCH_OPTION` when it names something that is not measured.
 */
export function parseFilter(text: string): (cell: Cell) => boolean {
  const tests = text.split(',').map((term) => parseTerm(term.trim()));
  return (cell) => tests.every((test) => test(cell));
}

function parseTerm(term: string): (cell: Cell) => boolean {
  const equals = term.indexOf('=');
  const key = term.slice(0, Math.max(equals, 0));
  const values = term.slice(equals + 1).split('|');
  const known = KEYS[key];
  if (known === undefined) {
    throw optionError(`--filter ${term}: use KEY=VALUE, KEY is ${Object.keys(KEYS).join(', ')}`);
  }
  const wanted = values.map((value) => {
    if (!known.values.includes(value.toLowerCase())) {
      throw optionError(`--filter ${term}: ${key} is ${known.values.join(', ')}`);
    }
    return value.toLowerCase();
  });
  return (cell) => wanted.includes(known.of(cell));
}

const KEYS: Record<string, { values: readonly string[]; of: (cell: Cell) => string }> = {
  mode: { values: MODES, of: (cell) => cell.mode },
  client: { values: CLIENTS, of: (cell) => cell.client },
  op: { values: OPS, of: (cell) => cell.op },
  size: {
    values: BLOCK_BYTES.map(sizeText),
    of: (cell) => sizeText(cell.blockBytes),
  },
  depth: { values: DEPTHS.map(String), of: (cell) => String(cell.depth) },
};

function sizeText(bytes: number): string {
  return `${bytes / 1024}k`;
}

/** An error of whoever called the benchmark. */
export function optionError(message: string): VhostUserError {
  return new VhostUserError('ERR_VHU_BENCH_OPTION', message);
}
