/**
 * As whom a thread makes files: other threads, and this one afterwards, are who they were.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { ERRNO, NativeBlock, O, closeFd, effectiveUid, fdLimit, host, openAt } from './index.ts';
import { isCaseInsensitive, raiseFdLimit, restoreFsIdentity } from './index.ts';
import { overrideFsAccess, setFsIdentity, setUmask } from './index.ts';

const native = process.platform === 'linux' && host().mode === 'native';
const root = process.getuid?.() === 0;
const EPERM = ERRNO.EPERM as number;
const EACCES = ERRNO.EACCES as number;
const ENOSYS = ERRNO.ENOSYS as number;
const DOOR = new URL(`./index.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url);

let folder = '';
let dir = -1;
const block = new NativeBlock(64);

function create(name: string, mode = 0o666, folderFd: number = dir): number {
  block.bytes.fill(0);
  block.bytes.set(new TextEncoder().encode(name));
  const fd = openAt(folderFd, block.address, O.O_CREAT | O.O_WRONLY, mode);
  if (fd >= 0) closeFd(fd);
  return fd < 0 ? fd : 0;
}

/** Runs statements in a worker that has this layer as `sys`, and returns what they post. */
async function inThread(body: string, workerData?: Int32Array): Promise<unknown> {
  const code = `import { parentPort, workerData } from 'node:worker_threads';
    import { statSync, writeFileSync } from 'node:fs';
    const sys = await import(${JSON.stringify(DOOR.href)});
    parentPort.postMessage(await (async () => { ${body} })());`;
  const url = new URL(`data:text/javascript,${encodeURIComponent(code)}`);
  const worker = new Worker(url, { workerData });
  return new Promise((resolve, reject) => {
    worker.once('message', resolve).once('error', reject);
  });
}

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhu-identity-'));
  chmodSync(folder, 0o777);
  dir = openSync(folder, 'r');
});
after(() => {
  closeFd(dir);
  rmSync(folder, { recursive: true });
  block.free();
});

describe('the identity of a thread', () => {
  it('is an error number where only processes have one', { skip: native }, () => {
    assert.equal(setFsIdentity(1000, 1000), -ENOSYS);
    restoreFsIdentity();
    assert.equal(effectiveUid(), process.geteuid?.());
  });

  it('owns what it makes, and has its rights', { skip: !native || !root }, () => {
    writeFileSync(join(folder, 'secret'), '', { mode: 0o600 });
    assert.equal(setFsIdentity(1234, 4_000_000_000), 0);
    const made = create('made');
    const secret = create('secret');
    assert.equal(setFsIdentity(1235, 7), 0, 'from one to another without a way back between');
    const other = create('other');
    restoreFsIdentity();
    assert.deepEqual([made, secret, other], [0, -EACCES, 0]);
    const owner = (name: string): number[] => {
      const { uid, gid } = statSync(join(folder, name));
      return [uid, gid];
    };
    assert.deepEqual(owner('made'), [1234, 4_000_000_000]);
    assert.deepEqual(owner('other'), [1235, 7]);
    assert.equal(create('mine'), 0);
    assert.deepEqual(owner('mine'), [0, process.getegid?.() ?? 0]);
    assert.equal(create('secret'), 0, 'root again');
  });

  it('may have root’s access, and what it makes is its own', { skip: !native || !root }, () => {
    const closed = join(folder, 'closed');
    mkdirSync(closed, { mode: 0o700 });
    const closedDir = openSync(closed, 'r');
    try {
      assert.equal(setFsIdentity(1234, 99), 0);
      const refused = create('made', 0o666, closedDir);
      assert.equal(overrideFsAccess(), 0);
      const made = create('made', 0o666, closedDir);
      restoreFsIdentity();
      assert.equal(setFsIdentity(1234, 99), 0);
      const again = create('again', 0o666, closedDir);
      restoreFsIdentity();
      assert.deepEqual([refused, made, again], [-EACCES, 0, -EACCES]);
      const { uid, gid } = statSync(join(closed, 'made'));
      assert.deepEqual([uid, gid], [1234, 99]);
    } finally {
      restoreFsIdentity();
      closeFd(closedDir);
    }
  });

  it('is no other thread’s', { skip: !native || !root }, async () => {
    const path = join(folder, 'by-thread');
    const shared = new Int32Array(new SharedArrayBuffer(8));
    const uid = inThread(
      `Atomics.store(workerData, 0, 1);
      Atomics.wait(workerData, 1, 0, 30_000);
      writeFileSync(${JSON.stringify(path)}, '');
      return statSync(${JSON.stringify(path)}).uid;`,
      shared,
    );
    const until = Date.now() + 30_000;
    while (Atomics.load(shared, 0) === 0 && Date.now() < until) await setTimeout(5);
    assert.equal(setFsIdentity(1234, 1234), 0);
    try {
      Atomics.store(shared, 1, 1); // the thread has been there before, and inherits nothing
      Atomics.notify(shared, 1);
      const made = (): boolean => existsSync(path);
      while (!made() && Date.now() < until);
    } finally {
      restoreFsIdentity();
    }
    assert.equal(await uid, 0);
    const result = await inThread(`const set = sys.setFsIdentity(99, 99);
      return [set, sys.effectiveUid()];`);
    assert.deepEqual(result, [0, 0]);
    assert.equal(create('mine-still'), 0);
    assert.equal(statSync(join(folder, 'mine-still')).uid, 0);
  });

  it('that is no number of a user changes nothing', { skip: !native || !root }, () => {
    assert.equal(setFsIdentity(0xffff_ffff, 5), -EPERM);
    assert.equal(create('no-user'), 0);
    const { uid, gid } = statSync(join(folder, 'no-user'));
    assert.deepEqual([uid, gid], [0, process.getegid?.()]);
  });

  it('cannot be another’s without the right to it', { skip: !native || !root }, () => {
    const code = `process.setgid(1000); process.setuid(1000);
      const sys = await import(${JSON.stringify(DOOR.href)});
      console.log(JSON.stringify([sys.setFsIdentity(0, 0), sys.setFsIdentity(1000, 0),
        sys.setFsIdentity(1000, 1000)]));`;
    const run = spawnSync(process.execPath, ['--input-type=module', '-e', code]);
    if (run.status !== 0) return; // a user that may not read this folder
    assert.deepEqual(JSON.parse(run.stdout.toString()), [-EPERM, -EPERM, 0]);
  });
});

describe('the mask of new files', () => {
  it('is the process’s, and its former value is told', () => {
    const former = setUmask(0o027);
    assert.equal(create('masked'), 0);
    assert.equal(setUmask(former), 0o027);
    assert.equal(statSync(join(folder, 'masked')).mode & 0o777, 0o640);
  });

  it('becomes one thread’s own, where the host can', async () => {
    const path = JSON.stringify(join(folder, 'unmasked'));
    const result = (await inThread(`
      const before = sys.threadUmask(0o022);
      const isolated = [sys.isolateUmask(), sys.isolateUmask()];
      writeFileSync(${path}, '', { mode: 0o666 });
      const own = sys.threadUmask(0o077);
      return { before, isolated, own, mode: statSync(${path}).mode & 0o777 };`)) as {
      mode: number;
    };
    const { mode, ...rest } = result;
    const own = native ? 0 : -ENOSYS;
    assert.deepEqual(rest, { before: -ENOSYS, isolated: [native, native], own });
    const former = setUmask(0o022);
    setUmask(former);
    assert.notEqual(former, 0o077, 'this thread has kept its mask');
    assert.equal(mode, native ? 0o666 : 0o666 & ~former);
  });
});

describe('the limit of open fds', () => {
  it('is raised as far as it goes', () => {
    const { soft, hard } = fdLimit();
    assert.ok(soft > 0 && soft <= hard);
    const raised = raiseFdLimit();
    assert.ok(raised >= soft && raised <= hard);
    assert.equal(fdLimit().soft, raised);
    if (process.platform === 'linux') assert.equal(raised, hard);
  });

  it('is raised from what a shell has set', () => {
    // Node raises it itself when it starts, so it is lowered again.
    const code = `const sys = await import(${JSON.stringify(DOOR.href)});
      console.log(JSON.stringify([sys.fdLimit(), sys.raiseFdLimit()]));`;
    const node = `exec "${process.execPath}" --input-type=module -e '${code}'`;
    const run = spawnSync('sh', ['-c', `ulimit -n 256 && ${node}`]);
    assert.equal(run.status, 0, run.stderr.toString());
    const expected = [{ soft: 256, hard: 256 }, 256];
    assert.deepEqual(JSON.parse(run.stdout.toString()), expected);
  });
});

describe('names that differ in case only', () => {
  it('are different on Linux', { skip: process.platform !== 'linux' }, () => {
    assert.equal(isCaseInsensitive(dir), false);
  });
});
