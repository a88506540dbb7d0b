/**
 * A driver of the two queues of a console's port that makes no garbage and polls, for benchmarks.
 *
 * @module
 */
import { assert } from '../../util/index.ts';
import { Notifier, WINDOW_BYTES_MAX, dupFd, viewMemory } from '../../sys/index.ts';
import { DriverRing } from '../../virtqueue/index.ts';
import type { DriverRingConfig, VirtqueueFault } from '../../virtqueue/index.ts';

/** One started queue, and its buffers. */
export interface ConsoleQueuePlan {
  readonly ring: DriverRingConfig;
  /** Borrowed while the poller is made. */
  readonly kickFd: number;
  readonly slotCount: number;
  readonly slotBytes: number;
  /** `slotCount * slotBytes` of shared memory. */
  readonly gpa: number;
  readonly hva: number;
}

/** Drives a started port. Not more than one poller, or ring, may use a queue. */
export class ConsolePoller {
  readonly txSlotBytes: number;
  /** Kicks that were sent. */
  kickCount = 0;
  readonly #rx: DriverRing;
  readonly #tx: DriverRing;
  readonly #rxKick: Notifier;
  readonly #txKick: Notifier;
  readonly #rxPlan: ConsoleQueuePlan;
  readonly #txPlan: ConsoleQueuePlan;
  readonly #txBytes: Uint8Array;
  readonly #idleTx: Int32Array; // a stack
  #idleTxCount: number;

  /**
   * Makes the driver's side of the rings, with interrupts off, and offers all receive buffers.
   * SAFETY: rings and buffers stay mapped until the last use of this object.
   */
  constructor(rx: ConsoleQueuePlan, tx: ConsoleQueuePlan) {
    const txBytes = tx.slotCount * tx.slotBytes;
    assert(txBytes <= WINDOW_BYTES_MAX, 'buffers fit one view');
    this.txSlotBytes = tx.slotBytes;
    this.#rxPlan = rx;
    this.#txPlan = tx;
    this.#txBytes = new Uint8Array(viewMemory(tx.hva, txBytes));
    this.#rx = new DriverRing(rx.ring);
    this.#tx = new DriverRing(tx.ring);
    for (const ring of [this.#rx, this.#tx]) ring.disableInterrupts();
    this.#rxKick = new Notifier(dupFd(rx.kickFd));
    this.#txKick = new Notifier(dupFd(tx.kickFd));
    this.#idleTx = Int32Array.from({ length: tx.slotCount }, (_, i) => tx.slotCount - 1 - i);
    this.#idleTxCount = tx.slotCount;
    for (let slot = 0; slot < rx.slotCount; slot++) this.#offer(slot);
    this.flush();
  }

  /** What the device did wrong, if it did; nothing comes from that queue any more. */
  get fault(): VirtqueueFault | null {
    return this.#rx.fault ?? this.#tx.fault;
  }

  /** Buffers that the device has not read yet, as far as `reclaimTx` knows. */
  get txInFlight(): number {
    return this.#tx.inFlight;
  }

  /** An idle slot, or -1. It is the caller's until it is sent. */
  takeTx(): number {
    if (this.#idleTxCount === 0 && this.reclaimTx() === 0) return -1;
    return this.#idleTx[--this.#idleTxCount] as number;
  }

  /** Takes back the slots that the device has read; returns how many. */
  reclaimTx(): number {
    let count = 0;
    for (let slot = this.#tx.take(); slot >= 0; slot = this.#tx.take()) {
      this.#idleTx[this.#idleTxCount++] = slot;
      count++;
    }
    return count;
  }

  /** Fills `lengthBytes` of a slot with a byte and adds it, unseen by the device until `flush`. */
  send(slot: number, lengthBytes: number, byte: number): void {
    const { slotBytes, gpa } = this.#txPlan;
    const at = slot * slotBytes;
    // Filled only where it is not so already: it is the device that is measured.
    if (this.#txBytes[at + lengthBytes - 1] !== byte || this.#txBytes[at] !== byte) {
      this.#txBytes.fill(byte, at, at + lengthBytes);
    }
    this.#tx.stageReadable(gpa + at, lengthBytes);
    assert(this.#tx.add(slot), 'each slot has room in the ring');
  }

  /** Shows the device what was sent and offered since, and kicks it where it wants that. */
  flush(): void {
    if (this.#tx.publish()) this.#signal(this.#txKick);
    if (this.#rx.publish()) this.#signal(this.#rxKick);
  }

  /** Whether `receive` would find something; one load of a shared index. */
  hasRx(): boolean {
    return this.#rx.hasUsed();
  }

  /** Bytes that have come; the buffers are offered again, by the next `flush`. */
  receive(): number {
    let bytes = 0;
    for (let slot = this.#rx.take(); slot >= 0; slot = this.#rx.take()) {
      bytes += this.#rx.usedBytes;
      this.#offer(slot);
    }
    return bytes;
  }

  /** Closes the kick fds; may be called again. The memory and the queues are the session's. */
  close(): void {
    this.#rxKick.close();
    this.#txKick.close();
  }

  #offer(slot: number): void {
    const { gpa, slotBytes } = this.#rxPlan;
    this.#rx.stageWritable(gpa + slot * slotBytes, slotBytes);
    assert(this.#rx.add(slot), 'each slot has room in the ring');
  }

  #signal(kick: Notifier): void {
    this.kickCount++;
    kick.signal();
  }
}
