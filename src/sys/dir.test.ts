/**
 * Directories in blocks: every entry once, positions that can be gone back to, folders that change
 * while they are read.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { openSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { DT, DirCursor, ERRNO, NativeBlock, closeFd, host } from './index.ts';
import { openFdCount, readDirBlock, seekDir } from './index.ts';

const FILES = 1000;
const BLOCK_BYTES = 4096;
const decoder = new TextDecoder();
const block = new NativeBlock(65_536);
const cursor = new DirCursor();
let folder = '';
let parent = '';

/** An entry as a walk saw it. */
interface Seen {
  readonly name: string;
  readonly ino: number;
  readonly type: number;
  /** Where the next one is. */
  readonly low: number;
  readonly high: number;
  readonly offset: number;
}

const open = (path: string): number => openSync(path, 'r');

/** One block of entries; an empty list at the end. */
function readOne(fd: number, bytes = BLOCK_BYTES): Seen[] {
  const count = readDirBlock(fd, block.address, bytes);
  assert.ok(count >= 0 && count <= bytes, String(count));
  const seen: Seen[] = [];
  for (let at = 0; at < count;) {
    const next = cursor.load(block.view, at, block.address);
    const name = decoder.decode(
      block.bytes.subarray(cursor.nameAt, cursor.nameAt + cursor.nameBytes),
    );
    assert.equal(cursor.nameAddress, block.address + cursor.nameAt);
    assert.equal(block.bytes[cursor.nameAt + cursor.nameBytes], 0, 'a NUL follows the name');
    const { ino, type, offsetLow: low, offsetHigh: high, offset } = cursor;
    seen.push({ name, ino, type, low, high, offset });
    assert.ok(next > at && next <= count);
    at = next;
  }
  return seen;
}

function readAll(fd: number, bytes = BLOCK_BYTES): Seen[] {
  const all: Seen[] = [];
  for (let seen = readOne(fd, bytes); seen.length > 0; seen = readOne(fd, bytes)) all.push(...seen);
  assert.deepEqual(readOne(fd), [], 'the end stays the end');
  return all;
}

const names = (seen: readonly Seen[]): string[] => seen.map(({ name }) => name);
const real = (seen: readonly Seen[]): string[] =>
  names(seen).filter((name) => name !== '.' && name !== '..');

before(() => {
  parent = mkdtempSync(join(tmpdir(), 'vhu-dir-'));
  folder = join(parent, 'many');
  mkdirSync(folder);
  // Names of every length, so that the padding after them has every length too.
  for (let i = 0; i < FILES; i++) {
    writeFileSync(join(folder, `${String(i)}${'n'.repeat(i % 200)}`), '');
  }
  mkdirSync(join(folder, 'folder'));
  symlinkSync('nowhere', join(folder, 'link'));
});
after(() => {
  rmSync(parent, { recursive: true });
  block.free();
});

describe('a directory read in blocks', () => {
  it('has each name once, with its inode number and type', () => {
    const fd = open(folder);
    const all = readAll(fd);
    closeFd(fd);
    assert.deepEqual(real(all).sort(), readdirSync(folder).sort());
    assert.deepEqual(names(all.filter(({ name }) => /^\.+$/.test(name))).sort(), ['.', '..']);
    for (const [name, type] of [
      ['folder', DT.DIR],
      ['link', DT.LNK],
      ['0', DT.REG],
    ] as const) {
      const entry = all.find((each) => each.name === name);
      assert.ok(entry);
      assert.equal(entry.ino, lstatSync(join(folder, name)).ino);
      assert.ok(entry.type === type || entry.type === DT.UNKNOWN);
    }
  });

  it('is the same in blocks of any size', () => {
    const sorted = readdirSync(folder).sort();
    for (const bytes of [512, 1000, 65_536]) {
      const fd = open(folder);
      assert.deepEqual(real(readAll(fd, bytes)).sort(), sorted);
      closeFd(fd);
    }
  });

  it('goes on at any position that an entry had, in any order', () => {
    const fd = open(folder);
    const all = readAll(fd);
    for (const i of [500, 3, 900, 499, 501, all.length - 2, 0, 250]) {
      const { low, high } = all[i] as Seen;
      assert.equal(seekDir(fd, low, high), 0);
      assert.equal(readOne(fd)[0]?.name, all[i + 1]?.name, `after entry ${String(i)}`);
    }
    const end = all.at(-1) as Seen;
    assert.equal(seekDir(fd, end.low, end.high), 0);
    assert.deepEqual(readOne(fd), []);
    assert.equal(seekDir(fd, 0), 0);
    assert.deepEqual(names(readAll(fd)), names(all));
    closeFd(fd);
  });

  it('takes a position as one number too, where it is one', () => {
    const fd = open(folder);
    const all = readAll(fd);
    const { offset, low, high } = all[700] as Seen;
    assert.equal(offset, high < 0x20_0000 ? high * 2 ** 32 + low : Infinity);
    if (offset !== Infinity) {
      assert.equal(seekDir(fd, offset), 0);
      assert.equal(readOne(fd)[0]?.name, all[701]?.name);
    }
    closeFd(fd);
  });

  it('goes on in another fd of the same folder, as after a restart', () => {
    const first = open(folder);
    const all = readAll(first);
    closeFd(first);
    const second = open(folder);
    for (const i of [600, 20]) {
      const { low, high } = all[i] as Seen;
      assert.equal(seekDir(second, low, high), 0);
      assert.equal(readOne(second)[0]?.name, all[i + 1]?.name);
    }
    closeFd(second);
  });

  it('loses nothing when the names that were read are deleted, as `rm -r` does', () => {
    const doomed = join(parent, 'doomed');
    mkdirSync(doomed);
    for (let i = 0; i < FILES; i++) writeFileSync(join(doomed, `file-${String(i)}`), '');
    const fd = open(doomed);
    let removed = 0;
    for (let seen = readOne(fd); seen.length > 0; seen = readOne(fd)) {
      // A guest whose buffer is full after half of a block comes back for the rest.
      const half = seen.slice(0, Math.ceil(seen.length / 2));
      for (const name of real(half)) {
        unlinkSync(join(doomed, name));
        removed++;
      }
      const { low, high } = half.at(-1) as Seen;
      assert.equal(seekDir(fd, low, high), 0);
    }
    assert.equal(removed, FILES);
    assert.equal(seekDir(fd, 0), 0);
    assert.deepEqual(real(readAll(fd)), []);
    closeFd(fd);
  });

  it('sees what was made after it was opened, from the start again', () => {
    const fresh = join(parent, 'fresh');
    mkdirSync(fresh);
    const fd = open(fresh);
    assert.deepEqual(real(readAll(fd)), []);
    writeFileSync(join(fresh, 'new'), '');
    assert.equal(seekDir(fd, 0), 0);
    assert.deepEqual(real(readAll(fd)), ['new']);
    closeFd(fd);
  });

  it('is forgotten when it is closed: the next directory under that fd starts at its start', () => {
    const first = open(folder);
    const { low, high } = readOne(first)[5] as Seen;
    assert.equal(seekDir(first, low, high), 0);
    closeFd(first);
    const second = open(parent);
    assert.equal(second, first, 'the same number');
    assert.deepEqual(real(readAll(second)).sort(), readdirSync(parent).sort());
    closeFd(second);
  });

  it('is an error number where there is no directory, or no room for a name', () => {
    const file = open(join(folder, '0'));
    assert.equal(readDirBlock(file, block.address, BLOCK_BYTES), -(ERRNO.ENOTDIR as number));
    closeFd(file);
    assert.equal(readDirBlock(99_999, block.address, BLOCK_BYTES), -(ERRNO.EBADF as number));
    assert.equal(seekDir(99_999, 0), -(ERRNO.EBADF as number));
    const fd = open(folder);
    assert.equal(readDirBlock(fd, block.address, 8), -(ERRNO.EINVAL as number));
    closeFd(fd);
  });

  it('has positions of 63 bits on ext4, which come back exactly', () => {
    const fd = open(folder);
    const wide = readAll(fd).filter(({ offset }) => offset === Infinity);
    closeFd(fd);
    if (host().mode === 'posix') assert.deepEqual(wide, [], 'where entries are counted, none');
    for (const { low, high } of wide) assert.ok(high >= 0x20_0000 && low >= 0);
  });

  it('leaves no fd open', () => {
    const count = openFdCount();
    const fd = open(folder);
    readAll(fd);
    closeFd(fd);
    assert.equal(openFdCount(), count);
  });
});
