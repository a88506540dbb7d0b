/**
 * The entropy client with devices that give much, little, late, nothing, or break the rules.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { VhostUserError } from '../../util/index.ts';
import { Notifier, viewMemory } from '../../sys/index.ts';
import { protocolFeatures, virtioFeatures } from '../../protocol/index.ts';
import type { Frame } from '../../protocol/index.ts';
import { startBackend } from '../../backend/index.ts';
import type { Backend, Device } from '../../backend/index.ts';
import type { Virtqueue } from '../../virtqueue/index.ts';
import { MockBackend, expectNoLeak, holdings } from '../../testing/index.ts';
import { RngClient } from './client.ts';
import type { RngClientOptions } from './client.ts';

/** Counts instead of drawing lots, so that a test sees which bytes came where. */
class CountingDevice implements Device {
  readonly name = 'counting';
  readonly deviceId = 4;
  readonly queueCount = 1;
  readonly queueSizeMax = 64;
  readonly features = 0n;
  readonly dataPlane;
  /** How much of each request is filled. */
  share: (roomBytes: number) => number = (roomBytes) => roomBytes;
  /** Requests are left in the ring while it is set. */
  holds = false;
  readonly requests: number[] = [];
  #next = 0;
  #flush: () => void = () => undefined;

  constructor() {
    this.dataPlane = {
      kind: 'local',
      create: (context: { flush(): void }) => {
        this.#flush = () => context.flush();
        return {
          serve: (queue: Virtqueue, budget: number) => this.#serve(queue, budget),
          full: () => this.holds,
        };
      },
    } as const;
  }

  release(): void {
    this.holds = false;
    this.#flush();
  }

  readConfig(): Uint8Array {
    return new Uint8Array(0);
  }

  attach(): void {
    // Nothing to tell.
  }

  close(): void {
    // Nothing to free.
  }

  #serve(queue: Virtqueue, budget: number): number {
    for (let taken = 0; taken < budget; taken++) {
      const chain = this.holds ? null : queue.pop();
      if (chain === null) return taken;
      this.requests.push(chain.writableBytes);
      const length = this.share(chain.writableBytes);
      const bytes = Uint8Array.from({ length }, () => this.#next++ & 0xff);
      queue.push(chain, chain.copyToWritable(0, bytes));
    }
    return budget;
  }
}

async function withClient(
  device: Device,
  options: RngClientOptions,
  body: (client: RngClient, backend: Backend) => Promise<void>,
): Promise<void> {
  const before = holdings();
  const folder = mkdtempSync(join(tmpdir(), 'vhu-'));
  const path = join(folder, 's');
  const backend = await startBackend(device, { kind: 'listen', path });
  try {
    const client = await RngClient.connect(path, options);
    try {
      await body(client, backend);
    } finally {
      await client.close();
    }
  } finally {
    await backend.close();
    rmSync(folder, { recursive: true });
  }
  await expectNoLeak(before);
}

/** A back-end that never looks at a ring. */
function mockRng(look: (name: string, frame: Frame) => void = () => undefined): MockBackend {
  return new MockBackend({
    features: virtioFeatures('VERSION_1', 'PROTOCOL_FEATURES'),
    protocolFeatures: protocolFeatures('REPLY_ACK'),
    script: (name, frame) => {
      look(name, frame);
      return 'agree';
    },
  });
}

/** Each byte of the device, once: 0, 1, 2 and so on, in any order. */
function expectAll(bytes: Uint8Array): void {
  const sorted = Uint8Array.from(bytes).sort();
  const expected = Uint8Array.from({ length: bytes.length }, (_, i) => i & 0xff).sort();
  assert.deepEqual(sorted, expected);
}

describe('RngClient', () => {
  it('reads as many bytes as it is asked for, in requests of the length that it was told', async () => {
    const device = new CountingDevice();
    await withClient(device, { requestBytes: 100, queueSize: 4 }, async (client) => {
      const bytes = await client.read(1050);
      expectAll(bytes);
      assert.deepEqual(device.requests, [...Array<number>(10).fill(100), 50]);
      assert.equal((await client.read(0)).length, 0);
    });
  });

  it('asks again for what a device left out, one byte at a time if need be', async () => {
    for (const share of [() => 1, (room: number) => Math.ceil(room / 2)]) {
      const device = new CountingDevice();
      device.share = share;
      await withClient(device, { requestBytes: 64, queueSize: 8 }, async (client) => {
        const into = new Uint8Array(500);
        await client.fill(into);
        expectAll(into);
      });
    }
  });

  it('keeps reads at the same time apart', async () => {
    const device = new CountingDevice();
    device.share = (room) => Math.min(room, 7);
    await withClient(device, { requestBytes: 16, queueSize: 4 }, async (client) => {
      const reads = Array.from({ length: 25 }, (_, i) => client.read(i));
      const parts = await Promise.all(reads);
      parts.forEach((part, i) => assert.equal(part.length, i));
      // Requests that are answered late get bytes in place of others: no byte comes twice.
      expectAll(Buffer.concat(parts));
    });
  });

  it('takes with readSome what one request brings', async () => {
    const device = new CountingDevice();
    device.share = (room) => Math.min(room, 5);
    await withClient(device, { requestBytes: 16 }, async (client) => {
      assert.deepEqual([...(await client.readSome(100))], [0, 1, 2, 3, 4]);
      assert.deepEqual([...(await client.readSome(2))], [5, 6]);
      assert.deepEqual(device.requests, [16, 2]);
    });
  });

  it('fails a read whose request comes back with nothing in it, and goes on', async () => {
    const device = new CountingDevice();
    device.share = () => 0;
    await withClient(device, {}, async (client) => {
      const empty = {
        code: 'ERR_VHU_RNG_EMPTY',
        message: /^read of random bytes: the device gave/,
      };
      await assert.rejects(client.read(10_000), empty);
      await assert.rejects(client.readSome(1), empty);
      device.share = (room) => room;
      assert.equal((await client.read(10)).length, 10);
    });
  });

  it('close rejects what still waits, and what comes later', async () => {
    const device = new CountingDevice();
    device.holds = true;
    await withClient(device, { queueSize: 2, requestBytes: 16 }, async (client) => {
      const closed = { code: 'ERR_VHU_CLOSED', message: /^read of random bytes: the client/ };
      const outcome = Promise.all([
        assert.rejects(client.read(100), closed),
        assert.rejects(client.readSome(10), closed),
      ]);
      await client.close();
      await outcome;
      await assert.rejects(client.read(1), closed);
      device.release();
    });
  });

  it('when the back-end goes away, all reads are told, and nothing hangs', async () => {
    const before = holdings();
    const backend = mockRng();
    let onEnd: (error: Error | null) => void = () => undefined;
    const ended = new Promise<Error | null>((resolve) => (onEnd = resolve));
    const client = await RngClient.fromFd(backend.peerFd, { onEnd, queueSize: 2 });
    const gone = { code: 'ERR_VHU_BACKEND_GONE', message: /^read of random bytes: the back-end/ };
    const outcomes = [0, 1, 2].map(() => assert.rejects(client.read(10), gone));
    await new Promise((resolve) => setImmediate(resolve));
    await backend.close();
    await Promise.all(outcomes);
    assert.match(String(await ended), /ended the connection/);
    await assert.rejects(client.read(1), gone);
    await client.close();
    await expectNoLeak(before);
  });

  it('a device that lies about its ring ends the session', async () => {
    const before = holdings();
    let usedHva = 0; // the front-end's address is ours, in one process
    let call: Notifier | null = null;
    const backend = mockRng((name, { payload, fds }) => {
      if (name === 'SET_VRING_ADDR') usedHva = Number(Buffer.from(payload).readBigUInt64LE(16));
      if (name === 'SET_VRING_CALL') call = new Notifier(fds.shift() as number);
    });
    const errors: string[] = [];
    const onError = (error: VhostUserError): void => void errors.push(error.code);
    const client = await RngClient.fromFd(backend.peerFd, { onError });
    const broken = {
      code: 'ERR_VHU_RING_USED_INDEX',
      message: /^read of .*: queue 0: used.idx 40/,
    };
    const outcome = assert.rejects(client.read(64), broken);
    new Uint16Array(viewMemory(usedHva, 4))[1] = 40;
    (call as Notifier | null)?.signal();
    await outcome;
    await assert.rejects(client.read(64), broken);
    assert.deepEqual(errors, ['ERR_VHU_RING_USED_INDEX']);
    await client.close();
    assert.ok(!client.session.connected);
    (call as Notifier | null)?.close();
    await backend.close();
    await expectNoLeak(before);
  });

  it('says what is wrong with its options', async () => {
    const open = (options: RngClientOptions): Promise<void> =>
      withClient(new CountingDevice(), options, () => Promise.resolve());
    await assert.rejects(open({ requestBytes: 0 }), { code: 'ERR_VHU_OPTION' });
    await assert.rejects(open({ queueSize: 3 }), { code: 'ERR_VHU_QUEUE_SIZE' });
  });
});
