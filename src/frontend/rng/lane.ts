/**
 * The requests of one entropy queue: buffers that the device fills, as far as it likes, and reads
 * that are put together from what comes back.
 *
 * @module
 */
import { VhostUserError } from '../../util/index.ts';
import type { FrontendQueue } from '../queue.ts';

/** Shared memory for the requests, borrowed for as long as the lane is used. */
export interface RngSlots {
  readonly count: number;
  /** The room of each. */
  readonly requestBytes: number;
  readonly gpa: number;
  /** All of them, one after the other. */
  readonly bytes: Uint8Array;
}

/** A read of a caller. */
interface Read {
  readonly into: Uint8Array;
  /** Whether the first bytes that come are enough. */
  readonly isSome: boolean;
  missing: number;
  readonly resolve: (got: number) => void;
  readonly reject: (error: VhostUserError) => void;
  settled: boolean;
}

/** A part of a read that no request asks for yet, or that one asks for. */
interface Part {
  readonly read: Read;
  readonly at: number;
  readonly lengthBytes: number;
}

/** See the module. */
export class RngLane {
  readonly queue: FrontendQueue;
  readonly #slots: RngSlots;
  readonly #onFault: (error: VhostUserError) => void;
  readonly #waiting: Part[] = [];
  readonly #inFlight: (Part | null)[]; // by slot
  readonly #idle: number[];
  #end: VhostUserError | null = null;

  /**
   * Takes over a started queue.
   * @param onFault the device broke the rules of the ring: all reads were rejected, and it is over
   */
  constructor(queue: FrontendQueue, slots: RngSlots, onFault: (error: VhostUserError) => void) {
    this.queue = queue;
    this.#slots = slots;
    this.#onFault = onFault;
    this.#inFlight = Array.from({ length: slots.count }, () => null);
    this.#idle = Array.from({ length: slots.count }, (_, i) => slots.count - 1 - i);
    queue.watchCalls(() => this.collect());
    queue.ring.enableInterrupts();
  }

  /** Fills all of a buffer. */
  async fill(into: Uint8Array): Promise<void> {
    await this.#read(into, false);
  }

  /** Makes one request; resolves with what the device gave. */
  async readSome(lengthBytes: number): Promise<Uint8Array> {
    const into = new Uint8Array(Math.max(1, Math.min(lengthBytes, this.#slots.requestBytes)));
    return into.subarray(0, await this.#read(into, true));
  }

  /** Takes what came back. */
  collect(): void {
    if (this.#end !== null) return;
    const { ring } = this.queue;
    do {
      for (let slot = ring.take(); slot >= 0; slot = ring.take()) {
        this.#complete(slot, ring.usedBytes);
      }
      if (ring.fault !== null) {
        const error = new VhostUserError(ring.fault.code, ring.fault.message);
        this.fail(error);
        this.#onFault(error);
        return;
      }
    } while (ring.enableInterrupts());
    this.#submit();
  }

  /** Ends the lane: all reads are rejected, and so are those that come. */
  fail(error: VhostUserError): void {
    if (this.#end !== null) return;
    this.#end = error;
    const parts = [...this.#inFlight.filter((each) => each !== null), ...this.#waiting.splice(0)];
    this.#inFlight.fill(null);
    for (const { read } of parts) reject(read, error);
  }

  #read(into: Uint8Array, isSome: boolean): Promise<number> {
    return new Promise((resolve, rejectRead) => {
      const missing = into.length;
      const read = { into, isSome, missing, resolve, reject: rejectRead, settled: false };
      if (this.#end !== null) {
        reject(read, this.#end);
        return;
      }
      const { requestBytes } = this.#slots;
      for (let at = 0; at < into.length; at += requestBytes) {
        const lengthBytes = Math.min(requestBytes, into.length - at);
        this.#waiting.push({ read, at, lengthBytes });
      }
      this.#submit();
    });
  }

  #submit(): void {
    if (this.#end !== null) return;
    const { ring } = this.queue;
    const { gpa, requestBytes } = this.#slots;
    let taken = 0;
    for (const part of this.#waiting) {
      if (!part.read.settled) {
        const slot = this.#idle.at(-1);
        if (slot === undefined) break;
        ring.stageWritable(gpa + slot * requestBytes, part.lengthBytes);
        if (!ring.add(slot)) break;
        this.#idle.pop();
        this.#inFlight[slot] = part;
      }
      taken++;
    }
    this.#waiting.splice(0, taken);
    this.queue.publish();
  }

  #complete(slot: number, got: number): void {
    const part = this.#inFlight[slot] ?? null;
    if (part === null) return; // the ring has checked that it is ours
    this.#inFlight[slot] = null;
    this.#idle.push(slot);
    const { read, at, lengthBytes } = part;
    if (read.settled) return;
    if (got === 0) {
      const text =
        'the device gave a buffer back with nothing in it, and at least one byte is due ' +
        '(virtio 1.3, section 5.4.6.2)';
      reject(read, new VhostUserError('ERR_VHU_RNG_EMPTY', text));
      return;
    }
    const from = slot * this.#slots.requestBytes;
    const bytes = this.#slots.bytes.subarray(from, from + got);
    read.into.set(bytes, at);
    bytes.fill(0); // they are the caller's alone
    read.missing -= got;
    if (read.missing === 0 || read.isSome) {
      read.settled = true;
      read.resolve(got);
    } else if (got < lengthBytes) {
      this.#waiting.unshift({ read, at: at + got, lengthBytes: lengthBytes - got });
    }
  }
}

function reject(read: Read, error: VhostUserError): void {
  if (read.settled) return;
  read.settled = true;
  read.reject(new VhostUserError(error.code, `read of random bytes: ${error.message}`));
}
