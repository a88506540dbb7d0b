/**
 * Tests that try to get out of the sandbox from inside: the program serves a device as users start
 * it, and code in its threads does what an attacker would. The same is done without the sandbox,
 * so that a way that is shut for another reason proves nothing.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { peerCache } from '../peers/setup.ts';
import { PROGRAM_FILE } from '../support/program.ts';
import { tellProof } from '../support/proof.ts';
import { sandboxAttempts } from '../support/sandbox-attempts.ts';
import { Rooms } from '../support/sandbox-rooms.ts';

const isLinux = process.platform === 'linux';
const isRoot = process.geteuid?.() === 0;
const skip = isLinux ? false : 'Landlock and seccomp are of Linux';
const SETPRIV = 'setpriv';
/** Debian's user without rights. */
const NOBODY = ['--reuid=65534', '--regid=65534', '--clear-groups'];

const rooms = new Rooms();
after(() => rooms.close());

test(
  'no way leads out of the sandbox of any device, from any thread',
  { skip },
  async (context) => {
    const all = Object.entries(rooms.all());
    let shut = 0;
    for (const [name, room] of all) shut += await rooms.expectShut(name, room);
    tellProof(
      context,
      `sandbox: ${String(sandboxAttempts(rooms.targets).length)} ways out tried from 3 kinds of ` +
        `threads of ${String(all.length)} devices, all ${String(shut)} attempts shut`,
    );
  },
);

test(
  'each of these ways is open without the sandbox, or fails for another reason',
  { skip },
  async () => {
    const attempts = sandboxAttempts(rooms.targets);
    const report = await rooms.breakOut(['rng', '--sandbox', 'none']);
    const same = attempts.filter((attempt, i) => {
      const wanted: unknown[] = [attempt.shut, attempt.shutInInternet, attempt.shutInNamespace];
      return wanted.includes(report.main[i]) || wanted.includes(report.worker[i]);
    });
    // Without rights there are fewer ways to begin with.
    if (isRoot)
      assert.deepEqual(
        same.map(({ name }) => name),
        [],
      );
    else assert.ok(same.length < attempts.length / 2);
    assert.deepEqual(report.pool, ['ok', 'ok']);
  },
);

test('whoever is not root has the same sandbox', { skip: nobodySkip() }, async () => {
  const { blk, fs, vsock } = rooms.all();
  for (const [name, room] of Object.entries({ blk, fs, vsock })) {
    assert.ok(room !== undefined);
    await rooms.expectShut(`${name} of nobody`, room, { within: [SETPRIV, ...NOBODY] });
  }
});

function nobodySkip(): string | false {
  if (!isLinux) return 'Landlock and seccomp are of Linux';
  if (!isRoot) return 'the other tests are run by somebody who is not root';
  const started = spawnSync(SETPRIV, [...NOBODY, process.execPath, PROGRAM_FILE, '--version']);
  return started.status === 0 ? false : 'nobody cannot read this program';
}

for (const major of [22, 24, 26]) {
  test(`no way leads out of it on Node ${String(major)}`, { skip }, async (context) => {
    const node = join(peerCache(), 'node', String(major));
    if (!existsSync(node)) {
      context.skip(`Node ${String(major)} is not there: the set-up step fetches it`);
      return;
    }
    const { blk, fs, vsock } = rooms.all();
    for (const [name, room] of Object.entries({ blk, fs, vsock })) {
      assert.ok(room !== undefined);
      await rooms.expectShut(`${name} on Node ${String(major)}`, room, { node });
    }
  });
}

test(
  'a configuration that comes by a pipe is served, in as much of it as there can be',
  { skip },
  async () => {
    assert.match(
      await servePiped('auto'),
      /"msg":"sandbox: Landlock \d+ of new threads, seccomp; not Landlock of Node's own/,
    );
  },
);

test('that much is not all, where all of it is required', { skip }, async () => {
  assert.match(
    await servePiped('required'),
    /the sandbox is required, and not all of it is there: Landlock of Node's own/,
  );
});

/** Serves until there is a sandbox, or an error. Node's own pipes are sockets: a shell makes it. */
async function servePiped(mode: string): Promise<string> {
  const socket = join(rooms.folder, 'run', 'pipe.sock');
  const config = JSON.stringify({ devices: [{ type: 'rng', 'socket-path': socket }] });
  const serve = `exec ${process.execPath} ${PROGRAM_FILE} run /dev/stdin --sandbox ${mode}`;
  const shell = spawn('sh', ['-c', `printf '%s' '${config}' | ${serve} --log-format json`], {
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  });
  let log = '';
  for await (const text of shell.stderr.setEncoding('utf8')) {
    log += String(text);
    if (log.includes('"event":"sandbox"')) process.kill(-(shell.pid ?? 0), 'SIGTERM');
  }
  return log;
}
