/**
 * Mounts of the host below a shared folder are mounts in a Linux guest: file systems of their own,
 * also what is bound from elsewhere in the same folder, and also what is mounted while it runs.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { ensurePeers, missingPeers } from '../peers/setup.ts';
import type { Peers } from '../peers/setup.ts';
import { RunningProgram } from '../support/program.ts';
import { runGuestOrThrow } from './qemu.ts';

const PLACES = ['source', 'memory', 'self', 'later'] as const;

/** stat(2) alone does not mount what is announced: what is in it has to be asked for. */
const SCRIPT = `set -u
mount -t virtiofs share /mnt || exit 1
look() {
  echo "@$1.root=$(stat -c %d /mnt)"
  for place in ${PLACES.join(' ')}; do
    echo "@$1.$place=$(stat -c %d /mnt/$place/. 2>&1)"
    echo "@$1.$place.content=$(cat /mnt/$place/file 2>&1)"
  done
}
look before
echo "@found=$(find /mnt -xdev -name file | sort | tr '\\n' ' ')"
echo "@mounts=$(grep -c ' /mnt' /proc/mounts)"
cd /mnt/self
echo "@there=$(ls /mnt/source) $(pwd) $(ls)"
cd /
echo @ready=yes
until [ -e /mnt/go ]; do sleep 0.1; done
look after
`;

async function look(context: TestContext, peers: Peers): Promise<ReadonlyMap<string, string>> {
  const folder = mkdtempSync('/tmp/vhu-fs-submounts-');
  const share = join(folder, 'share');
  mkdirSync(share);
  for (const place of PLACES) mkdirSync(join(share, place));
  writeFileSync(join(share, 'source', 'file'), 'source');
  const mount = (...words: readonly string[]): unknown => execFileSync('mount', words);
  const mountMemory = (place: string): void => {
    mount('-t', 'tmpfs', 'none', join(share, place));
    writeFileSync(join(share, place, 'file'), place);
  };
  mount('--bind', share, share);
  const socketPath = join(folder, 'share.sock');
  let server: RunningProgram | null = null;
  context.after(async () => {
    await server?.[Symbol.asyncDispose]();
    spawnSync('umount', ['-R', '-l', share]);
    rmSync(folder, { recursive: true, force: true });
  });
  mount('--make-shared', share);
  mountMemory('memory');
  mount('--bind', join(share, 'source'), join(share, 'self'));
  server = new RunningProgram(['fs', share, '--socket-path', socketPath, '--cache', 'never']);
  await server.says(/listening on/);
  const { values } = await runGuestOrThrow({
    ...{ peers, qemu: peers.qemu10, folder, cpus: 1, memory: 'memfd', script: SCRIPT },
    shares: [{ tag: 'share', socketPath }],
    onLine: (line) => {
      if (line !== '@ready=yes') return;
      mountMemory('later');
      writeFileSync(join(share, 'go'), '');
    },
  });
  return values;
}

const search = await ensurePeers();
const mayMount = spawnSync('unshare', ['-m', 'true']).status === 0 && process.geteuid?.() === 0;
if (search.peers === undefined || !mayMount) {
  const skip = search.peers === undefined ? missingPeers(search) : 'mounting takes root';
  test('mounts below a shared folder in a guest', { skip }, () => undefined);
} else {
  const { peers } = search;
  test('mounts of the host below a folder are mounts in a guest', async (context) => {
    const values = await look(context, peers);
    const of = (key: string): string => values.get(key) ?? '?';
    for (const when of ['before', 'after']) {
      const devices = ['root', 'memory', 'self'].map((place) => of(`${when}.${place}`));
      assert.equal(new Set(devices).size, 3, `${when}: ${devices.join(' ')}`);
      assert.equal(of(`${when}.source`), of(`${when}.root`));
      assert.equal(of(`${when}.memory.content`), 'memory');
      assert.equal(of(`${when}.self.content`), 'source');
      assert.equal(of(`${when}.source.content`), 'source');
    }
    assert.equal(of('found').trim(), '/mnt/source/file', 'find -xdev goes into no mount');
    assert.equal(of('mounts'), '3');
    assert.equal(of('there'), 'file /mnt/self file', 'a bound folder is at both of its places');
    assert.equal(of('before.later'), of('before.root'));
    assert.notEqual(of('after.later'), of('after.root'));
    assert.equal(of('after.later.content'), 'later');
  });
}
