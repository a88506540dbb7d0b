/**
 * Tests of what is said of QEMUs, on hosts that are not here and of releases with known faults.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { QemuProbe } from '../qemu/index.ts';
import { isHealthy } from './finding.ts';
import type { HostFacts } from './host.ts';
import { attachableBy, judgeQemu, qemuFindings } from './qemu-findings.ts';
import { vmmFindings } from './vmm.ts';

const LINUX: HostFacts = {
  os: 'linux',
  arch: 'x64',
  name: 'Linux',
  release: '6.12.0',
  distribution: 'Debian GNU/Linux 13 (trixie)',
  family: ['debian'],
  codename: 'trixie',
  packager: 'apt',
  isContainer: false,
  isRoot: false,
  node: '24.0.0',
};
const MAC: HostFacts = { ...LINUX, os: 'darwin', arch: 'arm64', name: 'macOS', packager: 'brew' };

const DEVICES = ['blk', 'fs', 'vsock', 'rng'].map((name) => `vhost-user-${name}-pci`);

function qemu(version: string, changed: Partial<QemuProbe> = {}): QemuProbe {
  const [major = 0, minor = 0, micro = 0] = version.split('.').map(Number);
  return {
    path: `/usr/bin/qemu-system-${changed.guestArch ?? 'x86_64'}`,
    guestArch: 'x86_64',
    version: { major, minor, micro, text: version, packaging: '' },
    devices: DEVICES,
    objects: ['memory-backend-memfd', 'memory-backend-shm'],
    accelerators: ['kvm', 'tcg'],
    fault: null,
    ...changed,
  };
}

test('a device is attached by its own name or by the generic one, on any bus', () => {
  assert.deepEqual(attachableBy(qemu('10.0.0')), ['blk', 'fs', 'vsock', 'rng']);
  const generic = { devices: ['vhost-user-test-device-pci'] };
  assert.deepEqual(attachableBy(qemu('10.2.0', generic)), ['blk', 'fs', 'vsock', 'rng', 'console']);
  const s390x = { devices: ['vhost-user-fs-ccw', 'vhost-user-rng-device'] };
  assert.deepEqual(attachableBy(qemu('10.0.0', s390x)), ['fs', 'rng']);
  assert.deepEqual(attachableBy(qemu('10.0.0', { devices: ['virtio-blk-pci'] })), []);
});

test('without eventfd QEMU 11.1 is not to be used, 10.2 is, and of untried ones that is said', () => {
  for (const [version, status] of [
    ['10.2.0', 'works'],
    ['11.0.0', 'unknown'],
    ['11.1.2', 'missing'],
    ['11.2.0', 'unknown'],
    ['12.0.0', 'unknown'],
  ] as const) {
    assert.equal(judgeQemu(qemu(version), MAC, true).status, status, version);
    assert.equal(judgeQemu(qemu(version), LINUX, false).status, 'works', version);
  }
  const { detail, remedy } = judgeQemu(qemu('11.1.2'), MAC, true);
  assert.match(detail, /vhost_set_vring_kick failed/);
  assert.ok(remedy);
  assert.ok(remedy.commands.some((line) => line.includes('qemu-vhost-user.rb')));
  const untried = judgeQemu(qemu('11.2.0'), MAC, true);
  assert.match(untried.detail, /is not known to us: .*11\.1 does not .*no other .* was tried$/);
  assert.match(
    untried.remedy?.text ?? '',
    /^Try it with a guest; if its devices do not start, let/,
  );
  assert.deepEqual(untried.attaches, []);
  const none = { objects: ['memory-backend-ram'] };
  assert.equal(judgeQemu(qemu('11.2.0', none), MAC, true).status, 'missing');
  const [monitor] = vmmFindings([qemu('11.2.0'), qemu('11.1.0')], MAC, true, []);
  assert.equal(monitor?.status, 'unknown');
  assert.match(monitor.detail, /^no QEMU here is known to work/);
  const [broken] = vmmFindings([qemu('11.1.0')], MAC, true, []);
  assert.deepEqual([broken?.status, broken?.needed], ['missing', true]);
  const [mute] = vmmFindings([qemu('10.0.0', { fault: 'it did not end' })], LINUX, false, []);
  assert.deepEqual([mute?.status, mute?.needed], ['missing', true]);
});

test('before 9.1 there is no memory to share off Linux, where memfd and files do', () => {
  const old = { objects: ['memory-backend-file', 'memory-backend-ram'] };
  assert.match(judgeQemu(qemu('9.0.2', old), MAC, true).detail, /before 9\.1/);
  assert.equal(judgeQemu(qemu('9.0.2', old), MAC, true).status, 'missing');
  assert.equal(judgeQemu(qemu('7.2.0', old), LINUX, false).status, 'works');
  const memfd = { objects: ['memory-backend-memfd'] };
  assert.equal(judgeQemu(qemu('8.0.0', memfd), LINUX, false).status, 'works');
  const none = { objects: ['memory-backend-ram'] };
  assert.equal(judgeQemu(qemu('10.0.0', none), LINUX, false).status, 'missing');
  assert.match(judgeQemu(qemu('10.0.0', none), MAC, true).detail, /built without memory/);
});

test('one that is built without vhost-user is missing, one that does not answer unknown', () => {
  const bare = judgeQemu(qemu('10.0.0', { devices: ['virtio-net-pci'] }), MAC, true);
  assert.equal(bare.status, 'missing');
  assert.match(bare.detail, /built without vhost-user/);
  const hung = judgeQemu(qemu('10.0.0', { fault: "'-device help' did not end" }), LINUX, false);
  assert.equal(hung.status, 'unknown');
  assert.deepEqual(hung.attaches, []);
  assert.match(hung.remedy?.commands[0] ?? '', /qemu-system-x86_64 -device help/);
  const gone = { version: null, fault: "'--version' could not be started: ENOENT" };
  const named = judgeQemu(qemu('10.0.0', gone), LINUX, false);
  assert.deepEqual([named.status, named.detail], ['missing', 'there is no such file']);
  assert.match(named.remedy?.text ?? '', /--qemu/);
});

test('QEMUs for other guests are one finding when they are alike', () => {
  const probes = ['x86_64', 'aarch64', 'riscv64', 'arm'].map((guestArch) =>
    qemu('10.0.0', { guestArch }),
  );
  const other = qemu('7.2.0', { guestArch: 'ppc64' });
  const judged = [...probes, other].map((probe) => judgeQemu(probe, LINUX, false));
  const findings = qemuFindings(judged, LINUX);
  assert.deepEqual(
    findings.map(({ title }) => title),
    ['QEMU x86_64', 'QEMU aarch64', 'QEMU ppc64'],
  );
  assert.match(findings[1]?.detail ?? '', /likewise for guests of riscv64, arm$/);
  assert.equal(new Set(findings.map(({ id }) => id)).size, 3);
});

test('the QEMU for guests of this architecture is named, and what none attaches', () => {
  const generic = { guestArch: 'aarch64', devices: [...DEVICES, 'vhost-user-test-device-pci'] };
  const findings = vmmFindings([qemu('10.0.0', generic), qemu('10.0.0')], LINUX, false, []);
  const [attach, next] = findings;
  assert.match(
    attach?.detail ?? '',
    /^\/usr\/bin\/qemu-system-x86_64 attaches blk, fs, vsock, rng$/,
  );
  assert.equal(next?.title, 'QEMU x86_64'); // the other one attaches consoles
  const missing = vmmFindings([qemu('10.0.0')], LINUX, false, []).find(
    ({ id }) => id === 'attach:console',
  );
  assert.equal(missing?.status, 'missing');
  assert.equal(missing.needed, false);
});

test('no monitor at all is what is needed; another one than QEMU is enough', () => {
  const none = vmmFindings([], LINUX, false, []);
  assert.equal(isHealthy(none), false);
  assert.deepEqual(none[0]?.remedy?.commands, ['sudo apt install qemu-system-x86']);
  const virsh = vmmFindings([], LINUX, false, ['virsh']);
  assert.equal(isHealthy(virsh), false); // libvirt starts QEMU
  const other = vmmFindings([], LINUX, false, ['cloud-hypervisor']);
  assert.ok(isHealthy(other));
  assert.deepEqual(
    other.map(({ id }) => id),
    ['vmm', 'vmm:cloud-hypervisor'],
  );
});
