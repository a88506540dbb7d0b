/**
 * Tests of the program while it serves: sockets of every kind, signals, and the log.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { BlkClient } from '../../src/frontend/index.ts';
import { MockFrontend } from '../../src/testing/index.ts';
import { acceptUnix, closeFd, listenUnix, socketPair } from '../../src/sys/index.ts';
import { PROGRAM_FILE, linesOf, runProgram, withProgram } from '../support/program.ts';

const MIB = 1024 * 1024;
/** How long an end may take on a machine that is busy with other tests. */
const SLOW_MS = 5000;
const START_MS_MAX = 60_000;
const LISTENING = /"event":"listening"/;

let folder = '';
let image = '';
let sockets = 0;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhu-serve-'));
  image = join(folder, 'disk.img');
  writeFileSync(image, Buffer.alloc(MIB, 7));
});
after(() => rmSync(folder, { recursive: true, force: true }));

function newSocketPath(): string {
  sockets++;
  return join(folder, `${sockets}.sock`);
}

async function expectServed(socketPath: string, fill = 7, connectWaitMs = 0): Promise<void> {
  const client = await BlkClient.connect(socketPath, { connectWaitMs });
  try {
    const bytes = new Uint8Array(512);
    await client.read(0, bytes);
    assert.deepEqual(bytes, new Uint8Array(512).fill(fill));
  } finally {
    await client.close();
  }
}

test('a disk is served, its log is JSON, and SIGTERM and SIGINT end it fast', async () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const path = newSocketPath();
    await withProgram(['blk', image, '--socket-path', path], {}, async (program) => {
      await program.says(LISTENING);
      await expectServed(path);
      await program.says(/"event":"disconnected"/);
      const { code, ms, stderr, stdout } = await program.end(signal);
      assert.equal(code, 0);
      assert.ok(ms < SLOW_MS, `${ms} ms`);
      assert.ok(!existsSync(path), 'the socket is removed');
      assert.equal(stdout, '');
      const lines = linesOf(stderr);
      const events = lines.map(({ event }) => event);
      assert.deepEqual(events, ['listening', 'sandbox', 'connected', 'disconnected', 'ending']);
      assert.match(
        String(lines[0]?.msg),
        new RegExp(`^listening on ${path}: .*1\\.0 MiB, read-write`),
      );
      assert.equal(lines[0]?.address, path);
      assert.ok(lines.every(({ pid }) => pid === program.child.pid));
    });
  }
});

test('SIGTERM ends it within half a second, front-end or not', async () => {
  for (const connected of [false, true]) {
    const times: number[] = [];
    // The machine may be busy: the best of three counts.
    while (times.length < 3 && Math.min(...times) >= 500) {
      const path = newSocketPath();
      await withProgram(['blk', image, '--socket-path', path], {}, async (program) => {
        await program.says(LISTENING);
        const client = connected ? await BlkClient.connect(path) : null;
        await client?.read(0, new Uint8Array(512));
        const { code, ms } = await program.end();
        assert.equal(code, 0);
        assert.ok(!existsSync(path));
        await client?.close();
        times.push(ms);
      });
    }
    assert.ok(Math.min(...times) < 500, `${times.join(', ')} ms`);
  }
});

test('all options of a disk are accepted together', async () => {
  const path = newSocketPath();
  const args = [
    ...['blk', '--blk-file', image, '--socket-path', path, '--socket-mode', '600', '--read-only'],
    ...['--num-queues', '2', '--threads', '2', '--queue-size', '128', '--serial', 'a b'],
    ...['--poll-us', '0', '--engine', 'pread', '--block-size', '512', '--no-discard', '--no-lock'],
    ...['--log-format', 'text', '--log-level', 'debug'],
  ];
  await withProgram(args, {}, async (program) => {
    await program.says(/info {2}blk: listening on \S+: \S+, 1\.0 MiB, read-only, 2 queues\n/);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    const client = await BlkClient.connect(path);
    assert.equal(client.readOnly, true);
    assert.equal(await client.serial(), 'a b');
    await client.close();
    await program.says(/the front-end is gone/);
    const { stderr } = await program.end();
    assert.match(stderr, /debug <- GET_FEATURES\n/);
    assert.match(stderr, /debug -> GET_FEATURES value 0x[0-9a-f]+ reply/);
  });
});

test('a socket that listens is taken over by --fd, and stays', async () => {
  const path = newSocketPath();
  const listener = listenUnix(path);
  try {
    await withProgram(['blk', image, '--fd', '3'], { extraFds: [listener] }, async (program) => {
      await program.says(/listening on fd 3/);
      await expectServed(path);
      await expectServed(path);
      const { code } = await program.end();
      assert.equal(code, 0);
      assert.ok(existsSync(path), 'it belongs to whoever made it');
    });
  } finally {
    closeFd(listener);
  }
});

test('a connected socket is taken over by --fd, and its end is the end', async () => {
  const [ours, theirs] = socketPair();
  await withProgram(['blk', image, '--fd', '3'], { extraFds: [theirs] }, async (program) => {
    closeFd(theirs);
    const client = await BlkClient.fromFd(ours);
    await client.read(0, new Uint8Array(512));
    await client.close();
    const { code, stderr } = await program.ended;
    assert.equal(code, 0);
    assert.match(stderr, /"event":"connected"/);
  });
});

test('sockets of systemd are found without any option', async () => {
  const path = newSocketPath();
  const listener = listenUnix(path);
  // LISTEN_PID must be the program's own, which a shell knows before it becomes the program.
  const script = join(folder, 'activate.cjs');
  writeFileSync(
    script,
    `process.env.LISTEN_PID = String(process.pid);
     process.env.LISTEN_FDS ??= '1';
     process.argv.splice(1, 1);
     import(require('node:url').pathToFileURL(process.argv[1]).href);\n`,
  );
  try {
    const options = { file: script, extraFds: [listener] };
    await withProgram([PROGRAM_FILE, 'blk', image], options, async (program) => {
      await program.says(/listening on fd 3/);
      await expectServed(path);
      assert.equal((await program.end()).code, 0);
    });
    const two = { file: script, extraFds: [listener, listener], env: { LISTEN_FDS: '2' } };
    const { code, stderr } = await runProgram([PROGRAM_FILE, 'blk', image], two);
    assert.equal(code, 1);
    assert.match(
      stderr,
      /2 sockets were inherited, and one device is served: fds 3 \(no name\), 4/,
    );
    const config = join(folder, 'named.yaml');
    const device = (name: string): string =>
      `  - {type: blk, image: disk.img, activation: ${name}}\n`;
    writeFileSync(config, `devices:\n${device('data')}`);
    const named = { ...two, env: { LISTEN_FDS: '2', LISTEN_FDNAMES: 'root:data' } };
    await withProgram([PROGRAM_FILE, 'run', config], named, async (program) => {
      await program.says(/listening on fd 4/);
      await program.end();
    });
    writeFileSync(config, `devices:\n${device('swap')}`);
    const missing = await runProgram([PROGRAM_FILE, 'run', config], named);
    assert.equal(missing.code, 2);
    assert.match(missing.stderr, /no socket named 'swap' was inherited/);
  } finally {
    closeFd(listener);
  }
});

test('sockets for another process are not taken', async () => {
  const env = { LISTEN_FDS: '1', LISTEN_PID: '1' };
  const { code, stderr } = await runProgram(['blk', image], { env });
  assert.equal(code, 2);
  assert.match(stderr, /Give --socket-path PATH or --fd N/);
});

test('with --connect it waits for a front-end that listens, and comes back to it', async () => {
  const path = newSocketPath();
  const args = ['blk', image, '--socket-path', path, '--connect', '--read-only'];
  await withProgram(args, {}, async (program) => {
    await program.says(/connecting to \S+\.sock/);
    const listener = listenUnix(path);
    try {
      for (let round = 0; round < 2; round++) {
        const fd = await acceptWithin(listener, 10_000);
        const client = await BlkClient.fromFd(fd);
        await client.read(0, new Uint8Array(512));
        await client.close();
      }
    } finally {
      closeFd(listener);
    }
    const { code, ms } = await program.end();
    assert.equal(code, 0);
    assert.ok(ms < SLOW_MS, `${ms} ms`);
  });
});

test('it ends fast while it still waits to connect', async () => {
  const args = ['blk', image, '--socket-path', newSocketPath(), '--connect'];
  await withProgram(args, {}, async (program) => {
    await program.says(/"event":"connecting"/);
    const { code, ms } = await program.end();
    assert.equal(code, 0);
    assert.ok(ms < SLOW_MS, `${ms} ms`);
  });
});

test('SIGHUP has the size of the image looked at again', async () => {
  const path = newSocketPath();
  const growing = join(folder, 'growing.img');
  writeFileSync(growing, Buffer.alloc(MIB));
  await withProgram(['blk', growing, '--socket-path', path], {}, async (program) => {
    await program.says(LISTENING);
    truncateSync(growing, 2 * MIB);
    program.child.kill('SIGHUP');
    await program.says(/"event":"resized".*\n/);
    const resized = linesOf(program.stderr).find(({ event }) => event === 'resized');
    assert.equal(resized?.bytes, 2 * MIB);
    assert.equal(resized.msg, 'the size is now 2.0 MiB');
    const client = await BlkClient.connect(path);
    assert.equal(client.sizeBytes, 2 * MIB);
    await client.close();
    assert.equal((await program.end()).code, 0);
  });
});

test('a second server on one socket is refused, and the first one stays', async () => {
  const path = newSocketPath();
  await withProgram(['blk', image, '--socket-path', path], {}, async (program) => {
    await program.says(LISTENING);
    const args = ['blk', image, '--socket-path', path, '--no-lock'];
    const { code, stderr } = await runProgram(args);
    assert.equal(code, 1);
    assert.match(stderr, /another process is listening there/);
    await expectServed(path);
    await program.end();
  });
});

test('a front-end that sends nonsense without end fills no log', async () => {
  const path = newSocketPath();
  await withProgram(['blk', image, '--socket-path', path], {}, async (program) => {
    await program.says(LISTENING);
    for (let session = 0; session < 2; session++) {
      const frontend = await MockFrontend.connect(path);
      for (let i = 0; i < 200; i++) await frontend.send('SET_VRING_NUM', { index: 9, num: 1 });
      await frontend.askNumber('GET_FEATURES');
      frontend.close();
    }
    await expectServed(path);
    const { stderr } = await program.end();
    const refused = linesOf(stderr).filter(({ event }) => event === 'refused');
    assert.equal(refused.length, 2 * 20, 'twenty for each front-end');
    assert.match(String(refused[19]?.msg), /no more of these are shown/);
  });
});

test('several devices of a configuration are served in one process', async () => {
  writeFileSync(join(folder, 'second.img'), Buffer.alloc(MIB, 9));
  const config = join(folder, 'two.yaml');
  writeFileSync(
    config,
    `log-level: info
log-format: text
devices:
  - {type: blk, name: first, image: disk.img, socket-path: a.sock}
  - {type: blk, image: second.img, socket-path: b.sock, socket-mode: '600'}
`,
  );
  await withProgram(['run', config], {}, async (program) => {
    await program.says(/first: listening on \S+a\.sock[^]*blk1: listening on \S+b\.sock/);
    await Promise.all([
      expectServed(join(folder, 'a.sock'), 7),
      expectServed(join(folder, 'b.sock'), 9),
    ]);
    assert.equal(statSync(join(folder, 'b.sock')).mode & 0o777, 0o600);
    const { code, ms } = await program.end();
    assert.equal(code, 0);
    assert.ok(ms < SLOW_MS, `${ms} ms`);
    assert.ok(!existsSync(join(folder, 'a.sock')) && !existsSync(join(folder, 'b.sock')));
  });
});

test('when one device cannot be started, none is left behind', async () => {
  const config = join(folder, 'broken.yaml');
  writeFileSync(
    config,
    `devices:
  - {type: blk, image: disk.img, socket-path: c.sock}
  - {type: blk, image: missing.img, socket-path: d.sock}
`,
  );
  const { code, stderr } = await runProgram(['run', config, '--log-level', 'error']);
  assert.equal(code, 1);
  assert.match(stderr, /^vhost-user: .*missing\.img/);
  assert.ok(!existsSync(join(folder, 'c.sock')));
});

test('it serves without stdin, stdout and stderr', async () => {
  const path = newSocketPath();
  const program = `'${process.execPath}' '${PROGRAM_FILE}'`;
  const script = `exec ${program} blk '${image}' --socket-path '${path}' <&- >&- 2>&-`;
  const child = spawn('/bin/sh', ['-c', script], { stdio: 'ignore' });
  const ended = new Promise<number | null>((resolve) => {
    child.on('close', resolve);
  });
  try {
    await expectServed(path, 7, START_MS_MAX); // it has nowhere to say that it listens
    child.kill('SIGTERM');
    assert.equal(await ended, 0);
    assert.ok(!existsSync(path));
  } finally {
    child.kill('SIGKILL');
  }
});

test('a mistake of ours ends it with a text for people, and without its socket', async () => {
  const path = newSocketPath();
  const preload = `process.on('SIGUSR2', () => { throw new TypeError('boom'); });`;
  const env = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(preload)}` };
  const args = ['blk', image, '--socket-path', path, '--log-format', 'text'];
  await withProgram(args, { env }, async (program) => {
    await program.says(/listening on/);
    const { code, stderr } = await program.end('SIGUSR2');
    assert.equal(code, 1);
    assert.match(stderr, /\nvhost-user: boom\nThis is a bug of vhost-user: please report it.*\n$/);
    assert.ok(!existsSync(path));
  });
});

test('it goes on when the reader of its log is gone', async () => {
  const path = newSocketPath();
  await withProgram(['blk', image, '--socket-path', path], {}, async (program) => {
    await program.says(LISTENING);
    program.child.stderr?.destroy();
    await expectServed(path);
    await expectServed(path);
    program.child.kill('SIGTERM');
    assert.equal((await program.ended).code, 0);
  });
});

async function acceptWithin(listener: number, limitMs: number): Promise<number> {
  const until = Date.now() + limitMs;
  while (Date.now() < until) {
    const fd = acceptUnix(listener);
    if (fd >= 0) return fd;
    await sleep(10);
  }
  throw new Error('nobody has connected');
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
