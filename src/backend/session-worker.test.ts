/**
 * Sessions of a device on worker threads, under load: what the main thread orders there while
 * requests are in flight.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { closeFd, createNotifier, socketPair } from '../sys/index.ts';
import { openBlk } from '../devices/blk/index.ts';
import type { BlkDevice, BlkOptions } from '../devices/blk/index.ts';
import { HOSTILE_CHAINS, TestBackend } from '../testing/index.ts';
import type { MockGuest, MockQueue } from '../testing/index.ts';
import { COUNTER } from './index.ts';

const DISK_BYTES = 4 * 1024 * 1024;
const BLOCK_BYTES = 4096;
const BLOCKS = 4;
const NO_FD = 0x100n;
const GUEST = { queueCount: 2, queueSize: 128, memoryBytes: 4 * 1024 * 1024 };

const folder = mkdtempSync(join(tmpdir(), 'vhu-'));
after(() => rmSync(folder, { recursive: true }));

const WAYS: readonly (readonly [string, Partial<BlkOptions>])[] = [
  ['by the best engine', {}],
  ['by preadv, never polling', { engine: 'pread', pollUs: 0 }],
  ['by two threads', { threads: 2 }],
];

/** A read of a block, or a write of a byte into all of it. */
function submit({ driver }: MockQueue, block: number, fill?: number): void {
  const header = Buffer.alloc(16);
  header.writeUInt32LE(fill === undefined ? 0 : 1, 0);
  header.writeBigUInt64LE(BigInt(block * (BLOCK_BYTES / 512)), 8);
  if (fill === undefined) driver.submit([header], [BLOCK_BYTES, 1]);
  else driver.submit([header, Buffer.alloc(BLOCK_BYTES, fill)], [1]);
}

/** Writes some blocks, reads them back and checks them. */
async function exercise(queue: MockQueue, fill: number): Promise<void> {
  const all = async (): Promise<Uint8Array[]> => {
    queue.publish();
    return (await queue.completions(BLOCKS)).map(({ written }) => written);
  };
  for (let block = 0; block < BLOCKS; block++) submit(queue, block, fill);
  for (const written of await all()) assert.deepEqual([...written], [0]);
  for (let block = 0; block < BLOCKS; block++) submit(queue, block);
  for (const written of await all()) {
    assert.equal(written[BLOCK_BYTES], 0, 'the status');
    assert.ok(
      Buffer.from(written.subarray(0, BLOCK_BYTES)).equals(Buffer.alloc(BLOCK_BYTES, fill)),
    );
  }
}

/** Does something with the session again and again while requests come and go. */
async function underLoad(
  guest: MockGuest,
  rounds: number,
  disturb: (round: number) => Promise<unknown>,
): Promise<void> {
  let running = true;
  const load = (async (): Promise<void> => {
    for (let fill = 1; running; fill = (fill % 255) + 1) await exercise(guest.queue(0), fill);
  })();
  try {
    for (let round = 0; round < rounds; round++) await disturb(round);
  } finally {
    running = false;
    await load;
  }
}

for (const [way, options] of WAYS) {
  describe(`a session of a disk, served ${way}`, () => {
    let served: TestBackend<BlkDevice>;
    before(async () => {
      const image = join(folder, `${way}.img`);
      writeFileSync(image, '');
      truncateSync(image, DISK_BYTES);
      served = await TestBackend.start(openBlk({ image, queueCount: 2, ...options }));
      await served.session(async (frontend) => {
        await frontend.negotiate();
      });
    });
    after(() => served.close());

    it('has its memory replaced under load', async () => {
      const { refused } = await served.session(async (frontend, keep) => {
        const guest = keep(await frontend.bringUp(GUEST));
        const { regions } = guest;
        const fds = [guest.shared.fd];
        await underLoad(guest, 15, () => frontend.command('SET_MEM_TABLE', { regions }, { fds }));
      });
      assert.deepEqual(refused, []);
    });

    it('has memory added and removed under load', async () => {
      await served.session(async (frontend, keep) => {
        const guest = keep(await frontend.bringUp(GUEST));
        const more = { gpa: 0, uva: 0, sizeBytes: 65536, mmapOffset: 0 };
        const [only] = guest.regions;
        await underLoad(guest, 8, async () => {
          await frontend.command('ADD_MEM_REG', more, { fds: [guest.shared.fd] });
          await frontend.command('REM_MEM_REG', more);
          assert.notEqual(await frontend.ack('REM_MEM_REG', { ...only }), 0n);
        });
      });
    });

    it('has another ring stopped and started, disabled and enabled under load', async () => {
      const { refused } = await served.session(async (frontend, keep) => {
        const guest = keep(await frontend.bringUp(GUEST));
        const other = guest.queue(1);
        await underLoad(guest, 10, async () => {
          for (let block = 20; block < 30; block++) submit(other, block, 7);
          other.publish();
          await guest.stopQueue(1);
          const done = other.driver.completed().length;
          const { kick } = other.raw.peerFds;
          await frontend.command('SET_VRING_ENABLE', { index: 1, num: 0 });
          await frontend.command('SET_VRING_KICK', { value: 1n }, { fds: [kick] });
          await frontend.command('SET_VRING_ENABLE', { index: 1, num: 1 });
          await other.completions(10 - done);
        });
      });
      assert.deepEqual(refused, []);
    });

    it('has its notifiers replaced under load, also by none', async () => {
      const { refused } = await served.session(async (frontend, keep) => {
        const guest = keep(await frontend.bringUp(GUEST));
        const { kick, call, err } = guest.queue(0).raw.peerFds;
        await underLoad(guest, 10, async (round) => {
          if (round % 2 === 0) {
            await frontend.command('SET_VRING_KICK', { value: NO_FD });
            await frontend.command('SET_VRING_CALL', { value: NO_FD });
          }
          await frontend.command('SET_VRING_CALL', { value: 0n }, { fds: [call] });
          await frontend.command('SET_VRING_KICK', { value: 0n }, { fds: [kick] });
          await frontend.command('SET_VRING_ERR', { value: 0n }, { fds: [err] });
        });
      });
      assert.deepEqual(refused, []);
    });

    it('survives notifiers of the wrong kind on a running ring', async () => {
      const spare = openSync('/dev/null', 'r+');
      await served.session(async (frontend, keep) => {
        const guest = keep(await frontend.bringUp(GUEST));
        const { kick, call, err } = guest.queue(0).raw.peerFds;
        const sockets = socketPair();
        const { notifier, consumer } = createNotifier();
        const names = ['SET_VRING_KICK', 'SET_VRING_CALL', 'SET_VRING_ERR'] as const;
        for (const fd of [spare, ...sockets, notifier.fd, consumer.fd]) {
          for (const name of names) await frontend.ack(name, { value: 0n }, { fds: [fd] });
          await sleep(2);
          await frontend.command('SET_VRING_KICK', { value: 0n }, { fds: [kick] });
          await frontend.command('SET_VRING_CALL', { value: 0n }, { fds: [call] });
          await frontend.command('SET_VRING_ERR', { value: 0n }, { fds: [err] });
          await exercise(guest.queue(0), 1);
        }
        for (const fd of sockets) closeFd(fd);
        notifier.close();
        consumer.close();
      });
      closeSync(spare);
    });

    it('serves one ring while the guest breaks the other', async () => {
      const chains = HOSTILE_CHAINS.filter(
        (each) => !each.legal && each.features === 0n && !each.twoRegions,
      );
      for (const each of chains.slice(0, 5)) {
        const { faults } = await served.session(async (frontend, keep) => {
          const guest = keep(await frontend.bringUp(GUEST));
          each.offer(guest.queue(1).hostileDriver());
          guest.queue(1).raw.kick();
          await exercise(guest.queue(0), 2);
          while (guest.queue(1).errors === 0) assert.ok(await guest.queue(1).waitForCall());
        });
        assert.deepEqual(
          faults.map(({ queueIndex }) => queueIndex),
          [1],
        );
      }
    });

    it('loses its front-end under load', async () => {
      for (let i = 0; i < 5; i++) {
        await served.session(async (frontend, keep) => {
          const guest = keep(await frontend.bringUp(GUEST));
          for (const index of [0, 1]) {
            for (let block = 0; block < 30; block++) submit(guest.queue(index), block, i);
            guest.queue(index).publish();
          }
          frontend.close();
        }, 'ends');
      }
      assert.equal(served.backend.counter(COUNTER.ioErrors), 0);
    });
  });
}
