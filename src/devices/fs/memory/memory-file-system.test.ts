/**
 * The file system in memory by the requests of a guest's kernel: what POSIX says, and its limits.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  FUSE_STATX,
  FUSE_STATX_MASK,
  FUSE_STATX_OUT,
  LINUX_E,
  LINUX_O,
  S_IF,
  encodeDev,
} from '../../../fuse/index.ts';
import { FuseCaller, FuseMount, fuseInput } from '../../../testing/index.ts';
import { treeOperations } from '../tree/index.ts';
import { MemoryFileSystem } from './index.ts';
import type { MemoryOptions } from './index.ts';

const MIB = 1024 * 1024;
const FALLOC = { keepSize: 1, punch: 2, zero: 16, collapse: 8 };

function setUp(options: MemoryOptions = {}): { memory: MemoryFileSystem; mount: FuseMount } {
  const memory = new MemoryFileSystem({ bytesMax: MIB, ...options });
  return { memory, mount: new FuseMount(new FuseCaller(treeOperations(memory))) };
}

function expectEmpty(memory: MemoryFileSystem): void {
  const { blocks, blocksFree, files, filesFree } = memory.usage();
  assert.deepEqual([blocksFree, filesFree], [blocks, files], 'everything is given back');
}

function fallocate(
  mount: FuseMount,
  fh: number,
  at: number,
  bytes: number,
  mode = 0,
): Promise<unknown> {
  const input = fuseInput(32, { 24: mode }, { 0: fh, 8: at, 16: bytes });
  return mount.ask({ opcode: 'FALLOCATE', nodeId: 1, input });
}

async function seek(mount: FuseMount, fh: number, at: number, whence: number): Promise<number> {
  const input = fuseInput(24, { 16: whence }, { 0: fh, 8: at });
  const { view } = await mount.ask({ opcode: 'LSEEK', nodeId: 1, input });
  return view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
}

test('a file that is open stays until it is closed, with or without a name', async () => {
  const { memory, mount } = setUp();
  const { fh, nodeId } = await mount.create('/a', LINUX_O.RDWR);
  await mount.write(fh, 0, 'still here');
  await mount.unlink('/a');
  assert.equal((await mount.getattr(nodeId)).linkCount, 0);
  assert.equal(Buffer.from(await mount.read(fh, 0, 100)).toString(), 'still here');
  await mount.write(fh, 6, 'there');
  assert.equal(Buffer.from(await mount.read(fh, 0, 100)).toString(), 'still there');
  await assert.rejects(mount.stat('/a'), { code: 'ENOENT' });
  const again = await mount.open(nodeId, LINUX_O.RDONLY);
  await mount.release(fh);
  assert.equal((await mount.read(again.fh, 0, 100)).length, 11);
  await mount.release(again.fh);
  expectEmpty(memory);
});

test('a file that was replaced by a rename goes, and an open one later', async () => {
  const { memory, mount } = setUp();
  await mount.writeFile('/new', 'new');
  const { fh } = await mount.create('/old', LINUX_O.RDWR);
  await mount.write(fh, 0, 'old');
  await mount.rename('/new', '/old');
  assert.equal((await mount.readFile('/old')).toString(), 'new');
  assert.equal(Buffer.from(await mount.read(fh, 0, 10)).toString(), 'old');
  mount.caller.operations.destroy(); // closes what is open
  await mount.unlink('/old');
  expectEmpty(memory);
});

test('a file without a name can be given one', async () => {
  const { memory, mount } = setUp();
  const input = fuseInput(16, { 0: LINUX_O.RDWR, 4: 0o600 });
  const { view } = await mount.ask({ opcode: 'TMPFILE', nodeId: 1, name: 'x', input });
  const [nodeId, fh] = [view.getUint32(0, true), view.getUint32(128, true)];
  await mount.write(fh, 0, 'secret');
  assert.deepEqual(await mount.readdir('/'), []);
  const link = { opcode: 'LINK', nodeId: 1, input: fuseInput(8, {}, { 0: nodeId }) } as const;
  await mount.ask({ ...link, name: 'named' });
  await mount.release(fh);
  assert.equal((await mount.readFile('/named')).toString(), 'secret');
  await mount.unlink('/named');
  await assert.rejects(mount.ask({ ...link, name: 'again' }), { code: 'ENOENT' });
  expectEmpty(memory);
});

test('hard links are one file, and a directory has none', async () => {
  const { memory, mount } = setUp();
  await mount.writeFile('/a', 'one');
  await mount.mkdir('/d');
  await mount.link('/a', '/d/b');
  await mount.writeFile('/d/b', 'two');
  assert.equal((await mount.readFile('/a')).toString(), 'two');
  const [a, b] = [await mount.stat('/a'), await mount.stat('/d/b')];
  assert.deepEqual([a.ino, a.nodeId, a.linkCount], [b.ino, b.nodeId, 2]);
  await mount.rename('/a', '/d/b');
  assert.deepEqual(await mount.readdir('/'), ['a', 'd'], 'a rename onto itself does nothing');
  await assert.rejects(mount.link('/d', '/e'), { code: 'EPERM' });
  await mount.unlink('/a');
  assert.equal((await mount.stat('/d/b')).linkCount, 1);
  await mount.unlink('/d/b');
  await mount.rmdir('/d');
  expectEmpty(memory);
});

test('directories count their directories, and do not move into themselves', async () => {
  const { mount } = setUp();
  for (const path of ['/a', '/a/b', '/a/b/c', '/x']) await mount.mkdir(path);
  const links = async (path: string): Promise<number> => (await mount.stat(path)).linkCount;
  assert.deepEqual([await links('/'), await links('/a'), await links('/x')], [4, 3, 2]);
  await assert.rejects(mount.rename('/a', '/a/b/c/d'), { code: 'EINVAL' });
  await assert.rejects(mount.rename('/a', '/a/b', 2), { code: 'EINVAL' });
  await assert.rejects(mount.rename('/a/b/c', '/a', 2), { code: 'EINVAL' });
  await mount.rename('/a/b', '/x/b');
  assert.deepEqual([await links('/'), await links('/a'), await links('/x')], [4, 2, 3]);
  await mount.rename('/x', '/a');
  assert.deepEqual([await links('/'), await links('/a')], [3, 3]);
  await assert.rejects(mount.rmdir('/a'), { code: 'ENOTEMPTY' });
  await mount.mkdir('/y');
  await mount.rename('/y', '/a/b', 2);
  assert.deepEqual([await links('/'), await links('/a'), await links('/y')], [4, 3, 3]);
});

test('nothing is made in a directory that was removed', async () => {
  const { memory, mount } = setUp();
  await mount.mkdir('/gone');
  await mount.writeFile('/a', '');
  const { nodeId } = await mount.stat('/gone');
  await mount.rmdir('/gone');
  const input = fuseInput(16, { 0: 0o755 });
  const fault = mount.ask({ opcode: 'MKDIR', nodeId, name: 'x', input });
  await assert.rejects(fault, { code: 'ENOENT' });
  const rename = {
    opcode: 'RENAME',
    nodeId: 1,
    name: 'a',
    newDirectory: nodeId,
    second: 'b',
  } as const;
  await assert.rejects(mount.ask(rename), { code: 'ENOENT' });
  const value = { nodeId, name: 'user.x', second: 'value', input: fuseInput(16, { 0: 5 }) };
  await assert.rejects(mount.ask({ opcode: 'SETXATTR', ...value }), { code: 'ENOENT' });
  await mount.unlink('/a');
  expectEmpty(memory);
});

test('nodes of all kinds have their mode, number and target', async () => {
  const { mount } = setUp();
  await mount.mknod('/fifo', S_IF.IFO | 0o622);
  await mount.mknod('/socket', S_IF.SOCK | 0o600);
  await mount.mknod('/null', S_IF.CHR | 0o666, encodeDev(1, 3));
  await mount.mknod('/disk', S_IF.BLK | 0o660, encodeDev(259, 70_000));
  await mount.mknod('/file', S_IF.REG | 0o4711);
  await mount.symlink('some/where', '/link');
  const modes = new Map([
    ['/fifo', S_IF.IFO | 0o622],
    ['/socket', S_IF.SOCK | 0o600],
    ['/null', S_IF.CHR | 0o666],
    ['/disk', S_IF.BLK | 0o660],
    ['/file', S_IF.REG | 0o4711],
    ['/link', S_IF.LNK | 0o777],
  ]);
  for (const [path, mode] of modes) assert.equal((await mount.stat(path)).mode, mode, path);
  assert.equal((await mount.stat('/disk')).deviceNumber, encodeDev(259, 70_000));
  assert.equal((await mount.readlink('/link')).toString(), 'some/where');
  assert.equal((await mount.stat('/link')).size, 10);
  await assert.rejects(mount.readlink('/file'), { code: 'EINVAL' });
  await assert.rejects(mount.mknod('/bad', 0o644), { code: 'EINVAL' });
});

test('new files belong to who makes them, or to the group of a setgid directory', async () => {
  const { mount } = setUp({ mode: 0o1777 });
  mount.caller.uid = 1000;
  mount.caller.gid = 100;
  await mount.mkdir('/team');
  const { nodeId } = await mount.stat('/team');
  await mount.setattr(nodeId, { gid: 500 });
  await mount.setattr(nodeId, { mode: 0o2775 });
  await mount.writeFile('/team/file', '');
  await mount.mkdir('/team/inner');
  const [file, inner] = [await mount.stat('/team/file'), await mount.stat('/team/inner')];
  assert.deepEqual([file.uid, file.gid, file.mode & 0o7777], [1000, 500, 0o644]);
  assert.deepEqual([inner.uid, inner.gid, inner.mode & 0o7777], [1000, 500, 0o2755]);
  assert.equal((await mount.stat('/')).mode, S_IF.DIR | 0o1777);
});

test('a full file system says so, and has room again afterwards', async () => {
  const { memory, mount } = setUp({ bytesMax: 256 * 1024, namesMax: 3 });
  await mount.writeFile('/a', Buffer.alloc(200_000, 1));
  await assert.rejects(mount.writeFile('/b', Buffer.alloc(200_000, 2)), { code: 'ENOSPC' });
  await mount.unlink('/a');
  await mount.unlink('/b');
  mount.caller.operations.destroy(); // closes the file that could not be written
  expectEmpty(memory);
  for (const name of ['/1', '/2', '/3']) await mount.writeFile(name, '');
  await assert.rejects(mount.mkdir('/4'), { code: 'ENOSPC' });
  await assert.rejects(mount.link('/1', '/4'), { code: 'ENOSPC' });
  await mount.rename('/1', '/4');
  await mount.unlink('/2');
  await mount.mkdir('/5');
  const { fh } = await mount.create('/3', LINUX_O.RDWR);
  await assert.rejects(fallocate(mount, fh, 0, 300_000), { code: 'ENOSPC' });
  await assert.rejects(mount.write(fh, 2 ** 45, 'x'), { code: 'EFBIG' });
});

test('holes take no memory, and seeking finds what is between them', async () => {
  const { mount } = setUp();
  const { fh, nodeId } = await mount.create('/sparse', LINUX_O.RDWR);
  const far = 12 * 1024 ** 3;
  await mount.write(fh, far, 'far out');
  await mount.setattr(nodeId, { size: far * 2 });
  const { size, blocks } = await mount.getattr(nodeId);
  assert.equal(size, far * 2);
  assert.ok(blocks * 512 <= 65_536);
  assert.equal(await seek(mount, fh, 0, 3), far);
  assert.equal(await seek(mount, fh, 0, 4), 0);
  const hole = await seek(mount, fh, far, 4);
  assert.ok(hole >= far + 7 && hole <= far + 65_536);
  await assert.rejects(seek(mount, fh, hole, 3), { code: 'ENXIO' });
  await assert.rejects(seek(mount, fh, far * 2, 4), { code: 'ENXIO' });
  await assert.rejects(seek(mount, fh, 0, 0), { code: 'EINVAL' });
  assert.equal(Buffer.from(await mount.read(fh, far - 2, 11)).toString(), '\0\0far out\0\0');
});

test('fallocate reserves, punches and zeroes', async () => {
  const { mount } = setUp();
  const { fh, nodeId } = await mount.create('/f', LINUX_O.RDWR);
  await mount.write(fh, 0, Buffer.alloc(200_000, 'x'));
  const blocks = async (): Promise<number> => (await mount.getattr(nodeId)).blocks;
  const before = await blocks();
  await fallocate(mount, fh, 65_536, 65_536, FALLOC.punch | FALLOC.keepSize);
  assert.equal(await blocks(), before - 128);
  assert.equal(Buffer.from(await mount.read(fh, 65_535, 2)).toString(), 'x\0');
  await fallocate(mount, fh, 10, 5, FALLOC.zero);
  assert.equal(Buffer.from(await mount.read(fh, 9, 7)).toString(), 'x\0\0\0\0\0x');
  await fallocate(mount, fh, 200_000, 1000, FALLOC.keepSize);
  assert.equal((await mount.getattr(nodeId)).size, 200_000);
  await fallocate(mount, fh, 200_000, 1000);
  assert.equal((await mount.getattr(nodeId)).size, 201_000);
  await assert.rejects(fallocate(mount, fh, 0, 0), { code: 'EINVAL' });
  const odd = [FALLOC.punch, FALLOC.collapse, 0x20];
  for (const mode of odd) {
    await assert.rejects(fallocate(mount, fh, 0, 4096, mode), { code: 'EOPNOTSUPP' });
  }
});

test('ranges are copied between files, and not onto themselves', async () => {
  const { mount } = setUp();
  await mount.writeFile('/from', Buffer.alloc(150_000, 'abc'));
  const from = await mount.open((await mount.stat('/from')).nodeId, LINUX_O.RDWR);
  const to = await mount.create('/to', LINUX_O.RDWR);
  const copy = async (out: number, at: number, outAt: number, bytes: number): Promise<number> => {
    const input = fuseInput(56, {}, { 0: from.fh, 8: at, 24: out, 32: outAt, 40: bytes });
    const opcode = outAt === 10 ? 'COPY_FILE_RANGE_64' : 'COPY_FILE_RANGE';
    const { view } = await mount.ask({ opcode, nodeId: 1, input });
    return Number(view.getBigUint64(0, true));
  };
  assert.equal(await copy(to.fh, 3, 10, 1_000_000), 149_997);
  const copied = await mount.readFile('/to');
  assert.equal(copied.length, 150_007);
  assert.deepEqual(copied.subarray(10), Buffer.alloc(149_997, 'abc'));
  assert.equal(await copy(from.fh, 0, 149_999, 10), 10);
  await assert.rejects(copy(from.fh, 0, 5, 10), { code: 'EINVAL' });
});

test('the time at which a file was made stays, whatever becomes of the file', async () => {
  const { mount, memory } = setUp();
  const before = Math.floor(Date.now() / 1000);
  const nodeId = await mount.writeFile('/f', 'text');
  const node = memory.root.children?.get('f') ?? assert.fail('it is there');
  node.modified = node.changed = node.accessed = { seconds: 5, nanoseconds: 6 };
  const answer = await mount.ask({ opcode: 'STATX', nodeId, input: new Uint8Array(24) });
  const { view } = answer;
  const at = FUSE_STATX_OUT.stat;
  assert.equal(answer.result, FUSE_STATX_OUT.SIZE);
  const { BASIC_STATS, BTIME } = FUSE_STATX_MASK;
  assert.equal(view.getUint32(at + FUSE_STATX.mask, true), BASIC_STATS | BTIME);
  assert.equal(view.getUint32(at + FUSE_STATX.mtime, true), 5);
  assert.equal(view.getUint32(at + FUSE_STATX.mtime + 8, true), 6);
  assert.equal(view.getUint32(at + FUSE_STATX.size, true), 4);
  const made = Number(view.getBigInt64(at + FUSE_STATX.btime, true));
  assert.ok(made >= before && made <= before + 60, String(made));
});

test('attributes are kept by name, within the limits of Linux', async () => {
  const { memory, mount } = setUp();
  const nodeId = await mount.writeFile('/a', '');
  const set = (name: string, value: string | Buffer, flags = 0): Promise<unknown> => {
    const input = fuseInput(16, { 0: value.length, 4: flags });
    return mount.ask({ opcode: 'SETXATTR', nodeId, name, second: value, input });
  };
  const get = async (name: string, size: number): Promise<string> => {
    const input = fuseInput(8, { 0: size });
    const { bytes } = await mount.ask({ opcode: 'GETXATTR', nodeId, name, input });
    return Buffer.from(bytes).toString();
  };
  await set('user.one', 'first');
  await set('trusted.two', '');
  assert.equal(await get('user.one', 100), 'first');
  assert.equal((await get('user.one', 0)).charCodeAt(0), 5, 'how many bytes there are');
  await assert.rejects(get('user.one', 4), { code: 'ERANGE' });
  await assert.rejects(get('user.two', 0), { code: 'ENODATA' });
  await assert.rejects(set('user.one', 'x', 1), { code: 'EEXIST' });
  await assert.rejects(set('user.new', 'x', 2), { code: 'ENODATA' });
  await assert.rejects(set('system.posix_acl_access', 'x'), { code: 'EOPNOTSUPP' });
  await assert.rejects(set('user.', 'x'), { code: 'EOPNOTSUPP' });
  await assert.rejects(set('user.big', Buffer.alloc(65_537)), { code: 'ERANGE' });
  const input = fuseInput(8, { 0: 100 });
  const { bytes } = await mount.ask({ opcode: 'LISTXATTR', nodeId, input });
  assert.equal(Buffer.from(bytes).toString(), 'user.one\0trusted.two\0');
  await mount.ask({ opcode: 'REMOVEXATTR', nodeId, name: 'user.one' });
  await assert.rejects(mount.ask({ opcode: 'REMOVEXATTR', nodeId, name: 'user.one' }), {
    code: 'ENODATA',
  });
  await set('security.capability', 'may everything');
  const { fh } = await mount.open(nodeId, LINUX_O.WRONLY);
  await mount.write(fh, 0, 'x');
  await assert.rejects(get('security.capability', 0), { code: 'ENODATA' });
  await mount.release(fh);
  await mount.unlink('/a');
  expectEmpty(memory);
});

test('a file system of a full listing of attributes takes no more of them', async () => {
  const { mount } = setUp();
  const nodeId = await mount.writeFile('/a', '');
  let result = 0;
  for (let i = 0; i < 400 && result === 0; i++) {
    const name = `user.${String(i).padStart(240, 'n')}`;
    const request = { opcode: 'SETXATTR', nodeId, name, input: new Uint8Array(16) } as const;
    ({ result } = await mount.caller.request(request));
  }
  assert.equal(result, -LINUX_E.NOSPC);
});

test('times change with what they are the times of', async () => {
  const { memory, mount } = setUp();
  const nodeId = await mount.writeFile('/a', 'text');
  const node = memory.lookup(memory.root, 'a');
  assert.ok(node);
  const old = { seconds: -5, nanoseconds: 999_999_999 };
  const at = fuseInput(88, { 0: 0x30, 56: 7, 60: 999_999_999 }, { 32: 100, 40: 2 ** 32 + 5 });
  await mount.ask({ opcode: 'SETATTR', nodeId, input: at });
  assert.deepEqual(node.accessed, { seconds: 100, nanoseconds: 7 });
  assert.deepEqual(node.modified, { seconds: 2 ** 32 + 5, nanoseconds: 999_999_999 });
  assert.equal((await mount.getattr(nodeId)).mtimeNs, 999_999_999);
  node.modified = old;
  node.changed = old;
  const { fh } = await mount.open(nodeId, LINUX_O.RDWR);
  await mount.write(fh, 0, 'x');
  assert.ok(node.modified.seconds > 0);
  assert.deepEqual(node.changed, node.modified);
  node.modified = old;
  node.changed = old;
  await mount.setattr(nodeId, { mode: 0o600 });
  assert.ok(node.changed.seconds > 0);
  assert.deepEqual(node.modified, old);
  assert.equal((await mount.getattr(nodeId)).mtime, 2 ** 64 - 5, 'before 1970');
  const bad = fuseInput(88, { 0: 0x20, 60: 1_000_000_000 });
  await assert.rejects(mount.ask({ opcode: 'SETATTR', nodeId, input: bad }), { code: 'EINVAL' });
});
