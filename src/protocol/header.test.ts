/**
 * The header of a message.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  GPU_PAYLOAD_BYTES_MAX,
  HEADER,
  PAYLOAD_BYTES_MAX,
  decodeHeader,
  encodeHeader,
} from './index.ts';
import type { Header } from './index.ts';

function bytesOf(header: Header): Uint8Array {
  const bytes = new Uint8Array(HEADER.SIZE);
  encodeHeader(header, bytes);
  return bytes;
}

describe('header', () => {
  it('is three 32-bit numbers in little-endian order', () => {
    const bytes = bytesOf({ request: 0x01020304, flags: 0x9, sizeBytes: 0x0506 });
    assert.equal(Buffer.from(bytes).toString('hex'), '040302010900000006050000');
  });

  it('comes back as it was written, also from the middle of a buffer', () => {
    const u32 = fc.integer({ min: 0, max: 0xffffffff });
    const flags = u32.map((bits) => ((bits & ~3) | 1) >>> 0);
    const any = fc
      .tuple(u32, flags, fc.nat(PAYLOAD_BYTES_MAX))
      .map(([request, some, sizeBytes]) => ({ request, flags: some, sizeBytes }));
    fc.assert(
      fc.property(any, fc.nat(7), (header, at) => {
        const buffer = new Uint8Array(HEADER.SIZE + 8);
        encodeHeader(header, buffer.subarray(at, at + HEADER.SIZE));
        assert.deepEqual(decodeHeader('frontend', buffer.subarray(at)), header);
      }),
    );
  });

  it('of another version is refused, with a hint that this may be no vhost-user peer', () => {
    for (const flags of [0, 2, 3, 4, 8, 0xfffffffc]) {
      for (const channel of ['frontend', 'backend'] as const) {
        assert.throws(() => decodeHeader(channel, bytesOf({ request: 1, flags, sizeBytes: 0 })), {
          code: 'ERR_VHU_VERSION',
          message: /GET_FEATURES|IOTLB_MSG.*is this a vhost-user peer\?/,
        });
      }
      decodeHeader('gpu', bytesOf({ request: 1, flags, sizeBytes: 0 })); // no version there
    }
  });

  it('with too long a payload is refused, before anything is allocated for it', () => {
    const sizes = { frontend: PAYLOAD_BYTES_MAX, gpu: GPU_PAYLOAD_BYTES_MAX } as const;
    for (const channel of ['frontend', 'gpu'] as const) {
      const header = { request: 8, flags: 1, sizeBytes: sizes[channel] };
      assert.deepEqual(decodeHeader(channel, bytesOf(header)), header);
      for (const sizeBytes of [sizes[channel] + 1, 0xffffffff]) {
        assert.throws(() => decodeHeader(channel, bytesOf({ ...header, sizeBytes })), {
          code: 'ERR_VHU_MESSAGE_SIZE',
          message: new RegExp(`${String(sizeBytes)} bytes, the limit is ${String(sizes[channel])}`),
        });
      }
    }
  });
});
