/**
 * What any file system behind virtio-fs owes to its clients, as checks that a test runs through
 * {@link FsClient}: for the file systems of this package, for others' back-ends, and for whoever
 * writes a file system.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { LINUX_O, S_IF } from '../fuse/index.ts';
import { ACCESS } from '../frontend/index.ts';
import type { FsClient, FsError } from '../frontend/index.ts';

const MIB = 1 << 20;
const GIB = 2 ** 30;
const FILES = 3000;

/** What not every file system has. */
export type FsTrait =
  | 'links'
  | 'owners'
  | 'devices'
  | 'xattrs'
  | 'flocks'
  | 'record-locks'
  | 'holes'
  | 'allocate'
  | 'rename-flags'
  | 'huge';

/** One check. */
export interface FsCheck {
  /** What it says of the file system, as a sentence. */
  readonly name: string;
  /** Traits that it needs. */
  readonly needs: readonly FsTrait[];
  /** Rejects when it does not hold. `at` is the path of an empty folder, which it may fill. */
  readonly run: (fs: FsClient, at: string) => Promise<void>;
}

/** Makes a check, for the list. */
function check(name: string, run: FsCheck['run'], ...needs: readonly FsTrait[]): FsCheck {
  return { name, needs, run };
}

/** Bytes that are not zeroes, and not the same in any two pages. */
function pattern(length: number, seed: number = 1): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >> 12) * 7 + seed) & 0xff;
  return bytes;
}

/** The code of what an operation rejects with; empty when it resolves. */
async function codeOf(operation: Promise<unknown>): Promise<string> {
  try {
    await operation;
    return '';
  } catch (error) {
    return (error as FsError).code;
  }
}

async function readsAndWrites(fs: FsClient, at: string): Promise<void> {
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

async function positions(fs: FsClient, at: string): Promise<void> {
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

async function appends(fs: FsClient, at: string): Promise<void> {
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

async function flags(fs: FsClient, at: string): Promise<void> {
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

async function folders(fs: FsClient, at: string): Promise<void> {
  assert.equal(await fs.mkdir(`${at}/a/b/c`, { recursive: true }), `${at}/a`);
  assert.equal(await fs.mkdir(`${at}/a/b/c`, { recursive: true }), undefined);
  assert.equal(await fs.mkdir(`${at}/a/b/d/e`, { recursive: true }), `${at}/a/b/d`);
  assert.equal(await codeOf(fs.mkdir(`${at}/a`)), 'EEXIST');
  assert.equal(await codeOf(fs.mkdir(`${at}/x/y`)), 'ENOENT');
  await fs.writeFile(`${at}/a/file`, '');
  assert.equal(await codeOf(fs.mkdir(`${at}/a/file`, { recursive: true })), 'EEXIST');
  assert.equal(await codeOf(fs.mkdir(`${at}/a/file/x`)), 'ENOTDIR');
  assert.deepEqual((await fs.readdir(`${at}/a`)).sort(), ['b', 'file']);
  const kinds = await fs.readdir(`${at}/a`, { withFileTypes: true });
  const folderNames = kinds.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  assert.deepEqual(folderNames, ['b']);
  assert.equal(await codeOf(fs.readdir(`${at}/a/file`)), 'ENOTDIR');
  assert.equal(await codeOf(fs.rmdir(`${at}/a`)), 'ENOTEMPTY');
  assert.equal(await codeOf(fs.rmdir(`${at}/a/file`)), 'ENOTDIR');
  assert.equal(await codeOf(fs.unlink(`${at}/a/b`)), 'EISDIR');
  await fs.rmdir(`${at}/a/b/c/`);
  assert.equal(await codeOf(fs.rm(`${at}/a`)), 'EISDIR');
  await fs.rm(`${at}/a`, { recursive: true });
  assert.equal(await fs.exists(`${at}/a`), false);
  assert.equal(await codeOf(fs.rm(`${at}/a`)), 'ENOENT');
  await fs.rm(`${at}/a`, { force: true });
  const temporary = await fs.mkdtemp(`${at}/tmp-`);
  assert.match(temporary, /tmp-[a-z0-9]{6}$/);
  assert.equal((await fs.stat(temporary)).mode & 0o777, 0o700);
}

async function listings(fs: FsClient, at: string): Promise<void> {
  const names = Array.from({ length: FILES }, (_, i) => `file-${String(i)}`);
  await Promise.all(names.map((name) => fs.writeFile(`${at}/${name}`, name)));
  const listed = await fs.readdir(at);
  assert.equal(listed.length, FILES);
  assert.deepEqual(listed.sort(), names.sort());
  const entries = await fs.readdir(at, { withStats: true });
  for (const entry of entries) assert.equal(entry.stats?.size, entry.name.length, entry.name);
  assert.equal(entries.length, FILES);
  let count = 0;
  for await (const entry of await fs.opendir(at)) {
    assert.ok(entry.isFile());
    if (++count === 10) break;
  }
  assert.equal(count, 10);
  await fs.forgetIdleNodes();
  assert.equal(fs.nodeCount, 0, 'everything that was looked up is forgotten');
  await fs.rm(at, { recursive: true });
}

async function symbolicLinks(fs: FsClient, at: string): Promise<void> {
  await fs.mkdir(`${at}/folder`);
  await fs.writeFile(`${at}/folder/file`, 'text');
  await fs.symlink('folder/file', `${at}/relative`);
  await fs.symlink(`${at}/folder`, `${at}/absolute`);
  await fs.symlink('../relative', `${at}/folder/up`);
  await fs.symlink('loop', `${at}/loop`);
  await fs.symlink('new', `${at}/dangling`);
  for (const path of [
    'relative',
    'absolute/file',
    'absolute/up',
    'folder/../absolute/../relative',
  ]) {
    assert.equal(await fs.readFile(`${at}/${path}`, 'utf8'), 'text', path);
  }
  assert.equal(await fs.realpath(`${at}/absolute/up`), `${at}/folder/file`);
  assert.equal(await fs.readlink(`${at}/folder/up`), '../relative');
  assert.equal(await codeOf(fs.readlink(`${at}/folder`)), 'EINVAL');
  assert.equal(await codeOf(fs.stat(`${at}/loop`)), 'ELOOP');
  assert.equal(await codeOf(fs.stat(`${at}/dangling`)), 'ENOENT');
  assert.ok((await fs.lstat(`${at}/dangling`)).isSymbolicLink());
  assert.equal(await codeOf(fs.open(`${at}/relative`, LINUX_O.NOFOLLOW)), 'ELOOP');
  await fs.writeFile(`${at}/dangling`, 'made through the link');
  assert.equal(await fs.readFile(`${at}/new`, 'utf8'), 'made through the link');
  assert.equal(await codeOf(fs.open(`${at}/dangling`, 'wx')), 'EEXIST');
  assert.ok((await fs.stat(`${at}/absolute/`)).isDirectory());
  assert.equal(await codeOf(fs.stat(`${at}/relative/`)), 'ENOTDIR');
  const above = await fs.stat('/../../..');
  assert.equal(above.ino, (await fs.stat('/')).ino, 'nothing is above the root');
  const long = 't'.repeat(4000);
  await fs.symlink(long, `${at}/long`);
  assert.equal(await fs.readlink(`${at}/long`), long);
  await fs.rm(`${at}/absolute`, { recursive: true });
  assert.equal(await fs.readFile(`${at}/folder/file`, 'utf8'), 'text', 'the link alone went');
}

async function hardLinks(fs: FsClient, at: string): Promise<void> {
  await fs.writeFile(`${at}/one`, 'text');
  await fs.link(`${at}/one`, `${at}/two`);
  const [one, two] = [await fs.stat(`${at}/one`), await fs.stat(`${at}/two`)];
  assert.deepEqual([one.ino, one.nlink], [two.ino, 2]);
  await fs.appendFile(`${at}/two`, '!');
  assert.equal(await fs.readFile(`${at}/one`, 'utf8'), 'text!');
  assert.equal(await codeOf(fs.link(`${at}/one`, `${at}/two`)), 'EEXIST');
  await fs.unlink(`${at}/one`);
  assert.equal((await fs.stat(`${at}/two`)).nlink, 1);
}

async function renames(fs: FsClient, at: string): Promise<void> {
  await fs.writeFile(`${at}/a`, 'a');
  await fs.writeFile(`${at}/b`, 'b');
  await fs.mkdir(`${at}/folder`);
  await fs.rename(`${at}/a`, `${at}/folder/moved`);
  assert.equal(await codeOf(fs.stat(`${at}/a`)), 'ENOENT');
  await fs.rename(`${at}/folder/moved`, `${at}/b`);
  assert.equal(await fs.readFile(`${at}/b`, 'utf8'), 'a', 'over another one');
  assert.equal(await codeOf(fs.rename(`${at}/none`, `${at}/c`)), 'ENOENT');
  assert.equal(await codeOf(fs.rename(`${at}/b`, `${at}/folder`)), 'EISDIR');
  assert.equal(await codeOf(fs.rename(`${at}/folder`, `${at}/b`)), 'ENOTDIR');
  assert.equal(await codeOf(fs.rename(`${at}/folder`, `${at}/folder/inside`)), 'EINVAL');
  await fs.mkdir(`${at}/full`);
  await fs.writeFile(`${at}/full/file`, '');
  assert.match(await codeOf(fs.rename(`${at}/folder`, `${at}/full`)), /^(ENOTEMPTY|EEXIST)$/);
  await fs.rename(`${at}/full/`, `${at}/folder`);
  assert.deepEqual(await fs.readdir(`${at}/folder`), ['file']);
}

async function renameFlags(fs: FsClient, at: string): Promise<void> {
  await fs.writeFile(`${at}/a`, 'a');
  await fs.writeFile(`${at}/b`, 'b');
  const taken = fs.rename(`${at}/a`, `${at}/b`, { noReplace: true });
  assert.equal(await codeOf(taken), 'EEXIST');
  await fs.rename(`${at}/a`, `${at}/b`, { exchange: true });
  assert.equal(await fs.readFile(`${at}/a`, 'utf8'), 'b');
  assert.equal(await fs.readFile(`${at}/b`, 'utf8'), 'a');
  await fs.rename(`${at}/a`, `${at}/c`, { noReplace: true });
  assert.deepEqual((await fs.readdir(at)).sort(), ['b', 'c']);
}

async function unlinkedFiles(fs: FsClient, at: string): Promise<void> {
  const path = `${at}/file`;
  const bytes = pattern(100_000);
  await fs.writeFile(path, bytes);
  const file = await fs.open(path, 'r+');
  await fs.unlink(path);
  assert.equal(await codeOf(fs.stat(path)), 'ENOENT');
  await fs.writeFile(path, 'another file of that name');
  assert.ok((await file.readFile()).equals(bytes));
  await file.write('more');
  const { size, nlink } = await file.stat();
  assert.deepEqual([size, nlink], [100_004, 0]);
  await file.close();
  const over = await fs.open(path, 'r');
  await fs.writeFile(`${at}/new`, 'new');
  await fs.rename(`${at}/new`, path);
  assert.equal((await over.readFile()).toString(), 'another file of that name');
  await over.close();
}

async function names(fs: FsClient, at: string): Promise<void> {
  const longest = 'n'.repeat(255);
  await fs.writeFile(`${at}/${longest}`, 'long');
  assert.equal(await fs.readFile(`${at}/${longest}`, 'utf8'), 'long');
  assert.equal(await codeOf(fs.writeFile(`${at}/${longest}n`, '')), 'ENAMETOOLONG');
  assert.equal(await codeOf(fs.mkdir(`${at}/${longest}n`)), 'ENAMETOOLONG');
  assert.equal(await codeOf(fs.stat(`${at}/a\0b`)), 'EINVAL');
  assert.equal(await codeOf(fs.stat('')), 'ENOENT');
  const odd = ['ä'.repeat(127), ' ', '\n', '...', 'a\\b', '👩‍💻', 'a?*"<>|:b'];
  for (const name of odd) await fs.writeFile(`${at}/${name}`, name);
  assert.deepEqual((await fs.readdir(at)).sort(), [longest, ...odd].sort());
  for (const name of odd) assert.equal(await fs.readFile(`${at}//./${name}`, 'utf8'), name);
}

async function rawNames(fs: FsClient, at: string): Promise<void> {
  const name = Buffer.from([0xff, 0xfe, 0x2e, 0x80]);
  const path = Buffer.concat([Buffer.from(`${at}/`), name]);
  await fs.writeFile(path, 'no UTF-8');
  assert.equal(await fs.readFile(path, 'utf8'), 'no UTF-8');
  assert.deepEqual(await fs.readdir(at, { encoding: 'buffer' }), [name]);
  await fs.symlink(name, `${at}/link`);
  assert.deepEqual(await fs.readlink(`${at}/link`, 'buffer'), name);
  await fs.unlink(path);
  assert.equal(await codeOf(fs.stat(`${at}/link`)), 'ENOENT');
}

async function attributes(fs: FsClient, at: string): Promise<void> {
  const path = `${at}/file`;
  await fs.writeFile(path, 'text', { mode: 0o666 });
  assert.equal((await fs.stat(path)).mode, S_IF.REG | 0o644, 'without the umask');
  await fs.chmod(path, 0o4751);
  assert.equal((await fs.stat(path)).mode, S_IF.REG | 0o4751);
  await fs.utimes(path, 1_000_000_000_123_456_789n, new Date(2_000_000_000_500));
  const stats = await fs.stat(path);
  assert.equal(stats.atimeNs, 1_000_000_000_123_456_789n);
  assert.equal(stats.mtimeMs, 2_000_000_000_500);
  const before = Date.now() - 60_000;
  await fs.utimes(path, 'now', 'now');
  assert.ok((await fs.stat(path)).mtimeMs > before);
  await fs.truncate(path, 1000);
  assert.deepEqual([...(await fs.readFile(path)).subarray(0, 6)], [...Buffer.from('text\0\0')]);
  assert.equal((await fs.stat(path)).size, 1000);
  const file = await fs.open(path, 'r+');
  await file.chmod(0o600);
  await file.utimes(5, 6.5);
  await file.datasync();
  const own = await file.stat();
  assert.deepEqual([own.mode & 0o7777, own.atimeMs, own.mtimeMs], [0o600, 5000, 6500]);
  await file.close();
  const root = await fs.stat(at);
  assert.ok(root.isDirectory() && root.nlink >= 1);
  await fs.access(path, ACCESS.R_OK | ACCESS.W_OK);
  assert.equal(await codeOf(fs.access(`${at}/none`)), 'ENOENT');
  const { bsize, blocks, namelen } = await fs.statfs(at);
  assert.ok(bsize >= 512 && blocks >= 0 && namelen >= 255);
}

async function owners(fs: FsClient, at: string): Promise<void> {
  const path = `${at}/file`;
  await fs.writeFile(path, '');
  await fs.chown(path, 1234, 5678);
  await fs.symlink('file', `${at}/link`);
  await fs.lchown(`${at}/link`, 11, -1);
  const own = async (of: string): Promise<number[]> => {
    const { uid, gid } = await fs.lstat(of);
    return [uid, gid];
  };
  assert.deepEqual(await own(path), [1234, 5678]);
  assert.equal((await own(`${at}/link`))[0], 11);
  await fs.chown(path, -1, 42);
  assert.deepEqual(await own(path), [1234, 42]);
  await fs.chmod(at, 0o777);
  const other = fs.as({ uid: 1000, gid: 1001, pid: 77 });
  await other.writeFile(`${at}/his`, '');
  await other.mkdir(`${at}/folder`);
  await other.symlink('x', `${at}/his-link`);
  for (const name of ['his', 'folder', 'his-link']) {
    assert.deepEqual(await own(`${at}/${name}`), [1000, 1001], name);
  }
}

async function devices(fs: FsClient, at: string): Promise<void> {
  await fs.mknod(`${at}/fifo`, S_IF.IFO | 0o600);
  assert.ok((await fs.stat(`${at}/fifo`)).isFIFO());
  assert.equal(await codeOf(fs.open(`${at}/fifo`)), 'ENXIO', 'FIFOs are the kernel’s to open');
  await fs.mknod(`${at}/socket`, S_IF.SOCK | 0o600);
  assert.ok((await fs.stat(`${at}/socket`)).isSocket());
  await fs.mknod(`${at}/file`, 0o600);
  assert.ok((await fs.stat(`${at}/file`)).isFile());
  assert.equal(await codeOf(fs.mknod(`${at}/file`, S_IF.IFO)), 'EEXIST');
  const kinds = await fs.readdir(at, { withFileTypes: true });
  assert.ok(kinds.find(({ name }) => name === 'fifo')?.isFIFO());
}

async function xattrs(fs: FsClient, at: string): Promise<void> {
  const path = `${at}/file`;
  await fs.writeFile(path, '');
  assert.equal(await codeOf(fs.getxattr(path, 'user.none')), 'ENODATA');
  await fs.setxattr(path, 'user.a', 'one');
  await fs.setxattr(path, 'user.b', pattern(3000));
  await fs.setxattr(path, 'user.c', '');
  assert.equal((await fs.getxattr(path, 'user.a')).toString(), 'one');
  assert.ok((await fs.getxattr(path, 'user.b')).equals(pattern(3000)));
  assert.equal((await fs.getxattr(path, 'user.c')).length, 0);
  const own = (await fs.listxattr(path)).filter((name) => name.startsWith('user.')).sort();
  assert.deepEqual(own, ['user.a', 'user.b', 'user.c']);
  assert.equal(await codeOf(fs.setxattr(path, 'user.a', 'x', { create: true })), 'EEXIST');
  assert.equal(await codeOf(fs.setxattr(path, 'user.d', 'x', { replace: true })), 'ENODATA');
  await fs.setxattr(path, 'user.a', 'two', { replace: true });
  assert.equal((await fs.getxattr(path, 'user.a')).toString(), 'two');
  await fs.removexattr(path, 'user.a');
  assert.equal(await codeOf(fs.removexattr(path, 'user.a')), 'ENODATA');
}

async function copies(fs: FsClient, at: string): Promise<void> {
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

async function holes(fs: FsClient, at: string): Promise<void> {
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

async function allocation(fs: FsClient, at: string): Promise<void> {
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

async function hugeOffsets(fs: FsClient, at: string): Promise<void> {
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

async function flocks(fs: FsClient, at: string): Promise<void> {
  const path = `${at}/file`;
  await fs.writeFile(path, 'text');
  const [one, two] = [await fs.open(path, 'r+'), await fs.open(path, 'r+')];
  await one.flock({ type: 'exclusive' });
  assert.equal(await codeOf(two.flock({ type: 'shared' })), 'EAGAIN');
  const waiting = two.flock({ type: 'exclusive', wait: true });
  const controller = new AbortController();
  const third = await fs.open(path);
  const signal = controller.signal;
  const aborted = third.flock({ type: 'shared', wait: true, signal });
  controller.abort(new Error('no patience'));
  await assert.rejects(aborted, /no patience/);
  await one.close();
  await waiting;
  await two.flock({ type: 'none' });
  await third.flock({ type: 'shared' });
  await two.close();
  await third.close();
}

async function recordLocks(fs: FsClient, at: string): Promise<void> {
  const path = `${at}/file`;
  await fs.writeFile(path, 'text');
  const two = await fs.open(path, 'r+');
  const other = fs.as({ uid: 0, gid: 0, pid: 99 });
  const his = await other.open(path, 'r+');
  await two.lock({ type: 'exclusive', start: 10, length: 10 });
  assert.equal(await codeOf(his.lock({ type: 'shared', start: 15, length: 1 })), 'EAGAIN');
  await his.lock({ type: 'exclusive', start: 20 });
  const found = await his.getLock('exclusive', { start: 0, length: 100 });
  assert.deepEqual([found?.type, found?.start, found?.length], ['exclusive', 10, 10]);
  assert.equal(await his.getLock('shared', { start: 0, length: 10 }), null);
  const lock = his.lock({ type: 'shared', start: 12, length: 2, wait: true });
  await two.lock({ type: 'none' });
  await lock;
  await two.close();
  await his.close();
}

/** All checks; those whose needs a file system does not have are left out. */
export const FS_CHECKS: readonly FsCheck[] = [
  check('files of all lengths are written and read back', readsAndWrites),
  check('an open file has a position, and is read and written at others', positions),
  check('data are appended in order', appends),
  check('files are opened as their flags say', flags),
  check('folders are made, listed and removed', folders),
  check('a folder of 3000 files is listed, and all that was looked up is forgotten', listings),
  check('symbolic links lead where they say, inside of the mount', symbolicLinks, 'links'),
  check('a file has several names', hardLinks, 'links'),
  check('names are moved, over others too', renames),
  check('names are swapped, or not replaced, where that is asked for', renameFlags, 'rename-flags'),
  check('an open file outlives its name', unlinkedFiles),
  check('names are up to 255 bytes of anything', names),
  check('names need not be UTF-8', rawNames, 'links'),
  check('modes, times and lengths are kept', attributes),
  check('owners are kept, and new files are of whoever makes them', owners, 'owners'),
  check('FIFOs and sockets are made', devices, 'devices'),
  check('extended attributes are kept', xattrs, 'xattrs'),
  check('files are copied', copies),
  check('holes are found, and take no room', holes, 'holes'),
  check('room is allocated, and given back', allocation, 'allocate'),
  check('offsets beyond 10 GiB are nothing special', hugeOffsets, 'huge'),
  check('flocks keep others out, are waited for, and go with their files', flocks, 'flocks'),
  check('locks of ranges keep others out, and are waited for', recordLocks, 'record-locks'),
];

/**
 * Runs a check in a new folder of a file system, and removes that.
 *
 * ```ts
 * for (const each of FS_CHECKS) {
 *   if (each.needs.every((trait) => traits.includes(trait))) await runFsCheck(each, fs);
 * }
 * ```
 */
export async function runFsCheck(each: FsCheck, fs: FsClient): Promise<void> {
  const at = await fs.mkdtemp('/check-');
  await fs.chmod(at, 0o755);
  await each.run(fs, at);
  await fs.rm(at, { recursive: true, force: true });
}
