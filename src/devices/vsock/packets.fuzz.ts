/**
 * Random packets, of which many belong to connections that there are: the device never fails, and
 * afterwards a guest that behaves is served.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { HostListener, HostProgram, packetText, withVsock } from '../../testing/index.ts';
import type { VsockPacket, VsockTalk } from '../../testing/index.ts';
import { VIRTIO_VSOCK_OP as OP } from './layout.ts';

/** Where an echo listens, where nobody does, and what is no port. */
const HOST_PORTS = [1, 1, 1, 2, 0xffff_ffff] as const;
const GUEST_PORTS = [10, 11, 12, 0xffff_ffff] as const;
const PROPER = { srcPort: 50, dstPort: 1 } as const;

type Step =
  | { readonly do: 'send'; readonly packet: Partial<VsockPacket>; readonly pieces: number[] }
  | { readonly do: 'raw'; readonly bytes: Uint8Array }
  | { readonly do: 'wait' }
  | { readonly do: 'program'; readonly says: string };

const u32 = fc.oneof(fc.constantFrom(0, 1, 44, 65_536, 0xffff_ffff), fc.nat(0xffff_ffff));
const packet = fc.record(
  {
    srcCid: fc.constantFrom(3n, 3n, 3n, 3n, 2n, (1n << 32n) | 3n),
    dstCid: fc.constantFrom(2n, 2n, 2n, 2n, 0n, 3n, 4n, (1n << 32n) | 2n),
    srcPort: fc.constantFrom(...GUEST_PORTS),
    dstPort: fc.constantFrom(...HOST_PORTS),
    op: fc.oneof({ weight: 9, arbitrary: fc.nat(7) }, { weight: 1, arbitrary: fc.nat(0xffff) }),
    type: fc.constantFrom(1, 1, 1, 1, 2, 0, 3),
    flags: fc.nat(7),
    bufAlloc: u32,
    fwdCnt: u32,
    data: fc.uint8Array({ maxLength: 300 }),
  },
  { requiredKeys: ['srcPort', 'dstPort', 'op'] },
);
const lie = fc.option(u32, { freq: 10 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc
      .tuple(packet, lie, fc.array(fc.nat(50), { maxLength: 4 }))
      .map(([sent, len, pieces]): Step => {
        const lying = len === null ? sent : { ...sent, len };
        return { do: 'send', packet: lying, pieces };
      }),
  },
  {
    weight: 1,
    arbitrary: fc
      .uint8Array({ minLength: 1, maxLength: 100 })
      .map((bytes): Step => ({ do: 'raw', bytes })),
  },
  { weight: 2, arbitrary: fc.constant<Step>({ do: 'wait' }) },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom('CONNECT 10\n', 'CONNECT 11\nwith data', 'CONNECT\n', '\n', 'CONN')
      .map((says): Step => ({ do: 'program', says })),
  },
);

/** What has been taken of the ring; so that it never fills up. */
async function settle({ guest }: VsockTalk): Promise<void> {
  const tx = guest.guest.queue(1);
  for (let i = 0; tx.driver.inFlight > 0; i++) {
    assert.ok(i < 20_000, 'packets come back');
    tx.driver.completed();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

async function play(talk: VsockTalk, steps: readonly Step[]): Promise<void> {
  const programs: HostProgram[] = [];
  for (const each of steps) {
    if (each.do === 'send') talk.guest.send(each.packet, each.pieces);
    else if (each.do === 'raw') talk.guest.sendRaw([each.bytes]);
    else if (each.do === 'wait') await settle(talk);
    else {
      const program = await HostProgram.connect(talk.uds);
      program.socket.write(each.says);
      programs.push(program);
    }
    if (talk.guest.guest.queue(1).driver.inFlight > 16) await settle(talk);
    talk.guest.pending();
  }
  await settle(talk);
  for (const program of programs) program.close();
}

/** A connection like any other. */
async function behave(talk: VsockTalk): Promise<void> {
  const { guest } = talk;
  const next = async (op: number): Promise<VsockPacket> => {
    for (;;) {
      const got = await guest.receive();
      if (got.dstPort === PROPER.srcPort && got.op !== OP.CREDIT_UPDATE) {
        assert.equal(got.op, op);
        return got;
      }
    }
  };
  guest.send({ op: OP.REQUEST, ...PROPER });
  await next(OP.RESPONSE);
  guest.send({ op: OP.RW, ...PROPER, data: Buffer.from('still there?') });
  assert.equal(packetText(await next(OP.RW)), 'still there?');
  guest.send({ op: OP.SHUTDOWN, ...PROPER, flags: 3 });
  await next(OP.RST);
}

describe('a vsock device with a guest that sends random packets', () => {
  it('goes on, and serves whoever behaves', async () => {
    const report = await withVsock(
      async (talk) => {
        const echo = await HostListener.listen(`${talk.uds}_1`);
        echo.server.on('connection', (socket) => socket.pipe(socket));
        await fc.assert(
          fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
            await play(talk, steps);
            await behave(talk);
          }),
          { numRuns: 100 },
        );
        echo.close();
      },
      { guest: { queueSize: 128 } },
    );
    assert.deepEqual(report.faults, []);
    assert.ok(!report.log.some((line) => line.startsWith('failed')), report.log.join('\n'));
  });
});
