/**
 * The device side of a split ring against two models: for descriptors of any value, a slow reading
 * of the specification in bigints says which chain or fault it has to find; and for any
 * interleaving of driver and device, who sleeps is woken.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { RingPair } from '../testing/index.ts';
import type { HostileDriver } from '../testing/index.ts';
import { DESC } from './index.ts';
import type { Chain } from './index.ts';

const [NEXT, WRITE, INDIRECT] = [1, 2, 4];
const INDIRECT_DESC = 1n << 28n;
const EVENT_IDX = 1n << 29n;
const SIZE = 8;
const TABLE_ENTRIES = 12; // more than the ring has
const INDIRECT_MAX = 1024;

/** Where an address is relative to; what `offset` is added to. */
type Base = 'data' | 'split' | 'end' | 'start' | 'table' | 'zero' | 'top';

interface Entry {
  readonly base: Base;
  readonly offset: number;
  readonly len: number;
  readonly flags: number;
  readonly next: number;
}

const lengths = fc.oneof(
  fc.integer({ min: 0, max: 64 }),
  fc.constantFrom(
    0,
    16,
    32,
    48,
    16 * TABLE_ENTRIES,
    4096,
    65536,
    2 ** 31,
    2 ** 32 - 16,
    2 ** 32 - 1,
  ),
);
const offsets = fc.oneof(
  fc.integer({ min: -40, max: 40 }),
  fc.constantFrom(-65536, -16, -1, 0, 1, 16, 4096, 65536, 2 ** 32, 2 ** 40),
);
/** Mostly chains that go on; now and then anything. */
const flags = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom(0, NEXT, NEXT, WRITE, NEXT | WRITE) },
  { weight: 1, arbitrary: fc.constantFrom(INDIRECT, INDIRECT | WRITE, INDIRECT | NEXT) },
  { weight: 1, arbitrary: fc.nat(65535) },
);
const entry: fc.Arbitrary<Entry> = fc.record({
  base: fc.oneof(
    { weight: 6, arbitrary: fc.constant<Base>('data') },
    { weight: 4, arbitrary: fc.constantFrom<Base>('split', 'table', 'end') },
    { weight: 1, arbitrary: fc.constantFrom<Base>('start', 'zero', 'top') },
  ),
  offset: offsets,
  len: lengths,
  flags,
  next: fc.oneof(
    { weight: 8, arbitrary: fc.nat(SIZE - 1) },
    { weight: 1, arbitrary: fc.constantFrom(SIZE, TABLE_ENTRIES, 65535) },
  ),
});

/** What a chain has to be: its segments, or the fault that it is. */
interface Segment {
  readonly gpa: bigint;
  readonly length: bigint;
  readonly writable: boolean;
}
type Expected = { readonly fault: string } | { readonly segments: readonly Segment[] };

/** A reading of sections 2.7.5 and 2.7.5.3, without regard to speed. */
class Reader {
  readonly #pair: RingPair;
  readonly #descGpa: bigint;
  readonly #indirect: boolean;
  readonly #regions: readonly (readonly [start: bigint, end: bigint])[];

  constructor(pair: RingPair, descGpa: number) {
    this.#pair = pair;
    this.#descGpa = BigInt(descGpa);
    this.#indirect = (pair.config.features & INDIRECT_DESC) !== 0n;
    this.#regions = pair.memory.regions.map(({ gpa, sizeBytes }) => [
      BigInt(gpa),
      BigInt(gpa + sizeBytes),
    ]);
  }

  chain(head: number): Expected {
    const segments: Segment[] = [];
    if (head >= SIZE) return { fault: 'ERR_VHU_RING_HEAD' };
    const fault = this.#follow(segments, this.#descGpa, SIZE, head, false);
    return fault === null ? { segments } : { fault };
  }

  #follow(
    segments: Segment[],
    table: bigint,
    count: number,
    first: number,
    nested: boolean,
  ): string | null {
    let index = first;
    for (let seen = 0; seen < count; seen++) {
      const at = table + BigInt(index * DESC.SIZE);
      if (this.#pieces(at, 16n) === null) return 'ERR_VHU_RING_UNMAPPED';
      const raw = Buffer.alloc(16);
      this.#pair.memory.copyFrom(Number(at), raw);
      const address = raw.readBigUInt64LE(0);
      const length = raw.readUInt32LE(8);
      const bits = raw.readUInt16LE(12);
      index = raw.readUInt16LE(14);
      if ((bits & INDIRECT) !== 0) {
        if (nested || !this.#indirect || (bits & NEXT) !== 0) return 'ERR_VHU_RING_INDIRECT';
        if (length === 0 || length % 16 !== 0 || length > 16 * INDIRECT_MAX) {
          return 'ERR_VHU_RING_INDIRECT';
        }
        return this.#follow(segments, address, length / 16, 0, true);
      }
      const writable = (bits & WRITE) !== 0;
      if (!writable && segments.at(-1)?.writable === true) return 'ERR_VHU_RING_ORDER';
      const pieces = this.#pieces(address, BigInt(length));
      if (pieces === null) return 'ERR_VHU_RING_UNMAPPED';
      segments.push(...pieces.map(([gpa, size]) => ({ gpa, length: size, writable })));
      if ((bits & NEXT) === 0) return null;
      if (index >= count) return 'ERR_VHU_RING_NEXT';
    }
    return 'ERR_VHU_RING_LOOP';
  }

  /** The range cut where regions end; null when part of it is in none. */
  #pieces(gpa: bigint, length: bigint): [bigint, bigint][] | null {
    const pieces: [bigint, bigint][] = [];
    let at = gpa;
    const end = gpa + length;
    while (at < end) {
      const home = this.#regions.find(([from, to]) => at >= from && at < to);
      if (home === undefined) return null;
      const stop = home[1] < end ? home[1] : end;
      pieces.push([at, stop - at]);
      at = stop;
    }
    return pieces;
  }
}

/** Writes an entry of the ring's table, or of the one at `tableGpa`. */
function write(
  pair: RingPair,
  driver: HostileDriver,
  i: number,
  each: Entry,
  tableGpa?: number,
): void {
  const { dataGpa, splitGpa, shared } = pair;
  const from: Record<Base, bigint> = {
    data: BigInt(dataGpa + 32768),
    table: BigInt(dataGpa),
    split: BigInt(splitGpa),
    end: BigInt(driver.endGpa),
    start: BigInt(shared.region.gpa),
    zero: 0n,
    top: 2n ** 64n,
  };
  const addr = BigInt.asUintN(64, from[each.base] + BigInt(each.offset));
  driver.desc(i, { addr, len: each.len, flags: each.flags, next: each.next }, tableGpa);
}

function checkChain(pair: RingPair, chain: Chain, expected: readonly Segment[]): void {
  const found = Array.from({ length: chain.segmentCount }, (_, i) => ({
    gpa: BigInt(chain.gpa[i]!),
    length: BigInt(chain.length[i]!),
    writable: i >= chain.readableCount,
  }));
  assert.deepEqual(found, expected);
  const bytes = (writable: boolean): bigint => {
    return expected.reduce(
      (sum, each) => sum + (each.writable === writable ? each.length : 0n),
      0n,
    );
  };
  assert.equal(BigInt(chain.readableBytes), bytes(false));
  assert.equal(BigInt(chain.writableBytes), bytes(true));
  for (let i = 0; i < chain.segmentCount; i++) {
    assert.equal(chain.hva[i], pair.memory.hvaOf(chain.gpa[i]!, chain.length[i]!));
  }
}

describe('SplitVirtqueue: descriptors of any value', () => {
  const found = new Map<string, number>();

  it('finds the chain that the specification says, or the fault', () => {
    const table = fc.array(entry, { minLength: SIZE, maxLength: SIZE });
    const indirect = fc.array(entry, { minLength: TABLE_ENTRIES, maxLength: TABLE_ENTRIES });
    const head = fc.oneof(
      { weight: 15, arbitrary: fc.nat(SIZE - 1) },
      { weight: 1, arbitrary: fc.constantFrom(SIZE, 65535) },
    );
    const heads = fc.uniqueArray(head, { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(table, indirect, heads, fc.boolean(), (direct, inner, offered, negotiated) => {
        const features = negotiated ? INDIRECT_DESC : 0n;
        const pair = new RingPair({ size: SIZE, features, twoRegions: true });
        try {
          const driver = pair.hostileDriver();
          inner.forEach((each, i) => write(pair, driver, i, each, pair.dataGpa));
          inner.slice(0, 4).forEach((each, i) => {
            write(pair, driver, i, each, pair.splitGpa - 32);
          });
          direct.forEach((each, i) => write(pair, driver, i, each));
          const reader = new Reader(pair, driver.ring.descGpa);
          driver.offer(...offered);
          for (const head of offered) {
            const expected = reader.chain(head);
            const chain = pair.device.pop();
            const outcome = 'fault' in expected ? expected.fault : 'served';
            found.set(outcome, (found.get(outcome) ?? 0) + 1);
            assert.equal(pair.device.fault?.code ?? 'served', outcome);
            if ('fault' in expected) return;
            assert.ok(chain);
            checkChain(pair, chain, expected.segments);
          }
          assert.equal(pair.device.pop(), null);
        } finally {
          pair.close();
        }
      }),
      { numRuns: 4000 },
    );
  });

  it('which reached every outcome', () => {
    const codes = ['HEAD', 'INDIRECT', 'LOOP', 'NEXT', 'ORDER', 'UNMAPPED'];
    const all = [...codes.map((code) => `ERR_VHU_RING_${code}`), 'served'];
    assert.deepEqual([...found.keys()].sort(), all.sort());
  });
});

type Step =
  | { readonly do: 'submit'; readonly count: number }
  | { readonly do: 'serve'; readonly count: number; readonly reverse: boolean }
  | { readonly do: 'take' }
  | { readonly do: 'sleep'; readonly after: number }
  | { readonly do: 'quiet' }
  | { readonly do: 'device sleeps' }
  | { readonly do: 'device is quiet' };

const steps = fc.oneof<fc.Arbitrary<Step>[]>(
  fc.record({ do: fc.constant('submit'), count: fc.integer({ min: 1, max: 5 }) }),
  fc.record({ do: fc.constant('submit'), count: fc.integer({ min: 1, max: 5 }) }),
  fc.record({
    do: fc.constant('serve'),
    count: fc.integer({ min: 1, max: 5 }),
    reverse: fc.boolean(),
  }),
  fc.record({ do: fc.constant('take') }),
  fc.record({ do: fc.constant('sleep'), after: fc.integer({ min: 1, max: 6 }) }),
  fc.record({ do: fc.constant('quiet') }),
  fc.record({ do: fc.constant('device sleeps') }),
  fc.record({ do: fc.constant('device is quiet') }),
);

/**
 * What is in the ring, as plain arrays; and who is asleep, so that whoever adds something for them
 * has to be told to wake them.
 */
class Exchange {
  readonly pair: RingPair;
  readonly #waiting: number[] = []; // shown to the device
  readonly #done: number[] = []; // shown to the driver
  #next = 0;
  #deviceSleeps = false;
  /** The driver sleeps until so many are done; 0: it is awake. */
  #driverWantsDone = 0;

  constructor(pair: RingPair) {
    this.pair = pair;
  }

  run(step: Step): void {
    const { driver, device } = this.pair;
    if (step.do === 'submit') this.#submit(step.count);
    else if (step.do === 'serve') this.#serve(step.count, step.reverse);
    else if (step.do === 'take') this.#take();
    else if (step.do === 'sleep') this.#sleep(step.after);
    else if (step.do === 'quiet') {
      driver.disableInterrupts();
      this.#driverWantsDone = 0;
    } else if (step.do === 'device is quiet') {
      device.disableNotifications();
      this.#deviceSleeps = false;
    } else {
      this.#deviceSleeps = !device.enableNotifications();
      assert.equal(this.#deviceSleeps, this.#waiting.length === 0, 'the last look sees all');
    }
  }

  #submit(count: number): void {
    const { driver, dataGpa } = this.pair;
    let added = 0;
    for (; added < count && driver.hasRoom(1); added++) {
      driver.stageWritable(dataGpa, 1);
      assert.ok(driver.add(this.#next));
      this.#waiting.push(this.#next++);
    }
    const kick = driver.publish();
    if (added > 0 && this.#deviceSleeps) assert.ok(kick, 'a device that sleeps is kicked');
    if (kick) this.#deviceSleeps = false;
  }

  #serve(count: number, reverse: boolean): void {
    const { device } = this.pair;
    this.#deviceSleeps = false;
    const chains: Chain[] = [];
    for (let chain = device.pop(); chain !== null; chain = device.pop()) {
      chains.push(chain);
      if (chains.length === count) break;
    }
    assert.equal(device.fault, null);
    assert.equal(chains.length, Math.min(count, this.#waiting.length));
    const tokens = this.#waiting.splice(0, chains.length);
    if (reverse) {
      chains.reverse();
      tokens.reverse();
    }
    let call = false;
    for (const [i, chain] of chains.entries()) {
      device.push(chain, 0);
      if (i % 3 === 1 && device.publishQuietly()) call = true;
    }
    if (device.publish()) call = true;
    this.#done.push(...tokens);
    if (this.#driverWantsDone === 0 || chains.length === 0) return;
    if (this.#done.length < this.#driverWantsDone) return;
    assert.ok(call, 'a driver that sleeps is notified');
    this.#driverWantsDone = 0;
  }

  #take(): void {
    const { driver } = this.pair;
    this.#driverWantsDone = 0;
    for (const token of this.#done.splice(0)) assert.equal(driver.take(), token, 'in order, once');
    assert.equal(driver.take(), -1);
    assert.equal(driver.fault, null);
  }

  #sleep(after: number): void {
    const awake = this.pair.driver.enableInterrupts(after);
    assert.equal(awake, this.#done.length >= after, 'the last look sees all');
    this.#driverWantsDone = awake ? 0 : after;
  }
}

describe('SplitVirtqueue: notifications in any interleaving', () => {
  for (const eventIdx of [false, true]) {
    it(`who sleeps is woken (${eventIdx ? 'EVENT_IDX' : 'flags'})`, () => {
      const setting = fc.record({
        sizeLog2: fc.integer({ min: 0, max: 6 }),
        startIndex: fc.oneof(fc.integer({ min: 65520, max: 65535 }), fc.nat(65535)),
      });
      fc.assert(
        fc.property(setting, fc.array(steps, { maxLength: 150 }), (how, list) => {
          const features = eventIdx ? EVENT_IDX : 0n;
          const size = 2 ** how.sizeLog2;
          const pair = new RingPair({ size, features, startIndex: how.startIndex });
          try {
            const exchange = new Exchange(pair);
            for (const each of list) exchange.run(each);
            exchange.run({ do: 'serve', count: size, reverse: false });
            exchange.run({ do: 'take' });
            assert.equal(pair.driver.inFlight, 0);
          } finally {
            pair.close();
          }
        }),
        { numRuns: 1500 },
      );
    });
  }
});
