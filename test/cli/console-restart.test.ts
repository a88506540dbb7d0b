/**
 * `vhost-user console` when its front-end goes and comes, and when the process itself is started
 * anew, under a guest that runs: as a VMM has it that keeps the guest's memory and rings.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConsoleClient } from '../../src/frontend/index.ts';
import { viewMemory } from '../../src/sys/index.ts';
import { MockFrontend, MockGuest } from '../../src/testing/index.ts';
import type { MockQueue } from '../../src/testing/index.ts';
import { RunningProgram } from '../support/program.ts';

const QUEUES = { receive: 0, transmit: 1, controlReceive: 2, controlTransmit: 3 } as const;
const COUNT = Object.keys(QUEUES).length;
const BUFFERS = 8;
const BUFFER_BYTES = 512;
const ANY_PORT = 0xffff_ffff;
const DEVICE_READY = 0;
const PORT_READY = 3;
const PORT_OPEN = 6;
const LIMIT_MS = 60_000;

let folder = '';

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhu-con-restart-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** A guest with a console, and the VMM between it and the process that serves the console. */
class Vmm {
  readonly guest: MockGuest;
  #frontend: MockFrontend;
  #bases: number[] = [];
  #received: Buffer[] = [];
  #printed = 0;

  private constructor(frontend: MockFrontend, guest: MockGuest) {
    this.#frontend = frontend;
    this.guest = guest;
  }

  /** Boots the guest: its driver says that it is ready, and opens port 0. */
  static async boot(socketPath: string): Promise<Vmm> {
    const frontend = await MockFrontend.connect(socketPath);
    const guest = await frontend.bringUp({ queueCount: COUNT, memoryBytes: 2 ** 21 });
    const vmm = new Vmm(frontend, guest);
    const say = async (id: number, event: number): Promise<void> => {
      const message = Buffer.alloc(8);
      message.writeUInt32LE(id);
      message.writeUInt16LE(event, 4);
      message.writeUInt16LE(1, 6);
      await guest.queue(QUEUES.controlTransmit).exchange([message], []);
    };
    const told = guest.queue(QUEUES.controlReceive);
    for (let i = 0; i < BUFFERS; i++) told.driver.submit([], [64]);
    told.publish();
    await say(ANY_PORT, DEVICE_READY);
    await say(0, PORT_READY);
    await say(0, PORT_OPEN);
    const input = guest.queue(QUEUES.receive);
    for (let i = 0; i < BUFFERS; i++) input.driver.submit([], [BUFFER_BYTES]);
    input.publish();
    return vmm;
  }

  /** All that was typed and has come to the guest. */
  get received(): string {
    const input = this.guest.queue(QUEUES.receive);
    for (const { written, usedBytes } of input.driver.completed()) {
      this.#received.push(Buffer.from(written.subarray(0, usedBytes)));
      input.driver.submit([], [BUFFER_BYTES]);
    }
    input.publish();
    return Buffer.concat(this.#received).toString();
  }

  /** The guest prints, and does not wait until it is shown. */
  print(text: string): void {
    const output = this.guest.queue(QUEUES.transmit);
    output.driver.submit([Buffer.from(text)], []);
    output.publish();
    this.#printed++;
  }

  /** What was printed may be shown a moment before; until then it is shown again by who comes. */
  get hasPrinted(): boolean {
    return usedIndex(this.guest.queue(QUEUES.transmit)) === this.#printed;
  }

  /** Whether the device has used all buffers of the guest, which has looked at none. */
  get hasFullBuffers(): boolean {
    return usedIndex(this.guest.queue(QUEUES.receive)) === BUFFERS;
  }

  /** Stops the rings in order, and hangs up. */
  async leave(): Promise<void> {
    this.#bases = [];
    for (let at = 0; at < COUNT; at++) this.#bases.push(await this.guest.stopQueue(at));
    this.#frontend.close();
  }

  /** The process is gone: rings go on where it had got to, as QEMU has it. */
  lose(): void {
    this.#frontend.close();
    this.#bases = Array.from({ length: COUNT }, (_, at) => usedIndex(this.guest.queue(at)));
  }

  /** The same guest, by another connection. */
  async comeBack(socketPath: string): Promise<void> {
    this.#frontend = await MockFrontend.connect(socketPath);
    await this.#frontend.negotiate();
    this.guest.frontend = this.#frontend;
    await this.guest.shareMemory();
    for (const [at, base] of this.#bases.entries()) await this.guest.startQueue(at, base);
  }

  close(): void {
    this.#frontend.close();
    this.guest.close();
  }
}

/** Where the device has got to in a ring (virtio 1.3, section 2.7.8: `idx` is the second word). */
function usedIndex(queue: MockQueue): number {
  return new Uint16Array(viewMemory(queue.raw.config.usedHva, 4))[1] as number;
}

/** The program, and a client of its console. */
class Served {
  readonly socketPath: string;
  readonly #clientPath: string;
  #program: RunningProgram | null = null;
  #client: Socket | null = null;
  #shown: Buffer[] = [];

  constructor(name: string) {
    this.socketPath = join(folder, `${name}.sock`);
    this.#clientPath = join(folder, `${name}.console`);
  }

  async start(): Promise<void> {
    const args = ['console', '--socket-path', this.socketPath, '--unix', this.#clientPath];
    this.#program = new RunningProgram(args);
    await this.#program.says(/"event":"listening"/);
    const client = connect(this.#clientPath);
    client.on('data', (bytes: Buffer) => this.#shown.push(bytes));
    client.on('error', () => undefined);
    await new Promise((resolve) => client.once('connect', resolve));
    this.#client = client;
  }

  get shown(): string {
    return Buffer.concat(this.#shown).toString();
  }

  type(text: string): void {
    this.#client?.write(text);
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    this.#program?.child.kill(signal);
    await this.#program?.ended;
    this.#program = null;
    this.#client?.destroy();
  }
}

function lines(word: string, from: number, to: number): string {
  return Array.from({ length: to - from }, (_, i) => `${word} ${String(from + i)}\n`).join('');
}

async function until(what: string, happened: () => boolean): Promise<void> {
  const endMs = performance.now() + LIMIT_MS;
  while (!happened()) {
    assert.ok(performance.now() < endMs, `too late: ${what}`);
    await sleep(2);
  }
}

test('a front-end that goes and comes with its guest loses nothing, either way', async () => {
  const served = new Served('away');
  await served.start();
  const vmm = await Vmm.boot(served.socketPath);
  try {
    const typed = lines('typed', 0, 20_000); // some 220 KiB: more than waits in the process
    const printed: string[] = [];
    served.type(typed);
    for (let round = 0; round < 5; round++) {
      const goal = (typed.length * (round + 1)) / 6;
      await until('a part of what was typed', () => vmm.received.length >= goal);
      const text = lines(`round ${String(round)}`, 0, 20);
      printed.push(text);
      vmm.print(text);
      await vmm.leave();
      await sleep(20);
      assert.ok(vmm.received.length < typed.length, 'the guest is not there, and the rest waits');
      await vmm.comeBack(served.socketPath);
    }
    await until('all that was typed', () => vmm.received.length >= typed.length);
    assert.equal(vmm.received, typed);
    await until('all that was printed', () => served.shown.length >= printed.join('').length);
    assert.equal(served.shown, printed.join(''));
  } finally {
    vmm.close();
    await served.end('SIGTERM');
  }
});

for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
  test(`a process started anew after ${signal} goes on with the guest's rings`, async () => {
    const served = new Served(signal.toLowerCase());
    await served.start();
    const vmm = await Vmm.boot(served.socketPath);
    try {
      const first = lines('first', 0, 300);
      served.type(first);
      vmm.print('before\n');
      await until('the guest has it', () => vmm.received.length >= first.length);
      await until('it was shown', () => served.shown === 'before\n');
      await until('its buffer is given back', () => vmm.hasPrinted);
      await served.end(signal);
      vmm.lose();
      vmm.print('while nobody was there\n'); // waits in the guest's ring
      await served.start();
      const second = lines('second', 0, 300);
      served.type(second); // before the guest is back
      await vmm.comeBack(served.socketPath);
      await until('the rest has come', () => vmm.received.length >= first.length + second.length);
      assert.equal(vmm.received, first + second);
      await until('it was shown', () => served.shown.endsWith('there\n'));
      assert.equal(served.shown, 'before\nwhile nobody was there\n');
    } finally {
      vmm.close();
      await served.end('SIGTERM');
    }
  });
}

test('of what was typed and the process held as it was killed, the guest has a beginning', async () => {
  const served = new Served('held');
  await served.start();
  const vmm = await Vmm.boot(served.socketPath);
  try {
    const first = lines('first', 0, 10_000);
    served.type(first);
    // The guest has buffers for 4 KiB, and does not look at them; the process holds the rest.
    await until('the buffers are full', () => vmm.hasFullBuffers);
    await sleep(200);
    await served.end('SIGKILL');
    vmm.lose();
    await served.start();
    await vmm.comeBack(served.socketPath);
    served.type('second\n');
    await until('what was typed later', () => vmm.received.endsWith('second\n'));
    const kept = vmm.received.slice(0, -'second\n'.length);
    assert.equal(kept.length, BUFFERS * BUFFER_BYTES, 'the buffers that the guest had given');
    assert.ok(first.startsWith(kept), 'in order, and without a hole');
  } finally {
    vmm.close();
    await served.end('SIGTERM');
  }
});

test('our own front-end comes again, and reads on what was typed meanwhile', async () => {
  const served = new Served('client');
  await served.start();
  try {
    let received = '';
    const typed: string[] = [];
    for (let round = 0; round < 5; round++) {
      const client = await ConsoleClient.connect(served.socketPath);
      const port = await client.port(0);
      port.on('data', (bytes: Buffer) => (received += bytes.toString()));
      typed.push(lines(`here ${String(round)}`, 0, 500));
      served.type(typed.at(-1) ?? '');
      await until('all of it', () => received.length >= typed.join('').length);
      await client.close();
      typed.push(lines(`away ${String(round)}`, 0, 5000)); // some 75 KiB
      served.type(typed.at(-1) ?? '');
    }
    const last = await ConsoleClient.connect(served.socketPath);
    const port = await last.port(0);
    port.on('data', (bytes: Buffer) => (received += bytes.toString()));
    await until('the last of it', () => received.length >= typed.join('').length);
    assert.equal(received, typed.join(''));
    await last.close();
    assert.ok(existsSync(served.socketPath), 'the process serves on');
  } finally {
    await served.end('SIGTERM');
  }
});
