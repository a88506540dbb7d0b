/**
 * Tests of the configuration file: what is accepted, and how faults are named.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { configSchema, settingsOf } from './config-schema.ts';
import { loadConfig, parseConfig } from './config.ts';
import { VhostUserError } from '../util/index.ts';
import { UsageError } from './errors.ts';
import { buildProgram } from './program.ts';

/** The faults of a text, without the line before them. */
function faultsOf(source: string): string[] {
  try {
    parseConfig(source, 'vm.yaml');
  } catch (error) {
    assert.ok(error instanceof UsageError, String(error));
    const [title, ...faults] = error.message.split('\n');
    assert.equal(title, 'the configuration is wrong');
    return faults;
  }
  throw new Error('the text was accepted');
}

const FOLDER = 'devices:\n  - type: fs\n    shared-dir: a\n    socket-path: a.sock\n';
const VSOCK = 'devices:\n  - type: vsock\n    uds-path: a\n    socket-path: a.sock\n';
const DISK = 'devices:\n  - type: blk\n    image: a.img\n    socket-path: a.sock\n';

test('a small configuration has defaults, and paths that begin at its folder', () => {
  assert.deepEqual(parseConfig(DISK, '/etc/vms/vm.yaml'), {
    logLevel: 'info',
    logFormat: 'auto',
    devices: [
      {
        type: 'blk',
        name: 'blk0',
        options: { image: '/etc/vms/a.img' },
        socket: {
          socketPath: '/etc/vms/a.sock',
          fd: undefined,
          activation: undefined,
          connect: undefined,
          mode: undefined,
          group: undefined,
        },
      },
    ],
  });
});

test('every setting of a disk reaches its device', () => {
  const source = `
log-level: debug
log-format: json
devices:
  - {type: blk, name: root, image: /a.img, read-only: true, serial: s1, direct: true,
     engine: pread, block-size: 4096, discard: false, lock: false, num-queues: 4, queue-size: 128,
     threads: 2, poll-us: 0, socket-path: /a.sock, socket-mode: '660'}
  - {type: blk, image: /b.img, socket-path: /b.sock, connect: true}
  - {type: blk, image: /c.img, fd: 5}
  - {type: blk, image: /d.img, activation: data}
`;
  const config = parseConfig(source, 'vm.yaml');
  assert.equal(config.logLevel, 'debug');
  assert.equal(config.logFormat, 'json');
  const [root, second, third, fourth] = config.devices;
  assert.ok(root?.type === 'blk');
  assert.deepEqual(root.options, {
    image: '/a.img',
    readOnly: true,
    serial: 's1',
    direct: true,
    engine: 'pread',
    blockBytes: 4096,
    discard: false,
    lock: false,
    queueCount: 4,
    queueSize: 128,
    threads: 2,
    pollUs: 0,
  });
  assert.equal(root.socket.mode, 0o660);
  assert.equal(second?.socket.connect, true);
  assert.equal(third?.socket.fd, 5);
  assert.equal(fourth?.socket.activation, 'data');
});

test('every setting of a shared folder reaches its device', () => {
  const source = `
devices:
  - {type: fs, shared-dir: a, tag: home, readonly: true, cache: metadata, allow-mmap: true,
     allow-direct-io: true, readdirplus: false, preserve-noatime: true,
     shared-locks: true, announce-submounts: false,
     owner: squash, squash-uid: 1000, squash-gid: 100, killpriv-v2: false, xattr: true,
     xattrmap: ':map::user.virtiofs.:', posix-acl: auto, num-request-queues: 2, queue-size: 128,
     poll-us: 0, rlimit-nofile: 1000, socket-path: /a.sock, socket-group: wheel}
  - {type: fs, shared-dir: /b, translate-uid: ['map:0:1000:1'], translate-gid: ['map:0:100:1'],
     uid-map: [':1:100000:65535:'], gid-map: [':1:100000:65535:'], fd: 5}
  - {type: fs, archive: b.zip, fd: 6}
  - {type: fs, memory: 512M, fd: 7}
  - {type: fs, memory: true, preload: c, fd: 8}
`;
  const devices = parseConfig(source, '/etc/vm.yaml').devices.map((device) => {
    assert.ok(device.type === 'fs');
    // What is left out is undefined, which is not to be compared.
    return JSON.parse(JSON.stringify(device.choices)) as object;
  });
  assert.deepEqual(devices, [
    {
      ...{ sharedDir: '/etc/a', tag: 'home', readonly: true, cache: 'metadata', allowMmap: true },
      ...{ allowDirectIo: true, readdirplus: false, preserveNoatime: true, sharedLocks: true },
      ...{ announceSubmounts: false, owner: 'squash', squashUid: 1000, squashGid: 100 },
      ...{ killprivV2: false, xattr: true, xattrmap: ':map::user.virtiofs.:', posixAcl: 'auto' },
      ...{ numRequestQueues: 2, queueSize: 128, pollUs: 0, rlimitNofile: 1000 },
    },
    {
      ...{ sharedDir: '/b', translateUid: ['map:0:1000:1'], translateGid: ['map:0:100:1'] },
      ...{ uidMap: [':1:100000:65535:'], gidMap: [':1:100000:65535:'] },
    },
    { archive: '/etc/b.zip' },
    { memory: 512 * 1024 ** 2 },
    { memory: true, preload: '/etc/c' },
  ]);
});

test('every setting of a vsock reaches its device', () => {
  const source = `
devices:
  - {type: vsock, guest-cid: 4, uds-path: a.vsock, uds-mode: '600', uds-group: '7', groups: a+b,
     forward: ['guest:1=unix:x', 'guest:*=tcp:1'], listen: ['unix:y=guest:2'], seqpacket: false,
     tx-buffer-size: 64K, max-connections: 9, queue-size: 128, poll-us: 0, socket-path: a.sock}
  - {type: vsock, forward-cid: 1, forward-listen: 9001+9002, groups: [c], tx-buffer-size: 4096,
     fd: 5}
  - {type: vsock, guest-cid: 5, forward-cid: 1, forward-listen: [1, 2], fd: 6}
`;
  const devices = parseConfig(source, '/etc/vm.yaml').devices.map((device) => {
    assert.ok(device.type === 'vsock');
    return JSON.parse(JSON.stringify(device.choices)) as object;
  });
  const tcp = { kind: 'tcp', host: '127.0.0.1', port: 1 };
  assert.deepEqual(devices, [
    {
      ...{ guestCid: 4, udsPath: '/etc/a.vsock', udsMode: 0o600, udsGroup: '7' },
      forward: [
        { guestPort: 1, target: { kind: 'unix', path: '/etc/x' } },
        { guestPort: '*', target: tcp },
      ],
      listen: [{ source: { kind: 'unix', path: '/etc/y' }, guestPort: 2 }],
      ...{ groups: ['a', 'b'], seqpacket: false, txBufferSize: 65_536, maxConnections: 9 },
      ...{ queueSize: 128, pollUs: 0 },
    },
    { forwardCid: 1, forwardListen: [9001, 9002], groups: ['c'], txBufferSize: 4096 },
    { guestCid: 5, forwardCid: 1, forwardListen: [1, 2] },
  ]);
});

test('every setting of an entropy device reaches it', () => {
  const source = `
devices:
  - {type: rng, file: random, max-bytes: 4K, period: 1000, fd: 5}
  - {type: rng, max-bytes: 512, fd: 6}
  - {type: rng, max-bytes: 18446744073709551615, fd: 7}
  - {type: rng, max-bytes: '9007199254740992', fd: 8}
  - {type: rng, fd: 9}
`;
  const devices = parseConfig(source, '/etc/vm.yaml').devices.map((device) => {
    assert.ok(device.type === 'rng');
    return JSON.parse(JSON.stringify(device.choices)) as object;
  });
  assert.deepEqual(devices, [
    { file: '/etc/random', maxBytes: 4096, period: 1000 },
    { maxBytes: 512 },
    { maxBytes: Number.MAX_SAFE_INTEGER },
    { maxBytes: Number.MAX_SAFE_INTEGER },
    {},
  ]);
});

test('every setting of a console reaches its device', () => {
  const source = `
devices:
  - {type: console, stdio: true, escape: '^A', size: 120x40, log: a.log, log-size: 10M, log-keep: 2,
     unattended: wait, backlog: 8K, port-name: main, queue-size: 64, resize-order: columns, fd: 5,
     ports: [{name: a, tcp: 4000, max-clients: 2}, {name: b, console: true, pty: b.pty},
             {name: c, unix: c.sock, unix-mode: '600', unix-group: '7', size: 1x1}, {name: d}]}
  - {type: console, pty: true, escape: none, fd: 6}
`;
  const devices = parseConfig(source, '/etc/vm.yaml').devices.map((device) => {
    assert.ok(device.type === 'console');
    return JSON.parse(JSON.stringify(device.choices)) as object;
  });
  assert.deepEqual(devices, [
    {
      ...{ stdio: true, escape: 1, size: { columns: 120, rows: 40 }, log: '/etc/a.log' },
      ...{ logSize: 10 * 2 ** 20, logKeep: 2, unattended: 'wait', backlog: 8192 },
      ...{ portName: 'main', queueSize: 64, resizeOrder: 'columns' },
      ports: [
        { name: 'a', tcp: { kind: 'tcp', port: 4000 }, maxClients: 2 },
        { name: 'b', console: true, pty: '/etc/b.pty' },
        {
          ...{ name: 'c', unix: '/etc/c.sock', unixMode: 0o600, unixGroup: '7' },
          size: { columns: 1, rows: 1 },
        },
        { name: 'd' },
      ],
    },
    { pty: true, escape: -1 },
  ]);
});

test('the settings of a device are the options of its command', () => {
  const notOptions = ['type', 'name', 'image', 'activation', 'ports'];
  // The last ones do nothing here: they are taken on a command line that was made for virtiofsd.
  const notSettings = [
    ...['--blk-file', '--print-capabilities', '--log-level', '--log-format'],
    ...['--thread-pool-size', '--inode-file-handles', '--sandbox', '--seccomp', '--modcaps'],
    '--syslog',
    // Several guests are several devices in a file.
    ...['--vm', '--config', '--socket'],
    ...['--rng-source', '--socket-count'],
    // Further ports are a list in a file.
    ...['--port', '--console'],
  ];
  for (const type of ['blk', 'fs', 'vsock', 'rng', 'console']) {
    const command = buildProgram().commands.find((each) => each.name() === type);
    const options = (command?.options ?? [])
      .map((option) => option.long ?? '')
      .filter((long) => !notSettings.includes(long))
      .map((long) => long.replace(/^--(no-)?/, ''));
    const keys = settingsOf(type).filter((key) => !notOptions.includes(key));
    assert.deepEqual(keys.toSorted(), [...new Set(options)].toSorted());
  }
});

test('a fault is named by file, line and column, by its place, and by what would be right', () => {
  const cases: [string, string][] = [
    [
      `${DISK}    queue-size: 300\n`,
      'vm.yaml:5:17: devices[0].queue-size: must be a power of two from 2 to 32768, not 300',
    ],
    [
      `${DISK}    num-queues: many\n`,
      'vm.yaml:5:17: devices[0].num-queues: must be a whole number from 1 to 256, not "many"',
    ],
    [
      `${DISK}    read-only: 1\n`,
      'vm.yaml:5:16: devices[0].read-only: must be true or false, not 1',
    ],
    [
      `${DISK}    engine: aio\n`,
      'vm.yaml:5:13: devices[0].engine: must be one of auto, io_uring, pread, not "aio"',
    ],
    [
      `${DISK}    socket-mode: 0660\n`,
      'vm.yaml:5:18: devices[0].socket-mode: must be a text in quotes, such as "660": ' +
        'YAML reads 0660 as a number, not 660',
    ],
    [
      `${DISK}    socket-mode: "999"\n`,
      'vm.yaml:5:18: devices[0].socket-mode: must be octal, such as "660", not "999"',
    ],
    [
      `${DISK}    serial: 123456789012345678901x\n`,
      'vm.yaml:5:13: devices[0].serial: at most 20 bytes are allowed, and it has 22, ' +
        'not "123456789012345678901x"',
    ],
    [
      `${DISK}    read-onyl: true\n`,
      'vm.yaml:5:5: devices[0].read-onyl: no such setting; did you mean read-only?',
    ],
    [
      `log-levle: info\n${DISK}`,
      'vm.yaml:1:1: log-levle: no such setting; did you mean log-level?',
    ],
    [
      `colours: true\n${DISK}`,
      'vm.yaml:1:1: colours: no such setting; there are log-level, log-format, devices',
    ],
    [
      'devices:\n  - type: blk\n    socket-path: a.sock\n',
      'vm.yaml:2:5: devices[0].image: is missing',
    ],
    [
      'devices:\n  - type: floppy\n',
      'vm.yaml:2:11: devices[0].type: must be one of blk, fs, vsock, rng, console, not "floppy"',
    ],
    [
      'devices:\n  - image: a.img\n',
      'vm.yaml:2:5: devices[0].type: must be one of blk, fs, vsock, rng, console',
    ],
    [
      'devices:\n  - {type: console, fd: 3}\n',
      'vm.yaml:2:5: devices[0]: needs one of stdio, pty, unix, tcp and log, and there is none',
    ],
    [
      'devices:\n  - {type: console, fd: 3, pty: true, unix: a, log-size: 1M}\n',
      'vm.yaml:2:39: devices[0].unix: cannot be together with pty: a port has one other end\n' +
        'vm.yaml:2:48: devices[0].log-size: needs log, the file that is rotated',
    ],
    [
      'devices:\n  - {type: console, fd: 3, stdio: true}\n' +
        '  - {type: console, fd: 4, stdio: true}\n',
      'vm.yaml:3:28: devices[1].stdio: devices[0] has standard input and output already',
    ],
    [
      'devices:\n  - {type: console, fd: 3, tcp: ":1", escape: x, ports: [{name: a/b}]}\n',
      'vm.yaml:2:33: devices[0].tcp: must be a port such as 4000, or an address such as ' +
        '127.0.0.1:4000, not ":1"\n' +
        "vm.yaml:2:47: devices[0].escape: must be a control key such as '^]', or none, " +
        'not "x"\n' +
        'vm.yaml:2:65: devices[0].ports[0].name: must be a name of up to 63 bytes without a ' +
        'slash, not "a/b"',
    ],
    ['devices:\n  - 5\n', 'vm.yaml:2:5: devices[0]: must be a map of settings'],
    ['devices: []\n', 'vm.yaml:1:10: devices: must have at least one device'],
    ['devices: blk\n', 'vm.yaml:1:10: devices: must be a list of devices, not "blk"'],
    ['{}\n', 'vm.yaml:1:1: devices: is missing'],
    ['', 'vm.yaml:1:1: must be a map of settings'],
    [
      'devices:\n  - type: blk\n    image: a.img\n',
      'vm.yaml:2:5: devices[0]: needs one of socket-path, fd, activation, and there is none',
    ],
    [
      `${DISK}    fd: 3\n`,
      'vm.yaml:2:5: devices[0]: needs one of socket-path, fd, activation, ' +
        'and there are socket-path and fd',
    ],
    [
      'devices:\n  - type: blk\n    image: a.img\n    fd: 3\n    connect: true\n',
      'vm.yaml:5:5: devices[0].connect: needs socket-path, the path to connect to',
    ],
    [
      `${DISK}    connect: true\n    socket-mode: "660"\n`,
      'vm.yaml:6:5: devices[0].socket-mode: is for a socket-path to listen on',
    ],
    [
      `${DISK}    threads: 4\n`,
      'vm.yaml:5:5: devices[0].threads: a thread without a queue has no work, ' +
        'so num-queues must be at least 4',
    ],
    [
      `${FOLDER}    cache: none\n`,
      'vm.yaml:5:12: devices[0].cache: must be one of never, metadata, auto, always, not "none"',
    ],
    [
      `${FOLDER}    tag: ${'x'.repeat(37)}\n`,
      'vm.yaml:5:10: devices[0].tag: at most 36 bytes are allowed, and it has 37, ' +
        `not "${'x'.repeat(37)}"`,
    ],
    [
      `${FOLDER}    shared-dri: /\n`,
      'vm.yaml:5:5: devices[0].shared-dri: no such setting; did you mean shared-dir?',
    ],
    [
      `${FOLDER}    uid-map: ":0:1000:1:"\n`,
      'vm.yaml:5:14: devices[0].uid-map: must be a list of rules, not ":0:1000:1:"',
    ],
    [
      `${FOLDER}    memory: lots\n`,
      'vm.yaml:5:13: devices[0].memory: must be true, or a size such as 512M or 2G, not "lots"',
    ],
    [
      `${FOLDER}    archive: a.tar\n`,
      'vm.yaml:5:5: devices[0].archive: is a file system of its own, as shared-dir is: ' +
        'give one of them',
    ],
    [
      `${FOLDER}    squash-uid: 5\n`,
      'vm.yaml:5:5: devices[0].squash-uid: is for owner squash, and for files of owner xattr ' +
        'that say nothing',
    ],
    [
      `${FOLDER}    connect: true\n    socket-group: wheel\n`,
      'vm.yaml:6:5: devices[0].socket-group: is for a socket-path to listen on',
    ],
    [
      'devices:\n  - type: fs\n    socket-path: a.sock\n',
      'vm.yaml:2:5: devices[0]: needs one of shared-dir, archive, memory, and there is none',
    ],
    ...['lots', 36893488147419103000].map((value): [string, string] => [
      `devices:\n  - type: rng\n    fd: 3\n    max-bytes: ${value}\n`,
      'vm.yaml:4:16: devices[0].max-bytes: a number of bytes below 2^64, or a size such as 4K, ' +
        `is needed, not ${JSON.stringify(value)}`,
    ]),
    [
      'devices:\n  - type: rng\n    fd: 3\n    max-bytes: 0\n',
      'vm.yaml:4:16: devices[0].max-bytes: nothing would ever come: leave it out for no limit, ' +
        'or give a size such as 512 or 4K, not 0',
    ],
    [
      `${VSOCK}    forward: [guest:1]\n`,
      "vm.yaml:5:15: devices[0].forward[0]: there is no '=' in it: write " +
        'guest:PORT=tcp:HOST:PORT, guest:PORT=unix:PATH or guest:PORT=vsock:CID:PORT, ' +
        'not "guest:1"',
    ],
    [
      `${VSOCK}    guest-cid: 2\n`,
      'vm.yaml:5:16: devices[0].guest-cid: must be a whole number from 3 to 4294967294, not 2',
    ],
    [
      `${VSOCK}    forward-listen: 1\n`,
      'vm.yaml:5:5: devices[0].forward-listen: goes with forward-cid: write listen ' +
        'vsock:PORT=guest:PORT without it',
    ],
    [
      `${VSOCK}    groups: a++b\n`,
      'vm.yaml:5:13: devices[0].groups: one of the names is empty: write names with ' +
        `a '+' between them, not "a++b"`,
    ],
    [
      `${VSOCK}  - type: vsock\n    uds-path: b\n    socket-path: b.sock\n`,
      "vm.yaml:5:5: devices[1].guest-cid: 3 is another guest's",
    ],
    [
      `${DISK}  - type: blk\n    image: b.img\n    socket-path: a.sock\n`,
      'vm.yaml:7:5: devices[1].socket-path: devices[0] has the same',
    ],
  ];
  for (const [source, fault] of cases) {
    assert.deepEqual(faultsOf(source), fault.split('\n'), source);
  }
});

test('faults of the syntax have their place, and all are named at once', () => {
  assert.match(faultsOf('devices:\n  - a: [1,\n').join('\n'), /^vm\.yaml:\d+:\d+: /);
  assert.match(faultsOf('a: 1\na: 2\n')[0] ?? '', /^vm\.yaml:2:1: .*unique/);
  const two = faultsOf(`${DISK}    poll-us: -1\n    fd: x\n`);
  assert.equal(two.length, 2);
});

test('aliases that multiply are refused', () => {
  const levels = Array.from({ length: 9 }, (_, i) => {
    return `l${i + 1}: &l${i + 1} [${`*l${i},`.repeat(9)}]`;
  });
  const [fault] = faultsOf(`l0: &l0 [x]\n${levels.join('\n')}\n`);
  assert.match(fault ?? '', /^vm\.yaml:1:1: .*alias/);
});

test('a file that cannot be read is named, with the reason in words', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vhu-config-'));
  t.after(() => rmSync(folder, { recursive: true }));
  symlinkSync('loop', join(folder, 'loop'));
  writeFileSync(join(folder, 'file'), 'devices: []\n');
  writeFileSync(join(folder, 'empty'), ' \n');
  writeFileSync(join(folder, 'latin1'), Buffer.from('name: caf\xe9\n', 'latin1'));
  writeFileSync(join(folder, 'disk'), Buffer.alloc(512));
  for (const [name, reason] of [
    ['none', /: there is no such file: check the path$/],
    ['', /: it is a folder: name the file in it$/],
    ['file/vm.yaml', /: there is no such file: a part of the path is no folder$/],
    ['loop', /: there is no such file: a symbolic link on the way leads back to itself$/],
    ['x'.repeat(300), /: there is no such file: the path is too long for one$/],
  ] as const) {
    const path = join(folder, name);
    assert.throws(
      () => loadConfig(path),
      (error) => {
        assert.ok(error instanceof VhostUserError);
        assert.equal(error.code, 'ERR_VHU_CONFIG_FILE');
        assert.ok(error.message.startsWith(`the configuration ${path} cannot be read`));
        assert.match(error.message, reason);
        return true;
      },
    );
  }
  for (const [name, reason] of [
    ['empty', 'is empty'],
    ['latin1', 'is no text (UTF-8)'],
    ['disk', 'is no text'],
  ] as const) {
    const path = join(folder, name);
    assert.throws(
      () => loadConfig(path),
      (error) => {
        assert.ok(error instanceof UsageError, 'what is in it is wrong');
        assert.equal(error.message, `the configuration ${path} ${reason}: is it the right file?`);
        return true;
      },
    );
  }
  const whole = join(process.cwd(), 'nonexistent.yaml');
  assert.throws(
    () => loadConfig('nonexistent.yaml'),
    (error) => String(error).includes(whole),
  );
});

test('the schema for editors describes the settings', () => {
  const schema = configSchema() as { readonly properties: Record<string, unknown> };
  assert.deepEqual(Object.keys(schema.properties), ['log-level', 'log-format', 'devices']);
  assert.match(JSON.stringify(schema), /"queue-size":\{"type":"number"|"queue-size"/);
});
