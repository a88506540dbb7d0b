/**
 * The mock front-end against our own back-end: what it sends has to arrive as it was meant.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { closeFds, createNotifier, socketPair } from '../sys/index.ts';
import { BACKEND, FRONTEND, protocolFeatures } from '../protocol/index.ts';
import { startBackend } from '../backend/index.ts';
import { expectNoLeak, holdings } from './leaks.ts';
import { MockFrontend, mockMessage } from './mock-frontend.ts';
import { MockSocket } from './mock-socket.ts';
import { RamDisk } from './ram-disk.ts';

const HEADER_GET_ID = Buffer.from([8, ...new Uint8Array(15)]);
const QUICK_MS = 50;

async function withFrontend(
  body: (frontend: MockFrontend, disk: RamDisk, refused: string[]) => Promise<void>,
): Promise<void> {
  const before = holdings();
  const folder = mkdtempSync(join(tmpdir(), 'vhu-'));
  const path = join(folder, 's');
  const disk = new RamDisk({ serial: 'mock', queueCount: 2 });
  const refused: string[] = [];
  const events = { refused: (error: Error) => void refused.push(error.message) };
  const backend = await startBackend(disk, { kind: 'listen', path }, events);
  const frontend = await MockFrontend.connect(path);
  try {
    await body(frontend, disk, refused);
  } finally {
    frontend.close();
    await backend.close();
    rmSync(folder, { recursive: true });
  }
  await expectNoLeak(before);
}

describe('MockFrontend', () => {
  it('brings a device up, exchanges requests, stops a ring and goes on', async () => {
    await withFrontend(async (frontend) => {
      const guest = await frontend.bringUp({ queueCount: 2, queueSize: 8 });
      for (const index of [0, 1, 0]) {
        const done = await guest.queue(index).exchange([HEADER_GET_ID], [20, 1]);
        assert.equal(done.usedBytes, 21);
        assert.equal(Buffer.from(done.written.subarray(0, 4)).toString(), 'mock');
      }
      assert.equal(await guest.stopQueue(0), 2);
      await guest.startQueue(0, 2);
      assert.equal((await guest.queue(0).exchange([HEADER_GET_ID], [20, 1])).usedBytes, 21);
      frontend.close();
      guest.close();
    });
  });

  const ways = {
    'two regions': { regionCount: 2 },
    'a table of regions': { regionCount: 3, protocolFeatures: protocolFeatures('REPLY_ACK') },
    'no REPLY_ACK': { protocolFeatures: protocolFeatures('CONFIGURE_MEM_SLOTS') },
    'no protocol features': { features: 1n << 32n, protocolFeatures: 0n },
    'addresses that are gpas': { protocolFeatures: protocolFeatures('GPA_ADDRESSES') },
    'indirect chains': { indirectMax: 4 },
  };
  for (const [name, options] of Object.entries(ways)) {
    it(`brings a device up with ${name}`, async () => {
      await withFrontend(async (frontend) => {
        const guest = await frontend.bringUp({ queueSize: 16, ...options });
        assert.equal(guest.regions.length, 'regionCount' in options ? options.regionCount : 1);
        const done = await guest.queue(0).exchange([HEADER_GET_ID], [7, 13, 1]);
        assert.equal(Buffer.from(done.written.subarray(0, 4)).toString(), 'mock');
        frontend.close();
        guest.close();
      });
    });
  }

  it('a message in single bytes, with its fd on the first, is one message', async () => {
    await withFrontend(async (frontend, _disk, refused) => {
      const pieces = { pieceBytes: 1 };
      await frontend.send('GET_FEATURES', {}, { pieces });
      assert.equal((await frontend.receive()).request, FRONTEND.GET_FEATURES);
      const { notifier, consumer } = createNotifier();
      await frontend.send('SET_VRING_CALL', { value: 0n }, { fds: [notifier.fd], pieces });
      await frontend.askNumber('GET_FEATURES');
      assert.deepEqual(refused, []);
      const late = { pieceBytes: 12, fdsWithPiece: 1 };
      await frontend.send('SET_VRING_CALL', { value: 0n }, { fds: [notifier.fd], pieces: late });
      await frontend.askNumber('GET_FEATURES');
      assert.match(refused.join(), /SET_VRING_CALL/);
      notifier.close();
      consumer.close();
    });
  });

  it('messages sent together are answered one by one, in order', async () => {
    await withFrontend(async (frontend) => {
      const names = ['GET_FEATURES', 'GET_PROTOCOL_FEATURES', 'GET_QUEUE_NUM'] as const;
      await frontend.sendTogether(...names.map((name) => ({ bytes: mockMessage(name) })));
      for (const name of names) assert.equal((await frontend.receive()).request, FRONTEND[name]);
      const joined = Buffer.concat(names.map((name) => mockMessage(name)));
      await frontend.sendBytes(joined);
      for (const name of names) assert.equal((await frontend.receive()).request, FRONTEND[name]);
    });
  });

  it('a wrong length, number or fd is refused, and the connection goes on', async () => {
    await withFrontend(async (frontend, _disk, refused) => {
      await frontend.negotiate();
      const values = { index: 0, num: 8 };
      assert.equal(await frontend.ack('SET_VRING_NUM', values), 0n);
      const payload = new Uint8Array(5);
      assert.equal(await frontend.ack('SET_VRING_NUM', {}, { payload }), 1n);
      assert.equal(await frontend.ack(99, {}, { payload }), 1n);
      const [one, other] = socketPair();
      assert.equal(await frontend.ack('SET_VRING_NUM', values, { fds: [one, other] }), 1n);
      closeFds([one, other]);
      assert.equal(refused.length, 3);
      await assert.rejects(frontend.command('SET_VRING_NUM', { index: 0, num: 3 }), {
        code: 'ERR_VHU_MOCK_REFUSED',
      });
      await frontend.expectSilence(QUICK_MS);
    });
  });

  it('a wrong version ends the connection, and a header alone does not', async () => {
    await withFrontend(async (frontend) => {
      await frontend.send('SET_VRING_NUM', {}, { payload: new Uint8Array(0), sizeBytes: 8 });
      await frontend.expectSilence(QUICK_MS);
      const open = { code: 'ERR_VHU_MOCK_STILL_OPEN' };
      await assert.rejects(frontend.expectClosed(QUICK_MS), open);
      await frontend.sendBytes(new Uint8Array(8));
      await frontend.send('GET_FEATURES', {}, { flags: 2 });
      assert.match(await frontend.expectClosed(), /ended the connection/);
      await assert.rejects(frontend.receive(), { code: 'ERR_VHU_MOCK_CLOSED' });
      await assert.rejects(frontend.sendBytes(new Uint8Array(8)), { code: 'ERR_VHU_MOCK_SEND' });
    });
  });

  it('hears the back-end through a channel of its own', async () => {
    await withFrontend(async (frontend, disk) => {
      await frontend.negotiate();
      const channel = await frontend.openBackendChannel();
      disk.resize(512);
      assert.equal((await channel.receive()).request, BACKEND.CONFIG_CHANGE_MSG);
      const asked = { offset: 0, size: 8, bytes: new Uint8Array(8) };
      const { values } = await frontend.ask('GET_CONFIG', 'config', asked);
      assert.equal(values.bytes[0], 1);
      channel.close();
    });
  });

  it('a hostile driver breaks its ring, hears of it, and the other ring still works', async () => {
    await withFrontend(async (frontend) => {
      const guest = await frontend.bringUp({ queueCount: 2, queueSize: 8 });
      const hostile = guest.queue(0).hostileDriver();
      hostile.desc(0, { addr: hostile.endGpa, len: 16 });
      hostile.offer(0);
      guest.queue(0).raw.kick();
      assert.ok(await guest.queue(0).waitForCall());
      assert.ok(guest.queue(0).errors + guest.queue(0).calls > 0);
      assert.equal((await guest.queue(1).exchange([HEADER_GET_ID], [20, 1])).usedBytes, 21);
      frontend.close();
      guest.close();
    });
  });

  it('says how many requests did not come back', async () => {
    await withFrontend(async (frontend, disk) => {
      const guest = await frontend.bringUp();
      disk.answer = () => 'hold';
      const queue = guest.queue(0);
      await assert.rejects(queue.exchange([HEADER_GET_ID], [20, 1], QUICK_MS), {
        code: 'ERR_VHU_MOCK_TIMEOUT',
        message: /0 of 1 requests came back/,
      });
      disk.release();
      assert.equal((await queue.completions(1)).length, 1);
      frontend.close();
      guest.close();
    });
  });
});

describe('MockSocket', () => {
  it('waits for a peer that reads late, and gives up on one that does not read', async () => {
    const [fd, peerFd] = socketPair();
    const socket = new MockSocket(fd, 'frontend');
    const peer = new MockSocket(peerFd, 'frontend');
    peer.setReading(false);
    const messages = Array.from({ length: 20_000 }, () => mockMessage('GET_FEATURES'));
    const sent = socket.sendBytes(Buffer.concat(messages));
    await assert.rejects(peer.receive(QUICK_MS), { code: 'ERR_VHU_MOCK_TIMEOUT' });
    peer.setReading(true);
    await peer.receive();
    const over = assert.rejects(sent, { code: 'ERR_VHU_MOCK_SEND' });
    peer.close();
    await over;
    await assert.rejects(socket.expectSilence(QUICK_MS), { code: 'ERR_VHU_MOCK_UNEXPECTED' });
    socket.close();
  });
});
