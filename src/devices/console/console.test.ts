/**
 * The console device, driven by our own client: nothing is lost, nothing changes its order, and
 * nobody waits for ever.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startBackend } from '../../backend/index.ts';
import type { Backend } from '../../backend/index.ts';
import { CONSOLE_EVENT, CONSOLE_FEATURE, ConsoleClient } from '../../frontend/index.ts';
import type { ConsoleClientOptions, ConsoleClientPort } from '../../frontend/index.ts';
import { MockFrontend, expectIdle, expectNoLeak, holdings } from '../../testing/index.ts';
import { openConsole } from './index.ts';
import type { ConsoleDevice, ConsoleEnd, ConsoleOptions, EndEvents } from './index.ts';

const KIB = 1024;

/** An end that does as it is told. */
class TestEnd implements ConsoleEnd {
  attached: boolean;
  paused = false;
  closed = false;
  /** Bytes that it takes at once; what is more waits for `take`. */
  open_: EndEvents | null = null;
  readonly taken: Buffer[] = [];
  holds = false;
  pauses = 0;
  #done: (() => void) | null = null;

  constructor(attached = true) {
    this.attached = attached;
  }

  get events(): EndEvents {
    assert.ok(this.open_ !== null);
    return this.open_;
  }

  get output(): Buffer {
    return Buffer.concat(this.taken);
  }

  describe(): string {
    return 'a test';
  }

  open(events: EndEvents): void {
    this.open_ = events;
  }

  write(bytes: Uint8Array, done: () => void): void {
    assert.equal(this.#done, null, 'one piece at a time');
    const copy = Buffer.from(bytes);
    this.#done = () => {
      assert.deepEqual(Buffer.from(bytes), copy, 'the bytes stay as they are until they are taken');
      this.taken.push(copy);
      done();
    };
    if (!this.holds) setImmediate(() => this.take());
  }

  /** Whether something was handed over that was not taken. */
  get hasPiece(): boolean {
    return this.#done !== null;
  }

  /** Takes what was handed over. */
  take(): void {
    const done = this.#done;
    this.#done = null;
    done?.();
  }

  setAttached(attached: boolean): void {
    this.attached = attached;
    this.events.attachedChanged();
  }

  pause(): void {
    this.paused = true;
    this.pauses++;
  }

  resume(): void {
    this.paused = false;
  }

  close(): void {
    this.closed = true;
  }
}

interface Served {
  readonly device: ConsoleDevice;
  readonly backend: Backend;
  readonly path: string;
  readonly log: string[];
  readonly connect: (options?: ConsoleClientOptions) => Promise<ConsoleClient>;
}

async function withConsole(
  options: ConsoleOptions,
  body: (served: Served) => Promise<void>,
): Promise<void> {
  const before = holdings();
  const folder = mkdtempSync(join(tmpdir(), 'vhu-con-'));
  const path = join(folder, 's');
  const clients: ConsoleClient[] = [];
  const log: string[] = [];
  const device = await openConsole(options);
  const backend = await startBackend(
    device,
    { kind: 'listen', path },
    { log: (_level, text) => log.push(text) },
  );
  try {
    const connect = async (how: ConsoleClientOptions = {}): Promise<ConsoleClient> => {
      const client = await ConsoleClient.connect(path, { connectWaitMs: 2000, ...how });
      clients.push(client);
      return client;
    };
    await body({ device, backend, path, log, connect });
  } finally {
    for (const client of clients) await client.close();
    await backend.close();
    rmSync(folder, { recursive: true });
  }
  await expectNoLeak(before);
}

async function until(what: string, happened: () => boolean, limitMs = 30_000): Promise<void> {
  const endMs = performance.now() + limitMs;
  while (!happened()) {
    assert.ok(performance.now() < endMs, `too late: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/**
 * Time in which all that can happen happens: both sides share this event loop, and a timer that is
 * late may come after one turn of it.
 */
async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
  for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Writes all, and waits until the device has taken it. */
async function writeAll(port: ConsoleClientPort, bytes: Uint8Array): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    port.write(bytes, (error) => (error ? reject(error) : resolve()));
  });
}

/** What a port is given from now on. */
function collect(port: ConsoleClientPort): { bytes: () => Buffer } {
  const pieces: Buffer[] = [];
  port.on('data', (piece: Buffer) => pieces.push(piece));
  return { bytes: () => Buffer.concat(pieces) };
}

function cut(bytes: Buffer, seed: number, most: number): Buffer[] {
  const pieces: Buffer[] = [];
  let state = seed;
  for (let at = 0; at < bytes.length; at += pieces.at(-1)?.length ?? 0) {
    state = (state * 1103515245 + 12345) & 0x7fffffff;
    pieces.push(bytes.subarray(at, at + 1 + (state % most)));
  }
  return pieces;
}

describe('output of a guest', () => {
  it('arrives whole and in order, in pieces of any size', async () => {
    const end = new TestEnd();
    await withConsole({ end }, async ({ connect }) => {
      const port = await (await connect()).port(0);
      const sent = randomBytes(1024 * KIB);
      for (const piece of cut(sent, 7, 9000)) await writeAll(port, piece);
      await until('all has come', () => end.output.length >= sent.length);
      assert.ok(end.output.equals(sent));
    });
  });

  it('waits in the ring while whoever reads is slow, and is all there in the end', async () => {
    const end = new TestEnd();
    end.holds = true;
    await withConsole({ end }, async ({ connect, backend }) => {
      const port = await (await connect()).port(0);
      const sent = randomBytes(1024 * KIB);
      const written = writeAll(port, sent);
      await until('some is taken', () => backend.counter(2) >= 128 * KIB); // bytesWritten
      await pause(200);
      const taken = backend.counter(2);
      assert.ok(taken <= 256 * KIB, `${taken} bytes were taken, and nobody reads`);
      await expectIdle();
      end.holds = false;
      end.take();
      await written;
      await until('all has come', () => end.output.length >= sent.length);
      assert.ok(end.output.equals(sent));
    });
  });

  it('with nobody there: the newest is kept for whoever comes, and the guest goes on', async () => {
    const end = new TestEnd(false);
    await withConsole({ end, backlogBytes: 1000 }, async ({ connect }) => {
      const port = await (await connect()).port(0);
      const sent = randomBytes(700 * KIB);
      await writeAll(port, sent);
      await until('all was taken', () => port.writableLength === 0);
      await pause(50);
      assert.equal(end.output.length, 0);
      end.setAttached(true);
      await until('the newest has come', () => end.output.length >= 1000);
      assert.ok(end.output.equals(sent.subarray(-1000)));
      await writeAll(port, Buffer.from('more'));
      await until('and what comes then', () => end.output.length >= 1004);
      assert.equal(end.output.subarray(1000).toString(), 'more');
    });
  });

  it('with nobody there: the guest waits where it was asked for, and nothing is lost', async () => {
    const end = new TestEnd(false);
    await withConsole({ end, unattended: 'wait' }, async ({ connect }) => {
      const port = await (await connect()).port(0);
      const sent = randomBytes(700 * KIB);
      let isDone = false;
      const written = writeAll(port, sent).then(() => {
        isDone = true;
      });
      await pause(200);
      assert.equal(isDone, false);
      end.setAttached(true);
      await written;
      await until('all has come', () => end.output.length >= sent.length);
      assert.ok(end.output.equals(sent));
    });
  });

  it('with nobody there: it is thrown away where that was asked for', async () => {
    const end = new TestEnd(false);
    await withConsole({ end, unattended: 'discard' }, async ({ connect }) => {
      const port = await (await connect()).port(0);
      await writeAll(port, randomBytes(700 * KIB));
      await until('all was taken', () => port.writableLength === 0);
      await pause(50);
      end.setAttached(true);
      await writeAll(port, Buffer.from('now'));
      await until('what comes then', () => end.output.length > 0);
      assert.equal(end.output.toString(), 'now');
    });
  });

  it('outlives a ring that is stopped in the middle of a chain', async () => {
    const end = new TestEnd();
    end.holds = true;
    await withConsole({ end }, async ({ path }) => {
      const frontend = await MockFrontend.connect(path);
      const guest = await frontend.bringUp({
        features: CONSOLE_FEATURE.SIZE,
        queueCount: 2,
        memoryBytes: 2048 * KIB,
      });
      const sent = randomBytes(600 * KIB);
      const queue = guest.queue(1);
      queue.driver.submit([sent], []);
      queue.publish();
      await until('some was handed over', () => end.hasPiece);
      await pause(50);
      await guest.stopQueue(1);
      assert.equal(queue.driver.completed().length, 1, 'the chain came back');
      end.holds = false;
      end.take();
      await until('all has come', () => end.output.length >= sent.length);
      assert.ok(end.output.equals(sent));
      frontend.close();
      guest.close();
    });
  });

  it('of an emergency comes without a queue, before any is there', async () => {
    const end = new TestEnd();
    await withConsole({ end }, async ({ connect }) => {
      const client = await connect();
      for (const byte of Buffer.from('oops')) await client.emergencyWrite(byte);
      await until('it has come', () => end.output.length >= 4);
      assert.equal(end.output.toString(), 'oops');
    });
  });
});

describe('input for a guest', () => {
  it('arrives whole and in order, and its source is asked to wait', async () => {
    const end = new TestEnd();
    await withConsole({ end }, async ({ connect }) => {
      const client = await connect({ bufferCount: 2, bufferBytes: 100 });
      const port = await client.port(0);
      const sent = randomBytes(512 * KIB);
      const received = collect(port);
      for (const piece of cut(sent, 3, 5000)) {
        await until('the source may go on', () => !end.paused);
        end.events.input(Buffer.from(piece));
      }
      await until('all has come', () => received.bytes().length >= sent.length);
      assert.ok(received.bytes().equals(sent));
      assert.ok(end.pauses > 0);
      assert.equal(end.paused, false);
    });
  });

  it('one character after the other arrives, each at once', async () => {
    const end = new TestEnd();
    await withConsole({ end }, async ({ connect }) => {
      const port = await (await connect()).port(0);
      const received = collect(port);
      for (let i = 0; i < 200; i++) {
        end.events.input(Buffer.of(i));
        await until(`character ${i}`, () => received.bytes().length === i + 1);
      }
      assert.deepEqual(
        [...received.bytes()],
        Array.from({ length: 200 }, (_, i) => i),
      );
    });
  });

  it('that came before the guest is there when the guest is', async () => {
    const end = new TestEnd();
    await withConsole({ end }, async ({ connect }) => {
      end.events.input(Buffer.from('root\n'));
      const port = await (await connect()).port(0);
      const received = collect(port);
      await until('it has come', () => received.bytes().length === 5);
      assert.equal(received.bytes().toString(), 'root\n');
    });
  });

  it('waits for a serial port to be opened, and again when it was closed', async () => {
    const end = new TestEnd();
    const ports = [{ name: 'org.test.0', end }];
    await withConsole({ ports }, async ({ connect }) => {
      const client = await connect();
      await client.port(0); // all ports are there now
      end.events.input(Buffer.from('early'));
      const raw = client.ports.get(1);
      assert.ok(raw !== undefined);
      const received = collect(raw);
      await pause(50);
      assert.equal(received.bytes().length, 0);
      await client.port('org.test.0');
      await until('it has come', () => received.bytes().toString() === 'early');
      client.send(1, CONSOLE_EVENT.PORT_OPEN, 0);
      await pause(50);
      end.events.input(Buffer.from('late'));
      await pause(50);
      assert.equal(received.bytes().toString(), 'early');
      client.send(1, CONSOLE_EVENT.PORT_OPEN, 1);
      await until('the rest has come', () => received.bytes().toString() === 'earlylate');
    });
  });
});

describe('ports of a console', () => {
  it('have their kinds, names and sizes; the guest hears who comes and goes', async () => {
    const second = new TestEnd(false);
    const third = new TestEnd();
    const ports = [
      { name: 'org.qemu.guest_agent.0', end: second },
      { name: 'hvc', end: third, console: true, size: { columns: 132, rows: 43 } },
    ];
    const options = { end: new TestEnd(), ports, size: { columns: 80, rows: 25 } };
    await withConsole(options, async ({ connect, device }) => {
      assert.equal(device.queueCount, 8);
      const client = await connect();
      assert.equal(client.portCountMax, 3);
      assert.deepEqual({ ...client.size, portCountMax: 3 }, client.size);
      const first = await client.port(0);
      const agent = await client.port('org.qemu.guest_agent.0');
      const hvc = await client.port('hvc');
      await until('sizes are told', () => hvc.columns > 0 && first.columns > 0);
      assert.deepEqual([first.isConsole, agent.isConsole, hvc.isConsole], [true, false, true]);
      assert.deepEqual([first.columns, first.rows, hvc.columns, hvc.rows], [80, 25, 132, 43]);
      assert.equal(agent.columns, 0);
      await until('the console is open', () => first.hostOpen && hvc.hostOpen);
      assert.equal(agent.hostOpen, false);
      second.setAttached(true);
      await until('somebody has come', () => agent.hostOpen);
      second.setAttached(false);
      await until('and has gone', () => !agent.hostOpen);
    });
  });

  it('do not mix: each has its own input and output', async () => {
    const ends = Array.from({ length: 5 }, () => new TestEnd());
    const ports = ends.slice(1).map((end, i) => ({ name: `p${i + 1}`, end }));
    await withConsole({ end: ends[0] as TestEnd, ports }, async ({ connect }) => {
      const client = await connect();
      for (const [id, end] of ends.entries()) {
        const port = await client.port(id);
        const received = collect(port);
        await writeAll(port, Buffer.from(`from ${id}`));
        end.events.input(Buffer.from(`for ${id}`));
        await until('both have come', () => end.taken.length > 0 && received.bytes().length > 4);
        assert.equal(end.output.toString(), `from ${id}`);
        assert.equal(received.bytes().toString(), `for ${id}`);
      }
    });
  });

  it('have a new size at once, by a message and in the configuration space', async () => {
    const end = new TestEnd();
    await withConsole({ end }, async ({ connect, device }) => {
      const client = await connect();
      const port = await client.port(0);
      end.events.resized(100, 30);
      await until('the message', () => port.columns === 100 && port.rows === 30);
      await until('the configuration space', () => client.size.columns === 100);
      device.setSize(200, 50);
      await until('the next one', () => port.columns === 200 && client.size.rows === 50);
      assert.throws(() => device.setSize(70_000, 1), { code: 'ERR_VHU_OPTION' });
    });
  });

  it('have columns first in a message where the specification is to be followed', async () => {
    const size = { columns: 100, rows: 30 };
    await withConsole({ end: new TestEnd(), size, resizeOrder: 'columns' }, async ({ connect }) => {
      const port = await (await connect({ rowsFirst: false })).port(0);
      await until('the message', () => port.columns === 100 && port.rows === 30);
    });
  });

  it('are one for a driver that knows nothing of ports', async () => {
    const end = new TestEnd();
    await withConsole({ end, ports: [{ name: 'more' }] }, async ({ connect, device }) => {
      const client = await connect({ features: CONSOLE_FEATURE.SIZE });
      assert.equal(client.multiport, false);
      const port = await client.port(0);
      const received = collect(port);
      end.events.input(Buffer.from('typed'));
      await writeAll(port, Buffer.from('shown'));
      await until('both have come', () => received.bytes().length === 5 && end.taken.length > 0);
      device.setSize(90, 20);
      await until('the size', () => port.columns === 90 && port.rows === 20);
    });
  });
});

describe('one guest after the other', () => {
  it('a guest that reboots has its ports again, and what waited for it', async () => {
    const end = new TestEnd();
    await withConsole({ end, ports: [{ name: 'x', end: new TestEnd() }] }, async ({ connect }) => {
      const client = await connect();
      await client.port('x');
      client.send(0xffff_ffff, CONSOLE_EVENT.DEVICE_READY, 1); // its driver begins anew
      await pause(20);
      end.events.input(Buffer.from('for the new one'));
      const port = await client.port(0);
      const received = collect(port);
      client.send(0, CONSOLE_EVENT.PORT_OPEN, 1);
      await until('it has come', () => received.bytes().toString() === 'for the new one');
      await client.close();
      end.events.input(Buffer.from(' and for the next'));
      const next = await (await connect()).port(0);
      const more = collect(next);
      await until('that has come', () => more.bytes().toString() === ' and for the next');
    });
  });

  it('a driver that goes on with its rings, and says nothing, has its ports', async () => {
    const end = new TestEnd();
    await withConsole({ end }, async ({ path }) => {
      const frontend = await MockFrontend.connect(path);
      const guest = await frontend.bringUp({ queueCount: 4 });
      const ready = Buffer.from([255, 255, 255, 255, 0, 0, 1, 0]);
      await guest.queue(3).exchange([ready], []);
      await guest.queue(2).exchange([], [64]);
      const bases = [];
      for (let index = 0; index < 4; index++) bases.push(await guest.stopQueue(index));
      assert.equal(bases[3], 1);
      await frontend.command('RESET_DEVICE'); // another process, or another session
      for (let index = 0; index < 4; index++) await guest.startQueue(index, bases[index]);
      end.events.input(Buffer.from('typed'));
      const { written, usedBytes } = await guest.queue(0).exchange([], [64]);
      assert.equal(Buffer.from(written.subarray(0, usedBytes)).toString(), 'typed');
      frontend.close();
      guest.close();
    });
  });

  it('closing gives whoever is there what is still on its way', async () => {
    const end = new TestEnd();
    end.holds = true;
    await withConsole({ end }, async ({ connect, backend }) => {
      const client = await connect();
      const port = await client.port(0);
      port.on('error', () => undefined); // the back-end goes before the client
      await writeAll(port, Buffer.from('last words'));
      await until('they were taken', () => backend.counter(2) === 10);
      setTimeout(() => end.take(), 50);
      await backend.close();
      assert.equal(end.output.toString(), 'last words');
      assert.ok(end.closed);
    });
  });
});

describe('options of a console', () => {
  const wrong: readonly (readonly [string, ConsoleOptions])[] = [
    ['a queue size that is no power of two', { queueSize: 100 }],
    ['two ports of one name', { ports: [{ name: 'a' }, { name: 'a' }] }],
    ['a port without a name', { ports: [{ name: '' }] }],
    ['a name with a slash', { ports: [{ name: 'a/b' }] }],
    ['a name that is too long', { ports: [{ name: 'x'.repeat(64) }] }],
    ['too many ports', { ports: Array.from({ length: 64 }, (_, i) => ({ name: `p${i}` })) }],
    ['no columns', { size: { columns: 0, rows: 1 } }],
    ['a backlog without end', { backlogBytes: 2 ** 30 }],
  ];
  for (const [name, options] of wrong) {
    it(`are refused before anything is opened: ${name}`, async () => {
      await assert.rejects(openConsole(options), { code: 'ERR_VHU_OPTION' });
    });
  }
});
