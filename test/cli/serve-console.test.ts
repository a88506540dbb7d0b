/**
 * Tests of `vhost-user console` while it serves: pipes, a terminal of its own, sockets, logs that
 * are moved away, and a configuration of several devices.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ReadStream } from 'node:tty';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { ConsoleClient } from '../../src/frontend/index.ts';
import type { ConsoleClientPort } from '../../src/frontend/index.ts';
import { O, openPty } from '../../src/sys/index.ts';
import { PROGRAM_FILE, withProgram } from '../support/program.ts';

const LISTENING = /"event":"listening"/;

let folder = '';
let sockets = 0;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhu-serve-con-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

function newPath(): string {
  sockets++;
  return join(folder, `${sockets}.sock`);
}

async function withPort(
  path: string,
  body: (port: ConsoleClientPort, client: ConsoleClient) => Promise<void>,
): Promise<void> {
  const client = await ConsoleClient.connect(path);
  try {
    await body(await client.port(0), client);
  } finally {
    await client.close();
  }
}

async function until(what: string, happened: () => boolean, limitMs = 10_000): Promise<void> {
  const endMs = performance.now() + limitMs;
  while (!happened()) {
    assert.ok(performance.now() < endMs, `too late: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function collect(stream: NodeJS.ReadableStream): () => Buffer {
  const pieces: Buffer[] = [];
  stream.on('data', (piece: Buffer) => pieces.push(piece));
  return () => Buffer.concat(pieces);
}

async function connected(path: string): Promise<Socket> {
  const socket = connect(path);
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve).once('error', reject);
  });
  return socket;
}

test('pipes carry a megabyte each way, and a reader that stops stops the guest alone', async () => {
  const path = newPath();
  const child = spawn(process.execPath, [PROGRAM_FILE, 'console', '--socket-path', path]);
  try {
    const log = collect(child.stderr);
    await until('that it listens', () => LISTENING.test(log().toString()));
    await withPort(path, async (port) => {
      const input = randomBytes(1024 * 1024);
      const typed = collect(port);
      child.stdin.write(input);
      await until('the input', () => typed().length >= input.length);
      assert.ok(typed().equals(input));
      const output = randomBytes(2 * 1024 * 1024);
      port.write(output);
      await new Promise((resolve) => setTimeout(resolve, 300));
      assert.ok(port.writableLength > 0, 'the guest waits');
      const shown = collect(child.stdout); // nobody read until now
      await until('the output', () => shown().length >= output.length);
      assert.ok(shown().equals(output));
      port.write(output);
    });
    child.stdout.pause();
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM'); // a full pipe does not keep it
    assert.equal(await ended, 0);
  } finally {
    child.kill('SIGKILL');
  }
});

/** `setsid -c` gives a program a terminal of its own, where there is one of util-linux. */
function isMissing(t: TestContext): boolean {
  const missing = !/util-linux/.test(String(spawnSync('setsid', ['--version']).stdout));
  if (missing) t.skip("util-linux's setsid is not installed");
  return missing;
}

/** A program on a terminal that we hold the other side of. */
async function onTerminal(
  args: readonly string[],
  body: (terminal: {
    readonly master: ReadStream;
    readonly shown: () => string;
    readonly mode: () => string;
    readonly pid: number;
    readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  }) => Promise<void>,
): Promise<void> {
  const pty = openPty();
  const master = new ReadStream(pty.fd);
  const fd = openSync(pty.path, O.O_RDWR | O.O_NOCTTY);
  execFileSync('stty', ['sane', 'rows', '31', 'cols', '97'], { stdio: [fd, 'pipe', 'pipe'] });
  // A session of its own, whose terminal this is: `stty` and job control work as in a window.
  const words = ['-c', process.execPath, PROGRAM_FILE, ...args];
  const child = spawn('setsid', words, {
    stdio: [fd, fd, fd],
    env: { ...process.env, TERM: 'xterm' },
  });
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  const shown = collect(master);
  try {
    await body({
      master,
      shown: () => shown().toString('latin1'),
      mode: () => String(execFileSync('stty', ['-g'], { stdio: [fd, 'pipe', 'pipe'] })),
      pid: child.pid ?? -1,
      ended,
    });
  } finally {
    child.kill('SIGKILL');
    await ended;
    master.destroy();
    closeSync(fd);
  }
}

test("on a terminal every key is the guest's but one, and the terminal is as before", async (t) => {
  if (isMissing(t)) return;
  const path = newPath();
  await onTerminal(['console', '--socket-path', path], async ({ master, shown, mode, ended }) => {
    await until('the socket', () => shown().includes('Attach it to a guest:'));
    assert.match(shown(), /console: this terminal \(Ctrl-\] leaves\); 4 queues\r+\n/);
    const before = mode();
    await withPort(path, async (port) => {
      await until('it is raw', () => mode() !== before);
      await until('its size', () => port.columns === 97 && port.rows === 31);
      const typed = collect(port);
      master.write('\x03\x1a\x1c~.\r');
      await until('keys', () => typed().toString() === '\x03\x1a\x1c~.\r');
      port.write('one\ntwo');
      await until('output as it is', () => shown().endsWith('one\ntwo'));
    });
    await until('the guest is gone', () => mode() === before);
    await until('it is told', () => /the front-end is gone\r+\n$/.test(shown()));
    assert.match(shown(), /two\r*\n[^\n]*the front-end is gone/, 'in a line of its own');
    await withPort(path, async (port) => {
      await until('it is raw again', () => mode() !== before);
      const gone = new Promise((resolve) => port.once('error', resolve));
      master.write('\x1d');
      const { code } = await ended;
      assert.equal(code, 0);
      await gone;
    });
    assert.equal(mode(), before);
    assert.ok(!existsSync(path));
  });
});

for (const [what, end] of [
  ['SIGTERM', (pid: number) => process.kill(pid, 'SIGTERM')],
  ['SIGINT', (pid: number) => process.kill(pid, 'SIGINT')],
] as const) {
  test(`on a terminal it leaves that as it was when it ends by ${what}`, async (t) => {
    if (isMissing(t)) return;
    const path = newPath();
    await onTerminal(['console', '--socket-path', path], async ({ shown, mode, pid, ended }) => {
      await until('the socket', () => shown().includes('Attach it to a guest:'));
      const before = mode();
      await withPort(path, async (port) => {
        port.on('error', () => undefined);
        await until('it is raw', () => mode() !== before);
        end(pid);
        assert.equal((await ended).code, 0);
      });
      assert.equal(mode(), before);
    });
  });
}

test('on a terminal it gives that back while it is suspended', async (t) => {
  if (isMissing(t)) return;
  const path = newPath();
  await onTerminal(['console', '--socket-path', path], async ({ shown, mode, pid }) => {
    await until('the socket', () => shown().includes('Attach it to a guest:'));
    const before = mode();
    await withPort(path, async (port) => {
      await until('it is raw', () => mode() !== before);
      process.kill(pid, 'SIGTSTP');
      await until('it is as before', () => mode() === before);
      const state = (): string | undefined =>
        /\) (\w)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1];
      await until('it is stopped', () => state() === 'T');
      process.kill(pid, 'SIGCONT');
      await until('it is raw again', () => mode() !== before);
      port.write('still here');
      await until('it goes on', () => shown().endsWith('still here'));
    });
  });
});

test('another escape key leaves, and without one none does', async (t) => {
  if (isMissing(t)) return;
  for (const [option, key] of [
    ['^A', '\x01'],
    ['none', ''],
  ] as const) {
    const path = newPath();
    const args = ['console', '--socket-path', path, '--escape', option];
    await onTerminal(args, async ({ master, shown, ended }) => {
      await until('the socket', () => shown().includes('Attach it to a guest:'));
      await withPort(path, async (port) => {
        port.on('error', () => undefined);
        const typed = collect(port);
        await until('it is raw', () => port.columns > 0);
        await new Promise((resolve) => setTimeout(resolve, 100));
        master.write('\x1d');
        await until(`Ctrl-] is the guest's with ${option}`, () => typed().toString() === '\x1d');
        if (key === '') return;
        master.write(key);
        assert.equal((await ended).code, 0);
      });
    });
  }
});

test('a pty, a serial port at a socket, and a log that another program moves away', async () => {
  const path = newPath();
  const link = join(folder, 'pty');
  const agent = join(folder, 'agent');
  const log = join(folder, 'console.log');
  const args = [
    ...['console', '--socket-path', path, '--pty', link, '--log', log, '--log-format', 'text'],
    ...['--port', `org.test.0=unix:${agent}`, '--console', 'second=pty', '--unattended', 'keep'],
    ...[
      '--backlog',
      '4K',
      '--queue-size',
      '64',
      '--resize-order',
      'rows',
      '--size',
      '100x40',
      '--port-name',
      'main',
    ],
  ];
  await withProgram(args, {}, async (program) => {
    const [line] = await program.says(/console: listening on .*\n/);
    assert.match(
      line,
      /main: pty \/dev\/\S+, \S+pty leads to it, log \S+console\.log; second: pty /,
    );
    assert.match(line, /; org\.test\.0: unix \S+agent; 8 queues\n/);
    await withPort(path, async (port, client) => {
      await until('the size', () => port.columns === 100 && port.rows === 40);
      assert.equal(port.portName, 'main');
      assert.equal((await client.port('second')).isConsole, true);
      const serial = await client.port('org.test.0');
      const socket = await connected(agent);
      const shown = collect(socket);
      serial.write('{"return":{}}\n');
      await until('the answer', () => shown().toString() === '{"return":{}}\n');
      socket.destroy();
      port.write('logged\n');
      await until('the log', () => readFileSync(log, 'utf8') === 'logged\n');
      renameSync(log, `${log}.1`);
      program.child.kill('SIGHUP');
      await until('a new one', () => existsSync(log));
      port.write('again\n');
      await until('the new log', () => readFileSync(log, 'utf8') === 'again\n');
      assert.ok(existsSync(readlinkSync(link)));
    });
    assert.equal((await program.end()).code, 0);
    assert.ok(!existsSync(link) && !existsSync(agent));
  });
});

test('consoles of a configuration are served beside other devices', async () => {
  writeFileSync(join(folder, 'disk.img'), Buffer.alloc(2 ** 20));
  const config = join(folder, 'vm.yaml');
  writeFileSync(
    config,
    `log-format: text
devices:
  - {type: blk, image: disk.img, socket-path: a.sock}
  - type: console
    name: tty
    unix: tty.sock
    log: tty.log
    log-size: 10M
    socket-path: b.sock
    ports:
      - {name: org.test.0, tcp: 127.0.0.1:41234, unattended: discard}
`,
  );
  await withProgram(['run', config], {}, async (program) => {
    await program.says(
      /tty: listening on \S+b\.sock: console: unix \S+tty\.sock, log \S+tty\.log; /,
    );
    await withPort(join(folder, 'b.sock'), async (port) => {
      const client = await connected(join(folder, 'tty.sock'));
      const typed = collect(port);
      client.write('typed');
      await until('the input', () => typed().toString() === 'typed');
      client.destroy();
    });
    assert.equal((await program.end()).code, 0);
  });
});

test('what cannot be opened is said in a line, with exit code 1', async () => {
  const path = newPath();
  for (const [args, text] of [
    [['--log', join(folder, 'no', 'such', 'file')], /^vhost-user: log: ENOENT: .*no\/such\/file/m],
    [['--pty', join(folder, 'no', 'such')], /^vhost-user: pty: ENOENT/m],
    [['--tcp', '192.0.2.1:80'], /^vhost-user: tcp 192\.0\.2\.1:80: .*EADDRNOTAVAIL/m],
  ] as const) {
    await withProgram(['console', '--socket-path', path, ...args], {}, async (program) => {
      const { code, stderr } = await program.ended;
      assert.equal(code, 1);
      assert.match(stderr, text);
    });
  }
  await withProgram(['console', '--unix', path, '--socket-path', path], {}, async (program) => {
    const { code, stderr } = await program.ended;
    assert.equal(code, 1, stderr);
    assert.doesNotMatch(stderr, LISTENING);
  });
});
