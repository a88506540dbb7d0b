/**
 * Every message, one row each: the table that the codec, the session and the documentation share.
 *
 * @module
 */
import type { ProtocolFeatureName, VirtioFeatureName } from './features.ts';
import type { PayloadKind } from './payload.ts';

/** Which table a message number belongs to. */
export type Channel = 'frontend' | 'backend' | 'gpu';

/** How many fds come with a message: a range, or one for each memory region. */
export type FdRule = readonly [min: number, max: number] | 'per-region';

/** One message. */
export interface MessageRow {
  readonly id: number;
  /** As the specification spells it, without its prefix. */
  readonly name: string;
  readonly request: PayloadKind;
  readonly requestFds: FdRule;
  /** The payload of its own reply; null: none, so that REPLY_ACK applies to it. */
  readonly reply: PayloadKind | null;
  readonly replyFds: FdRule;
  /** The feature that has to be negotiated; null: none. */
  readonly gate: ProtocolFeatureName | `virtio ${VirtioFeatureName}` | null;
  /** The release of QEMU whose specification brought it; null: before 10.2. */
  readonly since: '11.0' | '11.1' | 'master' | null;
}

const NO_FDS: FdRule = [0, 0];
const ONE_FD: FdRule = [1, 1];
const MAYBE_FD: FdRule = [0, 1];

/** Requests of the front-end, by name. */
export const FRONTEND = {
  GET_FEATURES: 1,
  SET_FEATURES: 2,
  SET_OWNER: 3,
  RESET_OWNER: 4,
  SET_MEM_TABLE: 5,
  SET_LOG_BASE: 6,
  SET_LOG_FD: 7,
  SET_VRING_NUM: 8,
  SET_VRING_ADDR: 9,
  SET_VRING_BASE: 10,
  GET_VRING_BASE: 11,
  SET_VRING_KICK: 12,
  SET_VRING_CALL: 13,
  SET_VRING_ERR: 14,
  GET_PROTOCOL_FEATURES: 15,
  SET_PROTOCOL_FEATURES: 16,
  GET_QUEUE_NUM: 17,
  SET_VRING_ENABLE: 18,
  SEND_RARP: 19,
  NET_SET_MTU: 20,
  SET_BACKEND_REQ_FD: 21,
  IOTLB_MSG: 22,
  SET_VRING_ENDIAN: 23,
  GET_CONFIG: 24,
  SET_CONFIG: 25,
  CREATE_CRYPTO_SESSION: 26,
  CLOSE_CRYPTO_SESSION: 27,
  POSTCOPY_ADVISE: 28,
  POSTCOPY_LISTEN: 29,
  POSTCOPY_END: 30,
  GET_INFLIGHT_FD: 31,
  SET_INFLIGHT_FD: 32,
  GPU_SET_SOCKET: 33,
  RESET_DEVICE: 34,
  VRING_KICK: 35,
  GET_MAX_MEM_SLOTS: 36,
  ADD_MEM_REG: 37,
  REM_MEM_REG: 38,
  SET_STATUS: 39,
  GET_STATUS: 40,
  GET_SHARED_OBJECT: 41,
  SET_DEVICE_STATE_FD: 42,
  CHECK_DEVICE_STATE: 43,
  GET_SHMEM_CONFIG: 44,
  GET_VRING_BASE_SKIP_DRAIN: 45,
} as const;

/** Requests of the back-end, by name. */
export const BACKEND = {
  IOTLB_MSG: 1,
  CONFIG_CHANGE_MSG: 2,
  VRING_HOST_NOTIFIER_MSG: 3,
  VRING_CALL: 4,
  VRING_ERR: 5,
  SHARED_OBJECT_ADD: 6,
  SHARED_OBJECT_REMOVE: 7,
  SHARED_OBJECT_LOOKUP: 8,
  SHMEM_MAP: 9,
  SHMEM_UNMAP: 10,
} as const;

/** Requests on the socket of a vhost-user-gpu back-end, by name. */
export const GPU = {
  GET_PROTOCOL_FEATURES: 1,
  SET_PROTOCOL_FEATURES: 2,
  GET_DISPLAY_INFO: 3,
  CURSOR_POS: 4,
  CURSOR_POS_HIDE: 5,
  CURSOR_UPDATE: 6,
  SCANOUT: 7,
  UPDATE: 8,
  DMABUF_SCANOUT: 9,
  DMABUF_UPDATE: 10,
  GET_EDID: 11,
  DMABUF_SCANOUT2: 12,
} as const;

interface RowOptions {
  readonly fds?: FdRule;
  readonly reply?: PayloadKind;
  readonly replyFds?: FdRule;
  readonly gate?: MessageRow['gate'];
  readonly since?: MessageRow['since'];
}

function row(
  names: Readonly<Record<string, number>>,
  name: string,
  request: PayloadKind,
  options: RowOptions = {},
): MessageRow {
  return {
    id: names[name] as number,
    name,
    request,
    requestFds: options.fds ?? NO_FDS,
    reply: options.reply ?? null,
    replyFds: options.replyFds ?? NO_FDS,
    gate: options.gate ?? null,
    since: options.since ?? null,
  };
}

const frontend = (
  name: keyof typeof FRONTEND,
  request: PayloadKind,
  options: RowOptions = {},
): MessageRow => row(FRONTEND, name, request, options);

const backend = (
  name: keyof typeof BACKEND,
  request: PayloadKind,
  options: RowOptions = {},
): MessageRow => row(BACKEND, name, request, options);

const gpu = (name: keyof typeof GPU, request: PayloadKind, options: RowOptions = {}): MessageRow =>
  row(GPU, name, request, options);

/** The front-end's requests (vhost-user specification, "Front-end message types"). */
export const FRONTEND_MESSAGES: readonly MessageRow[] = [
  frontend('GET_FEATURES', 'none', { reply: 'u64' }),
  frontend('SET_FEATURES', 'u64'),
  frontend('SET_OWNER', 'none'),
  frontend('RESET_OWNER', 'none'),
  frontend('SET_MEM_TABLE', 'memoryTable', { fds: 'per-region' }),
  // Its reply comes with LOG_SHMFD only, whatever need_reply says.
  frontend('SET_LOG_BASE', 'log', { fds: MAYBE_FD, reply: 'u64', gate: 'LOG_SHMFD' }),
  frontend('SET_LOG_FD', 'none', { fds: ONE_FD }),
  frontend('SET_VRING_NUM', 'vringState'),
  frontend('SET_VRING_ADDR', 'vringAddress'),
  frontend('SET_VRING_BASE', 'vringState'),
  frontend('GET_VRING_BASE', 'vringState', { reply: 'vringState' }),
  frontend('SET_VRING_KICK', 'vringFd', { fds: MAYBE_FD }),
  frontend('SET_VRING_CALL', 'vringFd', { fds: MAYBE_FD }),
  frontend('SET_VRING_ERR', 'vringFd', { fds: MAYBE_FD }),
  frontend('GET_PROTOCOL_FEATURES', 'none', { reply: 'u64', gate: 'virtio PROTOCOL_FEATURES' }),
  frontend('SET_PROTOCOL_FEATURES', 'u64', { gate: 'virtio PROTOCOL_FEATURES' }),
  frontend('GET_QUEUE_NUM', 'none', { reply: 'u64', gate: 'MQ' }),
  frontend('SET_VRING_ENABLE', 'vringState', { gate: 'virtio PROTOCOL_FEATURES' }),
  frontend('SEND_RARP', 'u64', { gate: 'RARP' }),
  frontend('NET_SET_MTU', 'u64', { gate: 'MTU' }),
  frontend('SET_BACKEND_REQ_FD', 'none', { fds: ONE_FD, gate: 'BACKEND_REQ' }),
  frontend('IOTLB_MSG', 'iotlb', { reply: 'u64', gate: 'virtio ACCESS_PLATFORM' }),
  frontend('SET_VRING_ENDIAN', 'vringState', { gate: 'CROSS_ENDIAN' }),
  frontend('GET_CONFIG', 'config', { reply: 'config', gate: 'CONFIG' }),
  frontend('SET_CONFIG', 'config', { gate: 'CONFIG' }),
  frontend('CREATE_CRYPTO_SESSION', 'cryptoSession', {
    reply: 'cryptoSession',
    gate: 'CRYPTO_SESSION',
  }),
  frontend('CLOSE_CRYPTO_SESSION', 'u64', { gate: 'CRYPTO_SESSION' }),
  frontend('POSTCOPY_ADVISE', 'none', { reply: 'none', replyFds: ONE_FD, gate: 'PAGEFAULT' }),
  frontend('POSTCOPY_LISTEN', 'none', { gate: 'PAGEFAULT' }),
  frontend('POSTCOPY_END', 'none', { reply: 'u64', gate: 'PAGEFAULT' }),
  frontend('GET_INFLIGHT_FD', 'inflight', {
    reply: 'inflight',
    replyFds: ONE_FD,
    gate: 'INFLIGHT_SHMFD',
  }),
  frontend('SET_INFLIGHT_FD', 'inflight', { fds: ONE_FD, gate: 'INFLIGHT_SHMFD' }),
  frontend('GPU_SET_SOCKET', 'none', { fds: ONE_FD }),
  frontend('RESET_DEVICE', 'none', { gate: 'RESET_DEVICE' }),
  frontend('VRING_KICK', 'vringState', { gate: 'INBAND_NOTIFICATIONS' }),
  frontend('GET_MAX_MEM_SLOTS', 'none', { reply: 'u64', gate: 'CONFIGURE_MEM_SLOTS' }),
  frontend('ADD_MEM_REG', 'memoryRegion', { fds: ONE_FD, gate: 'CONFIGURE_MEM_SLOTS' }),
  frontend('REM_MEM_REG', 'memoryRegion', { fds: MAYBE_FD, gate: 'CONFIGURE_MEM_SLOTS' }),
  frontend('SET_STATUS', 'u64', { gate: 'STATUS' }),
  frontend('GET_STATUS', 'none', { reply: 'u64', gate: 'STATUS' }),
  frontend('GET_SHARED_OBJECT', 'sharedObject', {
    reply: 'ignored',
    replyFds: MAYBE_FD,
    gate: 'SHARED_OBJECT',
  }),
  frontend('SET_DEVICE_STATE_FD', 'deviceState', {
    fds: ONE_FD,
    reply: 'u64',
    replyFds: MAYBE_FD,
    gate: 'DEVICE_STATE',
  }),
  frontend('CHECK_DEVICE_STATE', 'none', { reply: 'u64', gate: 'DEVICE_STATE' }),
  frontend('GET_SHMEM_CONFIG', 'none', { reply: 'shmemConfig', gate: 'SHMEM_MAP', since: '11.1' }),
  frontend('GET_VRING_BASE_SKIP_DRAIN', 'vringState', {
    reply: 'vringState',
    gate: 'GET_VRING_BASE_SKIP_DRAIN',
    since: 'master',
  }),
];

/** The back-end's requests (vhost-user specification, "Back-end message types"). */
export const BACKEND_MESSAGES: readonly MessageRow[] = [
  backend('IOTLB_MSG', 'iotlb', { gate: 'virtio ACCESS_PLATFORM' }),
  backend('CONFIG_CHANGE_MSG', 'none', { gate: 'CONFIG' }),
  backend('VRING_HOST_NOTIFIER_MSG', 'vringArea', { fds: MAYBE_FD, gate: 'HOST_NOTIFIER' }),
  backend('VRING_CALL', 'vringState', { gate: 'INBAND_NOTIFICATIONS' }),
  backend('VRING_ERR', 'vringState', { gate: 'INBAND_NOTIFICATIONS' }),
  backend('SHARED_OBJECT_ADD', 'sharedObject', { gate: 'SHARED_OBJECT' }),
  backend('SHARED_OBJECT_REMOVE', 'sharedObject', { gate: 'SHARED_OBJECT' }),
  backend('SHARED_OBJECT_LOOKUP', 'sharedObject', {
    reply: 'u64',
    replyFds: MAYBE_FD,
    gate: 'SHARED_OBJECT',
  }),
  backend('SHMEM_MAP', 'shmemMap', { fds: ONE_FD, gate: 'SHMEM_MAP', since: '11.1' }),
  backend('SHMEM_UNMAP', 'shmemMap', { gate: 'SHMEM_MAP', since: '11.1' }),
];

/** The requests on the GPU socket (vhost-user-gpu specification); sent by the back-end. */
export const GPU_MESSAGES: readonly MessageRow[] = [
  gpu('GET_PROTOCOL_FEATURES', 'none', { reply: 'u64' }),
  gpu('SET_PROTOCOL_FEATURES', 'u64'),
  gpu('GET_DISPLAY_INFO', 'none', { reply: 'gpuResponse' }),
  gpu('CURSOR_POS', 'gpuCursorPos'),
  gpu('CURSOR_POS_HIDE', 'gpuCursorPos'),
  gpu('CURSOR_UPDATE', 'gpuCursorUpdate'),
  gpu('SCANOUT', 'gpuScanout'),
  gpu('UPDATE', 'gpuUpdate'),
  gpu('DMABUF_SCANOUT', 'gpuDmabufScanout', { fds: MAYBE_FD }),
  gpu('DMABUF_UPDATE', 'gpuUpdate', { reply: 'none' }),
  gpu('GET_EDID', 'gpuGetEdid', { reply: 'gpuResponse' }),
  gpu('DMABUF_SCANOUT2', 'gpuDmabufScanout2', { fds: MAYBE_FD }),
];

const TABLES: Readonly<Record<Channel, ReadonlyMap<number, MessageRow>>> = {
  frontend: new Map(FRONTEND_MESSAGES.map((each) => [each.id, each])),
  backend: new Map(BACKEND_MESSAGES.map((each) => [each.id, each])),
  gpu: new Map(GPU_MESSAGES.map((each) => [each.id, each])),
};

/** The row of a message number, or undefined when the specification has none. */
export function messageRow(channel: Channel, id: number): MessageRow | undefined {
  return TABLES[channel].get(id);
}

/** `SET_MEM_TABLE`, or `message 99` for a number without a row. */
export function messageName(channel: Channel, id: number): string {
  return TABLES[channel].get(id)?.name ?? `message ${String(id)}`;
}
