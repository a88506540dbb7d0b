/**
 * Requests and replies over a socket whose other end does what a test wants.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { VhostUserError } from '../util/index.ts';
import { closeFd, createNotifier, sendWithFds, socketPair } from '../sys/index.ts';
import { FRONTEND, encodeMessage } from '../protocol/index.ts';
import { MockSocket, expectNoLeak, holdings } from '../testing/index.ts';
import { Connection } from './connection.ts';

const INFLIGHT = { mmapSize: 4096, mmapOffset: 0, queueCount: 1, queueSize: 8 };

function reply(request: number, value: bigint): Uint8Array {
  return encodeMessage('frontend', request, 'u64', { value }, { reply: true });
}

interface Pair {
  readonly connection: Connection;
  readonly peerFd: number;
  readonly ended: Promise<VhostUserError | null>;
}

function pair(replyTimeoutMs: number = 1000): Pair {
  const [fd, peerFd] = socketPair();
  let onEnd: (error: VhostUserError | null) => void = () => undefined;
  const ended = new Promise<VhostUserError | null>((resolve) => (onEnd = resolve));
  const connection = new Connection(fd, { replyTimeoutMs, onEnd: (error) => onEnd(error) });
  return { connection, peerFd, ended };
}

const ask = async (connection: Connection, request: number): Promise<bigint> =>
  (await connection.request(request, 'none', {}, 'u64')).values.value;

describe('Connection', () => {
  it('gives replies to those who asked, in order', async () => {
    const before = holdings();
    const { connection, peerFd, ended } = pair();
    const peer = new MockSocket(peerFd, 'frontend');
    const both = [
      ask(connection, FRONTEND.GET_FEATURES),
      ask(connection, FRONTEND.GET_PROTOCOL_FEATURES),
    ];
    assert.equal((await peer.receive()).request, FRONTEND.GET_FEATURES);
    assert.equal((await peer.receive()).request, FRONTEND.GET_PROTOCOL_FEATURES);
    await peer.sendTogether(
      { bytes: reply(FRONTEND.GET_FEATURES, 1n) },
      { bytes: reply(FRONTEND.GET_PROTOCOL_FEATURES, 2n) },
    );
    assert.deepEqual(await Promise.all(both), [1n, 2n]);
    connection.close();
    connection.close();
    assert.equal(await ended, null);
    peer.close();
    await expectNoLeak(before);
  });

  it('a reply byte by byte is a reply, and its fds are handed over', async () => {
    const before = holdings();
    const { connection, peerFd } = pair();
    const peer = new MockSocket(peerFd, 'frontend');
    const { notifier, consumer } = createNotifier();
    const values = INFLIGHT;
    const { GET_INFLIGHT_FD } = FRONTEND;
    const asked = connection.request(GET_INFLIGHT_FD, 'inflight', values, 'inflight');
    await peer.receive();
    const bytes = encodeMessage('frontend', GET_INFLIGHT_FD, 'inflight', values, { reply: true });
    await peer.sendPieces({ bytes, fds: [notifier.fd] }, { pieceBytes: 1 });
    const { values: got, fds } = await asked;
    assert.deepEqual(got, values);
    assert.equal(fds.length, 1);
    fds.forEach(closeFd);
    notifier.close();
    consumer.close();
    connection.close();
    peer.close();
    await expectNoLeak(before);
  });

  it('what was answered before a hang-up is heard, also when more was sent meanwhile', async () => {
    const { connection, peerFd, ended } = pair();
    const first = ask(connection, FRONTEND.GET_FEATURES);
    const second = ask(connection, FRONTEND.GET_PROTOCOL_FEATURES);
    const outcome = assert.rejects(second, {
      code: 'ERR_VHU_BACKEND_GONE',
      message: /^GET_PROTOCOL_FEATURES: .*EPIPE.* it was asked GET_PROTOCOL_FEATURES/,
    });
    sendWithFds(peerFd, reply(FRONTEND.GET_FEATURES, 7n), []);
    closeFd(peerFd);
    connection.send(FRONTEND.SET_OWNER, 'none', {}); // fails: the answer has not been looked at yet
    assert.equal(await first, 7n);
    await outcome;
    assert.equal((await ended)?.code, 'ERR_VHU_BACKEND_GONE');
  });

  it('messages that are not read for a while arrive in order, with their fds', async () => {
    const before = holdings();
    const { connection, peerFd } = pair();
    const peer = new MockSocket(peerFd, 'frontend');
    peer.setReading(false);
    const { notifier, consumer } = createNotifier();
    const count = 2000;
    for (let i = 0; i < count; i++) {
      const values = { value: BigInt(i % 256) };
      connection.send(
        FRONTEND.SET_VRING_KICK,
        'vringFd',
        values,
        i % 50 === 0 ? [consumer.fd] : [],
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
    peer.setReading(true);
    for (let i = 0; i < count; i++) {
      const frame = await peer.receive();
      assert.equal(frame.payload[0], i % 256);
      assert.equal(frame.fds.length, i % 50 === 0 ? 1 : 0);
      frame.fds.forEach(closeFd);
    }
    notifier.close();
    consumer.close();
    connection.close();
    peer.close();
    await expectNoLeak(before);
  });

  const wrong: [string, Uint8Array, string][] = [
    ['of another request', reply(FRONTEND.GET_QUEUE_NUM, 1n), 'ERR_VHU_REPLY'],
    ['without the reply flag', encodeMessage('frontend', 1, 'u64', { value: 0n }), 'ERR_VHU_REPLY'],
    ['of another version', Uint8Array.of(1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0), 'ERR_VHU_VERSION'],
    [
      'that is too long',
      encodeMessage('frontend', 1, 'vringAddress', zeroAddress(), { reply: true }),
      'ERR_VHU_MESSAGE_SIZE',
    ],
  ];
  for (const [name, bytes, code] of wrong) {
    it(`a reply ${name} ends the connection`, async () => {
      const { connection, peerFd, ended } = pair();
      const asked = assert.rejects(ask(connection, FRONTEND.GET_FEATURES), { code });
      sendWithFds(peerFd, bytes, []);
      await asked;
      assert.equal((await ended)?.code, code);
      assert.ok(!connection.open);
      closeFd(peerFd);
    });
  }

  it('fds that come with a reply which has none are closed', async () => {
    const before = holdings();
    const { connection, peerFd, ended } = pair();
    const asked = assert.rejects(ask(connection, FRONTEND.GET_FEATURES), {
      code: 'ERR_VHU_FD_COUNT',
    });
    sendWithFds(peerFd, reply(FRONTEND.GET_FEATURES, 0n), [peerFd, peerFd]);
    await asked;
    await ended;
    closeFd(peerFd);
    await expectNoLeak(before);
  });

  it('whatever a back-end sends, each request settles and nothing is left behind', async () => {
    const before = holdings();
    const { notifier, consumer } = createNotifier();
    const header = fc
      .tuple(fc.nat(50), fc.constantFrom(1, 5, 13, 0xff), fc.constantFrom(0, 1, 8, 12, 20_000))
      .map((words) => Buffer.from(Uint32Array.from(words).buffer));
    const piece = fc.record({
      bytes: fc.oneof(header, fc.uint8Array({ minLength: 1, maxLength: 40 })),
      fdCount: fc.constantFrom(0, 0, 0, 1, 3),
    });
    const run = async (pieces: { bytes: Uint8Array; fdCount: number }[]): Promise<void> => {
      const { connection, peerFd, ended } = pair();
      const asked = Promise.allSettled([
        ask(connection, FRONTEND.GET_FEATURES),
        connection.request(FRONTEND.GET_INFLIGHT_FD, 'inflight', INFLIGHT, 'inflight'),
        ask(connection, FRONTEND.GET_QUEUE_NUM),
      ]);
      for (const { bytes, fdCount } of pieces) {
        const fds = Array.from({ length: fdCount }, () => consumer.fd);
        sendWithFds(peerFd, bytes, fds);
      }
      closeFd(peerFd);
      for (const result of await asked) {
        if (result.status === 'rejected') assert.ok(result.reason instanceof VhostUserError);
        else if (typeof result.value === 'object') result.value.fds.forEach(closeFd);
      }
      await ended;
      assert.ok(!connection.open);
    };
    await fc.assert(fc.asyncProperty(fc.array(piece, { maxLength: 8 }), run), { numRuns: 200 });
    notifier.close();
    consumer.close();
    await expectNoLeak(before);
  });

  it('a back-end that dies in the middle of a reply is gone, and the error says so', async () => {
    const { connection, peerFd } = pair();
    const asked = ask(connection, FRONTEND.GET_FEATURES);
    sendWithFds(peerFd, reply(FRONTEND.GET_FEATURES, 0n).subarray(0, 15), []);
    closeFd(peerFd);
    await assert.rejects(asked, {
      code: 'ERR_VHU_BACKEND_GONE',
      message: /in the middle of a message; it was asked GET_FEATURES/,
    });
  });
});

function zeroAddress(): {
  index: number;
  flags: number;
  desc: number;
  used: number;
  avail: number;
  log: bigint;
} {
  return { index: 0, flags: 0, desc: 0, used: 0, avail: 0, log: 0n };
}
