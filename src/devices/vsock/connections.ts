/**
 * The connections of one guest, in slots: arrays instead of objects, so that a packet makes no
 * garbage, and a hash table that finds a packet's connection.
 *
 * @module
 */
import type { ReactorWatch } from '../../backend/index.ts';

/** What a connection is doing. */
export const STATE = {
  free: 0,
  /** A program of the host has connected and not yet said to which port. */
  greeting: 1,
  /** The guest asked, and the host's side is being made. */
  connecting: 2,
  /** The host asked, and the guest has not answered. */
  requested: 3,
  established: 4,
  /** The guest is done; what it sent last is on its way to the host's program. */
  draining: 5,
  /** The host's program is done, its socket is closed; the guest has not confirmed that. */
  closing: 6,
  /** The guest is done and knows that all has arrived; the host's program may still be sending. */
  lingering: 7,
} as const;

/** Facts about a connection, as bits. */
export const FLAG = {
  /** The host's program sends nothing any more. */
  hostEnded: 1,
  /** The host's program takes nothing any more. */
  hostDeaf: 2,
  /** The guest said that it sends nothing any more. */
  guestEnded: 4,
  /** The guest said that it takes nothing any more. */
  guestDeaf: 8,
  /** There is something to read, and the guest has no room for it. */
  starved: 16,
  /** The host's side is a sibling guest's. */
  sibling: 32,
  /** The host's program is answered by a line once the guest has accepted. */
  hybrid: 64,
  /** The guest has forgotten it: it is in no table any more. */
  orphaned: 128,
  /** The host's side is a socket of the host's AF_VSOCK. */
  hostVsock: 256,
  /** The host's side is a TCP socket. */
  hostTcp: 512,
  /** Its socket says that there is something to read, there is not, and it is left for a moment. */
  resting: 1024,
} as const;

/** Packets that wait for a buffer of the guest, as bits. */
export const PENDING = { request: 1, response: 2, shutdown: 4, credit: 8 } as const;

/** The hash table has so many entries for each slot. */
const ENTRIES_PER_SLOT = 4;

/** See the module. All arrays are indexed by slot. */
export class Connections {
  readonly max: number;
  /** Slots that are in use. */
  count = 0;
  /** Slots from here on were never used. */
  end = 0;
  readonly state: Uint8Array;
  /** `VIRTIO_VSOCK_TYPE`. */
  readonly type: Uint8Array;
  readonly flags: Uint16Array;
  readonly pending: Uint8Array;
  readonly fd: Int32Array;
  readonly guestPort: Uint32Array;
  readonly peerCid: Uint32Array;
  readonly peerPort: Uint32Array;
  /** What the guest has told of its buffer (section 5.10.6.3). */
  readonly peerBufAlloc: Uint32Array;
  readonly peerFwdCnt: Uint32Array;
  /** Bytes that the guest was sent, that it has sent, and that went on to the host; modulo 2^32. */
  readonly sentCnt: Uint32Array;
  readonly receivedCnt: Uint32Array;
  readonly forwardedCnt: Uint32Array;
  /** `forwardedCnt` as the guest was told last. */
  readonly toldCnt: Uint32Array;
  /** How much the next read is likely to find. */
  readonly readHint: Uint32Array;
  /** When to give up on what it is doing; 0: never. By the reactor's clock, in milliseconds. */
  readonly deadlineMs: Float64Array;
  /** Tells a connection from the next one in its slot. */
  readonly serial: Uint32Array;
  /** Looks in a row that found nothing in a socket, up to a limit. */
  readonly emptyLooks: Uint8Array;
  readonly events: Uint8Array;
  readonly watch: (ReactorWatch | null)[];
  readonly #free: Uint32Array; // a stack
  #freeCount = 0;
  readonly #hash: Int32Array; // slot + 1
  readonly #mask: number;
  /** So that no guest knows which ports share an entry. */
  readonly #seed = Math.floor(Math.random() * 0x1_0000_0000);
  #last = 0; // the slot that was found last

  constructor(max: number) {
    this.max = max;
    this.state = new Uint8Array(max);
    this.type = new Uint8Array(max);
    this.flags = new Uint16Array(max);
    this.pending = new Uint8Array(max);
    this.fd = new Int32Array(max).fill(-1);
    this.guestPort = new Uint32Array(max);
    this.peerCid = new Uint32Array(max);
    this.peerPort = new Uint32Array(max);
    this.peerBufAlloc = new Uint32Array(max);
    this.peerFwdCnt = new Uint32Array(max);
    this.sentCnt = new Uint32Array(max);
    this.receivedCnt = new Uint32Array(max);
    this.forwardedCnt = new Uint32Array(max);
    this.toldCnt = new Uint32Array(max);
    this.readHint = new Uint32Array(max);
    this.deadlineMs = new Float64Array(max);
    this.serial = new Uint32Array(max);
    this.emptyLooks = new Uint8Array(max);
    this.events = new Uint8Array(max);
    this.watch = new Array<ReactorWatch | null>(max).fill(null);
    this.#free = new Uint32Array(max);
    let entries = 16;
    while (entries < max * ENTRIES_PER_SLOT) entries *= 2;
    this.#hash = new Int32Array(entries);
    this.#mask = entries - 1;
  }

  /** A slot for a new connection, all zero but for what is given; -1 when all are in use. */
  take(state: number, type: number, fd: number): number {
    let slot: number;
    if (this.#freeCount > 0) slot = this.#free[--this.#freeCount] as number;
    else if (this.end < this.max) slot = this.end++;
    else return -1;
    this.count++;
    this.state[slot] = state;
    this.type[slot] = type;
    this.fd[slot] = fd;
    this.flags[slot] = 0;
    this.pending[slot] = 0;
    this.peerBufAlloc[slot] = 0;
    this.peerFwdCnt[slot] = 0;
    this.sentCnt[slot] = 0;
    this.receivedCnt[slot] = 0;
    this.forwardedCnt[slot] = 0;
    this.toldCnt[slot] = 0;
    this.readHint[slot] = 0;
    this.deadlineMs[slot] = 0;
    this.emptyLooks[slot] = 0;
    this.events[slot] = 0;
    return slot;
  }

  /** Gives a slot back; it is in no table, and its fd and watch are closed. */
  release(slot: number): void {
    this.state[slot] = STATE.free;
    this.fd[slot] = -1;
    this.serial[slot] = ((this.serial[slot] as number) + 1) >>> 0;
    this.#free[this.#freeCount++] = slot;
    this.count--;
  }

  /** Whether a bit of `flags` is set. */
  has(slot: number, flag: number): boolean {
    return ((this.flags[slot] as number) & flag) !== 0;
  }

  /** Sets a bit of `flags`. */
  mark(slot: number, flag: number): void {
    this.flags[slot] = (this.flags[slot] as number) | flag;
  }

  /** Clears a bit of `flags`. */
  unmark(slot: number, flag: number): void {
    this.flags[slot] = (this.flags[slot] as number) & ~flag;
  }

  /** Bytes that the guest has room for (section 5.10.6.3); it may have said nonsense. */
  credit(slot: number): number {
    const underWay = ((this.sentCnt[slot] as number) - (this.peerFwdCnt[slot] as number)) >>> 0;
    return Math.max(0, (this.peerBufAlloc[slot] as number) - underWay);
  }

  /** Bytes that the guest has sent and that have not gone on to the host. */
  held(slot: number): number {
    return ((this.receivedCnt[slot] as number) - (this.forwardedCnt[slot] as number)) >>> 0;
  }

  /** The connection of a packet, or -1. */
  find(guestPort: number, peerCid: number, peerPort: number): number {
    const last = this.#last;
    if (this.#is(last, guestPort, peerCid, peerPort) && this.#listed(last)) return last;
    let at = this.#entryOf(guestPort, peerCid, peerPort);
    for (let seen = 0; seen <= this.#mask; seen++) {
      const slot = (this.#hash[at] as number) - 1;
      if (slot < 0) return -1;
      if (this.#is(slot, guestPort, peerCid, peerPort)) {
        this.#last = slot;
        return slot;
      }
      at = (at + 1) & this.#mask;
    }
    return -1;
  }

  /** Lists a slot under its addresses, which nobody else has. */
  list(slot: number, guestPort: number, peerCid: number, peerPort: number): void {
    this.guestPort[slot] = guestPort;
    this.peerCid[slot] = peerCid;
    this.peerPort[slot] = peerPort;
    let at = this.#entryOf(guestPort, peerCid, peerPort);
    while (this.#hash[at] !== 0) at = (at + 1) & this.#mask;
    this.#hash[at] = slot + 1;
  }

  /** Takes a slot off the table; one that is not there is none the worse. */
  unlist(slot: number): void {
    const hash = this.#hash;
    const mask = this.#mask;
    let at = this.#home(slot);
    while (hash[at] !== slot + 1) {
      if (hash[at] === 0) return;
      at = (at + 1) & mask;
    }
    // Moves up what would not be found any more past the gap.
    let gap = at;
    for (let next = (at + 1) & mask; hash[next] !== 0; next = (next + 1) & mask) {
      const home = this.#home((hash[next] as number) - 1);
      if (((next - home) & mask) < ((next - gap) & mask)) continue;
      hash[gap] = hash[next] as number;
      gap = next;
    }
    hash[gap] = 0;
  }

  #is(slot: number, guestPort: number, peerCid: number, peerPort: number): boolean {
    return (
      this.guestPort[slot] === guestPort &&
      this.peerPort[slot] === peerPort &&
      this.peerCid[slot] === peerCid
    );
  }

  /** Whether what is left in a slot is still in the table. */
  #listed(slot: number): boolean {
    const state = this.state[slot] as number;
    return state > STATE.greeting && !this.has(slot, FLAG.orphaned);
  }

  #home(slot: number): number {
    return this.#entryOf(
      this.guestPort[slot] as number,
      this.peerCid[slot] as number,
      this.peerPort[slot] as number,
    );
  }

  #entryOf(guestPort: number, peerCid: number, peerPort: number): number {
    let hash = Math.imul(guestPort ^ this.#seed, 0x9e3779b1);
    hash = Math.imul(hash ^ (hash >>> 15) ^ peerPort, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13) ^ peerCid, 0xc2b2ae35);
    return (hash ^ (hash >>> 16)) & this.#mask;
  }
}
