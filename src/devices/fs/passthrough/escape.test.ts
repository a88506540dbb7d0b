/**
 * Whatever a guest asks for, and whatever the host puts into a shared folder: nothing outside of
 * it is reached. `test/stress/fs-escape.ts` is the same with both at it at once.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  constants,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { LINUX_O, S_IF, encodeDev } from '../../../fuse/index.ts';
import { FuseCalls, FuseConnection } from '../../../frontend/index.ts';
import { hasReopen } from '../../../sys/index.ts';
import { TestBackend } from '../../../testing/index.ts';
import { errorCode } from '../../../util/index.ts';
import { openFs } from '../index.ts';
import type { HostFolderOptions } from '../index.ts';

const ROOT = 1;
const IS_ROOT = process.getuid?.() === 0;
const RDWR_CREATE = LINUX_O.RDWR | LINUX_O.CREAT;
const CANARY = 'CANARY';

interface Share {
  readonly base: string;
  readonly share: string;
  readonly outside: string;
  readonly calls: FuseCalls;
}

/** Shares `base/share`, beside which is `base/outside` with a file and a folder of its own. */
async function sharing(
  body: (share: Share) => Promise<void>,
  options: Omit<HostFolderOptions, 'folder'> & { readonly folder?: string } = {},
): Promise<void> {
  const base = mkdtempSync(join(tmpdir(), 'vhu-escape-'));
  const [share, outside] = [join(base, 'share'), join(base, 'outside')];
  mkdirSync(share);
  mkdirSync(join(outside, 'sub'), { recursive: true });
  writeFileSync(join(outside, 'file'), CANARY);
  writeFileSync(join(outside, 'sub', 'file'), CANARY);
  const before = look(outside);
  const device = openFs({
    tag: 'escape',
    source: { kind: 'folder', folder: share, cache: 'never', ...options },
  });
  const served = await TestBackend.start(device);
  const connection = await FuseConnection.connect(served.socketPath);
  try {
    await body({ base, share, outside, calls: new FuseCalls(connection, connection.identity) });
    assert.deepEqual(look(outside), before, 'nothing outside was touched');
  } finally {
    await connection.close();
    await served.close();
    rmSync(base, { recursive: true, force: true });
  }
}

/** All that there is to know of a tree, but for times of access. */
function look(root: string): string[] {
  const paths = readdirSync(root, { recursive: true, encoding: 'utf8' }).sort();
  return ['', ...paths].map((path) => {
    const at = join(root, path);
    const { mode, uid, gid, nlink, size, mtimeMs, ctimeMs } = lstatSync(at);
    const content = lstatSync(at).isFile() ? readFileSync(at, 'utf8') : '';
    return [path, mode, uid, gid, nlink, size, mtimeMs, ctimeMs, content].join(' ');
  });
}

/** The name of the error of a request; `ok` when there was none. */
async function outcome(request: Promise<unknown>): Promise<string> {
  try {
    await request;
    return 'ok';
  } catch (error) {
    return errorCode(error) ?? String(error);
  }
}

async function nodeOf(calls: FuseCalls, ...names: readonly string[]): Promise<number> {
  let node = ROOT;
  for (const name of names) {
    const entry = await calls.lookup(node, name);
    assert.ok(entry !== null, `${name} is there`);
    node = entry.nodeId;
  }
  return node;
}

async function contentOf(calls: FuseCalls, node: number): Promise<string> {
  const { fh } = await calls.open(node, LINUX_O.RDONLY);
  const into = new Uint8Array(100);
  const bytes = await calls.read(node, fh, 0, into);
  await calls.release(node, fh, {});
  return new TextDecoder().decode(into.subarray(0, bytes));
}

/** Each request that takes a name, about this one. */
function requestsByName(calls: FuseCalls, node: number, file: number, name: string) {
  const here = { parent: node, name };
  const new1 = { parent: node, name: 'new' };
  return {
    symlink: () => calls.symlink(node, name, 'target'),
    mknod: () => calls.mknod(node, name, S_IF.IFO | 0o600, 0),
    mkdir: () => calls.mkdir(node, name, 0o700),
    unlink: () => calls.unlink(node, name),
    rmdir: () => calls.rmdir(node, name),
    renameFrom: () => calls.rename(here, new1, 0),
    renameTo: () => calls.rename({ parent: node, name: 'file' }, here, 0),
    link: () => calls.link(file, node, name),
    create: () => calls.create(node, name, RDWR_CREATE, 0o600),
  };
}

describe('names that lead out of a shared folder', () => {
  it('are refused by each request that takes a name', async () => {
    await sharing(async ({ share, outside, calls }) => {
      writeFileSync(join(share, 'file'), 'inside');
      const file = await nodeOf(calls, 'file');
      for (const name of ['..', '.', '../outside/new', 'sub/../../outside/file', '/', outside]) {
        for (const [what, request] of Object.entries(requestsByName(calls, ROOT, file, name))) {
          assert.equal(await outcome(request()), 'EINVAL', `${what} of ${name}`);
        }
        if (name.includes('/')) {
          assert.equal(await outcome(calls.lookup(ROOT, name)), 'EINVAL', `lookup of ${name}`);
        }
      }
      assert.deepEqual(readdirSync(share), ['file']);
    });
  });

  it('end at the shared folder, which is its own `..`', async () => {
    await sharing(async ({ share, calls }) => {
      mkdirSync(join(share, 'a', 'b'), { recursive: true });
      const a = await nodeOf(calls, 'a');
      const b = await nodeOf(calls, 'a', 'b');
      assert.equal(await nodeOf(calls, '..'), ROOT);
      assert.equal(await nodeOf(calls, '..', '..', '.'), ROOT);
      assert.equal((await calls.lookup(b, '..'))?.nodeId, a);
      assert.equal((await calls.lookup(a, '..'))?.nodeId, ROOT);
      const { fh } = await calls.open(ROOT, 0, true);
      const own = lstatSync(share).ino;
      for (const plus of [false, true]) {
        const list = await calls.readdir(ROOT, fh, { cookie: 0n, bytes: 4096, plus });
        const dots = list.filter(({ name }) => name[0] === 0x2e);
        assert.deepEqual(
          dots.map(({ ino }) => ino),
          [own, own],
        );
      }
    });
  });

  it('do not begin in a folder that the host has taken out of the share', async () => {
    await sharing(async ({ base, share, calls }) => {
      mkdirSync(join(share, 'a', 'b'), { recursive: true });
      const b = await nodeOf(calls, 'a', 'b');
      const { fh } = await calls.open(b, 0, true);
      renameSync(join(share, 'a', 'b'), join(base, 'taken'));
      const up = await calls.lookup(b, '..');
      assert.notEqual(up?.stats.ino, lstatSync(base).ino);
      assert.equal(up?.stats.ino, lstatSync(join(share, 'a')).ino);
      await calls.release(b, fh, { folder: true });
    });
  });
});

describe('links in a shared folder', () => {
  it('are never followed, wherever they lead', async () => {
    await sharing(async ({ share, outside, calls }) => {
      const targets = [join(outside, 'file'), '../outside/file', outside, '../outside', '/', '..'];
      targets.push(`/proc/self/root${outside}`, '/proc/self/cwd', 'link0');
      for (const [i, target] of targets.entries()) {
        const name = `link${String(i)}`;
        symlinkSync(target, join(share, name));
        const entry = await calls.lookup(ROOT, name);
        assert.ok(entry !== null);
        assert.ok(entry.stats.isSymbolicLink());
        const node = entry.nodeId;
        assert.equal((await calls.readlink(node)).toString(), target);
        assert.equal(await outcome(calls.open(node, LINUX_O.RDONLY)), 'ENXIO');
        assert.equal(await outcome(calls.open(node, LINUX_O.RDWR | LINUX_O.TRUNC)), 'ENXIO');
        assert.equal(await outcome(calls.open(node, 0, true)), 'ENOTDIR');
        assert.equal(await outcome(calls.lookup(node, 'file')), 'ENOTDIR');
        assert.equal(await outcome(calls.create(node, 'new', RDWR_CREATE, 0o600)), 'ENOTDIR');
        assert.equal(await outcome(calls.mkdir(node, 'new', 0o700)), 'ENOTDIR');
        assert.equal(await outcome(calls.unlink(node, 'file')), 'ENOTDIR');
        assert.equal(await outcome(calls.setattr(node, { size: 0 })), 'ENXIO');
        assert.notEqual(await outcome(calls.setattr(node, { mode: 0o777 })), 'ok');
        assert.notEqual(await outcome(calls.create(ROOT, name, RDWR_CREATE, 0o600)), 'ok');
        // These concern the link itself.
        await outcome(calls.setattr(node, { mtime: 1, uid: 0 }));
        await outcome(calls.access(node, 7));
        assert.equal((await calls.link(node, ROOT, `${name}-too`)).stats.nlink, 2);
        await calls.unlink(ROOT, name);
        assert.equal(readlinkSync(join(share, `${name}-too`)), target);
      }
    });
  });

  it('that the guest makes keep their text, and lead nobody on this host anywhere', async () => {
    await sharing(async ({ outside, calls }) => {
      const target = join(outside, 'new');
      const { nodeId } = await calls.symlink(ROOT, 'link', target);
      assert.equal((await calls.readlink(nodeId)).toString(), target);
      assert.notEqual(await outcome(calls.create(ROOT, 'link', RDWR_CREATE, 0o600)), 'ok');
      assert.notEqual(await outcome(calls.mknod(ROOT, 'link', S_IF.REG | 0o600, 0)), 'ok');
      assert.equal(existsSync(target), false);
    });
  });

  it('of /proc, which the kernel follows without a path, are not followed either', async (t) => {
    if (!existsSync('/proc/self/root')) {
      t.skip('there is no /proc here');
      return;
    }
    const options = { folder: '/proc', readOnly: true };
    await sharing(async ({ calls }) => {
      assert.equal(await outcome(calls.lookup(await nodeOf(calls, 'self'), 'root')), 'ENOTDIR');
      const own = await nodeOf(calls, String(process.pid));
      for (const name of ['root', 'cwd', 'exe']) {
        const entry = await calls.lookup(own, name);
        assert.ok(entry !== null);
        assert.ok(entry.stats.isSymbolicLink(), name);
        assert.equal(await outcome(calls.open(entry.nodeId, LINUX_O.RDONLY)), 'ENXIO');
        assert.equal(await outcome(calls.lookup(entry.nodeId, 'etc')), 'ENOTDIR');
      }
    }, options);
  });
});

describe('what the host replaces between two requests', () => {
  it('is not taken for the folder that the guest knows', async () => {
    await sharing(async ({ share, outside, calls }) => {
      mkdirSync(join(share, 'sub'));
      writeFileSync(join(share, 'sub', 'file'), 'inside');
      const file = await nodeOf(calls, 'sub', 'file');
      const sub = await nodeOf(calls, 'sub');
      renameSync(join(share, 'sub'), join(share, 'away'));
      symlinkSync(outside, join(share, 'sub'));
      // Each is done in the folder that it was, or refused: both are right.
      for (const request of Object.values(requestsByName(calls, sub, file, 'made'))) {
        await outcome(request());
      }
      await outcome(calls.setattr(sub, { mode: 0o777 }));
      await outcome(calls.setattr(file, { size: 1 }));
      await outcome(calls.unlink(sub, 'file'));
      const inos = readdirSync(outside, { recursive: true, encoding: 'utf8' }).map(
        (path) => lstatSync(join(outside, path)).ino,
      );
      const entry = await calls.lookup(sub, 'file').catch(() => null);
      assert.ok(!inos.includes(entry?.stats.ino ?? 0));
      const again = await calls.lookup(ROOT, 'sub');
      assert.ok(again !== null);
      assert.ok(again.stats.isSymbolicLink());
      assert.notEqual(again.nodeId, sub);
    });
  });

  it('is not opened in place of a file: not a link, not a FIFO, not a device', async () => {
    await sharing(async ({ share, outside, calls }) => {
      const put: Record<string, (path: string) => void> = {
        link: (path) => symlinkSync(join(outside, 'file'), path),
        folder: (path) => mkdirSync(path),
        fifo: (path) => execFileSync('mkfifo', [path]),
        file: (path) => writeFileSync(path, 'another file'),
        ...(IS_ROOT && { device: (path) => execFileSync('mknod', [path, 'c', '1', '5']) }),
      };
      for (const [what, replace] of Object.entries(put)) {
        const path = join(share, what);
        writeFileSync(path, 'inside');
        const node = await nodeOf(calls, what);
        renameSync(path, `${path}-away`);
        replace(path);
        for (const flags of [LINUX_O.RDONLY, LINUX_O.WRONLY, LINUX_O.RDWR | LINUX_O.TRUNC]) {
          const opened = await calls.open(node, flags).catch((error: unknown) => error);
          if (opened instanceof Error) assert.equal(errorCode(opened), 'ESTALE', what);
        }
        await outcome(calls.setattr(node, { size: 0 }));
        const known = await contentOf(calls, node).catch(() => '');
        assert.equal(known, '', what); // the old file, which was cut, or nothing
        if (what === 'fifo') assert.throws(() => openSync(path, FIFO_WRITER), { code: 'ENXIO' });
        if (what === 'file') assert.equal(readFileSync(path, 'utf8'), 'another file');
        if (what !== 'file') {
          const created = calls.create(ROOT, what, RDWR_CREATE | LINUX_O.TRUNC, 0o600);
          assert.notEqual(await outcome(created), 'ok', what);
        }
      }
    });
  });
});

/** Opening a FIFO so fails unless somebody has it open for reading. */
const FIFO_WRITER = constants.O_WRONLY | constants.O_NONBLOCK;

describe('special files of a shared folder', () => {
  it('are seen, and never opened', async () => {
    await sharing(async ({ share, calls }) => {
      execFileSync('mkfifo', [join(share, 'fifo')]);
      const { nodeId } = await calls.mknod(ROOT, 'own-fifo', S_IF.IFO | 0o600, 0);
      const nodes = [nodeId, await nodeOf(calls, 'fifo')];
      if (IS_ROOT) {
        const rdev = encodeDev(1, 5); // zero
        const made = await calls.mknod(ROOT, 'device', S_IF.CHR | 0o600, rdev);
        assert.equal(made.stats.rdev, rdev);
        nodes.push(made.nodeId);
      }
      for (const node of nodes) {
        for (const flags of [LINUX_O.RDONLY, LINUX_O.WRONLY, LINUX_O.RDWR]) {
          assert.equal(await outcome(calls.open(node, flags)), 'ENXIO');
        }
        assert.equal(await outcome(calls.setattr(node, { size: 0 })), 'ENXIO');
        assert.equal(await outcome(calls.getattr(node)), 'ok');
      }
      assert.throws(() => openSync(join(share, 'fifo'), FIFO_WRITER), { code: 'ENXIO' });
    });
  });

  it('that are hard links from outside are files of the share, and nothing more', async () => {
    const base = mkdtempSync(join(tmpdir(), 'vhu-linked-'));
    try {
      writeFileSync(join(base, 'file'), 'linked');
      mkdirSync(join(base, 'share'));
      linkSync(join(base, 'file'), join(base, 'share', 'file'));
      await sharing(
        async ({ calls }) => {
          const file = await nodeOf(calls, 'file');
          assert.equal(await contentOf(calls, file), 'linked');
          assert.equal((await calls.lookup(file, '..'))?.nodeId ?? ROOT, ROOT);
          await calls.unlink(ROOT, 'file');
          // It is known and exists, but only some hosts open a file that has no name in the share.
          if (hasReopen) assert.equal(await contentOf(calls, file), 'linked');
          else assert.equal(await outcome(contentOf(calls, file)), 'ESTALE');
        },
        { folder: join(base, 'share') },
      );
      assert.equal(readFileSync(join(base, 'file'), 'utf8'), 'linked');
    } finally {
      rmSync(base, { recursive: true });
    }
  });

  it('that are mount points lead into what is mounted, and back into the share', async (t) => {
    await sharing(async ({ share, outside, calls }) => {
      const point = join(share, 'point');
      mkdirSync(point);
      if (!mountQuietly(outside, point)) {
        t.skip('this process may not mount');
        return;
      }
      try {
        const node = await nodeOf(calls, 'point');
        assert.equal((await calls.lookup(node, '..'))?.nodeId, ROOT);
        const file = await nodeOf(calls, 'point', 'sub', 'file');
        assert.equal(await contentOf(calls, file), CANARY); // whoever mounts it there shares it
      } finally {
        execFileSync('umount', ['-l', point]);
      }
      const again = await calls.lookup(ROOT, 'point');
      assert.equal(again?.stats.ino, lstatSync(point).ino);
    });
  });
});

function mountQuietly(from: string, to: string): boolean {
  if (!IS_ROOT || process.platform !== 'linux') return false;
  try {
    execFileSync('mount', ['--bind', from, to], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
