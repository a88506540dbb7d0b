/**
 * What a guest may do to a console: control messages that mean nothing, buffers that are too small,
 * chains that break the ring. The device goes on, and so do the other ports.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import { COUNTER } from '../../backend/index.ts';
import { HOSTILE_CHAINS, TestBackend } from '../../testing/index.ts';
import type { MockGuest, MockQueue } from '../../testing/index.ts';
import { openConsole } from './index.ts';
import type { ConsoleDevice } from './index.ts';

const CONTROL_RECEIVE = 2;
const CONTROL_TRANSMIT = 3;
/** No fault here: the device gives each chain back before it takes the next. */
const AT_ONCE = 'the same head twice';
const READY = message(0xffff_ffff, 0, 1);

let input: PassThrough;
let output: PassThrough;
let served: TestBackend<ConsoleDevice>;

before(async () => {
  input = new PassThrough();
  output = new PassThrough();
  const ports = [{ name: 'one', size: { columns: 1, rows: 1 } }, { name: 'x'.repeat(63) }];
  const device = await openConsole({ end: { kind: 'streams', input, output }, ports });
  served = await TestBackend.start(device);
  await served.session(async (frontend) => {
    await frontend.negotiate();
  });
});
after(() => served.close());

/** A control message. */
function message(id: number, event: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(id, 0);
  bytes.writeUInt16LE(event, 4);
  bytes.writeUInt16LE(value, 6);
  return bytes;
}

const faults = (): number => served.backend.counter(COUNTER.guestFaults);

/** What the device has to say, until it has nothing more. */
async function answers(queue: MockQueue): Promise<Buffer[]> {
  const list: Buffer[] = [];
  for (;;) {
    if (queue.driver.inFlight === 0) {
      queue.driver.submit([], [128]);
      queue.publish();
    }
    const [done] = queue.driver.completed();
    if (done !== undefined) list.push(Buffer.from(done.written.subarray(0, done.usedBytes)));
    else if (!(await queue.waitForCall(100)) && !queue.raw.ring.hasUsed()) return list;
    queue.raw.ring.enableInterrupts();
  }
}

/** Port 0 still works both ways. */
async function expectAlive(guest: MockGuest): Promise<void> {
  const control = guest.queue(CONTROL_TRANSMIT);
  for (const bytes of [READY]) await control.exchange([bytes], []);
  await answers(guest.queue(CONTROL_RECEIVE));
  await control.exchange([message(0, 3, 1)], []);
  await control.exchange([message(0, 6, 1)], []);
  output.read();
  await guest.queue(1).exchange([Buffer.from('alive')], []);
  for (let i = 0; i < 4000 && output.readableLength < 5; i++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.equal(String(output.read()), 'alive');
  input.write('typed');
  const { written, usedBytes } = await guest.queue(0).exchange([], [1024]);
  assert.match(Buffer.from(written.subarray(0, usedBytes)).toString(), /typed$/);
}

async function withGuest(body: (guest: MockGuest) => Promise<void>): Promise<void> {
  await served.session(async (frontend, keep) => {
    const guest = keep(await frontend.bringUp({ queueCount: 8, memoryBytes: 4 * 1024 * 1024 }));
    await body(guest);
  });
}

describe('control messages that mean nothing', () => {
  const nonsense: readonly (readonly [string, Buffer])[] = [
    ['nothing at all', Buffer.of(0)],
    ['a header cut off', READY.subarray(0, 7)],
    ['a port that there is not', message(3, 3, 1)],
    ['a port far away', message(0xffff_fffe, 6, 1)],
    ['a port by a negative number', message(0x8000_0000, 3, 1)],
    ['an unknown event', message(0, 99, 1)],
    ['an event that is the device to send', message(0, 1, 1)],
    ['a port that was not added yet', message(0, 3, 1)],
  ];
  for (const [name, bytes] of nonsense) {
    it(`are counted, and answered by nothing: ${name}`, async () => {
      await withGuest(async (guest) => {
        const counted = faults();
        await guest.queue(CONTROL_TRANSMIT).exchange([bytes], []);
        assert.equal(faults(), counted + 1);
        assert.deepEqual(await answers(guest.queue(CONTROL_RECEIVE)), []);
        await expectAlive(guest);
      });
    });
  }

  it('are not looked at beyond their header', async () => {
    await withGuest(async (guest) => {
      await guest.queue(CONTROL_TRANSMIT).exchange([Buffer.concat([READY, Buffer.alloc(9)])], []);
      assert.equal((await answers(guest.queue(CONTROL_RECEIVE))).length, 3);
      await expectAlive(guest);
    });
  });

  it('do not make a list that grows, however often a port is said to be ready', async () => {
    await withGuest(async (guest) => {
      const control = guest.queue(CONTROL_TRANSMIT);
      await control.exchange([READY], []);
      await answers(guest.queue(CONTROL_RECEIVE));
      for (let i = 0; i < 500; i++) await control.exchange([message(2, 3, 1)], []);
      const told = await answers(guest.queue(CONTROL_RECEIVE));
      assert.ok(told.length <= 6, `${told.length} messages`);
      assert.ok(told.some((each) => each.subarray(8).toString() === 'x'.repeat(63)));
      await expectAlive(guest);
    });
  });

  it('of any kind and order leave the device as good as new', async () => {
    const any = fc.record({
      id: fc.oneof(fc.nat(4), fc.constant(0xffff_ffff), fc.nat(0xffff_ffff)),
      event: fc.oneof(fc.nat(8), fc.nat(0xffff)),
      value: fc.oneof(fc.nat(2), fc.nat(0xffff)),
      length: fc.oneof(fc.constant(8), fc.integer({ min: 1, max: 40 })),
    });
    await withGuest(async (guest) => {
      const send = async (list: { id: number; event: number; value: number; length: number }[]) => {
        for (const { id, event, value, length } of list) {
          const bytes = Buffer.alloc(Math.max(8, length));
          message(id, event, value).copy(bytes);
          await guest.queue(CONTROL_TRANSMIT).exchange([bytes.subarray(0, length)], []);
        }
      };
      await fc.assert(fc.asyncProperty(fc.array(any, { maxLength: 30 }), send), { numRuns: 30 });
      await answers(guest.queue(CONTROL_RECEIVE));
      await expectAlive(guest);
    });
  });
});

describe('buffers of the wrong size or kind', () => {
  it('too small for a control message: it is lost to that guest, and counted', async () => {
    await withGuest(async (guest) => {
      await guest.queue(CONTROL_TRANSMIT).exchange([READY], []);
      const counted = faults();
      const { usedBytes } = await guest.queue(CONTROL_RECEIVE).exchange([], [7]);
      assert.equal(usedBytes, 0);
      assert.equal(faults(), counted + 1);
      await expectAlive(guest);
    });
  });

  it('to be read where they are to be written, and the other way round', async () => {
    await withGuest(async (guest) => {
      await expectAlive(guest);
      const counted = faults();
      input.write('not lost');
      assert.equal((await guest.queue(0).exchange([Buffer.alloc(8)], [])).usedBytes, 0);
      assert.equal((await guest.queue(1).exchange([], [8])).usedBytes, 0);
      assert.equal(faults(), counted + 2);
      const { written, usedBytes } = await guest.queue(0).exchange([], [3, 2, 3]);
      assert.equal(Buffer.from(written.subarray(0, usedBytes)).toString(), 'not lost');
    });
  });
});

describe('chains that break a ring', () => {
  for (const index of [0, 1, CONTROL_RECEIVE, CONTROL_TRANSMIT, 4, 5]) {
    it(`stop queue ${index} and no other, and a reset brings it back`, async () => {
      const chains = HOSTILE_CHAINS.filter(
        (each) =>
          !each.legal &&
          each.features === 0n &&
          each.without === 0n &&
          !each.twoRegions &&
          each.name !== AT_ONCE,
      );
      assert.ok(chains.length > 5);
      for (const chain of chains) {
        const { faults: broken } = await served.session(async (frontend, keep) => {
          const guest = keep(await frontend.bringUp({ queueCount: 8, queueSize: 16 }));
          // There is something to be given to each queue.
          if (index !== CONTROL_TRANSMIT) await guest.queue(CONTROL_TRANSMIT).exchange([READY], []);
          if (index === 0) await answers(guest.queue(CONTROL_RECEIVE));
          if (index === 0) {
            await guest.queue(CONTROL_TRANSMIT).exchange([message(0, 3, 1)], []);
            await guest.queue(CONTROL_TRANSMIT).exchange([message(0, 6, 1)], []);
            input.write('.');
          }
          if (index === 4) return; // nobody types there: its chains are not looked at
          const queue = guest.queue(index);
          chain.offer(queue.hostileDriver());
          queue.raw.kick();
          while (queue.errors === 0) assert.ok(await queue.waitForCall(2000), chain.name);
        });
        if (index === 4) continue;
        assert.deepEqual(
          broken.map(({ queueIndex }) => queueIndex),
          [index],
          chain.name,
        );
      }
    });
  }

  it('afterwards another guest has its console', async () => {
    await withGuest(expectAlive);
  });
});

describe('the configuration space', () => {
  it('takes an emergency character, and nothing else', async () => {
    await withGuest(async (guest) => {
      const { frontend } = guest;
      const write = (offset: number, bytes: Uint8Array) => ({
        offset,
        size: bytes.length,
        flags: 0,
        bytes,
      });
      output.read();
      assert.equal(await frontend.ack('SET_CONFIG', write(8, Buffer.from('!\0\0\0'))), 0n);
      for (const [offset, length] of [
        [0, 4],
        [4, 4],
        [0, 12],
        [9, 1],
        [8, 5],
        [12, 4],
      ] as const) {
        const answer = await frontend.ack('SET_CONFIG', write(offset, Buffer.alloc(length)));
        assert.notEqual(answer, 0n, `${length} bytes at ${offset}`);
      }
      for (let i = 0; i < 4000 && output.readableLength < 1; i++) {
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      assert.equal(String(output.read()), '!');
    });
  });
});
