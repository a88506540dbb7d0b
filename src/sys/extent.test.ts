/**
 * Sizes, holes, space, copies and durability, in the native and in posix mode.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { ERRNO, FALLOC, allocateFd, copyRange, host, seek, seekData } from './index.ts';
import { syncFd, syncFileSystem, truncateFd } from './index.ts';

const linux = process.platform === 'linux';
const native = linux && host().mode === 'native';
const EBADF = ERRNO.EBADF as number;
const ENOSYS = ERRNO.ENOSYS as number;
const ENXIO = ERRNO.ENXIO as number;
const EOPNOTSUPP = ERRNO.EOPNOTSUPP as number;
const EINVAL = ERRNO.EINVAL as number;
const MIB = 2 ** 20;

let folder = '';
let file = '';
let fd = -1;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhu-extent-'));
  file = join(folder, 'file');
});
beforeEach(() => {
  fd = openSync(file, 'w+');
});
afterEach(() => {
  closeSync(fd);
});
after(() => rmSync(folder, { recursive: true }));

describe('the size of a file', () => {
  it('becomes larger and smaller, beyond 32 bits too', () => {
    for (const size of [10, 3, 0, 12 * 2 ** 30 + 5]) {
      assert.equal(truncateFd(fd, size), 0);
      assert.equal(statSync(file).size, size);
    }
    assert.equal(truncateFd(fd, -1), -EINVAL);
    assert.equal(truncateFd(99_999, 0), -EBADF);
  });

  it('is where seeking ends', () => {
    assert.equal(truncateFd(fd, 5 * 2 ** 32), 0);
    assert.equal(seek(fd, 0, 2), 5 * 2 ** 32);
    assert.equal(seek(fd, -1, 1), 5 * 2 ** 32 - 1);
    assert.equal(seek(fd, 7, 0), 7);
    assert.equal(seek(fd, -1, 0), -EINVAL);
  });
});

describe('space', () => {
  it('is had in advance, and the file is as long as it', () => {
    const result = allocateFd(fd, 0, 0, MIB);
    if (process.platform === 'openbsd') {
      assert.equal(result, -EOPNOTSUPP);
      return;
    }
    assert.equal(result, 0);
    const { size, blocks } = statSync(file);
    assert.equal(size, MIB);
    assert.ok(blocks * 512 >= MIB, `${String(blocks)} blocks`);
  });

  it('beyond the end leaves the size alone with KEEP_SIZE, where the host can', () => {
    const result = allocateFd(fd, FALLOC.KEEP_SIZE, 0, MIB);
    assert.equal(result, native ? 0 : -EOPNOTSUPP);
    assert.equal(statSync(file).size, 0);
  });

  it('is given back by a hole, which reads as zeros', () => {
    writeFileSync(file, Buffer.alloc(MIB, 1));
    const result = allocateFd(fd, FALLOC.PUNCH_HOLE | FALLOC.KEEP_SIZE, MIB / 4, MIB / 4);
    if (!linux && result === -EOPNOTSUPP) return;
    assert.equal(result, 0);
    const bytes = readFileSync(file);
    assert.equal(bytes.length, MIB);
    assert.ok(bytes.subarray(MIB / 4, MIB / 2).every((byte) => byte === 0));
    assert.equal(bytes.indexOf(0), MIB / 4);
    assert.equal(bytes.indexOf(1, MIB / 4), MIB / 2);
    assert.ok(statSync(file).blocks * 512 < MIB);
  });

  it('is an error number for what cannot be', () => {
    assert.ok(allocateFd(fd, 0x4000, 0, MIB) < 0);
    assert.equal(allocateFd(fd, FALLOC.PUNCH_HOLE, 0, MIB), -EOPNOTSUPP, 'without KEEP_SIZE');
    assert.ok(allocateFd(99_999, 0, 0, MIB) < 0);
    assert.ok(allocateFd(fd, 0, 0, 0) < 0, 'nothing to allocate');
  });
});

describe('data and holes', () => {
  it('are found, where the file system tells', { skip: !linux }, () => {
    writeFileSync(file, Buffer.alloc(65_536, 1));
    assert.equal(truncateFd(fd, 4 * MIB), 0);
    assert.equal(seekData(fd, 0, false), 0);
    const hole = seekData(fd, 0, true);
    assert.ok(hole === 65_536 || hole === 4 * MIB, String(hole));
    assert.equal(seekData(fd, 4 * MIB, false), -ENXIO);
    if (hole === 65_536) assert.equal(seekData(fd, 65_536, false), -ENXIO, 'no data behind');
    assert.equal(seekData(99_999, 0, true), -EBADF);
  });
});

describe('a copy within the kernel', () => {
  it('takes offsets on both sides and moves no file position, where the host can', () => {
    writeFileSync(file, 'abcdefghij');
    const target = openSync(join(folder, 'copy'), 'w+');
    const result = copyRange(fd, 2, target, 5, 4);
    const can = native || process.platform === 'freebsd';
    assert.equal(result, can ? 4 : -ENOSYS);
    if (can) {
      assert.deepEqual(readFileSync(join(folder, 'copy')), Buffer.from('\0\0\0\0\0cdef'));
      assert.equal(seek(fd, 0, 1), 0);
      assert.equal(copyRange(fd, 10, target, 0, 4), 0, 'the end');
      assert.equal(copyRange(fd, 8, target, 0, 100), 2);
      assert.equal(copyRange(99_999, 0, target, 0, 4), -EBADF);
    }
    closeSync(target);
  });
});

describe('making durable', () => {
  it('works on files and on folders', () => {
    const dir = openSync(folder, 'r');
    for (const each of [fd, dir]) {
      assert.equal(syncFd(each, false), 0);
      assert.equal(syncFd(each, true), 0);
    }
    assert.equal(syncFd(99_999, false), -EBADF);
    assert.equal(syncFileSystem(dir), native ? 0 : -ENOSYS);
    closeSync(dir);
  });
});
