/**
 * File systems of a few lines, as a guest's kernel meets them.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  FOPEN,
  FUSE_INIT,
  FUSE_ROOT_ID,
  LINUX_E,
  LINUX_O,
  S_IF,
  direntType,
} from '../../../fuse/index.ts';
import { FuseCaller, FuseMount, fuseInput } from '../../../testing/index.ts';
import { MemoryFileSystem } from '../memory/index.ts';
import { fsError, treeOperations } from './index.ts';
import type { FileSystem, FsRequest, TreeOptions } from './index.ts';

type Tree = string | { readonly [name: string]: Tree };

/** Thirty lines that show an object: what the documentation promises. */
function objectFiles(root: Tree, more: Partial<FileSystem<Tree>> = {}): FileSystem<Tree> {
  return {
    root,
    stat: (node) =>
      typeof node === 'string'
        ? { kind: 'file', size: Buffer.byteLength(node) }
        : { kind: 'directory' },
    list: (node) => Object.entries(node),
    readFile: (node) => node as string,
    ...more,
  };
}

function mountOf<Node, File>(fs: FileSystem<Node, File>, options: TreeOptions = {}): FuseMount {
  return new FuseMount(new FuseCaller(treeOperations(fs, options)));
}

test('an object is shown as a tree of files', async () => {
  const mount = mountOf(objectFiles({ a: 'alpha', inner: { b: 'beta' } }));
  assert.deepEqual(await mount.readdir('/'), ['a', 'inner']);
  assert.deepEqual(await mount.readdir('/', 'READDIRPLUS'), ['a', 'inner']);
  assert.equal((await mount.readFile('/inner/b')).toString(), 'beta');
  const stat = await mount.stat('/a');
  assert.equal(stat.mode, S_IF.REG | 0o444);
  assert.equal(stat.size, 5);
  assert.equal((await mount.stat('/inner')).mode, S_IF.DIR | 0o555);
  await assert.rejects(mount.stat('/none'), { code: 'ENOENT' });
});

test('a file system without writing methods is read-only', async () => {
  const mount = mountOf(objectFiles({ a: 'alpha' }));
  const { nodeId } = await mount.stat('/a');
  const faults: (() => Promise<unknown>)[] = [
    () => mount.open(nodeId, LINUX_O.RDWR),
    () => mount.create('/new', LINUX_O.WRONLY),
    () => mount.mkdir('/new'),
    () => mount.unlink('/a'),
    () => mount.rename('/a', '/b'),
    () => mount.symlink('a', '/b'),
    () => mount.link('/a', '/b'),
    () => mount.setattr(nodeId, { mode: 0o777 }),
  ];
  for (const fault of faults) await assert.rejects(fault(), { code: 'EROFS' });
});

test('a writable file system refuses what it has no method for', async () => {
  const fs = objectFiles({ a: 'alpha' }, { write: () => undefined });
  await assert.rejects(mountOf(fs).mkdir('/new'), { code: 'EPERM' });
});

test('the option readOnly takes the writing methods of any file system away', async () => {
  const memory = new MemoryFileSystem();
  await mountOf(memory).writeFile('/a', 'text');
  const mount = mountOf(memory, { readOnly: true });
  assert.equal((await mount.readFile('/a')).toString(), 'text');
  await assert.rejects(mount.writeFile('/a', 'more'), { code: 'EROFS' });
  await assert.rejects(mount.unlink('/a'), { code: 'EROFS' });
});

test('what a method throws becomes an errno, and only a mistake is reported', async () => {
  const reported: unknown[] = [];
  const mistake = new TypeError('of the author');
  const fs = objectFiles(
    {},
    {
      lookup: (_node, name) => {
        if (name === 'ours') throw fsError('EACCES');
        if (name === 'nodes') throw Object.assign(new Error('no'), { code: 'ECONNREFUSED' });
        if (name === 'strange') throw Object.assign(new Error('no'), { code: 'constructor' });
        if (name === 'aborted') throw new DOMException('stop', 'AbortError');
        // eslint-disable-next-line @typescript-eslint/only-throw-error
        if (name === 'text') throw 'a string';
        throw mistake;
      },
    },
  );
  const mount = mountOf(fs, { report: (error) => reported.push(error) });
  const lookup = (name: string): Promise<number> =>
    mount.caller.request({ opcode: 'LOOKUP', nodeId: FUSE_ROOT_ID, name }).then((a) => a.result);
  assert.equal(await lookup('ours'), -LINUX_E.ACCES);
  assert.equal(await lookup('nodes'), -111);
  assert.equal(await lookup('aborted'), -LINUX_E.INTR);
  assert.deepEqual(reported, []);
  assert.equal(await lookup('other'), -LINUX_E.IO);
  assert.equal(await lookup('text'), -LINUX_E.IO);
  assert.deepEqual(reported, [mistake, 'a string']);
  assert.equal(await lookup('strange'), -LINUX_E.IO);
});

test('a promise that is rejected is an error, and the server is told once for several', async () => {
  let completed = 0;
  const fs = objectFiles(
    { a: 'alpha', b: 'beta' },
    {
      stat: async (node) => {
        await Promise.resolve();
        if (node === 'beta') throw fsError('EIO');
        return typeof node === 'string' ? { kind: 'file', size: 5 } : { kind: 'directory' };
      },
    },
  );
  const mount = mountOf(fs, { completed: () => completed++ });
  const answers = [mount.stat('/a'), mount.stat('/a')];
  assert.equal((await Promise.all(answers))[0]?.size, 5);
  await Promise.resolve();
  assert.equal(completed, 1);
  await assert.rejects(mount.stat('/b'), { code: 'EIO' });
});

test('an entry that cannot say what it is is listed all the same', async () => {
  const fs = objectFiles(
    { good: 'alpha', bad: 'beta' },
    {
      stat: (node) => {
        if (node === 'beta') return Promise.reject(fsError('EACCES'));
        return typeof node === 'string' ? { kind: 'file', size: 5 } : { kind: 'directory' };
      },
    },
  );
  const mount = mountOf(fs);
  const entries = await mount.entries(await mount.opendir('/'), 0, 'READDIRPLUS');
  assert.deepEqual(
    entries.map(({ name, nodeId }) => [name, nodeId !== 0]),
    [
      ['.', false],
      ['..', false],
      ['good', true],
      ['bad', false],
    ],
  );
});

test('a file of unknown size is read past the cache until nothing comes', async () => {
  let count = 0;
  const fs = objectFiles(
    { now: '' },
    {
      stat: (node) => ({ kind: typeof node === 'string' ? 'file' : 'directory' }),
      readFile: () => `reading ${++count}`,
    },
  );
  const mount = mountOf(fs);
  const { nodeId, size } = await mount.stat('/now');
  assert.equal(size, 0);
  const { fh, openFlags } = await mount.open(nodeId, LINUX_O.RDONLY);
  assert.equal(openFlags, FOPEN.DIRECT_IO);
  assert.equal(Buffer.from(await mount.read(fh, 0, 8)).toString(), 'reading ');
  assert.equal(Buffer.from(await mount.read(fh, 8, 100)).toString(), '1', 'one snapshot an open');
  assert.equal((await mount.read(fh, 9, 100)).length, 0);
  assert.equal((await mount.readFile('/now')).toString(), 'reading 2');
});

test('caches are used as validMs says', async () => {
  const flagsAt = async (validMs: number): Promise<number> => {
    const mount = mountOf({ ...objectFiles({ a: 'alpha' }), validMs });
    return (await mount.open((await mount.stat('/a')).nodeId, LINUX_O.RDONLY)).openFlags;
  };
  assert.equal(await flagsAt(0), FOPEN.DIRECT_IO);
  assert.equal(await flagsAt(1500), 0);
  assert.equal(await flagsAt(Infinity), FOPEN.KEEP_CACHE);
  const mount = mountOf({ ...objectFiles({ a: 'alpha' }), validMs: 1500 });
  const { view } = await mount.ask({ opcode: 'LOOKUP', nodeId: 1, name: 'a' });
  assert.deepEqual([view.getUint32(16, true), view.getUint32(32, true)], [1, 500_000_000]);
});

test('read fills a buffer, or gives bytes, now or later', async () => {
  const text = Buffer.from('0123456789');
  const reads: FileSystem<Tree>['read'][] = [
    (_file, into, offset) => text.copy(into, 0, offset),
    (_file, into, offset) => text.subarray(offset, offset + into.length),
    (_file, into, offset) => Promise.resolve(text.copy(into, 0, offset)),
    async (_file, into, offset) => {
      await new Promise(setImmediate);
      return text.subarray(offset, offset + into.length);
    },
  ];
  for (const read of reads) {
    const mount = mountOf(objectFiles({ a: '' }, { read: read as NonNullable<typeof read> }));
    const { fh } = await mount.open((await mount.stat('/a')).nodeId, LINUX_O.RDONLY);
    const both = await Promise.all([mount.read(fh, 0, 4), mount.read(fh, 4, 100)]);
    assert.deepEqual(
      both.map((each) => Buffer.from(each).toString()),
      ['0123', '456789'],
    );
  }
});

test('a read that returns nonsense is a mistake of the author', async () => {
  const reported: unknown[] = [];
  for (const count of [-1, 1.5, 101, NaN]) {
    const fs = objectFiles({ a: '' }, { read: () => count });
    const mount = mountOf(fs, { report: (error) => reported.push(error) });
    const { fh } = await mount.open((await mount.stat('/a')).nodeId, LINUX_O.RDONLY);
    await assert.rejects(mount.read(fh, 0, 100), { code: 'EIO' });
  }
  assert.equal(reported.length, 4);
});

test('what open returns is what the other methods get', async () => {
  const calls: string[] = [];
  const fs: FileSystem<string, { id: number }> = {
    root: '/',
    stat: (path) => (path === '/' ? { kind: 'directory' } : { kind: 'file', size: 3 }),
    lookup: (_directory, name) => `/${name}`,
    open: (path, mode) => {
      calls.push(`open ${path} ${String(mode.write)}`);
      return { id: 7 };
    },
    read: (file) => Buffer.from(`#${file.id}`),
    write: (file, data) => void calls.push(`write ${file.id} ${Buffer.from(data).toString()}`),
    flush: (file) => void calls.push(`flush ${file.id}`),
    sync: (file, dataOnly) => void calls.push(`sync ${file.id} ${String(dataOnly)}`),
    close: (file) => void calls.push(`close ${file.id}`),
  };
  const mount = mountOf(fs);
  const { nodeId } = await mount.stat('/x');
  const { fh } = await mount.open(nodeId, LINUX_O.RDWR);
  assert.equal(Buffer.from(await mount.read(fh, 0, 10)).toString(), '#7');
  assert.equal(await mount.write(fh, 0, 'data'), 4);
  const input = fuseInput(24, { 8: 1 }, { 0: fh });
  await mount.ask({ opcode: 'FSYNC', nodeId, input });
  await mount.ask({ opcode: 'FLUSH', nodeId, input });
  await mount.release(fh);
  const all = ['open /x true', 'write 7 data', 'sync 7 true', 'flush 7', 'close 7'];
  assert.deepEqual(calls, all);
  await assert.rejects(mount.read(fh, 0, 10), { code: 'EBADF' });
  await assert.rejects(mount.release(fh), { code: 'EBADF' });
});

test('a file that was opened for one thing is not used for another', async () => {
  const mount = mountOf(new MemoryFileSystem());
  const nodeId = await mount.writeFile('/a', 'text');
  const reading = await mount.open(nodeId, LINUX_O.RDONLY);
  const writing = await mount.open(nodeId, LINUX_O.WRONLY);
  await assert.rejects(mount.write(reading.fh, 0, 'no'), { code: 'EBADF' });
  await assert.rejects(mount.read(writing.fh, 0, 4), { code: 'EBADF' });
  await assert.rejects(mount.open(nodeId, LINUX_O.ACCMODE), { code: 'EINVAL' });
});

/** A file system whose only file is read when `finish` says so. */
function slowFiles(): {
  readonly fs: FileSystem<Tree>;
  readonly requests: FsRequest[];
  finish: (text: string) => void;
} {
  const slow = {
    requests: [] as FsRequest[],
    finish: (text: string): void => assert.fail(text),
    fs: objectFiles({ a: 'alpha' }, { read: (_file, _into, _offset, request) => wait(request) }),
  };
  const wait = (request: FsRequest): Promise<Uint8Array> => {
    slow.requests.push(request);
    return new Promise((resolve, reject) => {
      slow.finish = (text) => resolve(Buffer.from(text));
      request.signal.addEventListener('abort', () => reject(request.signal.reason as Error));
    });
  };
  return slow;
}

test('flags that cannot be opened with make no file', async () => {
  const memory = new MemoryFileSystem();
  const mount = mountOf(memory);
  await assert.rejects(mount.create('/a', LINUX_O.ACCMODE), { code: 'EINVAL' });
  assert.deepEqual(await mount.readdir('/'), []);
  const input = fuseInput(16, { 0: LINUX_O.ACCMODE });
  const unnamed = mount.ask({ opcode: 'TMPFILE', nodeId: FUSE_ROOT_ID, name: 'x', input });
  await assert.rejects(unnamed, { code: 'EINVAL' });
  assert.equal(memory.usage().filesFree, memory.usage().files);
});

test('an interrupt aborts the signal of its request, and of no other', async () => {
  const slow = slowFiles();
  const mount = mountOf(slow.fs);
  const { fh } = await mount.open((await mount.stat('/a')).nodeId, LINUX_O.RDONLY);
  const first = mount.read(fh, 0, 10);
  const { unique } = mount.caller;
  const second = mount.read(fh, 0, 10);
  mount.caller.operations.interrupt?.(unique);
  mount.caller.operations.interrupt?.(4711_4711);
  await assert.rejects(first, { code: 'EINTR' });
  assert.equal(slow.requests[1]?.signal.aborted, false);
  slow.finish('late');
  assert.equal(Buffer.from(await second).toString(), 'late');
});

test('a signal that is looked at after the interrupt is aborted already', async () => {
  let request: FsRequest | null = null;
  let finish = (): void => undefined;
  const read: NonNullable<FileSystem<Tree>['read']> = (_file, _into, _offset, asked) => {
    request = asked;
    return new Promise((resolve) => (finish = () => resolve(0)));
  };
  const mount = mountOf(objectFiles({ a: '' }, { read }));
  const { fh } = await mount.open((await mount.stat('/a')).nodeId, LINUX_O.RDONLY);
  const answer = mount.read(fh, 0, 10);
  mount.caller.operations.interrupt?.(mount.caller.unique);
  assert.ok((request as FsRequest | null)?.signal.aborted);
  finish();
  assert.equal((await answer).length, 0);
});

test('the end of a session answers what waits, closes files and forgets nodes', async () => {
  const forgotten: Tree[] = [];
  const closed: Tree[] = [];
  const slow = slowFiles();
  const fs = {
    ...slow.fs,
    forget: (node: Tree) => void forgotten.push(node),
    close: (node: Tree) => void closed.push(node),
  };
  const mount = mountOf(fs);
  const { nodeId } = await mount.stat('/a');
  const { fh } = await mount.open(nodeId, LINUX_O.RDONLY);
  const answer = mount.read(fh, 0, 10);
  mount.caller.operations.destroy();
  await assert.rejects(answer, { code: 'EINTR' });
  assert.deepEqual([forgotten, closed], [['alpha'], ['alpha']]);
  slow.finish('too late'); // and nobody is told
  await assert.rejects(mount.getattr(nodeId), { code: 'ESTALE' });
  assert.equal((await mount.stat('/a')).size, 5, 'the next guest finds everything');
});

test('a file whose opening ends after its guest has gone is closed', async () => {
  const closed: unknown[] = [];
  let finish = (): void => undefined;
  const fs: FileSystem<string, { readonly path: string }> = {
    root: '/',
    stat: (path) => ({ kind: path === '/' ? 'directory' : 'file' }),
    lookup: (_directory, name) => name,
    open: (path) => new Promise((resolve) => (finish = () => resolve({ path }))),
    close: (file) => void closed.push(file),
  };
  const mount = mountOf(fs);
  const opening = mount.open((await mount.stat('/a')).nodeId, LINUX_O.RDONLY);
  mount.caller.operations.destroy();
  await assert.rejects(opening, { code: 'EINTR' });
  finish();
  await new Promise(setImmediate);
  assert.deepEqual(closed, [{ path: 'a' }]);
});

test('a node is known until the guest has forgotten each lookup of it', async () => {
  const forgotten: Tree[] = [];
  const fs = objectFiles({ a: 'alpha' }, { forget: (node) => void forgotten.push(node) });
  const mount = mountOf(fs);
  const { nodeId, ino } = await mount.stat('/a');
  assert.equal((await mount.stat('/a')).nodeId, nodeId, 'the same node');
  mount.caller.operations.forget(nodeId, 1);
  await mount.getattr(nodeId);
  mount.caller.operations.forget(nodeId, 1000);
  assert.deepEqual(forgotten, ['alpha'], 'more than there were is no more than all');
  await assert.rejects(mount.getattr(nodeId), { code: 'ESTALE' });
  mount.caller.operations.forget(nodeId, 1);
  mount.caller.operations.forget(FUSE_ROOT_ID, 1_000_000);
  await mount.getattr(FUSE_ROOT_ID);
  const again = await mount.stat('/a');
  assert.notEqual(again.nodeId, nodeId, 'a number is not used again');
  assert.equal(again.ino, ino, 'but the inode number stays');
});

test('a directory keeps its cookies while it changes', async () => {
  const mount = mountOf(new MemoryFileSystem());
  for (let i = 0; i < 300; i++) await mount.writeFile(`/file-${i}`, '');
  const fh = await mount.opendir('/');
  const first = await mount.entries(fh, 0);
  assert.ok(first.length > 50 && first.length < 302);
  for (let i = 0; i < 300; i += 2) await mount.unlink(`/file-${i}`);
  const all = [...first];
  for (let more = first; more.length > 0; all.push(...more)) {
    more = await mount.entries(fh, all.at(-1)?.cookie ?? 0);
  }
  assert.equal(new Set(all.map((entry) => entry.name)).size, 302, 'each once, none left out');
  const back = await mount.entries(fh, first[10]?.cookie ?? 0);
  assert.equal(back[0]?.name, first[11]?.name, 'a seek back');
  const rewound = await mount.entries(fh, 0, 'READDIR', 1 << 20);
  assert.equal(rewound.length, 152, 'from the beginning it is as it is now');
  assert.deepEqual(await mount.entries(fh, 999_999), []);
  await assert.rejects(mount.entries(fh, 0, 'READDIR', 10), { code: 'EINVAL' });
});

test('five thousand entries are listed each once, with their attributes', async () => {
  const mount = mountOf(new MemoryFileSystem());
  const names = Array.from({ length: 5000 }, (_, i) => `a-somewhat-longer-name-${i}`);
  for (const name of names) await mount.writeFile(`/${name}`, 'x');
  assert.deepEqual(await mount.readdir('/'), names);
  assert.deepEqual(await mount.readdir('/', 'READDIRPLUS'), names);
  const fh = await mount.opendir('/');
  const [, , third] = await mount.entries(fh, 0, 'READDIRPLUS');
  assert.ok(third);
  assert.equal(third.type, direntType(S_IF.REG));
  assert.equal((await mount.getattr(third.nodeId)).ino, third.ino);
});

test('names that Linux cannot have are not listed', async () => {
  const entries = { '': '1', 'a/b': '2', 'a\0b': '3', '.': '4', '..': '5', ok: '6' };
  const tree = { ...entries, ['x'.repeat(256)]: '7', ['y'.repeat(255)]: '8' };
  assert.deepEqual(await mountOf(objectFiles(tree)).readdir('/'), ['ok', 'y'.repeat(255)]);
});

test('names that are no UTF-8 survive the way to a file system and back', async () => {
  const mount = mountOf(new MemoryFileSystem());
  const raw = Buffer.from('ff-\xff\xc3\x28\xed\xa0\x80.bin', 'latin1');
  const mode = fuseInput(16, { 0: S_IF.REG | 0o644 });
  await mount.ask({ opcode: 'MKNOD', nodeId: FUSE_ROOT_ID, input: mode, name: raw });
  assert.deepEqual(await mount.readdir('/'), [raw.toString('latin1')]);
  await mount.ask({ opcode: 'LOOKUP', nodeId: FUSE_ROOT_ID, name: raw });
  await mount.symlink(raw, '/link');
  assert.deepEqual(await mount.readlink('/link'), raw);
});

test('numbers that a guest cannot know are refused', async () => {
  const mount = mountOf(new MemoryFileSystem());
  const opcodes = ['LOOKUP', 'GETATTR', 'SETATTR', 'MKDIR', 'UNLINK', 'OPEN', 'OPENDIR'] as const;
  for (const opcode of opcodes) {
    const request = { opcode, nodeId: 4711, name: 'a', input: new Uint8Array(88) };
    assert.equal((await mount.caller.request(request)).result, -LINUX_E.STALE, opcode);
  }
  const input = fuseInput(48, { 16: 10 }, { 0: 4711 });
  const handles = ['READ', 'WRITE', 'RELEASE', 'FLUSH', 'READDIR', 'READDIRPLUS', 'RELEASEDIR'];
  for (const opcode of [...handles, 'FSYNC', 'LSEEK', 'SETLK', 'GETLK'] as 'READ'[]) {
    const request = { opcode, nodeId: 1, input: opcode === ('LSEEK' as never) ? lseek() : input };
    assert.equal((await mount.caller.request(request)).result, -LINUX_E.BADF, opcode);
  }
});

function lseek(): Uint8Array {
  return fuseInput(24, { 16: 3 }, { 0: 4711 });
}

test('setuid goes with a write, a truncation and a new owner', async () => {
  const mount = mountOf(new MemoryFileSystem());
  const nodeId = await mount.writeFile('/tool', 'text');
  const mode = async (): Promise<number> => (await mount.getattr(nodeId)).mode & 0o7777;
  const reset = (bits: number): Promise<unknown> => mount.setattr(nodeId, { mode: bits });
  const { fh } = await mount.open(nodeId, LINUX_O.RDWR);
  await reset(0o6755);
  await mount.write(fh, 0, 'x');
  assert.equal(await mode(), 0o6755, 'a privileged writer');
  await mount.write(fh, 0, 'x', { writeFlags: 4 });
  assert.equal(await mode(), 0o755);
  await reset(0o6745);
  await mount.setattr(nodeId, { size: 1, more: 0x800 });
  assert.equal(await mode(), 0o2745, 'setgid without x for the group is another thing');
  await reset(0o4755);
  await mount.setattr(nodeId, { uid: 1000 });
  assert.equal(await mode(), 0o755);
});

test('what is appended goes to the end, whatever offset the guest believes in', async () => {
  const mount = mountOf(new MemoryFileSystem());
  const nodeId = await mount.writeFile('/log', 'one ');
  const flags = LINUX_O.WRONLY | LINUX_O.APPEND;
  const { fh } = await mount.open(nodeId, flags);
  await mount.write(fh, 0, 'two ', { flags });
  await mount.write(fh, 0, 'X', { flags, writeFlags: 1 });
  assert.equal((await mount.readFile('/log')).toString(), 'Xne two ');
});

test('a rename that must not replace anything is one for every file system', async () => {
  const mount = mountOf(new MemoryFileSystem());
  await mount.writeFile('/a', 'a');
  await mount.writeFile('/b', 'b');
  await assert.rejects(mount.rename('/a', '/b', 1), { code: 'EEXIST' });
  await mount.rename('/a', '/c', 1);
  await mount.rename('/b', '/c', 2);
  assert.equal((await mount.readFile('/b')).toString(), 'a');
  await assert.rejects(mount.rename('/b', '/d', 4), { code: 'EINVAL' });
});

test('directories that never change are read without being opened, by many at once', async () => {
  type Made = { readonly kind: 'directory' | 'file'; readonly entries: Record<string, Made> };
  const file: Made = { kind: 'file', entries: {} };
  const folders = Array.from({ length: 100 }, (_, i): [string, Made] => {
    const names = ['a', 'b', 'c'].map((name) => `${name}${String(i)}`);
    return [
      `d${String(i)}`,
      { kind: 'directory', entries: Object.fromEntries(names.map((n) => [n, file])) },
    ];
  });
  const root: Made = { kind: 'directory', entries: Object.fromEntries(folders) };
  const operations = treeOperations<Made>({
    root,
    validMs: Infinity,
    noOpen: true,
    stat: ({ kind }) => ({ kind, size: 0 }),
    list: ({ entries }) => Object.entries(entries),
  });
  const mount = new FuseMount(new FuseCaller(operations));
  const { flags } = operations.abilities;
  assert.notEqual(flags & FUSE_INIT.NO_OPENDIR_SUPPORT, 0);
  operations.init({ minor: 45, flags, flags2: 0 });
  await assert.rejects(mount.opendir('/d0'), { code: 'ENOSYS' });
  const ids: number[] = [];
  for (const [name] of folders) ids.push((await mount.stat(`/${name}`)).nodeId);
  const read = async (i: number, cookie: number, bytes = 1000): Promise<string[]> => {
    const entries = await mount.entries(0, cookie, 'READDIRPLUS', bytes, ids[i]);
    return entries.map(({ name }) => name);
  };
  assert.deepEqual(await read(0, 0, 500), ['.', '..', 'a0']);
  for (let i = 0; i < 100; i++) {
    assert.deepEqual(await read(i, 0), ['.', '..', ...['a', 'b', 'c'].map((n) => n + String(i))]);
    assert.deepEqual(await read(i, 4), [`c${String(i)}`]);
  }
  assert.deepEqual(await read(0, 3), ['b0', 'c0'], 'its list was given up meanwhile');
  await assert.rejects(mount.entries(0, 0, 'READDIR', 1000, 4711), { code: 'EBADF' });
  operations.init({ minor: 45, flags: flags & ~FUSE_INIT.NO_OPENDIR_SUPPORT, flags2: 0 });
  assert.ok((await mount.opendir('/d0')) > 0, 'an older guest opens them');
});
