/**
 * Names in directories: each call on a real directory, in the native and in posix mode.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { lstatSync, mkdirSync, readdirSync, readlinkSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import {
  ERRNO,
  NativeBlock,
  O,
  RENAME,
  StatBlock,
  StatFsBlock,
  UTIME_NOW,
  UTIME_OMIT,
  chmodAt,
  chmodFd,
  chownAt,
  chownFd,
  closeFd,
  hasPathFds,
  hasReopen,
  holdProcFds,
  host,
  linkAt,
  linkFd,
  makeDevice,
  mkdirAt,
  mknodAt,
  openAt,
  openFdCount,
  readlinkAt,
  readlinkFd,
  releaseProcFds,
  renameAt,
  reopenFd,
  rmdirAt,
  statAt,
  statFd,
  statFs,
  symlinkAt,
  unlinkAt,
  utimensAt,
  utimensFd,
} from './index.ts';

const linux = process.platform === 'linux';
const native = linux && host().mode === 'native';
const root = process.getuid?.() === 0;
const { EEXIST, EINVAL, ELOOP, ENOENT, ENOSYS, ENOTDIR, ENOTEMPTY, EOPNOTSUPP } = ERRNO as Record<
  string,
  number
> as {
  [
    name in
      'EEXIST' | 'EINVAL' | 'ELOOP' | 'ENOENT' | 'ENOSYS' | 'ENOTDIR' | 'ENOTEMPTY' | 'EOPNOTSUPP'
  ]: number;
};

let folder = '';
let dir = -1;
const names: NativeBlock[] = [];
const stat = new StatBlock();
const buffer = new NativeBlock(256);

/** The address of a name; kept until the test ends. */
function name(text: string): number {
  const bytes = new TextEncoder().encode(text);
  const block = new NativeBlock(bytes.length + 1);
  block.bytes.set(bytes);
  names.push(block);
  return block.address;
}

/** An fd of O_PATH, for the tests that are Linux's only. */
function pathFd(text: string): number {
  const fd = openAt(dir, name(text), O.O_PATH, 0);
  assert.ok(fd >= 0, text);
  return fd;
}

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhu-tree-'));
  dir = openSync(folder, 'r');
});
beforeEach(() => {
  for (const each of readdirSync(folder)) rmSync(join(folder, each), { recursive: true });
  writeFileSync(join(folder, 'file'), 'content');
  mkdirSync(join(folder, 'sub'));
  writeFileSync(join(folder, 'sub', 'inner'), 'inside');
  symlinkSync('file', join(folder, 'link'));
});
after(() => {
  closeSync(dir);
  rmSync(folder, { recursive: true });
  for (const block of [...names, buffer]) block.free();
  stat.free();
});

describe('what a file is', () => {
  /** Compares what we read with what Node reads. */
  function compare(text: string): void {
    const real = lstatSync(join(folder, text), { bigint: true });
    const got = [stat.ino, stat.dev, stat.mode, stat.nlink, stat.uid, stat.gid, stat.size];
    const { ino, dev, mode, nlink, uid, gid, size } = real;
    assert.deepEqual(got, [ino, dev, mode, nlink, uid, gid, size].map(Number));
    assert.equal(BigInt(stat.inoLow) + (BigInt(stat.inoHigh) << 32n), real.ino);
    assert.deepEqual([stat.blocks, stat.blockBytes], [real.blocks, real.blksize].map(Number));
    const times = [
      [stat.atimeSec, stat.atimeNsec, real.atimeNs],
      [stat.mtimeSec, stat.mtimeNsec, real.mtimeNs],
      [stat.ctimeSec, stat.ctimeNsec, real.ctimeNs],
    ] as const;
    for (const [sec, nsec, real] of times) {
      assert.equal(BigInt(sec) * 1_000_000_000n + BigInt(nsec), real);
    }
  }

  it('is the same by name and by fd as Node says, for files, folders and links', () => {
    for (const text of ['file', 'sub', 'link']) {
      assert.equal(statAt(dir, name(text), stat), 0);
      compare(text);
    }
    const fd = openAt(dir, name('file'), O.O_RDONLY, 0);
    stat.ino = 0;
    assert.equal(statFd(fd, stat), 0);
    compare('file');
    closeFd(fd);
  });

  it('has numbers of a device', () => {
    const device = openSync('/dev/null', 'r');
    assert.equal(statFd(device, stat), 0);
    closeSync(device);
    const rdev = statSync('/dev/null').rdev;
    assert.equal(makeDevice(stat.rdevMajor, stat.rdevMinor), rdev);
    if (linux) assert.deepEqual([stat.rdevMajor, stat.rdevMinor], [1, 3]);
  });

  it('has the mount where the host tells', () => {
    assert.equal(statFd(dir, stat), 0);
    const fd = native ? openSync('/proc/self', 'r') : -1;
    if (!native) {
      assert.equal(stat.mountId, stat.dev);
      return;
    }
    const here = stat.mountId;
    const info = readFileSync('/proc/self/mountinfo', 'utf8');
    assert.match(info, new RegExp(`^${String(here)} `, 'm'));
    assert.equal(statFd(fd, stat), 0);
    assert.notEqual(stat.mountId, here);
    closeSync(fd);
  });

  it('has times before 1970, and times beyond 2038', () => {
    for (const sec of [-1, -5_000_000_000, 0, 4_000_000_000]) {
      const times = [sec, 123_456_789, sec, 987_654_321] as const;
      const set = utimensAt(dir, name('file'), ...times);
      assert.equal(set, 0);
      assert.equal(statAt(dir, name('file'), stat), 0);
      const low = -(2 ** 31); // ext4 with small inodes keeps 32 bits
      if (sec < low && stat.mtimeSec !== sec) continue;
      assert.deepEqual([stat.atimeSec, stat.atimeNsec], [sec, 123_456_789]);
      assert.deepEqual([stat.mtimeSec, stat.mtimeNsec], [sec, 987_654_321]);
    }
  });

  it('is an error number for what is not there', () => {
    assert.equal(statAt(dir, name('nothing'), stat), -ENOENT);
    assert.equal(statAt(dir, name('file/x'), stat), -ENOTDIR);
    assert.equal(statFd(99_999, stat), -(ERRNO.EBADF as number));
  });

  it('tells how full the file system is', () => {
    const fs = new StatFsBlock();
    assert.equal(statFs(dir, fs), 0);
    assert.ok(fs.blocks >= fs.bfree && fs.bfree >= fs.bavail && fs.bavail >= 0);
    assert.ok(fs.files >= fs.ffree);
    assert.deepEqual([fs.namelen, fs.frsize > 0, fs.bsize > 0], [255, true, true]);
    assert.equal(statFs(99_999, fs), -(ERRNO.EBADF as number));
    fs.free();
  });
});

describe('opening', () => {
  it('never follows a symbolic link, and closes on exec', () => {
    assert.equal(openAt(dir, name('link'), O.O_RDONLY, 0), -ELOOP);
    assert.equal(openAt(dir, name('nothing'), O.O_RDONLY, 0), -ENOENT);
    const fd = openAt(dir, name('new'), O.O_CREAT | O.O_EXCL | O.O_RDWR, 0o640);
    assert.ok(fd >= 0);
    assert.equal(statSync(join(folder, 'new')).mode & 0o700, 0o600);
    if (native) {
      const info = readFileSync(`/proc/self/fdinfo/${String(fd)}`, 'utf8');
      assert.equal(
        Number(/flags:\s+(\d+)/.exec(info)?.[1])
          .toString()
          .at(-7),
        '2',
        info,
      );
    }
    closeFd(fd);
    assert.equal(openAt(dir, name('new'), O.O_CREAT | O.O_EXCL | O.O_RDWR, 0o640), -EEXIST);
  });

  it('again gives the same file under other flags, and also from an fd of O_PATH', () => {
    const plain = openAt(dir, name('file'), O.O_RDONLY, 0);
    if (!native) {
      assert.deepEqual([hasPathFds, hasReopen], [false, false]);
      assert.equal(reopenFd(plain, O.O_RDWR), -ENOSYS);
      closeFd(plain);
      return;
    }
    const before = openFdCount();
    for (const held of [0, 1, 2]) {
      if (held > 0) holdProcFds();
      assert.equal(openFdCount(), before + Math.min(held, 1), 'one fd for all who hold it');
      for (const from of [plain, pathFd('file'), pathFd('sub')]) {
        statFd(from, stat);
        const { ino } = stat;
        const fd = reopenFd(from, (stat.mode & 0o170000) === 0o040000 ? O.O_DIRECTORY : O.O_RDWR);
        assert.ok(fd >= 0, String(fd));
        statFd(fd, stat);
        assert.equal(stat.ino, ino);
        closeFd(fd);
        if (from !== plain) closeFd(from);
      }
      const link = pathFd('link');
      assert.equal(reopenFd(link, O.O_RDONLY), -ELOOP);
      closeFd(link);
    }
    releaseProcFds();
    assert.equal(reopenFd(99_999, O.O_RDONLY), -ENOENT);
    assert.equal(openFdCount(), before + 1);
    releaseProcFds();
    assert.equal(openFdCount(), before);
    closeFd(plain);
  });

  it('builds the path of an fd of any number of digits', { skip: !hasReopen }, () => {
    for (const fd of [0, 9, 10, 99, 100, 65_535, 2_147_483_647]) {
      const result = reopenFd(fd, O.O_DIRECTORY);
      assert.ok(result < 0 || fd < 100, String(fd));
      if (result >= 0) closeFd(result);
    }
  });
});

describe('making and removing', () => {
  it('folders, FIFOs, empty files and symbolic links', () => {
    assert.equal(mkdirAt(dir, name('d'), 0o750), 0);
    assert.equal(mkdirAt(dir, name('d'), 0o750), -EEXIST);
    assert.equal(mknodAt(dir, name('pipe'), 0o010600, 0, 0), 0);
    assert.ok(lstatSync(join(folder, 'pipe')).isFIFO());
    assert.equal(mknodAt(dir, name('plain'), 0o100600, 0, 0), 0);
    assert.equal(mknodAt(dir, name('plain'), 0o100600, 0, 0), -EEXIST);
    assert.equal(lstatSync(join(folder, 'plain')).mode, 0o100600);
    assert.equal(symlinkAt(name('some/where'), dir, name('s')), 0);
    assert.equal(readlinkSync(join(folder, 's')), 'some/where');
    assert.equal(rmdirAt(dir, name('sub')), -ENOTEMPTY);
    assert.equal(rmdirAt(dir, name('file')), -ENOTDIR);
    assert.equal(rmdirAt(dir, name('d')), 0);
    for (const each of ['pipe', 'plain', 's', 'file']) assert.equal(unlinkAt(dir, name(each)), 0);
    assert.equal(unlinkAt(dir, name('file')), -ENOENT);
    assert.deepEqual(readdirSync(folder).sort(), ['link', 'sub']);
  });

  it('device nodes with their numbers', { skip: !(native && root) }, (t) => {
    const result = mknodAt(dir, name('null'), 0o020600, 259, 70_000);
    if (result === -(ERRNO.EPERM as number)) {
      t.skip('this root may not make device nodes');
      return;
    }
    assert.equal(result, 0);
    assert.equal(statAt(dir, name('null'), stat), 0);
    assert.deepEqual([stat.rdevMajor, stat.rdevMinor, stat.mode], [259, 70_000, 0o020600]);
    assert.equal(lstatSync(join(folder, 'null')).rdev, makeDevice(259, 70_000));
  });

  it('hard links, of a symbolic link itself too', () => {
    assert.equal(linkAt(dir, name('file'), dir, name('hard')), 0);
    assert.equal(statSync(join(folder, 'hard')).nlink, 2);
    assert.equal(linkAt(dir, name('link'), dir, name('hardlink')), 0);
    assert.ok(lstatSync(join(folder, 'hardlink')).isSymbolicLink());
    const fd = native ? pathFd('file') : openAt(dir, name('file'), O.O_RDONLY, 0);
    const result = linkFd(fd, dir, name('third'));
    closeFd(fd);
    assert.equal(result, hasReopen ? 0 : -ENOSYS);
    assert.equal(statSync(join(folder, 'file')).nlink, hasReopen ? 3 : 2);
  });
});

describe('symbolic links', () => {
  it('say what they are, cut at the buffer', () => {
    assert.equal(readlinkAt(dir, name('link'), buffer.address, 256), 4);
    assert.equal(Buffer.from(buffer.bytes.subarray(0, 4)).toString(), 'file');
    assert.equal(readlinkAt(dir, name('link'), buffer.address, 2), 2);
    assert.equal(readlinkAt(dir, name('file'), buffer.address, 256), -EINVAL);
  });

  it('are read through an fd of O_PATH', { skip: !hasPathFds }, () => {
    const fd = pathFd('link');
    buffer.bytes.fill(0);
    assert.equal(readlinkFd(fd, buffer.address, 256), 4);
    assert.equal(Buffer.from(buffer.bytes.subarray(0, 4)).toString(), 'file');
    closeFd(fd);
  });
});

describe('renaming', () => {
  const text = (file: string): string => readFileSync(join(folder, file), 'utf8');

  it('replaces without flags', () => {
    const sub = openSync(join(folder, 'sub'), 'r');
    assert.equal(renameAt(dir, name('file'), sub, name('inner'), 0), 0);
    closeSync(sub);
    assert.equal(text('sub/inner'), 'content');
  });

  it('keeps what is there with NOREPLACE, and swaps with EXCHANGE, where the host can', () => {
    writeFileSync(join(folder, 'other'), 'two');
    const keep = renameAt(dir, name('file'), dir, name('other'), RENAME.NOREPLACE);
    const can = native || process.platform === 'darwin';
    assert.equal(keep, can ? -EEXIST : -EINVAL);
    assert.equal(text('other'), 'two');
    const swap = renameAt(dir, name('file'), dir, name('other'), RENAME.EXCHANGE);
    assert.equal(swap, can ? 0 : -EINVAL);
    assert.equal(text('file'), can ? 'two' : 'content');
    assert.equal(renameAt(dir, name('file'), dir, name('x'), 8), -EINVAL);
  });
});

describe('what a file says of itself', () => {
  it('permissions change, by name and by fd, and never through a symbolic link', () => {
    assert.equal(chmodAt(dir, name('file'), 0o4711), 0);
    assert.equal(statSync(join(folder, 'file')).mode, 0o104711);
    const link = chmodAt(dir, name('link'), 0o600);
    if (linux) assert.equal(link, -EOPNOTSUPP);
    assert.equal(statSync(join(folder, 'file')).mode, 0o104711);
    const fd = openAt(dir, name('file'), O.O_RDONLY, 0);
    assert.equal(chmodFd(fd, 0o600), 0);
    closeFd(fd);
    assert.equal(statSync(join(folder, 'file')).mode & 0o7777, 0o600);
    if (!hasReopen) return;
    const place = pathFd('file');
    assert.equal(chmodFd(place, 0o640), 0);
    closeFd(place);
    assert.equal(statSync(join(folder, 'file')).mode & 0o7777, 0o640);
  });

  it('owners change, and -1 leaves one as it is', { skip: !root }, () => {
    const owners = (file: string): number[] => {
      const { uid, gid } = lstatSync(join(folder, file));
      return [uid, gid];
    };
    assert.equal(chownAt(dir, name('file'), 1234, -1), 0);
    assert.equal(owners('file')[0], 1234);
    assert.equal(chownAt(dir, name('link'), 7, 8), 0);
    assert.deepEqual(owners('link'), [7, 8]);
    assert.equal(owners('file')[0], 1234, 'not through the link');
    const fd = openAt(dir, name('file'), O.O_RDONLY, 0);
    assert.equal(chownFd(fd, 0xffff_ffff, 4_000_000_000), 0);
    closeFd(fd);
    assert.deepEqual(owners('file'), [1234, 4_000_000_000]);
    if (!hasPathFds) return;
    const place = pathFd('link');
    assert.equal(chownFd(place, 9, 10), 0);
    closeFd(place);
    assert.deepEqual([owners('link'), owners('file')[0]], [[9, 10], 1234]);
  });

  it('times change by fd; one can be left as it is, and one can be now', () => {
    const fd = openAt(dir, name('file'), O.O_RDONLY, 0);
    assert.equal(utimensFd(fd, 1000, 1, 2000, 2), 0);
    assert.equal(utimensFd(fd, 0, UTIME_OMIT, 3000, 3), 0);
    assert.equal(statFd(fd, stat), 0);
    assert.deepEqual([stat.atimeSec, stat.atimeNsec], [1000, 1]);
    assert.deepEqual([stat.mtimeSec, stat.mtimeNsec], [3000, 3]);
    const nowSec = Date.now() / 1000;
    assert.equal(utimensFd(fd, 0, UTIME_NOW, 0, UTIME_OMIT), 0);
    assert.equal(statFd(fd, stat), 0);
    assert.ok(Math.abs(stat.atimeSec - nowSec) < 60);
    assert.equal(stat.mtimeSec, 3000);
    closeFd(fd);
    if (!hasPathFds) return;
    for (const each of ['file', 'link']) {
      const place = pathFd(each);
      assert.equal(utimensFd(place, 5000, 5, 6000, 6), 0);
      assert.equal(statFd(place, stat), 0);
      assert.deepEqual([stat.atimeSec, stat.mtimeSec, stat.mtimeNsec], [5000, 6000, 6]);
      closeFd(place);
    }
  });
});
