/**
 * `vhost-user rng` with a real guest: a Linux under QEMU reads from `/dev/hwrng`, takes the device
 * from its driver and gives it back, waits for a limit, is reset while it waits, and reads again
 * after the reboot. What it read is on a disk, where the host looks at it.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { RngClient } from '../../src/frontend/index.ts';
import { randomnessFaults } from '../../src/testing/index.ts';
import { descriptorKinds, startBlkServer, startRngServer, stopServer } from '../peers/servers.ts';
import type { TestProgram } from '../peers/process.ts';
import { ensurePeers, missingPeers } from '../peers/setup.ts';
import type { Peers, Qemu } from '../peers/setup.ts';
import { PRELUDE } from './blk-scripts.ts';
import { runGuestOrThrow } from './qemu.ts';
import type { GuestResult } from './qemu.ts';

const KIB = 1024;
const MIB = KIB * KIB;

/** The disk: a sector that says which boot it is, and what each boot has read, at its MiB. */
const IMAGE_BYTES = 4 * MIB;
const READ_KIB = { 1: 1024, 2: 256 } as const; // by boot

const LIMIT = { bytes: 4096, periodMs: 500, readBytes: 20_480 } as const;

/** One way to put a VMM and our device together. */
interface Setting {
  readonly name: string;
  readonly qemu: (peers: Peers) => Qemu;
  readonly memory: 'memfd' | 'shm';
  readonly host?: 'posix';
  readonly pipes?: boolean;
}

const SETTINGS: readonly Setting[] = [
  { name: 'QEMU 11, native', qemu: (peers) => peers.qemu11, memory: 'memfd' },
  {
    name: 'QEMU 10, our device with POSIX facilities only',
    qemu: (peers) => peers.qemu10,
    memory: 'shm',
    host: 'posix',
  },
  {
    name: 'QEMU 10 without eventfd, so with pipes, our device with POSIX facilities only',
    qemu: (peers) => peers.qemu10,
    memory: 'shm',
    host: 'posix',
    pipes: true,
  },
];

const search = await ensurePeers();
if (search.peers === undefined) {
  test('a guest uses our entropy device', { skip: missingPeers(search) }, () => undefined);
} else {
  const { peers } = search;
  for (const setting of SETTINGS) {
    test(`a guest reads random bytes, waits for a limit, and is reset: ${setting.name}`, (context) =>
      useRng(context, peers, setting));
  }
}

const SYSFS = '/sys/class/misc/hw_random';

/** `use NAME` makes a device the one behind /dev/hwrng; `now` is in hundredths of a second. */
const FUNCTIONS = `use() {
  echo $1 >${SYSFS}/rng_current || fail "there is no $1"
  expect "the generator" "$(cat ${SYSFS}/rng_current)" $1
}
now() { cut -d' ' -f1 /proc/uptime | tr -d .; }
take() { dd if=/dev/hwrng bs=$1 count=$2 iflag=fullblock 2>/dev/null; }
keep() { dd of=/dev/vda bs=64k seek=$(( 16 * $1 )) conv=notrunc,fsync 2>/dev/null; }
`;

/** Each boot reads from the device without a limit; only the first one is reset in the end. */
function guestScript(): string {
  return `${PRELUDE}${FUNCTIONS}
boot=$(( $(dd if=/dev/vda bs=512 count=1 2>/dev/null | tr -d '\\0') + 1 ))
echo "@boot=$boot"
expect "the devices" "$(echo $(cat ${SYSFS}/rng_available))" "virtio_rng.0 virtio_rng.1"
use virtio_rng.0
[ $boot = 1 ] && size=${READ_KIB[1]} || size=${READ_KIB[2]}
begin=$(now)
take 1k $size | keep $boot
echo "@read.$boot=$(( $(now) - begin ))"
[ $boot = 1 ] || exit 0
${rebind()}
begin=$(now)
expect "bytes" $(take ${LIMIT.readBytes} 1 | wc -c) ${LIMIT.readBytes}
echo "@unlimited=$(( $(now) - begin ))"
use virtio_rng.1
begin=$(now)
expect "bytes" $(take ${LIMIT.readBytes} 1 | wc -c) ${LIMIT.readBytes}
echo "@limited=$(( $(now) - begin ))"
echo $boot | dd of=/dev/vda conv=notrunc,fsync 2>/dev/null
take 1M 1 >/dev/null &
sleep 1
echo "@reset=now"
echo b >/proc/sysrq-trigger
sleep 100
`;
}

/** Takes the first device from its driver and gives it back: its queue stops and starts anew. */
function rebind(): string {
  const driver = '/sys/bus/virtio/drivers/virtio_rng';
  return `use virtio_rng.1
device=$(basename $(ls -d ${driver}/virtio* | head -n 1))
echo $device >${driver}/unbind
echo $device >${driver}/bind
use virtio_rng.0
expect "bytes" $(take 1k 4 | wc -c) 4096`;
}

async function useRng(context: TestContext, peers: Peers, setting: Setting): Promise<void> {
  const folder = mkdtempSync('/tmp/vhost-user-rng-guest-'); // what QEMU 11 sees is /tmp
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const image = join(folder, 'disk.img');
  writeFileSync(image, '');
  truncateSync(image, IMAGE_BYTES);
  const { host = 'native' } = setting;
  const [free, limited, disk] = ['free', 'limited', 'disk'].map((name) =>
    join(folder, `${name}.sock`),
  ) as [string, string, string];
  const options = ['--max-bytes', `${LIMIT.bytes}`, '--period', `${LIMIT.periodMs}`];
  const servers = [
    await startRngServer({ socketPath: free, host }),
    await startRngServer({ socketPath: limited, host, options }),
    await startBlkServer({ peers, image, socketPath: disk, host }),
  ] as const;
  for (const server of servers) context.after(() => server.stop('SIGKILL'));
  const [first] = servers;
  const idle = descriptorKinds(first.pid);
  let busy: ReadonlyMap<string, number> = idle;
  const guest = await runGuestOrThrow({
    ...{ peers, qemu: setting.qemu(peers), folder, memory: setting.memory },
    disks: [{ socketPath: disk, queues: 1 }],
    rngs: [{ socketPath: free }, { socketPath: limited }],
    reboots: true,
    script: guestScript(),
    pipes: setting.pipes === true,
    onLine: (line) => {
      if (line === '@boot=1') busy = descriptorKinds(first.pid);
    },
  }).catch((error: unknown) => {
    const said = servers.map((server) => server.output).join('\n');
    throw new Error(`${String(error)}\nThe servers:\n${said}`, { cause: error });
  });
  checkGuest(context, guest, image);
  expectNotifiers(idle, busy, setting.pipes === true);
  await expectServed(first, free);
  for (const server of servers) await stopServer(server);
}

/** The figures that the guest told, and the bytes that it wrote to the disk. */
function checkGuest(context: TestContext, guest: GuestResult, image: string): void {
  const seconds = (key: string): number => Number(guest.values.get(key)) / 100;
  assert.equal(guest.values.get('boot'), '2', 'it came up again');
  const [unlimited, limited] = [seconds('unlimited'), seconds('limited')];
  // The first period's bytes come at once, the others each with a period of their own.
  const least = ((LIMIT.readBytes / LIMIT.bytes - 1) * LIMIT.periodMs) / 1000;
  assert.ok(limited >= least - 0.05, `${LIMIT.readBytes} bytes came in ${limited} s, not ${least}`);
  assert.ok(unlimited < limited, `${unlimited} s without a limit, ${limited} s with one`);
  const bytes = readFileSync(image);
  const reads = ([1, 2] as const).map((boot) =>
    bytes.subarray(boot * MIB, boot * MIB + READ_KIB[boot] * KIB),
  );
  for (const read of reads) assert.deepEqual(randomnessFaults(read), []);
  assert.deepEqual(randomnessFaults(Buffer.concat(reads)), [], 'a boot does not repeat another');
  const rate = (READ_KIB[1] / seconds('read.1')).toFixed(0);
  context.diagnostic(`${guest.seconds.toFixed(1)} s; ${rate} KiB/s, ${limited} s for the limited`);
}

/** QEMU's kick and call came as what the setting says. */
function expectNotifiers(
  idle: ReadonlyMap<string, number>,
  busy: ReadonlyMap<string, number>,
  pipes: boolean,
): void {
  const more = (kind: string): number => (busy.get(kind) ?? 0) - (idle.get(kind) ?? 0);
  const [used, unused] = pipes ? ['pipe', 'eventfd'] : ['eventfd', 'pipe'];
  assert.ok(more(used) >= 2, `${more(used)} more of ${used}, ${more(unused)} more of ${unused}`);
}

/** The guest is gone; the next front-end is served. */
async function expectServed(server: TestProgram, socketPath: string): Promise<void> {
  assert.ok(server.running, server.output);
  const client = await RngClient.connect(socketPath);
  assert.deepEqual(randomnessFaults(await client.read(MIB)), []);
  await client.close();
}
