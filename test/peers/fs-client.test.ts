/**
 * Our file system client with the reference back-end: what {@link FS_CHECKS} say of any file
 * system, of virtiofsd.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { FsBench, FsClient } from '../../src/frontend/index.ts';
import type { FsClientOptions } from '../../src/frontend/index.ts';
import { virtioFeatures } from '../../src/protocol/index.ts';
import { FS_CHECKS, expectNoLeak, holdings, runFsCheck } from '../../src/testing/index.ts';
import type { FsTrait } from '../../src/testing/index.ts';
import { startProgram } from './process.ts';
import type { TestProgram } from './process.ts';
import { ensurePeers, missingPeers } from './setup.ts';
import type { Peers } from './setup.ts';

const CONNECT_WAIT_MS = 15_000;
/** virtiofsd leaves locks to the guest's kernel. */
const TRAITS: readonly FsTrait[] = [
  'links',
  'owners',
  'devices',
  'xattrs',
  'holes',
  'allocate',
  'rename-flags',
  'huge',
];

const search = await ensurePeers();
if (search.peers === undefined) {
  test('our client mounts what virtiofsd shares', { skip: missingPeers(search) }, () => undefined);
} else {
  const { peers } = search;
  const ways: Readonly<Record<string, FsClientOptions>> = {
    'everything that both know': { queueCount: 1 },
    'pages as a guest has them, and no idle nodes': {
      segmentBytes: 4096,
      queueSize: 512,
      idleNodesMax: 0,
    },
    'neither event indices nor indirect chains': { ringFeatures: virtioFeatures('VERSION_1') },
  };
  for (const [name, options] of Object.entries(ways)) {
    test(`the file system client and virtiofsd get on, with ${name}`, async (context) => {
      await getOn(context, peers, options);
    });
  }
  test('the file system client hears that virtiofsd has died, and its requests end', async (context) => {
    await dies(context, peers);
  });
  test('the benchmark measures virtiofsd', async (context) => {
    await measures(context, peers);
  });
}

interface Stage {
  readonly folder: string;
  readonly socketPath: string;
  readonly server: TestProgram;
}

function startStage(context: TestContext, peers: Peers, more: readonly string[] = []): Stage {
  const base = mkdtempSync('/tmp/vhost-user-fs-client-');
  context.after(() => rmSync(base, { recursive: true, force: true }));
  const folder = mkdtempSync(join(base, 'share-'));
  const socketPath = join(base, 'fs.sock');
  const options = ['--shared-dir', folder, '--socket-path', socketPath, '--xattr', ...more];
  const server = startProgram([...peers.virtiofsd, ...options]);
  context.after(() => server.stop('SIGKILL'));
  return { folder, socketPath, server };
}

async function getOn(context: TestContext, peers: Peers, options: FsClientOptions): Promise<void> {
  const { folder, socketPath } = startStage(context, peers);
  const before = holdings();
  writeFileSync(join(folder, 'from-the-host'), 'hello guest');
  const fs = await FsClient.mount(socketPath, { connectWaitMs: CONNECT_WAIT_MS, ...options });
  assert.equal(await fs.readFile('/from-the-host', 'utf8'), 'hello guest');
  for (const each of FS_CHECKS.filter(({ needs }) => needs.every((one) => TRAITS.includes(one)))) {
    await context.test(each.name, () => runFsCheck(each, fs));
  }
  await fs.writeFile('/from-the-guest', 'hello host');
  assert.equal(readFileSync(join(folder, 'from-the-guest'), 'utf8'), 'hello host');
  await fs.unmount();
  await expectNoLeak(before);
}

async function dies(context: TestContext, peers: Peers): Promise<void> {
  // In a sandbox it would be a child of the process that is signalled.
  const { socketPath, server } = startStage(context, peers, ['--sandbox', 'none']);
  const before = holdings();
  let onEnd: (error: Error | null) => void = () => undefined;
  const ended = new Promise<Error | null>((resolve) => (onEnd = resolve));
  const fs = await FsClient.mount(socketPath, { connectWaitMs: CONNECT_WAIT_MS, onEnd });
  await fs.mkdir('/folder');
  server.signal('SIGSTOP');
  const gone = { code: 'ERR_VHU_BACKEND_GONE' };
  const outcomes = ['/', '/folder'].map((path) => assert.rejects(fs.readdir(path), gone));
  server.signal('SIGKILL');
  await Promise.all(outcomes);
  assert.match(String(await ended), /ended the connection/);
  await fs.unmount();
  await expectNoLeak(before);
}

async function measures(context: TestContext, peers: Peers): Promise<void> {
  const { socketPath } = startStage(context, peers);
  const before = holdings();
  const bench = await FsBench.open({ socketPath, connectWaitMs: CONNECT_WAIT_MS });
  bench.makeFile('data', 1 << 20);
  const data = { path: 'data', fileBytes: 1 << 20, operations: 200 };
  for (const op of ['read', 'write'] as const) {
    for (const depth of [1, 16]) {
      const result = bench.run({ op, order: 'random', ...data, depth });
      assert.deepEqual([result.operations, result.errors, result.requests], [200, 0, 200]);
    }
  }
  bench.makeFiles('many', 300, 100);
  const many = { path: 'many', count: 300, depth: 4, operations: 600 };
  for (const op of ['lookup', 'getattr'] as const) {
    assert.deepEqual(bench.run({ op, ...many }).errors, 0, op);
  }
  const short = bench.run({ op: 'open-read-close', ...many, blockBytes: 100 });
  assert.deepEqual([short.operations, short.errors, short.firstError], [600, 0, null]);
  const list = bench.run({ op: 'readdirplus', path: 'many', depth: 2, operations: 6 });
  assert.ok(Math.abs(list.entriesPerSecond / list.perSecond - 302) < 1e-6);
  bench.forget();
  bench.makeFolder('fresh');
  for (const op of ['create', 'unlink'] as const) {
    const result = bench.run({ op, path: 'fresh', count: 100, depth: 8 });
    assert.deepEqual([result.operations, result.errors], [100, 0], op);
  }
  const again = bench.run({ op: 'unlink', path: 'fresh', count: 3, depth: 1 });
  assert.deepEqual([again.errors, again.firstError], [3, 'ENOENT: no such file or directory']);
  await bench.close();
  await expectNoLeak(before);
}
