/**
 * The socket on which a back-end sends requests of its own (SET_BACKEND_REQ_FD).
 *
 * @module
 */
import { VhostUserError, errorMessage } from '../util/index.ts';
import {
  ERRNO,
  READABLE,
  closeFd,
  closeFds,
  receiveWithFds,
  sendWithFds,
  socketPair,
  watchFd,
} from '../sys/index.ts';
import type { Received, Watch } from '../sys/index.ts';
import {
  BACKEND,
  FLAG,
  FrameReader,
  decodeRequest,
  encodeMessage,
  messageName,
} from '../protocol/index.ts';
import type { Frame } from '../protocol/index.ts';

const EAGAIN = ERRNO.EAGAIN as number;
const RECEIVES_PER_EVENT_MAX = 256;
const RECEIVE_BYTES = 4096;
/** Answers to `need_reply`: zero is success. */
const ACCEPTED = 0n;
const REFUSED = 1n;

/** What the session hears. */
export interface BackendChannelEvents {
  configChanged(): void;
  /** Something that is refused, or cannot be understood; the session goes on. */
  refused(error: VhostUserError): void;
}

/** See the module. Owns both ends until `takePeerFd`. */
export class BackendChannel {
  readonly #events: BackendChannelEvents;
  readonly #reader = new FrameReader('backend', closeFd);
  readonly #buffer = new Uint8Array(RECEIVE_BYTES);
  readonly #received: Received = { fds: [], truncated: false };
  readonly #watch: Watch;
  #fd: number;
  #peerFd: number;

  constructor(events: BackendChannelEvents) {
    this.#events = events;
    [this.#fd, this.#peerFd] = socketPair();
    this.#watch = watchFd(this.#fd, READABLE, () => this.#receive());
    this.#watch.unref(); // the session's own socket keeps the process alive
  }

  /** The end for the back-end, borrowed until `dropPeerFd`. */
  get peerFd(): number {
    return this.#peerFd;
  }

  /** Closes the back-end's end here, once it has been sent. */
  dropPeerFd(): void {
    const fd = this.#peerFd;
    this.#peerFd = -1;
    if (fd >= 0) closeFd(fd);
  }

  /** Closes; may be called again. */
  close(): void {
    this.dropPeerFd();
    const fd = this.#fd;
    if (fd < 0) return;
    this.#fd = -1;
    this.#watch.close();
    this.#reader.destroy();
    closeFd(fd);
  }

  #receive(): void {
    for (let i = 0; i < RECEIVES_PER_EVENT_MAX && this.#fd >= 0; i++) {
      const room = this.#buffer.subarray(0, Math.min(this.#reader.wanted, RECEIVE_BYTES));
      const count = receiveWithFds(this.#fd, room, this.#received);
      if (count === -EAGAIN) return;
      if (count <= 0) {
        closeFds(this.#received.fds);
        this.close(); // the session's socket says what became of the back-end
        return;
      }
      try {
        const frame = this.#reader.push(room.subarray(0, count), this.#received.fds);
        if (frame !== null) this.#onFrame(frame);
      } catch (error) {
        this.#refuse(error); // the stream is out of step: there is no going on
        this.close();
      }
    }
  }

  #onFrame(frame: Frame): void {
    let answer = ACCEPTED;
    try {
      this.#serve(frame);
    } catch (error) {
      answer = REFUSED;
      this.#refuse(error);
    }
    closeFds(frame.fds);
    if ((frame.flags & FLAG.NEED_REPLY) === 0) return;
    // A few bytes that the socket's buffer takes; a back-end that reads none of them harms itself.
    const options = { reply: true };
    const bytes = encodeMessage('backend', frame.request, 'u64', { value: answer }, options);
    sendWithFds(this.#fd, bytes, []);
  }

  #serve(frame: Frame): void {
    const { request, flags, payload, fds } = frame;
    decodeRequest('backend', request, flags, payload, fds.length);
    if (request === BACKEND.CONFIG_CHANGE_MSG) {
      this.#events.configChanged();
      return;
    }
    throw new VhostUserError(
      'ERR_VHU_BACKEND_REQUEST',
      `${messageName('backend', request)} from the back-end: this front-end did not offer it`,
    );
  }

  #refuse(error: unknown): void {
    const known = error instanceof VhostUserError;
    const text = errorMessage(error);
    this.#events.refused(known ? error : new VhostUserError('ERR_VHU_BACKEND_REQUEST', text));
  }
}
