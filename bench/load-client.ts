/**
 * The client that puts load on a server: our own polling front-end, in a process of its own that
 * stays connected between the runs.
 *
 * @module
 */
import type { DuelClient, DuelLoadResult } from './duel.ts';
import { JsonChild } from './json-child.ts';
import { processError } from './process.ts';

const TIMEOUT_BASE_MS = 30_000;
const TIMEOUT_FACTOR = 20;

/** What a client answers, a JSON line each. */
export type LoadReply = { readonly done: 'open' } | DuelLoadResult;

/** Which program it is, and how it is told of a line. */
export interface LoadClientPlan<Row> {
  /** The folder with its `client.ts`, as an address of a file in it: `import.meta.url`. */
  readonly besides: string;
  readonly args: readonly string[];
  readonly requestOf: (row: Row, durationMs: number) => object;
}

/** Starts the process and waits until the device has been started. */
export async function openLoadClient<Row>(plan: LoadClientPlan<Row>): Promise<DuelClient<Row>> {
  const suffix = plan.besides.endsWith('.ts') ? '.ts' : '.js';
  const entry = new URL(`./client${suffix}`, plan.besides).pathname;
  const name = `client of ${plan.args[0] ?? ''}`;
  const args = ['--enable-source-maps', entry, ...plan.args];
  const child = new JsonChild({ file: process.execPath, args }, name);
  try {
    await child.reply(TIMEOUT_BASE_MS);
  } catch (error) {
    await child.close();
    throw error;
  }
  return {
    run: async (row, seconds) => {
      const request = plan.requestOf(row, seconds * 1000);
      const timeoutMs = TIMEOUT_BASE_MS + seconds * 1000 * TIMEOUT_FACTOR;
      const result = await child.ask<LoadReply>(request, timeoutMs);
      if ('operations' in result && result.operations > 0) return result;
      throw processError(`${name}: not a result`);
    },
    close: () => child.close(),
  };
}
