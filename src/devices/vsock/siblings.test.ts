/**
 * Guests of one process that reach each other.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { errorCode } from '../../util/index.ts';
import { hasUnixSeqpacket } from '../../sys/index.ts';
import { packetText, withVsock } from '../../testing/index.ts';
import type { VsockTalk } from '../../testing/index.ts';
import { VsockNetwork, openVsock } from './index.ts';
import {
  VIRTIO_VSOCK_OP as OP,
  VIRTIO_VSOCK_SEQ as SEQ,
  VIRTIO_VSOCK_SHUTDOWN as SHUTDOWN,
} from './layout.ts';

/** Serves two guests, with CIDs 3 and 4, in these groups. */
async function withTwo(
  groups: readonly [readonly string[], readonly string[]],
  talk: (first: VsockTalk, second: VsockTalk) => Promise<void>,
): Promise<void> {
  const network = new VsockNetwork();
  const device = { groups: groups[0] };
  await withVsock(
    async (first) => {
      const other = { guestCid: 4, groups: groups[1] };
      await withVsock((second) => talk(first, second), { network, device: other });
    },
    { network, device },
  );
}

const CALL = { srcPort: 1000, dstPort: 2000, dstCid: 4n } as const;
const BACK = { srcPort: 2000, dstPort: 1000, dstCid: 3n } as const;

/** The first guest connects to the second one. */
async function connected(first: VsockTalk, second: VsockTalk, type = 1): Promise<void> {
  first.guest.send({ op: OP.REQUEST, ...CALL, type });
  const request = await second.expect(OP.REQUEST);
  assert.deepEqual(
    [request.srcCid, request.srcPort, request.dstPort, request.type],
    [3n, CALL.srcPort, CALL.dstPort, type],
  );
  second.guest.send({ op: OP.RESPONSE, ...BACK, type });
  assert.equal((await first.expect(OP.RESPONSE)).srcCid, 4n);
}

describe('guests of one network', () => {
  it('reach each other when they share a group, both ways and to the end', async () => {
    await withTwo([['a', 'b'], ['b']], async (first, second) => {
      await connected(first, second);
      first.guest.send({ op: OP.RW, ...CALL, data: Buffer.from('hello') });
      assert.equal(packetText(await second.expect(OP.RW)), 'hello');
      second.guest.send({ op: OP.RW, ...BACK, data: Buffer.from('hi') });
      assert.equal(packetText(await first.expect(OP.RW)), 'hi');
      first.guest.send({ op: OP.SHUTDOWN, ...CALL, flags: SHUTDOWN.BOTH });
      await first.expect(OP.RST);
      assert.equal((await second.expect(OP.SHUTDOWN)).flags, SHUTDOWN.BOTH);
      second.guest.send({ op: OP.RST, ...BACK });
    });
  });

  it('close each half by itself', async () => {
    await withTwo([['a'], ['a']], async (first, second) => {
      await connected(first, second);
      first.guest.send({ op: OP.RW, ...CALL, data: Buffer.from('last') });
      first.guest.send({ op: OP.SHUTDOWN, ...CALL, flags: SHUTDOWN.SEND });
      assert.equal(packetText(await second.expect(OP.RW)), 'last');
      assert.equal((await second.expect(OP.SHUTDOWN)).flags, SHUTDOWN.SEND);
      second.guest.send({ op: OP.RW, ...BACK, data: Buffer.from('answer') });
      assert.equal(packetText(await first.expect(OP.RW)), 'answer');
    });
  });

  it('refuse each other: the one that called gets the reset', async () => {
    await withTwo([['a'], ['a']], async (first, second) => {
      first.guest.send({ op: OP.REQUEST, ...CALL });
      await second.expect(OP.REQUEST);
      second.guest.send({ op: OP.RST, ...BACK });
      await first.expect(OP.RST);
    });
  });

  it('do not reach each other without a common group', async () => {
    await withTwo([['a'], ['b']], async (first, second) => {
      first.guest.send({ op: OP.REQUEST, ...CALL });
      await first.expect(OP.RST);
      assert.deepEqual(second.guest.pending(), []);
    });
  });

  it('call each other at the same time, many times', async () => {
    await withTwo([['a'], ['a']], async (first, second) => {
      const count = 20;
      for (let i = 0; i < count; i++) {
        first.guest.send({ op: OP.REQUEST, srcPort: 100 + i, dstPort: 7, dstCid: 4n });
        second.guest.send({ op: OP.REQUEST, srcPort: 100 + i, dstPort: 7, dstCid: 3n });
      }
      const answers = [0, 0];
      const step = async ({ guest }: VsockTalk, which: number): Promise<void> => {
        const packet = await guest.receive();
        const { srcCid: dstCid, srcPort: dstPort } = packet;
        if (packet.op === OP.REQUEST) guest.send({ op: OP.RESPONSE, srcPort: 7, dstPort, dstCid });
        else answers[which] = (answers[which] ?? 0) + 1;
      };
      for (let i = 0; i < 2 * count; i++) await Promise.all([step(first, 0), step(second, 1)]);
      assert.deepEqual(answers, [count, count]);
      for (let i = 0; i < count; i++) {
        const data = Buffer.from(`from 3, ${String(i)}`);
        first.guest.send({ op: OP.RW, srcPort: 100 + i, dstPort: 7, dstCid: 4n, data });
      }
      const got = new Set<string>();
      while (got.size < count) {
        const packet = await second.guest.receive();
        if (packet.op === OP.RW) got.add(packetText(packet));
      }
      assert.ok(got.has('from 3, 19'));
      // The first guest goes on after the second one: it is done with these connections, too.
      for (let i = 0; i < count; i++) {
        first.guest.send({ op: OP.RST, srcPort: 100 + i, dstPort: 7, dstCid: 4n });
        first.guest.send({ op: OP.RST, srcPort: 7, dstPort: 100 + i, dstCid: 4n });
        first.guest.pending();
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    });
  });

  const skip = hasUnixSeqpacket() ? false : 'this host has no Unix sockets of type SOCK_SEQPACKET';
  it('send each other messages', { skip }, async () => {
    await withTwo([['a'], ['a']], async (first, second) => {
      await connected(first, second, 2);
      const flow = { ...CALL, type: 2 };
      first.guest.send({ op: OP.RW, ...flow, data: Buffer.from('mess') });
      first.guest.send({ op: OP.RW, ...flow, data: Buffer.from('age'), flags: SEQ.EOM });
      const packet = await second.expect(OP.RW);
      assert.deepEqual([packetText(packet), packet.flags], ['message', SEQ.EOM]);
    });
  });

  it('are told which message ends a record, also of those that had to wait', { skip }, async () => {
    await withTwo([['a'], ['a']], async (first, second) => {
      await connected(first, second, 2);
      const flow = { ...CALL, type: 2 };
      const flagsOf = (i: number): number => (i % 3 === 0 ? SEQ.EOM | SEQ.EOR : SEQ.EOM);
      // More than the second guest has buffers for, or a socket holds.
      const data = Buffer.alloc(4000);
      const count = 60;
      for (let i = 0; i < count; i++) {
        data.fill(i);
        first.guest.send({ op: OP.RW, ...flow, flags: flagsOf(i), data });
      }
      let read = 0;
      for (let i = 0; i < count; i++) {
        let [length, flags] = [0, 0];
        while ((flags & SEQ.EOM) === 0) {
          const packet = await second.expect(OP.RW);
          assert.ok(packet.data.every((byte) => byte === i));
          length += packet.data.length;
          flags = packet.flags;
        }
        read += length;
        assert.deepEqual([length, flags], [data.length, flagsOf(i)], `message ${String(i)}`);
        second.guest.send({ op: OP.CREDIT_UPDATE, ...BACK, type: 2, fwdCnt: read });
      }
    });
  });

  it('have a CID each: the same one twice is refused', () => {
    const network = new VsockNetwork();
    const first = openVsock({ guestCid: 3 }, network);
    assert.throws(
      () => openVsock({ guestCid: 3 }, network),
      (error: Error) =>
        errorCode(error) === 'ERR_VHU_OPTION' && error.message.includes('guest-cid 3'),
    );
    first.close();
    openVsock({ guestCid: 3 }, network).close();
  });
});
