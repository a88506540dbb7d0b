/**
 * Errors of system calls, fields of native memory, and what kind of object an fd is.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { VhostUserError } from '../util/index.ts';
import {
  ERRNO,
  SystemError,
  closeFd,
  createNotifier,
  createSharedMemory,
  dupFd,
  errnoName,
  fdKind,
  host,
  isNonBlocking,
  monotonicUs,
  openFdCount,
  setCloseOnExec,
  setNonBlocking,
  socketPair,
} from './index.ts';
import * as libc from './libc.ts';
import { NativeBlock, check, interrupted, orErrno } from './native.ts';

describe('error numbers', () => {
  it('have the names that manual pages use, where a number has two', () => {
    assert.equal(errnoName(ERRNO.EAGAIN as number), 'EAGAIN');
    assert.equal(errnoName(ERRNO.EOPNOTSUPP as number), 'EOPNOTSUPP');
    assert.equal(errnoName(ERRNO.ENOENT as number), 'ENOENT');
    assert.equal(errnoName(4711), 'errno 4711');
  });

  it('are those of this host: EAGAIN is 11 on Linux and 35 on the others', () => {
    assert.equal(ERRNO.EAGAIN, process.platform === 'linux' ? 11 : 35);
    assert.equal(ERRNO.EAGAIN, constants.errno.EAGAIN);
  });
});

describe('a failed system call', () => {
  it('is an error with the call, its arguments in words, the name of the number and advice', () => {
    const error = new SystemError('bind(/run/disk.sock)', ERRNO.EACCES as number, 'who are you?');
    assert.ok(error instanceof VhostUserError);
    assert.equal(error.message, 'bind(/run/disk.sock): EACCES: who are you?');
    const { code, syscall, errnoName: name, errno } = error;
    assert.deepEqual(
      [code, syscall, name, errno],
      ['ERR_VHU_SYSTEM', 'bind', 'EACCES', ERRNO.EACCES],
    );
    assert.equal(new SystemError('pipe()', ERRNO.EMFILE as number).message, 'pipe(): EMFILE');
    assert.equal(new SystemError('f(a\nb)', 1).syscall, 'f');
  });

  it('is thrown by a checked call, and a data-path call returns it as a negative number', () => {
    assert.throws(
      () => check(libc.close(99_999), 'close(fd 99999)'),
      /^.*close\(fd 99999\): EBADF$/,
    );
    assert.equal(orErrno(libc.close(99_999)), -(ERRNO.EBADF as number));
    assert.equal(check(5, 'nothing'), 5);
    assert.equal(orErrno(5), 5);
    libc.close(99_999);
    assert.equal(interrupted(-1), false);
    assert.equal(interrupted(0), false);
  });
});

describe('native memory', () => {
  it('holds fields of every width, and 64-bit ones up to 2^53', () => {
    const block = new NativeBlock(64);
    assert.ok(block.bytes.every((byte) => byte === 0));
    block.set(8, { offset: 0, bytes: 1 }, 0xab);
    block.set(8, { offset: 2, bytes: 2 }, -2);
    block.set(8, { offset: 4, bytes: 4 }, 0x1234_5678);
    block.set(8, { offset: 8, bytes: 8 }, Number.MAX_SAFE_INTEGER);
    assert.equal(block.get(8, { offset: 0, bytes: 1 }), 0xab);
    assert.equal(block.get(8, { offset: 2, bytes: 2 }), -2);
    assert.equal(block.get(8, { offset: 4, bytes: 4 }), 0x1234_5678);
    assert.equal(block.get(8, { offset: 8, bytes: 8 }), Number.MAX_SAFE_INTEGER);
    assert.equal(block.view.getBigUint64(16, true), BigInt(Number.MAX_SAFE_INTEGER));
    block.set(0, { offset: 0, bytes: 8 }, -1);
    assert.equal(block.view.getBigInt64(0, true), -1n);
    libc.free(block.address);
  });

  it('that cannot be had is an error', () => {
    assert.throws(() => new NativeBlock(2 ** 60), /malloc\(\d+ bytes\): ENOMEM/);
  });
});

describe('variadic C functions', () => {
  it('are declared with `...`, without which their arguments are lost on arm64 of Apple', () => {
    const url = new URL(
      import.meta.url.endsWith('.ts') ? './libc.ts' : './libc.js',
      import.meta.url,
    );
    const source = readFileSync(url, 'utf8');
    for (const name of ['fcntl', 'ioctl', 'open', 'openat', 'shm_open']) {
      const prototypes = [...source.matchAll(new RegExp(`'int ${name}\\(([^']*)\\)'`, 'g'))];
      // SHM_ANON, an address, is of FreeBSD, where shm_open is not variadic.
      const strings = prototypes
        .map(([, args]) => args ?? '')
        .filter((a) => !/uintptr_t name/.test(a));
      assert.ok(
        strings.every((args) => args.endsWith('...')),
        name,
      );
      if (name === 'fcntl' || name === 'ioctl') assert.equal(strings.length, 1);
    }
  });
});

describe('file descriptors', () => {
  it('are told apart by what is behind them', () => {
    const folder = mkdtempSync(join(tmpdir(), 'vhu-fd-'));
    const file = openSync(join(folder, 'file'), 'w');
    const directory = openSync(folder, 'r');
    const device = openSync('/dev/null', 'r');
    const [a, b] = socketPair();
    const { notifier, consumer } = createNotifier();
    const pipe = new NativeBlock(8);
    libc.pipe(pipe.address);
    const [read, write] = [pipe.view.getInt32(0, true), pipe.view.getInt32(4, true)];
    const kinds = [file, directory, device, a, read, write].map((fd) => fdKind(fd));
    assert.deepEqual(kinds, ['file', 'directory', 'char', 'socket', 'pipe', 'pipe']);
    assert.equal(fdKind(99_999), 'other');
    assert.ok(['pipe', 'other'].includes(fdKind(consumer.fd)));
    for (const fd of [file, directory, device]) closeSync(fd);
    for (const fd of [a, b, read, write]) closeFd(fd);
    notifier.close();
    consumer.close();
    rmSync(folder, { recursive: true });
  });

  it('are counted', () => {
    const before = openFdCount();
    const fd = createSharedMemory(4096, 'count');
    const copies = Array.from({ length: 50 }, () => dupFd(fd));
    assert.equal(openFdCount(), before + 51);
    for (const each of [fd, ...copies]) closeFd(each);
    assert.equal(openFdCount(), before);
  });

  it('share O_NONBLOCK with their copies', () => {
    const pipe = new NativeBlock(8);
    libc.pipe(pipe.address);
    const [read, write] = [pipe.view.getInt32(0, true), pipe.view.getInt32(4, true)];
    const copy = dupFd(read);
    setNonBlocking(read, true);
    setNonBlocking(read, true);
    assert.equal(isNonBlocking(copy), true);
    setNonBlocking(copy, false);
    assert.equal(isNonBlocking(read), false);
    for (const fd of [read, write, copy]) closeFd(fd);
  });

  it('that are not open give errors that name the call', () => {
    assert.throws(() => dupFd(99_999), /dup\(fd 99999\): EBADF/);
    assert.throws(() => {
      setCloseOnExec(99_999);
    }, /fcntl\(fd 99999, F_SETFD, FD_CLOEXEC\): EBADF/);
    assert.throws(() => isNonBlocking(99_999), /fcntl\(fd 99999, F_GETFL\): EBADF/);
    assert.throws(() => {
      setNonBlocking(99_999, true);
    }, /EBADF/);
    closeFd(99_999);
  });
});

describe('this host', () => {
  it('names its system, its processor and its mode', () => {
    const { os, arch, mode } = host();
    assert.deepEqual([os, arch], [process.platform, process.arch]);
    assert.equal(mode, process.env.VHOST_USER_HOST === 'posix' ? 'posix' : 'native');
  });

  it('has a clock that never goes back', () => {
    let last = monotonicUs();
    for (let i = 0; i < 1000; i++) {
      const now = monotonicUs();
      assert.ok(now >= last);
      last = now;
    }
  });
});
