/**
 * The table of messages against the specification's text.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  BACKEND_MESSAGES,
  FRONTEND_MESSAGES,
  GPU_MESSAGES,
  PAYLOAD,
  messageName,
  messageRow,
} from './index.ts';
import type { FieldRow, MessageRow, PayloadKind } from './index.ts';

/** `12`: exactly; `20..24`; `12+n`: that and any number more; `8+32n`: that and so many records. */
type Size = number | `${number}..${number}` | `${number}+n` | `${number}+${number}n`;
type Fds = 0 | 1 | '0..1' | 'regions';
/** Size and fds of the request, and of a reply of its own. */
type Wire = readonly [id: number, name: string, size: Size, fds: Fds, reply?: Size, replyFds?: Fds];

/** QEMU 11.1.2's interop/vhost-user, with the sizes of QEMU's structures; 45 is its master's. */
const FRONTEND_WIRE: readonly Wire[] = [
  [1, 'GET_FEATURES', 0, 0, 8],
  [2, 'SET_FEATURES', 8, 0],
  [3, 'SET_OWNER', 0, 0],
  [4, 'RESET_OWNER', 0, 0],
  [5, 'SET_MEM_TABLE', '8+32n', 'regions'],
  [6, 'SET_LOG_BASE', 16, '0..1', 8],
  [7, 'SET_LOG_FD', 0, 1],
  [8, 'SET_VRING_NUM', 8, 0],
  [9, 'SET_VRING_ADDR', 40, 0],
  [10, 'SET_VRING_BASE', 8, 0],
  [11, 'GET_VRING_BASE', 8, 0, 8],
  [12, 'SET_VRING_KICK', 8, '0..1'],
  [13, 'SET_VRING_CALL', 8, '0..1'],
  [14, 'SET_VRING_ERR', 8, '0..1'],
  [15, 'GET_PROTOCOL_FEATURES', 0, 0, 8],
  [16, 'SET_PROTOCOL_FEATURES', 8, 0],
  [17, 'GET_QUEUE_NUM', 0, 0, 8],
  [18, 'SET_VRING_ENABLE', 8, 0],
  [19, 'SEND_RARP', 8, 0],
  [20, 'NET_SET_MTU', 8, 0],
  [21, 'SET_BACKEND_REQ_FD', 0, 1],
  [22, 'IOTLB_MSG', 32, 0, 8],
  [23, 'SET_VRING_ENDIAN', 8, 0],
  [24, 'GET_CONFIG', '12+n', 0, '12+n'],
  [25, 'SET_CONFIG', '12+n', 0],
  [26, 'CREATE_CRYPTO_SESSION', '0+n', 0, '0+n'],
  [27, 'CLOSE_CRYPTO_SESSION', 8, 0],
  [28, 'POSTCOPY_ADVISE', 0, 0, 0, 1],
  [29, 'POSTCOPY_LISTEN', 0, 0],
  [30, 'POSTCOPY_END', 0, 0, 8],
  [31, 'GET_INFLIGHT_FD', '20..24', 0, '20..24', 1],
  [32, 'SET_INFLIGHT_FD', '20..24', 1],
  [33, 'GPU_SET_SOCKET', 0, 1],
  [34, 'RESET_DEVICE', 0, 0],
  [35, 'VRING_KICK', 8, 0],
  [36, 'GET_MAX_MEM_SLOTS', 0, 0, 8],
  [37, 'ADD_MEM_REG', 40, 1],
  [38, 'REM_MEM_REG', 40, '0..1'],
  [39, 'SET_STATUS', 8, 0],
  [40, 'GET_STATUS', 0, 0, 8],
  [41, 'GET_SHARED_OBJECT', 16, 0, '0+n', '0..1'],
  [42, 'SET_DEVICE_STATE_FD', 8, 1, 8, '0..1'],
  [43, 'CHECK_DEVICE_STATE', 0, 0, 8],
  [44, 'GET_SHMEM_CONFIG', 0, 0, 2056],
  [45, 'GET_VRING_BASE_SKIP_DRAIN', 8, 0, 8],
];

const BACKEND_WIRE: readonly Wire[] = [
  [1, 'IOTLB_MSG', 32, 0],
  [2, 'CONFIG_CHANGE_MSG', 0, 0],
  [3, 'VRING_HOST_NOTIFIER_MSG', 24, '0..1'],
  [4, 'VRING_CALL', 8, 0],
  [5, 'VRING_ERR', 8, 0],
  [6, 'SHARED_OBJECT_ADD', 16, 0],
  [7, 'SHARED_OBJECT_REMOVE', 16, 0],
  [8, 'SHARED_OBJECT_LOOKUP', 16, 0, 8, '0..1'],
  [9, 'SHMEM_MAP', 40, 1],
  [10, 'SHMEM_UNMAP', 40, 0],
];

/** QEMU 11.1.2's interop/vhost-user-gpu. */
const GPU_WIRE: readonly Wire[] = [
  [1, 'GET_PROTOCOL_FEATURES', 0, 0, 8],
  [2, 'SET_PROTOCOL_FEATURES', 8, 0],
  [3, 'GET_DISPLAY_INFO', 0, 0, '0+n'],
  [4, 'CURSOR_POS', 12, 0],
  [5, 'CURSOR_POS_HIDE', 12, 0],
  [6, 'CURSOR_UPDATE', 20 + 64 * 64 * 4, 0],
  [7, 'SCANOUT', 12, 0],
  [8, 'UPDATE', '20+n', 0],
  [9, 'DMABUF_SCANOUT', 40, '0..1'],
  [10, 'DMABUF_UPDATE', '20+n', 0, 0],
  [11, 'GET_EDID', 4, 0, '0+n'],
  [12, 'DMABUF_SCANOUT2', 48, '0..1'],
];

function fdsText(rule: MessageRow['requestFds']): Fds {
  if (rule === 'per-region') return 'regions';
  const [min, max] = rule;
  return min === max ? (min as 0 | 1) : '0..1';
}

function sizeText(kind: PayloadKind): Size {
  const { sizeBytes, acceptedFromBytes, tail } = PAYLOAD[kind];
  if (tail === undefined) {
    return acceptedFromBytes === undefined ? sizeBytes : `${acceptedFromBytes}..${sizeBytes}`;
  }
  if (tail.kind === 'u64s') return sizeBytes + 8 * tail.count;
  if (tail.kind === 'records') return `${sizeBytes}+${tail.sizeBytes}n`;
  return tail.lengthBytes === undefined ? `${sizeBytes}+n` : sizeBytes + tail.lengthBytes;
}

function wireOf(row: MessageRow): Wire {
  const request = [row.id, row.name, sizeText(row.request), fdsText(row.requestFds)] as const;
  if (row.reply === null) return request;
  const fds = fdsText(row.replyFds);
  const reply = sizeText(row.reply);
  return fds === 0 ? [...request, reply] : [...request, reply, fds];
}

describe('the message table', () => {
  it('has the numbers, sizes and fds of the specification', () => {
    assert.deepEqual(FRONTEND_MESSAGES.map(wireOf), FRONTEND_WIRE);
    assert.deepEqual(BACKEND_MESSAGES.map(wireOf), BACKEND_WIRE);
    assert.deepEqual(GPU_MESSAGES.map(wireOf), GPU_WIRE);
  });

  it('has each field inside of its payload, in order, without an overlap', () => {
    const bytesOf = { u8: 1, u16: 2, u32: 4, i32: 4, u53: 8, u64: 8 } as const;
    const check = (what: string, fields: readonly FieldRow[], sizeBytes: number): void => {
      let end = 0;
      for (const [name, at, type] of fields) {
        assert.ok(at >= end, `${what}.${name} begins after the field before`);
        assert.equal(at % bytesOf[type], 0, `${what}.${name} is aligned`);
        end = at + bytesOf[type];
      }
      assert.ok(end <= sizeBytes, `${what} ends after its last field`);
    };
    for (const [kind, { fields, sizeBytes, tail }] of Object.entries(PAYLOAD)) {
      check(kind, fields, sizeBytes);
      if (tail?.kind === 'records') check(`${kind}.${tail.name}`, tail.fields, tail.sizeBytes);
    }
  });

  it('names messages, known and unknown', () => {
    assert.equal(messageName('frontend', 37), 'ADD_MEM_REG');
    assert.equal(messageName('backend', 9), 'SHMEM_MAP');
    assert.equal(messageName('gpu', 12), 'DMABUF_SCANOUT2');
    assert.equal(messageName('frontend', 46), 'message 46');
    assert.equal(messageRow('frontend', 0), undefined);
  });
});
