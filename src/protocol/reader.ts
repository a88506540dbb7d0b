/**
 * Frames out of a stream of bytes. A stream has no boundaries: a message may come in pieces, byte
 * by byte, or many at once.
 *
 * File descriptors belong to the first byte of the header that they came with. A receive never
 * joins bytes with fds to bytes with other fds before them, so fds come with the first byte of a
 * piece; the reader says by {@link FrameReader.wanted} how much to receive, so that a piece never
 * goes beyond the message whose part it is, and the fds of the next one stay with the next one.
 *
 * @module
 */
import { HEADER, decodeHeader } from './header.ts';
import type { Header } from './header.ts';
import type { Channel } from './messages.ts';

/** A whole message, not yet looked into. */
export interface Frame {
  readonly request: number;
  readonly flags: number;
  /** A copy, the caller's. */
  readonly payload: Uint8Array;
  /** The caller owns them: what it does not take, it closes. */
  readonly fds: number[];
}

/** See the module. */
export class FrameReader {
  readonly #channel: Channel;
  readonly #closeFd: (fd: number) => void;
  readonly #headerBytes = new Uint8Array(HEADER.SIZE);
  #header: Header | null = null;
  #payload: Uint8Array = new Uint8Array(0);
  #filled = 0; // of the header, or of the payload once the header is there
  #fds: number[] = [];
  #strayFds = 0;

  /** @param closeFd closes an fd that no message may have */
  constructor(channel: Channel, closeFd: (fd: number) => void) {
    this.#channel = channel;
    this.#closeFd = closeFd;
  }

  /** How many bytes to receive next, at the most: the rest of the header, or of the payload. */
  get wanted(): number {
    if (this.#header === null) return HEADER.SIZE - this.#filled;
    return this.#header.sizeBytes - this.#filled;
  }

  /** Whether part of a message has come; an end of the stream would cut it off. */
  get partial(): boolean {
    return this.#header !== null || this.#filled > 0;
  }

  /**
   * Takes the next piece, of at most `wanted` bytes, with the fds that came with its first byte.
   * Returns a frame when it is whole, else null.
   *
   * @throws VhostUserError for what ends a connection: a header of another version
   *   (`ERR_VHU_VERSION`) or too long a payload (`ERR_VHU_MESSAGE_SIZE`). The fds are closed.
   */
  push(bytes: Uint8Array, fds: readonly number[]): Frame | null {
    this.#adopt(fds);
    if (this.#header === null) {
      this.#headerBytes.set(bytes, this.#filled);
      this.#filled += bytes.length;
      if (this.#filled < HEADER.SIZE) return null;
      try {
        this.#header = decodeHeader(this.#channel, this.#headerBytes);
      } catch (error) {
        this.destroy();
        throw error;
      }
      this.#payload = new Uint8Array(this.#header.sizeBytes);
      this.#filled = 0;
    } else {
      this.#payload.set(bytes, this.#filled);
      this.#filled += bytes.length;
    }
    return this.#filled === this.#header.sizeBytes ? this.#finish(this.#header) : null;
  }

  /**
   * Fds that came with a later byte of a message than its first, and were closed, since last asked.
   */
  takeStrayFds(): number {
    const count = this.#strayFds;
    this.#strayFds = 0;
    return count;
  }

  /** Forgets what has come and closes its fds. */
  destroy(): void {
    for (const fd of this.#fds.splice(0)) this.#closeFd(fd);
    this.#header = null;
    this.#filled = 0;
  }

  #adopt(fds: readonly number[]): void {
    if (!this.partial) {
      this.#fds.push(...fds);
      return;
    }
    for (const fd of fds) this.#closeFd(fd);
    this.#strayFds += fds.length;
  }

  #finish(header: Header): Frame {
    const frame: Frame = {
      request: header.request,
      flags: header.flags,
      payload: this.#payload,
      fds: this.#fds,
    };
    this.#fds = [];
    this.#header = null;
    this.#filled = 0;
    return frame;
  }
}
