/**
 * Every device on a host that is short of something: of descriptors, of /proc, of shared memory.
 * Each works, or the error says what is missing and what to do.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { withBundledProgram } from '../support/bundled.ts';
import { tellProof } from '../support/proof.ts';
import { withProgram } from '../support/program.ts';
import type { StartOptions } from '../support/program.ts';
import { run, strictOptions, withDevices } from './strict/rig.ts';
import type { StrictRun } from './strict/rig.ts';

const FEW_FDS = 64;
const ENOUGH_FDS = 128;
const ONE_EACH = [
  ['blk', 'disk.img'],
  ['fs', 'share'],
  ['vsock', '--uds-path', 'host.vsock'],
  ['rng'],
  ['console', '--unix', 'console.end'],
];

/** A process that has mounts of its own: it mounts, and becomes the program. */
function mounted(mounts: string): StartOptions {
  return { within: ['unshare', '--mount', 'sh', '-c', `${mounts} && exec "$@"`, 'sh'] };
}

const NO_PROC = mounted('mount -t tmpfs -o ro none /proc');
const NO_SHM = mounted('mount -t tmpfs -o ro none /dev/shm');

/** Of a bundle, whose files are not there when the lines that ran are counted. */
const UNCOUNTED = { NODE_V8_COVERAGE: '' };

const isPosix = process.env['VHOST_USER_HOST'] === 'posix';

function mountSkip(): string | false {
  if (process.platform !== 'linux') return 'mounts of its own are of Linux';
  const { status } = spawnSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'none', '/dev/shm']);
  return status === 0 ? false : 'only root may give a process mounts of its own';
}

function expectAllWell(
  { frontEnd }: StrictRun,
  except: Readonly<Record<string, string>> = {},
): void {
  const wanted = Object.keys(frontEnd.results).map((name) => [name, except[name] ?? 'ok']);
  assert.deepEqual(frontEnd.results, Object.fromEntries(wanted));
}

/** What the mode of every POSIX host answers, as it would without these calls. */
const POSIX_ANSWERS = {
  'fs allocate': 'EOPNOTSUPP',
  'fs rename, no replace': 'EINVAL',
  'fs sync all': 'ENOSYS',
  'fs lock': 'ENOSYS',
};
const ANSWERS = isPosix ? POSIX_ANSWERS : {};

describe('five devices', () => {
  it(`work with ${FEW_FDS} descriptors, each in a process of its own`, async (context) => {
    // As it is published: of single modules Node opens more than so many at once.
    await withBundledProgram(async (file) => {
      for (const args of ONE_EACH) {
        await withDevices(async (cwd) => {
          const all = [...args, '--socket-path', 'one.sock', '--log-format', 'json'];
          const how = { cwd, file, fdLimit: FEW_FDS, env: UNCOUNTED };
          await withProgram(all, how, async (program) => {
            await program.says(/"event":"listening"/);
            const ended = await program.end();
            assert.equal(ended.code, 0, ended.stderr);
          });
        });
      }
    });
    const devices = ONE_EACH.length;
    tellProof(context, `scarce host: ${devices} devices, each with ${FEW_FDS} descriptors`);
  });

  it(`work with ${ENOUGH_FDS} descriptors in one process, and say if it has too few`, async () => {
    const enough = { fdLimit: ENOUGH_FDS };
    expectAllWell(await run(enough, enough), ANSWERS);
    await assert.rejects(run({ fdLimit: FEW_FDS }, {}), /EMFILE.*\n.*'ulimit -n 1024'/);
  });

  // Without fchmodat2(2), which POSIX hosts do not have, glibc needs /proc for fchmodat(3).
  const procSkip = isPosix ? "glibc's fchmodat needs /proc" : mountSkip();
  it('work where /proc is not mounted, and the log says so', { skip: procSkip }, async () => {
    const { backEnd, ...rest } = await run(NO_PROC, NO_PROC);
    expectAllWell({ backEnd, ...rest });
    assert.ok(backEnd.fallbacks.includes('fs: /proc/self/fd/: the names of files'));
  });

  it('work where /dev/shm is not writable, if there is memfd', { skip: mountSkip() }, async () => {
    const result = await run({}, NO_SHM);
    if (!isPosix) expectAllWell(result);
    else expectNoMemory(result);
  });

  it('say what to do where there is no shared memory at all', { skip: mountSkip() }, async () => {
    // The back-end has no use for shared memory of its own: it lives, and serves the next one.
    expectNoMemory(await run({}, { ...NO_SHM, ...strictOptions(['memfd_create']) }));
  });
});

function expectNoMemory({ frontEnd }: StrictRun): void {
  const said = ['disk', 'random', 'sockets', 'screen', 'files'].map((name) => {
    return frontEnd.results[name] ?? '';
  });
  for (const text of said) {
    assert.match(text, /shm_open\(\/vhu-[0-9a-f]+\): EROFS: .*\/dev\/shm.*mount -t tmpfs/s);
  }
}
