/**
 * The other side of a load client: what runs in the process of its own. It is told on standard
 * input, a JSON line each, and answers by JSON lines. It stays connected, and idle, in between.
 *
 * @module
 */
import { createInterface } from 'node:readline';
import { errorMessage } from '../src/util/index.ts';
import type { DuelLoadResult } from './duel.ts';
import type { ClientFailure } from './json-child.ts';
import type { LoadReply } from './load-client.ts';

/** Opens a benchmark, runs with it what it is told, and closes it at the end of its input. */
export async function answerLoads<Bench extends { close(): Promise<void> }>(
  open: () => Promise<Bench>,
  /** Its request is what the other side asks for: any JSON. */
  run: (bench: Bench, request: never) => DuelLoadResult,
): Promise<void> {
  try {
    const bench = await open();
    try {
      say({ done: 'open' });
      for await (const line of createInterface({ input: process.stdin })) {
        say(run(bench, JSON.parse(line) as never));
      }
    } finally {
      await bench.close();
    }
  } catch (error) {
    say({ error: errorMessage(error) });
    process.exitCode = 1;
  }
}

function say(reply: LoadReply | ClientFailure): void {
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
