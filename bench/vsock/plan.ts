/**
 * What the vsock benchmark measures, and the bars that it holds the figures against. Pure.
 *
 * @module
 */
import type { Bar } from '../duel-report.ts';
import { parseRowFilter, sizeWord } from '../filter.ts';
import type { FilterKeys } from '../filter.ts';
import { bytesText } from '../table.ts';

/** Who sends: our own front-end, which polls, without a virtual machine; or a Linux guest. */
export type Place = 'host' | 'guest';
/** What is done over and over; see `VsockBench`. */
export type VsockOp = 'send' | 'receive' | 'round-trip' | 'connect' | 'accept';

/** One line of the table. */
export interface VsockRow {
  readonly place: Place;
  readonly op: VsockOp;
  /** Bytes that one operation moves; 0 where that is not the point. */
  readonly blockBytes: number;
  /** Room for data in the buffers that the guest gives the device. */
  readonly bufferBytes: number;
}

const KIB = 1024;
/** What Linux's driver gives the device. */
const LINUX_BUFFER_BYTES = 4 * KIB;
const LARGE_BUFFER_BYTES = 64 * KIB;

const NAMES: Readonly<Record<VsockOp, string>> = {
  send: 'guest to host',
  receive: 'host to guest',
  'round-trip': 'round trip of a byte',
  connect: 'connect, guest to host',
  accept: 'connect, host to guest',
};

/** All lines, in the order in which they are measured. */
export function vsockRows(): VsockRow[] {
  const sizes = [4 * KIB, 64 * KIB];
  const small = (place: Place, op: VsockOp, blockBytes: number): VsockRow => ({
    place,
    op,
    blockBytes,
    bufferBytes: LINUX_BUFFER_BYTES,
  });
  const rowsOf = (place: Place): VsockRow[] => [
    ...sizes.map((size) => small(place, 'send', size)),
    ...sizes.map((size) => small(place, 'receive', size)),
    ...(place === 'host'
      ? [{ ...small(place, 'receive', 64 * KIB), bufferBytes: LARGE_BUFFER_BYTES }]
      : []),
    ...(['round-trip', 'connect', 'accept'] as const).map((op) => small(place, op, 0)),
  ];
  return [...rowsOf('host'), ...rowsOf('guest')];
}

/** What a line is called. */
export function rowName({ op, bufferBytes }: VsockRow): string {
  const large = bufferBytes === LINUX_BUFFER_BYTES ? '' : `, buffers of ${bytesText(bufferBytes)}`;
  return NAMES[op] + large;
}

/** Whether the figure of a line is a time, and not a rate. */
export function isTime({ op }: VsockRow): boolean {
  return op === 'round-trip';
}

/** The bar of a line: in an emulated guest, which costs most of the time itself, a lower one. */
export function barOf(row: VsockRow): Bar {
  const time = isTime(row);
  if (row.place === 'guest') return { kind: time ? 'at most' : 'at least', ratio: 1 };
  return time ? { kind: 'at most', ratio: 0.7 } : { kind: 'at least', ratio: 1.5 };
}

/** What tells a line from all others; also what `--filter` looks at. */
export function rowKey(row: VsockRow): string {
  const size = row.blockBytes === 0 ? '' : ` ${sizeWord(row.blockBytes)}`;
  return `${row.place} ${rowName(row)}${size}`;
}

/**
 * A filter from text such as `place=host,op=send|receive,size=4k`.
 * @throws VhostUserError `ERR_VHU_BENCH_OPTION` when there is no such key.
 */
export function parseVsockFilter(text: string): (row: VsockRow) => boolean {
  return parseRowFilter(KEYS, text);
}

const KEYS: FilterKeys<VsockRow> = {
  place: (row) => row.place,
  op: (row) => row.op,
  size: (row) => sizeWord(row.blockBytes),
  buffers: (row) => sizeWord(row.bufferBytes),
};
