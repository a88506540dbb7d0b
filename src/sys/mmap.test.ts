/**
 * Mappings and views.
 *
 * @module
 */
import assert from 'node:assert/strict';
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { errorCode } from '../util/index.ts';
import {
  SystemError,
  WINDOW_BYTES_MAX,
  closeFd,
  createNotifier,
  createSharedMemory,
  mapAnonymous,
  mapFd,
  openFdCount,
  openMappingCount,
  socketPair,
  viewMemory,
} from './index.ts';
import * as libc from './libc.ts';
import { NativeBlock } from './native.ts';

/** linux/memfd.h */
const MFD_HUGETLB = 4;

const folder = mkdtempSync(join(tmpdir(), 'vhu-mmap-'));
after(() => {
  rmSync(folder, { recursive: true });
});

function withFile(bytes: number, use: (fd: number) => void): void {
  const fd = openSync(join(folder, 'file'), 'w+');
  try {
    ftruncateSync(fd, bytes);
    use(fd);
  } finally {
    closeSync(fd);
  }
}

const hasCode =
  (code: string, text: RegExp) =>
  (error: unknown): boolean => {
    assert.equal(errorCode(error), code);
    assert.match((error as Error).message, text);
    return true;
  };

describe('mapping an fd', () => {
  it('shows and changes the file, at any offset and length', () => {
    withFile(200_000, (fd) => {
      for (const offset of [0, 1, 4095, 4096, 16383, 16384, 16385, 100_001]) {
        writeSync(fd, `at ${String(offset)}`, offset);
        const mapping = mapFd(fd, 50_000, offset, { writable: true });
        assert.equal(mapping.lengthBytes, 50_000);
        const bytes = Buffer.from(viewMemory(mapping.address, 50_000));
        const text = `at ${String(offset)}`;
        assert.equal(bytes.toString('latin1', 0, text.length), text);
        bytes[49_999] = 0x5a;
        mapping.unmap();
        const again = mapFd(fd, 1, offset + 49_999, { writable: false });
        assert.equal(new Uint8Array(viewMemory(again.address, 1))[0], 0x5a);
        again.unmap();
      }
    });
  });

  it('agrees with the file for any range within it', () => {
    const size = 300_000;
    const content = Buffer.from(Uint8Array.from({ length: size }, (_, i) => (i * 31) >> 3));
    withFile(size, (fd) => {
      writeSync(fd, content, 0, size, 0);
      const before = openMappingCount();
      fc.assert(
        fc.property(fc.nat(size - 1), fc.nat(size), (offset, length) => {
          const bytes = Math.max(1, Math.min(length, size - offset));
          const mapping = mapFd(fd, bytes, offset, { writable: false });
          const view = Buffer.from(viewMemory(mapping.address, bytes));
          const same = view.equals(content.subarray(offset, offset + bytes));
          mapping.unmap();
          return same;
        }),
        { numRuns: 50 },
      );
      assert.equal(openMappingCount(), before);
    });
  });

  it('refuses a range that ends past the object, which would end the process when touched', () => {
    withFile(10_000, (fd) => {
      for (const [length, offset] of [
        [10_001, 0],
        [1, 10_000],
        [4096, 8192],
        [2 ** 40, 0],
        [1, 2 ** 52],
      ] as const) {
        assert.throws(
          () => mapFd(fd, length, offset, { writable: false, label: 'region 3' }),
          hasCode('ERR_VHU_MAP_PAST_END', /^region 3: the range ends at byte \d+.* has 10000: /),
        );
      }
      mapFd(fd, 10_000, 0, { writable: false }).unmap();
      mapFd(fd, 1, 9999, { writable: false }).unmap();
    });
  });

  it('refuses shared memory that is shorter than the range', () => {
    const fd = createSharedMemory(65536, 'short');
    assert.throws(
      () => mapFd(fd, 65536 + 16384, 0, { writable: true }),
      hasCode('ERR_VHU_MAP_PAST_END', /fd \d+: the range ends at byte 81920/),
    );
    closeFd(fd);
  });

  it('refuses pipes, sockets and folders by name, and an fd that is not open', () => {
    const before = openFdCount();
    const [a, b] = socketPair();
    const pipe = new NativeBlock(8);
    libc.pipe(pipe.address);
    const [read, write] = [pipe.view.getInt32(0, true), pipe.view.getInt32(4, true)];
    const directory = openSync(folder, 'r');
    for (const [fd, kind] of [
      [a, 'socket'],
      [read, 'pipe'],
      [write, 'pipe'],
      [directory, 'directory'],
    ] as const) {
      assert.throws(
        () => mapFd(fd, 4096, 0, { writable: false, label: 'guest memory' }),
        hasCode('ERR_VHU_MAP_KIND', new RegExp(`^guest memory: a ${kind} cannot be mapped`)),
      );
    }
    for (const fd of [a, b, read, write, directory]) closeFd(fd);
    assert.throws(() => mapFd(99_999, 4096, 0, { writable: false }), /fstat\(fd 99999\): EBADF/);
    const { notifier, consumer } = createNotifier();
    assert.throws(() => mapFd(consumer.fd, 4096, 0, { writable: false }), /ERR|cannot|ends at/);
    notifier.close();
    consumer.close();
    assert.equal(openFdCount(), before);
  });

  it('reports what mmap says, with the size and advice: an empty range, a read-only fd', () => {
    withFile(4096, (fd) => {
      assert.throws(
        () => mapFd(fd, 0, 0, { writable: false, label: 'nothing' }),
        (error: unknown) => {
          assert.ok(error instanceof SystemError);
          assert.equal(error.errnoName, 'EINVAL');
          assert.match(error.message, /^mmap\(nothing, 0 bytes at 0\): EINVAL: is the fd a file/);
          return true;
        },
      );
      const readOnly = openSync(join(folder, 'file'), 'r');
      assert.throws(() => mapFd(readOnly, 4096, 0, { writable: true }), /EACCES/);
      mapFd(readOnly, 4096, 0, { writable: false }).unmap();
      closeSync(readOnly);
    });
  });

  it('maps a character device, which has no size', { skip: process.platform !== 'linux' }, () => {
    const fd = openSync('/dev/zero', 'r+');
    const mapping = mapFd(fd, 8192, 0, { writable: true });
    assert.ok(new Uint8Array(viewMemory(mapping.address, 8192)).every((byte) => byte === 0));
    mapping.unmap();
    closeSync(fd);
  });

  it('maps any range of huge pages, which have no other offsets, and unmaps all of it', (t) => {
    // No such page has to be free: nothing is touched.
    const fd = libc.memfdCreate?.('vhu-huge-pages', MFD_HUGETLB) ?? -1;
    if (fd < 0 || process.platform !== 'linux') {
      t.skip('this host has no huge pages');
      return;
    }
    const pageBytes = fstatSync(fd).blksize;
    assert.ok(pageBytes > 65536, String(pageBytes));
    ftruncateSync(fd, 4 * pageBytes);
    const mapped = (): number => readFileSync('/proc/self/maps', 'utf8').split('vhu-huge').length;
    const before = mapped();
    for (const [length, offset] of [
      [0xa0000, 0],
      [4 * pageBytes, 0],
      [3 * pageBytes, 0xc0000],
      [4096, pageBytes - 4096],
      [pageBytes + 8192, 2 * pageBytes - 4096],
    ] as const) {
      const mapping = mapFd(fd, length, offset, { writable: true });
      assert.equal(mapping.address % pageBytes, offset % pageBytes);
      assert.equal(mapped(), before + 1);
      mapping.unmap();
      assert.equal(mapped(), before, `${String(length)} bytes at ${String(offset)}`);
    }
    closeFd(fd);
  });

  it('takes 64 GiB of sparse memory, of which windows are looked at', () => {
    const bytes = 64 * 2 ** 30;
    const fd = createSharedMemory(bytes, 'huge');
    const mapping = mapFd(fd, bytes, 0, { writable: true });
    const places = [0, 5 * 2 ** 30 + 123, bytes - 4096];
    for (const [i, at] of places.entries()) {
      const view = new Uint8Array(viewMemory(mapping.address + at, 4096));
      assert.equal(view[4095], 0);
      view[4095] = i + 1;
    }
    const tail = mapFd(fd, 4096, bytes - 4096, { writable: false });
    assert.equal(new Uint8Array(viewMemory(tail.address, 4096))[4095], 3);
    const window = viewMemory(mapping.address + 4 * 2 ** 30, WINDOW_BYTES_MAX);
    assert.equal(new Uint8Array(window)[2 ** 30 + 123 + 4095], 2);
    tail.unmap();
    mapping.unmap();
    closeFd(fd);
  });
});

describe('mappings', () => {
  it('are counted, and unmapping twice is harmless', () => {
    const before = openMappingCount();
    const fd = createSharedMemory(65536, 'count');
    const first = mapFd(fd, 65536, 0, { writable: true });
    const second = mapAnonymous(8192);
    assert.equal(openMappingCount(), before + 2);
    first.unmap();
    first.unmap();
    second[Symbol.dispose]();
    second[Symbol.dispose]();
    assert.equal(openMappingCount(), before);
    closeFd(fd);
  });

  it('of private memory are zeroed, and take room only where they are touched', () => {
    const bytes = 16 * 2 ** 30;
    const mapping = mapAnonymous(bytes);
    assert.equal(mapping.lengthBytes, bytes);
    const view = new Uint8Array(viewMemory(mapping.address + bytes - 10, 10));
    assert.ok(view.every((byte) => byte === 0));
    view.fill(7);
    mapping.unmap();
  });

  it('that the host cannot give are an error that names the size', () => {
    const before = openMappingCount();
    assert.throws(
      () => mapAnonymous(2 ** 52),
      /mmap\(4503599627370496 bytes of private memory\): E/,
    );
    assert.throws(() => mapAnonymous(0), /EINVAL/);
    assert.equal(openMappingCount(), before);
  });
});

describe('views', () => {
  it('are limited to what every supported Node takes', () => {
    const mapping = mapAnonymous(4096);
    assert.ok(WINDOW_BYTES_MAX % 16384 === 0 && WINDOW_BYTES_MAX < 2 ** 31);
    assert.throws(
      () => viewMemory(mapping.address, WINDOW_BYTES_MAX + 1),
      hasCode('ERR_VHU_VIEW_LENGTH', /a view of 2147467265 bytes: the limit is 2147467264/),
    );
    assert.equal(viewMemory(mapping.address, 4096).byteLength, 4096);
    mapping.unmap();
  });

  it('take Atomics', () => {
    const mapping = mapAnonymous(4096);
    const words = new Int32Array(viewMemory(mapping.address, 4096));
    assert.equal(Atomics.add(words, 3, 5), 0);
    assert.equal(Atomics.load(words, 3), 5);
    mapping.unmap();
  });
});
