/**
 * Tests that try to get out of the sandbox from inside: the program serves a device, and code in
 * its threads does what an attacker would. The same is done without the sandbox, so that a way
 * that is shut for another reason proves nothing.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { PROGRAM_FILE, RunningProgram } from '../support/program.ts';
import { tellProof } from '../support/proof.ts';
import { sandboxAttempts } from '../support/sandbox-attempts.ts';
import type { Targets } from '../support/sandbox-attempts.ts';
import type { BreakerReport } from '../support/sandbox-breaker.ts';

const BREAKER = fileURLToPath(new URL('../support/sandbox-breaker.js', import.meta.url));
const isLinux = process.platform === 'linux';
const isRoot = process.geteuid?.() === 0;
const skip = isLinux ? false : 'Landlock and seccomp are of Linux';

let folder = '';
let targets: Targets = { folder: '', pid: 0 };
let sockets = 0;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhu-sandbox-'));
  const outside = join(folder, 'outside');
  mkdirSync(outside);
  writeFileSync(join(outside, 'there'), 'secret');
  targets = { folder: outside, pid: process.pid };
  mkdirSync(join(folder, 'share'));
  mkdirSync(join(folder, 'run'));
  writeFileSync(join(folder, 'disk.img'), '');
  truncateSync(join(folder, 'disk.img'), 1 << 20);
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** A device, and which ways out it needs itself. */
interface Device {
  readonly args: readonly string[];
  readonly has?: 'folder' | 'connections';
}

const DEVICES: Readonly<Record<string, () => Device>> = {
  blk: () => ({ args: ['blk', join(folder, 'disk.img')] }),
  rng: () => ({ args: ['rng'] }),
  console: () => ({ args: ['console', '--pty'] }),
  fs: () => ({ args: ['fs', join(folder, 'share')], has: 'folder' }),
  vsock: () => ({ args: ['vsock', '--uds-path', join(folder, 'run/v')], has: 'connections' }),
};

/** Serves a device and breaks out of it. */
async function breakOut(args: readonly string[]): Promise<BreakerReport> {
  sockets++;
  const socket = ['--socket-path', join(folder, 'run', `${String(sockets)}.sock`)];
  const mode = args.includes('none') ? [] : ['--sandbox', 'auto'];
  const program = new RunningProgram([...args, ...mode, ...socket], {
    file: BREAKER,
    env: { VHU_BREAKER_TARGETS: JSON.stringify(targets) },
  });
  try {
    await program.says(args.includes('none') ? /"event":"listening"/ : /"event":"sandbox"/);
    program.child.kill('SIGUSR2');
    const [, report = ''] = await program.says(/^BREAKER (.*)\n/m);
    return JSON.parse(report) as BreakerReport;
  } finally {
    program.child.kill('SIGTERM');
    const { code } = await program.ended;
    assert.equal(code, 0);
  }
}

test(
  'no way leads out of the sandbox of any device, from any thread',
  { skip },
  async (context) => {
    const attempts = sandboxAttempts(targets);
    let shut = 0;
    for (const [name, device] of Object.entries(DEVICES)) {
      const { args, has } = device();
      const report = await breakOut(args);
      for (const [thread, outcomes] of Object.entries({
        main: report.main,
        worker: report.worker,
      })) {
        assert.equal(outcomes.length, attempts.length);
        attempts.forEach((attempt, i) => {
          if (attempt.openFor === has && has !== undefined) return;
          assert.equal(outcomes[i], attempt.shut, `${name}, ${thread}: ${attempt.name}`);
          shut++;
        });
      }
      assert.deepEqual(report.pool, ['EACCES', 'EPERM'], `${name}, pool`);
      shut += report.pool.length;
    }
    const devices = Object.keys(DEVICES).length;
    tellProof(
      context,
      `sandbox: ${String(attempts.length)} ways out tried from 3 kinds of threads of ` +
        `${String(devices)} devices, all ${String(shut)} attempts shut`,
    );
  },
);

test(
  'each of these ways is open without the sandbox, or fails for another reason',
  { skip },
  async () => {
    const attempts = sandboxAttempts(targets);
    const report = await breakOut(['blk', join(folder, 'disk.img'), '--sandbox', 'none']);
    const same = attempts.filter(({ shut }, i) => {
      return report.main[i] === shut || report.worker[i] === shut;
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

test('a way out ends the program, where that is asked for', { skip }, async () => {
  const program = new RunningProgram(
    ['rng', '--seccomp', 'kill', '--socket-path', join(folder, 'run', 'kill.sock')],
    { file: BREAKER, env: { VHU_BREAKER_TARGETS: JSON.stringify(targets) } },
  );
  await program.says(/"event":"sandbox"/);
  program.child.kill('SIGUSR2');
  const { code, signal } = await program.ended;
  assert.deepEqual([code, signal], [null, 'SIGSYS']);
});

test(
  'a configuration that comes by a pipe is served, in as much of it as there can be',
  { skip },
  async () => {
    const socket = join(folder, 'run', 'pipe.sock');
    const config = `devices: [{ type: rng, socket-path: ${socket} }]`;
    const serve = `exec ${process.execPath} ${PROGRAM_FILE} run /dev/stdin --sandbox auto`;
    const command = `printf '%s' '${config}' | ${serve}`;
    const shell = spawn('sh', ['-c', command], {
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
    });
    let log = '';
    for await (const text of shell.stderr.setEncoding('utf8')) {
      log += String(text);
      if (log.includes('"event":"sandbox"')) process.kill(-(shell.pid ?? 0), 'SIGTERM');
    }
    assert.match(log, /"msg":"sandbox: Landlock \d+ of new threads, seccomp"/);
  },
);
