/**
 * File systems that are no folder with a real guest: one written in TypeScript, one in memory, and
 * archives, all mounted by one Linux under QEMU.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fsError, openFs, startBackend } from '../../src/index.ts';
import type { FileSystem, FsSource } from '../../src/index.ts';
import { ensurePeers, missingPeers } from '../peers/setup.ts';
import type { Peers } from '../peers/setup.ts';
import { PRELUDE } from './blk-scripts.ts';
import { runGuestOrThrow } from './qemu.ts';

const LARGE_BYTES = 5_000_000;
const TIMEOUT_MS = 300_000; // some 20 s on an idle machine

/** Functions as files, and folders of them. */
type Node = { readonly [name: string]: Node } | (() => string | Promise<string>);

/** A file system of functions, and how often its file `count` was read. */
function liveFiles(): { readonly fs: FileSystem<Node>; readonly counts: () => number } {
  let count = 0;
  const root: Node = {
    count: () => `${++count}\n`,
    slow: () => sleep(300, 'worth waiting for\n'),
    broken: () => Promise.reject(fsError('ETIMEDOUT')),
    deep: { in: { it: () => 'down here\n' } },
    large: () => 'x'.repeat(LARGE_BYTES),
  };
  const fs: FileSystem<Node> = {
    root,
    validMs: 0,
    stat: (node) => ({ kind: typeof node === 'function' ? 'file' : 'directory' }),
    list: (node) => Object.entries(node),
    readFile: (node) => (typeof node === 'function' ? node() : ''),
  };
  return { fs, counts: () => count };
}

function writeFolder(folder: string): string {
  mkdirSync(join(folder, 'deep', 'er'), { recursive: true });
  const content = Buffer.alloc(LARGE_BYTES, 'the same in all of them ');
  writeFileSync(join(folder, 'deep', 'large'), content);
  writeFileSync(join(folder, 'deep', 'er', 'tool'), '#!/bin/sh\necho it runs\n', { mode: 0o755 });
  writeFileSync(join(folder, 'empty'), '');
  symlinkSync('deep/large', join(folder, 'link'));
  return createHash('sha256').update(content).digest('hex');
}

/** False when this machine has no program for it. */
function zipFolder(folder: string, path: string): boolean {
  const { status } = spawnSync('zip', ['-q', '-r', '--symlinks', path, '.'], { cwd: folder });
  return status === 0;
}

/** What holds for each of the archives, and for a copy in memory. */
function checkCopy(tag: string, sha256: string): string {
  return `cd /${tag}
expect "${tag}: the names" "$(echo *)" "deep empty link"
expect "${tag}: a large file" "$(sum <link)" ${sha256}
expect "${tag}: the same, out of the cache" "$(sum <deep/large)" ${sha256}
expect "${tag}: a program" "$(deep/er/tool)" "it runs"
expect "${tag}: the middle of a file" "$(dd if=link bs=1 skip=4999999 2>/dev/null)" "e"
expect "${tag}: sizes" "$(stat -c %s empty deep/large | tr '\\n' ' ')" "0 ${LARGE_BYTES} "
`;
}

function guestScript(sha256: string, tags: readonly string[]): string {
  const archives = tags.filter((tag) => tag !== 'live' && tag !== 'memory');
  const readOnly = archives.map(
    (tag) =>
      `${checkCopy(tag, sha256)}! touch /${tag}/new 2>/dev/null || fail "${tag} is written"\n`,
  );
  return `${PRELUDE}
for tag in ${tags.join(' ')}; do
  mkdir -p /$tag
  mount -t virtiofs $tag /$tag || fail "mount $tag"
done
cd /live
expect "the names" "$(echo *)" "broken count deep large slow"
expect "what is always new" "$(cat count count count | tr '\\n' ' ')" "1 2 3 "
cat slow >/tmp/slow &
expect "others meanwhile" "$(cat deep/in/it)" "down here"
wait
expect "what takes its time" "$(cat /tmp/slow)" "worth waiting for"
expect "a large file" "$(wc -c <large)" ${LARGE_BYTES}
cat broken 2>/tmp/error && fail "a broken file was read"
expect "the error" "$(grep -c 'timed out' /tmp/error)" 1
! touch new 2>/dev/null || fail "a read-only file system is written"
${checkCopy('memory', sha256)}
cp -r /memory/deep /memory/copy
rm -r /memory/deep/er
mv /memory/copy/large /memory/deep/large
dd if=/dev/zero of=/memory/zeroes bs=1M count=8 2>/dev/null
expect "what is left" "$(find /memory | sort | tr '\\n' ' ')" \\
  "/memory /memory/copy /memory/copy/er /memory/copy/er/tool /memory/deep /memory/deep/large \\
/memory/empty /memory/link /memory/zeroes "
expect "the large file" "$(sum </memory/link)" ${sha256}
${readOnly.join('')}
cd /
umount ${tags.map((tag) => `/${tag}`).join(' ')} || fail "umount"
echo @done=yes
`;
}

async function useAll(context: TestContext, peers: Peers): Promise<void> {
  const folder = mkdtempSync('/tmp/vhu-fs-typescript-');
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const share = join(folder, 'share');
  const sha256 = writeFolder(share);
  const names = ['deep', 'empty', 'link'];
  execFileSync('tar', ['-cf', join(folder, 'a.tar'), '-C', share, ...names]);
  execFileSync('tar', ['-czf', join(folder, 'a.tar.gz'), '-C', share, ...names]);
  const hasZip = zipFolder(share, join(folder, 'a.zip'));
  if (!hasZip) context.diagnostic('without a zip archive: there is no program called zip');
  const live = liveFiles();
  const sources: Readonly<Record<string, FsSource>> = {
    live: { kind: 'file-system', fileSystem: live.fs },
    memory: { kind: 'memory', preload: share },
    tar: { kind: 'archive', path: join(folder, 'a.tar') },
    gzip: { kind: 'archive', path: join(folder, 'a.tar.gz') },
    ...(hasZip && { zip: { kind: 'archive', path: join(folder, 'a.zip') } }),
  };
  const shares = [];
  for (const [tag, source] of Object.entries(sources)) {
    const socketPath = join(folder, `${tag}.sock`);
    const device = openFs({ tag, source, offerConfig: false });
    const backend = await startBackend(device, { kind: 'listen', path: socketPath });
    context.after(() => backend.close());
    shares.push({ socketPath, tag });
  }
  const { values, seconds } = await runGuestOrThrow({
    peers,
    qemu: peers.qemu10,
    folder,
    shares,
    disks: [],
    cpus: 1, // emulating two, QEMU 10 may trip over the devices of the other (iotlb_to_section)
    script: guestScript(sha256, Object.keys(sources)),
    memory: 'memfd',
    timeoutMs: TIMEOUT_MS,
  });
  context.diagnostic(`${seconds.toFixed(1)} s`);
  assert.equal(values.get('done'), 'yes');
  assert.equal(live.counts(), 3);
}

const search = await ensurePeers();
if (search.peers === undefined) {
  test('a guest mounts what is no folder', { skip: missingPeers(search) }, () => undefined);
} else {
  const { peers } = search;
  test('a guest mounts file systems of TypeScript, memory and archives', (context) =>
    useAll(context, peers));
}
