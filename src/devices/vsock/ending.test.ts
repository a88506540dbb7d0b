/**
 * Guests that close a connection while bytes are under way in both directions: what the guest has
 * sent arrives, whatever the program of the host was about to send.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { COUNTER } from '../../backend/index.ts';
import { NativeBlock, WRITABLE, closeFd, receive, send, socketPair } from '../../sys/index.ts';
import { HostListener, HostProgram, MockVsockGuest } from '../../testing/index.ts';
import { packetText, withVsock } from '../../testing/index.ts';
import type { VsockTalk } from '../../testing/index.ts';
import { STATE } from './connections.ts';
import { Flows } from './flows.ts';
import type { VsockOptions } from './options.ts';
import {
  VIRTIO_VSOCK_OP as OP,
  VIRTIO_VSOCK_SHUTDOWN as SHUTDOWN,
  VIRTIO_VSOCK_TYPE as TYPE,
} from './layout.ts';

const FLOW = { srcPort: 70, dstPort: 71 } as const;
const PACKET_BYTES = 32 * 1024;
/** What the device tells a guest of its room. */
const ROOM_BYTES = 256 * 1024;
/** More than a socket takes of whoever does not read. */
const MUCH_BYTES = 16 * 1024 * 1024;
/** What a guest says that wants to hear no more for now. */
const NO_ROOM = { bufAlloc: 0 } as const;

/** Sends bytes as far as the device takes them; returns how many. */
async function sendAll(talk: VsockTalk, bytes: number): Promise<number> {
  let fwdCnt = 0;
  let sent = 0;
  while (sent < bytes) {
    while (sent + PACKET_BYTES - fwdCnt <= ROOM_BYTES && sent < bytes) {
      talk.guest.send({ op: OP.RW, ...FLOW, ...NO_ROOM, data: Buffer.alloc(PACKET_BYTES, 7) });
      sent += PACKET_BYTES;
      await new Promise((resolve) => setImmediate(resolve));
    }
    if (sent >= bytes) break;
    try {
      fwdCnt = (await talk.guest.receive(300)).fwdCnt;
    } catch {
      break; // the program's socket is full, and so is the device
    }
  }
  return sent;
}

/** Waits until the device has confirmed that the guest's connection is over. */
async function untilReset(talk: VsockTalk): Promise<void> {
  while ((await talk.guest.receive()).op === OP.CREDIT_UPDATE);
}

type Body = (talk: VsockTalk, program: HostProgram, listener: HostListener) => Promise<void>;

/** The guest connects to a program by TCP. */
async function byTcp(body: Body, device: Partial<VsockOptions> = {}): Promise<void> {
  const listener = await HostListener.listen(0);
  const target = { kind: 'tcp', host: '127.0.0.1', port: listener.port } as const;
  await withVsock(
    async (talk) => {
      talk.guest.send({ op: OP.REQUEST, ...FLOW, ...NO_ROOM });
      await talk.expect(OP.RESPONSE);
      await body(talk, talk.keep(await listener.accept()), listener);
    },
    { device: { ...device, forwards: [{ guestPort: FLOW.dstPort, target }] } },
  );
  listener.close();
}

/** The guest connects to a program by a Unix socket. */
async function byUnix(
  body: (talk: VsockTalk, program: HostProgram) => Promise<void>,
): Promise<void> {
  await withVsock(
    async (talk) => {
      await body(talk, await talk.guestConnects(FLOW.srcPort, FLOW.dstPort));
    },
    { guest: NO_ROOM },
  );
}

describe('a guest that closes a connection', () => {
  it('has what it sent arrive by TCP, although it leaves bytes unread', async () => {
    await byTcp(async (talk, program) => {
      program.socket.pause();
      program.socket.write('nobody reads this');
      const sent = await sendAll(talk, 3 * ROOM_BYTES);
      talk.guest.send({ op: OP.SHUTDOWN, ...FLOW, ...NO_ROOM, flags: SHUTDOWN.BOTH });
      await untilReset(talk);
      program.socket.resume();
      await program.until('the end', () => program.ended || program.closed);
      assert.deepEqual([program.received.length, program.error], [sent, '']);
      program.socket.end();
      await program.until('its socket to be closed', () => program.closed);
    });
  });

  it('has what it sent arrive at a program that sends on and reads later', async () => {
    for (const connect of [byTcp, byUnix]) {
      await connect(async (talk, program) => {
        program.socket.pause();
        const sent = await sendAll(talk, MUCH_BYTES);
        assert.ok(sent < MUCH_BYTES, 'more than the socket takes: the device keeps some of it');
        let written = false;
        program.socket.write(Buffer.alloc(MUCH_BYTES), () => {
          written = true;
          program.socket.resume();
        });
        talk.guest.send({ op: OP.SHUTDOWN, ...FLOW, ...NO_ROOM, flags: SHUTDOWN.BOTH });
        await program.until('the end', () => program.ended || program.closed);
        assert.ok(written, 'what nobody wants is taken nevertheless');
        assert.deepEqual([program.received.length, program.error], [sent, '']);
        program.socket.end();
        await program.until('its socket to be closed', () => program.closed);
      });
    }
  });

  it('has its program of a Unix socket see a clean end, although it leaves bytes unread', async () => {
    await byUnix(async (talk, program) => {
      program.socket.write('nobody reads this');
      talk.guest.send({ op: OP.RW, ...FLOW, ...NO_ROOM, data: Buffer.from('the last') });
      talk.guest.send({ op: OP.SHUTDOWN, ...FLOW, ...NO_ROOM, flags: SHUTDOWN.BOTH });
      await untilReset(talk);
      await program.until('the end', () => program.ended || program.closed);
      assert.deepEqual([String(program.received), program.error], ['the last', '']);
    });
  });

  it('may use its port again while what it sent is still on its way', async () => {
    await byTcp(async (talk, program, listener) => {
      program.socket.pause();
      program.socket.write('nobody reads this');
      talk.guest.send({ op: OP.RW, ...FLOW, ...NO_ROOM, data: Buffer.from('the first') });
      talk.guest.send({ op: OP.SHUTDOWN, ...FLOW, ...NO_ROOM, flags: SHUTDOWN.BOTH });
      await talk.expect(OP.RST);
      talk.guest.send({ op: OP.REQUEST, ...FLOW });
      await talk.expect(OP.RESPONSE);
      talk.keep(await listener.accept());
      program.socket.resume();
      await program.until('the end', () => program.ended || program.closed);
      assert.equal(String(program.received), 'the first');
      assert.deepEqual(talk.guest.pending(), [], 'the new connection knows nothing of that');
    });
  });

  it('and is gone itself leaves what it sent to the program all the same', async () => {
    await byTcp(async (talk, program) => {
      program.socket.pause();
      const sent = await sendAll(talk, MUCH_BYTES);
      talk.guest.send({ op: OP.SHUTDOWN, ...FLOW, ...NO_ROOM, flags: SHUTDOWN.BOTH });
      talk.guest.send({ op: OP.RW, srcPort: 1, dstPort: 1 });
      await untilReset(talk); // the device has taken all packets until here
      // The guest's driver is unloaded, and its rings begin anew.
      const { guest } = talk.guest;
      const { frontend } = guest;
      for (const index of [0, 1, 2]) await guest.stopQueue(index);
      for (const region of guest.regions) await frontend.command('REM_MEM_REG', { ...region });
      await talk.keep(new MockVsockGuest(frontend, { guestCid: 3 })).start();
      program.socket.resume();
      await program.until('the end', () => program.ended || program.closed);
      assert.deepEqual([program.received.length, program.error], [sent, '']);
    });
  });
});

describe('a program that is gone', () => {
  it('has what it sent arrive, although it broke the connection and the guest sends to it', async () => {
    await byTcp(async (talk, program) => {
      program.socket.pause();
      program.socket.write('goodbye');
      talk.guest.send({ op: OP.RW, ...FLOW, ...NO_ROOM, data: Buffer.from('nobody reads this') });
      await program.until('bytes to be there', () => program.socket.bytesWritten > 0);
      program.socket.resetAndDestroy();
      await program.until('its socket to be closed', () => program.closed);
      talk.guest.send({ op: OP.RW, ...FLOW, ...NO_ROOM, data: Buffer.from('anybody?') });
      assert.equal((await talk.expect(OP.SHUTDOWN)).flags, SHUTDOWN.RECEIVE);
      talk.guest.send({ op: OP.CREDIT_UPDATE, ...FLOW });
      assert.equal(packetText(await talk.expect(OP.RW)), 'goodbye');
      assert.equal((await talk.expect(OP.SHUTDOWN)).flags, SHUTDOWN.BOTH);
    });
  });

  it('before the guest has accepted it has what it sent behind its line arrive', async () => {
    await withVsock(async (talk) => {
      const program = talk.keep(await HostProgram.connect(talk.uds));
      program.socket.write('CONNECT 70\nhello');
      const { srcPort: port } = await talk.expect(OP.REQUEST);
      program.socket.destroy();
      await program.until('its socket to be closed', () => program.closed);
      talk.guest.send({ op: OP.RESPONSE, srcPort: 70, dstPort: port });
      const flow = { srcPort: 70, dstPort: port };
      let packet = await talk.guest.receive();
      for (; packet.op === OP.SHUTDOWN; packet = await talk.guest.receive()) {
        assert.equal(packet.flags, SHUTDOWN.RECEIVE);
      }
      assert.equal(packetText(packet), 'hello');
      assert.equal((await talk.expect(OP.SHUTDOWN)).flags, SHUTDOWN.BOTH);
      talk.guest.send({ op: OP.SHUTDOWN, ...flow, flags: SHUTDOWN.BOTH });
      await talk.expect(OP.RST);
    });
  });
});

it('a program that lingers makes room where all connections are in use', async () => {
  await byTcp(
    async (talk, program, listener) => {
      program.socket.pause();
      program.socket.write('nobody reads this');
      talk.guest.send({ op: OP.SHUTDOWN, ...FLOW, ...NO_ROOM, flags: SHUTDOWN.BOTH });
      await talk.expect(OP.RST);
      const second = { srcPort: FLOW.srcPort + 1, dstPort: FLOW.dstPort };
      talk.guest.send({ op: OP.REQUEST, ...second });
      await talk.expect(OP.RESPONSE);
      const next = talk.keep(await listener.accept());
      talk.guest.send({ op: OP.REQUEST, ...FLOW });
      await talk.expect(OP.RST);
      next.socket.write('still here');
      assert.equal(packetText(await talk.expect(OP.RW)), 'still here');
    },
    { connectionsMax: 1 },
  );
});

it('a program that reads slowly has a minute anew whenever it has read something', () => {
  let onReady: (events: number) => void = () => assert.fail('nothing is watched');
  const watch = { setEvents: () => undefined, close: () => undefined };
  const flows = new Flows({
    reactor: {
      uring: null,
      onCompletion: () => 0,
      watch: (_fd, _events, ready) => ((onReady = ready), watch),
      after: () => ({ cancel: () => undefined }),
    },
    counters: new Float64Array(COUNTER.LENGTH),
    guestCid: 3,
    bufAlloc: ROOM_BYTES,
    connectionsMax: 4,
    onSetUp: () => undefined,
    onFailed: () => undefined,
    onReleased: () => undefined,
  });
  const { table, backlog } = flows;
  const [ours, theirs] = socketPair('stream');
  const block = new NativeBlock(ROOM_BYTES);
  while (send(ours, block.address, ROOM_BYTES) > 0); // until it is full
  const slot = table.take(STATE.connecting, TYPE.STREAM, ours);
  table.list(slot, FLOW.srcPort, 2, FLOW.dstPort);
  flows.establish(slot);
  backlog.append(slot, block.address, ROOM_BYTES);
  flows.ends.guestShutDown(slot, SHUTDOWN.BOTH);
  assert.equal(table.state[slot], STATE.draining);
  table.deadlineMs[slot] = 1; // nearly over
  flows.ends.guestShutDown(slot, SHUTDOWN.BOTH);
  onReady(WRITABLE);
  assert.equal(table.deadlineMs[slot], 1, 'neither saying it again nor a full socket is progress');
  while (receive(theirs, block.address, ROOM_BYTES) > 0);
  onReady(WRITABLE);
  const restMs = (table.deadlineMs[slot] as number) - performance.now();
  assert.ok(restMs > 50_000, String(restMs));
  flows.close();
  closeFd(theirs);
  block.free();
});
