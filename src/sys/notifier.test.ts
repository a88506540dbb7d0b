/**
 * Notifiers: eventfds where the host has them, pipes, and whatever a peer sends.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  ERRNO,
  Notifier,
  NotifierConsumer,
  closeFd,
  createNotifier,
  createSemaphoreNotifier,
  dupFd,
  fdKind,
  host,
  isNonBlocking,
  notifierKind,
  openFdCount,
  setNonBlocking,
  socketPair,
} from './index.ts';
import { abi } from './host.ts';
import * as libc from './libc.ts';
import { NativeBlock } from './native.ts';

const EAGAIN = ERRNO.EAGAIN as number;
const scratch = new NativeBlock(65536);

function pipePair(): [read: number, write: number] {
  assert.equal(libc.pipe(scratch.address), 0);
  return [scratch.view.getInt32(0, true), scratch.view.getInt32(4, true)];
}

function isCloseOnExec(fd: number): boolean {
  return (libc.fcntl('int', fd, abi.constants.F_GETFD, 0) & abi.constants.FD_CLOEXEC) !== 0;
}

describe('a new notifier', () => {
  it('is an eventfd where the host has it, and a pipe in posix mode', () => {
    const native = process.platform === 'linux' || process.platform === 'freebsd';
    const expected = native && host().mode === 'native' ? 'eventfd' : 'pipe';
    assert.equal(notifierKind(), expected);
    const { notifier, consumer } = createNotifier();
    assert.equal(fdKind(consumer.fd), expected === 'pipe' ? 'pipe' : 'other');
    notifier.close();
    consumer.close();
  });

  it('has two fds, both non-blocking and close-on-exec, and closing them twice is harmless', () => {
    const before = openFdCount();
    const { notifier, consumer } = createNotifier();
    assert.equal(openFdCount(), before + 2);
    assert.notEqual(notifier.fd, consumer.fd);
    for (const { fd } of [notifier, consumer]) {
      assert.ok(isNonBlocking(fd));
      assert.ok(isCloseOnExec(fd));
    }
    for (const end of [notifier, consumer, notifier, consumer]) end.close();
    assert.deepEqual([notifier.fd, consumer.fd], [-1, -1]);
    assert.equal(openFdCount(), before);
  });

  it('gathers signals: one drain takes all, and the next finds nothing', () => {
    const { notifier, consumer } = createNotifier();
    assert.equal(consumer.drain(), 0);
    for (let i = 0; i < 1000; i++) assert.equal(notifier.signal(), 0);
    assert.equal(consumer.drain(), 1);
    assert.equal(consumer.drain(), 0);
    assert.equal(notifier.signal(), 0);
    assert.equal(consumer.drain(), 1);
    notifier.close();
    consumer.close();
  });

  it('cannot be flooded: signalling an unread notifier goes on reporting success', () => {
    const { notifier, consumer } = createNotifier();
    for (let i = 0; i < 20_000; i++) assert.equal(notifier.signal(), 0);
    assert.equal(consumer.drain(), 1);
    assert.equal(consumer.drain(), 0);
    notifier.close();
    consumer.close();
  });
});

describe('a pipe that a peer sent', () => {
  it('is made non-blocking, and its flag is never cleared', () => {
    const [read, write] = pipePair();
    assert.equal(isNonBlocking(read), false);
    const peer = dupFd(read); // the same open file, as a peer has it
    const consumer = new NotifierConsumer(read);
    const notifier = new Notifier(write);
    assert.ok(isNonBlocking(peer) && isNonBlocking(write));
    consumer.close();
    notifier.close();
    assert.ok(isNonBlocking(peer), 'closing leaves the flag alone');
    closeFd(peer);
  });

  it('that is full counts as signalled', () => {
    const [read, write] = pipePair();
    setNonBlocking(write, true);
    while (libc.write(write, scratch.address, 4096) > 0);
    assert.equal(libc.errno(), EAGAIN);
    const notifier = new Notifier(write);
    assert.equal(notifier.signal(), 0);
    const consumer = new NotifierConsumer(read);
    assert.equal(consumer.drain(), 1);
    assert.equal(consumer.drain(), 0, 'all of it was taken');
    notifier.close();
    consumer.close();
  });

  it('may be written in pieces of any size: the value has no meaning', () => {
    const [read, write] = pipePair();
    const consumer = new NotifierConsumer(read);
    for (const bytes of [1, 3, 7, 8, 9, 16, 511, 512, 4095, 4096, 4097, 8192]) {
      assert.equal(libc.write(write, scratch.address, bytes), bytes);
      assert.equal(consumer.drain(), 1, `${String(bytes)} bytes`);
      assert.equal(consumer.drain(), 0, `${String(bytes)} bytes`);
    }
    closeFd(write);
    consumer.close();
  });

  it('whose writer has gone gives its last signal, then its end', () => {
    const [read, write] = pipePair();
    const consumer = new NotifierConsumer(read);
    libc.write(write, scratch.address, 8);
    closeFd(write);
    assert.equal(consumer.drain(), 1);
    assert.equal(consumer.drain(), -1);
    assert.equal(consumer.drain(), -1);
    consumer.close();
  });

  it('whose reader has gone gives EPIPE, and no signal ends this process', () => {
    const [read, write] = pipePair();
    const notifier = new Notifier(write);
    closeFd(read);
    assert.equal(notifier.signal(), -(ERRNO.EPIPE as number));
    notifier.close();
  });

  it('of which the wrong end was sent reports an end, rather than never firing', () => {
    const [read, write] = pipePair();
    const consumer = new NotifierConsumer(write);
    assert.equal(consumer.drain(), -1, 'a write end cannot be read');
    const notifier = new Notifier(read);
    assert.equal(notifier.signal(), -(ERRNO.EBADF as number));
    consumer.close();
    notifier.close();
  });
});

describe('a pipe of a peer', () => {
  it('has flags of its own where it can be opened again, and works as it did', () => {
    const [read, write] = pipePair();
    const peer = [dupFd(read), dupFd(write)] as const;
    const before = openFdCount();
    const notifier = Notifier.ofPeer(write);
    const consumer = NotifierConsumer.ofPeer(read);
    assert.equal(openFdCount(), before, 'the fds of the peer are closed');
    for (const fd of peer) setNonBlocking(fd, false);
    if (host().mode === 'native' && process.platform === 'linux') {
      assert.deepEqual(
        [notifier, consumer].map(({ fd }) => isNonBlocking(fd)),
        [true, true],
      );
      assert.deepEqual(
        [notifier, consumer].map(({ fd }) => isCloseOnExec(fd)),
        [true, true],
      );
    }
    assert.equal(consumer.drain(), 0, 'nobody waits');
    for (let i = 0; i < 20_000; i++) assert.equal(notifier.signal(), 0);
    assert.equal(consumer.drain(), 1);
    assert.equal(consumer.drain(), 0);
    notifier.signal();
    notifier.close();
    closeFd(peer[1]);
    assert.deepEqual(
      [consumer.drain(), consumer.drain()],
      [1, -1],
      'the last signal, then its end',
    );
    consumer.close();
    closeFd(peer[0]);
  });

  it('of which the wrong end came, or whose reader has gone, says so', () => {
    const [read, write] = pipePair();
    const consumer = NotifierConsumer.ofPeer(write);
    assert.equal(consumer.drain(), -1);
    const notifier = Notifier.ofPeer(read);
    assert.equal(notifier.signal(), -(ERRNO.EBADF as number));
    for (const end of [consumer, notifier]) end.close();
    const [rest, broken] = pipePair();
    const readerless = Notifier.ofPeer(broken);
    closeFd(rest);
    assert.equal(readerless.signal(), -(ERRNO.EPIPE as number));
    readerless.close();
  });
});

describe('other fds in the place of a notifier', () => {
  it('a socket works, since reading and writing is all that is done with it', () => {
    const [a, b] = socketPair();
    const notifier = new Notifier(a);
    const consumer = new NotifierConsumer(b);
    notifier.signal();
    assert.equal(consumer.drain(), 1);
    assert.equal(consumer.drain(), 0);
    notifier.close();
    assert.equal(consumer.drain(), -1);
    consumer.close();
  });

  it('an fd that is not open is refused at once, by a text that names the call', () => {
    assert.throws(() => new Notifier(99_999), /fcntl\(fd 99999, F_GETFL\): EBADF/);
    assert.throws(() => new NotifierConsumer(99_999), /EBADF/);
  });

  it('a writer that never stops does not hold the reader', () => {
    const [a, b] = socketPair();
    const consumer = new NotifierConsumer(b);
    let written = 0;
    for (;;) {
      const count = libc.write(a, scratch.address, 65536);
      if (count <= 0) break;
      written += count;
    }
    let drains = 0;
    while (consumer.drain() === 1) drains++;
    assert.ok(drains >= 1 && drains <= Math.ceil(written / 4096) + 1);
    closeFd(a);
    consumer.close();
  });
});

const skip = notifierKind() === 'eventfd' ? false : 'this run has no eventfd';

describe('an eventfd', { skip }, () => {
  it('that is saturated counts as signalled, and is emptied by one drain', () => {
    const { notifier, consumer } = createNotifier();
    scratch.view.setBigUint64(0, 0xffff_ffff_ffff_fffen, true);
    assert.equal(libc.write(notifier.fd, scratch.address, 8), 8);
    assert.equal(notifier.signal(), 0);
    assert.equal(consumer.drain(), 1);
    assert.equal(consumer.drain(), 0);
    notifier.close();
    consumer.close();
  });

  it('that gives its signals one at a time is drained of one at a time', () => {
    const notifier = createSemaphoreNotifier();
    assert.ok(notifier !== null);
    const consumer = NotifierConsumer.ofPeer(dupFd(notifier.fd));
    for (let i = 0; i < 3; i++) notifier.signal();
    assert.deepEqual(
      Array.from({ length: 5 }, () => consumer.drain()),
      [1, 1, 1, 0, 0],
    );
    for (const end of [notifier, consumer]) end.close();
  });

  it('of a peer may be the same fd both ways', () => {
    const { notifier, consumer } = createNotifier();
    const other = new NotifierConsumer(dupFd(notifier.fd));
    notifier.signal();
    assert.equal(other.drain(), 1);
    assert.equal(consumer.drain(), 0, 'it is one counter');
    for (const end of [notifier, consumer, other]) end.close();
  });
});
