/**
 * Sessions with front-ends that describe rings wrongly, in any order, or not at all.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { BACKEND, protocolFeatures, virtioFeatures } from '../protocol/index.ts';
import { HOSTILE_CHAINS, EchoDevice, MockGuest, TestBackend, codesOf } from '../testing/index.ts';
import type { FrontendMessageName, MockFrontend, MockQueue } from '../testing/index.ts';
import { COUNTER } from './index.ts';

const NEEDS_RESET = 0x40n;
const NO_FD = 0x100n;

let served: TestBackend<EchoDevice>;
before(async () => {
  served = await TestBackend.start(new EchoDevice());
  await served.session(async (frontend) => {
    await frontend.negotiate();
  });
});
after(() => served.close());

async function echo(guest: MockGuest, index: number = 0): Promise<void> {
  const { written } = await guest.queue(index).exchange([Buffer.from('hello')], [5]);
  assert.equal(Buffer.from(written).toString(), 'hello');
}

/** Negotiated and with memory; no queue is made known. */
async function withMemory(
  frontend: MockFrontend,
  keep: (guest: MockGuest) => MockGuest,
  regionCount: number = 1,
): Promise<MockGuest> {
  return keep(await frontend.bringUp({ queueCount: 0, regionCount }));
}

describe('a session whose front-end names rings that are not there', () => {
  const byIndex: readonly FrontendMessageName[] = [
    'SET_VRING_NUM',
    'SET_VRING_ADDR',
    'SET_VRING_BASE',
    'SET_VRING_ENABLE',
  ];
  it('refuses them, and goes on', async () => {
    const { refused } = await served.session(async (frontend) => {
      await frontend.negotiate();
      for (const index of [2, 3, 255, 256, 65536, 0x7fffffff, 0xffffffff]) {
        for (const name of byIndex) {
          assert.notEqual(await frontend.ack(name, { index, num: 1 }), 0n, `${name} ${index}`);
        }
        await frontend.send('GET_VRING_BASE', { index });
        assert.equal((await frontend.receive()).payload.length, 0, 'an empty reply');
      }
      for (const value of [2n, 255n, 2n | NO_FD]) {
        for (const name of ['SET_VRING_KICK', 'SET_VRING_CALL', 'SET_VRING_ERR'] as const) {
          assert.notEqual(
            await frontend.ack(name, { value }, { fds: value < NO_FD ? [0] : [] }),
            0n,
          );
        }
      }
    });
    assert.deepEqual([...new Set(codesOf(refused))], ['ERR_VHU_QUEUE_INDEX']);
    assert.equal(refused.length, 7 * 5 + 9);
  });
});

describe('a session whose front-end describes rings wrongly', () => {
  it('refuses sizes that are 0, no power of two, or too large', async () => {
    const { refused } = await served.session(async (frontend) => {
      await frontend.negotiate();
      for (const num of [0, 3, 1000, 2048, 65536, 0xffffffff]) {
        assert.notEqual(await frontend.ack('SET_VRING_NUM', { index: 0, num }), 0n, String(num));
      }
      for (const num of [1, 2, 1024]) await frontend.command('SET_VRING_NUM', { index: 0, num });
    });
    assert.deepEqual(codesOf(refused), Array(6).fill('ERR_VHU_QUEUE_SIZE'));
  });

  it('refuses a base of more than 16 bits; one beyond the size is legal', async () => {
    const { refused } = await served.session(async (frontend) => {
      await frontend.negotiate();
      await frontend.command('SET_VRING_NUM', { index: 0, num: 4 });
      for (const num of [65536, 0xffffffff, 0x8000_0001]) {
        assert.notEqual(await frontend.ack('SET_VRING_BASE', { index: 0, num }), 0n);
      }
      await frontend.command('SET_VRING_BASE', { index: 0, num: 65535 });
      const { values } = await frontend.ask('GET_VRING_BASE', 'vringState', { index: 0 });
      assert.deepEqual(values, { index: 0, num: 65535 });
    });
    assert.deepEqual(codesOf(refused), Array(3).fill('ERR_VHU_VRING_BASE'));
  });

  it('refuses addresses that are misaligned, outside, or in two regions, at rest and at start', async () => {
    const { refused } = await served.session(async (frontend, keep) => {
      const guest = await withMemory(frontend, keep, 2);
      const queue = guest.makeQueue(0);
      const right = queue.addresses();
      const [first, second] = guest.regions;
      assert.ok(first !== undefined && second !== undefined);
      const end = first.uva + first.sizeBytes;
      const wrong: readonly object[] = [
        { desc: right.desc + 8 },
        { avail: right.avail + 1 },
        { used: right.used + 2 },
        { desc: 0 },
        { avail: 0 },
        { used: Number.MAX_SAFE_INTEGER - 3 },
        { desc: end - 16 }, // its first entry is inside
        { used: end - 4 },
        { avail: end - 6 - 2 * 64 + 2 }, // its last byte is outside
        { desc: first.gpa }, // a guest address
      ];
      await frontend.command('SET_VRING_NUM', { index: 0, num: 64 });
      for (const over of wrong) {
        const values = { index: 0, ...right, ...over };
        assert.notEqual(await frontend.ack('SET_VRING_ADDR', values), 0n, JSON.stringify(over));
      }
      await guest.startQueue(0);
      await echo(guest);
      for (const over of wrong) {
        const values = { index: 0, ...right, ...over };
        assert.notEqual(await frontend.ack('SET_VRING_ADDR', values), 0n, JSON.stringify(over));
      }
      await echo(guest);
    });
    assert.deepEqual(codesOf(refused), Array(20).fill('ERR_VHU_RING_ADDRESS'));
  });

  it('finds addresses wrong that fitted a smaller ring or were there before the memory', async () => {
    const { refused } = await served.session(async (frontend, keep) => {
      const guest = await withMemory(frontend, keep);
      const { raw } = guest.makeQueue(0);
      const [only] = guest.regions;
      assert.ok(only);
      const last = only.uva + only.sizeBytes;
      const { avail, used } = guest.queue(0).addresses();
      // 64 descriptors fit there, 128 do not.
      await frontend.command('SET_VRING_NUM', { index: 0, num: 64 });
      await frontend.command('SET_VRING_ADDR', { index: 0, desc: last - 1024, avail, used });
      await frontend.ack('SET_VRING_NUM', { index: 0, num: 128 });
      const kick = { fds: [raw.peerFds.kick] };
      assert.notEqual(await frontend.ack('SET_VRING_KICK', { value: 0n }, kick), 0n);
      // A refused message has changed nothing: this does not start the ring.
      await guest.startQueue(0);
      await echo(guest);
    });
    assert.deepEqual(codesOf(refused), ['ERR_VHU_RING_ADDRESS']);
  });

  it('refuses a size that would start a ring beyond its memory, and keeps the one before', async () => {
    const { refused } = await served.session(async (frontend, keep) => {
      const guest = await withMemory(frontend, keep);
      const { raw } = guest.makeQueue(0);
      const [only] = guest.regions;
      assert.ok(only);
      const { avail, used } = guest.queue(0).addresses();
      const desc = only.uva + only.sizeBytes - 64 * 16;
      await frontend.command('SET_VRING_ADDR', { index: 0, desc, avail, used });
      await frontend.command('SET_VRING_KICK', { value: 0n }, { fds: [raw.peerFds.kick] });
      assert.notEqual(await frontend.ack('SET_VRING_NUM', { index: 0, num: 128 }), 0n);
      await frontend.command('SET_VRING_ADDR', { index: 0, ...guest.queue(0).addresses() });
      await frontend.command('SET_VRING_NUM', { index: 0, num: raw.size });
      await frontend.command('SET_VRING_ENABLE', { index: 0, num: 1 });
      const { call } = raw.peerFds;
      await frontend.command('SET_VRING_CALL', { value: 0n }, { fds: [call] });
      await echo(guest);
    });
    assert.deepEqual(codesOf(refused), ['ERR_VHU_RING_ADDRESS']);
  });

  it('refuses to change size and base of a running ring', async () => {
    const { refused } = await served.session(async (frontend, keep) => {
      const guest = keep(await frontend.bringUp());
      assert.notEqual(await frontend.ack('SET_VRING_NUM', { index: 0, num: 64 }), 0n);
      assert.notEqual(await frontend.ack('SET_VRING_BASE', { index: 0, num: 0 }), 0n);
      await echo(guest);
    });
    assert.deepEqual(codesOf(refused), Array(2).fill('ERR_VHU_RING_RUNNING'));
  });
});

describe('a session whose front-end starts rings', () => {
  const parts = ['NUM', 'ADDR', 'CALL', 'ERR', 'KICK', 'ENABLE'] as const;
  const tell: Record<(typeof parts)[number], (queue: MockQueue) => Promise<void>> = {
    NUM: ({ guest, raw }) => guest.frontend.command('SET_VRING_NUM', { index: 0, num: raw.size }),
    ADDR: (queue) =>
      queue.guest.frontend.command('SET_VRING_ADDR', { index: 0, ...queue.addresses() }),
    CALL: ({ guest, raw }) =>
      guest.frontend.command('SET_VRING_CALL', { value: 0n }, { fds: [raw.peerFds.call] }),
    ERR: ({ guest, raw }) =>
      guest.frontend.command('SET_VRING_ERR', { value: 0n }, { fds: [raw.peerFds.err] }),
    KICK: ({ guest, raw }) =>
      guest.frontend.command('SET_VRING_KICK', { value: 0n }, { fds: [raw.peerFds.kick] }),
    ENABLE: ({ guest }) => guest.frontend.command('SET_VRING_ENABLE', { index: 0, num: 1 }),
  };

  it('serves a ring in whatever order it was described', async () => {
    const orders = fc.shuffledSubarray([...parts], { minLength: parts.length });
    await fc.assert(
      fc.asyncProperty(orders, async (order) => {
        const { refused } = await served.session(async (frontend, keep) => {
          const guest = await withMemory(frontend, keep);
          const queue = guest.makeQueue(0);
          for (const part of order) await tell[part](queue);
          await echo(guest);
        });
        assert.deepEqual(refused, []);
      }),
      { numRuns: 30 },
    );
  });

  it('takes ENABLE and GET_VRING_BASE of a ring that was never described', async () => {
    const { refused } = await served.session(async (frontend, keep) => {
      await frontend.negotiate();
      await frontend.command('SET_VRING_ENABLE', { index: 1, num: 1 });
      for (let i = 0; i < 3; i++) {
        const { values } = await frontend.ask('GET_VRING_BASE', 'vringState', { index: 1 });
        assert.deepEqual(values, { index: 1, num: 0 });
      }
      await frontend.command('SET_VRING_ENABLE', { index: 1, num: 0 });
      await frontend.command('SET_VRING_KICK', { value: 1n | NO_FD });
      keep({ close: () => undefined });
    });
    assert.deepEqual(refused, []);
  });

  it('starts a ring at its kick, though its addresses come later, once', async () => {
    const { refused } = await served.session(async (frontend, keep) => {
      const guest = await withMemory(frontend, keep);
      const queue = guest.makeQueue(0);
      await tell.KICK(queue);
      await tell.KICK(queue);
      await tell.CALL(queue);
      await tell.ENABLE(queue);
      queue.driver.submit([Buffer.from('early')], [5]);
      queue.driver.publish();
      queue.raw.kick(); // long before anybody could hear of it
      await tell.NUM(queue);
      await tell.ADDR(queue);
      const [done] = await queue.completions(1);
      assert.equal(Buffer.from(done?.written ?? []).toString(), 'early');
    });
    assert.deepEqual(refused, []);
  });

  it('serves what waits at the start although nobody kicks', async () => {
    await served.session(async (frontend, keep) => {
      const guest = await withMemory(frontend, keep);
      const queue = guest.makeQueue(0);
      queue.driver.submit([Buffer.from('early')], [5]);
      queue.driver.publish();
      for (const part of parts) await tell[part](queue);
      assert.equal((await queue.completions(1)).length, 1);
    });
  });

  it('does not lose a kick that comes before the ring is enabled', async () => {
    await served.session(async (frontend, keep) => {
      const guest = await withMemory(frontend, keep);
      const queue = guest.makeQueue(0);
      for (const part of parts.slice(0, -1)) await tell[part](queue);
      queue.driver.submit([Buffer.from('early')], [5]);
      queue.driver.publish();
      queue.raw.kick();
      await sleep(20);
      assert.equal(queue.driver.completed().length, 0, 'not enabled, not served');
      await tell.ENABLE(queue);
      assert.equal((await queue.completions(1)).length, 1);
    });
  });

  it('serves nothing while a ring is disabled, and all of it afterwards', async () => {
    await served.session(async (frontend, keep) => {
      const guest = keep(await frontend.bringUp());
      const queue = guest.queue(0);
      for (let i = 0; i < 5; i++) {
        await echo(guest);
        await frontend.command('SET_VRING_ENABLE', { index: 0, num: 0 });
        queue.driver.submit([Buffer.from('later')], [5]);
        queue.publish();
        queue.raw.kick();
        await sleep(5);
        assert.equal(queue.driver.completed().length, 0);
        await frontend.command('SET_VRING_ENABLE', { index: 0, num: 1 });
        assert.equal((await queue.completions(1)).length, 1);
      }
    });
  });

  it('has rings enabled from the start for a front-end without protocol features', async () => {
    const { refused } = await served.session(async (frontend, keep) => {
      await frontend.send('SET_FEATURES', { value: virtioFeatures('VERSION_1') });
      frontend.negotiated = { features: virtioFeatures('VERSION_1'), protocolFeatures: 0n };
      const guest = keep(new MockGuest(frontend));
      await guest.shareMemory();
      await guest.startQueue(0);
      await echo(guest);
    });
    assert.deepEqual(refused, []);
  });
});

describe('a session whose front-end stops rings', () => {
  it('says from where a ring would go on, twice the same, and goes on from there', async () => {
    const { refused } = await served.session(async (frontend, keep) => {
      const guest = keep(await frontend.bringUp({ queueSize: 4 }));
      for (let round = 1; round <= 5; round++) {
        for (let i = 0; i < 3; i++) await echo(guest);
        assert.equal(await guest.stopQueue(0), 3 * round);
        assert.equal(await guest.stopQueue(0), 3 * round);
        // Only the kick has to come anew.
        await tellKick(guest);
      }
    });
    assert.deepEqual(refused, []);
  });

  it('finishes what is in flight first, also when that takes a while', async () => {
    const slow = await TestBackend.start(new EchoDevice({ stopMs: 60 }));
    try {
      await slow.session(async (frontend, keep) => {
        const guest = keep(await frontend.bringUp());
        slow.device.hold = true;
        const queue = guest.queue(0);
        for (let i = 0; i < 10; i++) queue.driver.submit([Buffer.from('held')], [4]);
        queue.publish();
        while (slow.device.heldCount < 10) await sleep(1);
        assert.equal(queue.driver.completed().length, 0);
        assert.equal(await guest.stopQueue(0), 10);
        assert.equal(queue.driver.completed().length, 10, 'all of it, before the reply');
      });
    } finally {
      await slow.close();
    }
  });

  it('serves nothing after the reply', async () => {
    await served.session(async (frontend, keep) => {
      const guest = keep(await frontend.bringUp({ queueCount: 2 }));
      await echo(guest);
      const base = await guest.stopQueue(0);
      const queue = guest.queue(0);
      queue.driver.submit([Buffer.from('later')], [5]);
      queue.driver.publish();
      queue.raw.kick();
      await echo(guest, 1); // the other ring goes on
      await sleep(10);
      assert.equal(queue.driver.completed().length, 0);
      assert.equal(await guest.stopQueue(0), base);
      await tellKick(guest);
      assert.equal((await queue.completions(1)).length, 1);
    });
  });
});

async function tellKick(guest: MockGuest): Promise<void> {
  const { kick } = guest.queue(0).raw.peerFds;
  await guest.frontend.command('SET_VRING_KICK', { value: 0n }, { fds: [kick] });
}

describe('a session and the notifiers of its rings', () => {
  it('polls a ring without a kick fd, before and after it had one', async () => {
    const { refused } = await served.session(async (frontend, keep) => {
      const guest = keep(await frontend.bringUp());
      const queue = guest.queue(0);
      const quiet = async (): Promise<void> => {
        queue.driver.submit([Buffer.from('quiet')], [5]);
        queue.driver.publish(); // and no kick
        assert.equal((await queue.completions(1)).length, 1);
      };
      await frontend.command('SET_VRING_KICK', { value: NO_FD });
      await quiet();
      await tellKick(guest);
      await echo(guest);
      await guest.stopQueue(0);
      await frontend.command('SET_VRING_KICK', { value: NO_FD });
      await quiet();
    });
    assert.deepEqual(refused, []);
  });

  it('serves a front-end that polls, without a call fd', async () => {
    const { refused } = await served.session(async (frontend, keep) => {
      const guest = keep(await frontend.bringUp());
      const queue = guest.queue(0);
      await frontend.command('SET_VRING_CALL', { value: NO_FD });
      const { calls } = queue;
      queue.driver.submit([Buffer.from('quiet')], [5]);
      queue.publish();
      while (queue.driver.completed().length === 0) await sleep(1);
      assert.equal(queue.calls, calls);
      // What it did not hear of it hears as soon as it can.
      const { call } = queue.raw.peerFds;
      await frontend.command('SET_VRING_CALL', { value: 0n }, { fds: [call] });
      while (queue.calls === calls) await sleep(1);
      await echo(guest);
    });
    assert.deepEqual(refused, []);
  });

  it('goes on when kick, call and err are replaced under load', async () => {
    const { refused } = await served.session(async (frontend, keep) => {
      const guest = keep(await frontend.bringUp());
      const { kick, call, err } = guest.queue(0).raw.peerFds;
      for (let i = 0; i < 20; i++) {
        const done = echo(guest);
        await frontend.command('SET_VRING_KICK', { value: 0n }, { fds: [kick] });
        await frontend.command('SET_VRING_CALL', { value: 0n }, { fds: [call] });
        await frontend.command('SET_VRING_ERR', { value: 0n }, { fds: [err] });
        await done;
      }
    });
    assert.deepEqual(refused, []);
  });

  it('survives a storm of kicks for nothing', async () => {
    await served.session(async (frontend, keep) => {
      const guest = keep(await frontend.bringUp());
      const queue = guest.queue(0);
      const before = served.backend.counter(COUNTER.requests);
      for (let round = 0; round < 100; round++) {
        for (let i = 0; i < 1000; i++) queue.raw.kick();
        await new Promise(setImmediate);
      }
      assert.equal(served.backend.counter(COUNTER.requests), before);
      await echo(guest);
    });
  });
});

describe('a session whose guest breaks a ring', () => {
  const chain = HOSTILE_CHAINS.find(
    (each) => !each.legal && each.features === 0n && !each.twoRegions,
  );
  it('tells by the err fd and the status, serves the other rings, and starts anew after a reset', async () => {
    assert.ok(chain);
    const { faults, refused } = await served.session(async (frontend, keep) => {
      const guest = keep(
        await frontend.bringUp({
          queueCount: 2,
          protocolFeatures: frontendFeatures,
        }),
      );
      const channel = keep(await frontend.openBackendChannel());
      const queue = guest.queue(0);
      const hostile = queue.hostileDriver();
      chain.offer(hostile);
      queue.raw.kick();
      while (queue.errors === 0) assert.ok(await queue.waitForCall(), 'the err fd is signalled');
      const { request } = await channel.receive();
      assert.equal(request, BACKEND.CONFIG_CHANGE_MSG, 'the driver is to look at the status');
      assert.equal((await frontend.askNumber('GET_STATUS')) & NEEDS_RESET, NEEDS_RESET);
      await echo(guest, 1);
      await frontend.command('RESET_DEVICE');
      assert.equal(await frontend.askNumber('GET_STATUS'), 0n);
      assert.equal(await guest.stopQueue(1), 0, 'a reset begins at the beginning');
    });
    assert.deepEqual(
      faults.map(({ queueIndex }) => queueIndex),
      [0],
    );
    assert.deepEqual(refused, []);
  });
});

/** With STATUS and RESET_DEVICE beside the usual ones. */
const frontendFeatures: bigint = protocolFeatures(
  'MQ',
  'REPLY_ACK',
  'BACKEND_REQ',
  'CONFIG',
  'RESET_DEVICE',
  'CONFIGURE_MEM_SLOTS',
  'STATUS',
);
