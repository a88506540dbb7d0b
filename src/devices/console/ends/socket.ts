/**
 * An end that is a socket for several clients: each gets all output, and may type.
 *
 * The slowest of them sets the pace: that is what it means that none loses anything.
 *
 * @module
 */
import { lstatSync, unlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { VhostUserError, errorMessage } from '../../../util/index.ts';
import { listenUnix } from '../../../sys/index.ts';
import type { EndOptions } from '../options.ts';
import type { ConsoleEnd, EndEvents } from './end.ts';

const CLIENTS_MAX = 16;
const HOST = '127.0.0.1';

type SocketOptions = Extract<EndOptions, { kind: 'unix' | 'tcp' }>;

/** See the module. */
export class SocketEnd implements ConsoleEnd {
  readonly #options: SocketOptions;
  readonly #clients = new Set<Socket>();
  readonly #server: Server;
  readonly #writing = new Set<Socket>(); // who has not taken the bytes at hand
  #events: EndEvents | null = null;
  #done: () => void = () => undefined;
  #paused = false;
  #address = '';
  #inode = -1n;

  constructor(options: SocketOptions) {
    this.#options = options;
    this.#server = createServer((client) => this.#accept(client));
  }

  describe(): string {
    return this.#address;
  }

  get attached(): boolean {
    return this.#clients.size > 0;
  }

  /** How many are there. */
  get clientCount(): number {
    return this.#clients.size;
  }

  async open(events: EndEvents): Promise<void> {
    this.#events = events;
    const options = this.#options;
    if (options.kind === 'unix') {
      const fd = listenUnix(options.path, options); // a socket file of the dead is replaced
      this.#inode = lstatSync(options.path, { bigint: true }).ino;
      this.#address = `unix ${options.path}`;
      await this.#listen({ fd });
      return;
    }
    const { host = HOST, port } = options;
    this.#address = `tcp ${host}:${String(port)}`;
    await this.#listen({ host, port });
    const address = this.#server.address();
    if (typeof address === 'object' && address !== null) {
      this.#address = `tcp ${host}:${String(address.port)}`; // 0 asks for any
    }
  }

  write(bytes: Uint8Array, done: () => void): void {
    this.#done = done;
    for (const client of this.#clients) this.#writing.add(client);
    for (const client of [...this.#clients]) client.write(bytes, () => this.#taken(client));
  }

  pause(): void {
    this.#paused = true;
    for (const client of this.#clients) client.pause();
  }

  resume(): void {
    this.#paused = false;
    for (const client of this.#clients) client.resume();
  }

  async close(): Promise<void> {
    const options = this.#options;
    const closed = this.#server.listening
      ? new Promise((resolve) => this.#server.close(resolve))
      : null;
    if (options.kind === 'unix' && this.#inode >= 0n) removeSocket(options.path, this.#inode);
    for (const client of this.#clients) client.destroy();
    await closed;
  }

  #listen(where: { fd: number } | { host: string; port: number }): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', (error) => {
        const text = `${this.#address}: ${errorMessage(error)}`;
        reject(new VhostUserError('ERR_VHU_CONSOLE_END', text, { cause: error }));
      });
      this.#server.listen(where, () => {
        this.#server.removeAllListeners('error').on('error', (error) => {
          this.#events?.log('warn', `${this.#address}: ${errorMessage(error)}`);
        });
        resolve();
      });
    });
  }

  #accept(client: Socket): void {
    const limit = this.#options.clientsMax ?? CLIENTS_MAX;
    if (this.#clients.size >= limit) {
      this.#events?.log('warn', `${this.#address}: ${String(limit)} clients are there already`);
      client.destroy();
      return;
    }
    this.#clients.add(client);
    client.setNoDelay();
    client.on('data', (bytes) => this.#events?.input(bytes));
    client.on('error', () => undefined); // `close` follows
    client.on('close', () => this.#gone(client));
    if (this.#paused) client.pause();
    this.#say('has come');
    if (this.#clients.size === 1) this.#events?.attachedChanged();
  }

  #gone(client: Socket): void {
    this.#clients.delete(client);
    this.#taken(client);
    this.#say('has gone');
    if (this.#clients.size === 0) this.#events?.attachedChanged();
  }

  #say(what: string): void {
    const count = this.#clients.size;
    const rest = count === 1 ? '1 is there' : `${String(count)} are there`;
    this.#events?.log('info', `${this.#address}: a client ${what}, ${rest}`);
  }

  #taken(client: Socket): void {
    if (!this.#writing.delete(client) || this.#writing.size > 0) return;
    this.#done();
  }
}

/** Removes our socket file, and not one that somebody else has put in its place. */
function removeSocket(path: string, inode: bigint): void {
  try {
    if (lstatSync(path, { bigint: true }).ino === inode) unlinkSync(path);
  } catch {
    // It is gone already.
  }
}
