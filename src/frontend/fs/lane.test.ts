/**
 * One queue of FUSE requests, and the polling driver below it, with a device that is played by
 * hand: what goes where in memory, and what a device that breaks the rules comes to.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { VhostUserError } from '../../util/index.ts';
import { Notifier, dupFd } from '../../sys/index.ts';
import { GuestMemory } from '../../memory/index.ts';
import { FUSE_IN_HEADER, FUSE_OPCODE } from '../../fuse/index.ts';
import { SplitVirtqueue, USED, USED_ELEM } from '../../virtqueue/index.ts';
import { FuseScript, TestBackend, expectNoLeak, holdings } from '../../testing/index.ts';
import { FrontendQueue } from '../queue.ts';
import { SharedMemory } from '../shared-memory.ts';
import { FsBench } from './bench-core.ts';
import { FuseLane } from './lane.ts';
import type { FuseRequest } from './lane.ts';
import { BAD_REPLY, FusePoller, NO_REPLY, fuseSlotBytes } from './poller.ts';
import type { FuseSlots } from './poller.ts';

const SLOTS = 4;
const BUFFER_BYTES = 8192;
const IDENTITY = { uid: 1, gid: 2, pid: 3 };

interface Rig {
  readonly queue: FrontendQueue;
  readonly slots: FuseSlots;
  readonly device: SplitVirtqueue;
  readonly memory: GuestMemory;
  readonly usedGpa: number;
  readonly call: Notifier;
}

async function withQueue(body: (rig: Rig) => Promise<void> | void): Promise<void> {
  const before = holdings();
  const shared = new SharedMemory(1024 * 1024, 0x1_0000_0000);
  const queue = new FrontendQueue(shared, { index: 1, size: 32 }, 1n << 32n, () => undefined);
  const { gpa, hva } = shared.allocate(fuseSlotBytes(SLOTS, BUFFER_BYTES), 4096);
  const slots = { count: SLOTS, bufferBytes: BUFFER_BYTES, gpa, hva };
  const memory = new GuestMemory([shared.region]);
  const device = new SplitVirtqueue({ ...queue.config, availIndex: 0 }, memory);
  const call = new Notifier(dupFd(queue.peerFds.call));
  const alive = setInterval(() => undefined, 1000); // calls alone do not keep a process alive
  try {
    await body({ queue, slots, device, memory, usedGpa: queue.addresses('gpa').used, call });
  } finally {
    clearInterval(alive);
    call.close();
    queue.close();
    shared.close();
  }
  await expectNoLeak(before);
}

const getattr: FuseRequest = {
  opcode: FUSE_OPCODE.GETATTR,
  nodeId: 1,
  identity: IDENTITY,
  args: new Uint8Array(16),
  outBytes: 104,
};

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** The device writes a used element by hand, and shows it. */
function use({ memory, usedGpa }: Rig, index: number, id: number): void {
  const at = usedGpa + USED.ring + (index & 31) * USED.ENTRY_SIZE;
  memory.writeU32(at + USED_ELEM.id, id);
  memory.writeU32(at + USED_ELEM.len, 120);
  memory.writeU16(usedGpa + USED.idx, index + 1);
}

describe('FusePoller', () => {
  it('lays a request out as a kernel does: header, arguments, data; header, structure, data', async () => {
    await withQueue(({ queue, slots, device }) => {
      const { config: ring, kickFd } = queue;
      const poller = new FusePoller({ ring, kickFd, slots, segmentBytes: 4096 });
      poller.uid = 7;
      const nodeId = 2 ** 40 + 5;
      poller.controlBytes.fill(0xaa, poller.argsAt(2), poller.argsAt(2) + 16);
      poller.buffer(2).fill(0xbb);
      assert.ok(poller.submit(2, FUSE_OPCODE.WRITE, nodeId, 16, 5000, 8, 4097));
      poller.kickIfWanted();
      const chain = device.pop();
      assert.ok(chain !== null);
      assert.deepEqual([...chain.length.subarray(0, 8)], [40, 16, 4096, 904, 16, 8, 4096, 1]);
      assert.equal(chain.readableCount, 4);
      assert.equal(chain.readableU32(FUSE_IN_HEADER.len), 40 + 16 + 5000);
      assert.equal(chain.readableU64(FUSE_IN_HEADER.nodeid), nodeId);
      assert.equal(chain.readableU64(FUSE_IN_HEADER.unique), poller.uniqueOf(2));
      assert.equal(chain.readableU32(FUSE_IN_HEADER.uid), 7);
      const bytes = new Uint8Array(40 + 16 + 5000);
      chain.copyFromReadable(0, bytes);
      assert.ok(bytes.subarray(40, 56).every((byte) => byte === 0xaa));
      assert.ok(bytes.subarray(56).every((byte) => byte === 0xbb));
      device.push(chain, 0); // and no answer at all
      device.publish();
      const done: number[][] = [];
      assert.equal(
        poller.poll((slot, error, length) => done.push([slot, error, length])),
        1,
      );
      assert.deepEqual(done, [[2, BAD_REPLY, 0]]);
      poller.close();
    });
  });

  it('does not take the answer to the request before for the one of now', async () => {
    await withQueue(({ queue, slots, device }) => {
      const { config: ring, kickFd } = queue;
      const poller = new FusePoller({ ring, kickFd, slots });
      const errors: number[] = [];
      for (const answers of [true, false]) {
        poller.submit(0, FUSE_OPCODE.FLUSH, 1, 24, 0, 0, 0);
        poller.kickIfWanted();
        const chain = device.pop();
        assert.ok(chain !== null);
        const header = Buffer.alloc(16);
        header.writeUInt32LE(16, 0);
        header.writeBigUInt64LE(BigInt(poller.uniqueOf(0)), 8);
        if (answers) chain.copyToWritable(0, header);
        device.push(chain, 16);
        device.publish();
        poller.poll((_slot, error) => errors.push(error));
      }
      assert.deepEqual(errors, [0, BAD_REPLY]);
      poller.submit(1, FUSE_OPCODE.FORGET, 1, 8, 0, NO_REPLY, 0);
      poller.kickIfWanted();
      assert.equal(device.pop()?.writableBytes, 0);
      poller.close();
    });
  });
});

describe('FuseLane', () => {
  for (const [name, ids, code] of [
    ['a chain that does not exist', [99], 'ERR_VHU_RING_USED_ID'],
    ['a chain that is not in flight', [31], 'ERR_VHU_RING_USED_IDLE'],
    ['one chain twice', [0, 0], 'ERR_VHU_RING_USED_IDLE'],
  ] as const) {
    it(`a device that uses ${name} ends the lane, and every request is told`, async () => {
      await withQueue(async (rig) => {
        const faults: string[] = [];
        const onFault = (error: VhostUserError): number => faults.push(error.code);
        const lane = new FuseLane(rig.queue, rig.slots, Infinity, onFault);
        const requests = [0, 1, 2, 3, 4, 5].map(() => lane.run(getattr).answer);
        assert.equal(lane.load, 6);
        const settled = Promise.allSettled(requests);
        await turn();
        ids.forEach((id, index) => use(rig, index, id));
        rig.call.signal();
        const codes = (await settled).flatMap((each) =>
          each.status === 'rejected' ? [(each.reason as { code: string }).code] : [],
        );
        // The first use of chain 0 is in order, but for its answer.
        assert.equal(codes.length, 6);
        const mine = codes.filter((each) => each !== 'ERR_VHU_FS_REPLY');
        assert.deepEqual(new Set(mine), new Set([code]));
        assert.deepEqual(faults, [code]);
        await assert.rejects(lane.run(getattr).answer, { code, message: /^getattr: / });
      });
    });
  }

  it('a used index that runs ahead ends the lane', async () => {
    await withQueue(async (rig) => {
      const lane = new FuseLane(rig.queue, rig.slots, Infinity, () => undefined);
      const { answer } = lane.run(getattr);
      const request = assert.rejects(answer, { code: 'ERR_VHU_RING_USED_INDEX' });
      await turn();
      rig.memory.writeU16(rig.usedGpa + USED.idx, 40);
      rig.call.signal();
      await request;
    });
  });

  it('fails what waits and what is in flight, once', async () => {
    await withQueue(async (rig) => {
      const lane = new FuseLane(rig.queue, rig.slots, Infinity, () => undefined);
      const tickets = Array.from({ length: SLOTS + 1 }, () => lane.run(getattr));
      const settled = Promise.allSettled(tickets.map(({ answer }) => answer));
      await turn();
      const uniques = tickets.map(({ unique }) => unique());
      assert.ok(uniques.slice(0, SLOTS).every((unique) => unique > 0));
      assert.equal(uniques[SLOTS], 0, 'the last one waits');
      lane.fail(new VhostUserError('ERR_VHU_CLOSED', 'the test is over'));
      lane.fail(new VhostUserError('ERR_VHU_OTHER', 'twice'));
      for (const each of await settled) {
        assert.equal(
          each.status === 'rejected' && (each.reason as Error).message,
          'getattr: the test is over',
        );
      }
    });
  });
});

describe('FsBench', () => {
  it('gives up when nothing comes back, and leaves nothing open', async () => {
    const before = holdings();
    const served = await TestBackend.start(new FuseScript()); // on this thread, which is busy
    const setup = { socketPath: served.socketPath, stallMs: 50 };
    await assert.rejects(FsBench.open(setup), { code: 'ERR_VHU_BENCH_STALLED' });
    await served.close();
    await expectNoLeak(before);
  });
});
