/**
 * A ring that is stopped while requests wait in it: they are served where it goes on, also by
 * somebody who waits for a kick, although theirs was heard before.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { EchoDevice, TestBackend, echoOnThread } from '../../testing/index.ts';
import type { MockGuest } from '../../testing/index.ts';
import { NotifierConsumer, dupFd, fdKind } from '../../sys/index.ts';
import { COUNTER } from '../index.ts';
import type { Device } from '../index.ts';

const VERSION_1 = 1n << 32n;
const PROTOCOL_FEATURES = 1n << 30n;
const LOOK_MS = 5;

/** The echo device with its data plane on a thread. */
class ThreadedEcho implements Device {
  readonly name = 'echo';
  readonly deviceId = 63;
  readonly queueCount = 2;
  readonly queueSizeMax = 1024;
  readonly features = 0n;
  readonly dataPlane = echoOnThread();

  readConfig(): Uint8Array {
    return new Uint8Array(0);
  }

  attach(): void {
    // It asks for nothing.
  }

  close(): void {
    // It holds nothing.
  }
}

/** Has a request wait in queue 0, whose kick was heard, and stops the queue. */
async function stopWithOneWaiting(
  guest: MockGuest,
  heard: () => number,
): Promise<NotifierConsumer> {
  const queue = guest.queue(0);
  await queue.exchange([Buffer.from('first')], [5]);
  await guest.frontend.command('SET_VRING_ENABLE', { index: 0, num: 0 });
  const before = heard();
  queue.driver.submit([Buffer.from('waits')], [5]);
  queue.driver.publish();
  queue.raw.kick();
  while (heard() === before) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  assert.equal(await guest.stopQueue(0), 1, 'it was not taken');
  return new NotifierConsumer(dupFd(queue.raw.peerFds.kick));
}

/** Starts queue 0 again, by the fd that it had before, and without a kick. */
async function startUnkicked(guest: MockGuest): Promise<void> {
  const { frontend } = guest;
  const { kick } = guest.queue(0).raw.peerFds;
  await frontend.command('SET_VRING_BASE', { index: 0, num: 1 });
  await frontend.command('SET_VRING_ENABLE', { index: 0, num: 1 });
  await frontend.command('SET_VRING_KICK', { value: 0n }, { fds: [kick] });
  const [done] = await guest.queue(0).completions(1);
  assert.equal(Buffer.from(done?.written ?? []).toString(), 'waits');
}

for (const [where, make] of [
  ['a worker thread', () => new ThreadedEcho()],
  ['the event loop', () => new EchoDevice()],
] as const) {
  for (const modern of [true, false]) {
    const driver = modern ? 'a driver' : 'a legacy driver';
    it(`on ${where}, a request of ${driver} that waits at the stop is served at the start`, async () => {
      const served = await TestBackend.start<Device>(make());
      try {
        const { faults } = await served.session(async (frontend, keep) => {
          const features = PROTOCOL_FEATURES | (modern ? VERSION_1 : 0n);
          const guest = keep(await frontend.bringUp({ features }));
          const kicks = (): number => served.backend.counter(COUNTER.kicks);
          const kick = keep(await stopWithOneWaiting(guest, kicks));
          const left = kick.drain();
          // A pipe is read at its other end only. QEMU would start a legacy driver's device by it.
          assert.equal(left, modern && fdKind(kick.fd) !== 'pipe' ? 1 : 0);
          await startUnkicked(guest);
          await guest.stopQueue(0);
          assert.equal(kick.drain(), 0, 'nothing waits, and nothing is left behind');
        });
        assert.deepEqual(faults, []);
      } finally {
        await served.close();
      }
    });
  }
}
