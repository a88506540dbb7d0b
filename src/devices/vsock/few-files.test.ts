/**
 * A device that may open few files: what does not fit is refused or waits, the rest goes on.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { VsockClient } from '../../frontend/index.ts';
import type { VsockSocket } from '../../frontend/index.ts';

const FILES_MAX = 160;
const BACKEND = new URL('../../backend/index.js', import.meta.url).href;
const TESTING = new URL('../../testing/index.js', import.meta.url).href;
const DOOR = new URL('./index.js', import.meta.url).href;
const SERVER = `
import { startBackend } from ${JSON.stringify(BACKEND)};
import { openVsock } from ${JSON.stringify(DOOR)};
import { expectIdle } from ${JSON.stringify(TESTING)};
const [path, udsPath] = process.argv.slice(2);
const device = openVsock({ guestCid: 3, udsPath });
const log = (_level, text) => console.log(text);
const backend = await startBackend(device, { kind: 'listen', path }, { log });
console.log('ready'); // the path is there before anybody listens
process.once('SIGUSR2', () => void expectIdle().then(() => console.log('idle')));
process.once('SIGTERM', () => void backend.close());`;

async function until(what: string, done: () => boolean): Promise<void> {
  const endMs = performance.now() + 30_000;
  while (!done()) {
    assert.ok(performance.now() < endMs, `waited 30 s for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const skip = import.meta.url.endsWith('.ts') ? 'the child runs what was compiled' : false;

describe('a vsock device that may open few files', { skip }, () => {
  it('refuses what does not fit, says so once, and serves the others', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vhu-vsock-'));
    const [path, uds] = [join(folder, 's'), join(folder, 'v')];
    const shell = `ulimit -n ${String(FILES_MAX)}; exec "$0" "$1" "$2" "$3"`;
    const script = join(folder, 'server.mjs');
    writeFileSync(script, SERVER);
    const env: NodeJS.ProcessEnv = { ...process.env };
    delete env.NODE_TEST_CONTEXT;
    const child = spawn('sh', ['-c', shell, process.execPath, script, path, uds], {
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += String(chunk)));
    const programs: Socket[] = [];
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.pipe(socket);
      programs.push(socket);
    });
    server.listen(`${uds}_1`);
    try {
      await until('the server', () => output.includes('ready'));
      const client = await VsockClient.connect(path);
      client.listen(9, (socket) => socket.pipe(socket));
      const tries = Array.from({ length: 300 }, () => client.dial(1));
      const results = await Promise.allSettled(tries);
      const sockets = results.flatMap((each): VsockSocket[] =>
        each.status === 'fulfilled' ? [each.value] : [],
      );
      assert.ok(sockets.length > 10 && sockets.length < FILES_MAX, String(sockets.length));
      const refusals = results.filter((each) => each.status === 'rejected');
      for (const { reason } of refusals) assert.match(String(reason), /ECONNRE(FUSED|SET)/);
      // A program that connects waits, and is not spun upon; those that there are go on.
      const late = connect(uds);
      late.write('CONNECT 9\n');
      await until('both to be told', () => output.match(/EMFILE/g)?.length === 2);
      child.kill('SIGUSR2');
      await until('the device to be idle', () => output.includes('idle'));
      const first = sockets[0] as VsockSocket;
      first.write('alive');
      assert.equal(String((await once(first, 'data'))[0]), 'alive');
      for (const socket of sockets) socket.destroy();
      assert.match(String((await once(late, 'data'))[0]), /^OK /);
      late.destroy();
      await client.close();
      child.kill('SIGTERM');
      await once(child, 'close');
      assert.equal(output.match(/EMFILE/g)?.length, 2, output); // of accept, and of connecting
    } finally {
      child.kill('SIGKILL');
      server.close();
      for (const socket of programs) socket.destroy();
      rmSync(folder, { recursive: true });
    }
  });
});
