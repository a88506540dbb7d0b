/**
 * Tests of `vhost-user qemu` with a script in QEMU's place: what it is started with, when, how its
 * end and ours go together, and that nothing is left behind on any way out.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PROGRAM_FILE, RunningProgram, runProgram } from '../support/program.ts';
import type { Ended } from '../support/program.ts';

/** It answers as QEMU 10.2 would; then it does what the test asks for. */
const FAKE_QEMU = `#!/bin/sh
case "$*" in
*--version*) echo 'QEMU emulator version 10.2.1 (test)'; exit ;;
*'-device help'*)
  for name in blk fs vsock rng test-device; do echo "name \\"vhost-user-$name-pci\\""; done; exit ;;
*'-object help'*)
  echo 'List of user creatable objects:'; printf '  memory-backend-%s\\n' memfd shm; exit ;;
*'-accel help'*) printf '%s\\n' 'Accelerators supported in QEMU binary:' tcg; exit ;;
esac
printf '%s\\n' "$@" >"$QEMU_SAW/words"
echo $$ >"$QEMU_SAW/pid"
for word; do
  case $word in socket,*) path=\${word##*path=}; [ -S "$path" ] && ls -ld "\${path%/*}" ;; esac
done >"$QEMU_SAW/folders"
eval "$QEMU_DOES"
`;

/** Until a signal, by which it ends with a status of its own. */
const WAITS =
  "trap 'exit 21' INT; trap 'exit 22' TERM; trap 'exit 23' HUP; " +
  'echo running >&2; while :; do sleep 0.1; done';
const LIMIT_MS = 60_000;

let folder = '';
let image = '';
let qemu = '';
let runs = 0;

before(() => {
  folder = mkdtempSync('/tmp/vhu-qemu-');
  image = join(folder, 'disk.img');
  writeFileSync(image, '');
  truncateSync(image, 1 << 20);
  mkdirSync(join(folder, 'src'));
  qemu = join(folder, 'qemu-system-x86_64');
  writeFileSync(qemu, FAKE_QEMU);
  chmodSync(qemu, 0o755);
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** One run: where the script tells what it saw, and where the private folder has to be. */
class Run {
  readonly saw: string;
  readonly temporary: string;
  readonly env: NodeJS.ProcessEnv;

  constructor(does: string) {
    runs++;
    this.saw = join(folder, `saw${runs}`);
    this.temporary = join(folder, `tmp${runs}`);
    for (const path of [this.saw, this.temporary]) mkdirSync(path);
    this.env = { TMPDIR: this.temporary, QEMU_SAW: this.saw, QEMU_DOES: does };
  }

  args(devices: readonly string[], words: readonly string[] = []): string[] {
    return ['qemu', ...devices, '--qemu', qemu, '--', ...words];
  }

  start(devices: readonly string[], words: readonly string[] = []): RunningProgram {
    return new RunningProgram(this.args(devices, words), { env: this.env, cwd: folder });
  }

  async whole(devices: readonly string[], words: readonly string[] = []): Promise<Ended> {
    return await runProgram(this.args(devices, words), { env: this.env, cwd: folder });
  }

  read(name: string): string {
    return readFileSync(join(this.saw, name), 'utf8');
  }

  /** Nothing is left: no folder, no socket, no QEMU. */
  async expectTidy(): Promise<void> {
    const until = Date.now() + LIMIT_MS;
    while (this.left().length > 0 && Date.now() < until) await sleep(50);
    assert.deepEqual(this.left(), []);
  }

  left(): string[] {
    const pid = existsSync(join(this.saw, 'pid')) ? Number(this.read('pid')) : 0;
    const running = pid !== 0 && isRunning(pid) ? [`process ${pid}`] : [];
    return [...readdirSync(this.temporary), ...running];
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test('QEMU is started when all sockets are there, in a private folder, and its status is ours', async () => {
  const run = new Run('exit 7');
  const devices = ['--blk', image, '--fs', './src:my', '--vsock', '5', '--rng'];
  const ended = await run.whole(devices, ['-m', '64M', '-append', 'a b']);
  assert.equal(ended.code, 7, ended.stderr);
  const folders = run.read('folders').trimEnd().split('\n');
  assert.equal(folders.length, 4);
  for (const line of folders) assert.match(line, /^drwx------/);
  const words = run.read('words');
  assert.match(
    words,
    /\nsocket,id=blk0,path=\/tmp\/vhu-qemu-\w+\/tmp\d+\/vhost-user-\w+\/blk0\.sock\n/,
  );
  assert.match(words, /\nvhost-user-fs-pci,chardev=fs0,tag=my,queue-size=1024\n/);
  assert.match(words, /\n-m\n64M\n-object\nmemory-backend-\w+,id=mem,size=64M,share=on\n/);
  assert.match(words, /\n-append\na b\n$/);
  assert.match(ended.stderr, /vsock0: .* vhost-user vsock-connect \S+\/vsock0\.vsock PORT\n/);
  await run.expectTidy();
});

test('a signal is passed on, and the status that QEMU ends with is ours', async () => {
  for (const [signal, code] of [
    ['SIGINT', 21],
    ['SIGTERM', 22],
    ['SIGHUP', 23],
  ] as const) {
    const run = new Run(WAITS);
    const program = run.start(['--blk', image, '--rng']);
    await program.says(/running/);
    const ended = await program.end(signal);
    assert.equal(ended.code, code, `${signal}: ${ended.stderr}`);
    await run.expectTidy();
  }
});

test('a QEMU that no signal ends is killed by the third one', async () => {
  const run = new Run(
    "trap 'echo refused >&2' INT TERM; echo running >&2; while :; do sleep 0.1; done",
  );
  const program = run.start(['--rng']);
  await program.says(/running/);
  // One after the other has come: two that are sent to a process that sleeps are one for it.
  program.child.kill('SIGINT');
  await program.says(/refused/);
  program.child.kill('SIGINT');
  await program.says(/refused[^]*refused/);
  assert.equal(program.child.exitCode, null);
  const ended = await program.end('SIGINT');
  assert.equal(ended.code, 128 + 9, ended.stderr);
  await run.expectTidy();
});

test('a QEMU that is killed ends its devices, and the status says by what', async () => {
  const run = new Run('kill -KILL $$');
  const ended = await run.whole(['--blk', image]);
  assert.equal(ended.code, 128 + 9, ended.stderr);
  await run.expectTidy();
});

test('when this program is killed, QEMU is ended and the folder is removed all the same', async () => {
  const run = new Run(WAITS);
  const program = run.start(['--blk', image, '--rng']);
  await program.says(/running/);
  assert.notDeepEqual(run.left(), []);
  // It resolves when QEMU, too, has let go of standard error.
  const ended = await program.end('SIGKILL');
  assert.equal(ended.signal, 'SIGKILL');
  await run.expectTidy();
});

test('a device that cannot be served ends all, before QEMU is started', async () => {
  const run = new Run('exit 0');
  const missing = join(folder, 'no.img');
  const ended = await run.whole(['--rng', '--blk', missing]);
  assert.equal(ended.code, 1);
  assert.match(ended.stderr, /no\.img/);
  assert.ok(!existsSync(join(run.saw, 'pid')), 'QEMU was not started');
  await run.expectTidy();
});

test('a QEMU that cannot be started is named, and nothing is left', async () => {
  const run = new Run('exit 0');
  const args = ['qemu', '--rng', '--qemu', join(folder, 'none/qemu-system-x86_64')];
  const ended = await runProgram(args, { env: run.env });
  assert.equal(ended.code, 1);
  assert.match(ended.stderr, /none\/qemu-system-x86_64: there is no such program/);
  await run.expectTidy();
});

test('a signal before QEMU is started ends all of it, and says so by the status', async () => {
  const run = new Run('exit 0');
  const program = run.start(['--blk', image, '--rng', '--log-level', 'info']);
  await program.says(/"event":"starting"/);
  const ended = await program.end('SIGTERM');
  // On a fast machine QEMU has come first, and ended with status 0.
  assert.ok([0, 128 + 15].includes(ended.code ?? -1), `${ended.code}: ${ended.stderr}`);
  await run.expectTidy();
});

test('a folder for sockets that is there already is kept, and only the sockets go', async () => {
  const run = new Run('exit 0');
  const sockets = join(folder, 'sockets');
  mkdirSync(sockets, { mode: 0o755 });
  writeFileSync(join(sockets, 'mine'), '');
  const ended = await run.whole(['--rng', '--socket-dir', sockets]);
  assert.equal(ended.code, 0, ended.stderr);
  assert.deepEqual(readdirSync(sockets), ['mine']);
  const made = join(folder, 'made');
  assert.equal((await run.whole(['--rng', '--socket-dir', made])).code, 0);
  assert.ok(!existsSync(made), 'one that was made is removed');
  const long = join(folder, 'x'.repeat(60));
  const refused = await run.whole(['--rng', '--socket-dir', long]);
  assert.match(refused.stderr, /sockets need a shorter path/);
});

test('devices of a file are served as well, with sockets of their own or of ours', async () => {
  const run = new Run('exit 0');
  const config = join(folder, 'devices.yaml');
  const socket = join(folder, 'own.sock');
  writeFileSync(
    config,
    `devices:\n  - {type: rng, name: one, socket-path: ${socket}}\n  - {type: rng, name: two}\n`,
  );
  const ended = await run.whole(['--rng', '--config', config]);
  assert.equal(ended.code, 0, ended.stderr);
  const words = run.read('words');
  assert.match(words, /id=rng0,path=\S+\/rng0\.sock\n[^]*id=rng1,path=\S+\/own\.sock\n/);
  assert.match(words, /id=rng2,path=\S+\/rng2\.sock\n/);
  assert.ok(!existsSync(socket));
  writeFileSync(config, 'devices:\n  - {type: rng, fd: 3}\n');
  const refused = await run.whole(['--config', config]);
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /devices\.yaml:2:\d+: devices\[0\]\.fd: cannot be here/);
  await run.expectTidy();
});

test('a console that has no place of its own says where it is', async () => {
  const run = new Run('exit 0');
  const ended = await run.whole(['--console']);
  assert.equal(ended.code, 0, ended.stderr);
  assert.match(ended.stderr, /vhost-user: console0: .*\/dev\/pts\/\d+/);
  assert.match(
    run.read('words'),
    /vhost-user-test-device-pci,chardev=console0,virtio-id=3,num_vqs=4/,
  );
});

test('what is wrong is named by the option that it stands in, and nothing is started', async () => {
  const wrong: readonly (readonly [readonly string[], RegExp])[] = [
    [[], /which devices\?/],
    [['--blk', `${image},num-queues=0`], /--blk \S+disk\.img,num-queues=0: num-queues: must be/],
    [
      ['--blk', `${image},colour=red`],
      /--blk …,colour: there is no such setting; there are .*serial/,
    ],
    [['--blk', `${image},fd=3`], /--blk …,fd: cannot be set here/],
    [['--vsock', '2'], /--vsock 2: guest-cid: must be a whole number from 3/],
    [['--console', 'stdio'], /this terminal is QEMU/],
    [['--console', 'nowhere'], /--console nowhere: where does it lead\?/],
    [['--fs', ''], /--fs: needs one of shared-dir/],
    [['--rng', '--for', 'crosvm'], /goes with --print/],
  ];
  for (const [devices, expected] of wrong) {
    const run = new Run('exit 0');
    const ended = await run.whole(devices);
    assert.equal(ended.code, 2, `${devices.join(' ')}: ${ended.stderr}`);
    assert.match(ended.stderr, expected);
    await run.expectTidy();
  }
  const run = new Run('exit 0');
  const ended = await run.whole(['--rng'], ['-daemonize']);
  assert.match(ended.stderr, /-daemonize: QEMU stays in the foreground/);
});

test('a disk has a queue for each processor, unless it says how many', async () => {
  const run = new Run('exit 0');
  const second = join(folder, 'second.img');
  writeFileSync(second, Buffer.alloc(4096));
  const devices = ['--blk', image, '--blk', `${second},num-queues=1,read-only,no-discard`];
  const ended = await run.whole(devices, ['-smp', '3']);
  assert.equal(ended.code, 0, ended.stderr);
  assert.match(run.read('words'), /chardev=blk0,num-queues=3\n[^]*chardev=blk1,num-queues=1\n/);
});

test('the script that is printed does the same by any shell', async () => {
  const run = new Run('exit 9');
  const socketDir = join(folder, "it's a folder");
  const args = [
    ...['qemu', '--blk', `${image},read-only`, '--fs', './src:a tag', '--rng', '--print'],
    ...['--qemu', qemu, '--socket-dir', socketDir, '--', '-append', "it's $HOME"],
  ];
  const printed = await runProgram(args, { cwd: folder });
  assert.equal(printed.code, 0, printed.stderr);
  const bin = join(folder, 'bin');
  mkdirSync(bin, { recursive: true });
  const program = `#!/bin/sh\nexec '${process.execPath}' '${PROGRAM_FILE}' "$@"\n`;
  writeFileSync(join(bin, 'vhost-user'), program, { mode: 0o755 });
  const env = { ...process.env, ...run.env, PATH: `${bin}:${process.env.PATH ?? ''}` };
  const shell = spawnSync('/bin/sh', ['-c', printed.stdout], {
    env,
    cwd: folder,
    encoding: 'utf8',
  });
  assert.equal(shell.status, 9, shell.stderr);
  assert.match(run.read('words'), /tag=a tag,[^]*\n-append\nit's \$HOME\n$/);
  assert.equal(run.read('folders').trimEnd().split('\n').length, 3);
  assert.ok(!existsSync(socketDir));
  const broken = printed.stdout.replace(image, join(folder, 'no.img'));
  rmSync(join(run.saw, 'pid'));
  const failed = spawnSync('/bin/sh', ['-c', broken], { env, cwd: folder, encoding: 'utf8' });
  assert.equal(failed.status, 1, 'a device that does not start ends the script');
  assert.ok(!existsSync(join(run.saw, 'pid')) && !existsSync(socketDir));
});
