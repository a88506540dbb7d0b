/**
 * Nodes and handles that a guest does not have, has no more, or has for something else.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { FUSE_INIT, LINUX_F, LINUX_O, S_IF } from '../../../fuse/index.ts';
import { FuseCalls, FuseConnection } from '../../../frontend/index.ts';
import { openFdCount } from '../../../sys/index.ts';
import { TestBackend } from '../../../testing/index.ts';
import { errorCode } from '../../../util/index.ts';
import { openFs } from '../index.ts';
import type { HostFolderOptions } from '../index.ts';

const ROOT = 1;
const RDWR_CREATE = LINUX_O.RDWR | LINUX_O.CREAT;
const LOCK = { type: LINUX_F.WRLCK, start: 0n, end: 9n, pid: 1, owner: 1n, wait: false } as const;

/** Shares a folder with the files `a`, `b` and the folder `d`. */
async function sharing(
  body: (calls: FuseCalls, folder: string) => Promise<void>,
  options: Omit<HostFolderOptions, 'folder'> = {},
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'vhu-hostile-'));
  writeFileSync(join(folder, 'a'), 'content of a');
  writeFileSync(join(folder, 'b'), 'content of b');
  mkdirSync(join(folder, 'd'));
  const source = { kind: 'folder', folder, cache: 'never', ...options } as const;
  const served = await TestBackend.start(openFs({ tag: 'hostile', source }));
  const connection = await FuseConnection.connect(served.socketPath);
  try {
    await body(new FuseCalls(connection, connection.identity), folder);
  } finally {
    await connection.close();
    await served.close();
    rmSync(folder, { recursive: true, force: true });
  }
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

async function nodeOf(calls: FuseCalls, name: string): Promise<number> {
  const entry = await calls.lookup(ROOT, name);
  assert.ok(entry !== null);
  return entry.nodeId;
}

/** Requests about a node, which need nothing else to be right. */
function requestsOfNode(calls: FuseCalls, node: number): Record<string, () => Promise<unknown>> {
  return {
    lookup: () => calls.lookup(node, 'a'),
    dots: () => calls.lookup(node, '.'),
    getattr: () => calls.getattr(node),
    setattr: () => calls.setattr(node, { mode: 0o600, size: 0, uid: 0, mtime: 1 }),
    readlink: () => calls.readlink(node),
    symlink: () => calls.symlink(node, 'new', 'target'),
    mknod: () => calls.mknod(node, 'new', S_IF.IFO | 0o600, 0),
    mkdir: () => calls.mkdir(node, 'new', 0o700),
    unlink: () => calls.unlink(node, 'a'),
    rmdir: () => calls.rmdir(node, 'd'),
    rename: () => calls.rename({ parent: node, name: 'a' }, { parent: ROOT, name: 'z' }, 0),
    renameTo: () => calls.rename({ parent: ROOT, name: 'a' }, { parent: node, name: 'z' }, 0),
    link: () => calls.link(node, ROOT, 'new'),
    open: () => calls.open(node, LINUX_O.RDWR),
    opendir: () => calls.open(node, 0, true),
    create: () => calls.create(node, 'new', RDWR_CREATE, 0o600),
    access: () => calls.access(node, 4),
    getxattr: () => calls.getxattr(node, 'user.x', 100),
    setxattr: () => calls.setxattr(node, 'user.x', Buffer.from('x'), 0),
    listxattr: () => calls.listxattr(node, 100),
    removexattr: () => calls.removexattr(node, 'user.x'),
  };
}

/** Requests about an open file. */
function requestsOfFile(calls: FuseCalls, node: number, fh: bigint) {
  const at = { node, fh, offset: 0 };
  return {
    read: () => calls.read(node, fh, 0, new Uint8Array(10)),
    write: () => calls.write(node, fh, 0, Buffer.from('overwritten')),
    flush: () => calls.flush(node, fh, 1n),
    fsync: () => calls.fsync(node, fh),
    fallocate: () => calls.fallocate(node, fh, { offset: 0, length: 100, mode: 0 }),
    lseek: () => calls.lseek(node, fh, 0, 3),
    copy: () => calls.copyFileRange(at, at, 4),
    setlk: () => calls.setlk(node, fh, { ...LOCK, flock: false }),
    setlkw: () => calls.setlk(node, fh, { ...LOCK, flock: false, wait: true }),
    flock: () => calls.setlk(node, fh, { ...LOCK, flock: true }),
    getlk: () => calls.getlk(node, fh, LOCK, 1n),
    release: () => calls.release(node, fh, {}),
  };
}

/** Requests about an open folder. */
function requestsOfFolder(calls: FuseCalls, node: number, fh: bigint) {
  const from = { cookie: 0n, bytes: 1024 };
  return {
    readdir: () => calls.readdir(node, fh, { ...from, plus: false }),
    readdirplus: () => calls.readdir(node, fh, { ...from, plus: true }),
    fsyncdir: () => calls.fsync(node, fh, { folder: true }),
    releasedir: () => calls.release(node, fh, { folder: true }),
  };
}

async function expectEach(
  requests: Record<string, () => Promise<unknown>>,
  wanted: string,
  about: string,
): Promise<void> {
  for (const [what, request] of Object.entries(requests)) {
    assert.equal(await outcome(request()), wanted, `${what} ${about}`);
  }
}

describe('nodes that a guest does not have', () => {
  it('are stale, whatever is asked of them', async () => {
    await sharing(
      async (calls, folder) => {
        const before = readdirSync(folder);
        for (const node of [0, 2, 3, 1000, 2 ** 32, 2 ** 32 + 1, 2 ** 52, 2 ** 53 - 1]) {
          await expectEach(requestsOfNode(calls, node), 'ESTALE', `of node ${String(node)}`);
        }
        assert.deepEqual(readdirSync(folder), before);
      },
      { xattr: true },
    );
  });

  it('stay stale after they were forgotten, also when their room is used again', async () => {
    await sharing(
      async (calls) => {
        const a = await nodeOf(calls, 'a');
        await calls.forget([{ nodeId: a, lookups: 1 }]);
        await expectEach(requestsOfNode(calls, a), 'ESTALE', 'of a forgotten node');
        const b = await nodeOf(calls, 'b');
        assert.notEqual(b, a);
        assert.equal(await outcome(calls.getattr(a)), 'ESTALE');
        assert.notEqual(await nodeOf(calls, 'a'), a);
      },
      { xattr: true },
    );
  });

  it('can be forgotten any number of times', async () => {
    await sharing(async (calls) => {
      const a = await nodeOf(calls, 'a');
      await nodeOf(calls, 'a');
      await calls.forget([{ nodeId: a, lookups: 1 }]);
      assert.equal(await outcome(calls.getattr(a)), 'ok');
      const huge = Number.MAX_SAFE_INTEGER;
      const list = [a, a, ROOT, 0, 77, 2 ** 52].map((nodeId) => ({ nodeId, lookups: huge }));
      await calls.forget(list);
      for (const one of list) await calls.forget([one]);
      assert.equal(await outcome(calls.getattr(a)), 'ESTALE');
      assert.equal(await outcome(calls.getattr(ROOT)), 'ok');
      assert.equal((await calls.getattr(await nodeOf(calls, 'a'))).size, 12);
    });
  });

  it('stay while something of theirs is open, and the file is what it was', async () => {
    await sharing(async (calls) => {
      const a = await nodeOf(calls, 'a');
      const { fh } = await calls.open(a, LINUX_O.RDONLY);
      await calls.forget([{ nodeId: a, lookups: 1 }]);
      const into = new Uint8Array(12);
      assert.equal(await calls.read(a, fh, 0, into), 12);
      assert.equal(new TextDecoder().decode(into), 'content of a');
      await calls.release(a, fh, {});
      assert.equal(await outcome(calls.getattr(a)), 'ESTALE');
    });
  });
});

describe('handles that a guest does not have', () => {
  it('are bad, whatever is asked of them', async () => {
    await sharing(async (calls) => {
      const a = await nodeOf(calls, 'a');
      for (const fh of [0n, 1n, 2n, 1n << 32n, (1n << 63n) + 1n, (1n << 64n) - 1n]) {
        await expectEach(requestsOfFile(calls, a, fh), 'EBADF', `by handle ${String(fh)}`);
        await expectEach(requestsOfFolder(calls, ROOT, fh), 'EBADF', `by handle ${String(fh)}`);
      }
    });
  });

  it('are bad for the other kind: folders are not read, and files not listed', async () => {
    await sharing(async (calls, folder) => {
      const a = await nodeOf(calls, 'a');
      const d = await nodeOf(calls, 'd');
      const file = await calls.open(a, LINUX_O.RDWR);
      const opened = await calls.open(d, 0, true);
      await expectEach(requestsOfFile(calls, d, opened.fh), 'EBADF', 'by a handle of a folder');
      await expectEach(requestsOfFile(calls, a, opened.fh), 'EBADF', 'by a handle of a folder');
      await expectEach(requestsOfFolder(calls, a, file.fh), 'EBADF', 'by a handle of a file');
      await expectEach(requestsOfFolder(calls, d, file.fh), 'EBADF', 'by a handle of a file');
      await calls.release(a, file.fh, {});
      await calls.release(d, opened.fh, { folder: true });
      assert.equal(readFileSync(join(folder, 'a'), 'utf8'), 'content of a');
    });
  });

  it('are bad after they were released, and not given out a second time', async () => {
    await sharing(async (calls) => {
      const a = await nodeOf(calls, 'a');
      const { fh } = await calls.open(a, LINUX_O.RDWR);
      await calls.release(a, fh, {});
      await expectEach(requestsOfFile(calls, a, fh), 'EBADF', 'by a released handle');
      const next = await calls.open(await nodeOf(calls, 'b'), LINUX_O.RDONLY);
      assert.notEqual(next.fh, fh);
      await expectEach(requestsOfFile(calls, a, fh), 'EBADF', 'by a released handle');
      const folder = await calls.open(ROOT, 0, true);
      await calls.release(ROOT, folder.fh, { folder: true });
      await expectEach(requestsOfFolder(calls, ROOT, folder.fh), 'EBADF', 'by a released handle');
    });
  });

  it('do not write when they were opened for reading', async () => {
    await sharing(async (calls, folder) => {
      const a = await nodeOf(calls, 'a');
      const { fh } = await calls.open(a, LINUX_O.RDONLY);
      const { write, fallocate, copy } = requestsOfFile(calls, a, fh);
      await expectEach({ write, fallocate }, 'EBADF', 'by a handle for reading');
      assert.notEqual(await outcome(copy()), 'ok'); // where the host cannot copy, it says so first
      const only = await calls.open(a, LINUX_O.WRONLY);
      const { read } = requestsOfFile(calls, a, only.fh);
      await expectEach({ read }, 'EBADF', 'by a handle for writing');
      assert.equal(readFileSync(join(folder, 'a'), 'utf8'), 'content of a');
    });
  });

  it('are closed while somebody waits for a lock by them', async () => {
    await sharing(async (calls) => {
      const a = await nodeOf(calls, 'a');
      const first = await calls.open(a, LINUX_O.RDWR);
      const second = await calls.open(a, LINUX_O.RDWR);
      const lock = { ...LOCK, flock: true };
      await calls.setlk(a, first.fh, lock);
      assert.equal(await outcome(calls.setlk(a, second.fh, lock)), 'EAGAIN');
      const waiting = outcome(calls.setlk(a, second.fh, { ...lock, wait: true }));
      await calls.getattr(a);
      await calls.release(a, second.fh, {});
      assert.equal(await waiting, 'EBADF');
      await calls.release(a, first.fh, {});
    });
  });
});

describe('descriptors of this process', () => {
  const limits = { fdLimit: 128 };
  const most = 64; // the rest is for others

  /** Asks again and again, until the answer is no; how often it was yes, and what it is then. */
  async function untilRefused(request: (i: number) => Promise<unknown>): Promise<[number, string]> {
    for (let i = 0; i < 1000; i++) {
      const answer = await outcome(request(i));
      if (answer !== 'ok') return [i, answer];
    }
    return [1000, 'ok'];
  }

  it('are not all to be had by opening files', async () => {
    await sharing(async (calls) => {
      const a = await nodeOf(calls, 'a');
      const before = openFdCount();
      const opens: bigint[] = [];
      const [count, answer] = await untilRefused(async () => {
        opens.push((await calls.open(a, LINUX_O.RDONLY)).fh);
      });
      assert.equal(answer, 'ENFILE');
      assert.ok(count >= most / 2 && count <= most, String(count));
      assert.ok(openFdCount() - before <= most);
      assert.equal(await outcome(calls.open(ROOT, 0, true)), 'ENFILE');
      assert.equal(await outcome(calls.getattr(a)), 'ok');
      for (const fh of opens) await calls.release(a, fh, {});
      assert.equal(await outcome(calls.open(ROOT, 0, true)), 'ok');
    }, limits);
  });

  it('are not all to be had by removing files', async () => {
    await sharing(async (calls, folder) => {
      const before = openFdCount();
      const removed: number[] = [];
      for (let i = 0; i < 4 * most; i++) {
        writeFileSync(join(folder, `f${String(i)}`), 'x');
        const node = await nodeOf(calls, `f${String(i)}`);
        await calls.unlink(ROOT, `f${String(i)}`);
        removed.push(node);
      }
      assert.ok(openFdCount() - before <= most);
      // The first ones are known still, for the others there was no descriptor.
      assert.equal(await outcome(calls.getattr(removed[0] as number)), 'ok');
      assert.equal(await outcome(calls.getattr(removed.at(-1) as number)), 'ESTALE');
      await calls.forget(removed.map((nodeId) => ({ nodeId, lookups: 1 })));
      assert.equal(await outcome(calls.open(await nodeOf(calls, 'a'), LINUX_O.RDONLY)), 'ok');
    }, limits);
  });

  it('are not all to be had by locks, and end with the file when nobody flushes', async (t) => {
    await sharing(async (calls) => {
      const a = await nodeOf(calls, 'a');
      const { fh } = await calls.open(a, LINUX_O.RDWR);
      const before = openFdCount();
      const lock = { ...LOCK, type: LINUX_F.RDLCK, flock: false };
      const [count, answer] = await untilRefused((i) =>
        calls.setlk(a, fh, { ...lock, owner: BigInt(i) }),
      );
      if (count === 0 && answer === 'ENOSYS') {
        t.skip('this host has no locks of a descriptor');
        return;
      }
      assert.equal(answer, 'ENFILE');
      assert.ok(count <= most && openFdCount() - before <= most);
      await calls.release(a, fh, {});
      assert.ok(openFdCount() <= before);
      const again = await calls.open(a, LINUX_O.RDWR);
      const other = { ...LOCK, owner: 5000n, flock: false };
      assert.equal(await outcome(calls.setlk(a, again.fh, other)), 'ok');
    }, limits);
  });
});

describe('the end of an open file', () => {
  for (const [sharedLocks, answer] of [
    [false, 'ENOSYS'],
    [true, 'ok'],
  ] as const) {
    it(`with sharedLocks ${sharedLocks} a flush is answered by ${answer}`, async () => {
      await sharing(
        async (calls) => {
          const a = await nodeOf(calls, 'a');
          const { fh } = await calls.open(a, LINUX_O.RDONLY);
          assert.equal(await outcome(calls.flush(a, fh, 1n)), answer);
          assert.equal(await outcome(calls.flush(a, fh + 100n, 1n)), 'EBADF');
        },
        { sharedLocks },
      );
    });
  }
});

describe('attributes whose names are not for the guest', () => {
  it('are not there for it, and cannot be set', async () => {
    const xattrMap = '/bad/all/user.secret/user.secret/ /unsupported/client/user.no// /ok/all///';
    await sharing(
      async (calls) => {
        const a = await nodeOf(calls, 'a');
        const value = Buffer.from('value');
        assert.equal(await outcome(calls.setxattr(a, 'user.open', value, 0)), 'ok');
        assert.equal(await outcome(calls.setxattr(a, 'user.secret', value, 0)), 'EPERM');
        assert.equal(await outcome(calls.removexattr(a, 'user.secret')), 'EPERM');
        assert.equal(await outcome(calls.getxattr(a, 'user.secret', 100)), 'ENODATA');
        assert.equal(await outcome(calls.setxattr(a, 'user.no', value, 0)), 'EOPNOTSUPP');
        assert.equal(await outcome(calls.getxattr(a, 'user.no', 100)), 'EOPNOTSUPP');
        assert.equal(Buffer.from(await calls.listxattr(a, 100)).toString(), 'user.open\0');
      },
      { xattrMap },
    );
  });
});

describe('capabilities of programs under another name', () => {
  it('are left to the guest, whose kernel takes them away when a program is written to', async () => {
    const agreed = async (options: Omit<HostFolderOptions, 'folder'>): Promise<boolean> => {
      let flags = 0;
      await sharing(async (calls) => {
        ({ flags } = await calls.connection.init({ flags: FUSE_INIT.HANDLE_KILLPRIV_V2 }));
      }, options);
      return (flags & FUSE_INIT.HANDLE_KILLPRIV_V2) !== 0;
    };
    assert.equal(await agreed({ xattr: true }), true);
    assert.equal(await agreed({ xattrMap: ':map:trusted.:user.virtiofs.:' }), true);
    assert.equal(await agreed({ xattrMap: ':map::user.virtiofs.:' }), false);
  });
});

describe('a session that is over', () => {
  it('leaves neither nodes nor handles to the next one', async () => {
    await sharing(async (calls) => {
      const a = await nodeOf(calls, 'a');
      const { fh } = await calls.open(a, LINUX_O.RDWR);
      await calls.connection.init();
      assert.equal(await outcome(calls.getattr(a)), 'ESTALE');
      assert.equal(await outcome(calls.read(a, fh, 0, new Uint8Array(4))), 'EBADF');
      assert.equal(await outcome(calls.getattr(ROOT)), 'ok');
      assert.equal(await outcome(calls.open(await nodeOf(calls, 'a'), LINUX_O.RDWR)), 'ok');
    });
  });
});

describe('a folder that is shared for reading', () => {
  it('is not changed by any request', async () => {
    await sharing(
      async (calls, folder) => {
        const a = await nodeOf(calls, 'a');
        const changing = { ...requestsOfNode(calls, ROOT), ...changesOf(calls, a) };
        const reading = ['lookup', 'dots', 'getattr', 'readlink', 'opendir', 'access'];
        reading.push('getxattr', 'listxattr', 'open');
        for (const what of reading) Reflect.deleteProperty(changing, what);
        await expectEach(changing, 'EROFS', 'of a folder for reading');
        const { fh } = await calls.open(a, LINUX_O.RDONLY);
        const { write, fallocate } = requestsOfFile(calls, a, fh);
        await expectEach({ write, fallocate }, 'EBADF', 'by a handle for reading');
        assert.deepEqual(readdirSync(folder).sort(), ['a', 'b', 'd']);
        assert.equal(readFileSync(join(folder, 'a'), 'utf8'), 'content of a');
      },
      { readOnly: true, xattr: true },
    );
  });
});

function changesOf(calls: FuseCalls, file: number): Record<string, () => Promise<unknown>> {
  return {
    openToWrite: () => calls.open(file, LINUX_O.WRONLY),
    openToCut: () => calls.open(file, LINUX_O.RDONLY | LINUX_O.TRUNC),
    setSize: () => calls.setattr(file, { size: 0 }),
    setMode: () => calls.setattr(file, { mode: 0 }),
    linkFile: () => calls.link(file, ROOT, 'new'),
    createOver: () => calls.create(ROOT, 'a', RDWR_CREATE | LINUX_O.TRUNC, 0o600),
  };
}
