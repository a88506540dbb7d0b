/**
 * Names in a shared folder: what the guest does is on the host, and the other way round.
 *
 * @module
 */
import assert from 'node:assert/strict';
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { S_IF } from '../../../fuse/index.ts';
import { host } from '../../../sys/index.ts';
import { withSharedFolder } from '../../../testing/index.ts';

const native = host().mode === 'native';

test('files, folders and links that the guest makes are on the host', () =>
  withSharedFolder({ cache: 'never' }, async ({ fs, folder }) => {
    await fs.mkdir('/d/e', { recursive: true });
    await fs.writeFile('/d/e/f', 'content');
    await fs.symlink('../x', '/d/link');
    await fs.link('/d/e/f', '/d/hard');
    assert.equal(readFileSync(join(folder, 'd/e/f'), 'utf8'), 'content');
    assert.equal(readlinkSync(join(folder, 'd/link')), '../x');
    assert.equal(await fs.readlink('/d/link'), '../x');
    assert.equal(statSync(join(folder, 'd/hard')).nlink, 2);
    assert.equal((await fs.stat('/d/hard')).nlink, 2);
    assert.equal((await fs.stat('/d/hard')).ino, (await fs.stat('/d/e/f')).ino);
  }));

test('what the host makes, changes and takes away the guest sees', () =>
  withSharedFolder({ cache: 'never' }, async ({ fs, folder }) => {
    mkdirSync(join(folder, 'd'));
    writeFileSync(join(folder, 'd/f'), 'one');
    symlinkSync('f', join(folder, 'd/link'));
    assert.deepEqual((await fs.readdir('/d')).toSorted(), ['f', 'link']);
    assert.equal(await fs.readFile('/d/link', 'utf8'), 'one');
    writeFileSync(join(folder, 'd/f'), 'another');
    assert.equal(await fs.readFile('/d/f', 'utf8'), 'another');
    renameSync(join(folder, 'd'), join(folder, 'moved'));
    await assert.rejects(fs.stat('/d/f'), { code: 'ENOENT' });
    assert.equal(await fs.readFile('/moved/f', 'utf8'), 'another');
    rmSync(join(folder, 'moved'), { recursive: true });
    assert.deepEqual(await fs.readdir('/'), []);
  }));

test('a file that the host has put in the place of another is another file', () =>
  withSharedFolder({ cache: 'never' }, async ({ fs, folder }) => {
    writeFileSync(join(folder, 'f'), 'old');
    const before = await fs.open('/f');
    writeFileSync(join(folder, 'new'), 'new one');
    renameSync(join(folder, 'new'), join(folder, 'f'));
    assert.equal(await fs.readFile('/f', 'utf8'), 'new one');
    assert.equal((await before.readFile()).toString(), 'old', 'what is open stays what it was');
    await before.close();
    unlinkSync(join(folder, 'f'));
    mkdirSync(join(folder, 'f'));
    assert.ok((await fs.stat('/f')).isDirectory());
  }));

test('a renamed file, and files in a renamed folder, are found at their new place', () =>
  withSharedFolder({ cache: 'never' }, async ({ fs, folder }) => {
    await fs.mkdir('/a/b', { recursive: true });
    await fs.writeFile('/a/b/f', 'x');
    await fs.rename('/a/b/f', '/a/g');
    await fs.mkdir('/c');
    await fs.rename('/a', '/c/a');
    assert.equal(await fs.readFile('/c/a/g', 'utf8'), 'x');
    assert.ok(existsSync(join(folder, 'c/a/g')));
    await assert.rejects(fs.stat('/a'), { code: 'ENOENT' });
    await assert.rejects(fs.rename('/c', '/c/a/c'), { code: 'EINVAL' });
    await fs.writeFile('/file', '');
    await assert.rejects(fs.rename('/c', '/file'), { code: 'ENOTDIR' });
  }));

test('a file that another was renamed over lives on while it is open', () =>
  withSharedFolder({ cache: 'never' }, async ({ fs }) => {
    await fs.writeFile('/old', 'old content');
    await fs.writeFile('/new', 'new content');
    const file = await fs.open('/old', 'r+');
    await fs.rename('/new', '/old');
    assert.equal(await fs.readFile('/old', 'utf8'), 'new content');
    await file.write(Buffer.from('OLD'), 0, 3, 0);
    assert.equal((await file.stat()).size, 11);
    assert.equal((await file.stat()).nlink, 0);
    const bytes = Buffer.alloc(11);
    await file.read(bytes, 0, 11, 0);
    assert.equal(bytes.toString(), 'OLD content');
    await file.close();
  }));

test('an unlinked file lives on while it is open, and its attributes can change', () =>
  withSharedFolder({ cache: 'never' }, async ({ fs, folder }) => {
    await fs.writeFile('/f', 'content');
    const file = await fs.open('/f', 'r+');
    await fs.unlink('/f');
    assert.deepEqual(readdirSync(folder), []);
    await file.truncate(3);
    await file.chmod(0o600);
    await file.utimes(1, 2);
    const stat = await file.stat();
    assert.equal(stat.size, 3);
    assert.equal(stat.mode & 0o777, 0o600);
    assert.equal(stat.mtimeMs, 2000);
    await file.close();
  }));

test('one hard link after the other goes, and the file stays as long as there is one', () =>
  withSharedFolder({ cache: 'never' }, async ({ fs, folder }) => {
    await fs.writeFile('/a', 'x');
    await fs.link('/a', '/b');
    await fs.link('/b', '/c');
    await fs.unlink('/c');
    await fs.unlink('/a');
    assert.equal(await fs.readFile('/b', 'utf8'), 'x');
    await fs.link('/b', '/d');
    await fs.rename('/d', '/b');
    assert.deepEqual(readdirSync(folder).toSorted(), ['b', 'd'], 'rename(2): links of one file');
    linkSync(join(folder, 'b'), join(folder, 'e'));
    assert.equal((await fs.stat('/b')).nlink, 3);
  }));

test('names of 255 bytes, and names that are no text, are names like any other', () =>
  withSharedFolder({ cache: 'never' }, async ({ fs, folder }) => {
    const long = 'n'.repeat(255);
    await fs.writeFile(`/${long}`, 'long');
    assert.deepEqual(readdirSync(folder), [long]);
    await assert.rejects(fs.writeFile(`/${long}n`, ''), { code: 'ENAMETOOLONG' });
    await fs.unlink(`/${long}`);
    const odd = Buffer.from([0x2f, 0xff, 0xfe, 0x0a, 0x20, 0xc3]);
    await fs.writeFile(odd, 'odd');
    assert.deepEqual(readdirSync(folder, { encoding: 'buffer' }), [odd.subarray(1)]);
    assert.deepEqual(await fs.readdir('/', { encoding: 'buffer' }), [odd.subarray(1)]);
    assert.equal(await fs.readFile(odd, 'utf8'), 'odd');
  }));

test('a folder of 5000 files is listed whole, each name once, with and without attributes', () =>
  withSharedFolder({ cache: 'never' }, async ({ fs, folder }) => {
    const names = Array.from({ length: 5000 }, (_, i) => `a file with the number ${String(i)}`);
    for (const name of names) writeFileSync(join(folder, name), '');
    assert.deepEqual((await fs.readdir('/')).toSorted(), names.toSorted());
    const entries = await fs.readdir('/', { withStats: true });
    assert.deepEqual(entries.map((entry) => entry.name).toSorted(), names.toSorted());
    assert.ok(entries.every((entry) => entry.stats?.isFile()));
  }));

test('FIFOs and sockets are made, and are not opened on the host', () =>
  withSharedFolder({ cache: 'never' }, async ({ fs, folder }) => {
    await fs.mknod('/fifo', S_IF.IFO | 0o640);
    await fs.mknod('/sock', S_IF.SOCK | 0o640);
    assert.ok(lstatSync(join(folder, 'fifo')).isFIFO());
    assert.ok((await fs.stat('/sock')).isSocket());
    // A kernel would never ask; opening it would wait for a writer for ever.
    await assert.rejects(fs.open('/fifo'), { code: 'ENXIO' });
    await fs.unlink('/fifo');
  }));

test(
  'rename without replacing, and exchanging, are atomic where the host can',
  { skip: !native && 'the host has plain rename(2) only' },
  () =>
    withSharedFolder({ cache: 'never' }, async ({ fs }) => {
      await fs.writeFile('/a', 'A');
      await fs.mkdir('/b');
      await fs.writeFile('/b/x', 'X');
      await assert.rejects(fs.rename('/a', '/b', { noReplace: true }), { code: 'EEXIST' });
      await fs.rename('/a', '/b', { exchange: true });
      assert.equal(await fs.readFile('/b', 'utf8'), 'A');
      assert.equal(await fs.readFile('/a/x', 'utf8'), 'X');
    }),
);

test('a read-only folder refuses every change, and serves every read', () =>
  withSharedFolder({ cache: 'never', readOnly: true }, async ({ fs, folder }) => {
    writeFileSync(join(folder, 'f'), 'content');
    assert.equal(await fs.readFile('/f', 'utf8'), 'content');
    const changes: (() => Promise<unknown>)[] = [
      () => fs.writeFile('/f', 'x'),
      () => fs.open('/f', 'r+'),
      () => fs.writeFile('/new', 'x'),
      () => fs.mkdir('/d'),
      () => fs.unlink('/f'),
      () => fs.rename('/f', '/g'),
      () => fs.symlink('f', '/l'),
      () => fs.link('/f', '/l'),
      () => fs.chmod('/f', 0o777),
      () => fs.utimes('/f', 1, 1),
      () => fs.truncate('/f', 0),
    ];
    for (const change of changes) await assert.rejects(change(), { code: 'EROFS' });
    assert.equal(readFileSync(join(folder, 'f'), 'utf8'), 'content');
  }));
