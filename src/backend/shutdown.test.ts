/**
 * The end of a back-end under load: whoever comes next goes on where it has stopped.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { EchoDevice, MockFrontend, TestBackend } from '../testing/index.ts';

const REQUESTS = 3;
const STOP_MS = 40;

it('a back-end that is closed gives back what it holds before it closes the socket', async () => {
  const device = new EchoDevice({ stopMs: STOP_MS });
  const served = await TestBackend.start(device);
  const frontend = await MockFrontend.connect(served.socketPath);
  const guest = await frontend.bringUp({ queueCount: 2, queueSize: 16 });
  try {
    device.hold = true;
    for (const index of [0, 1]) {
      const queue = guest.queue(index);
      for (let i = 0; i < REQUESTS; i++) queue.driver.submit([Uint8Array.of(i)], [1]);
      queue.publish();
    }
    while (device.heldCount < 2 * REQUESTS) await sleep(1);

    const closing = served.backend.close();
    await frontend.send('SET_VRING_ENABLE', { index: 0, num: 0 }); // too late: nobody answers
    await frontend.expectClosed();
    // A front-end takes the used indices now, for the next back-end: they are final.
    for (const index of [0, 1]) {
      const done = guest.queue(index).driver.completed();
      assert.equal(done.length, REQUESTS, `queue ${String(index)}`);
      assert.ok(done.every(({ usedBytes }) => usedBytes === 1));
    }
    await closing;
    for (const index of [0, 1]) assert.equal(guest.queue(index).driver.inFlight, 0);
  } finally {
    frontend.close();
    guest.close();
    await served.close();
  }
});
