/**
 * Any messages in any order, with any fds, over rings that are full of noise: the session answers
 * afterwards, nothing is left behind, and the next front-end is served.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import {
  closeFd,
  createNotifier,
  createSharedMemory,
  mapFd,
  socketPair,
  viewMemory,
} from '../sys/index.ts';
import { FRONTEND, FRONTEND_MESSAGES, protocolFeatures } from '../protocol/index.ts';
import { openBlk } from '../devices/blk/index.ts';
import { EchoDevice, TestBackend } from '../testing/index.ts';
import type { FrontendMessageName, MockFrontend, MockValues } from '../testing/index.ts';
import type { Device } from './index.ts';

const MEMORY_BYTES = 256 * 1024;
const GPA = 0x10_0000;
const UVA = 0x7f00_0000_0000;
/** Where `start` puts a ring into the memory. */
const RING_SIZE = 64;
const AVAIL_AT = 4096;
const USED_AT = 8192;

/** What may be sent as an fd. */
type FdName = 'memory' | 'kick' | 'call' | 'socket' | 'null' | 'file';

interface Message {
  readonly request: FrontendMessageName | number;
  readonly values: MockValues;
  readonly fds: readonly FdName[];
  readonly needReply: boolean;
}

const index = fc.oneof({ weight: 8, arbitrary: fc.nat(1) }, fc.constantFrom(2, 255, 0xffffffff));
const num = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(0, 1, 2, 4, 16, 64, 256) },
  fc.constantFrom(3, 65535, 65536, 0xffffffff),
);
/** Mostly aligned, and mostly inside. */
const uva = fc.oneof(
  { weight: 6, arbitrary: fc.nat(MEMORY_BYTES / 4096).map((page) => UVA + page * 4096) },
  { weight: 2, arbitrary: fc.nat(MEMORY_BYTES).map((offset) => UVA + offset) },
  fc.constantFrom(0, Number.MAX_SAFE_INTEGER),
);
const region = fc.record({
  gpa: fc.constantFrom(GPA, GPA + MEMORY_BYTES, GPA + 4096, 0),
  sizeBytes: fc.constantFrom(MEMORY_BYTES, MEMORY_BYTES / 2, 4096, 0, MEMORY_BYTES + 4096),
  uva: fc.constantFrom(UVA, UVA + MEMORY_BYTES, UVA + 4096, 0),
  mmapOffset: fc.constantFrom(0, 0, 0, 4096, 100, MEMORY_BYTES),
});
const anyFd = fc.constantFrom<FdName>('memory', 'kick', 'call', 'socket', 'null', 'file');
/** The right one mostly. */
function fds(right: FdName, count: number = 1): fc.Arbitrary<FdName[]> {
  return fc.oneof(
    { weight: 6, arbitrary: fc.constant(Array<FdName>(count).fill(right)) },
    fc.array(anyFd, { maxLength: 4 }),
  );
}
const noFds = fds('null', 0);

function message(
  request: FrontendMessageName,
  values: fc.Arbitrary<MockValues>,
  which: fc.Arbitrary<FdName[]> = noFds,
): fc.Arbitrary<Message> {
  return fc
    .tuple(values, which, fc.boolean())
    .map(([some, list, needReply]) => ({ request, values: some, fds: list, needReply }));
}

const ring = fc.record({ index, num });
const vringFd = fc
  .tuple(fc.nat(2), fc.constantFrom(0, 0, 0, 256, 0x1000))
  .map(([at, flags]) => ({ value: BigInt(at | flags) }));
const table = fc
  .array(region, { maxLength: 3 })
  .chain((regions) => fc.tuple(fc.constant(regions), fds('memory', regions.length)))
  .chain(([regions, list]) =>
    message('SET_MEM_TABLE', fc.constant({ regions }), fc.constant(list)),
  );
const value = fc.oneof(
  fc.constantFrom(0n, 1n, 0xfn, 1n << 32n, (1n << 30n) | (1n << 32n)),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
);
const config = fc.record({
  offset: fc.oneof(fc.nat(300), fc.constant(0xffffffff)),
  flags: fc.nat(2),
  bytes: fc.uint8Array({ maxLength: 64 }),
});
/**
 * Any message with any bytes, of which most are refused; but not the one that the test waits for.
 */
const noise: fc.Arbitrary<Message> = fc
  .tuple(
    fc.constantFrom(...FRONTEND_MESSAGES.filter(({ id }) => id !== FRONTEND.GET_QUEUE_NUM)),
    fc.uint8Array({ maxLength: 300 }),
    noFds,
  )
  .map(([{ id }, payload, list]) => ({
    request: id,
    values: { payload },
    fds: list,
    needReply: true,
  }));

const anyMessage: fc.Arbitrary<Message> = fc.oneof(
  { weight: 2, arbitrary: message('SET_VRING_NUM', ring) },
  { weight: 2, arbitrary: message('SET_VRING_BASE', ring) },
  {
    weight: 4,
    arbitrary: message('SET_VRING_ADDR', fc.record({ index, desc: uva, used: uva, avail: uva })),
  },
  { weight: 5, arbitrary: message('SET_VRING_KICK', vringFd, fds('kick')) },
  { weight: 2, arbitrary: message('SET_VRING_CALL', vringFd, fds('call')) },
  { weight: 1, arbitrary: message('SET_VRING_ERR', vringFd, fds('call')) },
  { weight: 3, arbitrary: message('SET_VRING_ENABLE', fc.record({ index, num: fc.nat(1) })) },
  { weight: 2, arbitrary: message('GET_VRING_BASE', ring) },
  { weight: 3, arbitrary: table },
  { weight: 3, arbitrary: message('ADD_MEM_REG', region, fds('memory')) },
  { weight: 3, arbitrary: message('REM_MEM_REG', region) },
  { weight: 1, arbitrary: message('SET_FEATURES', fc.record({ value })) },
  { weight: 1, arbitrary: message('GET_CONFIG', config) },
  { weight: 1, arbitrary: message('SET_CONFIG', config) },
  { weight: 1, arbitrary: message('SET_STATUS', fc.record({ value })) },
  { weight: 1, arbitrary: message('RESET_DEVICE', fc.constant({})) },
  { weight: 1, arbitrary: message('SET_BACKEND_REQ_FD', fc.constant({}), fds('socket')) },
  { weight: 2, arbitrary: noise },
);

/** Where most rings get going, so that the rest happens to running ones. */
const start: readonly Message[] = [
  ['SET_MEM_TABLE', { regions: [{ gpa: GPA, sizeBytes: MEMORY_BYTES, uva: UVA, mmapOffset: 0 }] }],
  ['SET_VRING_NUM', { index: 0, num: RING_SIZE }],
  ['SET_VRING_ADDR', { index: 0, desc: UVA, avail: UVA + AVAIL_AT, used: UVA + USED_AT }],
  ['SET_VRING_ENABLE', { index: 0, num: 1 }],
  ['SET_VRING_KICK', { value: 0n }],
].map(([request, values]) => ({
  request: request as FrontendMessageName,
  values: values as MockValues,
  fds: request === 'SET_MEM_TABLE' ? ['memory'] : request === 'SET_VRING_KICK' ? ['kick'] : [],
  needReply: false,
}));

/** The fds, and the memory under the rings. */
class Kit {
  readonly #memoryFd = createSharedMemory(MEMORY_BYTES, 'vhu-fuzz');
  readonly #mapping = mapFd(this.#memoryFd, MEMORY_BYTES, 0, { writable: true });
  readonly #kick = createNotifier();
  readonly #call = createNotifier();
  readonly #sockets = socketPair();
  readonly #null = openSync('/dev/null', 'r+');
  readonly #file = openSync(import.meta.filename, 'r');

  fd(name: FdName): number {
    if (name === 'memory') return this.#memoryFd;
    if (name === 'kick') return this.#kick.consumer.fd;
    if (name === 'call') return this.#call.notifier.fd;
    if (name === 'socket') return this.#sockets[0];
    return name === 'null' ? this.#null : this.#file;
  }

  /** Fills the memory with noise, and puts chains in it of which some are in order. */
  noise(seed: number): void {
    const view = new DataView(viewMemory(this.#mapping.address, MEMORY_BYTES));
    let state = seed >>> 0;
    const random = (limit: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * limit);
    };
    for (let at = 0; at < MEMORY_BYTES; at += 2) {
      view.setUint16(at, random(4) === 0 ? random(65536) : random(32), true);
    }
    if (random(4) === 0) return;
    for (let i = 0; i < RING_SIZE; i++) {
      const [readable, last] = [i % 3 === 0, i % 3 === 2]; // a header, data, a status
      const at = i * 16;
      view.setBigUint64(at, BigInt(GPA + 16384 + 1024 * random(200)), true);
      view.setUint32(at + 8, readable ? 16 : last ? 1 : 512, true);
      view.setUint16(at + 12, (last ? 0 : 1) | (readable ? 0 : 2), true);
      view.setUint16(at + 14, i + 1, true);
      if (random(60) === 0) view.setUint16(at + 2 * random(8), random(65536), true);
    }
    view.setUint32(AVAIL_AT, random(8), true);
    view.setUint16(AVAIL_AT + 2, random(21), true);
    for (let i = 0; i < 21; i++) view.setUint16(AVAIL_AT + 4 + 2 * i, 3 * i, true);
  }

  kick(): void {
    this.#kick.notifier.signal();
  }

  close(): void {
    this.#mapping.unmap();
    for (const fd of [this.#memoryFd, ...this.#sockets]) closeFd(fd);
    for (const { notifier, consumer } of [this.#kick, this.#call]) {
      notifier.close();
      consumer.close();
    }
    closeSync(this.#null);
    closeSync(this.#file);
  }
}

async function send(frontend: MockFrontend, kit: Kit, each: Message): Promise<void> {
  const { request, values, needReply } = each;
  const payload = values.payload as Uint8Array | undefined;
  const options = { needReply, fds: each.fds.map((name) => kit.fd(name)) };
  if (payload === undefined) await frontend.send(request, values, options);
  else await frontend.send(request, {}, { ...options, payload });
  kit.kick();
  while (frontend.waitingFrames > 0) for (const fd of (await frontend.receive()).fds) closeFd(fd);
}

/** Waits until all was carried out, and is answered. */
async function sync(frontend: MockFrontend): Promise<void> {
  await frontend.send('GET_QUEUE_NUM');
  while ((await frontend.receive()).request !== FRONTEND.GET_QUEUE_NUM);
}

const folder = mkdtempSync(join(tmpdir(), 'vhu-fuzz-'));
after(() => rmSync(folder, { recursive: true }));

function newImage(name: string): string {
  const image = join(folder, name);
  writeFileSync(image, '');
  truncateSync(image, 1024 * 1024);
  return image;
}

const DEVICES: readonly (readonly [string, () => Device, runs: number])[] = [
  ['an echo on the event loop', () => new EchoDevice(), 120],
  ['a disk on a thread', () => openBlk({ image: newImage('a.img'), queueCount: 2 }), 60],
  [
    'a disk on two threads that never poll, by preadv',
    () =>
      openBlk({ image: newImage('b.img'), queueCount: 2, threads: 2, pollUs: 0, engine: 'pread' }),
    60,
  ],
];

describe('a session with any messages', () => {
  for (const [what, make, numRuns] of DEVICES) {
    it(`leaves nothing behind, and ${what} goes on`, async () => {
      const served = await TestBackend.start(make());
      const failures: string[] = [];
      try {
        await served.session(async (frontend) => {
          await frontend.negotiate();
        });
        const messages = fc.array(anyMessage, { maxLength: 60 });
        await fc.assert(
          fc.asyncProperty(messages, fc.nat(), fc.boolean(), async (list, seed, started) => {
            const { log, ends } = await served.session(async (frontend, keep) => {
              const kit = keep(new Kit());
              kit.noise(seed);
              const wanted = protocolFeatures(
                ...(['MQ', 'REPLY_ACK', 'BACKEND_REQ', 'CONFIG'] as const),
                ...(['CONFIGURE_MEM_SLOTS', 'STATUS', 'RESET_DEVICE'] as const),
              );
              await frontend.negotiate({ protocolFeatures: wanted });
              for (const each of [...(started ? start : []), ...list]) {
                await send(frontend, kit, each);
              }
              await sync(frontend);
            });
            failures.push(...log.filter((line) => line.startsWith('failed')));
            assert.deepEqual(ends, [null]);
          }),
          { numRuns },
        );
        assert.deepEqual(failures, []);
      } finally {
        await served.close();
      }
    });
  }
});
