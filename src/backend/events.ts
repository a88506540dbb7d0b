/**
 * What a back-end tells the program around it. The library itself prints nothing.
 *
 * @module
 */
import { channel } from 'node:diagnostics_channel';
import type { VirtqueueFault } from '../virtqueue/index.ts';
import type { LogLevel } from './device.ts';

/** What a back-end reports. All optional; they must not throw. */
export interface BackendEvents {
  /** It listens, on a path or on an inherited socket. */
  listening?(address: string): void;
  /** A front-end has connected. */
  connected?(peer: { pid?: number; uid?: number }): void;
  /** The front-end is gone; `reason` is null for an orderly end. */
  disconnected?(reason: Error | null): void;
  /** The driver and the device have agreed on features. */
  negotiated?(features: bigint): void;
  /** The guest broke a ring, which is stopped until the driver resets it. */
  fault?(queueIndex: number, fault: VirtqueueFault): void;
  /** A message was refused; the connection goes on. */
  refused?(error: Error): void;
  log?(level: LogLevel, text: string): void;
  /** A mistake of ours ended a thread; the back-end serves nothing any more. */
  failed?(error: Error): void;
}

/** Every message in both directions, `{ sent: boolean, frame }`, on this diagnostics channel. */
export const MESSAGES_CHANNEL = 'vhost-user:backend:message';

/** The diagnostics channel of {@link MESSAGES_CHANNEL}. */
export const messagesChannel: ReturnType<typeof channel> = channel(MESSAGES_CHANNEL);
