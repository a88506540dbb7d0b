/**
 * What a new root is to have in it, for paths of a folder that is made here.
 *
 * @module
 */
import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, beforeEach, describe, it } from 'node:test';
import { RootPlanner } from './root-plan.ts';
import type { RootPlan, TreeAccess } from './root-plan.ts';

const base = realpathSync(mkdtempSync(join(tmpdir(), 'vhu-plan-')));
after(() => rmSync(base, { recursive: true }));
const at = (path: string): string => join(base, path);
let planner = new RootPlanner();
beforeEach(() => {
  planner = new RootPlanner();
});

for (const folder of ['a/b/c', 'a-b', 'run', 'other']) mkdirSync(at(folder), { recursive: true });
for (const file of ['a/file', 'other/file', 'a/b/tool']) writeFileSync(at(file), '');
const link = (path: string, text: string): void => symlinkSync(text, at(path));
link('to-a', 'a');
link('a/up', '../other');
link('absolute', at('a/b'));
link('through', 'to-a/b/../up/file');
link('loop', 'loop');
link('dangling', 'nothing/there');
link('chain-1', 'a');
for (let i = 2; i <= 41; i++) link(`chain-${i}`, `chain-${i - 1}`);

/** Folders and links in our folder, and mounts, by their paths below it. */
function planned(plan: RootPlan = planner.plan()): {
  folders: string[];
  links: Record<string, string>;
  mounts: [path: string, access: TreeAccess, ...string[]][];
} {
  const below = (path: string): boolean => path.startsWith(`${base}/`);
  const short = (path: string): string => (below(path) ? path.slice(base.length + 1) : path);
  return {
    folders: plan.folders.filter(below).map(short),
    links: Object.fromEntries(plan.links.map(([path, text]) => [short(path), text])),
    mounts: plan.mounts.map(({ path, access, isFolder, isDevice, isOver }) => [
      short(path),
      access,
      ...(isFolder ? ['folder'] : []),
      ...(isDevice ? ['device'] : []),
      ...(isOver ? ['over'] : []),
    ]),
  };
}

describe('a new root', () => {
  it('has the folders on the way to a file, parents first, and the file', () => {
    planner.add(at('a/b/tool'), 'run');
    const plan = planner.plan();
    assert.deepEqual(planned(plan), {
      folders: ['a', 'a/b'],
      links: {},
      mounts: [['a/b/tool', 'run']],
    });
    for (let path = base; path !== '/'; path = dirname(path)) {
      assert.ok(plan.folders.includes(path), path);
      const parent = plan.folders.indexOf(dirname(path));
      assert.ok(parent < plan.folders.indexOf(path), `${path} comes after its parent`);
    }
  });

  it('has a tree once, and what is in it not by itself, in whichever order they are asked', () => {
    for (const paths of [
      ['a', 'a/b', 'a/file'],
      ['a/file', 'a/b', 'a'],
    ]) {
      planner = new RootPlanner();
      for (const path of paths) planner.add(at(path), 'read');
      assert.deepEqual(planned(), { folders: [], links: {}, mounts: [['a', 'read', 'folder']] });
    }
  });

  it('does not take a name that begins alike for a part of a folder', () => {
    planner.add(at('a'), 'read');
    planner.add(at('a-b'), 'read');
    planner.add(at('a/b'), 'write');
    assert.deepEqual(planned().mounts, [
      ['a', 'read', 'folder'],
      ['a-b', 'read', 'folder'],
      ['a/b', 'write', 'folder', 'over'],
    ]);
  });

  it('has a part that more may be done with over the tree around it, and else not', () => {
    const accesses = ['read', 'run', 'write', 'share'] as const;
    const over: string[] = [];
    for (const around of accesses) {
      for (const inside of accesses) {
        planner = new RootPlanner();
        planner.add(at('a'), around);
        planner.add(at('a/b'), inside);
        const { mounts } = planned();
        assert.deepEqual(mounts[0], ['a', around, 'folder']);
        if (mounts.length === 1) continue;
        assert.deepEqual(mounts[1], ['a/b', inside, 'folder', 'over']);
        over.push(`${inside} in ${around}`);
      }
    }
    assert.deepEqual(over, [
      'run in read',
      'write in read',
      'share in read',
      'write in run',
      'share in run',
      'run in write',
      'share in write',
    ]);
  });

  it('compares a part with the innermost tree around it', () => {
    planner.add(at('a'), 'read');
    planner.add(at('a/b'), 'write');
    planner.add(at('a/b/c'), 'write');
    planner.add(at('a/b/tool'), 'run');
    assert.deepEqual(planned().mounts, [
      ['a', 'read', 'folder'],
      ['a/b', 'write', 'folder', 'over'],
      ['a/b/tool', 'run', 'over'],
    ]);
  });

  it('allows the most of what was asked for one path', () => {
    for (const order of [
      ['read', 'write', 'read'],
      ['write', 'read'],
    ] as const) {
      planner = new RootPlanner();
      for (const access of order) planner.add(at('a'), access);
      assert.deepEqual(planned().mounts, [['a', 'write', 'folder']]);
    }
  });

  it('has each link on the way, and the tree at its end', () => {
    planner.add(at('through'), 'read');
    assert.deepEqual(planned(), {
      folders: ['a', 'a/b', 'other'],
      links: {
        through: 'to-a/b/../up/file',
        'to-a': 'a',
        'a/up': '../other',
      },
      mounts: [['other/file', 'read']],
    });
    planner = new RootPlanner();
    planner.add(at('absolute/c'), 'read');
    assert.deepEqual(planned(), {
      folders: ['a', 'a/b'],
      links: { absolute: readlinkSync(at('absolute')) },
      mounts: [['a/b/c', 'read', 'folder']],
    });
  });

  it('has no link that is in a tree already', () => {
    planner.add(at('a/up/file'), 'read');
    planner.add(at('a'), 'share');
    assert.deepEqual(planned(), {
      folders: ['other'],
      links: {},
      mounts: [
        ['a', 'share', 'folder'],
        ['other/file', 'read'],
      ],
    });
  });

  it('follows forty links of one path, and no more', () => {
    planner.add(at('chain-40/file'), 'read');
    assert.deepEqual(planned().mounts, [['a/file', 'read']]);
    planner = new RootPlanner();
    planner.add(at('chain-41/file'), 'read');
    planner.add(at('loop'), 'read');
    assert.deepEqual(planned().mounts, []);
  });

  it('has nothing for a path that is missing but what leads to it', () => {
    for (const path of ['a/b/missing', 'a/b/missing/more', 'a/file/../b', 'dangling']) {
      planner = new RootPlanner();
      planner.add(`${base}/${path}`, 'write'); // as it is: join would take the dots away
      const { folders, mounts } = planned();
      assert.deepEqual(mounts, [], path);
      assert.deepEqual(
        folders,
        path === 'dangling' ? [] : path.startsWith('a/b') ? ['a', 'a/b'] : ['a'],
      );
    }
    planner = new RootPlanner();
    planner.add(at('a/file/'), 'read');
    assert.deepEqual(planned().mounts, [['a/file', 'read']], 'a slash at the end is nothing');
  });

  it('has a folder for a socket in a shared folder once, as a part of that', () => {
    planner.add(at('a'), 'share');
    planner.addEmpty(at('a/b'));
    planner.addEmpty(at('run'));
    planner.addLink(at('a/b/of-ours'), '/proc/self/fd');
    planner.addLink(at('other/of-ours'), '/proc/self/fd');
    assert.deepEqual(planned(), {
      folders: ['other', 'run'],
      links: { 'other/of-ours': '/proc/self/fd' },
      mounts: [['a', 'share', 'folder']],
    });
    planner.add(at('a/b'), 'write');
    assert.equal(planned().mounts.length, 1, 'a guest would find a mount that is not there');
  });

  it('that is shared as a whole has nothing else, but devices over it', () => {
    planner.add(at('a/b'), 'write');
    planner.add(at('to-a'), 'read');
    planner.add('/dev/null', 'write');
    planner.add('/', 'share');
    assert.deepEqual(planner.plan(), {
      folders: [],
      links: [],
      mounts: [
        { path: '/', access: 'share', isFolder: true, isDevice: false, isOver: false },
        { path: '/dev/null', access: 'write', isFolder: false, isDevice: true, isOver: true },
      ],
    });
  });
});
