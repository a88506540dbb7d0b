/**
 * The tables against the structures: by a second table of fields and their widths, and by the C
 * compiler and header of this machine where there are some.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import * as fuse from './index.ts';

/**
 * The fields of each structure with their bytes, as `linux/fuse.h` declares them (7.45). Structures
 * inside of others are written by name. Padding and what nobody reads is not in our tables.
 */
const STRUCTS: Readonly<Record<string, string>> = {
  in_header: 'len 4, opcode 4, unique 8, nodeid 8, uid 4, gid 4, pid 4, total_extlen 2, padding 2',
  out_header: 'len 4, error 4, unique 8',
  attr:
    'ino 8, size 8, blocks 8, atime 8, mtime 8, ctime 8, atimensec 4, mtimensec 4, ctimensec 4, ' +
    'mode 4, nlink 4, uid 4, gid 4, rdev 4, blksize 4, flags 4',
  entry_out:
    'nodeid 8, generation 8, entry_valid 8, attr_valid 8, entry_valid_nsec 4, ' +
    'attr_valid_nsec 4, attr 88',
  attr_out: 'attr_valid 8, attr_valid_nsec 4, dummy 4, attr 88',
  kstatfs:
    'blocks 8, bfree 8, bavail 8, files 8, ffree 8, bsize 4, namelen 4, frsize 4, padding 4, ' +
    'spare 24',
  file_lock: 'start 8, end 8, type 4, pid 4',
  forget_in: 'nlookup 8',
  forget_one: 'nodeid 8, nlookup 8',
  batch_forget_in: 'count 4, dummy 4',
  getattr_in: 'getattr_flags 4, dummy 4, fh 8',
  setattr_in:
    'valid 4, padding 4, fh 8, size 8, lock_owner 8, atime 8, mtime 8, ctime 8, atimensec 4, ' +
    'mtimensec 4, ctimensec 4, mode 4, unused4 4, uid 4, gid 4, unused5 4',
  mknod_in: 'mode 4, rdev 4, umask 4, padding 4',
  mkdir_in: 'mode 4, umask 4',
  rename_in: 'newdir 8',
  rename2_in: 'newdir 8, flags 4, padding 4',
  link_in: 'oldnodeid 8',
  open_in: 'flags 4, open_flags 4',
  create_in: 'flags 4, mode 4, umask 4, open_flags 4',
  open_out: 'fh 8, open_flags 4, padding 4',
  release_in: 'fh 8, flags 4, release_flags 4, lock_owner 8',
  flush_in: 'fh 8, unused 4, padding 4, lock_owner 8',
  read_in: 'fh 8, offset 8, size 4, read_flags 4, lock_owner 8, flags 4, padding 4',
  write_in: 'fh 8, offset 8, size 4, write_flags 4, lock_owner 8, flags 4, padding 4',
  write_out: 'size 4, padding 4',
  fsync_in: 'fh 8, fsync_flags 4, padding 4',
  setxattr_in: 'size 4, flags 4, setxattr_flags 4, padding 4',
  getxattr_in: 'size 4, padding 4',
  getxattr_out: 'size 4, padding 4',
  lk_in: 'fh 8, owner 8, lk 24, lk_flags 4, padding 4',
  lk_out: 'lk 24',
  access_in: 'mask 4, padding 4',
  init_in: 'major 4, minor 4, max_readahead 4, flags 4, flags2 4, unused 44',
  init_out:
    'major 4, minor 4, max_readahead 4, flags 4, max_background 2, congestion_threshold 2, ' +
    'max_write 4, time_gran 4, max_pages 2, map_alignment 2, flags2 4, unused 28',
  interrupt_in: 'unique 8',
  bmap_in: 'block 8, blocksize 4, padding 4',
  ioctl_in: 'fh 8, flags 4, cmd 4, arg 8, in_size 4, out_size 4',
  ioctl_out: 'result 4, flags 4, in_iovs 4, out_iovs 4',
  poll_in: 'fh 8, kh 8, flags 4, events 4',
  poll_out: 'revents 4, padding 4',
  fallocate_in: 'fh 8, offset 8, length 8, mode 4, padding 4',
  lseek_in: 'fh 8, offset 8, whence 4, padding 4',
  lseek_out: 'offset 8',
  copy_file_range_in: 'fh_in 8, off_in 8, nodeid_out 8, fh_out 8, off_out 8, len 8, flags 8',
  copy_file_range_out: 'bytes_copied 8',
  sx_time: 'tv_sec 8, tv_nsec 4, reserved 4',
  statx:
    'mask 4, blksize 4, attributes 8, nlink 4, uid 4, gid 4, mode 2, spare0 2, ino 8, size 8, ' +
    'blocks 8, attributes_mask 8, atime 16, btime 16, ctime 16, mtime 16, rdev_major 4, ' +
    'rdev_minor 4, dev_major 4, dev_minor 4, spare2 112',
  statx_in: 'getattr_flags 4, reserved 4, fh 8, sx_flags 4, sx_mask 4',
  statx_out: 'attr_valid 8, attr_valid_nsec 4, flags 4, spare 16, stat 256',
  syncfs_in: 'padding 8',
  dirent: 'ino 8, off 8, namelen 4, type 4, name 0',
  direntplus: 'entry_out 128, dirent 24',
};

/** Fields that are structures. */
const INNER: Readonly<Record<string, string>> = {
  attr: 'attr',
  lk: 'file_lock',
  entry_out: 'entry_out',
  dirent: 'dirent',
  stat: 'statx',
  atime: 'sx_time',
  btime: 'sx_time',
  ctime: 'sx_time',
  mtime: 'sx_time',
};

interface Field {
  readonly name: string;
  readonly bytes: number;
  readonly offset: number;
}

function fieldsOf(text: string): Field[] {
  let offset = 0;
  return text.split(', ').map((each) => {
    const [name = '', bytes = ''] = each.split(' ');
    const field = { name, bytes: Number(bytes), offset };
    offset += field.bytes;
    return field;
  });
}

function camel(name: string): string {
  return name.replace(/_(.)/g, (_all, letter: string) => letter.toUpperCase());
}

type Layout = Readonly<Record<string, number>>;

function layoutOf(name: string): Layout {
  const layout = (fuse as unknown as Readonly<Record<string, Layout | undefined>>)[
    `FUSE_${name.toUpperCase()}`
  ];
  assert.ok(layout !== undefined, `there is a table for ${name}`);
  return layout;
}

/** What the C compiler of this machine says of expressions; those that it does not know, not. */
function compiled(expressions: readonly string[], guards: readonly string[]): Map<string, number> {
  const folder = mkdtempSync(join(tmpdir(), 'vhu-fuse-'));
  try {
    const lines = expressions.map((each) => `printf("%s=%llu\\n", "${each}", ${asNumber(each)});`);
    const guarded = guards.map(
      (each) => `#ifdef ${each}\nprintf("%s=%llu\\n", "${each}", ${asNumber(each)});\n#endif`,
    );
    const body = [...lines, ...guarded].join('\n');
    const source = join(folder, 'probe.c');
    const program = join(folder, 'probe');
    writeFileSync(
      source,
      '#include <stdio.h>\n#include <stddef.h>\n#include <linux/fuse.h>\n' +
        `int main(void) {\n${body}\nreturn 0; }\n`,
    );
    execFileSync('cc', ['-o', program, source], { stdio: 'pipe' });
    const output = execFileSync(program, { encoding: 'utf8' });
    return new Map(
      output
        .trim()
        .split('\n')
        .map((line) => line.split('=') as [string, string])
        .map(([name, value]) => [name, Number(value)]),
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function asNumber(expression: string): string {
  return `(unsigned long long)(${expression})`;
}

const HEADER = '/usr/include/linux/fuse.h';
const canCompile = existsSync(HEADER) && spawnSync('cc', ['--version']).status === 0;
const skip = canCompile ? false : 'no C compiler, or no linux/fuse.h';

/** Flags with the prefix that C gives them. */
const FLAG_TABLES: readonly (readonly [string, Layout, number])[] = [
  ['FUSE_', fuse.FUSE_INIT, 1],
  ['FUSE_', fuse.FUSE_INIT2, 2 ** 32],
  ['FATTR_', fuse.FATTR, 1],
  ['FOPEN_', fuse.FOPEN, 1],
];

const SINGLE_FLAGS: Layout = {
  FUSE_GETATTR_FH: fuse.FUSE_GETATTR_FH,
  FUSE_RELEASE_FLUSH: fuse.FUSE_RELEASE_FLUSH,
  FUSE_RELEASE_FLOCK_UNLOCK: fuse.FUSE_RELEASE_FLOCK_UNLOCK,
  FUSE_LK_FLOCK: fuse.FUSE_LK_FLOCK,
  FUSE_WRITE_CACHE: fuse.FUSE_WRITE_CACHE,
  FUSE_WRITE_LOCKOWNER: fuse.FUSE_WRITE_LOCKOWNER,
  FUSE_WRITE_KILL_SUIDGID: fuse.FUSE_WRITE_KILL_SUIDGID,
  FUSE_FSYNC_FDATASYNC: fuse.FUSE_FSYNC_FDATASYNC,
  FUSE_ATTR_SUBMOUNT: fuse.FUSE_ATTR_SUBMOUNT,
  FUSE_OPEN_KILL_SUIDGID: fuse.FUSE_OPEN_KILL_SUIDGID,
  FUSE_SETXATTR_ACL_KILL_SGID: fuse.FUSE_SETXATTR_ACL_KILL_SGID,
  FUSE_ROOT_ID: fuse.FUSE_ROOT_ID,
};

describe('the tables of FUSE', () => {
  for (const [name, text] of Object.entries(STRUCTS)) {
    it(`fuse_${name} adds up, and its fields are where they are said to be`, () => {
      const { SIZE, ...offsets } = layoutOf(name);
      const fields = fieldsOf(text);
      const last = fields.at(-1) as Field;
      assert.equal(SIZE, last.offset + last.bytes, 'the size is the sum of the fields');
      for (const [field, offset] of Object.entries(offsets)) {
        const found = fields.find((each) => camel(each.name) === field);
        assert.equal(offset, found?.offset, field);
      }
      for (const { name: field, offset, bytes } of fields) {
        if (bytes > 0) assert.equal(offset % Math.min(bytes, 2), 0, `${field} is aligned`);
      }
    });
  }

  it('have a width for each field, those of structures inside of others included', () => {
    const widthsOf = (name: string): number[] =>
      fieldsOf(STRUCTS[name] as string).flatMap((field) => {
        const inner = INNER[field.name];
        if (inner !== undefined && field.bytes > 8) return widthsOf(inner);
        const isSpare = field.bytes > 8;
        return isSpare ? new Array<number>(field.bytes / 4).fill(4) : [field.bytes];
      });
    assert.deepEqual([...fuse.FUSE_WIDTHS.keys()].sort(), Object.keys(STRUCTS).sort());
    for (const [name, widths] of fuse.FUSE_WIDTHS) {
      const expected = widthsOf(name).filter((bytes) => bytes > 0);
      assert.deepEqual(widths, expected, name);
    }
  });

  it('leave out no structure', () => {
    const tables = Object.entries(fuse).filter(
      ([name, value]) => name.startsWith('FUSE_') && typeof value === 'object' && 'SIZE' in value,
    );
    const names = tables.map(([name]) => name.replace('FUSE_', '').toLowerCase());
    assert.deepEqual(names.sort(), Object.keys(STRUCTS).sort());
  });

  it('agree with the C compiler about every offset and size', { skip }, () => {
    const text = readFileSync(HEADER, 'utf8');
    const known = Object.entries(STRUCTS).filter(([name]) =>
      text.includes(`struct fuse_${name} {`),
    );
    assert.ok(known.length > 40);
    const expected = new Map<string, number>();
    for (const [name] of known) {
      const { SIZE, ...offsets } = layoutOf(name);
      expected.set(`sizeof(struct fuse_${name})`, SIZE as number);
      for (const { name: field } of fieldsOf(STRUCTS[name] as string)) {
        const offset = offsets[camel(field)];
        if (offset === undefined) continue;
        expected.set(`offsetof(struct fuse_${name}, ${field})`, offset);
      }
    }
    const said = compiled([...expected.keys()], []);
    assert.deepEqual(Object.fromEntries(said), Object.fromEntries(expected));
  });

  it('agree with the C compiler about every opcode and flag that it knows', { skip }, () => {
    const text = readFileSync(HEADER, 'utf8');
    const opcodes = Object.entries(fuse.FUSE_OPCODE)
      .map(([name, value]) => [`FUSE_${name}`, value] as const)
      .filter(([name]) => new RegExp(`\\b${name}\\s*=`).test(text));
    assert.ok(opcodes.length > 45);
    const flags = FLAG_TABLES.flatMap(([prefix, table, unit]) =>
      Object.entries(table).map(([name, value]) => [`${prefix}${name}`, value * unit] as const),
    );
    const all = new Map<string, number>([...opcodes, ...flags, ...Object.entries(SINGLE_FLAGS)]);
    const names = [...flags.map(([name]) => name), ...Object.keys(SINGLE_FLAGS)];
    const said = compiled(
      opcodes.map(([name]) => name),
      names,
    );
    assert.ok(said.size > opcodes.length + 35);
    for (const [name, value] of said) assert.equal(value, all.get(name), name);
  });

  it('make a device number and take it apart', () => {
    for (const [major, minor] of [
      [0, 0],
      [8, 1],
      [4095, 1_048_575],
      [259, 300],
    ] as const) {
      const dev = fuse.encodeDev(major, minor);
      assert.deepEqual([fuse.devMajor(dev), fuse.devMinor(dev)], [major, minor]);
    }
    assert.equal(fuse.encodeDev(259, 300), 0x11032c);
  });

  it('round directory entries up to 8 bytes', () => {
    assert.equal(fuse.fuseRecordBytes(fuse.FUSE_DIRENT.SIZE, 1), 32);
    assert.equal(fuse.fuseRecordBytes(fuse.FUSE_DIRENT.SIZE, 8), 32);
    assert.equal(fuse.fuseRecordBytes(fuse.FUSE_DIRENT.SIZE, 9), 40);
    assert.equal(fuse.fuseRecordBytes(fuse.FUSE_DIRENTPLUS.SIZE, 255), 408);
  });
});
