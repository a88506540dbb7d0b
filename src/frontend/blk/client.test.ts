/**
 * The block client with a disk in memory behind our own back-end.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import type { VhostUserError } from '../../util/index.ts';
import { Notifier, viewMemory } from '../../sys/index.ts';
import { protocolFeatures, virtioFeatures } from '../../protocol/index.ts';
import type { Frame } from '../../protocol/index.ts';
import { startBackend } from '../../backend/index.ts';
import type { Backend } from '../../backend/index.ts';
import { MockBackend, RamDisk, expectNoLeak, holdings } from '../../testing/index.ts';
import type { MockAnswer } from '../../testing/index.ts';
import { BlkClient } from './client.ts';
import type { BlkClientOptions } from './client.ts';
import { BLK_FEATURE, BLK_STATUS, BLK_TYPE } from './layout.ts';

const MIB = 1024 * 1024;

async function withClient(
  disk: RamDisk,
  options: BlkClientOptions,
  body: (client: BlkClient, backend: Backend) => Promise<void>,
): Promise<void> {
  const before = holdings();
  const folder = mkdtempSync(join(tmpdir(), 'vhu-'));
  const path = join(folder, 's');
  const backend = await startBackend(disk, { kind: 'listen', path });
  try {
    const client = await BlkClient.connect(path, options);
    try {
      await body(client, backend);
    } finally {
      await client.close();
    }
  } finally {
    await backend.close();
    rmSync(folder, { recursive: true });
  }
  await expectNoLeak(before);
}

function pattern(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 9) * 7 + seed) & 0xff);
}

/** A back-end that has 1 MiB, and never looks at a ring. */
function mockDisk(
  script: (name: string, frame: Frame) => MockAnswer | undefined = () => undefined,
): MockBackend {
  return new MockBackend({
    features: virtioFeatures('VERSION_1', 'PROTOCOL_FEATURES'),
    protocolFeatures: protocolFeatures('CONFIG', 'REPLY_ACK'),
    script: (name, frame) => {
      const answer = script(name, frame);
      if (answer !== undefined || name !== 'GET_CONFIG') return answer ?? 'agree';
      frame.payload[13] = 8; // the second byte of the capacity
      return frame.payload;
    },
  });
}

describe('BlkClient', () => {
  it('writes, reads, flushes and tells the serial number', async () => {
    const disk = new RamDisk({ serial: 'twenty-bytes-serial!', features: BLK_FEATURE.FLUSH });
    await withClient(disk, {}, async (client) => {
      assert.equal(client.sizeBytes, MIB);
      assert.equal(client.blockBytes, 512);
      assert.equal(client.readOnly, false);
      assert.equal(await client.serial(), 'twenty-bytes-serial!');
      const data = pattern(4096, 1);
      await client.write(512, data);
      await client.flush();
      assert.deepEqual(disk.bytes.subarray(512, 512 + 4096), data);
      const back = new Uint8Array(4096);
      await client.read(512, back);
      assert.deepEqual(back, data);
      assert.equal(disk.requests.at(-2)?.type, BLK_TYPE.FLUSH);
    });
  });

  it('cuts what is longer than the device takes, and puts it together again', async () => {
    const limits = { segmentBytesMax: 1536, segmentCountMax: 3, blockBytes: 1024 };
    const disk = new RamDisk({ sizeBytes: 4 * MIB, ...limits });
    await withClient(disk, {}, async (client) => {
      const data = pattern(3 * MIB, 5);
      await client.write(MIB, data);
      const back = new Uint8Array(data.length);
      await client.read(MIB, back);
      assert.ok(Buffer.from(back).equals(data));
      const longest = Math.max(...disk.requests.map((each) => each.dataBytes));
      assert.equal(longest, 4096, 'three segments of 1536 bytes hold four whole blocks');
    });
  });

  const rings = {
    'direct chains on a tiny ring': { queueSize: 4, ringFeatures: virtioFeatures('VERSION_1') },
    'indirect chains on a tiny ring': { queueSize: 4 },
    'little memory': { memoryBytes: 65536 },
    'no EVENT_IDX': { ringFeatures: virtioFeatures('VERSION_1', 'INDIRECT_DESC') },
    'no protocol feature but CONFIG': { protocolFeatures: protocolFeatures('CONFIG') },
    'several queues': { queueCount: 3 },
  };
  for (const [name, options] of Object.entries(rings)) {
    it(`many requests at once all come back right, with ${name}`, async () => {
      const disk = new RamDisk({ sizeBytes: 2 * MIB, queueCount: 4, segmentCountMax: 8 });
      await withClient(disk, options, async (client) => {
        const writes = Array.from({ length: 200 }, (_, i) => pattern(512 * (1 + (i % 7)), i));
        await Promise.all(writes.map((data, i) => client.write(i * 4096, data)));
        const reads = writes.map((data) => new Uint8Array(data.length));
        await Promise.all(reads.map((into, i) => client.read(i * 4096, into)));
        assert.deepEqual(reads, writes);
        const used = new Set(disk.requests.map((each) => each.queueIndex));
        assert.equal(used.size, client.queueCount);
        assert.equal(client.queueCount, 'queueCount' in options ? 3 : 1);
      });
    });
  }

  it('any sequence of reads and writes sees what a plain array would', async () => {
    const disk = new RamDisk({ sizeBytes: 64 * 512, segmentCountMax: 4 });
    const step = fc.record({
      write: fc.boolean(),
      sector: fc.nat(63),
      sectors: fc.integer({ min: 0, max: 64 }),
      seed: fc.nat(255),
    });
    await withClient(disk, {}, async (client) => {
      const run = async (
        steps: { write: boolean; sector: number; sectors: number; seed: number }[],
      ) => {
        const model = disk.bytes.slice();
        for (const { write, sector, sectors, seed } of steps) {
          const at = sector * 512;
          const length = Math.min(sectors * 512, model.length - at);
          const data = pattern(length, seed);
          if (write) {
            await client.write(at, data);
            model.set(data, at);
          } else {
            await client.read(at, data);
            assert.ok(Buffer.from(data).equals(model.subarray(at, at + length)));
          }
        }
        assert.ok(Buffer.from(disk.bytes).equals(model));
      };
      await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 12 }), run), { numRuns: 30 });
    });
  });

  it('discards and writes zeroes in ranges that the device takes', async () => {
    const disk = new RamDisk({ discardSectorsMax: 16, writeZeroesSectorsMax: 3 });
    await withClient(disk, {}, async (client) => {
      disk.bytes.fill(0xaa);
      await client.discard(512, 40 * 512);
      await client.writeZeroes(100 * 512, 7 * 512, { unmap: true });
      assert.deepEqual(
        disk.requests.map((each) => each.type),
        [11, 11, 11, 13, 13, 13],
      );
      const zeroes = disk.bytes.reduce((sum, byte) => sum + (byte === 0 ? 1 : 0), 0);
      assert.equal(zeroes, 47 * 512);
      assert.equal(disk.bytes[511], 0xaa);
      assert.equal(disk.bytes[41 * 512], 0xaa);
    });
  });

  it('refuses what cannot work before the device sees it', async () => {
    const disk = new RamDisk({ blockBytes: 4096 });
    await withClient(disk, {}, async (client) => {
      const range = { code: 'ERR_VHU_BLK_RANGE' };
      await assert.rejects(client.read(512, new Uint8Array(4096)), range);
      await assert.rejects(client.read(0, new Uint8Array(100)), range);
      await assert.rejects(client.read(MIB, new Uint8Array(4096)), range);
      await assert.rejects(client.read(-4096, new Uint8Array(4096)), range);
      await assert.rejects(client.write(NaN, new Uint8Array(4096)), range);
      await assert.rejects(client.discard(0, 4096), { code: 'ERR_VHU_BLK_UNSUPPORTED' });
      await assert.rejects(client.writeZeroes(0, 4096), { code: 'ERR_VHU_BLK_UNSUPPORTED' });
      await client.read(MIB, new Uint8Array(0));
      await client.flush(); // nothing to do without FLUSH
      assert.equal(disk.requests.length, 0);
    });
  });

  it('does not write to a disk that is read-only', async () => {
    const disk = new RamDisk({ features: BLK_FEATURE.RO, discardSectorsMax: 8 });
    await withClient(disk, {}, async (client) => {
      assert.ok(client.readOnly);
      const refused = { code: 'ERR_VHU_BLK_READ_ONLY' };
      await assert.rejects(client.write(0, new Uint8Array(512)), refused);
      await assert.rejects(client.discard(0, 512), refused);
      await assert.rejects(client.writeZeroes(0, 512), refused);
      await client.read(0, new Uint8Array(512));
    });
  });

  it('each status that is not OK becomes an error that names the request', async () => {
    const disk = new RamDisk();
    await withClient(disk, {}, async (client) => {
      const read = (): Promise<void> => client.read(1024, new Uint8Array(512));
      disk.answer = () => BLK_STATUS.IOERR;
      await assert.rejects(read(), {
        code: 'ERR_VHU_BLK_IO',
        message: /^read of 512 bytes at 1024: /,
      });
      disk.answer = () => BLK_STATUS.UNSUPP;
      await assert.rejects(client.serial(), {
        code: 'ERR_VHU_BLK_UNSUPPORTED',
        message: /^serial: /,
      });
      disk.answer = () => 9;
      await assert.rejects(read(), { code: 'ERR_VHU_BLK_STATUS', message: /status 9/ });
      disk.answer = () => 'no status';
      await assert.rejects(read(), { code: 'ERR_VHU_BLK_STATUS', message: /without a status/ });
      disk.answer = null;
      await read();
    });
  });

  it('a part that fails makes the request fail, once all parts are back', async () => {
    const disk = new RamDisk({ sizeBytes: 2 * MIB });
    await withClient(disk, {}, async (client) => {
      disk.answer = ({ sector }) => (sector === 256 ? BLK_STATUS.IOERR : null);
      const into = new Uint8Array(MIB);
      await assert.rejects(client.read(0, into), {
        code: 'ERR_VHU_BLK_IO',
        message: /^read of 131072 bytes at 131072/,
      });
      assert.equal(disk.requests.length, 8);
    });
  });

  it('takes answers in any order', async () => {
    const disk = new RamDisk();
    await withClient(disk, {}, async (client) => {
      disk.bytes.set(pattern(16 * 512, 3));
      disk.answer = () => 'hold';
      const reads = Array.from({ length: 16 }, () => new Uint8Array(512));
      const done = Promise.all(reads.map((into, i) => client.read(i * 512, into)));
      while (disk.requests.length < 16) await new Promise((resolve) => setImmediate(resolve));
      disk.release();
      await done;
      reads.forEach((into, i) => {
        assert.deepEqual(into, disk.bytes.slice(i * 512, i * 512 + 512));
      });
    });
  });

  it('hears of a new size, and can use it', async () => {
    const disk = new RamDisk();
    let told: (bytes: number) => void = () => undefined;
    const size = new Promise<number>((resolve) => (told = resolve));
    await withClient(disk, { onResize: (bytes) => told(bytes) }, async (client) => {
      const read = (): Promise<void> => client.read(2 * MIB - 512, new Uint8Array(512));
      await assert.rejects(read(), { code: 'ERR_VHU_BLK_RANGE' });
      disk.resize(2 * MIB);
      assert.equal(await size, 2 * MIB);
      await read();
    });
  });

  it('close lets the device finish, and rejects what is still in line', async () => {
    const disk = new RamDisk();
    const oneAtATime = { queueSize: 4, ringFeatures: virtioFeatures('VERSION_1') };
    await withClient(disk, oneAtATime, async (client) => {
      disk.answer = () => 'hold';
      const first = client.read(0, new Uint8Array(512));
      const second = client.read(512, new Uint8Array(512));
      const outcome = assert.rejects(second, { code: 'ERR_VHU_CLOSED', message: /^read of 512/ });
      while (disk.requests.length < 1) await new Promise((resolve) => setImmediate(resolve));
      const closed = client.close();
      setTimeout(() => disk.release(), 30);
      await first;
      await outcome;
      await closed;
      await assert.rejects(client.read(0, new Uint8Array(512)), { code: 'ERR_VHU_CLOSED' });
    });
  });

  it('when the back-end goes away, everything in flight is told, and nothing hangs', async () => {
    const before = holdings();
    const backend = mockDisk();
    let onEnd: (error: Error | null) => void = () => undefined;
    const ended = new Promise<Error | null>((resolve) => (onEnd = resolve));
    const client = await BlkClient.fromFd(backend.peerFd, { onEnd, queueSize: 4 });
    assert.equal(client.sizeBytes, 2048 * 512);
    const gone = { code: 'ERR_VHU_BACKEND_GONE', message: /^read of 512 bytes at 0: the back-end/ };
    const read = (): Promise<void> => client.read(0, new Uint8Array(512));
    const outcomes = [0, 1, 2].map(() => assert.rejects(read(), gone)); // one fits the ring
    await new Promise((resolve) => setImmediate(resolve));
    await backend.close();
    await Promise.all(outcomes);
    assert.match(String(await ended), /ended the connection/);
    await assert.rejects(read(), gone);
    await client.close();
    await expectNoLeak(before);
  });

  it('takes what there is of a configuration space that ends early', async () => {
    const asked: number[] = [];
    const backend = mockDisk((name, frame) => {
      if (name !== 'GET_CONFIG') return undefined;
      asked.push(frame.payload.length - 12);
      return frame.payload.length > 12 + 8 ? new Uint8Array(0) : undefined;
    });
    const client = await BlkClient.fromFd(backend.peerFd);
    assert.deepEqual(asked, [60, 36, 24, 8]);
    assert.equal(client.sizeBytes, MIB);
    await client.close();
    await backend.close();
  });

  it('a back-end that tells nothing of its configuration is no block device', async () => {
    const before = holdings();
    const backend = mockDisk((name) => (name === 'GET_CONFIG' ? new Uint8Array(0) : undefined));
    await assert.rejects(BlkClient.fromFd(backend.peerFd), { code: 'ERR_VHU_BLK_CONFIG' });
    await backend.close();
    await expectNoLeak(before);
  });

  it('a device that lies about a ring ends the session', async () => {
    const before = holdings();
    let usedHva = 0; // the front-end's address is ours, in one process
    let call: Notifier | null = null;
    const backend = mockDisk((name, { payload, fds }) => {
      if (name === 'SET_VRING_ADDR') usedHva = Number(Buffer.from(payload).readBigUInt64LE(16));
      if (name === 'SET_VRING_CALL') call = new Notifier(fds.shift() as number);
      return undefined;
    });
    const errors: string[] = [];
    const onError = (error: VhostUserError): void => void errors.push(error.code);
    const client = await BlkClient.fromFd(backend.peerFd, { onError });
    const outcome = assert.rejects(client.read(0, new Uint8Array(512)), {
      code: 'ERR_VHU_RING_USED_INDEX',
      message: /^read of 512 bytes at 0: queue 0: used.idx 40/,
    });
    await new Promise((resolve) => setImmediate(resolve));
    new Uint16Array(viewMemory(usedHva, 4))[1] = 40;
    (call as Notifier | null)?.signal();
    await outcome;
    await assert.rejects(client.read(0, new Uint8Array(512)), { code: 'ERR_VHU_RING_USED_INDEX' });
    assert.deepEqual(errors, ['ERR_VHU_RING_USED_INDEX']);
    await client.close();
    assert.ok(!client.session.connected);
    (call as Notifier | null)?.close();
    await backend.close();
    await expectNoLeak(before);
  });

  it('says that a ring is too small for a request', async () => {
    const open = withClient(new RamDisk(), { queueSize: 2 }, () => Promise.resolve());
    await assert.rejects(open, { code: 'ERR_VHU_QUEUE_SIZE', message: /at least 4/ });
  });

  it('says how much memory is needed when there is too little for one block', async () => {
    const disk = new RamDisk({ blockBytes: 65536 });
    const before = holdings();
    const open = withClient(disk, { memoryBytes: 65536 }, () => Promise.resolve());
    await assert.rejects(open, { code: 'ERR_VHU_FRONTEND_MEMORY', message: /share more memory/ });
    await expectNoLeak(before);
  });
});
