/**
 * What QEMU's generic device does when the process of its console is started anew under it: why the
 * page on consoles says that the guest is to be ended first.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { TestProgram } from '../peers/process.ts';
import { startConsoleServer, stopServer } from '../peers/servers.ts';
import { ensurePeers, missingPeers } from '../peers/setup.ts';
import type { Peers } from '../peers/setup.ts';
import { runGuest } from './qemu.ts';

const QUEUES = 4;
const READY = '@ready=yes';

/** The guest waits, and counts so that it is seen to run. */
const SCRIPT = `
i=0
while [ ! -c /dev/hvc0 ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i + 1)); done
echo ${READY}
i=0
while [ $i -lt 300 ]; do sleep 0.2; i=$((i + 1)); echo "@alive=$i"; done
`;

const search = await ensurePeers();
if (search.peers === undefined) {
  test('a console is started anew', { skip: missingPeers(search) }, () => undefined);
} else {
  const { peers } = search;
  test('QEMU 11 runs on without its console, and ends when a new process connects', (context) =>
    connectAnew(context, peers));
  test('QEMU 11 does not start with a console that it is to reconnect to', (context) =>
    reconnect(context, peers));
}

function newFolder(context: TestContext): string {
  const folder = mkdtempSync('/tmp/vhost-user-console-'); // what QEMU 11 sees is /tmp
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function connectAnew(context: TestContext, peers: Peers): Promise<void> {
  const folder = newFolder(context);
  const socketPath = join(folder, 'console.sock');
  const start = (): Promise<TestProgram> =>
    startConsoleServer(socketPath, 'native', ['--connect', '--pty', join(folder, 'pty')]);
  let server = await start();
  context.after(() => server.stop('SIGKILL'));
  let aliveAlone = 0; // what the guest counted while nobody served its console
  const seen = { restarted: false };
  let failure: unknown = null;
  const restart = async (): Promise<void> => {
    await server.stop('SIGKILL');
    const from = aliveAlone;
    while (aliveAlone < from + 3) await new Promise((resolve) => setTimeout(resolve, 50));
    server = await start();
    seen.restarted = true;
  };
  const { status, output } = await runGuest({
    peers,
    qemu: peers.qemu11,
    folder,
    console: { socketPath, queues: QUEUES, listen: true },
    script: SCRIPT,
    memory: 'memfd',
    timeoutMs: 120_000,
    onLine: (line) => {
      if (line.trim() === READY) restart().catch((error: unknown) => (failure = error));
      if (line.startsWith('@alive=')) aliveAlone++;
    },
  });
  assert.equal(failure, null);
  const alone = seen.restarted && aliveAlone >= 3;
  assert.ok(alone, `the guest ran on by itself:\n${output.slice(-2000)}`);
  assert.equal(status, undefined, 'the guest did not come to its end');
  // Should this fail with a newer QEMU, the page on consoles has something to correct.
  assert.match(output, /vhost_dev_start: Assertion [`']hdev->vhost_ops' failed/);
}

async function reconnect(context: TestContext, peers: Peers): Promise<void> {
  const folder = newFolder(context);
  const socketPath = join(folder, 'console.sock');
  const server = await startConsoleServer(socketPath, 'native', ['--pty', join(folder, 'pty')]);
  context.after(() => server.stop('SIGKILL'));
  const { status, output } = await runGuest({
    peers,
    qemu: peers.qemu11,
    folder,
    console: { socketPath, queues: QUEUES, reconnectMs: 200 },
    script: SCRIPT,
    memory: 'memfd',
    timeoutMs: 60_000,
  });
  assert.equal(status, undefined, 'the guest did not come to its end');
  assert.ok(!output.includes(READY), 'it did not even begin');
  assert.match(output, /vhost_backend_init failed: Protocol error/);
  await stopServer(server);
}
