/**
 * The disk as a driver that does unusual, wrong or hostile things sees it: raw chains.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMemoryBacked } from '../../sys/index.ts';
import { COUNTER, startBackend } from '../../backend/index.ts';
import type { Backend } from '../../backend/index.ts';
import { MockFrontend, expectNoLeak, holdings } from '../../testing/index.ts';
import type { MockGuestOptions, MockNegotiateOptions, MockQueue } from '../../testing/index.ts';
import { openBlk } from './index.ts';
import type { BlkOptions } from './index.ts';
import { DISCARD_RANGES_MAX, RANGE_SECTORS_MAX } from './config.ts';
import { CONFIG, VIRTIO_BLK_F, VIRTIO_BLK_S, VIRTIO_BLK_T } from './layout.ts';

const SECTORS = 2048;
const { OK, IOERR, UNSUPP } = VIRTIO_BLK_S;

interface Served {
  readonly frontend: MockFrontend;
  readonly queue: MockQueue;
  readonly backend: Backend;
  readonly image: string;
  readonly logs: string[];
}

async function withDisk(
  options: Partial<BlkOptions> & { readonly folder?: string },
  body: (served: Served) => Promise<void>,
  guestOptions: MockGuestOptions & MockNegotiateOptions = {},
): Promise<void> {
  const before = holdings();
  const { folder = tmpdir(), ...rest } = options;
  const dir = mkdtempSync(join(tmpdir(), 'vhu-req-'));
  const image = join(options.folder === undefined ? dir : folder, 'disk.img');
  const path = join(dir, 's');
  if (options.folder === undefined) writeFileSync(image, content());
  const logs: string[] = [];
  const backend = await startBackend(
    openBlk({ image, ...rest }),
    { kind: 'listen', path },
    { log: (_level, text) => logs.push(text) },
  );
  try {
    const frontend = await MockFrontend.connect(path);
    const guest = await frontend.bringUp(guestOptions);
    try {
      await body({ frontend, queue: guest.queue(0), backend, image, logs });
    } finally {
      frontend.close();
      guest.close();
    }
  } finally {
    await backend.close();
    rmSync(dir, { recursive: true });
  }
  await expectNoLeak(before);
}

async function until(happened: () => boolean): Promise<void> {
  for (let i = 0; i < 3000 && !happened(); i++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Each sector is filled with its number, modulo 251. */
function content(): Uint8Array {
  return Uint8Array.from({ length: SECTORS * 512 }, (_, i) => (i >> 9) % 251);
}

function header(type: number, sector: number | bigint = 0): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setBigUint64(8, BigInt(sector), true);
  return bytes;
}

function range(sector: number | bigint, sectorCount: number, flags: number = 0): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(sector), true);
  view.setUint32(8, sectorCount, true);
  view.setUint32(12, flags, true);
  return bytes;
}

const concat = (...parts: readonly Uint8Array[]): Uint8Array => Buffer.concat(parts);

describe('a request', () => {
  it('may be cut into buffers in any way', async () => {
    for (const engine of ['auto', 'io_uring', 'pread'] as const) {
      await withDisk({ engine }, async ({ queue, image }) => {
        const head = header(VIRTIO_BLK_T.IN, 7);
        const byByte = Array.from(head, (byte) => Uint8Array.of(byte));
        const read = await queue.exchange(byByte, [1, 2, 509, 511, 1, 1]);
        assert.equal(read.written.length, 1025);
        assert.ok(read.written.subarray(0, 512).every((byte) => byte === 7));
        assert.ok(read.written.subarray(512, 1024).every((byte) => byte === 8));
        assert.equal(read.written[1024], OK);
        // Data and status in one buffer; header and data in one buffer.
        const both = await queue.exchange([header(VIRTIO_BLK_T.IN, 9)], [513]);
        assert.ok(both.written.subarray(0, 512).every((byte) => byte === 9));
        assert.equal(both.written[512], OK);
        const data = new Uint8Array(1024).fill(0xee);
        const write = await queue.exchange([concat(header(VIRTIO_BLK_T.OUT, 11), data)], [1]);
        assert.deepEqual([...write.written], [OK]);
        const file = readFileSync(image);
        assert.ok(file.subarray(11 * 512, 13 * 512).every((byte) => byte === 0xee));
        assert.equal(file[13 * 512], 13);
      });
    }
  });

  it('may have more buffers than one system call takes', async () => {
    const sizes = Array.from({ length: 1300 }, (_, i) => (i % 2 === 0 ? 256 : 768));
    const total = sizes.reduce((sum, each) => sum + each, 0);
    for (const engine of ['auto', 'io_uring', 'pread'] as const) {
      await withDisk(
        { engine, queueSize: 2048 },
        async ({ queue }) => {
          const read = await queue.exchange([header(VIRTIO_BLK_T.IN, 0)], [...sizes, 1]);
          assert.equal(read.written[total], OK);
          assert.equal(read.usedBytes, total + 1);
          assert.deepEqual(read.written.slice(0, total), content().slice(0, total));
        },
        { queueSize: 2048, memoryBytes: 64 * 1024 * 1024 },
      );
    }
  });

  it('may have buffers that cross from one memory region into the next', async () => {
    await withDisk(
      {},
      async ({ queue }) => {
        // Long enough to cross, wherever the allocator puts it.
        const bytes = 512 * 1024;
        const read = await queue.exchange([header(VIRTIO_BLK_T.IN, 0)], [bytes, 1]);
        assert.equal(read.written[bytes], OK);
        assert.deepEqual(read.written.slice(0, bytes), content().slice(0, bytes));
      },
      { memoryBytes: 2 * 1024 * 1024, regionCount: 8 },
    );
  });

  const refused: readonly (readonly [string, Uint8Array[], number[], number])[] = [
    ['beyond the end', [header(VIRTIO_BLK_T.IN, SECTORS)], [512, 1], IOERR],
    ['across the end', [header(VIRTIO_BLK_T.IN, SECTORS - 1)], [1024, 1], IOERR],
    ['at sector 2^55', [header(VIRTIO_BLK_T.IN, 2n ** 55n)], [512, 1], IOERR],
    ['at sector 2^64 - 1', [header(VIRTIO_BLK_T.IN, 2n ** 64n - 1n)], [512, 1], IOERR],
    ['of half a sector', [header(VIRTIO_BLK_T.IN, 0)], [256, 1], IOERR],
    ['that writes half a sector', [header(VIRTIO_BLK_T.OUT), new Uint8Array(100)], [1], IOERR],
    [
      'that writes at the end',
      [header(VIRTIO_BLK_T.OUT, SECTORS), new Uint8Array(512)],
      [1],
      IOERR,
    ],
    ['of an unknown type', [header(99)], [512, 1], UNSUPP],
    ['to get a zone', [header(16)], [512, 1], UNSUPP],
    ['to discard nothing', [header(VIRTIO_BLK_T.DISCARD)], [1], IOERR],
    ['to discard half a range', [header(VIRTIO_BLK_T.DISCARD), new Uint8Array(8)], [1], IOERR],
    ['to discard beyond', [header(VIRTIO_BLK_T.DISCARD), range(SECTORS - 1, 2)], [1], IOERR],
    ['to discard at 2^60', [header(VIRTIO_BLK_T.DISCARD), range(2n ** 60n, 1)], [1], IOERR],
    [
      'to discard too much',
      [header(VIRTIO_BLK_T.DISCARD), range(0, RANGE_SECTORS_MAX + 1)],
      [1],
      IOERR,
    ],
    ['to discard with flags', [header(VIRTIO_BLK_T.DISCARD), range(0, 1, 1)], [1], UNSUPP],
    [
      'to zero two ranges',
      [header(VIRTIO_BLK_T.WRITE_ZEROES), concat(range(0, 1), range(1, 1))],
      [1],
      IOERR,
    ],
    ['to zero with odd flags', [header(VIRTIO_BLK_T.WRITE_ZEROES), range(0, 1, 2)], [1], UNSUPP],
    [
      'with too many ranges',
      [
        header(VIRTIO_BLK_T.DISCARD),
        concat(...Array.from({ length: DISCARD_RANGES_MAX + 1 }, () => range(0, 1))),
      ],
      [1],
      IOERR,
    ],
  ];
  for (const [name, readable, writable, status] of refused) {
    it(`${name} is refused, and the next one is served`, async () => {
      await withDisk({}, async ({ queue, image }) => {
        const done = await queue.exchange(readable, writable);
        assert.equal(done.written.at(-1), status);
        const next = await queue.exchange([header(VIRTIO_BLK_T.IN, 5)], [512, 1]);
        assert.equal(next.written[512], OK);
        assert.equal(next.written[0], 5);
        assert.ok(Buffer.from(content()).equals(readFileSync(image)), 'the image is untouched');
      });
    });
  }

  it('without room for a status, or without a whole header, comes back and is counted', async () => {
    await withDisk({}, async ({ queue, backend }) => {
      assert.equal((await queue.exchange([header(VIRTIO_BLK_T.OUT)], [])).usedBytes, 0);
      assert.equal((await queue.exchange([new Uint8Array(15)], [1])).usedBytes, 0);
      assert.equal((await queue.exchange([], [512])).usedBytes, 0);
      assert.equal(backend.counter(COUNTER.guestFaults), 3);
      const next = await queue.exchange([header(VIRTIO_BLK_T.IN, 5)], [512, 1]);
      assert.equal(next.written[512], OK);
    });
  });

  it('of no length succeeds', async () => {
    await withDisk({}, async ({ queue }) => {
      assert.equal((await queue.exchange([header(VIRTIO_BLK_T.IN, 0)], [1])).written[0], OK);
      assert.equal((await queue.exchange([header(VIRTIO_BLK_T.OUT, 0)], [1])).written[0], OK);
    });
  });

  it('that zeroes leaves zeroes, with and without leave to unmap', async () => {
    for (const engine of ['auto', 'io_uring', 'pread'] as const) {
      await withDisk({ engine }, async ({ queue, image }) => {
        const expected = content();
        const ranges = [
          [8, 8, 1],
          [100, 3, 0],
          [1000, 0, 0],
          [2040, 8, 1],
        ] as const;
        for (const [sector, count, flags] of ranges) {
          const request = [header(VIRTIO_BLK_T.WRITE_ZEROES), range(sector, count, flags)];
          assert.deepEqual([...(await queue.exchange(request, [1])).written], [OK]);
          expected.fill(0, sector * 512, (sector + count) * 512);
        }
        assert.ok(Buffer.from(expected).equals(readFileSync(image)), engine);
      });
    }
  });

  it('with several ranges discards each of them, and nothing else', async () => {
    for (const engine of ['auto', 'io_uring', 'pread'] as const) {
      await withDisk({ engine }, async ({ queue, image }) => {
        const ranges = concat(range(8, 8), range(1000, 0), range(2040, 8));
        const done = await queue.exchange([header(VIRTIO_BLK_T.DISCARD), ranges], [1]);
        assert.deepEqual([...done.written], [OK]);
        const before = content();
        const after = readFileSync(image);
        for (let sector = 0; sector < SECTORS; sector++) {
          const discarded = (sector >= 8 && sector < 16) || sector >= 2040;
          const is = after[sector * 512];
          const was = before[sector * 512];
          assert.ok(is === was || (discarded && is === 0), `sector ${String(sector)}`);
        }
        assert.equal(after.length, before.length);
      });
    }
  });

  it('that takes long does not keep the front-end waiting for all that came after it', async (test) => {
    if (!existsSync('/dev/shm')) {
      test.skip('this host has no /dev/shm');
      return;
    }
    // A file system that cannot zero by itself: each request writes all of it.
    const folder = mkdtempSync('/dev/shm/vhu-');
    const image = join(folder, 'disk.img');
    writeFileSync(image, '');
    truncateSync(image, 256 * 1024 * 1024);
    try {
      if (!isMemoryBacked(image)) {
        test.skip('/dev/shm is not in memory here');
        return;
      }
      await withDisk({ folder }, async ({ queue, frontend }) => {
        const all = range(0, 524288);
        for (let i = 0; i < 20; i++) {
          queue.driver.submit([header(VIRTIO_BLK_T.WRITE_ZEROES), all], [1]);
        }
        queue.publish();
        await queue.completions(1);
        const { values } = await frontend.ask('GET_VRING_BASE', 'vringState', { index: 0 });
        assert.ok(values.num < 10, `${String(values.num)} requests were finished first`);
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('for the serial is cut to the room that there is', async () => {
    await withDisk({ serial: 'abcdefghijklmnopqrst' }, async ({ queue }) => {
      const all = await queue.exchange([header(VIRTIO_BLK_T.GET_ID)], [20, 1]);
      assert.equal(Buffer.from(all.written.subarray(0, 20)).toString(), 'abcdefghijklmnopqrst');
      assert.equal(all.written[20], OK);
      const some = await queue.exchange([header(VIRTIO_BLK_T.GET_ID)], [4, 1]);
      assert.equal(Buffer.from(some.written.subarray(0, 4)).toString(), 'abcd');
    });
  });

  it('fails with an error in the log when the file system is full, and others go on', async (test) => {
    const mount = mkdtempSync(join(tmpdir(), 'vhu-full-'));
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', mount], { stdio: 'ignore' });
    } catch {
      rmSync(mount, { recursive: true });
      test.skip('mounting a small tmpfs needs root');
      return;
    }
    try {
      for (const engine of ['auto', 'io_uring', 'pread'] as const) {
        const image = join(mount, 'disk.img');
        writeFileSync(image, content().subarray(0, 64 * 512));
        execFileSync('truncate', ['-s', '8M', image]);
        await withDisk(
          { engine, folder: mount },
          async ({ queue, logs, backend }) => {
            const data = new Uint8Array(512 * 1024).fill(1);
            const statuses: number[] = [];
            for (let i = 0; i < 4; i++) {
              const request = [header(VIRTIO_BLK_T.OUT, 4096 + i * 1024), data];
              statuses.push((await queue.exchange(request, [1])).written[0] as number);
            }
            assert.deepEqual(statuses, [OK, IOERR, IOERR, IOERR], engine);
            // A line comes by way of the main thread, and others may come first.
            const refused = /write at byte \d+: ENOSPC/;
            await until(() => logs.some((line) => refused.test(line)));
            assert.match(logs.join('\n'), refused);
            assert.equal(backend.counter(COUNTER.ioErrors), 3);
            const next = await queue.exchange([header(VIRTIO_BLK_T.IN, 5)], [512, 1]);
            assert.equal(next.written[512], OK);
          },
          { memoryBytes: 4 * 1024 * 1024 },
        );
        rmSync(image);
      }
    } finally {
      execFileSync('umount', [mount]);
      rmSync(mount, { recursive: true });
    }
  });
});

describe('the configuration space', () => {
  it('says "writeback" 0 to a driver that takes CONFIG_WCE without FLUSH, until it says 1', async () => {
    // Section 5.2.5.2: such a driver has no other way to make its data durable.
    const { BLK_SIZE, FLUSH, CONFIG_WCE } = VIRTIO_BLK_F;
    const cases = [
      [BLK_SIZE | CONFIG_WCE, 0],
      [BLK_SIZE | CONFIG_WCE | FLUSH, 1],
    ] as const;
    for (const [features, expected] of cases) {
      await withDisk(
        {},
        async ({ frontend }) => {
          const read = async (): Promise<number | undefined> => {
            const ask = { offset: 0, flags: 0, bytes: new Uint8Array(CONFIG.SIZE) };
            return (await frontend.ask('GET_CONFIG', 'config', ask)).values.bytes[CONFIG.writeback];
          };
          assert.equal(await read(), expected);
          const bytes = Uint8Array.of(1 - expected);
          const offset = CONFIG.writeback;
          assert.equal(await frontend.ack('SET_CONFIG', { offset, flags: 0, bytes }), 0n);
          assert.equal(await read(), 1 - expected);
          await frontend.command('RESET_DEVICE');
          assert.equal(await read(), expected, 'after a reset');
        },
        { features },
      );
    }
  });

  it('lets a driver write "writeback" and nothing else', async () => {
    await withDisk({}, async ({ frontend, queue, image }) => {
      const write = (offset: number, bytes: Uint8Array, flags = 0): Promise<bigint> =>
        frontend.ack('SET_CONFIG', { offset, flags, bytes });
      assert.equal(await write(CONFIG.writeback, Uint8Array.of(0)), 0n);
      // Written through now: the request still works.
      const data = new Uint8Array(512).fill(0xaa);
      const done = await queue.exchange([header(VIRTIO_BLK_T.OUT, 1), data], [1]);
      assert.deepEqual([...done.written], [OK]);
      assert.equal(readFileSync(image)[512], 0xaa);
      assert.notEqual(await write(CONFIG.capacity, new Uint8Array(8)), 0n);
      assert.notEqual(await write(CONFIG.writeback, new Uint8Array(2)), 0n);
      assert.equal(await write(CONFIG.writeback, Uint8Array.of(1)), 0n);
    });
  });
});
