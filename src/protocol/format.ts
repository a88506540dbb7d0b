/**
 * Messages as one line of text, for logs and traces.
 *
 * @module
 */
import { FLAG } from './header.ts';
import { messageName, messageRow } from './messages.ts';
import type { Channel } from './messages.ts';
import { decodePayload } from './payload.ts';
import type { PayloadKind } from './payload.ts';

/** What {@link formatMessage} needs of a frame. */
export interface FormattedFrame {
  readonly request: number;
  readonly flags: number;
  readonly payload: Uint8Array;
  readonly fds: readonly number[];
}

/** `SET_VRING_ADDR index 1 desc 0x7f… need_reply`, whatever the frame holds; never throws. */
export function formatMessage(channel: Channel, frame: FormattedFrame): string {
  const row = messageRow(channel, frame.request);
  const reply = (frame.flags & FLAG.REPLY) !== 0;
  const words = [messageName(channel, frame.request)];
  // An acknowledgement of REPLY_ACK is a number.
  const kind: PayloadKind = row === undefined ? 'none' : reply ? (row.reply ?? 'u64') : row.request;
  words.push(...payloadWords(kind, frame.payload));
  if (frame.fds.length > 0) words.push(`fds ${frame.fds.join(',')}`);
  if (reply) words.push('reply');
  if ((frame.flags & FLAG.NEED_REPLY) !== 0) words.push('need_reply');
  return words.join(' ');
}

function payloadWords(kind: PayloadKind, payload: Uint8Array): string[] {
  if (payload.length === 0) return [];
  try {
    return Object.entries(decodePayload(kind, payload, kind)).map(
      ([name, value]) => `${name} ${valueText(value)}`,
    );
  } catch {
    return [`payload of ${String(payload.length)} bytes`];
  }
}

function valueText(value: unknown): string {
  if (typeof value === 'bigint') return `0x${value.toString(16)}`;
  if (typeof value === 'number') return value > 65535 ? `0x${value.toString(16)}` : String(value);
  if (value instanceof Uint8Array) {
    const hex = Buffer.from(value.subarray(0, 16)).toString('hex');
    return value.length > 16 ? `${hex}… (${String(value.length)} bytes)` : hex;
  }
  if (!Array.isArray(value)) return String(value);
  const items: readonly unknown[] = value;
  if (items.every((item) => typeof item === 'bigint')) {
    return `(${String(items.filter((item) => item !== 0n).length)} not zero)`;
  }
  const texts = items.map((item) =>
    Object.entries(item as object)
      .map(([name, each]) => `${name} ${valueText(each)}`)
      .join(' '),
  );
  return `[${texts.join('; ')}]`;
}
