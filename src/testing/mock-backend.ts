/**
 * A back-end that says what a test wants, for tests of front-ends: it agrees to everything by
 * itself, and a script decides where it does not.
 *
 * @module
 */
import { closeFds, socketPair } from '../sys/index.ts';
import {
  FLAG,
  FRONTEND,
  HEADER,
  encodeHeader,
  encodeMessage,
  messageName,
} from '../protocol/index.ts';
import type { Frame } from '../protocol/index.ts';
import { MockSocket } from './mock-socket.ts';

/**
 * What to do about a message: a payload to reply with, `'agree'`, `'silence'`, or `'end'` of the
 * connection.
 */
export type MockAnswer = Uint8Array | 'agree' | 'silence' | 'end';

/** How a {@link MockBackend} is made. */
export interface MockBackendOptions {
  /** The answer to GET_FEATURES. */
  readonly features: bigint;
  /** The answer to GET_PROTOCOL_FEATURES; none by default. */
  readonly protocolFeatures?: bigint;
  /** Decides about each message, by its name, before the default does. */
  readonly script?: (name: string, frame: Frame) => MockAnswer;
}

/**
 * Serves one connection, whose other end is `peerFd`.
 *
 * ```ts
 * const backend = new MockBackend({ features: 1n << 32n, script: (name) => name === 'SET_OWNER' ?
 * 'end' : 'agree' }); await FrontendSession.open({ fd: backend.peerFd }); // ERR_VHU_BACKEND_GONE
 * await backend.close();
 * ```
 */
export class MockBackend {
  /** For the front-end, which takes it over. */
  readonly peerFd: number;
  /** The names of all messages that came. */
  readonly seen: string[] = [];
  /** For what no message asked for. */
  readonly socket: MockSocket;
  /** The end of the last SET_BACKEND_REQ_FD, for requests to the front-end; closed by `close`. */
  requests: MockSocket | null = null;
  readonly #options: MockBackendOptions;
  readonly #served: Promise<void>;

  constructor(options: MockBackendOptions) {
    const [ownFd, peerFd] = socketPair();
    this.peerFd = peerFd;
    this.socket = new MockSocket(ownFd, 'frontend');
    this.#options = options;
    this.#served = this.#serve().catch(() => undefined); // the connection has ended
  }

  /** Ends the connection, without a word; may be called again. */
  async close(): Promise<void> {
    this.socket.close();
    this.requests?.close();
    await this.#served;
  }

  async #serve(): Promise<void> {
    while (this.socket.open) {
      const frame = await this.socket.receive(2 ** 31 - 1);
      const name = messageName('frontend', frame.request);
      this.seen.push(name);
      const answer = this.#options.script?.(name, frame) ?? 'agree';
      if (frame.request === FRONTEND.SET_BACKEND_REQ_FD && frame.fds.length > 0) {
        this.requests?.close();
        this.requests = new MockSocket(frame.fds.shift() as number, 'backend');
      }
      closeFds(frame.fds);
      if (answer === 'end') this.socket.close();
      else if (answer === 'agree') await this.#agree(frame);
      else if (answer !== 'silence') await this.#reply(frame.request, answer);
    }
  }

  async #agree(frame: Frame): Promise<void> {
    const { features, protocolFeatures = 0n } = this.#options;
    if (frame.request === FRONTEND.GET_FEATURES) await this.#reply(frame.request, u64(features));
    else if (frame.request === FRONTEND.GET_PROTOCOL_FEATURES) {
      await this.#reply(frame.request, u64(protocolFeatures));
    } else if (frame.request === FRONTEND.GET_VRING_BASE) {
      await this.#reply(frame.request, frame.payload);
    } else if ((frame.flags & FLAG.NEED_REPLY) !== 0) {
      await this.#reply(frame.request, u64(0n));
    }
  }

  async #reply(request: number, payload: Uint8Array): Promise<void> {
    const bytes = new Uint8Array(HEADER.SIZE + payload.length);
    const flags = FLAG.VERSION | FLAG.REPLY;
    encodeHeader({ request, flags, sizeBytes: payload.length }, bytes);
    bytes.set(payload, HEADER.SIZE);
    await this.socket.sendBytes(bytes);
  }
}

/** The payload of a number. */
export function u64(value: bigint): Uint8Array {
  return encodeMessage('frontend', 0, 'u64', { value }).subarray(HEADER.SIZE);
}
