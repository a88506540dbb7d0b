/**
 * SOCK_SEQPACKET: messages arrive whole and apart, however many packets and buffers they take.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setImmediate, setTimeout } from 'node:timers/promises';
import {
  ERRNO,
  NativeBlock,
  SHUT,
  acceptSocket,
  closeFd,
  connectSocket,
  hasUnixSeqpacket,
  listenUnix,
  openSocket,
  peek,
  receiveMessage,
  sendVector,
  shutDown,
} from '../../sys/index.ts';
import type { MessageMarks } from '../../sys/index.ts';
import { MOCK_TIMEOUT_MS, packetText, withVsock } from '../../testing/index.ts';
import type { VsockPacket, VsockTalk, VsockTalkOptions } from '../../testing/index.ts';
import {
  VIRTIO_VSOCK_OP as OP,
  VIRTIO_VSOCK_SEQ as SEQ,
  VIRTIO_VSOCK_SHUTDOWN as SHUTDOWN,
} from './layout.ts';

const TYPE = 2;
const FLOW = { type: TYPE, srcPort: 600, dstPort: 601 } as const;
const MESSAGE_BYTES_MAX = 512 * 1024;
const EAGAIN = -(ERRNO.EAGAIN as number);
const skip = hasUnixSeqpacket() ? false : 'this host has no Unix sockets of type SOCK_SEQPACKET';
/** A guest that takes nothing. */
const STARVED = { ...FLOW, bufAlloc: 0 } as const;
const NO_ROOM: VsockTalkOptions = { guest: { bufAlloc: 0 } };
/** What the device tells a guest of its room. */
const ROOM_BYTES = 256 * 1024;
const LONG_BYTES = 32 * 1024;

const noEmpty =
  process.platform === 'linux' ? false : 'only Linux tells an empty message from the end';

/** One end of a SOCK_SEQPACKET socket of the host. */
class MessageProgram {
  fd: number;
  readonly #block = new NativeBlock(MESSAGE_BYTES_MAX);
  readonly #iovec = new NativeBlock(16);
  readonly #marks: MessageMarks = { truncated: false, endsRecord: false, ended: false };

  constructor(fd: number) {
    this.fd = fd;
  }

  /** Sends a message; -errno when that fails. */
  send(message: Uint8Array, endsRecord = false): number {
    this.#block.bytes.set(message);
    const { address, view } = this.#iovec;
    view.setBigUint64(0, BigInt(this.#block.address), true);
    view.setBigUint64(8, BigInt(message.length), true);
    return sendVector(this.fd, address, 1, endsRecord);
  }

  /** Sends a message when there is room for it. */
  async sendAll(message: Uint8Array): Promise<void> {
    const endMs = performance.now() + MOCK_TIMEOUT_MS;
    for (;;) {
      const sent = this.send(message);
      if (sent === message.length) return;
      if (sent !== EAGAIN || performance.now() > endMs) assert.fail(`send: ${String(sent)}`);
      await setTimeout(1);
    }
  }

  /** The next message; null at the end. */
  async receive(): Promise<Buffer | null> {
    const endMs = performance.now() + MOCK_TIMEOUT_MS;
    for (;;) {
      const { address, bytes } = this.#block;
      const got = receiveMessage(this.fd, address, MESSAGE_BYTES_MAX, this.#marks);
      if (got === 0) return null;
      if (got > 0) return Buffer.from(bytes.subarray(0, got));
      if (got !== EAGAIN || performance.now() > endMs) assert.fail(`receive: ${String(got)}`);
      await setTimeout(1);
    }
  }

  /** Waits until a message is there to be read. */
  async untilUnread(): Promise<void> {
    const endMs = performance.now() + MOCK_TIMEOUT_MS;
    while (peek(this.fd, this.#block.address, 1) <= 0) {
      if (performance.now() > endMs) assert.fail('no message has come');
      await setTimeout(1);
    }
  }

  /** Its fd, the caller's from now on. */
  detach(): number {
    const { fd } = this;
    this.fd = -1;
    return fd;
  }

  close(): void {
    if (this.fd >= 0) closeFd(this.fd);
    this.#block.free();
    this.#iovec.free();
  }
}

/** The guest connects to a program of the host. */
async function connected(talk: VsockTalk): Promise<MessageProgram> {
  const path = `${talk.uds}_${String(FLOW.dstPort)}`;
  const listener = listenUnix(path, { type: 'seqpacket' });
  talk.guest.send({ op: OP.REQUEST, ...FLOW });
  assert.equal((await talk.expect(OP.RESPONSE)).type, TYPE);
  const program = talk.keep(new MessageProgram(acceptSocket(listener)));
  closeFd(listener);
  unlinkSync(path);
  return program;
}

async function withProgram(
  body: (talk: VsockTalk, program: MessageProgram) => Promise<void>,
  options: VsockTalkOptions = {},
): Promise<void> {
  await withVsock(async (talk) => {
    await body(talk, await connected(talk));
  }, options);
}

/** Sends long messages until the program's socket and the device take no more; how many. */
async function fill({ guest }: VsockTalk): Promise<number> {
  const data = pattern(LONG_BYTES);
  let fwdCnt = 0;
  for (let sent = 0; ; sent++) {
    if (sent * LONG_BYTES + LONG_BYTES - fwdCnt > ROOM_BYTES) {
      try {
        fwdCnt = (await guest.receive(300)).fwdCnt;
      } catch {
        return sent;
      }
    }
    guest.send({ op: OP.RW, ...STARVED, flags: SEQ.EOM, data });
    await setImmediate();
  }
}

function pattern(length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 0xff));
}

describe('messages', { skip }, () => {
  it('of a guest arrive whole and apart, whether in one packet or in several', async () => {
    await withProgram(async ({ guest }, program) => {
      guest.send({ op: OP.RW, ...FLOW, flags: SEQ.EOM, data: Buffer.from('one') });
      guest.send({ op: OP.RW, ...FLOW, flags: SEQ.EOM, data: Buffer.from('two') });
      for (const part of ['th', 're']) {
        guest.send({ op: OP.RW, ...FLOW, data: Buffer.from(part) });
      }
      guest.send({ op: OP.RW, ...FLOW, flags: SEQ.EOM | SEQ.EOR, data: Buffer.from('e') });
      guest.send({ op: OP.RW, ...FLOW, flags: SEQ.EOM, data: Buffer.from('four') });
      for (const expected of ['one', 'two', 'three', 'four']) {
        assert.equal(String(await program.receive()), expected);
      }
    });
  });

  it('of a program arrive whole and apart, in as many packets as buffers are needed', async () => {
    await withProgram(async (talk, program) => {
      const messages = [pattern(1), pattern(64), pattern(65), pattern(4052), pattern(20_000)];
      for (const message of messages) assert.equal(program.send(message), message.length);
      for (const message of messages) {
        const parts: Uint8Array[] = [];
        for (let ended = false; !ended;) {
          const packet = await talk.expect(OP.RW);
          parts.push(packet.data);
          ended = (packet.flags & SEQ.EOM) !== 0;
        }
        assert.deepEqual(Buffer.concat(parts), message);
      }
    });
  });

  it(
    'of a program that are empty are left out, as of AF_VSOCK, and are not its end',
    { skip: noEmpty },
    async () => {
      await withProgram(async (talk, program) => {
        const nothing = Buffer.alloc(0);
        for (const message of [nothing, Buffer.from('one'), nothing, nothing, Buffer.from('two')]) {
          assert.equal(program.send(message, message === nothing), message.length);
        }
        shutDown(program.fd, SHUT.WR);
        for (const expected of ['one', 'two']) {
          const packet = await talk.expect(OP.RW);
          assert.deepEqual([packetText(packet), packet.flags], [expected, SEQ.EOM]);
        }
        assert.equal((await talk.expect(OP.SHUTDOWN)).flags, SHUTDOWN.SEND);
      });
    },
  );

  it('of a program wait for room at the guest, and go on in the middle', async () => {
    const guest = { bufAlloc: 100 };
    await withProgram(
      async (talk, program) => {
        program.send(pattern(60));
        program.send(pattern(90));
        assert.equal((await talk.expect(OP.RW)).data.length, 60);
        const first = await talk.expect(OP.RW);
        assert.deepEqual([first.data.length, first.flags], [40, 0]);
        talk.guest.send({ op: OP.CREDIT_UPDATE, ...FLOW, fwdCnt: 60 });
        const second = await talk.expect(OP.RW);
        assert.deepEqual([second.data.length, second.flags], [50, SEQ.EOM]);
      },
      { guest },
    );
  });

  it('of a program that is gone by then arrive whole, although the guest sends to it', async () => {
    await withProgram(
      async (talk, program) => {
        program.send(pattern(60));
        program.send(pattern(90));
        await talk.expect(OP.RW);
        const first = await talk.expect(OP.RW);
        shutDown(program.fd, SHUT.RD);
        talk.guest.send({ op: OP.RW, ...FLOW, flags: SEQ.EOM, data: Buffer.from('anybody?') });
        assert.equal((await talk.expect(OP.SHUTDOWN)).flags, SHUTDOWN.RECEIVE);
        talk.guest.send({ op: OP.CREDIT_UPDATE, ...FLOW, fwdCnt: 100 });
        const second = await talk.expect(OP.RW);
        assert.deepEqual(Buffer.concat([first.data, second.data]), pattern(90));
        assert.equal(second.flags, SEQ.EOM);
      },
      { guest: { bufAlloc: 100 } },
    );
  });

  it('of a program that left others unread and is gone arrive, each of them', async () => {
    for (const guestSends of [false, true]) {
      await withProgram(
        async (talk, program) => {
          talk.guest.send({ op: OP.RW, ...FLOW, flags: SEQ.EOM, data: Buffer.from('unread') });
          for (const length of [60, 90, 50]) program.send(pattern(length));
          await talk.expect(OP.RW);
          const first = await talk.expect(OP.RW);
          await program.untilUnread();
          closeFd(program.detach());
          const none = { ...FLOW, bufAlloc: 100 };
          if (guestSends) {
            talk.guest.send({ op: OP.RW, ...none, flags: SEQ.EOM, data: Buffer.from('anybody?') });
            assert.equal((await talk.expect(OP.SHUTDOWN)).flags, SHUTDOWN.RECEIVE);
          }
          talk.guest.send({ op: OP.CREDIT_UPDATE, ...FLOW, fwdCnt: 100 });
          const second = await talk.expect(OP.RW);
          assert.deepEqual(Buffer.concat([first.data, second.data]), pattern(90));
          talk.guest.send({ op: OP.CREDIT_UPDATE, ...FLOW, fwdCnt: 150 });
          const last: VsockPacket[] = [];
          for (let ended = false; !ended;) {
            const packet = await talk.guest.receive();
            if (packet.op === OP.RW) last.push(packet);
            else assert.equal(packet.op, OP.SHUTDOWN);
            ended = packet.flags === SHUTDOWN.BOTH && packet.op === OP.SHUTDOWN;
          }
          assert.deepEqual(last.map(packetText), [pattern(50).toString('latin1')]);
        },
        { guest: { bufAlloc: 100 } },
      );
    }
  });

  it('of a guest arrive at a program whose own are left unread', async () => {
    await withProgram(
      async (talk, program) => {
        // The empty one, and what is behind it, the device finds when it empties the socket.
        for (const length of noEmpty === false ? [50, 50, 0, 50] : [50, 50, 50]) {
          program.send(pattern(length));
        }
        talk.guest.send({ op: OP.RW, ...FLOW, flags: SEQ.EOM, data: Buffer.from('the last') });
        talk.guest.send({ op: OP.SHUTDOWN, ...FLOW, flags: SHUTDOWN.BOTH });
        while ((await talk.guest.receive()).op !== OP.RST);
        assert.equal(String(await program.receive()), 'the last');
        assert.equal(await program.receive(), null);
      },
      { guest: { bufAlloc: 60 } },
    );
  });

  it(
    'of a program that are empty are read on over while what a guest left behind waits',
    { skip: noEmpty },
    async () => {
      const nothing = Buffer.alloc(0);
      await withProgram(async (talk, program) => {
        const sent = await fill(talk);
        assert.ok(sent * LONG_BYTES > ROOM_BYTES, 'the device keeps some of it');
        // It reads only when it has sent all of its own.
        talk.guest.send({ op: OP.SHUTDOWN, ...STARVED, flags: SHUTDOWN.BOTH });
        for (let i = 0; i < 64; i++) {
          await program.sendAll(nothing);
          await program.sendAll(pattern(LONG_BYTES));
        }
        for (let i = 0; i < sent; i++) assert.equal((await program.receive())?.length, LONG_BYTES);
        assert.equal(await program.receive(), null);
      }, NO_ROOM);
    },
  );

  it('of a program that are longer than the guest ever takes end the connection', async () => {
    const guest = { bufAlloc: 100 };
    await withProgram(
      async (talk, program) => {
        program.send(pattern(101));
        await talk.expect(OP.RST);
        assert.equal(await program.receive(), null);
        const { log } = talk.server.report; // comes from the thread by a message of its own
        for (let i = 0; i < 1000 && log.length === 0; i++) await setImmediate();
        assert.match(log.join('\n'), /longer than the other side takes/);
      },
      { guest },
    );
  });

  it('of a guest are kept apart while the program does not read', async () => {
    await withProgram(async (talk, program) => {
      const lengths = Array.from({ length: 40 }, (_, i) => 1000 + 500 * (i % 13));
      let fwdCnt = 0;
      let sent = 0;
      for (const [i, length] of lengths.entries()) {
        while (sent + length - fwdCnt > 262_144) fwdCnt = (await talk.guest.receive()).fwdCnt;
        talk.guest.send({ op: OP.RW, ...FLOW, data: pattern(length).subarray(0, i) });
        talk.guest.send({ op: OP.RW, ...FLOW, flags: SEQ.EOM, data: pattern(length).subarray(i) });
        sent += length;
        await setTimeout(1);
      }
      for (const length of lengths) assert.deepEqual(await program.receive(), pattern(length));
      talk.guest.send({ op: OP.SHUTDOWN, ...FLOW, flags: SHUTDOWN.BOTH });
      assert.equal(await program.receive(), null);
    });
  });

  it('of a guest whose end never comes are forgotten with the connection', async () => {
    await withProgram(async (talk, program) => {
      talk.guest.send({ op: OP.RW, ...FLOW, data: pattern(5000).subarray(0, 3000) });
      talk.guest.send({ op: OP.SHUTDOWN, ...FLOW, flags: SHUTDOWN.BOTH });
      await talk.expect(OP.RST);
      assert.equal(await program.receive(), null);
    });
  });

  it('are taken by a listener of their own, with the type that it names', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vhu-seq-'));
    const path = `${folder}/s`;
    const source = { kind: 'unix', path, type: 'seqpacket' } as const;
    await withVsock(
      async (talk) => {
        const where = { family: 'unix', path } as const;
        const fd = openSocket(where, 'seqpacket');
        const program = talk.keep(new MessageProgram(fd));
        assert.equal(connectSocket(fd, where), 0);
        const request = await talk.expect(OP.REQUEST);
        assert.deepEqual([request.type, request.dstPort], [TYPE, 7]);
        const flow = { type: TYPE, srcPort: 7, dstPort: request.srcPort };
        talk.guest.send({ op: OP.RESPONSE, ...flow });
        program.send(Buffer.from('hello'));
        const packet = await talk.expect(OP.RW);
        assert.deepEqual([packetText(packet), packet.flags], ['hello', SEQ.EOM]);
      },
      { device: { listens: [{ source, guestPort: 7 }] } },
    );
    rmSync(folder, { recursive: true });
  });

  it('are refused at once where the target of a forward is TCP', async () => {
    const target = { kind: 'tcp', host: '127.0.0.1', port: 1 } as const;
    await withVsock(
      async (talk) => {
        talk.guest.send({ op: OP.REQUEST, ...FLOW });
        await talk.expect(OP.RST);
        assert.match(talk.server.report.log.join('\n'), /TCP has no SOCK_SEQPACKET/);
      },
      { device: { forwards: [{ guestPort: '*', target }] } },
    );
  });

  it('are refused when the device was told not to offer them', async () => {
    await withVsock(
      async (talk) => {
        talk.guest.send({ op: OP.REQUEST, ...FLOW });
        await talk.expect(OP.RST);
      },
      { device: { seqpacket: false } },
    );
  });
});
