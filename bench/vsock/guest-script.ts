/**
 * What a Linux guest does for the vsock benchmark, as a shell script, and what its lines on the
 * console mean. Pure.
 *
 * @module
 */
import { processError } from '../process.ts';
import { VSOCK_GUEST } from '../../test/guest/vsock-program.ts';
import type { VsockRow } from './plan.ts';

const MIB = 2 ** 20;

/** Where the host serves the guest, and the guest the host. */
export const SERVE_PORT = 5000;
/** See {@link SERVE_PORT}. */
export const ACCEPT_PORT = 1234;

/** How much a guest does in one run of a line. */
export interface GuestEffort {
  /** Sent in blocks of 64 KiB; a quarter of it in smaller ones. */
  readonly mib: number;
  readonly roundTrips: number;
  readonly connections: number;
}

/** What is done before a line is measured: a server that has just been started compiles then. */
export const WARM_UP: GuestEffort = { mib: 4, roundTrips: 500, connections: 1000 };

/** One line: what the guest runs, and how many operations that is. */
export interface GuestLine {
  readonly command: string;
  readonly count: number;
}

/** What a line of the table is for a guest. */
export function lineOf({ op, blockBytes }: VsockRow, effort: GuestEffort): GuestLine {
  const { roundTrips, connections } = effort;
  switch (op) {
    case 'send':
    case 'receive': {
      const bytes = (effort.mib * MIB) / (blockBytes < 65_536 ? 4 : 1);
      const command = `${op} 2 ${SERVE_PORT} ${bytes} ${blockBytes} 1`;
      return { command, count: bytes / blockBytes };
    }
    case 'round-trip':
      return { command: `ping 2 ${SERVE_PORT} ${roundTrips}`, count: roundTrips };
    case 'connect':
      return { command: `connect 2 ${SERVE_PORT} ${connections} 0`, count: connections };
    case 'accept':
      return { command: `accept ${ACCEPT_PORT} ${connections}`, count: connections };
  }
}

/** The script for all lines; each begins by a word to the host, who looks at the server then. */
export function guestScript(rows: readonly VsockRow[], effort: GuestEffort): string {
  const run = (row: VsockRow, at: number): string[] => [
    `${VSOCK_GUEST} ${lineOf(row, WARM_UP).command} >/dev/null`,
    `echo "@bench.begin=${at}"`,
    `${VSOCK_GUEST} ${lineOf(row, effort).command} >/tmp/out`,
    `echo "@bench.end=${at} $(sed -n 's/^ms //p' /tmp/out)"`,
  ];
  return ['set -e', ...rows.flatMap(run), ''].join('\n');
}

/** What a line on the guest's console tells; `at` is the place of the row. */
export type GuestWord =
  | { readonly what: 'begin'; readonly at: number }
  | { readonly what: 'end'; readonly at: number; readonly ms: number };

/**
 * The benchmark's word in a line of the console; null where there is none.
 * @throws VhostUserError `ERR_VHU_BENCH_PROCESS` for a measurement that is none.
 */
export function parseGuestLine(line: string): GuestWord | null {
  const match = /^@bench\.(begin|end)=(\d+)(?: (\S*))?\s*$/.exec(line);
  if (match === null) return null;
  const at = Number(match[2]);
  if (match[1] === 'begin') return { what: 'begin', at };
  const ms = Number(match[3]);
  if (ms > 0) return { what: 'end', at, ms };
  throw processError(`the guest measured nothing: ${line}`);
}
