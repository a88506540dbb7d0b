/**
 * What the two processes of the ordering stress agree on: where things are in the memory that they
 * share, what a request and its reply look like, and how each of them waits.
 *
 * @module
 */
import {
  NotifierConsumer,
  READABLE,
  createPoller,
  mapFd,
  monotonicUs,
  viewMemory,
} from '../../src/sys/index.ts';
import type { Mapping, Poller } from '../../src/sys/index.ts';
import { GuestMemory } from '../../src/memory/index.ts';
import { splitRingLayout } from '../../src/virtqueue/index.ts';
import type { DriverRingConfig, SplitRingLayout } from '../../src/virtqueue/index.ts';

/** Everything about one round; plain data, handed to the other side as it is. */
export interface RoundPlan {
  readonly name: string;
  /** Bits 28 (INDIRECT_DESC) and 29 (EVENT_IDX) of the virtio features. */
  readonly featureBits: readonly number[];
  readonly exchanges: number;
  readonly size: number;
  /** Requests in flight at most. */
  readonly depth: number;
  readonly seed: number;
  /** How long a side sleeps before it is called a stall. */
  readonly stallMs: number;
  /** Replaces `Atomics` by plain accesses in both processes: a control, which has to fail. */
  readonly plain: boolean;
}

/** The fds that the device's process inherits. */
export const FD = { memory: 3, kick: 4, call: 5 } as const;

/** Words of the control page. */
export const CONTROL = { stop: 0, failed: 1, done: 2, BYTES: 4096 } as const;

/** A request and its reply, as 32-bit words: two cache lines each, marked at both ends. */
export const SLOT = { request: 0, reply: 32, SIZE: 64, MESSAGE_BYTES: 128, LAST: 31 } as const;
const SLOT_BYTES = 4 * SLOT.SIZE;

/** What differs from a sequence number in each of the four marks: none passes for another. */
export const MARK = { first: 0x1357_9bdf, last: 0x2468_ace0, reply: 0x5a5a_5a5a } as const;

const MEMORY_GPA = 0x1_0000_0000;
const INDIRECT_MAX = 2;
const WAIT_MS = 100;
const SPINS = { min: 200, max: 4000 } as const; // looks at a notifier before sleeping for real

/** The shared memory, as one process has mapped it. */
export class SharedArea {
  readonly memory: GuestMemory;
  readonly ring: DriverRingConfig;
  /** All slots. */
  readonly words: Uint32Array;
  readonly control: Int32Array;
  readonly slotsGpa: number;
  readonly #mapping: Mapping;

  /** Maps the memory behind `fd`, which stays the caller's, at `gpa` of the guest. */
  constructor(fd: number, plan: RoundPlan, gpa: number = MEMORY_GPA) {
    const layout = splitRingLayout(plan.size, INDIRECT_MAX);
    const bytes = areaBytes(plan);
    this.#mapping = mapFd(fd, bytes, 0, { writable: true, label: 'stress memory' });
    const hva = this.#mapping.address;
    this.memory = new GuestMemory([{ gpa, sizeBytes: bytes, uva: hva, hva }]);
    const features = plan.featureBits.reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n);
    this.ring = ringConfig(layout, gpa, hva, plan.size, features);
    this.slotsGpa = gpa + layout.totalBytes;
    // SAFETY: the mapping stays until `close`, after which nobody uses the views.
    const slots = viewMemory(hva + layout.totalBytes, plan.depth * SLOT_BYTES);
    this.words = new Uint32Array(slots);
    this.control = new Int32Array(viewMemory(hva + bytes - CONTROL.BYTES, CONTROL.BYTES));
  }

  /** The gpa of a slot's request; its reply follows. */
  slotGpa(slot: number): number {
    return this.slotsGpa + slot * SLOT_BYTES;
  }

  /** Indices, flags and events of the ring, for a report. */
  describe(): string {
    const { availHva, usedHva, size } = this.ring;
    const avail = new Uint16Array(viewMemory(availHva, 6 + 2 * size));
    const used = new Uint16Array(viewMemory(usedHva, 6 + 8 * size));
    const words = {
      'avail.flags': avail[0],
      'avail.idx': avail[1],
      used_event: avail[2 + size],
      'used.flags': used[0],
      'used.idx': used[1],
      avail_event: used[2 + 4 * size],
    };
    return Object.entries(words)
      .map(([name, value]) => `${name} ${String(value)}`)
      .join(', ');
  }

  close(): void {
    this.#mapping.unmap();
  }
}

/** Bytes of shared memory that a round takes. */
export function areaBytes(plan: RoundPlan): number {
  const ring = splitRingLayout(plan.size, INDIRECT_MAX).totalBytes;
  return Math.ceil((ring + plan.depth * SLOT_BYTES + CONTROL.BYTES) / 65536) * 65536;
}

function ringConfig(
  layout: SplitRingLayout,
  gpa: number,
  hva: number,
  size: number,
  features: bigint,
): DriverRingConfig {
  return {
    index: 0,
    size,
    features,
    descHva: hva + layout.descOffset,
    availHva: hva + layout.availOffset,
    usedHva: hva + layout.usedOffset,
    indirect: {
      gpa: gpa + layout.tablesOffset,
      hva: hva + layout.tablesOffset,
      descriptorsMax: INDIRECT_MAX,
    },
  };
}

/** Waits for a notification, with an end: what takes longer was lost. */
export class Waiter {
  readonly #consumer: NotifierConsumer;
  readonly #poller: Poller;
  readonly #stallMs: number;
  #spins: number = SPINS.min;

  /** Takes over the fd. */
  constructor(fd: number, stallMs: number) {
    this.#consumer = new NotifierConsumer(fd);
    this.#poller = createPoller();
    this.#poller.add(fd, 0, READABLE);
    this.#stallMs = stallMs;
  }

  /** True when it came; false when it did not for as long as a stall takes. */
  wait(): boolean {
    // A peer at work on another processor answers sooner than a sleep takes, and then both sides
    // meet far more often; on a busy machine it waits for this very processor, so how long adapts.
    for (let spins = 0; spins < this.#spins; spins++) {
      if (this.#consumer.drain() !== 1) continue;
      this.#spins = Math.min(2 * this.#spins, SPINS.max);
      return true;
    }
    this.#spins = Math.max(this.#spins >> 1, SPINS.min);
    // In short waits that are counted: a machine that stops us for a while does not end them.
    for (let waitedMs = 0; waitedMs < this.#stallMs; waitedMs += WAIT_MS) {
      this.#poller.wait(WAIT_MS * 1000);
      if (this.#consumer.drain() === 1) return true;
    }
    return false;
  }

  close(): void {
    this.#poller.close();
    this.#consumer.close();
  }
}

/** Numbers that look random and are the same for the same seed (xorshift32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 1;
  }

  /** A number from 0 to `limit - 1`. */
  below(limit: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return (x >>> 0) % limit;
  }

  /** From 1 to `max`, more often small than large. */
  batch(max: number): number {
    return 1 + this.below(1 + this.below(max));
  }
}

/** Takes the ordering out of this process, for a control run. */
export function makeAtomicsPlain(): void {
  const plain = {
    load: (array: Uint16Array, index: number): number | undefined => array[index],
    store: (array: Uint16Array, index: number, value: number): number => (array[index] = value),
  };
  Object.assign(Atomics, plain);
}

/** One access of so many is late. */
const LATE_ONE_OF = 16;

/**
 * Makes accesses by `Atomics` in this thread late now and then, by up to `pauseUs`: the other side
 * gets to do something at each point of the protocol, which a quick machine passes in a nanosecond.
 */
export function makeAtomicsLate(seed: number, pauseUs: number): void {
  const random = new Random(seed);
  const { load, store } = Atomics;
  const pause = (): void => {
    if (random.below(LATE_ONE_OF) !== 0) return;
    const endUs = monotonicUs() + random.batch(pauseUs);
    while (monotonicUs() < endUs);
  };
  const late = {
    load: (array: Uint16Array, index: number): number => {
      pause();
      return load(array, index);
    },
    store: (array: Uint16Array, index: number, value: number): number => {
      pause();
      return store(array, index, value);
    },
  };
  Object.assign(Atomics, late);
}
