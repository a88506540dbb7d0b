/**
 * Feature bits: of the vhost-user protocol, and those virtio bits that matter at this level.
 *
 * @module
 */

/**
 * Protocol features by bit number, as the specification names them after VHOST_USER_PROTOCOL_F_.
 */
export const PROTOCOL_FEATURE_BITS: Readonly<Record<ProtocolFeatureName, number>> = {
  MQ: 0,
  LOG_SHMFD: 1,
  RARP: 2,
  REPLY_ACK: 3,
  MTU: 4,
  BACKEND_REQ: 5,
  CROSS_ENDIAN: 6,
  CRYPTO_SESSION: 7,
  PAGEFAULT: 8,
  CONFIG: 9,
  BACKEND_SEND_FD: 10,
  HOST_NOTIFIER: 11,
  INFLIGHT_SHMFD: 12,
  RESET_DEVICE: 13,
  INBAND_NOTIFICATIONS: 14,
  CONFIGURE_MEM_SLOTS: 15,
  STATUS: 16,
  XEN_MMAP: 17,
  SHARED_OBJECT: 18,
  DEVICE_STATE: 19,
  GET_VRING_BASE_INFLIGHT: 20,
  GPA_ADDRESSES: 21,
  SHMEM_MAP: 22,
  GET_VRING_BASE_SKIP_DRAIN: 23,
};

/** The name of a protocol feature. */
export type ProtocolFeatureName =
  | 'MQ'
  | 'LOG_SHMFD'
  | 'RARP'
  | 'REPLY_ACK'
  | 'MTU'
  | 'BACKEND_REQ'
  | 'CROSS_ENDIAN'
  | 'CRYPTO_SESSION'
  | 'PAGEFAULT'
  | 'CONFIG'
  | 'BACKEND_SEND_FD'
  | 'HOST_NOTIFIER'
  | 'INFLIGHT_SHMFD'
  | 'RESET_DEVICE'
  | 'INBAND_NOTIFICATIONS'
  | 'CONFIGURE_MEM_SLOTS'
  | 'STATUS'
  | 'XEN_MMAP'
  | 'SHARED_OBJECT'
  | 'DEVICE_STATE'
  | 'GET_VRING_BASE_INFLIGHT'
  | 'GPA_ADDRESSES'
  | 'SHMEM_MAP'
  | 'GET_VRING_BASE_SKIP_DRAIN';

/** Virtio features outside of the device types' own bits (virtio 1.3, section 6), and vhost's. */
export const VIRTIO_FEATURE_BITS: Readonly<Record<VirtioFeatureName, number>> = {
  NOTIFY_ON_EMPTY: 24,
  LOG_ALL: 26,
  ANY_LAYOUT: 27,
  INDIRECT_DESC: 28,
  EVENT_IDX: 29,
  PROTOCOL_FEATURES: 30,
  VERSION_1: 32,
  ACCESS_PLATFORM: 33,
  RING_PACKED: 34,
  IN_ORDER: 35,
  ORDER_PLATFORM: 36,
  SR_IOV: 37,
  NOTIFICATION_DATA: 38,
  NOTIF_CONFIG_DATA: 39,
  RING_RESET: 40,
  ADMIN_VQ: 41,
};

/** The name of a virtio feature; LOG_ALL and PROTOCOL_FEATURES are vhost's. */
export type VirtioFeatureName =
  | 'NOTIFY_ON_EMPTY'
  | 'LOG_ALL'
  | 'ANY_LAYOUT'
  | 'INDIRECT_DESC'
  | 'EVENT_IDX'
  | 'PROTOCOL_FEATURES'
  | 'VERSION_1'
  | 'ACCESS_PLATFORM'
  | 'RING_PACKED'
  | 'IN_ORDER'
  | 'ORDER_PLATFORM'
  | 'SR_IOV'
  | 'NOTIFICATION_DATA'
  | 'NOTIF_CONFIG_DATA'
  | 'RING_RESET'
  | 'ADMIN_VQ';

/** The mask of some protocol features. */
export function protocolFeatures(...names: readonly ProtocolFeatureName[]): bigint {
  return names.reduce((mask, name) => mask | (1n << BigInt(PROTOCOL_FEATURE_BITS[name])), 0n);
}

/** The mask of some virtio features. */
export function virtioFeatures(...names: readonly VirtioFeatureName[]): bigint {
  return names.reduce((mask, name) => mask | (1n << BigInt(VIRTIO_FEATURE_BITS[name])), 0n);
}

/** The protocol features of a mask in words: `MQ, REPLY_ACK, bit 40`. */
export function describeProtocolFeatures(mask: bigint): string {
  return describe(mask, PROTOCOL_FEATURE_BITS);
}

/** The virtio features of a mask in words; a device's own bits come as `bit 5`. */
export function describeVirtioFeatures(mask: bigint): string {
  return describe(mask, VIRTIO_FEATURE_BITS);
}

function describe(mask: bigint, bits: Readonly<Record<string, number>>): string {
  const names = new Map(Object.entries(bits).map(([name, bit]) => [bit, name]));
  const words: string[] = [];
  for (let bit = 0; bit < 64; bit++) {
    if ((mask & (1n << BigInt(bit))) !== 0n) words.push(names.get(bit) ?? `bit ${String(bit)}`);
  }
  return words.length === 0 ? 'none' : words.join(', ');
}
