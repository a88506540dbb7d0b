/**
 * Tests of what is said of hosts that are not here: other versions of Node, distributions, limits,
 * refusals of io_uring and KVM, and errors of native modules.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { kvmVerdict } from './accelerator.ts';
import { isHealthy, remedy } from './finding.ts';
import type { Finding, Status } from './finding.ts';
import { hostFacts } from './host.ts';
import type { HostFacts } from './host.ts';
import { buildQemu, installQemu, ownGuestArch } from './install.ts';
import { procFinding, uringRefusal } from './kernel.ts';
import { fdFinding, mountShm, shmRoom } from './limits.ts';
import { VhostUserError } from '../util/index.ts';
import { nativeFault, nodeFinding } from './program.ts';
import { judgeSandbox, otherSandbox } from './sandbox.ts';
import { judgeSharedFolder, parseTrial, untold } from './shared-folder.ts';

const HOST: HostFacts = {
  os: 'linux',
  arch: 'x64',
  name: 'Linux',
  release: '6.12.0',
  distribution: 'Test Linux',
  family: ['debian'],
  codename: '',
  packager: 'apt',
  isContainer: false,
  isRoot: false,
  node: '24.0.0',
};
const NOW = new Date('2026-12-01T00:00:00Z');

function host(changed: Partial<HostFacts>): HostFacts {
  return { ...HOST, ...changed };
}

test('versions of Node are judged as engines of package.json does', () => {
  for (const [version, status] of [
    ['18.20.8', 'missing'],
    ['20.18.3', 'missing'],
    ['20.19.0', 'works'],
    ['21.7.3', 'missing'],
    ['22.11.0', 'missing'],
    ['22.12.0', 'works'],
    ['23.1.0', 'works'],
    ['26.10.0', 'works'],
  ] as const) {
    const found = nodeFinding(host({ node: version }), NOW);
    assert.equal(found.status, status, version);
    assert.equal(found.needed, true);
  }
});

test('a Node past its end of life works, and a newer one is recommended', () => {
  const old = nodeFinding(host({ node: '20.20.2' }), NOW);
  assert.match(old.detail, /no security updates since 2026-04-30/);
  assert.match(old.remedy?.text ?? '', /Node 24 or later/);
  const before = nodeFinding(host({ node: '20.20.2' }), new Date('2026-04-30T12:00:00Z'));
  assert.equal(before.remedy, null);
  assert.equal(nodeFinding(host({ node: '24.1.0' }), NOW).remedy, null);
});

test('each distribution has its own command', () => {
  for (const [osRelease, packager, command] of [
    ['ID=debian\nVERSION_CODENAME=trixie\n', 'apt', 'apt install qemu-system-'],
    ['ID=debian\nVERSION_CODENAME=bookworm\n', 'apt', 'apt install -t bookworm-backports qemu-'],
    ['ID=linuxmint\nID_LIKE="ubuntu debian"\n', 'apt', 'apt install qemu-system-'],
    ['ID=fedora\n', 'dnf', 'dnf install qemu-kvm'],
    ['ID="rocky"\nID_LIKE="rhel centos fedora"\n', 'dnf', 'dnf install qemu-kvm'],
    ['ID=alpine\n', 'apk', 'apk add qemu-system-'],
    ['ID=arch\n', 'pacman', 'pacman -S qemu-base'],
    ["ID='opensuse-leap'\nID_LIKE='suse opensuse'\n", 'zypper', 'zypper install qemu-'],
    ['ID=nixos\n', null, undefined],
    ['', null, undefined],
  ] as const) {
    const facts = { ...hostFacts(osRelease), isRoot: true, os: 'linux', arch: 'x64' };
    if (process.platform === 'linux') assert.equal(facts.packager, packager, osRelease);
    const [line] = installQemu({ ...facts, packager }).commands;
    if (command === undefined) assert.equal(line, undefined);
    else assert.ok(line?.startsWith(command), `${String(line)} is not ${command}`);
  }
});

test('on a Mac it is the recipe of this package, by the commands of its page, that is named', () => {
  const facts = host({ os: 'darwin', arch: 'arm64', packager: 'brew' });
  const { text, commands } = installQemu(facts);
  assert.deepEqual(buildQemu(facts), { text, commands });
  assert.match(text, /docs\/macos\.md/);
  const recipe = /"([^"]+\.rb)"/.exec(commands[1] ?? '')?.[1] ?? '';
  assert.match(readFileSync(recipe, 'utf8'), /^class QemuVhostUser < Formula$/m);
  const page = readFileSync(join(dirname(recipe), '../../docs/macos.md'), 'utf8');
  const shown = page.replaceAll('\\\n  ', '').replace(/\$\(npm root -g\)\/vhost-user/, '');
  for (const command of commands) {
    const line = command.replace(dirname(dirname(dirname(recipe))), '');
    assert.ok(shown.includes(`\n${line}\n`), `docs/macos.md has no ${line}`);
  }
});

test('where packages lack vhost-user, QEMU is built, with the tools of each system', () => {
  const freebsd = installQemu(host({ os: 'freebsd', packager: 'pkg' }));
  assert.match(freebsd.commands.join('\n'), /^sudo pkg install .*\nfetch https:[^]*gmake -j4/);
  const openbsd = installQemu(host({ os: 'openbsd', packager: 'pkg_add' }));
  assert.match(openbsd.commands.join('\n'), /^doas pkg_add .*\nftp https:[^]*doas gmake install/);
  assert.ok(openbsd.commands.includes('xz -dc qemu-10.2.0.tar.xz | tar xf - && cd qemu-10.2.0'));
  for (const { commands } of [freebsd, openbsd]) {
    assert.ok(commands.some((line) => line.includes('--enable-vhost-user')));
  }
  assert.deepEqual(['x64', 'arm64', 'mips'].map(ownGuestArch), ['x86_64', 'aarch64', 'mips']);
});

test('the limit of descriptors is judged by what a device needs', () => {
  for (const [fds, status] of [
    [63, 'missing'],
    [64, 'slower'],
    [1023, 'slower'],
    [1024, 'works'],
    [Infinity, 'works'],
    [null, 'unknown'],
  ] as const) {
    const found = fdFinding(fds, HOST);
    assert.equal(found.status, status, String(fds));
    assert.equal(found.remedy === null, status === 'works' || status === 'unknown');
  }
  assert.match(fdFinding(64, HOST).detail, /enough for one device/);
  assert.match(fdFinding(63, HOST).detail, /no device starts/);
  const { remedy: todo } = fdFinding(64, HOST);
  assert.deepEqual(todo?.commands, ['sudo prlimit --pid $$ --nofile=65536:65536']);
  assert.ok(isHealthy([fdFinding(null, HOST)])); // what the shell does not tell is no fault
});

test('little room in /dev/shm is told with what makes it more', () => {
  const small = shmRoom(64 * 2 ** 20, host({ isContainer: true }));
  assert.equal(small.status, 'missing');
  assert.match(small.detail, /^room for 64 MiB only/);
  assert.match(small.remedy?.commands[0] ?? '', /--shm-size/);
  assert.match(shmRoom(2 ** 20, HOST).remedy?.commands[0] ?? '', /^sudo mount -o remount/);
  assert.equal(shmRoom(2 ** 30, HOST).status, 'works');
});

test('where /dev/shm is missing it is mounted, or the container is started with one', () => {
  assert.deepEqual(mountShm(HOST).commands, ['sudo mount -t tmpfs -o mode=1777 tmpfs /dev/shm']);
  assert.match(mountShm(host({ isContainer: true })).commands[0] ?? '', /^docker run --shm-size/);
});

test('where /proc is not mounted one command mounts it, and other systems have none', () => {
  const [found] = procFinding(HOST, false);
  assert.deepEqual([found?.status, found?.needed], ['missing', false]);
  assert.deepEqual(found?.remedy?.commands, ['sudo mount -t proc proc /proc']);
  assert.deepEqual(procFinding(HOST, true), []);
  assert.deepEqual(procFinding(host({ os: 'freebsd' }), false), []);
});

test('a refusal of io_uring is explained by the setting, the filter or the limit', () => {
  const set = (value: string) => (): string => value;
  for (const [errno, setting, filtered, facts, why, command] of [
    [
      'EPERM',
      '2',
      false,
      HOST,
      /io_uring_disabled is 2$/,
      'sudo sysctl kernel.io_uring_disabled=0',
    ],
    ['EPERM', '1', true, HOST, /is 1 \(for all but/, 'sudo sysctl kernel.io_uring_disabled=0'],
    ['EPERM', '0', true, HOST, /filter of system calls/, /seccomp=unconfined/],
    ['ENOSYS', '', false, host({ isContainer: true }), /filter of system calls/, /docker run/],
    ['ENOMEM', '0', true, HOST, /too little memory may be locked/, 'ulimit -l unlimited'],
    ['ENOSYS', '', false, HOST, /^refused with ENOSYS$/, undefined],
  ] as const) {
    const [text, { commands }] = uringRefusal(errno, facts, set(setting), filtered);
    assert.match(text, why);
    if (command instanceof RegExp) assert.match(commands[0] ?? '', command);
    else assert.equal(commands[0], command);
  }
});

test('what KVM says is told with what to do, and a machine in a machine is warned', () => {
  const works = kvmVerdict({ kind: 'works' }, HOST, false);
  assert.deepEqual([works.status, works.remedy], ['works', null]);
  const nested = kvmVerdict({ kind: 'works' }, HOST, true);
  assert.equal(nested.status, 'works');
  assert.match(nested.remedy?.text ?? '', /-accel tcg/);
  const refused = (errnoName: string): string =>
    kvmVerdict({ kind: 'refused', errnoName }, HOST, false).remedy?.commands[0] ?? '';
  assert.match(refused('EACCES'), /usermod -aG kvm/);
  assert.match(refused('EIO'), /dmesg/);
  assert.match(kvmVerdict({ kind: 'refused', errnoName: 'EBUSY' }, HOST, false).detail, /another/);
  const absent = (facts: HostFacts, isNested: boolean): string =>
    JSON.stringify(kvmVerdict({ kind: 'absent' }, facts, isNested));
  assert.match(absent(HOST, false), /modprobe/);
  assert.match(absent(HOST, true), /nested virtualization/);
  assert.match(absent(host({ isContainer: true }), true), /--device \/dev\/kvm/);
});

test('each other system is told what its sandbox is, or that it has none', () => {
  for (const [os, name] of [
    ['openbsd', /^pledge and unveil; .*model/],
    ['freebsd', /^Capsicum, .*model/],
    ['darwin', /^Seatbelt .*model/],
  ] as const) {
    const [finding] = otherSandbox(os);
    assert.equal(finding?.status, 'works');
    assert.match(finding.detail, name);
  }
  const [netbsd] = otherSandbox('netbsd');
  assert.equal(netbsd?.status, 'missing');
  assert.match(netbsd.detail, /on netbsd$/);
  assert.match(netbsd.remedy?.text ?? '', /user of few rights/);
});

test('a sandbox is told by the version of Landlock, and why there is none', () => {
  const works = judgeSandbox({ kind: 'works', abi: 7 }, true, HOST);
  assert.deepEqual([works.status, works.detail], ['works', 'Landlock ABI 7, seccomp']);
  assert.equal(judgeSandbox({ kind: 'works', abi: 7 }, false, HOST).status, 'missing');
  const untold = judgeSandbox({ kind: 'works', abi: 7 }, null, HOST);
  assert.deepEqual([untold.status, untold.remedy?.text], ['unknown', 'Mount /proc']);
  const refused = (errnoName: string, facts: HostFacts = HOST): Finding =>
    judgeSandbox({ kind: 'refused', errnoName }, true, facts);
  assert.match(refused('EOPNOTSUPP').remedy?.text ?? '', /lsm=/);
  assert.match(refused('ENOSYS').remedy?.text ?? '', /5\.13/);
  assert.match(refused('ENOSYS', host({ isContainer: true })).remedy?.text ?? '', /container/);
  for (const errno of ['EOPNOTSUPP', 'ENOSYS']) {
    assert.deepEqual([refused(errno).status, refused(errno).needed], ['missing', false]);
  }
});

test('a shared folder is told its sandbox, why it is no mount namespace, and how to get one', () => {
  const parts = ['Landlock 7', 'seccomp'];
  const noNamespace = 'it takes CAP_SYS_ADMIN, which this process does not have';
  const root = host({ isRoot: true });
  const best = { parts: ['mount namespace', ...parts], missing: [], noNamespace: null };
  const { status, detail, remedy: todo } = judgeSharedFolder(best, root, 'none');
  assert.deepEqual([status, todo], ['works', null]);
  assert.equal(detail, 'by mount namespace, Landlock 7, seccomp');
  for (const [facts, users, reason, said, command] of [
    [HOST, 'mapped', noNamespace, /; a user namespace gives that$/, /^unshare -r --map-auto -- vh/],
    [HOST, 'single', noNamespace, /no ids for users of the guest/, /^sudo vhost-user fs/],
    [HOST, 'none', noNamespace, /nor do user namespaces give/, /^sudo vhost-user fs/],
    [root, 'none', noNamespace, /does not have$/, /keep CAP_SYS_ADMIN/],
    [root, 'none', 'mount_setattr(): ENOSYS', /: mount_setattr\(\): ENOSYS$/, /5\.12/],
    [root, 'none', 'mount(/): EACCES', /mount\(\/\): EACCES$/, /security module/],
    [host({ isContainer: true }), 'none', noNamespace, /CAP_SYS_ADMIN/, /--cap-add SYS_ADMIN/],
  ] as const) {
    const found = judgeSharedFolder({ parts, missing: [], noNamespace: reason }, facts, users);
    assert.equal(found.status, 'works');
    assert.match(found.detail, /^by Landlock 7, seccomp; a mount namespace would shut more: /);
    assert.match(found.detail, said);
    assert.match(found.remedy?.commands[0] ?? found.remedy?.text ?? '', command);
  }
});

test('a shared folder without all of its sandbox is missing it, or it is unknown', () => {
  const lacking = { parts: ['seccomp'], missing: ['Landlock: this kernel has none'] };
  const found = judgeSharedFolder({ ...lacking, noNamespace: null }, HOST, 'none');
  assert.deepEqual([found.status, found.needed], ['missing', false]);
  assert.equal(found.detail, 'by seccomp; not Landlock: this kernel has none');
  const nothing = judgeSharedFolder({ parts: [], missing: [], noNamespace: null }, HOST, 'none');
  assert.deepEqual([nothing.status, nothing.detail], ['missing', 'by nothing']);
  const fault = parseTrial({ stdout: '', stderr: '', fault: 'ended by SIGSYS' });
  assert.equal(fault, 'ended by SIGSYS');
  assert.equal(untold(fault).status, 'unknown');
  assert.equal(parseTrial({ stdout: 'oops', stderr: '', fault: null }), 'printed no answer: oops');
});

test('errors of native modules are told apart by what the loaders say', () => {
  const said = (text: string, isInstalled = true, hasPrebuilt = true): string => {
    const verdict = nativeFault(new Error(text), 'koffi 3.3.4', isInstalled, hasPrebuilt, HOST);
    assert.equal(verdict.status, 'missing');
    return `${verdict.detail} -> ${[verdict.remedy.text, ...verdict.remedy.commands].join(': ')}`;
  };
  assert.match(said('Cannot find package', false), /not installed -> .*npm install$/);
  assert.match(said('Cannot find the native Koffi module', true, false), /--include=optional$/);
  assert.match(said('/x/koffi.node: failed to map segment from shared object'), /noexec/);
  assert.match(said("/lib/libc.so.6: version `GLIBC_2.38' not found"), /on this very system/);
  assert.match(said('Error loading shared library ld-linux-x86-64.so.2'), /on this very system/);
  assert.match(said('invalid ELF header\nat somewhere'), /not load: invalid ELF header -> /);
  // The library's own error has advice, too: what the loader said is in it.
  const cause = new Error('Cannot find the native Koffi module');
  const ours = new VhostUserError('ERR_VHU_KOFFI', 'koffi does not load', { cause });
  const bare = nativeFault(ours, 'koffi 3.3.4', true, true, HOST);
  assert.equal(bare.detail, 'koffi 3.3.4: it does not load: Cannot find the native Koffi module');
  const few = Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' });
  assert.equal(nativeFault(few, 'koffi', true, true, HOST).status, 'unknown');
  const blind = new VhostUserError('ERR_VHU_HOST', 'Deno 2.9.6 cannot serve devices');
  const refused = nativeFault(blind, 'koffi', true, true, HOST);
  assert.equal(refused.status, 'missing');
  assert.match(refused.detail, /Deno 2\.9\.6 cannot/);
  assert.match(refused.remedy.text, /^Use Node/);
  const netbsd = nativeFault(
    new Error('Cannot find it'),
    'koffi',
    true,
    false,
    host({ os: 'netbsd' }),
  );
  assert.match(netbsd.detail, /does not compile/);
  assert.match(netbsd.remedy.text, /docs\/hosts\.md/);
});

test('only what is needed and not there makes a host unfit', () => {
  const with_ = (status: Status, needed: boolean): Finding[] => {
    const finding = { id: 'x', section: 'kernel', title: 'X', detail: '', remedy: remedy('y') };
    return [{ ...finding, status, needed } as Finding];
  };
  assert.ok(isHealthy([]));
  assert.ok(isHealthy(with_('works', true)) && isHealthy(with_('slower', true)));
  assert.ok(isHealthy(with_('missing', false)) && isHealthy(with_('unknown', false)));
  assert.ok(!isHealthy(with_('missing', true)) && !isHealthy(with_('unknown', true)));
});
