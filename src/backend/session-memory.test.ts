/**
 * Sessions with front-ends whose memory is not what they say, or changes under running rings.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { closeFd, createSharedMemory, openFdCount, openMappingCount } from '../sys/index.ts';
import { EchoDevice, TestBackend, codesOf } from '../testing/index.ts';
import type { MockGuest, MockRegion } from '../testing/index.ts';
import { MEM_SLOTS_MAX } from './index.ts';

const MIB = 1024 * 1024;
const GPA = 0x1000_0000;
const UVA = 0x7f00_0000_0000;
const MAX = Number.MAX_SAFE_INTEGER;

let served: TestBackend<EchoDevice>;
let fd = -1; // 1 MiB of shared memory

before(async () => {
  fd = createSharedMemory(MIB, 'vhu-test');
  served = await TestBackend.start(new EchoDevice());
  await served.session(async (frontend) => {
    await frontend.negotiate();
  });
});
after(async () => {
  await served.close();
  closeFd(fd);
});

function region(over: Partial<MockRegion> = {}): MockRegion & Record<string, unknown> {
  return { gpa: GPA, sizeBytes: 65536, uva: UVA, mmapOffset: 0, ...over };
}

const WRONG: readonly (readonly [what: string, wire: Partial<MockRegion>, code: string])[] = [
  ['of no bytes', { sizeBytes: 0 }, 'ERR_VHU_MEMORY_REGION'],
  ['whose guest addresses pass 2^53', { gpa: MAX - 4095 }, 'ERR_VHU_MEMORY_REGION'],
  ['whose user addresses pass 2^53', { uva: MAX - 4095 }, 'ERR_VHU_MEMORY_REGION'],
  ['whose offset passes 2^53', { mmapOffset: MAX - 4095 }, 'ERR_VHU_MEMORY_REGION'],
  ['of all the bytes there are', { gpa: 0, uva: 0, sizeBytes: MAX }, 'ERR_VHU_MEMORY_MAP'],
  ['beyond the end of its file', { sizeBytes: MIB + 4096 }, 'ERR_VHU_MEMORY_MAP'],
  ['that begins at the end of its file', { mmapOffset: MIB }, 'ERR_VHU_MEMORY_MAP'],
  ['that begins far beyond its file', { mmapOffset: 2 ** 40 }, 'ERR_VHU_MEMORY_MAP'],
];

describe('a session whose front-end shares memory', () => {
  for (const [what, wire, code] of WRONG) {
    it(`refuses a region ${what}, alone and in a table, and keeps the others`, async () => {
      const { refused } = await served.session(async (frontend) => {
        await frontend.negotiate();
        const good = region({ gpa: 2 * GPA, uva: 2 * UVA });
        await frontend.command('ADD_MEM_REG', good, { fds: [fd] });
        const mappings = openMappingCount();
        const fds = openFdCount();
        assert.notEqual(await frontend.ack('ADD_MEM_REG', region(wire), { fds: [fd] }), 0n);
        const regions = [region({ gpa: 3 * GPA, uva: 3 * UVA }), region(wire)];
        assert.notEqual(await frontend.ack('SET_MEM_TABLE', { regions }, { fds: [fd, fd] }), 0n);
        assert.equal(openMappingCount(), mappings, 'all or nothing');
        assert.equal(openFdCount(), fds);
        await frontend.command('REM_MEM_REG', good); // it is still there
        assert.equal(openMappingCount(), mappings - 1);
      });
      assert.deepEqual(codesOf(refused), [code, code]);
    });
  }

  it('refuses numbers from 2^53 up, in every field', async () => {
    const { refused } = await served.session(async (frontend) => {
      await frontend.negotiate();
      for (const at of [8, 16, 24, 32]) {
        const payload = new Uint8Array(40);
        new DataView(payload.buffer).setBigUint64(at, 2n ** 64n - 1n, true);
        assert.notEqual(await frontend.ack('ADD_MEM_REG', {}, { payload, fds: [fd] }), 0n);
      }
    });
    assert.deepEqual(codesOf(refused), Array(4).fill('ERR_VHU_MESSAGE_VALUE'));
  });

  for (const [what, over, code] of [
    ['guest addresses', { uva: 2 * UVA }, 'ERR_VHU_MEMORY_OVERLAP'],
    ['user addresses', { gpa: 2 * GPA }, 'ERR_VHU_MEMORY_OVERLAP'],
    ['everything', {}, 'ERR_VHU_MEMORY_OVERLAP'],
    ['the last guest page', { gpa: GPA + 61440, uva: 2 * UVA }, 'ERR_VHU_MEMORY_OVERLAP'],
    ['the last user page', { gpa: 2 * GPA, uva: UVA + 61440 }, 'ERR_VHU_MEMORY_OVERLAP'],
    ['the first user byte', { gpa: 2 * GPA, uva: UVA - 65535 }, 'ERR_VHU_MEMORY_OVERLAP'],
  ] as const) {
    it(`refuses a region that shares ${what} with another`, async () => {
      const { refused } = await served.session(async (frontend) => {
        await frontend.negotiate();
        await frontend.command('ADD_MEM_REG', region(), { fds: [fd] });
        assert.notEqual(await frontend.ack('ADD_MEM_REG', region(over), { fds: [fd] }), 0n);
        const regions = [region(), region(over)];
        assert.notEqual(await frontend.ack('SET_MEM_TABLE', { regions }, { fds: [fd, fd] }), 0n);
      });
      assert.deepEqual(codesOf(refused), [code, code]);
    });
  }

  it('takes regions that touch, and offsets that are not aligned to our pages', async () => {
    const { refused } = await served.session(async (frontend) => {
      await frontend.negotiate();
      const next = region({ gpa: GPA + 65536, uva: UVA - 65536, mmapOffset: 4096 });
      await frontend.command('ADD_MEM_REG', region(), { fds: [fd] });
      await frontend.command('ADD_MEM_REG', next, { fds: [fd] });
      const odd = region({ gpa: 0, uva: 0, mmapOffset: MIB - 100, sizeBytes: 100 });
      await frontend.command('ADD_MEM_REG', odd, { fds: [fd] });
    });
    assert.deepEqual(refused, []);
  });

  it('takes 8 regions in a table, refuses 9, and takes a table in place of another', async () => {
    const { refused } = await served.session(async (frontend) => {
      await frontend.negotiate();
      const table = (count: number): MockRegion[] =>
        Array.from({ length: count }, (_, i) => region({ gpa: i * 65536, uva: UVA + i * 65536 }));
      const send = (count: number): Promise<bigint> =>
        frontend.ack(
          'SET_MEM_TABLE',
          { regions: table(count) },
          { fds: Array<number>(count).fill(fd) },
        );
      const mappings = openMappingCount();
      for (const count of [8, 3, 8, 0, 1]) {
        assert.equal(await send(count), 0n);
        assert.equal(openMappingCount(), mappings + count);
      }
      assert.notEqual(await send(9), 0n);
      assert.equal(openMappingCount(), mappings + 1);
    });
    assert.deepEqual(codesOf(refused), ['ERR_VHU_MESSAGE_VALUE']);
  });

  it('takes 509 regions one by one, as it says, refuses one more, and lets all go', async () => {
    const { refused } = await served.session(async (frontend) => {
      await frontend.negotiate();
      assert.equal(await frontend.askNumber('GET_MAX_MEM_SLOTS'), BigInt(MEM_SLOTS_MAX));
      const mappings = openMappingCount();
      const slot = (i: number): ReturnType<typeof region> =>
        region({
          gpa: i * 4096,
          uva: UVA + i * 8192,
          sizeBytes: 4096,
          mmapOffset: (i % 256) * 4096,
        });
      for (let i = 0; i < MEM_SLOTS_MAX; i++) {
        await frontend.command('ADD_MEM_REG', slot(i), { fds: [fd] });
      }
      assert.equal(openMappingCount(), mappings + MEM_SLOTS_MAX);
      assert.notEqual(await frontend.ack('ADD_MEM_REG', slot(600), { fds: [fd] }), 0n);
      await frontend.command('REM_MEM_REG', slot(200));
      await frontend.command('ADD_MEM_REG', slot(600), { fds: [fd] });
      assert.equal(openMappingCount(), mappings + MEM_SLOTS_MAX);
    });
    assert.deepEqual(codesOf(refused), ['ERR_VHU_MEMORY_SLOTS']);
  });
});

describe('a session whose front-end takes memory away', () => {
  it('refuses what is not exactly a region, and takes what is, whatever the offset', async () => {
    const { refused } = await served.session(async (frontend) => {
      await frontend.negotiate();
      assert.notEqual(await frontend.ack('REM_MEM_REG', region()), 0n, 'nothing is there');
      await frontend.command('ADD_MEM_REG', region(), { fds: [fd] });
      for (const over of [{ gpa: 0 }, { uva: 0 }, { sizeBytes: 4096 }, { sizeBytes: MAX }]) {
        assert.notEqual(await frontend.ack('REM_MEM_REG', region(over)), 0n);
      }
      await frontend.command('REM_MEM_REG', region({ mmapOffset: 4096 }));
      assert.notEqual(await frontend.ack('REM_MEM_REG', region()), 0n, 'it is gone');
    });
    assert.deepEqual(codesOf(refused), Array(6).fill('ERR_VHU_MEMORY_UNKNOWN'));
  });

  it('closes the fd that some front-ends send along', async () => {
    await served.session(async (frontend) => {
      await frontend.negotiate();
      await frontend.command('ADD_MEM_REG', region(), { fds: [fd] });
      const open = openFdCount();
      await frontend.command('REM_MEM_REG', region(), { fds: [fd] });
      assert.equal(openFdCount(), open);
    });
  });

  it('refuses to take the memory of a running ring, which goes on', async () => {
    const { refused } = await served.session(async (frontend, keep) => {
      const guest = keep(await frontend.bringUp({ queueCount: 2, memoryBytes: MIB }));
      const [only] = guest.regions;
      assert.ok(only);
      assert.notEqual(await frontend.ack('REM_MEM_REG', { ...only }), 0n);
      assert.notEqual(await frontend.ack('SET_MEM_TABLE', { regions: [] }), 0n);
      const elsewhere = { regions: [region()] };
      assert.notEqual(await frontend.ack('SET_MEM_TABLE', elsewhere, { fds: [fd] }), 0n);
      for (const index of [0, 1]) await echo(guest, index);
      // Once no ring runs it may go; and then no ring starts.
      for (const index of [0, 1]) await guest.stopQueue(index);
      await frontend.command('REM_MEM_REG', { ...only });
      const { kick } = guest.queue(0).raw.peerFds;
      assert.notEqual(await frontend.ack('SET_VRING_KICK', { value: 0n }, { fds: [kick] }), 0n);
      await frontend.command('ADD_MEM_REG', { ...only }, { fds: [guest.shared.fd] });
      await frontend.command('SET_VRING_KICK', { value: 0n }, { fds: [kick] });
      await echo(guest, 0);
    });
    assert.deepEqual(codesOf(refused), Array(4).fill('ERR_VHU_RING_ADDRESS'));
  });
});

describe('a session whose memory is replaced while rings run', () => {
  it('moves the rings to the new mappings, again and again', async () => {
    const { refused } = await served.session(async (frontend, keep) => {
      const guest = keep(await frontend.bringUp({ queueCount: 2 }));
      const mappings = openMappingCount();
      for (let i = 0; i < 20; i++) {
        await echo(guest, i % 2);
        const { regions } = guest;
        await frontend.command('SET_MEM_TABLE', { regions }, { fds: [guest.shared.fd] });
        assert.equal(openMappingCount(), mappings);
      }
      await echo(guest, 0);
      await echo(guest, 1);
    });
    assert.deepEqual(refused, []);
  });

  it('moves rings when the front-end numbers its own addresses anew', async () => {
    const { refused } = await served.session(async (frontend, keep) => {
      const guest = keep(await frontend.bringUp());
      const { desc, used, avail } = guest.queue(0).addresses();
      // A table that has the ring under the old numbers first, and more memory below.
      const regions = [...guest.regions, region()];
      await frontend.command('SET_MEM_TABLE', { regions }, { fds: [guest.shared.fd, fd] });
      await echo(guest, 0);
      await frontend.command('SET_VRING_ADDR', { index: 0, desc, used, avail });
      await echo(guest, 0);
    });
    assert.deepEqual(refused, []);
  });

  it('moves a running ring whose addresses change, to where its memory is seen a second time', async () => {
    const { refused } = await served.session(async (frontend, keep) => {
      const guest = keep(await frontend.bringUp());
      const [only] = guest.regions;
      assert.ok(only);
      const twin = { ...only, gpa: only.gpa + 2 ** 40, uva: only.uva + 2 ** 40 };
      await frontend.command('ADD_MEM_REG', twin, { fds: [guest.shared.fd] });
      await echo(guest, 0);
      const { desc, used, avail } = guest.queue(0).addresses();
      const there = { desc: desc + 2 ** 40, used: used + 2 ** 40, avail: avail + 2 ** 40 };
      await frontend.command('SET_VRING_ADDR', { index: 0, ...there });
      await echo(guest, 0);
      await frontend.command('SET_VRING_ADDR', { index: 0, desc, used, avail });
      await frontend.command('REM_MEM_REG', twin);
      await echo(guest, 0);
    });
    assert.deepEqual(refused, []);
  });

  for (const stopMs of [0, 30]) {
    it(`has what is in flight finished in the old memory, ${String(stopMs)} ms long`, async () => {
      const slow = await TestBackend.start(new EchoDevice({ stopMs }));
      const { device } = slow;
      try {
        await slow.session(async (frontend, keep) => {
          const guest = keep(await frontend.bringUp());
          const queue = guest.queue(0);
          device.hold = true;
          queue.driver.submit([Buffer.from('held')], [4]);
          queue.publish();
          while (device.heldCount === 0) await new Promise(setImmediate);
          const { regions } = guest;
          const fds = [guest.shared.fd];
          await frontend.command('SET_MEM_TABLE', { regions }, { fds });
          assert.equal(device.heldCount, 0);
          const [done] = await queue.completions(1);
          assert.equal(Buffer.from(done?.written ?? []).toString(), 'held');
          device.hold = false;
          await echo(guest, 0);
        });
      } finally {
        await slow.close();
      }
    });
  }

  it('may lose its front-end meanwhile', async () => {
    const slow = await TestBackend.start(new EchoDevice({ stopMs: 50 }));
    try {
      await slow.session(async (frontend, keep) => {
        const guest = keep(await frontend.bringUp());
        slow.device.hold = true;
        guest.queue(0).driver.submit([Buffer.from('held')], [4]);
        guest.queue(0).publish();
        while (slow.device.heldCount === 0) await new Promise(setImmediate);
        const { regions } = guest;
        await frontend.send('SET_MEM_TABLE', { regions }, { fds: [guest.shared.fd] });
        await frontend.send('REM_MEM_REG', { ...regions[0] });
        frontend.close();
      }, 'ends');
      assert.equal(slow.device.heldCount, 0);
    } finally {
      await slow.close();
    }
  });
});

async function echo(guest: MockGuest, index: number): Promise<void> {
  const { written } = await guest.queue(index).exchange([Buffer.from('hello')], [5]);
  assert.equal(Buffer.from(written).toString(), 'hello');
}
