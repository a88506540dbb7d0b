/**
 * The device side of a split ring: its indices, and when it notifies.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { RingPair } from '../testing/index.ts';
import type { HostileDriver, RingPairOptions } from '../testing/index.ts';
import { SplitVirtqueue, USED, needsEvent } from './index.ts';
import type { Chain } from './index.ts';

const WRITE = 2;
const EVENT_IDX = 1n << 29n;

function withRing(
  options: RingPairOptions,
  body: (driver: HostileDriver, device: SplitVirtqueue, pair: RingPair) => void,
): void {
  const pair = new RingPair(options);
  try {
    body(pair.hostileDriver(), pair.device, pair);
  } finally {
    pair.close();
  }
}

/** The gpa of a place in the ring's own memory. */
function gpaOf(pair: RingPair, hva: number): number {
  const { region } = pair.shared;
  return region.gpa + (hva - region.hva);
}

function usedFlags(pair: RingPair): number {
  return pair.memory.readU16(gpaOf(pair, pair.config.usedHva));
}

function availEvent(pair: RingPair): number {
  const { usedHva, size } = pair.config;
  return pair.memory.readU16(gpaOf(pair, usedHva) + USED.ring + size * USED.ENTRY_SIZE);
}

/** The fault in one line; '' when there is none. */
function faultOf(device: SplitVirtqueue): string {
  return device.fault === null ? '' : `${device.fault.code}: ${device.fault.message}`;
}

/** One descriptor for each head, all of one byte. */
function fillDescriptors(driver: HostileDriver): void {
  for (let i = 0; i < driver.ring.size; i++) {
    driver.desc(i, { addr: driver.ring.scratchGpa, len: 1, flags: WRITE });
  }
}

describe('SplitVirtqueue: indices', () => {
  for (const features of [0n, EVENT_IDX]) {
    const name = `features 0x${features.toString(16)}`;

    it(`both wrap from 65535 to 0, more than once (${name})`, () => {
      withRing({ size: 8, features, startIndex: 65530 }, (driver, device) => {
        fillDescriptors(driver);
        for (let i = 0; i < 150_000; i++) {
          const head = i % 8;
          driver.offer(head, (head + 3) % 8);
          const [a, b] = [device.pop(), device.pop()];
          assert.equal(a?.head, head);
          assert.equal(b?.head, (head + 3) % 8);
          device.push(b, 1);
          device.push(a, 0);
          device.publish();
          assert.deepEqual(driver.used(), [
            { id: (head + 3) % 8, len: 1 },
            { id: head, len: 0 },
          ]);
        }
        const index = (65530 + 300_000) % 65536;
        assert.deepEqual(device.savedState(), { availIndex: index, usedIndex: index });
      });
    });

    it(`a full ring of 32768 goes through at once (${name})`, () => {
      const size = 32768;
      withRing({ size, features, startIndex: 60000 }, (driver, device) => {
        fillDescriptors(driver);
        const heads = Array.from({ length: size }, (_, i) => (i * 5) % size);
        driver.usedEvent(60000 + size - 1);
        driver.offer(...heads);
        const chains: Chain[] = [];
        for (let chain = device.pop(); chain !== null; chain = device.pop()) chains.push(chain);
        assert.equal(device.fault, null);
        assert.deepEqual(
          chains.map((each) => each.head),
          heads,
        );
        assert.equal(device.hasAvailable(), false);
        chains.forEach((chain) => device.push(chain, 1));
        assert.equal(device.publish(), true);
        assert.equal(driver.used().length, size);
        driver.availIndex(60000 + 2 * size + 1);
        assert.equal(device.pop(), null);
        assert.match(faultOf(device), /^ERR_VHU_RING_AVAIL_INDEX: /);
      });
    });
  }

  it('entries are read when the index shows them, and not before', () => {
    withRing({ size: 4 }, (driver, device) => {
      fillDescriptors(driver);
      driver.availEntry(0, 99);
      assert.equal(device.pop(), null);
      assert.equal(device.fault, null);
      driver.offer(1);
      assert.equal(device.pop()?.head, 1);
    });
  });

  it('a head can be offered again once its used element is shown', () => {
    withRing({ size: 2 }, (driver, device) => {
      fillDescriptors(driver);
      for (let i = 0; i < 10; i++) {
        driver.offer(1);
        const chain = device.pop()!;
        assert.equal(chain.head, 1);
        device.push(chain, 0);
        device.publish();
      }
      assert.equal(device.fault, null);
    });
  });

  it('goes on where the configuration says, and where the used ring says', () => {
    withRing({ size: 4, startIndex: 17 }, (driver, first, pair) => {
      fillDescriptors(driver);
      driver.offer(0, 1, 2);
      const chain = first.pop()!;
      first.push(chain, 0);
      first.publish();
      const state = first.savedState();
      assert.deepEqual(state, { availIndex: 18, usedIndex: 18 });
      const second = new SplitVirtqueue({ ...pair.config, ...state }, pair.memory);
      assert.equal(second.pop()?.head, 1);
      assert.equal(second.pop()?.head, 2);
      assert.equal(second.pop(), null);
      assert.deepEqual(second.savedState(), { availIndex: 20, usedIndex: 18 });
    });
  });

  it('moves to other mappings of the same memory', () => {
    withRing({ size: 4 }, (driver, device, pair) => {
      fillDescriptors(driver);
      driver.offer(0, 1);
      const chain = device.pop()!;
      assert.throws(() => device.relocate(pair.config, pair.memory), /nothing is in flight/);
      device.push(chain, 1);
      const other = new RingPair({ size: 4, startIndex: 1 });
      try {
        const elsewhere = other.hostileDriver();
        fillDescriptors(elsewhere);
        device.relocate(other.config, other.memory);
        assert.equal(device.hasAvailable(), false, 'the other ring is at 1 too');
        device.publish();
        elsewhere.offer(3);
        const moved = device.pop();
        assert.equal(moved?.head, 3);
        assert.equal(moved.hva[0], other.memory.hvaOf(other.dataGpa, 1));
        assert.deepEqual(driver.used(), [], 'nothing goes to the old place');
      } finally {
        other.close();
      }
    });
  });
});

/** Gives back `count` chains and publishes; whether the driver is to be notified. */
function complete(driver: HostileDriver, device: SplitVirtqueue, count: number): boolean {
  const { size } = driver.ring;
  for (let i = 0; i < count; i += size) {
    const batch = Math.min(size, count - i);
    driver.offer(...Array.from({ length: batch }, (_, head) => head));
    for (let taken = 0; taken < batch; taken++) device.push(device.pop()!, 0);
  }
  return device.publish();
}

describe('SplitVirtqueue: notifications', () => {
  it('needsEvent is true when the index passed the event, for every distance below 2^16', () => {
    const word = fc.nat(65535);
    const near = fc.oneof(word, fc.constantFrom(0, 1, 32767, 32768, 32769, 65534, 65535));
    fc.assert(
      fc.property(near, near, near, (old, added, offset) => {
        // Without wrapping: the events old, old + 1, … old + added - 1 are passed.
        const event = (old + offset) & 0xffff;
        assert.equal(needsEvent(event, (old + added) & 0xffff, old), offset < added);
      }),
      { numRuns: 5000 },
    );
  });

  it('without EVENT_IDX the flag of the driver decides', () => {
    withRing({ size: 4 }, (driver, device) => {
      fillDescriptors(driver);
      driver.usedEvent(77); // means nothing
      assert.equal(complete(driver, device, 1), true);
      driver.availFlags(1);
      assert.equal(complete(driver, device, 2), false);
      driver.availFlags(0xfffe);
      assert.equal(complete(driver, device, 1), true, 'other bits mean nothing');
      driver.availFlags(0xffff);
      assert.equal(complete(driver, device, 1), false);
      driver.availFlags(0);
      assert.equal(device.publish(), false, 'nothing new, no notification');
      assert.equal(complete(driver, device, 4), true);
    });
  });

  it('with EVENT_IDX the flag means nothing and used_event decides', () => {
    withRing({ size: 8, features: EVENT_IDX, startIndex: 100 }, (driver, device) => {
      fillDescriptors(driver);
      driver.availFlags(1);
      driver.usedEvent(5000);
      assert.equal(complete(driver, device, 1), true, 'the first: the event may be from before us');
      assert.equal(complete(driver, device, 1), false, 'to 102');
      driver.usedEvent(102);
      assert.equal(complete(driver, device, 1), true, 'past 102');
      assert.equal(complete(driver, device, 1), false, 'a stale event is silent');
      driver.usedEvent(106);
      assert.equal(complete(driver, device, 2), false, 'to 106: not yet past');
      assert.equal(complete(driver, device, 1), true);
      driver.usedEvent(109);
      assert.equal(complete(driver, device, 8), true, 'in the middle of a batch');
      assert.equal(device.publish(), false);
    });
  });

  for (const features of [0n, EVENT_IDX]) {
    it(`quietly, a driver that listens is shown nothing yet (features 0x${features.toString(16)})`, () => {
      withRing({ size: 8, features }, (driver, device) => {
        fillDescriptors(driver);
        complete(driver, device, 1); // the first is always told
        driver.used();
        const listen = (index: number): void => {
          driver.usedEvent(index);
          driver.availFlags(0);
        };
        const ignore = (): void => {
          driver.usedEvent(5000);
          driver.availFlags(1);
        };
        const answer = (head: number): void => {
          driver.offer(head);
          const chain = device.pop();
          assert.ok(chain);
          device.push(chain, 0);
        };
        listen(1);
        answer(0);
        assert.equal(device.publishQuietly(), false);
        assert.equal(driver.used().length, 0, 'it would have to be told');
        assert.equal(device.publish(), true, 'and is told later');
        assert.equal(driver.used().length, 1);
        ignore();
        answer(1);
        assert.equal(device.publishQuietly(), false, 'nothing to tell');
        assert.equal(driver.used().length, 1, 'but shown');
        assert.equal(device.publish(), false, 'there is nothing new');
      });
    });
  }

  for (const start of [0, 40000, 65535]) {
    it(`batches of 32768 and more are told of exactly (from ${start})`, () => {
      const features = EVENT_IDX;
      withRing({ size: 32768, features, startIndex: start }, (driver, device) => {
        fillDescriptors(driver);
        let index = start;
        const advance = (count: number, event: number): boolean => {
          driver.usedEvent(event & 0xffff);
          index += count;
          return complete(driver, device, count);
        };
        advance(1, 0);
        assert.equal(advance(32768, index), true);
        assert.equal(advance(32768, index + 32767), true);
        assert.equal(advance(32768, index + 32768), false);
        assert.equal(advance(32768, index - 1), false);
        assert.equal(advance(40000, index + 39999), true);
        assert.equal(advance(40000, index + 40000), false);
        assert.equal(advance(65535, index + 65534), true);
        assert.equal(advance(65535, index - 1), false, 'all events but this one are passed');
      });
    });
  }

  it('all of 2^16 at once look like nothing to an index, and are shown with the next', () => {
    withRing({ size: 32768, features: EVENT_IDX }, (driver, device) => {
      fillDescriptors(driver);
      driver.usedEvent(0);
      complete(driver, device, 1);
      assert.equal(complete(driver, device, 65536), false);
      assert.deepEqual(driver.used().length, 1);
      driver.usedEvent(1);
      assert.equal(complete(driver, device, 1), true);
    });
  });

  it('the flag tells the driver to be quiet, and not to be', () => {
    withRing({ size: 4 }, (driver, device, pair) => {
      fillDescriptors(driver);
      device.disableNotifications();
      assert.equal(usedFlags(pair), 1);
      assert.equal(device.enableNotifications(), false);
      assert.equal(usedFlags(pair), 0);
      device.disableNotifications();
      driver.offer(0);
      assert.equal(device.enableNotifications(), true, 'one came in meanwhile');
      assert.equal(device.pop()?.head, 0);
      assert.equal(device.enableNotifications(), false);
      assert.equal(availEvent(pair), 0, 'which without EVENT_IDX stays as it was');
    });
  });

  it('avail_event tells the driver which entry to notify of', () => {
    const options = { size: 4, features: EVENT_IDX, startIndex: 65535 };
    withRing(options, (driver, device, pair) => {
      fillDescriptors(driver);
      assert.equal(device.enableNotifications(), false);
      assert.equal(availEvent(pair), 65535);
      device.disableNotifications();
      assert.equal(usedFlags(pair), 0, 'with EVENT_IDX the flag stays 0 (section 2.7.10.1)');
      driver.offer(0, 1);
      assert.equal(device.enableNotifications(), true);
      assert.equal(device.pop()?.head, 0);
      assert.equal(device.pop()?.head, 1);
      assert.equal(device.enableNotifications(), false);
      assert.equal(availEvent(pair), 1);
    });
  });

  it('a driver with EVENT_IDX is asked to notify when more than so many wait', () => {
    withRing({ size: 8, features: EVENT_IDX, startIndex: 65533 }, (driver, device, pair) => {
      fillDescriptors(driver);
      assert.equal(device.enableNotifications(4), false);
      assert.equal(availEvent(pair), 1, 'the fifth from now, beyond the end of the counter');
      driver.offer(0, 1, 2, 3);
      assert.equal(device.hasAvailable(4), false);
      assert.equal(device.hasAvailable(3), true);
      assert.equal(device.enableNotifications(4), false);
      driver.offer(4);
      assert.equal(device.hasAvailable(4), true);
      assert.equal(device.enableNotifications(4), true);
      assert.equal(device.pop()?.head, 0);
      assert.equal(device.enableNotifications(4), false);
      assert.equal(availEvent(pair), 2);
    });
  });

  it('hasAvailable is one look at the index', () => {
    withRing({ size: 4 }, (driver, device) => {
      fillDescriptors(driver);
      assert.equal(device.hasAvailable(), false);
      driver.offer(0, 1);
      assert.equal(device.hasAvailable(), true);
      device.pop();
      assert.equal(device.hasAvailable(), true);
      device.pop();
      assert.equal(device.hasAvailable(), false);
    });
  });
});
