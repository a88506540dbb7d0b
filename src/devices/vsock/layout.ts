/**
 * virtio-vsock as bytes: virtio 1.3, section 5.10, little-endian.
 *
 * @module
 */

/** The device id (section 5.10.1). */
export const VIRTIO_ID_VSOCK = 19;

/** The virtqueues (section 5.10.2). */
export const VSOCK_QUEUE = { rx: 0, tx: 1, event: 2, COUNT: 3 } as const;

/** Feature bits (section 5.10.3), as masks. */
export const VIRTIO_VSOCK_F = {
  STREAM: 0x1n,
  SEQPACKET: 0x2n,
  /** Without SEQPACKET, that STREAM must not be taken for granted. */
  NO_IMPLIED_STREAM: 0x4n,
} as const;

/** `struct virtio_vsock_config` (section 5.10.4). | guest_cid 8 | */
export const VSOCK_CONFIG = { guestCid: 0, SIZE: 8 } as const;

/** Well-known context ids (section 5.10.4); a guest's own are those from `firstGuest` on. */
export const VSOCK_CID = {
  hypervisor: 0,
  local: 1,
  host: 2,
  firstGuest: 3,
  lastGuest: 0xffff_fffe,
  any: 0xffff_ffff,
} as const;

/** The largest port; the one above stands for "any" (`VMADDR_PORT_ANY`). */
export const VSOCK_PORT_MAX = 0xffff_fffe;

/**
 * `struct virtio_vsock_hdr` (section 5.10.6).
 * | src_cid 8 | dst_cid 8 | src_port 4 | dst_port 4 | len 4 | type 2 | op 2 | flags 4 |
 * | buf_alloc 4 | fwd_cnt 4 |
 */
export const VSOCK_HEADER = {
  srcCid: 0,
  dstCid: 8,
  srcPort: 16,
  dstPort: 20,
  len: 24,
  type: 28,
  op: 30,
  flags: 32,
  bufAlloc: 36,
  fwdCnt: 40,
  SIZE: 44,
} as const;

/** Socket types (section 5.10.6). */
export const VIRTIO_VSOCK_TYPE = { STREAM: 1, SEQPACKET: 2 } as const;

/** Operations (section 5.10.6). */
export const VIRTIO_VSOCK_OP = {
  INVALID: 0,
  REQUEST: 1,
  RESPONSE: 2,
  RST: 3,
  SHUTDOWN: 4,
  RW: 5,
  CREDIT_UPDATE: 6,
  CREDIT_REQUEST: 7,
} as const;

/** Flags of SHUTDOWN (section 5.10.6.5): what the sender will not do any more. */
export const VIRTIO_VSOCK_SHUTDOWN = { RECEIVE: 1, SEND: 2, BOTH: 3 } as const;

/** Flags of RW on SEQPACKET (section 5.10.6.6): end of message, end of record. */
export const VIRTIO_VSOCK_SEQ = { EOM: 1, EOR: 2 } as const;

/** `struct virtio_vsock_event` (section 5.10.6.7). | id 4 | */
export const VSOCK_EVENT = { id: 0, SIZE: 4 } as const;

/** All connections are gone, and the guest's CID may have changed (section 5.10.6.7). */
export const VIRTIO_VSOCK_EVENT_TRANSPORT_RESET = 0;
