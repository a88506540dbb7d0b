/**
 * The program as it is, on a model of another kernel, with code of an attacker inside: started in
 * its place it serves, and on SIGUSR2 tries ways out by Node's own calls and by ours. How each
 * ended goes to standard error as JSON.
 *
 * @module
 */
import { spawnSync } from 'node:child_process';
import { openSync, renameSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { connectUnix, listenUnix } from '../../src/sys/index.ts';

const outside = process.env.VHU_BREAKER_OUTSIDE ?? '';
const there = join(outside, 'there');

/** By their names; each may be made again. */
const WAYS: Readonly<Record<string, () => unknown>> = {
  'read a file': () => openSync('/etc/passwd', 'r'),
  'read the root': () => openSync('/', 'r'),
  'write a file': () => openSync(there, 'r+'),
  'make a file': () => openSync(join(outside, 'new'), 'w'),
  'remove a file': () => {
    unlinkSync(there);
  },
  'rename a file': () => {
    renameSync(there, join(outside, 'renamed'));
  },
  'bind a socket': () => listenUnix(join(outside, 'bound')),
  'connect to a socket': () => connectUnix(join(outside, 'listening')),
  'run a program': () => {
    const { error } = spawnSync('/bin/true');
    if (error !== undefined) throw error;
  },
};

/** `ok`, or `shut` with the words for it. */
function outcome(way: () => unknown): string {
  try {
    way();
    return 'ok';
  } catch (error) {
    return `shut: ${error instanceof Error ? error.message : String(error)}`;
  }
}

process.on('SIGUSR2', () => {
  const report = Object.entries(WAYS).map(([name, way]) => [name, outcome(way)]);
  writeSync(2, `BREAKER ${JSON.stringify(Object.fromEntries(report))}\n`);
});

await import('../../src/cli/main.ts');
