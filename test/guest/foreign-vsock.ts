/**
 * Sockets between a guest of another architecture and its host: the guest's part as pieces of
 * shell, and the host's.
 *
 * @module
 */
import assert from 'node:assert/strict';
import type { Server } from 'node:net';
import { VsockHost } from '../../src/vsock/index.ts';
import { echoWords, receiveFrom, sendTo, servePort } from './vsock-host.ts';
import { VSOCK_GUEST } from './vsock-program.ts';

/** What goes each way, from each side. */
export const VSOCK_BYTES: number = 1 << 20;
const BLOCK_BYTES = 65_536;
const WORDS = 20;
const GUEST_PORT = 1234;
/** Ports of the host. */
const PORT = { serve: 5000, task: 5004, closed: 999 } as const;

/** The guest connects, sends, receives and is refused; then it serves the host. */
export function useVsock(): string {
  const { serve, task, closed } = PORT;
  return `vsock() { ${VSOCK_GUEST} "$@" || fail "vsock-guest $*"; }
${VSOCK_GUEST} serve ${GUEST_PORT} &
vsock refused 2 ${closed}
vsock connect 2 ${serve} ${WORDS} 1
vsock send 2 ${serve} ${VSOCK_BYTES} ${BLOCK_BYTES}
vsock receive 2 ${serve} ${VSOCK_BYTES} ${BLOCK_BYTES}
vsock line 2 ${task}
`;
}

/** The host's side of {@link useVsock}. */
export class VsockHostSide {
  readonly #path: string;
  readonly #servers: Server[] = [];
  readonly #errors: Error[] = [];
  #done = false;

  private constructor(path: string) {
    this.#path = path;
  }

  /** Listens on the host's ports. */
  static async start(path: string): Promise<VsockHostSide> {
    const host = new VsockHostSide(path);
    const note = (error: Error): void => void host.#errors.push(error);
    host.#servers.push(await servePort(path, PORT.serve, note));
    host.#servers.push(
      await new VsockHost(path).listen(PORT.task, (socket) => {
        host
          .#turn()
          .catch(note)
          .finally(() => socket.end('done\n'));
      }),
    );
    return host;
  }

  close(): void {
    for (const server of this.#servers) server.close();
  }

  /** @throws AssertionError unless both sides did all of it */
  verify(values: ReadonlyMap<string, string>): void {
    assert.deepEqual(this.#errors, []);
    assert.ok(this.#done, 'the host had its turn');
    assert.match(values.get('refused.error') ?? '', /^ECONN(RESET|REFUSED)$/);
  }

  /** What the host does with the guest; each half of a stream ends by itself. */
  async #turn(): Promise<void> {
    await echoWords(this.#path, GUEST_PORT, WORDS);
    await sendTo(this.#path, GUEST_PORT, VSOCK_BYTES);
    await receiveFrom(this.#path, GUEST_PORT, VSOCK_BYTES);
    const refused = new VsockHost(this.#path).connect(PORT.closed);
    await assert.rejects(refused, { code: 'ECONNRESET' });
    this.#done = true;
  }
}
