/**
 * A virtio-blk driver for one queue that makes no garbage and polls, for benchmarks and stress
 * tests; also what `BlkClient` drives its queues with.
 * Requests live in slots, each with a header, a status byte and a buffer in shared memory.
 * Everything that it is made from is plain data, so a worker thread can make one.
 *
 * @module
 */
import { assert } from '../../util/index.ts';
import { Notifier, WINDOW_BYTES_MAX, dupFd, viewMemory } from '../../sys/index.ts';
import { DriverRing } from '../../virtqueue/index.ts';
import type { DriverRingConfig, VirtqueueFault } from '../../virtqueue/index.ts';
import { BLK_TYPE, REQUEST, SECTOR_BYTES } from './layout.ts';

/** Header and status of a slot are in cache lines of their own: each side writes to one of them. */
const CONTROL_BYTES = 128;
const STATUS_AT = 64;
const BUFFER_ALIGN = 4096;

/** Stands in a status byte until the device has written there; no device may answer it. */
export const STATUS_NOT_WRITTEN = 0xff;

/**
 * Memory for the slots of one {@link BlkPoller}: `slotMemoryBytes` of it, aligned to 4096 bytes.
 */
export interface BlkSlots {
  readonly count: number;
  /** Bytes of each slot's buffer. */
  readonly bufferBytes: number;
  readonly gpa: number;
  readonly hva: number;
}

/** All that a {@link BlkPoller} is made from. */
export interface BlkPollerPlan {
  readonly ring: DriverRingConfig;
  /** Borrowed while the poller is made. */
  readonly kickFd: number;
  readonly slots: BlkSlots;
  /** The longest buffer that the device takes in one piece (`size_max`); longer ones are cut. */
  readonly segmentBytesMax: number;
}

/** Bytes of shared memory that `count` slots take. */
export function slotMemoryBytes(count: number, bufferBytes: number): number {
  return count * (bufferStride(bufferBytes) + CONTROL_BYTES);
}

/**
 * Drives one started queue. Not more than one poller, or ring, may use a queue.
 *
 * ```ts
 * poller.submit(BLK_TYPE.IN, 0, 0, 4096);
 * poller.kickIfWanted();
 * while (poller.poll((slot, status) => console.log(slot, status, poller.buffer(slot))) === 0);
 * ```
 */
export class BlkPoller {
  readonly slotCount: number;
  readonly bufferBytes: number;
  /** Kicks that were sent. */
  kickCount = 0;
  readonly #ring: DriverRing;
  readonly #kick: Notifier;
  readonly #segmentBytesMax: number;
  readonly #buffers: readonly Uint8Array[];
  readonly #control: Uint8Array;
  readonly #controlWords: Uint32Array;
  readonly #bufferGpa: number;
  readonly #bufferStride: number;
  readonly #controlGpa: number;

  /**
   * Makes the ring's driver side, with interrupts off.
   * SAFETY: ring and slots stay mapped until the last use of this object.
   */
  constructor(plan: BlkPollerPlan) {
    const { slots } = plan;
    const stride = bufferStride(slots.bufferBytes);
    const controlHva = slots.hva + slots.count * stride;
    assert(slots.count * CONTROL_BYTES <= WINDOW_BYTES_MAX, 'the headers fit one view');
    this.slotCount = slots.count;
    this.bufferBytes = slots.bufferBytes;
    this.#segmentBytesMax = plan.segmentBytesMax;
    this.#bufferGpa = slots.gpa;
    this.#bufferStride = stride;
    this.#controlGpa = slots.gpa + slots.count * stride;
    // SAFETY: see above.
    const control = viewMemory(controlHva, slots.count * CONTROL_BYTES);
    this.#control = new Uint8Array(control);
    this.#controlWords = new Uint32Array(control);
    this.#buffers = Array.from({ length: slots.count }, (_, slot) => {
      return new Uint8Array(viewMemory(slots.hva + slot * stride, slots.bufferBytes));
    });
    this.#ring = new DriverRing(plan.ring);
    this.#ring.disableInterrupts();
    this.#kick = new Notifier(dupFd(plan.kickFd));
  }

  /** Requests that were submitted and have not come back. */
  get inFlight(): number {
    return this.#ring.inFlight;
  }

  /** What the device did wrong, if it did; nothing comes back any more. */
  get fault(): VirtqueueFault | null {
    return this.#ring.fault;
  }

  /** The buffer of a slot, borrowed for as long as the memory is mapped; the same one each time. */
  buffer(slot: number): Uint8Array {
    return this.#buffers[slot] as Uint8Array;
  }

  /**
   * Puts a request into a slot that is idle and adds it to the ring, unseen by the device until
   * `kickIfWanted`. `lengthBytes` of the buffer are read or written; a flush has 0. False when the
   * ring is full.
   */
  submit(type: number, sector: number, slot: number, lengthBytes: number): boolean {
    const ring = this.#ring;
    const words = this.#controlWords;
    const at = (slot * CONTROL_BYTES) >> 2;
    words[at] = type;
    words[at + 1] = 0;
    words[at + 2] = sector; // stored modulo 2^32
    words[at + 3] = sector / 0x1_0000_0000;
    this.#control[slot * CONTROL_BYTES + STATUS_AT] = STATUS_NOT_WRITTEN;
    const controlGpa = this.#controlGpa + slot * CONTROL_BYTES;
    ring.stageReadable(controlGpa, REQUEST.SIZE);
    const gpa = this.#bufferGpa + slot * this.#bufferStride;
    const max = this.#segmentBytesMax;
    for (let done = 0; done < lengthBytes; done += max) {
      const count = Math.min(max, lengthBytes - done);
      if (type === BLK_TYPE.IN || type === BLK_TYPE.GET_ID) ring.stageWritable(gpa + done, count);
      else ring.stageReadable(gpa + done, count);
    }
    ring.stageWritable(controlGpa + STATUS_AT, 1);
    return ring.add(slot);
  }

  /** Shows the device what was submitted, and kicks it when it wants that. */
  kickIfWanted(): void {
    if (!this.#ring.publish()) return;
    this.kickCount++;
    this.#kick.signal();
  }

  /** Whether `poll` would find something; one load of a shared index. */
  hasCompleted(): boolean {
    return this.#ring.hasUsed();
  }

  /**
   * Calls `onDone` for each request that came back, with its slot, which is idle from then on, and
   * the device's status. Returns how many.
   */
  poll(onDone: (slot: number, status: number) => void): number {
    const ring = this.#ring;
    let count = 0;
    for (let slot = ring.take(); slot >= 0; slot = ring.take()) {
      count++;
      onDone(slot, this.#control[slot * CONTROL_BYTES + STATUS_AT] as number);
    }
    return count;
  }

  /**
   * Asks the device to notify after the next request. True when something came back meanwhile, so
   * `poll` again before sleeping.
   */
  enableInterrupts(): boolean {
    return this.#ring.enableInterrupts();
  }

  /** Closes the kick fd; may be called again. The memory and the queue are the session's. */
  close(): void {
    this.#kick.close();
  }
}

/** The sector of a byte offset, which is a multiple of 512. */
export function sectorOf(offsetBytes: number): number {
  return offsetBytes / SECTOR_BYTES;
}

function bufferStride(bufferBytes: number): number {
  return Math.ceil(bufferBytes / BUFFER_ALIGN) * BUFFER_ALIGN;
}
