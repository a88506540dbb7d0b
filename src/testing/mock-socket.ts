/**
 * One end of a vhost-user socket for tests: sends any bytes with any fds, in pieces or at once, and
 * hands over what comes as whole messages.
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
import { FrameReader, formatMessage } from '../protocol/index.ts';
import type { Channel, Frame } from '../protocol/index.ts';

const EAGAIN = ERRNO.EAGAIN as number;
const CHUNK_BYTES = 65536;

/**
 * How long the mocks wait for what has to happen: some milliseconds, but on a machine that has much
 * else to do threads are late by seconds. Only a test that fails waits for so long.
 */
export const MOCK_TIMEOUT_MS = 30_000;

/** Bytes, and the fds on the first of them; the fds stay the caller's. */
export interface MockBytes {
  readonly bytes: Uint8Array;
  readonly fds?: readonly number[];
}

/** How bytes are cut. */
export interface MockPieces {
  /** The most bytes of one piece. */
  readonly pieceBytes: number;
  /** The fds go with this piece, from 0 on; with the first by default. */
  readonly fdsWithPiece?: number;
  /** Between two pieces; 1 ms by default, so that a peer in this process reads them one by one. */
  readonly pauseMs?: number;
}

/** See the module. Owns its fd. */
export class MockSocket {
  readonly #fd: number;
  readonly #channel: Channel;
  readonly #reader: FrameReader;
  readonly #watch: Watch;
  readonly #buffer = new Uint8Array(CHUNK_BYTES);
  readonly #received: Received = { fds: [], truncated: false };
  readonly #frames: Frame[] = [];
  readonly #changed = new Set<() => void>();
  #ended: string | null = null; // how
  #closed = false;
  #reading = true;
  #writing = false;

  /** Takes over a connected, non-blocking socket. */
  constructor(fd: number, channel: Channel) {
    this.#fd = fd;
    this.#channel = channel;
    this.#reader = new FrameReader(channel, closeFd);
    this.#watch = watchFd(fd, READABLE, (events) => this.#onReady(events));
  }

  /** Whether the peer has not ended the connection. */
  get open(): boolean {
    return this.#ended === null;
  }

  /** Messages that have come and were not received. */
  get waitingFrames(): number {
    return this.#frames.length;
  }

  /**
   * Sends bytes at once; resolves when the socket has taken all of them.
   * @throws VhostUserError `ERR_VHU_MOCK_SEND` when it does not, because the peer is gone or does
   * not
   *   read.
   */
  async sendBytes(bytes: Uint8Array, fds: readonly number[] = []): Promise<void> {
    let rest = bytes;
    let restFds = fds;
    while (rest.length > 0) {
      const sent = this.#closed ? -(ERRNO.EPIPE as number) : sendWithFds(this.#fd, rest, restFds);
      if (sent === -EAGAIN) {
        await this.#writable(rest.length);
        continue;
      }
      if (sent < 0) throw sendError(errnoName(-sent));
      rest = rest.subarray(sent);
      restFds = [];
    }
  }

  /** Sends messages in one go: they are all there before the peer reads the first. */
  async sendTogether(...list: readonly MockBytes[]): Promise<void> {
    const sends = list.map(({ bytes, fds }) => this.sendBytes(bytes, fds));
    await Promise.all(sends);
  }

  /** Sends bytes in pieces. */
  async sendPieces({ bytes, fds = [] }: MockBytes, pieces: MockPieces): Promise<void> {
    const { pieceBytes, fdsWithPiece = 0, pauseMs = 1 } = pieces;
    for (let done = 0, piece = 0; done < bytes.length; done += pieceBytes, piece++) {
      if (done > 0) {
        await sleep(pauseMs);
        // A late timer fires before the fds of its turn are looked at: a peer here reads first.
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
      const part = bytes.subarray(done, done + pieceBytes);
      await this.sendBytes(part, piece === fdsWithPiece ? fds : []);
    }
  }

  /**
   * The next message, whose fds are the caller's.
   * @throws VhostUserError `ERR_VHU_MOCK_TIMEOUT`, `ERR_VHU_MOCK_CLOSED`.
   */
  async receive(timeoutMs: number = MOCK_TIMEOUT_MS): Promise<Frame> {
    await this.#until(timeoutMs, () => this.#frames.length > 0 || this.#ended !== null);
    const frame = this.#frames.shift();
    if (frame !== undefined) return frame;
    if (this.#ended === null) {
      throw new VhostUserError(
        'ERR_VHU_MOCK_TIMEOUT',
        `mock: no message came within ${String(timeoutMs)} ms`,
      );
    }
    throw new VhostUserError('ERR_VHU_MOCK_CLOSED', `mock: no message came: ${this.#ended}`);
  }

  /**
   * Waits until the peer ends the connection; returns how, in words.
   * @throws VhostUserError `ERR_VHU_MOCK_STILL_OPEN`.
   */
  async expectClosed(timeoutMs: number = MOCK_TIMEOUT_MS): Promise<string> {
    await this.#until(timeoutMs, () => this.#ended !== null);
    if (this.#ended !== null) return this.#ended;
    throw new VhostUserError(
      'ERR_VHU_MOCK_STILL_OPEN',
      `mock: the peer has not ended the connection within ${String(timeoutMs)} ms`,
    );
  }

  /**
   * Makes sure that the peer says nothing for some time, and stays.
   * @throws VhostUserError `ERR_VHU_MOCK_UNEXPECTED` with what it said.
   */
  async expectSilence(forMs: number): Promise<void> {
    await this.#until(forMs, () => this.#frames.length > 0 || this.#ended !== null);
    const frame = this.#frames[0];
    const said = frame === undefined ? this.#ended : formatMessage(this.#channel, frame);
    if (said === null) return;
    throw new VhostUserError('ERR_VHU_MOCK_UNEXPECTED', `mock: silence expected, but: ${said}`);
  }

  /** Whether to take what the peer sends out of the socket; a peer that floods us would notice. */
  setReading(on: boolean): void {
    this.#reading = on;
    this.#listen();
  }

  /** Closes at once, also in the middle of a message; may be called again. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watch.close();
    this.#reader.destroy();
    for (const { fds } of this.#frames.splice(0)) closeFds(fds);
    closeFd(this.#fd);
    this.#end('closed on this side');
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Waits for a condition that only what happens on the socket can change; false: it did not. */
  async #until(timeoutMs: number, done: () => boolean): Promise<boolean> {
    if (done()) return true;
    await new Promise<void>((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        this.#changed.delete(check);
        resolve();
      };
      const check = (): void => {
        if (done()) finish();
      };
      const timer = setTimeout(finish, timeoutMs);
      this.#changed.add(check);
    });
    return done();
  }

  async #writable(restBytes: number): Promise<void> {
    this.#writing = true;
    this.#listen();
    if (await this.#until(MOCK_TIMEOUT_MS, () => !this.#writing || this.#ended !== null)) return;
    throw sendError(`the peer did not read ${String(restBytes)} bytes`);
  }

  #onReady(events: number): void {
    if ((events & WRITABLE) !== 0) this.#writing = false;
    if ((events & READABLE) !== 0 && this.#reading && !this.#closed) this.#receive();
    this.#listen();
    for (const check of [...this.#changed]) check();
  }

  #receive(): void {
    const room = this.#buffer.subarray(0, Math.min(this.#reader.wanted, CHUNK_BYTES));
    const count = receiveWithFds(this.#fd, room, this.#received);
    if (count === -EAGAIN) return;
    if (count <= 0) {
      const cut = this.#reader.partial ? ' in the middle of a message' : '';
      const how = count === 0 ? '' : ` (${errnoName(-count)})`;
      this.#end(`the peer ended the connection${cut}${how}`);
      return;
    }
    try {
      const frame = this.#reader.push(room.subarray(0, count), this.#received.fds);
      if (frame !== null) this.#frames.push(frame);
    } catch (error) {
      this.#end(`the peer sent no message: ${String(error)}`);
    }
  }

  #end(how: string): void {
    this.#ended ??= how;
    this.#writing = false;
    for (const check of [...this.#changed]) check();
  }

  #listen(): void {
    if (this.#closed) return;
    const reading = this.#reading && this.#ended === null ? READABLE : 0;
    this.#watch.setEvents(reading | (this.#writing ? WRITABLE : 0));
  }
}

function sendError(why: string): VhostUserError {
  return new VhostUserError('ERR_VHU_MOCK_SEND', `mock: sending: ${why}`);
}

/** Waits, and lets the event loop turn. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
