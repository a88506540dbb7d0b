/**
 * How long a turn of the event loop's runner lasts: as long as there is more to take, and no longer
 * than others on the event loop can bear.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MOCK_TIMEOUT_MS, MockFrontend, expectNoLeak, holdings } from '../../testing/index.ts';
import type { MockGuest } from '../../testing/index.ts';
import type { Virtqueue } from '../../virtqueue/index.ts';
import { startBackend } from '../index.ts';
import type { Device } from '../index.ts';

/** Calls `onChain` for each request, once it is answered. */
function eager(onChain: () => void): Device {
  const serve = (queue: Virtqueue): number => {
    const chain = queue.pop();
    if (chain === null) return 0;
    queue.push(chain, 0);
    onChain();
    return 1;
  };
  return {
    name: 'eager',
    deviceId: 4,
    queueCount: 1,
    queueSizeMax: 64,
    features: 0n,
    dataPlane: { kind: 'local', create: () => ({ serve }) },
    readConfig: () => new Uint8Array(0),
    attach: () => undefined,
    close: () => undefined,
  };
}

async function withGuest(
  onChain: (guest: MockGuest) => void,
  body: (guest: MockGuest) => Promise<void>,
): Promise<void> {
  const before = holdings();
  const folder = mkdtempSync(join(tmpdir(), 'vhu-turn-'));
  const path = join(folder, 's');
  let guest: MockGuest | null = null;
  const device = eager(() => {
    if (guest !== null) onChain(guest);
  });
  const backend = await startBackend(device, { kind: 'listen', path });
  const frontend = await MockFrontend.connect(path);
  guest = await frontend.bringUp({ queueCount: 1 });
  try {
    await body(guest);
  } finally {
    frontend.close();
    guest.close();
    guest = null;
    await backend.close();
    rmSync(folder, { recursive: true });
  }
  await expectNoLeak(before);
}

/** Another request, of which the device hears by no kick. */
function askSilently(guest: MockGuest): void {
  const { driver } = guest.queue(0);
  driver.completed();
  driver.submit([Buffer.from('x')], []);
  driver.publish();
}

/** Counts the rounds of the event loop from now on, until it is told to end. */
function countRounds(): { readonly rounds: number; end(): void } {
  let [rounds, ended] = [0, false];
  const next = (): void => {
    if (ended) return;
    rounds++;
    setImmediate(next);
  };
  setImmediate(next);
  return {
    get rounds() {
      return rounds;
    },
    end: () => (ended = true),
  };
}

/** More requests than ten turns have room for. */
const MANY = 1_000_000;
/** So many requests are looked at together, and so often: a busy machine may spoil a few. */
const BATCH = 40;
const BATCHES_MAX = 500;
const nextRound = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

describe('a turn of the event loop', () => {
  it('takes what comes while it lasts, without a kick or a round for each', async () => {
    const endMs = performance.now() + MOCK_TIMEOUT_MS;
    let [answered, roundsBefore, fewestRounds] = [0, 0, Infinity];
    const going = (): boolean =>
      fewestRounds >= BATCH / 4 && answered < BATCH * BATCHES_MAX && performance.now() < endMs;
    const counter = countRounds();
    await withGuest(
      (guest) => {
        answered++;
        if (answered % BATCH === 1) roundsBefore = counter.rounds;
        if (answered % BATCH === 0) {
          fewestRounds = Math.min(fewestRounds, counter.rounds - roundsBefore);
        }
        if (going()) askSilently(guest);
      },
      async (guest) => {
        const queue = guest.queue(0);
        queue.driver.submit([Buffer.from('first')], []);
        queue.publish();
        while (going()) await nextRound();
        counter.end();
      },
    );
    assert.ok(fewestRounds < BATCH / 4, `${String(fewestRounds)} rounds for ${String(BATCH)}`);
  });

  it('ends when it has lasted long enough, and others have their turn', async () => {
    const endMs = performance.now() + MOCK_TIMEOUT_MS;
    let [answered, most, going] = [0, 0, true];
    const counter = countRounds();
    await withGuest(
      (guest) => {
        answered++;
        if (going && answered < MANY) askSilently(guest);
      },
      async (guest) => {
        const queue = guest.queue(0);
        queue.driver.submit([Buffer.from('first')], []);
        queue.publish();
        while (answered === 0) await nextRound();
        while (most <= 100 && answered < MANY && performance.now() < endMs) {
          const [rounds, before] = [counter.rounds, answered];
          while (counter.rounds < rounds + 10 && answered < MANY) await nextRound();
          most = Math.max(most, answered - before);
        }
        going = false; // it went on until here
        counter.end();
      },
    );
    assert.ok(answered < MANY, 'others had ten turns meanwhile');
    assert.ok(most > 100, `${String(most)} requests in ten turns`);
  });
});
