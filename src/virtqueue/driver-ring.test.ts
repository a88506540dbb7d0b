/**
 * The driver side of a split ring, alone and against our own device side.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RingPair } from '../testing/index.ts';
import type { RingPairOptions } from '../testing/index.ts';
import { DESC, USED, USED_ELEM } from './index.ts';
import type { Segment } from './index.ts';

const INDIRECT_DESC = 1n << 28n;
const EVENT_IDX = 1n << 29n;
const FEATURE_SETS = [0n, INDIRECT_DESC, EVENT_IDX, INDIRECT_DESC | EVENT_IDX];

function withPair(options: RingPairOptions, body: (pair: RingPair) => void): void {
  const pair = new RingPair(options);
  try {
    body(pair);
  } finally {
    pair.close();
  }
}

/** The gpa of a part of the ring. */
function gpaOf(pair: RingPair, hva: number): number {
  const region = pair.memory.regions[0];
  assert.ok(region);
  return region.gpa + (hva - region.hva);
}

/** What a device without manners writes: used elements, and an index of its choice. */
function forgeUsed(pair: RingPair, ids: readonly number[], usedIndex: number): void {
  const used = gpaOf(pair, pair.config.usedHva);
  ids.forEach((id, i) => {
    pair.memory.writeU32(used + USED.ring + i * USED_ELEM.SIZE, id);
    pair.memory.writeU32(used + USED.ring + i * USED_ELEM.SIZE + 4, 0);
  });
  pair.memory.writeU16(used + USED.idx, usedIndex);
}

function segment(pair: RingPair, offset: number, lengthBytes: number): Segment {
  return { gpa: pair.dataGpa + offset, lengthBytes };
}

/** The device takes one chain, and gives it back after writing `text` to it. */
function serveOne(pair: RingPair, text: string): boolean {
  const chain = pair.device.pop();
  if (chain === null) return false;
  pair.device.push(chain, chain.copyToWritable(0, Buffer.from(text)));
  return true;
}

describe('DriverRing', () => {
  for (const features of FEATURE_SETS) {
    const name = `features 0x${features.toString(16)}`;

    it(`the device sees the buffers of a chain, and the driver what it wrote (${name})`, () => {
      withPair({ size: 8, features, indirectMax: 8 }, (pair) => {
        const { driver, device, memory } = pair;
        memory.copyTo(pair.dataGpa, Buffer.from('ask'));
        memory.copyTo(pair.dataGpa + 100, Buffer.from('more'));
        const readable = [segment(pair, 0, 3), segment(pair, 100, 4)];
        assert.ok(driver.addChain(readable, [segment(pair, 200, 2), segment(pair, 300, 9)], 41));
        assert.equal(device.pop(), null, 'nothing before publish');
        driver.publish();
        const chain = device.pop();
        assert.ok(chain);
        assert.equal(chain.readableBytes, 7);
        assert.equal(chain.writableBytes, 11);
        const asked = Buffer.alloc(7);
        chain.copyFromReadable(0, asked);
        assert.equal(asked.toString(), 'askmore');
        device.push(chain, chain.copyToWritable(0, Buffer.from('answer')));
        assert.equal(driver.take(), -1, 'nothing before the device publishes');
        device.publish();
        assert.equal(driver.take(), 41);
        assert.equal(driver.usedBytes, 6);
        const answer = Buffer.alloc(6);
        memory.copyFrom(pair.dataGpa + 200, answer.subarray(0, 2));
        memory.copyFrom(pair.dataGpa + 300, answer.subarray(2));
        assert.equal(answer.toString(), 'answer');
        assert.equal(driver.take(), -1);
        assert.equal(driver.freeCount, 8);
        assert.equal(driver.inFlight, 0);
      });
    });

    it(`the indices wrap at 2^16, more than once (${name})`, () => {
      withPair({ size: 4, features, indirectMax: 4, startIndex: 65500 }, (pair) => {
        for (let i = 0; i < 140_000; i++) {
          pair.driver.stageReadable(pair.dataGpa, 16);
          pair.driver.stageWritable(pair.dataGpa + 16, 1);
          assert.ok(pair.driver.add(i));
          pair.driver.publish();
          assert.ok(serveOne(pair, '.'));
          pair.device.publish();
          assert.equal(pair.driver.take(), i);
        }
        assert.equal(pair.device.fault, null);
        assert.equal(pair.driver.fault, null);
      });
    });
  }

  it('chains come back in the order in which the device used them', () => {
    withPair({ size: 4 }, ({ driver, device, dataGpa }) => {
      for (let token = 0; token < 4; token++) {
        driver.stageWritable(dataGpa + token, 1);
        driver.add(token);
      }
      driver.publish();
      const chains = [device.pop(), device.pop(), device.pop(), device.pop()];
      for (const i of [2, 0, 3, 1]) device.push(chains[i]!, 1);
      device.publish();
      const tokens = [driver.take(), driver.take(), driver.take(), driver.take(), driver.take()];
      assert.deepEqual(tokens, [2, 0, 3, 1, -1]);
    });
  });

  it('add says no when descriptors run out, and yes again after a take', () => {
    withPair({ size: 4 }, (pair) => {
      const { driver, dataGpa } = pair;
      const two = [
        { gpa: dataGpa, lengthBytes: 1 },
        { gpa: dataGpa + 1, lengthBytes: 1 },
      ];
      assert.ok(driver.addChain([], two, 1));
      assert.ok(driver.hasRoom(2));
      assert.ok(!driver.hasRoom(3));
      assert.ok(driver.addChain([], two, 2));
      assert.ok(!driver.hasRoom(1));
      assert.equal(driver.addChain([], two, 3), false);
      driver.publish();
      assert.ok(serveOne(pair, 'x'));
      pair.device.publish();
      assert.equal(driver.take(), 1);
      assert.ok(driver.addChain([], two, 3), 'the refused chain left nothing staged');
    });
  });

  it('an indirect chain takes one descriptor, and one too long for a table is direct', () => {
    withPair({ size: 8, features: INDIRECT_DESC, indirectMax: 3 }, (pair) => {
      const { driver, dataGpa } = pair;
      const segments = [0, 1, 2, 3].map((i) => ({ gpa: dataGpa + i, lengthBytes: 1 }));
      driver.addChain(segments.slice(0, 3), [], 1);
      assert.equal(driver.freeCount, 7);
      driver.addChain(segments, [], 2);
      assert.equal(driver.freeCount, 3);
      driver.publish();
      assert.equal(pair.device.pop()?.readableBytes, 3);
      assert.equal(pair.device.pop()?.readableBytes, 4);
    });
  });

  it('a chain never has more buffers than the ring has entries', () => {
    withPair({ size: 2, features: INDIRECT_DESC, indirectMax: 8 }, ({ driver, dataGpa }) => {
      const three = [0, 1, 2].map((i) => ({ gpa: dataGpa + i, lengthBytes: 1 }));
      assert.equal(driver.hasRoom(3), false);
      assert.equal(driver.addChain(three, [], 1), false);
      assert.ok(driver.addChain(three.slice(1), [], 1));
    });
  });

  it('without EVENT_IDX the device asks for kicks by its flag', () => {
    withPair({ size: 4 }, ({ driver, device, dataGpa }) => {
      const publishOne = (): boolean => {
        driver.stageWritable(dataGpa, 1);
        driver.add(0);
        return driver.publish();
      };
      assert.ok(publishOne());
      device.disableNotifications();
      assert.ok(!publishOne());
      device.pop();
      device.pop();
      assert.ok(!device.enableNotifications());
      assert.ok(publishOne());
      assert.ok(!driver.publish(), 'nothing new, no kick');
    });
  });

  it('with EVENT_IDX a kick is due once per request of the device', () => {
    withPair({ size: 8, features: EVENT_IDX, startIndex: 65534 }, (pair) => {
      const { driver, device, dataGpa } = pair;
      device.enableNotifications();
      const kicks = [];
      for (let i = 0; i < 4; i++) {
        driver.stageWritable(dataGpa, 1);
        driver.add(i);
        kicks.push(driver.publish());
      }
      assert.deepEqual(kicks, [true, false, false, false]);
      for (let i = 0; i < 4; i++) device.pop();
      assert.ok(!device.enableNotifications());
      driver.stageWritable(dataGpa, 1);
      driver.add(5);
      driver.stageWritable(dataGpa, 1);
      driver.add(6);
      assert.ok(driver.publish(), 'a batch across the event kicks once');
    });
  });

  for (const features of [0n, EVENT_IDX]) {
    it(`interrupts can be turned off and on (features 0x${features.toString(16)})`, () => {
      withPair({ size: 8, features, startIndex: 65533 }, (pair) => {
        const { driver, device, dataGpa } = pair;
        const roundTrip = (): boolean => {
          driver.stageWritable(dataGpa, 1);
          driver.add(0);
          driver.publish();
          assert.ok(serveOne(pair, '.'));
          return device.publish();
        };
        driver.enableInterrupts();
        assert.ok(roundTrip());
        assert.ok(driver.hasUsed());
        assert.equal(driver.take(), 0);
        driver.disableInterrupts();
        assert.ok(!roundTrip());
        assert.ok(!roundTrip());
        assert.ok(driver.enableInterrupts(), 'two are waiting already');
        assert.equal(driver.take(), 0);
        assert.equal(driver.take(), 0);
        assert.ok(!driver.enableInterrupts());
        assert.ok(roundTrip());
      });
    });
  }

  it('with EVENT_IDX an interrupt can wait for several chains', () => {
    withPair({ size: 8, features: EVENT_IDX }, (pair) => {
      const { driver, device, dataGpa } = pair;
      for (let i = 0; i < 5; i++) {
        driver.stageWritable(dataGpa, 1);
        driver.add(i);
      }
      driver.publish();
      assert.ok(serveOne(pair, '.'));
      device.publish(); // the first decision of a device is always to notify
      assert.ok(!driver.enableInterrupts(3));
      const calls = [];
      for (let i = 0; i < 3; i++) {
        assert.ok(serveOne(pair, '.'));
        calls.push(device.publish());
      }
      assert.deepEqual(calls, [false, true, false]);
      assert.ok(driver.enableInterrupts(4), 'four are waiting');
    });
  });

  it('a claim of more bytes than there was room for is cut and counted', () => {
    withPair({ size: 2 }, (pair) => {
      const { driver, device, dataGpa } = pair;
      driver.addChain([{ gpa: dataGpa, lengthBytes: 100 }], [{ gpa: dataGpa, lengthBytes: 10 }], 3);
      driver.publish();
      const chain = device.pop();
      assert.ok(chain);
      device.push(chain, 110);
      device.publish();
      assert.equal(driver.take(), 3);
      assert.equal(driver.usedBytes, 10);
      assert.equal(driver.overlongCount, 1);
    });
  });

  it('the device cannot mislead by writing over descriptors and the available ring', () => {
    withPair({ size: 4 }, (pair) => {
      const { driver, device, dataGpa, memory } = pair;
      const chain = [0, 1].map((i) => ({ gpa: dataGpa + i, lengthBytes: 1 }));
      driver.addChain([], chain, 8);
      driver.addChain([], chain, 9);
      driver.publish();
      const taken = [device.pop()!, device.pop()!];
      const desc = gpaOf(pair, pair.config.descHva);
      for (let at = 0; at < 4 * DESC.SIZE; at += 4) memory.writeU32(desc + at, 0xffff_ffff);
      const avail = gpaOf(pair, pair.config.availHva);
      for (let at = 2; at < 12; at += 2) memory.writeU16(avail + at, 0xffff);
      for (const each of taken) device.push(each, 1);
      device.publish();
      assert.equal(driver.take(), 8);
      assert.equal(driver.take(), 9);
      assert.equal(driver.freeCount, 4);
      driver.addChain([], chain, 10);
      driver.publish();
      assert.equal(memory.readU16(avail + 2), 3, 'the index goes on from the driver’s own count');
    });
  });

  const forgeries: [string, number[], number, string][] = [
    ['an index ahead of what it holds', [0, 2], 3, 'ERR_VHU_RING_USED_INDEX'],
    ['an index that runs backwards', [0], 0xffff, 'ERR_VHU_RING_USED_INDEX'],
    ['a descriptor beyond the table', [4], 1, 'ERR_VHU_RING_USED_ID'],
    ['a descriptor of 2^32 - 1', [0xffff_ffff], 1, 'ERR_VHU_RING_USED_ID'],
    ['the middle of a chain', [1], 1, 'ERR_VHU_RING_USED_IDLE'],
    ['a chain twice', [0, 0], 2, 'ERR_VHU_RING_USED_IDLE'],
  ];
  for (const [what, ids, usedIndex, code] of forgeries) {
    it(`a device that uses ${what} breaks the ring, once and in words`, () => {
      withPair({ size: 4 }, (pair) => {
        const { driver, dataGpa } = pair;
        const chain = [0, 1].map((i) => ({ gpa: dataGpa + i, lengthBytes: 1 }));
        driver.addChain([], chain, 8);
        driver.addChain([], chain, 9);
        driver.publish();
        forgeUsed(pair, ids, usedIndex);
        const tokens = [driver.take(), driver.take(), driver.take()];
        assert.equal(driver.fault?.code, code);
        assert.match(driver.fault.message, /^queue 0: /);
        assert.equal(tokens.at(-1), -1);
        assert.ok(tokens.filter((token) => token >= 0).length < 2);
        forgeUsed(pair, [0, 2], 2);
        assert.equal(driver.take(), -1, 'it stays broken');
        assert.ok(!driver.hasUsed());
      });
    });
  }

  it('a chain that was not published yet cannot come back', () => {
    withPair({ size: 4 }, (pair) => {
      pair.driver.stageWritable(pair.dataGpa, 1);
      pair.driver.add(1);
      forgeUsed(pair, [0], 1);
      assert.equal(pair.driver.take(), -1);
      assert.equal(pair.driver.fault?.code, 'ERR_VHU_RING_USED_INDEX');
    });
  });

  it('abandon gives every token back and leaves the ring empty', () => {
    withPair({ size: 8, features: INDIRECT_DESC, indirectMax: 2 }, ({ driver, dataGpa }) => {
      const two = [0, 1].map((i) => ({ gpa: dataGpa + i, lengthBytes: 1 }));
      driver.addChain(two, [], 5);
      driver.addChain(two.slice(1), [], 6);
      driver.publish();
      const tokens: number[] = [];
      driver.abandon((token) => tokens.push(token));
      assert.deepEqual(tokens.sort(), [5, 6]);
      assert.equal(driver.inFlight, 0);
      assert.equal(driver.freeCount, 8);
    });
  });
});
