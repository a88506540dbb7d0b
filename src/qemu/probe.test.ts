/**
 * Tests of finding and asking QEMUs, with scripts in their place: good ones, one that hangs, one
 * that crashes, one that floods, and programs that are something else.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, test } from 'node:test';
import { findQemus, guestArchOf, qemuFolders } from './find.ts';
import { probeQemu, probeQemus, vhostUserDevices } from './probe.ts';

const folder = mkdtempSync(join(tmpdir(), 'vhu-qemus-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const LIMIT_MS = 60_000;

/** The answers of a small QEMU. */
const ANSWERS: Readonly<Record<string, string>> = {
  '*--version*': 'echo "QEMU emulator version 10.2.1 (test)"',
  "*'-device help'*":
    'echo "warning: a module" >&2; echo "Storage devices:"; ' +
    `printf 'name "vhost-user-blk-pci", bus PCI\\nname "vhost-user-blk-pci-transitional"\\n'`,
  "*'-object help'*": 'echo "List of user creatable objects:"; echo "  memory-backend-shm"',
  "*'-accel help'*": 'echo "Accelerators supported in QEMU binary:"; echo tcg',
};

/** Puts a program there that answers as a small QEMU does, but for some of the questions. */
function qemu(path: string, changed: Readonly<Record<string, string>> = {}): string {
  const answers = Object.entries({ ...ANSWERS, ...changed });
  const cases = answers.map(([pattern, command]) => `  ${pattern}) ${command} ;;\n`).join('');
  const file = join(folder, path);
  mkdirSync(join(file, '..'), { recursive: true });
  writeFileSync(file, `#!/bin/sh\ncase "$*" in\n${cases}*) exit 64 ;;\nesac\n`);
  chmodSync(file, 0o755);
  return file;
}

test('a QEMU tells version, devices, objects and accelerators, whatever it warns of', async () => {
  const path = qemu('good/qemu-system-x86_64');
  const probe = await probeQemu(path, { limitMs: LIMIT_MS });
  assert.deepEqual(probe, {
    path,
    guestArch: 'x86_64',
    version: { major: 10, minor: 2, micro: 1, text: '10.2.1', packaging: 'test' },
    devices: ['vhost-user-blk-pci', 'vhost-user-blk-pci-transitional'],
    objects: ['memory-backend-shm'],
    accelerators: ['tcg'],
    fault: null,
  });
  assert.deepEqual(vhostUserDevices(probe), ['vhost-user-blk-pci']);
});

test('a QEMU that hangs is given up, and no further question waits for it', async () => {
  const path = qemu('hangs/qemu-system-x86_64', { "*'-device help'*": 'exec sleep 600' });
  const begin = performance.now();
  const probe = await probeQemu(path, { limitMs: 1500 });
  assert.equal(probe.version?.text, '10.2.1');
  assert.equal(probe.fault, "'-device help' did not end within 1.5 s");
  assert.deepEqual([probe.devices, probe.objects, probe.accelerators], [[], [], []]);
  assert.ok(performance.now() - begin < 30_000);
});

test('a QEMU whose child keeps its output open is given up as well', async () => {
  const path = qemu('child/qemu-system-x86_64', { '*--version*': 'sleep 30 & exit 0' });
  const probe = await probeQemu(path, { limitMs: 1500 });
  assert.equal(probe.fault, "'--version' did not end within 1.5 s");
});

test('a QEMU that crashes, fails or floods is said to, with its own first words', async () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['kill -SEGV $$', /^'--version' ended by SIGSEGV$/],
    ['echo "libfoo.so: not found" >&2; exit 127', /ended with status 127: libfoo.so: not found$/],
    ['exec cat /dev/zero', /printed more than 1048576 bytes$/],
    ['head -c 300 /dev/urandom', /printed no version of QEMU$/],
    ['echo "qemu-img version 10.0.2"', /printed no version of QEMU$/],
  ];
  for (const [command, expected] of cases) {
    const path = qemu('bad/qemu-system-x86_64', { '*--version*': command });
    const probe = await probeQemu(path, { limitMs: LIMIT_MS });
    assert.match(String(probe.fault), expected, command);
    assert.equal(probe.version, null);
  }
});

test('a list without names is a fault, and a program that cannot start is one', async () => {
  const path = qemu('empty/qemu-system-x86_64', { "*'-object help'*": 'echo what?' });
  const probe = await probeQemu(path, { limitMs: LIMIT_MS });
  assert.equal(probe.fault, "'-object help' printed no names");
  const missing = await probeQemu(join(folder, 'qemu-system-none'));
  assert.equal(missing.fault, "'--version' could not be started: ENOENT");
});

test('several QEMUs are asked a few at a time, and stay in their order', async () => {
  const paths = ['a', 'b', 'c'].map((name) => qemu(`${name}/qemu-system-aarch64`));
  const done: number[] = [];
  const probes = await probeQemus(paths, {
    limitMs: LIMIT_MS,
    atOnce: 2,
    onProbed: (count) => done.push(count),
  });
  assert.deepEqual(
    probes.map(({ path }) => path),
    paths,
  );
  assert.deepEqual(done, [1, 2, 3]);
  assert.deepEqual(await probeQemus([]), []);
});

test('each QEMU is found once, with its links, and nothing else is', () => {
  const path = qemu('bin/qemu-system-x86_64');
  const other = qemu('bin/qemu-system-aarch64');
  const kvm = qemu('libexec/qemu-kvm');
  for (const name of ['qemu-img', 'qemu-system-x86_64.old', 'xqemu-system-arm'])
    qemu(`bin/${name}`);
  chmodSync(qemu('bin/qemu-system-riscv64'), 0o644); // no program
  mkdirSync(join(folder, 'bin/qemu-system-mips'));
  symlinkSync('qemu-system-x86_64', join(folder, 'bin/qemu-kvm'));
  symlinkSync('bin', join(folder, 'sbin'));
  symlinkSync('nowhere', join(folder, 'bin/qemu-system-ppc'));
  const folders = ['none', 'bin', 'sbin', 'libexec'].map((name) => join(folder, name));
  assert.deepEqual(findQemus(folders), [other, path, kvm]);
});

test('links to one program that is many are several QEMUs', () => {
  mkdirSync(join(folder, 'snap'));
  writeFileSync(join(folder, 'snap/snap'), '#!/bin/sh\n', { mode: 0o755 });
  const names = ['qemu-system-aarch64', 'qemu-system-x86_64'];
  const paths = names.map((name) => join(folder, 'snap', name));
  for (const path of paths) symlinkSync('snap', path);
  assert.deepEqual(findQemus([join(folder, 'snap')]), paths);
});

test('the architecture of guests is in the name, and PATH comes before the other folders', () => {
  assert.equal(guestArchOf('/usr/bin/qemu-system-x86_64'), 'x86_64');
  assert.equal(guestArchOf('/usr/libexec/qemu-kvm'), '');
  const folders = qemuFolders(['/a', '', '/usr/bin', '/a'].join(delimiter));
  assert.deepEqual(folders.slice(0, 2), ['/a', '/usr/bin']);
  assert.ok(folders.includes('/opt/homebrew/bin') && folders.includes('/usr/libexec'));
  assert.ok(folders.includes('/opt/homebrew/opt/qemu-vhost-user/bin'));
  assert.equal(new Set(folders).size, folders.length);
});
