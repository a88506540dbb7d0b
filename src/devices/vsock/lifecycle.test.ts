/**
 * Front-ends that come and go, guests that reboot, rings that stop and go on; and the host's ends
 * that are not Unix sockets.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { errorCode } from '../../util/index.ts';
import {
  HostListener,
  HostProgram,
  MockFrontend,
  MockVsockGuest,
  TestBackend,
  packetText,
  withVsock,
} from '../../testing/index.ts';
import { openVsock } from './index.ts';
import type { VsockOptions, VsockSource } from './index.ts';
import {
  VIRTIO_VSOCK_OP as OP,
  VIRTIO_VSOCK_EVENT_TRANSPORT_RESET as TRANSPORT_RESET,
} from './layout.ts';

const FLOW = { srcPort: 300, dstPort: 301 } as const;

/** Gives a test a folder. */
async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'vhu-vsock-'));
  try {
    await body(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A front-end with a guest that begins. */
async function attach(
  server: TestBackend,
): Promise<{ frontend: MockFrontend; guest: MockVsockGuest }> {
  const frontend = await server.connect();
  await frontend.negotiate();
  const guest = new MockVsockGuest(frontend, { guestCid: 3 });
  await guest.start();
  return { frontend, guest };
}

describe('a vsock device whose front-end comes and goes', () => {
  it('ends the connections of a front-end that went away', async () => {
    await withFolder(async (folder) => {
      const uds = join(folder, 'v');
      const server = await TestBackend.start(openVsock({ guestCid: 3, udsPath: uds }));
      const { frontend, guest } = await attach(server);
      const program = await HostProgram.connect(uds);
      program.socket.write('CONNECT 5\n');
      await guest.receive();
      frontend.close();
      guest.close();
      await program.until('the end', () => program.ended || program.closed);
      const refused = await HostProgram.connect(uds);
      refused.socket.write('CONNECT 5\n');
      await refused.until('the end', () => refused.ended || refused.closed);
      program.close();
      refused.close();
      await server.close();
    });
  });

  it('tells a guest that goes on with another device that its connections are gone', async () => {
    await withFolder(async (folder) => {
      const udsPath = join(folder, 'v');
      const server = await TestBackend.start(openVsock({ guestCid: 3, udsPath }));
      const { frontend, guest } = await attach(server);
      guest.send({ op: OP.RW, ...FLOW, data: Buffer.from('x') });
      assert.equal((await guest.receive()).op, OP.RST);
      await assert.rejects(guest.receiveEvent(50), 'a driver that begins has none');
      const bases: number[] = [];
      for (const index of [0, 1, 2]) bases.push(await guest.guest.stopQueue(index));
      frontend.close();
      const next = await server.connect();
      await next.negotiate();
      guest.guest.frontend = next;
      await guest.guest.shareMemory();
      for (const index of [0, 1, 2]) await guest.guest.startQueue(index, bases[index]);
      assert.equal(await guest.receiveEvent(), TRANSPORT_RESET);
      await assert.rejects(guest.receiveEvent(50), 'it is told once');
      next.close();
      guest.close();
      await server.close();
    });
  });

  it('keeps connections while rings are stopped and go on where they were', async () => {
    await withVsock(async (talk) => {
      const program = await talk.guestConnects(FLOW.srcPort, FLOW.dstPort);
      const { guest } = talk.guest;
      for (let i = 0; i < 3; i++) {
        const bases: number[] = [];
        for (const index of [0, 1, 2]) bases.push(await guest.stopQueue(index));
        assert.ok((bases[0] ?? 0) <= 2 * (i + 1), 'buffers that were not used are given back');
        program.socket.write('while it was away');
        for (const index of [0, 1, 2]) await guest.startQueue(index, bases[index]);
        assert.equal(packetText(await talk.expect(OP.RW)), 'while it was away');
        talk.guest.send({ op: OP.RW, ...FLOW, data: Buffer.from('back') });
        assert.equal(await program.take(4), 'back');
      }
    });
  });

  it('ends all connections when the guest has rebooted', async () => {
    await withVsock(async (talk) => {
      const program = await talk.guestConnects(FLOW.srcPort, FLOW.dstPort);
      const { guest, frontend } = { guest: talk.guest.guest, frontend: talk.guest.guest.frontend };
      for (const index of [0, 1, 2]) await guest.stopQueue(index);
      const again = talk.keep(new MockVsockGuest(frontend, { guestCid: 3 }));
      for (const region of guest.regions) await frontend.command('REM_MEM_REG', { ...region });
      await again.start();
      await program.until('the end', () => program.ended || program.closed);
      again.send({ op: OP.RW, ...FLOW, data: Buffer.from('x') });
      assert.equal((await again.receive()).op, OP.RST);
    });
  });
});

describe('the ends of a vsock device at the host', () => {
  async function forwarded(
    options: Partial<VsockOptions>,
    listener: HostListener,
    dstPort: number,
  ): Promise<void> {
    await withVsock(
      async (talk) => {
        talk.guest.send({ op: OP.REQUEST, srcPort: 40, dstPort });
        await talk.expect(OP.RESPONSE);
        const program = talk.keep(await listener.accept());
        talk.guest.send({ op: OP.RW, srcPort: 40, dstPort, data: Buffer.from('hello') });
        assert.equal(await program.take(5), 'hello');
        program.socket.write('hi');
        assert.equal(packetText(await talk.expect(OP.RW)), 'hi');
        program.close();
        await talk.expect(OP.SHUTDOWN);
      },
      { device: options },
    );
    listener.close();
  }

  it('can be a TCP port, by its address or by a name', async () => {
    for (const host of ['127.0.0.1', 'localhost']) {
      const listener = await HostListener.listen(0);
      const target = { kind: 'tcp', host, port: listener.port } as const;
      await forwarded({ forwards: [{ guestPort: 22, target }] }, listener, 22);
    }
  });

  it('can be the TCP port of the same number', async () => {
    const listener = await HostListener.listen(0);
    const target = { kind: 'tcp', host: '127.0.0.1' } as const;
    await forwarded({ forwards: [{ guestPort: '*', target }] }, listener, listener.port);
  });

  it('can be one Unix socket for a port, which goes before the others', async () => {
    await withFolder(async (folder) => {
      const path = join(folder, 'one');
      const listener = await HostListener.listen(path);
      const any = { kind: 'tcp', host: '127.0.0.1', port: 1 } as const;
      const forwards = [
        { guestPort: '*', target: any },
        { guestPort: 7, target: { kind: 'unix', path } },
      ] as const;
      await forwarded({ forwards }, listener, 7);
    });
  });

  it('refuse a guest at once when nobody listens, or a name is not known', async () => {
    const closed = await HostListener.listen(0);
    const { port } = closed;
    closed.close();
    const targets = [
      { kind: 'tcp', host: '127.0.0.1', port },
      { kind: 'tcp', host: 'no-such-host.invalid', port },
      { kind: 'unix', path: '/nowhere/at/all' },
      { kind: 'unix', path: `/tmp/${'x'.repeat(200)}` },
    ] as const;
    for (const target of targets) {
      await withVsock(
        async (talk) => {
          talk.guest.send({ op: OP.REQUEST, srcPort: 41, dstPort: 9 });
          await talk.expect(OP.RST);
        },
        { device: { forwards: [{ guestPort: 9, target }] } },
      );
    }
  });

  it('listen on TCP ports and Unix sockets for one port of the guest each', async () => {
    await withFolder(async (folder) => {
      const path = join(folder, 'direct');
      const listens = [
        { source: { kind: 'tcp', host: '127.0.0.1', port: 0 }, guestPort: 22 },
        { source: { kind: 'unix', path }, guestPort: 23 },
      ] as const;
      await withVsock(
        async (talk) => {
          const { listening } = talk.server.device;
          const port = Number(/^127\.0\.0\.1:(\d+)$/.exec(listening[1] ?? '')?.[1]);
          for (const [where, guestPort] of [
            [port, 22],
            [path, 23],
          ] as const) {
            const program = talk.keep(await HostProgram.connect(where));
            program.socket.write('first words');
            const { srcPort, dstPort } = await talk.expect(OP.REQUEST);
            assert.equal(dstPort, guestPort);
            talk.guest.send({ op: OP.RESPONSE, srcPort: guestPort, dstPort: srcPort });
            assert.equal(packetText(await talk.expect(OP.RW)), 'first words');
          }
        },
        { device: { listens } },
      );
    });
  });

  it('say what is wrong with them, and leave nothing behind', async () => {
    await withFolder(async (folder) => {
      const udsPath = join(folder, 'v');
      const taken = await HostListener.listen(0);
      const listen = (source: VsockSource): unknown =>
        openVsock({ guestCid: 3, udsPath, listens: [{ source, guestPort: 1 }] });
      const cases = [
        [{ kind: 'tcp', host: '127.0.0.1', port: taken.port }, 'ERR_VHU_SOCKET_IN_USE'],
        [{ kind: 'tcp', host: 'example.org', port: 1 }, 'ERR_VHU_OPTION'],
        [{ kind: 'unix', path: join(folder, 'no', 'such') }, 'ERR_VHU_SYSTEM'],
      ] as const;
      for (const [source, code] of cases) {
        assert.throws(
          () => listen(source),
          (error: Error) => errorCode(error) === code,
        );
      }
      openVsock({ guestCid: 3, udsPath }).close();
      taken.close();
    });
  });
});
