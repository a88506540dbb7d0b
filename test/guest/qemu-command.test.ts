/**
 * `vhost-user qemu` with real guests: one command serves the devices and boots a Linux in QEMU 10
 * and 11 that uses all of them; the ways out are tried with a guest that is up.
 *
 * @module
 */
import assert from 'node:assert/strict';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { startProgram } from '../peers/process.ts';
import type { TestProgram } from '../peers/process.ts';
import { ensurePeers, missingPeers } from '../peers/setup.ts';
import type { Peers, Qemu } from '../peers/setup.ts';
import { PROGRAM_FILE } from '../support/program.ts';
import { PRELUDE } from './blk-scripts.ts';
import { writeInitramfs } from './initramfs.ts';

const LIMIT_MS = 150_000;
const IMAGE_BYTES = 8 << 20;
const WORD = 'written by the guest';

/** One way to run it. */
interface Setting {
  readonly name: string;
  readonly qemu: (peers: Peers) => Qemu;
  readonly console: boolean;
  readonly host?: 'posix';
}

const SETTINGS: readonly Setting[] = [
  { name: 'QEMU 11, with a console', qemu: (peers) => peers.qemu11, console: true },
  {
    name: 'QEMU 10, with POSIX facilities only',
    qemu: (peers) => peers.qemu10,
    console: false,
    host: 'posix',
  },
];

const search = await ensurePeers();
if (search.peers === undefined) {
  test('one command boots a guest on our devices', { skip: missingPeers(search) }, () => undefined);
} else {
  const { peers } = search;
  for (const setting of SETTINGS) {
    test(`one command boots a guest that uses its devices: ${setting.name}`, (context) =>
      useDevices(context, peers, setting));
  }
  test('a guest that is up is ended by a signal, and nothing is left', (context) =>
    endGuest(context, peers));
}

/** What a test has of its own. */
interface Place {
  readonly folder: string;
  readonly image: string;
  readonly share: string;
  /** Where the private folder of the sockets is made. */
  readonly temporary: string;
  /** A program that is the QEMU, in whichever folder that is. */
  readonly qemu: string;
}

function placeOf(context: TestContext, qemu: Qemu): Place {
  const folder = mkdtempSync('/tmp/vhu-qemu-guest-'); // what QEMU 11 sees is /tmp
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const place: Place = {
    folder,
    image: join(folder, 'disk.img'),
    share: join(folder, 'share'),
    temporary: join(folder, 'tmp'),
    qemu: join(folder, 'qemu-system-x86_64'),
  };
  writeFileSync(place.image, '');
  truncateSync(place.image, IMAGE_BYTES);
  for (const path of [place.share, place.temporary]) mkdirSync(path);
  writeFileSync(join(place.share, 'from-host'), 'a word of the host\n');
  const command = qemu.command.map((word) => `'${word}'`).join(' ');
  writeFileSync(place.qemu, `#!/bin/sh\nexec ${command} "$@"\n`, { mode: 0o755 });
  return place;
}

/** The whole command line of `vhost-user qemu`, for a guest that runs a script. */
function commandOf(
  peers: Peers,
  place: Place,
  script: string,
  devices: readonly string[],
): string[] {
  const kernel = join(place.folder, 'vmlinuz');
  const initramfs = join(place.folder, 'initramfs.cpio');
  copyFileSync(peers.kernel, kernel);
  writeInitramfs(peers, initramfs, { script, small: true });
  return [
    ...[process.execPath, PROGRAM_FILE, 'qemu', '--qemu', place.qemu, ...devices],
    ...['--log-level', 'info', '--log-format', 'text', '--'],
    ...['-accel', 'tcg,thread=multi', '-m', '300M', '-smp', '2', '-kernel', kernel],
    ...['-initrd', initramfs, '-append', 'console=ttyS0 quiet panic=-1 nokaslr'],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-serial', 'stdio', '-monitor', 'none'],
  ];
}

/** It tells by `@key=value`, and ends by powering off. */
function useScript(hasConsole: boolean): string {
  return `${PRELUDE}
expect "the disk" "$(cat /sys/block/vda/size)" ${IMAGE_BYTES / 512}
expect "its queues" "$(ls /sys/block/vda/mq | wc -l)" 2
printf '%s' '${WORD}' | dd of=/dev/vda bs=512 conv=sync,fsync 2>/dev/null
mount -t virtiofs 'my tag' /mnt
expect "the folder" "$(cat /mnt/from-host)" "a word of the host"
echo '${WORD}' >/mnt/from-guest
umount /mnt
expect "random bytes" "$(head -c 4096 /dev/hwrng | wc -c)" 4096
expect "a vsock" "$(ls /sys/bus/virtio/drivers/vmw_vsock_virtio_transport | grep -c virtio)" 1
echo "@memory=$(awk '/MemTotal/ { print $2 }' /proc/meminfo)"
${hasConsole ? `echo '${WORD}' >/dev/hvc0` : ''}
`;
}

async function useDevices(context: TestContext, peers: Peers, setting: Setting): Promise<void> {
  const place = placeOf(context, setting.qemu(peers));
  const log = join(place.folder, 'console.txt');
  const console = ['--console', `pty,log=${log}`];
  const devices = [
    ...['--blk', place.image, '--fs', `${place.share}:my tag`, '--vsock', '7', '--rng'],
    ...(setting.console ? console : []),
  ];
  const command = commandOf(peers, place, useScript(setting.console), devices);
  const env = { TMPDIR: place.temporary, VHOST_USER_HOST: setting.host ?? '' };
  const program = startProgram(command, { env });
  context.after(() => program.stop('SIGKILL'));
  const timer = setTimeout(() => void program.stop('SIGKILL'), LIMIT_MS);
  const { code } = await program.ended.finally(() => clearTimeout(timer));
  assert.match(program.output, /^@status=0\r?$/m, program.output.slice(-4000));
  assert.equal(code, 0, program.output.slice(-2000));
  const memory = Number(/^@memory=(\d+)/m.exec(program.output)?.[1]);
  assert.ok(memory > 200 * 1024 && memory < 300 * 1024, `the guest has ${memory} KiB`);
  assert.equal(readFileSync(place.image).toString('latin1', 0, WORD.length), WORD);
  assert.equal(readFileSync(join(place.share, 'from-guest'), 'utf8'), `${WORD}\n`);
  if (setting.console) assert.match(readFileSync(log, 'latin1'), new RegExp(WORD));
  assert.deepEqual(readdirSync(place.temporary), []);
}

async function endGuest(context: TestContext, peers: Peers): Promise<void> {
  const place = placeOf(context, peers.qemu10);
  const devices = ['--blk', place.image, '--fs', place.share, '--rng'];
  for (const [signal, expected] of [
    ['SIGINT', { code: 0, signal: null }],
    ['SIGKILL', { code: null, signal: 'SIGKILL' }],
  ] as const) {
    const up = 'echo "@up=yes"\nwhile :; do head -c 64 /dev/hwrng >/dev/null; done\n';
    const command = commandOf(peers, place, up, devices);
    const program = startProgram(command, { env: { TMPDIR: place.temporary } });
    context.after(() => program.stop('SIGKILL'));
    await says(program, /^@up=yes/m);
    assert.equal(readdirSync(place.temporary).length, 1);
    program.signal(signal);
    // It resolves when QEMU has let go of the output, too.
    const timer = setTimeout(() => void program.stop('SIGKILL'), LIMIT_MS);
    assert.deepEqual(await program.ended, expected, program.output.slice(-2000));
    clearTimeout(timer);
    await until(() => readdirSync(place.temporary).length === 0, 'the folder is gone');
  }
}

async function says(program: TestProgram, pattern: RegExp): Promise<void> {
  await until(() => !program.running || pattern.test(program.output), String(pattern));
  assert.match(program.output, pattern);
}

async function until(holds: () => boolean, what: string): Promise<void> {
  const end = performance.now() + LIMIT_MS;
  while (!holds()) {
    assert.ok(performance.now() < end, what);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
