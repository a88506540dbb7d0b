/**
 * File systems of all sources, served by a device and mounted through its socket.
 *
 * @module
 */
import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { FsClient } from '../../frontend/index.ts';
import { FS_CHECKS, TestBackend, runFsCheck } from '../../testing/index.ts';
import { MemoryFileSystem, fsError, openFs } from './index.ts';
import type { FileSystem, FsDevice, FsSource } from './index.ts';

const folder = mkdtempSync(join(tmpdir(), 'sources-test-'));
after(() => rmSync(folder, { recursive: true }));

/** Mounts a source for a body. */
async function mounted(
  source: FsSource,
  body: (client: FsClient, backend: TestBackend<FsDevice>) => Promise<void>,
): Promise<void> {
  const backend = await TestBackend.start(openFs({ tag: 'test', source }));
  try {
    const client = await FsClient.mount(backend.socketPath);
    try {
      await body(client, backend);
    } finally {
      await client.unmount();
    }
  } finally {
    await backend.close();
  }
}

function pattern(bytes: number): Buffer {
  return Buffer.from(Uint32Array.from({ length: bytes / 4 }, (_, i) => i * 2654435761).buffer);
}

/** What every writable file system does. */
async function useAll(client: FsClient): Promise<void> {
  const content = pattern(5_000_000);
  await client.mkdir('/a/b/c', { recursive: true });
  await client.writeFile('/a/b/c/large', content);
  assert.deepEqual(await client.readFile('/a/b/c/large'), content);
  await client.appendFile('/a/b/c/large', 'the end');
  assert.equal((await client.stat('/a/b/c/large')).size, 5_000_007);
  await client.truncate('/a/b/c/large', 10);
  assert.deepEqual(await client.readFile('/a/b/c/large'), content.subarray(0, 10));
  await client.symlink('b/c/large', '/a/link');
  assert.equal((await client.readFile('/a/link')).length, 10);
  await client.link('/a/link', '/a/hard');
  await client.rename('/a/b/c/large', '/a/renamed');
  await assert.rejects(client.readFile('/a/link'), { code: 'ENOENT' });
  await client.chmod('/a/renamed', 0o600);
  await client.utimes('/a/renamed', 1, 2.5);
  const stats = await client.stat('/a/renamed');
  assert.equal(stats.mode & 0o7777, 0o600);
  assert.equal(stats.mtimeMs, 2500);
  await client.setxattr('/a/renamed', 'user.note', 'text');
  assert.deepEqual(await client.listxattr('/a/renamed'), ['user.note']);
  const handle = await client.open('/a/renamed', 'r+');
  await client.unlink('/a/renamed');
  await handle.write(Buffer.from('gone'), 0, 4, 0);
  assert.equal((await handle.readFile()).subarray(0, 4).toString(), 'gone');
  await handle.close();
  await client.rm('/a', { recursive: true });
  assert.deepEqual(await client.readdir('/'), []);
}

describe('a file system in memory', () => {
  it('serves a front-end from a thread', async () => {
    await mounted({ kind: 'memory', bytesMax: 64 * 1024 * 1024 }, useAll);
  });

  it('serves a front-end from the event loop, where its owner sees it too', async () => {
    const fileSystem = new MemoryFileSystem();
    await mounted({ kind: 'file-system', fileSystem }, async (client) => {
      await useAll(client);
      await client.writeFile('/seen', 'by both');
      assert.equal(fileSystem.lookup(fileSystem.root, 'seen')?.size, 7);
    });
  });

  it('is what any file system owes to be', async (context) => {
    await mounted({ kind: 'memory' }, async (client) => {
      for (const each of FS_CHECKS) await context.test(each.name, () => runFsCheck(each, client));
    });
  });

  it('lists five thousand files, and forgets them', async () => {
    await mounted({ kind: 'memory' }, async (client) => {
      const names = Array.from({ length: 5000 }, (_, i) => `file-${i}`);
      for (let i = 0; i < names.length; i += 100) {
        const some = names.slice(i, i + 100);
        await Promise.all(some.map((name) => client.writeFile(`/${name}`, name)));
      }
      const entries = await client.readdir('/', { withFileTypes: true });
      assert.deepEqual(entries.map(({ name }) => name).sort(), [...names].sort());
      assert.ok(entries.every((entry) => entry.isFile()));
      await client.forgetIdleNodes();
      assert.equal((await client.readFile('/file-4711')).toString(), 'file-4711');
      await Promise.all(names.map((name) => client.unlink(`/${name}`)));
      assert.deepEqual(await client.readdir('/'), []);
    });
  });

  it('says when it is full', async () => {
    await mounted({ kind: 'memory', bytesMax: 100_000 }, async (client) => {
      await assert.rejects(client.writeFile('/a', Buffer.alloc(200_000)), { code: 'ENOSPC' });
    });
  });

  it('begins with a copy of a folder or of an archive', async () => {
    const from = join(folder, 'preload');
    mkdirSync(join(from, 'sub'), { recursive: true });
    writeFileSync(join(from, 'sub', 'file'), 'text', { mode: 0o640 });
    writeFileSync(join(from, 'sparse'), '');
    truncateSync(join(from, 'sparse'), 3_000_000);
    symlinkSync('sub/file', join(from, 'link'));
    utimesSync(join(from, 'sub', 'file'), 5, 7);
    utimesSync(join(from, 'sub'), 5, 9);
    await mounted({ kind: 'memory', preload: from }, async (client) => {
      assert.equal((await client.readFile('/link')).toString(), 'text');
      assert.equal((await client.stat('/sub/file')).mode & 0o7777, 0o640);
      assert.equal((await client.stat('/sub/file')).mtimeMs, 7000);
      assert.equal((await client.stat('/sub')).mtimeMs, 9000);
      assert.equal((await client.stat('/sparse')).size, 3_000_000);
      await client.writeFile('/sub/file', 'of the guest');
    });
    await mounted({ kind: 'memory', preload: tarFile(), readOnly: true }, async (client) => {
      assert.equal((await client.readFile('/in/tar')).toString(), 'packed');
      await assert.rejects(client.writeFile('/new', ''), { code: 'EROFS' });
    });
  });
});

/** A tar archive with one file. */
function tarFile(): string {
  const header = Buffer.alloc(512);
  header.write('in/tar');
  header.write('0000644\0', 100);
  header.write('00000000006\0', 124);
  header.write('00000000000\0', 136);
  header.write('        0', 148);
  header.write('ustar\x0000', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  const path = join(folder, 'one.tar');
  const content = Buffer.alloc(512);
  content.write('packed');
  writeFileSync(path, Buffer.concat([header, content, Buffer.alloc(1024)]));
  return path;
}

/** A zip archive with one file of the name `in/zip`, which holds `packed`. */
const ZIP = Buffer.from(
  '504b03041400000000000000215800000000060000000600000006000000696e2f7a69707061636b6564' +
    '504b010214031400000000000000215800000000060000000600000006000000000000000000' +
    '0000a48100000000696e2f7a6970504b0506000000000100010034000000' +
    '2a0000000000',
  'hex',
);

describe('an archive', () => {
  it('is served by a thread, straight from its file', async () => {
    await mounted({ kind: 'archive', path: tarFile() }, async (client) => {
      assert.deepEqual(await client.readdir('/in'), ['tar']);
      assert.equal((await client.readFile('/in/tar')).toString(), 'packed');
      await assert.rejects(client.unlink('/in/tar'), { code: 'EROFS' });
    });
  });

  it('is read without being opened, and by nothing that is no file of it', async () => {
    await mounted({ kind: 'archive', path: tarFile() }, async (client) => {
      const { calls } = client;
      const directory = await calls.lookup(1, 'in');
      const file = await calls.lookup(directory?.nodeId ?? 0, 'tar');
      const node = file?.nodeId ?? 0;
      await assert.rejects(calls.open(node, 0), { code: 'ENOSYS' });
      const into = new Uint8Array(10);
      assert.equal(await calls.read(node, 0n, 2, into), 4);
      assert.equal(Buffer.from(into.subarray(0, 4)).toString(), 'cked');
      await assert.rejects(calls.read(4711, 0n, 0, into), { code: 'EBADF' });
      await assert.rejects(calls.read(node, 1n, 0, into), { code: 'EBADF' });
      await assert.rejects(calls.open(node, 1), { code: 'EROFS' });
    });
    await mounted({ kind: 'memory' }, async (client) => {
      await client.writeFile('/f', 'x');
      const node = (await client.calls.lookup(1, 'f'))?.nodeId ?? 0;
      await assert.rejects(client.calls.read(node, 0n, 0, new Uint8Array(1)), { code: 'EBADF' });
    });
  });

  it('of zip is served by the event loop, which unpacks it', async () => {
    const path = join(folder, 'one.zip');
    const zip = Buffer.from(ZIP);
    for (const at of [14, 58]) zip.writeUInt32LE(crc32('packed'), at);
    writeFileSync(path, zip);
    await mounted({ kind: 'archive', path }, async (client) => {
      assert.deepEqual(await client.readdir('/in'), ['zip']);
      assert.equal((await client.readFile('/in/zip')).toString(), 'packed');
    });
  });

  it('that cannot be read is an error before there is a device', () => {
    const open = (path: string): FsDevice =>
      openFs({ tag: 'x', source: { kind: 'archive', path } });
    assert.throws(() => open(join(folder, 'none.tar')), { code: 'ERR_VHU_FS_ARCHIVE' });
    const path = join(folder, 'some.xz');
    writeFileSync(path, Buffer.from('fd377a585a0000', 'hex'));
    assert.throws(() => open(path), { code: 'ERR_VHU_FS_ARCHIVE', message: /compressed by xz/ });
    const memory = { kind: 'memory', preload: join(folder, 'none') } as const;
    assert.throws(() => openFs({ tag: 'x', source: memory }), { code: 'ERR_VHU_FS_ARCHIVE' });
  });
});

describe('a file system in TypeScript', () => {
  it('may take its time, and others are served meanwhile', async () => {
    const started: string[] = [];
    let tellOthersRead: () => void = () => undefined;
    const othersRead = new Promise<void>((resolve) => (tellOthersRead = resolve));
    const fileSystem: FileSystem<string> = {
      root: '/',
      stat: async (path) => {
        await setTimeout(1);
        return { kind: path === '/' ? 'directory' : 'file' };
      },
      lookup: (_directory, name) => name,
      readFile: async (path) => {
        started.push(path);
        if (path === 'slow')
          await Promise.race([othersRead, setTimeout(20_000, null, { ref: false })]);
        else await setTimeout(1);
        if (path === 'broken') throw fsError('ETIMEDOUT');
        return `this is ${path}`;
      },
    };
    await mounted({ kind: 'file-system', fileSystem }, async (client) => {
      const order: string[] = [];
      const read = async (path: string): Promise<void> => {
        const text = (await client.readFile(path)).toString();
        order.push(text);
      };
      const others = [read('/fast'), read('/faster')];
      void Promise.all(others).then(tellOthersRead);
      await Promise.all([read('/slow'), ...others]);
      assert.equal(order.at(-1), 'this is slow');
      assert.equal(started.length, 3);
      await assert.rejects(client.readFile('/broken'), /110|ETIMEDOUT/);
    });
  });

  it('that never answers does not hold a front-end that leaves, nor the next one', async () => {
    const fileSystem: FileSystem<string> = {
      root: '/',
      stat: (path) => ({ kind: path === '/' ? 'directory' : 'file' }),
      lookup: (_directory, name) => name,
      read: (path) => (path === 'never' ? new Promise(() => undefined) : Buffer.from('yes')),
    };
    await mounted({ kind: 'file-system', fileSystem }, async (client, backend) => {
      const handle = await client.open('/never', 'r');
      const reading = handle.read(Buffer.alloc(10), 0, 10, 0);
      reading.catch(() => undefined);
      await setTimeout(20);
      await client.connection.close();
      const next = await FsClient.mount(backend.socketPath);
      const other = await next.open('/other', 'r');
      const { bytesRead } = await other.read(Buffer.alloc(10), 0, 10, 0);
      assert.equal(bytesRead, 3);
      await next.unmount();
    });
  });

  it('that throws what is no error for a guest is told to who serves it', async () => {
    const fileSystem: FileSystem<string> = {
      root: '/',
      stat: (path) => ({ kind: path === '/' ? 'directory' : 'file' }),
      lookup: () => {
        throw new TypeError('a mistake');
      },
    };
    await mounted({ kind: 'file-system', fileSystem }, async (client, backend) => {
      await assert.rejects(client.stat('/a'), { code: 'EIO' });
      assert.match(backend.report.log.join('\n'), /TypeError: a mistake/);
    });
  });
});
