/**
 * Sessions with our own back-end, and with peers that answer by a script.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { VhostUserError } from '../util/index.ts';
import {
  BACKEND,
  FRONTEND,
  PAYLOAD_BYTES_MAX,
  encodeMessage,
  protocolFeatures,
  virtioFeatures,
} from '../protocol/index.ts';
import { startBackend } from '../backend/index.ts';
import type { Backend } from '../backend/index.ts';
import { MockBackend, RamDisk, expectNoLeak, holdings, u64 } from '../testing/index.ts';
import type {
  MockAnswer,
  MockBackendOptions,
  MockSocket,
  RamDiskOptions,
} from '../testing/index.ts';
import { BLK_FEATURE, CONFIG } from './blk/layout.ts';
import { FrontendSession } from './session.ts';
import type { FrontendSessionOptions } from './session.ts';

const BIT_30 = virtioFeatures('PROTOCOL_FEATURES');
const ALL_THAT_COUNT = protocolFeatures('MQ', 'REPLY_ACK', 'BACKEND_REQ', 'CONFIG');

/** A session with a disk in memory, and everything taken away afterwards. */
async function withDisk(
  options: RamDiskOptions,
  session: Partial<FrontendSessionOptions>,
  body: (session: FrontendSession, disk: RamDisk, backend: Backend) => Promise<void>,
): Promise<void> {
  const before = holdings();
  const folder = mkdtempSync(join(tmpdir(), 'vhu-'));
  const path = join(folder, 's');
  const disk = new RamDisk(options);
  const backend = await startBackend(disk, { kind: 'listen', path });
  try {
    const opened = await FrontendSession.open({ socketPath: path, ...session });
    try {
      await body(opened, disk, backend);
    } finally {
      await opened.close();
    }
  } finally {
    await backend.close();
    rmSync(folder, { recursive: true });
  }
  await expectNoLeak(before);
}

/** A back-end that offers these features, and does as `script` says. */
function scripted(
  offered: Omit<MockBackendOptions, 'script'>,
  script: NonNullable<MockBackendOptions['script']> = () => 'agree',
): MockBackend {
  return new MockBackend({ ...offered, script });
}

describe('FrontendSession', () => {
  it('agrees with our own back-end on all features that both know, and shares memory', async () => {
    const features = BLK_FEATURE.MQ | BLK_FEATURE.RO;
    await withDisk({ queueCount: 3 }, { features }, async (session, _disk, backend) => {
      assert.ok(session.connected);
      assert.equal(session.features & 0xff_ffffn, BLK_FEATURE.MQ, 'RO was not offered');
      assert.ok(session.features & virtioFeatures('VERSION_1'));
      assert.equal(session.protocolFeatures & ALL_THAT_COUNT, ALL_THAT_COUNT);
      assert.equal(session.queueCountMax, 3);
      assert.ok(session.memorySlotsMax > 8);
      assert.ok(backend.connected);
      await session.barrier();
    });
  });

  it('serves a queue, stops it, and goes on from where it was', async () => {
    await withDisk({ serial: 'abc' }, {}, async (session) => {
      const queue = await session.startQueue({ index: 0, size: 8 });
      const range = session.memory.allocate(64, 64);
      const bytes = new Uint8Array(session.memory.view(range));
      const serial = async (): Promise<string> => {
        bytes.fill(0xff);
        new DataView(bytes.buffer).setUint32(0, 8, true);
        const { gpa } = range;
        const writable = [{ gpa: gpa + 16, lengthBytes: 21 }];
        queue.ring.enableInterrupts();
        queue.ring.addChain([{ gpa, lengthBytes: 16 }], writable, 5);
        queue.publish();
        while (queue.ring.take() !== 5) await new Promise((resolve) => setImmediate(resolve));
        return Buffer.from(bytes.subarray(16, 19)).toString('latin1');
      };
      assert.equal(await serial(), 'abc');
      assert.equal(await serial(), 'abc');
      assert.equal(await session.stopQueue(queue), 2);
      await session.resumeQueue(queue, 2);
      assert.equal(await serial(), 'abc');
      assert.equal(await session.stopQueue(queue), 3);
      queue.close();
      queue.close();
    });
  });

  it('gives a stopped queue back its memory, and starts the next one in it', async () => {
    await withDisk({}, { memoryBytes: 65536 }, async (session) => {
      const free = session.memory.takenBytes;
      for (let i = 0; i < 20; i++) {
        const queue = await session.startQueue({ index: 0, size: 256, indirectMax: 8 });
        await session.stopQueue(queue);
        queue.close();
      }
      assert.equal(session.memory.takenBytes, free);
    });
  });

  it('reads the configuration space anywhere, and writes where the device allows it', async () => {
    await withDisk({ sizeBytes: 1024 * 512 }, {}, async (session, disk) => {
      assert.equal(
        new DataView((await session.readConfig(0, 8)).slice().buffer).getUint32(0, true),
        1024,
      );
      assert.deepEqual([...(await session.readConfig(1, 2))], [4, 0]);
      await session.writeConfig(CONFIG.writeback, Uint8Array.of(1));
      assert.deepEqual(disk.configWrites, [{ offset: CONFIG.writeback, bytes: Uint8Array.of(1) }]);
      await assert.rejects(session.writeConfig(0, Uint8Array.of(1)), { code: 'ERR_VHU_REFUSED' });
      await assert.rejects(session.readConfig(250, 7), { code: 'ERR_VHU_CONFIG_RANGE' });
      await session.barrier();
    });
  });

  it('hears that the back-end found a fault in a ring, and the session goes on', async () => {
    let onError: (error: VhostUserError) => void = () => undefined;
    const error = new Promise<VhostUserError>((resolve) => (onError = resolve));
    await withDisk({}, { onError: (each) => onError(each) }, async (session) => {
      const queue = await session.startQueue({ index: 0, size: 8 });
      queue.ring.addChain([{ gpa: 0, lengthBytes: 16 }], [], 0); // no memory there
      queue.publish();
      assert.equal((await error).code, 'ERR_VHU_QUEUE_ERROR');
      assert.match((await error).message, /^queue 0: /);
      await session.barrier();
    });
  });

  it('hears that the configuration space has changed', async () => {
    let heard = (): void => undefined;
    const changed = new Promise<void>((resolve) => (heard = resolve));
    await withDisk({}, { onConfigChange: () => heard() }, async (session, disk) => {
      disk.resize(2 * 1024 * 1024);
      await changed;
      assert.equal((await session.readConfig(0, 8))[1], 0x10);
    });
  });

  it('says which queue index or size is wrong without asking the back-end', async () => {
    await withDisk({ queueCount: 2 }, {}, async (session) => {
      const start = (index: number, size: number): Promise<unknown> =>
        session.startQueue({ index, size });
      await assert.rejects(start(2, 8), {
        code: 'ERR_VHU_QUEUE_INDEX',
        message: /has 2, from 0 on/,
      });
      await assert.rejects(start(256, 8), { code: 'ERR_VHU_QUEUE_INDEX' });
      await assert.rejects(start(0, 12), { code: 'ERR_VHU_QUEUE_SIZE' });
      await assert.rejects(start(0, 65536), { code: 'ERR_VHU_QUEUE_SIZE' });
    });
  });

  it('names the message that the back-end refused, and goes on', async () => {
    await withDisk({ queueSizeMax: 16 }, {}, async (session) => {
      await assert.rejects(session.startQueue({ index: 0, size: 32 }), {
        code: 'ERR_VHU_REFUSED',
        message: /^SET_VRING_NUM: the back-end refused it/,
      });
      assert.equal(session.memory.takenBytes, 0);
      await session.barrier();
    });
  });

  for (const [name, options] of Object.entries({
    'no protocol feature but CONFIG': { protocolFeatures: protocolFeatures('CONFIG') },
    'no protocol feature at all': { protocolFeatures: 0n },
    'no ring feature but VERSION_1': { ringFeatures: virtioFeatures('VERSION_1') },
  })) {
    it(`works with ${name}`, async () => {
      await withDisk({}, options, async (session) => {
        assert.equal(session.protocolFeatures & ~(options.protocolFeatures ?? ~0n), 0n);
        const queue = await session.startQueue({ index: 0, size: 4, indirectMax: 4 });
        assert.equal(await session.stopQueue(queue), 0);
        if (session.speaks('CONFIG')) assert.equal((await session.readConfig(0, 8)).length, 8);
        else await assert.rejects(session.readConfig(0, 8), { code: 'ERR_VHU_NO_CONFIG' });
      });
    });
  }

  it('speaks the original protocol with a back-end that knows no protocol features', async () => {
    const peer = scripted({ features: virtioFeatures('VERSION_1') }, (name) => {
      if (name === 'GET_VRING_BASE') return new Uint8Array(8);
      return 'agree';
    });
    const session = await FrontendSession.open({ fd: peer.peerFd });
    await session.startQueue({ index: 0, size: 8 });
    await session.close();
    await peer.close();
    assert.deepEqual(
      peer.seen.filter((name) => name !== 'GET_FEATURES'),
      [
        ...['SET_OWNER', 'SET_FEATURES', 'SET_MEM_TABLE'],
        ...['SET_VRING_NUM', 'SET_VRING_BASE', 'SET_VRING_ADDR'],
        ...['SET_VRING_CALL', 'SET_VRING_ERR', 'SET_VRING_KICK', 'GET_VRING_BASE'],
      ],
    );
  });

  it('accepts nothing that it cannot follow, whatever is offered', async () => {
    const peer = scripted(
      { features: 2n ** 64n - 1n, protocolFeatures: 2n ** 64n - 1n },
      (name) => {
        if (name === 'GET_QUEUE_NUM' || name === 'GET_MAX_MEM_SLOTS') return u64(32n);
        return 'agree';
      },
    );
    const session = await FrontendSession.open({ fd: peer.peerFd, features: 2n ** 64n - 1n });
    const refused = virtioFeatures(
      'RING_PACKED',
      'ACCESS_PLATFORM',
      'LOG_ALL',
      'NOTIFICATION_DATA',
    );
    assert.equal(session.features & refused, 0n);
    assert.equal(session.protocolFeatures & protocolFeatures('PAGEFAULT', 'STATUS'), 0n);
    assert.ok(session.features & BIT_30);
    await session.close();
    await peer.close();
  });

  it('an empty GET_CONFIG reply is a refusal, and the session goes on', async () => {
    const offered = { features: BIT_30, protocolFeatures: protocolFeatures('CONFIG', 'REPLY_ACK') };
    const peer = scripted(offered, (name) => {
      return name === 'GET_CONFIG' ? new Uint8Array(0) : 'agree';
    });
    const session = await FrontendSession.open({ fd: peer.peerFd });
    await assert.rejects(session.readConfig(0, 4), { code: 'ERR_VHU_REFUSED' });
    await session.barrier();
    await session.close();
    await peer.close();
  });
});

describe('FrontendSession with a back-end in trouble', () => {
  const failures: [string, () => MockAnswer, RegExp, string][] = [
    [
      'never answers',
      () => 'silence',
      /GET_FEATURES: no reply within 50 ms/,
      'ERR_VHU_REPLY_TIMEOUT',
    ],
    ['ends the connection', () => 'end', /it was asked GET_FEATURES/, 'ERR_VHU_BACKEND_GONE'],
    [
      'answers with too few bytes',
      () => new Uint8Array(3),
      /3 bytes, not 8/,
      'ERR_VHU_MESSAGE_SIZE',
    ],
    ['answers nothing', () => new Uint8Array(0), /GET_FEATURES.*refused/, 'ERR_VHU_REFUSED'],
    [
      'answers without end',
      () => new Uint8Array(PAYLOAD_BYTES_MAX + 1),
      /limit/,
      'ERR_VHU_MESSAGE_SIZE',
    ],
  ];
  for (const [name, script, message, code] of failures) {
    it(`open says so when the back-end ${name}, and leaves nothing behind`, async () => {
      const before = holdings();
      const peer = scripted({ features: 0n }, script);
      const open = FrontendSession.open({ fd: peer.peerFd, replyTimeoutMs: 50 });
      await assert.rejects(open, { code, message });
      await peer.close();
      await expectNoLeak(before);
    });
  }

  it('open says so when nobody listens, at once or after the wait that was asked for', async () => {
    const before = holdings();
    const socketPath = join(tmpdir(), 'vhu-nobody.sock');
    await assert.rejects(FrontendSession.open({ socketPath }), { code: 'ERR_VHU_SYSTEM' });
    const started = performance.now();
    const open = FrontendSession.open({ socketPath, connectWaitMs: 60 });
    await assert.rejects(open, { code: 'ERR_VHU_SYSTEM' });
    assert.ok(performance.now() - started >= 55);
    await expectNoLeak(before);
  });

  it('a reply that nobody asked for ends the session', async () => {
    const peer = scripted({ features: 0n });
    let onEnd: (error: Error | null) => void = () => undefined;
    const ended = new Promise<Error | null>((resolve) => (onEnd = resolve));
    const session = await FrontendSession.open({ fd: peer.peerFd, onEnd });
    const options = { reply: true };
    const reply = encodeMessage('frontend', FRONTEND.GET_FEATURES, 'u64', { value: 0n }, options);
    await peer.socket.sendBytes(reply);
    assert.match(String(await ended), /answered GET_FEATURES, which nobody asked for/);
    assert.ok(!session.connected);
    await assert.rejects(session.barrier(), { code: 'ERR_VHU_REPLY' });
    await session.close();
    await peer.close();
  });

  it('replies about something else than what was asked are refused', async () => {
    const offered = { features: BIT_30, protocolFeatures: protocolFeatures('CONFIG') };
    const peer = scripted(offered, (name) => {
      if (name === 'GET_VRING_BASE') return Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0);
      if (name === 'GET_CONFIG') return Uint8Array.of(...u64(3n << 32n), 0, 0, 0, 0, 1, 2, 3);
      return 'agree';
    });
    const session = await FrontendSession.open({ fd: peer.peerFd });
    const queue = await session.startQueue({ index: 0, size: 8 });
    await assert.rejects(session.stopQueue(queue), {
      code: 'ERR_VHU_REPLY',
      message: /asked about queue 0, the answer is about queue 1/,
    });
    await assert.rejects(session.readConfig(0, 4), {
      code: 'ERR_VHU_REPLY',
      message: /asked for 4 bytes, got 3/,
    });
    await session.close();
    await peer.close();
  });

  it('what is asked after the end is told what the end was', async () => {
    const peer = scripted({ features: 0n });
    const session = await FrontendSession.open({ fd: peer.peerFd });
    peer.socket.close();
    await assert.rejects(session.barrier(), { code: 'ERR_VHU_BACKEND_GONE' });
    await assert.rejects(session.barrier(), {
      code: 'ERR_VHU_BACKEND_GONE',
      message: /^GET_FEATURES not sent: the back-end ended the connection/,
    });
    await session.close();
    await session.close();
    await assert.rejects(session.barrier(), { code: 'ERR_VHU_BACKEND_GONE' });
    await peer.close();
  });

  it('a closed session refuses politely, and waiting requests are told', async () => {
    let quiet = false;
    const peer = scripted({ features: 0n }, () => (quiet ? 'silence' : 'agree'));
    const session = await FrontendSession.open({ fd: peer.peerFd });
    quiet = true;
    const outcome = assert.rejects(session.barrier(), { code: 'ERR_VHU_CLOSED' });
    await session.close();
    await outcome;
    await assert.rejects(session.barrier(), { code: 'ERR_VHU_CLOSED' });
    await peer.close();
  });

  it('a refusal that is followed by a hang-up is still heard', async () => {
    const offered = { features: BIT_30, protocolFeatures: protocolFeatures('REPLY_ACK') };
    let last = false;
    const peer = scripted(offered, (name) => {
      if (last) return 'end';
      last = name === 'SET_VRING_NUM';
      return last ? u64(1n) : 'agree';
    });
    const session = await FrontendSession.open({ fd: peer.peerFd });
    const start = session.startQueue({ index: 0, size: 8 });
    await assert.rejects(start, { code: 'ERR_VHU_REFUSED', message: /^SET_VRING_NUM/ });
    await session.close();
    await peer.close();
  });
});

describe('BackendChannel', () => {
  it('a request that was not offered is refused and told, and the next one is served', async () => {
    const before = holdings();
    const offered = { features: BIT_30, protocolFeatures: protocolFeatures('BACKEND_REQ') };
    const peer = scripted(offered);
    const errors: string[] = [];
    let changes = 0;
    const session = await FrontendSession.open({
      fd: peer.peerFd,
      onConfigChange: () => changes++,
      onError: (error) => errors.push(`${error.code} ${error.message}`),
    });
    const backend = peer.requests as MockSocket;
    const ask = async (request: number, needReply: boolean): Promise<void> => {
      await backend.sendBytes(encodeMessage('backend', request, 'none', {}, { needReply }));
    };
    await ask(BACKEND.VRING_HOST_NOTIFIER_MSG, true);
    assert.deepEqual((await backend.receive()).payload, u64(1n));
    const state = { index: 0, num: 0 };
    await backend.sendBytes(encodeMessage('backend', BACKEND.VRING_CALL, 'vringState', state));
    await ask(BACKEND.CONFIG_CHANGE_MSG, true);
    assert.deepEqual((await backend.receive()).payload, u64(0n));
    await ask(BACKEND.CONFIG_CHANGE_MSG, false);
    await ask(77, true);
    assert.equal((await backend.receive()).request, 77);
    assert.equal(changes, 2);
    assert.equal(errors.length, 3);
    assert.match(errors[1] as string, /VRING_CALL from the back-end: this front-end did not offer/);
    assert.match(errors[2] as string, /message 77/);
    await session.barrier();
    await session.close();
    assert.match(await backend.expectClosed(), /ended/);
    await peer.close();
    await expectNoLeak(before);
  });

  it('nonsense on it is told, and does not end the session', async () => {
    const offered = { features: BIT_30, protocolFeatures: protocolFeatures('BACKEND_REQ') };
    const peer = scripted(offered);
    const errors: string[] = [];
    const onError = (error: Error): void => void errors.push(error.message);
    const session = await FrontendSession.open({ fd: peer.peerFd, onError });
    await peer.requests?.sendBytes(new Uint8Array(12).fill(0xff));
    await peer.requests?.expectClosed();
    assert.equal(errors.length, 1);
    await session.barrier();
    await session.close();
    await peer.close();
  });
});
