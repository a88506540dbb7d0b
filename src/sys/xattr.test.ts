/**
 * Extended attributes, through fds of every kind.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { abi } from './host.ts';
import { ERRNO, NativeBlock, O, XATTR, closeFd, getXattrFd, getXattrPathFd } from './index.ts';
import { hasPathFds, hasReopen, listXattrFd, openAt, removeXattrFd, setXattrFd } from './index.ts';

// Linux has no ENOATTR, and FreeBSD and OpenBSD no ENODATA.
const NO_ATTRIBUTE = abi.files.extraErrno.ENOATTR ?? ERRNO.ENODATA ?? 0;
const EEXIST = ERRNO.EEXIST as number;
const ERANGE = ERRNO.ERANGE as number;
const EINVAL = ERRNO.EINVAL as number;
const EBADF = ERRNO.EBADF as number;

const folder = mkdtempSync(join(tmpdir(), 'vhu-xattr-'));
writeFileSync(join(folder, 'file'), '');
symlinkSync('file', join(folder, 'link'));
const block = new NativeBlock(256);
const value = new NativeBlock(256);
value.bytes.set(new TextEncoder().encode('some value'));

/** The address of a name, until the next call. */
function name(text: string): number {
  block.bytes.fill(0);
  block.bytes.set(new TextEncoder().encode(text));
  return block.address;
}

const buffer = new NativeBlock(256);
const text = (bytes: number): string => new TextDecoder().decode(buffer.bytes.subarray(0, bytes));

/** Why there is nothing to test: a file system without attributes, or a host. */
function reason(): string | false {
  const fd = openSync(join(folder, 'file'), 'r+');
  const result = setXattrFd(fd, name('user.probe'), value.address, 1, 0);
  if (result === 0) removeXattrFd(fd, name('user.probe'));
  closeSync(fd);
  return result === 0 ? false : `no attributes here: ${String(result)}`;
}

describe('extended attributes', { skip: reason() }, () => {
  let fd = -1;
  let dir = -1;
  before(() => {
    fd = openSync(join(folder, 'file'), 'r+');
    dir = openSync(folder, 'r');
  });
  after(() => {
    for (const each of [fd, dir]) closeSync(each);
    rmSync(folder, { recursive: true });
    for (const each of [block, value, buffer]) each.free();
  });

  it('are written, read, listed and removed; a size of 0 asks for the size', () => {
    assert.equal(setXattrFd(fd, name('user.one'), value.address, 10, 0), 0);
    assert.equal(setXattrFd(fd, name('user.empty'), value.address, 0, 0), 0);
    assert.equal(getXattrFd(fd, name('user.one'), 0, 0), 10);
    assert.equal(getXattrFd(fd, name('user.one'), buffer.address, 256), 10);
    assert.equal(text(10), 'some value');
    assert.equal(getXattrFd(fd, name('user.empty'), buffer.address, 256), 0);
    assert.equal(getXattrFd(fd, name('user.one'), buffer.address, 9), -ERANGE);
    const bytes = listXattrFd(fd, buffer.address, 256);
    assert.equal(listXattrFd(fd, 0, 0), bytes);
    const names = text(bytes)
      .split('\0')
      .filter((each) => each.startsWith('user.'));
    assert.deepEqual(names.sort(), ['user.empty', 'user.one']);
    assert.equal(removeXattrFd(fd, name('user.one')), 0);
    assert.equal(removeXattrFd(fd, name('user.empty')), 0);
    assert.equal(removeXattrFd(fd, name('user.one')), -NO_ATTRIBUTE);
    assert.equal(getXattrFd(fd, name('user.one'), 0, 0), -NO_ATTRIBUTE);
  });

  it('are made only with CREATE, changed only with REPLACE', () => {
    assert.equal(setXattrFd(fd, name('user.x'), value.address, 4, XATTR.REPLACE), -NO_ATTRIBUTE);
    assert.equal(setXattrFd(fd, name('user.x'), value.address, 4, XATTR.CREATE), 0);
    assert.equal(setXattrFd(fd, name('user.x'), value.address, 4, XATTR.CREATE), -EEXIST);
    assert.equal(setXattrFd(fd, name('user.x'), value.address, 5, XATTR.REPLACE), 0);
    assert.equal(setXattrFd(fd, name('user.x'), value.address, 5, 8), -EINVAL);
    assert.equal(getXattrFd(fd, name('user.x'), 0, 0), 5);
    assert.equal(removeXattrFd(fd, name('user.x')), 0);
  });

  it('of a folder are the same', () => {
    assert.equal(setXattrFd(dir, name('user.d'), value.address, 3, 0), 0);
    assert.equal(getXattrFd(dir, name('user.d'), buffer.address, 256), 3);
    assert.equal(removeXattrFd(dir, name('user.d')), 0);
  });

  it(
    'are reached through an fd of O_PATH, a symbolic link having its own',
    {
      skip: !hasPathFds || !hasReopen,
    },
    () => {
      assert.equal(setXattrFd(fd, name('user.p'), value.address, 4, 0), 0);
      const file = openAt(dir, name('file'), O.O_PATH, 0);
      const link = openAt(dir, name('link'), O.O_PATH, 0);
      assert.equal(getXattrFd(file, name('user.p'), buffer.address, 256), 4);
      assert.equal(getXattrPathFd(file, name('user.p'), buffer.address, 256), 4);
      assert.equal(getXattrFd(link, name('user.p'), buffer.address, 256), -NO_ATTRIBUTE);
      assert.equal(setXattrFd(file, name('user.q'), value.address, 2, 0), 0);
      assert.ok(text(listXattrFd(file, buffer.address, 256)).includes('user.q\0'));
      assert.ok(setXattrFd(link, name('user.q'), value.address, 2, 0) < 0, 'links have no user.*');
      for (const each of ['user.p', 'user.q']) assert.equal(removeXattrFd(file, name(each)), 0);
      closeFd(file);
      closeFd(link);
    },
  );

  it('of an fd that is not open are an error number', () => {
    const missing = getXattrFd(99_999, name('user.x'), buffer.address, 256);
    assert.ok(missing === -EBADF || missing === -(ERRNO.ENOENT as number), String(missing));
    assert.ok(setXattrFd(99_999, name('user.x'), value.address, 1, 0) < 0);
    assert.ok(listXattrFd(99_999, buffer.address, 256) < 0);
    assert.ok(removeXattrFd(99_999, name('user.x')) < 0);
  });
});
