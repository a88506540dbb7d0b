/**
 * The socket on which a back-end sends requests of its own (SET_BACKEND_REQ_FD).
 *
 * @module
 */
import { VhostUserError, errorMessage } from '../util/index.ts';
import { closeFd, closeFds, socketPair } from '../sys/index.ts';
import {
  BACKEND,
  FLAG,
  SocketChannel,
  decodeRequest,
  encodeMessage,
  messageName,
} from '../protocol/index.ts';
import type { Frame } from '../protocol/index.ts';

/** Answers to `need_reply`: zero is success. */
const ACCEPTED = 0n;
const REFUSED = 1n;

/** What the session hears. */
export interface BackendChannelEvents {
  configChanged(): void;
  /** Something that is refused, or cannot be understood; the session goes on. */
  refused(error: VhostUserError): void;
}

/** See the module. Owns both ends until `dropPeerFd`. */
export class BackendChannel {
  readonly #events: BackendChannelEvents;
  readonly #channel: SocketChannel;
  #peerFd: number;

  constructor(events: BackendChannelEvents) {
    this.#events = events;
    const [fd, peerFd] = socketPair();
    this.#peerFd = peerFd;
    this.#channel = new SocketChannel(fd, 'backend', {
      frame: (frame) => {
        this.#onFrame(frame);
        return undefined;
      },
      // An orderly end needs no word: the session's socket says what became of the back-end.
      end: (error) => {
        if (error !== null) this.#refuse(error);
      },
    });
    this.#channel.unref(); // the session's own socket keeps the process alive
  }

  /** The end for the back-end, borrowed until `dropPeerFd`. */
  get peerFd(): number {
    return this.#peerFd;
  }

  /** Closes the back-end's end here, once the back-end has it. */
  dropPeerFd(): void {
    const fd = this.#peerFd;
    this.#peerFd = -1;
    if (fd >= 0) closeFd(fd);
  }

  /** Closes; may be called again. */
  close(): void {
    this.dropPeerFd();
    this.#channel.close();
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
    const options = { reply: true };
    this.#channel.send(encodeMessage('backend', frame.request, 'u64', { value: answer }, options));
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
