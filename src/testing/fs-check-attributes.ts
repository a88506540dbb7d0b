/**
 * Checks of what is said of files, and of locks on them.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { S_IF } from '../fuse/index.ts';
import { ACCESS } from '../frontend/index.ts';
import type { FsClient } from '../frontend/index.ts';
import { codeOf, pattern } from './fs-check.ts';

/** Modes, times and lengths. */
export async function attributes(fs: FsClient, at: string): Promise<void> {
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

/** Owners, and whose a new file is. */
export async function owners(fs: FsClient, at: string): Promise<void> {
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

/** FIFOs and sockets. */
export async function devices(fs: FsClient, at: string): Promise<void> {
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

/** Extended attributes. */
export async function xattrs(fs: FsClient, at: string): Promise<void> {
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

/** Locks of flock(2). */
export async function flocks(fs: FsClient, at: string): Promise<void> {
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

/** Locks of ranges. */
export async function recordLocks(fs: FsClient, at: string): Promise<void> {
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
