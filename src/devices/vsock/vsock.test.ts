/**
 * A vsock device as a guest's driver and the host's programs see it, packet by packet.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { HostListener, HostProgram, MockVsockGuest, TestBackend } from '../../testing/index.ts';
import type { VsockPacket } from '../../testing/index.ts';
import { VsockDevice, openVsock } from './index.ts';
import type { VsockOptions } from './index.ts';
import { VIRTIO_VSOCK_OP as OP, VIRTIO_VSOCK_SHUTDOWN as SHUTDOWN } from './layout.ts';

const CID = 3;
const folder = mkdtempSync(join(tmpdir(), 'vhu-vsock-'));
after(() => rmSync(folder, { recursive: true }));
const uds = join(folder, 'v');

interface Talk {
  readonly guest: MockVsockGuest;
  readonly server: TestBackend<VsockDevice>;
  readonly keep: <T extends { close(): void }>(closer: T) => T;
}

/** Serves a device to one guest; nothing may be left behind. */
async function withGuest(
  options: Partial<VsockOptions>,
  talk: (talk: Talk) => Promise<void>,
): Promise<void> {
  const server = await TestBackend.start(openVsock({ guestCid: CID, udsPath: uds, ...options }));
  try {
    const report = await server.session(async (frontend, keep) => {
      await frontend.negotiate();
      const guest = keep(new MockVsockGuest(frontend, { guestCid: CID }));
      await guest.start();
      await talk({ guest, server, keep });
    });
    assert.deepEqual(report.faults, []);
  } finally {
    await server.close();
  }
  assert.ok(!existsSync(uds), 'the socket file is gone with the device');
}

function text(packet: VsockPacket): string {
  return Buffer.from(packet.data).toString('latin1');
}

function bytes(content: string): Uint8Array {
  return Buffer.from(content, 'latin1');
}

/** Receives a packet of this operation. */
async function expect(guest: MockVsockGuest, op: number): Promise<VsockPacket> {
  const packet = await guest.receive();
  assert.equal(
    packet.op,
    op,
    JSON.stringify({ ...packet, data: text(packet), srcCid: '', dstCid: '' }),
  );
  assert.equal(packet.dstCid, BigInt(CID));
  return packet;
}

/** The guest connects to a program of the host that listens on `uds_port`. */
async function guestConnects(
  { guest, keep }: Talk,
  srcPort: number,
  dstPort: number,
): Promise<HostProgram> {
  const listener = await HostListener.listen(`${uds}_${String(dstPort)}`);
  guest.send({ op: OP.REQUEST, srcPort, dstPort });
  const response = await expect(guest, OP.RESPONSE);
  assert.deepEqual([response.srcPort, response.dstPort], [dstPort, srcPort]);
  const program = keep(await listener.accept());
  listener.close();
  return program;
}

/** A program of the host connects to the guest; returns it and its port. */
async function hostConnects(
  { guest, keep }: Talk,
  guestPort: number,
): Promise<{ readonly program: HostProgram; readonly port: number }> {
  const program = keep(await HostProgram.connect(uds));
  program.socket.write(`CONNECT ${String(guestPort)}\n`);
  const { srcPort: port, dstPort } = await expect(guest, OP.REQUEST);
  assert.equal(dstPort, guestPort);
  guest.send({ op: OP.RESPONSE, srcPort: guestPort, dstPort: port });
  const answer = `OK ${String(port)}\n`;
  assert.equal(await program.take(answer.length), answer);
  return { program, port };
}

describe('a vsock device', () => {
  it('resets a connection to a port where nobody listens, at once', async () => {
    await withGuest({}, async ({ guest }) => {
      guest.send({ op: OP.REQUEST, srcPort: 1000, dstPort: 5000 });
      const reset = await expect(guest, OP.RST);
      assert.deepEqual([reset.srcPort, reset.dstPort, reset.srcCid], [5000, 1000, 2n]);
    });
  });

  it('carries bytes both ways between a guest that connects and a program', async () => {
    await withGuest({}, async (talk) => {
      const program = await guestConnects(talk, 1001, 5001);
      const flow = { srcPort: 1001, dstPort: 5001 };
      talk.guest.send({ op: OP.RW, ...flow, data: bytes('to the host') });
      assert.equal(await program.take(11), 'to the host');
      program.socket.write('to the guest');
      const packet = await expect(talk.guest, OP.RW);
      assert.equal(text(packet), 'to the guest');
      assert.equal(packet.fwdCnt, 11, 'the guest is told what went on');
      assert.equal(packet.bufAlloc, 262_144);
    });
  });

  it('carries bytes both ways between a program that connects and a guest', async () => {
    await withGuest({}, async (talk) => {
      const { program, port } = await hostConnects(talk, 77);
      program.socket.write('hello');
      assert.equal(text(await expect(talk.guest, OP.RW)), 'hello');
      talk.guest.send({ op: OP.RW, srcPort: 77, dstPort: port, data: bytes('hi') });
      assert.equal(await program.take(2), 'hi');
    });
  });

  it('hands on what a program sends right behind its CONNECT', async () => {
    await withGuest({}, async ({ guest, keep }) => {
      const program = keep(await HostProgram.connect(uds));
      program.socket.write('CON');
      await new Promise((resolve) => setTimeout(resolve, 20));
      program.socket.write('NECT 78\nearly');
      const { srcPort } = await expect(guest, OP.REQUEST);
      guest.send({ op: OP.RESPONSE, srcPort: 78, dstPort: srcPort });
      assert.equal(text(await expect(guest, OP.RW)), 'early');
    });
  });

  it('hangs up on a program that says something else, or a port out of range', async () => {
    await withGuest({}, async ({ keep }) => {
      for (const line of [
        'HELLO\n',
        'CONNECT 4294967295\n',
        'CONNECT 99999999999\n',
        'CONNECT\n',
      ]) {
        const program = keep(await HostProgram.connect(uds));
        program.socket.write(line);
        await program.until('the end', () => program.ended || program.closed);
        assert.equal(program.received.length, 0, line);
      }
    });
  });

  it('hangs up on a program whose port the guest refuses', async () => {
    await withGuest({}, async ({ guest, keep }) => {
      const program = keep(await HostProgram.connect(uds));
      program.socket.write('CONNECT 79\n');
      const { srcPort } = await expect(guest, OP.REQUEST);
      guest.send({ op: OP.RST, srcPort: 79, dstPort: srcPort });
      await program.until('the end', () => program.ended);
    });
  });

  it('closes each half by itself: first the guest, then the program', async () => {
    await withGuest({}, async (talk) => {
      const program = await guestConnects(talk, 1002, 5002);
      const flow = { srcPort: 1002, dstPort: 5002 };
      talk.guest.send({ op: OP.RW, ...flow, data: bytes('last') });
      talk.guest.send({ op: OP.SHUTDOWN, ...flow, flags: SHUTDOWN.SEND });
      assert.equal(await program.take(4), 'last');
      await program.until('the end', () => program.ended);
      program.socket.write('still here');
      assert.equal(text(await expect(talk.guest, OP.RW)), 'still here');
      program.socket.end();
      const shutdown = await expect(talk.guest, OP.SHUTDOWN);
      assert.notEqual(shutdown.flags & SHUTDOWN.SEND, 0);
      talk.guest.send({ op: OP.SHUTDOWN, ...flow, flags: SHUTDOWN.BOTH });
      await expect(talk.guest, OP.RST);
    });
  });

  it('closes each half by itself: first the program, then the guest', async () => {
    await withGuest({}, async (talk) => {
      const { program, port } = await hostConnects(talk, 80);
      const flow = { srcPort: 80, dstPort: port };
      program.socket.end('last');
      assert.equal(text(await expect(talk.guest, OP.RW)), 'last');
      assert.equal((await expect(talk.guest, OP.SHUTDOWN)).flags, SHUTDOWN.SEND);
      talk.guest.send({ op: OP.RW, ...flow, data: bytes('still here') });
      assert.equal(await program.take(10), 'still here');
      talk.guest.send({ op: OP.SHUTDOWN, ...flow, flags: SHUTDOWN.BOTH });
      await expect(talk.guest, OP.RST);
      await program.until('the end', () => program.ended);
    });
  });

  it('tells the guest that a program is gone, and takes its confirmation', async () => {
    await withGuest({}, async (talk) => {
      const program = await guestConnects(talk, 1003, 5003);
      const flow = { srcPort: 1003, dstPort: 5003 };
      program.socket.write('last words');
      assert.equal(text(await expect(talk.guest, OP.RW)), 'last words');
      program.close();
      assert.equal((await expect(talk.guest, OP.SHUTDOWN)).flags, SHUTDOWN.BOTH);
      talk.guest.send({ op: OP.RW, ...flow, data: bytes('crossed it') });
      talk.guest.send({ op: OP.RST, ...flow });
      talk.guest.send({ op: OP.RW, ...flow, data: bytes('too late') });
      await expect(talk.guest, OP.RST);
      assert.deepEqual(talk.guest.pending(), []);
    });
  });
});
