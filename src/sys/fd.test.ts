/**
 * Tests of what file descriptors are.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { closeFd, fdKind } from './fd.ts';
import { socketPair } from './socket.ts';

test('asking what a socket is does not change where modules are found', async (context) => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'vhu-fd-')));
  const [ours, theirs] = socketPair();
  context.after(() => {
    rmSync(folder, { recursive: true, force: true });
    closeFd(ours);
    closeFd(theirs);
  });
  const place = async (name: string): Promise<string> => {
    const url = pathToFileURL(join(folder, 'link', name)).href;
    return ((await import(url)) as { readonly default: string }).default;
  };
  mkdirSync(join(folder, 'real'));
  symlinkSync('real', join(folder, 'link'));
  for (const name of ['a.mjs', 'b.mjs']) {
    writeFileSync(join(folder, 'real', name), 'export default import.meta.url;\n');
  }
  assert.match(await place('a.mjs'), /real\/a\.mjs$/);
  assert.equal(fdKind(ours), 'socket');
  assert.match(await place('b.mjs'), /real\/b\.mjs$/);
});
