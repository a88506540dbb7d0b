/**
 * Tests of the program on a terminal, which `script` of util-linux provides.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { BlkClient } from '../../src/frontend/index.ts';
import { PROGRAM_FILE } from '../support/program.ts';

const LIMIT_MS = 60_000;
const WAITING = /blk: waiting for a front-end|blk \S+: waiting for a front-end/;

let folder = '';
let image = '';

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhu-terminal-'));
  image = join(folder, 'disk.img');
  writeFileSync(image, Buffer.alloc(1024 * 1024));
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** A program on a terminal of its own. */
interface OnTerminal {
  /** The program itself. */
  readonly pid: number;
  /** Everything that it has printed. */
  readonly output: () => string;
  readonly says: (pattern: RegExp) => Promise<void>;
  /** Closes the terminal, as the window of one is closed. */
  readonly hangUp: () => void;
  readonly ended: Promise<unknown>;
}

async function withTerminal(
  t: TestContext,
  command: string,
  env: NodeJS.ProcessEnv,
  body: (program: OnTerminal) => Promise<void>,
): Promise<void> {
  if (!/util-linux/.test(String(spawnSync('script', ['--version']).stdout))) {
    t.skip("util-linux's script is not installed");
    return;
  }
  const program = `'${process.execPath}' '${PROGRAM_FILE}' ${command}`;
  const line = `stty cols 100; echo "pid $$"; exec ${program}`;
  const child = spawn('script', ['-qec', line, join(folder, 'typescript')], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, TERM: 'xterm', NO_COLOR: '', ...env },
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  const ended = new Promise<void>((resolve) => {
    child.on('close', () => resolve());
  });
  const says = async (pattern: RegExp): Promise<void> => {
    const until = Date.now() + LIMIT_MS;
    while (!pattern.test(text)) {
      if (Date.now() > until) throw new Error(`too late without ${pattern}: ${text}`);
      await sleep(20);
    }
  };
  let pid = 0;
  try {
    await says(/pid \d+\r\n/);
    pid = Number(/pid (\d+)/.exec(text)?.[1]);
    const hangUp = (): void => void child.kill('SIGKILL');
    await body({ pid, output: () => text, says, hangUp, ended });
  } finally {
    child.kill('SIGKILL');
    if (pid > 0 && isAlive(pid)) process.kill(pid, 'SIGKILL');
    await ended;
  }
}

test('a status line follows the front-end, and gives way to the log', async (t) => {
  const socket = join(folder, 'a.sock');
  await withTerminal(t, `blk ${image} --socket-path ${socket}`, {}, async (program) => {
    await program.says(/Attach it to a guest:\r\n {2}qemu-system-/);
    await program.says(/\x1b\[2mblk \S+a\.sock: waiting for a front-end\x1b\[0m/);
    const client = await BlkClient.connect(socket);
    await program.says(
      /\r\x1b\[K\x1b\[2m\S+\x1b\[0m info {2}blk: a front-end has connected, process \d+\r\n/,
    );
    const bytes = new Uint8Array(4096);
    const pattern = new RegExp(`blk: pid ${process.pid}, [1-9]\\S* IOPS, read [1-9]\\S* \\wB/s`);
    for (let i = 0; i < 500 && !pattern.test(program.output()); i++) {
      await client.read(0, bytes);
      await sleep(20);
    }
    assert.match(program.output(), pattern);
    await client.close();
    await program.says(/the front-end is gone\S*\r\n[^\n]*waiting for a front-end/);
    process.kill(program.pid, 'SIGINT');
    await program.ended;
    // What is left at the bottom is the last line of the log, and nothing of the status line.
    assert.match(program.output(), /SIGINT: ending\S*\r\n[^\n]*\r\x1b\[K$/);
    assert.ok(!existsSync(socket));
  });
});

test('a dumb terminal has neither colours nor a status line', async (t) => {
  const socket = join(folder, 'b.sock');
  const env = { TERM: 'dumb' };
  await withTerminal(t, `blk ${image} --socket-path ${socket}`, env, async (program) => {
    await program.says(/Attach it to a guest:/);
    await sleep(200);
    assert.doesNotMatch(program.output(), /\x1b/);
    assert.doesNotMatch(program.output(), WAITING);
    process.kill(program.pid, 'SIGTERM');
    await program.ended;
  });
});

test('NO_COLOR leaves the status line without colours', async (t) => {
  const socket = join(folder, 'c.sock');
  const env = { NO_COLOR: '1' };
  await withTerminal(t, `blk ${image} --socket-path ${socket}`, env, async (program) => {
    await program.says(WAITING);
    assert.doesNotMatch(program.output(), /\x1b\[\d/);
    process.kill(program.pid, 'SIGTERM');
    await program.ended;
  });
});

test('it ends when its terminal is closed', async (t) => {
  const socket = join(folder, 'd.sock');
  await withTerminal(t, `blk ${image} --socket-path ${socket}`, {}, async (program) => {
    await program.says(WAITING);
    program.hangUp();
    const until = Date.now() + LIMIT_MS;
    while (isAlive(program.pid) && Date.now() < until) await sleep(20);
    assert.ok(!isAlive(program.pid), 'it has ended');
    assert.ok(!existsSync(socket), 'and has removed its socket');
  });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
