/**
 * The client against `node:fs`: the same random steps on a folder that is mounted and on one that
 * is not are possible, are refused for the same reasons, and leave the same behind. Links, `..`
 * and slashes at the end of paths among them, since it is the client that walks paths.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { promises as node, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { openFs } from '../../devices/fs/index.ts';
import type { FsSource } from '../../devices/fs/index.ts';
import { errorCode } from '../../util/index.ts';
import { TestBackend, expectNoLeak, holdings } from '../../testing/index.ts';
import { FsClient } from './client.ts';

const BASE = '/1/2/3'; // links lead one folder up: that stays inside of either folder
const STEPS_MAX = 60;
const UMASK = 0o022;
// Of this file's process: node:fs has no other way
process.umask(UMASK);

/** What both sides have: of `node:fs` as it is, of the client by the same names. */
type Side = Pick<
  FsClient,
  | 'appendFile'
  | 'chmod'
  | 'link'
  | 'lstat'
  | 'mkdir'
  | 'readFile'
  | 'readdir'
  | 'readlink'
  | 'rename'
  | 'rmdir'
  | 'symlink'
  | 'truncate'
  | 'unlink'
  | 'utimes'
  | 'writeFile'
>;

const HOST = node as unknown as Side;

interface Step {
  readonly what: keyof typeof STEPS;
  readonly path: string;
  readonly other: string;
  readonly number: number;
}

const names = fc.constantFrom('a', 'b', 'c', '..', '.', 'x'.repeat(255), 'x'.repeat(256));
const path = fc
  .tuple(fc.array(names, { minLength: 1, maxLength: 4 }), fc.constantFrom('', '', '', '/', '/.'))
  .map(([parts, end]) => `${parts.join('/')}${end}`)
  .filter((text) => (text.match(/\.\./g)?.length ?? 0) < 2);

/** The result of each step is compared; paths in it are those of the side. */
const STEPS = {
  write: (fs: Side, at: string, { path: p, number }: Step) => fs.writeFile(at + p, fill(number)),
  writeNew: (fs: Side, at: string, { path: p, number }: Step) =>
    fs.writeFile(at + p, fill(number), { flag: 'wx' }),
  update: (fs: Side, at: string, { path: p, number }: Step) =>
    fs.writeFile(at + p, fill(number), { flag: 'r+' }),
  append: (fs: Side, at: string, { path: p, number }: Step) => fs.appendFile(at + p, fill(number)),
  read: async (fs: Side, at: string, { path: p }: Step) => (await fs.readFile(at + p)).toString(),
  truncate: (fs: Side, at: string, { path: p, number }: Step) => fs.truncate(at + p, number),
  mkdir: (fs: Side, at: string, { path: p }: Step) => fs.mkdir(at + p),
  rmdir: (fs: Side, at: string, { path: p }: Step) => fs.rmdir(at + p),
  unlink: (fs: Side, at: string, { path: p }: Step) => fs.unlink(at + p),
  rename: (fs: Side, at: string, { path: p, other }: Step) => fs.rename(at + p, at + other),
  link: (fs: Side, at: string, { path: p, other }: Step) => fs.link(at + p, at + other),
  symlink: (fs: Side, at: string, { path: p, other }: Step) => fs.symlink(other, at + p),
  readlink: (fs: Side, at: string, { path: p }: Step) => fs.readlink(at + p),
  chmod: (fs: Side, at: string, { path: p, number }: Step) => fs.chmod(at + p, 0o600 | number),
  utimes: (fs: Side, at: string, { path: p, number }: Step) => fs.utimes(at + p, number, number),
} as const;

const step: fc.Arbitrary<Step> = fc.record({
  what: fc.constantFrom(...(Object.keys(STEPS) as (keyof typeof STEPS)[])),
  path,
  other: path,
  number: fc.integer({ min: 0, max: 63 }),
});

function fill(number: number): string {
  return String.fromCharCode(0x41 + (number % 26)).repeat(number);
}

/** What a step gives: its result, or the code of its error. */
async function outcome(side: Side, at: string, each: Step): Promise<unknown> {
  try {
    return (await STEPS[each.what](side, at, each)) ?? 'done';
  } catch (error) {
    const code = errorCode(error);
    if (code === undefined || code.startsWith('ERR_')) throw error;
    return code;
  }
}

/** Everything below a folder: kinds, modes, sizes, links, contents, times that were set. */
async function treeOf(side: Side, at: string): Promise<string[]> {
  const lines: string[] = [];
  const names = await side.readdir(at);
  for (const name of names.sort()) {
    const path = `${at}/${name}`;
    const stats = await side.lstat(path);
    const mode = stats.mode.toString(8);
    if (stats.isDirectory()) {
      const below = await treeOf(side, path);
      lines.push(`${name} ${mode}`, ...below.map((line) => `${name}/${line}`));
    } else if (stats.isSymbolicLink()) {
      lines.push(`${name} -> ${await side.readlink(path)}`);
    } else {
      const time = stats.mtimeMs < 1e6 ? stats.mtimeMs : 'now';
      const content = (await side.readFile(path)).toString();
      lines.push(`${name} ${mode} ${String(stats.nlink)} ${String(time)} ${content}`);
    }
  }
  return lines;
}

/** A parent that is moved to its child, or the other way: which error, depends on what is first. */
function isNested({ what, path: one, other }: Step): boolean {
  return what === 'rename' && (one.startsWith(other) || other.startsWith(one));
}

async function compare(source: FsSource, codes: 'same codes' | 'same success'): Promise<void> {
  const before = holdings();
  const served = await TestBackend.start(openFs({ tag: 'fuzz', source }));
  const mount = await FsClient.mount(served.socketPath, {
    umask: UMASK,
    idleNodesMax: 2,
  });
  const run = fc.asyncProperty(fc.array(step, { maxLength: STEPS_MAX }), async (steps) => {
    const root = mkdtempSync(join(tmpdir(), 'vhu-fuzz-'));
    const own = await mount.mkdtemp('/fuzz-');
    try {
      await node.mkdir(root + BASE, { recursive: true });
      await mount.mkdir(own + BASE, { recursive: true });
      for (const each of steps) {
        if (codes === 'same success' && isNested(each)) continue;
        const expected = await outcome(HOST, `${root}${BASE}/`, each);
        const actual = await outcome(mount, `${own}${BASE}/`, each);
        const about = JSON.stringify(each);
        if (codes === 'same codes') assert.equal(actual, expected, about);
        else assert.equal(isCode(actual), isCode(expected), `${about}: ${String(actual)}`);
      }
      assert.deepEqual(await treeOf(mount, own + BASE), await treeOf(HOST, root + BASE));
      await mount.forgetIdleNodes();
      assert.equal(mount.nodeCount, 0);
    } finally {
      rmSync(root, { recursive: true });
      await mount.rm(own, { recursive: true, force: true });
    }
  });
  try {
    await fc.assert(run, { numRuns: 60, includeErrorInReport: true });
  } finally {
    await mount.unmount();
    await served.close();
  }
  await expectNoLeak(before);
}

/** Many steps at once: none of them gets stuck or fails in an odd way, and nothing is left. */
async function crowd(source: FsSource): Promise<void> {
  const served = await TestBackend.start(openFs({ tag: 'fuzz', source, requestQueues: 2 }));
  const options = { idleNodesMax: 2, queueCount: 2, slotCount: 8 };
  const mount = await FsClient.mount(served.socketPath, options);
  const run = fc.asyncProperty(fc.array(step, { minLength: 50, maxLength: 200 }), async (steps) => {
    await mount.mkdir(BASE, { recursive: true });
    await Promise.all(steps.map((each) => outcome(mount, `${BASE}/`, each)));
    await mount.rm('/1', { recursive: true });
    assert.deepEqual(await mount.readdir('/'), []);
    await mount.forgetIdleNodes();
    assert.equal(mount.nodeCount, 0);
  });
  try {
    await fc.assert(run, { numRuns: 20, includeErrorInReport: true });
  } finally {
    await mount.unmount();
    await served.close();
  }
}

function isCode(result: unknown): boolean {
  return typeof result === 'string' && /^E[A-Z]+$/.test(result);
}

describe('FsClient against node:fs', () => {
  it('a mounted folder of the host is as the folder itself', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vhu-fuzz-share-'));
    try {
      await compare({ kind: 'folder', folder }, 'same codes');
      await crowd({ kind: 'folder', folder });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('a file system in memory is as a folder of the host', async () => {
    await compare({ kind: 'memory' }, 'same success');
    await crowd({ kind: 'memory' });
  });
});
