/**
 * Unix sockets: listening, connecting, and what goes wrong with paths.
 *
 * @module
 */
import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { VhostUserError, errorCode } from '../util/index.ts';
import {
  SystemError,
  acceptUnix,
  adoptSocket,
  closeFd,
  connectUnix,
  createNotifier,
  createPoller,
  isListening,
  isNonBlocking,
  listenUnix,
  openFdCount,
  peerOf,
  receiveWithFds,
  sendWithFds,
  setNonBlocking,
  socketPair,
} from './index.ts';
import { abi } from './host.ts';
import * as libc from './libc.ts';
import { hasPeer } from './socket.ts';

const folder = mkdtempSync(join(tmpdir(), 'vhu-'));
after(() => {
  rmSync(folder, { recursive: true });
});
const path = join(folder, 's');

function isCloseOnExec(fd: number): boolean {
  return (libc.fcntl('int', fd, abi.constants.F_GETFD, 0) & abi.constants.FD_CLOEXEC) !== 0;
}

/** Accepts, waiting a moment where the host needs one. */
function acceptSoon(listenFd: number): number {
  const poller = createPoller();
  poller.add(listenFd, 0);
  assert.equal(poller.wait(2e6), 1);
  poller.close();
  return acceptUnix(listenFd);
}

/** Asserts an error of a code whose text matches, and that no fd is left behind. */
function refused(attempt: () => unknown, code: string, text: RegExp): void {
  const before = openFdCount();
  assert.throws(attempt, (error: unknown) => {
    assert.ok(error instanceof VhostUserError);
    assert.match(error.message, text);
    assert.equal(error.code, code);
    return true;
  });
  assert.equal(openFdCount(), before, 'no fd is left behind');
}

describe('listening and connecting', () => {
  it('gives non-blocking, close-on-exec sockets that carry bytes both ways', () => {
    const before = openFdCount();
    const listener = listenUnix(path);
    assert.equal(acceptUnix(listener), -1, 'nobody waits');
    const client = connectUnix(path);
    const server = acceptSoon(listener);
    for (const fd of [listener, client, server]) {
      assert.ok(isNonBlocking(fd));
      assert.ok(isCloseOnExec(fd));
    }
    const received = { fds: [], truncated: false };
    const into = new Uint8Array(10);
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      assert.equal(sendWithFds(from, Uint8Array.of(1, 2, 3), []), 3);
      assert.equal(receiveWithFds(to, into, received), 3);
    }
    for (const fd of [listener, client, server]) closeFd(fd);
    assert.equal(openFdCount(), before);
  });

  it('replaces the socket file of a process that has died', () => {
    closeFd(listenUnix(path));
    assert.ok(lstatSync(path).isSocket(), 'closing leaves the file');
    const listener = listenUnix(path);
    const client = connectUnix(path);
    closeFd(client);
    closeFd(listener);
    rmSync(path);
  });

  it('refuses a path where somebody listens, and leaves it to him', () => {
    const listener = listenUnix(path);
    refused(
      () => listenUnix(path),
      'ERR_VHU_SOCKET_IN_USE',
      /^socket path .*: another process is listening there: stop it/,
    );
    const client = connectUnix(path);
    closeFd(client);
    closeFd(listener);
    rmSync(path);
  });

  it('takes a listener whose queue is full for a live one', () => {
    const listener = listenUnix(path, { backlog: 1 });
    const clients: number[] = [];
    let failure: unknown;
    for (let i = 0; i < 20 && failure === undefined; i++) {
      try {
        clients.push(connectUnix(path));
      } catch (error) {
        failure = error;
      }
    }
    assert.ok(failure instanceof SystemError);
    refused(() => listenUnix(path), 'ERR_VHU_SOCKET_IN_USE', /another process is listening/);
    assert.ok(existsSync(path));
    for (const fd of [listener, ...clients]) closeFd(fd);
    rmSync(path);
  });

  it('never removes a file that is no socket, nor follows a link to one', () => {
    writeFileSync(path, 'precious');
    refused(() => listenUnix(path), 'ERR_VHU_SOCKET_PATH', /a file that is no socket is there/);
    assert.equal(statSync(path).size, 8);
    const link = join(folder, 'link');
    symlinkSync(path, link);
    refused(() => listenUnix(link), 'ERR_VHU_SOCKET_PATH', /a file that is no socket is there/);
    assert.ok(lstatSync(link).isSymbolicLink());
    rmSync(link);
    rmSync(path);
    mkdirSync(path);
    refused(() => listenUnix(path), 'ERR_VHU_SOCKET_PATH', /no socket is there/);
    rmSync(path, { recursive: true });
  });

  it('sets the permissions that were asked for', () => {
    for (const mode of [0o600, 0o660, 0o666]) {
      closeFd(listenUnix(path, { mode }));
      assert.equal(statSync(path).mode & 0o777, mode);
    }
    rmSync(path);
  });

  it('leaves neither the socket file nor an fd when it fails half-way', () => {
    const before = openFdCount();
    assert.throws(
      () => listenUnix(path, { mode: -1 }),
      (error: unknown) => errorCode(error) === 'ERR_OUT_OF_RANGE',
    );
    assert.equal(existsSync(path), false);
    assert.equal(openFdCount(), before);
  });
});

describe('socket paths', () => {
  const limit = abi.sockaddrUn.pathBytes - 1;

  it('may be as long as the host allows, and no byte longer', () => {
    const long = join(folder, 'x'.repeat(limit - folder.length - 1));
    assert.equal(long.length, limit);
    const listener = listenUnix(long);
    const client = connectUnix(long);
    assert.ok(existsSync(long));
    closeFd(client);
    closeFd(listener);
    rmSync(long);
    for (const attempt of [listenUnix, connectUnix]) {
      const text = new RegExp(
        `${String(limit + 1)} bytes, and this host allows ${String(limit)}: choose a shorter`,
      );
      refused(() => attempt(`${long}y`), 'ERR_VHU_SOCKET_PATH', text);
    }
  });

  it('are counted in bytes, not in characters', () => {
    const text = `ü`.repeat(60);
    refused(() => listenUnix(text), 'ERR_VHU_SOCKET_PATH', /120 bytes, and this host allows/);
  });

  it('must not be empty or have a NUL', () => {
    refused(() => listenUnix(''), 'ERR_VHU_SOCKET_PATH', /at least one byte and no NUL/);
    refused(() => connectUnix('a\0b'), 'ERR_VHU_SOCKET_PATH', /"a\\u0000b"/);
  });

  it('in a folder that is not there say which folder', () => {
    const missing = join(folder, 'missing', 's');
    refused(
      () => listenUnix(missing),
      'ERR_VHU_SYSTEM',
      /^bind\(.*\/missing\/s\): ENOENT: does the folder .*\/missing exist, and may this user/,
    );
    refused(() => listenUnix(join(path, 's')), 'ERR_VHU_SYSTEM', /ENOENT/);
    refused(
      () => listenUnix('/vhu-missing-folder/s'),
      'ERR_VHU_SYSTEM',
      /vhu-missing-folder exist/,
    );
  });

  it('that nobody listens on give the call and advice', () => {
    refused(
      () => connectUnix(path),
      'ERR_VHU_SYSTEM',
      /^connect\(.*\): ENOENT: is the other side running, and listening there\?/,
    );
    closeFd(listenUnix(path));
    refused(() => connectUnix(path), 'ERR_VHU_SYSTEM', /ECONNREFUSED/);
    rmSync(path);
  });

  it('may be relative, with or without a folder', () => {
    const cwd = process.cwd();
    process.chdir(folder);
    try {
      const listener = listenUnix('s');
      assert.ok(existsSync(path));
      closeFd(listener);
      closeFd(listenUnix('./s'));
      rmSync(path);
      chmodSync(folder, 0o755);
    } finally {
      process.chdir(cwd);
    }
  });
});

describe('inherited sockets', () => {
  it('are told apart: one that listens, and one that is connected', () => {
    const listener = listenUnix(path);
    const client = connectUnix(path);
    const server = acceptSoon(listener);
    const [a, b] = socketPair();
    assert.equal(isListening(listener), true);
    for (const fd of [client, server, a, b]) assert.equal(isListening(fd), false);
    // How hosts tell that have no SO_ACCEPTCONN.
    assert.equal(hasPeer(listener), false);
    for (const fd of [client, server, a, b]) assert.equal(hasPeer(fd), true);
    for (const fd of [listener, client, server, a, b]) closeFd(fd);
    rmSync(path);
  });

  it('that are no sockets are refused by what they are', () => {
    const { notifier, consumer } = createNotifier();
    refused(
      () => isListening(notifier.fd),
      'ERR_VHU_SYSTEM',
      /getsockopt\(fd \d+, SO_ACCEPTCONN\): ENOTSOCK: fd \d+ is (pipe|other), a socket is needed/,
    );
    refused(() => isListening(99_999), 'ERR_VHU_SYSTEM', /EBADF/);
    notifier.close();
    consumer.close();
  });

  it('are made non-blocking and are not inherited any further', () => {
    const [a, b] = socketPair();
    setNonBlocking(a, false);
    libc.fcntl('int', a, abi.constants.F_SETFD, 0);
    adoptSocket(a);
    assert.ok(isNonBlocking(a) && isCloseOnExec(a));
    closeFd(a);
    closeFd(b);
    assert.throws(() => {
      adoptSocket(99_999);
    }, /EBADF/);
  });

  it('cannot be accepted from unless they listen', () => {
    const [a, b] = socketPair();
    refused(() => acceptUnix(a), 'ERR_VHU_SYSTEM', /^accept\(fd \d+\): E/);
    closeFd(a);
    closeFd(b);
  });
});

describe('the peer of a socket', () => {
  it('is known by user, and by process where the host tells', () => {
    const listener = listenUnix(path);
    const client = connectUnix(path);
    const server = acceptSoon(listener);
    for (const fd of [client, server]) {
      const peer = peerOf(fd);
      assert.equal(peer.uid, process.getuid?.());
      if (peer.pid !== undefined) assert.equal(peer.pid, process.pid);
    }
    for (const fd of [listener, client, server]) closeFd(fd);
    rmSync(path);
  });

  it('of an fd that is no socket is unknown, without an error', () => {
    const { notifier, consumer } = createNotifier();
    assert.deepEqual(peerOf(notifier.fd), {});
    assert.deepEqual(peerOf(99_999), {});
    notifier.close();
    consumer.close();
  });
});
