/**
 * Tests of `vhost-user doctor` on other versions of Node, and of what it says of the QEMUs that the
 * set-up step has fetched: 7.2, 10.0 and 11.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Finding } from '../../src/doctor/index.ts';
import { findPeers, missingPeers, peerCache } from '../peers/setup.ts';
import { PROGRAM_FILE } from '../support/program.ts';

const folder = mkdtempSync(join(tmpdir(), 'vhu-doctor-versions-'));
after(() => rmSync(folder, { recursive: true, force: true }));

interface Answer {
  readonly host: { readonly node: string };
  readonly findings: readonly Finding[];
  readonly qemus: readonly {
    readonly version: string;
    readonly vhostUserDevices: readonly string[];
    readonly memoryBackends: readonly string[];
    readonly accelerators: readonly string[];
    readonly fault: string | null;
  }[];
}

function doctor(node: string, qemu: string): Answer {
  const words = [PROGRAM_FILE, 'doctor', '--json', '--qemu', qemu];
  const { stdout, stderr, status } = spawnSync(node, words, {
    encoding: 'utf8',
    env: { ...process.env, VHOST_USER_HOST: '', NODE_OPTIONS: '' },
  });
  assert.ok(status === 0 || status === 1, stderr);
  assert.equal(stderr, '');
  return JSON.parse(stdout) as Answer;
}

for (const major of [22, 24, 26]) {
  test(`on Node ${major} everything of this program works`, (t) => {
    const node = join(peerCache(), 'node', String(major));
    if (!existsSync(node)) {
      t.skip(`Node ${major} is not in ${peerCache()}: the set-up step fetches it`);
      return;
    }
    const { host, findings } = doctor(node, join(folder, 'no-qemu'));
    assert.equal(host.node.split('.')[0], String(major));
    for (const id of ['node', 'koffi', 'fd-passing', 'notifiers', 'shared-memory', 'poller']) {
      const found = findings.find((each) => each.id === id);
      assert.equal(found?.status, 'works', `${id}: ${found?.detail ?? ''}`);
    }
    execFileSync(node, [PROGRAM_FILE, 'doctor', '--help']);
  });
}

test('QEMU 7.2 attaches all but the console, with memory by memfd', (t) => {
  const path = join(peerCache(), 'qemu-7.2/usr/bin/qemu-system-x86_64');
  if (!existsSync(path)) {
    t.skip(`QEMU 7.2 is not in ${peerCache()}: the set-up step fetches it`);
    return;
  }
  const { findings, qemus } = doctor(process.execPath, path);
  assert.match(qemus[0]?.version ?? '', /^7\.2\./);
  assert.equal(qemus[0]?.fault, null);
  const memory = ['memory-backend-file', 'memory-backend-memfd', 'memory-backend-ram'];
  assert.deepEqual(qemus[0].memoryBackends, memory);
  assert.match(detailOf(findings, 'vmm'), /attaches blk, fs, vsock, rng$/);
  assert.match(detailOf(findings, 'attach:console'), /10\.2/);
});

test('QEMU 10.0 attaches all but the console, QEMU 11 all', (t) => {
  const search = findPeers();
  if (search.peers === undefined) {
    t.skip(missingPeers(search));
    return;
  }
  const { qemu10, qemu11 } = search.peers;
  const ten = doctor(process.execPath, qemu10.command[0] ?? '');
  assert.equal(ten.qemus[0]?.version, qemu10.version);
  assert.ok(ten.qemus[0].memoryBackends.includes('memory-backend-shm'));
  assert.match(detailOf(ten.findings, 'vmm'), /attaches blk, fs, vsock, rng$/);
  // It lives in a folder with its own Debian.
  const wrapper = join(folder, 'qemu-system-x86_64');
  writeFileSync(wrapper, `#!/bin/sh\nexec ${qemu11.command.join(' ')} "$@"\n`);
  chmodSync(wrapper, 0o755);
  const eleven = doctor(process.execPath, wrapper);
  assert.equal(eleven.qemus[0]?.version, qemu11.version);
  assert.ok(eleven.qemus[0].vhostUserDevices.includes('vhost-user-test-device-pci'));
  assert.ok(eleven.qemus[0].accelerators.includes('tcg'));
  assert.match(detailOf(eleven.findings, 'vmm'), /attaches blk, fs, vsock, rng, console$/);
  assert.ok(!eleven.findings.some(({ id }) => id.startsWith('attach:')));
});

function detailOf(findings: readonly Finding[], id: string): string {
  return findings.find((each) => each.id === id)?.detail ?? `no ${id}`;
}
