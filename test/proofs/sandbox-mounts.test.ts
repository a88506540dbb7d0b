/**
 * Proof: what is mounted in a shared folder, before the start and after, a guest sees in a mount
 * namespace as without one, and is told where a mount begins: the table of docs/devices/fs.md.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { FsClient } from '../../src/frontend/index.ts';
import { withProgram } from '../support/program.ts';
import { tellProof } from '../support/proof.ts';

const SANDBOXES = ['none', 'landlock', 'namespace'] as const;
type Sandbox = (typeof SANDBOXES)[number];
/** Folders of the share: what is mounted on each, before the start and after. */
const PLACES = ['memory', 'other', 'self', 'later-memory', 'later-other', 'later-self'] as const;

let folder = '';
let share = '';
let sockets = 0;
let answers = 0;

/** Why there is nothing to prove here. */
function noMounts(): string | false {
  if (process.platform !== 'linux') return 'mount namespaces are of Linux';
  const mounts = process.geteuid?.() === 0 && spawnSync('unshare', ['-m', 'true']).status === 0;
  return mounts ? false : 'mounting takes root';
}

function mount(...words: readonly string[]): void {
  execFileSync('mount', words);
}

/** Memory, a folder from outside, and one of the share itself, each with a file in it. */
function mountThree(prefix: '' | 'later-'): void {
  const at = (name: string): string => join(share, `${prefix}${name}`);
  mount('-t', 'tmpfs', 'none', at('memory'));
  writeFileSync(join(at('memory'), 'file'), `${prefix}memory`);
  mount('--bind', join(folder, 'outside'), at('other'));
  mount('--bind', join(share, 'source'), at('self'));
}

async function withGuest(
  sandbox: Sandbox,
  more: readonly string[],
  body: (guest: FsClient) => Promise<void>,
): Promise<void> {
  const path = join(folder, 'run', `${String(sockets++)}.sock`);
  const args = ['fs', share, '--socket-path', path, '--log-format', 'json'];
  await withProgram([...args, '--sandbox', sandbox, ...more], {}, async (program) => {
    await program.says(/"event":"listening"/);
    const guest = await FsClient.mount(path);
    try {
      await body(guest);
    } finally {
      await guest.unmount();
    }
    assert.equal((await program.end()).code, 0);
  });
}

/** Each place, whether a mount begins there, and what is in it. */
async function look(guest: FsClient): Promise<Record<string, string>> {
  const seen: Record<string, string> = {};
  for (const place of PLACES) {
    const { isSubmount } = await guest.stat(`/${place}`);
    const names = await guest.readdir(`/${place}`);
    const text = names.length === 0 ? '' : await guest.readFile(`/${place}/file`, 'utf8');
    seen[place] = `${isSubmount ? 'mount' : 'folder'}${text === '' ? '' : ` of ${text}`}`;
    answers++;
  }
  return seen;
}

const BEFORE = { memory: 'mount of memory', other: 'mount of outside', self: 'mount of source' };
const UNMOUNTED = { memory: 'folder', other: 'folder', self: 'folder' };
const NOT_YET = { 'later-memory': 'folder', 'later-other': 'folder', 'later-self': 'folder' };
const LATER = {
  'later-memory': 'mount of later-memory',
  'later-other': 'mount of outside',
  'later-self': 'mount of source',
};

function prepare(propagation: 'shared' | 'private'): void {
  mount('--bind', share, share);
  mount(`--make-${propagation}`, share);
  mountThree('');
}

describe('mounts in a shared folder', { skip: noMounts() }, () => {
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'vhu-mounts-'));
    share = join(folder, 'share');
    for (const name of ['run', 'outside', 'share', 'share/source']) mkdirSync(join(folder, name));
    for (const name of PLACES) mkdirSync(join(share, name));
    writeFileSync(join(folder, 'outside', 'file'), 'outside');
    writeFileSync(join(share, 'source', 'file'), 'source');
  });
  after(() => rmSync(folder, { recursive: true, force: true }));
  afterEach(() => void spawnSync('umount', ['-R', '-l', share]));

  it('are seen, and told of, alike in each sandbox, and later ones with them', async (context) => {
    for (const sandbox of SANDBOXES) {
      prepare('shared');
      await withGuest(sandbox, [], async (guest) => {
        assert.deepEqual(await look(guest), { ...BEFORE, ...NOT_YET }, sandbox);
        mountThree('later-');
        assert.deepEqual(await look(guest), { ...BEFORE, ...LATER }, sandbox);
        // A name that is there: the guest knows the folder as one that is mounted.
        const all = await guest.readdir('/');
        assert.deepEqual(all.toSorted(), [...PLACES, 'source'].toSorted());
        await assert.rejects(guest.rename('/memory/file', '/file'), { code: 'EXDEV' });
        for (const place of PLACES) execFileSync('umount', ['-l', join(share, place)]);
        assert.deepEqual(await look(guest), { ...UNMOUNTED, ...NOT_YET }, sandbox);
      });
      execFileSync('umount', [share]);
    }
    const modes = String(SANDBOXES.length);
    tellProof(context, `mounts below a folder: ${String(answers)} answers in ${modes} sandboxes`);
  });

  it('that are not passed on are seen later without a namespace alone', async () => {
    for (const sandbox of SANDBOXES) {
      prepare('private');
      await withGuest(sandbox, [], async (guest) => {
        mountThree('later-');
        const later = sandbox === 'namespace' ? NOT_YET : LATER;
        assert.deepEqual(await look(guest), { ...BEFORE, ...later }, sandbox);
      });
      execFileSync('umount', ['-R', share]);
    }
  });

  it('of later are left out of a namespace that is read-only', async () => {
    prepare('shared');
    await withGuest('namespace', ['--readonly'], async (guest) => {
      mountThree('later-');
      assert.deepEqual(await look(guest), { ...BEFORE, ...NOT_YET });
    });
  });

  it('are folders for a guest that is not to be told', async () => {
    prepare('shared');
    await withGuest('namespace', ['--no-announce-submounts'], async (guest) => {
      const seen = await look(guest);
      for (const place of Object.keys(BEFORE)) assert.match(seen[place] ?? '', /^folder of /);
    });
  });

  it('are two folders with the files of one, where one is bound to another', async () => {
    prepare('shared');
    await withGuest('namespace', [], async (guest) => {
      const [here, there] = [await guest.stat('/source/file'), await guest.stat('/self/file')];
      assert.equal(here.ino, there.ino);
      assert.equal((await guest.stat('/source')).isSubmount, false);
      assert.equal((await guest.stat('/self')).isSubmount, true);
      await guest.writeFile('/self/file', 'changed');
      assert.equal(await guest.readFile('/source/file', 'utf8'), 'changed');
      await guest.writeFile('/self/file', 'source');
    });
  });

  it('are busy while a guest knows what is in them, and free when it is gone', async () => {
    const umount = (): number | null => spawnSync('umount', [join(share, 'memory')]).status;
    for (const sandbox of SANDBOXES) {
      prepare('shared');
      const path = join(folder, 'run', `busy-${sandbox}.sock`);
      const args = ['fs', share, '--socket-path', path, '--log-format', 'json'];
      await withProgram([...args, '--sandbox', sandbox], {}, async (program) => {
        await program.says(/"event":"listening"/);
        const guest = await FsClient.mount(path);
        assert.equal(await guest.readFile('/memory/file', 'utf8'), 'memory');
        assert.notEqual(umount(), 0, `${sandbox}: it is busy`);
        await guest.unmount();
        await program.says(/"event":"disconnected"/);
        assert.equal(umount(), 0, `${sandbox}: it is free`);
        assert.equal((await program.end()).code, 0);
      });
      execFileSync('umount', ['-R', '-l', share]);
    }
  });
});
