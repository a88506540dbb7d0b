/**
 * Files and block devices as the data path uses them.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { errorCode, errorMessage } from '../util/index.ts';
import {
  ERRNO,
  blockDeviceZero,
  closeFd,
  dataSync,
  fileInfo,
  lockImage,
  mapAnonymous,
  mapFd,
  openFdCount,
  openFile,
  pread,
  preadv,
  preadvCached,
  punchHole,
  pwrite,
  pwritev,
  socketPair,
  viewMemory,
  zeroRange,
} from './index.ts';
import { eachBuffer } from './file.ts';

const folder = mkdtempSync(join(tmpdir(), 'vhu-file-'));
const path = join(folder, 'image');
const memory = mapAnonymous(1 << 20); // page-aligned, as direct I/O wants it
const bytes = new Uint8Array(viewMemory(memory.address, 1 << 20));
const view = new DataView(bytes.buffer);
after(() => {
  memory.unmap();
  rmSync(folder, { recursive: true });
});

const errno = (name: string): number => -(ERRNO[name] as number);

/**
 * Runs `use` on an image of a size, filled with a pattern, and checks that no fd is left behind.
 */
function withImage(sizeBytes: number, use: (fd: number) => void): void {
  writeFileSync(path, Buffer.alloc(sizeBytes, 0xa5));
  const before = openFdCount();
  const fd = openFile(path, { writable: true });
  try {
    use(fd);
  } finally {
    closeFd(fd);
  }
  assert.equal(openFdCount(), before);
}

/** Writes a `struct iovec` array at the end of the memory and returns its address. */
function iovecs(...list: [at: number, bytes: number][]): number {
  const base = (1 << 20) - 4096;
  list.forEach(([at, length], i) => {
    view.setBigUint64(base + i * 16, BigInt(memory.address + at), true);
    view.setBigUint64(base + i * 16 + 8, BigInt(length), true);
  });
  return memory.address + base;
}

describe('reading and writing', () => {
  it('moves bytes between a file and memory, short at the end and 0 beyond', () => {
    withImage(10_000, (fd) => {
      bytes.fill(0x11, 0, 100);
      assert.equal(pwrite(fd, memory.address, 100, 5000), 100);
      assert.equal(pread(fd, memory.address + 4096, 8192, 4990), 5010);
      assert.equal(bytes[4096 + 9], 0xa5);
      assert.equal(bytes[4096 + 10], 0x11);
      assert.equal(pread(fd, memory.address, 10, 10_000), 0);
      assert.equal(pread(fd, memory.address, 10, 2 ** 40), 0);
      assert.equal(pwrite(fd, memory.address, 1, 5 * 2 ** 32), 1, 'beyond 4 GiB');
      assert.equal(fstatSync(fd).size, 5 * 2 ** 32 + 1);
    });
  });

  it('gathers and scatters by iovecs, across their borders', () => {
    withImage(4096, (fd) => {
      for (let i = 0; i < 100; i++) bytes[i] = i;
      const out = iovecs([90, 10], [0, 20], [50, 5]);
      assert.equal(pwritev(fd, out, 3, 100), 35);
      const expected = [...bytes.slice(90, 100), ...bytes.slice(0, 20), ...bytes.slice(50, 55)];
      const into = iovecs([1000, 3], [2000, 0], [3000, 32]);
      assert.equal(preadv(fd, into, 3, 100), 35);
      assert.deepEqual([...bytes.slice(1000, 1003), ...bytes.slice(3000, 3032)], expected);
      assert.equal(preadv(fd, iovecs([0, 4000], [5000, 4000]), 2, 96), 4000, 'short at the end');
    });
  });

  it('does the same buffer by buffer where the host has no preadv', () => {
    withImage(4096, (fd) => {
      for (let i = 0; i < 100; i++) bytes[i] = 200 - i;
      assert.equal(eachBuffer(pwrite, fd, iovecs([0, 10], [50, 10]), 2, 4080), 20);
      assert.equal(fstatSync(fd).size, 4100);
      const into = iovecs([1000, 3], [2000, 5], [3000, 100], [4000, 7]);
      assert.equal(eachBuffer(pread, fd, into, 4, 4080), 20, 'it stops at the end of the file');
      const got = [
        ...bytes.slice(1000, 1003),
        ...bytes.slice(2000, 2005),
        ...bytes.slice(3000, 3012),
      ];
      assert.deepEqual(got, [...bytes.slice(0, 10), ...bytes.slice(50, 60)]);
      assert.equal(eachBuffer(pread, 99_999, into, 4, 0), errno('EBADF'));
      let calls = 0;
      const failing = (_fd: number, _at: number, length: number): number =>
        ++calls === 1 ? length : errno('EIO');
      assert.equal(eachBuffer(failing, fd, into, 4, 0), 3, 'what came before the error counts');
    });
  });

  it('returns negative error numbers and does not throw', () => {
    const [a, b] = socketPair();
    assert.equal(pread(a, memory.address, 1, 0), errno('ESPIPE'));
    assert.equal(pwrite(99_999, memory.address, 1, 0), errno('EBADF'));
    const iov = iovecs([0, 1]);
    assert.equal(preadv(99_999, iov, 1, 0), errno('EBADF'));
    assert.equal(pwritev(99_999, iov, 1, 0), errno('EBADF'));
    assert.equal(dataSync(99_999), errno('EBADF'));
    closeFd(a);
    closeFd(b);
    withImage(4096, (fd) => {
      assert.equal(pread(fd, 8, 10, 0), errno('EFAULT'));
      assert.equal(pread(fd, memory.address, 10, -1), errno('EINVAL'));
      const readOnly = openFile(path, { writable: false });
      assert.equal(pwrite(readOnly, memory.address, 1, 0), errno('EBADF'));
      assert.equal(pwritev(readOnly, iov, 1, 0), errno('EBADF'));
      closeFd(readOnly);
    });
  });

  it('of cached bytes alone gives them, or says that it would wait or cannot tell', () => {
    withImage(8192, (fd) => {
      const result = preadvCached(fd, iovecs([0, 4096]), 1, 0);
      assert.ok([4096, errno('EAGAIN'), errno('EOPNOTSUPP')].includes(result), String(result));
      if (result === 4096) assert.equal(bytes[4095], 0xa5);
    });
  });

  it('makes data durable', () => {
    withImage(4096, (fd) => {
      pwrite(fd, memory.address, 100, 0);
      assert.equal(dataSync(fd), 0);
    });
  });

  it('reports a full device', { skip: existsSync('/dev/full') ? false : 'no /dev/full' }, () => {
    const fd = openSync('/dev/full', 'w');
    assert.equal(pwrite(fd, memory.address, 100, 0), errno('ENOSPC'));
    assert.equal(pwritev(fd, iovecs([0, 100]), 1, 0), errno('ENOSPC'));
    closeSync(fd);
  });

  it('reports a full file system, after as many bytes as it took', (t) => {
    const mount = join(folder, 'small');
    mkdirSync(mount);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'none', mount], { stdio: 'pipe' });
    } catch (error) {
      t.skip(`a small tmpfs cannot be mounted: ${errorMessage(error)}`);
      return;
    }
    try {
      writeFileSync(join(mount, 'image'), '');
      const fd = openFile(join(mount, 'image'), { writable: true });
      let at = 0;
      let result: number;
      while ((result = pwrite(fd, memory.address, 10_000, at)) > 0) at += result;
      assert.equal(result, errno('ENOSPC'));
      assert.equal(at, 65536, 'a short write comes before the error');
      const hole = punchHole(fd, 0, 32768);
      if (hole !== errno('EOPNOTSUPP')) assert.equal(hole, 0);
      else ftruncateSync(fd, 32768); // this host has no holes
      assert.equal(pwrite(fd, memory.address, 4096, 0), 4096, 'a hole makes room');
      closeFd(fd);
    } finally {
      execFileSync('umount', [mount]);
    }
  });
});

describe('holes and zeros', () => {
  it('a punched hole reads as zeros, gives its space back and keeps the size', () => {
    withImage(1 << 20, (fd) => {
      dataSync(fd);
      const before = fstatSync(fd).blocks;
      const result = punchHole(fd, 65536, 131_072);
      if (result === errno('EOPNOTSUPP')) return; // this file system has no holes
      assert.equal(result, 0);
      assert.equal(fstatSync(fd).size, 1 << 20);
      assert.ok(fstatSync(fd).blocks < before);
      const content = readFileSync(path);
      assert.ok(content.subarray(65536, 65536 + 131_072).every((byte) => byte === 0));
      assert.equal(content[65535], 0xa5);
      assert.equal(content[65536 + 131_072], 0xa5);
    });
  });

  it('a zeroed range reads as zeros and keeps the size', () => {
    withImage(1 << 20, (fd) => {
      const result = zeroRange(fd, 4096, 8192);
      if (result !== errno('EOPNOTSUPP')) {
        assert.equal(result, 0);
        const content = readFileSync(path);
        assert.ok(content.subarray(4096, 12_288).every((byte) => byte === 0));
        assert.equal(content[4095], 0xa5);
        assert.equal(content[12_288], 0xa5);
      }
      assert.equal(fstatSync(fd).size, 1 << 20);
    });
  });

  it('refuses what is no file, by its number', () => {
    const unsupported = errno('EOPNOTSUPP'); // where the host cannot do it to any file
    const [EBADF, EINVAL] = [errno('EBADF'), errno('EINVAL')];
    assert.ok([EBADF, unsupported].includes(punchHole(99_999, 0, 4096)));
    assert.ok([EBADF, unsupported].includes(zeroRange(99_999, 0, 4096)));
    if (process.platform === 'linux') assert.equal(zeroRange(99_999, 0, 4096), EBADF);
    withImage(4096, (fd) => {
      assert.ok([EINVAL, unsupported].includes(punchHole(fd, 0, 0)));
      assert.ok(blockDeviceZero(fd, 0, 4096, false) < 0);
    });
  });
});

describe('opening', () => {
  const text =
    (expected: RegExp) =>
    (error: unknown): boolean => {
      assert.equal(errorCode(error), 'ERR_VHU_OPEN');
      assert.match((error as Error).message, expected);
      return true;
    };

  it('says in words why it failed', () => {
    const missing = join(folder, 'missing');
    assert.throws(
      () => openFile(missing, { writable: true }),
      text(/^open\(.*\/missing\): ENOENT: there is no such file$/),
    );
    assert.throws(() => openFile(folder, { writable: true }), text(/EISDIR: it is a folder/));
    assert.throws(() => openFile(`${folder}/a\0b`, { writable: true }), text(/ERR_INVALID_ARG/));
    writeFileSync(path, '');
    assert.throws(() => openFile(join(path, 'x'), { writable: true }), text(/ENOTDIR$/));
    assert.equal(existsSync(missing), false, 'it never makes a file');
  });

  it('describes files, and what is neither file nor disk', () => {
    withImage(12_345, (fd) => {
      const info = fileInfo(fd);
      assert.deepEqual([info.kind, info.sizeBytes, info.blockBytes], ['file', 12_345, 512]);
      assert.ok(info.optimalBytes >= 512);
    });
    for (const other of ['/dev/null', folder]) {
      const fd = openSync(other, 'r');
      assert.deepEqual([fileInfo(fd).kind, fileInfo(fd).sizeBytes], ['other', 0]);
      closeSync(fd);
    }
  });

  it('past the page cache takes aligned requests only', (t) => {
    writeFileSync(path, Buffer.alloc(65536, 0x77));
    let fd: number;
    try {
      fd = openFile(path, { writable: true, direct: true });
    } catch (error) {
      assert.match(errorMessage(error), /EINVAL: this file system has no direct I\/O/);
      t.skip('the file system of the temporary folder has no direct I/O');
      return;
    }
    assert.equal(pread(fd, memory.address, 4096, 4096), 4096);
    assert.equal(bytes[0], 0x77);
    bytes.fill(0x78, 0, 4096);
    assert.equal(pwrite(fd, memory.address, 4096, 8192), 4096);
    assert.equal(readFileSync(path)[8192], 0x78);
    const odd = pread(fd, memory.address + 1, 100, 3);
    assert.ok(odd === errno('EINVAL') || odd === 100); // macOS has no such rule
    closeFd(fd);
  });

  it('locks an image against a second writer, and lets readers share it', () => {
    writeFileSync(path, '');
    const first = openFile(path, { writable: true });
    const second = openFile(path, { writable: true });
    assert.equal(lockImage(first, { exclusive: true }), true);
    assert.equal(lockImage(second, { exclusive: true }), false);
    assert.equal(lockImage(second, { exclusive: false }), false);
    assert.equal(lockImage(first, { exclusive: false }), true);
    assert.equal(lockImage(second, { exclusive: false }), true);
    assert.equal(lockImage(first, { exclusive: true }), false);
    closeFd(second);
    assert.equal(lockImage(first, { exclusive: true }), true, 'closing gives the lock back');
    closeFd(first);
    assert.equal(lockImage(99_999, { exclusive: true }), true, 'no locks there: not an obstacle');
  });
});

describe('a block device', () => {
  /** Attaches a file as a loop device and runs `use` on it; false when that cannot be done here. */
  function withLoop(
    t: { skip(why: string): void },
    options: { sizeBytes: number; blockBytes: number },
    use: (fd: number) => void,
  ): void {
    if (process.platform !== 'linux') {
      t.skip('loop devices are Linux’s');
      return;
    }
    writeFileSync(path, '');
    const backing = openSync(path, 'r+');
    ftruncateSync(backing, options.sizeBytes);
    closeSync(backing);
    let device: string;
    try {
      const args = ['--find', '--show', '--sector-size', String(options.blockBytes), path];
      device = execFileSync('losetup', args, { encoding: 'utf8', stdio: 'pipe' }).trim();
    } catch (error) {
      t.skip(`no loop device here: ${errorMessage(error).split('\n')[0] ?? ''}`);
      return;
    }
    try {
      const fd = openFile(device, { writable: true });
      try {
        use(fd);
      } finally {
        closeFd(fd);
      }
    } finally {
      execFileSync('losetup', ['--detach', device]);
    }
  }

  it('has the size and the block size that the device says', (t) => {
    for (const blockBytes of [512, 4096]) {
      withLoop(t, { sizeBytes: 8 << 20, blockBytes }, (fd) => {
        const info = fileInfo(fd);
        assert.deepEqual(
          [info.kind, info.sizeBytes, info.blockBytes],
          ['block', 8 << 20, blockBytes],
        );
      });
    }
  });

  it('discards and zeroes ranges', (t) => {
    withLoop(t, { sizeBytes: 8 << 20, blockBytes: 512 }, (fd) => {
      bytes.fill(0x33, 0, 65536);
      assert.equal(pwrite(fd, memory.address, 65536, 0), 65536);
      assert.equal(dataSync(fd), 0);
      assert.equal(blockDeviceZero(fd, 4096, 8192, true), 0);
      assert.equal(pread(fd, memory.address, 65536, 0), 65536);
      assert.ok(bytes.subarray(4096, 12_288).every((byte) => byte === 0));
      assert.equal(bytes[4095], 0x33);
      assert.equal(bytes[12_288], 0x33);
      assert.equal(blockDeviceZero(fd, 32_768, 4096, false), 0);
      assert.equal(blockDeviceZero(fd, 8 << 20, 4096, true), errno('EINVAL'), 'past the end');
      assert.equal(blockDeviceZero(fd, 1, 4096, true), errno('EINVAL'), 'not a whole block');
    });
  });

  it('can be mapped, but not past its end', (t) => {
    withLoop(t, { sizeBytes: 1 << 20, blockBytes: 512 }, (fd) => {
      mapFd(fd, 1 << 20, 0, { writable: false }).unmap();
      assert.throws(
        () => mapFd(fd, 1 << 20, 4096, { writable: false }),
        (error: unknown) => errorCode(error) === 'ERR_VHU_MAP_PAST_END',
      );
    });
  });
});
