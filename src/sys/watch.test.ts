/**
 * Watching fds on the event loop: libuv's way, the thread's way, and the one that is picked.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Worker } from 'node:worker_threads';
import { expectIdle } from '../testing/index.ts';
import { errorCode } from '../util/index.ts';
import {
  READABLE,
  WRITABLE,
  closeFd,
  createNotifier,
  openFdCount,
  socketPair,
  watchFd,
} from './index.ts';
import * as libc from './libc.ts';
import { NativeBlock } from './native.ts';
import { ThreadWatcher } from './watch-thread.ts';
import { UvWatcher } from './watch-uv.ts';
import type { Watcher } from './watch.ts';

const byte = new NativeBlock(1);
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until a condition holds. */
async function until(holds: () => boolean, what: string): Promise<void> {
  const end = performance.now() + 30_000; // for a busy machine
  while (!holds()) {
    assert.ok(performance.now() < end, what);
    await sleep(2);
  }
}

/** A watcher whose thread has started: it opens fds meanwhile, which tests that count them see. */
async function started(watcher: Watcher): Promise<Watcher> {
  const { notifier, consumer } = createNotifier();
  let called = false;
  const watch = watcher.watch(consumer.fd, READABLE, () => {
    called = true;
    consumer.drain();
  });
  notifier.signal();
  await until(() => called, 'the thread calls');
  for (const each of [watch, notifier, consumer]) each.close();
  return watcher;
}

const WATCHERS: [string, Watcher | null][] = [
  ['libuv', UvWatcher.open()],
  ['a thread', await started(new ThreadWatcher())],
  ['the one that is picked', { watch: watchFd }],
];

for (const [name, found] of WATCHERS) {
  const skip = found === null ? 'this runtime does not export libuv' : false;
  describe(`watching by ${name}`, { skip }, () => {
    const watcher = found ?? { watch: (): never => assert.fail('skipped') };

    it('calls while there is something to read, and not any more once it was taken', async () => {
      const { notifier, consumer } = createNotifier();
      let calls = 0;
      const watch = watcher.watch(consumer.fd, READABLE, (events) => {
        assert.equal(events, READABLE);
        if (++calls === 3) consumer.drain(); // level-triggered: the first two take nothing
      });
      await sleep(30);
      assert.equal(calls, 0);
      notifier.signal();
      await until(() => calls === 3, 'three calls');
      await sleep(30);
      assert.equal(calls, 3);
      notifier.signal();
      await until(() => calls >= 4, 'it goes on');
      watch.close();
      watch.close();
      notifier.close();
      consumer.close();
    });

    it('waits for what it was last told to wait for', async () => {
      const [a, b] = socketPair();
      const seen: number[] = [];
      const watch = watcher.watch(a, 0, (events) => {
        seen.push(events);
        watch.setEvents(0);
      });
      libc.write(b, byte.address, 1);
      await sleep(30);
      assert.deepEqual(seen, [], 'nothing was wanted');
      watch.setEvents(WRITABLE);
      await until(() => seen.length === 1, 'writable');
      watch.setEvents(READABLE);
      await until(() => seen.length === 2, 'readable');
      watch.setEvents(READABLE | WRITABLE);
      await until(() => seen.length === 3, 'both');
      assert.deepEqual(seen, [WRITABLE, READABLE, READABLE | WRITABLE]);
      await sleep(20);
      assert.equal(seen.length, 3, 'the handler said that it has enough');
      watch.close();
      watch.setEvents(READABLE); // after the end: nothing happens
      watch.ref();
      watch.unref();
      closeFd(a);
      closeFd(b);
    });

    it('tells of the end of a stream', async () => {
      const [a, b] = socketPair();
      let calls = 0;
      const watch = watcher.watch(a, READABLE, (events) => {
        calls++;
        assert.equal(events & READABLE, READABLE);
        watch.close();
      });
      closeFd(b);
      await until(() => calls === 1, 'the end');
      closeFd(a);
    });

    it('is silent from close() on, and the fd may be closed and its number used again', async () => {
      const before = openFdCount();
      for (let round = 0; round < 20; round++) {
        const first = createNotifier();
        const watch = watcher.watch(first.consumer.fd, READABLE, () => {
          assert.fail('a closed watch calls');
        });
        const { fd } = first.consumer;
        first.notifier.signal();
        watch.close();
        first.consumer.close();
        const second = createNotifier();
        assert.equal(second.consumer.fd === fd || second.notifier.fd === fd, true);
        let calls = 0;
        const again = watcher.watch(second.consumer.fd, READABLE, () => {
          calls++;
          second.consumer.drain();
        });
        second.notifier.signal();
        await until(() => calls > 0, 'the new one fires');
        again.close();
        for (const end of [first.notifier, second.notifier, second.consumer]) end.close();
      }
      assert.ok(openFdCount() <= before);
    });

    it('takes no time for an fd that was closed while a peer keeps the same open file', async () => {
      const { notifier, consumer } = createNotifier();
      let calls = 0;
      const watch = watcher.watch(consumer.fd, READABLE, () => {
        calls++;
        consumer.drain();
      });
      notifier.signal();
      await until(() => calls > 0, 'it is being watched');
      watch.close();
      consumer.close();
      notifier.signal(); // an eventfd is now readable for ever
      await expectIdle();
      notifier.close();
    });

    it('serves many fds at once', async () => {
      const list = Array.from({ length: 100 }, () => createNotifier());
      const seen = new Set<number>();
      const watches = list.map(({ consumer }, i) =>
        watcher.watch(consumer.fd, READABLE, () => {
          seen.add(i);
          consumer.drain();
        }),
      );
      for (const { notifier } of list) notifier.signal();
      await until(() => seen.size === 100, 'all have fired');
      for (const watch of watches) watch.close();
      for (const { notifier, consumer } of list) {
        notifier.close();
        consumer.close();
      }
    });

    it('refuses an fd that is watched already, and one that is not open', async () => {
      const { notifier, consumer } = createNotifier();
      const before = openFdCount();
      const watch = watcher.watch(consumer.fd, READABLE, () => undefined);
      assert.throws(
        () => watcher.watch(consumer.fd, READABLE, () => undefined),
        (error: unknown) => {
          assert.equal(errorCode(error), 'ERR_VHU_WATCH');
          assert.match((error as Error).message, /it is watched already/);
          return true;
        },
      );
      assert.throws(() => watcher.watch(99_999, READABLE, () => undefined), /EBADF/);
      watch.close();
      await sleep(5);
      const again = watcher.watch(consumer.fd, READABLE, () => undefined);
      again.close();
      assert.ok(openFdCount() <= before);
      notifier.close();
      consumer.close();
    });
  });
}

const uv = UvWatcher.open();
describe('libuv', { skip: uv === null ? 'this runtime does not export libuv' : false }, () => {
  it('says that a file cannot be watched', { skip: process.platform !== 'linux' }, () => {
    const folder = mkdtempSync(join(tmpdir(), 'vhu-watch-'));
    const fd = openSync(join(folder, 'file'), 'w');
    assert.throws(
      () => uv?.watch(fd, READABLE, () => undefined),
      /uv_poll_init\(fd \d+\): EPERM: only sockets, pipes and the like can be watched/,
    );
    closeSync(fd);
    rmSync(folder, { recursive: true });
  });
});

describe('watching from a worker thread', () => {
  it('works, and ends with the thread', async () => {
    const ending = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    const door = new URL(`./index.${ending}`, import.meta.url).href;
    const code = `
      import(${JSON.stringify(door)}).then((sys) => {
        const { notifier, consumer } = sys.createNotifier();
        const watch = sys.watchFd(consumer.fd, sys.READABLE, () => {
          consumer.drain();
          watch.close();
          notifier.close();
          consumer.close();
          require('node:worker_threads').parentPort.postMessage('fired');
        });
        notifier.signal();
      });`;
    const worker = new Worker(code, { eval: true });
    const messages: unknown[] = [];
    worker.on('message', (message) => messages.push(message));
    const status = await new Promise((resolve, reject) => {
      worker.on('exit', resolve).on('error', reject);
    });
    assert.equal(status, 0);
    assert.deepEqual(messages, ['fired']);
  });
});
