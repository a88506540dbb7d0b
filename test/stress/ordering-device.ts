/**
 * The device's process of the ordering stress: takes requests in order, checks them, replies, and
 * sleeps whenever it may. Its arguments are a plan; fds 3 to 5 are inherited.
 *
 * @module
 */
import { Notifier } from '../../src/sys/index.ts';
import { SplitVirtqueue } from '../../src/virtqueue/index.ts';
import type { Chain } from '../../src/virtqueue/index.ts';
import {
  CONTROL,
  FD,
  MARK,
  Random,
  SLOT,
  SharedArea,
  Waiter,
  makeAtomicsPlain,
} from './exchange.ts';
import type { RoundPlan } from './exchange.ts';

const IDLE_LOOKS_MAX = 60; // looks at the ring before sleeping; often none

/** What the device counted; printed as JSON at the end. */
export interface DeviceReport {
  readonly served: number;
  readonly calls: number;
  readonly sleeps: number;
  /** Times that the last look before sleeping found a request. */
  readonly savedByLastLook: number;
}

class StressDevice {
  readonly #area: SharedArea;
  readonly #queue: SplitVirtqueue;
  readonly #kick: Waiter;
  readonly #call: Notifier = new Notifier(FD.call);
  readonly #random: Random;
  readonly #batchMax: number;
  readonly #held: Chain[] = [];
  #served = 0;
  #calls = 0;
  #sleeps = 0;
  #savedByLastLook = 0;

  constructor(plan: RoundPlan) {
    this.#area = new SharedArea(FD.memory, plan);
    this.#queue = new SplitVirtqueue({ ...this.#area.ring, availIndex: 0 }, this.#area.memory);
    // The driver has the shorter patience, so that it is the one to report.
    this.#kick = new Waiter(FD.kick, 2 * plan.stallMs);
    this.#batchMax = plan.depth >> 1;
    this.#random = new Random(plan.seed ^ 0x55aa_55aa);
  }

  run(): DeviceReport {
    const { control } = this.#area;
    try {
      while (Atomics.load(control, CONTROL.stop) === 0) this.#turn();
    } catch (error) {
      Atomics.store(control, CONTROL.failed, 1);
      this.#call.signal();
      throw error;
    } finally {
      this.#kick.close();
      this.#call.close();
      this.#area.close();
    }
    const [served, calls, sleeps] = [this.#served, this.#calls, this.#sleeps];
    return { served, calls, sleeps, savedByLastLook: this.#savedByLastLook };
  }

  #turn(): void {
    const queue = this.#queue;
    const random = this.#random;
    if (random.below(4) === 0) queue.disableNotifications();
    const wanted = random.batch(this.#batchMax);
    const held = this.#held;
    while (held.length < wanted) {
      const chain = queue.pop();
      if (chain === null) break;
      this.#answer(chain);
      held.push(chain);
    }
    if (queue.fault !== null) throw new Error(`${queue.fault.code}: ${queue.fault.message}`);
    if (held.length > 0) this.#giveBack();
    else this.#idle();
  }

  /** Checks that this is the next request, whole and fresh, and writes its reply. */
  #answer(chain: Chain): void {
    const { words, slotsGpa } = this.#area;
    const expected = this.#served >>> 0;
    const first = (chain.readableU32(0) ^ MARK.first) >>> 0;
    const last = (chain.readableU32(4 * SLOT.LAST) ^ MARK.last) >>> 0;
    if (first !== expected || last !== expected) {
      throw new Error(`request ${expected} reads ${first} and ${last}: ${this.#area.describe()}`);
    }
    const at = (chain.gpa[chain.readableCount]! - slotsGpa) >> 2;
    words[at] = expected ^ MARK.reply ^ MARK.first;
    words[at + SLOT.LAST] = expected ^ MARK.reply ^ MARK.last;
    this.#served++;
  }

  /** All that is held, backwards now and then, shown in pieces. */
  #giveBack(): void {
    const held = this.#held;
    const random = this.#random;
    if (random.below(4) === 0) held.reverse();
    let left = random.batch(this.#batchMax);
    for (const chain of held) {
      this.#queue.push(chain, SLOT.MESSAGE_BYTES);
      if (--left > 0) continue;
      this.#publish(random.below(2) === 0);
      left = random.batch(this.#batchMax);
    }
    held.length = 0;
    this.#publish(false);
  }

  #publish(quietly: boolean): void {
    if (!(quietly ? this.#queue.publishQuietly() : this.#queue.publish())) return;
    this.#calls++;
    this.#call.signal();
  }

  #idle(): void {
    const queue = this.#queue;
    const looks = this.#random.below(2) === 0 ? 0 : this.#random.below(IDLE_LOOKS_MAX);
    for (let i = 0; i < looks; i++) if (queue.hasAvailable()) return;
    if (queue.enableNotifications()) {
      this.#savedByLastLook++;
      return;
    }
    this.#sleeps++;
    if (this.#kick.wait() || Atomics.load(this.#area.control, CONTROL.stop) !== 0) return;
    const more = queue.hasAvailable() ? 'although requests are waiting' : 'nothing is waiting';
    throw new Error(`the device was not kicked, ${more}: ${this.#area.describe()}`);
  }
}

const plan = JSON.parse(process.argv[2] ?? '{}') as RoundPlan;
if (plan.plain) makeAtomicsPlain();
process.stdout.write(JSON.stringify(new StressDevice(plan).run()));
