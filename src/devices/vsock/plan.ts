/**
 * What the main thread hands over to the data plane, and what the two tell each other later. Plain
 * data; the fds stay the main thread's, but for those in messages, which whoever gets them owns.
 *
 * @module
 */
import type { SocketAddress, SocketType } from '../../sys/index.ts';
import type { VsockForward } from './options.ts';

/** A socket that listens for connections to the guest. */
export interface PlannedListener {
  readonly fd: number;
  /** For people. */
  readonly name: string;
  readonly type: SocketType;
  /** Also of those that it accepts. */
  readonly family: SocketAddress['family'];
  /** The port of the guest; -1: the program says it first (the hybrid convention). */
  readonly guestPort: number;
}

/** What the data plane is made with. */
export interface VsockPlaneOptions {
  readonly guestCid: number;
  readonly udsPath: string;
  readonly forwards: readonly VsockForward[];
  readonly listeners: readonly PlannedListener[];
  /** Whether there may be other guests to be reached. */
  readonly siblings: boolean;
  readonly bufAlloc: number;
  readonly connectionsMax: number;
}

/** A sibling's end of a connection, on its way from one data plane to the other. */
export interface SiblingCall {
  /** Owned by whoever has the message. */
  readonly fd: number;
  readonly type: SocketType;
  /** Who calls. */
  readonly fromCid: number;
  readonly fromPort: number;
  /** Who is called. */
  readonly toCid: number;
  readonly toPort: number;
}

/** A name to be looked up, for the connection in this slot, if it is still the same one. */
export interface NameQuestion {
  readonly slot: number;
  readonly serial: number;
  readonly host: string;
}

/** What the data plane tells the device. */
export type VsockReport =
  | { readonly kind: 'call'; readonly call: SiblingCall }
  | ({ readonly kind: 'resolve' } & NameQuestion);

/** What the device tells the data plane. */
export type VsockControl =
  /** The front-end went away. */
  | { readonly kind: 'gone' }
  | { readonly kind: 'call'; readonly call: SiblingCall }
  | ({ readonly kind: 'resolved'; readonly addresses: readonly string[] } & NameQuestion);
