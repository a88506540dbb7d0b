/**
 * Front-ends that clear O_NONBLOCK of a notifier while a session runs: the flag belongs to the open
 * file, which both sides share. And an eventfd whose signals are read one at a time.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { openBlk } from '../devices/blk/index.ts';
import { VhostUserError } from '../util/index.ts';
import {
  createNotifier,
  createPipeNotifier,
  createSemaphoreNotifier,
  setNonBlocking,
} from '../sys/index.ts';
import { EchoDevice, MOCK_TIMEOUT_MS, TestBackend, expectIdle } from '../testing/index.ts';
import type { MockQueue } from '../testing/index.ts';
import type { Device } from './index.ts';

const QUEUES = { queueCount: 2 };
/** A busy machine may be late by seconds, and is not to be taken for one that waits. */
const RESCUE_MS = 15_000;
/** Whole reads of a drain: it looks once more, into a pipe that is empty. */
const WHOLE_READS = Buffer.alloc(4096, 1);

const folder = mkdtempSync(join(tmpdir(), 'vhu-'));
after(() => rmSync(folder, { recursive: true }));

function disk(): Device {
  const image = join(folder, 'disk.img');
  writeFileSync(image, '');
  truncateSync(image, 65536);
  return openBlk({ image, lock: false, pollUs: 0, ...QUEUES });
}

const DEVICES: readonly (readonly [string, () => Device])[] = [
  ['on worker threads', disk],
  ['on the event loop', () => new EchoDevice(QUEUES)],
];

const semaphore = createSemaphoreNotifier();
semaphore?.close();
const skip = semaphore === null ? 'this host has no eventfd' : false;

/** In a while it reads and writes both ends of a pipe, upon which whoever waits for it goes on. */
class Rescue {
  readonly #state = new Int32Array(new SharedArrayBuffer(8));
  readonly #worker: Worker;

  constructor(readFd: number, writeFd: number) {
    const code = `
      const { workerData: { state, readFd, writeFd, ms } } = require('node:worker_threads');
      const { readSync, writeSync } = require('node:fs');
      Atomics.store(state, 1, 0);
      if (Atomics.wait(state, 0, 0, ms) === 'timed-out') {
        Atomics.store(state, 1, 1);
        try { readSync(readFd, Buffer.alloc(65536)); } catch {}
        try { writeSync(writeFd, Buffer.alloc(8)); } catch {}
      }`;
    const workerData = { state: this.#state, readFd, writeFd, ms: RESCUE_MS };
    this.#worker = new Worker(code, { eval: true, workerData });
  }

  /** Whether nobody had to be rescued. */
  async wasIdle(): Promise<boolean> {
    Atomics.store(this.#state, 0, 1);
    Atomics.notify(this.#state, 0);
    await this.#worker.terminate();
    return Atomics.load(this.#state, 1) === 0;
  }
}

/** Makes a request and waits for its return, whatever the back-end notifies of. */
async function use(queue: MockQueue, kick: () => void): Promise<void> {
  const header = Buffer.alloc(16);
  header.writeUInt32LE(99, 0); // a type of request that no disk knows
  queue.driver.submit([header], [1]);
  queue.publish();
  kick();
  const endMs = performance.now() + MOCK_TIMEOUT_MS;
  while (queue.driver.completed().length === 0) {
    if (performance.now() > endMs) {
      throw new VhostUserError('ERR_VHU_MOCK_TIMEOUT', 'the request did not come back');
    }
    await setTimeout(1);
  }
}

for (const [where, make] of DEVICES) {
  describe(`a front-end of a device ${where} that clears O_NONBLOCK`, () => {
    it('of a call pipe that is full does not have anybody wait', async () => {
      const served = await TestBackend.start(make());
      await served.session(async (frontend, keep) => {
        const guest = keep(await frontend.bringUp(QUEUES));
        const { notifier, consumer } = createPipeNotifier();
        for (const end of [notifier, consumer]) keep(end);
        const given = { fds: [notifier.fd] };
        assert.equal(await frontend.ack('SET_VRING_CALL', { value: 1n }, given), 0n);
        for (let i = 0; i < 70_000; i++) notifier.signal(); // until it is full
        const rescue = new Rescue(consumer.fd, notifier.fd);
        setNonBlocking(notifier.fd, false);
        const queue = guest.queue(1);
        for (let i = 0; i < 3; i++) await use(queue, () => undefined);
        assert.ok(await rescue.wasIdle(), 'the back-end waited for room in the pipe');
        setNonBlocking(notifier.fd, true);
        while (consumer.drain() === 1);
        await use(queue, () => undefined);
        for (let i = 0; i < 1000 && consumer.drain() === 0; i++) await setTimeout(1);
        assert.equal(notifier.signal(), 0);
      });
      await served.close();
    });

    it('of a kick pipe that is empty does not have anybody wait', async () => {
      const served = await TestBackend.start(make());
      await served.session(async (frontend, keep) => {
        const guest = keep(await frontend.bringUp(QUEUES));
        const { notifier, consumer } = createPipeNotifier();
        for (const end of [notifier, consumer]) keep(end);
        const given = { fds: [consumer.fd] };
        assert.equal(await frontend.ack('SET_VRING_KICK', { value: 1n }, given), 0n);
        const rescue = new Rescue(consumer.fd, notifier.fd);
        setNonBlocking(consumer.fd, false);
        const queue = guest.queue(1);
        for (let i = 0; i < 3; i++) {
          await use(queue, () =>
            assert.equal(writeSync(notifier.fd, WHOLE_READS), WHOLE_READS.length),
          );
        }
        assert.ok(await rescue.wasIdle(), 'the back-end waited for another kick');
      });
      await served.close();
    });
  });

  it(`a kick of a device ${where} that is empty and may block holds up no stop`, async () => {
    const served = await TestBackend.start(make());
    await served.session(async (frontend, keep) => {
      const guest = keep(await frontend.bringUp(QUEUES));
      const { notifier, consumer } = createNotifier(); // an eventfd, where there are any
      for (const end of [notifier, consumer]) keep(end);
      const given = { fds: [consumer.fd] };
      assert.equal(await frontend.ack('SET_VRING_KICK', { value: 1n }, given), 0n);
      const queue = guest.queue(1);
      await use(queue, () => notifier.signal());
      await setTimeout(20);
      consumer.drain(); // both have the counter
      const rescue = new Rescue(consumer.fd, notifier.fd);
      setNonBlocking(consumer.fd, false);
      await guest.stopQueue(1);
      assert.ok(await rescue.wasIdle(), 'the back-end waited for another kick');
    });
    await served.close();
  });

  describe(`a kick of a device ${where} that gives its signals one at a time`, { skip }, () => {
    it('loses none, and is quiet once all are taken', async () => {
      const served = await TestBackend.start(make());
      await served.session(async (frontend, keep) => {
        const guest = keep(await frontend.bringUp(QUEUES));
        const kick = createSemaphoreNotifier();
        assert.ok(kick !== null);
        keep(kick);
        assert.equal(await frontend.ack('SET_VRING_KICK', { value: 1n }, { fds: [kick.fd] }), 0n);
        const queue = guest.queue(1);
        for (const signals of [1, 50, 1, 1]) {
          await use(queue, () => {
            for (let i = 0; i < signals; i++) kick.signal();
          });
          await setTimeout(20);
        }
        await expectIdle();
      });
      await served.close();
    });
  });
}
