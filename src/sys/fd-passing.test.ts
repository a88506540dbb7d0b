/**
 * Bytes and fds over a Unix socket.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { fstatSync } from 'node:fs';
import { describe, it } from 'node:test';
import {
  ERRNO,
  FDS_PER_MESSAGE_MAX,
  closeFd,
  closeFds,
  createNotifier,
  createSharedMemory,
  openFdCount,
  receiveWithFds,
  sendWithFds,
  socketPair,
} from './index.ts';
import type { Received } from './index.ts';
import { abi } from './host.ts';
import * as libc from './libc.ts';
import { NativeBlock } from './native.ts';

const EAGAIN = ERRNO.EAGAIN as number;

interface Pair {
  readonly a: number;
  readonly b: number;
  readonly into: Uint8Array;
  readonly received: Received;
  /** Receives at `b`. */
  readonly receive: (bytes?: number) => number;
}

/** Runs `use` with two connected sockets, and checks that no fd is left behind. */
function withPair(use: (pair: Pair) => void): void {
  const before = openFdCount();
  const [a, b] = socketPair();
  const into = new Uint8Array(200_000);
  const received: Received = { fds: [], truncated: false };
  const receive = (bytes = into.length): number =>
    receiveWithFds(b, into.subarray(0, bytes), received);
  try {
    use({ a, b, into, received, receive });
  } finally {
    closeFds(received.fds);
    closeFd(a);
    closeFd(b);
  }
  assert.equal(openFdCount(), before, 'no fd is left behind');
}

function isCloseOnExec(fd: number): boolean {
  return (libc.fcntl('int', fd, abi.constants.F_GETFD, 0) & abi.constants.FD_CLOEXEC) !== 0;
}

describe('sending and receiving', () => {
  it('moves bytes without fds, and says so when nothing waits or the peer has gone', () => {
    withPair(({ a, b, into, received, receive }) => {
      assert.equal(receive(), -EAGAIN);
      assert.equal(sendWithFds(a, Uint8Array.of(1, 2, 3), []), 3);
      assert.equal(receive(), 3);
      assert.deepEqual([...into.subarray(0, 3)], [1, 2, 3]);
      assert.deepEqual(received, { fds: [], truncated: false });
      libc.close(a);
      assert.equal(receive(), 0, 'the end of the stream');
      assert.equal(sendWithFds(b, Uint8Array.of(1), []), -(ERRNO.EPIPE as number));
      libc.dup(b); // takes the number of `a`, so that closing it again is right
    });
  });

  it('passes fds that refer to the same object and are closed when a program is started', () => {
    withPair(({ a, received, receive }) => {
      const { notifier, consumer } = createNotifier();
      const memory = createSharedMemory(12_345, 'test');
      assert.equal(sendWithFds(a, new Uint8Array(12), [notifier.fd, memory]), 12);
      assert.equal(receive(), 12);
      assert.equal(received.truncated, false);
      const [signal, copy] = received.fds as [number, number];
      assert.equal(received.fds.length, 2);
      assert.ok(isCloseOnExec(signal) && isCloseOnExec(copy));
      assert.equal(fstatSync(copy).ino, fstatSync(memory).ino);
      assert.ok(fstatSync(copy).size >= 12_345);
      assert.equal(consumer.drain(), 0);
      const one = new NativeBlock(8);
      one.view.setUint32(0, 1, true);
      assert.equal(libc.write(signal, one.address, 8), 8);
      assert.equal(consumer.drain(), 1);
      notifier.close();
      consumer.close();
      closeFd(memory);
    });
  });

  it('passes fds in both directions, in order, and any number up to the limit', () => {
    withPair(({ a, b, into, received, receive }) => {
      const memories = [1, 2, 3].map((pages) => createSharedMemory(pages * 65536, 'order'));
      const inode = memories.map((fd) => fstatSync(fd).ino);
      for (const count of [1, 2, 3, 4, 5, 8, 64, FDS_PER_MESSAGE_MAX - 1, FDS_PER_MESSAGE_MAX]) {
        const fds = Array.from({ length: count }, (_, i) => memories[i % 3] as number);
        assert.equal(sendWithFds(a, Uint8Array.of(7), fds), 1);
        assert.equal(receive(), 1);
        assert.equal(received.truncated, false);
        const inodes = received.fds.map((fd) => fstatSync(fd).ino);
        const expected = fds.map((_, i) => inode[i % 3]);
        assert.deepEqual(inodes, expected, `${String(count)} fds`);
        closeFds(received.fds);
        assert.deepEqual(received.fds, [], 'closing empties the list');
      }
      assert.equal(sendWithFds(b, Uint8Array.of(9), memories), 1);
      assert.equal(receiveWithFds(a, into, received), 1);
      assert.equal(received.fds.length, 3);
      closeFds(memories);
    });
  });

  it('refuses more fds than one message can have, and fds without a byte to travel on', () => {
    withPair(({ a, b }) => {
      const tooMany = new Array<number>(FDS_PER_MESSAGE_MAX + 1).fill(b);
      assert.throws(() => sendWithFds(a, Uint8Array.of(1), tooMany), /at most 127 fds/);
      assert.throws(() => sendWithFds(a, new Uint8Array(0), [b]), /fds travel on a byte/);
      assert.equal(sendWithFds(a, new Uint8Array(0), []), 0);
    });
  });

  it('sends nothing when one of the fds is not open', () => {
    withPair(({ a, b, receive }) => {
      assert.equal(sendWithFds(a, new Uint8Array(4), [b, 99_999]), -(ERRNO.EBADF as number));
      assert.equal(receive(), -EAGAIN);
      assert.equal(sendWithFds(99_999, new Uint8Array(4), []), -(ERRNO.EBADF as number));
      assert.equal(
        receiveWithFds(99_999, new Uint8Array(4), { fds: [], truncated: false }),
        -(ERRNO.EBADF as number),
      );
    });
  });

  it('delivers the fds with the first byte of a message that is read in fragments', () => {
    withPair(({ a, b, received, receive }) => {
      assert.equal(sendWithFds(a, new Uint8Array(20), [b, b]), 20);
      assert.equal(receive(1), 1);
      assert.equal(received.fds.length, 2);
      closeFds(received.fds);
      for (let left = 19; left > 0; left--) {
        assert.equal(receive(1), 1);
        assert.deepEqual(received.fds, []);
      }
      assert.equal(receive(1), -EAGAIN);
    });
  });

  it('keeps the fds of two messages apart for a reader that asks for one message at a time', () => {
    withPair(({ a, b, received, receive }) => {
      sendWithFds(a, new Uint8Array(10), []);
      sendWithFds(a, new Uint8Array(10), [b]);
      sendWithFds(a, new Uint8Array(10), [b, b]);
      const seen: number[] = [];
      for (let i = 0; i < 3; i++) {
        assert.equal(receive(10), 10);
        seen.push(received.fds.length);
        closeFds(received.fds);
      }
      assert.deepEqual(seen, [0, 1, 2]);
    });
  });

  it('never mixes the fds of two messages, however much a reader asks for', () => {
    withPair(({ a, b, received, receive }) => {
      sendWithFds(a, new Uint8Array(10), []);
      sendWithFds(a, new Uint8Array(10), [b]);
      sendWithFds(a, new Uint8Array(10), [b, b]);
      // The first receive may begin with bytes that have no fds: see receiveWithFds.
      let fds = 0;
      for (let bytes = 0; bytes < 30;) {
        const count = receive();
        assert.ok(count > 0);
        assert.ok(received.fds.length <= 2);
        fds += received.fds.length;
        bytes += count;
        closeFds(received.fds);
      }
      assert.equal(fds, 3);
    });
  });

  it('moves more than fits one call in pieces, without losing or changing a byte', () => {
    withPair(({ a, into, receive }) => {
      const bytes = Uint8Array.from({ length: 150_000 }, (_, i) => (i * 7 + (i >> 8)) & 0xff);
      let sent = 0;
      let got = 0;
      const result = new Uint8Array(bytes.length);
      while (got < bytes.length) {
        const count = sent < bytes.length ? sendWithFds(a, bytes.subarray(sent), []) : 0;
        assert.ok(count >= 0 || count === -EAGAIN);
        if (count > 0) sent += count;
        assert.ok(count <= 65536, 'one call moves 64 KiB at the most');
        const received = receive();
        if (received === -EAGAIN) continue;
        assert.ok(received > 0);
        result.set(into.subarray(0, received), got);
        got += received;
      }
      assert.deepEqual(result, bytes);
    });
  });

  it('does not overwrite what lies behind a short receive', () => {
    withPair(({ a, into, receive }) => {
      into.fill(0xee);
      sendWithFds(a, Uint8Array.of(1, 2, 3), []);
      assert.equal(receive(100), 3);
      assert.deepEqual([...into.subarray(0, 5)], [1, 2, 3, 0xee, 0xee]);
    });
  });

  it('drops undelivered fds with the socket that they were sent to', () => {
    withPair(({ a, b }) => {
      const memory = createSharedMemory(4096, 'in flight');
      sendWithFds(a, new Uint8Array(1), [memory, memory, b]);
      closeFd(memory);
    });
  });
});

const linux = process.platform === 'linux' ? false : 'SO_PASSCRED is of Linux';

describe('control messages of other kinds', { skip: linux }, () => {
  const SO_PASSCRED = 16;

  it('are skipped: fds are found behind credentials', () => {
    withPair(({ a, b, received, receive }) => {
      const on = new NativeBlock(4);
      on.view.setUint32(0, 1, true);
      const level = abi.constants.SOL_SOCKET;
      assert.equal(libc.setsockopt(b, level, SO_PASSCRED, on.address, 4), 0);
      sendWithFds(a, new Uint8Array(5), [a, b]);
      assert.equal(receive(), 5);
      assert.equal(received.fds.length, 2);
      assert.equal(received.truncated, false);
      closeFds(received.fds);
      sendWithFds(a, new Uint8Array(5), []);
      assert.equal(receive(), 5);
      assert.deepEqual(received.fds, []);
    });
  });

  it('do not confuse the walk when fds come as several control messages', () => {
    withPair(({ a, b, received, receive }) => {
      const { msghdr, cmsg, constants } = abi;
      const block = new NativeBlock(2048);
      const [iovAt, dataAt, controlAt] = [64, 96, 128];
      let at = controlAt;
      // 253 altogether: SCM_MAX_FD; sendmsg of musl has room for the headers of one message only.
      const most = new Array<number>(isMusl() ? 244 : 250).fill(b);
      for (const fds of [[a], [a, b], most]) {
        block.set(at, cmsg.len, cmsg.dataOffset + fds.length * 4);
        block.set(at, cmsg.level, constants.SOL_SOCKET);
        block.set(at, cmsg.type, constants.SCM_RIGHTS);
        fds.forEach((fd, i) => {
          block.view.setInt32(at + cmsg.dataOffset + i * 4, fd, true);
        });
        at += cmsg.dataOffset + Math.ceil((fds.length * 4) / cmsg.align) * cmsg.align;
      }
      block.view.setBigUint64(iovAt, BigInt(block.address + dataAt), true);
      block.view.setBigUint64(iovAt + 8, 3n, true);
      block.set(0, msghdr.iov, block.address + iovAt);
      block.set(0, msghdr.iovlen, 1);
      block.set(0, msghdr.control, block.address + controlAt);
      block.set(0, msghdr.controllen, at - controlAt);
      assert.equal(libc.sendmsg(a, block.address, 0), 3);
      assert.equal(receive(), 3);
      assert.equal(received.fds.length, 3 + most.length);
      assert.equal(received.truncated, false);
    });
  });
});

/** Linux's other C library. */
function isMusl(): boolean {
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return process.platform === 'linux' && header.glibcVersionRuntime === undefined;
}
