/**
 * Tests of the program without a device: help, wrong usage, exit codes, what it prints for others.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { PROGRAM_FILE, runProgram } from '../support/program.ts';
import { ROOT, readText } from '../support/repository.ts';

let folder = '';

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhu-usage-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** Commands of a help text's examples: four blanks in, continued by backslashes. */
function examplesOf(help: string): string[] {
  const [, text = ''] = help.split('Examples:');
  return text
    .replaceAll('\\\n', ' ')
    .split('\n')
    .filter((line) => /^ {4}\S/.test(line))
    .map((line) => line.trim());
}

test('the help of the program and of each command is printed with exit code 0', async () => {
  for (const args of [
    ['--help'],
    ['-h'],
    ['help'],
    ['help', 'blk'],
    ['blk', '--help'],
    ['fs', '--help'],
    ['vsock', '--help'],
    ['console', '--help'],
    ['vsock-connect', '--help'],
    ['fs', '-o', 'source=/srv', '-h'],
    ['run', '-h'],
  ]) {
    const { code, stdout, stderr } = await runProgram(args);
    assert.equal(code, 0, args.join(' '));
    assert.match(stdout, /^Usage: vhost-user /);
    assert.match(stdout, /Examples:/);
    assert.equal(stderr, '');
  }
});

test('the options of a device are in groups', async () => {
  for (const [device, ...groups] of [
    ['blk', 'Image:', 'Queues and threads:', 'Log:', 'Information:'],
    ['fs', 'Caches of the guest:', 'Owners:', 'Extended attributes:', 'Log:', 'Information:'],
    ['console', 'Output:', 'Further ports and queues:', 'Log:', 'Information:'],
    ['vsock', 'Guest:', 'This host:', 'Several guests in one process:', 'Log:', 'Information:'],
    ['rng', 'Bytes:', 'Log:', 'Information:'],
  ] as const) {
    const { stdout } = await runProgram([device, '--help']);
    for (const group of groups) assert.ok(stdout.includes(`\n${group}\n`), group);
    assert.doesNotMatch(stdout, /\nOptions:\n/);
    const [options = ''] = stdout.split('Examples:');
    const widest = Math.max(...options.split('\n').map((each) => each.length));
    assert.ok(widest <= 80, `${widest} columns`);
  }
});

test('every example of a help text is a command of this program or of QEMU', async () => {
  for (const command of [
    ['--help'],
    ...['blk', 'fs', 'vsock', 'rng', 'console', 'run'].map((name) => [name, '--help']),
  ]) {
    const { stdout } = await runProgram(command);
    const examples = examplesOf(stdout);
    assert.ok(examples.length >= 2, stdout);
    for (const example of examples) {
      execFileSync('/bin/sh', ['-n', '-c', example]);
      const tools = 'truncate|qemu-img|qemu-system-\\w+|printf|mkdir|mount|ssh|head|setsid|socat';
      const known = new RegExp(`^(${tools}|(eval "\\$\\()?vhost-user) `);
      assert.match(example, known);
    }
  }
});

test('the examples of run work when they are pasted', async () => {
  const { stdout } = await runProgram(['run', '--help']);
  const program = join(folder, 'vhost-user');
  writeFileSync(program, `#!/bin/sh\nexec '${process.execPath}' '${PROGRAM_FILE}' "$@"\n`, {
    mode: 0o755,
  });
  const [write = '', check = '', , schema = ''] = examplesOf(stdout);
  const script = [write, check, schema].join('\n').replaceAll('/tmp/', `${folder}/`);
  const env = { ...process.env, PATH: `${folder}:${process.env.PATH ?? ''}` };
  const output = execFileSync('/bin/sh', ['-e', '-c', script], { encoding: 'utf8', env });
  assert.equal(output, `${folder}/vms.yaml is good: 1 device\n`);
  const written = JSON.parse(
    readFileSync(join(folder, 'vhost-user.schema.json'), 'utf8'),
  ) as object;
  assert.ok('properties' in written);
});

test('the version is printed in one line', async () => {
  for (const args of [['--version'], ['-V'], ['vsock', '-V'], ['fs', '--version']]) {
    const { code, stdout } = await runProgram(args);
    assert.equal(code, 0);
    assert.match(stdout, /^vhost-user \d+\.\d+\.\d+\S*\n$/);
  }
});

test('capabilities are printed whatever else is on the command line', async () => {
  const block = '{"type":"block","features":["read-only","blk-file"]}\n';
  const fs = '{"type":"fs","features":["separate-options"]}\n';
  const cases: [string[], string][] = [
    [['blk', '--print-capabilities'], block],
    [['blk', '--print-capabilities', '--bogus', '--fd', 'x', '--queue-size=3'], block],
    [['blk', '/no', '--socket-path', '/nonexistent/a', '--print-capabilities', '--help'], block],
    [['fs', '--print-capabilities'], fs],
    [['rng', '--print-capabilities', '-c', '0'], '{"type":"rng","features":[]}\n'],
    [['fs', '-o', 'bogus', '--print-capabilities', '--security-label'], fs],
    [['console', '--print-capabilities', '--tcp', 'x'], '{"type":"console","features":[]}\n'],
    [['vsock', '--vm', 'bogus', '--print-capabilities'], '{"type":"vsock","features":[]}\n'],
  ];
  for (const [args, expected] of cases) {
    const { code, stdout, stderr } = await runProgram(args);
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: expected, stderr: '' });
  }
});

test('under the name of a device it is the command of that name', async () => {
  for (const [name, type, question] of [
    ['vhost-user-blk', /"type":"block"/, /which image\?/],
    ['vhost-user-fs', /"type":"fs"/, /which folder\?/],
    ['virtiofsd', /"type":"fs"/, /which folder\?/],
    ['vhost-user-console', /"type":"console"/, /where to meet the front-end\?/],
    ['vhost-user-vsock', /"type":"vsock"/, /how do guest and host reach each other\?/],
    ['vhost-device-vsock', /"type":"vsock"/, /how do guest and host reach each other\?/],
    ['vhost-user-rng', /"type":"rng"/, /where to meet the front-end\?/],
    ['vhost-device-rng', /"type":"rng"/, /needs --socket-path/],
  ] as const) {
    const file = join(folder, name);
    symlinkSync(PROGRAM_FILE, file);
    const { code, stdout } = await runProgram(['--print-capabilities'], { file });
    assert.equal(code, 0);
    assert.match(stdout, type);
    const wrong = await runProgram([], { file });
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, question);
  }
});

/** Of a filter that is asked for without the sandbox that it is a part of. */
const NO_FILTER =
  /--seccomp \w+ and --sandbox none: the filter is a part of the sandbox, .* give one of them/;

test('wrong usage exits with 2 and a text that says what to do', async () => {
  const cases: [string[], RegExp][] = [
    [[], /^Usage: vhost-user COMMAND/],
    [['bulk'], /unknown command 'bulk'.*\n?.*blk/],
    [['bulk', '--help'], /unknown command 'bulk'.*\n?.*blk/],
    [['help', 'bulk'], /unknown command 'bulk'.*\n?.*blk/],
    [['--bogus'], /unknown option '--bogus'/],
    [['blk'], /which image\? Give the path of a raw image or a block device/],
    [['blk', ''], /which image\?/],
    [
      ['blk', 'a', 'b'],
      /too many arguments for 'blk', which takes IMAGE \('a'\), .*'b' is too much/,
    ],
    [['blk', 'My', 'Disk.img'], /a path with blanks is put in quotes/],
    [['blk', 'a', '--read-only=true'], /'--read-only' takes no value, and 'true' was given/],
    [['blk', 'a', '--engin=pread'], /unknown option '--engin'\n\(Did you mean --engine\?\)/],
    [['blk', 'a', '--bogus=1'], /unknown option '--bogus=1'/],
    [['blk', 'a', '--sandbox', 'none', '--seccomp', 'kill'], NO_FILTER],
    [['fs', 'a', '--sandbox=none', '--seccomp=log'], NO_FILTER],
    [['fs', '-o', 'source=a,sandbox=none', '--seccomp=error'], NO_FILTER],
    [['vsock', '--uds-path', 'a', '--sandbox=none', '--seccomp=trap'], NO_FILTER],
    [['rng', '-s', 's', '--seccomp=kill', '--sandbox=none'], NO_FILTER],
    [['console', '--unix', 'a', '--seccomp=kill', '--sandbox=none'], NO_FILTER],
    [['run', 'a', '--seccomp=kill', '--sandbox=none'], NO_FILTER],
    [['blk', 'a', '--read-onyl'], /unknown option '--read-onyl'\n\(Did you mean --read-only\?\)/],
    [['blk', 'a', '--blk-file', 'b'], /IMAGE is a and --blk-file is b: give one of them/],
    [['blk', 'a'], /Give --socket-path PATH or --fd N, or start this program by socket activation/],
    [['blk', 'a', '--connect'], /--connect needs --socket-path/],
    [
      ['blk', 'a', '--fd', '3', '--socket-path', 's'],
      /'--fd <N>' cannot be used with.*--socket-path/,
    ],
    [['blk', 'a', '--fd', '3', '--connect'], /cannot be used with/],
    [['blk', 'a', '--fd', 'x'], /'x' is invalid. A whole number from 0 to \d+ is needed/],
    [['blk', 'a', '--fd', '-1'], /invalid|argument missing/],
    [['blk', 'a', '--queue-size', '300'], /A power of two from 2 to 32768 is needed/],
    [['blk', 'a', '--num-queues', '0'], /A whole number from 1 to 256 is needed/],
    [['blk', 'a', '--num-queues', '1e2'], /A whole number from 1 to 256 is needed/],
    [['blk', 'a', '--serial', 'x'.repeat(21)], /At most 20 bytes are allowed, and it has 21/],
    [['blk', 'a', '--serial', 'sé'], /Only printable ASCII is allowed/],
    [['blk', 'a', '--socket-mode', '888'], /Permissions in octal are needed, such as 660/],
    [['blk', 'a', '--engine', 'aio'], /Allowed choices are auto, io_uring, pread/],
    [['blk', 'a', '--log-level', 'loud'], /Allowed choices are debug, info, warn, error/],
    [['blk', 'a', '--socket-path', 's', '--threads', '2'], /give --num-queues 2 at least/],
    [['fs'], /which folder\? Give the path of a folder to share/],
    [['fs', ''], /which folder\? Its path is empty/],
    [
      ['fs', 'a', '--readonly', 'true'],
      /'true' comes after --readonly, which takes no value: write/,
    ],
    [['fs', 'a', '--posix-acl', 'yes'], /'yes' comes after --posix-acl and is none of its values/],
    [['fs', 'a', '--readonly', '--', 'true'], /'true' is too much; a path with blanks/],
    [['fs', '--preload', 'a'], /--preload is for a file system in memory, which is not asked for/],
    [['fs', 'a', '--shared-dir', 'b'], /FOLDER is a and --shared-dir is b: give one of them/],
    [['fs', 'a', '--archive', 'b.tar'], /--archive is a file system of its own, as shared-dir is/],
    [['fs', '--memory', 'lots'], /A size such as 512M or 2G is needed/],
    [['fs', 'a', '--tag', 'x'.repeat(37)], /At most 36 bytes are allowed, and it has 37/],
    [['fs', 'a', '--tag', ''], /It is empty/],
    [['fs', 'a', '--cache', 'none'], /Allowed choices are never, metadata, auto, always/],
    [['fs', 'a', '--posix-acl=maybe'], /Allowed choices are never, auto, always/],
    [['fs', 'a', '--squash-uid', '5'], /--squash-uid is for owner squash/],
    [['fs', 'a', '--writeback', '--cache=never'], /--writeback needs a cache for data/],
    [['fs', 'a', '--uid-map', ':0:1:1:', '--posix-acl'], /--uid-map cannot be used with posix-acl/],
    [['fs', '--archive', 'a.zip', '--owner', 'xattr'], /--owner is for a folder of this host/],
    [['fs', 'a', '-o', 'sauce=b'], /-o sauce=b: there is no such option/],
    [['fs', 'a'], /Give --socket-path PATH or --fd N, or start this program by socket activation/],
    [['fs', 'a', '--fd', '3', '--socket-group', 'wheel'], /cannot be used with/],
    [['fs', 'a', '--num-request-queues', '0'], /A whole number from 1 to 64 is needed/],
    [['rng'], /Give --socket-path PATH or --fd N, or start this program by socket activation/],
    [
      ['rng', 'word'],
      /too many arguments for 'rng', which takes options only: 'word' is too much\n/,
    ],
    [['rng', '--connect', 'true'], /'true' comes after --connect, which takes no value/],
    [['rng', '-s', 's', '-f', 'a', '--rng-source', 'b'], /--file is a and --rng-source is b/],
    [['rng', '-s', 's', '-f', ''], /which file\? Its path is empty/],
    [
      ['rng', '-s', 's', '-m', '0'],
      /'0' is invalid\. Nothing would ever come: leave it out for no/,
    ],
    [['rng', '-s', 's', '-m', '0K'], /Nothing would ever come: .* give a size such as 512 or 4K/],
    [['rng', '-s', 's', '-m', '1.5K'], /A number of bytes .*, or a size such as 4K, is needed/],
    [['rng', '-s', 's', '-p', '0'], /A whole number from 1 to 86400000 is needed/],
    [['rng', '-s', 's', '-c', '0'], /A whole number from 1 to 1024 is needed/],
    [['rng', '-s', 's', '-c', '3', '-m', '2'], /2 bytes cannot be shared by 3 sockets/],
    [['rng', '--fd', '3', '-c', '2'], /cannot be used with/],
    [['rng', '-c', '2'], /--socket-count needs --socket-path/],
    [['run'], /which configuration file\?/],
    [['completion', 'csh'], /Allowed choices are bash, zsh, fish/],
    [['console', '--pty', '--unix', 'a'], /--unix cannot be together with pty: a port has one/],
    [
      ['console', '--tcp', 'x'],
      /A port such as 4000, or an address such as 127\.0\.0\.1:4000 is needed/,
    ],
    [['console', '--size', '80'], /A size in columns and rows such as 120x40 is needed/],
    [['console', '--escape', 'q'], /A control key such as '\^\]', or none is needed/],
    [['console', '--port', 'x'], /NAME=END \(with an END of pty, pty:LINK, unix:PATH, tcp:PORT/],
    [['console', '--port', 'a/b=pty'], /NAME=END/],
    [['console', '--log-size', '1M'], /--log-size needs log, the file that is rotated/],
    [['console', '--port', 'a=pty', '--port', 'a=pty'], /port a: another port has the name a/],
    [['vsock', '--socket', 's'], /Give --uds-path PATH .* or ports by --forward guest:PORT=tcp/],
    [['vsock', '--uds-path', 'a'], /Give --socket-path PATH or --fd N, or start this program by/],
    [['vsock', '--uds-path', 'a', '--socket', 'a'], /--uds-path is the socket for the front-end/],
    [['vsock', '--socket', 'a', '--socket-path', 'b'], /cannot be used with/],
    [['vsock', '--guest-cid', '2'], /A whole number from 3 to 4294967294 is needed/],
    [['vsock', '--guest-cid', '3', '--vm', 'socket=a'], /'--vm .* cannot be used with .*guest-cid/],
    [['vsock', '--config', 'a', '--vm', 'socket=a'], /cannot be used with/],
    [['vsock', '--config', 'a', '--uds-path', 'b'], /cannot be used with/],
    [['vsock', '--vm', 'guest-cid=4'], /One of socket and fd is needed/],
    [['vsock', '--vm', 'socket=a'], /--vm \(vm3\): how do guest and host reach each other/],
    [
      ['vsock', '--vm', 'socket=a,uds-path=b', '--vm', 'guest-cid=4,socket=c,uds-path=b'],
      /--vm \(vm4\): uds-path .* is another guest's/,
    ],
    [['vsock', '--forward', 'guest:1'], /There is no '=' in it: write guest:PORT=tcp:HOST:PORT/],
    [['vsock', '--listen', 'guest:1=tcp:1'], /That is how a forward is written: use forward/],
    [['vsock', '--groups', 'a+'], /One of the names is empty/],
    [
      ['vsock', '--forward', 'guest:1=tcp:a:1', '--forward', 'guest:1=unix:b'],
      /--forward guest:1 is there twice/,
    ],
    [['vsock', '--tx-buffer-size', '1'], /'1' is not within 4K and 16M/],
    [['vsock', '--uds-path', 'a', '--forward-cid', '1'], /--forward-cid takes every connection/],
    [
      ['description', 'gpu'],
      /^vhost-user: DEVICE 'gpu' is invalid. Allowed choices are blk, fs, vs/,
    ],
    [
      ['vsock-connect', 'a', 'b'],
      /^vhost-user: PORT 'b' is invalid. A whole number from 0 to 42949/,
    ],
    [['qemu', '--blk', 'a', '-m', '2G'], /unknown option '-m'.*\nOptions of QEMU come after --/],
    [['qemu', '--blk', 'a,serial'], /--blk …,serial: it needs a value: serial=…/],
    [
      ['qemu', '--rng', '--', '-smp'],
      /-smp: nothing comes after it, and it is none of the options/,
    ],
  ];
  for (const [args, text] of cases) {
    const { code, stdout, stderr } = await runProgram(args, { cwd: folder });
    assert.equal(code, 2, `${args.join(' ')}: ${stderr}`);
    assert.match(stderr, text);
    if (args.length > 0) assert.match(stderr, /^vhost-user: /);
    if (args.length > 0) assert.match(stderr, /Try 'vhost-user .*--help'\./);
    assert.doesNotMatch(stderr, /\n\s+at /, 'no stack');
    assert.equal(stdout, '');
  }
  assert.deepEqual(
    readdirSync(folder).filter((name) => name === 's'),
    [],
  );
});

test('what fails at run time exits with 1 and a text, before there is a socket', async () => {
  const image = join(folder, 'small.img');
  writeFileSync(image, Buffer.alloc(4096));
  const text = join(folder, 'no-archive.tar');
  writeFileSync(text, 'words\n'.repeat(500));
  const socket = join(folder, 'x.sock');
  const cases: [string[], RegExp][] = [
    [['blk', '/nonexistent.img', '--socket-path', socket], /\/nonexistent\.img/],
    [['blk', folder, '--socket-path', socket], /directory|folder/],
    [['blk', image, '--socket-path', '/nonexistent/x.sock'], /does the folder \/nonexistent exist/],
    [['blk', image, '--socket-path', `/tmp/${'x'.repeat(120)}`], /choose a shorter folder/],
    [['blk', image, '--socket-path', image], /a file that is no socket is there/],
    [['fs', '/nonexistent', '--socket-path', socket], /\/nonexistent: there is no such folder/],
    [['qemu', '--blk', image, '--qemu', 'no-qemu'], /no-qemu: there is no such program in PATH/],
    [['qemu', '--blk', image, '--qemu', '/no-qemu'], /\/no-qemu: there is no such program$/m],
    [['fs', image, '--socket-path', socket], /small\.img: it is not a folder/],
    [['fs', folder, '--socket-path', `/tmp/${'x'.repeat(120)}`], /choose a shorter folder/],
    [['fs', '--archive', '/nonexistent.tar', '--socket-path', socket], /\/nonexistent\.tar/],
    [['fs', '--archive', text, '--socket-path', socket], /no-archive\.tar/],
    [['fs', '--memory', '--preload', '/nonexistent', '--socket-path', socket], /\/nonexistent/],
    [['rng', '-s', socket, '-f', '/nonexistent'], /\/nonexistent cannot be opened: ENOENT/],
    [['rng', '-s', socket, '-f', folder], /neither a file nor a character device nor a FIFO/],
    [['blk', image, '--fd', '9'], /--fd 9 is not open: a Unix socket is needed/],
    [['blk', image, '--fd', '0'], /--fd 0 is a char device: a Unix socket is needed/],
    [['run', '/nonexistent.yaml'], /configuration \/nonexistent\.yaml .*: there is no such file/],
    [['vsock', '--config', '/no.yaml'], /configuration \/no\.yaml .*: there is no such file/],
    [['qemu', '--config', '/no.yaml'], /configuration \/no\.yaml .*: there is no such file/],
  ];
  for (const [args, text] of cases) {
    const { code, stderr } = await runProgram(args);
    assert.equal(code, 1, `${args.join(' ')}: ${stderr}`);
    assert.match(stderr, /^vhost-user: /);
    assert.match(stderr, text);
    assert.doesNotMatch(stderr, /\n\s+at |This is a bug/);
  }
  assert.ok(!readdirSync(folder).includes('x.sock'));
});

test('a value behind an option that takes none is named as what led to the error', async () => {
  const socket = join(folder, 'v.sock');
  const cases: [string[], RegExp | null][] = [
    [['fs', '--readonly', 'true'], /\('true' comes after --readonly, .* taken for FOLDER: write/],
    [['fs', '--posix-acl', 'true'], /values \(never, auto, always\), and was taken for FOLDER\)/],
    [['fs', '--xattr', 'on'], /\('on' comes after --xattr, which takes no value/],
    [['blk', '--read-only', 'on'], /\('on' comes after --read-only, .* was taken for IMAGE/],
    [['run', '--check', 'yes'], /\('yes' comes after --check, .* was taken for CONFIG/],
    // A path that is wrong is just that.
    [['fs', '--readonly', '/nonexistent'], null],
    [['fs', 'nonexistent', '--readonly'], null],
    [['fs', '--tag', 'true', 'nonexistent'], null],
    [['fs', '--readonly', 'nonexistent'], null],
    [['blk', '--read-only', 'nonexistent.img'], null],
    [['run', '--check', 'nonexistent.yaml'], null],
    [['run', '--check', 'configuration/on.yaml'], null],
    [['fs', '--readonly', 'on.d/nonexistent'], null],
  ];
  for (const [words, text] of cases) {
    const rest = words[0] === 'run' ? [] : ['--socket-path', socket];
    const { code, stderr } = await runProgram([...words, ...rest], { cwd: folder });
    assert.equal(code, 1);
    assert.match(stderr, /there is no such/);
    if (text === null) assert.doesNotMatch(stderr, /comes after/);
    else assert.match(stderr, text);
  }
});

test('a configuration that this user may not read is told in words', async (t) => {
  if (process.platform !== 'linux') {
    t.skip('setpriv is of Linux');
    return;
  }
  const path = join(folder, 'secret.yaml');
  writeFileSync(path, 'devices: []\n', { mode: 0 });
  // Root without the right to pass over permissions.
  const within = ['setpriv', '--bounding-set=-dac_override,-dac_read_search'];
  const options = process.getuid?.() === 0 ? { within } : {};
  const { code, stderr } = await runProgram(['run', path], options);
  assert.equal(code, 1);
  assert.match(stderr, /secret\.yaml cannot be read: this user may not read it: change its/);
});

test('a stack is shown with --log-level debug, and only then', async () => {
  for (const flags of [['--log-level', 'debug'], ['--log-level=debug']]) {
    const args = ['blk', '/nonexistent.img', '--socket-path', join(folder, 'y.sock'), ...flags];
    const { code, stderr } = await runProgram(args);
    assert.equal(code, 1);
    assert.match(stderr, /\n\s+at /);
  }
});

test('a wrong configuration exits with 2 and names the line', async () => {
  const path = join(folder, 'wrong.yaml');
  writeFileSync(
    path,
    'devices:\n  - type: blk\n    image: a\n    socket-path: b\n    threads: x\n',
  );
  for (const args of [
    ['run', '--check', path],
    ['run', path],
  ]) {
    const { code, stderr } = await runProgram(args);
    assert.equal(code, 2);
    assert.ok(stderr.includes(`${path}:5:14: devices[0].threads: must be a whole number`), stderr);
  }
});

test('the description file names a program by its whole path', async () => {
  const { code, stdout } = await runProgram(['description', 'blk', '--binary', '/opt/vhu']);
  assert.equal(code, 0);
  assert.deepEqual(JSON.parse(stdout), {
    description: 'vhost-user blk',
    type: 'block',
    binary: '/opt/vhu',
    features: ['read-only', 'blk-file'],
  });
  const standard = await runProgram(['description', 'blk'], { file: PROGRAM_FILE });
  assert.match(standard.stdout, /"binary": "\/.*vhost-user-blk"/);
});

test('the files in share/ are what the program prints, and takes', async () => {
  for (const device of ['blk', 'console', 'fs', 'vsock', 'rng']) {
    const binary = `/usr/bin/vhost-user-${device}`;
    const { stdout } = await runProgram(['description', device, '--binary', binary]);
    assert.equal(stdout, readText(`share/qemu/vhost-user/50-vhost-user-${device}.json`));
  }
  const example = join(ROOT, 'share/examples/devices.yaml');
  const { code, stderr } = await runProgram(['run', '--check', example]);
  assert.equal(code, 0, stderr);
});

test('options that only the device understands are wrong usage, too', async () => {
  const socket = join(folder, 'z.sock');
  for (const [option, value, text] of [
    ['--translate-uid', 'guest:1:2', /guest:1:2/],
    ['--gid-map', ':0:1000:', /:0:1000:/],
    ['--xattrmap', ':wrong:', /xattrmap, rule 1/],
  ] as const) {
    const args = ['fs', folder, '--socket-path', socket, option, value];
    const { code, stderr } = await runProgram(args);
    assert.equal(code, 2, stderr);
    assert.match(stderr, text);
    assert.match(stderr, /Try 'vhost-user fs --help'/);
  }
  assert.ok(!readdirSync(folder).includes('z.sock'));
});

test('scripts and manual pages are printed', async () => {
  for (const shell of ['bash', 'zsh', 'fish']) {
    const { code, stdout } = await runProgram(['completion', shell]);
    assert.equal(code, 0);
    assert.match(stdout, /--socket-path|-l socket-path/);
  }
  const { stdout } = await runProgram(['man']);
  assert.match(stdout, /^.*\n\.TH VHOST\\-USER 1 /);
  const blk = await runProgram(['man', 'blk']);
  assert.match(blk.stdout, /\.TH VHOST\\-USER\\-BLK 1 /);
  const fs = await runProgram(['man', 'fs']);
  assert.match(fs.stdout, /\.TH VHOST\\-USER\\-FS 1 /);
  const all = await runProgram(['man', '--dir', join(folder, 'man')]);
  assert.equal(all.code, 0);
  assert.deepEqual(readdirSync(join(folder, 'man')).toSorted(), [
    'vhost-user-blk.1',
    'vhost-user-console.1',
    'vhost-user-fs.1',
    'vhost-user-rng.1',
    'vhost-user-vsock.1',
    'vhost-user.1',
  ]);
});

test('a reader that has seen enough is no failure, and a full disk is one', (t) => {
  const command = `'${process.execPath}' '${PROGRAM_FILE}' completion bash; echo "code $?" >&2`;
  const runs = (script: string): string => {
    return execFileSync('/bin/sh', ['-c', script], { encoding: 'utf8' });
  };
  assert.equal(runs(`{ { sleep 0.2; ${command}; } | true; } 2>&1`), 'code 0\n');
  if (!existsSync('/dev/full')) {
    t.diagnostic('this host has no /dev/full');
    return;
  }
  const full = runs(`{ ${command}; } 2>&1 >/dev/full`);
  assert.match(full, /^vhost-user: writing to stdout: ENOSPC.*\ncode 1\n$/);
});
