/**
 * Tests of `vhost-user doctor` as a new user starts it: without QEMU, with broken ones, without
 * native calls, with few descriptors, without a folder for sockets, without io_uring.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { homedir, hostname, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import type { TestContext } from 'node:test';
import type { Finding } from '../../src/doctor/index.ts';
import { PROGRAM_FILE, runProgram } from '../support/program.ts';
import { BUILD, ROOT, readText } from '../support/repository.ts';

const folder = mkdtempSync(join(tmpdir(), 'vhu-doctor-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const NATIVE = { VHOST_USER_HOST: '' };
const CASES: Readonly<Record<string, string>> = {
  '*--version*': 'echo "QEMU emulator version 99.1.0 (test)"',
  "*'-device help'*":
    'for name in blk fs vsock rng test-device; do ' +
    `printf 'name "vhost-user-%s-pci", bus PCI\\n' $name; done`,
  "*'-object help'*": 'printf "List of user creatable objects:\\n  memory-backend-memfd\\n"',
  "*'-accel help'*": 'printf "Accelerators supported in QEMU binary:\\ntcg\\n"',
};

/** A program that answers as QEMU does, but for some of the questions. */
function fakeQemu(name: string, changed: Readonly<Record<string, string>> = {}): string {
  const cases = Object.entries({ ...CASES, ...changed });
  const lines = cases.map(([pattern, command]) => `${pattern}) ${command} ;;`);
  const file = join(folder, name, 'qemu-system-x86_64');
  mkdirSync(dirname(file));
  writeFileSync(file, `#!/bin/sh\ncase "$*" in\n${lines.join('\n')}\n*) exit 64 ;;\nesac\n`);
  chmodSync(file, 0o755);
  return file;
}

const good = fakeQemu('good');

interface Answer {
  readonly schemaVersion: number;
  readonly healthy: boolean;
  readonly host: { readonly node: string };
  readonly findings: readonly Finding[];
  readonly qemus: readonly { readonly path: string; readonly fault: string | null }[];
}

function finding({ findings }: Answer, id: string): Finding {
  const found = findings.find((each) => each.id === id);
  assert.ok(found, `${id} is not among ${findings.map((each) => each.id).join(', ')}`);
  return found;
}

function parsed(text: string): Answer {
  return JSON.parse(text) as Answer;
}

/** What the doctor says with the good QEMU, and other circumstances. */
async function examined(
  options: Parameters<typeof runProgram>[1],
  qemu: string = good,
): Promise<Answer & { readonly code: number | null }> {
  const { code, stdout, stderr } = await runProgram(['doctor', '--json', '--qemu', qemu], options);
  assert.equal(stderr, '');
  return { ...parsed(stdout), code };
}

test('with all that is needed the exit code is 0, and each check has been made', async () => {
  const answer = await examined({ env: NATIVE });
  assert.equal(answer.code, 0, JSON.stringify(answer.findings));
  assert.deepEqual([answer.schemaVersion, answer.healthy], [1, true]);
  assert.equal(answer.host.node, process.versions.node);
  const ids = ['node', 'koffi', 'fd-passing', 'notifiers', 'shared-memory', 'poller'];
  for (const id of [...ids, 'open-files', 'socket-folder', 'vmm']) {
    const { needed, status } = finding(answer, id);
    assert.ok(needed, id);
    assert.match(status, /works|slower/, id);
  }
  assert.equal(finding(answer, 'vmm').detail, `${good} attaches blk, fs, vsock, rng, console`);
  if (process.platform === 'linux') {
    assert.match(finding(answer, 'sandbox').detail, /Landlock/);
    assert.ok(finding(answer, 'dev-shm').detail.startsWith('room for'));
  }
});

test('a QEMU of a folder in PATH is found first, and the text names what it attaches', async () => {
  const env = { PATH: `${dirname(good)}:${process.env.PATH ?? ''}` };
  const { stdout, stderr } = await runProgram(['doctor'], { env });
  assert.equal(stderr, '');
  const text = stdout.replaceAll(/\s+/g, ' ');
  assert.match(text, /works A monitor \S+\/good\/qemu-system-x86_64 attaches blk, fs/);
  assert.match(text, /99\.1\.0 \(test\); vhost-user devices blk, fs, rng, test-device, vsock/);
  assert.doesNotMatch(stdout, /\x1b/);
});

test('in POSIX mode it says so, and still all that is needed works', async () => {
  const answer = await examined({ env: { VHOST_USER_HOST: 'posix' } });
  assert.equal(answer.code, 0, JSON.stringify(answer.findings));
  assert.equal(finding(answer, 'mode').status, 'slower');
  assert.deepEqual(finding(answer, 'mode').remedy?.commands, ['unset VHOST_USER_HOST']);
  assert.match(finding(answer, 'notifiers').detail, /^pipes$/);
  assert.match(finding(answer, 'poller').detail, /^poll,/);
});

test('QEMUs that hang, crash or print garbage are findings, and hold nobody up', async () => {
  const hangs = fakeQemu('hangs', { "*'-device help'*": 'exec sleep 600' });
  const crashes = fakeQemu('crashes', { '*--version*': 'kill -SEGV $$' });
  const garbage = fakeQemu('garbage', { '*--version*': 'head -c 4000 /dev/urandom' });
  const paths = [hangs, crashes, garbage, join(folder, 'gone/qemu-system-x86_64')];
  const words = paths.flatMap((path) => ['--qemu', path]);
  const { code, stdout, stderr } = await runProgram(['doctor', '--json', ...words]);
  assert.equal(code, 1);
  assert.equal(stderr, '');
  const answer = parsed(stdout);
  assert.equal(finding(answer, 'vmm').status, 'missing');
  const faults = answer.qemus.map(({ fault }) => fault);
  assert.match(faults[0] ?? '', /'-device help' did not end within \d+ s/);
  assert.match(faults[1] ?? '', /ended by SIGSEGV/);
  assert.match(faults[2] ?? '', /printed no version of QEMU/);
  assert.match(faults[3] ?? '', /could not be started: ENOENT/);
  for (const path of paths) {
    const { status, remedy } = finding(answer, `qemu:${path}`);
    assert.equal(status, path === paths[3] ? 'missing' : 'unknown');
    assert.ok(remedy);
  }
});

test('a QEMU without vhost-user attaches nothing, which is what is missing', async () => {
  const bare = fakeQemu('bare', { "*'-device help'*": `printf 'name "virtio-net-pci"\\n'` });
  const answer = await examined({}, bare);
  assert.equal(answer.code, 1);
  assert.match(finding(answer, `qemu:${bare}`).detail, /built without vhost-user/);
  assert.equal(finding(answer, `qemu:${bare}`).status, 'missing');
});

test('without any QEMU there is one command that installs it', (t) => {
  if (process.geteuid?.() !== 0 || spawnSync('unshare', ['-m', 'true']).status !== 0) {
    t.skip('only root can hide the QEMUs of this host from one process');
    return;
  }
  // Something that is no program lies over each; this process sees them as before.
  const hide = 'for f in /usr/bin/qemu-system-* /usr/local/bin/qemu-system-* /usr/libexec/qemu-kvm';
  const script = `${hide}; do [ -e "$f" ] && mount --bind /dev/null "$f"; done; exec "$@"`;
  const words = [process.execPath, PROGRAM_FILE, 'doctor', '--json'];
  const result = spawnSync('unshare', ['-m', 'sh', '-c', script, 'sh', ...words], {
    encoding: 'utf8',
    env: { ...process.env, PATH: '/usr/bin:/bin' },
  });
  assert.equal(result.status, 1, result.stderr);
  const answer = parsed(result.stdout);
  assert.deepEqual(answer.qemus, []);
  const { status, detail, remedy } = finding(answer, 'vmm');
  assert.deepEqual([status, detail], ['missing', 'no QEMU was found']);
  assert.match(remedy?.text ?? '', /^Install/);
});

test('a folder in which no socket can be made is missing, and another one is named', async () => {
  let path = join(folder, 'read-only');
  mkdirSync(path, { mode: 0o555 });
  // Root may write there all the same, but not in the kernel's own file system.
  if (process.geteuid?.() === 0) path = '/sys/kernel';
  const answer = await examined({ env: { XDG_RUNTIME_DIR: path } });
  assert.equal(answer.code, 1);
  const { status, detail, remedy } = finding(answer, 'socket-folder');
  assert.equal(status, 'missing');
  assert.match(detail, /no socket can be made in \S+ \(XDG_RUNTIME_DIR\): E(ACCES|PERM|NOENT)/);
  assert.match(remedy?.commands[0] ?? '', /^mkdir .*export XDG_RUNTIME_DIR=/);
});

test('a folder whose name leaves no room for a socket is missing', async () => {
  const path = join(folder, 'x'.repeat(100));
  mkdirSync(path);
  const answer = await examined({ env: { XDG_RUNTIME_DIR: path } });
  assert.equal(answer.code, 1);
  assert.match(finding(answer, 'socket-folder').detail, /too long a name: .* has 10[37] bytes/);
});

test('with 64 descriptors it still answers, and says what they are enough for', async () => {
  const answer = await examined({ fdLimit: 64 });
  assert.equal(answer.code, 0, JSON.stringify(answer.findings));
  const { status, detail, remedy } = finding(answer, 'open-files');
  assert.equal(status, 'slower');
  assert.match(detail, /^64 at a time: enough for one device/);
  assert.ok(remedy);
});

test('with fewer than 64 descriptors it says that they are too few, and how to get more', async () => {
  for (const fdLimit of [40, 48, 56]) {
    const words = ['doctor', '--qemu', good];
    const { code, stdout, stderr } = await runProgram(words, { fdLimit });
    assert.equal(code, 1);
    // Where Node itself cannot open its files any more, there is only the error.
    const text = `${stdout}${stderr}`.replaceAll(/\s+/g, ' ');
    assert.match(text, /missing Open files \d+ at a time: no device starts|'ulimit -n 1024'/);
    assert.doesNotMatch(text, /bug of vhost-user/);
  }
});

const SETPRIV = 'setpriv';
const NOBODY = ['--reuid', '65534', '--regid', '65534', '--clear-groups'];

/** The program with mounts of its own; only root can give it any. */
function mounted(t: TestContext, mounts: string, nobody = false): Answer | null {
  if (process.geteuid?.() !== 0 || spawnSync('unshare', ['-m', 'true']).status !== 0) {
    t.skip('only root can give a process mounts of its own');
    return null;
  }
  const version = [...NOBODY, process.execPath, PROGRAM_FILE, '--version'];
  if (nobody && spawnSync(SETPRIV, version).status !== 0) {
    t.skip('nobody cannot read this program');
    return null;
  }
  const user = nobody ? [SETPRIV, ...NOBODY].join(' ') : '';
  const words = ['-m', 'sh', '-c', `${mounts}; exec ${user} "$@"`, 'sh', process.execPath];
  const result = spawnSync(
    'unshare',
    [...words, PROGRAM_FILE, 'doctor', '--json', '--qemu', good],
    {
      encoding: 'utf8',
      // Somebody else cannot write to the folder of the coverage.
      env: { ...process.env, ...NATIVE, ...(nobody ? { NODE_V8_COVERAGE: '' } : {}) },
    },
  );
  assert.equal(result.stderr, '');
  assert.equal(result.status, 0, result.stdout);
  return parsed(result.stdout);
}

test('without /proc it says so, and calls nothing missing that it cannot see', (t) => {
  const answer = mounted(t, 'umount -l /proc');
  if (answer === null) return;
  const { status, remedy } = finding(answer, 'proc');
  assert.equal(status, 'missing');
  assert.match(remedy?.commands[0] ?? '', /mount -t proc proc \/proc$/);
  assert.notEqual(finding(answer, 'sandbox').status, 'missing');
  assert.equal(finding(answer, 'io_uring').status, 'works');
});

test('with a /dev/shm that cannot be written to, memory by memfd is said to work', (t) => {
  const answer = mounted(t, 'mount -t tmpfs -o ro,size=4k none /dev/shm');
  if (answer === null) return;
  const { status, detail, remedy } = finding(answer, 'shared-memory');
  assert.equal(status, 'works');
  assert.match(detail, /^memfd; shm_open fails with EROFS: only memory-backend-shm of QEMU/);
  assert.equal(remedy?.commands.length, 1);
  assert.equal(finding(answer, 'dev-shm').status, 'missing');
});

test('a user who is not root finds all that is needed, and is told of sudo where root is', (t) => {
  chmodSync(folder, 0o755);
  const answer = mounted(t, 'mount -t tmpfs -o ro,size=4k none /dev/shm', true);
  if (answer === null) return;
  for (const { id, status, remedy } of answer.findings) {
    if (id !== 'dev-shm') assert.match(status, /works|slower/, id);
    const known = /^(sudo|docker|ulimit|unshare) /;
    for (const line of remedy?.commands ?? []) assert.match(line, known, id);
  }
});

test('the sandbox of a shared folder is told by entering it, as root and without rights', (t) => {
  const asRoot = mounted(t, 'true');
  const asNobody = mounted(t, 'true', true);
  if (asRoot === null || asNobody === null) return;
  assert.match(finding(asRoot, 'shared-folder').detail, /^by mount namespace, .*seccomp$/);
  assert.equal(finding(asRoot, 'shared-folder').remedy, null);
  const { status, detail, remedy } = finding(asNobody, 'shared-folder');
  assert.equal(status, 'works');
  assert.match(detail, /^by Landlock \d+, seccomp; .*CAP_SYS_ADMIN, which this process does not/);
  assert.match(detail, /user namespaces? gives? that/);
  assert.ok(remedy);
});

test('root whom a filter keeps from mounting is told the call that failed', (t) => {
  const inject = ['-e', 'trace=move_mount', '-e', 'inject=move_mount:error=EPERM'];
  const answer = strace(t, inject);
  if (answer === null) return;
  const { status, detail, remedy } = finding(answer, 'shared-folder');
  assert.equal(status, 'works');
  if (process.geteuid?.() === 0) assert.match(detail, /shut more: move_mount\(\S+\): EPERM$/);
  assert.ok(remedy);
});

test('what is printed for programs keeps to its schema, and each id is explained', async () => {
  const answer = await examined({ env: { VHOST_USER_HOST: 'posix' }, fdLimit: 64 });
  const { code, ...printed } = answer;
  assert.equal(code, 0);
  const top = ['schemaVersion', 'vhostUser', 'healthy', 'host', 'findings', 'qemus'];
  assert.deepEqual(Object.keys(printed), top);
  const host = ['os', 'arch', 'release', 'distribution', 'container', 'node'];
  assert.deepEqual(Object.keys(printed.host), host);
  const page = readText('docs/doctor.md');
  const order = ['program', 'kernel', 'limits', 'sockets', 'sandbox', 'vmm'];
  const sections = printed.findings.map(({ section }) => order.indexOf(section));
  assert.deepEqual(sections, sections.toSorted(), 'in the order of their sections');
  for (const each of printed.findings) {
    const keys = ['detail', 'id', 'needed', 'remedy', 'section', 'status', 'title'];
    assert.deepEqual(Object.keys(each).sort(), keys, each.id);
    assert.match(each.status, /^(works|slower|missing|unknown)$/);
    if (each.status !== 'works') assert.ok(each.remedy, `${each.id} says what to do`);
    if (each.remedy) assert.deepEqual(Object.keys(each.remedy), ['text', 'commands']);
    const name = each.id.replace(/^attach:.*/, 'attach:DEVICE').replace(/^qemu:.*/, 'qemu:PATH');
    assert.ok(page.includes(`\`${name}\``), `docs/doctor.md does not explain ${name}`);
  }
  const [qemu = {}] = printed.qemus;
  const known = ['path', 'guestArch', 'version', 'packaging', 'vhostUserDevices'];
  assert.deepEqual(Object.keys(qemu), [...known, 'memoryBackends', 'accelerators', 'fault']);
});

test('where io_uring is refused, disks are said to be slower, and nothing is missing', (t) => {
  const answer = strace(t, [
    '-e',
    'trace=io_uring_setup',
    '-e',
    'inject=io_uring_setup:error=EPERM',
  ]);
  if (answer === null) return;
  const { status, detail, remedy } = finding(answer, 'io_uring');
  assert.equal(status, 'slower');
  assert.match(detail, /EPERM|io_uring_disabled/);
  assert.match(detail, /preadv/);
  assert.ok(remedy);
});

/** The program under strace, which fails some of its system calls. */
function strace(t: TestContext, inject: readonly string[]): Answer | null {
  const words = ['--seccomp-bpf', '-f', '-o', '/dev/null', ...inject];
  if (spawnSync('strace', [...words, 'true']).status !== 0) {
    t.skip('strace that can fail system calls is not installed');
    return null;
  }
  const program = [process.execPath, PROGRAM_FILE, 'doctor', '--json', '--qemu', good];
  const result = spawnSync('strace', [...words, ...program], {
    encoding: 'utf8',
    env: { ...process.env, ...NATIVE },
  });
  assert.equal(result.status, 0, result.stderr);
  return parsed(result.stdout);
}

/** The program with another koffi beside it, or none; its path. */
function installedWith(name: string, koffi: (modules: string) => void): string {
  const root = join(folder, name);
  const modules = join(root, 'node_modules');
  mkdirSync(modules, { recursive: true });
  cpSync(join(ROOT, 'package.json'), join(root, 'package.json'));
  cpSync(join(BUILD, 'src'), join(root, 'dist'), {
    recursive: true,
    filter: (source) => !/\.(map|d\.ts)$|\.test\.js$/.test(source),
  });
  for (const each of ['commander', 'pino', 'yaml', 'zod']) {
    symlinkSync(join(ROOT, 'node_modules', each), join(modules, each));
  }
  koffi(modules);
  return join(root, 'dist/cli/main.js');
}

/** koffi without its binaries. */
function bareKoffi(modules: string): void {
  for (const file of [
    'package.json',
    'index.cjs',
    'src/koffi/index.cjs',
    'src/koffi/src/static.cjs',
  ]) {
    cpSync(join(ROOT, 'node_modules/koffi', file), join(modules, 'koffi', file));
  }
}

test('koffi that is not there, has no binary, or a broken one, is a finding', async () => {
  const { platform, arch } = process;
  const broken = (modules: string): void => {
    bareKoffi(modules);
    const name = `koffi-${platform}-${arch}`;
    const prebuilt = join(modules, '@koromix', name);
    cpSync(join(ROOT, 'node_modules/@koromix', name), prebuilt, { recursive: true });
    for (const libc of [platform, 'musl']) {
      const file = join(prebuilt, `${libc}_${arch}`, 'koffi.node');
      writeFileSync(file, readFileSync(file).subarray(0, 4096));
    }
  };
  for (const [name, koffi, pattern] of [
    ['none', () => undefined, /it is not installed/],
    ['bare', bareKoffi, /@koromix\/koffi-\S+\) is not installed/],
    ['broken', broken, /koffi [\d.]+: it does not load: .*(koffi\.node|by SIG(BUS|SEGV))/],
  ] as const) {
    const file = installedWith(name, koffi);
    const words = ['doctor', '--json', '--qemu', good];
    const { code, stdout, stderr } = await runProgram(words, { file });
    assert.equal(code, 1, stderr);
    assert.equal(stderr, '');
    const answer = parsed(stdout);
    const { status, detail, remedy } = finding(answer, 'koffi');
    assert.equal(status, 'missing');
    assert.match(detail, pattern);
    assert.match(remedy?.commands[0] ?? '', /npm install/);
    // What needs no native calls has been looked at nevertheless.
    assert.equal(finding(answer, 'vmm').status, 'works');
    assert.equal(finding(answer, 'socket-folder').status, 'works');
    const text = await runProgram(['doctor', '--qemu', good], { file });
    assert.equal(text.code, 1);
    assert.match(text.stdout, /Needed and not working: Native calls/);
    assert.doesNotMatch(text.stdout + text.stderr, /\n\s+at .*:\d+/);
  }
});

test('without koffi whatever serves ends with advice, and help is to be had', async () => {
  const file = installedWith('speechless', bareKoffi);
  const image = join(folder, 'disk.img');
  writeFileSync(image, Buffer.alloc(1 << 20));
  const socket = join(folder, 'koffi.sock');
  for (const words of [
    ['blk', image, '--socket-path', socket],
    ['blk', image, '--socket-path', socket, '--sandbox', 'none'],
    ['fs', folder, '--socket-path', socket],
    ['rng', '--socket-path', socket],
  ]) {
    const { code, stdout, stderr } = await runProgram(words, { file });
    assert.deepEqual([code, stdout], [1, ''], words.join(' '));
    assert.match(stderr, /^vhost-user: koffi, .* does not load on \S+ with Node [\d.]+: Cannot /);
    assert.match(stderr, /: Cannot find the native Koffi module; .*'vhost-user doctor' says which/);
    assert.match(stderr, /install anew on this very host with 'npm install --include=optional'/);
    assert.doesNotMatch(stderr, /bug|\n./);
  }
  for (const words of [['--version'], ['--help'], ['blk', '--help'], ['fs', '--help']]) {
    const { code, stdout, stderr } = await runProgram(words, { file });
    assert.deepEqual([code, stderr], [0, ''], words.join(' '));
    assert.match(stdout, words.includes('--help') ? /\nExamples?:/ : /^vhost-user \d/);
  }
  const { code, stdout } = await runProgram(['blk', '--print-capabilities'], { file });
  assert.deepEqual([code, /"type": *"block"/.test(stdout)], [0, true]);
});

test('a report is written beside the answer, without the names of home and host', async () => {
  const home = join(folder, 'jane');
  mkdirSync(home);
  const file = join(home, 'report.md');
  const own = fakeQemu('jane/bin');
  const env = { HOME: home, SECRET_TOKEN: 'hunter2' };
  const words = ['doctor', '--report', file, '--qemu', own];
  const { code, stdout } = await runProgram(words, { env });
  assert.equal(code, 0, stdout);
  assert.match(stdout, /read it first/);
  const page = readFileSync(file, 'utf8');
  assert.match(page, /~\/bin\/qemu-system-x86_64 attaches/);
  assert.match(page, /^## What `vhost-user doctor` says$/m);
  const json = /```json\n([^]*?)\n```/.exec(page)?.[1] ?? '';
  assert.equal(parsed(json).schemaVersion, 1);
  for (const secret of [home, 'hunter2', homedir() === '/root' ? home : homedir()]) {
    assert.ok(!page.includes(secret), secret);
  }
  if (hostname().length > 3) assert.doesNotMatch(page, new RegExp(`\\b${hostname()}\\b`));
});

test('a report that cannot be written is an error, with its reason', async () => {
  const file = join(folder, 'no/such/folder.md');
  const words = ['doctor', '--report', file, '--qemu', good];
  const { code, stdout, stderr } = await runProgram(words);
  assert.match(stdout, /^ {2}works {4}Notifiers/m); // what was found is told all the same
  assert.equal(code, 1);
  assert.match(stderr, /^vhost-user: ENOENT.*no\/such\/folder\.md/);
});

test('what the doctor does not know is wrong usage', async () => {
  for (const words of [['--fix'], ['disk'], ['--report']]) {
    const { code, stderr } = await runProgram(['doctor', ...words]);
    assert.equal(code, 2, words.join(' '));
    assert.match(stderr, /Try 'vhost-user doctor --help'/);
  }
});
