/**
 * All tests of this layer once more with what every POSIX host has: pipes, shm_open, poll, no
 * io_uring.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { host } from './index.ts';

const self = fileURLToPath(import.meta.url);
const skip = host().mode === 'posix' ? 'this run is in posix mode already' : false;

function siblings(): string[] {
  const folder = dirname(self);
  const tests = readdirSync(folder).filter((name) => /\.test\.[jt]s$/.test(name));
  return tests.filter((name) => name !== basename(self)).map((name) => join(folder, name));
}

describe('posix mode', { skip }, () => {
  it('passes the tests of every file of this layer', { timeout: 180_000 }, async () => {
    const files = siblings();
    assert.ok(files.length > 8, `${String(files.length)} files`);
    const env: NodeJS.ProcessEnv = { ...process.env, VHOST_USER_HOST: 'posix' };
    delete env.NODE_TEST_CONTEXT; // else the child takes itself for a part of this run
    const args = ['--enable-source-maps', '--test', '--test-reporter=tap', ...files];
    const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    const chunks: string[] = [];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk.toString()));
    const status = await new Promise((resolve, reject) => {
      child.on('error', reject).on('close', resolve);
    });
    const text = chunks.join('');
    assert.equal(status, 0, text.slice(-8000));
    const passed = Number(/^# pass (\d+)/m.exec(text)?.[1] ?? 0);
    assert.ok(passed > 80, `${String(passed)} tests passed`);
  });
});
