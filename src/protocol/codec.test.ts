/**
 * Every message through the codec, and what the codec refuses.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { VhostUserError } from '../util/index.ts';
import {
  BACKEND_MESSAGES,
  FLAG,
  FRONTEND,
  FRONTEND_MESSAGES,
  GPU_MESSAGES,
  HEADER,
  PAYLOAD,
  decodeHeader,
  decodeMessage,
  decodeReply,
  decodeRequest,
  encodeMessage,
} from './index.ts';
import type { Channel, FieldRow, MessageRow, PayloadKind, Payloads } from './index.ts';

const TABLES: readonly (readonly [Channel, readonly MessageRow[]])[] = [
  ['frontend', FRONTEND_MESSAGES],
  ['backend', BACKEND_MESSAGES],
  ['gpu', GPU_MESSAGES],
];
const ROWS = TABLES.flatMap(([channel, rows]) => rows.map((row) => ({ channel, row })));

function fieldValue(type: FieldRow[2]): fc.Arbitrary<number | bigint> {
  if (type === 'u64') return fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  if (type === 'u53') return fc.maxSafeNat();
  if (type === 'i32') return fc.integer();
  const bits = { u8: 8, u16: 16, u32: 32 }[type];
  return fc.integer({ min: 0, max: 2 ** bits - 1 });
}

function fieldValues(fields: readonly FieldRow[]): fc.Arbitrary<Record<string, unknown>> {
  const each = fields.map(([name, , type]) => [name, fieldValue(type)] as const);
  return fc.record(Object.fromEntries(each), { noNullPrototype: true });
}

/** Values of a payload, with counts that fit. */
function payloadValues(kind: PayloadKind): fc.Arbitrary<Record<string, unknown>> {
  const { fields, tail } = PAYLOAD[kind];
  const head = fieldValues(fields);
  if (tail === undefined) return head;
  if (tail.kind === 'bytes') {
    const { name, countField, lengthBytes } = tail;
    const range =
      lengthBytes === undefined ? {} : { minLength: lengthBytes, maxLength: lengthBytes };
    const bytes =
      lengthBytes === undefined || lengthBytes < 100
        ? fc.uint8Array(range)
        : fc.nat(255).map((fill) => new Uint8Array(lengthBytes).fill(fill));
    return fc.tuple(head, bytes).map(([values, some]) => ({
      ...values,
      ...(countField === undefined ? {} : { [countField]: some.length }),
      [name]: some,
    }));
  }
  if (tail.kind === 'u64s') {
    const { name, count } = tail;
    const some = fc.array(fieldValue('u64'), { minLength: count, maxLength: count });
    return fc.tuple(head, some).map(([values, list]) => ({ ...values, [name]: list }));
  }
  const { name, countField, max } = tail;
  const some = fc.array(fieldValues(tail.fields), { maxLength: max });
  return fc.tuple(head, some).map(([values, list]) => ({
    ...values,
    [countField]: list.length,
    [name]: list,
  }));
}

/** The number of fds that fits these values. */
function fdsFor(rule: MessageRow['requestFds'], values: Record<string, unknown>): number {
  return rule === 'per-region' ? (values.regions as unknown[]).length : rule[1];
}

function refusal(code: string, body: () => unknown): VhostUserError {
  try {
    body();
  } catch (error) {
    assert.ok(error instanceof VhostUserError, String(error));
    assert.equal(error.code, code, error.message);
    return error;
  }
  assert.fail(`${code} expected`);
}

const zeroes = (kind: PayloadKind): Uint8Array => {
  const { sizeBytes, tail } = PAYLOAD[kind];
  if (tail?.kind === 'u64s') return new Uint8Array(sizeBytes + 8 * tail.count);
  if (tail?.kind === 'bytes') return new Uint8Array(sizeBytes + (tail.lengthBytes ?? 0));
  return new Uint8Array(sizeBytes);
};

describe('codec', () => {
  it('decodes what it has encoded, for every request', () => {
    for (const { channel, row } of ROWS) {
      const runs = row.name === 'CURSOR_UPDATE' ? 3 : 30;
      fc.assert(
        fc.property(payloadValues(row.request), fc.boolean(), (values, needReply) => {
          const kind = row.request;
          const bytes = encodeMessage(channel, row.id, kind, values as Payloads[typeof kind], {
            needReply,
          });
          const header = decodeHeader(channel, bytes);
          const version = channel === 'gpu' ? 0 : FLAG.VERSION;
          assert.deepEqual(header, {
            request: row.id,
            flags: version | (needReply ? FLAG.NEED_REPLY : 0),
            sizeBytes: bytes.length - HEADER.SIZE,
          });
          const payload = bytes.subarray(HEADER.SIZE);
          const fds = fdsFor(row.requestFds, values);
          const got = decodeRequest(channel, row.id, header.flags, payload, fds);
          assert.equal(got.row, row);
          assert.deepEqual(got.values, values);
          assert.deepEqual(decodeMessage(kind, payload, row.name), values);
        }),
        { numRuns: runs },
      );
    }
  });

  it('decodes what it has encoded, for every reply', () => {
    for (const { channel, row } of ROWS) {
      const kind = row.reply ?? 'u64'; // REPLY_ACK's
      fc.assert(
        fc.property(payloadValues(kind), (values) => {
          const bytes = encodeMessage(channel, row.id, kind, values as Payloads[typeof kind], {
            reply: true,
          });
          const { request, flags } = decodeHeader(channel, bytes);
          const fds = Array<number>(fdsFor(row.replyFds, values)).fill(3);
          const frame = { request, flags, payload: bytes.subarray(HEADER.SIZE), fds };
          assert.deepEqual(decodeReply(channel, kind, row.id, frame), values);
        }),
        { numRuns: 10 },
      );
    }
  });

  it('copies bytes, so that a payload may be reused', () => {
    const payload = new Uint8Array([0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7, 8]);
    const { bytes } = decodeMessage('config', payload, 'GET_CONFIG');
    payload.fill(0xff);
    assert.deepEqual([...bytes], [7, 8]);
  });

  it('writes the fields where the specification has them', () => {
    const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
    assert.equal(
      hex(
        encodeMessage(
          'frontend',
          5,
          'memoryTable',
          { regions: [{ gpa: 0x11, sizeBytes: 0x22, uva: 0x33, mmapOffset: 0x44 }] },
          { needReply: true },
        ),
      ),
      '05000000' +
        '09000000' +
        '28000000' +
        '01000000' +
        '00000000' +
        '1100000000000000' +
        '2200000000000000' +
        '3300000000000000' +
        '4400000000000000',
    );
    assert.equal(
      hex(
        encodeMessage('frontend', 37, 'memoryRegion', {
          gpa: 0x11,
          sizeBytes: 0x22,
          uva: 0x33,
          mmapOffset: 0x44,
        }),
      ),
      '25000000' +
        '01000000' +
        '28000000' +
        '0000000000000000' +
        '1100000000000000' +
        '2200000000000000' +
        '3300000000000000' +
        '4400000000000000',
    );
    assert.equal(
      hex(
        encodeMessage('frontend', 9, 'vringAddress', {
          index: 1,
          flags: 2,
          desc: 3,
          used: 4,
          avail: 5,
          log: 6n,
        }),
      ),
      '09000000' +
        '01000000' +
        '28000000' +
        '01000000' +
        '02000000' +
        '0300000000000000' +
        '0400000000000000' +
        '0500000000000000' +
        '0600000000000000',
    );
    assert.equal(
      hex(
        encodeMessage(
          'frontend',
          31,
          'inflight',
          {
            mmapSize: 1,
            mmapOffset: 2,
            queueCount: 3,
            queueSize: 4,
          },
          { reply: true },
        ),
      ),
      '1f000000' +
        '05000000' +
        '18000000' +
        '0100000000000000' +
        '0200000000000000' +
        '0300' +
        '0400' +
        '00000000',
    );
    assert.equal(
      hex(
        encodeMessage('backend', 9, 'shmemMap', {
          shmid: 1,
          fdOffset: 2,
          shmOffset: 3,
          sizeBytes: 4,
          flags: 1n,
        }),
      ),
      '09000000' +
        '01000000' +
        '28000000' +
        '0100000000000000' +
        '0200000000000000' +
        '0300000000000000' +
        '0400000000000000' +
        '0100000000000000',
    );
    assert.equal(
      hex(
        encodeMessage('frontend', 22, 'iotlb', {
          iova: 1n,
          sizeBytes: 2n,
          uva: 3n,
          permissions: 3,
          type: 2,
        }),
      ),
      '16000000' +
        '01000000' +
        '20000000' +
        '0100000000000000' +
        '0200000000000000' +
        '0300000000000000' +
        '03' +
        '02' +
        '000000000000',
    );
    assert.equal(
      hex(encodeMessage('gpu', 4, 'gpuCursorPos', { scanoutId: 1, x: 2, y: 3 })),
      '04000000' + '00000000' + '0c000000' + '01000000' + '02000000' + '03000000',
    );
  });

  it('refuses every length that the specification does not have', () => {
    for (const { channel, row } of ROWS) {
      const { acceptedFromBytes, tail } = PAYLOAD[row.request];
      const right = zeroes(row.request);
      const fds = row.requestFds === 'per-region' ? 0 : row.requestFds[1];
      const decode = (length: number): unknown =>
        decodeRequest(channel, row.id, FLAG.VERSION, new Uint8Array(length), fds);
      decode(right.length);
      const from = acceptedFromBytes ?? right.length;
      for (let length = from; length < right.length; length++) decode(length);
      for (const short of new Set([0, 1, from - 1])) {
        if (short < 0 || short >= from) continue;
        const error = refusal('ERR_VHU_MESSAGE_SIZE', () => decode(short));
        assert.ok(error.message.startsWith(row.name), error.message);
      }
      // Without a count, or with one of 0 and an array that may be sent whole, more is right.
      const openEnded = tail?.kind === 'bytes' && tail.lengthBytes === undefined;
      const counted = openEnded && tail.countField !== undefined;
      if ((openEnded && !counted) || tail?.kind === 'records') continue;
      refusal('ERR_VHU_MESSAGE_SIZE', () => decode(right.length + 1));
      refusal('ERR_VHU_MESSAGE_SIZE', () => decode(right.length + 4096));
    }
  });

  it('takes an inflight description with and without its tail padding', () => {
    const payload = new Uint8Array(24).fill(1);
    payload.fill(0, 6, 8);
    payload.fill(0, 14, 16);
    for (const length of [20, 21, 22, 23, 24]) {
      const got = decodeMessage('inflight', payload.subarray(0, length), 'SET_INFLIGHT_FD');
      assert.deepEqual([got.queueCount, got.queueSize], [0x101, 0x101]);
    }
    refusal('ERR_VHU_MESSAGE_SIZE', () => decodeMessage('inflight', payload.subarray(0, 19), 'x'));
  });

  it('takes a memory table whose array is sent whole, and none that is cut short or too long', () => {
    const table = (count: number, length: number): Uint8Array => {
      const payload = new Uint8Array(length);
      payload[0] = count;
      return payload;
    };
    const decode = (count: number, length: number): number =>
      decodeMessage('memoryTable', table(count, length), 'SET_MEM_TABLE').regions.length;
    assert.equal(decode(0, 8), 0);
    assert.equal(decode(8, 8 + 8 * 32), 8);
    assert.equal(decode(3, 8 + 8 * 32), 3);
    refusal('ERR_VHU_MESSAGE_SIZE', () => decode(2, 8 + 2 * 32 - 1));
    refusal('ERR_VHU_MESSAGE_SIZE', () => decode(2, 8 + 9 * 32));
    refusal('ERR_VHU_MESSAGE_VALUE', () => decode(9, 8 + 9 * 32));
    refusal('ERR_VHU_MESSAGE_VALUE', () => decode(255, 8));
  });

  it('holds a configuration access to its own count', () => {
    const payload = new Uint8Array(12 + 4);
    for (const [size, code] of [
      [4, null],
      [3, 'ERR_VHU_MESSAGE_SIZE'],
      [5, 'ERR_VHU_MESSAGE_SIZE'],
      [0xffffffff, 'ERR_VHU_MESSAGE_SIZE'],
    ] as const) {
      new DataView(payload.buffer).setUint32(4, size, true);
      const decode = (): unknown => decodeRequest('frontend', FRONTEND.GET_CONFIG, 1, payload, 0);
      if (code === null) decode();
      else assert.match(refusal(code, decode).message, /its own count/);
    }
  });

  it('refuses every number of fds that the specification does not have', () => {
    for (const { channel, row } of ROWS) {
      const [min, max] = row.requestFds === 'per-region' ? [0, 0] : row.requestFds;
      const decode = (count: number): unknown =>
        decodeRequest(channel, row.id, FLAG.VERSION, zeroes(row.request), count);
      for (const count of [0, 1, 2, 8, 253]) {
        if (count >= min && count <= max) decode(count);
        else refusal('ERR_VHU_FD_COUNT', () => decode(count));
      }
    }
    const two = new Uint8Array(8 + 64);
    two[0] = 2;
    decodeRequest('frontend', FRONTEND.SET_MEM_TABLE, 1, two, 2);
    const error = refusal('ERR_VHU_FD_COUNT', () =>
      decodeRequest('frontend', FRONTEND.SET_MEM_TABLE, 1, two, 1),
    );
    assert.equal(
      error.message,
      'SET_MEM_TABLE wants 2 file descriptors, got 1: one for each memory region',
    );
    const many = refusal('ERR_VHU_FD_COUNT', () =>
      decodeRequest('frontend', FRONTEND.SET_VRING_KICK, 1, new Uint8Array(8), 3),
    );
    assert.equal(many.message, 'SET_VRING_KICK wants 0 or 1 file descriptors, got 3');
  });

  it('refuses addresses and sizes from 2^53 up, in every field that has one', () => {
    for (const { channel, row } of ROWS) {
      const { fields } = PAYLOAD[row.request];
      const fds = row.requestFds === 'per-region' ? 0 : row.requestFds[1];
      for (const [name, at] of fields.filter(([, , type]) => type === 'u53')) {
        const payload = zeroes(row.request);
        const view = new DataView(payload.buffer);
        const decode = (value: bigint): unknown => {
          view.setBigUint64(at, value, true);
          return decodeRequest(channel, row.id, FLAG.VERSION, payload, fds);
        };
        decode(2n ** 53n - 1n);
        for (const value of [2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]) {
          const error = refusal('ERR_VHU_MESSAGE_VALUE', () => decode(value));
          assert.match(error.message, new RegExp(`^${row.name}: ${name} is 0x`));
        }
      }
    }
    const table = new Uint8Array(40).fill(0xff);
    new DataView(table.buffer).setUint32(0, 1, true);
    refusal('ERR_VHU_MESSAGE_VALUE', () => decodeRequest('frontend', 5, 1, table, 1));
  });

  it('refuses unknown messages and requests with the reply flag', () => {
    for (const channel of ['frontend', 'backend', 'gpu'] as const) {
      for (const id of [0, 46, 0xffffffff]) {
        refusal('ERR_VHU_MESSAGE_UNKNOWN', () => decodeRequest(channel, id, 1, zeroes('none'), 0));
      }
    }
    const flags = FLAG.VERSION | FLAG.REPLY;
    refusal('ERR_VHU_FLAGS', () => decodeRequest('frontend', 1, flags, zeroes('none'), 0));
  });

  it('refuses a reply that is none, or answers something else, or has the wrong fds', () => {
    const reply = { request: 1, flags: FLAG.VERSION | FLAG.REPLY, payload: zeroes('u64'), fds: [] };
    assert.deepEqual(decodeReply('frontend', 'u64', 1, reply), { value: 0n });
    const decode = (over: object): (() => unknown) => {
      return () => decodeReply('frontend', 'u64', 1, { ...reply, ...over });
    };
    refusal('ERR_VHU_REPLY', decode({ flags: FLAG.VERSION }));
    assert.match(
      refusal('ERR_VHU_REPLY', decode({ request: 15 })).message,
      /GET_PROTOCOL_FEATURES/,
    );
    refusal('ERR_VHU_FD_COUNT', decode({ fds: [3] }));
    refusal('ERR_VHU_MESSAGE_SIZE', decode({ payload: zeroes('none') }));
    const advise = { ...reply, request: FRONTEND.POSTCOPY_ADVISE, payload: zeroes('none') };
    refusal('ERR_VHU_FD_COUNT', () => decodeReply('frontend', 'none', 28, advise));
    decodeReply('frontend', 'none', 28, { ...advise, fds: [3] });
    // A back-end that does not have the message may acknowledge it with a failure.
    decodeReply('frontend', 'u64', 28, { ...advise, payload: zeroes('u64') });
  });

  it('takes the reply of GET_SHARED_OBJECT bare, and with the bytes of the request', () => {
    const flags = FLAG.VERSION | FLAG.REPLY;
    for (const length of [0, 16]) {
      const frame = { request: 41, flags, payload: new Uint8Array(length), fds: [3] };
      assert.equal(decodeReply('frontend', 'ignored', 41, frame).bytes.length, length);
    }
  });

  it('does not send bytes of a fixed length in another one', () => {
    const uuid = new Uint8Array(15);
    assert.throws(() => encodeMessage('backend', 6, 'sharedObject', { uuid }), /fixed length/);
  });

  it('never throws anything but its own errors, whatever the bytes are', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...ROWS),
        fc.uint8Array({ maxLength: 400 }),
        fc.nat(9),
        fc.nat(15),
        ({ channel, row }, payload, fds, flags) => {
          try {
            decodeRequest(channel, row.id, flags, payload, fds);
          } catch (error) {
            assert.ok(error instanceof VhostUserError, String(error));
            assert.match(error.code, /^ERR_VHU_(FLAGS|MESSAGE_SIZE|MESSAGE_VALUE|FD_COUNT)$/);
          }
        },
      ),
      { numRuns: 3000 },
    );
  });
});
