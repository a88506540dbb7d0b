/**
 * Resets that wait for a buffer of the guest. They outlive their connection, or never had one.
 *
 * @module
 */
import type { Connections } from './connections.ts';
import type { GuestRx } from './guest-rx.ts';

/**
 * A guest that gives no buffers is not told any more: its own time-out has to do. Not to take its
 * packets instead could have both sides wait for each other.
 */
const RESETS_MAX = 4096;

/** See the module. */
export class Resets {
  /** How many wait. */
  count = 0;
  /** That were lost, for want of room. */
  dropped = 0;
  readonly #type = new Uint16Array(RESETS_MAX);
  readonly #peerCid = new Uint32Array(RESETS_MAX);
  readonly #peerPort = new Uint32Array(RESETS_MAX);
  readonly #guestPort = new Uint32Array(RESETS_MAX);
  #first = 0;

  /** Adds one. */
  add(type: number, peerCid: number, peerPort: number, guestPort: number): void {
    if (this.count === RESETS_MAX) {
      this.dropped++;
      return;
    }
    const at = (this.#first + this.count) % RESETS_MAX;
    this.#type[at] = type;
    this.#peerCid[at] = peerCid;
    this.#peerPort[at] = peerPort;
    this.#guestPort[at] = guestPort;
    this.count++;
  }

  /** Adds that of a connection that there is. */
  addOf(table: Connections, slot: number): void {
    this.add(
      table.type[slot] as number,
      table.peerCid[slot] as number,
      table.peerPort[slot] as number,
      table.guestPort[slot] as number,
    );
  }

  /** Sends as many as there are buffers for; returns how many. */
  send(rx: GuestRx): number {
    let sent = 0;
    for (; this.count > 0 && rx.available(); sent++) {
      const at = this.#first;
      rx.sendReset(
        this.#type[at] as number,
        this.#peerCid[at] as number,
        this.#peerPort[at] as number,
        this.#guestPort[at] as number,
      );
      this.#first = (at + 1) % RESETS_MAX;
      this.count--;
    }
    return sent;
  }

  /** Forgets all. */
  clear(): void {
    this.count = 0;
  }
}
