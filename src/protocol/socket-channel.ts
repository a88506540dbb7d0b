/**
 * Messages over a Unix socket, on the main thread: whole frames in, one at a time; bytes with fds
 * out, in order. Which messages mean what is the session's business.
 *
 * @module
 */
import { VhostUserError } from '../util/index.ts';
import {
  ERRNO,
  READABLE,
  WRITABLE,
  closeFd,
  closeFds,
  errnoName,
  receiveWithFds,
  sendWithFds,
  watchFd,
} from '../sys/index.ts';
import type { Received, Watch } from '../sys/index.ts';
import type { Channel } from './messages.ts';
import { FrameReader } from './reader.ts';
import type { Frame } from './reader.ts';

const EAGAIN = ERRNO.EAGAIN as number;
/** The peer has closed its end; what it sent before can still be read. */
const PEER_GONE: readonly number[] = [ERRNO.EPIPE as number, ERRNO.ECONNRESET as number];
const CHUNK_BYTES = 65536;
/** Receives of one turn, so that a peer that floods us leaves time for everything else. */
const RECEIVES_PER_TURN_MAX = 64;
/** Bytes that may wait for a peer that does not read its replies. */
const UNSENT_BYTES_MAX = 1024 * 1024;

/** What the owner of a channel is told. */
export interface ChannelHandlers {
  /**
   * A message; its fds are now the handler's. Nothing more is read until the promise has resolved,
   * so that messages are carried out one after the other. It must not reject.
   */
  frame(frame: Frame): Promise<void> | undefined;
  /** Fds came with a later byte of a message than its first; they were closed. */
  strayFds?(count: number): void;
  /** The host has dropped fds of a message: this process has too many open. */
  droppedFds?(): void;
  /**
   * The peer went away, or broke the framing: the last call. `error` is null for an orderly end.
   */
  end(error: VhostUserError | null): void;
}

/** See the module. Owns its socket. */
export class SocketChannel {
  readonly #fd: number;
  readonly #handlers: ChannelHandlers;
  readonly #reader: FrameReader;
  readonly #watch: Watch;
  readonly #buffer = new Uint8Array(CHUNK_BYTES);
  readonly #received: Received = { fds: [], truncated: false };
  readonly #unsent: { bytes: Uint8Array; fds: number[] }[] = [];
  #unsentBytes = 0;
  #sendError: VhostUserError | null = null; // nothing can be sent any more
  #busy = false; // a handler is at work
  #receivesLeft = 0; // in this turn, however many messages are carried out in it
  #closed = false;

  constructor(fd: number, channel: Channel, handlers: ChannelHandlers) {
    this.#fd = fd;
    this.#handlers = handlers;
    this.#reader = new FrameReader(channel, closeFd);
    this.#watch = watchFd(fd, READABLE, (events) => {
      if ((events & WRITABLE) !== 0) this.#flush();
      this.#receivesLeft = RECEIVES_PER_TURN_MAX;
      if ((events & READABLE) !== 0) this.#receive();
    });
  }

  /** The socket, borrowed. */
  get fd(): number {
    return this.#fd;
  }

  /**
   * Sends a message; what the socket does not take now follows later. `fds` are lent: they have to
   * stay open until then, which only matters to a peer that does not read.
   */
  send(bytes: Uint8Array, fds: readonly number[] = []): void {
    if (this.#closed || this.#sendError !== null) return;
    if (this.#unsentBytes + bytes.length > UNSENT_BYTES_MAX) {
      this.#end(
        new VhostUserError('ERR_VHU_PEER_STUCK', 'the peer does not read what is sent to it'),
      );
      return;
    }
    this.#unsent.push({ bytes, fds: [...fds] });
    this.#unsentBytes += bytes.length;
    this.#flush();
  }

  /** Closes the socket; `end` is not called. May be called again. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watch.close();
    this.#reader.destroy();
    closeFd(this.#fd);
  }

  /** Keeps the process from being kept alive by this channel alone. */
  unref(): void {
    this.#watch.unref();
  }

  #flush(): void {
    while (!this.#closed) {
      const next = this.#unsent[0];
      if (next === undefined) break;
      const sent = sendWithFds(this.#fd, next.bytes, next.fds);
      if (sent === -EAGAIN) break;
      if (sent < 0) {
        this.#cannotSend(-sent);
        break;
      }
      this.#unsentBytes -= sent;
      next.fds.length = 0; // they went with the first byte
      if (sent === next.bytes.length) this.#unsent.shift();
      else next.bytes = next.bytes.subarray(sent);
    }
    this.#listen();
  }

  #cannotSend(errno: number): void {
    const text = `sending to the peer: ${errnoName(errno)}: it is gone`;
    this.#sendError = new VhostUserError('ERR_VHU_SEND', text);
    this.#unsent.length = 0;
    this.#unsentBytes = 0;
    // What the peer said last may well say why: it is read before its end is.
    if (!PEER_GONE.includes(errno)) this.#end(this.#sendError);
  }

  #listen(): void {
    if (this.#closed) return;
    const reading = this.#busy ? 0 : READABLE;
    this.#watch.setEvents(reading | (this.#unsent.length > 0 ? WRITABLE : 0));
  }

  #receive(): void {
    while (this.#receivesLeft > 0 && !this.#closed && !this.#busy) {
      this.#receivesLeft--;
      const room = this.#buffer.subarray(0, Math.min(this.#reader.wanted, CHUNK_BYTES));
      const count = receiveWithFds(this.#fd, room, this.#received);
      if (count === -EAGAIN) return;
      if (count <= 0) {
        closeFds(this.#received.fds);
        this.#end(this.#endReason(-count));
        return;
      }
      if (this.#received.truncated) this.#handlers.droppedFds?.();
      this.#take(room.subarray(0, count));
    }
  }

  /** What the end of the stream means, or an error of receiving. */
  #endReason(errno: number): VhostUserError | null {
    const known = errno === 0 || PEER_GONE.includes(errno);
    if (known && this.#reader.partial) {
      return new VhostUserError('ERR_VHU_CUT_OFF', 'the peer went away in the middle of a message');
    }
    if (errno === 0 || this.#sendError !== null) return this.#sendError;
    const text = `receiving from the peer: ${errnoName(errno)}`;
    return new VhostUserError('ERR_VHU_RECEIVE', text);
  }

  #take(bytes: Uint8Array): void {
    let frame: Frame | null;
    try {
      frame = this.#reader.push(bytes, this.#received.fds.splice(0));
    } catch (error) {
      this.#end(error as VhostUserError);
      return;
    }
    const stray = this.#reader.takeStrayFds();
    if (stray > 0) this.#handlers.strayFds?.(stray);
    if (frame === null) return;
    const work = this.#handlers.frame(frame);
    if (work === undefined) return;
    this.#busy = true;
    this.#listen();
    void work.then(() => {
      this.#busy = false;
      this.#listen();
      this.#receive();
    });
  }

  #end(error: VhostUserError | null): void {
    if (this.#closed) return;
    this.close();
    this.#handlers.end(error);
  }
}
