/**
 * Tar archives as file systems: those of real programs, those that follow the letter of a format,
 * and those that were made to do harm.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { LINUX_O, S_IF, encodeDev } from '../../../fuse/index.ts';
import { FuseCaller, FuseMount, expectNoLeak, holdings } from '../../../testing/index.ts';
import { treeOperations } from '../tree/index.ts';
import { openArchive } from './index.ts';
import type { ArchiveFileSystem, ArchiveOptions } from './index.ts';

const BLOCK = 512;
const folder = mkdtempSync(join(tmpdir(), 'tar-test-'));
after(() => rmSync(folder, { recursive: true }));

interface Member {
  readonly name: string | Buffer;
  readonly type?: string;
  readonly content?: string | Buffer;
  readonly link?: string;
  readonly fields?: Readonly<Record<number, string | Buffer>>;
  readonly badChecksum?: boolean;
}

/** One entry as its blocks; `fields` overwrites any bytes before the checksum is made. */
function entry(member: Member): Buffer {
  const content = Buffer.from(member.content ?? '');
  const header = Buffer.alloc(BLOCK);
  Buffer.from(member.name).copy(header, 0, 0, 100);
  header.write('0000644\0', 100);
  header.write('0001750\0', 108);
  header.write('0000144\0', 116);
  header.write(`${content.length.toString(8).padStart(11, '0')}\0`, 124);
  header.write('14371573201\0', 136);
  header.write(member.type ?? '0', 156);
  header.write(member.link ?? '', 157);
  header.write('ustar\x0000', 257);
  for (const [at, bytes] of Object.entries(member.fields ?? {})) {
    Buffer.from(bytes).copy(header, Number(at));
  }
  header.fill(' ', 148, 156);
  const sum = header.reduce((total, byte) => total + byte, member.badChecksum === true ? 1 : 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  const padding = Buffer.alloc((BLOCK - (content.length % BLOCK)) % BLOCK);
  return Buffer.concat([header, content, padding]);
}

function pax(records: Readonly<Record<string, string | Buffer>>, type = 'x'): Buffer {
  const lines = Object.entries(records).map(([key, value]) => {
    const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from('\n')]);
    let length = rest.length + 1;
    while (String(length).length + rest.length !== length) length++;
    return Buffer.concat([Buffer.from(String(length)), rest]);
  });
  return entry({ name: 'PaxHeaders/x', type, content: Buffer.concat(lines) });
}

const END = Buffer.alloc(2 * BLOCK);
let count = 0;

function archiveFile(bytes: Uint8Array): string {
  const path = join(folder, `${++count}.tar`);
  writeFileSync(path, bytes);
  return path;
}

interface Opened {
  readonly files: ArchiveFileSystem;
  readonly mount: FuseMount;
}

/** Opens an archive for a body, and looks whether everything is closed afterwards. */
async function withArchive(
  path: string,
  body: (opened: Opened) => Promise<void>,
  options: ArchiveOptions = {},
): Promise<void> {
  const before = holdings();
  const files = await openArchive(path, options);
  const operations = treeOperations(files);
  try {
    await body({ files, mount: new FuseMount(new FuseCaller(operations)) });
  } finally {
    operations.close();
  }
  await expectNoLeak(before);
}

function withTar(parts: readonly Buffer[], body: (opened: Opened) => Promise<void>): Promise<void> {
  return withArchive(archiveFile(Buffer.concat([...parts, END])), body);
}

async function faultOf(bytes: Uint8Array, options: ArchiveOptions = {}): Promise<string> {
  const before = holdings();
  const fault = await openArchive(archiveFile(bytes), options).then(
    () => assert.fail('the archive was opened'),
    (error: unknown) => error as Error & { code: string },
  );
  assert.equal(fault.code, 'ERR_VHU_FS_ARCHIVE', fault.stack);
  await expectNoLeak(before);
  return fault.message;
}

test('a file is read where it lies in the archive, and nothing of its neighbours', async () => {
  const parts = [
    entry({ name: 'a', content: 'alpha' }),
    entry({ name: 'big', content: Buffer.alloc(200_000, 'xyz') }),
    entry({ name: 'z', content: 'omega' }),
  ];
  await withTar(parts, async ({ mount }) => {
    assert.deepEqual(await mount.readdir('/'), ['a', 'big', 'z']);
    assert.equal((await mount.readFile('/a')).toString(), 'alpha');
    assert.deepEqual(await mount.readFile('/big'), Buffer.alloc(200_000, 'xyz'));
    const { fh } = await mount.open((await mount.stat('/a')).nodeId, LINUX_O.RDONLY);
    assert.equal(Buffer.from(await mount.read(fh, 2, 3)).toString(), 'pha', 'straight');
    assert.equal(Buffer.from(await mount.read(fh, 2, 5000)).toString(), 'pha', 'up to the end');
    assert.equal((await mount.read(fh, 5, 100)).length, 0);
    assert.equal((await mount.read(fh, 5000, 100)).length, 0);
    await assert.rejects(mount.writeFile('/a', 'x'), { code: 'EROFS' });
  });
});

test('owners, modes, times and kinds are those of the archive', async () => {
  const device = { 329: '0000003\0', 337: '0001000\0' };
  const parts = [
    entry({ name: 'dir/', type: '5', fields: { 100: '0002750\0' } }),
    entry({ name: 'dir/tool', content: '#!', fields: { 100: '0004755\0' } }),
    entry({ name: 'link', type: '2', link: '../dir/tool' }),
    entry({ name: 'hard', type: '1', link: 'dir/tool' }),
    entry({ name: 'null', type: '3', fields: device }),
    entry({ name: 'disk', type: '4', fields: device }),
    entry({ name: 'pipe', type: '6' }),
    entry({ name: 'old/', type: '\0' }),
    entry({ name: 'odd', type: '7', content: 'text' }),
  ];
  await withTar(parts, async ({ mount, files }) => {
    const tool = await mount.stat('/dir/tool');
    assert.deepEqual([tool.mode, tool.uid, tool.gid], [S_IF.REG | 0o4755, 1000, 100]);
    assert.equal(tool.mtime, 0o14371573201);
    assert.equal((await mount.stat('/dir')).mode, S_IF.DIR | 0o2750);
    assert.equal((await mount.readlink('/link')).toString(), '../dir/tool');
    const hard = await mount.stat('/hard');
    assert.deepEqual([hard.nodeId, hard.linkCount], [tool.nodeId, 2]);
    const nodes = [await mount.stat('/null'), await mount.stat('/disk')];
    assert.deepEqual(
      nodes.map(({ mode, deviceNumber }) => [mode & S_IF.MT, deviceNumber]),
      [S_IF.CHR, S_IF.BLK].map((kind) => [kind, encodeDev(3, 512)]),
    );
    assert.equal((await mount.stat('/pipe')).mode & S_IF.MT, S_IF.IFO);
    assert.equal((await mount.stat('/old')).mode & S_IF.MT, S_IF.DIR);
    assert.equal((await mount.readFile('/odd')).toString(), 'text');
    assert.deepEqual(files.skipped, []);
    assert.equal((await mount.stat('/')).linkCount, 4);
  });
});

test('long names come by prefix, by GNU and by pax, also when they are no UTF-8', async () => {
  const long = `${'d'.repeat(120)}/${'n'.repeat(200)}`;
  const raw = Buffer.from('caf\xe9', 'latin1');
  const parts = [
    entry({ name: 'tail', content: '1', fields: { 345: 'prefix/of/ustar' } }),
    entry({ name: '././@LongLink', type: 'L', content: `${long}\0` }),
    entry({ name: long.slice(0, 100), content: '2' }),
    entry({ name: '././@LongLink', type: 'K', content: `${'t'.repeat(300)}\0` }),
    entry({ name: 'gnu-link', type: '2', link: 't'.repeat(100) }),
    pax({ path: `pax/${'p'.repeat(250)}`, 'SCHILY.xattr.user.note': Buffer.of(0, 10, 61, 255) }),
    entry({ name: 'short', content: '3' }),
    pax({ linkpath: 'somewhere/else', mtime: '-1.25', size: '0', uid: '70000' }),
    entry({ name: 'pax-link', type: '2', link: 'no' }),
    entry({ name: raw, content: '4' }),
  ];
  await withTar(parts, async ({ mount }) => {
    assert.equal((await mount.readFile('/prefix/of/ustar/tail')).toString(), '1');
    assert.equal((await mount.readFile(`/${long}`)).toString(), '2');
    assert.equal((await mount.readlink('/gnu-link')).toString(), 't'.repeat(300));
    const { nodeId } = await mount.stat(`/pax/${'p'.repeat(250)}`);
    const name = { nodeId, name: 'user.note', input: Buffer.from('ff000000ff000000', 'hex') };
    const { bytes } = await mount.ask({ opcode: 'GETXATTR', ...name });
    assert.deepEqual([...bytes], [0, 10, 61, 255]);
    const link = await mount.stat('/pax-link');
    assert.equal((await mount.readlink('/pax-link')).toString(), 'somewhere/else');
    assert.deepEqual([link.mtime, link.mtimeNs, link.uid], [2 ** 64 - 2, 750_000_000, 70_000]);
    assert.ok((await mount.readdir('/')).includes(raw.toString('latin1')));
  });
});

test('global pax headers hold until something else is said', async () => {
  const parts = [
    pax({ comment: '0123abcd', uid: '5' }, 'g'),
    entry({ name: 'a' }),
    pax({ uid: '6' }),
    entry({ name: 'b' }),
    entry({ name: 'c' }),
    pax({ uid: '' }),
    entry({ name: 'd' }),
  ];
  await withTar(parts, async ({ mount }) => {
    const uids = ['/a', '/b', '/c', '/d'].map(async (path) => (await mount.stat(path)).uid);
    assert.deepEqual(await Promise.all(uids), [5, 6, 5, 1000]);
  });
});

test('numbers may be binary, and sizes larger than eight gigabytes', async () => {
  const path = archiveFile(Buffer.alloc(0));
  const size = Buffer.from('800000000000000300000000', 'hex');
  const negative = Buffer.from('fffffffffffffffffffffffe', 'hex');
  const mtime = { 124: Buffer.from('00000000000\0'), 136: negative };
  const head = entry({ name: 'large', fields: { 124: size } });
  writeFileSync(path, head);
  const { truncateSync, openSync, writeSync, closeSync } = await import('node:fs');
  truncateSync(path, BLOCK + 3 * 2 ** 32);
  const fd = openSync(path, 'r+');
  writeSync(fd, 'tail', 3 * 2 ** 32 + BLOCK - 4);
  const last = entry({ name: 'after', fields: mtime });
  writeSync(fd, Buffer.concat([last, END]), 0, last.length + END.length, 3 * 2 ** 32 + BLOCK);
  closeSync(fd);
  await withArchive(path, async ({ mount }) => {
    const { nodeId, size: bytes } = await mount.stat('/large');
    assert.equal(bytes, 3 * 2 ** 32);
    const { fh } = await mount.open(nodeId, LINUX_O.RDONLY);
    assert.equal(Buffer.from(await mount.read(fh, bytes - 4, 100)).toString(), 'tail');
    assert.equal((await mount.stat('/after')).mtime, 2 ** 64 - 2);
  });
  rmSync(path);
});

test('names cannot lead out of the archive', async () => {
  const parts = [
    entry({ name: '/etc/passwd', content: '1' }),
    entry({ name: '../../up', content: '2' }),
    entry({ name: 'a/../../b/./c//d', content: '3' }),
    entry({ name: './', type: '5', fields: { 100: '0000700\0' } }),
    entry({ name: '..', type: '5' }),
    entry({ name: 'escape', type: '2', link: '/etc' }),
    entry({ name: 'escape/shadow', content: '4' }),
    entry({ name: 'hard', type: '1', link: '/etc/passwd' }),
    entry({ name: 'loop', type: '1', link: 'loop' }),
  ];
  await withTar(parts, async ({ mount, files }) => {
    assert.deepEqual((await mount.readdir('/')).sort(), ['b', 'escape', 'etc', 'hard', 'up']);
    assert.equal((await mount.readFile('/hard')).toString(), '1');
    assert.equal((await mount.readFile('/b/c/d')).toString(), '3');
    assert.equal((await mount.readFile('/escape/shadow')).toString(), '4', 'made a directory');
    assert.deepEqual(files.skipped, ['loop: a link to loop, which is not there']);
  });
});

test('the last entry of a name is the one that counts', async () => {
  const parts = [
    entry({ name: 'a', content: 'first' }),
    entry({ name: 'linked', type: '1', link: 'a' }),
    entry({ name: 'a', content: 'second' }),
    entry({ name: 'd/inner', content: 'kept' }),
    entry({ name: 'd', type: '5', fields: { 100: '0000711\0' } }),
    entry({ name: 'gone/inner', content: 'x' }),
    entry({ name: 'gone', content: 'a file now' }),
  ];
  await withTar(parts, async ({ mount }) => {
    assert.equal((await mount.readFile('/a')).toString(), 'second');
    assert.equal((await mount.readFile('/linked')).toString(), 'first');
    assert.equal((await mount.stat('/linked')).linkCount, 1);
    assert.equal((await mount.readFile('/d/inner')).toString(), 'kept');
    assert.equal((await mount.stat('/d')).mode & 0o7777, 0o711);
    assert.equal((await mount.readFile('/gone')).toString(), 'a file now');
    assert.equal((await mount.stat('/')).linkCount, 3);
  });
});

test('what cannot be shown is left out, with a reason', async () => {
  const map = Buffer.alloc(BLOCK);
  const sparse = entry({ name: 'holes', type: 'S', content: 'data', fields: { 482: '\x01' } });
  const parts = [
    entry({ name: 'label', type: 'V' }),
    Buffer.concat([sparse.subarray(0, BLOCK), map, sparse.subarray(BLOCK)]),
    pax({ 'GNU.sparse.major': '1', 'GNU.sparse.name': 'real-name' }),
    entry({ name: 'GNUSparseFile.0/real-name', content: '1\n0\n512\n' }),
    entry({ name: 'hard', type: '1', link: 'nothing' }),
    entry({ name: 'a', content: 'alpha' }),
  ];
  await withTar(parts, async ({ mount, files }) => {
    assert.deepEqual(await mount.readdir('/'), ['a']);
    assert.deepEqual(files.skipped, [
      'label: of type "V"',
      'holes: a sparse file',
      'real-name: a sparse file',
      'hard: a link to nothing, which is not there',
    ]);
  });
});

test('a hard link may have the content once more behind it', async () => {
  const link = entry({ name: 'b', type: '1', link: 'a', content: 'alpha' });
  const bare = entry({ name: 'c', type: '1', link: 'a', fields: { 124: '00000000005\0' } });
  const parts = [entry({ name: 'a', content: 'alpha' }), link, bare, entry({ name: 'd' })];
  await withTar(parts, async ({ mount }) => {
    assert.deepEqual(await mount.readdir('/'), ['a', 'b', 'c', 'd']);
    assert.equal((await mount.stat('/a')).linkCount, 3);
  });
});

test('archives that are damaged are refused with what is wrong', async () => {
  const good = entry({ name: 'a', content: 'alpha' });
  const cases: readonly (readonly [RegExp, Uint8Array])[] = [
    [/it is empty/, Buffer.alloc(0)],
    [/no tar archive/, Buffer.alloc(2000, 'text')],
    [/damaged at byte 1024/, Buffer.concat([good, entry({ name: 'b', badChecksum: true })])],
    [/ends in the middle of a$/, good.subarray(0, 514)],
    [/size of b is no number/, entry({ name: 'b', fields: { 124: '99999999999\0' } })],
    [/size of b is no number/, entry({ name: 'b', fields: { 124: Buffer.alloc(12, 0xff) } })],
    [/size of b is no number/, entry({ name: 'b', fields: { 124: Buffer.alloc(12, 0xbf) } })],
    [/middle of b/, entry({ name: 'b', fields: { 124: '77777777777\0' } })],
    [
      /extended header of 1073741824/,
      entry({ name: 'b', type: 'x', fields: { 124: '10000000000\0' } }),
    ],
    [/extended header of NaN/, entry({ name: 'b', type: 'L', fields: { 124: 'xxxxxxxxxxx\0' } })],
    [
      /middle of an extended header/,
      entry({ name: 'b', type: 'g', fields: { 124: '00000001000\0' } }),
    ],
  ];
  for (const [message, bytes] of cases) assert.match(await faultOf(bytes), message);
  for (const text of [
    'x',
    '5 a=',
    '99 a=b\n',
    '-5 a=b\n',
    '6 abc\n',
    '4 =\n',
    '0 a=b\n',
    '7 a=bcd',
  ]) {
    const bytes = entry({ name: 'b', type: 'x', content: text });
    assert.match(await faultOf(bytes), /pax header is damaged/, text);
  }
  const deep = pax({ path: 'd/'.repeat(3000) });
  assert.match(await faultOf(Buffer.concat([deep, good])), /more than 2048 directories/);
});

test('an archive without its last blocks, or with a lone empty one, is whole', async () => {
  const parts = [entry({ name: 'a' }), Buffer.alloc(BLOCK), entry({ name: 'b' })];
  await withArchive(archiveFile(Buffer.concat(parts)), async ({ mount }) => {
    assert.deepEqual(await mount.readdir('/'), ['a', 'b']);
  });
  const more = [...parts, END, entry({ name: 'c', badChecksum: true })];
  await withTar(more, async ({ mount }) => {
    assert.deepEqual(
      await mount.readdir('/'),
      ['a', 'b'],
      'what is behind the end is not looked at',
    );
  });
  await withTar([], async ({ mount }) => assert.deepEqual(await mount.readdir('/'), []));
});

test('a compressed archive is unpacked, within a limit, and says how far it is', async () => {
  const content = Buffer.alloc(3_000_000, 'text ');
  const bytes = Buffer.concat([entry({ name: 'a', content }), END]);
  const half = gzipSync(bytes.subarray(0, 1_000_000));
  const path = archiveFile(Buffer.concat([half, gzipSync(bytes.subarray(1_000_000))]));
  const progress: number[] = [];
  const body = async ({ mount }: Opened): Promise<void> => {
    assert.deepEqual(await mount.readFile('/a'), content);
  };
  await withArchive(path, body, { onProgress: (done, all) => progress.push(done / all) });
  assert.equal(progress.at(-1), 1);
  const packed = gzipSync(bytes);
  assert.match(await faultOf(packed, { unpackedBytesMax: 1_000_000 }), /more than 1000000 bytes/);
  assert.match(await faultOf(packed.subarray(0, 3000)), /unexpected end of file/);
  packed.fill(0xaa, 100, 200);
  assert.match(await faultOf(packed), /tar: /);
  assert.match(await faultOf(gzipSync(Buffer.alloc(1000, 'x'))), /no tar archive/);
});

test('other formats are called by their names', async () => {
  assert.match(await faultOf(Buffer.from('fd377a585a0000000000', 'hex')), /compressed by xz/);
  assert.match(await faultOf(Buffer.from('28b52ffd000000000000', 'hex')), /compressed by zstd/);
  await assert.rejects(openArchive(join(folder, 'none')), {
    code: 'ERR_VHU_FS_ARCHIVE',
    message: /cannot be opened: ENOENT/,
  });
  await assert.rejects(openArchive(folder), { code: 'ERR_VHU_FS_ARCHIVE', message: /no file/ });
});

test('what the tar of this machine packs is shown as it was', async () => {
  const root = join(folder, 'real');
  mkdirSync(join(root, 'src', 'deep'), { recursive: true });
  writeFileSync(join(root, 'src', 'main.c'), 'int main(void) { return 0; }\n');
  writeFileSync(join(root, 'src', 'deep', 'é'.repeat(100)), 'a long name');
  writeFileSync(join(root, 'empty'), '');
  symlinkSync('src/main.c', join(root, 'link'));
  linkSync(join(root, 'src', 'main.c'), join(root, 'hard'));
  utimesSync(join(root, 'empty'), 1000, 1000);
  for (const flags of [['-cf'], ['-czf']]) {
    const path = join(folder, 'real.tar');
    execFileSync('tar', [...flags, path, '-C', root, '.']);
    await withArchive(path, async ({ mount, files }) => {
      assert.deepEqual((await mount.readdir('/')).sort(), ['empty', 'hard', 'link', 'src']);
      assert.match((await mount.readFile('/src/main.c')).toString(), /^int main/);
      const deep = `/src/deep/${'é'.repeat(100)}`;
      assert.equal((await mount.readFile(deep)).toString(), 'a long name');
      assert.equal((await mount.stat('/hard')).ino, (await mount.stat('/src/main.c')).ino);
      assert.equal((await mount.readlink('/link')).toString(), 'src/main.c');
      assert.equal((await mount.stat('/empty')).mtime, 1000);
      assert.deepEqual(files.skipped, []);
    });
  }
});

test('the event loop goes on while many entries are read', async () => {
  const path = join(folder, 'many.tar');
  const entries = Array.from({ length: 20_000 }, (_, i) => entry({ name: `f${String(i)}` }));
  writeFileSync(path, Buffer.concat([...entries, END]));
  let [turns, isOpen] = [0, false];
  const turn = (): void => {
    turns++;
    if (!isOpen) setImmediate(turn);
  };
  setImmediate(turn);
  const start = process.cpuUsage(); // the time that a busy machine takes for others is not its own
  const files = await openArchive(path);
  isOpen = true;
  const { user, system } = process.cpuUsage(start);
  const turnMs = (user + system) / 1000 / turns;
  treeOperations(files).close();
  assert.ok(turns >= 3, `${String(turns)} turns`);
  assert.ok(turnMs < 100, `a turn took ${String(turnMs)} ms in the mean`);
});
