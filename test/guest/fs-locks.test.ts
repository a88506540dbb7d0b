/**
 * `--shared-locks` with a real guest: its locks and those of its host's programs are the same ones.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { ERRNO, LOCK_OP, LOCK_TYPE, flockFd, ofdLock } from '../../src/sys/index.ts';
import { ensurePeers, missingPeers } from '../peers/setup.ts';
import type { Peers } from '../peers/setup.ts';
import { RunningProgram } from '../support/program.ts';
import { TAG, start } from './fs-scripts.ts';
import { runGuestOrThrow } from './qemu.ts';

/** The range of the POSIX lock that host and guest are after. */
const START = 100;
const LENGTH = 10;

/** Tries while the host holds both locks, and after it let go; then holds them in its turn. */
const SCRIPT = `cat >/tmp/locks.py <<'PYTHON'
import fcntl, os, time

def say(key, value):
    print('@%s=%s' % (key, value), flush=True)

def attempt(name, lock):
    with open('/mnt/' + name, 'r+') as file:
        try:
            lock(file)
            say(when + '.' + name, 'free')
        except BlockingIOError:
            say(when + '.' + name, 'held')

def flock(file):
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

def ranged(file):
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, ${LENGTH}, ${START})

def beside(file):
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, ${LENGTH}, ${START + LENGTH})

def wait_for(name):
    while not os.path.exists('/mnt/' + name):
        time.sleep(0.1)

for when in 'hostHolds', 'hostLetGo':
    say('wants', when)
    wait_for(when)
    attempt('whole', flock)
    attempt('range', ranged)
    attempt('beside', beside)

when = 'guestHolds'
whole, part = open('/mnt/whole', 'r+'), open('/mnt/range', 'r+')
flock(whole)
ranged(part)
say('wants', 'guestHolds')
wait_for('guestHolds')
os._exit(0) # without a word: the kernel gives them back
PYTHON
python3 /tmp/locks.py
echo "@wants=guestLetGo"
until [ -e /mnt/guestLetGo ]; do sleep 0.1; done
`;

/** The host's side: two open files, their locks, and what it found. */
class Host {
  readonly found: Record<string, readonly number[]> = {};
  readonly #share: string;
  readonly #whole: number;
  readonly #range: number;

  constructor(share: string) {
    this.#share = share;
    for (const name of ['whole', 'range', 'beside']) writeFileSync(join(share, name), '');
    this.#whole = openSync(join(share, 'whole'), 'r+');
    this.#range = openSync(join(share, 'range'), 'r+');
  }

  /** Does what the guest waits for, and says so. */
  hear(line: string): void {
    const wanted = /^@wants=(\S+)/.exec(line)?.[1];
    if (wanted === undefined) return;
    if (wanted === 'hostLetGo') this.#letGo();
    else this.found[wanted] = this.#take();
    if (wanted !== 'hostHolds') this.#letGo();
    writeFileSync(join(this.#share, wanted), '');
  }

  close(): void {
    closeSync(this.#whole);
    closeSync(this.#range);
  }

  #take(): number[] {
    return [
      flockFd(this.#whole, LOCK_OP.EXCLUSIVE | LOCK_OP.NO_WAIT),
      ofdLock(this.#range, LOCK_TYPE.WRITE, START, LENGTH),
    ];
  }

  #letGo(): void {
    flockFd(this.#whole, LOCK_OP.UNLOCK);
    ofdLock(this.#range, LOCK_TYPE.NONE, START, LENGTH);
  }
}

async function lock(context: TestContext, peers: Peers): Promise<void> {
  const folder = mkdtempSync('/tmp/vhu-fs-locks-');
  const share = join(folder, 'share');
  const socketPath = join(folder, 'fs.sock');
  mkdirSync(share);
  const host = new Host(share);
  const args = ['fs', share, '--shared-locks', '--cache', 'never', '--socket-path', socketPath];
  const server = new RunningProgram(args);
  context.after(async () => {
    host.close();
    await server[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });
  await server.says(/listening/);
  const { values } = await runGuestOrThrow({
    ...{ peers, qemu: peers.qemu10, folder, tools: true, memory: 'memfd', cpus: 1 },
    shares: [{ tag: TAG, socketPath }],
    script: start() + SCRIPT,
    onLine: (line) => host.hear(line),
  });
  const seen = (when: string): (string | undefined)[] =>
    ['whole', 'range', 'beside'].map((name) => values.get(`${when}.${name}`));
  assert.deepEqual(seen('hostHolds'), ['held', 'held', 'free']);
  assert.deepEqual(seen('hostLetGo'), ['free', 'free', 'free']);
  const { EAGAIN = 0 } = ERRNO as Record<string, number>;
  assert.deepEqual(host.found, {
    hostHolds: [0, 0],
    guestHolds: [-EAGAIN, -EAGAIN],
    guestLetGo: [0, 0],
  });
}

const search = await ensurePeers();
const title = 'locks of a guest are locks of its host with --shared-locks, and the other way round';
if (search.peers === undefined) {
  test(title, { skip: missingPeers(search) }, () => undefined);
} else {
  const { peers } = search;
  test(title, (context) => lock(context, peers));
}
