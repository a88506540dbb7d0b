/**
 * Sessions and what is not memory or rings: features, configuration space, status, and the messages
 * that a device does not have.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import {
  FRONTEND_MESSAGES,
  PAYLOAD,
  PROTOCOL_FEATURE_BITS,
  profile,
  protocolFeatures,
  virtioFeatures,
} from '../protocol/index.ts';
import { EchoDevice, TestBackend, codesOf } from '../testing/index.ts';
import type { MockFrontend } from '../testing/index.ts';

const CONFIG_BYTES = 16; // the lower half is the driver's to write
const SILENCE_MS = 30;

let served: TestBackend<EchoDevice>;
before(async () => {
  served = await TestBackend.start(new EchoDevice({ configBytes: CONFIG_BYTES }));
  await served.session(async (frontend) => {
    await frontend.negotiate();
  });
});
after(() => served.close());

async function readConfig(frontend: MockFrontend, offset: number, size: number): Promise<number[]> {
  const bytes = new Uint8Array(size);
  const { values } = await frontend.ask('GET_CONFIG', 'config', { offset, flags: 0, bytes });
  assert.equal(values.offset, offset);
  return [...values.bytes];
}

describe('a session whose front-end reads the configuration space', () => {
  it('gives what is there, and zeroes for a structure that is longer', async () => {
    const { refused } = await served.session(async (frontend) => {
      await frontend.negotiate();
      assert.deepEqual(await readConfig(frontend, 0, 4), [1, 2, 3, 4]);
      assert.deepEqual(await readConfig(frontend, 14, 4), [15, 16, 0, 0]);
      assert.deepEqual(await readConfig(frontend, 0, 0), []);
      const all = await readConfig(frontend, 0, 256);
      assert.deepEqual(all.slice(CONFIG_BYTES), Array(240).fill(0));
      assert.deepEqual(await readConfig(frontend, 255, 1), [0]);
      assert.deepEqual(await readConfig(frontend, 256, 0), []);
    });
    assert.deepEqual(refused, []);
  });

  it('answers what is beyond any space with an empty reply', async () => {
    const { refused } = await served.session(async (frontend) => {
      await frontend.negotiate();
      for (const [offset, size] of [
        [0, 257],
        [256, 1],
        [1, 256],
        [0xffffffff, 1],
        [0xffffffff, 256],
        [0, 4096],
      ] as const) {
        const bytes = new Uint8Array(size);
        await frontend.send('GET_CONFIG', { offset, flags: 0, bytes });
        assert.equal((await frontend.receive()).payload.length, 0, `${offset} ${size}`);
      }
    });
    assert.deepEqual(codesOf(refused), Array(6).fill('ERR_VHU_CONFIG'));
  });
});

describe('a session whose front-end writes to the configuration space', () => {
  const write = (offset: number, size: number, flags: number): object => {
    return { offset, flags, bytes: new Uint8Array(size).fill(0xaa) };
  };

  it('takes what the driver may write, and only from a migration the rest', async () => {
    const { refused } = await served.session(async (frontend) => {
      await frontend.negotiate();
      const saved = served.device.readConfig();
      await frontend.command('SET_CONFIG', { ...write(6, 2, 0) });
      assert.deepEqual(await readConfig(frontend, 5, 4), [6, 0xaa, 0xaa, 9]);
      assert.notEqual(await frontend.ack('SET_CONFIG', { ...write(7, 2, 0) }), 0n, 'read-only');
      await frontend.command('SET_CONFIG', { ...write(14, 2, 1) });
      assert.deepEqual(await readConfig(frontend, 13, 4), [14, 0xaa, 0xaa, 0]);
      await frontend.command('SET_CONFIG', { offset: 0, flags: 1, bytes: saved });
      assert.deepEqual(await readConfig(frontend, 0, 16), [...saved]);
    });
    assert.equal(refused.length, 1);
  });

  it('refuses what is outside, and flags that there are not', async () => {
    const { refused } = await served.session(async (frontend) => {
      await frontend.negotiate();
      for (const values of [
        write(0, 17, 1),
        write(16, 1, 1),
        write(0xffffffff, 1, 1),
        write(0, 1, 2),
        write(0, 1, 0xffffffff),
      ]) {
        assert.notEqual(await frontend.ack('SET_CONFIG', { ...values }), 0n);
      }
      assert.deepEqual(await readConfig(frontend, 0, 2), [1, 2], 'nothing was written');
    });
    assert.deepEqual(codesOf(refused), Array(5).fill('ERR_VHU_CONFIG'));
  });
});

describe('a session of a device whose configuration space cannot be written', () => {
  it('refuses to write to it', async () => {
    class Fixed extends EchoDevice {
      override writeConfig = undefined as never;
    }
    const fixed = await TestBackend.start(new Fixed());
    try {
      const { refused } = await fixed.session(async (frontend) => {
        await frontend.negotiate();
        const values = { offset: 0, flags: 0, bytes: new Uint8Array(1) };
        assert.notEqual(await frontend.ack('SET_CONFIG', values), 0n);
      });
      assert.match(
        refused[0]?.message ?? '',
        /nothing in the configuration space .* can be written/,
      );
    } finally {
      await fixed.close();
    }
  });
});

describe('a session whose device changes its configuration space', () => {
  it('tells a front-end that has given it a socket for that', async () => {
    await served.session(async (frontend, keep) => {
      await frontend.negotiate();
      served.device.configChanged(); // nobody is there to hear it
      const channel = keep(await frontend.openBackendChannel());
      served.device.configChanged();
      served.device.configChanged();
      for (let i = 0; i < 2; i++) {
        const { request, payload } = await channel.receive();
        assert.deepEqual([request, payload.length], [2, 0]);
      }
      await channel.expectSilence(SILENCE_MS);
    });
    served.device.configChanged(); // nor after the session
  });

  it('tells nothing to a front-end that has not negotiated it', async () => {
    await served.session(async (frontend, keep) => {
      await frontend.negotiate({ protocolFeatures: protocolFeatures('BACKEND_REQ', 'REPLY_ACK') });
      const channel = keep(await frontend.openBackendChannel());
      served.device.configChanged();
      await channel.expectSilence(SILENCE_MS);
    });
  });

  it('goes on when the front-end does not read that socket, or writes nonsense to it', async () => {
    await served.session(async (frontend, keep) => {
      await frontend.negotiate();
      const deaf = keep(await frontend.openBackendChannel());
      deaf.setReading(false);
      for (let i = 0; i < 100_000; i++) served.device.configChanged();
      await frontend.askNumber('GET_FEATURES');
      const noisy = keep(await frontend.openBackendChannel());
      await noisy.sendBytes(new Uint8Array(100).fill(0xff));
      await noisy.expectClosed();
      served.device.configChanged();
      const last = keep(await frontend.openBackendChannel());
      served.device.configChanged();
      assert.equal((await last.receive()).request, 2);
    });
  });
});

describe('a session and its features', () => {
  it('offers what the device and the transport have', async () => {
    await served.session(async (frontend) => {
      const transport = ['VERSION_1', 'INDIRECT_DESC', 'EVENT_IDX', 'PROTOCOL_FEATURES'] as const;
      assert.equal(await frontend.askNumber('GET_FEATURES'), virtioFeatures(...transport));
      const offered = await frontend.askNumber('GET_PROTOCOL_FEATURES');
      assert.equal(offered & ~profile('11.1').protocolFeatures, 0n);
      for (const name of ['MQ', 'REPLY_ACK', 'BACKEND_REQ', 'CONFIG', 'STATUS'] as const) {
        assert.notEqual(offered & protocolFeatures(name), 0n, name);
      }
      assert.equal(await frontend.askNumber('GET_QUEUE_NUM'), 2n);
    });
  });

  it('refuses features that it does not offer, one by one, and keeps those it had', async () => {
    const { refused } = await served.session(async (frontend) => {
      await frontend.negotiate();
      const features = await frontend.askNumber('GET_FEATURES');
      const protocol = await frontend.askNumber('GET_PROTOCOL_FEATURES');
      for (let bit = 0n; bit < 64n; bit++) {
        const mask = 1n << bit;
        const name = (known: bigint): boolean => (known & mask) === 0n;
        if (name(features))
          assert.notEqual(await frontend.ack('SET_FEATURES', { value: mask }), 0n);
        if (name(protocol)) {
          assert.notEqual(await frontend.ack('SET_PROTOCOL_FEATURES', { value: mask }), 0n);
        }
      }
      assert.equal(await frontend.ack('SET_OWNER'), 0n, 'REPLY_ACK is still on');
    });
    assert.deepEqual([...new Set(codesOf(refused))], ['ERR_VHU_FEATURES']);
  });

  it('may have its protocol features set before its features, and again', async () => {
    const { refused } = await served.session(async (frontend) => {
      const value = protocolFeatures('REPLY_ACK', 'MQ');
      await frontend.send('SET_PROTOCOL_FEATURES', { value });
      assert.equal(await frontend.ack('SET_FEATURES', { value: virtioFeatures('VERSION_1') }), 0n);
      await frontend.send('SET_PROTOCOL_FEATURES', { value: 0n });
      await frontend.send('SET_OWNER', {}, { needReply: true });
      await frontend.expectSilence(SILENCE_MS);
    });
    assert.deepEqual(refused, []);
  });
});

describe('a session and the device status', () => {
  it('keeps the 8 bits that the driver sets, and resets the device at 0', async () => {
    const { refused } = await served.session(async (frontend, keep) => {
      const all = protocolFeatures('STATUS', 'REPLY_ACK', 'CONFIGURE_MEM_SLOTS', 'MQ');
      const guest = keep(await frontend.bringUp({ protocolFeatures: all }));
      await guest.queue(0).exchange([Buffer.from('x')], [1]);
      for (const value of [1n, 3n, 0xbfn]) {
        await frontend.command('SET_STATUS', { value });
        assert.equal(await frontend.askNumber('GET_STATUS'), value);
      }
      for (const value of [256n, 2n ** 64n - 1n]) {
        assert.notEqual(await frontend.ack('SET_STATUS', { value }), 0n);
      }
      assert.equal(await frontend.askNumber('GET_STATUS'), 0xbfn);
      const { resets } = served.device;
      await frontend.command('SET_STATUS', { value: 0n });
      assert.equal(served.device.resets, resets + 1);
      assert.equal(await guest.stopQueue(0), 0, 'rings are stopped, and begin anew');
    });
    assert.deepEqual(codesOf(refused), Array(2).fill('ERR_VHU_STATUS'));
  });
});

describe('a session and messages of features that it does not offer', () => {
  it('refuses each, with and without a reply, closes its fds and goes on', async () => {
    const spare = openSync('/dev/null', 'r+');
    let sent = 0;
    const { refused } = await served.session(async (frontend) => {
      await frontend.negotiate();
      const offered = await frontend.askNumber('GET_PROTOCOL_FEATURES');
      for (const { id, request, requestFds, gate, name } of FRONTEND_MESSAGES) {
        const bit = PROTOCOL_FEATURE_BITS[gate as keyof typeof PROTOCOL_FEATURE_BITS] as
          number | undefined;
        const known = bit !== undefined && (offered & (1n << BigInt(bit))) !== 0n;
        const other = name === 'SET_LOG_FD' || name === 'GPU_SET_SOCKET' || name === 'IOTLB_MSG';
        if (known || (bit === undefined && !other)) continue;
        const { sizeBytes, tail } = PAYLOAD[request];
        const fixedBytes = tail?.kind === 'bytes' ? (tail.lengthBytes ?? 0) : 0;
        const payload = new Uint8Array(sizeBytes + fixedBytes);
        const fds = requestFds === 'per-region' ? [] : Array<number>(requestFds[1]).fill(spare);
        assert.notEqual(await frontend.ack(id, {}, { payload, fds }), 0n, name);
        await frontend.send(id, {}, { payload, fds });
        sent += 2;
      }
      await frontend.expectSilence(5);
    });
    closeSync(spare);
    assert.ok(sent >= 2 * 15, String(sent));
    assert.equal(refused.length, sent);
    assert.deepEqual([...new Set(codesOf(refused))], ['ERR_VHU_MESSAGE_NOT_OFFERED']);
  });
});
