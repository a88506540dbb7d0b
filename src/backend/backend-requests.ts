/**
 * Requests of the back-end to the front-end, on the socket of SET_BACKEND_REQ_FD.
 *
 * @module
 */
import { closeFds } from '../sys/index.ts';
import { BACKEND, SocketChannel, encodeMessage } from '../protocol/index.ts';

/** See the module. Owns its socket. */
export class BackendRequests {
  readonly #channel: SocketChannel;

  /** @param fd a connected socket, non-blocking */
  constructor(fd: number) {
    this.#channel = new SocketChannel(fd, 'backend', {
      // Nothing that is sent asks for an answer; what comes all the same is read, and forgotten.
      frame: ({ fds }) => {
        closeFds(fds);
        return undefined;
      },
      end: () => undefined, // the session's own socket says what became of the front-end
    });
    this.#channel.unref();
  }

  /** CONFIG_CHANGE_MSG: the front-end reads the configuration space again. */
  configChanged(): void {
    this.#channel.send(encodeMessage('backend', BACKEND.CONFIG_CHANGE_MSG, 'none', {}));
  }

  close(): void {
    this.#channel.close();
  }
}
