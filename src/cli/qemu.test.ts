/**
 * Tests of QEMU's command line on each host.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { blkExamples, blkHelp, fsExamples, fsHelp, rngExamples, rngHelp } from './help.ts';
import { mountLine, qemuBlkLines, qemuFsLines, qemuHost, qemuRngLines } from './qemu.ts';
import { shellWord } from './shell.ts';

const YES = (): boolean => true;
const NO = (): boolean => false;
const DISK = { socketPath: '/tmp/disk.sock', queueCount: 4 };

test('on Linux a disk is a vhost-user-blk device, on memory of memfd', () => {
  assert.deepEqual(qemuBlkLines(qemuHost('linux', 'x64', YES), DISK), [
    'qemu-system-x86_64 -machine q35,memory-backend=mem -accel kvm -cpu host -m 1G',
    '-object memory-backend-memfd,id=mem,size=1G,share=on',
    '-chardev socket,id=disk,path=/tmp/disk.sock',
    '-device vhost-user-blk-pci,chardev=disk,num-queues=4',
  ]);
});

test('where /dev/kvm may not be opened, the guest is emulated', () => {
  const [first] = qemuBlkLines(qemuHost('linux', 'arm64', NO), DISK);
  assert.equal(
    first,
    'qemu-system-aarch64 -machine virt,memory-backend=mem -accel tcg -cpu max -m 1G',
  );
});

test('elsewhere a disk is the generic device, on memory of shm_open, with the truth beside it', () => {
  for (const [os, accelerator] of [
    ['darwin', 'hvf'],
    ['freebsd', 'tcg'],
    ['openbsd', 'tcg'],
    ['plan9', 'tcg'],
  ] as const) {
    const host = qemuHost(os, 'x64', YES);
    const text = qemuBlkLines(host, DISK).join(' ');
    assert.match(text, new RegExp(`-accel ${accelerator} `));
    assert.match(text, /-object memory-backend-shm,id=mem/);
    assert.match(
      text,
      /vhost-user-test-device-pci,chardev=disk,virtio-id=2,num_vqs=4,config_size=60/,
    );
    assert.match(blkHelp(host), /--enable-vhost-user/);
    assert.doesNotMatch(blkHelp(host), /memfd/);
  }
  assert.doesNotMatch(blkHelp(qemuHost('linux', 'x64', YES)), /--enable-vhost-user/);
});

test('a path with blanks and commas reaches QEMU as it is', () => {
  const disk = { socketPath: "/tmp/my disk, it's.sock", queueCount: 1 };
  const line = qemuBlkLines(qemuHost('linux', 'x64', YES), disk)[2] ?? '';
  const words = execFileSync('/bin/sh', ['-c', `printf '%s\\n' ${line}`], { encoding: 'utf8' });
  assert.deepEqual(words.trimEnd().split('\n'), [
    '-chardev',
    "socket,id=disk,path=/tmp/my disk,, it's.sock",
  ]);
});

test('a shared folder is one device on every host, and the memory differs', () => {
  const folder = { socketPath: '/tmp/fs.sock', tag: 'home', requestQueueCount: 1 };
  for (const [os, memory] of [
    ['linux', 'memory-backend-memfd'],
    ['darwin', 'memory-backend-shm'],
    ['openbsd', 'memory-backend-shm'],
  ] as const) {
    const host = qemuHost(os, 'arm64', YES);
    const [, object, chardev, device] = qemuFsLines(host, folder);
    assert.equal(object, `-object ${memory},id=mem,size=1G,share=on`);
    assert.equal(chardev, '-chardev socket,id=fs,path=/tmp/fs.sock');
    assert.equal(device, '-device vhost-user-fs-pci,chardev=fs,tag=home,queue-size=1024');
    assert.equal(os === 'linux', !/--enable-vhost-user/.test(fsHelp(host)));
  }
  const four = qemuFsLines(qemuHost('linux', 'x64', YES), { ...folder, requestQueueCount: 4 });
  assert.match(four[3] ?? '', /,num-request-queues=4$/);
});

test('an entropy device is one device on every host', () => {
  for (const os of ['linux', 'darwin', 'freebsd']) {
    const host = qemuHost(os, 'x64', YES);
    const [, , chardev, device] = qemuRngLines(host, '/tmp/rng.sock');
    assert.equal(chardev, '-chardev socket,id=rng,path=/tmp/rng.sock');
    assert.equal(device, '-device vhost-user-rng-pci,chardev=rng');
    assert.equal(os === 'linux', !/--enable-vhost-user/.test(rngHelp(host)));
  }
});

test('a tag with blanks, commas and quotes reaches QEMU and mount as it is', () => {
  const tag = "it's a, b";
  const folder = { socketPath: '/tmp/fs.sock', tag, requestQueueCount: 1 };
  const device = qemuFsLines(qemuHost('linux', 'x64', YES), folder)[3] ?? '';
  const shell = (line: string): string[] => {
    const words = execFileSync('/bin/sh', ['-c', `printf '%s\\n' ${line}`], { encoding: 'utf8' });
    return words.trimEnd().split('\n');
  };
  assert.equal(shell(device)[1], "vhost-user-fs-pci,chardev=fs,tag=it's a,, b,queue-size=1024");
  assert.deepEqual(shell(mountLine(tag)), ['mount', '-t', 'virtiofs', tag, '/mnt']);
});

test('plain words are not quoted', () => {
  assert.equal(shellWord('a/b.c,d=e'), 'a/b.c,d=e');
  assert.equal(shellWord(''), "''");
});

test('every example is a command that a POSIX shell reads', () => {
  for (const os of ['linux', 'darwin', 'freebsd']) {
    const host = qemuHost(os, 'x64', YES);
    for (const { lines } of [...blkExamples(host), ...fsExamples(host), ...rngExamples(host)]) {
      execFileSync('/bin/sh', ['-n', '-c', lines.join(' \\\n')]);
    }
  }
});
