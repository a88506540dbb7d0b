/**
 * The tables of file calls: complete for every host, consistent in themselves, and equal to what
 * this host's own headers say.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { LINUX_ERRNO, LINUX_OPEN_FLAGS, SUPPORTED_HOSTS, abiOf } from './index.ts';
import type { DevicePiece, Field, FileAbi } from './index.ts';

const ABIS = new Map(
  SUPPORTED_HOSTS.map(({ os, arch }) => [`${os}-${arch}`, abiOf(os, arch)] as const),
);

function filesOf(os: string, arch: string): FileAbi {
  const abi = ABIS.get(`${os}-${arch}`);
  assert.ok(abi);
  return abi.files;
}

const TABLES = SUPPORTED_HOSTS.map(({ os, arch }) => ({
  name: `${os}-${arch}`,
  files: filesOf(os, arch),
}));

type Record_ = Readonly<Record<string, unknown>>;

const isField = (value: unknown): value is Field =>
  typeof value === 'object' && value !== null && 'offset' in value;

function fieldsOf(structure: object): [string, Field][] {
  return Object.entries(structure).filter((each): each is [string, Field] => isField(each[1]));
}

/** The structures of a host that have fields. */
function structuresOf(files: FileAbi): [string, Record_][] {
  const { stat, statfs, dirent, flock, statx } = files;
  const all = { stat, statfs, dirent, flock, ...(statx === null ? {} : { statx }) };
  return Object.entries(all) as unknown as [string, Record_][];
}

describe('the tables of file calls', () => {
  for (const { name, files } of TABLES) {
    it(`${name}: structures have aligned fields that do not overlap and that their sizes cover`, () => {
      for (const [structure, layout] of structuresOf(files)) {
        let end = 0;
        const sorted = fieldsOf(layout).sort(([, a], [, b]) => a.offset - b.offset);
        assert.ok(sorted.length >= 4);
        for (const [field, { offset, bytes }] of sorted) {
          assert.ok(offset >= end, `${structure}.${field} overlaps`);
          assert.equal(offset % bytes, 0, `${structure}.${field} is aligned`);
          end = offset + bytes;
        }
        const size = (layout.SIZE ?? layout.nameOffset) as number;
        assert.ok(end <= size, `${structure} ends at ${end}, its size is ${size}`);
      }
    });

    it(`${name}: has the same names as Linux, and flags of open that share no bit`, () => {
      const linux = filesOf('linux', 'x64');
      for (const group of ['open', 'stat', 'statfs', 'dirent'] as const) {
        assert.deepEqual(Object.keys(files[group]).sort(), Object.keys(linux[group]).sort());
      }
      const { O_ACCMODE, O_RDONLY, O_WRONLY, O_RDWR } = files.open;
      assert.deepEqual([O_RDONLY, O_WRONLY, O_RDWR, O_ACCMODE], [0, 1, 2, 3]);
      let seen = O_ACCMODE;
      for (const [flag, value] of Object.entries(files.open) as [string, number][]) {
        if (/ACCMODE|RDONLY|WRONLY|RDWR|TMPFILE/.test(flag)) continue;
        const own = flag === 'O_SYNC' ? value & ~files.open.O_DSYNC : value;
        assert.equal(seen & own, 0, flag);
        seen |= own;
      }
      assert.ok(files.open.O_CLOEXEC !== 0 && files.open.O_NOFOLLOW !== 0);
    });

    it(`${name}: device numbers come back from what they are made of`, () => {
      const { major, minor } = files.device;
      const bitsOf = (pieces: readonly DevicePiece[]): number[] =>
        pieces.flatMap(({ from, bits }) => Array.from({ length: bits }, (_, i) => from + i));
      const all = [...bitsOf(major), ...bitsOf(minor)];
      assert.equal(new Set(all).size, all.length, 'no bit is used twice');
      assert.ok(Math.max(...all) < files.stat.rdev.bytes * 8);
      for (const pieces of [major, minor]) {
        let to = 0;
        for (const piece of pieces) {
          assert.equal(piece.to, to, 'the number has no gap');
          to += piece.bits;
        }
        assert.ok(to >= 8 && to <= 32);
      }
    });

    it(`${name}: locks, times and flags of *at calls are told apart`, () => {
      const { F_RDLCK, F_WRLCK, F_UNLCK } = files.flock;
      assert.equal(new Set([F_RDLCK, F_WRLCK, F_UNLCK]).size, 3);
      assert.notEqual(files.UTIME_NOW, files.UTIME_OMIT);
      const at = [files.AT_SYMLINK_NOFOLLOW, files.AT_SYMLINK_FOLLOW, files.AT_REMOVEDIR];
      assert.equal(new Set([...at, files.AT_EMPTY_PATH ?? 0]).size, 4);
      assert.equal(files.SEEK_DATA === undefined, files.SEEK_HOLE === undefined);
      for (const errno of Object.keys(files.extraErrno)) assert.ok(errno in LINUX_ERRNO, errno);
    });
  }

  it('know the traps: macOS swaps SEEK_DATA and SEEK_HOLE, OpenBSD swaps UTIME_NOW and OMIT', () => {
    const darwin = filesOf('darwin', 'arm64');
    const openbsd = filesOf('openbsd', 'x64');
    const freebsd = filesOf('freebsd', 'x64');
    const netbsd = filesOf('netbsd', 'x64');
    assert.deepEqual([darwin.SEEK_HOLE, darwin.SEEK_DATA], [3, 4]);
    assert.deepEqual([freebsd.SEEK_DATA, freebsd.SEEK_HOLE], [3, 4]);
    assert.deepEqual([openbsd.UTIME_NOW, openbsd.UTIME_OMIT], [-2, -1]);
    assert.deepEqual([darwin.UTIME_NOW, darwin.UTIME_OMIT], [-1, -2]);
    assert.equal(darwin.AT_FDCWD, -2);
    assert.deepEqual([freebsd.symlinkErrno, netbsd.symlinkErrno], ['EMLINK', 'EFTYPE']);
    assert.deepEqual([netbsd.statfs.call, netbsd.dirent.off], ['fstatvfs', null]);
    assert.deepEqual(
      [darwin, freebsd, openbsd, netbsd].map(({ extraErrno }) => extraErrno.ENOATTR),
      [93, 87, 83, 93],
    );
    assert.deepEqual([darwin.xattr?.XATTR_CREATE, darwin.xattr?.XATTR_REPLACE], [2, 4]);
    assert.equal(darwin.dirent.offIsPosition, false);
    const { x64, arm64 } = LINUX_OPEN_FLAGS;
    assert.deepEqual([x64.O_DIRECT, x64.O_DIRECTORY], [arm64.O_DIRECTORY, 0o200000]);
  });

  it('of Linux agree with the numbers that Node has for Linux', () => {
    if (process.platform !== 'linux') return;
    for (const [name, number] of Object.entries(constants.errno)) {
      assert.equal(LINUX_ERRNO[name], number, name);
    }
  });
});

const abi = abiOf(process.platform, process.arch);
let skip: string | false = false;
if (spawnSync('cc', ['--version']).error !== undefined) skip = 'there is no C compiler (cc) here';
if (abi === undefined) skip = `there is no table for ${process.platform}-${process.arch}`;

const HEADERS = ['sys/types.h', 'sys/stat.h', 'sys/statfs.h', 'sys/param.h', 'sys/mount.h'].concat(
  ['fcntl.h', 'dirent.h', 'unistd.h', 'stdio.h', 'stddef.h', 'sys/resource.h', 'sys/xattr.h'],
  ['sys/syscall.h', 'sys/sysmacros.h', 'errno.h'],
);

/** How C spells our fields: `tag` of the structure, and each field that is not `prefix` + name. */
const SPELLINGS: Readonly<Record<string, { tag: string; prefix: string; other?: Record_ }>> = {
  stat: {
    tag: 'stat',
    prefix: 'st_',
    other: {
      atimeSec: 'st_atim.tv_sec',
      atimeNsec: 'st_atim.tv_nsec',
      mtimeSec: 'st_mtim.tv_sec',
      mtimeNsec: 'st_mtim.tv_nsec',
      ctimeSec: 'st_ctim.tv_sec',
      ctimeNsec: 'st_ctim.tv_nsec',
    },
  },
  statx: {
    tag: 'statx',
    prefix: 'stx_',
    other: {
      atimeSec: 'stx_atime.tv_sec',
      atimeNsec: 'stx_atime.tv_nsec',
      mtimeSec: 'stx_mtime.tv_sec',
      mtimeNsec: 'stx_mtime.tv_nsec',
      ctimeSec: 'stx_ctime.tv_sec',
      ctimeNsec: 'stx_ctime.tv_nsec',
      devMajor: 'stx_dev_major',
      devMinor: 'stx_dev_minor',
      rdevMajor: 'stx_rdev_major',
      rdevMinor: 'stx_rdev_minor',
      mountId: 'stx_mnt_id',
      birthSec: 'stx_btime.tv_sec',
      birthNsec: 'stx_btime.tv_nsec',
    },
  },
  statfs: { tag: 'statfs', prefix: 'f_' },
  dirent: { tag: process.platform === 'linux' ? 'dirent64' : 'dirent', prefix: 'd_' },
  flock: { tag: 'flock', prefix: 'l_' },
};

function program(files: FileAbi): string {
  const darwin = process.platform === 'darwin';
  const lines = ['#define _GNU_SOURCE', ...(darwin ? ['#define st_atim st_atimespec'] : [])];
  if (darwin) lines.push('#define st_mtim st_mtimespec', '#define st_ctim st_ctimespec');
  for (const header of HEADERS) {
    lines.push(`#if __has_include(<${header}>)`, `#include <${header}>`, '#endif');
  }
  lines.push('int main(void) {');
  for (const [name] of constantsOf(files)) {
    lines.push(`#ifdef ${name}`, `printf("${name} %lld\\n", (long long)${name});`, '#endif');
  }
  for (const [structure, layout] of structuresOf(files)) {
    const { tag, prefix, other = {} } = SPELLINGS[structure] as (typeof SPELLINGS)[string];
    lines.push(`printf("${structure} %zu\\n", sizeof(struct ${tag}));`);
    for (const [field] of fieldsOf(layout)) {
      const spelt = (other[field] as string | undefined) ?? prefix + field;
      lines.push(`printf("${structure}.${field} %zu\\n", offsetof(struct ${tag}, ${spelt}));`);
      lines.push(
        `printf("${structure}.${field}.bytes %zu\\n", sizeof(((struct ${tag} *)0)->${spelt}));`,
      );
    }
  }
  const { tag } = SPELLINGS.dirent as (typeof SPELLINGS)[string];
  lines.push(`printf("nameOffset %zu\\n", offsetof(struct ${tag}, d_name));`);
  for (const [major, minor] of DEVICES) {
    const made = `(unsigned long long)makedev(${String(major)}, ${String(minor)})`;
    lines.push(`printf("makedev.${String(major)}.${String(minor)} %llu\\n", ${made});`);
  }
  return [...lines, 'return 0; }', ''].join('\n');
}

const DEVICES = [
  [1, 3],
  [8, 17],
  [200, 255],
] as const;

/** Every constant that a header may have under the same name. */
function constantsOf(files: FileAbi): Map<string, number> {
  const all = new Map<string, number>();
  const groups = [files, files.open, files.flock, files.xattr, files.statx, files.calls];
  for (const group of [...groups, files.extraErrno]) {
    for (const [name, value] of Object.entries(group ?? {})) {
      const none = files.open[name as keyof FileAbi['open']] === 0 && name !== 'O_RDONLY';
      if (typeof value === 'number' && name !== 'SIZE' && !none) all.set(name, value);
    }
  }
  if (process.platform === 'linux') {
    for (const [name, value] of Object.entries(LINUX_ERRNO)) all.set(name, value);
  }
  return all;
}

function compileAndRun(files: FileAbi): Map<string, number> {
  const folder = mkdtempSync(join(tmpdir(), 'vhu-abi-'));
  try {
    writeFileSync(join(folder, 'abi.c'), program(files));
    execFileSync('cc', ['-o', join(folder, 'abi'), join(folder, 'abi.c')], { stdio: 'pipe' });
    const text = execFileSync(join(folder, 'abi'), { encoding: 'utf8' });
    const pairs = text.trim().split('\n');
    return new Map(pairs.map((line) => line.split(' ')).map(([k, v]) => [k ?? '', Number(v)]));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe('the headers of this host', { skip }, () => {
  const files = abi?.files ?? filesOf('linux', 'x64');
  const real = skip === false ? compileAndRun(files) : new Map<string, number>();

  it('agree with every constant of the table', () => {
    const compared: string[] = [];
    for (const [name, value] of constantsOf(files)) {
      const actual = real.get(name);
      if (actual === undefined) continue;
      assert.equal(value, actual, name);
      compared.push(name);
    }
    for (const name of ['O_NOFOLLOW', 'O_DIRECTORY', 'AT_REMOVEDIR', 'UTIME_OMIT', 'F_WRLCK']) {
      assert.ok(compared.includes(name), name);
    }
    assert.ok(compared.length > 30, `${compared.length} constants were compared`);
  });

  it('agree with the structures of the table', () => {
    for (const [structure, layout] of structuresOf(files)) {
      const size = layout.SIZE as number | undefined;
      if (size !== undefined) assert.equal(size, real.get(structure), structure);
      for (const [field, { offset, bytes }] of fieldsOf(layout)) {
        assert.equal(offset, real.get(`${structure}.${field}`), `${structure}.${field}`);
        assert.equal(bytes, real.get(`${structure}.${field}.bytes`), `${structure}.${field}`);
      }
    }
    assert.equal(files.dirent.nameOffset, real.get('nameOffset'));
  });

  it('make device numbers as the table says', () => {
    const place = (number: number, pieces: readonly DevicePiece[]): number =>
      pieces.reduce(
        (sum, { from, bits, to }) => sum + (Math.floor(number / 2 ** to) % 2 ** bits) * 2 ** from,
        0,
      );
    for (const [major, minor] of DEVICES) {
      const made = place(major, files.device.major) + place(minor, files.device.minor);
      assert.equal(made, real.get(`makedev.${String(major)}.${String(minor)}`));
    }
  });
});
