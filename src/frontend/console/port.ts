/**
 * One port of a console device, as the stream that a guest's program has of it.
 *
 * @module
 */
import { Duplex } from 'node:stream';
import { VhostUserError } from '../../util/index.ts';
import type { ConsoleBufferQueue } from './pipe.ts';

/** What a port needs of its client. */
export interface ConsolePortOwner {
  /** Tells the device that the port is open, or not. */
  setOpen(port: ConsoleClientPort, open: boolean): void;
}

/**
 * A stream to the other end of a port. What is written waits while the device has taken nothing;
 * what is not read leaves the device without buffers.
 *
 * Events beside those of a stream: `resize` when `columns` and `rows` have changed, `host` when
 * `hostOpen` has.
 */
export class ConsoleClientPort extends Duplex {
  readonly id: number;
  /** Empty when the device has given none. */
  portName = '';
  isConsole = false;
  /** Whether somebody is at the other end. */
  hostOpen = false;
  /** Whether the device knows that we have it open. */
  guestOpen = false;
  /** The size in characters; 0 and 0 until the device tells. */
  columns = 0;
  rows = 0;
  readonly #receive: ConsoleBufferQueue;
  readonly #transmit: ConsoleBufferQueue;
  readonly #owner: ConsolePortOwner;
  #wantsMore = true;
  #bytes: Uint8Array | null = null; // what is being written
  #done: (error?: Error | null) => void = () => undefined;
  #final: (() => void) | null = null;

  /** @internal Made by a `ConsoleClient` alone. */
  constructor(
    id: number,
    receive: ConsoleBufferQueue,
    transmit: ConsoleBufferQueue,
    owner: ConsolePortOwner,
  ) {
    super({ allowHalfOpen: true });
    this.id = id;
    this.#receive = receive;
    this.#transmit = transmit;
    this.#owner = owner;
    receive.queue.watchCalls(() => this.#takeInput());
    transmit.queue.watchCalls(() => this.#takeBack());
    transmit.queue.ring.enableInterrupts();
  }

  /** Gives the device its buffers: it may send from now on. */
  begin(): void {
    this.#receive.offer();
    this.#takeInput();
  }

  override _read(): void {
    this.#wantsMore = true;
    this.#takeInput();
  }

  override _write(
    bytes: Uint8Array,
    _encoding: BufferEncoding,
    done: (error?: Error | null) => void,
  ): void {
    this.#bytes = bytes;
    this.#done = done;
    this.#takeBack();
  }

  /** Ends when the device has taken all. */
  override _final(done: () => void): void {
    this.#final = done;
    this.#takeBack();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (this.guestOpen) this.#owner.setOpen(this, false);
    done(error);
  }

  #takeInput(): void {
    const { ring } = this.#receive.queue;
    do {
      while (this.#wantsMore && !this.destroyed) {
        const bytes = this.#receive.receive();
        if (bytes === null) break;
        if (bytes.length > 0) this.#wantsMore = this.push(bytes);
      }
      if (this.#wantsMore) this.#receive.offer();
    } while (this.#wantsMore && !this.destroyed && ring.enableInterrupts() && this.#sound());
  }

  #takeBack(): void {
    const { ring } = this.#transmit.queue;
    do {
      this.#transmit.reclaim();
      this.#sendMore();
    } while (ring.enableInterrupts() && this.#sound());
    if (this.#final === null || ring.inFlight > 0) return;
    const done = this.#final;
    this.#final = null;
    done();
  }

  #sendMore(): void {
    while (this.#bytes !== null) {
      const sent = this.#transmit.send(this.#bytes);
      this.#bytes = this.#bytes.subarray(sent);
      if (this.#bytes.length > 0 && !this.#transmit.hasRoom) return;
      if (this.#bytes.length > 0) continue;
      this.#bytes = null;
      this.#done();
    }
  }

  /** A device that breaks the rules of a ring ends the stream. */
  #sound(): boolean {
    const fault = this.#receive.queue.ring.fault ?? this.#transmit.queue.ring.fault;
    if (fault !== null) this.destroy(new VhostUserError(fault.code, fault.message));
    return fault === null;
  }
}
