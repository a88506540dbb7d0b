/**
 * Messages to bytes and back, and the checks that the table asks for.
 *
 * @module
 */
import { VhostUserError } from '../util/index.ts';
import { FLAG, HEADER, encodeHeader } from './header.ts';
import { messageName, messageRow } from './messages.ts';
import type { Channel, FdRule, MessageRow } from './messages.ts';
import { decodePayload, encodePayload, payloadBytes } from './payload.ts';
import type { FieldValues, PayloadKind } from './payload.ts';
import type { Payloads } from './types.ts';

/** Options of {@link encodeMessage}. */
export interface EncodeOptions {
  readonly reply?: boolean;
  readonly needReply?: boolean;
}

/** A message as bytes, header and payload; the caller owns them. */
export function encodeMessage<K extends PayloadKind>(
  channel: Channel,
  request: number,
  kind: K,
  payload: Payloads[K],
  options: EncodeOptions = {},
): Uint8Array {
  const values = payload as unknown as FieldValues;
  const sizeBytes = payloadBytes(kind, values);
  const bytes = new Uint8Array(HEADER.SIZE + sizeBytes);
  let flags = channel === 'gpu' ? 0 : FLAG.VERSION;
  if (options.reply === true) flags |= FLAG.REPLY;
  if (options.needReply === true) flags |= FLAG.NEED_REPLY;
  encodeHeader({ request, flags, sizeBytes }, bytes);
  encodePayload(kind, values, new DataView(bytes.buffer, HEADER.SIZE));
  return bytes;
}

/**
 * Decodes the payload of a message as `kind`; byte fields are copies.
 *
 * @throws VhostUserError `ERR_VHU_MESSAGE_SIZE`, `ERR_VHU_MESSAGE_VALUE`.
 */
export function decodeMessage<K extends PayloadKind>(
  kind: K,
  payload: Uint8Array,
  messageText: string,
): Payloads[K] {
  return decodePayload(kind, payload, messageText) as unknown as Payloads[K];
}

/**
 * Checks a request against its row: that there is one, its flags, its length and its fds.
 *
 * @throws VhostUserError `ERR_VHU_MESSAGE_UNKNOWN`, `ERR_VHU_FLAGS`, `ERR_VHU_MESSAGE_SIZE`,
 *   `ERR_VHU_MESSAGE_VALUE`, `ERR_VHU_FD_COUNT`.
 */
export function decodeRequest(
  channel: Channel,
  request: number,
  flags: number,
  payload: Uint8Array,
  fdCount: number,
): { readonly row: MessageRow; readonly values: unknown } {
  const row = messageRow(channel, request);
  if (row === undefined) {
    throw new VhostUserError(
      'ERR_VHU_MESSAGE_UNKNOWN',
      `${messageName(channel, request)}: not in the specification that this version knows`,
    );
  }
  if ((flags & FLAG.REPLY) !== 0) {
    throw new VhostUserError('ERR_VHU_FLAGS', `${row.name}: a request has the reply flag set`);
  }
  const values = decodePayload(row.request, payload, row.name);
  checkFds(row.name, row.requestFds, values, fdCount);
  return { row, values };
}

/** Checks a reply against the row of its request, and decodes it as `kind`. */
export function decodeReply<K extends PayloadKind>(
  channel: Channel,
  kind: K,
  expected: number,
  frame: { request: number; flags: number; payload: Uint8Array; fds: readonly number[] },
): Payloads[K] {
  const name = messageName(channel, expected);
  if ((frame.flags & FLAG.REPLY) === 0 || frame.request !== expected) {
    throw new VhostUserError(
      'ERR_VHU_REPLY',
      `${name}: the answer is ${messageName(channel, frame.request)} with flags ` +
        `0x${frame.flags.toString(16)}, not its reply`,
    );
  }
  const row = messageRow(channel, expected);
  const values = decodePayload(kind, frame.payload, `reply to ${name}`);
  // An acknowledgement, of a request that has a reply of its own as well, comes without fds.
  const rule: FdRule = row?.reply === kind ? row.replyFds : [0, 0];
  checkFds(`reply to ${name}`, rule, values, frame.fds.length);
  return values as unknown as Payloads[K];
}

function checkFds(name: string, rule: FdRule, values: FieldValues, got: number): void {
  let [min, max] = rule === 'per-region' ? [0, 0] : rule;
  if (rule === 'per-region') {
    min = (values.regions as readonly unknown[]).length;
    max = min;
  }
  if (got >= min && got <= max) return;
  const want = min === max ? String(min) : `${String(min)} or ${String(max)}`;
  throw new VhostUserError(
    'ERR_VHU_FD_COUNT',
    `${name} wants ${want} file descriptors, got ${String(got)}` +
      (rule === 'per-region' ? ': one for each memory region' : ''),
  );
}
