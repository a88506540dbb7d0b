/**
 * A program of the host, for tests of vsock: one socket, and what has come through it.
 *
 * @module
 */
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { VhostUserError } from '../util/index.ts';
import { MOCK_TIMEOUT_MS, sleep } from './mock-socket.ts';

const LOOK_MS = 1;

/** See the module. */
export class HostProgram {
  readonly socket: Socket;
  /** Everything that was received. */
  received: Buffer = Buffer.alloc(0);
  /** The other side has sent its last byte. */
  ended = false;
  /** The socket is closed, by whichever side. */
  closed = false;
  /** The code of the socket's error, or an empty string. */
  error = '';

  /** On a socket, which it takes over. */
  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (bytes: Buffer) => {
      this.received = Buffer.concat([this.received, bytes]);
    });
    socket.on('end', () => {
      this.ended = true;
    });
    socket.on('close', () => {
      this.closed = true;
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.error = error.code ?? error.message;
    });
  }

  /** Connects to a path, or a TCP port of this host. */
  static async connect(where: string | number): Promise<HostProgram> {
    const socket =
      typeof where === 'string'
        ? connect({ path: where, allowHalfOpen: true })
        : connect({ port: where, host: '127.0.0.1', allowHalfOpen: true });
    const program = new HostProgram(socket);
    await program.until('the connection', () => !socket.connecting || program.closed);
    return program;
  }

  /** Waits for so many bytes, and takes them. */
  async take(count: number): Promise<string> {
    await this.until(`${String(count)} bytes`, () => this.received.length >= count);
    const text = this.received.subarray(0, count).toString('latin1');
    this.received = this.received.subarray(count);
    return text;
  }

  /**
   * Waits for something.
   * @throws VhostUserError `ERR_VHU_MOCK_TIMEOUT`.
   */
  async until(what: string, done: () => boolean): Promise<void> {
    const endMs = performance.now() + MOCK_TIMEOUT_MS;
    while (!done()) {
      if (performance.now() > endMs) {
        throw new VhostUserError(
          'ERR_VHU_MOCK_TIMEOUT',
          `host program: waited ${String(MOCK_TIMEOUT_MS)} ms for ${what}, ` +
            `and has ${String(this.received.length)} bytes`,
        );
      }
      await sleep(LOOK_MS);
    }
  }

  /** Closes the socket at once. */
  close(): void {
    this.socket.destroy();
  }
}

/** A listener of the host, for tests of vsock, and the programs that were made for it. */
export class HostListener {
  readonly server: Server;
  /** One for each connection, in order. */
  readonly programs: HostProgram[] = [];

  private constructor() {
    this.server = createServer({ allowHalfOpen: true }, (socket) => {
      this.programs.push(new HostProgram(socket));
    });
  }

  /** Listens on a path, or on a free TCP port of this host for 0. */
  static async listen(where: string | 0): Promise<HostListener> {
    const listener = new HostListener();
    await new Promise<void>((resolve, reject) => {
      listener.server.once('error', reject);
      if (where === 0) listener.server.listen(0, '127.0.0.1', resolve);
      else listener.server.listen(where, resolve);
    });
    return listener;
  }

  /** The TCP port. */
  get port(): number {
    const address = this.server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  /** Waits for the next connection. */
  async accept(): Promise<HostProgram> {
    const endMs = performance.now() + MOCK_TIMEOUT_MS;
    for (;;) {
      const program = this.programs.shift();
      if (program !== undefined) return program;
      if (performance.now() > endMs) {
        throw new VhostUserError('ERR_VHU_MOCK_TIMEOUT', 'host program: nobody has connected');
      }
      await sleep(LOOK_MS);
    }
  }

  /** Stops listening, and closes what was not accepted. */
  close(): void {
    this.server.close();
    for (const program of this.programs) program.close();
  }
}
