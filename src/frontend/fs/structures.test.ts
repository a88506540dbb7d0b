/**
 * Structures as values, numbers of 64 bits, and the tables of lookups.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FUSE_ATTR, FUSE_DIRENT, FUSE_INIT, FUSE_INIT_OUT, S_IF } from '../../fuse/index.ts';
import { putFileName } from './bench-ops.ts';
import { FS_CONFIG, parseFsConfig } from './config.ts';
import { FsError } from './errors.ts';
import { encodeInit, parseInit } from './init.ts';
import { LookupCounts } from './lookup-counts.ts';
import { FsStats, FuseArguments, parseDirents, splitTime } from './structures.ts';
import { getU64, putU64 } from './wire.ts';

describe('structures of the client', () => {
  it('numbers below 2^53 go through 64 bits unchanged', () => {
    const view = new DataView(new ArrayBuffer(8));
    for (const value of [0, 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 40 + 3, 2 ** 53 - 1]) {
      putU64(view, 0, value);
      assert.equal(view.getBigUint64(0, true), BigInt(value));
      assert.equal(getU64(view, 0), value);
    }
  });

  it('arguments are a structure and names, each with a NUL', () => {
    const args = new FuseArguments(8, 'é', Uint8Array.from([0xff])).u32(0, 7).u32(4, 2 ** 32 - 1);
    assert.deepEqual([...args.bytes], [7, 0, 0, 0, 255, 255, 255, 255, 0xc3, 0xa9, 0, 0xff, 0]);
    assert.deepEqual([...new FuseArguments(8).u64(0, -1n).bytes], Array(8).fill(255));
  });

  it('stats tell times before 1970 and kinds of files', () => {
    const view = new DataView(new ArrayBuffer(FUSE_ATTR.SIZE));
    view.setBigInt64(FUSE_ATTR.mtime, -2n, true);
    view.setUint32(FUSE_ATTR.mtimensec, 500_000_000, true);
    view.setUint32(FUSE_ATTR.mode, S_IF.LNK | 0o777, true);
    putU64(view, FUSE_ATTR.size, 2 ** 40);
    const stats = new FsStats(view, 0);
    assert.equal(stats.mtimeNs, -1_500_000_000n);
    assert.equal(stats.mtimeMs, -1500);
    assert.equal(stats.mtime.toISOString(), '1969-12-31T23:59:58.500Z');
    assert.equal(stats.size, 2 ** 40);
    const kinds = [stats.isSymbolicLink(), stats.isFile(), stats.isDirectory(), stats.isFIFO()];
    assert.deepEqual(kinds, [true, false, false, false]);
  });

  it('times are split into seconds and nanoseconds, also before 1970', () => {
    assert.deepEqual(splitTime(1.5), { seconds: 1n, ns: 500_000_000 });
    assert.deepEqual(splitTime(-1.5), { seconds: -2n, ns: 500_000_000 });
    assert.deepEqual(splitTime(-1n), { seconds: -1n, ns: 999_999_999 });
    assert.deepEqual(splitTime(new Date(1234)), { seconds: 1n, ns: 234_000_000 });
    assert.equal(splitTime('now'), null);
  });

  it('a listing that is cut off is refused', () => {
    const bytes = new Uint8Array(FUSE_DIRENT.SIZE + 8);
    const view = new DataView(bytes.buffer);
    view.setUint32(FUSE_DIRENT.namelen, 3, true);
    bytes.set(Buffer.from('abc'), FUSE_DIRENT.name);
    assert.deepEqual(
      parseDirents(bytes, false).map(({ name }) => name.toString()),
      ['abc'],
    );
    for (const [length, nameBytes] of [
      [FUSE_DIRENT.SIZE - 1, 3],
      [FUSE_DIRENT.SIZE + 2, 3],
      [FUSE_DIRENT.SIZE + 8, 9],
      [FUSE_DIRENT.SIZE + 8, 0],
      [FUSE_DIRENT.SIZE + 8, 2 ** 32 - 1],
    ] as const) {
      view.setUint32(FUSE_DIRENT.namelen, nameBytes, true);
      const cut = bytes.subarray(0, length);
      assert.throws(() => parseDirents(cut, false), { code: 'ERR_VHU_FS_REPLY' });
    }
  });

  it('a configuration space has a tag of up to 36 bytes, with or without a NUL', () => {
    const bytes = new Uint8Array(FS_CONFIG.SIZE).fill(0x61, 0, 36);
    bytes[FS_CONFIG.numRequestQueues] = 3;
    assert.deepEqual(parseFsConfig(bytes), { tag: 'a'.repeat(36), requestQueueCount: 3 });
    bytes[2] = 0;
    assert.equal(parseFsConfig(bytes).tag, 'aa');
  });

  it('errors read as those of Node', () => {
    const error = new FsError('EXDEV', { syscall: 'rename', path: 'a', dest: 'b' });
    assert.equal(error.message, "EXDEV: cross-device link not permitted, rename 'a' -> 'b'");
    assert.deepEqual([error.code, error.errno, error.syscall], ['EXDEV', -18, 'rename']);
    assert.equal(new FsError(4000, { syscall: 'x' }).code, 'E4000');
  });
});

describe('FUSE_INIT of the client', () => {
  const answer = new DataView(new ArrayBuffer(FUSE_INIT_OUT.SIZE));
  answer.setUint32(FUSE_INIT_OUT.major, 7, true);
  answer.setUint32(FUSE_INIT_OUT.minor, 31, true);
  answer.setUint32(FUSE_INIT_OUT.maxWrite, 256 * 1024, true);
  answer.setUint16(FUSE_INIT_OUT.maxPages, 64, true);

  it('asks for what it can do, and takes no more than it asked for', () => {
    const view = new DataView(new ArrayBuffer(64));
    encodeInit(view, 0, { flags: FUSE_INIT.MAX_PAGES });
    assert.equal(view.getUint32(12, true), FUSE_INIT.MAX_PAGES);
    answer.setUint32(FUSE_INIT_OUT.flags, FUSE_INIT.MAX_PAGES | FUSE_INIT.WRITEBACK_CACHE, true);
    const agreed = parseInit(answer, 0, { flags: FUSE_INIT.MAX_PAGES });
    assert.equal(agreed.flags, FUSE_INIT.MAX_PAGES);
    assert.equal(agreed.minor, 31);
    assert.deepEqual([agreed.readBytesMax, agreed.writeBytesMax], [256 * 1024, 256 * 1024]);
  });

  it('has 32 pages where MAX_PAGES was not agreed on', () => {
    answer.setUint32(FUSE_INIT_OUT.flags, 0, true);
    const agreed = parseInit(answer, 0, {});
    assert.deepEqual([agreed.readBytesMax, agreed.writeBytesMax], [128 * 1024, 128 * 1024]);
  });

  it('refuses another protocol', () => {
    for (const [major, minor] of [
      [6, 31],
      [8, 0],
      [7, 26],
    ] as const) {
      answer.setUint32(FUSE_INIT_OUT.major, major, true);
      answer.setUint32(FUSE_INIT_OUT.minor, minor, true);
      assert.throws(() => parseInit(answer, 0, {}), { code: 'ERR_VHU_FS_INIT' });
    }
  });
});

describe('tables of the benchmark', () => {
  it('lookups are counted for each node, however many there are', () => {
    const counts = new LookupCounts();
    const model = new Map<number, number>();
    for (let i = 0; i < 30_000; i++) {
      const node = i % 3 === 0 ? (i % 7000) + 1 : 2 ** 33 * (i % 11_000) + 5;
      counts.add(node);
      model.set(node, (model.get(node) ?? 0) + 1);
    }
    assert.equal(counts.size, model.size);
    for (const [node, count] of model) assert.equal(counts.get(node), count);
    assert.equal(counts.get(4711_0000), 0);
    const drained = new Map<number, number>();
    counts.drain((node, count) => drained.set(node, count));
    assert.deepEqual(drained, model);
    assert.deepEqual([counts.size, counts.get(1)], [0, 0]);
  });

  it('names are written without text', () => {
    const bytes = new Uint8Array(16);
    for (const index of [0, 9, 10, 99, 100, 4711, 123_456]) {
      const length = putFileName(bytes, 2, index);
      assert.equal(Buffer.from(bytes.subarray(2, 2 + length)).toString(), `f${String(index)}\0`);
    }
  });
});
