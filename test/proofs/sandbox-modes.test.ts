/**
 * Tests of `--sandbox` and `--seccomp` on hosts that have all of the sandbox, or not all of it.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, describe, it, test } from 'node:test';
import { runProgram, withProgram } from '../support/program.ts';
import type { StartOptions } from '../support/program.ts';
import { tellProof } from '../support/proof.ts';
import { sandboxAttempts } from '../support/sandbox-attempts.ts';
import { Rooms } from '../support/sandbox-rooms.ts';

const skip = process.platform === 'linux' ? false : 'Landlock and seccomp are of Linux';
const REFUSE = new URL('../support/refuse-sandbox.js', import.meta.url).href;

const rooms = new Rooms();
after(() => rooms.close());
let sockets = 0;
/** What was tried: hosts that lack something, and what is done about a call that is refused. */
const lacking = new Set<string>();
const answers = new Set<string>();

/** A host without these parts. */
function without(refused: string): StartOptions {
  lacking.add(refused);
  return { nodeArgs: ['--import', REFUSE], env: { VHU_REFUSED: refused } };
}

function mountSkip(): string | false {
  const mounts = process.geteuid?.() === 0 && spawnSync('unshare', ['-m', 'true']).status === 0;
  return mounts ? false : 'a mount namespace needs root';
}

function rng(...more: readonly string[]): { path: string; args: string[] } {
  const path = join(rooms.folder, 'run', `mode-${String(sockets++)}.sock`);
  return { path, args: ['rng', '--socket-path', path, '--log-format', 'json', ...more] };
}

/** What the log says of the sandbox, and what the kernel does of its filters (proc(5)). */
async function sandboxOf(
  args: readonly string[],
  options: StartOptions,
): Promise<{ text: string; seccomp: string }> {
  let text = '';
  let seccomp = '';
  await withProgram(args, options, async (program) => {
    [, text = ''] = await program.says(/"msg":"(sandbox: [^"]*)"/);
    const status = readFileSync(`/proc/${String(program.child.pid)}/status`, 'utf8');
    seccomp = /^Seccomp_filters:\t(\d+)$/m.exec(status)?.[1] ?? '';
    assert.equal((await program.end()).code, 0);
  });
  return { text, seccomp };
}

describe('--sandbox auto', { skip }, () => {
  it('goes on with the rest on a kernel without Landlock, and says so', async () => {
    const { text, seccomp } = await sandboxOf(rng().args, without('landlock'));
    assert.equal(text, 'sandbox: seccomp; not Landlock: this kernel has none');
    assert.equal(seccomp, '3'); // the one that takes Landlock away, and our two
  });

  it('says when Landlock is there, and switched off', async () => {
    const { text } = await sandboxOf(rng().args, without('landlock-off'));
    assert.match(text, /^sandbox: seccomp; not Landlock: it is switched off when this host boots$/);
  });

  it('goes on with Landlock where no filter can be installed', async () => {
    const { text, seccomp } = await sandboxOf(rng().args, without('seccomp'));
    assert.match(text, /^sandbox: Landlock \d+; not seccomp: this kernel refuses .*ENOSYS/);
    assert.equal(seccomp, '1'); // the one that takes seccomp away
  });

  it('goes on without Landlock where /proc is not mounted', { skip: mountSkip() }, () => {
    const { args } = rng();
    const script = 'mount --make-rprivate /; umount -l /proc; exec timeout -k 9 2 "$@"';
    const cli = new URL('../../src/cli/main.js', import.meta.url).pathname;
    const words = [script, 'sh', process.execPath, cli, ...args];
    const { stdout, stderr } = spawnSync('unshare', ['-m', 'sh', '-c', ...words], {
      encoding: 'utf8',
    });
    assert.match(stdout + stderr, /sandbox: seccomp; not Landlock: only \/proc tells/);
    assert.match(stdout + stderr, /"event":"ending"/);
  });

  it('serves where there is neither', async () => {
    const { text } = await sandboxOf(rng().args, without('landlock seccomp'));
    assert.match(text, /^sandbox: none; not Landlock: .*; not seccomp: /);
  });
});

describe('--sandbox required', { skip }, () => {
  for (const [refused, reason] of [
    ['landlock', /Landlock: this kernel has none/],
    ['landlock-off', /Landlock: it is switched off/],
    ['seccomp', /seccomp: this kernel refuses a filter/],
  ] as const) {
    it(`fails before it listens, and says why, without ${refused}`, async () => {
      const { path, args } = rng('--sandbox', 'required');
      const { code, stderr } = await runProgram(args, without(refused));
      assert.equal(code, 1, stderr);
      assert.match(stderr, /the sandbox is required, and not all of it is there: /);
      assert.match(stderr, reason);
      assert.ok(!existsSync(path));
    });
  }

  it('serves where all of it is there', async () => {
    const { text, seccomp } = await sandboxOf(rng('--sandbox', 'required').args, {});
    assert.match(text, /^sandbox: Landlock \d+, seccomp$/);
    assert.equal(seccomp, '2');
  });
});

describe('--seccomp', { skip }, () => {
  afterEach((context) => {
    answers.add(/^\w+/.exec(context.name)?.[0] ?? '');
  });

  it('none installs no filter, and leaves Landlock', async () => {
    const { text, seccomp } = await sandboxOf(rng('--seccomp', 'none').args, {});
    assert.match(text, /^sandbox: Landlock \d+; not seccomp: it is not wanted$/);
    assert.equal(seccomp, '0');
  });

  it('log makes the calls, and leaves Landlock', async () => {
    const report = await rooms.breakOut(['rng', '--seccomp', 'log']);
    const at = (name: string): number =>
      sandboxAttempts(rooms.targets).findIndex((each) => each.name === name);
    for (const outcomes of [report.main, report.worker]) {
      assert.equal(outcomes[at('socket(2, 1)')], 'ok');
      assert.equal(outcomes[at('open(/etc/passwd, 0)')], 'EACCES');
    }
  });

  it('trap sends a signal, which a program can catch', async () => {
    const program = rooms.start(['rng', '--seccomp', 'trap'], {
      env: { VHU_BREAKER_CATCHES: '1' },
    });
    await program.says(/"event":"sandbox"/);
    program.child.kill('SIGUSR2');
    await program.says(/^BREAKER caught SIGSYS$/m);
    program.child.kill('SIGKILL');
    await program.ended;
  });

  it('kill ends the program, whatever it catches', async () => {
    const program = rooms.start(['rng', '--seccomp', 'kill'], {
      env: { VHU_BREAKER_CATCHES: '1' },
    });
    await program.says(/"event":"sandbox"/);
    program.child.kill('SIGUSR2');
    const { code, signal, stderr } = await program.ended;
    assert.deepEqual([code, signal], [null, 'SIGSYS']);
    assert.doesNotMatch(stderr, /BREAKER/);
  });
});

test('all of it was tried', { skip }, (context) => {
  assert.deepEqual([...answers], ['none', 'log', 'trap', 'kill']);
  const hosts = `${String(lacking.size)} hosts that lack a part of it`;
  tellProof(context, `sandbox modes: ${hosts}, ${String(answers.size)} answers to a refused call`);
});
