/**
 * The pollers that this host can run, all by the same tests.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  READABLE,
  SystemError,
  WRITABLE,
  closeFd,
  createNotifier,
  createPoller,
  host,
  monotonicUs,
  openFdCount,
  pollerKind,
  socketPair,
} from './index.ts';
import type { Notifier, NotifierConsumer, Poller } from './index.ts';
import { abi } from './host.ts';
import * as libc from './libc.ts';
import { NativeBlock } from './native.ts';
import { EpollPoller } from './poller-epoll.ts';
import { KqueuePoller } from './poller-kqueue.ts';
import { PollPoller } from './poller-poll.ts';

const KQUEUE = abi.kqueue;

describe('a kqueue', { skip: KQUEUE === null ? 'this host has none' : false }, () => {
  it('lets an fd go that was closed before it was removed', () => {
    const [a, b] = socketPair();
    const poller = KqueuePoller.open() as KqueuePoller;
    poller.add(a, 1, READABLE | WRITABLE);
    closeFd(a);
    assert.equal(poller.wait(0), 0);
    poller.remove(a);
    poller.close();
    closeFd(b);
  });
});

type Make = () => Poller;
const MAKERS: [string, Make | null][] = [
  ['epoll', opened(() => EpollPoller.open())],
  // On Linux only on the models of other kernels: see test/hosts.
  ['kqueue', opened(() => KqueuePoller.open())],
  ['poll', () => new PollPoller()],
];

/** The maker, when this host has the facility. */
function opened(open: () => Poller | null): Make | null {
  const probe = open();
  if (probe === null) return null;
  probe.close();
  return open as Make;
}

/** What is ready now: `[key, events]`, by key. */
function ready(poller: Poller, timeoutUs = 0): [number, number][] {
  const count = poller.wait(timeoutUs);
  const list = Array.from({ length: count }, (_, i): [number, number] => [
    poller.readyKey(i),
    poller.readyEvents(i),
  ]);
  return list.sort(([a], [b]) => a - b);
}

function notifiers(count: number): { notifier: Notifier; consumer: NotifierConsumer }[] {
  return Array.from({ length: count }, () => createNotifier());
}

function closeAll(list: { notifier: Notifier; consumer: NotifierConsumer }[]): void {
  for (const { notifier, consumer } of list) {
    notifier.close();
    consumer.close();
  }
}

describe('the poller of this host', () => {
  it('is epoll on Linux, kqueue on the others, and poll in posix mode', () => {
    const native = process.platform === 'linux' ? 'epoll' : 'kqueue';
    assert.equal(pollerKind(), host().mode === 'posix' ? 'poll' : native);
    const poller = createPoller();
    const kinds = { epoll: EpollPoller, kqueue: KqueuePoller, poll: PollPoller };
    assert.ok(poller instanceof kinds[pollerKind()]);
    poller.close();
  });
});

for (const [kind, make] of MAKERS) {
  const skip = make === null ? `this host has no ${kind}` : false;
  describe(`a ${kind} poller`, { skip }, () => {
    const create = make ?? ((): never => assert.fail('skipped'));

    it('is level-triggered: what is not taken fires again', () => {
      const [each] = notifiers(1) as [ReturnType<typeof createNotifier>];
      const poller = create();
      poller.add(each.consumer.fd, 7);
      assert.deepEqual(ready(poller), []);
      each.notifier.signal();
      for (let i = 0; i < 3; i++) assert.deepEqual(ready(poller), [[7, READABLE]]);
      each.consumer.drain();
      assert.deepEqual(ready(poller), []);
      poller.remove(each.consumer.fd);
      poller.close();
      closeAll([each]);
    });

    it('waits for the time that was asked for, and no longer than needed', () => {
      const [each] = notifiers(1) as [ReturnType<typeof createNotifier>];
      const poller = create();
      poller.add(each.consumer.fd, 0);
      const start = monotonicUs();
      assert.equal(poller.wait(20_000), 0);
      const waited = monotonicUs() - start;
      assert.ok(waited >= 19_000 && waited < 2e6, `${String(waited)} us`);
      each.notifier.signal();
      assert.equal(poller.wait(-1), 1, 'for ever, but something is there');
      assert.equal(poller.wait(60e6), 1);
      poller.close();
      closeAll([each]);
    });

    it('takes a time with a fraction of a microsecond before a whole second', () => {
      const [each] = notifiers(1) as [ReturnType<typeof createNotifier>];
      const poller = create();
      poller.add(each.consumer.fd, 0);
      each.notifier.signal();
      for (const timeoutUs of [0.25, 999_999.5, 1_999_999.001, 4e15]) {
        assert.equal(poller.wait(timeoutUs), 1);
      }
      poller.close();
      closeAll([each]);
    });

    it('says of a pipe that nobody reads that it can be written: it fails at once', () => {
      const fds = new NativeBlock(8);
      assert.equal(libc.pipe(fds.address), 0);
      const [readEnd, writeEnd] = [fds.view.getInt32(0, true), fds.view.getInt32(4, true)];
      libc.close(readEnd);
      const poller = create();
      poller.add(writeEnd, 9, WRITABLE);
      for (let i = 0; i < 2; i++) {
        assert.equal(poller.wait(-1), 1);
        assert.equal(poller.readyKey(0), 9);
        assert.notEqual(poller.readyEvents(0) & WRITABLE, 0);
      }
      poller.modify(writeEnd, 9, READABLE | WRITABLE);
      assert.ok(poller.wait(-1) > 0);
      poller.modify(writeEnd, 9, 0);
      assert.equal(poller.wait(0), 0);
      poller.remove(writeEnd);
      poller.close();
      closeFd(writeEnd);
      fds.free();
    });

    it('reports reading and writing apart, and changes what it waits for', () => {
      const [a, b] = socketPair();
      const poller = create();
      poller.add(a, 3, READABLE | WRITABLE);
      assert.deepEqual(ready(poller), [[3, WRITABLE]]);
      poller.modify(a, 4, READABLE);
      assert.deepEqual(ready(poller), []);
      const byte = new NativeBlock(1);
      libc.write(b, byte.address, 1);
      assert.deepEqual(ready(poller), [[4, READABLE]]);
      poller.modify(a, 5, WRITABLE);
      assert.deepEqual(ready(poller), [[5, WRITABLE]]);
      poller.remove(a);
      assert.deepEqual(ready(poller), []);
      poller.close();
      closeFd(a);
      closeFd(b);
    });

    it('is silent about an fd that waits for nothing, even when its peer has gone', () => {
      const [a, b] = socketPair();
      const poller = create();
      poller.add(a, 1, 0);
      assert.deepEqual(ready(poller), []);
      poller.modify(a, 1, READABLE | WRITABLE);
      assert.deepEqual(ready(poller), [[1, WRITABLE]]);
      poller.modify(a, 1, 0);
      poller.modify(a, 1, 0);
      closeFd(b);
      assert.deepEqual(ready(poller), [], 'no busy loop');
      poller.modify(a, 2, READABLE);
      assert.equal(ready(poller)[0]?.[0], 2);
      poller.modify(a, 2, 0);
      poller.remove(a);
      closeFd(a);
      poller.close();
    });

    it('reports the end of a pipe or a socket as readable, again and again', () => {
      const [a, b] = socketPair();
      const pipe = new NativeBlock(8);
      libc.pipe(pipe.address);
      const [read, write] = [pipe.view.getInt32(0, true), pipe.view.getInt32(4, true)];
      const poller = create();
      poller.add(a, 1);
      poller.add(read, 2);
      closeFd(b);
      closeFd(write);
      for (let i = 0; i < 2; i++) {
        const list = ready(poller);
        assert.deepEqual(
          list.map(([key]) => key),
          [1, 2],
        );
        assert.ok(list.every(([, events]) => (events & READABLE) !== 0));
      }
      for (const fd of [a, read]) {
        poller.remove(fd);
        closeFd(fd);
      }
      poller.close();
    });

    it('serves many fds, each under its key, and those that do not fit come next time', () => {
      const list = notifiers(200);
      const poller = create();
      list.forEach(({ consumer }, key) => {
        poller.add(consumer.fd, key + 1_000_000);
      });
      const wanted = list.filter((_, i) => i % 2 === 0);
      for (const { notifier } of wanted) notifier.signal();
      const seen = new Set<number>();
      for (let turn = 0; turn < 10 && seen.size < 100; turn++) {
        for (const [key, events] of ready(poller)) {
          assert.equal(events, READABLE);
          seen.add(key);
          list[key - 1_000_000]?.consumer.drain();
        }
      }
      assert.deepEqual(
        [...seen].sort((x, y) => x - y),
        wanted.map((_, i) => 1_000_000 + 2 * i),
      );
      for (const { consumer } of list.splice(0, 100).map((each) => (closeAll([each]), each))) {
        assert.equal(consumer.fd, -1);
      }
      closeAll(list);
      poller.close();
    });

    it('keeps key and events of what was ready while fds are removed, added and changed', () => {
      const list = notifiers(6);
      const poller = create();
      list.forEach(({ consumer }, key) => {
        poller.add(consumer.fd, key);
      });
      for (const i of [1, 2, 4]) list[i]?.notifier.signal();
      assert.equal(poller.wait(0), 3);
      const before = [0, 1, 2].map((i) => [poller.readyKey(i), poller.readyEvents(i)]);
      for (const key of [0, 1, 2]) poller.remove(list[key]?.consumer.fd as number);
      poller.modify(list[4]?.consumer.fd as number, 9, WRITABLE);
      poller.add(list[0]?.consumer.fd as number, 10);
      const after = [0, 1, 2].map((i) => [poller.readyKey(i), poller.readyEvents(i)]);
      assert.deepEqual(after, before);
      assert.deepEqual(before.map(([key]) => key).sort(), [1, 2, 4]);
      poller.close();
      closeAll(list);
    });

    it('keeps the rest in order after any of its fds was removed', () => {
      const list = notifiers(5);
      const poller = create();
      list.forEach(({ consumer }, key) => {
        poller.add(consumer.fd, key, key === 4 ? READABLE | WRITABLE : READABLE);
      });
      for (const gone of [1, 4, 0]) {
        poller.remove(list[gone]?.consumer.fd as number);
        closeAll([list[gone] as ReturnType<typeof createNotifier>]);
      }
      for (const i of [2, 3]) list[i]?.notifier.signal();
      assert.deepEqual(ready(poller), [
        [2, READABLE],
        [3, READABLE],
      ]);
      poller.close();
      closeAll(list);
    });

    it('names the operation and the fd when a caller adds twice or changes what is not there', () => {
      if (kind === 'kqueue') return; // it cannot tell: adding twice changes
      const [each] = notifiers(1) as [ReturnType<typeof createNotifier>];
      const { fd } = each.consumer;
      const poller = create();
      poller.add(fd, 1);
      const failing = (name: string, operation: string) => (error: unknown) => {
        assert.ok(error instanceof SystemError);
        assert.equal(error.errnoName, name);
        assert.match(error.message, new RegExp(`\\(${operation}, fd ${String(fd)}\\): ${name}`));
        return true;
      };
      assert.throws(
        () => {
          poller.add(fd, 2);
        },
        failing('EEXIST', 'ADD'),
      );
      poller.remove(fd);
      assert.throws(
        () => {
          poller.remove(fd);
        },
        failing('ENOENT', 'DEL'),
      );
      assert.throws(
        () => {
          poller.modify(fd, 1, READABLE);
        },
        failing('ENOENT', 'MOD'),
      );
      poller.close();
      closeAll([each]);
    });

    it('closes twice without harm and leaves no fd behind', () => {
      const before = openFdCount();
      const list = notifiers(70); // more than the first table of poll holds
      const poller = create();
      list.forEach(({ consumer }, key) => {
        poller.add(consumer.fd, key);
      });
      poller.close();
      poller.close();
      closeAll(list);
      assert.equal(openFdCount(), before);
    });
  });
}
