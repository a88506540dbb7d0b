/**
 * Archives with any bytes changed or cut off: each is refused with an error of ours, or shows a
 * tree in which everything can be looked at, within bounds, and nothing is left open.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { errorCode } from '../../../util/index.ts';
import { FuseCaller, FuseMount, expectNoLeak, holdings } from '../../../testing/index.ts';
import { treeOperations } from '../tree/index.ts';
import { openArchive } from './index.ts';

const UNPACKED_BYTES_MAX = 1 << 20;
const NODES_MAX = 200;
const folder = mkdtempSync(join(tmpdir(), 'damaged-fuzz-'));
after(() => rmSync(folder, { recursive: true }));

/** What an archive may answer a guest that reads it. */
const CODES = ['EIO', 'EFBIG', 'EOPNOTSUPP', 'ENOSPC', 'ENOENT', 'ENAMETOOLONG'];

/** A zip archive with `in/zip`, stored, and `in/def`, deflated, made by Info-ZIP. */
const ZIP = Buffer.from(
  '504b03040a0000000000a286785d10b4f621060000000600000006000000696e2f7a69707061636b6564' +
    '504b0304140000000800a286785dc9485f24080000003300000006000000696e2f6465664b4c4a4e2411' +
    '0100504b01021e030a0000000000a286785d10b4f6210600000006000000060000000000000001000000' +
    'a48100000000696e2f7a6970504b01021e03140000000800a286785dc9485f2408000000330000000600' +
    '00000000000001000000a4812a000000696e2f646566504b050600000000020002006800000056000000' +
    '0000',
  'hex',
);

function realTar(): Buffer {
  const root = join(folder, 'root');
  mkdirSync(join(root, 'deep', 'er'), { recursive: true });
  writeFileSync(join(root, 'deep', 'file'), 'x'.repeat(700));
  writeFileSync(join(root, 'deep', 'er', 'n'.repeat(150)), 'a long name');
  symlinkSync('deep/file', join(root, 'link'));
  const path = join(folder, 'real.tar');
  execFileSync('tar', ['-cf', path, '-C', root, 'deep', 'link']);
  return readFileSync(path).subarray(0, 8192);
}

interface Damage {
  readonly at: number;
  readonly bytes: Uint8Array;
}

const damage: fc.Arbitrary<Damage> = fc.record({
  at: fc.nat(8191),
  bytes: fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 4 }),
    fc.constantFrom(...['7', '0', '\0', 'x', 'L', 'S', '1', '\xff\xff\xff\xff'].map(bytesOf)),
  ),
});

function bytesOf(text: string): Uint8Array {
  return Buffer.from(text, 'latin1');
}

/** Makes a header's checksum right again, so that what else is wrong with it is looked at. */
function mendTar(tar: Buffer): void {
  for (let at = 0; at + 512 <= tar.length; at += 512) {
    if (tar.toString('latin1', at + 257, at + 262) !== 'ustar') continue;
    const header = tar.subarray(at, at + 512);
    header.fill(' ', 148, 156);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  }
}

async function readAll(mount: FuseMount, at: string, budget: { nodes: number }): Promise<void> {
  for (const name of await mount.readdir(at, 'READDIRPLUS')) {
    if (budget.nodes-- <= 0) return;
    const path = `${at}/${Buffer.from(name, 'latin1').toString()}`;
    if (path.includes('\ufffd')) continue;
    const { mode, size } = await mount.stat(path);
    const kind = mode & 0o170000;
    if (kind === 0o040000) await readAll(mount, path, budget);
    else if (kind === 0o120000) await codeOf(() => mount.readlink(path));
    else if (kind === 0o100000) {
      const content = await codeOf(() => mount.readFile(path));
      if (typeof content !== 'string') assert.ok(content.length <= size);
    }
  }
}

/** What came of an action, or the code of an error that may be. */
async function codeOf<T>(action: () => Promise<T>): Promise<T | string> {
  try {
    return await action();
  } catch (error) {
    const code = errorCode(error) ?? '';
    assert.ok(CODES.includes(code), `${code}: ${String(error)}`);
    return code;
  }
}

/** Opens an archive and reads all of it; returns how many nodes it has, 0 when it is refused. */
async function look(bytes: Uint8Array): Promise<number> {
  const path = join(folder, 'damaged');
  writeFileSync(path, bytes);
  const before = holdings();
  const budget = { nodes: NODES_MAX };
  try {
    const files = await openArchive(path, { unpackedBytesMax: UNPACKED_BYTES_MAX });
    const reported: unknown[] = [];
    const operations = treeOperations(files, { report: (error) => reported.push(error) });
    await readAll(new FuseMount(new FuseCaller(operations)), '', budget);
    operations.close();
    assert.deepEqual(reported, []);
  } catch (error) {
    assert.equal(errorCode(error), 'ERR_VHU_FS_ARCHIVE', String((error as Error).stack));
  }
  await expectNoLeak(before);
  return NODES_MAX - budget.nodes;
}

function damaged(whole: Buffer, steps: readonly Damage[], cut: number): Buffer {
  const bytes = Buffer.from(whole.subarray(0, Math.max(1, whole.length - cut)));
  for (const { at, bytes: some } of steps) {
    Buffer.from(some).copy(bytes, at % bytes.length);
  }
  return bytes;
}

const cuts = fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.nat(6000));
const all = fc.tuple(fc.array(damage, { maxLength: 4 }), cuts, fc.boolean());

describe('an archive that is damaged', () => {
  it('of tar is refused, or shown as far as it goes', async () => {
    const whole = realTar();
    assert.equal(await look(whole), 5);
    const property = fc.asyncProperty(all, async ([steps, cut, isMended]) => {
      const bytes = damaged(whole, steps, cut);
      if (isMended) mendTar(bytes);
      await look(bytes);
    });
    await fc.assert(property, { numRuns: 300 });
  });

  it('of zip is refused, or shown as far as it goes', async () => {
    assert.equal(await look(ZIP), 3);
    const property = fc.asyncProperty(all, async ([steps, cut]) => {
      await look(damaged(ZIP, steps, cut % ZIP.length));
    });
    await fc.assert(property, { numRuns: 300 });
  });
});
