/**
 * virtio-vsock as its driver needs it: virtio 1.3, section 5.10, little-endian. The device has a
 * table of its own, so that the two check each other.
 *
 * @module
 */

/** The virtio device id of a socket device (section 5.10.1). */
export const VSOCK_DEVICE_ID = 19;

/** Queues (section 5.10.2). */
export const VSOCK_RX_QUEUE = 0;
/** See {@link VSOCK_RX_QUEUE}. */
export const VSOCK_TX_QUEUE = 1;
/** See {@link VSOCK_RX_QUEUE}. */
export const VSOCK_EVENT_QUEUE = 2;

/**
 * Feature bits (section 5.10.3): masks, as literals so that the types are known without inference.
 */
export const VSOCK_FEATURE = { STREAM: 0x1n, SEQPACKET: 0x2n, NO_IMPLIED_STREAM: 0x4n } as const;

/** `struct virtio_vsock_config` (section 5.10.4). | guest_cid 8 | */
export const VSOCK_CONFIG_BYTES = 8;

/** The host's context id (section 5.10.4); guests have those from 3 on. */
export const VSOCK_HOST_CID = 2;

/** `struct virtio_vsock_hdr` (section 5.10.6): 44 bytes without padding. */
export const VSOCK_HEADER_BYTES = 44;

/**
 * The header as 32-bit words, all of its fields being aligned. The high words of the two context
 * ids are 0; `typeAndOp` has the type in its low half and the operation in its high half.
 */
export const VSOCK_WORD = {
  srcCid: 0,
  srcCidHigh: 1,
  dstCid: 2,
  dstCidHigh: 3,
  srcPort: 4,
  dstPort: 5,
  length: 6,
  typeAndOp: 7,
  flags: 8,
  bufAlloc: 9,
  fwdCnt: 10,
  COUNT: 11,
} as const;

/** Kinds of sockets (section 5.10.6). */
export const VSOCK_TYPE = { STREAM: 1, SEQPACKET: 2 } as const;

/** What a packet says (section 5.10.6). */
export const VSOCK_OP = {
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
export const VSOCK_SHUTDOWN = { RECEIVE: 1, SEND: 2, BOTH: 3 } as const;

/** Flags of RW on a SEQPACKET socket (section 5.10.6.6): ends of a message and of a record. */
export const VSOCK_SEQ = { EOM: 1, EOR: 2 } as const;

/** Bytes of `struct virtio_vsock_event` (section 5.10.6.7). | id 4 | */
export const VSOCK_EVENT_BYTES = 4;

/** Every connection is gone, and the context id may be another one (section 5.10.6.7). */
export const VSOCK_EVENT_TRANSPORT_RESET = 0;

/** The longest data of one packet; what Linux's driver allows itself. */
export const VSOCK_DATA_BYTES_MAX: number = 64 * 1024;
