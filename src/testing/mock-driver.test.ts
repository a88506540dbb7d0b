/**
 * The honest driver finds what a device does wrong.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Chain } from '../virtqueue/index.ts';
import { RingPair, expectNoLeak, holdings } from './index.ts';
import type { MockDriver } from './index.ts';

function withDriver(body: (driver: MockDriver, pair: RingPair) => void): void {
  const pair = new RingPair({ size: 8, features: 0x1000_0000n, indirectMax: 8 });
  try {
    body(pair.mockDriver(), pair);
  } finally {
    pair.close();
  }
}

/** Takes the one chain that there is. */
function take(pair: RingPair): Chain {
  const chain = pair.device.pop();
  assert.ok(chain);
  return chain;
}

function giveBack(pair: RingPair, chain: Chain, usedBytes: number): void {
  pair.device.push(chain, usedBytes);
  pair.device.publish();
}

describe('MockDriver', () => {
  it('carries bytes there and back', () => {
    withDriver((driver, pair) => {
      const token = driver.submit([Buffer.from('one'), Buffer.from('two')], [3, 4]);
      assert.equal(driver.inFlight, 1);
      driver.publish();
      const chain = take(pair);
      const asked = Buffer.alloc(6);
      chain.copyFromReadable(0, asked);
      assert.equal(asked.toString(), 'onetwo');
      giveBack(pair, chain, chain.copyToWritable(0, Buffer.from('answer!')));
      const [done] = driver.completed();
      assert.deepEqual(done, {
        token,
        usedBytes: 7,
        written: Uint8Array.from(Buffer.from('answer!')),
      });
      assert.equal(driver.inFlight, 0);
      const { takenBytes } = pair.shared;
      driver.submit([Buffer.from('again')], [1]);
      driver.publish();
      giveBack(pair, take(pair), 0);
      driver.completed();
      assert.equal(pair.shared.takenBytes, takenBytes, 'its buffers are free again');
    });
  });

  it('refuses a chain that does not fit, and goes on', () => {
    withDriver((driver, pair) => {
      for (let i = 0; i < 8; i++) driver.submit([], [1]);
      const { takenBytes } = pair.shared;
      assert.throws(() => driver.submit([], [1]), { code: 'ERR_VHU_MOCK_RING_FULL' });
      assert.equal(pair.shared.takenBytes, takenBytes);
      assert.equal(driver.inFlight, 8);
    });
  });

  const crimes: [string, string, (pair: RingPair, chain: Chain) => void][] = [
    [
      'a write behind a buffer',
      'ERR_VHU_MOCK_OVERWRITTEN',
      (pair, chain) => pair.memory.writeU8((chain.gpa[1] as number) + 4, 1),
    ],
    [
      'a write in front of a buffer',
      'ERR_VHU_MOCK_OVERWRITTEN',
      (pair, chain) => pair.memory.writeU8((chain.gpa[0] as number) - 1, 1),
    ],
    [
      'a write to a readable buffer',
      'ERR_VHU_MOCK_OVERWRITTEN',
      (pair, chain) => pair.memory.writeU8(chain.gpa[0] as number, 1),
    ],
  ];
  for (const [what, code, commit] of crimes) {
    it(`notices ${what}`, () => {
      withDriver((driver, pair) => {
        driver.submit([Buffer.from('ask')], [4]);
        driver.publish();
        const chain = take(pair);
        commit(pair, chain);
        giveBack(pair, chain, 4);
        assert.throws(() => driver.completed(), { code });
      });
    });
  }

  it('notices a length beyond the buffers', () => {
    withDriver((driver, pair) => {
      driver.submit([Buffer.from('ask')], [4]);
      driver.publish();
      giveBack(pair, take(pair), 5);
      assert.throws(() => driver.completed(), { code: 'ERR_VHU_MOCK_OVERLONG' });
    });
  });

  it('passes on the fault of its ring', () => {
    withDriver((driver, pair) => {
      driver.submit([], [4]);
      driver.publish();
      giveBack(pair, take(pair), 4);
      const used = pair.shared.region.gpa + (pair.config.usedHva - pair.shared.region.hva);
      pair.memory.writeU32(used + 4, 99);
      assert.throws(() => driver.completed(), { code: 'ERR_VHU_RING_USED_ID' });
    });
  });
});

describe('leak counters', () => {
  it('see a pair while it is there, and not after it', async () => {
    const before = holdings();
    const pair = new RingPair({ size: 4 });
    assert.equal(holdings().fds, before.fds + 1);
    assert.equal(holdings().mappings, before.mappings + 1);
    pair.close();
    await expectNoLeak(before);
  });
});
