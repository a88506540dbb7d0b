/**
 * One connection of a {@link VsockClient}, as a stream.
 *
 * @module
 */
import { Duplex } from 'node:stream';
import { VsockCredit } from './credit.ts';
import { VsockClientError } from './errors.ts';
import type { VsockClientErrorCode } from './errors.ts';
import { VSOCK_OP, VSOCK_SEQ, VSOCK_SHUTDOWN, VSOCK_TYPE } from './layout.ts';

/** What a connection asks of its client. */
export interface VsockLink {
  /** Sends a packet without data, now or as soon as there is a slot. */
  control(socket: VsockSocket, op: number, flags: number): void;
  /** Sends data, at most those of one packet; how many went, -1 when there is no slot now. */
  data(socket: VsockSocket, bytes: Uint8Array, at: number, count: number, last: boolean): number;
  /** The socket waits for a slot; `pump` is called when there may be one. */
  waitForSlot(socket: VsockSocket): void;
  /** No packet of the connection is expected any more. */
  forget(socket: VsockSocket): void;
  /** A SHUTDOWN of both halves has gone: the answer is waited for, but not for ever. */
  linger(socket: VsockSocket): void;
}

/** The two ends of a connection, and its kind. */
export interface VsockEnds {
  readonly localCid: number;
  readonly localPort: number;
  readonly remoteCid: number;
  readonly remotePort: number;
  readonly type: 'stream' | 'seqpacket';
}

/** A write that is under way. */
interface Pending {
  readonly bytes: Uint8Array;
  done: number;
  readonly callback: (error?: Error | null) => void;
}

type State = 'connecting' | 'open' | 'gone';

/**
 * A connection: a `Duplex` like `net.Socket`. `end` closes our half, the other one stays open until
 * its `end` event. What is written waits for the other side's credit; what is not read here keeps
 * the other side from sending. Of a SEQPACKET connection each write is a message, and each chunk
 * that is read is one, whole.
 *
 * It is destroyed with a `VsockClientError`: `ECONNRESET` when the other side has gone in the
 * middle, `EPIPE` when it does not read any more, `EMSGSIZE` for a message beyond its buffer,
 * `ENODEV` when the device has gone, `EPROTO` when it broke the rules.
 */
export class VsockSocket extends Duplex {
  readonly localCid: number;
  readonly localPort: number;
  readonly remoteCid: number;
  readonly remotePort: number;
  readonly type: 'stream' | 'seqpacket';
  /** Bytes of data that came, and that went. */
  bytesRead = 0;
  bytesWritten = 0;
  /** @internal Of the client: credit both ways. */
  readonly credit: VsockCredit;
  readonly #link: VsockLink;
  readonly #incoming: Buffer[] = []; // what the stream has not asked for
  #message: Buffer[] = []; // parts of a message that is not whole
  #state: State;
  #wanted = false;
  #pending: Pending | null = null;
  #pumping = false;
  #final: ((error?: Error | null) => void) | null = null;
  #sendDone = false; // our SHUTDOWN of sending has gone
  #peerSendDone = false;
  #peerReceiveDone = false;
  #opened: ((error: VsockClientError | null) => void) | null = null;

  /** @internal Made by a `VsockClient` alone. @param opened told once how connecting ended */
  constructor(
    link: VsockLink,
    ends: VsockEnds,
    bufAlloc: number,
    opened: ((error: VsockClientError | null) => void) | null,
  ) {
    super({ allowHalfOpen: true, readableObjectMode: ends.type === 'seqpacket' });
    this.localCid = ends.localCid;
    this.localPort = ends.localPort;
    this.remoteCid = ends.remoteCid;
    this.remotePort = ends.remotePort;
    this.type = ends.type;
    this.credit = new VsockCredit(bufAlloc);
    this.#link = link;
    this.#state = opened === null ? 'open' : 'connecting';
    this.#opened = opened;
  }

  /** The type as packets have it. */
  get typeNumber(): number {
    return this.type === 'stream' ? VSOCK_TYPE.STREAM : VSOCK_TYPE.SEQPACKET;
  }

  /** Whether the other side's answer is waited for. */
  get connecting(): boolean {
    return this.#state === 'connecting';
  }

  /** Ends the connection at once by a reset, as `net.Socket` does. */
  resetAndDestroy(): this {
    this.#reset();
    return this.destroy();
  }

  /**
   * A packet of the connection has come; for the client.
   * @param bytes its data, which the socket keeps; null for none
   */
  handle(op: number, flags: number, bytes: Buffer | null): void {
    if (this.#state === 'connecting') this.#takeAnswer(op);
    else if (op === VSOCK_OP.RW) this.#takeData(flags, bytes);
    else if (op === VSOCK_OP.SHUTDOWN) this.#takeShutdown(flags);
    else if (op === VSOCK_OP.RST) this.#takeReset();
    else if (op === VSOCK_OP.CREDIT_REQUEST) this.#link.control(this, VSOCK_OP.CREDIT_UPDATE, 0);
    else if (op !== VSOCK_OP.CREDIT_UPDATE) this.#refuse(`operation ${String(op)}`);
    this.pump();
  }

  /** Sends what credit and slots allow; for the client. */
  pump(): void {
    // Sending may let others send that waited for a slot, and this one may be among them.
    if (this.#pumping) return;
    this.#pumping = true;
    this.#sendPending();
    this.#pumping = false;
    if (this.#pending !== null || this.#state === 'gone') return;
    if (this.#final !== null) this.#finish(this.#final);
  }

  #sendPending(): void {
    for (let pending = this.#pending; pending !== null; pending = this.#pending) {
      if (this.#state === 'gone') return;
      const { bytes, done, callback } = pending;
      const count = Math.min(bytes.length - done, this.credit.sendable);
      if (count === 0 && bytes.length > 0) return; // until a packet tells of more credit
      const last = done + count === bytes.length;
      const sent = this.#link.data(this, bytes, done, count, last);
      if (sent < 0) {
        this.#link.waitForSlot(this);
        return;
      }
      this.bytesWritten += sent;
      pending.done += sent;
      if (pending.done < bytes.length) continue;
      this.#pending = null;
      callback();
    }
  }

  /** The connection is no more, whatever the other side thinks; for the client. */
  lose(code: VsockClientErrorCode, cause?: unknown): void {
    if (this.#state === 'gone') return;
    const syscall = this.#state === 'connecting' ? 'connect' : 'read';
    this.#gone(this.#error(code, syscall, { cause }));
  }

  /** Part of `Duplex`. */
  override _read(): void {
    this.#wanted = true;
    this.#deliver();
  }

  /** Part of `Duplex`. */
  override _write(
    chunk: Buffer | string,
    encoding: BufferEncoding,
    callback: (error?: Error | null) => void,
  ): void {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk;
    const { peerBufAlloc } = this.credit;
    if (this.#peerReceiveDone || this.#state === 'gone') {
      callback(this.#error('EPIPE', 'write'));
    } else if (this.type === 'seqpacket' && bytes.length > peerBufAlloc) {
      const detail = `${String(bytes.length)} bytes, it has room for ${String(peerBufAlloc)}`;
      callback(this.#error('EMSGSIZE', 'write', { detail }));
    } else if (bytes.length === 0) {
      callback();
    } else {
      this.#pending = { bytes, done: 0, callback };
      this.pump();
    }
  }

  /** Part of `Duplex`. */
  override _final(callback: (error?: Error | null) => void): void {
    this.#final = callback;
    if (this.#state !== 'connecting') this.#finish(callback);
  }

  /** Part of `Duplex`. */
  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#incoming.length = 0;
    this.#message = [];
    const pending = this.#pending;
    this.#pending = null;
    if (this.#state === 'connecting') {
      this.#reset();
    } else if (this.#state === 'open') {
      // As close() of a socket: nothing is read or sent any more; the other side answers by RST.
      this.#state = 'gone';
      this.#link.control(this, VSOCK_OP.SHUTDOWN, VSOCK_SHUTDOWN.BOTH);
      this.#link.linger(this);
    }
    pending?.callback(error ?? this.#error('EPIPE', 'write'));
    callback(error);
  }

  #takeAnswer(op: number): void {
    const { type } = this;
    if (op === VSOCK_OP.RESPONSE) {
      this.#state = 'open';
      const opened = this.#opened;
      this.#opened = null;
      opened?.(null);
      return;
    }
    if (op !== VSOCK_OP.RST) this.#link.control(this, VSOCK_OP.RST, 0);
    const detail = op === VSOCK_OP.RST ? type : `it answered by operation ${String(op)}`;
    const code = op === VSOCK_OP.RST ? 'ECONNREFUSED' : 'EPROTO';
    this.#gone(this.#error(code, 'connect', { detail }));
  }

  #takeData(flags: number, bytes: Buffer | null): void {
    const count = bytes?.length ?? 0;
    if (this.#peerSendDone) {
      this.#refuse('data after the end of its half');
    } else if (!this.credit.received(count)) {
      this.#refuse('more data than it had credit for');
    } else {
      this.bytesRead += count;
      if (this.type === 'stream') {
        if (bytes !== null) this.#incoming.push(bytes);
      } else {
        if (bytes !== null) this.#message.push(bytes);
        if ((flags & VSOCK_SEQ.EOM) !== 0) {
          this.#incoming.push(Buffer.concat(this.#message));
          this.#message = [];
        }
      }
      this.#deliver();
    }
  }

  /** Gives the stream what it asks for; what it has taken is read, and makes room. */
  #deliver(): void {
    while (this.#wanted) {
      const bytes = this.#incoming.shift();
      if (bytes === undefined) break;
      if (this.credit.read(bytes.length) && this.#state === 'open') {
        this.#link.control(this, VSOCK_OP.CREDIT_UPDATE, 0);
      }
      this.#wanted = this.push(bytes);
    }
    if (this.#peerSendDone && this.#incoming.length === 0) this.push(null);
  }

  #takeShutdown(flags: number): void {
    if ((flags & VSOCK_SHUTDOWN.SEND) !== 0) this.#peerSendDone = true;
    if ((flags & VSOCK_SHUTDOWN.RECEIVE) !== 0) this.#peerReceiveDone = true;
    if (this.#peerSendDone && this.#peerReceiveDone) {
      // It has closed its socket: there is nobody to send anything to (section 5.10.6.5).
      this.#reset();
    }
    this.#deliver();
    if (this.#peerReceiveDone) this.#failWrite('EPIPE');
  }

  #takeReset(): void {
    this.#state = 'gone';
    this.#link.forget(this);
    const wellEnded = this.#peerSendDone && (this.#sendDone || this.#peerReceiveDone);
    if (wellEnded) this.#failWrite('EPIPE');
    else this.destroy(this.#error('ECONNRESET', 'read'));
  }

  /** What is being written, or the end of it, cannot go any more. */
  #failWrite(code: VsockClientErrorCode): void {
    const [pending, final] = [this.#pending, this.#final];
    this.#pending = null;
    this.#final = null;
    pending?.callback(this.#error(code, 'write'));
    final?.();
  }

  #finish(callback: (error?: Error | null) => void): void {
    this.#final = null;
    this.#sendDone = true;
    if (this.#state === 'open') {
      this.#link.control(this, VSOCK_OP.SHUTDOWN, VSOCK_SHUTDOWN.SEND);
    }
    callback();
  }

  /** The other side did what it must not. */
  #refuse(detail: string): void {
    this.#reset();
    this.destroy(this.#error('EPROTO', 'read', { detail }));
  }

  /** Tells the other side that the connection is no more. */
  #reset(): void {
    if (this.#state === 'gone') return;
    this.#state = 'gone';
    this.#link.control(this, VSOCK_OP.RST, 0);
    this.#link.forget(this);
  }

  #gone(error: VsockClientError): void {
    const opened = this.#opened;
    this.#opened = null;
    this.#state = 'gone';
    this.#link.forget(this);
    if (opened === null) {
      this.destroy(error);
      return;
    }
    this.destroy(); // the promise of connect tells
    opened(error);
  }

  #error(
    code: VsockClientErrorCode,
    syscall: string,
    options: { readonly cause?: unknown; readonly detail?: string } = {},
  ): VsockClientError {
    return new VsockClientError(code, syscall, this.remoteCid, this.remotePort, options);
  }
}
