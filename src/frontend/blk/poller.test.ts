/**
 * The polling block driver against our own device side, in this thread and on another.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createNotifier, openFdCount, openMappingCount } from '../../sys/index.ts';
import { GuestMemory } from '../../memory/index.ts';
import { SplitVirtqueue, splitRingLayout } from '../../virtqueue/index.ts';
import type { DriverRingConfig, RingConfig } from '../../virtqueue/index.ts';
import { startNullDevice } from '../../testing/index.ts';
import { SharedMemory } from '../shared-memory.ts';
import { runBlkBench } from './bench-core.ts';
import { BLK_STATUS, BLK_TYPE } from './layout.ts';
import { BlkPoller, STATUS_NOT_WRITTEN, sectorOf, slotMemoryBytes } from './poller.ts';

const EVENT_IDX_AND_INDIRECT = 3n << 28n;

interface Rig {
  readonly poller: BlkPoller;
  readonly memory: SharedMemory;
  readonly ring: DriverRingConfig & RingConfig;
  readonly kicked: () => boolean;
  readonly close: () => void;
}

function rig(
  slots: number,
  o: { features?: bigint; bufferBytes?: number; max?: number } = {},
): Rig {
  const { features = 0n, bufferBytes = 4096, max = 2 ** 30 } = o;
  const memory = new SharedMemory(8 << 20, 0x1_0000_0000);
  const layout = splitRingLayout(256, 4);
  const range = memory.allocate(layout.totalBytes, 128);
  const tables = { gpa: range.gpa + layout.tablesOffset, hva: range.hva + layout.tablesOffset };
  const ring = {
    index: 0,
    size: 256,
    features,
    availIndex: 0,
    descHva: range.hva,
    availHva: range.hva + layout.availOffset,
    usedHva: range.hva + layout.usedOffset,
    indirect: { ...tables, descriptorsMax: 4 },
  };
  const { gpa, hva } = memory.allocate(slotMemoryBytes(slots, bufferBytes), 4096);
  const { notifier, consumer } = createNotifier();
  const poller = new BlkPoller({
    ring,
    kickFd: notifier.fd,
    slots: { count: slots, bufferBytes, gpa, hva },
    segmentBytesMax: max,
  });
  const close = (): void => {
    poller.close();
    notifier.close();
    consumer.close();
    memory.close();
  };
  return { poller, memory, ring, kicked: () => consumer.drain() === 1, close };
}

describe('BlkPoller', () => {
  it('a write carries header and buffer, a read brings the bytes, and status comes back', () => {
    const { poller, memory, ring, kicked, close } = rig(2);
    const device = new SplitVirtqueue(ring, new GuestMemory([memory.region]));
    poller.buffer(0).fill(0x5a);
    assert.ok(poller.submit(BLK_TYPE.OUT, 2 ** 33 + 1, 0, 1024));
    assert.ok(poller.submit(BLK_TYPE.IN, 7, 1, 512));
    poller.kickIfWanted();
    assert.ok(kicked());
    const write = device.pop()!;
    assert.deepEqual([write.readableBytes, write.writableBytes], [16 + 1024, 1]);
    assert.deepEqual([write.readableU32(0), write.readableU64(8)], [BLK_TYPE.OUT, 2 ** 33 + 1]);
    assert.equal(write.readableU8(16 + 1023), 0x5a);
    write.writeWritableU8(0, BLK_STATUS.IOERR);
    const read = device.pop()!;
    assert.deepEqual([read.readableBytes, read.writableBytes], [16, 513]);
    assert.deepEqual([read.readableU32(0), read.readableU64(8)], [BLK_TYPE.IN, 7]);
    read.copyToWritable(0, Buffer.alloc(512, 0x33));
    device.push(read, 0); // without a status
    device.push(write, 1);
    assert.ok(!poller.hasCompleted());
    device.publish();
    const seen: [number, number][] = [];
    assert.equal(
      poller.poll((slot, status) => seen.push([slot, status])),
      2,
    );
    assert.deepEqual(seen, [
      [1, STATUS_NOT_WRITTEN],
      [0, BLK_STATUS.IOERR],
    ]);
    assert.equal(poller.buffer(1)[511], 0x33);
    assert.equal(poller.inFlight, 0);
    close();
  });

  it('a buffer longer than the device takes in one piece is cut', () => {
    const { poller, memory, ring, close } = rig(1, { bufferBytes: 8192, max: 3000 });
    const device = new SplitVirtqueue(ring, new GuestMemory([memory.region]));
    poller.submit(BLK_TYPE.IN, 0, 0, 8192);
    poller.kickIfWanted();
    const chain = device.pop()!;
    const lengths = [...chain.length.subarray(0, chain.segmentCount)];
    assert.deepEqual(lengths, [16, 3000, 3000, 2192, 1]);
    close();
  });

  it('asks for no interrupts, and gives the kick that the device asks for', () => {
    const { poller, memory, ring, kicked, close } = rig(4, { features: EVENT_IDX_AND_INDIRECT });
    const device = new SplitVirtqueue(ring, new GuestMemory([memory.region]));
    device.enableNotifications();
    let calls = 0;
    for (let i = 0; i < 4; i++) {
      poller.submit(BLK_TYPE.FLUSH, 0, i, 0);
      poller.kickIfWanted();
      device.push(device.pop()!, 1);
      if (device.publish()) calls++;
    }
    assert.ok(calls <= 1, 'only the first decision of a device is always yes');
    assert.ok(kicked());
    assert.equal(poller.kickCount, 1);
    close();
  });

  it('sectors are 512 bytes', () => assert.equal(sectorOf(1 << 20), 2048));
});

describe('runBlkBench', () => {
  for (const features of [0n, EVENT_IDX_AND_INDIRECT]) {
    it(`counts every request of two orders (features 0x${features.toString(16)})`, async () => {
      const before = [openFdCount(), openMappingCount()];
      const { poller, memory, ring, close } = rig(16, { features });
      const device = await startNullDevice([memory.region], ring);
      const common = { op: 'read', blockBytes: 4096, capacityBytes: 1 << 20 } as const;
      const one = runBlkBench([poller], {
        ...common,
        order: 'sequential',
        depth: 1,
        requests: 999,
      });
      assert.equal(one.requests, 999);
      assert.equal(one.errors, 0);
      const many = runBlkBench([poller], { ...common, order: 'random', depth: 16, requests: 5000 });
      assert.equal(many.requests, 5000);
      assert.ok(many.iops > 0 && many.bytesPerSecond === many.iops * 4096);
      const { p50, p99, max } = many.latencyUs;
      assert.ok(p50 > 0 && p50 <= p99 && p99 <= max);
      const timed = runBlkBench([poller], { ...common, order: 'random', depth: 2, durationMs: 5 });
      assert.ok(timed.requests > 0);
      assert.equal(poller.inFlight, 0);
      assert.equal(await device.stop(), 999 + 5000 + timed.requests);
      close();
      assert.deepEqual([openFdCount(), openMappingCount()], before);
    });
  }

  it('gives up when the device does not answer', () => {
    const { poller, close } = rig(4);
    const options = { op: 'write', order: 'sequential', blockBytes: 512, depth: 2 } as const;
    assert.throws(
      () => runBlkBench([poller], { ...options, requests: 9, capacityBytes: 4096, stallMs: 20 }),
      { code: 'ERR_VHU_BENCH_STALLED', message: /2 are in flight/ },
    );
    close();
  });

  it('ends with the fault of the ring when the device breaks it', () => {
    const { poller, memory, ring, close } = rig(4);
    const guest = new GuestMemory([memory.region]);
    guest.writeU16(memory.region.gpa + (ring.usedHva - memory.region.hva) + 2, 77);
    const options = { op: 'write', order: 'sequential', blockBytes: 512, depth: 2 } as const;
    assert.throws(() => runBlkBench([poller], { ...options, requests: 9, capacityBytes: 4096 }), {
      code: 'ERR_VHU_RING_USED_INDEX',
    });
    close();
  });
});
