/**
 * Locks that belong to an open file: two of them in one process conflict, as two guests' do.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import {
  ERRNO,
  LOCK_OP,
  LOCK_TYPE,
  LockBlock,
  flockFd,
  host,
  ofdGetLock,
  ofdLock,
} from './index.ts';

const EAGAIN = ERRNO.EAGAIN as number;
const EBADF = ERRNO.EBADF as number;
const EINVAL = ERRNO.EINVAL as number;
const ENOSYS = ERRNO.ENOSYS as number;
const { READ, WRITE, NONE } = LOCK_TYPE;

let folder = '';
let a = -1;
let b = -1;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhu-lock-'));
  a = openSync(join(folder, 'file'), 'w+');
  b = openSync(join(folder, 'file'), 'r+');
});
after(() => {
  for (const fd of [a, b]) closeSync(fd);
  rmSync(folder, { recursive: true });
});

const ranges = ofdGetLockWorks();

/** Whether this host, in this mode, has locks of ranges that belong to open files. */
function ofdGetLockWorks(): boolean {
  return ofdGetLock(99_999, new LockBlock()) !== -ENOSYS;
}

describe('locks of ranges', () => {
  it('are there on Linux in native mode, and not in posix mode', () => {
    if (process.platform === 'linux') assert.equal(ranges, host().mode === 'native');
    assert.equal(ofdLock(99_999, WRITE, 0, 0), ranges ? -EBADF : -ENOSYS);
  });

  it('conflict between open files, and tell who is in the way', { skip: !ranges }, () => {
    assert.equal(ofdLock(a, WRITE, 100, 50), 0);
    assert.equal(ofdLock(b, READ, 149, 1), -EAGAIN);
    assert.equal(ofdLock(b, READ, 150, 1), 0);
    assert.equal(ofdLock(a, READ, 0, 0), 0, 'readers share, and a lock becomes a weaker one');
    assert.equal(ofdLock(b, READ, 0, 0), 0);
    assert.equal(ofdLock(b, WRITE, 0, 10), -EAGAIN);
    assert.equal(ofdLock(a, NONE, 0, 0), 0);
    assert.equal(ofdLock(b, WRITE, 5 * 2 ** 32, 10), 0);
    const lock = new LockBlock();
    Object.assign(lock, { type: WRITE, start: 5 * 2 ** 32 + 9, len: 100 });
    assert.equal(ofdGetLock(a, lock), 0);
    const { type, start, len, pid } = lock;
    assert.deepEqual([type, start, len, pid], [WRITE, 5 * 2 ** 32, 10, 0]);
    Object.assign(lock, { type: WRITE, start: 6 * 2 ** 32, len: 100 });
    assert.equal(ofdLock(b, NONE, 0, 0), 0);
    assert.equal(ofdGetLock(a, lock), 0);
    assert.equal(lock.type, NONE);
  });

  it('end with the open file', { skip: !ranges }, () => {
    const c = openSync(join(folder, 'file'), 'r+');
    assert.equal(ofdLock(c, WRITE, 0, 0), 0);
    assert.equal(ofdLock(a, READ, 0, 1), -EAGAIN);
    closeSync(c);
    assert.equal(ofdLock(a, READ, 0, 1), 0);
    assert.equal(ofdLock(a, NONE, 0, 0), 0);
  });

  it('of a type that there is not are refused', { skip: !ranges }, () => {
    assert.equal(ofdLock(a, 3, 0, 0), -EINVAL);
    assert.equal(ofdLock(a, -1, 0, 0), -EINVAL);
  });
});

describe('locks of a whole file', () => {
  it('conflict between open files', () => {
    assert.equal(flockFd(a, LOCK_OP.SHARED | LOCK_OP.NO_WAIT), 0);
    assert.equal(flockFd(b, LOCK_OP.SHARED | LOCK_OP.NO_WAIT), 0);
    assert.equal(flockFd(b, LOCK_OP.EXCLUSIVE | LOCK_OP.NO_WAIT), -EAGAIN);
    assert.equal(flockFd(a, LOCK_OP.UNLOCK), 0);
    assert.equal(flockFd(b, LOCK_OP.EXCLUSIVE | LOCK_OP.NO_WAIT), 0);
    assert.equal(flockFd(b, LOCK_OP.UNLOCK), 0);
    assert.equal(flockFd(99_999, LOCK_OP.SHARED), -EBADF);
  });
});
