/**
 * Zip archives as file systems: attributes, unpacking on demand within a limit, and archives that
 * were made to do harm.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { crc32, deflateRawSync } from 'node:zlib';
import { LINUX_O, S_IF } from '../../../fuse/index.ts';
import { FuseCaller, FuseMount, expectNoLeak, holdings } from '../../../testing/index.ts';
import { treeOperations } from '../tree/index.ts';
import { archiveFormat, openArchive } from './index.ts';
import type { ArchiveOptions } from './index.ts';

const folder = mkdtempSync(join(tmpdir(), 'zip-test-'));
after(() => rmSync(folder, { recursive: true }));

interface Member {
  readonly name: string | Buffer;
  readonly content?: string | Buffer;
  /** A mode of Unix; without it the archive comes from a system without one. */
  readonly mode?: number;
  readonly isStored?: boolean;
  readonly flags?: number;
  readonly method?: number;
  readonly extra?: Buffer;
  /** What the index says in place of the truth. */
  readonly size?: number;
  readonly sum?: number;
}

/** An archive of entries, by the letter of the format. */
function zip(members: readonly Member[]): Buffer {
  const parts: Buffer[] = [];
  const index: Buffer[] = [];
  let at = 0;
  for (const member of members) {
    const name = Buffer.from(member.name);
    const content = Buffer.from(member.content ?? '');
    const data = member.isStored === true ? content : deflateRawSync(content);
    const extra = member.extra ?? Buffer.alloc(0);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(member.flags ?? 0x800, 2);
    common.writeUInt16LE(member.method ?? (member.isStored === true ? 0 : 8), 4);
    common.writeUInt16LE(0x6000, 6);
    common.writeUInt16LE(0x5821, 8);
    common.writeUInt32LE(member.sum ?? crc32(content), 10);
    common.writeUInt32LE(data.length, 14);
    common.writeUInt32LE(member.size ?? content.length, 18);
    common.writeUInt16LE(name.length, 22);
    common.writeUInt16LE(extra.length, 24);
    parts.push(Buffer.from('PK\x03\x04'), common, name, extra, data);
    const head = Buffer.alloc(6);
    head.write('PK\x01\x02');
    head.writeUInt16LE(member.mode === undefined ? 20 : (3 << 8) | 20, 4);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(((member.mode ?? 0) * 0x1_0000) >>> 0, 6);
    tail.writeUInt32LE(at, 10);
    index.push(head, common, tail, name, extra);
    at += 30 + name.length + extra.length + data.length;
  }
  const all = Buffer.concat(index);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06');
  end.writeUInt16LE(members.length, 8);
  end.writeUInt16LE(members.length, 10);
  end.writeUInt32LE(all.length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...parts, all, end]);
}

let count = 0;

function archiveFile(bytes: Uint8Array): string {
  const path = join(folder, `${++count}.zip`);
  writeFileSync(path, bytes);
  return path;
}

/** Opens an archive for a body, and looks whether everything is closed afterwards. */
async function withZip(
  members: readonly Member[] | string,
  body: (mount: FuseMount) => Promise<void>,
  options: ArchiveOptions = {},
): Promise<void> {
  const path = typeof members === 'string' ? members : archiveFile(zip(members));
  const before = holdings();
  const operations = treeOperations(await openArchive(path, options));
  try {
    await body(new FuseMount(new FuseCaller(operations)));
  } finally {
    operations.close();
  }
  await expectNoLeak(before);
}

async function faultOf(bytes: Uint8Array): Promise<string> {
  const before = holdings();
  const fault = await openArchive(archiveFile(bytes)).then(
    () => assert.fail('the archive was opened'),
    (error: unknown) => error as Error & { code: string },
  );
  assert.equal(fault.code, 'ERR_VHU_FS_ARCHIVE', fault.stack);
  await expectNoLeak(before);
  return fault.message;
}

test('files are unpacked when they are read, stored ones and compressed ones', async () => {
  const big = Buffer.alloc(300_000, 'some text ');
  const members = [
    { name: 'a', content: 'alpha' },
    { name: 'stored', content: 'as it is', isStored: true },
    { name: 'deep/in/it/big', content: big },
    { name: 'empty', content: '' },
  ];
  await withZip(members, async (mount) => {
    assert.deepEqual(await mount.readdir('/'), ['a', 'stored', 'deep', 'empty']);
    assert.equal((await mount.readFile('/stored')).toString(), 'as it is');
    assert.equal((await mount.readFile('/empty')).length, 0);
    const reads = ['/deep/in/it/big', '/deep/in/it/big', '/a'].map((path) => mount.readFile(path));
    assert.deepEqual(await Promise.all(reads), [big, big, Buffer.from('alpha')]);
    const { fh } = await mount.open((await mount.stat('/a')).nodeId, LINUX_O.RDONLY);
    assert.equal(Buffer.from(await mount.read(fh, 3, 100)).toString(), 'ha');
    assert.equal(Buffer.from(await mount.read(fh, 3, 2)).toString(), 'ha');
  });
});

test('modes, owners, links and times are those of the archive', async () => {
  const owner = Buffer.from('75780b000104e803000004640000 00'.replace(' ', ''), 'hex');
  const members = [
    { name: 'dir/', mode: S_IF.DIR | 0o2750, isStored: true },
    { name: 'dir/tool', content: '#!', mode: S_IF.REG | 0o4755, extra: owner },
    { name: 'link', content: 'dir/tool', mode: S_IF.LNK | 0o777 },
    { name: 'dos.txt', content: 'x' },
    { name: 'dos/', isStored: true },
    { name: Buffer.from('gr\x81n', 'latin1'), content: 'CP437', flags: 0 },
  ];
  await withZip(members, async (mount) => {
    const tool = await mount.stat('/dir/tool');
    assert.deepEqual([tool.mode, tool.uid, tool.gid], [S_IF.REG | 0o4755, 1000, 100]);
    assert.equal(new Date(tool.mtime * 1000).getFullYear(), 2024);
    assert.equal((await mount.stat('/dir')).mode, S_IF.DIR | 0o2750);
    const link = await mount.stat('/link');
    assert.deepEqual([link.mode, link.size], [S_IF.LNK | 0o777, 8]);
    assert.equal((await mount.readlink('/link')).toString(), 'dir/tool');
    assert.equal((await mount.stat('/dos.txt')).mode, S_IF.REG | 0o644);
    assert.equal((await mount.stat('/dos')).mode, S_IF.DIR | 0o755);
    assert.equal((await mount.readFile('/grün')).toString(), 'CP437');
  });
});

test('names cannot lead out of the archive, nor harm it', async () => {
  const members = [
    { name: '/etc/passwd', content: '1' },
    { name: '../../up', content: '2' },
    { name: 'a/../../b', content: '3' },
    { name: 'up', content: '4' },
    { name: '..', content: '5' },
  ];
  await withZip(members, async (mount) => {
    assert.deepEqual(await mount.readdir('/'), ['etc', 'up', 'b']);
    assert.equal((await mount.readFile('/up')).toString(), '4', 'the last one counts');
  });
});

test('unpacked files make room for others, and one alone must fit', async () => {
  const members = Array.from({ length: 6 }, (_, i) => ({
    name: `f${i}`,
    content: Buffer.alloc(100_000, `${i}`),
  }));
  const large = { name: 'large', content: Buffer.alloc(300_000) };
  const body = async (mount: FuseMount): Promise<void> => {
    for (let round = 0; round < 3; round++) {
      const reads = members.map(({ name }) => mount.readFile(`/${name}`));
      assert.deepEqual(
        await Promise.all(reads),
        members.map(({ content }) => content),
      );
    }
    await assert.rejects(mount.readFile('/large'), { code: 'EFBIG' });
  };
  await withZip([...members, large], body, { unpackedBytesMax: 250_000 });
});

test('what an entry lies about is an error when it is read', async () => {
  const content = Buffer.alloc(10_000, 'z');
  const members = [
    { name: 'bomb', content, size: 100 },
    { name: 'short', content, size: 20_000 },
    { name: 'sum', content, sum: 1 },
    { name: 'good', content },
    { name: 'secret', content, flags: 0x801 },
    { name: 'lzma', content, method: 14 },
    { name: 'noise', content: Buffer.alloc(1000, 0xff), isStored: true, method: 8 },
    { name: 'huge', content, size: 0xffff_fff0 },
  ];
  await withZip(
    members,
    async (mount) => {
      for (const name of ['bomb', 'short', 'sum', 'noise']) {
        await assert.rejects(mount.readFile(`/${name}`), { code: 'EIO' }, name);
      }
      await assert.rejects(mount.readFile('/huge'), { code: 'EFBIG' });
      await assert.rejects(mount.readFile('/secret'), { code: 'EOPNOTSUPP' });
      await assert.rejects(mount.readFile('/lzma'), { code: 'EOPNOTSUPP' });
      assert.deepEqual(await mount.readFile('/good'), content);
    },
    { unpackedBytesMax: 1_000_000 },
  );
});

test('a guest that goes away while a file is unpacked leaves nothing open', async () => {
  const members = [{ name: 'big', content: Buffer.alloc(5_000_000, 'abc') }];
  await withZip(members, async (mount) => {
    const { fh } = await mount.open((await mount.stat('/big')).nodeId, LINUX_O.RDONLY);
    const reading = mount.read(fh, 0, 10);
    mount.caller.operations.destroy();
    await assert.rejects(reading, { code: 'EINTR' });
  });
});

test('zip archives that are damaged are refused with what is wrong', async () => {
  const good = zip([{ name: 'a', content: 'alpha' }]);
  assert.match(await faultOf(good.subarray(0, good.length - 30)), /zip: .*not found|truncated/i);
  const index = good.indexOf('PK\x01\x02');
  const broken = Buffer.from(good).fill(0, index, index + 4);
  assert.match(await faultOf(broken), /central directory/i);
  const link = { name: 'l', content: 'x'.repeat(5000), mode: S_IF.LNK | 0o777 };
  assert.match(await faultOf(zip([link])), /l: a symbolic link of 5000 bytes/);
  const path = archiveFile(zip([]));
  assert.equal(archiveFormat(path), 'zip');
  await withZip(path, async (mount) => assert.deepEqual(await mount.readdir('/'), []));
});

const hasZip = spawnSync('zip', ['-v']).status === 0;

test(
  'what the zip of this machine packs is shown as it was',
  { skip: hasZip ? false : 'there is no program called zip' },
  async () => {
    const root = join(folder, 'real');
    mkdirSync(join(root, 'src'), { recursive: true });
    writeFileSync(join(root, 'src', 'main.c'), 'int main(void) { return 0; }\n');
    symlinkSync('src/main.c', join(root, 'link'));
    const path = join(folder, 'real.zip');
    execFileSync('zip', ['-q', '-r', '--symlinks', path, '.'], { cwd: root });
    await withZip(path, async (mount) => {
      assert.deepEqual((await mount.readdir('/')).sort(), ['link', 'src']);
      assert.match((await mount.readFile('/src/main.c')).toString(), /^int main/);
      assert.equal((await mount.readlink('/link')).toString(), 'src/main.c');
    });
  },
);
