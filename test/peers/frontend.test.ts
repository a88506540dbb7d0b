/**
 * Our front-end with the reference back-end: `BlkClient` and the mock front-end drive the disk of
 * qemu-storage-daemon, with every protocol feature and with few.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { BlkClient } from '../../src/frontend/index.ts';
import type { BlkClientOptions } from '../../src/frontend/index.ts';
import { protocolFeatures, virtioFeatures } from '../../src/protocol/index.ts';
import { MockFrontend, expectNoLeak, holdings } from '../../src/testing/index.ts';
import { startProgram } from './process.ts';
import type { TestProgram } from './process.ts';
import { ensurePeers, missingPeers } from './setup.ts';
import type { Peers } from './setup.ts';

const MIB = 1 << 20;
const IMAGE_MIB = 16;
const CONNECT_WAIT_MS = 15_000;
const GET_ID = Buffer.from([8, ...new Uint8Array(15)]); // a request's header

const search = await ensurePeers();
if (search.peers === undefined) {
  test('our front-end uses the disk of QEMU', { skip: missingPeers(search) }, () => undefined);
} else {
  const { peers } = search;
  const ways: Readonly<Record<string, BlkClientOptions>> = {
    'everything that both know': { queueCount: 2 },
    'the configuration space alone': { protocolFeatures: protocolFeatures('CONFIG') },
    'neither event indices nor indirect chains': { ringFeatures: virtioFeatures('VERSION_1') },
    'a tiny ring and little memory': { queueSize: 4, memoryBytes: 256 * 1024 },
  };
  for (const [name, options] of Object.entries(ways)) {
    test(`the block client changes and reads the disk of QEMU, with ${name}`, async (context) => {
      await readAndWrite(context, peers, options);
    });
  }
  test('the block client does not write to a disk that is read-only', async (context) => {
    await readOnly(context, peers);
  });
  test('the block client hears that QEMU has died, and its requests end', async (context) => {
    await dies(context, peers);
  });
  test('the mock front-end brings the disk of QEMU up, stops it and goes on', async (context) => {
    await bringUp(context, peers);
  });
}

/** A served image of random bytes. */
interface Stage {
  readonly image: string;
  readonly bytes: Buffer;
  readonly socketPath: string;
  readonly server: TestProgram;
}

function startStage(context: TestContext, peers: Peers, writable: boolean): Stage {
  const folder = mkdtempSync('/tmp/vhost-user-frontend-');
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const image = join(folder, 'served.img');
  const bytes = randomBytes(IMAGE_MIB * MIB);
  writeFileSync(image, bytes);
  const socketPath = join(folder, 'blk.sock');
  const readOnly = writable ? 'read-only=off,discard=unmap' : 'read-only=on';
  const server = startProgram([
    ...peers.storageDaemon,
    '--blockdev',
    `driver=file,node-name=f0,filename=${image},${readOnly}`,
    '--export',
    `type=vhost-user-blk,id=e0,node-name=f0,addr.type=unix,addr.path=${socketPath},` +
      `writable=${writable ? 'on' : 'off'},num-queues=2`,
  ]);
  context.after(() => server.stop('SIGKILL'));
  return { image, bytes, socketPath, server };
}

async function readAndWrite(
  context: TestContext,
  peers: Peers,
  options: BlkClientOptions,
): Promise<void> {
  const { image, bytes, socketPath } = startStage(context, peers, true);
  const before = holdings();
  const disk = await BlkClient.connect(socketPath, { connectWaitMs: CONNECT_WAIT_MS, ...options });
  assert.equal(disk.sizeBytes, bytes.length);
  assert.equal(disk.queueCount, options.queueCount ?? 1);
  assert.equal(await disk.serial(), 'vhost_user_blk');
  const whole = new Uint8Array(bytes.length);
  await disk.read(0, whole);
  assert.ok(bytes.equals(whole), 'what was read is what the image has');
  const writes = Array.from({ length: 300 }, (_, i) => randomBytes(512 * (1 + (i % 20))));
  await Promise.all(writes.map((data, i) => disk.write(i * 16384, data)));
  writes.forEach((data, i) => data.copy(bytes, i * 16384));
  await disk.writeZeroes(8 * MIB, MIB, { unmap: true });
  bytes.fill(0, 8 * MIB, 9 * MIB);
  await disk.flush();
  await disk.read(0, whole);
  assert.ok(bytes.equals(whole), 'what was written is read back');
  await disk.discard(12 * MIB, MIB);
  await disk.close();
  const written = readFileSync(image);
  assert.ok(written.subarray(0, 12 * MIB).equals(bytes.subarray(0, 12 * MIB)));
  await expectNoLeak(before);
}

async function readOnly(context: TestContext, peers: Peers): Promise<void> {
  const { image, bytes, socketPath } = startStage(context, peers, false);
  const disk = await BlkClient.connect(socketPath, { connectWaitMs: CONNECT_WAIT_MS });
  assert.ok(disk.readOnly);
  const sector = new Uint8Array(512);
  await assert.rejects(disk.write(0, sector), { code: 'ERR_VHU_BLK_READ_ONLY' });
  await disk.read(512, sector);
  assert.ok(bytes.subarray(512, 1024).equals(sector));
  const next = BlkClient.connect(socketPath, { replyTimeoutMs: 200 });
  await assert.rejects(next, { code: 'ERR_VHU_REPLY_TIMEOUT' }, 'one front-end at a time');
  truncateSync(image, MIB); // behind QEMU's back: it reads zeroes there, or fails
  await disk.read(2 * MIB, sector).catch((error: unknown) => {
    assert.equal((error as { code?: string }).code, 'ERR_VHU_BLK_IO');
  });
  await disk.close();
}

async function dies(context: TestContext, peers: Peers): Promise<void> {
  const { socketPath, server } = startStage(context, peers, true);
  const before = holdings();
  let onEnd: (error: Error | null) => void = () => undefined;
  const ended = new Promise<Error | null>((resolve) => (onEnd = resolve));
  const disk = await BlkClient.connect(socketPath, { connectWaitMs: CONNECT_WAIT_MS, onEnd });
  server.signal('SIGSTOP');
  const sector = new Uint8Array(512);
  const gone = { code: 'ERR_VHU_BACKEND_GONE' };
  const outcomes = [0, 512, 1024].map((at) => assert.rejects(disk.read(at, sector), gone));
  server.signal('SIGKILL');
  await Promise.all(outcomes);
  assert.match(String(await ended), /ended the connection/);
  await disk.close();
  await expectNoLeak(before);
}

async function bringUp(context: TestContext, peers: Peers): Promise<void> {
  const { socketPath, bytes } = startStage(context, peers, true);
  const before = holdings();
  for (const indirectMax of [0, 4]) {
    const frontend = await MockFrontend.connect(socketPath, CONNECT_WAIT_MS);
    const guest = await frontend.bringUp({
      queueCount: 2,
      queueSize: 16,
      indirectMax,
      regionCount: 3,
    });
    for (const index of [0, 1]) {
      const { written } = await guest.queue(index).exchange([GET_ID], [20, 1]);
      assert.equal(Buffer.from(written.subarray(0, 14)).toString(), 'vhost_user_blk');
    }
    const base = await guest.stopQueue(0);
    assert.equal(base, 1);
    await guest.startQueue(0, base);
    const { written } = await guest.queue(0).exchange([Buffer.alloc(16)], [100, 412, 512, 1]);
    assert.ok(bytes.subarray(0, 1024).equals(written.subarray(0, 1024)));
    frontend.close();
    guest.close();
  }
  await expectNoLeak(before);
}
