/**
 * The device as a front-end sees it, through a real socket: on the event loop and on a worker.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setImmediate, setTimeout } from 'node:timers/promises';
import {
  FUSE_ENTRY_OUT,
  FUSE_BATCH_FORGET_IN,
  FUSE_FORGET_IN,
  FUSE_LK_IN,
  FUSE_OPCODE,
  FUSE_OPEN_IN,
  FUSE_READ_IN,
  FUSE_WRITE_IN,
  LINUX_E,
  LINUX_F,
} from '../../fuse/index.ts';
import { FsClient } from '../../frontend/index.ts';
import {
  STUB_MODULE,
  StubFileSystem,
  TestBackend,
  codesOf,
  fuseAnswer,
  fuseInitRequest,
  fuseRequest,
  fuseStruct,
} from '../../testing/index.ts';
import type { FuseAnswer, MockQueue } from '../../testing/index.ts';
import { PENDING, openFs } from './index.ts';
import type { FsDevice, FsOptions, FuseCall } from './index.ts';

const MIB = 1024 * 1024;

async function ask(queue: MockQueue, request: Uint8Array, roomBytes = 256): Promise<FuseAnswer> {
  const done = await queue.exchange([request], [16, roomBytes]);
  return fuseAnswer(done.written, done.usedBytes);
}

function lockRequest(owner: number, type: number, unique: number): Uint8Array {
  const arguments_ = fuseStruct(FUSE_LK_IN, { owner });
  new DataView(arguments_.buffer).setUint32(FUSE_LK_IN.lk + 16, type, true);
  return fuseRequest(FUSE_OPCODE.SETLKW, [arguments_], { unique });
}

/** Serves a device while a body uses it. */
async function withDevice(
  device: FsDevice,
  body: (served: TestBackend<FsDevice>) => Promise<void>,
): Promise<void> {
  const served = await TestBackend.start(device);
  try {
    await body(served);
  } finally {
    await served.close();
  }
}

function onLoop(fs: StubFileSystem): FsDevice {
  return openFs({ tag: 'stub', source: { kind: 'operations', create: () => fs } });
}

describe('a virtio-fs device', () => {
  it('has its tag and its number of request queues in the configuration space', () => {
    const source = { kind: 'operations', create: () => new StubFileSystem() } as const;
    const share = openFs({ tag: 'größe', source, requestQueues: 3 });
    const config = share.readConfig();
    assert.equal(config.length, 40);
    assert.equal(Buffer.from(config.subarray(0, 7)).toString(), 'größe');
    assert.ok(config.subarray(7, 36).every((byte) => byte === 0));
    assert.equal(new DataView(config.buffer).getUint32(36, true), 3);
    assert.equal(share.queueCount, 4);
    assert.equal(share.deviceId, 26);
    const longest = openFs({ tag: 't'.repeat(36), source });
    assert.equal(Buffer.from(longest.readConfig().subarray(0, 36)).toString(), 't'.repeat(36));
  });

  it('refuses options that cannot be, naming them', () => {
    const source = { kind: 'operations', create: () => new StubFileSystem() } as const;
    const wrong: readonly (readonly [Partial<FsOptions>, RegExp])[] = [
      [{ tag: '' }, /tag is empty/],
      [{ tag: 'ä'.repeat(19) }, /38 bytes, at most 36/],
      [{ tag: 'a\0b' }, /NUL/],
      [{ requestQueues: 0 }, /num-request-queues is 0/],
      [{ requestQueues: 1.5 }, /num-request-queues is 1.5/],
      [{ requestQueues: 65 }, /1 to 64/],
      [{ queueSize: 1000 }, /power of two/],
      [{ pollUs: -1 }, /poll-us is -1/],
      [{ readdirPlus: 'sometimes' as 'auto' }, /readdirplus is "sometimes"/],
    ];
    for (const [options, message] of wrong) {
      assert.throws(() => openFs({ tag: 'ok', source, ...options }), {
        code: 'ERR_VHU_OPTION',
        message,
      });
    }
  });

  it('serves a file system on a worker thread', async () => {
    const files = { 'a file': Buffer.alloc(MIB, 'worker') };
    const source = { kind: 'module', module: STUB_MODULE, options: { files } } as const;
    await withDevice(openFs({ tag: 'stub', source, requestQueues: 2 }), async (served) => {
      await served.session(async (frontend, keep) => {
        const guest = keep(
          await frontend.bringUp({ queueCount: 3, queueSize: 64, memoryBytes: 8 * MIB }),
        );
        const queue = guest.queue(1);
        assert.equal((await ask(queue, fuseInitRequest())).errno, 0);
        const found = await ask(guest.queue(2), fuseRequest(FUSE_OPCODE.LOOKUP, ['a file']));
        const nodeId = Number(found.view.getBigUint64(FUSE_ENTRY_OUT.nodeid, true));
        const open = fuseRequest(FUSE_OPCODE.OPEN, [fuseStruct(FUSE_OPEN_IN)], { nodeId });
        const fh = Number((await ask(queue, open)).view.getBigUint64(0, true));
        const read = fuseStruct(FUSE_READ_IN, { fh, size: MIB });
        const got = await ask(queue, fuseRequest(FUSE_OPCODE.READ, [read], { nodeId }), MIB);
        assert.ok(Buffer.from(got.body).equals(files['a file']));
        const data = Buffer.alloc(MIB, 'guest');
        const write = fuseStruct(FUSE_WRITE_IN, { fh, offset: MIB, size: MIB });
        const request = fuseRequest(FUSE_OPCODE.WRITE, [write, data], { nodeId });
        assert.equal((await ask(queue, request)).view.getUint32(0, true), MIB);
        const again = fuseStruct(FUSE_READ_IN, { fh, offset: MIB, size: MIB });
        const back = await ask(queue, fuseRequest(FUSE_OPCODE.READ, [again], { nodeId }), MIB);
        assert.ok(Buffer.from(back.body).equals(data));
      });
    });
  });

  it('lets FORGETs wait for company, and not for long', async () => {
    await withForgets(async (queue) => {
      const forget = fuseRequest(FUSE_OPCODE.FORGET, [fuseStruct(FUSE_FORGET_IN)]);
      const wanted: boolean[][] = [];
      // A machine that is busy elsewhere takes longer than they may wait: then it is tried again.
      for (let attempt = 0; attempt < 50; attempt++) {
        queue.driver.submit([forget], []);
        queue.publish();
        await queue.completions(1);
        const kicks: boolean[] = [];
        for (let i = 0; i < 7; i++) {
          queue.driver.submit([forget], []);
          kicks.push(queue.driver.publish());
        }
        await queue.completions(7); // though nobody kicked
        for (let i = 0; i < 9; i++) {
          queue.driver.submit([forget], []);
          kicks.push(queue.driver.publish());
          if (kicks.at(-1) === true) queue.raw.kick();
        }
        await queue.completions(9);
        wanted.push(kicks);
        if (kicks.indexOf(true) === 15) return;
        await setTimeout(30);
      }
      assert.fail(`kicks were wanted at: ${JSON.stringify(wanted)}`);
    });
  });

  it('lets a driver that forgets many at once wait for nothing', async () => {
    await withForgets(async (queue) => {
      const none = fuseStruct(FUSE_BATCH_FORGET_IN, { count: 0 });
      const forget = fuseRequest(FUSE_OPCODE.BATCH_FORGET, [none]);
      const took: number[] = [];
      // With a wait after each of them it could not be quicker, on any machine.
      for (let attempt = 0; attempt < 100 && Math.min(...took, Infinity) >= 190; attempt++) {
        const startMs = performance.now();
        for (let i = 0; i < 20; i++) {
          queue.driver.submit([forget], []);
          queue.publish();
          await queue.completions(1);
        }
        took.push(performance.now() - startMs);
      }
      assert.ok(Math.min(...took) < 190, `20 took ${took.join(', ')} ms`);
    });
  });

  it('shows a folder of this host', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vhu-share-'));
    try {
      writeFileSync(join(folder, 'host.txt'), 'from the host');
      const source = { kind: 'folder', folder } as const;
      await withDevice(openFs({ tag: 'share', source }), async (served) => {
        const client = await FsClient.mount(served.socketPath);
        try {
          assert.equal(await client.readFile('/host.txt', 'utf8'), 'from the host');
          await client.mkdir('/made');
          await client.writeFile('/made/guest.txt', Buffer.alloc(3 * MIB, 'guest'));
        } finally {
          await client.unmount();
        }
      });
      const written = readFileSync(join(folder, 'made/guest.txt'));
      assert.ok(written.equals(Buffer.alloc(3 * MIB, 'guest')));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('refuses a folder that is none, before anything is served', () => {
    assert.throws(() => openFs({ tag: 'x', source: { kind: 'folder', folder: '/dev/null' } }), {
      code: 'ERR_VHU_FS_FOLDER',
    });
  });

  it('says why a module could not make its file system', async () => {
    const options = { failure: 'the moon is full' };
    const source = { kind: 'module', module: STUB_MODULE, options } as const;
    await assert.rejects(TestBackend.start(openFs({ tag: 'stub', source })), /the moon is full/);
  });

  it('answers locks that wait when their queue is stopped, on either kind of thread', async () => {
    const sources: readonly FsOptions['source'][] = [
      { kind: 'module', module: STUB_MODULE, options: {} },
      { kind: 'operations', create: (host) => new StubFileSystem(() => host.flush()) },
    ];
    for (const source of sources) {
      await withDevice(openFs({ tag: 'stub', source }), async (served) => {
        await served.session(async (frontend, keep) => {
          const guest = keep(await frontend.bringUp({ queueCount: 2 }));
          const queue = guest.queue(1);
          await ask(queue, fuseInitRequest());
          assert.equal((await ask(queue, lockRequest(1, LINUX_F.WRLCK, 2))).errno, 0);
          queue.driver.submit([lockRequest(2, LINUX_F.WRLCK, 4)], [16]);
          // The answer to this one says that the one before was taken.
          const getattr = fuseRequest(FUSE_OPCODE.GETATTR, [new Uint8Array(16)]);
          assert.equal((await ask(queue, getattr)).errno, 0);
          assert.equal(await guest.stopQueue(1), 4);
          const [done] = await queue.completions(1);
          assert.ok(done !== undefined);
          assert.equal(fuseAnswer(done.written, done.usedBytes).errno, LINUX_E.INTR);
        });
      });
    }
  });

  it('ends a session whose file system never answers', async () => {
    const fs = new StubFileSystem();
    const calls: FuseCall[] = [];
    fs.getattr = (call) => {
      calls.push(call);
      return PENDING;
    };
    await withDevice(onLoop(fs), async (served) => {
      await served.session(async (frontend, keep) => {
        const guest = keep(await frontend.bringUp({ queueCount: 2 }));
        const queue = guest.queue(1);
        await ask(queue, fuseInitRequest());
        queue.driver.submit([fuseRequest(FUSE_OPCODE.GETATTR, [new Uint8Array(16)])], [16, 104]);
        queue.publish();
        while (calls.length === 0) await setImmediate();
        // A mount over it has to end as well.
        const answer = await ask(guest.queue(0), fuseInitRequest());
        assert.equal(answer.errno, 0);
        const [done] = await queue.completions(1);
        assert.ok(done !== undefined);
        assert.equal(fuseAnswer(done.written, done.usedBytes).errno, LINUX_E.INTR);
        queue.driver.submit([fuseRequest(FUSE_OPCODE.GETATTR, [new Uint8Array(16)])], [16, 104]);
        queue.publish();
        while (calls.length === 1) await setImmediate();
      });
    });
    assert.equal(calls.length, 2);
    for (const call of calls) call.finish(0); // too late, and harmless
  });

  it('keeps the session of a guest that is paused, and ends it with the front-end', async () => {
    const fs = new StubFileSystem();
    await withDevice(onLoop(fs), async (served) => {
      await served.session(async (frontend, keep) => {
        const guest = keep(await frontend.bringUp({ queueCount: 2 }));
        const queue = guest.queue(1);
        await ask(queue, fuseInitRequest());
        await frontend.command('SET_STATUS', { value: 0n });
        assert.deepEqual(fs.events, ['init']);
      });
      assert.deepEqual(fs.events, ['init', 'destroy']);
    });
    assert.deepEqual(fs.events, ['init', 'destroy', 'close']);
  });

  it('goes on when a file system throws, and says so', async () => {
    const fs = new StubFileSystem();
    fs.lookup = () => {
      throw new Error('out of cheese');
    };
    await withDevice(onLoop(fs), async (served) => {
      const { log, faults, refused } = await served.session(async (frontend, keep) => {
        const guest = keep(await frontend.bringUp({ queueCount: 2 }));
        const queue = guest.queue(1);
        await ask(queue, fuseInitRequest());
        for (let i = 0; i < 30; i++) {
          const { errno } = await ask(queue, fuseRequest(FUSE_OPCODE.LOOKUP, ['x']));
          assert.equal(errno, LINUX_E.IO);
        }
      });
      assert.equal(log.length, 20);
      assert.equal(log[0], 'LOOKUP failed: out of cheese');
      assert.match(log[19] ?? '', /no more of these/);
      assert.deepEqual([faults.length, codesOf(refused)], [0, []]);
    });
  });
});

/** The queue of high priority of a folder that is mounted. */
async function withForgets(use: (queue: MockQueue) => Promise<void>): Promise<void> {
  const source = { kind: 'module', module: STUB_MODULE, options: {} } as const;
  await withDevice(openFs({ tag: 'stub', source }), async (served) => {
    await served.session(async (frontend, keep) => {
      const guest = keep(await frontend.bringUp({ queueCount: 2 }));
      await ask(guest.queue(1), fuseInitRequest());
      await use(guest.queue(0));
    });
  });
}
