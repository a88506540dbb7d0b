/**
 * Feature bits and the specification's releases.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  DEFAULT_PROFILE,
  FRONTEND,
  PROTOCOL_FEATURE_BITS,
  VIRTIO_FEATURE_BITS,
  describeProtocolFeatures,
  describeVirtioFeatures,
  profile,
  protocolFeatures,
  virtioFeatures,
} from './index.ts';
import type { ProfileName } from './index.ts';

/** QEMU 11.1.2's interop/vhost-user, in the order of the bits; the last is its master's. */
const PROTOCOL_FEATURES = [
  ...['MQ', 'LOG_SHMFD', 'RARP', 'REPLY_ACK', 'MTU', 'BACKEND_REQ', 'CROSS_ENDIAN'],
  ...['CRYPTO_SESSION', 'PAGEFAULT', 'CONFIG', 'BACKEND_SEND_FD', 'HOST_NOTIFIER'],
  ...['INFLIGHT_SHMFD', 'RESET_DEVICE', 'INBAND_NOTIFICATIONS', 'CONFIGURE_MEM_SLOTS', 'STATUS'],
  ...['XEN_MMAP', 'SHARED_OBJECT', 'DEVICE_STATE', 'GET_VRING_BASE_INFLIGHT', 'GPA_ADDRESSES'],
  ...['SHMEM_MAP', 'GET_VRING_BASE_SKIP_DRAIN'],
];

describe('features', () => {
  it('of the protocol have the bits of the specification', () => {
    const expected = Object.fromEntries(PROTOCOL_FEATURES.map((name, bit) => [name, bit]));
    assert.deepEqual(PROTOCOL_FEATURE_BITS, expected);
  });

  it('of virtio have the bits of the specification', () => {
    assert.equal(VIRTIO_FEATURE_BITS.INDIRECT_DESC, 28);
    assert.equal(VIRTIO_FEATURE_BITS.EVENT_IDX, 29);
    assert.equal(VIRTIO_FEATURE_BITS.PROTOCOL_FEATURES, 30);
    assert.equal(VIRTIO_FEATURE_BITS.VERSION_1, 32);
    assert.equal(VIRTIO_FEATURE_BITS.RING_PACKED, 34);
  });

  it('make masks, also above bit 31', () => {
    assert.equal(protocolFeatures(), 0n);
    assert.equal(protocolFeatures('MQ', 'REPLY_ACK', 'MQ'), 0b1001n);
    assert.equal(virtioFeatures('VERSION_1', 'EVENT_IDX'), 0x1_2000_0000n);
  });

  it('are described by name, and by number where they have none', () => {
    assert.equal(describeProtocolFeatures(0n), 'none');
    assert.equal(describeProtocolFeatures(0b1001n), 'MQ, REPLY_ACK');
    assert.equal(describeProtocolFeatures((1n << 63n) | 1n), 'MQ, bit 63');
    assert.equal(describeVirtioFeatures((1n << 32n) | (1n << 5n)), 'bit 5, VERSION_1');
  });
});

describe('profile', () => {
  const names: readonly ProfileName[] = ['10.2', '11.0', '11.1', 'master'];

  it('knows what each release brought', () => {
    const has = (name: ProfileName, message: number): boolean =>
      profile(name).frontendMessages.some(({ id }) => id === message);
    const { GET_SHMEM_CONFIG, GET_VRING_BASE_SKIP_DRAIN, CHECK_DEVICE_STATE } = FRONTEND;
    for (const name of names) assert.ok(has(name, CHECK_DEVICE_STATE), name);
    assert.deepEqual(
      names.map((name) => has(name, GET_SHMEM_CONFIG)),
      [false, false, true, true],
    );
    assert.deepEqual(
      names.map((name) => has(name, GET_VRING_BASE_SKIP_DRAIN)),
      [false, false, false, true],
    );
    assert.deepEqual(
      names.map((name) => profile(name).backendMessages.length),
      [8, 8, 10, 10],
    );
  });

  it('has the protocol features of its release', () => {
    const bits = (count: number): bigint => (1n << BigInt(count)) - 1n;
    assert.equal(profile('10.2').protocolFeatures, bits(20));
    assert.equal(profile('11.0').protocolFeatures, bits(21));
    assert.equal(profile('11.1').protocolFeatures, bits(23));
    assert.equal(profile('master').protocolFeatures, bits(24));
  });

  it('says what starts a ring', () => {
    assert.equal(profile('10.2').ringStart, 'first-kick');
    assert.equal(profile(DEFAULT_PROFILE).ringStart, 'set-vring-kick');
  });
});
