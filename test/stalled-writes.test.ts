/**
 * A file system that stalls writes: ext4, which cannot say of a write whether it would wait, frozen
 * by fsfreeze(8) as a full or slow disk stalls it. What is not written goes on meanwhile.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { BlkClient, FsClient } from '../src/frontend/index.ts';
import { Uring } from '../src/sys/index.ts';
import { withProgram } from './support/program.ts';

const MIB = 1024 * 1024;
const BLOCK = 4096;
/** Two writes that stall for so long send the following ones to io_uring for 32 times as long. */
const STALL_MS = 100;
/** A read that is answered takes less, one that waits for a frozen file system never ends. */
const READ_MS_MAX = 20_000;
/** Writes of which the first says that the file system cannot tell. */
const WARM_WRITES = 3;
/** A machine that was busy for so long after a stall has the device try such writes anew. */
const FORGET_MS = 16 * STALL_MS;
const ATTEMPTS_MAX = 20;

/** What a device does with its file. */
interface Target {
  write(offset: number): Promise<unknown>;
  read(offset: number): Promise<unknown>;
  flush(): Promise<unknown>;
}

function hasUring(): boolean {
  const ring = Uring.open(8);
  ring?.close();
  return ring !== null;
}

function skipReason(): string | false {
  if (process.platform !== 'linux') return 'ext4 and io_uring are of Linux';
  if (process.env['VHOST_USER_HOST'] === 'posix') return 'POSIX mode has nothing to fall back to';
  if (!hasUring()) return 'there is no io_uring here';
  try {
    withExt4(() => undefined);
    return false;
  } catch (error) {
    return `no ext4 can be made and mounted here: ${String(error).split('\n', 1)[0] ?? ''}`;
  }
}

/** Runs `body` with a new ext4 that is mounted. */
function withExt4<T>(body: (mount: string, dir: string) => T): T {
  const dir = mkdtempSync(join(tmpdir(), 'vhu-ext4-'));
  const mount = join(dir, 'mount');
  const run = (file: string, ...args: string[]): unknown =>
    execFileSync(file, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const cleanUp = (): void => rmSync(dir, { recursive: true });
  try {
    mkdirSync(mount);
    writeFileSync(join(dir, 'ext4.img'), '');
    truncateSync(join(dir, 'ext4.img'), 64 * MIB);
    run('mkfs.ext4', '-q', join(dir, 'ext4.img'));
    run('mount', '-o', 'loop', join(dir, 'ext4.img'), mount);
  } catch (error) {
    cleanUp();
    throw error;
  }
  const end = (): void => {
    run('umount', mount);
    cleanUp();
  };
  let result;
  try {
    result = body(mount, dir);
  } catch (error) {
    end();
    throw error;
  }
  if (result instanceof Promise) return result.finally(end) as T;
  end();
  return result;
}

/** Runs `body` while nothing can be written; it is thawed whatever happens. */
async function frozen(mount: string, body: () => Promise<void>): Promise<void> {
  execFileSync('fsfreeze', ['--freeze', mount]);
  try {
    await body();
  } finally {
    execFileSync('fsfreeze', ['--unfreeze', mount]);
  }
}

async function inTime(what: string, work: Promise<unknown>): Promise<void> {
  const timer = new AbortController();
  const late = sleep(READ_MS_MAX, 'late', { signal: timer.signal });
  late.catch(() => undefined);
  assert.notEqual(await Promise.race([work, late]), 'late', what);
  timer.abort();
}

async function expectReadsGoOn(mount: string, target: Target): Promise<void> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    if (await tryReadsGoOn(mount, target)) return;
  }
  assert.fail('this machine is too busy: no two stalls came soon after each other');
}

/** Whether the read could be tried: soon enough after two stalls. */
async function tryReadsGoOn(mount: string, target: Target): Promise<boolean> {
  for (let i = 0; i < WARM_WRITES; i++) await target.write(i * BLOCK);
  await target.flush();
  for (let stall = 0; stall < 2; stall++) {
    const begun: Promise<unknown>[] = [];
    await frozen(mount, async () => {
      begun.push(target.write(0));
      await sleep(STALL_MS);
    });
    await Promise.all(begun);
  }
  const stalledMs = performance.now();
  let [isWritten, isTried] = [false, false];
  const begun: Promise<unknown>[] = [];
  await frozen(mount, async () => {
    isTried = performance.now() - stalledMs < FORGET_MS;
    if (!isTried) return;
    begun.push(...[0, 1, 2].map((i) => target.write(i * BLOCK)));
    void Promise.race(begun).then(() => (isWritten = true));
    await sleep(STALL_MS / 10);
    await inTime('reads go on while writes are stalled', target.read(MIB));
    assert.equal(isWritten, false, 'the writes are stalled');
  });
  await Promise.all(begun); // each write is carried out in the end
  return isTried;
}

describe('writes that a file system stalls', { skip: skipReason() }, () => {
  it('do not hold up the reads of a disk', () =>
    withExt4(async (mount, cwd) => {
      writeFileSync(join(mount, 'disk.img'), Buffer.alloc(4 * MIB, 7));
      const args = ['blk', join(mount, 'disk.img'), '--socket-path', 's'];
      await withProgram(args, { cwd }, async (program) => {
        await program.says(/listening/);
        const client = await BlkClient.connect(join(cwd, 's'));
        const bytes = new Uint8Array(BLOCK).fill(1);
        const into = new Uint8Array(BLOCK);
        await expectReadsGoOn(mount, {
          write: (offset) => client.write(offset, bytes),
          read: (offset) => client.read(offset, into),
          flush: () => client.flush(),
        });
        assert.equal(into[0], 7);
        await client.close();
      });
    }));

  it('do not hold up what else is asked of a folder', () =>
    withExt4(async (mount, cwd) => {
      writeFileSync(join(mount, 'file'), Buffer.alloc(4 * MIB, 7));
      await withProgram(['fs', mount, '--socket-path', 's'], { cwd }, async (program) => {
        await program.says(/listening/);
        const client = await FsClient.mount(join(cwd, 's'));
        const file = await client.open('/file', 'r+');
        const bytes = new Uint8Array(BLOCK).fill(1);
        await expectReadsGoOn(mount, {
          write: (offset) => file.write(bytes, 0, BLOCK, offset),
          read: async (offset) => {
            const { bytesRead } = await file.read(new Uint8Array(BLOCK), 0, BLOCK, offset);
            assert.equal(bytesRead, BLOCK);
            await client.stat('/file');
          },
          flush: () => file.datasync(),
        });
        await file.close();
        await client.unmount();
      });
    }));

  it('never hold up a folder when each of them has to reach the disk', () =>
    withExt4(async (mount, cwd) => {
      writeFileSync(join(mount, 'file'), Buffer.alloc(MIB, 7));
      await withProgram(['fs', mount, '--socket-path', 's'], { cwd }, async (program) => {
        await program.says(/listening/);
        const client = await FsClient.mount(join(cwd, 's'));
        const file = await client.open('/file', 'rs+'); // O_SYNC
        const begun: Promise<unknown>[] = [];
        await frozen(mount, async () => {
          begun.push(file.write(new Uint8Array(BLOCK).fill(1), 0, BLOCK, 0));
          await sleep(STALL_MS / 10);
          await inTime('the first one is waited for elsewhere', client.stat('/'));
        });
        await Promise.all(begun);
        await file.close();
        await client.unmount();
      });
    }));
});
