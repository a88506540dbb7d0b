/**
 * The benchmark of random bytes: `npm run bench -- rng [options]`.
 *
 * @module
 */
import { duelMain } from '../duel-main.ts';
import type { DuelBench } from '../duel-main.ts';
import { openLoadClient } from '../load-client.ts';
import type { ServerPlan } from '../server.ts';
import { RNG_FILTER_KEYS, RNG_VIEW, rngRowKey, rngRows } from './plan.ts';
import type { RngRow } from './plan.ts';

/** See the module. */
export const RNG_BENCH: DuelBench<RngRow, ServerPlan> = {
  kind: 'rng',
  about: `Measures our vhost-user-rng server by our own front-end, which polls, beside
vhost-device-rng where that is installed: requests a second, bytes a second, the time of one
request. Prints a table; docs/performance.md says how to read it.`,
  filterHelp: 'what=rate|time, size=64|4k|64k, depth=1|16',
  rows: rngRows,
  filterKeys: RNG_FILTER_KEYS,
  keyOf: rngRowKey,
  view: RNG_VIEW,
  openClient: ({ socketPath }) =>
    openLoadClient<RngRow>({
      besides: import.meta.url,
      args: [socketPath],
      requestOf: ({ blockBytes, depth }, durationMs) => ({ blockBytes, depth, durationMs }),
    }),
  ourPlan: (folder, { nodeArgs, entry, extraArgs }) => {
    const socketPath = `${folder}/ours.sock`;
    const args = [...nodeArgs, entry, 'rng', '--socket-path', socketPath, ...extraArgs];
    const command = { file: process.execPath, args };
    return { name: 'vhost-user', command, socketPath, logPath: `${folder}/ours.log` };
  },
  peer: {
    program: 'vhost-device-rng',
    plan: (folder, file, tag) => {
      const socket = `${folder}/${tag}.sock`;
      return {
        name: 'vhost-device-rng',
        command: { file, args: ['--socket-path', socket] }, // its bytes are of /dev/urandom
        socketPath: `${socket}0`, // it numbers its sockets
        logPath: `${folder}/${tag}.log`,
      };
    },
  },
};

/** Runs it with what stands behind `rng` on the command line; returns the exit status. */
export function rngMain(args: readonly string[]): Promise<number> {
  return duelMain(RNG_BENCH, args);
}
