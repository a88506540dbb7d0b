/**
 * Tests of a guest's vsock as a program of the host uses it, against the hybrid convention played
 * by a server of a few lines. With the device itself behind it: test/cli/serve-vsock.test.ts.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import type { TestContext } from 'node:test';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { closeFd, listenUnix } from '../sys/index.ts';
import { VSOCK_PORT_MAX, VsockError, VsockHost } from './index.ts';

/** What needs no waiting takes less. */
const AT_ONCE_MS_MAX = 2000;
/** For what another thread has to see, on a machine that has much else to do. */
const LATE_MS = 20_000;

let folder = '';
let path = '';
let count = 0;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhu-vsock-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));
beforeEach(() => {
  path = join(folder, `${++count}.vsock`);
});

/** A device with a guest: what it does with the line that a program says. */
async function serveVsock(
  context: TestContext,
  onLine: (line: string, socket: Socket) => void,
): Promise<Server> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket)).on('error', () => undefined);
    socket.once('data', (chunk) => onLine(String(chunk), socket));
  });
  server.listen(path);
  await once(server, 'listening');
  context.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return server;
}

/** What a promise is rejected with has to be: its code, and words of its message. */
async function failsWith(promise: Promise<unknown>, code: string, words: RegExp): Promise<void> {
  await assert.rejects(promise, (error: unknown) => {
    assert.ok(error instanceof VsockError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, words);
    return true;
  });
}

test('a port of the guest is a net.Socket, and knows both ports', async (t) => {
  await serveVsock(t, (line, socket) => {
    socket.write(line === 'CONNECT 22\n' ? 'OK 1073741824\n' : 'no\n');
    socket.pipe(socket);
  });
  const socket = await new VsockHost(path).connect(22);
  assert.deepEqual([socket.guestPort, socket.hostPort], [22, 1_073_741_824]);
  socket.end('a word');
  assert.equal(await text(socket), 'a word');
});

test('what the guest says at once, in the packet of the answer, is not lost', async (t) => {
  await serveVsock(t, (_, socket) => socket.end('OK 5\nSSH-2.0-test\r\n'));
  const socket = await new VsockHost(path).connect(22);
  assert.equal(await text(socket), 'SSH-2.0-test\r\n');
});

test('an answer may come byte by byte', async (t) => {
  await serveVsock(t, (_, socket) => {
    void (async () => {
      for (const letter of 'OK 77\nxy') {
        socket.write(letter);
        await delay(5);
      }
      socket.end();
    })();
  });
  const socket = await new VsockHost(path).connect(1);
  assert.equal(socket.hostPort, 77);
  assert.equal(await text(socket), 'xy');
});

test('bytes stay whole and in order when there are many', async (t) => {
  await serveVsock(t, (_, socket) => {
    socket.write('OK 9\n');
    socket.pipe(socket);
  });
  const socket = await new VsockHost(path).connect(9);
  const sent = Buffer.alloc(3_000_000, 'all the letters of a long text ');
  socket.end(sent);
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  assert.ok(Buffer.concat(chunks).equals(sent));
});

test('end() leaves open what comes from the guest', async (t) => {
  await serveVsock(t, (_, socket) => {
    socket.write('OK 9\n');
    socket.once('end', () => socket.end('after the end')).resume();
  });
  const socket = await new VsockHost(path).connect(9);
  socket.end();
  assert.equal(await text(socket), 'after the end');
});

test('with allowHalfOpen a program may speak after the last byte of the guest', async (t) => {
  let heard = '';
  await serveVsock(t, (_, socket) => {
    socket.end('OK 9\nbye');
    socket.on('data', (chunk) => (heard += String(chunk)));
  });
  const socket = await new VsockHost(path).connect(9, { allowHalfOpen: true });
  const [bye] = (await once(socket, 'data')) as [Buffer];
  assert.equal(String(bye), 'bye');
  await once(socket.resume(), 'end');
  assert.equal(socket.writable, true);
  socket.end('still here');
  await once(socket, 'close');
  for (let i = 0; i < 3000 && heard === ''; i++) await delay(10);
  assert.equal(heard, 'still here');
});

test('without it this side ends with the guest, as for every net.Socket', async (t) => {
  await serveVsock(t, (_, socket) => socket.end('OK 9\nbye'));
  const socket = await new VsockHost(path).connect(9);
  socket.resume();
  await once(socket, 'close');
  assert.equal(socket.writableFinished, true);
});

test('a port that nobody listens on in the guest is ECONNRESET at once', async (t) => {
  await serveVsock(t, (_, socket) => socket.end());
  const begin = performance.now();
  await failsWith(new VsockHost(path).connect(5), 'ECONNRESET', /port 5 of .* the guest refused/);
  assert.ok(performance.now() - begin < AT_ONCE_MS_MAX);
});

test('a vsock that nobody serves is ENODEV, with or without its file', async () => {
  const guest = new VsockHost(path);
  await failsWith(guest.connect(5), 'ENODEV', /nothing is at the path.*'vhost-user vsock' running/);
  closeFd(listenUnix(path));
  assert.ok(existsSync(path));
  await failsWith(guest.connect(5), 'ENODEV', /nobody listens on .* 'vhost-user vsock' running/);
});

test('what is no socket is ENOTSOCK, and not waited for', async () => {
  writeFileSync(path, 'a file');
  for (const [what, words] of [
    [path, /a file is there, and no socket/],
    [folder, /a folder is there, and no socket: give the path that --uds-path says/],
    ['/dev/null', /a device is there, and no socket/],
  ] as const) {
    const begin = performance.now();
    await failsWith(new VsockHost(what).connect(5, { waitMs: 60_000 }), 'ENOTSOCK', words);
    assert.ok(performance.now() - begin < AT_ONCE_MS_MAX);
  }
});

test('what does not speak the convention is EPROTO', async (t) => {
  const answers = ['HTTP/1.1 400 Bad Request\r\n', 'x'.repeat(100), 'OK\n', 'OK -1\n', '\n'];
  await serveVsock(t, (line, socket) => socket.end(answers[Number(line.split(' ')[1])] ?? ''));
  for (const port of answers.keys()) {
    await failsWith(new VsockHost(path).connect(port), 'EPROTO', /the answer was "/);
  }
});

test('a guest that does not answer is ETIMEDOUT after the time that was given', async (t) => {
  let gone: () => void = () => undefined;
  const isGone = new Promise<void>((resolve) => (gone = resolve));
  await serveVsock(t, (_, socket) => socket.resume().once('end', gone));
  const begin = performance.now();
  await failsWith(new VsockHost(path).connect(5, { timeoutMs: 100 }), 'ETIMEDOUT', /100 ms/);
  const took = performance.now() - begin;
  assert.ok(took >= 95 && took < 5000, `${took} ms`);
  // The socket was given up: the device sees that.
  const late = delay(LATE_MS, 'late', { ref: false });
  assert.notEqual(await Promise.race([isGone, late]), 'late');
});

test('a signal gives up, before and while it connects', async (t) => {
  await serveVsock(t, () => undefined);
  const guest = new VsockHost(path);
  const reason = new Error('enough');
  await assert.rejects(guest.connect(1, { signal: AbortSignal.abort(reason) }), reason);
  const abort = new AbortController();
  const connecting = guest.connect(1, { signal: abort.signal });
  setTimeout(() => abort.abort(reason), 20);
  await assert.rejects(connecting, reason);
  await assert.rejects(guest.connect(1, { signal: AbortSignal.timeout(20) }), {
    name: 'TimeoutError',
  });
});

test('a signal does not end a connection that there is', async (t) => {
  await serveVsock(t, (_, socket) => {
    socket.write('OK 9\n');
    socket.pipe(socket);
  });
  const abort = new AbortController();
  const socket = await new VsockHost(path).connect(9, { signal: abort.signal });
  abort.abort();
  socket.end('still here');
  assert.equal(await text(socket), 'still here');
});

test('with waitMs a guest may still be booting', async (t) => {
  const guest = new VsockHost(path);
  const connecting = guest.connect(22, { waitMs: 10_000 });
  let tries = 0;
  setTimeout(() => {
    void serveVsock(t, (_, socket) => {
      if (++tries < 3) socket.end();
      else socket.end('OK 9\nup');
    });
  }, 100);
  assert.equal(await text(await connecting), 'up');
  assert.equal(tries, 3);
});

test('with waitMs the last error is said in the end, and a signal ends the waiting', async () => {
  const guest = new VsockHost(path);
  await failsWith(guest.connect(22, { waitMs: 150 }), 'ENODEV', /running/);
  const begin = performance.now();
  const signal = AbortSignal.timeout(100);
  await assert.rejects(guest.connect(22, { waitMs: 60_000, signal }), { name: 'TimeoutError' });
  assert.ok(performance.now() - begin < 40_000);
});

test('numbers that are no port are EINVAL, for both', async () => {
  const guest = new VsockHost(path);
  for (const port of [-1, 1.5, Number.NaN, VSOCK_PORT_MAX + 1]) {
    await failsWith(guest.connect(port), 'EINVAL', /whole number from 0 to 4294967294/);
    await failsWith(guest.listen(port), 'EINVAL', /whole number from 0 to 4294967294/);
  }
});

test('a port of the host is a net.Server at the path that a device connects to', async () => {
  const server = await new VsockHost(path).listen(1234, (socket) => socket.pipe(socket));
  const socket = connect(`${path}_1234`);
  socket.end('a word');
  assert.equal(await text(socket), 'a word');
  server.close();
  await once(server, 'close');
  assert.ok(!existsSync(`${path}_1234`), 'the socket is removed');
});

test('a port that another program listens on is EADDRINUSE, and a dead socket is replaced', async () => {
  const guest = new VsockHost(path);
  closeFd(listenUnix(`${path}_7`));
  assert.ok(existsSync(`${path}_7`));
  const server = await guest.listen(7);
  await failsWith(guest.listen(7), 'EADDRINUSE', /port 7 of /);
  server.close();
  await once(server, 'close');
  const again = await guest.listen(7);
  again.close();
  await once(again, 'close');
});

test('closing leaves a socket alone that has come in the place of its own', async () => {
  const server = await new VsockHost(path).listen(8);
  rmSync(`${path}_8`);
  writeFileSync(`${path}_8`, '');
  server.close();
  await once(server, 'close');
  assert.ok(existsSync(`${path}_8`));
});

test('a socket has the permissions that were asked for', async () => {
  const server = await new VsockHost(path).listen(9, undefined, { mode: 0o600 });
  assert.equal(statSync(`${path}_9`).mode & 0o777, 0o600);
  server.close();
  await once(server, 'close');
});

test('a signal closes a server, and none is opened after it', async () => {
  const guest = new VsockHost(path);
  const abort = new AbortController();
  const server = await guest.listen(10, undefined, { signal: abort.signal });
  abort.abort();
  await once(server, 'close');
  assert.ok(!existsSync(`${path}_10`));
  const options = { signal: abort.signal };
  await assert.rejects(guest.listen(10, undefined, options), { name: 'AbortError' });
  assert.ok(!existsSync(`${path}_10`));
});

test('where there can be no socket is EADDRNOTAVAIL, with the reason', async () => {
  const nowhere = new VsockHost(join(folder, 'no', 'folder.vsock'));
  await failsWith(nowhere.listen(1), 'EADDRNOTAVAIL', /folder\.vsock/);
  const long = new VsockHost(join(folder, 'x'.repeat(200)));
  await failsWith(long.listen(1), 'EADDRNOTAVAIL', /bytes, and this host allows/);
  mkdirSync(`${path}_1`);
  await failsWith(new VsockHost(path).listen(1), 'EADDRNOTAVAIL', /no socket/);
});
