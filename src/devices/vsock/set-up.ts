/**
 * What both ways of setting a connection up share: the guest's to the host, and the host's to the
 * guest.
 *
 * @module
 */
import { setSendBuffer, tellEmptyMessages } from '../../sys/index.ts';
import type { SocketType } from '../../sys/index.ts';
import { FLAG } from './connections.ts';
import type { Flows } from './flows.ts';
import { VIRTIO_VSOCK_TYPE } from './layout.ts';
import { MESSAGE_BYTES_MAX } from './messages.ts';

/** How long the guest, or the host's side, may take to answer; Linux's guests wait for 2 s. */
export const ANSWER_MS = 10_000;
/** Says to the sibling's device that its guest has accepted. */
export const ACCEPTED = 1;

/**
 * The room of a socket of the host's AF_VSOCK that keeps messages apart: for the longest message of
 * either side.
 */
export function vsockRoom(bufAlloc: number): number {
  return Math.max(MESSAGE_BYTES_MAX, bufAlloc);
}

/** The number of a type of socket in packets. */
export function codeOf(type: SocketType): number {
  return type === 'stream' ? VIRTIO_VSOCK_TYPE.STREAM : VIRTIO_VSOCK_TYPE.SEQPACKET;
}

/** The type of socket that a packet's number means. */
export function typeOf(type: number): SocketType {
  return type === VIRTIO_VSOCK_TYPE.SEQPACKET ? 'seqpacket' : 'stream';
}

/**
 * Prepares a connected socket for messages: one of the guest may be as long as its room, and has to
 * go to the host at once; and an empty one of the host is not its end.
 */
export function makeRoom({ table, bufAlloc }: Flows, slot: number): void {
  if (table.type[slot] !== VIRTIO_VSOCK_TYPE.SEQPACKET) return;
  setSendBuffer(table.fd[slot] as number, 2 * bufAlloc);
  if (!table.has(slot, FLAG.sibling | FLAG.hostVsock)) {
    tellEmptyMessages(table.fd[slot] as number);
  }
}
