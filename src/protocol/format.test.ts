/**
 * Messages as text.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { FLAG, FRONTEND, HEADER, encodeMessage, formatMessage } from './index.ts';
import type { Channel, EncodeOptions, PayloadKind, Payloads } from './index.ts';

function text<K extends PayloadKind>(
  request: number,
  kind: K,
  payload: Payloads[K],
  options: EncodeOptions & { fds?: number[]; channel?: Channel } = {},
): string {
  const { channel = 'frontend', fds = [] } = options;
  const bytes = encodeMessage(channel, request, kind, payload, options);
  const flags = new DataView(bytes.buffer).getUint32(HEADER.flags, true);
  return formatMessage(channel, { request, flags, payload: bytes.subarray(HEADER.SIZE), fds });
}

describe('formatting a message', () => {
  it('names fields, fds and flags', () => {
    assert.equal(text(FRONTEND.GET_FEATURES, 'none', {}), 'GET_FEATURES');
    assert.equal(
      text(FRONTEND.GET_FEATURES, 'u64', { value: 0x1_7000_0000n }, { reply: true }),
      'GET_FEATURES value 0x170000000 reply',
    );
    assert.equal(
      text(FRONTEND.SET_VRING_KICK, 'vringFd', { value: 1n }, { fds: [17], needReply: true }),
      'SET_VRING_KICK value 0x1 fds 17 need_reply',
    );
    const address = { index: 1, flags: 0, desc: 0x7fed_0000, used: 64, avail: 65536, log: 0n };
    assert.equal(
      text(FRONTEND.SET_VRING_ADDR, 'vringAddress', address),
      'SET_VRING_ADDR index 1 flags 0 desc 0x7fed0000 used 64 avail 0x10000 log 0x0',
    );
  });

  it('shows regions one by one, and no more than the first bytes of bytes', () => {
    const region = { gpa: 0, sizeBytes: 0x100000, uva: 0x7f00_0000, mmapOffset: 0 };
    assert.equal(
      text(FRONTEND.SET_MEM_TABLE, 'memoryTable', { regions: [region, region] }, { fds: [3, 4] }),
      'SET_MEM_TABLE count 2 padding 0 regions [' +
        'gpa 0 sizeBytes 0x100000 uva 0x7f000000 mmapOffset 0; ' +
        'gpa 0 sizeBytes 0x100000 uva 0x7f000000 mmapOffset 0] fds 3,4',
    );
    const config = { offset: 0, flags: 0, bytes: new Uint8Array(20).fill(0xab) };
    assert.equal(
      text(FRONTEND.GET_CONFIG, 'config', config, { reply: true }),
      `GET_CONFIG offset 0 size 20 flags 0 bytes ${'ab'.repeat(16)}… (20 bytes) reply`,
    );
    const sizes = Array.from({ length: 256 }, (_, i) => (i === 3 ? 4096n : 0n));
    assert.equal(
      text(FRONTEND.GET_SHMEM_CONFIG, 'shmemConfig', { count: 1, sizes }, { reply: true }),
      'GET_SHMEM_CONFIG count 1 padding 0 sizes (1 not zero) reply',
    );
  });

  it('shows an acknowledgement of REPLY_ACK as the number that it is', () => {
    assert.equal(
      text(FRONTEND.SET_VRING_NUM, 'u64', { value: 1n }, { reply: true }),
      'SET_VRING_NUM value 0x1 reply',
    );
  });

  it('says how long a payload is that it cannot read', () => {
    const frame = { flags: 1, payload: new Uint8Array(3), fds: [] };
    assert.equal(
      formatMessage('frontend', { ...frame, request: FRONTEND.SET_VRING_NUM }),
      'SET_VRING_NUM payload of 3 bytes',
    );
    assert.equal(
      formatMessage('frontend', { ...frame, request: 99 }),
      'message 99 payload of 3 bytes',
    );
    const huge = { ...frame, request: FRONTEND.ADD_MEM_REG, payload: new Uint8Array(40).fill(255) };
    assert.equal(formatMessage('frontend', huge), 'ADD_MEM_REG payload of 40 bytes');
  });

  it('never throws, and makes one line, whatever the frame holds', () => {
    fc.assert(
      fc.property(
        fc.constantFrom<Channel>('frontend', 'backend', 'gpu'),
        fc.record({
          request: fc.oneof(fc.nat(50), fc.integer({ min: 0, max: 0xffffffff })),
          flags: fc.oneof(fc.constantFrom(1, 1 | FLAG.REPLY), fc.nat()),
          payload: fc.uint8Array({ maxLength: 2100 }),
          fds: fc.array(fc.nat(), { maxLength: 9 }),
        }),
        (channel, frame) => {
          assert.match(formatMessage(channel, frame), /^[^\n]+$/);
        },
      ),
      { numRuns: 2000 },
    );
  });
});
