/**
 * A message that is refused has changed nothing: what was there before it is in force.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { describe, it } from 'node:test';
import { EchoDevice, MockGuest, TestBackend, codesOf } from '../testing/index.ts';
import type { MockFrontend } from '../testing/index.ts';

async function echo(guest: MockGuest): Promise<void> {
  const { written } = await guest.queue(0).exchange([Buffer.from('hello')], [5]);
  assert.equal(Buffer.from(written).toString(), 'hello');
}

/** Serves one session of a device on the event loop; returns the codes of what was refused. */
async function served(
  body: (
    frontend: MockFrontend,
    keep: <T extends { close(): void }>(closer: T) => T,
  ) => Promise<void>,
): Promise<(string | undefined)[]> {
  const server = await TestBackend.start(new EchoDevice());
  try {
    return codesOf((await server.session(body)).refused);
  } finally {
    await server.close();
  }
}

describe('a message that is refused changes nothing', () => {
  it('although it was the last that a ring without memory waited for: SET_VRING_ADDR', async () => {
    const refused = await served(async (frontend, keep) => {
      await frontend.negotiate();
      const guest = keep(new MockGuest(frontend));
      const { raw } = guest.makeQueue(0);
      const kick = { fds: [raw.peerFds.kick] };
      const addresses = { index: 0, ...guest.queue(0).addresses() };
      await frontend.command('SET_VRING_NUM', { index: 0, num: raw.size });
      await frontend.command('SET_VRING_KICK', { value: 0n }, kick);
      assert.notEqual(await frontend.ack('SET_VRING_ADDR', addresses), 0n);
      await guest.shareMemory();
      // With the addresses that were refused this would start the ring, whose size is fixed then.
      await frontend.command('SET_VRING_KICK', { value: 0n }, kick);
      await frontend.command('SET_VRING_NUM', { index: 0, num: raw.size });
      await guest.startQueue(0);
      await echo(guest);
    });
    assert.deepEqual(refused, ['ERR_VHU_RING_ADDRESS']);
  });

  it('of a ring that runs, whose kick is still heard: SET_VRING_KICK', async () => {
    const useless = openSync('/dev/null', 'r+'); // nothing that a poller takes
    const refused = await served(async (frontend, keep) => {
      const guest = keep(await frontend.bringUp());
      await echo(guest);
      assert.notEqual(await frontend.ack('SET_VRING_KICK', { value: 0n }, { fds: [useless] }), 0n);
      await echo(guest);
      assert.equal(await guest.stopQueue(0), 2);
    });
    closeSync(useless);
    assert.deepEqual(refused, ['ERR_VHU_WATCH']);
  });
});
