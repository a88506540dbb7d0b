/**
 * The programs in examples/ do what they say, as they stand, with the package installed beside
 * them.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { createServer } from 'node:net';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { openBlk, startBackend } from '../src/index.ts';
import { FrontendSession, FsClient } from '../src/frontend/index.ts';
import { installedFolder } from './support/installed.ts';
import { BUILD } from './support/repository.ts';

const CONNECT_WAIT_MS = 60_000;
const RANDOM_BYTES = 256;

/** A folder with an example in it, as a user would have it. */
function folderWith(context: TestContext, name: string): string {
  const app = installedFolder();
  context.after(() => {
    app.remove();
  });
  copyFileSync(join(BUILD, 'examples', `${name}.js`), join(app.path, `${name}.js`));
  return app.path;
}

test('a source of random numbers in some forty lines serves a front-end', async (context) => {
  const folder = folderWith(context, 'rng');
  const socketPath = join(folder, 'rng.sock');
  const program = spawn(process.execPath, ['rng.js', socketPath], {
    cwd: folder,
    stdio: 'inherit',
  });
  const ended = new Promise<number | null>((resolve) => program.once('exit', resolve));
  context.after(() => program.kill('SIGKILL'));
  const session = await FrontendSession.open({ socketPath, connectWaitMs: CONNECT_WAIT_MS });
  const queue = await session.startQueue({ index: 0, size: 16 });
  const buffer = session.memory.allocate(RANDOM_BYTES, 8);
  const written = await new Promise<number>((resolve) => {
    queue.watchCalls(() => {
      if (queue.ring.take() >= 0) resolve(queue.ring.usedBytes);
    });
    queue.ring.addChain([], [buffer], 0);
    queue.publish();
  });
  assert.equal(written, RANDOM_BYTES);
  const bytes = new Uint8Array(session.memory.view(buffer));
  assert.ok(new Set(bytes).size > RANDOM_BYTES / 8, 'bytes that differ');
  await session.close();
  program.kill('SIGTERM');
  assert.equal(await ended, 0);
  assert.ok(!existsSync(socketPath), 'the socket is removed');
});

test('a disk is read by a program of a few lines', async (context) => {
  const folder = folderWith(context, 'read-disk');
  const image = join(folder, 'disk.img');
  writeFileSync(image, Buffer.alloc(65_536, 'vhost-user------'));
  const path = join(folder, 'disk.sock');
  const backend = await startBackend(openBlk({ image }), { kind: 'listen', path });
  try {
    const command = ['read-disk.js', path];
    const { stdout } = await promisify(execFile)(process.execPath, command, { cwd: folder });
    const hex = Buffer.from('vhost-user------').toString('hex');
    assert.equal(stdout.split('\n')[0], `0000  ${hex}`);
  } finally {
    await backend.close();
  }
});

test('a file system of functions in thirty lines is mounted and read', async (context) => {
  const folder = folderWith(context, 'live-files');
  const socketPath = join(folder, 'live.sock');
  const program = spawn(process.execPath, ['live-files.js', socketPath], {
    cwd: folder,
    stdio: 'inherit',
  });
  const ended = new Promise<number | null>((resolve) => program.once('exit', resolve));
  context.after(() => program.kill('SIGKILL'));
  const client = await FsClient.mount(socketPath, { connectWaitMs: CONNECT_WAIT_MS });
  assert.deepEqual(await client.readdir('/'), ['now', 'random', 'hosts', 'host']);
  const now = Date.parse((await client.readFile('/now')).toString().trim());
  assert.ok(Math.abs(now - Date.now()) < 60_000);
  assert.equal((await client.readFile('/random')).length, 1024);
  assert.deepEqual(await client.readFile('/hosts'), readFileSync('/etc/hosts'));
  assert.equal((await client.readFile('/host/name')).toString(), `${hostname()}\n`);
  await assert.rejects(client.writeFile('/now', 'later'), { code: 'EROFS' });
  await client.unmount();
  program.kill('SIGTERM');
  assert.equal(await ended, 0);
});

test('a program of the host serves the web to a guest over vsock, and hears its ssh server', async (context) => {
  const folder = folderWith(context, 'vsock-host');
  const path = join(folder, 'vm.vsock');
  const program = spawn(process.execPath, ['vsock-host.js', path], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise<number | null>((resolve) => program.once('exit', resolve));
  context.after(() => program.kill('SIGKILL'));
  // The device and its guest: the one that connects to the host, and the one that is connected to.
  const answer = await askOnceServed(`${path}_80`, '/a');
  assert.equal(await text(answer), 'you asked the host for /a\n');
  const guest = createServer((socket) => {
    socket.once('data', (line) => {
      socket.write(String(line) === 'CONNECT 22\n' ? 'OK 1024\nSSH-2.0-guest\r\n' : '');
    });
  });
  guest.listen(path);
  const [said] = (await once(program.stdout, 'data')) as [Buffer];
  assert.equal(String(said), "the guest's ssh server: SSH-2.0-guest\n");
  guest.close();
  program.kill('SIGTERM');
  assert.equal(await ended, 0);
  assert.ok(!existsSync(`${path}_80`), 'the socket is removed');
});

/** Asks a program that may still be starting: its path is there before it listens. */
async function askOnceServed(socketPath: string, path: string): Promise<IncomingMessage> {
  const untilMs = performance.now() + CONNECT_WAIT_MS;
  for (;;) {
    try {
      const [answer] = (await once(get({ socketPath, path }), 'response')) as [IncomingMessage];
      return answer;
    } catch (error) {
      if (performance.now() > untilMs) throw error;
    }
    await delay(20);
  }
}
