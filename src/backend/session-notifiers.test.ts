/**
 * Sessions whose notifiers cannot be used, although nothing that fstat says is wrong with them.
 *
 * @module
 */
import assert from 'node:assert/strict';
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { openBlk } from '../devices/blk/index.ts';
import { EchoDevice, TestBackend, codesOf } from '../testing/index.ts';
import type { MockFrontend, MockGuest } from '../testing/index.ts';
import type { Device } from './index.ts';

const QUEUES = { queueCount: 2 };
const NO_FD = 0x100n;
/** Linux: an fd that names a file and can neither be read nor written nor be told anything. */
const O_PATH = 0o10000000;

const folder = mkdtempSync(join(tmpdir(), 'vhu-'));
after(() => rmSync(folder, { recursive: true }));

function disk(): Device {
  const image = join(folder, 'disk.img');
  writeFileSync(image, '');
  truncateSync(image, 65536);
  return openBlk({ image, lock: false, ...QUEUES });
}

const DEVICES: readonly (readonly [string, () => Device])[] = [
  ['on worker threads', disk],
  ['on the event loop', () => new EchoDevice(QUEUES)],
];

/** Describes queue 1, all but its notifiers. */
async function describeQueue(frontend: MockFrontend, guest: MockGuest): Promise<void> {
  const queue = guest.makeQueue(1);
  await frontend.command('SET_VRING_NUM', { index: 1, num: queue.raw.size });
  await frontend.command('SET_VRING_BASE', { index: 1, num: 0 });
  await frontend.command('SET_VRING_ADDR', { index: 1, ...queue.addresses() });
}

/** Whether queue 1 answers a request, of whatever kind. */
async function use(guest: MockGuest): Promise<void> {
  const header = Buffer.alloc(16);
  header.writeUInt32LE(99, 0);
  await guest.queue(1).exchange([header], [1]);
}

/** O_NOATIME is Linux's alone, as the value of O_PATH above is. */
const { O_NOATIME } = constants as { O_NOATIME?: number };
const skip = O_NOATIME === undefined && 'this host has no O_PATH';
for (const [where, make] of DEVICES) {
  describe(`a session of a device ${where} that gets fds which cannot notify`, { skip }, () => {
    const names = ['SET_VRING_KICK', 'SET_VRING_CALL', 'SET_VRING_ERR'] as const;
    for (const name of names) {
      it(`refuses ${name} before the start, and starts with a better one`, async () => {
        const useless = openSync('/dev/null', O_PATH);
        const served = await TestBackend.start(make());
        const { refused } = await served.session(async (frontend, keep) => {
          const guest = keep(await frontend.bringUp());
          await describeQueue(frontend, guest);
          const kick = { value: 1n };
          assert.notEqual(await frontend.ack(name, { value: 1n }, { fds: [useless] }), 0n);
          if (name !== 'SET_VRING_KICK') {
            await frontend.ack('SET_VRING_KICK', { value: NO_FD | 1n });
          }
          await guest.stopQueue(1);
          await guest.startQueue(1);
          await use(guest);
          assert.equal(
            await frontend.ack('SET_VRING_KICK', kick, { fds: [guest.queue(1).raw.peerFds.kick] }),
            0n,
          );
        });
        assert.deepEqual(codesOf(refused), ['ERR_VHU_FD_KIND']);
        await served.close();
        closeSync(useless);
      });
    }

    it('refuses them on a running ring, which goes on with those that it has', async () => {
      const useless = openSync('/dev/null', O_PATH);
      const served = await TestBackend.start(make());
      const { refused } = await served.session(async (frontend, keep) => {
        const guest = keep(await frontend.bringUp(QUEUES));
        for (const name of names) {
          assert.notEqual(await frontend.ack(name, { value: 1n }, { fds: [useless] }), 0n);
          await use(guest);
        }
      });
      assert.equal(refused.length, 3);
      await served.close();
      closeSync(useless);
    });
  });
}

describe('a ring that cannot be started', () => {
  for (const last of ['SET_VRING_NUM', 'SET_VRING_ADDR', 'SET_VRING_KICK'] as const) {
    it(`since its kick cannot be watched, which ${last} finds out, is not started`, async () => {
      const useless = openSync('/dev/null', 'r+'); // nothing that a poller takes
      const served = await TestBackend.start(new EchoDevice(QUEUES));
      const { refused } = await served.session(async (frontend, keep) => {
        const guest = keep(await frontend.bringUp());
        const queue = guest.makeQueue(1);
        const messages = {
          SET_VRING_NUM: () => frontend.ack('SET_VRING_NUM', { index: 1, num: queue.raw.size }),
          SET_VRING_ADDR: () => frontend.ack('SET_VRING_ADDR', { index: 1, ...queue.addresses() }),
          SET_VRING_KICK: () => frontend.ack('SET_VRING_KICK', { value: 1n }, { fds: [useless] }),
        };
        for (const [name, send] of Object.entries(messages)) {
          if (name !== last) assert.equal(await send(), 0n, name);
        }
        assert.notEqual(await messages[last](), 0n, 'refused');
        // A ring that ran would refuse this, or worse, be believed to have another size.
        const { size } = queue.raw;
        await frontend.command('SET_VRING_BASE', { index: 1, num: 0 });
        if (last === 'SET_VRING_NUM') {
          assert.notEqual(await messages[last](), 0n, 'the kick is still the one that it has');
        } else await frontend.command('SET_VRING_NUM', { index: 1, num: size / 2 });
        assert.equal(await guest.stopQueue(1), 0, 'which forgets the kick');
        await guest.startQueue(1);
        await use(guest);
        assert.equal(await guest.stopQueue(1), 1);
      });
      const times = last === 'SET_VRING_NUM' ? 2 : 1;
      assert.deepEqual(codesOf(refused), new Array(times).fill('ERR_VHU_WATCH'));
      await served.close();
      closeSync(useless);
    });
  }
});
