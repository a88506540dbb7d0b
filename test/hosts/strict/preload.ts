/**
 * Makes a strict host of the process that is started with `node --import` of this file: the calls
 * that STRICT_CALLS names are refused from here on, in the way that each can be. Node runs it in
 * each thread before anything else.
 *
 * @module
 */
import { writeSync } from 'node:fs';
import { Worker, isMainThread, threadId } from 'node:worker_threads';
import { ENOSYS, STRICT_CALLS } from './calls.ts';
import type { StrictCallName } from './calls.ts';
import { probe, refuse, supervise } from './filter.ts';
import type { Supervision } from './supervisor.worker.ts';

const STDERR = 2;

/** The line that each thread writes to stderr once the filter is in force. */
export interface StrictReport {
  readonly strict: true;
  /** 0 is the main thread. */
  readonly thread: number;
  /** What each call says to that thread: an errno. */
  readonly refused: Readonly<Record<string, number>>;
}

const names = (process.env['STRICT_CALLS'] ?? '').split(' ').filter(Boolean) as StrictCallName[];
const scoped = (...scopes: string[]): StrictCallName[] =>
  names.filter((name) => scopes.includes(STRICT_CALLS[name].scope));

/** Refuses to the main thread alone, by a thread that was there before the filter. */
async function refuseToMain(name: StrictCallName): Promise<void> {
  const supervision: Supervision = { mainThread: process.pid };
  const supervisor = new Worker(new URL('./supervisor.worker.js', import.meta.url), {
    execArgv: [], // not this file
    workerData: supervision,
  });
  await new Promise((resolve) => supervisor.once('message', resolve));
  supervisor.unref();
  supervisor.postMessage(supervise(name));
}

let mine: StrictCallName[];
if (isMainThread) {
  for (const name of scoped('main and data plane')) await refuseToMain(name);
  refuse(scoped('process'));
  mine = scoped('process', 'main and data plane');
} else {
  refuse(scoped('data plane', 'main and data plane')); // the others are inherited
  mine = names;
}

const refused = Object.fromEntries(mine.map((name) => [name, probe(name)]));
for (const name of mine) {
  if (refused[name] === (STRICT_CALLS[name].errno ?? ENOSYS)) continue;
  writeSync(STDERR, `the filter does not refuse ${name}: errno ${String(refused[name])}\n`);
  process.exit(70);
}
const report: StrictReport = { strict: true, thread: threadId, refused };
writeSync(STDERR, `${JSON.stringify(report)}\n`);
