/**
 * An image that looks like one of another format: refused with the way out, which works.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { BUILD } from '../support/repository.ts';

const MAIN = join(BUILD, 'src/cli/main.js');
const LIMIT_MS = 30_000;

test('an image that looks like qcow2 is refused, and served by the option that is named', async (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'vhu-format-'));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const image = join(folder, 'disk.img');
  writeFileSync(image, 'QFI\xfb', 'latin1');
  truncateSync(image, 1 << 20);
  const command = [MAIN, 'blk', image, '--socket-path', join(folder, 's')];
  const options = { encoding: 'utf8', timeout: LIMIT_MS } as const;
  const refused = spawnSync(process.execPath, command, options);
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /qcow2 image, and only raw images are served.*say --format raw/);

  const server = spawn(process.execPath, [...command, '--format', 'raw'], { timeout: LIMIT_MS });
  let output = '';
  server.stderr.setEncoding('utf8').on('data', (text: string) => {
    const listens = text.includes('listening on'); // said once: a second signal would not wait
    output += text;
    if (listens) server.kill('SIGTERM');
  });
  const code = await new Promise((resolve) => server.once('close', resolve));
  assert.equal(code, 0, output);
  assert.match(output, /listening on/);
});
