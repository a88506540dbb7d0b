/**
 * Numbers of Linux to those of this host and back.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { constants as fsConstants } from 'node:fs';
import { constants } from 'node:os';
import { describe, it } from 'node:test';
import { LINUX_OPEN_FLAGS } from '../abi/index.ts';
import { ERRNO, LINUX_ERRNO, O, hostOpenFlags, linuxErrno } from './index.ts';
import { linuxByHost } from './open-flags.ts';

const linux = process.platform === 'linux';
const GUEST = process.arch === 'arm64' ? LINUX_OPEN_FLAGS.arm64 : LINUX_OPEN_FLAGS.x64;

describe('flags of open(2)', () => {
  it('are what Node says of this host', () => {
    for (const [name, value] of Object.entries(fsConstants)) {
      // Node says 0 of what it does not know, and glibc has O_LARGEFILE of its own.
      if (!(name in O) || value === 0) continue;
      assert.equal((O as unknown as Record<string, number>)[name], value, name);
    }
  });

  it('are translated one by one and together', () => {
    for (const name of ['O_APPEND', 'O_CREAT', 'O_EXCL', 'O_TRUNC', 'O_NONBLOCK'] as const) {
      assert.equal(hostOpenFlags(GUEST[name]), O[name], name);
    }
    const all = GUEST.O_RDWR | GUEST.O_CREAT | GUEST.O_EXCL | GUEST.O_APPEND | GUEST.O_SYNC;
    assert.equal(hostOpenFlags(all), O.O_RDWR | O.O_CREAT | O.O_EXCL | O.O_APPEND | O.O_SYNC);
    assert.equal(hostOpenFlags(GUEST.O_WRONLY), O.O_WRONLY);
  });

  it('that contain others are told apart from them: O_DSYNC is not O_SYNC', () => {
    assert.equal(hostOpenFlags(GUEST.O_DSYNC), O.O_DSYNC);
    assert.equal(hostOpenFlags(GUEST.O_DIRECTORY), O.O_DIRECTORY, 'and no O_TMPFILE');
  });

  it('that the host or Linux has not are dropped', () => {
    const foreign = 0o100000 | 0x20000000 | 0o20000; // O_LARGEFILE (x64), nothing, O_ASYNC
    const known = process.arch === 'arm64' ? O.O_NOFOLLOW : 0; // the first is O_NOFOLLOW there
    assert.equal(hostOpenFlags(foreign), known);
    assert.equal(hostOpenFlags(-1) & ~everyFlag(), 0);
    if (linux) assert.equal(hostOpenFlags(0xffff_ffff | 0), hostOpenFlags(-1));
  });

  function everyFlag(): number {
    let all = 0;
    for (const value of Object.values(O) as number[]) all |= value;
    return all;
  }
});

describe('error numbers for the guest', () => {
  it('have the same name on both sides, for every name that Node knows', () => {
    for (const [name, number] of Object.entries(constants.errno)) {
      assert.ok(name in LINUX_ERRNO, `Linux has no ${name}`);
      assert.equal(linuxErrno(number), LINUX_ERRNO[name], name);
    }
  });

  it('are themselves on Linux, and EIO where there is no name', { skip: !linux }, () => {
    for (let number = 0; number <= 133; number++) assert.equal(linuxErrno(number), number);
    for (const number of [256, 512, 100_000, -1]) assert.equal(linuxErrno(number), 5);
  });

  it('of the BSDs are translated by name', () => {
    const numbers = { EAGAIN: 35, ENOTEMPTY: 66, ENAMETOOLONG: 63, ENOATTR: 93, EFTYPE: 79 };
    const table = linuxByHost(numbers, false);
    assert.deepEqual(
      [35, 66, 63, 93, 79, 2, 200, 0].map((number) => table[number]),
      [11, 39, 36, 61, 22, 5, 5, 0],
    );
  });

  it('of Linux are one for each name, below 134', () => {
    const numbers = new Map<number, string[]>();
    for (const [name, number] of Object.entries(LINUX_ERRNO)) {
      assert.ok(Number.isInteger(number) && number > 0 && number < 134, name);
      numbers.set(number, [...(numbers.get(number) ?? []), name]);
    }
    // 41 and 58 are second names of others, and have no number of their own.
    for (let number = 1; number < 134; number++) {
      assert.equal(numbers.has(number), number !== 41 && number !== 58, String(number));
    }
    if (linux)
      for (const [name, number] of Object.entries(ERRNO)) {
        assert.equal(LINUX_ERRNO[name], number, name);
      }
  });
});
