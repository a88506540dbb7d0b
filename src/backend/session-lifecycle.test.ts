/**
 * Sessions that end at any moment, and several that live side by side: what is left of a front-end
 * is nothing, and the next one is served.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { openBlk } from '../devices/blk/index.ts';
import { BlkClient } from '../frontend/index.ts';
import {
  EchoDevice,
  MockFrontend,
  MockGuest,
  TestBackend,
  expectNoLeak,
  holdings,
} from '../testing/index.ts';

const ENDING = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
const DISK_BYTES = 8 * 1024 * 1024;
const HELD = 30; // two descriptors each, of a ring of 64

let served: TestBackend<EchoDevice>;
let folder = '';
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vhu-'));
  served = await TestBackend.start(new EchoDevice());
  await served.session(async (frontend) => {
    await frontend.negotiate();
  });
});
after(async () => {
  await served.close();
  rmSync(folder, { recursive: true });
});

beforeEach(() => {
  served.device.hold = false;
});

function newImage(name: string): string {
  const path = join(folder, name);
  writeFileSync(path, '');
  truncateSync(path, DISK_BYTES);
  return path;
}

async function echo(guest: MockGuest, text: string = 'hello', index: number = 0): Promise<void> {
  const { written } = await guest.queue(index).exchange([Buffer.from(text)], [text.length]);
  assert.equal(Buffer.from(written).toString(), text);
}

async function until(what: string, done: () => boolean): Promise<void> {
  for (let turn = 0; !done(); turn++) {
    assert.ok(turn < 20_000, what);
    await sleep(1);
  }
}

/** What an honest front-end does, one step after the other. */
const STEPS: readonly (readonly [string, (guest: MockGuest) => Promise<unknown>])[] = [
  ['GET_FEATURES', ({ frontend }) => frontend.askNumber('GET_FEATURES')],
  ['negotiation', ({ frontend }) => frontend.negotiate()],
  ['SET_BACKEND_REQ_FD', async ({ frontend }) => (await frontend.openBackendChannel()).close()],
  ['its memory', (guest) => guest.shareMemory()],
  ['SET_VRING_NUM', ({ frontend }) => frontend.command('SET_VRING_NUM', { index: 0, num: 64 })],
  ['SET_VRING_BASE', ({ frontend }) => frontend.command('SET_VRING_BASE', { index: 0, num: 0 })],
  [
    'SET_VRING_ADDR',
    (guest) =>
      guest.frontend.command('SET_VRING_ADDR', { index: 0, ...guest.makeQueue(0).addresses() }),
  ],
  ['SET_VRING_CALL', ({ frontend }) => frontend.command('SET_VRING_CALL', { value: 0x100n })],
  [
    'SET_VRING_KICK',
    (guest) => {
      const fds = [guest.queue(0).raw.peerFds.kick];
      return guest.frontend.command('SET_VRING_KICK', { value: 0n }, { fds });
    },
  ],
  [
    'SET_VRING_ENABLE',
    ({ frontend }) => frontend.command('SET_VRING_ENABLE', { index: 0, num: 1 }),
  ],
  ['a second ring', (guest) => guest.startQueue(1)],
  ['a request', (guest) => echo(guest, 'once', 1)],
  [
    'requests in flight',
    async (guest) => {
      served.device.hold = true;
      const { driver } = guest.queue(1);
      for (let i = 0; i < HELD; i++) driver.submit([Buffer.from('held')], [4]);
      guest.queue(1).publish();
      await until('all are taken', () => served.device.heldCount === HELD);
    },
  ],
  ['SET_VRING_ENABLE 0', ({ frontend }) => frontend.command('SET_VRING_ENABLE', { index: 1 })],
  ['GET_VRING_BASE', (guest) => guest.stopQueue(1)],
];

describe('a front-end that goes away', () => {
  for (const [done, [name]] of STEPS.entries()) {
    it(`after ${name} leaves nothing behind`, async () => {
      const { ends } = await served.session(async (frontend, keep) => {
        const guest = keep(new MockGuest(frontend));
        for (const [, step] of STEPS.slice(0, done + 1)) await step(guest);
        frontend.close();
      }, 'ends');
      served.device.hold = false;
      assert.equal(served.device.heldCount, 0, 'the device holds nothing');
      assert.deepEqual(ends, [null]);
    });

    it(`in the middle of the message after ${name} leaves nothing behind`, async () => {
      await served.session(async (frontend, keep) => {
        const guest = keep(new MockGuest(frontend));
        for (const [, step] of STEPS.slice(0, done + 1)) await step(guest);
        await frontend.sendBytes(new Uint8Array([5, 0, 0, 0, 1, 0, 0, 0, 40, 0, 0, 0, 1]), [
          guest.shared.fd,
        ]);
        frontend.close();
      }, 'ends');
      served.device.hold = false;
      assert.equal(served.device.heldCount, 0);
    });
  }

  it('without waiting for its last reply leaves nothing behind', async () => {
    await served.session(async (frontend, keep) => {
      const guest = keep(await frontend.bringUp());
      await frontend.send('GET_VRING_BASE', { index: 0 });
      await frontend.send(
        'SET_VRING_KICK',
        { value: 0n },
        { fds: [guest.queue(0).raw.peerFds.kick] },
      );
      frontend.close();
    }, 'ends');
  });

  it('while a slow device finishes its requests is waited for, and so is the next one', async () => {
    const slow = await TestBackend.start(new EchoDevice({ stopMs: 100 }));
    try {
      for (let i = 0; i < 3; i++) {
        await slow.session(async (frontend, keep) => {
          const guest = keep(await frontend.bringUp({ queueCount: 2 }));
          slow.device.hold = true;
          for (const index of [0, 1]) {
            guest.queue(index).driver.submit([Buffer.from('held')], [4]);
            guest.queue(index).publish();
          }
          await until('both are taken', () => slow.device.heldCount === 2);
          slow.device.hold = false;
          if (i === 1) await frontend.send('GET_VRING_BASE', { index: 0 });
          frontend.close();
        }, 'ends');
        assert.equal(slow.device.heldCount, 0);
      }
    } finally {
      await slow.close();
    }
  });

  it('fifty times in a row is served fifty times', async () => {
    const before = holdings();
    for (let i = 0; i < 50; i++) {
      const frontend = await served.connect();
      const guest = await frontend.bringUp({ queueCount: 2 });
      await echo(guest, String(i), i % 2);
      frontend.close();
      guest.close();
    }
    await until('the last session ends', () => !served.backend.connected);
    await expectNoLeak(before);
  });
});

/** A front-end in a process of its own, that has requests in flight and says so. */
function startFrontend(socketPath: string, script: string): ChildProcess {
  const modules = Object.fromEntries(
    ['testing', 'frontend'].map((layer) => [
      layer,
      new URL(`../${layer}/index${ENDING}`, import.meta.url).href,
    ]),
  );
  const code = `
    import { MockFrontend } from ${JSON.stringify(modules.testing)};
    const frontend = await MockFrontend.connect(${JSON.stringify(socketPath)});
    const memoryBytes = 64 << 20;
    const guest = await frontend.bringUp({ queueSize: 1024, indirectMax: 4, memoryBytes });
    const { driver } = guest.queue(0);
    ${script}
    guest.queue(0).publish();
    guest.queue(0).raw.kick();
    process.stdout.write('ready\\n');
    setInterval(() => {}, 1000);
  `;
  const stdio = ['ignore', 'pipe', 'inherit'] as const;
  return spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: [...stdio] });
}

async function killWhenReady(child: ChildProcess): Promise<void> {
  const exited = new Promise<NodeJS.Signals | null>((resolve) => {
    child.once('exit', (_code, signal) => resolve(signal));
  });
  await new Promise<void>((resolve, reject) => {
    child.stdout?.once('data', () => resolve());
    child.once('exit', () => reject(new Error('the front-end ended by itself')));
  });
  child.kill('SIGKILL');
  assert.equal(await exited, 'SIGKILL');
}

describe('a front-end that is killed with a thousand requests in flight', () => {
  it('leaves nothing behind of what the device holds', async () => {
    await until('nobody is connected', () => !served.backend.connected);
    const before = holdings();
    served.device.hold = true;
    const child = startFrontend(
      served.socketPath,
      "for (let i = 0; i < 1000; i++) driver.submit([Buffer.from('held')], [4]);",
    );
    await killWhenReady(child);
    served.device.hold = false;
    await until('the session ends', () => !served.backend.connected);
    assert.equal(served.device.heldCount, 0);
    await expectNoLeak(before);
    await served.session(async (frontend, keep) => {
      await echo(keep(await frontend.bringUp()));
    });
  });

  it('leaves nothing behind of a disk, whose data is as it was written', async () => {
    const image = newImage('killed.img');
    const disk = await TestBackend.start(openBlk({ image, queueSize: 1024 }));
    try {
      await disk.session(async (frontend) => {
        await frontend.negotiate();
      });
      const before = holdings();
      for (let round = 0; round < 3; round++) {
        const child = startFrontend(
          disk.socketPath,
          `for (let i = 0; i < 1000; i++) {
             const header = Buffer.alloc(16);
             header.writeUInt32LE(i % 2, 0); // every other one is a write
             header.writeBigUInt64LE(BigInt(8 * i), 8);
             if (i % 2 === 1) driver.submit([header, Buffer.alloc(4096, i)], [1]);
             else driver.submit([header], [4096, 1]);
           }`,
        );
        await killWhenReady(child);
        await until('the session ends', () => !disk.backend.connected);
        await expectNoLeak(before);
      }
      const client = await BlkClient.connect(disk.socketPath);
      await client.write(0, Buffer.alloc(4096, 0x5a));
      await client.flush();
      await client.close();
    } finally {
      await disk.close();
    }
    const bytes = readFileSync(image);
    assert.ok(bytes.subarray(0, 4096).every((byte) => byte === 0x5a));
    for (let i = 1; i < 1000; i += 2) {
      const block = bytes.subarray(i * 4096, (i + 1) * 4096);
      const whole = (value: number): boolean => block.every((byte) => byte === value);
      assert.ok(whole(i & 0xff) || whole(0), `block ${String(i)} is written whole, or not at all`);
    }
  });
});

describe('several devices of one process', () => {
  it('serve their front-ends side by side, and end without each other', async () => {
    const before = holdings();
    const disks = await Promise.all(
      ['a.img', 'b.img'].map((name) =>
        TestBackend.start(openBlk({ image: newImage(name), queueCount: 2 })),
      ),
    );
    const echoes = await Promise.all([0, 1].map(() => TestBackend.start(new EchoDevice())));
    const clients = await Promise.all(disks.map((disk) => BlkClient.connect(disk.socketPath)));
    const frontends = await Promise.all(echoes.map((each) => each.connect()));
    const guests = await Promise.all(frontends.map((each) => each.bringUp({ queueCount: 2 })));
    const block = new Uint8Array(4096);
    for (let i = 0; i < 20; i++) {
      await Promise.all([
        ...clients.map((client, which) => client.write(4096 * i, block.slice().fill(i + which))),
        ...guests.map((guest, which) => echo(guest, `${String(i)} ${String(which)}`, i % 2)),
      ]);
    }
    // The first of each goes, in the midst of it; the others do not notice.
    await Promise.all([echoes[0]?.close(), clients[0]?.close()]);
    await disks[0]?.close();
    await Promise.all([clients[1]?.read(4096 * 19, block), echo(guests[1]!, 'still here')]);
    assert.ok(block.every((byte) => byte === 20));
    await clients[1]?.close();
    for (const each of frontends) each.close();
    for (const each of guests) each.close();
    await Promise.all([disks[1]?.close(), echoes[1]?.close()]);
    await expectNoLeak(before);
  });
});

describe('a back-end', () => {
  it('serves the next front-end when the first has gone, and not before', async () => {
    const first = await served.connect();
    await first.negotiate();
    const second = await served.connect();
    await second.send('GET_FEATURES');
    await second.expectSilence(30);
    await first.negotiate();
    first.close();
    assert.equal((await second.receive()).request, 1);
    second.close();
  });

  it('that is closed with requests in flight completes them, and removes its socket', async () => {
    const before = holdings();
    const ending = await TestBackend.start(new EchoDevice({ stopMs: 30 }));
    const frontend = await MockFrontend.connect(ending.socketPath);
    const guest = await frontend.bringUp();
    ending.device.hold = true;
    guest.queue(0).driver.submit([Buffer.from('held')], [4]);
    guest.queue(0).publish();
    await until('it is taken', () => ending.device.heldCount === 1);
    const waiting = await MockFrontend.connect(ending.socketPath); // never served
    await ending.close();
    assert.equal(guest.queue(0).driver.completed().length, 1);
    assert.ok(ending.device.closed);
    assert.ok(!existsSync(ending.socketPath));
    await frontend.expectClosed();
    await waiting.expectClosed();
    for (const each of [frontend, waiting, guest]) each.close();
    await ending.close();
    await expectNoLeak(before);
  });
});
