/**
 * Checks of what is in files: bytes, positions, holes, room.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { LINUX_O } from '../fuse/index.ts';
import type { FsClient } from '../frontend/index.ts';
import { codeOf, pattern } from './fs-check.ts';

const MIB = 1 << 20;
const GIB = 2 ** 30;

/** Files of all lengths, one after the other and many at once. */
export async function readsAndWrites(fs: FsClient, at: string): Promise<void> {
  const path = `${at}/file`;
  for (const length of [0, 1, 4095, 4096, 4097, 131_072, MIB, MIB + 1, 3 * MIB + 17]) {
    const bytes = pattern(length, length);
    await fs.writeFile(path, bytes);
    assert.equal((await fs.stat(path)).size, length);
    assert.ok((await fs.readFile(path)).equals(bytes), `${String(length)} bytes`);
  }
  const files = Array.from({ length: 40 }, (_, i) => pattern(1000 * i, i));
  await Promise.all(files.map((bytes, i) => fs.writeFile(`${at}/${String(i)}`, bytes)));
  const back = await Promise.all(files.map((_, i) => fs.readFile(`${at}/${String(i)}`)));
  for (const [i, bytes] of back.entries()) assert.ok(bytes.equals(files[i] as Buffer), String(i));
}

/** An open file's position, and reads and writes at others. */
export async function positions(fs: FsClient, at: string): Promise<void> {
  const file = await fs.open(`${at}/file`, 'w+');
  await file.write('hello ');
  await file.write('world');
  await file.write('J', 0, 1, 0);
  const buffer = Buffer.alloc(20);
  const { bytesRead } = await file.read(buffer, 2, 18, 3);
  assert.equal(buffer.toString('utf8', 2, 2 + bytesRead), 'lo world');
  assert.equal((await file.read(buffer)).bytesRead, 0, 'the position is at the end');
  await file.truncate(5);
  await file.write('!', 0, 1, 8);
  assert.deepEqual([...(await fs.readFile(`${at}/file`))], [...Buffer.from('Jello\0\0\0!')]);
  await file.close();
  await assert.rejects(file.stat(), { code: 'EBADF' });
}

/** Data at the end of a file, in order. */
export async function appends(fs: FsClient, at: string): Promise<void> {
  const path = `${at}/log`;
  await fs.appendFile(path, 'one,');
  await fs.appendFile(path, 'two,');
  const file = await fs.open(path, 'a+');
  await Promise.all([file.write('three,'), file.write('four,'), file.appendFile('five')]);
  const big = pattern(2 * MIB + 5);
  await file.write(big);
  await file.close();
  const all = await fs.readFile(path);
  assert.equal(all.toString('utf8', 0, 23), 'one,two,three,four,five');
  assert.ok(all.subarray(23).equals(big));
}

/** What the flags of an open say. */
export async function flags(fs: FsClient, at: string): Promise<void> {
  const path = `${at}/file`;
  assert.equal(await codeOf(fs.open(path, 'r')), 'ENOENT');
  assert.equal(await codeOf(fs.open(path, 'r+')), 'ENOENT');
  await fs.writeFile(path, 'text', { flag: 'wx' });
  assert.equal(await codeOf(fs.open(path, 'wx')), 'EEXIST');
  assert.equal(await codeOf(fs.open(path, 'ax')), 'EEXIST');
  assert.equal(await codeOf(fs.open(path, LINUX_O.DIRECTORY)), 'ENOTDIR');
  assert.equal(await codeOf(fs.open(at, 'w')), 'EISDIR');
  assert.equal(await codeOf(fs.open(`${at}/none/file`, 'w')), 'ENOENT');
  assert.equal(await codeOf(fs.open(`${path}/below`, 'w')), 'ENOTDIR');
  const reader = await fs.open(path, 'r');
  assert.equal(await codeOf(reader.write('x')), 'EBADF');
  await reader.close();
  const folder = await fs.open(at);
  assert.ok((await folder.stat()).isDirectory());
  assert.equal(await codeOf(folder.read(new Uint8Array(1))), 'EISDIR');
  await folder.sync();
  await folder.close();
  await (await fs.open(path, 'w')).close();
  assert.equal((await fs.stat(path)).size, 0, 'it was truncated');
}

/** Copies of files, with their permissions. */
export async function copies(fs: FsClient, at: string): Promise<void> {
  const bytes = pattern(5 * MIB + 3);
  await fs.writeFile(`${at}/from`, bytes, { mode: 0o640 });
  await fs.copyFile(`${at}/from`, `${at}/to`);
  assert.ok((await fs.readFile(`${at}/to`)).equals(bytes));
  assert.equal((await fs.stat(`${at}/to`)).mode & 0o777, 0o640);
  assert.equal(await codeOf(fs.copyFile(`${at}/from`, `${at}/to`, 1)), 'EEXIST');
  await fs.writeFile(`${at}/empty`, '');
  await fs.copyFile(`${at}/empty`, `${at}/to`);
  assert.equal((await fs.stat(`${at}/to`)).size, 0);
}

/** Holes: found, and without room. */
export async function holes(fs: FsClient, at: string): Promise<void> {
  const file = await fs.open(`${at}/sparse`, 'w+');
  await file.write('begin');
  await file.write('end', 0, 3, 8 * MIB);
  const { size, blocks } = await file.stat();
  assert.equal(size, 8 * MIB + 3);
  assert.ok(blocks * 512 < MIB, 'the hole takes no room');
  const next = await file.seekData(MIB);
  assert.ok(next !== null && next > MIB && next <= 8 * MIB);
  const hole = await file.seekHole(0);
  assert.ok(hole !== null && hole >= 5 && hole <= MIB);
  assert.equal(await file.seekData(9 * MIB), null);
  const middle = Buffer.alloc(4096, 1);
  await file.read(middle, 0, 4096, 4 * MIB);
  assert.ok(middle.equals(Buffer.alloc(4096)));
  await file.close();
}

/** Room that is allocated, and given back. */
export async function allocation(fs: FsClient, at: string): Promise<void> {
  const file = await fs.open(`${at}/file`, 'w+');
  await file.allocate(0, MIB);
  assert.equal((await file.stat()).size, MIB);
  await file.allocate(0, 2 * MIB, 1);
  assert.equal((await file.stat()).size, MIB, 'KEEP_SIZE');
  await file.write(pattern(65536), 0, 65536, 0);
  await file.allocate(4096, 8192, 3);
  const bytes = await file.readFile();
  assert.ok(bytes.subarray(4096, 12_288).equals(Buffer.alloc(8192)), 'a hole was punched');
  assert.ok(bytes.subarray(12_288, 65_536).equals(pattern(65536).subarray(12_288)));
  await file.close();
}

/** Offsets beyond 10 GiB. */
export async function hugeOffsets(fs: FsClient, at: string): Promise<void> {
  const file = await fs.open(`${at}/huge`, 'w+');
  const offset = 10 * GIB + 123;
  const bytes = pattern(2 * MIB);
  await file.write(bytes, 0, bytes.length, offset);
  const back = Buffer.alloc(bytes.length);
  assert.equal((await file.read(back, 0, back.length, offset)).bytesRead, bytes.length);
  assert.ok(back.equals(bytes));
  assert.equal((await file.stat()).size, offset + bytes.length);
  assert.equal((await file.read(back, 0, 10, offset + bytes.length)).bytesRead, 0);
  await file.close();
  await fs.unlink(`${at}/huge`);
}
