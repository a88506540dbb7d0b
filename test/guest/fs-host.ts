/**
 * The host's side of the tests of a shared folder: what it puts there before the guest starts, and
 * how it compares the folder with what the guest said of it.
 *
 * @module
 */
import assert from 'node:assert/strict';
import {
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  readdirSync,
  readlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { sha256 } from './blk-scripts.ts';
import { MODULE_COUNT } from './fs-scripts.ts';

const WHOLE_BYTES_MAX = 64 << 20; // of larger files the guest sums the data between holes
const STAT_BLOCK_BYTES = 512; // the unit of a file's `blocks`, on every host
const HOLE_SLACK_BYTES = 1 << 20; // what a file system may add to the data itself
const SLASH = Buffer.from('/');

/** Writes a C project of {@link MODULE_COUNT} small modules; returns what its program prints. */
export function writeProject(folder: string): number {
  mkdirSync(folder, { recursive: true });
  const names = Array.from({ length: MODULE_COUNT }, (_, i) => `m${String(i).padStart(3, '0')}`);
  const declarations = names.map((name) => `int ${name}(void);`).join('\n');
  writeFileSync(join(folder, 'modules.h'), `${declarations}\n`);
  for (const [i, name] of names.entries()) {
    const text = `#include "modules.h"\nint ${name}(void) { return ${i}; }\n`;
    writeFileSync(join(folder, `${name}.c`), text);
  }
  const sum = names.map((name) => `${name}()`).join(' + ');
  const includes = '#include <stdio.h>\n#include "modules.h"\n';
  const main = `${includes}int main(void) { printf("%d\\n", ${sum}); return 0; }\n`;
  writeFileSync(join(folder, 'main.c'), main);
  const objects = [...names, 'main'].map((name) => `${name}.o`).join(' ');
  const makefile = [
    `OBJECTS = ${objects}`,
    'program: $(OBJECTS)',
    '\tcc -o $@ $(OBJECTS)',
    '%.o: %.c modules.h',
    '\tcc -c -o $@ $<',
    '',
  ].join('\n');
  writeFileSync(join(folder, 'Makefile'), makefile);
  return (MODULE_COUNT * (MODULE_COUNT - 1)) / 2;
}

/** Fills a folder with empty files for `listMany`. */
export function writeMany(folder: string, count: number): void {
  mkdirSync(folder, { recursive: true });
  for (let i = 0; i < count; i++) {
    closeSync(openSync(join(folder, `file-${String(i).padStart(6, '0')}`), 'w'));
  }
}

/** One line of the guest's list. */
interface Entry {
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtime: string;
  readonly links?: number;
  readonly size?: number;
  readonly sum?: string;
  /** Of a large file: where data begins, where it ends, and its sum. */
  readonly pieces?: readonly (readonly [number, number, string])[];
  readonly target?: string;
  readonly device?: readonly [number, number];
}

/**
 * Compares the folder `test` of the share with the guest's list of it: names, kinds, modes, owners,
 * times, link counts, sizes, bytes, targets. Returns how many entries were compared.
 */
export function verifyManifest(share: string): number {
  const lines = readFileSync(join(share, 'manifest.json'), 'utf8').trim().split('\n');
  const root = Buffer.from(join(share, 'test'));
  const expected = new Map<string, Entry>();
  for (const line of lines) {
    const entry = JSON.parse(line) as Entry;
    expected.set(entry.path, entry);
  }
  const paths = pathsBelow(root, Buffer.from('.'));
  assert.deepEqual(
    paths.map((path) => path.toString('hex')).sort(),
    [...expected.keys()].sort(),
    'the names on both sides',
  );
  for (const path of paths) {
    const entry = expected.get(path.toString('hex'));
    assert.ok(entry !== undefined);
    assert.deepEqual(entryOf(root, path, entry.pieces), entry, path.toString());
  }
  return paths.length;
}

/** A folder and all that is below it, as paths from `root` in bytes. */
function pathsBelow(root: Buffer, path: Buffer): Buffer[] {
  const found = [path];
  const folder = Buffer.concat([root, SLASH, path]);
  for (const entry of readdirSync(folder, { withFileTypes: true, encoding: 'buffer' })) {
    const name = entry.name as unknown as Buffer;
    const below = path.equals(Buffer.from('.')) ? name : Buffer.concat([path, SLASH, name]);
    if (entry.isDirectory()) found.push(...pathsBelow(root, below));
    else found.push(below);
  }
  return found;
}

function entryOf(root: Buffer, path: Buffer, pieces: Entry['pieces']): Entry {
  const whole = Buffer.concat([root, SLASH, path]);
  const info = lstatSync(whole, { bigint: true });
  const size = Number(info.size);
  const isLink = info.isSymbolicLink();
  const isDevice = info.isCharacterDevice() || info.isBlockDevice();
  return {
    path: path.toString('hex'),
    mode: Number(info.mode),
    uid: Number(info.uid),
    gid: Number(info.gid),
    mtime: String(info.mtimeNs),
    ...(info.isDirectory() ? {} : { links: Number(info.nlink), size }),
    ...(info.isFile() ? contentOf(whole, size, pieces) : {}),
    ...(isLink ? { target: readlinkSync(whole, 'buffer').toString('hex') } : {}),
    ...(isDevice ? { device: deviceNumbers(Number(info.rdev)) } : {}),
  };
}

/** Linux's major and minor numbers; small ones only. */
function deviceNumbers(rdev: number): [number, number] {
  return [rdev >> 8, rdev & 0xff];
}

/** What a file has: its sum, or of a large one the sums of the pieces that the guest found. */
function contentOf(path: Buffer, size: number, pieces: Entry['pieces']): Partial<Entry> {
  if (size <= WHOLE_BYTES_MAX) return { sum: sha256(readFileSync(path)) };
  const fd = openSync(path, 'r');
  try {
    const found = (pieces ?? []).map(([at, end]): [number, number, string] => {
      const bytes = Buffer.alloc(end - at);
      assert.equal(readSync(fd, bytes, 0, bytes.length, at), bytes.length, path.toString());
      return [at, end, sha256(bytes)];
    });
    const dataBytes = found.reduce((sum, [at, end]) => sum + end - at, 0);
    const allocated = lstatSync(path).blocks * STAT_BLOCK_BYTES;
    assert.ok(allocated <= dataBytes + HOLE_SLACK_BYTES, `${path.toString()}: holes are filled`);
    return { pieces: found };
  } finally {
    closeSync(fd);
  }
}
