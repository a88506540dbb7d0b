/**
 * One queue of the block client against a device that does not keep to the rules.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { VhostUserError } from '../../util/index.ts';
import { Notifier, dupFd } from '../../sys/index.ts';
import { GuestMemory } from '../../memory/index.ts';
import { SplitVirtqueue, USED, USED_ELEM } from '../../virtqueue/index.ts';
import { expectNoLeak, holdings } from '../../testing/index.ts';
import { FrontendQueue } from '../queue.ts';
import { SharedMemory } from '../shared-memory.ts';
import { BlkLane } from './lane.ts';
import type { BlkRequest } from './lane.ts';
import { BLK_TYPE } from './layout.ts';
import { slotMemoryBytes } from './poller.ts';

const SLOTS = 4;
const BUFFER_BYTES = 512;

interface Rig {
  readonly lane: BlkLane;
  readonly device: SplitVirtqueue;
  readonly memory: GuestMemory;
  readonly usedGpa: number;
  readonly call: Notifier;
}

async function withLane(body: (rig: Rig) => Promise<void>): Promise<void> {
  const before = holdings();
  const shared = new SharedMemory(1024 * 1024, 0x1_0000_0000);
  const queue = new FrontendQueue(shared, { index: 0, size: 16 }, 1n << 32n, () => undefined);
  const { gpa, hva } = shared.allocate(slotMemoryBytes(SLOTS, BUFFER_BYTES), 4096);
  const slots = { count: SLOTS, bufferBytes: BUFFER_BYTES, gpa, hva };
  const lane = new BlkLane(queue, slots, Infinity);
  const memory = new GuestMemory([shared.region]);
  const device = new SplitVirtqueue({ ...queue.config, availIndex: 0 }, memory);
  const call = new Notifier(dupFd(queue.peerFds.call));
  const alive = setInterval(() => undefined, 1000); // calls alone do not keep a process alive
  try {
    await body({ lane, device, memory, usedGpa: queue.addresses('gpa').used, call });
  } finally {
    clearInterval(alive);
    call.close();
    queue.close();
    shared.close();
  }
  await expectNoLeak(before);
}

const readOf = (offsetBytes: number): BlkRequest => ({
  type: BLK_TYPE.IN,
  offsetBytes,
  lengthBytes: BUFFER_BYTES,
  bytes: new Uint8Array(BUFFER_BYTES),
});

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** The device writes a used element by hand, and shows it. */
function use({ memory, usedGpa }: Rig, index: number, id: number): void {
  const at = usedGpa + USED.ring + (index & 15) * USED.ENTRY_SIZE;
  memory.writeU32(at + USED_ELEM.id, id);
  memory.writeU32(at + USED_ELEM.len, 1);
  memory.writeU16(usedGpa + USED.idx, index + 1);
}

describe('BlkLane', () => {
  it('submits what was asked in one turn, and the rest when there is room', async () => {
    await withLane(async ({ lane, device, call }) => {
      const results = Array.from({ length: SLOTS + 2 }, (_, i) => lane.run(readOf(i * 512)));
      assert.equal(lane.load, SLOTS + 2);
      await turn();
      const chains = Array.from({ length: SLOTS }, () => device.pop());
      assert.ok(chains.every((chain) => chain !== null));
      assert.equal(device.pop(), null);
      for (const chain of chains) {
        chain.writeWritableU8(BUFFER_BYTES, 0);
        device.push(chain, BUFFER_BYTES + 1);
      }
      device.publish();
      call.signal();
      await Promise.all(results.slice(0, SLOTS));
      for (let chain = device.pop(); chain !== null; chain = device.pop()) {
        chain.writeWritableU8(BUFFER_BYTES, 0);
        device.push(chain, BUFFER_BYTES + 1);
      }
      device.publish();
      call.signal();
      await Promise.all(results);
      assert.equal(lane.load, 0);
      lane.fail(new VhostUserError('ERR_VHU_CLOSED', 'the test is over'));
    });
  });

  for (const [name, ids, code] of [
    ['a chain that does not exist', [99], 'ERR_VHU_RING_USED_ID'],
    ['a chain that is not in flight', [15], 'ERR_VHU_RING_USED_IDLE'],
    ['one chain twice', [0, 0], 'ERR_VHU_RING_USED_IDLE'],
  ] as const) {
    it(`a device that uses ${name} ends the lane, and every request is told`, async () => {
      await withLane(async (rig) => {
        const requests = [0, 1, 2, 3, 4, 5].map((i) => rig.lane.run(readOf(i * 512)));
        const settled = Promise.allSettled(requests);
        await turn();
        ids.forEach((id, index) => use(rig, index, id));
        rig.call.signal();
        const codes = (await settled).flatMap((each) =>
          each.status === 'rejected' ? [(each.reason as { code: string }).code] : [],
        );
        assert.ok(codes.length >= 5);
        // The first use of chain 0 is in order, but for its status.
        const mine = codes.filter((each) => each !== 'ERR_VHU_BLK_STATUS');
        assert.deepEqual(new Set(mine), new Set([code]));
        await assert.rejects(rig.lane.run(readOf(0)), {
          code,
          message: /^read of 512 bytes at 0: /,
        });
      });
    });
  }

  it('a used index that runs ahead ends the lane', async () => {
    await withLane(async (rig) => {
      const request = assert.rejects(rig.lane.run(readOf(0)), { code: 'ERR_VHU_RING_USED_INDEX' });
      await turn();
      rig.memory.writeU16(rig.usedGpa + USED.idx, 40);
      rig.call.signal();
      await request;
    });
  });

  it('a call without anything to take is nothing', async () => {
    await withLane(async ({ lane, device, call }) => {
      const request = lane.run(readOf(0));
      await turn();
      for (let i = 0; i < 10; i++) {
        call.signal();
        await turn();
      }
      const chain = device.pop();
      assert.ok(chain !== null);
      chain.writeWritableU8(BUFFER_BYTES, 0);
      device.push(chain, 513);
      device.publish();
      call.signal();
      await request;
      lane.fail(new VhostUserError('ERR_VHU_CLOSED', 'the test is over'));
    });
  });
});
