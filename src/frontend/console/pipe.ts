/**
 * The buffers of one queue of a console, for its driver: all of one size, each known by its slot.
 *
 * @module
 */
import type { FrontendQueue } from '../queue.ts';
import type { FrontendSession } from '../session.ts';

/** How large the buffers are, and how many. */
export interface ConsoleBuffers {
  readonly count: number;
  readonly bytes: number;
}

/** See the module. Its memory is given back with the session. */
export class ConsoleBufferQueue {
  readonly queue: FrontendQueue;
  readonly slotBytes: number;
  readonly #gpa: number;
  readonly #bytes: Uint8Array;
  readonly #idle: number[];

  private constructor(queue: FrontendQueue, session: FrontendSession, buffers: ConsoleBuffers) {
    const range = session.memory.allocate(buffers.count * buffers.bytes, 64);
    this.queue = queue;
    this.slotBytes = buffers.bytes;
    this.#gpa = range.gpa;
    this.#bytes = new Uint8Array(session.memory.view(range));
    this.#idle = Array.from({ length: buffers.count }, (_, i) => i);
  }

  /** Starts a queue with buffers of its own. */
  static async start(
    session: FrontendSession,
    index: number,
    size: number,
    buffers: ConsoleBuffers,
  ): Promise<ConsoleBufferQueue> {
    const queue = await session.startQueue({ index, size });
    const count = Math.min(buffers.count, size);
    return new ConsoleBufferQueue(queue, session, { ...buffers, count });
  }

  /** Whether `send` would take something. */
  get hasRoom(): boolean {
    return this.#idle.length > 0;
  }

  /** Slots that the device does not have. */
  get idleCount(): number {
    return this.#idle.length;
  }

  /** Gives all idle slots to the device, to be written. */
  offer(): void {
    const { ring } = this.queue;
    for (let slot = this.#idle.pop(); slot !== undefined; slot = this.#idle.pop()) {
      ring.stageWritable(this.#gpa + slot * this.slotBytes, this.slotBytes);
      ring.add(slot);
    }
    this.queue.publish();
  }

  /** Sends as much as one slot holds; returns how much that was, 0 when no slot is idle. */
  send(bytes: Uint8Array): number {
    const slot = this.#idle.pop();
    if (slot === undefined) return 0;
    const count = Math.min(bytes.length, this.slotBytes);
    this.#bytes.set(bytes.subarray(0, count), slot * this.slotBytes);
    this.queue.ring.stageReadable(this.#gpa + slot * this.slotBytes, count);
    this.queue.ring.add(slot);
    this.queue.publish();
    return count;
  }

  /** What the device has written to the next slot, a copy; null when there is none. */
  receive(): Uint8Array | null {
    const { ring } = this.queue;
    const slot = ring.take();
    if (slot < 0) return null;
    this.#idle.push(slot);
    const at = slot * this.slotBytes;
    return this.#bytes.slice(at, at + ring.usedBytes);
  }

  /** Takes back what the device has read; returns whether that was anything. */
  reclaim(): boolean {
    const { ring } = this.queue;
    let found = false;
    for (let slot = ring.take(); slot >= 0; slot = ring.take()) {
      this.#idle.push(slot);
      found = true;
    }
    return found;
  }
}
