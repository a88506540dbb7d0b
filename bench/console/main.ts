/**
 * The benchmark of consoles: `npm run bench -- console [options]`.
 *
 * @module
 */
import type { ConsoleBenchAddress } from '../../src/frontend/index.ts';
import { duelMain } from '../duel-main.ts';
import type { DuelBench } from '../duel-main.ts';
import { openLoadClient } from '../load-client.ts';
import type { ServerPlan } from '../server.ts';
import { CONSOLE_FILTER_KEYS, CONSOLE_VIEW, consoleRowKey, consoleRows } from './plan.ts';
import type { ConsoleRow } from './plan.ts';

/** A server, and where it listens for the clients of its console. */
export interface ConsoleServerPlan extends ServerPlan {
  readonly clients: ConsoleBenchAddress;
}

/** The peer cannot be told to take any free port; below those that Linux gives to clients. */
const FIRST_PEER_PORT = 21_000;
let peerPort = FIRST_PEER_PORT + (process.pid % 1000) * 10;

/** See the module. */
export const CONSOLE_BENCH: DuelBench<ConsoleRow, ConsoleServerPlan> = {
  kind: 'console',
  about: `Measures our vhost-user console by our own front-end, which polls, and by clients of its
Unix socket; beside vhost-device-console where that is installed, as far as that works (it has a
TCP socket). Prints a table; docs/performance.md says how to read it.`,
  filterHelp: 'op=output|input|round-trip, size=64|4k, depth=1|64, clients=1|4',
  rows: consoleRows,
  filterKeys: CONSOLE_FILTER_KEYS,
  keyOf: consoleRowKey,
  view: CONSOLE_VIEW,
  openClient: ({ socketPath, clients }) =>
    openLoadClient<ConsoleRow>({
      besides: import.meta.url,
      args: [socketPath, JSON.stringify(clients)],
      requestOf: (row, durationMs) => ({ ...row, durationMs }),
    }),
  ourPlan: (folder, { nodeArgs, entry, extraArgs }) => {
    const socketPath = `${folder}/ours.sock`;
    const path = `${folder}/ours.console`;
    const console = ['console', '--socket-path', socketPath, '--unix', path];
    return {
      name: 'vhost-user',
      command: { file: process.execPath, args: [...nodeArgs, entry, ...console, ...extraArgs] },
      socketPath,
      logPath: `${folder}/ours.log`,
      clients: { family: 'unix', path },
    };
  },
  peer: {
    program: 'vhost-device-console',
    plan: (folder, file, tag) => {
      const socket = `${folder}/${tag}.sock`;
      const port = peerPort++; // a new one each time: it ends when one of the last is still known
      const args = ['--socket-path', socket, '--backend', 'network', '--tcp-port', String(port)];
      return {
        name: 'vhost-device-console',
        command: { file, args },
        socketPath: `${socket}0`, // it numbers its sockets
        logPath: `${folder}/${tag}.log`,
        clients: { family: 'inet', host: '127.0.0.1', port },
      };
    },
  },
};

/** Runs it with what stands behind `console` on the command line; returns the exit status. */
export function consoleMain(args: readonly string[]): Promise<number> {
  return duelMain(CONSOLE_BENCH, args);
}
