/**
 * The disk as a driver that behaves sees it: through a real socket, with each engine.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { startBackend } from '../../backend/index.ts';
import type { Backend } from '../../backend/index.ts';
import { BLK_FEATURE, BlkClient } from '../../frontend/index.ts';
import type { BlkClientOptions } from '../../frontend/index.ts';
import { expectNoLeak, holdings } from '../../testing/index.ts';
import { BlkDevice, openBlk } from './index.ts';
import type { BlkOptions } from './index.ts';

const MIB = 1024 * 1024;
/** tmpfs, where the image counts as being in memory; else whatever there is. */
const MEMORY_FOLDER = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

/** Ways to serve that have to look the same to a guest. */
const WAYS: readonly {
  readonly name: string;
  readonly folder: string;
  readonly options: object;
}[] = [
  { name: 'a file, best engine', folder: tmpdir(), options: {} },
  { name: 'a file in memory, best engine', folder: MEMORY_FOLDER, options: {} },
  { name: 'a file in memory, io_uring', folder: MEMORY_FOLDER, options: { engine: 'io_uring' } },
  { name: 'a file, preadv', folder: tmpdir(), options: { engine: 'pread' } },
  { name: 'a file, two threads', folder: tmpdir(), options: { threads: 2, queueCount: 2 } },
  { name: 'a file, never polling', folder: tmpdir(), options: { pollUs: 0 } },
];

interface Disk {
  readonly client: BlkClient;
  readonly device: BlkDevice;
  readonly backend: Backend;
  readonly path: string;
  readonly logs: string[];
}

/** Serves a new image and connects to it; everything is taken away afterwards, and counted. */
async function withDisk(
  folder: string,
  options: Partial<BlkOptions> & { readonly content?: Uint8Array },
  body: (disk: Disk) => Promise<void>,
  clientOptions: BlkClientOptions = {},
): Promise<void> {
  const before = holdings();
  const dir = mkdtempSync(join(folder, 'vhu-blk-'));
  const path = join(dir, 'disk.img');
  const socket = join(dir, 's');
  const { content = new Uint8Array(4 * MIB), ...rest } = options;
  writeFileSync(path, content);
  const logs: string[] = [];
  try {
    const device = openBlk({ image: path, ...rest });
    const backend = await startBackend(
      device,
      { kind: 'listen', path: socket },
      { log: (_level, text) => logs.push(text), refused: (error) => logs.push(error.message) },
    );
    try {
      const client = await BlkClient.connect(socket, clientOptions);
      try {
        await body({ client, device, backend, path, logs });
      } finally {
        await client.close();
      }
    } finally {
      await backend.close();
    }
  } finally {
    rmSync(dir, { recursive: true });
  }
  await expectNoLeak(before);
}

function pattern(lengthBytes: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  let state = seed * 2654435761 + 1;
  for (let i = 0; i < lengthBytes; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

describe('a disk', () => {
  for (const way of WAYS) {
    it(`gives back what was written to ${way.name}`, async () => {
      await withDisk(way.folder, way.options, async ({ client, path }) => {
        const lengths = [512, 1024, 4096, 65536, 3 * 512, MIB];
        let offset = 0;
        const expected = new Uint8Array(4 * MIB);
        for (const [i, length] of lengths.entries()) {
          const bytes = pattern(length, i);
          await client.write(offset, bytes);
          expected.set(bytes, offset);
          const back = new Uint8Array(length);
          await client.read(offset, back);
          assert.deepEqual(back, bytes, `${String(length)} bytes`);
          offset += length;
        }
        await client.flush();
        assert.ok(Buffer.from(expected).equals(readFileSync(path)), 'the file holds the same');
      });
    });

    it(`agrees with a model after many overlapping requests on ${way.name}`, async () => {
      const content = pattern(256 * 1024, 7);
      await withDisk(way.folder, { ...way.options, content }, async ({ client }) => {
        const model = content.slice();
        await fc.assert(
          fc.asyncProperty(requests(content.length / 512), async (list) => {
            for (const { op, sector, count } of list) {
              const [at, length] = [sector * 512, count * 512];
              if (op === 'write') {
                const bytes = pattern(length, sector + count);
                await client.write(at, bytes);
                model.set(bytes, at);
              } else if (op === 'zero') {
                await client.writeZeroes(at, length, { unmap: count % 2 === 0 });
                model.fill(0, at, at + length);
              } else {
                const back = new Uint8Array(length);
                await client.read(at, back);
                assert.deepEqual(back, model.slice(at, at + length));
              }
            }
          }),
          { numRuns: 30 },
        );
      });
    });
  }

  it('keeps hundreds of requests at once apart', async () => {
    await withDisk(
      tmpdir(),
      { queueCount: 2, threads: 2 },
      async ({ client, backend }) => {
        const count = 900;
        const block = (i: number): Uint8Array => pattern(4096, i);
        await Promise.all(
          Array.from({ length: count }, (_, i) => client.write(i * 4096, block(i))),
        );
        await Promise.all(
          Array.from({ length: count }, async (_, i) => {
            const back = new Uint8Array(4096);
            await client.read(i * 4096, back);
            assert.deepEqual(back, block(i), `block ${String(i)}`);
          }),
        );
        assert.equal(backend.connected, true);
        assert.ok(backend.counter(0) >= 2 * count);
      },
      { queueCount: 2 },
    );
  });

  it('tells its size, block size, serial and queues', async () => {
    const options = { serial: 'DISK-0001', queueCount: 3, blockBytes: 4096 };
    await withDisk(tmpdir(), options, async ({ client }) => {
      assert.equal(client.sizeBytes, 4 * MIB);
      assert.equal(client.blockBytes, 4096);
      assert.equal(client.readOnly, false);
      assert.equal(client.info.queueCount, 3);
      assert.equal(await client.serial(), 'DISK-0001');
    });
  });

  it('gives discarded space back to the file system, and reads zeroes from it', async () => {
    await withDisk(MEMORY_FOLDER, { content: pattern(4 * MIB, 3) }, async ({ client, path }) => {
      const before = statSync(path).blocks;
      await client.discard(MIB, 2 * MIB);
      assert.ok(statSync(path).blocks <= before - (2 * MIB) / 512);
      const back = new Uint8Array(4096);
      await client.read(MIB, back);
      assert.ok(back.every((byte) => byte === 0));
      assert.equal(statSync(path).size, 4 * MIB, 'the size stays');
    });
  });

  it('refuses writes, discards and zeroes when it is read-only, and still reads', async () => {
    const content = pattern(4 * MIB, 5);
    await withDisk(tmpdir(), { readOnly: true, content }, async ({ client, path }) => {
      assert.equal(client.readOnly, true);
      await assert.rejects(client.write(0, new Uint8Array(512)));
      const back = new Uint8Array(4096);
      await client.read(8192, back);
      assert.deepEqual(back, content.slice(8192, 8192 + 4096));
      assert.ok(Buffer.from(content).equals(readFileSync(path)));
    });
  });

  it('offers no discard when it was told so', async () => {
    await withDisk(tmpdir(), { discard: false }, async ({ client }) => {
      await assert.rejects(client.discard(0, 4096), { code: /UNSUPPORTED/ });
    });
  });

  it('follows the image when it grows, and tells the front-end', async () => {
    const sizes: number[] = [];
    const onResize = (bytes: number): number => sizes.push(bytes);
    await withDisk(
      tmpdir(),
      {},
      async ({ client, device, path }) => {
        await assert.rejects(client.read(4 * MIB, new Uint8Array(512)));
        truncateSync(path, 6 * MIB);
        assert.equal(device.resize(), 6 * MIB);
        for (let i = 0; i < 3000 && sizes.length === 0; i++) await sleep(10);
        assert.deepEqual(sizes, [6 * MIB]);
        const back = new Uint8Array(512);
        await client.read(6 * MIB - 512, back);
        assert.ok(back.every((byte) => byte === 0));
      },
      { onResize: (bytes) => void onResize(bytes) },
    );
  });

  for (const engine of ['io_uring', 'pread', 'auto'] as const) {
    it(`fails reads of what a shrunk file has lost, and nothing else (${engine})`, async () => {
      const content = pattern(4 * MIB, 9);
      await withDisk(tmpdir(), { engine, content }, async ({ client, path, logs }) => {
        truncateSync(path, MIB + 2048);
        await assert.rejects(client.read(2 * MIB, new Uint8Array(4096)), {
          code: 'ERR_VHU_BLK_IO',
        });
        await assert.rejects(client.read(MIB, new Uint8Array(4096)), { code: 'ERR_VHU_BLK_IO' });
        const back = new Uint8Array(4096);
        await client.read(4096, back);
        assert.deepEqual(back, content.slice(4096, 8192));
        for (let i = 0; i < 3000 && logs.length === 0; i++) await sleep(10);
        assert.match(logs.join('\n'), /the image is shorter than it was/);
      });
    });
  }

  it('makes each write durable when the driver cannot flush', async () => {
    // Without FLUSH and CONFIG_WCE the device has to write through; it still has to work.
    const features = BLK_FEATURE.BLK_SIZE | BLK_FEATURE.SEG_MAX;
    await withDisk(
      tmpdir(),
      {},
      async ({ client, path }) => {
        const bytes = pattern(4096, 1);
        await client.write(4096, bytes);
        assert.ok(Buffer.from(bytes).equals(readFileSync(path).subarray(4096, 8192)));
      },
      { features },
    );
  });

  it('reads and writes past the page cache, whatever the alignment', async (test) => {
    if (!directWorks()) {
      test.skip('the file system of the temporary folder has no direct I/O');
      return;
    }
    await withDisk('/var/tmp', { direct: true, blockBytes: 512 }, async ({ client, path }) => {
      const expected = new Uint8Array(4 * MIB);
      for (const [at, length] of [
        [0, 4096],
        [512, 512],
        [4096 * 3 + 512, 8192 + 512],
        [MIB, MIB],
        [2 * MIB + 1536, 300 * 1024],
      ] as const) {
        const bytes = pattern(length, at);
        await client.write(at, bytes);
        expected.set(bytes, at);
        const back = new Uint8Array(length);
        await client.read(at, back);
        assert.deepEqual(back, bytes);
      }
      await client.flush();
      assert.ok(Buffer.from(expected).equals(readFileSync(path)));
    });
  });
});

describe('an image', () => {
  const dir = mkdtempSync(join(tmpdir(), 'vhu-image-'));
  const path = join(dir, 'disk.img');
  const refuse = (options: Partial<BlkOptions>, code: string, text: RegExp): void => {
    const before = holdings();
    assert.throws(
      () => openBlk({ image: path, ...options }),
      (error: Error & { code?: string }) => {
        assert.equal(error.code, code);
        assert.match(error.message, text);
        return true;
      },
    );
    assert.equal(holdings().fds, before.fds, 'no fd is left open');
  };

  it('that is not there, empty, a folder or a pipe is refused in words', () => {
    refuse({}, 'ERR_VHU_OPEN', /disk\.img.*no such file/);
    writeFileSync(path, '');
    refuse({}, 'ERR_VHU_BLK_IMAGE', /0 bytes.*truncate -s/s);
    refuse(
      { image: dir, readOnly: true },
      'ERR_VHU_BLK_IMAGE',
      /neither a file nor a block device/,
    );
    refuse({ image: '/dev/null' }, 'ERR_VHU_BLK_IMAGE', /neither a file nor a block device/);
  });

  it('of another format is refused, unless it is said to be raw', () => {
    writeFileSync(path, Buffer.concat([Buffer.from('QFI\xfb', 'latin1'), Buffer.alloc(4096)]));
    refuse({}, 'ERR_VHU_BLK_IMAGE', /qcow2.*qemu-img convert/s);
    openBlk({ image: path, format: 'raw' }).close();
  });

  it('is locked against a second writer, and shared between readers', () => {
    writeFileSync(path, new Uint8Array(4096));
    const first = openBlk({ image: path });
    try {
      refuse({}, 'ERR_VHU_BLK_LOCKED', /another process uses it/);
      openBlk({ image: path, lock: false }).close();
    } finally {
      first.close();
    }
    const reader = openBlk({ image: path, readOnly: true });
    openBlk({ image: path, readOnly: true }).close();
    reader.close();
  });

  it('with options out of range is refused with the limits', () => {
    writeFileSync(path, new Uint8Array(4096));
    refuse({ queueCount: 0 }, 'ERR_VHU_OPTION', /num-queues is 0.*from 1 to 256/);
    refuse({ queueSize: 100 }, 'ERR_VHU_OPTION', /queue-size is 100: a power of two/);
    refuse({ blockBytes: 8192 }, 'ERR_VHU_OPTION', /block-size is 8192.*512 to 4096/);
    refuse({ serial: 'x'.repeat(21) }, 'ERR_VHU_OPTION', /21 bytes, at most 20/);
    refuse({ threads: 1.5 }, 'ERR_VHU_OPTION', /threads is 1\.5/);
  });

  it('whose size is no multiple of a sector ends at the last whole one', () => {
    writeFileSync(path, new Uint8Array(5000));
    const disk = openBlk({ image: path });
    assert.equal(disk.sizeBytes, 4608);
    disk.close();
    rmSync(dir, { recursive: true });
  });
});

const requests = (sectors: number): fc.Arbitrary<{ op: string; sector: number; count: number }[]> =>
  fc.array(
    fc
      .record({
        op: fc.constantFrom('read', 'write', 'zero', 'read', 'write'),
        sector: fc.nat(sectors - 1),
        count: fc.integer({ min: 1, max: 200 }),
      })
      .map((each) => ({ ...each, count: Math.min(each.count, sectors - each.sector) })),
    { maxLength: 12 },
  );

function directWorks(): boolean {
  const dir = mkdtempSync('/var/tmp/vhu-direct-');
  const path = join(dir, 'probe');
  try {
    const fd = openSync(path, 'w');
    writeSync(fd, new Uint8Array(4096));
    closeSync(fd);
    openBlk({ image: path, direct: true }).close();
    return true;
  } catch {
    return false;
  } finally {
    rmSync(dir, { recursive: true });
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
