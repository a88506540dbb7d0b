/**
 * Checks of names: folders and their lists, links, renames, names of all kinds.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { LINUX_O } from '../fuse/index.ts';
import type { FsClient } from '../frontend/index.ts';
import { codeOf, pattern } from './fs-check.ts';

const FILES = 3000;

/** Folders: made, listed, removed. */
export async function folders(fs: FsClient, at: string): Promise<void> {
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

/** A folder of many files, and that what was looked up is forgotten. */
export async function listings(fs: FsClient, at: string): Promise<void> {
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

/** Symbolic links, which lead nowhere but inside of the mount. */
export async function symbolicLinks(fs: FsClient, at: string): Promise<void> {
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

/** Several names of one file. */
export async function hardLinks(fs: FsClient, at: string): Promise<void> {
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

/** Names that are moved, over others too. */
export async function renames(fs: FsClient, at: string): Promise<void> {
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

/** Names that are swapped, or not replaced. */
export async function renameFlags(fs: FsClient, at: string): Promise<void> {
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

/** Open files whose names are gone. */
export async function unlinkedFiles(fs: FsClient, at: string): Promise<void> {
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

/** Names of up to 255 bytes. */
export async function names(fs: FsClient, at: string): Promise<void> {
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

/** Names that are no UTF-8. */
export async function rawNames(fs: FsClient, at: string): Promise<void> {
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
