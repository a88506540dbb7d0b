/**
 * What the benchmark of consoles measures. Pure.
 *
 * @module
 */
import type { ConsoleBenchOpName } from '../../src/frontend/index.ts';
import type { DuelView } from '../duel-report.ts';
import { sizeWord } from '../filter.ts';
import type { FilterKeys } from '../filter.ts';
import { bytesText } from '../table.ts';

/** One line of the table. */
export interface ConsoleRow {
  readonly op: ConsoleBenchOpName;
  /** Bytes of a buffer of the guest, or of a write of a client; 0 of round trips. */
  readonly blockBytes: number;
  /** Of output: buffers that the device has at once; 0 where that is not the point. */
  readonly depth: number;
  /** Clients of the console's socket. */
  readonly clients: number;
}

const KIB = 1024;
const DEPTH_MAX = 64; // as many as the rings of Linux's ports have
const SEVERAL = 4;

const NAMES: Readonly<Record<ConsoleBenchOpName, string>> = {
  output: 'output',
  input: 'input',
  'round-trip': 'round trip of a byte',
};

/** All lines, in the order in which they are measured: what types with less care comes last. */
export function consoleRows(): ConsoleRow[] {
  const output = (blockBytes: number, depth: number, clients: number): ConsoleRow => ({
    op: 'output',
    blockBytes,
    depth,
    clients,
  });
  const rest = { depth: 0, clients: 1 } as const;
  return [
    output(64, 1, 1), // as Linux's own console writes: one buffer, and it waits
    output(64, DEPTH_MAX, 1),
    output(4 * KIB, DEPTH_MAX, 1),
    { op: 'round-trip', blockBytes: 0, ...rest },
    { op: 'input', blockBytes: 64, ...rest },
    { op: 'input', blockBytes: 4 * KIB, ...rest },
    output(4 * KIB, DEPTH_MAX, SEVERAL),
    { op: 'round-trip', blockBytes: 0, depth: 0, clients: SEVERAL },
  ];
}

/** What tells a line from all others. */
export function consoleRowKey({ op, blockBytes, depth, clients }: ConsoleRow): string {
  const size = blockBytes === 0 ? '' : ` ${sizeWord(blockBytes)}`;
  const at = depth === 0 ? '' : ` depth ${String(depth)}`;
  return `${op}${size}${at}, ${String(clients)} clients`;
}

/** What `--filter` looks at. */
export const CONSOLE_FILTER_KEYS: FilterKeys<ConsoleRow> = {
  op: (row) => row.op,
  size: (row) => sizeWord(row.blockBytes),
  depth: (row) => String(row.depth),
  clients: (row) => String(row.clients),
};

/** How lines are shown: small buffers by their number, large ones by their bytes. */
export const CONSOLE_VIEW: DuelView<ConsoleRow> = {
  labels: [
    { title: 'what', align: 'left' },
    { title: 'size', align: 'right' },
    { title: 'depth', align: 'right' },
    { title: 'clients', align: 'right' },
  ],
  labelsOf: ({ op, blockBytes, depth, clients }) => [
    NAMES[op],
    blockBytes === 0 ? '' : bytesText(blockBytes),
    depth === 0 ? '' : String(depth),
    String(clients),
  ],
  isTime: ({ op }) => op === 'round-trip',
  unitOf: ({ op, blockBytes }) => {
    if (op === 'round-trip') return { unit: 'µs', scale: 1 };
    if (blockBytes < KIB) return { unit: 'k/s', scale: 1e-3 };
    return { unit: 'MB/s', scale: blockBytes / 1e6 };
  },
};
