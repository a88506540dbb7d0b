/**
 * What the benchmark of random bytes measures. Pure.
 *
 * @module
 */
import type { DuelView } from '../duel-report.ts';
import { sizeWord } from '../filter.ts';
import type { FilterKeys } from '../filter.ts';
import { bytesText } from '../table.ts';

/** One line of the table. */
export interface RngRow {
  /** The rate of requests, which small ones are about, or the time of one. */
  readonly what: 'rate' | 'time';
  /** Bytes that each request asks for. */
  readonly blockBytes: number;
  /** Requests in flight. */
  readonly depth: number;
}

const KIB = 1024;
const SIZES = [64, 4 * KIB, 64 * KIB] as const; // Linux asks for 64 bytes at a time
const DEPTHS = [1, 16] as const;
const SMALL_BYTES = 64;

/** All lines, in the order in which they are measured. */
export function rngRows(): RngRow[] {
  const rates = SIZES.flatMap((blockBytes) =>
    DEPTHS.map((depth): RngRow => ({ what: 'rate', blockBytes, depth })),
  );
  return [...rates, { what: 'time', blockBytes: SMALL_BYTES, depth: 1 }];
}

/** What tells a line from all others. */
export function rngRowKey({ what, blockBytes, depth }: RngRow): string {
  return `${what} ${sizeWord(blockBytes)} depth ${String(depth)}`;
}

/** What `--filter` looks at. */
export const RNG_FILTER_KEYS: FilterKeys<RngRow> = {
  what: (row) => row.what,
  size: (row) => sizeWord(row.blockBytes),
  depth: (row) => String(row.depth),
};

/** How lines are shown: small requests by their number, large ones by their bytes. */
export const RNG_VIEW: DuelView<RngRow> = {
  labels: [
    { title: 'what', align: 'left' },
    { title: 'size', align: 'right' },
    { title: 'depth', align: 'right' },
  ],
  labelsOf: ({ what, blockBytes, depth }) => [
    what === 'time' ? 'time of a request' : 'requests',
    bytesText(blockBytes),
    String(depth),
  ],
  isTime: ({ what }) => what === 'time',
  unitOf: ({ what, blockBytes }) => {
    if (what === 'time') return { unit: 'µs', scale: 1 };
    if (blockBytes === SMALL_BYTES) return { unit: 'k/s', scale: 1e-3 };
    return { unit: 'MB/s', scale: blockBytes / 1e6 };
  },
};
