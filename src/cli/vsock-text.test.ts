/**
 * Tests of forwards and listeners in words: what they mean, and what is said of those that mean
 * nothing.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { VsockForward, VsockListen } from '../devices/vsock/index.ts';
import {
  TextFault,
  forwardText,
  listenText,
  parseForward,
  parseGroups,
  parseListen,
  parsePorts,
} from './vsock-text.ts';

function says(read: () => unknown, words: RegExp): void {
  assert.throws(read, (error: unknown) => {
    assert.ok(error instanceof TextFault, String(error));
    assert.match(error.message, words);
    return true;
  });
}

const FORWARDS: readonly (readonly [string, VsockForward])[] = [
  [
    'guest:1234=tcp:127.0.0.1:22',
    { guestPort: 1234, target: { kind: 'tcp', host: '127.0.0.1', port: 22 } },
  ],
  [
    'guest:0=tcp:db.example:5432',
    { guestPort: 0, target: { kind: 'tcp', host: 'db.example', port: 5432 } },
  ],
  ['guest:80=tcp:[::1]:8080', { guestPort: 80, target: { kind: 'tcp', host: '::1', port: 8080 } }],
  ['guest:*=tcp:127.0.0.1', { guestPort: '*', target: { kind: 'tcp', host: '127.0.0.1' } }],
  ['guest:*=tcp:[fe80::1]', { guestPort: '*', target: { kind: 'tcp', host: 'fe80::1' } }],
  ['guest:1=unix:/a b=c:d', { guestPort: 1, target: { kind: 'unix', path: '/a b=c:d' } }],
  [
    'guest:4294967294=vsock:2:9000',
    { guestPort: 4_294_967_294, target: { kind: 'vsock', cid: 2, port: 9000 } },
  ],
  ['guest:*=vsock:1', { guestPort: '*', target: { kind: 'vsock', cid: 1 } }],
];

const LISTENS: readonly (readonly [string, VsockListen])[] = [
  [
    'tcp:127.0.0.1:2222=guest:22',
    { source: { kind: 'tcp', host: '127.0.0.1', port: 2222 }, guestPort: 22 },
  ],
  ['tcp:[::]:80=guest:80', { source: { kind: 'tcp', host: '::', port: 80 }, guestPort: 80 }],
  ['unix:/a=b=guest:22', { source: { kind: 'unix', path: '/a=b' }, guestPort: 22 }],
  [
    'unix-seqpacket:x.sock=guest:5',
    { source: { kind: 'unix', path: 'x.sock', type: 'seqpacket' }, guestPort: 5 },
  ],
  ['vsock:9001=guest:22', { source: { kind: 'vsock', port: 9001 }, guestPort: 22 }],
  [
    'vsock-seqpacket:9=guest:22',
    { source: { kind: 'vsock', port: 9, type: 'seqpacket' }, guestPort: 22 },
  ],
];

test('forwards and listeners are read, and are written as they were read', () => {
  for (const [text, forward] of FORWARDS) {
    assert.deepEqual(parseForward(text), forward, text);
    assert.equal(forwardText(forward), text);
  }
  for (const [text, listen] of LISTENS) {
    assert.deepEqual(parseListen(text), listen, text);
    assert.equal(listenText(listen), text);
  }
});

test('a port alone is one of this host itself', () => {
  assert.deepEqual(parseForward('guest:1=tcp:22').target, {
    kind: 'tcp',
    host: '127.0.0.1',
    port: 22,
  });
  assert.deepEqual(parseListen('tcp::2222=guest:22').source, {
    kind: 'tcp',
    host: '127.0.0.1',
    port: 2222,
  });
});

test('what is wrong with a forward is named, with what to write', () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['', /no '=' in it: write guest:PORT=tcp:HOST:PORT/],
    ['guest:22', /no '=' in it/],
    ['22=tcp:127.0.0.1:22', /'22' is not a port of the guest: write guest:PORT=tcp/],
    ['tcp:127.0.0.1:22=guest:22', /how a listener is written: use listen/],
    ['guest:=tcp:1', /the guest's port '' must be a whole number from 0 to 4294967294/],
    ['guest:4294967295=tcp:1', /the guest's port '4294967295' must be/],
    ['guest:-1=tcp:1', /the guest's port '-1' must be/],
    ['guest:1=', /'' begins with none of tcp:, unix: and vsock:/],
    ['guest:1=udp:1.2.3.4:5', /'udp:1\.2\.3\.4:5' begins with none of/],
    ['guest:1=tcp:', /has no address: write tcp:HOST:PORT/],
    ['guest:1=tcp:::1:22', /is no address: write tcp:HOST:PORT, or tcp:\[ADDRESS\]:PORT/],
    ['guest:1=tcp:host:ssh', /the port of 'tcp:host:ssh' must be a whole number from 1 to 65535/],
    ['guest:1=tcp:host:0', /from 1 to 65535/],
    ['guest:1=tcp:host:65536', /from 1 to 65535/],
    ['guest:1=unix:', /'unix:' has no path: write unix:PATH/],
    ['guest:1=vsock:', /is no address: write vsock:CID:PORT, where CID 1 is this host/],
    ['guest:1=vsock:host:1', /the CID of 'vsock:host:1' must be/],
    ['guest:1=vsock:1:2:3', /is no address: write vsock:CID:PORT/],
  ];
  for (const [text, words] of cases) says(() => parseForward(text), words);
});

test('what is wrong with a listener is named, with what to write', () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['tcp:127.0.0.1:2222', /no '=' in it: write tcp:HOST:PORT=guest:PORT/],
    ['guest:22=tcp:127.0.0.1:2222', /how a forward is written: use forward/],
    ['tcp:127.0.0.1:2222=22', /'22' is not a port of the guest: write tcp:HOST/],
    ['tcp:127.0.0.1:65536=guest:22', /must be a whole number from 0 to 65535/],
    ['tcp:127.0.0.1=guest:22', /has no port: write tcp:127\.0\.0\.1:PORT/],
    ['tcp:127.0.0.1:2222=guest:*', /the guest's port '\*' must be a whole number/],
    ['tcp:db.example:22=guest:22', /'db\.example' is no address of this host: write it in digits/],
    ['unix:=guest:22', /has no path: write unix:PATH/],
    ['vsock:1:2=guest:22', /the port of 'vsock:1:2' must be/],
    ['/tmp/x=guest:22', /'\/tmp\/x' begins with none of/],
  ];
  for (const [text, words] of cases) says(() => parseListen(text), words);
});

test('ports and groups have a plus between them', () => {
  assert.deepEqual(parsePorts('9001+9002'), [9001, 9002]);
  says(() => parsePorts('9001,9002'), /'9001,9002' \(ports have a '\+' between them\) must be/);
  assert.deepEqual(parseGroups('a + b+a'), ['a', 'b']);
  says(() => parseGroups('a++b'), /one of the names is empty/);
  says(() => parseGroups(''), /one of the names is empty/);
});
