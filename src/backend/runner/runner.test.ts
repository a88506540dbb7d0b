/**
 * Runners and what can go wrong in them: devices that fail, threads that end, rings without a kick.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { MockFrontend, expectNoLeak, holdings } from '../../testing/index.ts';
import type { MockGuest, MockNegotiateOptions } from '../../testing/index.ts';
import { NotifierConsumer, dupFd } from '../../sys/index.ts';
import { VhostUserError } from '../../util/index.ts';
import { COUNTER, startBackend } from '../index.ts';
import type {
  Backend,
  BackendEvents,
  DataPlaneFactory,
  Device,
  LocalDataPlane,
  WorkerDataPlane,
} from '../index.ts';

/** Answers each request with its own bytes; `fail` in a request makes the device throw. */
const ECHO = `
  export const createDataPlane = (context) => ({
    serve(queue, budget) {
      let taken = 0;
      while (taken < budget) {
        const chain = queue.pop();
        if (chain === null) break;
        taken++;
        const bytes = new Uint8Array(chain.readableBytes);
        chain.copyFromReadable(0, bytes);
        const text = String.fromCharCode(...bytes);
        if (text === 'fail') throw new Error('the device had enough');
        if (text === 'exit') { context.log('warn', 'leaving'); process.exit(3); }
        if (text === 'later') {
          context.reactor.after(20, () => {
            queue.push(chain, chain.copyToWritable(0, bytes));
            context.flush();
          });
          continue;
        }
        queue.push(chain, chain.copyToWritable(0, bytes));
      }
      return taken;
    },
  });
`;

type Plane = LocalDataPlane | WorkerDataPlane;

class EchoDevice implements Device {
  readonly name = 'echo';
  readonly deviceId = 4;
  readonly queueCount = 2;
  readonly queueSizeMax = 256;
  readonly features = 0n;
  readonly dataPlane: Plane;
  closed = 0;

  constructor(dataPlane: Plane) {
    this.dataPlane = dataPlane;
  }

  readConfig(): Uint8Array {
    return new Uint8Array(0);
  }

  attach(): void {
    // It asks for nothing.
  }

  close(): void {
    this.closed++;
  }
}

const dataUrl = (source: string): URL =>
  new URL(`data:text/javascript,${encodeURIComponent(source)}`);

function worker(source: string = ECHO, pollUs: number = 0): WorkerDataPlane {
  return { kind: 'worker', module: dataUrl(source), options: null, threads: 1, pollUs };
}

function local(source: string = ECHO): LocalDataPlane {
  return {
    kind: 'local',
    create: async (context) => {
      const module = (await import(dataUrl(source).href)) as { createDataPlane: DataPlaneFactory };
      return module.createDataPlane(context);
    },
  };
}

interface Served {
  readonly guest: MockGuest;
  readonly frontend: MockFrontend;
  readonly backend: Backend;
  readonly faults: string[];
  readonly failures: Error[];
}

async function withEcho(
  plane: Plane,
  body: (served: Served) => Promise<void>,
  options: { readonly leaks?: boolean; readonly bringUp?: MockNegotiateOptions } = {},
): Promise<void> {
  const before = holdings();
  const dir = mkdtempSync(join(tmpdir(), 'vhu-run-'));
  const path = join(dir, 's');
  const faults: string[] = [];
  const failures: Error[] = [];
  const events: BackendEvents = {
    fault: (_index, { message }) => faults.push(message),
    failed: (error) => failures.push(error),
  };
  const device = new EchoDevice(plane);
  const backend = await startBackend(device, { kind: 'listen', path }, events);
  try {
    const frontend = await MockFrontend.connect(path);
    const guest = await frontend.bringUp({ queueCount: 2, ...options.bringUp });
    try {
      await body({ guest, frontend, backend, faults, failures });
    } finally {
      frontend.close();
      guest.close();
    }
  } finally {
    await backend.close();
    rmSync(dir, { recursive: true });
  }
  assert.equal(device.closed, 1);
  if (options.leaks !== true) await expectNoLeak(before);
}

/** Waits for what another thread tells in a moment. */
async function until(happened: () => boolean): Promise<void> {
  for (let i = 0; i < 3000 && !happened(); i++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const text = (words: string): Uint8Array => Buffer.from(words);

async function echo(guest: MockGuest, index: number, words: string): Promise<string> {
  const done = await guest.queue(index).exchange([text(words)], [words.length]);
  return Buffer.from(done.written).toString();
}

const PLANES: readonly (readonly [string, Plane])[] = [
  ['a worker thread', worker()],
  ['a worker thread that polls', worker(ECHO, 50)],
  ['the event loop', local()],
];

for (const [name, plane] of PLANES) {
  describe(`on ${name}`, () => {
    it('requests are answered on all queues, and counted', async () => {
      await withEcho(plane, async ({ guest, backend }) => {
        for (let i = 0; i < 50; i++) {
          assert.equal(await echo(guest, i % 2, `words ${String(i)}`), `words ${String(i)}`);
        }
        assert.ok(backend.counter(COUNTER.calls) >= 50);
        assert.ok(backend.counter(COUNTER.kicks) >= 1);
      });
    });

    it('a stop waits for what is in flight', async () => {
      await withEcho(plane, async ({ guest }) => {
        const queue = guest.queue(0);
        queue.driver.submit([text('later')], [5]);
        queue.publish();
        await queue.exchange([text('now')], [3]); // both were taken
        assert.equal(await guest.stopQueue(0), 2);
        const done = queue.driver.completed();
        assert.equal(done.length, 1);
        assert.equal(Buffer.from(done[0]?.written ?? []).toString(), 'later');
      });
    });

    it('a stopped ring leaves no kick behind for a front-end that takes it back', async () => {
      await withEcho(plane, async ({ guest }) => {
        for (let i = 0; i < 5; i++) {
          await echo(guest, 0, 'words');
          guest.queue(0).raw.kick(); // for nothing, as a driver may
        }
        await guest.stopQueue(0);
        const kick = new NotifierConsumer(dupFd(guest.queue(0).raw.peerFds.kick));
        assert.equal(kick.drain(), 0);
        kick.close();
      });
    });

    it('a stopped ring asks for kicks, which who serves it next may not think of', async () => {
      const withoutEvents = { features: 1n << 32n };
      await withEcho(
        plane,
        async ({ guest }) => {
          const { ring } = guest.queue(0).raw;
          for (let i = 0; i < 20; i++) {
            await echo(guest, 0, 'words');
            await guest.stopQueue(0);
            guest.queue(0).driver.submit([text('x')], [1]);
            assert.equal(ring.publish(), true, 'the driver kicks');
            await guest.startQueue(0, 2 * i + 1);
            await guest.queue(0).completions(1);
          }
        },
        { bringUp: withoutEvents },
      );
    });

    it('a device that throws loses that ring, and only that', async () => {
      await withEcho(plane, async ({ guest, faults, frontend }) => {
        const queue = guest.queue(0);
        queue.driver.submit([text('fail')], [4]);
        queue.publish();
        assert.equal(await queue.waitForCall(), true);
        assert.equal(queue.errors, 1, 'the err fd was signalled');
        await until(() => faults.length > 0);
        assert.match(faults.join(), /queue 0: the device failed: the device had enough/);
        assert.equal(await echo(guest, 1, 'still here'), 'still here');
        assert.equal((await frontend.askNumber('GET_STATUS')) & 0x40n, 0x40n, 'NEEDS_RESET');
        // What the device holds of the broken ring does not keep it from being stopped.
        await guest.stopQueue(0);
      });
    });

    it('a ring without a kick fd is polled', async () => {
      await withEcho(plane, async ({ guest, frontend }) => {
        await guest.stopQueue(0);
        await frontend.command('SET_VRING_KICK', { value: 0x100n });
        const queue = guest.queue(0);
        queue.driver.submit([text('no kick')], [7]);
        queue.driver.publish(); // and no kick
        const [done] = await queue.completions(1);
        assert.equal(Buffer.from(done?.written ?? []).toString(), 'no kick');
        await guest.stopQueue(0);
      });
    });

    it('a ring without a kick fd leaves the timers of its device alone', async () => {
      await withEcho(plane, async ({ guest, frontend }) => {
        await guest.stopQueue(0);
        await frontend.command('SET_VRING_KICK', { value: 0x100n });
        const queue = guest.queue(0);
        queue.driver.submit([text('later')], [5]);
        queue.driver.publish();
        const [done] = await queue.completions(1);
        assert.equal(Buffer.from(done?.written ?? []).toString(), 'later');
      });
    });
  });
}

it('a ring without a kick fd that the guest has broken is not polled any more', async () => {
  await withEcho(worker(ECHO), async ({ guest, frontend, backend, faults }) => {
    await frontend.command('SET_VRING_KICK', { value: 0x100n });
    const waits = (): number[] => [COUNTER.sleeps, COUNTER.polls].map((i) => backend.counter(i));
    const [sleeps] = waits() as [number, number]; // one poll without an end follows
    const hostile = guest.queue(0).hostileDriver();
    hostile.offer(0xffff);
    await until(() => faults.length > 0 && (waits()[0] as number) > sleeps);
    assert.notEqual(waits()[0], sleeps, 'it goes on polling');
    // And soon it is not heard of any more: one that wakes up is, in each of these times.
    const seen = [waits()];
    do {
      await new Promise((resolve) => setTimeout(resolve, 300));
      seen.push(waits());
      assert.ok(seen.length < 30, `it does not sleep on: ${JSON.stringify(seen)}`);
    } while (!isDeepStrictEqual(seen.at(-1), seen.at(-2)));
  });
});

/** A counter that no device uses. */
const ASKED = COUNTER.LENGTH - 1;
/**
 * How often a device may be asked whether it is full, while it is for 300 ms: whoever goes on
 * asking does it some hundred thousand times. One that polls may, for 32 µs each time.
 */
const ASKED_MAX = 5000;

/** Holds each request for a while, and takes one at a time. */
const ONE_AT_A_TIME = `
  export const createDataPlane = (context) => {
    let held = null;
    return {
      full: () => {
        context.counters[${String(ASKED)}]++;
        return held !== null;
      },
      serve(queue) {
        context.counters[${String(ASKED)}]++;
        if (held !== null) return 0;
        const chain = queue.pop();
        if (chain === null) return 0;
        held = chain;
        context.reactor.after(100, () => {
          held = null;
          queue.push(chain, 0);
          context.flush();
        });
        return 1;
      },
    };
  };
`;

const FULL: readonly (readonly [string, Plane])[] = [
  ['a worker thread', worker(ONE_AT_A_TIME)],
  ['a worker thread that polls', worker(ONE_AT_A_TIME, 32)],
  ['the event loop', local(ONE_AT_A_TIME)],
];

for (const [where, plane] of FULL) {
  it(`a device on ${where} that is full is waited for, not asked again and again`, async () => {
    await withEcho(plane, async ({ guest, backend }) => {
      const queue = guest.queue(0);
      for (let i = 0; i < 4; i++) queue.driver.submit([text('x')], [1]);
      const before = backend.counter(ASKED);
      queue.publish();
      await queue.completions(4);
      const asked = backend.counter(ASKED) - before;
      assert.ok(asked > 0 && asked < ASKED_MAX, `it was asked ${String(asked)} times`);
    });
  });
}

/** Takes nothing of queue 0 before something came by queue 1. */
const ONE_AFTER_THE_OTHER = `
  export const createDataPlane = (context) => {
    let open = false;
    const answer = (queue) => {
      const chain = queue.pop();
      if (chain === null) return 0;
      queue.push(chain, 0);
      return 1;
    };
    return {
      full: (queue) => {
        context.counters[${String(ASKED)}]++;
        return queue.index === 0 && !open;
      },
      serve(queue) {
        context.counters[${String(ASKED)}]++;
        if (queue.index === 0) return open ? answer(queue) : 0;
        const taken = answer(queue);
        if (taken > 0) open = true;
        return taken;
      },
    };
  };
`;

for (const [where, plane] of [
  ['a worker thread', worker(ONE_AFTER_THE_OTHER)],
  ['the event loop', local(ONE_AFTER_THE_OTHER)],
] as const) {
  it(`one queue of a device on ${where} may be full while the others are served`, async () => {
    await withEcho(plane, async ({ guest, backend }) => {
      const waiting = guest.queue(0);
      waiting.driver.submit([text('x')], [1]);
      const before = backend.counter(ASKED);
      waiting.publish();
      await until(() => backend.counter(ASKED) > before);
      await new Promise((resolve) => setTimeout(resolve, 300));
      assert.equal(waiting.driver.completed().length, 0);
      const asked = backend.counter(ASKED) - before;
      assert.ok(asked > 0 && asked < ASKED_MAX, `it was asked ${String(asked)} times`);
      await guest.queue(1).exchange([text('y')], [1]);
      // It is looked at again with whatever comes next, such as its own kick.
      waiting.raw.kick();
      assert.equal((await waiting.completions(1)).length, 1);
    });
  });
}

describe('a worker thread', () => {
  it('that cannot load its module makes the start fail, and leaves nothing', async () => {
    const before = holdings();
    const device = new EchoDevice(worker('export const nothing = 1; throw new Error("no way");'));
    const dir = mkdtempSync(join(tmpdir(), 'vhu-run-'));
    await assert.rejects(startBackend(device, { kind: 'listen', path: join(dir, 's') }), /no way/);
    assert.equal(device.closed, 1);
    rmSync(dir, { recursive: true });
    await expectNoLeak(before);
  });

  it('that refuses what an operator asked for has its error in our class, told once', async () => {
    const source = 'throw Object.assign(new Error("no tar"), { code: "ERR_VHU_FS_ARCHIVE" });';
    const device = new EchoDevice(worker(source));
    const dir = mkdtempSync(join(tmpdir(), 'vhu-run-'));
    const failures: Error[] = [];
    const failed = (error: Error): number => failures.push(error);
    await assert.rejects(
      startBackend(device, { kind: 'listen', path: join(dir, 's') }, { failed }),
      (error) => error instanceof VhostUserError && error.code === 'ERR_VHU_FS_ARCHIVE',
    );
    assert.deepEqual(failures, []);
    rmSync(dir, { recursive: true });
  });

  it('that ends under way takes the session with it that loses its front-end, socket and all', async () => {
    const body = async ({ guest, frontend, failures, backend }: Served): Promise<void> => {
      guest.queue(0).driver.submit([text('exit')], [4]);
      guest.queue(0).publish();
      await until(() => failures.length > 0);
      await backend.close();
      await frontend.expectClosed();
    };
    await withEcho(worker(), body, { leaks: true });
  });

  it('that ends under way is reported, and closing does not wait for it', async () => {
    // What such a thread held is lost until the process ends, as it has to after that.
    const options = { leaks: true };
    const body = async ({ guest, failures }: Served): Promise<void> => {
      guest.queue(0).driver.submit([text('exit')], [4]);
      guest.queue(0).publish();
      await until(() => failures.length > 0);
      assert.match(String(failures[0]?.message), /the queue thread has ended/);
    };
    await withEcho(worker(), body, options);
  });
});

/** Takes a chain when it is served, and gives it back two rounds later; tells of each. */
const LATER = `
  export const createDataPlane = (context) => {
    let held = null;
    let rounds = 0;
    return {
      serve(queue) {
        const chain = held === null ? queue.pop() : null;
        if (chain === null) return 0;
        held = { queue, chain };
        rounds = 2;
        return 1;
      },
      submit() {
        if (held === null) return 0;
        if (--rounds > 0) return 1;
        held.queue.push(held.chain, 0);
        held = null;
        context.tell({ what: 'given back' });
        context.flush();
        return 1;
      },
      control() {},
    };
  };`;

/** Keeps what its data plane tells. */
class ListeningDevice extends EchoDevice {
  readonly messages: unknown[] = [];

  told(message: unknown): void {
    this.messages.push(message);
  }
}

for (const [name, plane] of [
  ['a worker', worker(LATER)],
  ['the event loop', local(LATER)],
] as const) {
  describe(`a data plane with work of its own, on ${name}`, () => {
    it('is asked again until it has none, and is heard by its device', async () => {
      const device = new ListeningDevice(plane);
      const dir = mkdtempSync(join(tmpdir(), 'vhu-run-'));
      const backend = await startBackend(device, { kind: 'listen', path: join(dir, 's') });
      const frontend = await MockFrontend.connect(join(dir, 's'));
      const guest = await frontend.bringUp({ queueCount: 2 });
      for (let i = 0; i < 3; i++) await guest.queue(0).exchange([Uint8Array.of(1)], []);
      frontend.close();
      guest.close();
      await backend.close();
      rmSync(dir, { recursive: true });
      assert.deepEqual(device.messages, new Array(3).fill({ what: 'given back' }));
    });
  });
}
