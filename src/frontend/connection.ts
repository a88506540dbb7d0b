/**
 * The front-end's end of a vhost-user socket: requests go out in order, replies come back in order.
 * No policy: what to say, and when, is the session's.
 *
 * @module
 */
import { VhostUserError, errorMessage } from '../util/index.ts';
import {
  ERRNO,
  READABLE,
  WRITABLE,
  closeFd,
  closeFds,
  dupFd,
  errnoName,
  receiveWithFds,
  sendWithFds,
  watchFd,
} from '../sys/index.ts';
import type { Received, Watch } from '../sys/index.ts';
import { FrameReader, decodeReply, encodeMessage, messageName } from '../protocol/index.ts';
import type { Frame, PayloadKind, Payloads } from '../protocol/index.ts';

const EAGAIN = ERRNO.EAGAIN as number;
const RECEIVE_BYTES = 16384;
/** Receives per event: a peer that talks without end must not hold the event loop. */
const RECEIVES_PER_EVENT_MAX = 256;

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

/** Bytes that the socket did not take yet; the fds are copies, owned. */
interface Unsent {
  readonly bytes: Uint8Array;
  readonly fds: number[];
}

/** See the module. Owns its fd. */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #reader = new FrameReader('frontend', closeFd);
  readonly #buffer = new Uint8Array(RECEIVE_BYTES);
  readonly #received: Received = { fds: [], truncated: false };
  readonly #waiting: Waiting[] = [];
  readonly #unsent: Unsent[] = [];
  readonly #watch: Watch;
  #fd: number;
  #lastSent = 'nothing';
  #end: VhostUserError | null = null;

  /** Takes over a connected, non-blocking socket. */
  constructor(fd: number, options: ConnectionOptions) {
    this.#fd = fd;
    this.#options = options;
    this.#watch = watchFd(fd, READABLE, (events) => this.#onReady(events));
  }

  /** Whether it can still be used. */
  get open(): boolean {
    return this.#fd >= 0;
  }

  /** Sends a message that has no reply. The fds stay the caller's. */
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
   * @throws VhostUserError what ended the connection, `ERR_VHU_REPLY_TIMEOUT`, or what is wrong with
   *   the reply (all but the timeout end the connection as well).
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
    return new Promise<Reply<R>>((resolve, reject) => {
      this.#transmit(request, bytes, fds); // throws into the promise
      this.#waiting.push({
        request,
        replyKind,
        resolve: resolve as (reply: Reply<PayloadKind>) => void,
        reject,
        timer: setTimeout(() => this.#fail(this.#timeoutError(request)), this.#options.replyTimeoutMs),
      });
    });
  }

  /** Ends the connection; who still waits gets an error. May be called again. */
  close(): void {
    this.#finish(null, new VhostUserError('ERR_VHU_CLOSED', 'the session was closed'));
  }

  #transmit(request: number, bytes: Uint8Array, fds: readonly number[]): void {
    const name = messageName('frontend', request);
    if (this.#fd < 0) {
      const why = this.#end === null ? 'the session was closed' : this.#end.message;
      throw new VhostUserError(this.#end?.code ?? 'ERR_VHU_CLOSED', `${name} not sent: ${why}`);
    }
    this.#lastSent = name;
    if (this.#unsent.length > 0) {
      this.#keep(bytes, fds);
      return;
    }
    const sent = this.#sendNow(bytes, fds);
    if (sent === 0) this.#keep(bytes, fds);
    else if (sent > 0 && sent < bytes.length) this.#keep(bytes.subarray(sent), []);
  }

  /** Bytes that the socket took; 0: none for now; -1: the connection has ended. */
  #sendNow(bytes: Uint8Array, fds: readonly number[]): number {
    let done = 0;
    while (done < bytes.length) {
      const sent = sendWithFds(this.#fd, bytes.subarray(done), done === 0 ? fds : []);
      if (sent === -EAGAIN) break;
      if (sent < 0) {
        // The back-end has gone. What it said last may still be there to be read, and says more.
        setImmediate(() => this.#fail(this.#goneError(errnoName(-sent))));
        return -1;
      }
      done += sent;
    }
    return done;
  }

  #keep(bytes: Uint8Array, fds: readonly number[]): void {
    this.#unsent.push({ bytes, fds: fds.map(dupFd) });
    this.#watch.setEvents(READABLE | WRITABLE);
  }

  #sendKept(): void {
    for (;;) {
      const next = this.#unsent[0];
      if (next === undefined) break;
      const sent = this.#sendNow(next.bytes, next.fds);
      if (sent <= 0) return;
      closeFds(next.fds);
      this.#unsent.shift();
      if (sent < next.bytes.length) {
        this.#unsent.unshift({ bytes: next.bytes.subarray(sent), fds: [] });
        return;
      }
    }
    this.#watch.setEvents(READABLE);
  }

  #onReady(events: number): void {
    if (this.#fd >= 0 && (events & READABLE) !== 0) this.#receive();
    if (this.#fd >= 0 && (events & WRITABLE) !== 0) this.#sendKept();
  }

  #receive(): void {
    for (let i = 0; i < RECEIVES_PER_EVENT_MAX && this.#fd >= 0; i++) {
      const room = this.#buffer.subarray(0, Math.min(this.#reader.wanted, RECEIVE_BYTES));
      const count = receiveWithFds(this.#fd, room, this.#received);
      if (count === -EAGAIN) return;
      if (count <= 0) {
        closeFds(this.#received.fds);
        this.#fail(this.#goneError(count === 0 ? 'end of stream' : errnoName(-count)));
        return;
      }
      try {
        const frame = this.#reader.push(room.subarray(0, count), this.#received.fds);
        if (frame !== null) this.#onFrame(frame);
      } catch (error) {
        this.#fail(asVhostUserError(error));
      }
    }
  }

  /** Hands a reply to whoever has waited longest. */
  #onFrame(frame: Frame): void {
    const waiting = this.#waiting[0];
    if (waiting === undefined) {
      closeFds(frame.fds);
      const what = messageName('frontend', frame.request);
      this.#fail(
        new VhostUserError('ERR_VHU_REPLY', `the back-end answered ${what}, which nobody asked for`),
      );
      return;
    }
    const { request, replyKind } = waiting;
    try {
      const values = decodeReply('frontend', replyKind, request, frame);
      this.#waiting.shift();
      clearTimeout(waiting.timer);
      waiting.resolve({ values, fds: frame.fds });
    } catch (error) {
      closeFds(frame.fds);
      this.#fail(asVhostUserError(error));
    }
  }

  #fail(error: VhostUserError): void {
    this.#finish(error, error);
  }

  #finish(end: VhostUserError | null, forWaiting: VhostUserError): void {
    const fd = this.#fd;
    if (fd < 0) return;
    this.#fd = -1;
    this.#end = end;
    this.#watch.close();
    this.#reader.destroy();
    for (const { fds } of this.#unsent.splice(0)) closeFds(fds);
    closeFd(fd);
    for (const { timer, reject, request } of this.#waiting.splice(0)) {
      clearTimeout(timer);
      const { code, message } = forWaiting;
      const name = messageName('frontend', request);
      reject(message.startsWith(name) ? forWaiting : new VhostUserError(code, `${name}: ${message}`));
    }
    this.#options.onEnd(end);
  }

  #goneError(how: string): VhostUserError {
    const asked = this.#waiting[0]?.request;
    const last =
      asked === undefined
        ? `the last message to it was ${this.#lastSent}`
        : `it was asked ${messageName('frontend', asked)}`;
    const cut = this.#reader.partial ? ', in the middle of a message' : '';
    return new VhostUserError(
      'ERR_VHU_BACKEND_GONE',
      `the back-end ended the connection (${how}${cut}; ${last}): it has died, serves another ` +
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
