/**
 * A guest whose chains are as long as it may make them, on a device that keeps each for a while:
 * the runner lets the rest wait, is not busy meanwhile, and forgets none.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { TestBackend } from '../../testing/index.ts';
import type { HostileDriver, RawUsed } from '../../testing/index.ts';
import { releaseMemory } from '../../sys/index.ts';
import type { DataPlaneFactory, Device, LocalDataPlane, WorkerDataPlane } from '../index.ts';

const [NEXT, INDIRECT] = [1, 4];
const INDIRECT_DESC = 1n << 28n;
const SIZE = 1024;
/** What a queue of this size keeps is half of it; all chains in full length are 20 MiB. */
const KEPT_BYTES_MAX = 2 ** 23;
const TABLE_BYTES = 16 * SIZE;
const HELD_MS = 100;
/** A loop that does not wait asks some hundred times in each millisecond. */
const IN_VAIN_MAX = 200;

/** Keeps each chain for a while; tells how many it kept at most, and how often it found none. */
const HOLD = `
  export const createDataPlane = (context) => {
    let held = [];
    let mostHeld = 0;
    let inVain = 0;
    return {
      serve(queue, budget) {
        let taken = 0;
        for (; taken < budget; taken++) {
          const chain = queue.pop();
          if (chain === null) break;
          held.push(chain);
          if (held.length > 1) continue;
          context.reactor.after(${HELD_MS}, () => {
            mostHeld = Math.max(mostHeld, held.length);
            context.tell({ mostHeld, inVain });
            for (const each of held.splice(0)) queue.push(each, 0);
            context.flush();
          });
        }
        if (taken === 0) inVain++;
        return taken;
      },
    };
  };
`;
const MODULE = new URL(`data:text/javascript,${encodeURIComponent(HOLD)}`);

class HoldDevice implements Device {
  readonly name = 'hold';
  readonly deviceId = 4;
  readonly queueCount = 1;
  readonly queueSizeMax = SIZE;
  readonly features = 0n;
  readonly dataPlane: LocalDataPlane | WorkerDataPlane;
  report = { mostHeld: 0, inVain: 0 };

  constructor(where: 'worker' | 'local', pollUs: number) {
    const make = async (): Promise<DataPlaneFactory> => {
      const module = (await import(MODULE.href)) as { createDataPlane: DataPlaneFactory };
      return module.createDataPlane;
    };
    this.dataPlane =
      where === 'worker'
        ? { kind: 'worker', module: MODULE, options: null, threads: 1, pollUs }
        : { kind: 'local', create: async (context) => (await make())(context) };
  }

  told(message: unknown): void {
    this.report = message as HoldDevice['report'];
  }

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

/** V8 frees buffers on another thread, some time after it has found that nobody has them. */
async function leastKept(measure: () => number): Promise<number> {
  let least = Infinity;
  for (let i = 0; i < 40 && least >= KEPT_BYTES_MAX; i++) {
    releaseMemory();
    await setTimeout(50);
    least = Math.min(least, measure());
  }
  return least;
}

/** Offers all heads, each with the one table of as many descriptors as the ring has. */
function offerAll(driver: HostileDriver): void {
  const { scratchGpa } = driver.ring;
  for (let i = 0; i < SIZE; i++) {
    const flags = i === SIZE - 1 ? 0 : NEXT;
    driver.desc(i, { addr: scratchGpa, len: 1, flags, next: i + 1 }, scratchGpa);
    driver.desc(i, { addr: scratchGpa, len: TABLE_BYTES, flags: INDIRECT });
  }
  driver.offer(...Array.from({ length: SIZE }, (_, i) => i));
}

for (const [name, where, pollUs] of [
  ['a worker thread', 'worker', 0],
  ['a worker thread that polls', 'worker', 50],
  ['the event loop', 'local', 0],
] as const) {
  it(`on ${name}, chains too long to be kept all at once wait for each other`, async () => {
    const device = new HoldDevice(where, pollUs);
    const backend = await TestBackend.start(device);
    try {
      const report = await backend.session(async (frontend, keep) => {
        const guest = keep(
          await frontend.bringUp({
            queueSize: SIZE,
            indirectMax: 1,
            features: (1n << 32n) | INDIRECT_DESC,
          }),
        );
        const queue = guest.queue(0);
        const driver = queue.hostileDriver();
        releaseMemory();
        const before = process.memoryUsage().arrayBuffers;
        offerAll(driver);
        queue.raw.kick();
        const used: RawUsed[] = [];
        while (used.length < SIZE) {
          assert.equal(await queue.waitForCall(), true, `${used.length} chains came back`);
          used.push(...driver.used());
        }
        const ids = used.map(({ id }) => id).sort((a, b) => a - b);
        assert.deepEqual(
          ids,
          Array.from({ length: SIZE }, (_, i) => i),
        );
        const { mostHeld, inVain } = device.report;
        assert.ok(inVain < IN_VAIN_MAX, `it was asked ${inVain} times in vain`);
        assert.ok(mostHeld < SIZE, `${mostHeld} were kept at once`);
        if (where === 'worker') return; // whose memory is not counted here
        const kept = await leastKept(() => process.memoryUsage().arrayBuffers - before);
        assert.ok(kept < KEPT_BYTES_MAX, `${kept} bytes`);
      });
      assert.deepEqual(report.faults, []);
    } finally {
      await backend.close();
    }
  });
}
