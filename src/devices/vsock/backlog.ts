/**
 * Bytes of the guest that a program of the host has not taken yet: one ring of bytes for each
 * connection that needs one, of the size that the guest was told.
 *
 * @module
 */
import { assert } from '../../util/index.ts';
import {
  copyMemory,
  mapAnonymous,
  send,
  sendVector,
  sendVsockMessage,
  viewMemory,
} from '../../sys/index.ts';
import type { Mapping } from '../../sys/index.ts';
import { FLAG } from './connections.ts';
import { MARK_BYTES, markAddress } from './message-mark.ts';

const IOVEC_BYTES = 16;
const IOVECS = 3; // both parts of a ring, and a mark
const WORD = 0x1_0000_0000;
/** Rings that are kept for the next one who needs one; the others go back to the host. */
const SPARE_MAX = 16;

/** See the module. All methods but `close` are by slot. */
export class Backlog {
  readonly #ringBytes: number;
  readonly #rings: (Mapping | null)[];
  readonly #spare: Mapping[] = [];
  readonly #start: Uint32Array; // offset of the first byte
  readonly #count: Uint32Array;
  readonly #iovecs: Mapping = mapAnonymous(IOVECS * IOVEC_BYTES);
  readonly #words: Uint32Array;

  /** For slots 0 to `max` - 1. */
  constructor(max: number, ringBytes: number) {
    this.#ringBytes = ringBytes;
    this.#rings = new Array<Mapping | null>(max).fill(null);
    this.#start = new Uint32Array(max);
    this.#count = new Uint32Array(max);
    this.#words = new Uint32Array(viewMemory(this.#iovecs.address, IOVECS * IOVEC_BYTES));
  }

  /** How many bytes wait. */
  bytes(slot: number): number {
    return this.#count[slot] as number;
  }

  /**
   * Copies bytes to the end. The caller has seen to it that they fit, since the guest may not send
   * more than it was told. SAFETY: the bytes are mapped.
   */
  append(slot: number, address: number, bytes: number): void {
    const count = this.#count[slot] as number;
    assert(count + bytes <= this.#ringBytes, 'a backlog holds what the guest may send ahead');
    const ring = (this.#rings[slot] ??= this.#take(slot));
    const at = ((this.#start[slot] as number) + count) % this.#ringBytes;
    const first = Math.min(bytes, this.#ringBytes - at);
    copyMemory(ring.address + at, address, first);
    if (first < bytes) copyMemory(ring.address, address + first, bytes - first);
    this.#count[slot] = count + bytes;
  }

  /** Sends what is at the beginning; returns bytes, or -errno and nothing is lost. */
  send(slot: number, fd: number): number {
    const ring = this.#rings[slot];
    const count = this.#count[slot] as number;
    if (ring === undefined || ring === null) return 0;
    const start = this.#start[slot] as number;
    let sent: number;
    if (start + count <= this.#ringBytes) {
      sent = send(fd, ring.address + start, count);
    } else {
      this.#fillBoth(ring.address, start, count);
      sent = sendVector(fd, this.#iovecs.address, 2, false);
    }
    if (sent > 0) this.drop(slot, sent);
    return sent;
  }

  /**
   * Sends the first `bytes` as a message, as the connection's flags say (see `FLAG`): to a
   * sibling's socket with a mark at its end. Returns them, or -errno and nothing is lost.
   */
  sendMessage(slot: number, fd: number, bytes: number, endsRecord: boolean, flags: number): number {
    const ring = this.#rings[slot];
    if (ring === undefined || ring === null) return 0;
    this.#fillBoth(ring.address, this.#start[slot] as number, bytes);
    const { address } = this.#iovecs;
    let sent: number;
    if ((flags & FLAG.sibling) !== 0) {
      this.#fill(2, markAddress(endsRecord), MARK_BYTES);
      sent = sendVector(fd, address, 3, false);
    } else if ((flags & FLAG.hostVsock) !== 0) {
      sent = sendVsockMessage(fd, address, 2, endsRecord);
    } else {
      sent = sendVector(fd, address, 2, endsRecord);
    }
    if (sent < 0) return sent;
    this.drop(slot, bytes);
    return bytes;
  }

  /** Forgets bytes at the beginning; an empty ring's memory is given back. */
  drop(slot: number, bytes: number): void {
    const count = (this.#count[slot] as number) - bytes;
    assert(count >= 0, 'no more is dropped than there is');
    this.#count[slot] = count;
    this.#start[slot] = ((this.#start[slot] as number) + bytes) % this.#ringBytes;
    if (count === 0) this.#give(slot);
  }

  /** Forgets bytes at the end. */
  dropLast(slot: number, bytes: number): void {
    const count = (this.#count[slot] as number) - bytes;
    assert(count >= 0, 'no more is dropped than there is');
    this.#count[slot] = count;
    if (count === 0) this.#give(slot);
  }

  /** Unmaps all rings. */
  close(): void {
    for (const ring of this.#rings) ring?.unmap();
    for (const ring of this.#spare.splice(0)) ring.unmap();
    this.#rings.fill(null);
    this.#iovecs.unmap();
  }

  #take(slot: number): Mapping {
    this.#start[slot] = 0;
    const spare = this.#spare.pop();
    if (spare !== undefined) return spare;
    // Takes up memory only where bytes were.
    return mapAnonymous(this.#ringBytes);
  }

  #give(slot: number): void {
    const ring = this.#rings[slot];
    this.#rings[slot] = null;
    if (ring === undefined || ring === null) return;
    if (this.#spare.length < SPARE_MAX) this.#spare.push(ring);
    else ring.unmap();
  }

  /** The parts at the end of the ring and, where it goes on there, at its beginning. */
  #fillBoth(address: number, start: number, count: number): void {
    const first = Math.min(count, this.#ringBytes - start);
    this.#fill(0, address + start, first);
    this.#fill(1, address, count - first);
  }

  #fill(entry: number, address: number, bytes: number): void {
    const at = (entry * IOVEC_BYTES) / 4;
    this.#words[at] = address;
    this.#words[at + 1] = address / WORD;
    this.#words[at + 2] = bytes;
    this.#words[at + 3] = 0;
  }
}
