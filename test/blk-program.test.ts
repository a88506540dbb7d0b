/**
 * `vhost-user blk` as the kernel sees it: what it holds, and which calls it makes.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockFrontend } from '../src/testing/index.ts';
import type { MockQueue } from '../src/testing/index.ts';
import { BLK_TYPE, CONFIG } from '../src/frontend/index.ts';
import { RunningProgram } from './support/program.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

async function inFolder(body: (image: string, socket: string) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'vhu-prog-'));
  const image = join(dir, 'disk.img');
  writeFileSync(image, new Uint8Array(4 * MIB).fill(0x5a));
  try {
    await body(image, join(dir, 's'));
  } finally {
    rmSync(dir, { recursive: true });
  }
}

async function request(queue: MockQueue, type: number, lengthBytes: number = 0): Promise<void> {
  const header = new Uint8Array(16);
  header[0] = type;
  const data = new Uint8Array(lengthBytes);
  const write = type === BLK_TYPE.OUT;
  const readable = write ? [header, data] : [header];
  const done = await queue.exchange(readable, write || lengthBytes === 0 ? [1] : [lengthBytes, 1]);
  assert.equal(done.written.at(-1), 0, 'status OK');
}

/** Memory of its own that a process has in RAM: what is shared with the guest does not count. */
function ownBytes(pid: number): number {
  const status = readFileSync(`/proc/${String(pid)}/status`, 'utf8');
  const field = (name: string): number =>
    1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? NaN);
  return field('RssAnon') + field('RssFile');
}

describe('vhost-user blk', () => {
  it('needs less than 100 MB of its own with 64 GiB of guest memory mapped', async () => {
    await inFolder(async (image, socket) => {
      const program = new RunningProgram(['blk', image, '--socket-path', socket]);
      await program.says(/listening/);
      const frontend = await MockFrontend.connect(socket);
      const guest = await frontend.bringUp({ memoryBytes: 64 * GIB });
      // The buffers of the requests come after this, at the far end of the memory.
      const filler = guest.shared.allocate(60 * GIB, 4096);
      for (let i = 0; i < 50; i++) await request(guest.queue(0), BLK_TYPE.IN, 65536);
      assert.ok(ownBytes(program.child.pid ?? 0) < 100e6);
      guest.shared.release(filler);
      frontend.close();
      guest.close();
      program.child.kill('SIGTERM');
      assert.equal((await program.ended).code, 0);
    });
  });

  it('answers a flush after fdatasync, and makes writes durable when write-through', async (t) => {
    if (!hasStrace()) {
      t.skip('strace is not installed');
      return;
    }
    await inFolder(async (image, socket) => {
      const program = new RunningProgram([
        ...['blk', image, '--socket-path', socket, '--engine', 'pread'],
      ]);
      await program.says(/listening/);
      const pid = String(program.child.pid);
      const strace = spawn('strace', ['-f', '-qq', '-e', 'trace=fdatasync,pwritev', '-p', pid], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      // It ends with the program, before or after this process has heard of that.
      const straceEnded = once(strace, 'close');
      let calls = '';
      strace.stderr.setEncoding('utf8').on('data', (text: string) => {
        calls += text;
      });
      const countOf = (name: string): number => calls.split(`${name}(`).length - 1;
      const frontend = await MockFrontend.connect(socket);
      const guest = await frontend.bringUp();
      const queue = guest.queue(0);
      // A call that strace shows for certain says that it is attached.
      for (let i = 0; i < 200 && countOf('pwritev') === 0; i++) {
        await request(queue, BLK_TYPE.OUT, 512);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      assert.ok(countOf('pwritev') > 0, 'strace is attached');
      const writes = countOf('pwritev');
      assert.equal(countOf('fdatasync'), 0, 'writes alone are not made durable');
      await request(queue, BLK_TYPE.FLUSH);
      await frontend.command('SET_CONFIG', {
        offset: CONFIG.writeback,
        flags: 0,
        bytes: Uint8Array.of(0),
      });
      for (let i = 0; i < 3; i++) await request(queue, BLK_TYPE.OUT, 4096);
      frontend.close();
      guest.close();
      program.child.kill('SIGTERM');
      await program.ended;
      await straceEnded;
      assert.ok(countOf('pwritev') >= writes + 3);
      assert.equal(countOf('fdatasync'), 1 + 3);
    });
  });

  it('sleeps when nobody asks for anything', async () => {
    await inFolder(async (image, socket) => {
      const program = new RunningProgram(['blk', image, '--socket-path', socket]);
      await program.says(/listening/);
      const frontend = await MockFrontend.connect(socket);
      const guest = await frontend.bringUp();
      for (let i = 0; i < 100; i++) await request(guest.queue(0), BLK_TYPE.IN, 4096);
      await new Promise((resolve) => setTimeout(resolve, 500));
      const switches = (): number => voluntarySwitches(program.child.pid ?? 0);
      // Sleeping without a limit: a thread that wakes up by itself would show in each of these.
      const counts: number[] = [];
      while (counts.length < 10 && !(Math.min(...counts) <= 40)) {
        const before = switches();
        await new Promise((resolve) => setTimeout(resolve, 2000));
        counts.push(switches() - before);
      }
      assert.ok(Math.min(...counts) <= 40, `${counts.join(', ')} wake-ups in 2 s each`);
      frontend.close();
      guest.close();
      program.child.kill('SIGTERM');
      await program.ended;
    });
  });
});

/** How often the threads of a process have gone to sleep. */
function voluntarySwitches(pid: number): number {
  const output = execFileSync('sh', [
    '-c',
    `cat /proc/${String(pid)}/task/*/status | grep ^voluntary_ctxt_switches`,
  ]).toString();
  return output.split('\n').reduce((sum, line) => sum + Number(line.split(':')[1] ?? 0), 0);
}

function hasStrace(): boolean {
  try {
    execFileSync('strace', ['-V'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
