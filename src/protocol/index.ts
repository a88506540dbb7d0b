/**
 * The vhost-user protocol as bytes: every message, its checks, frames out of a stream, and a socket
 * that carries them. No policy.
 *
 * @module
 */
export { decodeMessage, decodeReply, decodeRequest, encodeMessage } from './codec.ts';
export type { EncodeOptions } from './codec.ts';
export { renderProtocolPage, unusedPayloads } from './documentation.ts';
export {
  PROTOCOL_FEATURE_BITS,
  VIRTIO_FEATURE_BITS,
  describeProtocolFeatures,
  describeVirtioFeatures,
  protocolFeatures,
  virtioFeatures,
} from './features.ts';
export type { ProtocolFeatureName, VirtioFeatureName } from './features.ts';
export { formatMessage } from './format.ts';
export type { FormattedFrame } from './format.ts';
export {
  FLAG,
  GPU_PAYLOAD_BYTES_MAX,
  HEADER,
  PAYLOAD_BYTES_MAX,
  decodeHeader,
  encodeHeader,
} from './header.ts';
export type { Header } from './header.ts';
export {
  BACKEND,
  BACKEND_MESSAGES,
  FRONTEND,
  FRONTEND_MESSAGES,
  GPU,
  GPU_MESSAGES,
  messageName,
  messageRow,
} from './messages.ts';
export type { Channel, FdRule, MessageRow } from './messages.ts';
export {
  CONFIG_BYTES_MAX,
  GPU_CURSOR_BYTES,
  MEM_TABLE_REGIONS_MAX,
  PAYLOAD,
  SHMEM_REGIONS_MAX,
  UUID_BYTES,
} from './payload.ts';
export type { FieldRow, FieldType, PayloadKind, PayloadLayout, Tail } from './payload.ts';
export { DEFAULT_PROFILE, profile } from './profile.ts';
export type { Profile, ProfileName } from './profile.ts';
export { FrameReader } from './reader.ts';
export type { Frame } from './reader.ts';
export { SocketChannel } from './socket-channel.ts';
export type { ChannelHandlers } from './socket-channel.ts';
export type { GpuDmabufScanout, Payloads, WireMemoryRegion } from './types.ts';
