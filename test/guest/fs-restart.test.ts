/**
 * `vhost-user fs` when things end in the middle: a guest that is reset while it writes, a second
 * guest after the first, and a server that is killed; what had been synced is whole on the host.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { descriptorKinds, fsReference, startFsServer, stopServer } from '../peers/servers.ts';
import { ensurePeers, missingPeers } from '../peers/setup.ts';
import type { Peers } from '../peers/setup.ts';
import { sha256 } from './blk-scripts.ts';
import { TAG, start } from './fs-scripts.ts';
import { runGuest, runGuestOrThrow } from './qemu.ts';

const BOOTS = 3;
const SYNCED_FILES = 40; // so many are whole before the server is killed
const TIMEOUT_MS = 400_000; // some 20 s on an idle machine
const CLOSE_MS_MAX = 10_000;
const STEADY_SAMPLES = 20;

const search = await ensurePeers();
if (search.peers === undefined) {
  test('a shared folder outlives its guest', { skip: missingPeers(search) }, () => undefined);
} else {
  const { peers } = search;
  for (const host of ['native', 'posix'] as const) {
    test(`a guest that is reset while it writes finds its folder again: ${host}`, (context) =>
      resetGuest(context, peers, host));
  }
  for (const writeback of [false, true]) {
    const how = writeback ? 'with writeback' : 'without writeback';
    test(`what a guest has synced is whole when the server is killed, ${how}`, (context) =>
      killServer(context, peers, writeback));
  }
}

/** Checks what the boots before this one have synced, and is reset in the middle of writing. */
const REBOOTING = `boot=$(( $(cat /mnt/boots 2>/dev/null || echo 0) + 1 ))
for file in /mnt/synced.*; do
  [ -e "$file" ] || continue
  expect "the sum of $file" "$(sum <$file)" "$(cat /mnt/sum.\${file##*.})"
done
head -c 3000000 /dev/urandom >/mnt/synced.$boot
sum </mnt/synced.$boot >/mnt/sum.$boot
echo $boot >/mnt/boots
sync /mnt/synced.$boot /mnt/sum.$boot /mnt/boots /mnt
exec 7>/mnt/open.$boot 8<>/mnt/boots 9</mnt
rm /mnt/open.$boot
if [ $boot -lt ${BOOTS} ]; then
  mkfifo /mnt/fifo.$boot
  while true; do cat /dev/zero | head -c 10000000 >/mnt/unsynced.$boot; done &
  while true; do ls -lR /mnt >/tmp/list; done &
  flock 8 sleep 100 &
  sleep 2
  echo "@reset.$boot=now"
  echo b >/proc/sysrq-trigger
  sleep 100
fi
echo "@boots=$boot"
`;

async function resetGuest(
  context: TestContext,
  peers: Peers,
  host: 'native' | 'posix',
): Promise<void> {
  const folder = newFolder(context);
  const share = join(folder, 'share');
  const socketPath = join(folder, 'fs.sock');
  const served = { peers, sharedDir: share, socketPath, tag: TAG, host };
  const server = await startFsServer(served);
  context.after(() => server.stop('SIGKILL'));
  const idle = await steadyCount(server.pid);
  const guest = {
    peers,
    qemu: peers.qemu10,
    folder,
    tools: true,
    reboots: true,
    shares: [{ socketPath, tag: TAG }],
    script: start() + REBOOTING,
    memory: host === 'posix' ? 'shm' : 'memfd',
    timeoutMs: TIMEOUT_MS,
  } as const;
  const first = await runGuestOrThrow(guest).catch((error: unknown) => {
    throw new Error(`${String(error)}\nThe server:\n${server.output}`, { cause: error });
  });
  assert.equal(first.values.get('boots'), String(BOOTS));
  context.diagnostic(`${first.seconds.toFixed(1)} s`);
  if (fsReference) return; // virtiofsd has ended with its VMM
  await settlesAt(server.pid, idle);
  const second = await runGuestOrThrow(guest);
  assert.equal(second.values.get('boots'), String(BOOTS + 1), 'a second guest at the same server');
  await settlesAt(server.pid, idle);
  await stopServer(server);
  for (let boot = 1; boot <= BOOTS + 1; boot++) {
    const sum = readFileSync(join(share, `sum.${boot}`), 'utf8').trim();
    assert.equal(sha256(readFileSync(join(share, `synced.${boot}`))), sum);
  }
}

/** Writes files, syncs each and says its sum; beside it a program writes and syncs nothing. */
const SYNCING = `while true; do head -c 5000000 /dev/urandom >/mnt/unsynced; done &
cat >/tmp/sync.py <<'PYTHON'
import hashlib, os
for i in range(100000):
    data = os.urandom(1 + i * 7919 % 300_000)
    fd = os.open(f"/mnt/test/synced.{i}", os.O_CREAT | os.O_WRONLY, 0o644)
    for at in range(0, len(data), 50_000):
        os.write(fd, data[at : at + 50_000])
    os.fsync(fd)
    os.close(fd)
    print(f"@synced.{i}={hashlib.sha256(data).hexdigest()}", flush=True)
PYTHON
python3 /tmp/sync.py
`;

async function killServer(context: TestContext, peers: Peers, writeback: boolean): Promise<void> {
  const folder = newFolder(context);
  const share = join(folder, 'share');
  const socketPath = join(folder, 'fs.sock');
  const cache = writeback ? 'always' : 'auto';
  const server = await startFsServer({
    ...{ peers, sharedDir: share, socketPath, tag: TAG },
    ...{ cache, writeback },
  });
  context.after(() => server.stop('SIGKILL'));
  const killed = new AbortController();
  const guest = await runGuest({
    peers,
    qemu: peers.qemu10,
    folder,
    tools: true,
    shares: [{ socketPath, tag: TAG }],
    script: start() + SYNCING,
    memory: 'memfd',
    timeoutMs: TIMEOUT_MS,
    signal: killed.signal,
    onLine: (line) => {
      if (!line.startsWith(`@synced.${SYNCED_FILES}=`)) return;
      void server.stop('SIGKILL');
      setTimeout(() => killed.abort(), 1_000); // the guest says what else is synced, wrongly or not
    },
  });
  const { signal } = await server.ended;
  const said = `${guest.output.slice(-4_000)}\n${server.output}`;
  assert.equal(signal, 'SIGKILL', said);
  const sums = [...guest.values].filter(([name]) => name.startsWith('synced.'));
  assert.ok(sums.length > SYNCED_FILES, said);
  for (const [name, sum] of sums) {
    assert.equal(sha256(readFileSync(join(share, 'test', name))), sum, name);
  }
  context.diagnostic(`${sums.length} files, ${guest.seconds.toFixed(1)} s`);
}

function newFolder(context: TestContext): string {
  const folder = mkdtempSync('/tmp/vhost-user-fs-restart-');
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, 'share'));
  return folder;
}

function descriptorCount(pid: number): number {
  return [...descriptorKinds(pid).values()].reduce((sum, count) => sum + count, 0);
}

/** How many descriptors a server has that is done with starting: its threads open some, too. */
async function steadyCount(pid: number): Promise<number> {
  let count = -1;
  for (let same = 0; same < STEADY_SAMPLES; same++) {
    const now = descriptorCount(pid);
    if (now !== count) same = 0;
    count = now;
    await sleep(50);
  }
  return count;
}

/** A server without a guest closes its descriptors, soon. */
async function settlesAt(pid: number, count: number): Promise<void> {
  const deadline = performance.now() + CLOSE_MS_MAX;
  while (descriptorCount(pid) > count && performance.now() < deadline) await sleep(50);
  const kinds = JSON.stringify([...descriptorKinds(pid)]);
  assert.ok(descriptorCount(pid) <= count, `${count} descriptors at most, not ${kinds}`);
}
