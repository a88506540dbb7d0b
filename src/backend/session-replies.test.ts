/**
 * Sessions and REPLY_ACK: one answer to each message that asks, none to others, and a refusal that
 * ends nothing.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { protocolFeatures } from '../protocol/index.ts';
import { EchoDevice, TestBackend, codesOf } from '../testing/index.ts';
import type { FrontendMessageName, MockValues } from '../testing/index.ts';

const SILENCE_MS = 30;

let served: TestBackend<EchoDevice>;
before(async () => {
  served = await TestBackend.start(new EchoDevice());
  await served.session(async (frontend) => {
    await frontend.negotiate();
  });
});
after(() => served.close());

const RIGHT: readonly (readonly [FrontendMessageName, MockValues])[] = [
  ['SET_OWNER', {}],
  ['RESET_OWNER', {}],
  ['SET_FEATURES', { value: 1n << 32n }],
  ['SET_MEM_TABLE', { regions: [] }],
  ['SET_VRING_NUM', { index: 0, num: 16 }],
  ['SET_VRING_ADDR', { index: 0, desc: 0x1000, avail: 0x2000, used: 0x3000 }],
  ['SET_VRING_BASE', { index: 0, num: 1 }],
  ['SET_VRING_CALL', { value: 0x100n }],
  ['SET_VRING_ENABLE', { index: 0, num: 1 }],
  ['SET_CONFIG', { offset: 0, flags: 0, bytes: new Uint8Array(1) }],
  ['SET_STATUS', { value: 3n }],
  ['RESET_DEVICE', {}],
];

const WRONG: readonly (readonly [FrontendMessageName, MockValues])[] = [
  ['SET_FEATURES', { value: 1n << 63n }],
  ['SET_PROTOCOL_FEATURES', { value: 1n << 63n }],
  ['SET_VRING_NUM', { index: 0, num: 3 }],
  ['SET_VRING_ADDR', { index: 9 }],
  ['SET_VRING_BASE', { index: 0, num: 65536 }],
  ['SET_VRING_ENABLE', { index: 0, num: 2 }],
  ['SET_CONFIG', { offset: 8, flags: 0, bytes: new Uint8Array(8) }],
  ['SET_CONFIG', { offset: 0, flags: 2, bytes: new Uint8Array(1) }],
  ['SET_STATUS', { value: 256n }],
  ['SET_LOG_FD', {}],
  ['NET_SET_MTU', { value: 1500n }],
  ['REM_MEM_REG', { gpa: 1, sizeBytes: 2, uva: 3, mmapOffset: 0 }],
];

const WITH_OWN_REPLY: readonly (readonly [FrontendMessageName, MockValues, number])[] = [
  ['GET_FEATURES', {}, 8],
  ['GET_PROTOCOL_FEATURES', {}, 8],
  ['GET_QUEUE_NUM', {}, 8],
  ['GET_MAX_MEM_SLOTS', {}, 8],
  ['GET_STATUS', {}, 8],
  ['GET_VRING_BASE', { index: 1 }, 8],
  ['GET_CONFIG', { offset: 0, flags: 0, bytes: new Uint8Array(4) }, 16],
];

describe('a session without REPLY_ACK', () => {
  it('answers nothing, whether a message is right, wrong or unknown', async () => {
    const { refused } = await served.session(async (frontend) => {
      const all = protocolFeatures('CONFIG', 'STATUS', 'CONFIGURE_MEM_SLOTS', 'RESET_DEVICE');
      await frontend.negotiate({ protocolFeatures: all });
      for (const [name, values] of [...RIGHT, ...WRONG]) {
        if (name !== 'SET_LOG_FD') await frontend.send(name, values, { needReply: true });
      }
      await frontend.send(99, {}, { needReply: true });
      await frontend.expectSilence(SILENCE_MS);
    });
    assert.equal(refused.length, WRONG.length); // less SET_LOG_FD, and the unknown one
  });
});

describe('a session with REPLY_ACK', () => {
  it('answers 0 to what it carried out, once', async () => {
    const { refused } = await served.session(async (frontend) => {
      await frontend.negotiate();
      for (const [name, values] of RIGHT) {
        assert.equal(await frontend.ack(name, values), 0n, name);
      }
      await frontend.expectSilence(SILENCE_MS);
    });
    assert.deepEqual(refused, []);
  });

  it('answers nothing when it is not asked', async () => {
    await served.session(async (frontend) => {
      await frontend.negotiate();
      for (const [name, values] of [...RIGHT, ...WRONG]) await frontend.send(name, values);
      await frontend.expectSilence(SILENCE_MS);
    });
  });

  for (const [name, values] of WRONG) {
    it(`answers a failure to a refused ${name}, once, and goes on`, async () => {
      const { refused, ends } = await served.session(async (frontend) => {
        await frontend.negotiate();
        assert.notEqual(await frontend.ack(name, values), 0n);
        await frontend.expectSilence(5);
        assert.equal(await frontend.ack('SET_OWNER'), 0n);
      });
      assert.equal(refused.length, 1);
      assert.ok(refused[0]?.message.startsWith(name), refused[0]?.message);
      assert.deepEqual(ends, [null]);
    });
  }

  for (const [name, values, sizeBytes] of WITH_OWN_REPLY) {
    it(`answers ${name} once, as ever, when it is asked for a reply as well`, async () => {
      await served.session(async (frontend) => {
        await frontend.negotiate();
        await frontend.send(name, values, { needReply: true });
        assert.equal((await frontend.receive()).payload.length, sizeBytes);
        await frontend.expectSilence(5);
      });
    });
  }

  it('answers a refused message with a reply of its own once, and empty', async () => {
    const { refused } = await served.session(async (frontend) => {
      await frontend.negotiate();
      for (const needReply of [false, true]) {
        await frontend.send('GET_VRING_BASE', { index: 99 }, { needReply });
        assert.equal((await frontend.receive()).payload.length, 0);
        const bytes = new Uint8Array(4);
        await frontend.send('GET_CONFIG', { offset: 254, flags: 0, bytes }, { needReply });
        assert.equal((await frontend.receive()).payload.length, 0);
      }
      await frontend.expectSilence(5);
    });
    assert.deepEqual([...new Set(codesOf(refused))], ['ERR_VHU_QUEUE_INDEX', 'ERR_VHU_CONFIG']);
  });

  it('answers a device that throws something else with a failure, and goes on', async () => {
    const { refused } = await served.session(async (frontend) => {
      await frontend.negotiate();
      const write = { offset: 8, flags: 0, bytes: new Uint8Array(1) };
      assert.notEqual(await frontend.ack('SET_CONFIG', write), 0n);
    });
    assert.deepEqual(codesOf(refused), ['ERR_VHU_INTERNAL']);
  });
});
