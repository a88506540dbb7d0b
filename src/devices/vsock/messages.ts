/**
 * SOCK_SEQPACKET: messages that have to arrive as they were sent, whole and apart (section
 * 5.10.6.6). A message of the guest may come in several packets, and one of the host may need
 * several buffers of the guest; the last packet of a message is marked.
 *
 * @module
 */
import {
  ERRNO,
  NativeBlock,
  copyMemory,
  mapAnonymous,
  receiveMessage,
  viewMemory,
} from '../../sys/index.ts';
import type { Mapping, MessageMarks } from '../../sys/index.ts';
import type { NativeBytes } from '../../virtqueue/index.ts';
import type { Backlog } from './backlog.ts';
import { FLAG } from './connections.ts';
import type { Connections } from './connections.ts';
import type { GuestRx } from './guest-rx.ts';
import { VIRTIO_VSOCK_SEQ } from './layout.ts';
import { MessageLengths } from './message-lengths.ts';
import { MARK_BYTES } from './message-mark.ts';

const EAGAIN = -(ERRNO.EAGAIN as number);
const EMSGSIZE = -(ERRNO.EMSGSIZE as number);
/** The longest message of a program of the host. */
export const MESSAGE_BYTES_MAX: number = 1024 * 1024;

/** What `read` tells beside bytes and errors. */
export const READ = { nothing: -1_000_001, ended: -1_000_002 } as const;

/** What is kept for one connection. */
interface Inbox {
  /** Bytes at the end of the backlog whose message has not come to its end. */
  partialBytes: number;
  /** Messages in the backlog, in order. */
  readonly lengths: MessageLengths;
  /** What is left of a message of the host's program; `done` bytes of it are with the guest. */
  rest: NativeBlock | null;
  restBytes: number;
  restDone: number;
  restRecord: boolean;
}

/** See the module. */
export class Messages {
  readonly #table: Connections;
  readonly #rx: GuestRx;
  readonly #backlog: Backlog;
  readonly #inboxes = new Map<number, Inbox>();
  readonly #marks: MessageMarks = { truncated: false, endsRecord: false, ended: false };
  #scratch: { readonly memory: Mapping; readonly bytes: NativeBytes } | null = null;

  constructor(table: Connections, rx: GuestRx, backlog: Backlog) {
    this.#table = table;
    this.#rx = rx;
    this.#backlog = backlog;
  }

  /** Whether a packet that is a whole message may go to the host's socket right away. */
  inOrder(slot: number): boolean {
    const inbox = this.#inboxes.get(slot);
    return inbox === undefined || (inbox.partialBytes === 0 && inbox.lengths.count === 0);
  }

  /** Bytes of a message were added to the backlog. */
  added(slot: number, bytes: number, flags: number): void {
    const inbox = this.#inbox(slot);
    inbox.partialBytes += bytes;
    if ((flags & VIRTIO_VSOCK_SEQ.EOM) === 0 || inbox.partialBytes === 0) return;
    inbox.lengths.push(inbox.partialBytes, (flags & VIRTIO_VSOCK_SEQ.EOR) !== 0);
    inbox.partialBytes = 0;
  }

  /** Whether there is a whole message in the backlog. */
  waits(slot: number): boolean {
    return (this.#inboxes.get(slot)?.lengths.count ?? 0) > 0;
  }

  /** Sends whole messages out of the backlog; returns bytes, or -errno when none could be sent. */
  drain(slot: number, fd: number): number {
    const inbox = this.#inboxes.get(slot);
    let done = 0;
    while (inbox !== undefined && inbox.lengths.count > 0) {
      const { firstBytes: bytes, firstEndsRecord: endsRecord } = inbox.lengths;
      const flags = this.#table.flags[slot] as number;
      const sent = this.#backlog.sendMessage(slot, fd, bytes, endsRecord, flags);
      if (sent < 0) return done > 0 && sent === EAGAIN ? done : sent;
      inbox.lengths.shift();
      done += bytes;
    }
    return done;
  }

  /** Forgets a message whose end will not come; returns its bytes. */
  dropPartial(slot: number): number {
    const inbox = this.#inboxes.get(slot);
    if (inbox === undefined) return 0;
    const bytes = inbox.partialBytes;
    inbox.partialBytes = 0;
    if (bytes > 0) this.#backlog.dropLast(slot, bytes);
    return bytes;
  }

  /** Forgets what the guest has sent, which nobody takes any more; what is for the guest stays. */
  dropGuests(slot: number): void {
    const inbox = this.#inboxes.get(slot);
    if (inbox === undefined) return;
    inbox.partialBytes = 0;
    inbox.lengths.clear();
  }

  /**
   * Takes a message of the host's program, or goes on with the one before, for as far as the guest
   * has buffers and room. Returns the bytes that went; `READ.nothing`, `READ.ended`, or -errno.
   */
  read(slot: number, fd: number): number {
    const kept = this.#inboxes.get(slot);
    if (kept !== undefined && kept.rest !== null) return this.#goOn(slot, kept, kept.rest);
    const { memory, bytes } = (this.#scratch ??= newScratch());
    const received = receiveMessage(fd, memory.address, MESSAGE_BYTES_MAX, this.#marks);
    if (received === EAGAIN) return READ.nothing;
    if (received < 0) return received;
    // AF_VSOCK of Linux sends no packet for an empty message, and no guest waits for one.
    if (received === 0) return this.#marks.ended ? READ.ended : READ.nothing;
    const marked = this.#table.has(slot, FLAG.sibling);
    const got = marked ? received - MARK_BYTES : received;
    // The guest could never take the last part, for which it needs the first ones to be gone.
    const room = this.#table.peerBufAlloc[slot] as number;
    if (this.#marks.truncated || got > room) return EMSGSIZE;
    const endsRecord = marked ? bytes.view.getUint8(got) !== 0 : this.#marks.endsRecord;
    const sent = this.#send(slot, bytes, 0, got, endsRecord);
    if (sent === got) return sent;
    const inbox = this.#inbox(slot);
    const rest = new NativeBlock(got - sent);
    copyMemory(rest.address, memory.address + sent, got - sent);
    inbox.rest = rest;
    inbox.restBytes = got - sent;
    inbox.restDone = 0;
    inbox.restRecord = endsRecord;
    return sent;
  }

  /** Forgets a connection. */
  release(slot: number): void {
    const inbox = this.#inboxes.get(slot);
    if (inbox === undefined) return;
    inbox.rest?.free();
    this.#inboxes.delete(slot);
  }

  /** Frees its memory. */
  close(): void {
    for (const slot of [...this.#inboxes.keys()]) this.release(slot);
    this.#scratch?.memory.unmap();
  }

  #goOn(slot: number, inbox: Inbox, rest: NativeBlock): number {
    const { restDone, restBytes, restRecord } = inbox;
    const sent = this.#send(slot, rest, restDone, restBytes, restRecord);
    inbox.restDone += sent;
    if (inbox.restDone === restBytes) {
      rest.free();
      inbox.rest = null;
    }
    return sent;
  }

  /** Sends bytes from `done` to `end`, as far as there is room; returns how many. */
  #send(slot: number, from: NativeBytes, done: number, end: number, record: boolean): number {
    const table = this.#table;
    let at = done;
    while (at < end && this.#rx.available()) {
      const count = Math.min(end - at, table.credit(slot), this.#rx.room());
      if (count === 0) break;
      let flags = 0;
      if (at + count === end) {
        flags = record ? VIRTIO_VSOCK_SEQ.EOM | VIRTIO_VSOCK_SEQ.EOR : VIRTIO_VSOCK_SEQ.EOM;
      }
      this.#rx.sendCopy(slot, from, at, count, flags);
      table.sentCnt[slot] = ((table.sentCnt[slot] as number) + count) >>> 0;
      at += count;
    }
    return at - done;
  }

  #inbox(slot: number): Inbox {
    let inbox = this.#inboxes.get(slot);
    if (inbox === undefined) {
      inbox = {
        partialBytes: 0,
        lengths: new MessageLengths(),
        rest: null,
        restBytes: 0,
        restDone: 0,
        restRecord: false,
      };
      this.#inboxes.set(slot, inbox);
    }
    return inbox;
  }
}

function newScratch(): { memory: Mapping; bytes: NativeBytes } {
  const memory = mapAnonymous(MESSAGE_BYTES_MAX);
  const view = new DataView(viewMemory(memory.address, MESSAGE_BYTES_MAX));
  return { memory, bytes: { address: memory.address, view } };
}
