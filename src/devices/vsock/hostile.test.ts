/**
 * A guest that breaks the rules: its connection is reset, or its packet is dropped; all else goes
 * on, nothing is left behind.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { COUNTER } from '../../backend/index.ts';
import { packetText, withVsock } from '../../testing/index.ts';
import type { VsockPacket, VsockTalk } from '../../testing/index.ts';
import { VIRTIO_VSOCK_OP as OP, VIRTIO_VSOCK_SHUTDOWN as SHUTDOWN } from './layout.ts';

const HEADER_BYTES = 44;
const FLOW = { srcPort: 900, dstPort: 901 } as const;
const OTHER = { srcPort: 910, dstPort: 911 } as const;

function faults(talk: VsockTalk): number {
  return talk.server.backend.counter(COUNTER.guestFaults);
}

/** That a connection still carries bytes both ways, and that no packet came meanwhile. */
async function expectAlive(
  talk: VsockTalk,
  flow: { readonly srcPort: number; readonly dstPort: number },
  program: Awaited<ReturnType<VsockTalk['guestConnects']>>,
): Promise<void> {
  talk.guest.send({ op: OP.RW, ...flow, data: Buffer.from('ping') });
  assert.equal(await program.take(4), 'ping');
  program.socket.write('pong');
  assert.equal(packetText(await talk.expect(OP.RW)), 'pong');
}

/** Packets that have no meaning, and are answered by nothing. */
const DROPPED: readonly { readonly what: string; readonly packet: Partial<VsockPacket> }[] = [
  { what: "another guest's CID as its own", packet: { op: OP.REQUEST, ...OTHER, srcCid: 4n } },
  { what: "the host's CID as its own", packet: { op: OP.REQUEST, ...OTHER, srcCid: 2n } },
  {
    what: 'a CID of its own beyond 32 bits',
    packet: { ...OTHER, op: 5, srcCid: (1n << 32n) | 3n },
  },
  { what: 'a reset of a connection that there is none of', packet: { op: OP.RST, ...OTHER } },
];

/** Packets that are answered by a reset, since there is no such connection. */
const RESET: readonly { readonly what: string; readonly packet: Partial<VsockPacket> }[] = [
  {
    what: 'data for an unknown connection',
    packet: { op: OP.RW, ...OTHER, data: Buffer.from('x') },
  },
  { what: 'an answer to no request', packet: { op: OP.RESPONSE, ...OTHER } },
  { what: 'a SHUTDOWN of an unknown connection', packet: { op: OP.SHUTDOWN, ...OTHER, flags: 3 } },
  { what: 'credit for an unknown connection', packet: { op: OP.CREDIT_UPDATE, ...OTHER } },
  { what: 'a request for credit of an unknown one', packet: { op: OP.CREDIT_REQUEST, ...OTHER } },
  { what: 'operation 0', packet: { op: OP.INVALID, ...OTHER } },
  { what: 'operation 65535', packet: { op: 0xffff, ...OTHER } },
  { what: 'type 0', packet: { op: OP.REQUEST, ...OTHER, type: 0 } },
  { what: 'type 3', packet: { op: OP.REQUEST, ...OTHER, type: 3 } },
  { what: 'the hypervisor as its peer', packet: { op: OP.REQUEST, ...OTHER, dstCid: 0n } },
  { what: 'the loopback as its peer', packet: { op: OP.REQUEST, ...OTHER, dstCid: 1n } },
  { what: 'itself as its peer', packet: { op: OP.REQUEST, ...OTHER, dstCid: 3n } },
  { what: 'a guest that there is none of', packet: { op: OP.REQUEST, ...OTHER, dstCid: 99n } },
  { what: 'a peer beyond 32 bits', packet: { op: OP.REQUEST, ...OTHER, dstCid: (1n << 32n) | 2n } },
  { what: 'port 0', packet: { op: OP.REQUEST, srcPort: 910, dstPort: 0 } },
  { what: 'the last port', packet: { op: OP.REQUEST, srcPort: 910, dstPort: 0xffff_fffe } },
  {
    what: 'a port that means "any"',
    packet: { op: OP.REQUEST, srcPort: 910, dstPort: 0xffff_ffff },
  },
  { what: '"any" as its own port', packet: { op: OP.REQUEST, srcPort: 0xffff_ffff, dstPort: 911 } },
];

/** Packets that break a rule of an established connection, which is reset. */
const BREACHES: readonly { readonly what: string; readonly packet: Partial<VsockPacket> }[] = [
  { what: 'a length beyond its buffers', packet: { op: OP.RW, len: 5, data: Buffer.from('four') } },
  { what: 'a length of 4 GiB', packet: { op: OP.RW, len: 0xffff_ffff, data: Buffer.from('x') } },
  { what: 'another type', packet: { op: OP.RW, type: 2, data: Buffer.from('x') } },
  { what: 'type 65535', packet: { op: OP.RW, type: 0xffff, data: Buffer.from('x') } },
  { what: 'operation 0', packet: { op: OP.INVALID } },
  { what: 'operation 8', packet: { op: 8 } },
  { what: 'a second request', packet: { op: OP.REQUEST } },
  { what: 'an answer to no request', packet: { op: OP.RESPONSE } },
];

describe('a guest that breaks the rules', () => {
  for (const { what, packet } of DROPPED) {
    it(`is not answered when it names ${what}`, async () => {
      await withVsock(async (talk) => {
        const program = await talk.guestConnects(FLOW.srcPort, FLOW.dstPort);
        talk.guest.send(packet);
        await expectAlive(talk, FLOW, program);
      });
    });
  }

  it('gets a reset for each packet that belongs to no connection', async () => {
    await withVsock(async (talk) => {
      const program = await talk.guestConnects(FLOW.srcPort, FLOW.dstPort);
      for (const { what, packet } of RESET) {
        talk.guest.send(packet);
        const reset = await talk.expect(OP.RST);
        assert.equal(reset.srcPort, packet.dstPort, what);
        assert.equal(reset.dstPort, packet.srcPort, what);
        assert.equal(reset.srcCid, (packet.dstCid ?? 2n) & 0xffff_ffffn, what);
      }
      await expectAlive(talk, FLOW, program);
    });
  });

  for (const { what, packet } of BREACHES) {
    it(`loses the one connection on which it sends ${what}`, async () => {
      await withVsock(async (talk) => {
        const program = await talk.guestConnects(FLOW.srcPort, FLOW.dstPort);
        const other = await talk.guestConnects(OTHER.srcPort, OTHER.dstPort);
        const before = faults(talk);
        talk.guest.send({ ...FLOW, ...packet });
        const reset = await talk.expect(OP.RST);
        assert.deepEqual([reset.srcPort, reset.dstPort], [FLOW.dstPort, FLOW.srcPort]);
        await program.until('the end', () => program.closed || program.ended);
        assert.equal(faults(talk), before + 1);
        await expectAlive(talk, OTHER, other);
      });
    });
  }

  it('loses a connection on which it sends more than it was given room for', async () => {
    const device = { txBufferBytes: 8192 };
    await withVsock(
      async (talk) => {
        const program = await talk.guestConnects(FLOW.srcPort, FLOW.dstPort);
        program.socket.pause();
        const before = faults(talk);
        // The kernel's own buffers take some of it, so it takes a while to use up all room.
        const data = new Uint8Array(8192);
        let packet: VsockPacket | undefined;
        for (let i = 0; i < 1000 && packet?.op !== OP.RST; i++) {
          talk.guest.send({ op: OP.RW, ...FLOW, data });
          await new Promise((resolve) => setTimeout(resolve, 1));
          packet = talk.guest.pending().find(({ op }) => op !== OP.CREDIT_UPDATE);
        }
        assert.equal(packet?.op, OP.RST);
        assert.equal(faults(talk), before + 1);
      },
      { device },
    );
  });

  it('loses a connection on which it sends after it said that it would not', async () => {
    await withVsock(async (talk) => {
      await talk.guestConnects(FLOW.srcPort, FLOW.dstPort);
      talk.guest.send({ op: OP.SHUTDOWN, ...FLOW, flags: SHUTDOWN.SEND });
      talk.guest.send({ op: OP.RW, ...FLOW, data: Buffer.from('all the same') });
      await talk.expect(OP.RST);
    });
  });

  it('is served whatever pieces its packets come in', async () => {
    await withVsock(async (talk) => {
      const program = await talk.guestConnects(FLOW.srcPort, FLOW.dstPort);
      const data = Buffer.from('in pieces');
      for (const pieces of [[44], [1, 43], [10, 20, 30], [43, 2], [45], [44, 0, 1], [1, 1, 1]]) {
        talk.guest.send({ op: OP.RW, ...FLOW, data }, pieces);
        assert.equal(await program.take(data.length), 'in pieces', pieces.join());
      }
    });
  });

  it('loses a connection by a packet in more pieces than one system call takes', async () => {
    // Room for both packets: the first one may not have come back when the second one is sent.
    const many = { device: { queueSize: 4096 }, guest: { queueSize: 4096, rxCount: 64 } };
    await withVsock(async (talk) => {
      const { srcPort, dstPort } = FLOW;
      const data = Buffer.alloc(1100, 'x');
      const pieces = (count: number): number[] => [44, ...new Array<number>(count - 2).fill(1)];
      const program = await talk.guestConnects(srcPort, dstPort);
      talk.guest.send({ op: OP.RW, ...FLOW, data }, pieces(1024));
      assert.equal(await program.take(data.length), data.toString());
      const before = faults(talk);
      talk.guest.send({ op: OP.RW, ...FLOW, data }, pieces(1025));
      await talk.expect(OP.RST);
      assert.equal(faults(talk), before + 1);
    }, many);
  });

  it('gets packets back that are shorter than a header, or have no bytes at all', async () => {
    await withVsock(async (talk) => {
      const program = await talk.guestConnects(FLOW.srcPort, FLOW.dstPort);
      const before = faults(talk);
      talk.guest.sendRaw([new Uint8Array(1)]);
      talk.guest.sendRaw([new Uint8Array(HEADER_BYTES - 1)]);
      talk.guest.sendRaw([new Uint8Array(20), new Uint8Array(20)]);
      talk.guest.send({ op: OP.RW, ...FLOW }); // no data is no fault
      await expectAlive(talk, FLOW, program);
      assert.equal(faults(talk), before + 3);
    });
  });

  it('gets buffers back that hold no header, and its packets in the others', async () => {
    await withVsock(
      async (talk) => {
        talk.guest.supply(2, 8);
        talk.guest.supply(1, HEADER_BYTES);
        talk.guest.supply(8, 4096);
        const program = await talk.guestConnects(FLOW.srcPort, FLOW.dstPort);
        await expectAlive(talk, FLOW, program);
        assert.equal(faults(talk), 3);
      },
      { guest: { rxCount: 0 } },
    );
  });

  it('is served with buffers of one byte of data', async () => {
    await withVsock(
      async (talk) => {
        const program = await talk.guestConnects(FLOW.srcPort, FLOW.dstPort);
        program.socket.write('abc');
        for (const letter of 'abc') assert.equal(packetText(await talk.expect(OP.RW)), letter);
      },
      { guest: { rxBytes: HEADER_BYTES + 1 } },
    );
  });

  it('may say any nonsense of its room, and gets no byte beyond it', async () => {
    await withVsock(async (talk) => {
      const program = await talk.guestConnects(FLOW.srcPort, FLOW.dstPort);
      const claims = [
        { bufAlloc: 0, fwdCnt: 0 },
        { bufAlloc: 0xffff_ffff, fwdCnt: 0x8000_0000 },
        { bufAlloc: 4, fwdCnt: 0xffff_ffff },
      ];
      for (const claim of claims) talk.guest.send({ op: OP.CREDIT_UPDATE, ...FLOW, ...claim });
      talk.guest.send({ op: OP.CREDIT_UPDATE, ...FLOW, bufAlloc: 4, fwdCnt: 0 });
      talk.guest.send({ op: OP.CREDIT_REQUEST, ...FLOW, bufAlloc: 4, fwdCnt: 0 });
      await talk.expect(OP.CREDIT_UPDATE);
      program.socket.write('12345678');
      assert.equal(packetText(await talk.expect(OP.RW)), '1234');
      await new Promise((resolve) => setTimeout(resolve, 30));
      assert.deepEqual(talk.guest.pending(), []);
      talk.guest.send({ op: OP.CREDIT_UPDATE, ...FLOW, bufAlloc: 4, fwdCnt: 3 });
      assert.equal(packetText(await talk.expect(OP.RW)), '567');
    });
  });

  it('may put anything into its event queue', async () => {
    await withVsock(async (talk) => {
      const event = talk.guest.guest.queue(2);
      event.driver.submit([new Uint8Array(100)], []);
      event.driver.submit([new Uint8Array(1)], [1]);
      event.publish();
      const program = await talk.guestConnects(FLOW.srcPort, FLOW.dstPort);
      await expectAlive(talk, FLOW, program);
    });
  });

  it('may ask again for ports whose connection it has forgotten', async () => {
    await withVsock(async (talk) => {
      const program = await talk.guestConnects(FLOW.srcPort, FLOW.dstPort);
      program.close();
      await talk.expect(OP.SHUTDOWN);
      const again = await talk.guestConnects(FLOW.srcPort, FLOW.dstPort);
      await expectAlive(talk, FLOW, again);
    });
  });
});
