/**
 * The front-end's end of a vhost-user socket: requests go out in order, replies come back in order.
 * No policy: what to say, and when, is the session's.
 *
 * @module
 */
import { VhostUserError, errorMessage } from '../util/index.ts';
import { closeFds } from '../sys/index.ts';
import { SocketChannel, decodeReply, encodeMessage, messageName } from '../protocol/index.ts';
import type { Frame, PayloadKind, Payloads } from '../protocol/index.ts';

/** A reply: its values, and its fds, which the receiver owns. */
export interface Reply<K extends PayloadKind> {
  readonly values: Payloads[K];
  readonly fds: number[];
}

/** How a {@link Connection} is made. */
export interface ConnectionOptions {
  /** How long to wait for a reply. */
  readonly replyTimeoutMs: number;
  /** Called once, when the connection has ended: with the reason, or null after `close`. */
  readonly onEnd: (error: VhostUserError | null) => void;
}

/** A request that waits for its reply. */
interface Waiting {
  readonly request: number;
  readonly replyKind: PayloadKind;
  readonly resolve: (reply: Reply<PayloadKind>) => void;
  readonly reject: (error: VhostUserError) => void;
  readonly timer: NodeJS.Timeout;
}

/** What the channel says when the peer is gone, in contrast to a peer that says something wrong. */
const GONE_CODES = new Set(['ERR_VHU_SEND', 'ERR_VHU_RECEIVE', 'ERR_VHU_CUT_OFF']);

/** See the module. Owns its fd. */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #channel: SocketChannel;
  readonly #waiting: Waiting[] = [];
  #open = true;
  #lastSent = 'nothing';
  #end: VhostUserError | null = null;

  /** Takes over a connected, non-blocking socket. */
  constructor(fd: number, options: ConnectionOptions) {
    this.#options = options;
    this.#channel = new SocketChannel(fd, 'frontend', {
      frame: (frame) => {
        this.#onFrame(frame);
        return undefined;
      },
      end: (error) => this.#onChannelEnd(error),
    });
  }

  /** Whether it can still be used. */
  get open(): boolean {
    return this.#open;
  }

  /** Sends a message that has no reply. The fds are lent until the next reply has come. */
  send<K extends PayloadKind>(
    request: number,
    kind: K,
    payload: Payloads[K],
    fds: readonly number[] = [],
  ): void {
    this.#transmit(request, encodeMessage('frontend', request, kind, payload), fds);
  }

  /**
   * Sends a message and waits for its reply; `needReply` asks for one where the message has none of
   * its own.
   *
   * @throws VhostUserError what ended the connection, `ERR_VHU_REPLY_TIMEOUT`, `ERR_VHU_REFUSED`
   * for
   *   an empty reply where values were asked for, or what is wrong with the reply (all but
   *   `ERR_VHU_REFUSED` end the connection as well).
   */
  request<K extends PayloadKind, R extends PayloadKind>(
    request: number,
    kind: K,
    payload: Payloads[K],
    replyKind: R,
    options: { readonly fds?: readonly number[]; readonly needReply?: boolean } = {},
  ): Promise<Reply<R>> {
    const { fds = [], needReply = false } = options;
    const bytes = encodeMessage('frontend', request, kind, payload, { needReply });
    const { replyTimeoutMs } = this.#options;
    return new Promise<Reply<R>>((resolve, reject) => {
      this.#checkOpen(request); // throws into the promise
      this.#waiting.push({
        request,
        replyKind,
        resolve: resolve as (reply: Reply<PayloadKind>) => void,
        reject,
        timer: setTimeout(() => this.#fail(this.#timeoutError(request)), replyTimeoutMs),
      });
      this.#transmit(request, bytes, fds);
    });
  }

  /** Ends the connection; who still waits gets an error. May be called again. */
  close(): void {
    this.#finish(null, new VhostUserError('ERR_VHU_CLOSED', 'the session was closed'));
  }

  #transmit(request: number, bytes: Uint8Array, fds: readonly number[]): void {
    this.#checkOpen(request);
    this.#lastSent = messageName('frontend', request);
    this.#channel.send(bytes, fds);
  }

  #checkOpen(request: number): void {
    if (this.#open) return;
    const name = messageName('frontend', request);
    const why = this.#end === null ? 'the session was closed' : this.#end.message;
    throw new VhostUserError(this.#end?.code ?? 'ERR_VHU_CLOSED', `${name} not sent: ${why}`);
  }

  /** Hands a reply to whoever has waited longest. */
  #onFrame(frame: Frame): void {
    const waiting = this.#waiting[0];
    if (waiting === undefined) {
      closeFds(frame.fds);
      const what = messageName('frontend', frame.request);
      const text = `the back-end answered ${what}, which nobody asked for`;
      this.#fail(new VhostUserError('ERR_VHU_REPLY', text));
      return;
    }
    const { request, replyKind } = waiting;
    try {
      // How a back-end says that it cannot: the reply is there, with nothing in it.
      const refused = frame.payload.length === 0 && replyKind !== 'none';
      const values = decodeReply('frontend', refused ? 'none' : replyKind, request, frame);
      this.#waiting.shift();
      clearTimeout(waiting.timer);
      if (!refused) {
        waiting.resolve({ values, fds: frame.fds });
        return;
      }
      closeFds(frame.fds);
      const text = `${messageName('frontend', request)}: the back-end refused it (an empty reply)`;
      waiting.reject(new VhostUserError('ERR_VHU_REFUSED', text));
    } catch (error) {
      closeFds(frame.fds);
      this.#fail(asVhostUserError(error));
    }
  }

  #onChannelEnd(error: VhostUserError | null): void {
    if (error === null) this.#fail(this.#goneError('end of stream'));
    else if (GONE_CODES.has(error.code)) this.#fail(this.#goneError(error.message));
    else this.#fail(error);
  }

  #fail(error: VhostUserError): void {
    this.#finish(error, error);
  }

  #finish(end: VhostUserError | null, forWaiting: VhostUserError): void {
    if (!this.#open) return;
    this.#open = false;
    this.#end = end;
    this.#channel.close();
    for (const { timer, reject, request } of this.#waiting.splice(0)) {
      clearTimeout(timer);
      const { code, message } = forWaiting;
      const name = messageName('frontend', request);
      reject(
        message.startsWith(name) ? forWaiting : new VhostUserError(code, `${name}: ${message}`),
      );
    }
    this.#options.onEnd(end);
  }

  #goneError(how: string): VhostUserError {
    const asked = this.#waiting[0]?.request;
    const last =
      asked === undefined
        ? `the last message to it was ${this.#lastSent}`
        : `it was asked ${messageName('frontend', asked)}`;
    return new VhostUserError(
      'ERR_VHU_BACKEND_GONE',
      `the back-end ended the connection (${how}; ${last}): it has died, serves another ` +
        'front-end, or does not accept what was sent; its own log may say',
    );
  }

  #timeoutError(request: number): VhostUserError {
    return new VhostUserError(
      'ERR_VHU_REPLY_TIMEOUT',
      `${messageName('frontend', request)}: no reply within ` +
        `${String(this.#options.replyTimeoutMs)} ms: is the back-end stuck, busy with another ` +
        'front-end, or is this not a vhost-user socket?',
    );
  }
}

function asVhostUserError(error: unknown): VhostUserError {
  if (error instanceof VhostUserError) return error;
  return new VhostUserError('ERR_VHU_REPLY', errorMessage(error), { cause: error });
}
