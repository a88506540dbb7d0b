/**
 * Many connections, much data, programs that do not read and programs that die.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { describe, it } from 'node:test';
import { COUNTER, startBackend } from '../../backend/index.ts';
import type { Backend } from '../../backend/index.ts';
import { openFdCount } from '../../sys/index.ts';
import { VsockClient } from '../../frontend/index.ts';
import { expectNoLeak, holdings } from '../../testing/index.ts';
import { openVsock } from './index.ts';
import type { VsockOptions } from './index.ts';

const MIB = 1024 * 1024;

interface Rig {
  readonly client: VsockClient;
  readonly backend: Backend;
  readonly uds: string;
  readonly logs: string[];
}

/** A device and a guest; nothing is left behind. */
async function withClient(
  body: (rig: Rig) => Promise<void>,
  options: Partial<VsockOptions> = {},
): Promise<void> {
  const before = holdings();
  const folder = mkdtempSync(join(tmpdir(), 'vhu-vsock-'));
  const uds = join(folder, 'v');
  const path = join(folder, 's');
  const logs: string[] = [];
  const device = openVsock({ guestCid: 3, udsPath: uds, ...options });
  const backend = await startBackend(
    device,
    { kind: 'listen', path },
    { log: (_level, text) => logs.push(text), failed: (error) => logs.push(String(error)) },
  );
  try {
    const client = await VsockClient.connect(path);
    try {
      await body({ client, backend, uds, logs });
    } finally {
      await client.close();
    }
  } finally {
    await backend.close();
    rmSync(folder, { recursive: true });
  }
  await expectNoLeak(before);
}

/** A server of the host. */
async function serve(path: string, each: (socket: Socket) => void): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined);
    each(socket);
  });
  server.listen(path);
  await once(server, 'listening');
  return server;
}

/** A program that connects to a port of the guest, once it is through. */
async function dialGuest(uds: string, port: number): Promise<Socket> {
  const socket = connect(uds);
  socket.write(`CONNECT ${String(port)}\n`);
  const [line] = (await once(socket, 'data')) as [Buffer];
  assert.match(String(line), /^OK \d+\n$/);
  return socket;
}

/** Sends so many bytes and ends, and returns their hash. */
async function pour(stream: Duplex, bytes: number, seed: number): Promise<string> {
  const hash = createHash('sha256');
  const chunk = Buffer.alloc(65_536 + 17);
  for (let left = bytes, i = seed; left > 0; i++) {
    const part = chunk.fill(i & 0xff).subarray(0, Math.min(left, chunk.length));
    part.writeUInt32LE(i >>> 0, 0);
    hash.update(part);
    left -= part.length;
    if (!stream.write(Buffer.from(part))) await once(stream, 'drain');
  }
  stream.end();
  return hash.digest('hex');
}

/** Takes everything until the end, and returns its hash. */
async function drink(stream: Duplex): Promise<string> {
  const hash = createHash('sha256');
  stream.on('data', (chunk: Buffer) => hash.update(chunk));
  await once(stream, 'end');
  return hash.digest('hex');
}

async function until(what: string, done: () => boolean): Promise<void> {
  const endMs = performance.now() + 30_000;
  while (!done()) {
    assert.ok(performance.now() < endMs, `waited 30 s for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

describe('a vsock device under load', () => {
  it('carries 16 MiB each way at once, to the last byte', async () => {
    await withClient(async ({ client, uds }) => {
      const sums: Promise<string>[] = [];
      const server = await serve(`${uds}_1`, (socket) => {
        sums.push(drink(socket));
        sums.push(pour(socket, 16 * MIB, 7));
      });
      const socket = await client.dial(1);
      const [sent, received] = await Promise.all([pour(socket, 16 * MIB, 3), drink(socket)]);
      assert.deepEqual(await Promise.all(sums), [sent, received]);
      server.close();
    });
  });

  it('carries 100 connections at once, half of them from the host', async () => {
    await withClient(async ({ client, uds }) => {
      client.listen(9, (socket) => socket.pipe(socket));
      const server = await serve(`${uds}_1`, (socket) => socket.pipe(socket));
      const one = async (i: number): Promise<void> => {
        const stream = i % 2 === 0 ? await client.dial(1) : await dialGuest(uds, 9);
        const [sent, back] = await Promise.all([pour(stream, 200_000 + i, i), drink(stream)]);
        assert.equal(back, sent, `connection ${String(i)}`);
      };
      await Promise.all(Array.from({ length: 100 }, (_, i) => one(i)));
      server.close();
    });
  });

  it('makes and ends 1000 connections each way, and keeps no fd of them', async () => {
    await withClient(async ({ client, uds }) => {
      client.listen(9, (socket) => socket.pipe(socket));
      const server = await serve(`${uds}_1`, (socket) => socket.pipe(socket));
      const before = openFdCount();
      for (let i = 0; i < 1000; i += 20) {
        const one = async (dialled: Promise<Duplex>): Promise<void> => {
          const stream = await dialled;
          stream.end('x');
          for await (const chunk of stream) assert.equal(String(chunk), 'x');
        };
        const twenty = Array.from({ length: 20 }, () => one(client.dial(1)));
        await Promise.all([...twenty, ...twenty.map(() => one(dialGuest(uds, 9)))]);
      }
      await until('fds to be closed', () => openFdCount() <= before);
      server.close();
    });
  });

  it('holds a bounded number of bytes for 200 programs that do not read', async () => {
    await withClient(async ({ client, uds, backend }) => {
      const stopped: Socket[] = [];
      const server = await serve(`${uds}_1`, (socket) => stopped.push(socket.pause()));
      const sums: Promise<string>[] = [];
      const other = await serve(`${uds}_2`, (socket) => {
        sums.push(drink(socket));
        socket.once('end', () => socket.end());
      });
      const chunk = Buffer.alloc(65_536);
      const before = process.memoryUsage.rss();
      const sockets = await Promise.all(Array.from({ length: 200 }, () => client.dial(1)));
      for (const socket of sockets) {
        socket.on('error', () => undefined);
        for (let i = 0; i < 12; i++) socket.write(chunk); // more than all buffers on the way
      }
      // Their sockets are full, and so is what is held for them.
      const taken = (): number => backend.counter(COUNTER.bytesWritten);
      await until('the buffers to be full', () => taken() > 200 * 400_000);
      const socket = await client.dial(2);
      const [sent] = await Promise.all([pour(socket, 16 * MIB, 5), drink(socket)]);
      assert.deepEqual(await Promise.all(sums), [sent], 'another connection is none the slower');
      const grownMib = (process.memoryUsage.rss() - before) / MIB;
      // 200 times 256 KiB here, and what this test itself has: 200 times 12 chunks, which are one.
      assert.ok(grownMib < 200, `${grownMib.toFixed(0)} MiB`);
      for (const each of [...sockets, ...stopped]) each.destroy();
      server.close();
      other.close();
    });
  });

  it('tells the guest when a program dies in the middle, and serves the next one', async () => {
    await withClient(async ({ client, uds }) => {
      const server = await serve(`${uds}_1`, (socket) => {
        socket.once('data', () => socket.destroy());
      });
      for (let i = 0; i < 20; i++) {
        const socket = await client.dial(1);
        const closed = new Promise((resolve) => socket.once('close', resolve));
        socket.on('error', () => undefined);
        socket.resume();
        const chunk = Buffer.alloc(65_536);
        for (let n = 0; n < 40; n++) socket.write(chunk);
        await closed;
      }
      server.close();
    });
  });

  it('refuses what goes beyond max-connections, and takes new ones when others have ended', async () => {
    await withClient(
      async ({ client, uds, logs }) => {
        const server = await serve(`${uds}_1`, (socket) => socket.pipe(socket));
        const sockets = await Promise.all([1, 1, 1, 1].map((port) => client.dial(port)));
        await assert.rejects(client.dial(1), /ECONNRESET|ECONNREFUSED/);
        assert.match(logs.join('\n'), /4 connections, as many as max-connections allows/);
        for (const socket of sockets) {
          socket.end();
          await drink(socket);
        }
        const socket = await client.dial(1);
        socket.end('again');
        await drink(socket);
        server.close();
      },
      { connectionsMax: 4 },
    );
  });
});
