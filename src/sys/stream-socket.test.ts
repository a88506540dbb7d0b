/**
 * Sockets of programs: TCP, Unix and AF_VSOCK, streams and messages, by the calls that the data
 * path makes.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { errorCode } from '../util/index.ts';
import {
  ERRNO,
  NativeBlock,
  SHUT,
  acceptSocket,
  closeFd,
  connectSocket,
  createPoller,
  hasUnixSeqpacket,
  isHungUp,
  isNonBlocking,
  isVsockHungUp,
  listenSocket,
  listenUnix,
  localPort,
  openFdCount,
  openSocket,
  peek,
  receive,
  receiveMessage,
  receiveVector,
  send,
  sendVector,
  sendVsockMessage,
  setSendBuffer,
  shutDown,
  socketError,
  socketName,
  socketPair,
  WRITABLE,
} from './index.ts';
import type { SocketAddress, SocketType } from './index.ts';
import { abi } from './host.ts';
import * as libc from './libc.ts';

const EAGAIN = -(ERRNO.EAGAIN as number);
const EINPROGRESS = -(ERRNO.EINPROGRESS as number);
const ECONNREFUSED = -(ERRNO.ECONNREFUSED as number);
const ENOBUFS = -(ERRNO.ENOBUFS as number);
const EPIPE = -(ERRNO.EPIPE as number);

const folder = mkdtempSync(join(tmpdir(), 'vhu-'));
after(() => rmSync(folder, { recursive: true }));

/** Waits until a connection attempt has come out, and how. */
function outcome(fd: number): number {
  const poller = createPoller();
  poller.add(fd, 0, WRITABLE);
  assert.equal(poller.wait(5e6), 1);
  poller.close();
  return socketError(fd);
}

/** Connects, and waits for the outcome where it takes a while. */
function connected(where: SocketAddress, type: SocketType): number {
  const fd = openSocket(where, type);
  assert.ok(fd >= 0, `socket: ${fd}`);
  const result = connectSocket(fd, where);
  assert.equal(result === EINPROGRESS ? outcome(fd) : result, 0, socketName(where));
  return fd;
}

function acceptSoon(listener: number): number {
  const poller = createPoller();
  poller.add(listener, 0);
  assert.equal(poller.wait(5e6), 1);
  poller.close();
  return acceptSocket(listener);
}

/** Text in native memory. */
function text(content: string): NativeBlock {
  const block = new NativeBlock(Math.max(content.length, 1));
  block.bytes.set(Buffer.from(content, 'latin1'));
  return block;
}

/** What was received into a block. */
function taken(block: NativeBlock, count: number): string {
  return Buffer.from(block.bytes.subarray(0, count)).toString('latin1');
}

/** A `struct iovec` array over whole blocks. */
function vector(blocks: readonly NativeBlock[]): NativeBlock {
  const iov = new NativeBlock(16 * blocks.length);
  blocks.forEach((block, i) => {
    iov.view.setBigUint64(16 * i, BigInt(block.address), true);
    iov.view.setBigUint64(16 * i + 8, BigInt(block.bytes.length), true);
  });
  return iov;
}

describe('sockets of programs', () => {
  for (const host of ['127.0.0.1', '::1']) {
    it(`connect and listen on ${host}, non-blocking and close-on-exec`, (t) => {
      const before = openFdCount();
      let listener: number;
      try {
        listener = listenSocket({ family: 'inet', host, port: 0 }, 'stream', 8);
      } catch (error) {
        if (host !== '::1') throw error;
        t.skip(`this host has no IPv6: ${(error as Error).message}`);
        return;
      }
      assert.equal(acceptSocket(listener), EAGAIN);
      const where = { family: 'inet', host, port: localPort(listener) } as const;
      assert.ok(where.port > 0);
      const client = connected(where, 'stream');
      const server = acceptSoon(listener);
      for (const fd of [client, server, listener]) {
        assert.ok(isNonBlocking(fd));
        const flags = libc.fcntl('int', fd, abi.constants.F_GETFD, 0);
        assert.notEqual(flags & abi.constants.FD_CLOEXEC, 0);
      }
      const [from, into] = [text('hello'), new NativeBlock(16)];
      assert.equal(send(client, from.address, 5), 5);
      assert.equal(receive(server, into.address, 16), 5);
      assert.equal(taken(into, 5), 'hello');
      for (const fd of [client, server, listener]) closeFd(fd);
      assert.equal(openFdCount(), before);
      return undefined;
    });
  }

  it('are what Node takes them for: addresses are in network order', async () => {
    const server = createServer((socket) => socket.end('from node'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const fd = connected({ family: 'inet', host: '127.0.0.1', port }, 'stream');
    const into = new NativeBlock(16);
    let got = receive(fd, into.address, 16);
    while (got === -(ERRNO.EAGAIN as number)) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      got = receive(fd, into.address, 16);
    }
    assert.equal(taken(into, got), 'from node');
    closeFd(fd);
    server.close();
    const listener = listenSocket({ family: 'inet', host: '0.0.0.0', port: 0 }, 'stream', 8);
    const socket = connect(localPort(listener), '127.0.0.1');
    await new Promise((resolve) => socket.once('connect', resolve));
    closeFd(acceptSoon(listener));
    closeFd(listener);
    socket.destroy();
  });

  it('are refused where nobody listens, and a taken port is said to be taken', () => {
    const listener = listenSocket({ family: 'inet', host: '127.0.0.1', port: 0 }, 'stream', 1);
    const where = { family: 'inet', host: '127.0.0.1', port: localPort(listener) } as const;
    assert.throws(
      () => listenSocket(where, 'stream', 1),
      (error: Error) =>
        errorCode(error) === 'ERR_VHU_SOCKET_IN_USE' && error.message.includes(socketName(where)),
    );
    closeFd(listener);
    const fd = openSocket(where, 'stream');
    const result = connectSocket(fd, where);
    assert.equal(result === EINPROGRESS ? outcome(fd) : result, ECONNREFUSED);
    closeFd(fd);
    const name = { family: 'inet', host: 'example.org', port: 1 } as const;
    assert.ok(openSocket(name, 'stream') < 0, 'a name is no address');
    const foreign = { family: 'inet', host: '192.0.2.1', port: 0 } as const;
    assert.throws(() => listenSocket(foreign, 'stream', 1), /bind\(192\.0\.2\.1:0\)/);
  });

  it('spell IPv6 addresses in all their ways', () => {
    for (const host of ['::1', '0:0:0:0:0:0:0:1', '::0.0.0.1', '::1%lo']) {
      const fd = openSocket({ family: 'inet', host, port: 1 }, 'stream');
      if (fd < 0) return;
      const result = connectSocket(fd, { family: 'inet', host, port: 1 });
      const error = result === EINPROGRESS ? outcome(fd) : result;
      closeFd(fd);
      assert.ok(
        [ECONNREFUSED, -(ERRNO.EADDRNOTAVAIL as number)].includes(error),
        `${host} ${error}`,
      );
    }
  });

  it('move vectors, peek, and end each half by itself', () => {
    const [a, b] = socketPair();
    const parts = [text('one'), text('two')];
    assert.equal(sendVector(a, vector(parts).address, 2, false), 6);
    const into = new NativeBlock(16);
    assert.equal(peek(b, into.address, 16), 6);
    const two = [new NativeBlock(4), new NativeBlock(4)];
    assert.equal(receiveVector(b, vector(two).address, 2), 6);
    assert.deepEqual(
      two.map((block) => taken(block, 4)),
      ['onet', 'wo\0\0'],
    );
    assert.equal(receive(b, into.address, 16), EAGAIN);
    assert.equal(shutDown(a, SHUT.WR), 0);
    assert.equal(receive(b, into.address, 16), 0);
    assert.equal(isHungUp(b), false, 'the other half is open');
    assert.equal(send(b, into.address, 1), 1);
    closeFd(a);
    assert.equal(isHungUp(b), true);
    assert.equal(send(b, into.address, 1), EPIPE, 'and no signal ends the process');
    closeFd(b);
  });

  const skip = hasUnixSeqpacket() ? false : 'this host has no Unix sockets of type SOCK_SEQPACKET';
  it('keep messages apart', { skip }, () => {
    const path = join(folder, 'seq');
    const listener = listenUnix(path, { type: 'seqpacket' });
    const client = connected({ family: 'unix', path }, 'seqpacket');
    setSendBuffer(client, 300_000);
    const server = acceptSoon(listener);
    assert.equal(sendVector(client, vector([text('first')]).address, 1, true), 5);
    assert.equal(sendVector(client, vector([text('sec'), text('ond')]).address, 2, false), 6);
    const into = new NativeBlock(16);
    const marks = { truncated: false, endsRecord: false, ended: false };
    assert.equal(receiveMessage(server, into.address, 16, marks), 5);
    assert.equal(marks.truncated, false);
    assert.equal(receiveMessage(server, into.address, 3, marks), 3);
    assert.equal(marks.truncated, true);
    assert.equal(receiveMessage(server, into.address, 16, marks), EAGAIN);
    for (const fd of [client, server, listener]) closeFd(fd);
  });

  // A kernel with AF_VSOCK is in the guest tests; what the calls say is to be seen on others, too.
  it(
    'of AF_VSOCK send a message whole, or not at all, or say that they did neither',
    { skip },
    () => {
      const [a, b] = socketPair('seqpacket');
      const small = vector([text('x'.repeat(1000))]);
      assert.equal(sendVsockMessage(a, small.address, 1, true), 1000);
      let result = 1000;
      while (result === 1000) result = sendVsockMessage(a, small.address, 1, false);
      assert.equal(result, EAGAIN, 'no room at all, so nothing was tried');
      const into = new NativeBlock(1000);
      while (receive(b, into.address, 1000) === 1000) continue;
      setSendBuffer(a, 100_000);
      const large = vector([text('x'.repeat(30_000))]);
      result = 30_000;
      while (result === 30_000) result = sendVsockMessage(a, large.address, 1, false);
      assert.ok(result === EAGAIN || result === ENOBUFS, `${result}`);
      while (receive(b, into.address, 1000) > 0) continue; // else its end is a reset
      closeFd(b);
      assert.equal(sendVsockMessage(a, small.address, 1, false), EPIPE);
      closeFd(a);
    },
  );

  it('of AF_VSOCK know that the other side has gone, and send nothing to find out', () => {
    const [a, b] = socketPair('stream');
    assert.equal(isVsockHungUp(a), false);
    const into = new NativeBlock(1);
    assert.equal(receive(b, into.address, 1), EAGAIN);
    shutDown(b, SHUT.WR);
    assert.equal(isVsockHungUp(a), false, 'the other half is open');
    shutDown(b, SHUT.RD);
    assert.equal(isVsockHungUp(a), true);
    for (const fd of [a, b]) closeFd(fd);
  });

  it('have names for people', () => {
    assert.deepEqual(
      [
        socketName({ family: 'unix', path: '/run/s' }),
        socketName({ family: 'inet', host: '127.0.0.1', port: 22 }),
        socketName({ family: 'inet', host: '::1', port: 22 }),
        socketName({ family: 'vsock', cid: 1, port: 22 }),
      ],
      ['/run/s', '127.0.0.1:22', '[::1]:22', 'vsock 1:22'],
    );
  });

  it('of AF_VSOCK listen where this host has them, and fail by a name elsewhere', () => {
    const where = { family: 'vsock', cid: 0xffff_ffff, port: 0x1234_5678 } as const;
    try {
      const fd = listenSocket(where, 'stream', 1);
      assert.equal(localPort(fd), 0x1234_5678);
      closeFd(fd);
    } catch (error) {
      assert.match((error as Error).message, /^(socket|bind)\(vsock \d+:305419896\): E[A-Z]+/);
    }
  });
});
