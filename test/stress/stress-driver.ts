/**
 * The driver of the stresses: submits requests in batches of any size, checks the replies, and
 * sleeps whenever it may, until it is notified and by nothing else.
 *
 * @module
 */
import type { Notifier } from '../../src/sys/index.ts';
import { DriverRing } from '../../src/virtqueue/index.ts';
import { CONTROL, MARK, Random, SLOT, Waiter } from './exchange.ts';
import type { RoundPlan, SharedArea } from './exchange.ts';

const IDLE_LOOKS_MAX = 60; // looks at the ring before sleeping; often none

/** What a driver counted. */
export interface DriverReport {
  readonly seconds: number;
  readonly kicks: number;
  readonly sleeps: number;
  /** Times that the last look before sleeping found a reply. */
  readonly savedByLastLook: number;
}

/** See the module. */
export class StressDriver {
  readonly #plan: RoundPlan;
  readonly #area: SharedArea;
  readonly #ring: DriverRing;
  readonly #kick: Notifier;
  readonly #call: Waiter;
  readonly #random: Random;
  readonly #batchMax: number;
  readonly #freeSlots: number[];
  readonly #sequence: Uint32Array; // by slot
  #sent = 0;
  #done = 0;
  #kicks = 0;
  #sleeps = 0;
  #savedByLastLook = 0;

  /** Takes over the notifier and the fd. */
  constructor(plan: RoundPlan, area: SharedArea, kick: Notifier, callFd: number) {
    this.#plan = plan;
    this.#area = area;
    this.#ring = new DriverRing(area.ring);
    this.#kick = kick;
    this.#call = new Waiter(callFd, plan.stallMs);
    this.#batchMax = plan.depth >> 1;
    this.#random = new Random(plan.seed);
    this.#freeSlots = Array.from({ length: plan.depth }, (_, i) => i);
    this.#sequence = new Uint32Array(plan.depth);
  }

  /** Returns when all exchanges are done. */
  run(): DriverReport {
    const { exchanges } = this.#plan;
    const { control } = this.#area;
    const start = performance.now();
    while (this.#done < exchanges) {
      this.#turn();
      if (Atomics.load(control, CONTROL.failed) !== 0) throw new Error('the device gave up');
    }
    const seconds = (performance.now() - start) / 1000;
    const [kicks, sleeps] = [this.#kicks, this.#sleeps];
    return { seconds, kicks, sleeps, savedByLastLook: this.#savedByLastLook };
  }

  /** Tells the device to end. */
  stop(): void {
    Atomics.store(this.#area.control, CONTROL.stop, 1);
    this.#kick.signal();
  }

  /** Closes its fds. */
  close(): void {
    this.#kick.close();
    this.#call.close();
  }

  #turn(): void {
    const room = Math.min(this.#freeSlots.length, this.#plan.exchanges - this.#sent);
    if (room > 0) this.#submit(Math.min(room, this.#random.batch(this.#batchMax)));
    if (this.#random.below(4) === 0) this.#ring.disableInterrupts();
    if (this.#takeAll() > 0) return;
    // With room left, go on submitting as often as not, so that the ring is full, empty and
    // between.
    if (this.#freeSlots.length > 0 && this.#random.below(2) === 0) return;
    this.#idle();
  }

  #submit(count: number): void {
    const ring = this.#ring;
    const { words } = this.#area;
    for (let i = 0; i < count; i++) {
      const slot = this.#freeSlots.pop()!;
      const sequence = this.#sent++ >>> 0;
      const at = slot * SLOT.SIZE;
      words[at] = sequence ^ MARK.first;
      words[at + SLOT.LAST] = sequence ^ MARK.last;
      this.#sequence[slot] = sequence;
      const gpa = this.#area.slotGpa(slot);
      ring.stageReadable(gpa, SLOT.MESSAGE_BYTES);
      ring.stageWritable(gpa + 4 * SLOT.reply, SLOT.MESSAGE_BYTES);
      if (!ring.add(slot)) throw new Error('the ring has no room for what is in flight at most');
    }
    if (!ring.publish()) return;
    this.#kicks++;
    this.#kick.signal();
  }

  #takeAll(): number {
    const ring = this.#ring;
    let count = 0;
    for (let slot = ring.take(); slot >= 0; slot = ring.take()) {
      this.#check(slot);
      this.#freeSlots.push(slot);
      count++;
    }
    if (ring.fault !== null) throw new Error(`${ring.fault.code}: ${ring.fault.message}`);
    this.#done += count;
    Atomics.store(this.#area.control, CONTROL.done, this.#done);
    return count;
  }

  /** Whether the reply is to this request, whole and fresh. */
  #check(slot: number): void {
    const { words } = this.#area;
    const at = slot * SLOT.SIZE + SLOT.reply;
    const expected = this.#sequence[slot]!;
    const first = (words[at]! ^ MARK.reply ^ MARK.first) >>> 0;
    const last = (words[at + SLOT.LAST]! ^ MARK.reply ^ MARK.last) >>> 0;
    if (first === expected && last === expected && this.#ring.usedBytes === SLOT.MESSAGE_BYTES) {
      return;
    }
    throw new Error(
      `the reply to ${expected} reads ${first} and ${last}: ${this.#area.describe()}`,
    );
  }

  /** Sleeps until some of what is in flight is back. */
  #idle(): void {
    const ring = this.#ring;
    if (ring.inFlight === 0) return;
    const looks = this.#random.below(2) === 0 ? 0 : this.#random.below(IDLE_LOOKS_MAX);
    for (let i = 0; i < looks; i++) if (ring.hasUsed()) return;
    const after = this.#random.below(4) === 0 ? this.#random.batch(ring.inFlight) : 1;
    if (ring.enableInterrupts(after)) {
      this.#savedByLastLook++;
      return;
    }
    this.#sleeps++;
    if (this.#call.wait()) return;
    const what = ring.hasUsed() ? 'although replies are waiting' : 'and no reply is waiting';
    throw new Error(
      `stalled after ${this.#done} exchanges: no notification for ${this.#plan.stallMs} ms, ` +
        `${what}; ${ring.inFlight} in flight, wanted after ${after}; ${this.#area.describe()}`,
    );
  }
}
