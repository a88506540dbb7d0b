/**
 * Tests of guests as vhost-device-vsock takes them: values of `--vm`, and its configuration file.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UsageError } from './errors.ts';
import { parseVms } from './vsock-file.ts';
import { vsockFaults, vsockOptions } from './vsock-settings.ts';
import { TextFault } from './vsock-text.ts';
import { parseVm } from './vsock-vms.ts';

function says(read: () => unknown, words: RegExp): void {
  assert.throws(read, (error: unknown) => {
    assert.ok(error instanceof TextFault, String(error));
    assert.match(error.message, words);
    return true;
  });
}

/** The file of vhost-device-vsock's own page. */
const FILE = `vms:
    - guest_cid: 3
      socket: /tmp/vhost3.socket
      uds_path: /tmp/vm3.vsock
      tx_buffer_size: 65536
      queue_size: 1024
      groups: group1+groupA
    - guest_cid: 4
      socket: /tmp/vhost4.socket
      uds_path: /tmp/vm4.vsock
      tx_buffer_size: 32768
      queue_size: 256
      groups: group2+groupB
    - guest_cid: 5
      socket: /tmp/vhost5.socket
      forward-cid: 1
      forward-listen: 9001+9002
      tx_buffer_size: 32768
      queue_size: 1024
`;

const UNUSED = { forward: [], listen: [] };

test("the command lines of vhost-device-vsock's page mean what they mean there", () => {
  const line3 =
    'guest-cid=3,socket=/tmp/vhost3.socket,uds-path=/tmp/vm3.vsock,groups=group1+groupA';
  const rest = 'tx-buffer-size=32768,queue-size=1024';
  const cids = 'guest-cid=5,socket=/tmp/vhost5.socket,forward-cid=1';
  const line5 = `${cids},forward-listen=9001+9002,${rest}`;
  assert.deepEqual(parseVm(line3), {
    name: 'vm3',
    choices: { ...UNUSED, guestCid: 3, udsPath: '/tmp/vm3.vsock', groups: ['group1', 'groupA'] },
    socket: { socketPath: '/tmp/vhost3.socket' },
  });
  const vm5 = parseVm(line5);
  assert.deepEqual(vm5, {
    name: 'vm5',
    choices: {
      ...UNUSED,
      ...{ guestCid: 5, forwardCid: 1, forwardListen: [9001, 9002] },
      ...{ txBufferSize: 32_768, queueSize: 1024 },
    },
    socket: { socketPath: '/tmp/vhost5.socket' },
  });
  assert.deepEqual(vsockOptions(vm5.choices), {
    guestCid: 5,
    forwards: [{ guestPort: '*', target: { kind: 'vsock', cid: 1 } }],
    listens: [
      { source: { kind: 'vsock', port: 9001 }, guestPort: 9001 },
      { source: { kind: 'vsock', port: 9002 }, guestPort: 9002 },
    ],
    groups: ['default'],
    txBufferBytes: 32_768,
    queueSize: 1024,
  });
});

test('a guest that says no CID is 3, underscores are as good as dashes, and a comma is doubled', () => {
  const vm = parseVm('socket=/tmp/a,,b.sock, uds_path=/tmp/vm.vsock');
  assert.deepEqual(vm, {
    name: 'vm3',
    choices: { ...UNUSED, udsPath: '/tmp/vm.vsock' },
    socket: { socketPath: '/tmp/a,b.sock' },
  });
  assert.equal(vsockOptions(vm.choices).guestCid, 3);
});

test('a guest may have forwards and listeners, each as often as one likes', () => {
  const { choices } = parseVm(
    'fd=5,forward=guest:1=tcp:1,forward=guest:*=vsock:1,listen=unix:/a=guest:2,seqpacket=false',
  );
  assert.deepEqual(
    choices.forward?.map(({ guestPort }) => guestPort),
    [1, '*'],
  );
  assert.deepEqual(choices.listen, [{ source: { kind: 'unix', path: '/a' }, guestPort: 2 }]);
  assert.equal(vsockOptions(choices).seqpacket, false);
});

test('single ports are looked for before the rule for all', () => {
  const { choices } = parseVm('fd=5,forward=guest:*=vsock:1,forward=guest:1=tcp:1');
  const { forwards = [] } = vsockOptions(choices);
  assert.deepEqual(
    forwards.map(({ guestPort }) => guestPort),
    [1, '*'],
  );
});

test('what is wrong with a guest is named, with what to write', () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['', /'' has no '=': settings are written KEY=VALUE,KEY=VALUE/],
    ['guest-cid', /'guest-cid' has no '='/],
    ['guest-cid=4', /one of socket and fd is needed, where QEMU connects, and there is none/],
    ['socket=a,fd=3', /one of socket and fd is needed, .* there are both/],
    ['socket=a,socket-path=b', /socket and socket-path are one setting/],
    ['guest-cid=2,socket=a', /guest-cid: '2' must be a whole number from 3 to 4294967294/],
    ['guest-cid=four,socket=a', /guest-cid: 'four' must be/],
    ['socket=a,uds_paths=b', /there is no key 'uds_paths'; there are guest-cid, socket, /],
    ['socket=a,toString=b', /there is no key 'toString'/],
    ['socket=a,guest-cid=4,guest_cid=5', /guest-cid is there twice/],
    ['socket=,guest-cid=4', /socket: it is empty/],
    ['socket=a,queue-size=1000', /queue-size: '1000' must be a power of two/],
    ['socket=a,tx-buffer-size=1', /tx-buffer-size: '1' is not within 4K and 16M/],
    ['socket=a,tx-buffer-size=17M', /tx-buffer-size: '17M' is not within 4K and 16M/],
    ['socket=a,forward=guest:1', /forward: there is no '=' in it/],
    ['socket=a,uds-mode=9', /uds-mode: '9' is not octal, such as 660/],
    ['socket=a,seqpacket=no', /seqpacket: 'no' is neither true nor false/],
    ['socket=a,groups=+', /groups: one of the names is empty/],
  ];
  for (const [text, words] of cases) says(() => parseVm(text), words);
});

test("the file of vhost-device-vsock's page is read", () => {
  const vms = parseVms(FILE, 'vms.yaml');
  assert.deepEqual(
    vms.map(({ name, socket }) => [name, socket.socketPath]),
    [
      ['vm3', '/tmp/vhost3.socket'],
      ['vm4', '/tmp/vhost4.socket'],
      ['vm5', '/tmp/vhost5.socket'],
    ],
  );
  assert.deepEqual(vms[1]?.choices, {
    ...UNUSED,
    ...{ guestCid: 4, udsPath: '/tmp/vm4.vsock', groups: ['group2', 'groupB'] },
    ...{ txBufferSize: 32_768, queueSize: 256 },
  });
  assert.deepEqual(vms[2]?.choices.forwardListen, [9001, 9002]);
});

test('lists in a file are lists', () => {
  const [vm] = parseVms(
    `vms:
  - socket: a
    forward: [guest:1=tcp:1, "guest:*=unix:/b"]
    forward-cid: 2
    forward-listen: [1, 2]
    groups: [x, y]
`,
    'vms.yaml',
  );
  assert.ok(vm !== undefined);
  assert.deepEqual(vm.choices.forwardListen, [1, 2]);
  assert.deepEqual(vm.choices.groups, ['x', 'y']);
  assert.equal(vm.choices.forward?.length, 2);
});

test('each fault of a file has its line, and all are told', () => {
  const cases: readonly (readonly [string, readonly RegExp[]])[] = [
    ['', [/f:1:1: needs a list 'vms' of guests/]],
    ['vms: {}\n', [/f:1:6: vms: needs a list 'vms' of guests/]],
    ['vms: []\n', [/needs a list 'vms'/]],
    ['vms:\n  - 3\n', [/f:2:5: vms\[0\]: must be a map of settings/]],
    ['vms: [a: 1\n', [/f:2:1: Flow sequence/]],
    [
      'vms:\n  - guest_cid: 2\n    socket: a\n    bogus: 1\n',
      [/f:2:5: vms\[0\]\.guest_cid: guest-cid: '2' must be/, /f:4:5: .*no key 'bogus'/],
    ],
    ['vms:\n  - guest_cid: 4\n', [/f:2:5: vms\[0\]: one of socket and fd is needed/]],
    ['vms:\n  - socket: a\n    uds_path: {b: c}\n', [/uds_path: a text, a number, or a list/]],
    ['vms:\n  - socket: a\n    uds_path: a\n', [/f:3:5: .*is the socket for the front-end, too/]],
    [
      'vms:\n  - {socket: a, uds-path: b}\n  - {socket: a, guest-cid: 4, uds-path: b}\n',
      [/f:3:6: vms\[1\]\.socket: .* is another guest's/, /f:3:31: vms\[1\]\.uds-path: .*another/],
    ],
    ['vms:\n  - {socket: a}\n  - {socket: b}\n', [/vms\[1\]\.guest-cid: 3 is another guest's/]],
    ['more: 1\nvms:\n  - {socket: a}\n', [/f:1:1: more: no such setting; there is vms/]],
  ];
  for (const [source, patterns] of cases) {
    assert.throws(
      () => parseVms(source, 'f'),
      (error: unknown) => {
        assert.ok(error instanceof UsageError, `${source}: ${String(error)}`);
        for (const words of patterns) assert.match(error.message, words);
        return true;
      },
      source,
    );
  }
});

test('what does not go together is named', () => {
  const key = (choices: Parameters<typeof vsockFaults>[0], socket?: string): string[] =>
    vsockFaults(choices, socket).map((fault) => fault.key);
  assert.deepEqual(key({ udsPath: 'a', forwardCid: 1 }), ['forward-cid']);
  assert.deepEqual(key({ udsPath: 'a', forwardListen: [1] }), ['forward-listen']);
  assert.deepEqual(key({ udsPath: './a' }, 'a'), ['uds-path']);
  assert.deepEqual(key({ udsMode: 0o600 }), ['uds-mode']);
  assert.deepEqual(key({ udsMode: 0o600, udsPath: 'a' }), []);
  const listen = { source: { kind: 'vsock', port: 1 }, guestPort: 2 } as const;
  assert.deepEqual(key({ listen: [listen], forwardCid: 1, forwardListen: [1] }), ['listen']);
});

test('a group that is named may use the sockets, unless a mode says otherwise', () => {
  const named = vsockOptions({ udsPath: 'a', udsGroup: '7' });
  assert.deepEqual([named.socketMode, named.socketGroup], [0o660, 7]);
  const both = vsockOptions({ udsPath: 'a', udsGroup: '7', udsMode: 0o600 });
  assert.equal(both.socketMode, 0o600);
});
