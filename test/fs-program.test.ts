/**
 * `vhost-user fs` as a process: its descriptors, its memory, and what is left of it when it dies.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { FsClient } from '../src/frontend/index.ts';
import { RunningProgram } from './support/program.ts';
import type { StartOptions } from './support/program.ts';

const FOLDERS = 200;
const FILES_EACH = 500;
const FD_LIMIT = 256;

/** A program that serves a folder, which `fill` fills before; both are gone afterwards. */
async function serving(
  options: StartOptions & { readonly fill?: (share: string) => void },
  body: (program: RunningProgram, socket: string, share: string) => Promise<void>,
): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'vhu-fs-'));
  const share = join(dir, 'share');
  const socket = join(dir, 's');
  mkdirSync(share);
  options.fill?.(share);
  const program = new RunningProgram(['fs', share, '--socket-path', socket], options);
  try {
    await program.says(/listening/);
    await body(program, socket, share);
  } finally {
    await program[Symbol.asyncDispose]();
    rmSync(dir, { recursive: true });
  }
}

function fillMany(share: string): void {
  for (let i = 0; i < FOLDERS; i++) {
    mkdirSync(join(share, `d${String(i)}`));
    for (let j = 0; j < FILES_EACH; j++) {
      writeFileSync(join(share, `d${String(i)}`, `f${String(j)}`), `${String(i)} ${String(j)}`);
    }
  }
}

function fillOne(share: string): void {
  for (let i = 0; i < FD_LIMIT; i++) writeFileSync(join(share, `f${String(i)}`), 'x');
}

/** Memory of its own that a process has in RAM: what is shared with the guest does not count. */
function ownBytes(pid: number): number {
  const status = readFileSync(`/proc/${String(pid)}/status`, 'utf8');
  return 1024 * Number(/^RssAnon:\s+(\d+) kB/m.exec(status)?.[1] ?? NaN);
}

describe('vhost-user fs', { skip: process.platform !== 'linux' && 'it looks into /proc' }, () => {
  it('serves 100 000 files that the guest knows with 256 descriptors, in little memory', () =>
    serving({ fdLimit: FD_LIMIT, fill: fillMany }, async (program, socket) => {
      const pid = program.child.pid ?? 0;
      const fs = await FsClient.mount(socket, { idleNodesMax: 1_000_000 });
      await fs.readdir('/d0', { withStats: true });
      const before = ownBytes(pid);
      for (let i = 0; i < FOLDERS; i++) await fs.readdir(`/d${String(i)}`, { withStats: true });
      assert.ok(fs.nodeCount > FOLDERS * FILES_EACH, `the client knows ${String(fs.nodeCount)}`);
      const grown = ownBytes(pid) - before;
      assert.ok(grown < 60e6, `100 000 nodes take ${String(grown)} bytes`);
      for (let i = 0; i < FOLDERS; i += 3) {
        const path = `/d${String(i)}/f${String(FILES_EACH - 1 - i)}`;
        assert.equal(await fs.readFile(path, 'utf8'), `${String(i)} ${String(FILES_EACH - 1 - i)}`);
      }
      const open = await Promise.all(
        Array.from({ length: 60 }, (_, i) => fs.open(`/d${String(i)}/f0`, 'r+')),
      );
      for (const file of open) await file.close();
      assert.ok(readdirSync(`/proc/${String(pid)}/fd`).length < FD_LIMIT);
      await fs.unmount();
      assert.equal((await program.end()).code, 0);
    }));

  it('says that there are too many open files, and goes on when some are closed', () =>
    serving({ fdLimit: FD_LIMIT, fill: fillOne }, async (program, socket) => {
      const fs = await FsClient.mount(socket);
      const opened = await Promise.allSettled(
        Array.from({ length: FD_LIMIT }, (_, i) => fs.open(`/f${String(i)}`)),
      );
      const codes = opened.map((each) =>
        each.status === 'fulfilled' ? 'ok' : (each.reason as { code: string }).code,
      );
      assert.deepEqual(new Set(codes), new Set(['ok', 'ENFILE']));
      for (const each of opened) if (each.status === 'fulfilled') await each.value.close();
      assert.equal(await fs.readFile('/f255', 'utf8'), 'x');
      await fs.unmount();
      assert.equal((await program.end()).code, 0);
    }));

  it('leaves what was fsynced when it is killed in the middle of writes', () =>
    serving({}, async (program, socket, share) => {
      const fs = await FsClient.mount(socket);
      const synced: string[] = [];
      const write = async (): Promise<void> => {
        for (let i = 0; ; i++) {
          const name = `f${String(i)}`;
          await fs.writeFile(`/${name}`, name.repeat(20_000), { flush: true });
          synced.push(name);
          if (i === 20) program.child.kill('SIGKILL');
        }
      };
      await assert.rejects(write());
      assert.ok(synced.length > 20);
      for (const name of synced) {
        assert.equal(readFileSync(join(share, name), 'utf8'), name.repeat(20_000));
      }
      await fs.unmount().catch(() => undefined);
    }));
});
