/**
 * Tests of QEMU's command line for hosts, releases and architectures, and of what is said where
 * there is none.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { QemuProbe } from '../../qemu/index.ts';
import type { Attachment } from './attachment.ts';
import { readQemuArguments } from './qemu-arguments.ts';
import { qemuFaults, qemuRemarks } from './qemu-fitness.ts';
import { hostGuestArch, planQemu, planWords } from './qemu-plan.ts';
import type { QemuHostFacts } from './qemu-plan.ts';

const LINUX: QemuHostFacts = { os: 'linux', arch: 'x64', mayUseKvm: true };
const MAC: QemuHostFacts = { os: 'darwin', arch: 'arm64', mayUseKvm: false };

const DISK: Attachment = {
  ...{ type: 'blk', id: 'blk0', socketPath: '/s/blk0.sock' },
  ...{ queueCount: 2, readOnly: false },
};
const FOLDER: Attachment = {
  ...{ type: 'fs', id: 'fs0', socketPath: '/s/a,b.sock', queueCount: 3 },
  ...{ tag: 'my,tag', queueSize: 4096 },
};
const VSOCK: Attachment = { type: 'vsock', id: 'vsock0', socketPath: '/s/v', queueCount: 3 };
const RNG: Attachment = { type: 'rng', id: 'rng0', socketPath: '/s/r', queueCount: 1 };
const CONSOLE: Attachment = { type: 'console', id: 'console0', socketPath: '/s/c', queueCount: 6 };

/** A QEMU with what its release has; `without` is what its packager has left out. */
function qemu(major: number, minor: number, guestArch = 'x86_64', without = /^$/): QemuProbe {
  const isRecent = major > 10 || (major === 10 && minor >= 2);
  const devices = [
    ...['blk', 'fs', 'vsock', 'rng'].map((name) => `vhost-user-${name}-pci`),
    ...(guestArch === 's390x' ? ['vhost-user-fs-ccw'] : []),
    ...(isRecent ? ['vhost-user-test-device-pci'] : []),
  ];
  const shm = major > 9 || (major === 9 && minor >= 1) ? ['memory-backend-shm'] : [];
  return {
    path: `/usr/bin/qemu-system-${guestArch}`,
    guestArch,
    version: { major, minor, micro: 0, text: `${major}.${minor}.0`, packaging: '' },
    devices: devices.filter((name) => !without.test(name)),
    objects: ['memory-backend-memfd', ...shm].filter((name) => !without.test(name)),
    accelerators: ['hvf', 'kvm', 'tcg'],
    fault: null,
  };
}

function line(
  probe: QemuProbe,
  host: QemuHostFacts,
  attachments: readonly Attachment[],
  words: readonly string[] = [],
): string {
  return planWords(planQemu(probe, host, attachments, readQemuArguments(words))).join(' ');
}

test('on Linux the memory is a memfd, and KVM is tried before emulation', () => {
  assert.equal(
    line(qemu(7, 2), LINUX, [DISK, FOLDER, VSOCK, RNG], ['-m', '2G', '-kernel', 'k']),
    '/usr/bin/qemu-system-x86_64 -machine q35,memory-backend=mem -accel kvm -accel tcg -cpu max ' +
      '-m 2G -object memory-backend-memfd,id=mem,size=2G,share=on ' +
      '-chardev socket,id=blk0,path=/s/blk0.sock ' +
      '-device vhost-user-blk-pci,chardev=blk0,num-queues=2 ' +
      '-chardev socket,id=fs0,path=/s/a,,b.sock ' +
      '-device vhost-user-fs-pci,chardev=fs0,tag=my,,tag,queue-size=1024,num-request-queues=2 ' +
      '-chardev socket,id=vsock0,path=/s/v -device vhost-user-vsock-pci,chardev=vsock0 ' +
      '-chardev socket,id=rng0,path=/s/r -device vhost-user-rng-pci,chardev=rng0 -kernel k',
  );
});

test('elsewhere the memory is of shm_open, and a disk without a device of its name is generic', () => {
  const probe = qemu(10, 2, 'aarch64', /blk/);
  assert.equal(
    line(probe, MAC, [DISK, CONSOLE]),
    '/usr/bin/qemu-system-aarch64 -machine virt,memory-backend=mem -accel hvf -accel tcg ' +
      '-cpu max -m 1G -object memory-backend-shm,id=mem,size=1G,share=on ' +
      '-chardev socket,id=blk0,path=/s/blk0.sock ' +
      '-device vhost-user-test-device-pci,chardev=blk0,virtio-id=2,num_vqs=2,config_size=60 ' +
      '-chardev socket,id=console0,path=/s/c ' +
      '-device vhost-user-test-device-pci,chardev=console0,virtio-id=3,num_vqs=6,config_size=12',
  );
});

test('guests of another architecture are emulated, on its own machine and bus', () => {
  const riscv = line(qemu(11, 1, 'riscv64'), LINUX, [RNG]);
  assert.match(riscv, /-machine virt,memory-backend=mem -accel tcg -cpu max/);
  assert.doesNotMatch(riscv, /kvm/);
  const mainframe = line(qemu(10, 0, 's390x'), LINUX, [FOLDER, DISK]);
  assert.match(mainframe, /-machine s390-ccw-virtio,.* -device vhost-user-fs-ccw,/);
  assert.match(mainframe, /-device vhost-user-blk-pci,/, 's390x has PCI, too');
  assert.throws(() => line(qemu(10, 0, 'm68k'), LINUX, [RNG]), /which machine\?/);
  assert.equal(hostGuestArch('arm64'), 'aarch64');
  assert.equal(hostGuestArch('riscv64'), 'riscv64');
});

test('where /dev/kvm may not be opened it is not asked for', () => {
  const text = line(qemu(10, 0), { ...LINUX, mayUseKvm: false }, [RNG]);
  assert.match(text, /memory-backend=mem -accel tcg -cpu max/);
});

test('what the user says is stronger than what we would say', () => {
  const words = ['-M', 'pc,usb=off', '-accel', 'tcg', '-cpu', 'qemu64', '-m', 'size=512,slots=1'];
  const text = line(qemu(10, 0), LINUX, [RNG], words);
  assert.match(text, /^\S+ -machine pc,usb=off,memory-backend=mem -m 512M,slots=1 -object /);
  assert.match(text, /size=512M,share=on .* -accel tcg -cpu qemu64$/);
  const file = line(qemu(10, 0), LINUX, [RNG], ['-mem-path', '/huge,pages']);
  assert.match(file, /memory-backend-file,id=mem,size=1G,mem-path=\/huge,,pages,share=on/);
  assert.doesNotMatch(file, /-mem-path/);
  const object = 'memory-backend-memfd,id=ram,size=1G';
  const own = line(qemu(10, 0), LINUX, [RNG], ['-object', object, '-M', 'q35,memory-backend=ram']);
  assert.doesNotMatch(own, / -m |id=mem/);
});

test('identifiers that the user has taken are left to him', () => {
  const words = ['-object', 'rng-builtin,id=mem', '-chardev', 'null,id=rng0'];
  const text = line(qemu(10, 0), LINUX, [RNG], words);
  assert.match(text, /memory-backend=mem-1 .*id=mem-1,/);
  assert.match(text, /socket,id=rng0-1,.*chardev=rng0-1/);
});

test('a machine without PCI is refused before anything is started', () => {
  assert.throws(() => line(qemu(10, 0), LINUX, [RNG], ['-M', 'microvm']), /microvm,pcie=on/);
  assert.match(
    line(qemu(10, 0), LINUX, [RNG], ['-M', 'microvm,pcie=on']),
    /-machine microvm,pcie=on,/,
  );
});

test('a QEMU that cannot do it is told from one that can, with what to do', () => {
  const all = [DISK, FOLDER, VSOCK, RNG];
  assert.deepEqual(qemuFaults(qemu(7, 2), 'linux', all, true), []);
  assert.deepEqual(qemuFaults(qemu(11, 1), 'linux', [...all, CONSOLE], true), []);
  const [old] = qemuFaults(qemu(10, 0), 'linux', [CONSOLE], true);
  assert.match(old ?? '', /QEMU 10\.0\.0 has no vhost-user device for a console: QEMU 10\.2/);
  const [memory] = qemuFaults(qemu(7, 2), 'freebsd', [RNG], true);
  assert.match(memory ?? '', /memory-backend-shm is in QEMU 9\.1/);
  assert.deepEqual(qemuFaults(qemu(7, 2), 'freebsd', [RNG], false), []);
  const [mac] = qemuFaults(qemu(10, 0, 'aarch64', /vhost-user/), 'darwin', all, true);
  assert.match(mac ?? '', /--enable-vhost-user/);
  const [linux] = qemuFaults(qemu(10, 0, 'x86_64', /vhost-user/), 'linux', all, true);
  assert.match(linux ?? '', /your distribution/);
  const silent = { ...qemu(10, 0), fault: "'--version' did not end within 10 s" };
  assert.match(qemuFaults(silent, 'linux', [], true)[0] ?? '', /did not end within 10 s/);
});

test('the releases that need eventfd are remarked upon where there is none', () => {
  assert.match(qemuRemarks(qemu(11, 1), 'darwin')[0] ?? '', /starts no vhost-user device/);
  assert.match(qemuRemarks(qemu(11, 0), 'openbsd')[0] ?? '', /^whether .* is not known to us/);
  assert.match(qemuRemarks(qemu(11, 2), 'darwin')[0] ?? '', /^whether .* is not known to us/);
  for (const [probe, os] of [
    [qemu(11, 1), 'linux'],
    [qemu(11, 0), 'freebsd'],
    [qemu(10, 2), 'darwin'],
  ] as const) {
    assert.deepEqual(qemuRemarks(probe, os), []);
  }
});
