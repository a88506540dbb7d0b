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

function doctor(node: string, ...qemus: readonly string[]): Answer {
  const named = qemus.flatMap((path) => ['--qemu', path]);
  const words = [PROGRAM_FILE, 'doctor', '--json', ...named];
  const { stdout, stderr, status } = spawnSync(node, words, {
    encoding: 'utf8',
    env: { ...process.env, VHOST_USER_HOST: '', NODE_OPTIONS: '' },
  });
  assert.ok(status === 0 || status === 1, stderr);
  assert.equal(stderr, '');
  return JSON.parse(stdout) as Answer;
}

const QEMU_7 = join(peerCache(), 'qemu-7.2/usr/bin/qemu-system-x86_64');
const ESSENTIAL = ['node', 'koffi', 'fd-passing', 'notifiers', 'shared-memory', 'poller'];

function nodeOf(major: number): string {
  const isOurs = process.versions.node.startsWith(`${major}.`);
  return isOurs ? process.execPath : join(peerCache(), 'node', String(major));
}

/** QEMU 11 lives in a folder with its own Debian: a program that starts it there. */
function wrapped(command: readonly string[]): string {
  const path = join(folder, 'qemu-system-x86_64');
  writeFileSync(path, `#!/bin/sh\nexec ${command.join(' ')} "$@"\n`);
  chmodSync(path, 0o755);
  return path;
}

for (const major of [20, 22, 24, 26]) {
  test(`on Node ${major} all works with QEMU 7.2, 10 and 11, and none is what is missing`, (t) => {
    const node = nodeOf(major);
    const search = findPeers();
    if (!existsSync(node) || !existsSync(QEMU_7) || search.peers === undefined) {
      t.skip(`Node ${major} or a QEMU is not in ${peerCache()}: the set-up step fetches it`);
      return;
    }
    const { qemu10, qemu11 } = search.peers;
    const ten = qemu10.command[0] ?? '';
    const { host, findings, qemus } = doctor(node, QEMU_7, ten, wrapped(qemu11.command));
    assert.equal(host.node.split('.')[0], String(major));
    for (const id of [...ESSENTIAL, 'vmm']) {
      const found = findings.find((each) => each.id === id);
      assert.equal(found?.status, 'works', `${id}: ${found?.detail ?? ''}`);
    }
    assert.match(detailOf(findings, 'vmm'), /attaches blk, fs, vsock, rng, console$/);
    assert.deepEqual(
      qemus.map(({ version, fault }) => [version.split('.')[0], fault]),
      ['7', '10', '11'].map((each) => [each, null]),
    );
    const none = doctor(node, join(folder, 'no-qemu'));
    const faults = none.findings.filter(({ needed, status }) => needed && status !== 'works');
    assert.deepEqual(
      faults.map(({ id }) => id),
      ['vmm'],
    );
    execFileSync(node, [PROGRAM_FILE, 'doctor', '--help']);
  });
}

test('QEMU 7.2 attaches all but the console, with memory by memfd', (t) => {
  const path = QEMU_7;
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
  const eleven = doctor(process.execPath, wrapped(qemu11.command));
  assert.equal(eleven.qemus[0]?.version, qemu11.version);
  assert.ok(eleven.qemus[0].vhostUserDevices.includes('vhost-user-test-device-pci'));
  assert.ok(eleven.qemus[0].accelerators.includes('tcg'));
  assert.match(detailOf(eleven.findings, 'vmm'), /attaches blk, fs, vsock, rng, console$/);
  assert.ok(!eleven.findings.some(({ id }) => id.startsWith('attach:')));
});

function detailOf(findings: readonly Finding[], id: string): string {
  return findings.find((each) => each.id === id)?.detail ?? `no ${id}`;
}
