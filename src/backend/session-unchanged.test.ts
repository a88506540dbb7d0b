/**
 * Every message that changes something, refused in each way that it can be: what was in force
 * before is in force after it, in what is asked and in what is served.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, it } from 'node:test';
import { TestBackend, codesOf, serveEcho } from '../testing/index.ts';
import type { FrontendMessageName, MockFrontend, MockGuest } from '../testing/index.ts';
import { VhostUserError } from '../util/index.ts';
import { FRONTEND } from '../protocol/index.ts';
import type { DataPlane, Device, DeviceLink, LocalDataPlane } from './index.ts';

const FEATURE = 1n; // one of the device's own
const FEATURES = (1n << 32n) | (1n << 30n);
const NEEDS_RESET = 0x40n;

type Hook = 'features' | 'plane features' | 'config' | 'reset' | 'start' | 'stop';

/** Echoes; takes over whatever it is told, and then throws, when it is made to. */
class StubbornDevice implements Device {
  readonly name = 'stubborn';
  readonly deviceId = 63;
  readonly queueCount = 2;
  readonly queueSizeMax = 1024;
  readonly features = FEATURE;
  readonly dataPlane: LocalDataPlane = { kind: 'local', create: () => this.#plane() };
  throwsIn: Hook | null = null;
  link: DeviceLink | null = null;
  /** What it believes to be in force. */
  readonly known = { features: 0n, planeFeatures: 0n, config: new Uint8Array(16) };

  attach(link: DeviceLink): void {
    this.link = link;
  }

  readConfig(): Uint8Array {
    return this.known.config.slice();
  }

  writeConfig(offset: number, bytes: Uint8Array): void {
    this.#maybeThrow('config');
    this.known.config.set(bytes, offset);
  }

  featuresNegotiated(features: bigint): void {
    this.known.features = features;
    this.#maybeThrow('features');
  }

  reset(): void {
    this.#maybeThrow('reset');
  }

  close(): void {
    // It holds nothing.
  }

  #plane(): DataPlane {
    return {
      serve: serveEcho,
      featuresNegotiated: (features) => {
        this.known.planeFeatures = features;
        this.#maybeThrow('plane features');
      },
      queueStarted: () => this.#maybeThrow('start'),
      queueStopping: () => this.#maybeThrow('stop'),
    };
  }

  /** Once. */
  #maybeThrow(hook: Hook): void {
    if (this.throwsIn !== hook) return;
    this.throwsIn = null;
    throw new VhostUserError('ERR_VHU_TEST', `${hook}: no`);
  }
}

/** What is sent with a message. */
interface Sent {
  readonly values?: Parameters<MockFrontend['ack']>[1];
  readonly fds?: readonly number[];
}
type Row = readonly [
  message: FrontendMessageName,
  how: string,
  code: string,
  sent: (guest: MockGuest, fds: { readonly file: number; readonly device: number }) => Sent,
  hook?: Hook,
];

const state = (index: number, num: number) => (): Sent => ({ values: { index, num } });
const u64 = (value: bigint) => (): Sent => ({ values: { value } });
const config = (offset: number, flags: number) => (): Sent => ({
  values: { offset, flags, size: 4, bytes: Uint8Array.of(9, 9, 9, 9) },
});
const file = (index: number) => (_: MockGuest, fds: { readonly file: number }) => ({
  values: { value: BigInt(index) },
  fds: [fds.file],
});
const aFile = (values: Sent['values']) => (_: MockGuest, fds: { readonly file: number }) => ({
  ...(values === undefined ? {} : { values }),
  fds: [fds.file],
});
const addresses = (index: number, offset: number) => (guest: MockGuest) => {
  const { desc, ...others } = guest.queue(index).addresses();
  return { values: { index, ...others, desc: desc + offset } };
};
const FAR = 2 ** 44;
/** The region of the guest, with other numbers in it, and so many times. */
const regions = (over: { gpa?: number; uva?: number; sizeBytes?: number }, count = 1) => {
  return (guest: MockGuest): Sent => {
    const all = Array.from({ length: count }, () => ({ ...guest.regions[0]!, ...over }));
    return { values: { regions: all }, fds: all.map(() => guest.shared.fd) };
  };
};
const region = (gpa: number, uva: number) => (guest: MockGuest) => {
  const [first] = guest.regions;
  return { values: { ...first!, gpa: first!.gpa + gpa, uva: first!.uva + uva } };
};

const NOT_OFFERED = 'ERR_VHU_MESSAGE_NOT_OFFERED';
const INFLIGHT = { mmapSize: 4096, mmapOffset: 0, queueCount: 2, queueSize: 64 };
const ROWS: readonly Row[] = [
  ['SET_FEATURES', 'with one that is not offered', 'ERR_VHU_FEATURES', u64(FEATURES | (1n << 60n))],
  ['SET_FEATURES', 'by the device', 'ERR_VHU_TEST', u64(FEATURES | FEATURE), 'features'],
  ['SET_FEATURES', 'by its data plane', 'ERR_VHU_TEST', u64(FEATURES | FEATURE), 'plane features'],
  ['SET_PROTOCOL_FEATURES', 'with one not offered', 'ERR_VHU_FEATURES', u64(1n << 60n)],
  ['SET_STATUS', 'of nine bits', 'ERR_VHU_STATUS', u64(0x100n)],
  ['SET_CONFIG', 'beyond the space', 'ERR_VHU_CONFIG', config(14, 0)],
  ['SET_CONFIG', 'of an unknown kind', 'ERR_VHU_CONFIG', config(0, 7)],
  ['SET_CONFIG', 'by the device', 'ERR_VHU_TEST', config(0, 0), 'config'],
  ['SET_VRING_NUM', 'of no power of two', 'ERR_VHU_QUEUE_SIZE', state(1, 3)],
  ['SET_VRING_NUM', 'of too many', 'ERR_VHU_QUEUE_SIZE', state(1, 2048)],
  ['SET_VRING_NUM', 'of a ring that runs', 'ERR_VHU_RING_RUNNING', state(0, 32)],
  ['SET_VRING_NUM', 'of no ring', 'ERR_VHU_QUEUE_INDEX', state(99, 32)],
  ['SET_VRING_BASE', 'of 17 bits', 'ERR_VHU_VRING_BASE', state(1, 65543)],
  ['SET_VRING_BASE', 'of a ring that runs', 'ERR_VHU_RING_RUNNING', state(0, 7)],
  ['SET_VRING_ADDR', 'not aligned', 'ERR_VHU_RING_ADDRESS', addresses(1, 8)],
  ['SET_VRING_ADDR', 'outside of memory', 'ERR_VHU_RING_ADDRESS', addresses(1, FAR)],
  ['SET_VRING_ADDR', 'of a ring that runs', 'ERR_VHU_RING_ADDRESS', addresses(0, FAR)],
  ['SET_VRING_KICK', 'by a file', 'ERR_VHU_FD_KIND', file(1)],
  ['SET_VRING_KICK', 'without an fd', 'ERR_VHU_FD_COUNT', u64(1n)],
  ['SET_VRING_KICK', 'by a file, of a ring that runs', 'ERR_VHU_FD_KIND', file(0)],
  [
    'SET_VRING_KICK',
    'by what cannot be watched',
    'ERR_VHU_WATCH',
    (_, { device }) => ({ values: { value: 1n }, fds: [device] }),
  ],
  [
    'SET_VRING_KICK',
    'by what cannot be watched, of a ring that runs',
    'ERR_VHU_WATCH',
    (_, { device }) => ({ values: { value: 0n }, fds: [device] }),
  ],
  ['SET_VRING_CALL', 'by a file', 'ERR_VHU_FD_KIND', file(1)],
  ['SET_VRING_CALL', 'by a file, of a ring that runs', 'ERR_VHU_FD_KIND', file(0)],
  ['SET_VRING_ERR', 'by a file', 'ERR_VHU_FD_KIND', file(1)],
  ['SET_VRING_ERR', 'without an fd, of a ring that runs', 'ERR_VHU_FD_COUNT', u64(0n)],
  ['SET_VRING_ENABLE', 'of neither', 'ERR_VHU_VRING_ENABLE', state(0, 2)],
  ['SET_VRING_ENABLE', 'of no ring', 'ERR_VHU_QUEUE_INDEX', state(2, 0)],
  ['SET_MEM_TABLE', 'without a ring', 'ERR_VHU_RING_ADDRESS', regions({ uva: FAR })],
  ['SET_MEM_TABLE', 'that overlaps', 'ERR_VHU_MEMORY_OVERLAP', regions({}, 2)],
  ['SET_MEM_TABLE', 'longer than its file', 'ERR_VHU_MEMORY_MAP', regions({ sizeBytes: 2 ** 32 })],
  [
    'ADD_MEM_REG',
    'that overlaps',
    'ERR_VHU_MEMORY_OVERLAP',
    (guest) => ({ ...region(0, FAR)(guest), fds: [guest.shared.fd] }),
  ],
  [
    'ADD_MEM_REG',
    'of a file too short',
    'ERR_VHU_MEMORY_MAP',
    (guest, fds) => {
      return { ...region(FAR, FAR)(guest), fds: [fds.file] };
    },
  ],
  ['REM_MEM_REG', 'that is not there', 'ERR_VHU_MEMORY_UNKNOWN', region(FAR, 0)],
  ['REM_MEM_REG', 'with a ring in it', 'ERR_VHU_RING_ADDRESS', region(0, 0)],
  ['SET_BACKEND_REQ_FD', 'by a file', 'ERR_VHU_FD_KIND', aFile(undefined)],
  ['SET_LOG_BASE', 'for it is not offered', NOT_OFFERED, aFile({ sizeBytes: 4096, offset: 0 })],
  ['SET_LOG_FD', 'for it is not there', NOT_OFFERED, aFile(undefined)],
  ['SET_VRING_ENDIAN', 'for it is not offered', NOT_OFFERED, state(0, 1)],
  ['SET_INFLIGHT_FD', 'for it is not offered', NOT_OFFERED, aFile(INFLIGHT)],
  ['SET_DEVICE_STATE_FD', 'for it is not offered', NOT_OFFERED, aFile({ direction: 0, phase: 0 })],
];

async function echo(guest: MockGuest, index: number): Promise<void> {
  const { written } = await guest.queue(index).exchange([Buffer.from('hello')], [5]);
  assert.equal(Buffer.from(written).toString(), 'hello');
}

/** All that can be asked. */
async function asked(frontend: MockFrontend, device: StubbornDevice): Promise<unknown> {
  const numbers: bigint[] = [];
  for (const name of [
    'GET_FEATURES',
    'GET_PROTOCOL_FEATURES',
    'GET_STATUS',
    'GET_QUEUE_NUM',
    'GET_MAX_MEM_SLOTS',
  ] as const) {
    numbers.push(await frontend.askNumber(name));
  }
  return { numbers, known: structuredClone(device.known) };
}

/** All of queue 1 but its kick, which starts it. */
async function prepare(guest: MockGuest): Promise<void> {
  const { frontend } = guest;
  const queue = guest.makeQueue(1);
  const { call, err } = queue.raw.peerFds;
  await frontend.command('SET_VRING_NUM', { index: 1, num: queue.raw.size });
  await frontend.command('SET_VRING_BASE', { index: 1, num: 0 });
  await frontend.command('SET_VRING_ADDR', { index: 1, ...queue.addresses() });
  await frontend.command('SET_VRING_CALL', { value: 1n }, { fds: [call] });
  await frontend.command('SET_VRING_ERR', { value: 1n }, { fds: [err] });
  await frontend.command('SET_VRING_ENABLE', { index: 1, num: 1 });
}

async function withSession(
  body: (
    guest: MockGuest,
    device: StubbornDevice,
    keep: <T extends { close(): void }>(closer: T) => T,
  ) => Promise<void>,
): Promise<(string | undefined)[]> {
  const device = new StubbornDevice();
  const served = await TestBackend.start(device);
  try {
    const { refused } = await served.session(async (frontend, keep) => {
      const guest = keep(await frontend.bringUp({ features: FEATURES }));
      await body(guest, device, keep);
    });
    return codesOf(refused);
  } finally {
    await served.close();
  }
}

describe('a refused message changes nothing:', () => {
  const fds = {
    file: openSync(fileURLToPath(import.meta.url), 'r'),
    device: openSync('/dev/null', 'r+'),
  };
  for (const [message, how, code, sent, hook] of ROWS) {
    it(`${message} ${how}`, async () => {
      const codes = await withSession(async (guest, device, keep) => {
        const { frontend } = guest;
        const channel = keep(await frontend.openBackendChannel());
        await frontend.command('SET_STATUS', { value: 0xfn });
        await prepare(guest);
        await echo(guest, 0);
        const before = await asked(frontend, device);
        device.throwsIn = hook ?? null;
        const { values = {}, ...options } = sent(guest, fds);
        assert.notEqual(await frontend.ack(message, values, options), 0n, 'refused');
        assert.equal(device.throwsIn, null);
        assert.deepEqual(await asked(frontend, device), before);
        await echo(guest, 0);
        const { kick } = guest.queue(1).raw.peerFds;
        await frontend.command('SET_VRING_KICK', { value: 1n }, { fds: [kick] });
        await echo(guest, 1);
        device.link?.configChanged();
        assert.equal((await channel.receive()).request, 2, 'CONFIG_CHANGE_MSG');
        if (hook !== undefined) {
          assert.equal(await frontend.ack(message, values, options), 0n, 'the next is not refused');
          assert.notDeepEqual(await asked(frontend, device), before);
        }
        await echo(guest, 0);
        assert.equal(await guest.stopQueue(0), 3);
        assert.equal(await guest.stopQueue(1), 1);
      });
      assert.deepEqual(codes, [code]);
    });
  }

  it('and each message that sets, adds or removes has its row', () => {
    const rows = new Set<string>(ROWS.map(([message]) => message));
    const all = Object.keys(FRONTEND).filter((name) => /^(SET|ADD|REM)_/.test(name));
    // Of an owner there is nothing that could be refused.
    assert.deepEqual([...rows].sort(), all.filter((name) => name !== 'SET_OWNER').sort());
    closeSync(fds.file);
    closeSync(fds.device);
  });
});

describe('what cannot be refused', () => {
  for (const [message, values] of [
    ['RESET_DEVICE', {}],
    ['SET_STATUS', { value: 0n }],
  ] as const) {
    it(`is done although the device throws: ${message}`, async () => {
      const codes = await withSession(async (guest, device) => {
        const { frontend } = guest;
        await frontend.command('SET_STATUS', { value: 0xfn });
        await echo(guest, 0);
        device.throwsIn = 'reset';
        assert.notEqual(await frontend.ack(message, values), 0n);
        assert.equal(await frontend.askNumber('GET_STATUS'), 0n);
        assert.equal(await guest.stopQueue(0), 0, 'it was stopped, and begins anew');
        await guest.startQueue(0, 1);
        await echo(guest, 0);
      });
      assert.deepEqual(codes, ['ERR_VHU_TEST']);
    });
  }

  for (const hook of ['start', 'stop'] as const) {
    it(`breaks the ring when the data plane throws in it: a ${hook}`, async () => {
      const codes = await withSession(async (guest, device) => {
        const { frontend } = guest;
        await prepare(guest);
        const { kick } = guest.queue(1).raw.peerFds;
        const start = { fds: [kick] };
        if (hook === 'start') device.throwsIn = 'start';
        await frontend.command('SET_VRING_KICK', { value: 1n }, start);
        if (hook === 'stop') {
          await echo(guest, 1);
          device.throwsIn = 'stop';
          assert.equal(await guest.stopQueue(1), 1);
        }
        assert.equal(device.throwsIn, null);
        while (guest.queue(1).errors === 0) await guest.queue(1).waitForCall();
        assert.equal((await frontend.askNumber('GET_STATUS')) & NEEDS_RESET, NEEDS_RESET);
        await echo(guest, 0);
        if (hook === 'start') assert.equal(await guest.stopQueue(1), 0);
        await guest.startQueue(1, hook === 'stop' ? 1 : 0);
        await echo(guest, 1);
      });
      assert.deepEqual(codes, []);
    });
  }
});
