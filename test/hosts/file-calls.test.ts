/**
 * The file calls of macOS, FreeBSD and OpenBSD, as the models of those hosts play them on Linux: a
 * child reads through that host's table.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { PLAYED_HOSTS, compileModel, modelEnvironment, whyNoModels } from './model.ts';
import type { PlayedHost } from './model.ts';

const TIME_LIMIT_MS = 60_000;
const ENDING = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const DOOR = new URL(`../../src/sys/index.${ENDING}`, import.meta.url).href;
const FILES = 300;
const skip = whyNoModels();
const libraries = new Map<PlayedHost, string>();

const folder = mkdtempSync(join(tmpdir(), 'vhu-files-'));
after(() => rmSync(folder, { recursive: true }));

/** What the child has before it: names by address, Linux's own answers by Node, and a folder. */
const START = `
import { lstatSync, readdirSync, statfsSync, writeFileSync } from 'node:fs';
const sys = await import(${JSON.stringify(DOOR)});
const cwd = sys.openFile('.', { writable: false });
const name = (text) => {
  const block = new sys.NativeBlock(text.length + 1);
  block.bytes.set(new TextEncoder().encode(text));
  return block.address;
};
const buffer = new sys.NativeBlock(4096);
const text = (bytes) => new TextDecoder().decode(buffer.bytes.subarray(0, bytes));
const stat = new sys.StatBlock();
const linux = (result) => (result < 0 ? -sys.linuxErrno(-result) : result);
`;

/** What statements print in a child that takes this host for `os`. */
function answer(os: PlayedHost, source: string): unknown {
  const child = join(folder, `${os}.mjs`);
  writeFileSync(child, START + source);
  const tree = join(folder, `tree-${os}`);
  rmSync(tree, { recursive: true, force: true });
  mkdirSync(tree);
  for (let i = 0; i < FILES; i++)
    writeFileSync(join(tree, `f${String(i)}${'x'.repeat(i % 40)}`), '');
  const { status, stdout, stderr } = spawnSync(process.execPath, [child], {
    cwd: tree,
    env: modelEnvironment({ os, library: libraries.get(os) ?? '' }),
    encoding: 'utf8',
    timeout: TIME_LIMIT_MS,
  });
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

describe('the file calls of other hosts', { skip }, () => {
  before(() => {
    for (const os of PLAYED_HOSTS) libraries.set(os, compileModel(folder, os));
  });

  for (const os of PLAYED_HOSTS) {
    it(`${os}: what a file is comes out of its own structure`, () => {
      const result = answer(
        os,
        `const at = (text) => sys.statAt(cwd, name(text), stat);
         const results = ['f0', 'nothing'].map(at);
         const got = (real) => [stat.ino === Number(real.ino), stat.mode === Number(real.mode),
           stat.nlink === Number(real.nlink), stat.uid === Number(real.uid),
           stat.size === Number(real.size),
           stat.blocks === Number(real.blocks), stat.blockBytes === Number(real.blksize),
           BigInt(stat.mtimeSec) * 1000000000n + BigInt(stat.mtimeNsec) === real.mtimeNs,
           BigInt(stat.ctimeSec) * 1000000000n + BigInt(stat.ctimeNsec) === real.ctimeNs,
           BigInt(stat.atimeSec) * 1000000000n + BigInt(stat.atimeNsec) === real.atimeNs,
           stat.mountId === stat.dev && stat.dev > 0];
         sys.statAt(cwd, name('f0'), stat);
         const file = got(lstatSync('f0', { bigint: true }));
         const device = sys.openFile('/dev/null', { writable: false });
         sys.statFd(device, stat);
         const numbers = [stat.rdevMajor, stat.rdevMinor, stat.mode >> 12];
         const space = new sys.StatFsBlock();
         sys.statFs(cwd, space);
         const real = statfsSync('.');
         const fs = [space.bsize === real.bsize, space.frsize === real.bsize,
           space.blocks === real.blocks, space.files === real.files,
           Math.abs(space.ffree - real.ffree) < 100_000, // others make files meanwhile
           space.namelen, space.bavail >= 0];
         console.log(JSON.stringify({ results, file, numbers, fs }));`,
      );
      assert.deepEqual(result, {
        results: [0, -2],
        file: Array.from({ length: 11 }, () => true),
        numbers: [1, 3, 2],
        fs: [true, true, true, true, true, 255, true],
      });
    });

    it(`${os}: its directories are read, and gone on with at any entry`, () => {
      const result = answer(
        os,
        `const cursor = new sys.DirCursor();
         const seen = [];
         const block = (fd) => sys.readDirBlock(fd, buffer.address, 4096);
         const load = (count, list) => {
           for (let at = 0; at < count;) {
             at = cursor.load(buffer.view, at, buffer.address);
             const { nameAt, nameBytes, offsetLow, offsetHigh, type, ino } = cursor;
             const bytes = buffer.bytes.subarray(nameAt, nameAt + nameBytes);
             const name = new TextDecoder().decode(bytes);
             list.push({ name, offsetLow, offsetHigh, type, ino });
           }
         };
         const fd = sys.openAt(cwd, name('.'), sys.O.O_RDONLY | sys.O.O_DIRECTORY, 0);
         for (let count = block(fd); count > 0; count = block(fd)) load(count, seen);
         const names = seen.map((each) => each.name).filter((each) => !/^\\.+$/.test(each)).sort();
         const same = JSON.stringify(names) === JSON.stringify(readdirSync('.').sort());
         const after = [200, 7, 250, 0].map((i) => {
           const { offsetLow, offsetHigh } = seen[i];
           const result = sys.seekDir(fd, offsetLow, offsetHigh);
           const next = [];
           load(block(fd), next);
           return result === 0 && next[0].name === seen[i + 1].name;
         });
         const { type, ino } = seen.find((each) => each.name === 'f0');
         console.log(JSON.stringify({ same, after, type, ino: ino === lstatSync('f0').ino }));`,
      );
      const after = [true, true, true, true];
      assert.deepEqual(result, { same: true, after, type: 8, ino: true });
    });

    it(`${os}: its flags of open and of *at calls are used, and its errors are Linux’s`, () => {
      const result = answer(
        os,
        `const out = {};
         const { O } = sys;
         const flags = sys.hostOpenFlags(0o2 | 0o100 | 0o200 | 0o2000); // RDWR CREAT EXCL APPEND
         const fd = sys.openAt(cwd, name('new'), flags, 0o600);
         out.exists = sys.openAt(cwd, name('new'), flags, 0o600);
         sys.symlinkAt(name('new'), cwd, name('link'));
         out.link = linux(sys.openAt(cwd, name('link'), O.O_RDONLY, 0));
         out.dir = [sys.mkdirAt(cwd, name('d'), 0o700),
           sys.unlinkAt(cwd, name('d')) < 0,
           sys.rmdirAt(cwd, name('d'))];
         out.plain = sys.mknodAt(cwd, name('plain'), 0o100640, 0, 0);
         out.fifo = [sys.mknodAt(cwd, name('fifo'), 0o010640, 0, 0),
           lstatSync('fifo').isFIFO()];
         out.times = [sys.utimensAt(cwd, name('new'), 1000, 5, 2000, 6),
           sys.utimensFd(fd, 0, sys.UTIME_OMIT, 0, sys.UTIME_NOW)];
         const { atimeMs, mtimeMs } = lstatSync('new');
         out.time = [Math.floor(atimeMs), Math.abs(mtimeMs - Date.now()) < 60000];
         out.owner = sys.chownAt(cwd, name('link'), -1, -1);
         out.missing = [sys.reopenFd(fd, 0),
           sys.linkFd(fd, cwd, name('x'))];
         out.missing = out.missing.map((each) => sys.linuxErrno(-each));
         out.places = [sys.hasPathFds, sys.hasReopen];
         console.log(JSON.stringify(out));`,
      );
      assert.deepEqual(result, {
        exists: -17,
        link: -40,
        dir: [0, true, 0],
        plain: 0,
        fifo: [0, true],
        times: [0, 0],
        time: [1000_000, true],
        owner: 0,
        missing: [38, 38],
        places: [false, false],
      });
    });
  }

  it('macOS: renames with flags, attributes with six arguments, locks of open files', () => {
    const result = answer(
      'darwin',
      `const out = {};
       const to = name('f100' + 'x'.repeat(20));
       const move = (flags) => sys.renameAt(cwd, name('f0'), cwd, to, flags);
       out.rename = [1, 2, 4].map(move);
       const fd = sys.openFile('f1x', { writable: true });
       buffer.bytes.set(new TextEncoder().encode('value'));
       const a = name('user.a');
       const set = (flags) => sys.setXattrFd(fd, a, buffer.address, 5, flags);
       const before = sys.getXattrFd(fd, name('user.a'), 0, 0);
       out.attribute = [sys.linuxErrno(-before), set(2) < 0, set(1), set(1), set(2)];
       out.value = text(sys.getXattrFd(fd, name('user.a'), buffer.address, 100));
       out.list = text(sys.listXattrFd(fd, buffer.address, 100));
       out.removed = sys.removeXattrFd(fd, name('user.a'));
       const other = sys.openFile('f1x', { writable: true });
       out.lock = [sys.ofdLock(fd, 1, 10, 20),
         linux(sys.ofdLock(other, 0, 15, 1))];
       const lock = Object.assign(new sys.LockBlock(), { type: 0, start: 0, len: 0 });
       out.holder = [sys.ofdGetLock(other, lock), lock.type, lock.start, lock.len];
       out.folds = sys.isCaseInsensitive(cwd);
       console.log(JSON.stringify(out));`,
    );
    assert.deepEqual(result, {
      rename: [-17, 0, -22],
      attribute: [61, true, 0, -17, 0],
      value: 'value',
      list: 'user.a\0',
      removed: 0,
      lock: [0, -11],
      holder: [0, 1, 10, 20],
      folds: true,
    });
  });

  it('FreeBSD: attributes of the namespace "user" have Linux’s prefix, others are denied', () => {
    const result = answer(
      'freebsd',
      `const out = {};
       const fd = sys.openFile('f1x', { writable: true });
       buffer.bytes.set(new TextEncoder().encode('value'));
       const set = (each, flags) =>
         sys.setXattrFd(fd, name(each), buffer.address, 5, flags);
       const get = (each, bytes) =>
         sys.getXattrFd(fd, name(each), buffer.address, bytes);
       out.missing = [sys.linuxErrno(-get('user.a', 0)), sys.linuxErrno(-set('user.a', 2))];
       out.set = [set('user.a', 1), set('user.a', 1), set('user.a', 2), set('user.bc', 0),
         set('user.a', 4)];
       out.sizes = [get('user.a', 0), get('user.a', 4), get('user.a', 100)];
       out.value = text(5);
       const bytes = sys.listXattrFd(fd, buffer.address, 100);
       out.list = text(bytes).split('\\0').sort();
       out.listSizes = [sys.listXattrFd(fd, 0, 0) === bytes,
         sys.listXattrFd(fd, buffer.address, 8)];
       out.other = [set('security.x', 0), get('trusted.x', 0)].map((each) => sys.linuxErrno(-each));
       const remove = () => sys.linuxErrno(-sys.removeXattrFd(fd, name('user.a')));
       out.removed = [remove(), remove()];
       console.log(JSON.stringify(out));`,
    );
    assert.deepEqual(result, {
      missing: [61, 61],
      set: [0, -17, 0, 0, -22],
      sizes: [5, -34, 5],
      value: 'value',
      list: ['', 'user.a', 'user.bc'],
      listSizes: [true, -34],
      other: [95, 95],
      removed: [0, 61],
    });
  });

  it('OpenBSD: has no attributes', () => {
    const result = answer(
      'openbsd',
      `console.log(JSON.stringify([sys.getXattrFd(cwd, name('user.a'), 0, 0),
         sys.setXattrFd(cwd, name('user.a'), buffer.address, 1, 0), sys.listXattrFd(cwd, 0, 0),
         sys.removeXattrFd(cwd, name('user.a')), sys.seekData(cwd, 0, true)].map(linux)));`,
    );
    assert.deepEqual(result, [-95, -95, -95, -95, -22]);
  });
});
