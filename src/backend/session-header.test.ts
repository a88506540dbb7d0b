/**
 * Sessions with front-ends whose messages are broken: headers, lengths, flags, and how the bytes
 * come.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { FLAG, FRONTEND_MESSAGES } from '../protocol/index.ts';
import type { PayloadKind, Payloads } from '../protocol/index.ts';
import { decodeMessage } from '../protocol/index.ts';
import { EchoDevice, TestBackend, codesOf, mockMessage } from '../testing/index.ts';
import type { FrontendMessageName, MockFrontend, MockMessageOptions } from '../testing/index.ts';

let served: TestBackend<EchoDevice>;
before(async () => {
  served = await TestBackend.start(new EchoDevice());
  await served.session(async (frontend) => {
    await frontend.negotiate();
  });
});
after(() => served.close());

type Broken = readonly [
  what: string,
  request: FrontendMessageName | number,
  options: MockMessageOptions,
  /** Of the refusal, or of what ended the session. */
  code: string,
];

const BODY_OF_8 = new Uint8Array(8);

/** After these the stream is still in step: the message is refused, and the session goes on. */
const REFUSED: readonly Broken[] = [
  ['the reply flag', 'GET_FEATURES', { flags: 1 | FLAG.REPLY }, 'ERR_VHU_FLAGS'],
  ['the number 0', 0, {}, 'ERR_VHU_MESSAGE_UNKNOWN'],
  ['the number 46', 46, {}, 'ERR_VHU_MESSAGE_UNKNOWN'],
  ['the number 2^32-1', 0xffffffff, { payload: BODY_OF_8 }, 'ERR_VHU_MESSAGE_UNKNOWN'],
  [
    'a number of the future, 16 KiB',
    99,
    { payload: new Uint8Array(16384) },
    'ERR_VHU_MESSAGE_UNKNOWN',
  ],
  ['a payload where there is none', 'GET_FEATURES', { payload: BODY_OF_8 }, 'ERR_VHU_MESSAGE_SIZE'],
  [
    'no payload where there is one',
    'SET_FEATURES',
    { payload: new Uint8Array(0) },
    'ERR_VHU_MESSAGE_SIZE',
  ],
  [
    'too short a payload',
    'SET_VRING_ADDR',
    { payload: new Uint8Array(39) },
    'ERR_VHU_MESSAGE_SIZE',
  ],
  ['too long a payload', 'SET_VRING_ADDR', { payload: new Uint8Array(41) }, 'ERR_VHU_MESSAGE_SIZE'],
  ['a count that lies', 'GET_CONFIG', { payload: new Uint8Array(13) }, 'ERR_VHU_MESSAGE_SIZE'],
];

/** After these nobody can tell where the next message begins. */
const ENDING: readonly Broken[] = [
  ['version 0', 'GET_FEATURES', { flags: 0 }, 'ERR_VHU_VERSION'],
  ['version 2', 'GET_FEATURES', { flags: 2 }, 'ERR_VHU_VERSION'],
  ['version 3', 'GET_FEATURES', { flags: 3 }, 'ERR_VHU_VERSION'],
  ['16 KiB and one byte to come', 'SET_VRING_NUM', { sizeBytes: 16385 }, 'ERR_VHU_MESSAGE_SIZE'],
  ['4 GiB to come', 'GET_FEATURES', { sizeBytes: 0xffffffff }, 'ERR_VHU_MESSAGE_SIZE'],
];

describe('a session whose front-end sends broken messages', () => {
  for (const [what, request, options, code] of REFUSED) {
    it(`refuses a message with ${what}, and goes on`, async () => {
      const { refused, ends } = await served.session(async (frontend) => {
        await frontend.negotiate();
        await frontend.send(request, {}, options);
        // What waits for a reply of its own gets an empty one.
        const row = FRONTEND_MESSAGES.find(({ name }) => name === request);
        if ((row?.reply ?? null) !== null)
          assert.equal((await frontend.receive()).payload.length, 0);
      });
      assert.deepEqual(codesOf(refused), [code]);
      assert.deepEqual(ends, [null]);
    });
  }

  for (const [what, request, options, code] of ENDING) {
    it(`ends when a header has ${what}`, async () => {
      const { ends } = await served.session(async (frontend) => {
        await frontend.send(request, {}, options);
      }, 'ends');
      assert.deepEqual(codesOf(ends), [code]);
    });
  }

  it('takes no notice of reserved flags', async () => {
    const { refused } = await served.session(async (frontend) => {
      const flags = 0xfffffff0 | FLAG.VERSION;
      await frontend.ask('GET_FEATURES', 'u64', {}, { flags: flags >>> 0 });
    });
    assert.deepEqual(refused, []);
  });

  it('acknowledges an unknown message that asks for it, with a failure', async () => {
    const { refused } = await served.session(async (frontend) => {
      await frontend.negotiate();
      assert.notEqual(await frontend.ack(99), 0n);
      assert.notEqual(await frontend.ack(0xffffffff, {}, { payload: BODY_OF_8 }), 0n);
    });
    assert.deepEqual(codesOf(refused), ['ERR_VHU_MESSAGE_UNKNOWN', 'ERR_VHU_MESSAGE_UNKNOWN']);
  });

  it('refuses every message of every wrong length up to 64, and goes on', async () => {
    let sent = 0;
    const report = await served.session(async (frontend) => {
      await frontend.negotiate();
      for (const { id, request } of FRONTEND_MESSAGES) {
        for (let length = 0; length <= 64; length++) {
          const payload = new Uint8Array(length);
          if (decodes(request, payload)) continue;
          await frontend.send(id, {}, { payload });
          sent++;
        }
        while (frontend.waitingFrames > 0) await frontend.receive();
        await syncWith(frontend);
      }
    });
    assert.ok(sent > 1000);
    assert.equal(report.refused.length, sent);
    assert.deepEqual([...new Set(codesOf(report.refused))], ['ERR_VHU_MESSAGE_SIZE']);
  });
});

describe('a session whose messages come in pieces', () => {
  for (const pieceBytes of [1, 5, 11, 13]) {
    it(`understands pieces of ${String(pieceBytes)} bytes`, async () => {
      const { refused } = await served.session(async (frontend) => {
        const pieces = { pieceBytes };
        await frontend.ask('GET_FEATURES', 'u64', {}, { pieces });
        await frontend.send('SET_FEATURES', { value: 1n << 32n }, { pieces });
        await frontend.send('SET_VRING_NUM', { index: 1, num: 64 }, { pieces });
      });
      assert.deepEqual(refused, []);
    });
  }

  it('understands a hundred messages in one segment, and answers in order', async () => {
    const { refused } = await served.session(async (frontend) => {
      const messages = Array.from({ length: 100 }, (_, i) =>
        i % 2 === 0 ? mockMessage('GET_FEATURES') : mockMessage('GET_VRING_BASE', { index: 1 }),
      );
      await frontend.sendBytes(Buffer.concat(messages));
      for (let i = 0; i < 100; i++)
        assert.equal((await frontend.receive()).request, i % 2 === 0 ? 1 : 11);
    });
    assert.deepEqual(refused, []);
  });

  it('understands a header whose body follows after a while', async () => {
    await served.session(async (frontend) => {
      const message = mockMessage('SET_VRING_NUM', { index: 0, num: 64 });
      await frontend.sendPieces({ bytes: message }, { pieceBytes: 12, pauseMs: 30 });
    });
  });

  for (const [what, cut] of [
    ['in the header', 5],
    ['between header and body', 12],
    ['in the body', 15],
  ] as const) {
    it(`ends in order when the front-end goes away ${what}`, async () => {
      const { ends } = await served.session(async (frontend) => {
        const message = mockMessage('SET_VRING_NUM', { index: 0, num: 64 });
        await frontend.sendBytes(message.subarray(0, cut));
        frontend.close();
      }, 'ends');
      assert.deepEqual(codesOf(ends), ['ERR_VHU_CUT_OFF']);
    });
  }
});

function decodes(kind: PayloadKind, payload: Uint8Array): boolean {
  try {
    decodeMessage(kind, payload, 'probe') satisfies Payloads[PayloadKind];
    return true;
  } catch {
    return false;
  }
}

/** Waits until all that was sent was carried out. */
async function syncWith(frontend: MockFrontend): Promise<void> {
  await frontend.send('GET_FEATURES');
  for (;;) {
    const { request, payload } = await frontend.receive();
    if (request === 1 && payload.length === 8) return;
  }
}
