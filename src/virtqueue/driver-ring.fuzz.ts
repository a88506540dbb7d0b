/**
 * Driver side and device side of a split ring against each other: whatever the shapes of the
 * chains, the size of the ring and the features, everything that was submitted comes back exactly
 * once, with its bytes, in the order in which the device used it.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { RingPair } from '../testing/index.ts';
import type { Chain, Segment } from './index.ts';

const SLOT_BYTES = 512; // of each chain, by its token
const SLOTS = 64;
const SEGMENTS_MAX = 6;

type Step =
  | { readonly do: 'add'; readonly readable: number[]; readonly writable: number[] }
  | { readonly do: 'publish' }
  | { readonly do: 'pop'; readonly count: number }
  | { readonly do: 'push'; readonly picks: number[] }
  | { readonly do: 'show' }
  | { readonly do: 'take' }
  | { readonly do: 'suppress'; readonly driver: boolean; readonly on: boolean };

const lengths = fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: SEGMENTS_MAX / 2 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('add'), readable: lengths, writable: lengths }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('publish') }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('pop'), count: fc.integer({ min: 1, max: 8 }) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('push'), picks: fc.array(fc.nat(), { maxLength: 8 }) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('show') }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('take') }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('suppress'),
      driver: fc.boolean(),
      on: fc.boolean(),
    }),
  },
);

const setting = fc.record({
  sizeLog2: fc.integer({ min: 0, max: 15 }),
  eventIdx: fc.boolean(),
  indirectMax: fc.constantFrom(0, 2, 3, 6),
  startIndex: fc.oneof(fc.integer({ min: 65500, max: 65535 }), fc.nat(65535)),
});

/** One run: the pair, and what is expected of it. */
class Model {
  readonly pair: RingPair;
  readonly #free = Array.from({ length: SLOTS }, (_, i) => i);
  readonly #sums = new Map<number, { readonly sent: Buffer; readonly answer: Segment[] }>();
  readonly #held: Chain[] = []; // by the device
  readonly #used: { readonly token: number; readonly reply: Buffer }[] = []; // in order
  #shown = 0; // of #used, published by the device
  #addCount = 0;

  constructor(pair: RingPair) {
    this.pair = pair;
  }

  run(step: Step): void {
    const { driver, device } = this.pair;
    if (step.do === 'add') this.#add(step.readable, step.writable);
    else if (step.do === 'publish') driver.publish();
    else if (step.do === 'pop') this.#pop(step.count);
    else if (step.do === 'push') this.#push(step.picks);
    else if (step.do === 'show') this.#show();
    else if (step.do === 'take') this.#take();
    else if (step.driver && step.on) driver.disableInterrupts();
    else if (step.driver) driver.enableInterrupts();
    else if (step.on) device.disableNotifications();
    else device.enableNotifications();
  }

  /** Lets everything come back. */
  finish(): void {
    this.pair.driver.publish();
    this.#pop(SLOTS);
    while (this.#held.length > 0) this.#push([0]);
    this.#show();
    this.#take();
    assert.equal(this.#sums.size, 0, 'everything came back');
    assert.equal(this.pair.driver.inFlight, 0);
    assert.equal(this.pair.device.inFlight, 0);
    assert.equal(this.pair.driver.freeCount, this.pair.config.size);
  }

  #add(readable: number[], writable: number[]): void {
    const { driver, memory, dataGpa } = this.pair;
    const token = this.#free[0];
    const count = readable.length + writable.length;
    if (token === undefined || count === 0) return;
    const room = driver.hasRoom(count);
    let gpa = dataGpa + token * SLOT_BYTES;
    const place = (lengthBytes: number): { gpa: number; lengthBytes: number } => {
      const segment = { gpa, lengthBytes };
      gpa += lengthBytes + 1; // with a hole, so that no two buffers are one
      return segment;
    };
    const asked = readable.map(place);
    const sent = Buffer.from(readable.flatMap((n, i) => Array<number>(n).fill(i + this.#addCount)));
    const answer = writable.map(place);
    const added = driver.addChain(asked, answer, token);
    assert.equal(added, room);
    if (!added) return;
    let at = 0;
    for (const each of asked) {
      memory.copyTo(each.gpa, sent.subarray(at, at + each.lengthBytes));
      at += each.lengthBytes;
    }
    this.#free.shift();
    this.#addCount++;
    this.#sums.set(token, { sent, answer });
  }

  #pop(count: number): void {
    for (let i = 0; i < count; i++) {
      const chain = this.pair.device.pop();
      assert.equal(this.pair.device.fault, null);
      if (chain === null) return;
      this.#held.push(chain);
    }
  }

  /** Uses held chains in an order that has nothing to do with that of their arrival. */
  #push(picks: number[]): void {
    const { device, dataGpa } = this.pair;
    for (const pick of picks) {
      if (this.#held.length === 0) return;
      const chain = this.#held.splice(pick % this.#held.length, 1)[0]!;
      const token = Math.floor(((chain.gpa[0] as number) - dataGpa) / SLOT_BYTES);
      const expected = this.#sums.get(token);
      assert.ok(expected);
      const got = Buffer.alloc(chain.readableBytes);
      chain.copyFromReadable(0, got);
      assert.deepEqual(got, expected.sent);
      assert.equal(chain.writableBytes, roomOf(expected.answer));
      const reply = Buffer.alloc(chain.writableBytes - (chain.writableBytes > 3 ? 2 : 0), token);
      device.push(chain, chain.copyToWritable(0, reply));
      this.#used.push({ token, reply });
    }
  }

  #show(): void {
    this.pair.device.publish();
    this.#shown = this.#used.length;
  }

  #take(): void {
    const { driver } = this.pair;
    for (let token = driver.take(); token >= 0; token = driver.take()) {
      assert.ok(this.#shown > 0, 'nothing comes back before it is shown');
      this.#shown--;
      const next = this.#used.shift();
      assert.equal(token, next?.token, 'in the order of completion');
      assert.equal(driver.usedBytes, next?.reply.length);
      assert.ok(next);
      const room = this.#sums.get(token)?.answer ?? [];
      assert.deepEqual(this.#read(room).subarray(0, driver.usedBytes), next.reply);
      assert.ok(this.#sums.delete(token), 'once');
      this.#free.push(token);
    }
    assert.equal(driver.fault, null);
    assert.equal(this.#shown, 0, 'all that was shown was taken');
  }

  #read(segments: readonly Segment[]): Buffer {
    const bytes = Buffer.alloc(roomOf(segments));
    let at = 0;
    for (const { gpa, lengthBytes } of segments) {
      this.pair.memory.copyFrom(gpa, bytes.subarray(at, at + lengthBytes));
      at += lengthBytes;
    }
    return bytes;
  }
}

function roomOf(segments: readonly Segment[]): number {
  return segments.reduce((sum, each) => sum + each.lengthBytes, 0);
}

describe('driver ring and device ring', () => {
  it('everything comes back exactly once, in the order of completion', () => {
    fc.assert(
      fc.property(setting, fc.array(step, { maxLength: 120 }), (how, steps) => {
        const features = (how.eventIdx ? 1n << 29n : 0n) | (how.indirectMax > 0 ? 1n << 28n : 0n);
        const pair = new RingPair({
          size: 2 ** how.sizeLog2,
          features,
          indirectMax: how.indirectMax,
          startIndex: how.startIndex,
          dataBytes: SLOTS * SLOT_BYTES,
        });
        try {
          const model = new Model(pair);
          for (const each of steps) model.run(each);
          model.finish();
        } finally {
          pair.close();
        }
      }),
      { numRuns: 400 },
    );
  });
});
