/**
 * Tests of taking QEMU's texts apart, with what Debian's QEMU 7.2, 10.0 and 11.1 have printed.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import {
  isAtLeast,
  parseAccelerators,
  parseDevices,
  parseObjects,
  parseVersion,
} from './output.ts';

/** What a release has printed, from src/qemu or build/src/qemu. */
function printed(release: string, what: string): string {
  for (const up of ['.', '../../../src/qemu']) {
    try {
      const url = new URL(`${up}/testdata/${release}-${what}.txt`, import.meta.url);
      return readFileSync(url, 'utf8');
    } catch {
      // Further up.
    }
  }
  assert.fail(`testdata/${release}-${what}.txt is not there`);
}

test('versions are read with what the packager has added', () => {
  assert.deepEqual(parseVersion(printed('7.2', 'version')), {
    major: 7,
    minor: 2,
    micro: 22,
    text: '7.2.22',
    packaging: 'Debian 1:7.2+dfsg-7+deb12u18+b3',
  });
  assert.equal(parseVersion(printed('10.0', 'version'))?.text, '10.0.2');
  assert.equal(parseVersion(printed('11.1', 'version'))?.packaging, 'Debian 1:11.1.2+ds-3');
});

test('versions without packaging, of snapshots and of candidates are read', () => {
  const plain = parseVersion('QEMU emulator version 9.2.0\nCopyright (c) 2003\n');
  assert.deepEqual([plain?.text, plain?.packaging], ['9.2.0', '']);
  const snapshot = parseVersion('QEMU emulator version 11.0.50 (v11.0.0-12-g0123abc)\n');
  assert.deepEqual([snapshot?.micro, snapshot?.packaging], [50, 'v11.0.0-12-g0123abc']);
  assert.equal(parseVersion('QEMU emulator version 8.2.0-rc1\n')?.text, '8.2.0-rc1');
  const warned = 'warning: no such module\nQEMU emulator version 10.1\n';
  assert.equal(parseVersion(warned)?.text, '10.1.0');
});

test('what is not a version of QEMU is none', () => {
  for (const text of ['', 'qemu-img version 10.0.2', '\0\xff', 'QEMU emulator version ten']) {
    assert.equal(parseVersion(text), null, text);
  }
});

test('a release is compared by its two numbers, not by its text', () => {
  const version = parseVersion(printed('10.0', 'version'));
  assert.ok(version);
  assert.ok(isAtLeast(version, 9, 1));
  assert.ok(isAtLeast(version, 10, 0));
  assert.ok(!isAtLeast(version, 10, 2));
  assert.ok(!isAtLeast(version, 11, 0));
});

test('devices of each release are read, and what none has is not there', () => {
  const [old, middle, recent] = ['7.2', '10.0', '11.1'].map((release) =>
    parseDevices(printed(release, 'device')),
  );
  assert.ok(old && middle && recent);
  for (const devices of [old, middle, recent]) {
    for (const name of ['blk', 'fs', 'vsock', 'rng']) {
      assert.ok(devices.includes(`vhost-user-${name}-pci`), name);
    }
    assert.ok(!devices.includes('vhost-user-console-pci'));
    assert.ok(devices.includes('virtio-net-pci'));
  }
  assert.ok(!old.includes('vhost-user-snd-pci') && middle.includes('vhost-user-snd-pci'));
  assert.ok(!middle.includes('vhost-user-test-device-pci'));
  assert.ok(recent.includes('vhost-user-test-device-pci'));
  // Counted by grep and sort -u, so no line is lost.
  assert.deepEqual(
    [old, middle, recent].map((devices) => devices.length),
    [386, 431, 480],
  );
});

test('memory backends of each release are read, without the heading', () => {
  const [old, middle, recent] = ['7.2', '10.0', '11.1'].map((release) =>
    parseObjects(printed(release, 'object')),
  );
  assert.ok(old && middle && recent);
  for (const objects of [old, middle, recent]) {
    assert.ok(objects.includes('memory-backend-memfd') && objects.includes('memory-backend-file'));
    assert.ok(objects.every((name) => /^[a-z][\w.-]+$/.test(name)));
  }
  assert.ok(!old.includes('memory-backend-shm'));
  assert.ok(middle.includes('memory-backend-shm') && recent.includes('memory-backend-shm'));
});

test('accelerators of each release are read, without the heading', () => {
  assert.deepEqual(parseAccelerators(printed('7.2', 'accel')), ['kvm', 'tcg']);
  assert.deepEqual(parseAccelerators(printed('10.0', 'accel')), ['kvm', 'tcg']);
  assert.deepEqual(parseAccelerators(printed('11.1', 'accel')), ['kvm', 'mshv', 'nitro', 'tcg']);
});

test('lists that are not there are empty, and a carriage return is no part of a name', () => {
  assert.deepEqual(parseObjects('garbage\n  memory-backend-shm\n'), []);
  assert.deepEqual(parseAccelerators('tcg\n'), []);
  assert.deepEqual(parseAccelerators('Accelerators supported in QEMU binary:\r\nhvf\r\ntcg\r\n'), [
    'hvf',
    'tcg',
  ]);
});
