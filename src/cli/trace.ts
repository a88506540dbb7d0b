/**
 * Every message of every session as a line of the log, for --log-level debug.
 *
 * @module
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { MESSAGES_CHANNEL } from '../backend/index.ts';
import { HEADER, decodeHeader, formatMessage } from '../protocol/index.ts';
import type { FormattedFrame } from '../protocol/index.ts';
import type { Log } from './log.ts';

/** Logs messages until the returned function is called. */
export function traceMessages(log: Log): () => void {
  const receive = (message: unknown): void => {
    const line = traceLine(message);
    if (line !== null) log.write('debug', line, { event: 'message' });
  };
  subscribe(MESSAGES_CHANNEL, receive);
  return () => {
    unsubscribe(MESSAGES_CHANNEL, receive);
  };
}

/**
 * `<- SET_OWNER` for what the front-end has sent, `->` for our replies; null for what is neither.
 */
export function traceLine(message: unknown): string | null {
  if (typeof message !== 'object' || message === null) return null;
  if ('frame' in message) return `<- ${formatMessage('frontend', message.frame as FormattedFrame)}`;
  if (!('bytes' in message && message.bytes instanceof Uint8Array)) return null;
  const { bytes } = message;
  const payload = bytes.subarray(HEADER.SIZE);
  const header = decodeHeader('frontend', bytes);
  return `-> ${formatMessage('frontend', { ...header, payload, fds: [] })}`;
}
