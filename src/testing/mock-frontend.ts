/**
 * A front-end without manners: it sends whatever a test wants, message by message, and can also
 * bring a device up the way an honest one does.
 *
 * @module
 */
import { VhostUserError, errorCode } from '../util/index.ts';
import { closeFd, connectUnix, socketPair } from '../sys/index.ts';
import {
  FLAG,
  FRONTEND,
  HEADER,
  decodeReply,
  encodeHeader,
  encodeMessage,
  messageRow,
  protocolFeatures,
  virtioFeatures,
} from '../protocol/index.ts';
import type { PayloadKind, Payloads, ProtocolFeatureName } from '../protocol/index.ts';
import { MockGuest } from './mock-guest.ts';
import type { MockGuestOptions } from './mock-guest.ts';
import { MOCK_TIMEOUT_MS, MockSocket, sleep } from './mock-socket.ts';
import type { MockBytes, MockPieces } from './mock-socket.ts';

const CONNECT_RETRY_MS = 10;

/** The name of a front-end's message. */
export type FrontendMessageName = keyof typeof FRONTEND;

/** A message's values; what is left out is 0. */
export type MockValues = Readonly<Record<string, unknown>>;

/** What may be wrong about a message; a proper one by default. */
export interface MockMessageOptions {
  readonly needReply?: boolean;
  /** All flags, in place of version 1 and `needReply`. */
  readonly flags?: number;
  /** What the header says of the payload's length. */
  readonly sizeBytes?: number;
  /** The payload as bytes, in place of the values. */
  readonly payload?: Uint8Array;
}

/** And how it is sent. */
export interface MockSendOptions extends MockMessageOptions {
  /** Sent on the first byte; they stay the caller's. */
  readonly fds?: readonly number[];
  readonly pieces?: MockPieces;
  readonly timeoutMs?: number;
}

/** What was negotiated by {@link MockFrontend.negotiate}. */
export interface MockNegotiated {
  readonly features: bigint;
  readonly protocolFeatures: bigint;
}

/** Which features to accept, of those that are offered. */
export interface MockNegotiateOptions {
  /** By default VERSION_1, INDIRECT_DESC, EVENT_IDX and all of the device type's own. */
  readonly features?: bigint;
  /** By default MQ, REPLY_ACK, BACKEND_REQ, CONFIG and CONFIGURE_MEM_SLOTS. */
  readonly protocolFeatures?: bigint;
}

const DEVICE_TYPE_FEATURES = 0xff_ffffn; // bits 0 to 23
const FEATURES = virtioFeatures('VERSION_1', 'INDIRECT_DESC', 'EVENT_IDX') | DEVICE_TYPE_FEATURES;
const PROTOCOL_FEATURES = protocolFeatures(
  'MQ',
  'REPLY_ACK',
  'BACKEND_REQ',
  'CONFIG',
  'CONFIGURE_MEM_SLOTS',
);

/**
 * A message as bytes, right or wrong.
 *
 * ```ts
 * mockMessage('SET_VRING_NUM', { index: 0, num: 256 });
 * mockMessage('SET_VRING_NUM', { index: 0, num: 256 }, { sizeBytes: 4 }); // the header lies
 * mockMessage(99, {}, { payload: new Uint8Array(3) }); // no such message
 * ```
 */
export function mockMessage(
  request: FrontendMessageName | number,
  values: MockValues = {},
  options: MockMessageOptions = {},
): Uint8Array {
  const id = idOf(request);
  const { needReply = false, flags, sizeBytes, payload } = options;
  const kind = messageRow('frontend', id)?.request ?? 'none';
  let bytes: Uint8Array;
  if (payload === undefined) {
    bytes = encodeMessage('frontend', id, kind, values as Payloads[PayloadKind], { needReply });
  } else {
    bytes = new Uint8Array(HEADER.SIZE + payload.length);
    bytes.set(payload, HEADER.SIZE);
  }
  const proper = FLAG.VERSION | (needReply ? FLAG.NEED_REPLY : 0);
  const size = sizeBytes ?? bytes.length - HEADER.SIZE;
  encodeHeader({ request: id, flags: flags ?? proper, sizeBytes: size }, bytes);
  return bytes;
}

/**
 * See the module. Owns its socket.
 *
 * ```ts
 * const frontend = await MockFrontend.connect('/tmp/disk.sock');
 * await frontend.send('SET_VRING_NUM', { index: 0, num: 3 }, { pieces: { pieceBytes: 1 } });
 * await frontend.expectClosed(); // 3 is no power of two
 * ```
 *
 * And an honest one:
 *
 * ```ts
 * const frontend = await MockFrontend.connect('/tmp/rng.sock');
 * const guest = await frontend.bringUp({ queueCount: 1, queueSize: 16 });
 * const done = await guest.queue(0).exchange([], [32]);
 * console.log(done.written);
 * guest.close();
 * frontend.close();
 * ```
 */
export class MockFrontend extends MockSocket {
  /** What {@link negotiate} agreed on. */
  negotiated: MockNegotiated = { features: 0n, protocolFeatures: 0n };

  /** On a connected socket, which it takes over. */
  constructor(fd: number) {
    super(fd, 'frontend');
  }

  /** Connects to a back-end that listens, or will within the timeout. */
  static async connect(
    socketPath: string,
    timeoutMs: number = MOCK_TIMEOUT_MS,
  ): Promise<MockFrontend> {
    const endMs = performance.now() + timeoutMs;
    for (;;) {
      try {
        return new MockFrontend(connectUnix(socketPath));
      } catch (error) {
        if (errorCode(error) !== 'ERR_VHU_SYSTEM' || performance.now() > endMs) throw error;
      }
      await sleep(CONNECT_RETRY_MS);
    }
  }

  /** Whether a protocol feature was negotiated. */
  speaks(...names: readonly ProtocolFeatureName[]): boolean {
    const mask = protocolFeatures(...names);
    return (this.negotiated.protocolFeatures & mask) === mask;
  }

  /** Sends one message; resolves when the socket has taken it. */
  async send(
    request: FrontendMessageName | number,
    values: MockValues = {},
    options: MockSendOptions = {},
  ): Promise<void> {
    const { fds = [], pieces } = options;
    const message: MockBytes = { bytes: mockMessage(request, values, options), fds };
    if (pieces === undefined) await this.sendBytes(message.bytes, fds);
    else await this.sendPieces(message, pieces);
  }

  /**
   * Sends a message that has a reply of its own, and returns the reply's values; its fds are the
   * caller's.
   */
  async ask<K extends PayloadKind>(
    request: FrontendMessageName | number,
    replyKind: K,
    values: MockValues = {},
    options: MockSendOptions = {},
  ): Promise<{ readonly values: Payloads[K]; readonly fds: number[] }> {
    await this.send(request, values, options);
    const frame = await this.receive(options.timeoutMs);
    return { values: decodeReply('frontend', replyKind, idOf(request), frame), fds: frame.fds };
  }

  /** Asks for a number, such as GET_FEATURES. */
  async askNumber(request: FrontendMessageName): Promise<bigint> {
    return (await this.ask(request, 'u64')).values.value;
  }

  /** Sends a message with `need_reply`, and returns the answer: 0 is success. */
  async ack(
    request: FrontendMessageName | number,
    values: MockValues = {},
    options: MockSendOptions = {},
  ): Promise<bigint> {
    return (await this.ask(request, 'u64', values, { ...options, needReply: true })).values.value;
  }

  /**
   * Sends a message that has to succeed: with REPLY_ACK it asks, without it makes sure that the
   * back-end is still there.
   * @throws VhostUserError `ERR_VHU_MOCK_REFUSED`.
   */
  async command(
    request: FrontendMessageName,
    values: MockValues = {},
    options: MockSendOptions = {},
  ): Promise<void> {
    if (!this.speaks('REPLY_ACK')) {
      await this.send(request, values, options);
      await this.askNumber('GET_FEATURES');
      return;
    }
    const answer = await this.ack(request, values, options);
    if (answer === 0n) return;
    const text = `mock: ${request} was refused with ${String(answer)}`;
    throw new VhostUserError('ERR_VHU_MOCK_REFUSED', text);
  }

  /** Negotiates like an honest front-end, up to SET_FEATURES; no memory, no rings. */
  async negotiate(options: MockNegotiateOptions = {}): Promise<MockNegotiated> {
    const bit30 = virtioFeatures('PROTOCOL_FEATURES');
    const offered = await this.askNumber('GET_FEATURES');
    const features = offered & ((options.features ?? FEATURES) | bit30);
    let accepted = 0n;
    if ((features & bit30) !== 0n) {
      const offeredProtocol = await this.askNumber('GET_PROTOCOL_FEATURES');
      accepted = offeredProtocol & (options.protocolFeatures ?? PROTOCOL_FEATURES);
      await this.send('SET_PROTOCOL_FEATURES', { value: accepted });
    }
    this.negotiated = { features, protocolFeatures: accepted };
    await this.command('SET_OWNER');
    await this.command('SET_FEATURES', { value: features });
    return this.negotiated;
  }

  /** Gives the back-end a socket for its own requests, and returns the other end of it. */
  async openBackendChannel(): Promise<MockSocket> {
    const [own, peer] = socketPair();
    const socket = new MockSocket(own, 'backend');
    try {
      await this.command('SET_BACKEND_REQ_FD', {}, { fds: [peer] });
    } catch (error) {
      socket.close();
      throw error;
    } finally {
      closeFd(peer); // the back-end has its own now
    }
    return socket;
  }

  /** Negotiates, shares memory and starts rings like an honest front-end. */
  async bringUp(options: MockGuestOptions & MockNegotiateOptions = {}): Promise<MockGuest> {
    await this.negotiate(options);
    const guest = new MockGuest(this, options);
    try {
      await guest.shareMemory();
      const queueCount = options.queueCount ?? 1;
      for (let index = 0; index < queueCount; index++) await guest.startQueue(index);
      return guest;
    } catch (error) {
      guest.close();
      throw error;
    }
  }
}

function idOf(request: FrontendMessageName | number): number {
  return typeof request === 'number' ? request : FRONTEND[request];
}
