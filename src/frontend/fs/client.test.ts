/**
 * The file system client with a folder of the host behind our own back-end; and with a server whose
 * answers are written by hand, for what a good one does not do.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { openFs } from '../../devices/fs/index.ts';
import {
  FUSE_ATTR,
  FUSE_ENTRY_OUT,
  FUSE_INIT_OUT,
  FUSE_OPCODE,
  LINUX_E,
  S_IF,
} from '../../fuse/index.ts';
import {
  FS_CHECKS,
  FuseScript,
  TestBackend,
  expectNoLeak,
  holdings,
  runFsCheck,
} from '../../testing/index.ts';
import type { FsTrait, ScriptedAnswer, ScriptedRequest } from '../../testing/index.ts';
import { FsBench } from './bench-core.ts';
import { ACCESS } from './access.ts';
import { FsClient } from './client.ts';
import type { FsClientOptions } from './client-options.ts';
import { FUSE_CLIENT_FLAGS } from './init.ts';

const OP = FUSE_OPCODE;
const IS_ROOT = process.getuid?.() === 0;
/** What POSIX alone does not have. */
const BEYOND_POSIX: readonly FsTrait[] = ['allocate', 'rename-flags', 'record-locks'];
const TRAITS: readonly FsTrait[] = [
  'links',
  'xattrs',
  'flocks',
  'holes',
  'huge',
  ...(process.env.VHOST_USER_HOST === 'posix' ? [] : BEYOND_POSIX),
  ...(IS_ROOT ? (['owners', 'devices'] as const) : []),
];

/** Serves a new folder of the host. */
async function withFolder(
  body: (socketPath: string, folder: string) => Promise<void>,
): Promise<void> {
  const before = holdings();
  const folder = mkdtempSync(join(tmpdir(), 'vhu-share-'));
  const source = { kind: 'folder', folder, xattr: true, sharedLocks: true } as const;
  const served = await TestBackend.start(openFs({ tag: 'share', source, requestQueues: 2 }));
  try {
    await body(served.socketPath, folder);
  } finally {
    await served.close();
    rmSync(folder, { recursive: true });
  }
  await expectNoLeak(before);
}

describe('FsClient on our back-end', () => {
  it('does what a file system owes', async (context) => {
    await withFolder(async (socketPath) => {
      const fs = await FsClient.mount(socketPath);
      const able = FS_CHECKS.filter(({ needs }) => needs.every((one) => TRAITS.includes(one)));
      for (const each of able) await context.test(each.name, () => runFsCheck(each, fs));
      assert.deepEqual(await fs.readdir('/'), []);
      await fs.unmount();
    });
  });

  it('does so on two queues, in pieces as small as pages, with no idle nodes', async (context) => {
    await withFolder(async (socketPath) => {
      const options = { queueCount: 2, segmentBytes: 4096, queueSize: 512, idleNodesMax: 0 };
      const fs = await FsClient.mount(socketPath, options);
      const able = FS_CHECKS.filter(({ needs }) => needs.every((one) => TRAITS.includes(one)));
      for (const each of able) await context.test(each.name, () => runFsCheck(each, fs));
      assert.equal(fs.nodeCount, 0);
      await fs.unmount();
    });
  });

  it('does so on a file system in memory', async (context) => {
    const served = await TestBackend.start(openFs({ tag: 'mem', source: { kind: 'memory' } }));
    const fs = await FsClient.mount(served.socketPath);
    for (const each of FS_CHECKS) await context.test(each.name, () => runFsCheck(each, fs));
    await fs.unmount();
    await served.close();
  });

  it('shares files with the host, as its documentation shows', async () => {
    await withFolder(async (socketPath, folder) => {
      writeFileSync(join(folder, 'from-the-host'), 'hello guest');
      const fs = await FsClient.mount(socketPath);
      assert.equal(fs.tag, 'share');
      assert.equal(await fs.readFile('from-the-host', 'utf8'), 'hello guest');
      await fs.mkdir('/a/b', { recursive: true });
      await fs.writeFile('/a/b/hello.txt', 'hello');
      assert.equal(readFileSync(join(folder, 'a/b/hello.txt'), 'utf8'), 'hello');
      assert.deepEqual(await fs.readdir('/a'), ['b']);
      const file = await fs.open('/a/b/hello.txt', 'r+');
      await file.flock({ type: 'exclusive' });
      await file.write('J', 0, 1, 0);
      await file.close();
      assert.equal(readFileSync(join(folder, 'a/b/hello.txt'), 'utf8'), 'Jello');
      await fs.rm('/a', { recursive: true });
      await fs.unmount();
      await fs.unmount();
      await assert.rejects(fs.stat('/'), { code: 'ERR_VHU_CLOSED' });
    });
  });

  it('is mounted again and again, and files that were left open do not matter', async () => {
    await withFolder(async (socketPath) => {
      for (let i = 0; i < 3; i++) {
        const fs = await FsClient.mount(socketPath);
        await fs.writeFile('/file', String(i));
        await fs.open('/file', 'r+');
        await fs.unmount();
      }
    });
  });

  it('errors name the call and the path, as those of node:fs', async () => {
    await withFolder(async (socketPath) => {
      const fs = await FsClient.mount(socketPath);
      const message = "ENOENT: no such file or directory, open '/none/x'";
      await assert.rejects(fs.open('/none/x'), { message });
      await assert.rejects(fs.rename('/a', '/b'), {
        code: 'ENOENT',
        syscall: 'rename',
        path: '/a',
        dest: '/b',
        errno: -2,
      });
      await assert.rejects(fs.open('/x', 'rw'), { code: 'EINVAL' });
      await fs.mkdir('/folder');
      await fs.writeFile('/file', '');
      for (const [operation, code] of [
        [() => fs.mkdir('/'), 'EEXIST'],
        [() => fs.rmdir('/'), 'EBUSY'],
        [() => fs.unlink('/'), 'EISDIR'],
        [() => fs.rename('/', '/x'), 'EBUSY'],
        [() => fs.symlink('x', '/..'), 'EEXIST'],
        [() => fs.writeFile('/', ''), 'EISDIR'],
        [() => fs.stat(`/${'x/'.repeat(2048)}`), 'ENAMETOOLONG'],
        // As Linux has it.
        [() => fs.rmdir('/folder/..'), 'ENOTEMPTY'],
        [() => fs.rmdir('/folder/.'), 'EINVAL'],
        [() => fs.open('/folder/.', 'wx'), 'EEXIST'],
        [() => fs.open('/folder/.', 'w'), 'EISDIR'],
        [() => fs.rename('/none', `/${'n'.repeat(256)}`), 'ENOENT'],
        [() => fs.rename('/none', '/folder/.'), 'EBUSY'],
        [() => fs.rename('/..', '/none/x'), 'ENOENT'],
        [() => fs.rename('/file', '/other/'), 'ENOTDIR'],
        [() => fs.link('/file', '/other/'), 'ENOENT'],
        [() => fs.link('/file', '/file/'), 'EEXIST'],
        [() => fs.unlink('/file/'), 'ENOTDIR'],
        [() => fs.stat(`/file/${'x'.repeat(300)}/a`), 'ENOTDIR'],
        [() => fs.unlink('/folder/'), 'EISDIR'],
      ] as const) {
        await assert.rejects(operation(), { code });
      }
      await fs.unmount();
    });
  });

  it('the benchmark measures it', async () => {
    await withFolder(async (socketPath) => {
      const setup = { socketPath, queueCount: 2, segmentBytes: 4096 };
      await assert.rejects(FsBench.open(setup), { code: 'ERR_VHU_QUEUE_SIZE' });
      const bench = await FsBench.open({ ...setup, queueSize: 512 });
      bench.makeFile('data', 1 << 20);
      const data = { path: 'data', fileBytes: 1 << 20, operations: 100, depth: 4 };
      for (const blockBytes of [4096, 1 << 20]) {
        for (const op of ['read', 'write'] as const) {
          const { errors, firstError } = bench.run({ op, ...data, blockBytes });
          assert.deepEqual([errors, firstError], [0, null]);
        }
      }
      bench.makeFiles('many', 200, 100);
      const many = { path: 'many', count: 200, depth: 4, operations: 400, blockBytes: 100 };
      for (const op of ['lookup', 'getattr', 'open-read-close'] as const) {
        assert.deepEqual(bench.run({ op, ...many }).firstError, null, op);
      }
      const list = bench.run({ op: 'readdirplus', path: 'many', depth: 2, operations: 6 });
      assert.ok(Math.abs(list.entriesPerSecond / list.perSecond - 202) < 1e-6);
      bench.forget();
      bench.makeFolder('fresh');
      for (const op of ['create', 'unlink'] as const) {
        const result = bench.run({ op, path: 'fresh', count: 100, depth: 8 });
        assert.deepEqual([result.operations, result.errors], [100, 0], op);
      }
      const again = bench.run({ op: 'unlink', path: 'fresh', count: 3, depth: 1 });
      assert.equal(again.firstError, 'ENOENT: no such file or directory');
      assert.throws(() => bench.run({ op: 'lookup', ...many, path: 'none' }), {
        code: 'ERR_VHU_FS_BENCH',
      });
      await bench.close();
    });
  });
});

const DIR = S_IF.DIR | 0o755;
const REG = S_IF.REG | 0o644;

/** `fuse_entry_out` of a node, or `fuse_attr_out` with `entryless`. */
function entry(nodeId: number, mode: number, size: number = 0): Uint8Array {
  const bytes = new Uint8Array(FUSE_ENTRY_OUT.SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(FUSE_ENTRY_OUT.nodeid, nodeId, true);
  view.setUint32(FUSE_ENTRY_OUT.attr + FUSE_ATTR.mode, mode, true);
  view.setUint32(FUSE_ENTRY_OUT.attr + FUSE_ATTR.size, size, true);
  return bytes;
}

function attributesOf(mode: number, size: number = 0): Uint8Array {
  const bytes = entry(1, mode, size).subarray(FUSE_ENTRY_OUT.attr - 16);
  bytes.fill(0, 0, 16);
  return bytes;
}

async function withScript(
  answer: (request: ScriptedRequest) => ScriptedAnswer | undefined,
  body: (fs: FsClient, script: FuseScript) => Promise<void>,
  options: FsClientOptions & { readonly agree?: number } = {},
): Promise<void> {
  const before = holdings();
  const init = new Uint8Array(FUSE_INIT_OUT.SIZE);
  const view = new DataView(init.buffer);
  view.setUint32(FUSE_INIT_OUT.major, 7, true);
  view.setUint32(FUSE_INIT_OUT.minor, 38, true);
  view.setUint32(FUSE_INIT_OUT.flags, options.agree ?? FUSE_CLIENT_FLAGS, true);
  view.setUint32(FUSE_INIT_OUT.maxWrite, 65536, true);
  view.setUint16(FUSE_INIT_OUT.maxPages, 16, true);
  const script = new FuseScript({
    answer: (request) => (request.opcode === OP.INIT ? init : answer(request)),
  });
  const served = await TestBackend.start(script);
  try {
    const fs = await FsClient.mount(served.socketPath, options);
    await body(fs, script);
    await fs.unmount();
  } finally {
    await served.close();
  }
  await expectNoLeak(before);
}

/** What was forgotten of each node, and on which queue. */
function forgotten(script: FuseScript): Map<number, number> {
  const counts = new Map<number, number>();
  const add = (node: number, count: number): void => {
    counts.set(node, (counts.get(node) ?? 0) + count);
  };
  for (const { opcode, nodeId, body, queueIndex } of script.requests) {
    if (opcode === OP.FORGET) add(nodeId, Number(body.readBigUInt64LE(0)));
    if (opcode === OP.BATCH_FORGET) {
      for (let i = 0; i < body.readUInt32LE(0); i++) {
        add(Number(body.readBigUInt64LE(8 + 16 * i)), Number(body.readBigUInt64LE(16 + 16 * i)));
      }
    }
    if (opcode === OP.FORGET || opcode === OP.BATCH_FORGET) assert.equal(queueIndex, 0);
  }
  return counts;
}

describe('FsClient with an odd server', () => {
  /** A folder `d` (2) with a file `f` (3) in it, and a link `l` (4) to it. */
  function tree({ opcode, nodeId, body }: ScriptedRequest): ScriptedAnswer | undefined {
    const name = body.toString('utf8', 0, Math.max(0, body.length - 1));
    if (opcode === OP.LOOKUP && nodeId === 1 && name === 'd') return entry(2, DIR);
    if (opcode === OP.LOOKUP && nodeId === 1 && name === 'l') return entry(4, S_IF.LNK | 0o777);
    if (opcode === OP.LOOKUP && nodeId === 2 && name === 'f') return entry(3, REG, 100_000);
    if (opcode === OP.LOOKUP) return -LINUX_E.NOENT;
    if (opcode === OP.READLINK) return Buffer.from('d/f');
    if (opcode === OP.GETATTR) return attributesOf(nodeId === 3 ? REG : DIR, 100_000);
    if (opcode === OP.READ) {
      const [at, size] = [Number(body.readBigUInt64LE(8)), body.readUInt32LE(16)];
      return new Uint8Array(Math.max(0, Math.min(size, 100_000 - at))).fill(7);
    }
    return undefined;
  }

  it('is told to forget exactly what it was asked to look up', async () => {
    await withScript(
      tree,
      async (fs, script) => {
        await fs.stat('/d/f');
        await Promise.all([fs.stat('/d/f'), fs.stat('/l'), fs.lstat('/l'), fs.stat('/d/../d/.')]);
        await assert.rejects(fs.stat('/d/none'), { code: 'ENOENT' });
        await assert.rejects(fs.stat('/d/f/x'), { code: 'ENOTDIR' });
        await fs.forgetIdleNodes();
        assert.equal(fs.nodeCount, 0);
        const looked = new Map<number, number>();
        for (const { opcode, nodeId, body } of script.requests) {
          if (opcode !== OP.LOOKUP) continue;
          const name = body.toString('utf8', 0, body.length - 1);
          const node = { '1d': 2, '1l': 4, '2f': 3 }[String(nodeId) + name];
          if (node !== undefined) looked.set(node, (looked.get(node) ?? 0) + 1);
        }
        assert.deepEqual(new Map([...forgotten(script)].sort()), new Map([...looked].sort()));
        assert.equal(looked.size, 3);
      },
      { idleNodesMax: 1 },
    );
  });

  it('that keeps no handles (ENOSYS for OPEN and OPENDIR) is asked once, and never to release', async () => {
    await withScript(tree, async (fs, script) => {
      for (let i = 0; i < 2; i++) {
        const bytes = await fs.readFile('/l');
        assert.ok(bytes.equals(Buffer.alloc(100_000, 7)));
      }
      await assert.rejects(fs.readdir('/'), { code: 'ENOSYS' });
      const count = (opcode: number): number => script.of(opcode).length;
      assert.deepEqual([count(OP.OPEN), count(OP.RELEASE), count(OP.FLUSH)], [1, 0, 1]);
      assert.deepEqual([count(OP.OPENDIR), count(OP.RELEASEDIR)], [1, 0]);
      const sizes = script.of(OP.READ).map(({ body }) => body.readUInt32LE(16));
      assert.deepEqual(sizes, [65_536, 34_464, 65_536, 34_464], 'reads are cut');
    });
  });

  it('that lacks what a kernel does without is not asked again', async () => {
    const answer = (request: ScriptedRequest): ScriptedAnswer | undefined =>
      request.opcode === OP.OPEN ? new Uint8Array(16) : tree(request);
    await withScript(answer, async (fs, script) => {
      const file = await fs.open('/d/f');
      await file.sync();
      await file.sync();
      assert.equal(script.of(OP.FSYNC).length, 1);
      await assert.rejects(file.allocate(0, 10), { code: 'EOPNOTSUPP' });
      await assert.rejects(file.seekData(0), { code: 'EOPNOTSUPP' });
      await file.close();
      assert.equal(script.of(OP.RELEASE).length, 1);
      for (let i = 0; i < 2; i++) {
        await assert.rejects(fs.getxattr('/d/f', 'user.x'), { code: 'EOPNOTSUPP' });
      }
      assert.equal(script.of(OP.GETXATTR).length, 1);
      await fs.access('/d/f', ACCESS.R_OK | ACCESS.W_OK);
      await assert.rejects(fs.access('/d/f', ACCESS.X_OK), { code: 'EACCES' });
      const other = fs.as({ uid: 1000, gid: 1000, pid: 1 });
      await other.access('/d/f', ACCESS.R_OK);
      await assert.rejects(other.access('/d/f', ACCESS.W_OK), { code: 'EACCES' });
      assert.equal(script.of(OP.ACCESS).length, 1);
    });
  });

  it('without CREATE and without ATOMIC_O_TRUNC gets MKNOD, OPEN and SETATTR', async () => {
    const answer = (request: ScriptedRequest): ScriptedAnswer | undefined => {
      const { opcode } = request;
      if (opcode === OP.MKNOD) return entry(5, REG);
      if (opcode === OP.OPEN) return new Uint8Array(16);
      if (opcode === OP.SETATTR) return attributesOf(REG);
      return tree(request);
    };
    const run = async (fs: FsClient, script: FuseScript): Promise<void> => {
      await (await fs.open('/d/new', 'w')).close();
      await (await fs.open('/d/f', 'w')).close();
      const opcodes = script.requests.map(({ opcode }) => opcode);
      const known: number[] = [OP.CREATE, OP.MKNOD, OP.OPEN, OP.SETATTR];
      const changes = opcodes.filter((opcode) => known.includes(opcode));
      assert.deepEqual(changes, [OP.CREATE, OP.MKNOD, OP.OPEN, OP.OPEN, OP.SETATTR]);
    };
    await withScript(answer, run, { agree: 0 });
  });

  it('that lists nonsense, or writes more than there was, is not believed', async () => {
    const answer = (request: ScriptedRequest): ScriptedAnswer | undefined => {
      const { opcode } = request;
      if (opcode === OP.OPENDIR || opcode === OP.OPEN) return new Uint8Array(16);
      if (opcode === OP.READDIR || opcode === OP.READDIRPLUS) return new Uint8Array(24).fill(255);
      if (opcode === OP.WRITE) return new Uint8Array(8).fill(255);
      if (opcode === OP.RELEASE || opcode === OP.RELEASEDIR || opcode === OP.FLUSH) return 0;
      return tree(request);
    };
    await withScript(answer, async (fs, script) => {
      await assert.rejects(fs.readdir('/'), { code: 'ERR_VHU_FS_REPLY' });
      await assert.rejects(fs.readdir('/', { withStats: true }), { code: 'ERR_VHU_FS_REPLY' });
      assert.equal(script.of(OP.RELEASEDIR).length, 2);
      const file = await fs.open('/d/f', 'r+');
      await assert.rejects(file.write('text'), { code: 'ERR_VHU_FS_REPLY' });
      await file.close();
    });
  });
});
