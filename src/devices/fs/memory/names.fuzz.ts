/**
 * Names in memory against names on this machine's disk: the same steps are possible, the same are
 * refused for the same reason, and the same tree comes of them.
 *
 * @module
 */
import assert from 'node:assert/strict';
import {
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { FuseCaller, FuseMount } from '../../../testing/index.ts';
import { treeOperations } from '../tree/index.ts';
import { MemoryFileSystem } from './index.ts';

type Step =
  | { readonly do: 'mkdir' | 'rmdir' | 'unlink' | 'write' | 'symlink'; readonly path: string }
  | { readonly do: 'link' | 'rename'; readonly path: string; readonly to: string };

const NAMES = ['a', 'b', 'c'];
const path = fc.array(fc.constantFrom(...NAMES), { minLength: 1, maxLength: 3 });
const text = path.map((names) => `/${names.join('/')}`);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom('mkdir' as const, 'write' as const),
      path: text,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom('rmdir' as const, 'unlink' as const, 'symlink' as const),
      path: text,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom('link' as const, 'rename' as const),
      path: text,
      to: text,
    }),
  },
);

const LINUX_ONLY_CODES = process.platform === 'linux';

function onDisk(root: string, each: Step, content: string): void {
  const path = root + each.path;
  const steps = {
    mkdir: () => mkdirSync(path),
    rmdir: () => rmdirSync(path),
    unlink: () => unlinkSync(path),
    write: () => writeFileSync(path, content),
    symlink: () => symlinkSync('nowhere', path),
    link: (to: string) => linkSync(path, to),
    rename: (to: string) => renameSync(path, to),
  };
  steps[each.do](root + ('to' in each ? each.to : ''));
}

async function inMemory(mount: FuseMount, each: Step, content: string): Promise<void> {
  switch (each.do) {
    case 'mkdir':
      return mount.mkdir(each.path);
    case 'rmdir':
      return mount.rmdir(each.path);
    case 'unlink':
      return mount.unlink(each.path);
    case 'write':
      await mount.writeFile(each.path, content);
      return;
    case 'symlink':
      return mount.symlink('nowhere', each.path);
    case 'link':
      return mount.link(each.path, each.to);
    case 'rename':
      return mount.rename(each.path, each.to);
  }
}

async function codeOf(action: () => unknown): Promise<string> {
  try {
    await action();
    return 'done';
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

/** What a kernel looks at before it asks a file system. */
function isOfTheKernel(root: string, each: Step): boolean {
  const kindOf = (path: string): string => {
    try {
      const stat = lstatSync(root + path);
      return stat.isDirectory() ? 'directory' : stat.isSymbolicLink() ? 'symlink' : 'file';
    } catch {
      return 'none';
    }
  };
  const paths = 'to' in each ? [each.path, each.to] : [each.path];
  const above = paths.flatMap((path) =>
    [2, 4].filter((end) => end < path.length).map((end) => path.slice(0, end)),
  );
  if (above.some((path) => kindOf(path) === 'symlink')) return true;
  if (each.do === 'write' && kindOf(each.path) !== 'file') return kindOf(each.path) !== 'none';
  if (each.do !== 'rename') return false;
  // Renaming a parent onto its own child is EINVAL or ENOTEMPTY, by what is looked at first.
  return each.to.startsWith(`${each.path}/`) || each.path.startsWith(`${each.to}/`);
}

function diskTree(root: string, at = ''): string[] {
  return readdirSync(root + at)
    .sort()
    .flatMap((name) => {
      const path = `${at}/${name}`;
      const stat = lstatSync(root + path);
      if (stat.isDirectory()) return [`${path}/`, ...diskTree(root, path)];
      if (stat.isSymbolicLink()) return [`${path} -> ${readlinkSync(root + path)}`];
      return [`${path} ${stat.nlink} ${readFileSync(root + path, 'utf8')}`];
    });
}

async function memoryTree(mount: FuseMount, at = ''): Promise<string[]> {
  const lines: string[] = [];
  for (const name of (await mount.readdir(at)).sort()) {
    const path = `${at}/${name}`;
    const { mode, linkCount } = await mount.stat(path);
    if ((mode & 0o170000) === 0o040000) lines.push(`${path}/`, ...(await memoryTree(mount, path)));
    else if ((mode & 0o170000) === 0o120000) {
      lines.push(`${path} -> ${(await mount.readlink(path)).toString()}`);
    } else lines.push(`${path} ${linkCount} ${(await mount.readFile(path)).toString()}`);
  }
  return lines;
}

describe('a tree in memory', () => {
  it('becomes what the same steps make on a disk', async () => {
    const run = fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const root = mkdtempSync(join(tmpdir(), 'names-fuzz-'));
      try {
        const memory = new MemoryFileSystem({ bytesMax: 1 << 20 });
        const mount = new FuseMount(new FuseCaller(treeOperations(memory)));
        for (const [i, each] of steps.entries()) {
          if (isOfTheKernel(root, each)) continue;
          const expected = await codeOf(() => onDisk(root, each, `content ${i}`));
          const actual = await codeOf(() => inMemory(mount, each, `content ${i}`));
          const what = JSON.stringify(each);
          assert.equal(actual === 'done', expected === 'done', `${what}: ${actual} ${expected}`);
          if (LINUX_ONLY_CODES) assert.equal(actual, expected, what);
        }
        assert.deepEqual(await memoryTree(mount), diskTree(root));
        await removeAll(mount);
        const { blocks, blocksFree, files, filesFree } = memory.usage();
        assert.deepEqual([blocksFree, filesFree], [blocks, files], 'everything is given back');
      } finally {
        rmSync(root, { recursive: true });
      }
    });
    await fc.assert(run, { numRuns: 200 });
  });
});

async function removeAll(mount: FuseMount, at = ''): Promise<void> {
  for (const name of await mount.readdir(at)) {
    const path = `${at}/${name}`;
    if (((await mount.stat(path)).mode & 0o170000) !== 0o040000) await mount.unlink(path);
    else {
      await removeAll(mount, path);
      await mount.rmdir(path);
    }
  }
}
