/**
 * The options of a vsock device: defaults, limits, and what is said of a wrong one.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { errorCode } from '../../util/index.ts';
import { hasUnixSeqpacket } from '../../sys/index.ts';
import { VsockNetwork, openVsock } from './index.ts';
import type { VsockOptions } from './index.ts';
import { VIRTIO_VSOCK_F, VSOCK_CONFIG, VSOCK_HEADER } from './layout.ts';
import { vsockSettings } from './options.ts';
import { Targets } from './targets.ts';

const TCP = { kind: 'tcp', host: '127.0.0.1', port: 22 } as const;

/** Options that are wrong, and what has to be named. */
const WRONG: readonly (readonly [Partial<VsockOptions>, RegExp])[] = [
  [{ guestCid: 2 }, /guest-cid is 2: a whole number from 3 to 4294967294/],
  [{ guestCid: 0xffff_ffff }, /guest-cid is 4294967295/],
  [{ guestCid: 3.5 }, /guest-cid is 3\.5/],
  [{ udsPath: '' }, /uds-path is empty/],
  [{ udsPath: 'a\0b' }, /uds-path has a NUL/],
  [{ txBufferBytes: 4095 }, /tx-buffer-size is 4095: .* 4096 to 16777216/],
  [{ connectionsMax: 0 }, /max-connections is 0/],
  [{ queueSize: 100 }, /queue-size is 100: a power of two/],
  [{ pollUs: -1 }, /poll-us is -1/],
  [{ groups: ['a', ''] }, /groups has an empty name/],
  [{ forwards: [{ guestPort: 0xffff_ffff, target: TCP }] }, /the port is 4294967295/],
  [{ forwards: [{ guestPort: 1, target: { ...TCP, port: 70_000 } }] }, /TCP port is 70000/],
  [{ forwards: [{ guestPort: 1, target: { ...TCP, host: '' } }] }, /the host is ""/],
  [{ forwards: [{ guestPort: 1, target: { kind: 'unix', path: '' } }] }, /the path is empty/],
  [{ forwards: [{ guestPort: 1, target: { kind: 'vsock', cid: -1 } }] }, /the CID is -1/],
  [{ listens: [{ guestPort: -1, source: TCP }] }, /guest's port is -1/],
  [{ listens: [{ guestPort: 1, source: { ...TCP, port: 65_536 } }] }, /TCP port is 65536/],
  [{ listens: [{ guestPort: 1, source: { kind: 'unix', path: '' } }] }, /the path is empty/],
  [{ listens: [{ guestPort: 1, source: { kind: 'vsock', port: -1 } }] }, /the port is -1/],
];

describe('the options of a vsock device', () => {
  it('have defaults, and a CID is enough', () => {
    const settings = vsockSettings({ guestCid: 3 });
    assert.deepEqual(
      [settings.txBufferBytes, settings.queueSize, settings.connectionsMax, settings.udsPath],
      [262_144, 1024, 4096, ''],
    );
  });

  for (const [options, text] of WRONG) {
    it(`are refused by name: ${String(text)}`, () => {
      assert.throws(
        () => openVsock({ guestCid: 3, ...options }),
        (error: Error) => errorCode(error) === 'ERR_VHU_OPTION' && text.test(error.message),
      );
    });
  }

  it('decide what the guest is offered, and its configuration space', () => {
    const { STREAM, SEQPACKET } = VIRTIO_VSOCK_F;
    const device = openVsock({ guestCid: 0x1234_5678, queueSize: 256 });
    const expected = hasUnixSeqpacket() ? STREAM | SEQPACKET : STREAM;
    assert.equal(device.features & (STREAM | SEQPACKET), expected);
    assert.equal(device.queueSizeMax, 256);
    const space = device.readConfig();
    assert.equal(space.length, VSOCK_CONFIG.SIZE);
    assert.equal(new DataView(space.buffer).getBigUint64(0, true), 0x1234_5678n);
    device.close();
    const streams = openVsock({ guestCid: 3, seqpacket: false });
    assert.equal(streams.features & SEQPACKET, 0n);
    streams.close();
  });
});

describe('the target of a port', () => {
  it('is the first forward that names it, then the first for all, then the Unix socket', () => {
    const exact = { kind: 'unix', path: '/run/a' } as const;
    const forwards = [
      { guestPort: 5, target: exact },
      { guestPort: 5, target: TCP },
    ] as const;
    const hybrid = new Targets(forwards, '/run/v');
    const unix = (path: string): unknown => ({
      kind: 'address',
      address: { family: 'unix', path },
    });
    assert.deepEqual(hybrid.find(5), unix('/run/a'));
    assert.deepEqual(hybrid.find(6), unix('/run/v_6'));
    const any = new Targets([{ guestPort: '*', target: TCP }, ...forwards], '/run/v');
    assert.deepEqual(any.find(5), unix('/run/a'));
    const address = { family: 'inet', host: '127.0.0.1', port: 22 };
    assert.deepEqual(any.find(6), { kind: 'address', address });
    assert.equal(new Targets(forwards, '').find(6), null);
  });

  it('is the port of the same number where it names none, if it can be one', () => {
    const targets = new Targets(
      [
        { guestPort: '*', target: { kind: 'tcp', host: 'some.name' } },
        { guestPort: 7, target: { kind: 'vsock' } },
      ],
      '',
    );
    assert.deepEqual(targets.find(80), { kind: 'name', host: 'some.name', port: 80 });
    assert.equal(targets.find(70_000), null);
    const address = { family: 'vsock', cid: 1, port: 7 };
    assert.deepEqual(targets.find(7), { kind: 'address', address });
  });
});

describe('a network', () => {
  it('knows who shares a group with whom, and forgets who has left', () => {
    const network = new VsockNetwork();
    const member = (guestCid: number, ...groups: string[]) => ({
      guestCid,
      groups,
      called: () => undefined,
    });
    const [a, b, c] = [member(3, 'x'), member(4, 'x', 'y'), member(5, 'y')];
    for (const each of [a, b, c]) network.join(each);
    assert.equal(network.sibling(a, 4), b);
    assert.equal(network.sibling(a, 5), null);
    assert.equal(network.sibling(a, 3), null, 'nobody is its own sibling');
    network.leave(member(4));
    assert.equal(network.sibling(a, 4), b, 'only the member itself leaves');
    network.leave(b);
    assert.equal(network.sibling(a, 4), null);
  });
});

describe('the header of a packet', () => {
  it('has fields that follow each other without a gap', () => {
    const { SIZE, ...fields } = VSOCK_HEADER;
    const offsets = Object.values(fields);
    const bytes = [8, 8, 4, 4, 4, 2, 2, 4, 4, 4];
    let end = 0;
    offsets.forEach((offset, i) => {
      assert.equal(offset, end);
      end += bytes[i] ?? 0;
    });
    assert.equal(end, SIZE);
  });
});
