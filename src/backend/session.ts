/**
 * One connection of a front-end: messages in, one after the other; replies out.
 *
 * A message that is refused is answered so where the front-end asked for it, and reported; the
 * connection goes on in any case. Only what breaks the framing ends it.
 *
 * @module
 */
import { VhostUserError, errorMessage } from '../util/index.ts';
import { closeFds } from '../sys/index.ts';
import {
  FLAG,
  PROTOCOL_FEATURE_BITS,
  SocketChannel,
  decodeRequest,
  encodeMessage,
  messageName,
  messageRow,
  protocolFeatures,
} from '../protocol/index.ts';
import type { Frame, MessageRow, PayloadKind, Payloads } from '../protocol/index.ts';
import type { Device } from './device.ts';
import { messagesChannel } from './events.ts';
import type { BackendEvents } from './events.ts';
import { configHandlers } from './handlers/config.ts';
import { featureHandlers } from './handlers/features.ts';
import { memoryHandlers } from './handlers/memory.ts';
import { ringHandlers } from './handlers/rings.ts';
import type { QueueRunner } from './runner/index.ts';
import { SessionState } from './session-state.ts';
import type { HandlerReply } from './session-state.ts';

const HANDLERS = new Map([
  ...featureHandlers,
  ...memoryHandlers,
  ...ringHandlers,
  ...configHandlers,
]);

const REPLY_ACK = protocolFeatures('REPLY_ACK');
const CONFIG_CHANGE = protocolFeatures('CONFIG', 'BACKEND_REQ');

/** The answers of REPLY_ACK. */
const ACCEPTED = 0n;
const REFUSED = 1n;

/** See the module. Owns its socket and all that the front-end sends over it. */
export class Session {
  /** Resolves when the session is over and everything is released, with what broke it, or null. */
  readonly ended: Promise<VhostUserError | null>;
  readonly #state: SessionState;
  readonly #events: BackendEvents;
  readonly #channel: SocketChannel;
  #atWork: Promise<void> = Promise.resolve();
  #closing = false;
  #end: (reason: VhostUserError | null) => void = () => undefined;

  /** Takes over a connected, non-blocking socket. */
  constructor(fd: number, device: Device, runner: QueueRunner, events: BackendEvents) {
    this.#events = events;
    this.#state = new SessionState(device, runner, events);
    const over = new Promise<VhostUserError | null>((resolve) => {
      this.#end = resolve;
    });
    this.ended = over.then(async (reason) => {
      await this.#atWork; // a message that is being carried out is carried out first
      try {
        await this.#state.release();
      } finally {
        this.#channel.close();
      }
      return reason;
    });
    this.#channel = new SocketChannel(fd, 'frontend', {
      frame: (frame) => this.#take(frame),
      strayFds: (count) => {
        this.#log(`${String(count)} file descriptors came in the middle of a message: closed`);
      },
      droppedFds: () => {
        this.#log('the host dropped file descriptors of a message: too many are open (ulimit -n)');
      },
      end: (error) => this.#end(error),
    });
  }

  /**
   * Ends it from our side. May be called again. The socket is closed last: a front-end that sees it
   * closed goes on with the next back-end from the rings' used indices, so nothing may be completed
   * after that.
   */
  close(): void {
    this.#closing = true;
    this.#end(null);
  }

  /** Tells the front-end that the configuration space changed, when it listens to that. */
  configChanged(): void {
    const { protocolFeatures: negotiated, backendRequests } = this.#state;
    if ((negotiated & CONFIG_CHANGE) === CONFIG_CHANGE) backendRequests?.configChanged();
  }

  /** A ring was broken by the guest. Its driver is told that the status changed (virtio 2.1.2). */
  ringBroken(): void {
    this.#state.ringBroken();
    this.configChanged();
  }

  #take(frame: Frame): Promise<void> | undefined {
    if (!this.#closing) return (this.#atWork = this.#carryOut(frame));
    closeFds(frame.fds); // its sender sees the socket closed in a moment
    return undefined;
  }

  /** Never rejects. */
  async #carryOut(frame: Frame): Promise<void> {
    const { request, flags, payload, fds } = frame;
    if (messagesChannel.hasSubscribers) messagesChannel.publish({ sent: false, frame });
    const needReply = (flags & FLAG.NEED_REPLY) !== 0;
    const row = messageRow('frontend', request);
    try {
      const answer = await this.#dispatch(request, flags, payload, fds);
      if (answer !== undefined) this.#reply(request, answer.kind, answer.payload);
      else if (needReply) this.#acknowledge(request, ACCEPTED);
    } catch (error) {
      this.#refused(request, error);
      // Whoever waits for a reply of its own gets an empty one, as GET_CONFIG's error is specified.
      if (row !== undefined && row.reply !== null && this.#offered(row)) {
        this.#reply(request, 'none', {});
      } else if (needReply) {
        this.#acknowledge(request, REFUSED);
      }
    } finally {
      closeFds(fds);
    }
  }

  #dispatch(
    request: number,
    flags: number,
    payload: Uint8Array,
    fds: number[],
  ): HandlerReply | undefined | Promise<HandlerReply | undefined> {
    const { row, values } = decodeRequest('frontend', request, flags, payload, fds.length);
    const handler = HANDLERS.get(request);
    if (handler === undefined || !this.#offered(row)) {
      throw new VhostUserError(
        'ERR_VHU_MESSAGE_NOT_OFFERED',
        row.gate === null
          ? 'this back-end does not have it'
          : `it needs the feature ${row.gate}, which this back-end does not offer`,
      );
    }
    return handler(this.#state, values as Payloads[PayloadKind], fds);
  }

  #offered({ gate }: MessageRow): boolean {
    if (gate === null || gate === 'virtio PROTOCOL_FEATURES') return true;
    if (gate === 'virtio ACCESS_PLATFORM') return false;
    const bit = 1n << BigInt(PROTOCOL_FEATURE_BITS[gate as keyof typeof PROTOCOL_FEATURE_BITS]);
    return (this.#state.offeredProtocolFeatures & bit) !== 0n;
  }

  #acknowledge(request: number, value: bigint): void {
    if ((this.#state.protocolFeatures & REPLY_ACK) === 0n) return;
    this.#reply(request, 'u64', { value });
  }

  #reply<K extends PayloadKind>(request: number, kind: K, payload: Payloads[K]): void {
    const bytes = encodeMessage('frontend', request, kind, payload, { reply: true });
    if (messagesChannel.hasSubscribers) messagesChannel.publish({ sent: true, bytes });
    this.#channel.send(bytes);
  }

  #refused(request: number, error: unknown): void {
    const name = messageName('frontend', request);
    const text = errorMessage(error);
    const code = error instanceof VhostUserError ? error.code : 'ERR_VHU_INTERNAL';
    const message = text.startsWith(name) ? text : `${name}: ${text}`;
    this.#events.refused?.(new VhostUserError(code, message, { cause: error }));
  }

  #log(text: string): void {
    this.#events.log?.('warn', text);
  }
}
