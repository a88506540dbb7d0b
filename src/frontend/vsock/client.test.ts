/**
 * The vsock client against a device that a script plays, packet by packet.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { describe, it } from 'node:test';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { VhostUserError } from '../../util/index.ts';
import { virtioFeatures } from '../../protocol/index.ts';
import { startBackend } from '../../backend/index.ts';
import type { Backend } from '../../backend/index.ts';
import { VsockScript, expectNoLeak, holdings } from '../../testing/index.ts';
import { VsockClient } from './client.ts';
import type { VsockClientOptions } from './client.ts';
import { VSOCK_OP, VSOCK_SEQ, VSOCK_SHUTDOWN, VSOCK_TYPE } from './layout.ts';
import type { VsockPacket } from './packet.ts';
import type { VsockSocket } from './socket.ts';

interface Rig {
  readonly device: VsockScript;
  readonly client: VsockClient;
  readonly backend: Backend;
}

async function withClient(
  options: VsockClientOptions,
  body: (rig: Rig) => Promise<void>,
  device: VsockScript = new VsockScript(),
): Promise<void> {
  const before = holdings();
  const folder = mkdtempSync(join(tmpdir(), 'vhu-'));
  const path = join(folder, 's');
  const backend = await startBackend(device, { kind: 'listen', path });
  try {
    const client = await VsockClient.connect(path, options);
    try {
      await body({ device, client, backend });
    } finally {
      await client.close();
    }
  } finally {
    await backend.close();
    rmSync(folder, { recursive: true });
  }
  await expectNoLeak(before);
}

/** A connection that the guest opened, and the packet that asked for it. */
async function opened(
  { device, client }: Rig,
  type: 'stream' | 'seqpacket' = 'stream',
  bufAlloc: number = 65536,
): Promise<{ socket: VsockSocket; request: VsockPacket }> {
  const dialled = client.dial(5000, { type });
  const request = await device.expect(VSOCK_OP.REQUEST);
  device.answer(request, { op: VSOCK_OP.RESPONSE, bufAlloc });
  return { socket: await dialled, request };
}

const errorOf = async (socket: VsockSocket): Promise<string> => {
  const [error] = (await once(socket, 'error')) as [{ code: string }];
  return error.code;
};

const tick = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe('VsockClient', () => {
  const settings: Record<string, VsockClientOptions> = {
    'a header of its own': {},
    'header and data in one buffer': { splitHeader: false },
    'direct chains on a tiny ring': { queueSize: 4, ringFeatures: virtioFeatures('VERSION_1') },
    'small packets': { txDataBytes: 100, rxDataBytes: 100, queueSize: 8 },
  };
  for (const [name, options] of Object.entries(settings)) {
    it(`connects, sends, receives and closes, with ${name}`, async () => {
      await withClient(options, async (rig) => {
        const { device, client } = rig;
        assert.equal(client.guestCid, 3);
        const { socket, request } = await opened(rig);
        const { srcCid, dstCid, dstPort, type, bufAlloc } = request;
        assert.deepEqual([srcCid, dstCid, dstPort, type], [3, 2, 5000, VSOCK_TYPE.STREAM]);
        assert.equal(bufAlloc, 256 * 1024);
        socket.write('hel');
        socket.write('lo');
        for (let text = ''; text !== 'hello';) {
          text += Buffer.from((await device.expect(VSOCK_OP.RW)).data).toString();
          assert.ok('hello'.startsWith(text), text);
        }
        device.answer(request, { op: VSOCK_OP.RW, data: Buffer.from('good day') });
        const [chunk] = (await once(socket, 'data')) as [Buffer];
        assert.equal(chunk.toString(), 'good day');
        socket.end();
        assert.equal((await device.expect(VSOCK_OP.SHUTDOWN)).flags, VSOCK_SHUTDOWN.SEND);
        // The other half is open yet.
        device.answer(request, { op: VSOCK_OP.RW, data: Buffer.from('bye') });
        const [last] = (await once(socket, 'data')) as [Buffer];
        assert.equal(last.toString(), 'bye');
        device.answer(request, { op: VSOCK_OP.SHUTDOWN, flags: VSOCK_SHUTDOWN.SEND });
        await once(socket, 'close');
        assert.equal(socket.errored, null);
        assert.equal((await device.expect(VSOCK_OP.SHUTDOWN)).flags, VSOCK_SHUTDOWN.BOTH);
        device.answer(request, { op: VSOCK_OP.RST });
        assert.equal(client.connectionCount, 0);
      });
    });
  }

  it('a reset in answer to a request is ECONNREFUSED, at once', async () => {
    await withClient({}, async ({ device, client }) => {
      const dialled = assert.rejects(client.dial(77), {
        name: 'VsockClientError',
        code: 'ECONNREFUSED',
        message: /^ECONNREFUSED: .*nobody listens.*, connect 2:77$/,
        port: 77,
      });
      device.answer(await device.expect(VSOCK_OP.REQUEST), { op: VSOCK_OP.RST });
      await dialled;
      assert.equal(client.connectionCount, 0);
    });
  });

  it('no answer is ETIMEDOUT, and the other side is told; a late one is refused', async () => {
    await withClient({}, async ({ device, client }) => {
      await assert.rejects(client.dial(77, { timeoutMs: 20 }), { code: 'ETIMEDOUT' });
      await device.expect(VSOCK_OP.RST);
      device.answer(await device.expect(VSOCK_OP.REQUEST), { op: VSOCK_OP.RESPONSE });
      await device.expect(VSOCK_OP.RST);
    });
  });

  it('sends no more than there is credit for, and goes on when there is more', async () => {
    await withClient({}, async (rig) => {
      const { device } = rig;
      const { socket, request } = await opened(rig, 'stream', 1000);
      const data = Buffer.from(Array.from({ length: 2500 }, (_, i) => i & 0xff));
      let written = false;
      socket.write(data, () => (written = true));
      const bytes = (): number => device.packets.reduce((sum, each) => sum + each.data.length, 0);
      await tick(30);
      assert.equal(bytes(), 1000);
      device.answer(request, { op: VSOCK_OP.CREDIT_UPDATE, bufAlloc: 1000, fwdCnt: 700 });
      await tick(30);
      assert.equal(bytes(), 1700);
      assert.equal(written, false);
      // Less room than is in use already: nothing may be sent, and nothing wraps around.
      device.answer(request, { op: VSOCK_OP.CREDIT_UPDATE, bufAlloc: 500, fwdCnt: 1000 });
      await tick(30);
      assert.equal(bytes(), 1700);
      device.answer(request, { op: VSOCK_OP.CREDIT_UPDATE, bufAlloc: 1000, fwdCnt: 1700 });
      await tick(30);
      assert.equal(bytes(), 2500);
      assert.equal(written, true);
      const all = Buffer.concat(device.packets.map((each) => each.data));
      assert.ok(all.equals(data));
    });
  });

  it('tells of room as it is read, and only then; answers a request for credit', async () => {
    await withClient({ bufferBytes: 4000 }, async (rig) => {
      const { device } = rig;
      const { socket, request } = await opened(rig);
      for (let i = 0; i < 4; i++) {
        device.answer(request, { op: VSOCK_OP.RW, data: new Uint8Array(1000).fill(i) });
      }
      device.answer(request, { op: VSOCK_OP.CREDIT_REQUEST });
      assert.equal((await device.expect(VSOCK_OP.CREDIT_UPDATE)).fwdCnt, 0);
      assert.deepEqual(device.packets, []);
      let bytes = 0;
      socket.on('data', (chunk: Buffer) => (bytes += chunk.length));
      const update = await device.expect(VSOCK_OP.CREDIT_UPDATE);
      assert.ok(update.fwdCnt >= 2000, String(update.fwdCnt));
      await tick(10);
      assert.equal(bytes, 4000);
    });
  });

  it('data beyond the credit that was given ends the connection with EPROTO', async () => {
    await withClient({ bufferBytes: 1000 }, async (rig) => {
      const { device } = rig;
      const { socket, request } = await opened(rig);
      const code = errorOf(socket);
      device.answer(request, { op: VSOCK_OP.RW, data: new Uint8Array(1001) });
      assert.equal(await code, 'EPROTO');
      await device.expect(VSOCK_OP.RST);
    });
  });

  it('a reset in the middle is ECONNRESET, for reader and writer', async () => {
    await withClient({}, async (rig) => {
      const { device } = rig;
      const { socket, request } = await opened(rig);
      const code = errorOf(socket);
      device.answer(request, { op: VSOCK_OP.RST });
      assert.equal(await code, 'ECONNRESET');
      const second = await opened(rig, 'stream', 10);
      const failed = new Promise((resolve) =>
        second.socket.write('more than there is room', resolve),
      );
      second.socket.on('error', () => undefined);
      await device.expect(VSOCK_OP.RW);
      device.answer(second.request, { op: VSOCK_OP.RST });
      assert.equal(((await failed) as { code: string }).code, 'ECONNRESET');
      await tick(10);
      assert.deepEqual(device.packets, [], 'a reset is never answered');
    });
  });

  it('what came before the other side closed is read to the end; writing is EPIPE', async () => {
    await withClient({}, async (rig) => {
      const { device } = rig;
      const { socket, request } = await opened(rig);
      for (let i = 0; i < 3; i++) {
        device.answer(request, { op: VSOCK_OP.RW, data: Buffer.from(`part ${String(i)};`) });
      }
      device.answer(request, { op: VSOCK_OP.SHUTDOWN, flags: VSOCK_SHUTDOWN.BOTH });
      await device.expect(VSOCK_OP.RST);
      let text = '';
      for await (const chunk of socket.iterator({ destroyOnReturn: false })) text += String(chunk);
      assert.equal(text, 'part 0;part 1;part 2;');
      const code = errorOf(socket);
      socket.write('is there anybody?');
      assert.equal(await code, 'EPIPE');
    });
  });

  it('listens: a connection, a closed port, a reset and a packet of nobody', async () => {
    await withClient({}, async ({ device, client }) => {
      const listener = client.listen(1234, (socket) => socket.pipe(socket));
      assert.throws(() => client.listen(1234, () => undefined), { code: 'EADDRINUSE' });
      const response = await device.dial(1234, 9000);
      device.answer(response, { op: VSOCK_OP.RW, data: Buffer.from('echo') });
      const echo = await device.expect(VSOCK_OP.RW);
      assert.equal(Buffer.from(echo.data).toString(), 'echo');
      const stranger = {
        srcCid: 2,
        srcPort: 9001,
        dstCid: 3,
        dstPort: 1234,
        type: VSOCK_TYPE.STREAM,
      };
      device.send({ ...stranger, op: VSOCK_OP.RW, data: Buffer.from('?') });
      assert.equal((await device.expect(VSOCK_OP.RST)).dstPort, 9001);
      device.send({ ...stranger, op: VSOCK_OP.RST });
      device.send({ ...stranger, op: VSOCK_OP.REQUEST, dstPort: 4321 });
      assert.equal((await device.expect(VSOCK_OP.RST)).srcPort, 4321);
      device.send({ ...stranger, op: VSOCK_OP.REQUEST, type: 7 });
      assert.equal((await device.expect(VSOCK_OP.RST)).type, 7);
      listener.close();
      device.send({ ...stranger, op: VSOCK_OP.REQUEST });
      await device.expect(VSOCK_OP.RST);
      assert.equal(client.connectionCount, 1);
      await tick(10);
      assert.deepEqual(device.packets, []);
    });
  });

  it('a SEQPACKET connection keeps messages whole, both ways', async () => {
    await withClient({ txDataBytes: 1000 }, async (rig) => {
      const { device } = rig;
      const { socket, request } = await opened(rig, 'seqpacket', 5000);
      const messages: Buffer[] = [];
      socket.on('data', (message: Buffer) => messages.push(message));
      const { EOM, EOR } = VSOCK_SEQ;
      for (const [text, flags] of [
        ['one', EOM],
        ['two, ', 0],
        ['in parts', EOM | EOR],
      ] as const) {
        const packet = { op: VSOCK_OP.RW, flags, bufAlloc: 5000, data: Buffer.from(text) };
        device.answer(request, packet);
      }
      socket.write(new Uint8Array(2500));
      socket.write('short');
      await device.expect(VSOCK_OP.RW, (packet) => packet.data.length === 5);
      const sent = device.packets.map(({ flags, data }) => [data.length, flags & EOM]);
      assert.deepEqual(sent, [
        [1000, 0],
        [1000, 0],
        [500, EOM],
      ]);
      await tick(10);
      assert.deepEqual(messages.map(String), ['one', 'two, in parts']);
      const code = errorOf(socket);
      socket.write(new Uint8Array(5001));
      assert.equal(await code, 'EMSGSIZE');
    });
  });

  it('a device without SEQPACKET refuses such a socket before anything is sent', async () => {
    const device = new VsockScript({ features: 0n });
    const body = async ({ client }: Rig): Promise<void> => {
      assert.equal(client.seqpacket, false);
      await assert.rejects(client.dial(1, { type: 'seqpacket' }), { code: 'EPROTONOSUPPORT' });
      assert.deepEqual(device.packets, []);
    };
    await withClient({}, body, device);
  });

  it('a transport reset ends all connections, and may change the context id', async () => {
    let told: (cid: number) => void = () => undefined;
    const reset = new Promise<number>((resolve) => (told = resolve));
    await withClient({ onTransportReset: (cid) => told(cid) }, async (rig) => {
      const { device, client } = rig;
      const { socket } = await opened(rig);
      client.listen(7, () => undefined);
      const code = errorOf(socket);
      device.guestCid = 33;
      device.event(0);
      assert.equal(await code, 'ECONNRESET');
      assert.equal(await reset, 33);
      assert.equal(client.guestCid, 33);
      await device.dial(7, 1); // listeners live on
    });
  });

  it('a device that goes away ends everything with ENODEV', async () => {
    let ended: (error: VhostUserError | null) => void = () => undefined;
    const end = new Promise<VhostUserError | null>((resolve) => (ended = resolve));
    await withClient({ onEnd: (error) => ended(error) }, async (rig) => {
      const { client, backend } = rig;
      const { socket } = await opened(rig);
      const code = errorOf(socket);
      const dialled = assert.rejects(client.dial(1), { code: 'ENODEV' });
      await backend.close();
      assert.equal(await code, 'ENODEV');
      await dialled;
      assert.equal((await end)?.code, 'ERR_VHU_BACKEND_GONE');
      await assert.rejects(client.dial(1), { code: 'ENODEV' });
    });
  });

  it('a device that reads nothing holds writers back, and then gets all in order', async () => {
    await withClient({ queueSize: 4 }, async (rig) => {
      const { device } = rig;
      const { socket } = await opened(rig, 'stream', 1 << 20);
      device.deaf = true;
      for (let i = 0; i < 50; i++) socket.write(`${String(i)} `);
      socket.end();
      await tick(30);
      assert.equal(device.packets.length, 0);
      device.listen();
      await device.expect(VSOCK_OP.SHUTDOWN);
      const text = Buffer.concat(device.packets.map((each) => each.data)).toString();
      assert.equal(text, Array.from({ length: 50 }, (_, i) => `${String(i)} `).join(''));
    });
  });

  it('packets that are cut off, or for another guest, reach no connection', async () => {
    const errors: string[] = [];
    await withClient({ onError: (error) => errors.push(error.code) }, async (rig) => {
      const { device, client } = rig;
      const { socket, request } = await opened(rig);
      const ends = { srcCid: 2, srcPort: request.dstPort, dstPort: request.srcPort };
      const packet = { ...ends, dstCid: 3, type: VSOCK_TYPE.STREAM, op: VSOCK_OP.RST };
      device.send(packet, 43);
      device.send({ ...packet, length: 1 });
      device.send({ ...packet, dstCid: 4 });
      device.send({ ...packet, dstCid: 3 + 2 ** 32 });
      device.send({ ...packet, srcCid: 2 + 2 ** 32 });
      device.answer(request, { op: VSOCK_OP.RW, data: Buffer.from('x') });
      await once(socket, 'data');
      assert.equal(client.connectionCount, 1);
      assert.deepEqual(
        errors,
        Array.from({ length: 5 }, () => 'ERR_VHU_VSOCK_PACKET'),
      );
    });
  });

  it('raw packets go as they are', async () => {
    await withClient({}, async ({ device, client }) => {
      const packet = { srcCid: 2 ** 33 + 9, srcPort: 1, dstCid: 2, dstPort: 3, type: 5, op: 99 };
      client.sendRaw({ ...packet, flags: 6, bufAlloc: 7, fwdCnt: 8, data: Buffer.from('abc') });
      const came = await device.expect(99);
      assert.deepEqual(
        { ...came, data: Buffer.from(came.data).toString() },
        { ...packet, flags: 6, bufAlloc: 7, fwdCnt: 8, data: 'abc' },
      );
    });
  });
});
