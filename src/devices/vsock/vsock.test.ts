/**
 * A vsock device as a guest's driver and the host's programs see it, packet by packet.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { HostProgram, packetText as text, withVsock } from '../../testing/index.ts';
import { VIRTIO_VSOCK_OP as OP, VIRTIO_VSOCK_SHUTDOWN as SHUTDOWN } from './layout.ts';

function bytes(content: string): Uint8Array {
  return Buffer.from(content, 'latin1');
}

describe('a vsock device', () => {
  it('resets a connection to a port where nobody listens, at once', async () => {
    await withVsock(async (talk) => {
      const { guest } = talk;
      guest.send({ op: OP.REQUEST, srcPort: 1000, dstPort: 5000 });
      const reset = await talk.expect(OP.RST);
      assert.deepEqual([reset.srcPort, reset.dstPort, reset.srcCid], [5000, 1000, 2n]);
    });
  });

  it('carries bytes both ways between a guest that connects and a program', async () => {
    await withVsock(async (talk) => {
      const program = await talk.guestConnects(1001, 5001);
      const flow = { srcPort: 1001, dstPort: 5001 };
      talk.guest.send({ op: OP.RW, ...flow, data: bytes('to the host') });
      assert.equal(await program.take(11), 'to the host');
      program.socket.write('to the guest');
      const packet = await talk.expect(OP.RW);
      assert.equal(text(packet), 'to the guest');
      assert.equal(packet.fwdCnt, 11, 'the guest is told what went on');
      assert.equal(packet.bufAlloc, 262_144);
    });
  });

  it('carries bytes both ways between a program that connects and a guest', async () => {
    await withVsock(async (talk) => {
      const { program, port } = await talk.hostConnects(77);
      program.socket.write('hello');
      assert.equal(text(await talk.expect(OP.RW)), 'hello');
      talk.guest.send({ op: OP.RW, srcPort: 77, dstPort: port, data: bytes('hi') });
      assert.equal(await program.take(2), 'hi');
    });
  });

  it('hands on what a program sends right behind its CONNECT', async () => {
    await withVsock(async (talk) => {
      const { guest, keep, uds } = talk;
      const program = keep(await HostProgram.connect(uds));
      program.socket.write('CON');
      await new Promise((resolve) => setTimeout(resolve, 20));
      program.socket.write('NECT 78\nearly');
      const { srcPort } = await talk.expect(OP.REQUEST);
      guest.send({ op: OP.RESPONSE, srcPort: 78, dstPort: srcPort });
      assert.equal(text(await talk.expect(OP.RW)), 'early');
    });
  });

  it('hangs up on a program that says something else, or a port out of range', async () => {
    await withVsock(async ({ keep, uds }) => {
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
    await withVsock(async (talk) => {
      const { guest, keep, uds } = talk;
      const program = keep(await HostProgram.connect(uds));
      program.socket.write('CONNECT 79\n');
      const { srcPort } = await talk.expect(OP.REQUEST);
      guest.send({ op: OP.RST, srcPort: 79, dstPort: srcPort });
      await program.until('the end', () => program.ended);
    });
  });

  it('closes each half by itself: first the guest, then the program', async () => {
    await withVsock(async (talk) => {
      const program = await talk.guestConnects(1002, 5002);
      const flow = { srcPort: 1002, dstPort: 5002 };
      talk.guest.send({ op: OP.RW, ...flow, data: bytes('last') });
      talk.guest.send({ op: OP.SHUTDOWN, ...flow, flags: SHUTDOWN.SEND });
      assert.equal(await program.take(4), 'last');
      await program.until('the end', () => program.ended);
      program.socket.write('still here');
      assert.equal(text(await talk.expect(OP.RW)), 'still here');
      program.socket.end();
      const shutdown = await talk.expect(OP.SHUTDOWN);
      assert.notEqual(shutdown.flags & SHUTDOWN.SEND, 0);
      talk.guest.send({ op: OP.SHUTDOWN, ...flow, flags: SHUTDOWN.BOTH });
      await talk.expect(OP.RST);
    });
  });

  it('closes each half by itself: first the program, then the guest', async () => {
    await withVsock(async (talk) => {
      const { program, port } = await talk.hostConnects(80);
      const flow = { srcPort: 80, dstPort: port };
      program.socket.end('last');
      assert.equal(text(await talk.expect(OP.RW)), 'last');
      assert.equal((await talk.expect(OP.SHUTDOWN)).flags, SHUTDOWN.SEND);
      talk.guest.send({ op: OP.RW, ...flow, data: bytes('still here') });
      assert.equal(await program.take(10), 'still here');
      talk.guest.send({ op: OP.SHUTDOWN, ...flow, flags: SHUTDOWN.BOTH });
      await talk.expect(OP.RST);
      await program.until('the end', () => program.ended);
    });
  });

  it('tells the guest that a program is gone, and takes its confirmation', async () => {
    await withVsock(async (talk) => {
      const program = await talk.guestConnects(1003, 5003);
      const flow = { srcPort: 1003, dstPort: 5003 };
      program.socket.write('last words');
      assert.equal(text(await talk.expect(OP.RW)), 'last words');
      program.close();
      assert.equal((await talk.expect(OP.SHUTDOWN)).flags, SHUTDOWN.BOTH);
      talk.guest.send({ op: OP.RW, ...flow, data: bytes('crossed it') });
      talk.guest.send({ op: OP.RST, ...flow });
      talk.guest.send({ op: OP.RW, ...flow, data: bytes('too late') });
      await talk.expect(OP.RST);
      assert.deepEqual(talk.guest.pending(), []);
    });
  });
});
