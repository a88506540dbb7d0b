/**
 * Data, attributes and locks of files in a shared folder.
 *
 * @module
 */
import assert from 'node:assert/strict';
import {
  appendFileSync,
  chmodSync,
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  readdirSync,
  readlinkSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import {
  FATTR,
  FUSE_ATTR_OUT,
  FUSE_INIT,
  FUSE_INIT2,
  FUSE_OPCODE,
  FUSE_SETATTR_IN,
  FUSE_STATX,
  FUSE_STATX_IN,
  FUSE_STATX_MASK,
  FUSE_STATX_OUT,
  LINUX_E,
} from '../../../fuse/index.ts';
import { LOCK_OP, flockFd, host, linuxErrno } from '../../../sys/index.ts';
import { withSharedFolder } from '../../../testing/index.ts';

const MIB = 2 ** 20;
const native = host().mode === 'native';

function pattern(bytes: number): Buffer {
  const data = Buffer.alloc(bytes);
  for (let i = 0; i < bytes; i += 4) data.writeUInt32LE((i * 2_654_435_761) >>> 0, i);
  return data;
}

test('megabytes are the same on both sides, whichever one wrote them', () =>
  withSharedFolder({ cache: 'never' }, async ({ fs, folder }) => {
    const data = pattern(5 * MIB + 12);
    await fs.writeFile('/f', data);
    assert.ok(readFileSync(join(folder, 'f')).equals(data));
    writeFileSync(join(folder, 'g'), data.subarray(8));
    assert.ok((await fs.readFile('/g')).equals(data.subarray(8)));
  }));

test('reads and writes at any offset, past the end and beyond 10 GiB', () =>
  withSharedFolder({ cache: 'never' }, async ({ fs, folder }) => {
    const far = 10 * 2 ** 30 + 3;
    const file = await fs.open('/f', 'w+');
    assert.equal(await written(file.write(Buffer.from('begin'), 0, 5, 1)), 5);
    assert.equal(await written(file.write(Buffer.from('end'), 0, 3, far)), 3);
    const bytes = Buffer.alloc(10, 0x78);
    assert.equal((await file.read(bytes, 0, 10, far - 2)).bytesRead, 5);
    assert.deepEqual(bytes.subarray(0, 5), Buffer.from('\0\0end'));
    assert.equal((await file.read(bytes, 0, 10, far + 3)).bytesRead, 0);
    assert.equal((await file.stat()).size, far + 3);
    await file.close();
    const { size, blocks } = statSync(join(folder, 'f'));
    assert.equal(size, far + 3);
    assert.ok(blocks * 512 < MIB, 'it is sparse');
  }));

test(
  'files are opened from a descriptor of /proc/self/fd, which the folder gives back',
  { skip: !native || process.platform !== 'linux' },
  async () => {
    const held = (): number =>
      linksOfThisProcess().filter((to) => /^\/proc\/\d+\/fd$/.test(to)).length;
    const before = held();
    await withSharedFolder({ cache: 'never' }, async ({ fs, folder }) => {
      writeFileSync(join(folder, 'f'), 'text');
      assert.equal(await fs.readFile('/f', 'utf8'), 'text');
      assert.equal(held(), before + 1);
    });
    assert.equal(held(), before);
  },
);

function linksOfThisProcess(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      return []; // the one by which they were listed
    }
  });
}

async function written(write: Promise<{ bytesWritten: number }>): Promise<number> {
  return (await write).bytesWritten;
}

test('appending goes to the end, also when the host has appended meanwhile', () =>
  withSharedFolder({ cache: 'never' }, async ({ fs, folder }) => {
    await fs.writeFile('/log', 'one ');
    const file = await fs.open('/log', 'a');
    await file.writeFile('two ');
    appendFileSync(join(folder, 'log'), 'host ');
    await file.writeFile('three');
    await file.close();
    assert.equal(readFileSync(join(folder, 'log'), 'utf8'), 'one two host three');
  }));

test('a file that is opened to be truncated is empty', () =>
  withSharedFolder({ cache: 'never' }, async ({ fs, folder }) => {
    writeFileSync(join(folder, 'f'), 'content');
    await (await fs.open('/f', 'w')).close();
    assert.equal(statSync(join(folder, 'f')).size, 0);
    await fs.writeFile('/f', 'longer');
    await fs.truncate('/f', 3);
    assert.equal(readFileSync(join(folder, 'f'), 'utf8'), 'lon');
    await fs.truncate('/f', 5);
    assert.equal(readFileSync(join(folder, 'f'), 'latin1'), 'lon\0\0');
  }));

test('modes are exactly those of the guest, and times are kept to the nanosecond', () =>
  withSharedFolder({ cache: 'never', client: { umask: 0 } }, async ({ fs, folder }) => {
    await fs.writeFile('/f', '', { mode: 0o666 });
    await fs.mkdir('/d', { mode: 0o1777 });
    assert.equal(statSync(join(folder, 'f')).mode & 0o7777, 0o666);
    assert.equal(statSync(join(folder, 'd')).mode & 0o7777, 0o1777);
    await fs.chmod('/f', 0o4751);
    assert.equal(statSync(join(folder, 'f')).mode & 0o7777, 0o4751);
    assert.equal((await fs.stat('/f')).mode & 0o7777, 0o4751);
    await fs.utimes('/f', -1.5, 1_234_567_890.25);
    const { mtimeNs, atimeNs } = statSync(join(folder, 'f'), { bigint: true });
    assert.equal(mtimeNs, 1_234_567_890_250_000_000n);
    assert.equal(atimeNs, -1_500_000_000n);
    utimesSync(join(folder, 'd'), 5, 6.5);
    assert.equal((await fs.stat('/d')).mtimeMs, 6500);
  }));

test(
  'holes are found, and ranges are allocated and given back',
  { skip: !native && 'not in POSIX' },
  () =>
    withSharedFolder({ cache: 'never' }, async ({ fs, folder }) => {
      const file = await fs.open('/f', 'w+');
      await file.write(Buffer.alloc(4096, 1), 0, 4096, MIB);
      await file.truncate(4 * MIB);
      assert.equal(await file.seekData(0), MIB);
      assert.equal(await file.seekHole(MIB), MIB + 4096);
      assert.equal(await file.seekData(MIB + 4096), null);
      await file.allocate(0, 8 * MIB);
      assert.equal(statSync(join(folder, 'f')).size, 8 * MIB);
      assert.ok(statSync(join(folder, 'f')).blocks * 512 >= 8 * MIB);
      await file.close();
    }),
);

test('a copy within the host needs no data of the guest', { skip: !native && 'not in POSIX' }, () =>
  withSharedFolder({ cache: 'never' }, async ({ fs, folder }) => {
    const data = pattern(3 * MIB);
    writeFileSync(join(folder, 'a'), data);
    await fs.copyFile('/a', '/b');
    assert.ok(readFileSync(join(folder, 'b')).equals(data));
  }),
);

test('statfs tells of the host file system', () =>
  withSharedFolder({ cache: 'never' }, async ({ fs }) => {
    const { bsize, blocks, bfree } = await fs.statfs('/');
    assert.ok(bsize >= 512 && blocks > 0 && bfree <= blocks);
  }));

test('a flock of the guest excludes the host, and the other way round', () =>
  withSharedFolder({ cache: 'never', sharedLocks: true }, async ({ fs, folder }) => {
    await fs.writeFile('/f', '');
    const hostFd = openSync(join(folder, 'f'), 'r');
    const one = await fs.open('/f', 'r+');
    const two = await fs.open('/f', 'r+');
    await one.flock({ type: 'exclusive' });
    await assert.rejects(two.flock({ type: 'shared' }), { code: 'EAGAIN' });
    const refused = flockFd(hostFd, LOCK_OP.SHARED | LOCK_OP.NO_WAIT);
    assert.equal(linuxErrno(-refused), LINUX_E.AGAIN);
    await one.flock({ type: 'none' });
    assert.equal(flockFd(hostFd, LOCK_OP.EXCLUSIVE | LOCK_OP.NO_WAIT), 0);
    await assert.rejects(two.flock({ type: 'shared' }), { code: 'EAGAIN' });
    const waiting = two.flock({ type: 'shared', wait: true });
    await sleep(50);
    assert.equal(flockFd(hostFd, LOCK_OP.UNLOCK), 0);
    await waiting;
    closeSync(hostFd);
    await one.close();
    await two.close();
  }));

test('who waits for a lock gets it when it is given up, or is interrupted', () =>
  withSharedFolder({ cache: 'never', sharedLocks: true }, async ({ fs }) => {
    await fs.writeFile('/f', '');
    const one = await fs.open('/f', 'r+');
    const two = await fs.open('/f', 'r+');
    const three = await fs.open('/f', 'r+');
    await one.flock({ type: 'exclusive' });
    const abort = new AbortController();
    const waiting = two.flock({ type: 'exclusive', wait: true });
    const aborted = three.flock({ type: 'exclusive', wait: true, signal: abort.signal });
    const outcome = assert.rejects(aborted);
    await sleep(20);
    abort.abort();
    await outcome;
    await one.close(); // its lock goes with it
    await waiting;
    await two.close();
    await three.close();
  }));

test(
  'POSIX locks belong to their owner and range, and go when he closes the file',
  { skip: !native && 'the guest keeps them itself' },
  () =>
    withSharedFolder({ cache: 'never', sharedLocks: true }, async ({ fs }) => {
      await fs.writeFile('/f', 'x'.repeat(100));
      const other = fs.as({ uid: 0, gid: 0, pid: 77 });
      const mine = await fs.open('/f', 'r+');
      const his = await other.open('/f', 'r+');
      await mine.lock({ type: 'exclusive', start: 10, length: 10 });
      await his.lock({ type: 'exclusive', start: 20, length: 10 });
      await assert.rejects(his.lock({ type: 'shared', start: 15, length: 1 }), { code: 'EAGAIN' });
      const found = await his.getLock('exclusive', { start: 0, length: 100 });
      const { pid } = fs.connection.identity;
      assert.deepEqual(found, { type: 'exclusive', start: 10, length: 10, pid });
      assert.equal(await mine.getLock('exclusive', { start: 0, length: 20 }), null);
      const waiting = his.lock({ type: 'exclusive', start: 0, length: 20, wait: true });
      await sleep(20);
      await mine.close();
      await waiting;
      await his.close();
    }),
);

test("locks are the host's only when that was asked for", async () => {
  const locks = FUSE_INIT.FLOCK_LOCKS | FUSE_INIT.POSIX_LOCKS;
  const agreed = async (sharedLocks: boolean): Promise<number> => {
    let flags = 0;
    await withSharedFolder({ sharedLocks }, ({ fs }) => {
      flags = fs.connection.agreement.flags & locks;
      return Promise.resolve();
    });
    return flags;
  };
  assert.equal(await agreed(false), 0);
  assert.equal(await agreed(true), native ? locks : FUSE_INIT.FLOCK_LOCKS);
});

test('setuid goes when the file is written, as the guest asks', () =>
  withSharedFolder({ cache: 'never' }, async ({ fs, folder }) => {
    await fs.writeFile('/f', 'x');
    chmodSync(join(folder, 'f'), 0o6755);
    const { nodeId } = (await fs.calls.lookup(1, 'f')) ?? assert.fail('it is there');
    const args = Buffer.alloc(FUSE_SETATTR_IN.SIZE);
    args.writeUInt32LE(FATTR.SIZE | FATTR.KILL_SUIDGID, FUSE_SETATTR_IN.valid);
    await fs.connection.request(FUSE_OPCODE.SETATTR, nodeId, {
      args,
      outBytes: FUSE_ATTR_OUT.SIZE,
    });
    assert.equal(statSync(join(folder, 'f')).mode & 0o7777, 0o755);
  }));

test('STATX tells what GETATTR does, and when a file was made where this host says', () =>
  withSharedFolder({ cache: 'never' }, async ({ fs, folder }) => {
    const statx = async (id: number): Promise<Buffer> => {
      const args = Buffer.alloc(FUSE_STATX_IN.SIZE);
      const outBytes = FUSE_STATX_OUT.SIZE;
      return Buffer.from(await fs.connection.request(FUSE_OPCODE.STATX, id, { args, outBytes }));
    };
    await fs.writeFile('/f', 'hello');
    chmodSync(join(folder, 'f'), 0o4751);
    await fs.utimes('/f', 5_500_000_000n, -7_250_000_000n);
    const real = statSync(join(folder, 'f'), { bigint: true });
    const { nodeId } = (await fs.calls.lookup(1, 'f')) ?? assert.fail('it is there');
    const answer = (await statx(nodeId)).subarray(FUSE_STATX_OUT.stat);
    const at = FUSE_STATX;
    assert.equal(answer.length, at.SIZE);
    const time = (field: number): bigint =>
      answer.readBigInt64LE(field) * 1_000_000_000n + BigInt(answer.readUInt32LE(field + 8));
    const { BASIC_STATS, BTIME } = FUSE_STATX_MASK;
    const mask = answer.readUInt32LE(at.mask);
    assert.equal(mask & BASIC_STATS, BASIC_STATS);
    assert.equal(answer.readUInt16LE(at.mode), Number(real.mode));
    assert.equal(answer.readBigUInt64LE(at.ino), real.ino);
    assert.equal(answer.readBigUInt64LE(at.size), 5n);
    assert.equal(answer.readBigUInt64LE(at.blocks), real.blocks);
    assert.equal(answer.readUInt32LE(at.nlink), 1);
    assert.equal(answer.readUInt32LE(at.uid), Number(real.uid));
    assert.equal(answer.readUInt32LE(at.gid), Number(real.gid));
    const times = [time(at.atime), time(at.mtime), time(at.ctime)];
    assert.deepEqual(times, [5_500_000_000n, -7_250_000_000n, real.ctimeNs]);
    assert.equal((mask & BTIME) !== 0, native, 'stat(2) does not tell it');
    if (native) assert.equal(time(at.btime), real.birthtimeNs);
    await assert.rejects(statx(0x1234), { code: 'ESTALE' });
  }));

test('a guest with idmapped mounts says who asks only when something is made', () => {
  const client = { init: { flags2: FUSE_INIT2.ALLOW_IDMAP } };
  return withSharedFolder({ cache: 'never', client }, async ({ fs, folder }) => {
    assert.equal(fs.connection.agreement.flags2, FUSE_INIT2.ALLOW_IDMAP);
    await fs.writeFile('/f', 'one');
    const nobody = fs.as({ uid: 0xffff_ffff, gid: 0xffff_ffff, pid: 1 });
    const file = await nobody.open('/f', 'r+');
    await file.write('two', 0, 3, 0);
    await file.chmod(0o640);
    await file.close();
    await nobody.rename('/f', '/g');
    await nobody.link('/g', '/h');
    await nobody.unlink('/g');
    assert.deepEqual(await nobody.readdir('/'), ['h']);
    assert.equal(readFileSync(join(folder, 'h'), 'utf8'), 'two');
    assert.equal(statSync(join(folder, 'h')).mode & 0o777, 0o640);
  });
});

test('few descriptors are enough for many folders and files', () =>
  withSharedFolder(
    { cache: 'never', fdLimit: 100, client: { idleNodesMax: 20_000 } },
    async ({ fs, folder }) => {
      const folders = 300;
      for (let i = 0; i < folders; i++) {
        mkdirSync(join(folder, `d${String(i)}`));
        for (let j = 0; j < 10; j++) {
          writeFileSync(
            join(folder, `d${String(i)}`, `f${String(j)}`),
            `${String(i)}.${String(j)}`,
          );
        }
      }
      for (let i = 0; i < folders; i++) await fs.readdir(`/d${String(i)}`, { withStats: true });
      for (let i = 0; i < folders; i += 7) {
        const path = `/d${String(i)}/f3`;
        assert.equal(await fs.readFile(path, 'utf8'), `${String(i)}.3`);
        await fs.chmod(path, 0o600);
      }
      const fd = openSync('/dev/null', 'r');
      closeSync(fd);
      assert.ok(fd < 200, `the next descriptor is ${String(fd)}`);
    },
  ));

test('what is fsynced is read back by the host through another descriptor', () =>
  withSharedFolder({ cache: 'never' }, async ({ fs, folder }) => {
    const file = await fs.open('/f', 'w');
    await file.writeFile('durable');
    await file.sync();
    await file.datasync();
    const fd = openSync(join(folder, 'f'), 'r');
    const bytes = Buffer.alloc(7);
    readSync(fd, bytes);
    closeSync(fd);
    assert.equal(bytes.toString(), 'durable');
    await file.close();
    truncateSync(join(folder, 'f'), 2);
    assert.equal(await fs.readFile('/f', 'utf8'), 'du');
  }));
