/**
 * Shared memory without a name.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { existsSync, fstatSync, ftruncateSync, readdirSync } from 'node:fs';
import { describe, it } from 'node:test';
import {
  SystemError,
  closeFd,
  createSharedMemory,
  host,
  mapFd,
  openFdCount,
  sharedMemoryKind,
  viewMemory,
} from './index.ts';
import { abi } from './host.ts';
import * as libc from './libc.ts';

const EXPECTED: Readonly<Record<string, string>> = {
  linux: 'memfd',
  freebsd: 'memfd',
  darwin: 'shm_open',
  openbsd: 'shm_mkstemp',
};

/** The names under which we make it, for a moment; others put folders of their own beside them. */
const SHM_NAME = /^vhu-[0-9a-f]{20}$|^vhu\./;

describe('shared memory', () => {
  it('is a memfd where there is one, and shm_open in posix mode', () => {
    const before = openFdCount();
    const expected = host().mode === 'posix' ? 'shm_open' : EXPECTED[process.platform];
    assert.equal(sharedMemoryKind(), expected);
    assert.equal(openFdCount(), before, 'asking leaves nothing open');
  });

  it('has the size that was asked for, is zeroed, and is not inherited', () => {
    for (const bytes of [1, 4096, 65536, 1_000_000]) {
      const fd = createSharedMemory(bytes, 'size');
      const { size } = fstatSync(fd);
      assert.ok(size >= bytes && size < bytes + 16384, `${String(bytes)} bytes: ${String(size)}`);
      const flags = libc.fcntl('int', fd, abi.constants.F_GETFD, 0);
      assert.notEqual(flags & abi.constants.FD_CLOEXEC, 0);
      const mapping = mapFd(fd, bytes, 0, { writable: true });
      const view = new Uint8Array(viewMemory(mapping.address, bytes));
      assert.ok(view.every((byte) => byte === 0));
      mapping.unmap();
      closeFd(fd);
    }
  });

  it('is the same memory in every mapping, and lives until the last one is gone', () => {
    const fd = createSharedMemory(65536, 'twice');
    const first = mapFd(fd, 65536, 0, { writable: true });
    const second = mapFd(fd, 65536, 0, { writable: false });
    closeFd(fd);
    new Uint8Array(viewMemory(first.address, 65536))[65535] = 42;
    assert.equal(new Uint8Array(viewMemory(second.address, 65536))[65535], 42);
    first.unmap();
    assert.equal(new Uint8Array(viewMemory(second.address, 65536))[65535], 42);
    second.unmap();
  });

  it('has no name that another process could open', async () => {
    const fd = createSharedMemory(4096, 'nameless');
    const names = (): string[] =>
      existsSync('/dev/shm') ? readdirSync('/dev/shm').filter((name) => SHM_NAME.test(name)) : [];
    let left = names(); // of other processes, which are about to take them away
    for (let i = 0; i < 3000 && left.length > 0; i++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      const now = new Set(names());
      left = left.filter((name) => now.has(name));
    }
    assert.deepEqual(left, []);
    closeFd(fd);
  });

  it('of an impossible size fails with the call and the size, and leaves no fd', () => {
    const before = openFdCount();
    assert.throws(
      () => createSharedMemory(-1, 'negative'),
      (error: unknown) => {
        assert.ok(error instanceof SystemError);
        assert.equal(error.syscall, 'ftruncate');
        assert.match(error.message, /^ftruncate\(shared memory, -1 bytes\): EINVAL: is there /);
        return true;
      },
    );
    assert.equal(openFdCount(), before);
  });

  const sealed = sharedMemoryKind() === 'memfd' ? false : 'only a memfd can be sealed';
  it('keeps its size: a peer cannot cut it short under our feet', { skip: sealed }, () => {
    const fd = createSharedMemory(65536, 'sealed');
    const { F_GET_SEALS = 0, F_SEAL_SHRINK = 0, F_SEAL_GROW = 0, F_SEAL_SEAL = 0 } = abi.optional;
    const seals = libc.fcntl('int', fd, F_GET_SEALS, 0);
    assert.equal(seals, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    assert.throws(() => {
      ftruncateSync(fd, 4096);
    }, /EPERM/);
    assert.throws(() => {
      ftruncateSync(fd, 1 << 20);
    }, /EPERM/);
    assert.equal(fstatSync(fd).size, 65536);
    closeFd(fd);
  });
});
