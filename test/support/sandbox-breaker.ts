/**
 * The program as it is, with code of an attacker inside: started in the place of the program, it
 * serves what it is told to, and on SIGUSR2 tries each way out from its main thread, from a new
 * worker thread and from libuv's pool. What it found goes to standard error as JSON.
 *
 * @module
 */
import { writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { tryAll, tryInPool } from './sandbox-attempts.ts';
import type { Targets } from './sandbox-attempts.ts';

/** What was found. */
export interface BreakerReport {
  readonly main: readonly string[];
  readonly worker: readonly string[];
  readonly pool: readonly string[];
}

const targets = JSON.parse(process.env.VHU_BREAKER_TARGETS ?? '{}') as Targets;

process.on('SIGUSR2', () => {
  void breakOut().then((report) => writeSync(2, `BREAKER ${JSON.stringify(report)}\n`));
});

// A filter that only signals leaves the rest to whoever catches that.
if (process.env.VHU_BREAKER_CATCHES === '1') {
  process.on('SIGSYS', () => writeSync(2, 'BREAKER caught SIGSYS\n'));
}

async function breakOut(): Promise<BreakerReport> {
  const worker = await new Promise<string[]>((resolve, reject) => {
    const url = new URL('./sandbox-breaker.worker.js', import.meta.url);
    new Worker(url, { workerData: targets }).once('message', resolve).once('error', reject);
  });
  return { main: tryAll(targets), worker, pool: await tryInPool() };
}

await import('../../src/cli/main.ts');
