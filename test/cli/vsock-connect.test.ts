/**
 * Tests of `vhost-user vsock-connect`: standard input and output on a port of a guest, which a
 * server of a few lines plays here.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { PROGRAM_FILE, runProgram } from '../support/program.ts';

const MIB = 2 ** 20;

let folder = '';
let count = 0;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhu-vsock-connect-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** A vsock whose guest does this at port 22, and refuses all others; returns its path. */
async function serveVsock(
  context: TestContext,
  onConnection: (socket: Socket) => void,
): Promise<string> {
  const path = join(folder, `${++count}.vsock`);
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined);
    socket.once('data', (line) => {
      if (String(line) !== 'CONNECT 22\n') {
        socket.end();
        return;
      }
      socket.write('OK 1024\n');
      onConnection(socket);
    });
  });
  server.listen(path);
  await once(server, 'listening');
  context.after(() => server.close());
  return path;
}

function start(...args: string[]): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, [PROGRAM_FILE, 'vsock-connect', ...args]);
}

test('what goes in comes out at the guest, and the other way round, until both ends are said', async (t) => {
  const path = await serveVsock(t, (socket) => {
    let heard = '';
    socket.on('data', (chunk) => (heard += String(chunk)));
    socket.once('end', () => socket.end(heard.toUpperCase()));
  });
  const program = start(path, '22');
  program.stdin.end('a word\n');
  const ended = once(program, 'exit');
  assert.equal(await text(program.stdout), 'A WORD\n');
  assert.deepEqual(await ended, [0, null]);
  assert.equal(await text(program.stderr), '');
});

test('many bytes pass whole, both ways at once', async (t) => {
  const path = await serveVsock(t, (socket) => socket.pipe(socket));
  const script = `head -c ${8 * MIB} /dev/urandom | tee sent | "$@" > back && cmp sent back`;
  const words = [process.execPath, PROGRAM_FILE, 'vsock-connect', path, '22'];
  const child = spawn('sh', ['-c', script, 'sh', ...words], { cwd: folder, stdio: 'inherit' });
  const [code] = (await once(child, 'exit')) as [number];
  assert.equal(code, 0);
  assert.equal(
    execFileSync('wc', ['-c', join(folder, 'back')])
      .toString()
      .split(' ')[0],
    `${8 * MIB}`,
  );
});

test('the guest ends it, whatever standard input still may say', async (t) => {
  const path = await serveVsock(t, (socket) => socket.end('bye\n'));
  const program = start(path, '22');
  const ended = once(program, 'exit');
  assert.equal(await text(program.stdout), 'bye\n');
  assert.deepEqual(await ended, [0, null]);
});

test('a reader that has had enough ends it without a word', async (t) => {
  const path = await serveVsock(t, (socket) => {
    const timer = setInterval(() => socket.write('y\n'.repeat(10_000)), 1);
    socket.once('close', () => clearInterval(timer));
  });
  const command = `"$@" < /dev/zero | head -n 1`;
  const words = [process.execPath, PROGRAM_FILE, 'vsock-connect', path, '22'];
  const output = execFileAsync('sh', ['-c', command, 'sh', ...words]);
  assert.deepEqual(await output, { stdout: 'y\n', stderr: '' });
});

async function execFileAsync(
  file: string,
  args: readonly string[],
): Promise<{ stdout: string; stderr: string }> {
  const child = spawn(file, args);
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { stdout, stderr };
}

test('a refusal is an error in words, and no output', async (t) => {
  const path = await serveVsock(t, () => undefined);
  const refused = await runProgram(['vsock-connect', path, '23']);
  assert.equal(refused.code, 1);
  assert.equal(refused.stdout, '');
  assert.match(
    refused.stderr,
    /^vhost-user: connect ECONNRESET port 23 of .*: the guest refused: /,
  );
  const nobody = await runProgram(['vsock-connect', join(folder, 'none'), '22']);
  assert.equal(nobody.code, 1);
  assert.match(nobody.stderr, /ENODEV .* is 'vhost-user vsock' running with this --uds-path\?\n$/);
  const file = join(folder, 'file');
  writeFileSync(file, '');
  const noSocket = await runProgram(['vsock-connect', file, '22', '--wait', '50']);
  assert.equal(noSocket.code, 1);
  assert.match(noSocket.stderr, /ENOTSOCK .*: a file is there, and no socket: give the path that/);
});

test('a guest that does not answer is waited for as long as --timeout says', async (t) => {
  const path = join(folder, 'silent.vsock');
  const server = createServer();
  server.listen(path);
  await once(server, 'listening');
  t.after(() => server.close());
  const { code, stderr } = await runProgram(['vsock-connect', path, '22', '--timeout', '1']);
  assert.equal(code, 1);
  assert.match(stderr, /ETIMEDOUT .* no answer within 1000 ms/);
});

test('with --wait the vsock may come later', async (t) => {
  const path = join(folder, `${count + 1}.vsock`);
  const program = start(path, '22', '--wait', '20');
  const ended = once(program, 'exit');
  setTimeout(() => void serveVsock(t, (socket) => socket.end('up\n')), 300);
  assert.equal(await text(program.stdout), 'up\n');
  assert.deepEqual(await ended, [0, null]);
});

test('wrong usage says what is missing, and what to write', async () => {
  const cases: readonly (readonly [string[], RegExp])[] = [
    [[], /missing required argument 'PATH'/],
    [['/tmp/x'], /missing required argument 'PORT'/],
    [['/tmp/x', 'ssh'], /'ssh' is invalid.* A whole number from 0 to 4294967294 is needed/],
    [['/tmp/x', '4294967295'], /A whole number from 0 to 4294967294 is needed/],
    [['/tmp/x', '22', '--wait', 'a'], /A whole number from 0 to 86400 is needed/],
  ];
  for (const [args, words] of cases) {
    const { code, stderr } = await runProgram(['vsock-connect', ...args]);
    assert.equal(code, 2, args.join(' '));
    assert.match(stderr, words);
    assert.match(stderr, /Try 'vhost-user vsock-connect --help'/);
  }
});
