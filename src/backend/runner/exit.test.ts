/**
 * The end of a process whose queue threads sleep in the kernel.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';

const ENDING = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const DOOR = new URL(`../index.${ENDING}`, import.meta.url).href;
const TIME_LIMIT_MS = 60_000;
const THREADS = 12; // more than the listeners that Node allows without a warning

const folder = mkdtempSync(join(tmpdir(), 'vhu-exit-'));
after(() => {
  rmSync(folder, { recursive: true });
});

/** A module that serves a device which nobody uses, and then does `last`. */
function program(last: string): string {
  return `
    import { startBackend } from ${JSON.stringify(DOOR)};
    const source = 'export const createDataPlane = () => ({ serve: () => 0 });';
    await startBackend({
      name: 'idle', deviceId: 4, queueCount: ${String(THREADS)}, queueSizeMax: 256, features: 0n,
      readConfig: () => new Uint8Array(0), attach() {}, close() {},
      dataPlane: { kind: 'worker', module: new URL('data:text/javascript,' + source),
        options: null, threads: ${String(THREADS)}, pollUs: 0 },
    }, { kind: 'listen', path: ${JSON.stringify(join(folder, 's'))} });
    setTimeout(() => { ${last} }, 100);`;
}

describe('a process with sleeping queue threads', () => {
  for (const mode of ['native', 'posix']) {
    for (const [what, last, status] of [
      ['process.exit()', 'process.exit(3)', 3],
      ['an uncaught exception', 'throw new Error("nobody catches this")', 1],
    ] as const) {
      it(`ends at ${what}, in ${mode} mode`, () => {
        const file = join(folder, 'program.mjs');
        writeFileSync(file, program(last));
        const ended = spawnSync(process.execPath, [file], {
          env: { ...process.env, VHOST_USER_HOST: mode },
          encoding: 'utf8',
          timeout: TIME_LIMIT_MS,
          killSignal: 'SIGKILL',
        });
        assert.deepEqual([ended.status, ended.signal], [status, null], ended.stderr);
        assert.doesNotMatch(ended.stderr, /MaxListeners/);
      });
    }
  }
});
