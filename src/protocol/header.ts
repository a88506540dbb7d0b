/**
 * The header of a message.
 *
 * @module
 */
import { VhostUserError } from '../util/index.ts';
import type { Channel } from './messages.ts';
import { messageName } from './messages.ts';

/** | request 4 | flags 4 | size 4 |, in the machine's byte order. */
export const HEADER = { request: 0, flags: 4, size: 8, SIZE: 12 } as const;

/** Bits of `flags`. The GPU socket has no version there. */
export const FLAG = { VERSION_MASK: 3, VERSION: 1, REPLY: 4, NEED_REPLY: 8 } as const;

/** The longest payload that is read: the largest of the table is 8 + 509 × 32, rounded up. */
export const PAYLOAD_BYTES_MAX = 16384;
/** On the GPU socket an update carries pixels. */
export const GPU_PAYLOAD_BYTES_MAX: number = 64 * 1024 * 1024;

/** A header in numbers. */
export interface Header {
  readonly request: number;
  readonly flags: number;
  readonly sizeBytes: number;
}

/** Reads a header and checks what does not depend on the message: framing, version, length. */
export function decodeHeader(channel: Channel, bytes: Uint8Array): Header {
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER.SIZE);
  const header = {
    request: view.getUint32(HEADER.request, true),
    flags: view.getUint32(HEADER.flags, true),
    sizeBytes: view.getUint32(HEADER.size, true),
  };
  const name = messageName(channel, header.request);
  if (channel !== 'gpu' && (header.flags & FLAG.VERSION_MASK) !== FLAG.VERSION) {
    throw new VhostUserError(
      'ERR_VHU_VERSION',
      `${name}: flags 0x${header.flags.toString(16)} say protocol version ` +
        `${String(header.flags & FLAG.VERSION_MASK)}, only 1 exists: is this a vhost-user peer?`,
    );
  }
  const limit = channel === 'gpu' ? GPU_PAYLOAD_BYTES_MAX : PAYLOAD_BYTES_MAX;
  if (header.sizeBytes > limit) {
    throw new VhostUserError(
      'ERR_VHU_MESSAGE_SIZE',
      `${name}: a payload of ${String(header.sizeBytes)} bytes, the limit is ${String(limit)}`,
    );
  }
  return header;
}

/** Writes a header. */
export function encodeHeader(header: Header, into: Uint8Array): void {
  const view = new DataView(into.buffer, into.byteOffset, HEADER.SIZE);
  view.setUint32(HEADER.request, header.request, true);
  view.setUint32(HEADER.flags, header.flags, true);
  view.setUint32(HEADER.size, header.sizeBytes, true);
}
