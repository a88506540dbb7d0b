/**
 * FUSE requests with a device whose answers are written by hand.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  FUSE_ATTR,
  FUSE_ATTR_OUT,
  FUSE_GETATTR_IN,
  FUSE_INIT,
  FUSE_INIT_OUT,
  FUSE_OPCODE,
  FUSE_ROOT_ID,
  LINUX_E,
} from '../../fuse/index.ts';
import { virtioFeatures } from '../../protocol/index.ts';
import { FuseScript, TestBackend, expectNoLeak, holdings } from '../../testing/index.ts';
import type { ScriptedAnswer, ScriptedRequest } from '../../testing/index.ts';
import { FuseConnection } from './connection.ts';
import type { FuseConnectionOptions } from './connection.ts';
import { FUSE_CLIENT_FLAGS } from './init.ts';

const OP = FUSE_OPCODE;
const TEST = 4711; // an opcode of these tests

/** An answer to FUSE_INIT with everything that was asked for. */
function initAnswer(flags: number = FUSE_CLIENT_FLAGS): Uint8Array {
  const bytes = new Uint8Array(FUSE_INIT_OUT.SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(FUSE_INIT_OUT.major, 7, true);
  view.setUint32(FUSE_INIT_OUT.minor, 38, true);
  view.setUint32(FUSE_INIT_OUT.flags, flags, true);
  view.setUint32(FUSE_INIT_OUT.maxWrite, 1 << 20, true);
  view.setUint16(FUSE_INIT_OUT.maxPages, 256, true);
  return bytes;
}

async function withFuse(
  answer: (request: ScriptedRequest) => ScriptedAnswer | undefined,
  body: (fuse: FuseConnection, script: FuseScript, served: TestBackend) => Promise<void>,
  options: FuseConnectionOptions & { readonly requestQueues?: number } = {},
): Promise<void> {
  const before = holdings();
  const { requestQueues = 1 } = options;
  const script = new FuseScript({
    requestQueues,
    answer: (request) => (request.opcode === OP.INIT ? initAnswer() : answer(request)),
  });
  const served = await TestBackend.start(script);
  try {
    const fuse = await FuseConnection.connect(served.socketPath, options);
    try {
      await body(fuse, script, served);
    } finally {
      await fuse.close();
    }
  } finally {
    await served.close();
  }
  await expectNoLeak(before);
}

/** All that a request has, given back. */
function echo({ opcode, body }: ScriptedRequest): ScriptedAnswer | undefined {
  return opcode === TEST ? body : undefined;
}

describe('FuseConnection', () => {
  it('sends FUSE_INIT first, and tells what was agreed on', async () => {
    await withFuse(echo, async (fuse, script) => {
      assert.equal(script.requests[0]?.opcode, OP.INIT);
      assert.equal(script.requests[0].queueIndex, 1);
      assert.equal(fuse.info.tag, 'script');
      assert.equal(fuse.agreement.flags & FUSE_INIT.WRITEBACK_CACHE, 0);
      assert.equal(fuse.writeBytesMax, 1 << 20);
      await fuse.init({ flags: 0 });
      assert.deepEqual([fuse.agreement.flags, fuse.readBytesMax], [0, 128 * 1024]);
    });
  });

  it('asks for the attributes of the root, as its documentation shows', async () => {
    const attributes = new Uint8Array(FUSE_ATTR_OUT.SIZE);
    const at = FUSE_ATTR_OUT.attr + FUSE_ATTR.mode;
    new DataView(attributes.buffer).setUint32(at, 0o40755, true);
    const answer = ({ opcode }: ScriptedRequest): ScriptedAnswer | undefined =>
      opcode === OP.GETATTR ? attributes : undefined;
    await withFuse(answer, async (fuse) => {
      const args = new Uint8Array(FUSE_GETATTR_IN.SIZE);
      const outBytes = FUSE_ATTR_OUT.SIZE;
      const bytes = await fuse.request(OP.GETATTR, FUSE_ROOT_ID, { args, outBytes });
      assert.equal(new DataView(bytes.buffer).getUint32(at, true).toString(8), '40755');
    });
  });

  it('carries arguments, data and answers of any length', async () => {
    await withFuse(echo, async (fuse, script) => {
      for (const [argBytes, dataBytes] of [
        [0, 0],
        [1, 0],
        [40, 4096],
        [1496, 0],
        [1497, 0],
        [8000, 100],
        [100, 1 << 20],
      ] as const) {
        const args = Uint8Array.from({ length: argBytes }, (_, i) => (i * 7) & 0xff);
        const data = Uint8Array.from({ length: dataBytes }, (_, i) => (i * 13 + (i >> 9)) & 0xff);
        const whole = Buffer.concat([args, data]);
        const outBytes = Math.min(whole.length, 1 << 20);
        script.answer = ({ body }) => body.subarray(0, outBytes);
        const answer = await fuse.request(TEST, 9, { args, data, outBytes });
        assert.ok(whole.subarray(0, outBytes).equals(answer), `${argBytes} and ${dataBytes} bytes`);
        const into = new Uint8Array(outBytes + 1);
        const filled = await fuse.request(TEST, 9, { args, data, into: into.subarray(1) });
        assert.equal(filled.buffer, into.buffer);
        assert.ok(whole.subarray(0, outBytes).equals(into.subarray(1)));
      }
      const tooMuch = fuse.request(TEST, 9, { data: new Uint8Array((1 << 20) + 1) });
      await assert.rejects(tooMuch, { code: 'ERR_VHU_FS_REQUEST' });
    });
  });

  it('works with pieces as small as pages, without indirect chains and with a small ring', async () => {
    const ringFeatures = virtioFeatures('VERSION_1');
    for (const options of [
      { segmentBytes: 4096, bufferBytes: 65536 },
      { ringFeatures, queueSize: 8 },
      { ringFeatures, segmentBytes: 512, bufferBytes: 4096, queueSize: 32, slotCount: 40 },
    ]) {
      await withFuse(
        echo,
        async (fuse) => {
          const data = Uint8Array.from({ length: 4096 }, (_, i) => (i * 13) & 0xff);
          const answers = await Promise.all(
            Array.from({ length: 100 }, () => fuse.request(TEST, 1, { data, outBytes: 4096 })),
          );
          for (const answer of answers) assert.deepEqual(answer, data);
        },
        options,
      );
    }
    const tooSmall = withFuse(echo, () => Promise.resolve(), { queueSize: 4 });
    await assert.rejects(tooSmall, { code: 'ERR_VHU_QUEUE_SIZE' });
  });

  it('says who asks, and numbers requests so that no two queues share a number', async () => {
    const identity = { uid: 1000, gid: 100, pid: 4242 };
    const run = async (fuse: FuseConnection, script: FuseScript): Promise<void> => {
      assert.equal(fuse.queueCount, 2);
      const other = { uid: 1, gid: 2, pid: 3 };
      await Promise.all(Array.from({ length: 20 }, () => fuse.request(TEST, 1, { outBytes: 0 })));
      await fuse.request(TEST, 1, { identity: other });
      const requests = script.of(TEST);
      const uniques = script.requests.map(({ unique }) => unique);
      assert.equal(new Set(uniques).size, script.requests.length);
      assert.ok(uniques.every((unique) => unique % 2 === 0));
      assert.deepEqual(new Set(requests.map(({ queueIndex }) => queueIndex)), new Set([1, 2]));
      const who = requests.map(({ uid, gid, pid }) => ({ uid, gid, pid }));
      assert.deepEqual(who[0], identity);
      assert.deepEqual(who.at(-1), other);
    };
    await withFuse(echo, run, { identity, queueCount: 2, requestQueues: 2 });
  });

  it('takes answers in any order', async () => {
    await withFuse(
      ({ opcode }) => (opcode === TEST ? 'hold' : undefined),
      async (fuse, script) => {
        const answers = Array.from({ length: 20 }, (_, i) =>
          fuse.request(TEST, i + 1, { outBytes: 1 }),
        );
        while (script.of(TEST).length < 20) await sleep(1);
        for (const { unique, nodeId } of script.of(TEST).reverse()) {
          script.release(unique, Uint8Array.of(nodeId));
        }
        const bytes = (await Promise.all(answers)).map((answer) => answer[0]);
        assert.deepEqual(
          bytes,
          Array.from({ length: 20 }, (_, i) => i + 1),
        );
      },
    );
  });

  it('an error of the server has the name that Linux gives it', async () => {
    const errnos = [LINUX_E.NOENT, LINUX_E.STALE, 4095];
    await withFuse(
      ({ opcode, nodeId }) => (opcode === OP.LOOKUP ? -(errnos[nodeId] as number) : undefined),
      async (fuse) => {
        for (const [i, code] of ['ENOENT', 'ESTALE', 'E4095'].entries()) {
          const expected = {
            name: 'FsError',
            code,
            errno: -(errnos[i] as number),
            syscall: 'lookup',
          };
          await assert.rejects(fuse.request(OP.LOOKUP, i, { outBytes: 128 }), expected);
        }
      },
    );
  });

  it('what is no answer rejects the request, and the next one goes on', async () => {
    const header = (length: number, error: number, unique: number): Uint8Array => {
      const bytes = Buffer.alloc(24);
      bytes.writeUInt32LE(length, 0);
      bytes.writeInt32LE(error, 4);
      bytes.writeBigUInt64LE(BigInt(unique), 8);
      return bytes;
    };
    const lies: ((unique: number) => ScriptedAnswer)[] = [
      () => 'silent',
      (unique) => ({ raw: header(24, 0, unique), usedBytes: 15 }),
      (unique) => ({ raw: header(15, 0, unique), usedBytes: 24 }),
      (unique) => ({ raw: header(25, 0, unique), usedBytes: 24 }),
      (unique) => ({ raw: header(0xffff_ffff, 0, unique), usedBytes: 24 }),
      (unique) => ({ raw: header(24, 0, unique + 2), usedBytes: 24 }),
      () => ({ raw: header(24, 0, 0), usedBytes: 24 }),
      (unique) => ({ raw: header(16, 5, unique), usedBytes: 16 }),
      (unique) => ({ raw: header(16, -4096, unique), usedBytes: 16 }),
    ];
    await withFuse(
      ({ opcode, nodeId, unique }) => (opcode === TEST ? lies[nodeId]?.(unique) : undefined),
      async (fuse, script) => {
        for (const i of lies.keys()) {
          const request = fuse.request(TEST, i, { outBytes: 8 });
          await assert.rejects(request, { code: 'ERR_VHU_FS_REPLY' }, `lie ${i}`);
        }
        script.answer = () => Uint8Array.of(1);
        assert.deepEqual([...(await fuse.request(TEST, 0, { outBytes: 8 }))], [1]);
      },
    );
  });

  it('posts what has no answer on the high-priority queue', async () => {
    await withFuse(echo, async (fuse, script) => {
      await fuse.post(OP.FORGET, 77, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0));
      const [forget] = script.of(OP.FORGET);
      assert.deepEqual([forget?.queueIndex, forget?.nodeId], [0, 77]);
      assert.equal(forget?.roomBytes, -16);
    });
  });

  it('sends any bytes in any pieces', async () => {
    await withFuse(
      () => undefined,
      async (fuse, script) => {
        script.answer = ({ readableBytes }) => ({
          raw: Uint8Array.of(readableBytes, 2, 3, 4),
          usedBytes: 3,
        });
        const readable = [Uint8Array.of(1, 2), Uint8Array.of(3)];
        const answer = await fuse.exchange({ readable, writableBytes: [1, 1, 8] });
        assert.deepEqual([...answer], [3, 2, 3]);
        await fuse.exchange({ readable: [], writableBytes: [4] }, 'hiprio');
        assert.equal(script.requests.at(-1)?.queueIndex, 0);
        assert.equal(script.requests.at(-1)?.readableBytes, 0);
        const long = fuse.exchange({ readable: [], writableBytes: [(1 << 20) + 1] });
        await assert.rejects(long, { code: 'ERR_VHU_FS_REQUEST' });
        const none = fuse.exchange({ readable: [], writableBytes: [] });
        await assert.rejects(none, { code: 'ERR_VHU_FS_REQUEST' });
      },
    );
  });

  it('refuses a request that has more pieces than the ring has entries', async () => {
    const run = async (fuse: FuseConnection): Promise<void> => {
      const data = new Uint8Array(4096);
      assert.equal((await fuse.request(TEST, 1, { data, outBytes: 16 })).length, 16);
      const both = fuse.request(TEST, 1, { data, outBytes: 4096 });
      await assert.rejects(both, { code: 'ERR_VHU_FS_REQUEST' });
    };
    const answer = ({ opcode, body }: ScriptedRequest): ScriptedAnswer | undefined =>
      opcode === TEST ? body.subarray(0, 16) : undefined;
    await withFuse(answer, run, { segmentBytes: 512, bufferBytes: 4096, queueSize: 16 });
  });
});

describe('FuseConnection, ended early', () => {
  const holdTests = ({ opcode }: ScriptedRequest): ScriptedAnswer | undefined =>
    opcode === TEST ? 'hold' : undefined;

  async function untilHeld(script: FuseScript): Promise<ScriptedRequest> {
    while (script.of(TEST).length === 0) await sleep(1);
    return script.of(TEST)[0] as ScriptedRequest;
  }

  it('an aborted request is interrupted, and rejects with the reason', async () => {
    await withFuse(holdTests, async (fuse, script) => {
      const controller = new AbortController();
      const request = fuse.request(TEST, 1, { signal: controller.signal });
      const { unique } = await untilHeld(script);
      let tries = 0;
      script.answer = ({ opcode, body, queueIndex }) => {
        if (opcode !== OP.INTERRUPT) return undefined;
        assert.equal(queueIndex, 0);
        assert.equal(Number(body.readBigUInt64LE(0)), unique);
        if (++tries < 3) return -LINUX_E.AGAIN; // it has not seen the request yet
        script.release(unique, -LINUX_E.INTR);
        return 'silent';
      };
      const reason = new Error('enough');
      controller.abort(reason);
      await assert.rejects(request, reason);
      assert.equal(tries, 3);
    });
  });

  it('a request that is carried out in spite of the signal resolves', async () => {
    await withFuse(holdTests, async (fuse, script) => {
      const controller = new AbortController();
      const request = fuse.request(TEST, 1, { outBytes: 1, signal: controller.signal });
      const { unique } = await untilHeld(script);
      controller.abort();
      while (script.of(OP.INTERRUPT).length === 0) await sleep(1); // it knows no such thing
      script.release(unique, Uint8Array.of(9));
      assert.deepEqual([...(await request)], [9]);
    });
  });

  it('a request that still waits is taken back', async () => {
    const run = async (fuse: FuseConnection, script: FuseScript): Promise<void> => {
      const first = fuse.request(TEST, 1);
      const { unique } = await untilHeld(script);
      const controller = new AbortController();
      const second = fuse.request(TEST, 2, { signal: controller.signal });
      controller.abort(new Error('never mind'));
      await assert.rejects(second, /never mind/);
      script.release(unique, 0);
      await first;
      assert.equal(script.of(TEST).length, 1);
      assert.equal(script.of(OP.INTERRUPT).length, 0);
      const dead = fuse.request(TEST, 3, { signal: AbortSignal.abort(new Error('before')) });
      await assert.rejects(dead, /before/);
    };
    await withFuse(holdTests, run, { slotCount: 1 });
  });

  it('closing lets the server finish what it holds, and rejects what comes afterwards', async () => {
    await withFuse(holdTests, async (fuse, script) => {
      const request = assert.rejects(fuse.request(TEST, 1), { code: 'EINTR' });
      await untilHeld(script);
      await fuse.close();
      await request;
      await assert.rejects(fuse.request(TEST, 1), { code: 'ERR_VHU_CLOSED' });
      await assert.rejects(fuse.post(OP.FORGET, 1, new Uint8Array(8)), { code: 'ERR_VHU_CLOSED' });
    });
  });

  it('a server that goes away rejects what is in flight, and says so once', async () => {
    const ends: (string | undefined)[] = [];
    const run = async (
      fuse: FuseConnection,
      script: FuseScript,
      served: TestBackend,
    ): Promise<void> => {
      const gone = assert.rejects(fuse.request(TEST, 1), /EINTR|ERR_VHU_BACKEND_GONE|ended the/);
      await untilHeld(script);
      await served.close();
      await gone;
      await assert.rejects(fuse.request(TEST, 1), { code: 'ERR_VHU_BACKEND_GONE' });
      assert.deepEqual(ends, ['ERR_VHU_BACKEND_GONE']);
    };
    await withFuse(holdTests, run, { onEnd: (error) => ends.push(error?.code) });
  });

  it('a server that refuses FUSE_INIT leaves nothing open', async () => {
    const before = holdings();
    const served = await TestBackend.start(new FuseScript({ answer: () => -LINUX_E.PERM }));
    await assert.rejects(FuseConnection.connect(served.socketPath), { syscall: 'init' });
    await served.close();
    await expectNoLeak(before);
  });
});
