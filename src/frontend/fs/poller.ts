/**
 * A virtio-fs driver for one queue that makes no garbage and polls, for benchmarks and stress
 * tests; also what `FuseConnection` drives its queues with.
 * Requests live in slots, each with a block for headers and short arguments and a buffer for data,
 * in shared memory. All that it is made from is plain data, so a worker thread can make one.
 *
 * @module
 */
import { assert } from '../../util/index.ts';
import { Notifier, WINDOW_BYTES_MAX, dupFd, viewMemory } from '../../sys/index.ts';
import { FUSE_IN_HEADER, FUSE_OUT_HEADER } from '../../fuse/index.ts';
import { DriverRing } from '../../virtqueue/index.ts';
import type { DriverRingConfig, VirtqueueFault } from '../../virtqueue/index.ts';

/** A slot's block: what the device writes comes first, what it reads in other cache lines. */
const CONTROL_BYTES = 2048;
const IN_AT = 512;
const BUFFER_ALIGN = 4096;
const ERRNO_MAX = 4095;
const UNIQUE_STEP = 2; // as Linux counts: an odd number would name the interrupt of a request
const TWO_32 = 2 ** 32;

/** The longest arguments that fit a slot's block; more of them go to its buffer. */
export const ARGS_BYTES_MAX: number = CONTROL_BYTES - IN_AT - FUSE_IN_HEADER.SIZE;
/** The longest answer that fits a slot's block; a longer one goes to its buffer. */
export const OUT_BYTES_MAX: number = IN_AT - FUSE_OUT_HEADER.SIZE;
/** In place of the bytes of an answer: the request has none, not even a header (FORGET). */
export const NO_REPLY = -1;
/** In place of an error: what came back is no answer to the request. */
export const BAD_REPLY = 1;

/**
 * Memory for the slots of one {@link FusePoller}: `fuseSlotBytes` of it, aligned to 4096 bytes.
 */
export interface FuseSlots {
  readonly count: number;
  /** Bytes of each slot's buffer, which may be 0. */
  readonly bufferBytes: number;
  readonly gpa: number;
  readonly hva: number;
}

/** All that a {@link FusePoller} is made from. */
export interface FusePollerPlan {
  readonly ring: DriverRingConfig;
  /** Borrowed while the poller is made. */
  readonly kickFd: number;
  readonly slots: FuseSlots;
  /**
   * Buffers are shown to the device in pieces of so many bytes, as those of a guest, whose pages
   * lie here and there; in one piece by default.
   */
  readonly segmentBytes?: number;
}

/** Bytes of shared memory that `count` slots take. */
export function fuseSlotBytes(count: number, bufferBytes: number): number {
  return count * (bufferStride(bufferBytes) + CONTROL_BYTES);
}

/** Descriptors that a request with a buffer takes at most. */
export function fuseSegmentsMax(bufferBytes: number, segmentBytes: number = Infinity): number {
  return 4 + Math.max(1, Math.ceil(bufferBytes / segmentBytes));
}

/**
 * Drives one started queue. Not more than one poller, or ring, may use a queue.
 *
 * ```ts
 * const { control } = poller;
 * control.setUint32(poller.argsAt(0) + FUSE_GETATTR_IN.getattrFlags, 0, true);
 * const { SIZE } = FUSE_ATTR_OUT;
 * poller.submit(0, FUSE_OPCODE.GETATTR, FUSE_ROOT_ID, FUSE_GETATTR_IN.SIZE, 0, SIZE, 0);
 * poller.kickIfWanted();
 * while (poller.poll((slot, error, bytes) => console.log(slot, error, bytes)) === 0);
 * const size = control.getUint32(poller.outAt(0) + FUSE_ATTR_OUT.attr + FUSE_ATTR.size, true);
 * ```
 */
export class FusePoller {
  readonly slotCount: number;
  readonly bufferBytes: number;
  /** The blocks of all slots, little-endian; borrowed for as long as the memory is mapped. */
  readonly control: DataView;
  /** The same as bytes, for names. */
  readonly controlBytes: Uint8Array;
  /** Whose requests the next ones are. */
  uid = 0;
  gid = 0;
  pid = 0;
  /** Kicks that were sent. */
  kickCount = 0;
  readonly #ring: DriverRing;
  readonly #kick: Notifier;
  readonly #segmentBytes: number;
  readonly #buffers: readonly Uint8Array[];
  readonly #words: Uint32Array;
  readonly #bufferGpa: number;
  readonly #bufferStride: number;
  readonly #controlGpa: number;
  readonly #room: Int32Array; // by slot: bytes of the answer without its header, or NO_REPLY
  readonly #uniqueLow: Uint32Array; // by slot
  readonly #uniqueHigh: number; // of this queue, so that no two queues use the same number
  #unique = 0;

  /**
   * Makes the ring's driver side, with interrupts off.
   * SAFETY: ring and slots stay mapped until the last use of this object.
   */
  constructor(plan: FusePollerPlan) {
    const { slots } = plan;
    const stride = bufferStride(slots.bufferBytes);
    const bytes = slots.count * CONTROL_BYTES;
    assert(bytes <= WINDOW_BYTES_MAX, 'the blocks of the slots fit one view');
    this.slotCount = slots.count;
    this.bufferBytes = slots.bufferBytes;
    this.#segmentBytes = plan.segmentBytes ?? Infinity;
    this.#bufferGpa = slots.gpa;
    this.#bufferStride = stride;
    this.#controlGpa = slots.gpa + slots.count * stride;
    // SAFETY: see above.
    const control = viewMemory(slots.hva + slots.count * stride, bytes);
    this.control = new DataView(control);
    this.controlBytes = new Uint8Array(control);
    this.#words = new Uint32Array(control);
    this.#buffers = Array.from({ length: slots.bufferBytes > 0 ? slots.count : 0 }, (_, slot) => {
      return new Uint8Array(viewMemory(slots.hva + slot * stride, slots.bufferBytes));
    });
    this.#room = new Int32Array(slots.count);
    this.#uniqueLow = new Uint32Array(slots.count);
    this.#uniqueHigh = plan.ring.index;
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

  /** Of the request that came back last: bytes that the device says it wrote. */
  get usedBytes(): number {
    return this.#ring.usedBytes;
  }

  /** Where the arguments of a slot's request begin in `control`. */
  argsAt(slot: number): number {
    return slot * CONTROL_BYTES + IN_AT + FUSE_IN_HEADER.SIZE;
  }

  /** Where the answer to a slot's request begins in `control`, after its header. */
  outAt(slot: number): number {
    return slot * CONTROL_BYTES + FUSE_OUT_HEADER.SIZE;
  }

  /** The buffer of a slot, borrowed for as long as the memory is mapped; the same one each time. */
  buffer(slot: number): Uint8Array {
    return this.#buffers[slot] as Uint8Array;
  }

  /** The `unique` of the request that a slot holds, or held last. */
  uniqueOf(slot: number): number {
    return this.#uniqueHigh * TWO_32 + (this.#uniqueLow[slot] as number);
  }

  /**
   * Puts a request into a slot that is idle and adds it to the ring, unseen by the device until
   * `kickIfWanted`. False when the ring is full.
   *
   * @param argBytes that stand at `argsAt`, followed by the first `dataIn` bytes of the buffer
   * @param outBytes room of the answer at `outAt`, or NO_REPLY; `dataOut` more in the buffer
   */
  submit(
    slot: number,
    opcode: number,
    nodeId: number,
    argBytes: number,
    dataIn: number,
    outBytes: number,
    dataOut: number,
  ): boolean {
    assert(argBytes <= ARGS_BYTES_MAX && outBytes <= OUT_BYTES_MAX, 'a request fits its slot');
    assert(dataIn <= this.bufferBytes && dataOut <= this.bufferBytes, 'its data fit the buffer');
    const ring = this.#ring;
    this.#writeHeader(slot, opcode, nodeId, argBytes + dataIn);
    const controlGpa = this.#controlGpa + slot * CONTROL_BYTES;
    const inGpa = controlGpa + IN_AT;
    ring.stageReadable(inGpa, FUSE_IN_HEADER.SIZE);
    if (argBytes > 0) ring.stageReadable(inGpa + FUSE_IN_HEADER.SIZE, argBytes);
    const bufferGpa = this.#bufferGpa + slot * this.#bufferStride;
    const step = this.#segmentBytes;
    for (let done = 0; done < dataIn; done += step) {
      ring.stageReadable(bufferGpa + done, Math.min(step, dataIn - done));
    }
    this.#room[slot] = outBytes === NO_REPLY ? NO_REPLY : outBytes + dataOut;
    if (outBytes !== NO_REPLY) {
      ring.stageWritable(controlGpa, FUSE_OUT_HEADER.SIZE);
      if (outBytes > 0) ring.stageWritable(controlGpa + FUSE_OUT_HEADER.SIZE, outBytes);
      for (let done = 0; done < dataOut; done += step) {
        ring.stageWritable(bufferGpa + done, Math.min(step, dataOut - done));
      }
    }
    return ring.add(slot);
  }

  /**
   * Adds the bytes of a slot's buffer as they are: pieces of the given lengths for the device to
   * read, then, after them, pieces for it to write. For tests that send what is no request.
   */
  submitRaw(slot: number, readable: readonly number[], writable: readonly number[]): boolean {
    const ring = this.#ring;
    let gpa = this.#bufferGpa + slot * this.#bufferStride;
    const end = gpa + this.bufferBytes;
    for (const bytes of readable) {
      ring.stageReadable(gpa, bytes);
      gpa += bytes;
    }
    for (const bytes of writable) {
      ring.stageWritable(gpa, bytes);
      gpa += bytes;
    }
    assert(gpa <= end, 'the pieces fit the buffer');
    this.#room[slot] = NO_REPLY;
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
   * Calls `onDone` for each request that came back, with its slot, which is idle from then on. The
   * error is 0, a negative errno of Linux, or BAD_REPLY; the bytes are those of the answer without
   * its header: `outBytes` of them at `outAt`, and those after them in the buffer. Returns how
   * many came back.
   */
  poll(onDone: (slot: number, error: number, bytes: number) => void): number {
    const ring = this.#ring;
    let count = 0;
    for (let slot = ring.take(); slot >= 0; slot = ring.take()) {
      count++;
      const room = this.#room[slot] as number;
      if (room === NO_REPLY) {
        onDone(slot, 0, 0);
        continue;
      }
      const at = (slot * CONTROL_BYTES) >> 2;
      const words = this.#words;
      const bytes = (words[at] as number) - FUSE_OUT_HEADER.SIZE;
      const error = (words[at + 1] as number) | 0;
      const fits = bytes >= 0 && bytes <= room && ring.usedBytes >= FUSE_OUT_HEADER.SIZE;
      const known = words[at + 2] === this.#uniqueLow[slot] && words[at + 3] === this.#uniqueHigh;
      const good = fits && known && error <= 0 && error >= -ERRNO_MAX;
      onDone(slot, good ? error : BAD_REPLY, good ? bytes : 0);
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

  /** Writes `fuse_in_header`, and makes the answer of the slot's last request none of this one. */
  #writeHeader(slot: number, opcode: number, nodeId: number, bodyBytes: number): void {
    const words = this.#words;
    const out = (slot * CONTROL_BYTES) >> 2;
    words[out] = 0;
    const low = (this.#unique + UNIQUE_STEP) >>> 0 || UNIQUE_STEP; // 0 is of nobody
    this.#unique = low;
    this.#uniqueLow[slot] = low;
    const at = out + (IN_AT >> 2);
    words[at] = FUSE_IN_HEADER.SIZE + bodyBytes;
    words[at + 1] = opcode;
    words[at + 2] = low;
    words[at + 3] = this.#uniqueHigh;
    words[at + 4] = nodeId; // stored modulo 2^32
    words[at + 5] = nodeId / TWO_32;
    words[at + 6] = this.uid;
    words[at + 7] = this.gid;
    words[at + 8] = this.pid;
    words[at + 9] = 0; // no extensions
  }
}

function bufferStride(bufferBytes: number): number {
  return Math.ceil(bufferBytes / BUFFER_ALIGN) * BUFFER_ALIGN;
}
