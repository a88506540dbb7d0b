/**
 * The entropy device as a driver that does unusual, wrong or hostile things sees it: raw chains.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { COUNTER, startBackend } from '../../backend/index.ts';
import type { Backend } from '../../backend/index.ts';
import { virtioFeatures } from '../../protocol/index.ts';
import {
  HOSTILE_CHAINS,
  MockFrontend,
  expectIdle,
  expectNoLeak,
  holdings,
} from '../../testing/index.ts';
import type { MockGuest, MockGuestOptions, MockNegotiateOptions } from '../../testing/index.ts';
import { VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE } from '../../virtqueue/index.ts';
import { openRng } from './index.ts';
import type { RngOptions } from './index.ts';

const KIB = 1024;

interface Served {
  readonly frontend: MockFrontend;
  readonly guest: MockGuest;
  readonly backend: Backend;
  readonly faults: string[];
  readonly path: string;
}

type GuestOptions = MockGuestOptions & MockNegotiateOptions;

async function withRng(
  options: RngOptions,
  body: (served: Served) => Promise<void>,
  guestOptions: GuestOptions = {},
): Promise<void> {
  const before = holdings();
  const folder = mkdtempSync(join(tmpdir(), 'vhu-rng-'));
  const path = join(folder, 's');
  const faults: string[] = [];
  const backend = await startBackend(
    openRng(options),
    { kind: 'listen', path },
    { fault: (_index, { code }) => faults.push(code) },
  );
  try {
    await withGuest(path, guestOptions, ({ frontend, guest }) =>
      body({ frontend, guest, backend, faults, path }),
    );
  } finally {
    await backend.close();
    rmSync(folder, { recursive: true });
  }
  await expectNoLeak(before);
}

async function withGuest(
  path: string,
  options: GuestOptions,
  body: (served: Pick<Served, 'frontend' | 'guest'>) => Promise<void>,
): Promise<void> {
  const frontend = await MockFrontend.connect(path);
  const guest = await frontend.bringUp(options);
  try {
    await body({ frontend, guest });
  } finally {
    frontend.close();
    guest.close();
  }
}

/** A request is answered in full. */
async function works(guest: MockGuest, lengthBytes: number = 64): Promise<void> {
  const { usedBytes, written } = await guest.queue(0).exchange([], [lengthBytes]);
  assert.equal(usedBytes, lengthBytes);
  assert.ok(new Set(written).size > 8, 'they are not all the same');
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

describe('a request for random bytes', () => {
  it('may be cut into buffers in any way, and all of them are filled', async () => {
    const options = { indirectMax: 32 };
    for (const features of [undefined, virtioFeatures('VERSION_1')]) {
      const body = async ({ guest, backend }: Served): Promise<void> => {
        for (const lengths of [[1], [1, 2, 3, 500], [4096, 64], Array<number>(20).fill(13)]) {
          const sum = lengths.reduce((total, length) => total + length, 0);
          const { usedBytes, written } = await guest.queue(0).exchange([], lengths);
          assert.equal(usedBytes, sum);
          assert.equal(written.length, sum);
          let at = 0;
          for (const length of lengths) {
            const part = written.subarray(at, at + length);
            if (length > 8) assert.ok(new Set(part).size > 4, `a buffer of ${length} bytes`);
            at += length;
          }
        }
        assert.equal(backend.counter(COUNTER.guestFaults), 0);
      };
      await withRng({}, body, { ...options, ...(features !== undefined && { features }) });
    }
  });

  it('crosses from one region of memory to the next', async () => {
    const body = async ({ guest }: Served): Promise<void> => {
      const queue = guest.queue(0);
      const driver = queue.hostileDriver();
      driver.desc(0, { addr: driver.ring.splitGpa - 100, len: 300, flags: VIRTQ_DESC_F_WRITE });
      driver.offer(0);
      queue.raw.kick();
      assert.ok(await queue.waitForCall());
      assert.deepEqual(driver.used(), [{ id: 0, len: 300 }]);
      for (const at of [driver.ring.splitGpa - 100, driver.ring.splitGpa]) {
        const bytes = new Uint8Array(100);
        guest.memory.copyFrom(at, bytes);
        assert.ok(new Set(bytes).size > 20);
      }
    };
    const scratchBytes = 400 * KIB;
    await withRng({}, body, { regionCount: 8, memoryBytes: 512 * KIB, scratchBytes });
  });

  it('longer than an answer gets a part, as the specification allows', async () => {
    const body = async ({ guest, backend }: Served): Promise<void> => {
      const { usedBytes, written } = await guest.queue(0).exchange([], [100_000, 100_000]);
      assert.equal(usedBytes, 64 * KIB);
      assert.ok(
        written.subarray(64 * KIB).every((byte) => byte === 0xa7),
        'the rest is untouched',
      );
      assert.equal(backend.counter(COUNTER.bytesRead), 64 * KIB);
    };
    await withRng({}, body, { memoryBytes: KIB * KIB });
  });

  it('of gigabytes, in buffers that overlap, holds nobody up', async () => {
    const body = async ({ guest, faults }: Served): Promise<void> => {
      const queue = guest.queue(0);
      const driver = queue.hostileDriver();
      const { size, scratchGpa } = driver.ring;
      const [first] = guest.regions;
      const len = (first?.sizeBytes ?? 0) - (scratchGpa - (first?.gpa ?? 0));
      for (let i = 0; i < size; i++) {
        const flags = VIRTQ_DESC_F_WRITE | (i + 1 < size ? VIRTQ_DESC_F_NEXT : 0);
        driver.desc(i, { addr: scratchGpa, len, flags, next: i + 1 });
      }
      driver.offer(0);
      queue.raw.kick();
      assert.ok(await queue.waitForCall());
      assert.deepEqual(driver.used(), [{ id: 0, len: 64 * KIB }]);
      assert.deepEqual(faults, []);
    };
    await withRng({}, body, { memoryBytes: 64 * KIB * KIB, queueSize: 64 });
  });

  it('without room for a byte comes back with none, is counted, and the next one is served', async () => {
    await withRng({}, async ({ guest, backend, faults }) => {
      const queue = guest.queue(0);
      const nothing = await queue.exchange([randomBytes(16)], []);
      assert.equal(nothing.usedBytes, 0);
      assert.equal(backend.counter(COUNTER.guestFaults), 1);
      const empty = await queue.exchange([], [0]);
      assert.equal(empty.usedBytes, 0);
      assert.equal(backend.counter(COUNTER.guestFaults), 2);
      assert.deepEqual(faults, []);
      await works(guest);
      assert.equal(backend.counter(COUNTER.requests), 3);
      assert.equal(backend.counter(COUNTER.bytesRead), 64);
    });
  });

  it('with buffers to be read is counted, those stay as they are, and the others are filled', async () => {
    await withRng({}, async ({ guest, backend }) => {
      const { usedBytes } = await guest.queue(0).exchange([randomBytes(100)], [50]);
      assert.equal(usedBytes, 50);
      assert.equal(backend.counter(COUNTER.guestFaults), 1);
    });
  });
});

/** Not wrong for a device that answers at once: the first has come back before the second. */
const TWICE = 'the same head twice';

describe('a guest that is hostile to its entropy device', () => {
  const shapes: readonly GuestOptions[] = [{}, { features: virtioFeatures('VERSION_1') }];
  for (const each of HOSTILE_CHAINS.filter(({ twoRegions }) => !twoRegions)) {
    it(`sends ${each.name}, and the next front-end is served`, async () => {
      for (const shape of shapes) {
        const features = shape.features ?? virtioFeatures('VERSION_1', 'INDIRECT_DESC');
        if ((features & each.features) !== each.features || (features & each.without) !== 0n) {
          continue;
        }
        const body = async ({ guest, faults, path, frontend }: Served): Promise<void> => {
          const queue = guest.queue(0);
          const driver = queue.hostileDriver();
          each.offer(driver);
          queue.raw.kick();
          const count = (): number => queue.errors + driver.used().length;
          if (count() === 0) assert.ok(await queue.waitForCall(), 'it comes back, or breaks');
          assert.equal(faults.length, each.legal || each.name === TWICE ? 0 : 1);
          frontend.close();
          guest.close();
          await withGuest(path, {}, ({ guest: next }) => works(next));
        };
        await withRng({}, body, { ...shape, features });
      }
    });
  }

  it('floods it with chains of no bytes, and the event loop goes on', async () => {
    const body = async ({ guest }: Served): Promise<void> => {
      const queue = guest.queue(0);
      const driver = queue.hostileDriver();
      const heads = Array.from({ length: driver.ring.size }, (_, i) => i);
      for (const i of heads) driver.desc(i, { addr: driver.ring.scratchGpa, len: 16 });
      let turns = 0;
      const timer = setInterval(() => turns++, 1);
      const endMs = performance.now() + 30_000; // for a busy machine; else it is done in 300 ms
      let answered = 0;
      while ((answered <= 1000 || turns <= 20) && performance.now() < endMs) {
        driver.offer(...heads);
        queue.raw.kick();
        await queue.waitForCall(1000);
        answered += driver.used().length;
      }
      clearInterval(timer);
      assert.ok(answered > 1000 && turns > 20, `${answered} answers, ${turns} turns`);
    };
    await withRng({}, body, { features: virtioFeatures('VERSION_1') });
  });
});

describe('chains that wait for the next period', () => {
  const LIMIT: RngOptions = { maxBytes: 100, periodMs: 200 };

  it('wait in their ring, all of them, and are answered in their order', async () => {
    await withRng(LIMIT, async ({ guest, backend }) => {
      const queue = guest.queue(0);
      const tokens = Array.from({ length: 12 }, () => queue.driver.submit([], [50]));
      const begin = performance.now();
      queue.publish();
      const done = await queue.completions(12);
      const tookMs = performance.now() - begin;
      assert.deepEqual(
        done.map(({ token }) => token),
        tokens,
      );
      assert.ok(
        done.every(({ usedBytes }) => usedBytes === 50),
        'none is dropped',
      );
      assert.ok(tookMs >= 5 * 200 - 10, `600 bytes in ${tookMs} ms`);
      assert.equal(backend.counter(COUNTER.requests), 12);
    });
  });

  it('cost nothing while they wait, however often they are kicked', async () => {
    await withRng({ maxBytes: 1, periodMs: 60_000 }, async ({ guest, backend }) => {
      const queue = guest.queue(0);
      for (let i = 0; i < 60; i++) queue.driver.submit([], [10]);
      queue.publish();
      await queue.completions(1);
      await expectIdle();
      for (let i = 0; i < 1000; i++) queue.raw.kick();
      await sleep(50);
      assert.equal(backend.counter(COUNTER.requests), 1);
    });
  });

  it('get what is left of a period when that is less than they want', async () => {
    await withRng(LIMIT, async ({ guest }) => {
      const queue = guest.queue(0);
      assert.equal((await queue.exchange([], [70])).usedBytes, 70);
      assert.equal((await queue.exchange([], [70])).usedBytes, 30);
      assert.equal((await queue.exchange([], [70])).usedBytes, 70);
    });
  });

  it('do not delay the stop of their ring, and go on from the same place', async () => {
    await withRng({ maxBytes: 100, periodMs: 60_000 }, async ({ guest, frontend }) => {
      const queue = guest.queue(0);
      for (let i = 0; i < 3; i++) queue.driver.submit([], [100]);
      queue.publish();
      assert.equal((await queue.completions(1)).length, 1);
      const begin = performance.now();
      assert.equal(await guest.stopQueue(0), 1, 'one was taken');
      assert.ok(performance.now() - begin < 30_000, 'long before the period is over');
      await frontend.command('RESET_DEVICE');
    });
  });

  it('are answered after a stop and a start, when their period comes', async () => {
    await withRng(LIMIT, async ({ guest }) => {
      const queue = guest.queue(0);
      for (let i = 0; i < 3; i++) queue.driver.submit([], [100]);
      queue.publish();
      let got = (await queue.completions(1)).length;
      const base = await guest.stopQueue(0);
      got += queue.driver.completed().length;
      assert.equal(base, got);
      await guest.startQueue(0, base);
      got += (await queue.completions(3 - got)).length;
      assert.equal(got, 3);
    });
  });

  it('get no new period by a reset, nor by another front-end', async () => {
    await withRng(
      { maxBytes: 100, periodMs: 60_000 },
      async ({ guest, backend, path, frontend }) => {
        assert.equal((await guest.queue(0).exchange([], [100])).usedBytes, 100);
        await frontend.command('RESET_DEVICE');
        frontend.close();
        guest.close();
        for (let i = 0; i < 2; i++) {
          await withGuest(path, {}, async ({ guest: next }) => {
            next.queue(0).driver.submit([], [100]);
            next.queue(0).publish();
            await sleep(100);
            assert.equal(next.queue(0).driver.completed().length, 0);
          });
        }
        assert.equal(backend.counter(COUNTER.bytesRead), 100);
      },
    );
  });

  it('and a front-end that goes away meanwhile leave nothing behind', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vhu-rng-gone-'));
    const file = join(folder, 'bytes');
    writeFileSync(file, randomBytes(64 * KIB));
    for (const options of [LIMIT, { file }, { file, ...LIMIT }]) {
      await withRng(options, async ({ guest, frontend, path }) => {
        for (let i = 0; i < 40; i++) guest.queue(0).driver.submit([], [60]);
        guest.queue(0).publish();
        await sleep(5);
        frontend.close();
        guest.close();
        await withGuest(path, {}, async ({ guest: next }) => {
          const { usedBytes } = await next.queue(0).exchange([], [20]);
          assert.equal(usedBytes, 20);
        });
      });
    }
    rmSync(folder, { recursive: true });
  });
});
