/**
 * The host's end of a benchmark of consoles: clients of the device's socket, which neither sleep
 * nor allocate.
 *
 * @module
 */
import { VhostUserError } from '../../util/index.ts';
import {
  ERRNO,
  NativeBlock,
  closeFd,
  connectSocket,
  openSocket,
  receive,
  send,
} from '../../sys/index.ts';

const SCRATCH_BYTES = 128 * 1024;
const EAGAIN = -(ERRNO.EAGAIN as number);
const EINPROGRESS = -(ERRNO.EINPROGRESS as number);

/** Where the other end of a console listens for its clients; a host is an address in digits. */
export type ConsoleBenchAddress =
  | { readonly family: 'unix'; readonly path: string }
  | { readonly family: 'inet'; readonly host: string; readonly port: number };

/** See the module. */
export class BenchHosts {
  readonly #address: ConsoleBenchAddress;
  readonly #input = new NativeBlock(SCRATCH_BYTES);
  readonly #output = new NativeBlock(SCRATCH_BYTES);
  readonly #fds: number[] = [];
  #received = new Float64Array(0); // by client
  #lastByte = new Int16Array(0); // by client; -1: none yet

  constructor(address: ConsoleBenchAddress) {
    this.#address = address;
  }

  /** How many there are. */
  get count(): number {
    return this.#fds.length;
  }

  /** Bytes that every client has received, since `clear`. */
  get leastReceived(): number {
    let least = Infinity;
    for (const bytes of this.#received) least = Math.min(least, bytes);
    return least;
  }

  /** Whether the last byte that each client has received is this one. */
  allEndWith(byte: number): boolean {
    for (const last of this.#lastByte) if (last !== byte) return false;
    return true;
  }

  /**
   * Connects so many anew.
   * @throws VhostUserError `ERR_VHU_CONSOLE_BENCH` when nobody listens
   */
  connect(count: number): void {
    this.disconnect();
    while (this.#fds.length < count) {
      const fd = openSocket(this.#address, 'stream');
      if (fd < 0) throw benchError(`no socket (errno ${String(-fd)})`);
      this.#fds.push(fd);
      const result = connectSocket(fd, this.#address);
      if (result < 0 && result !== EINPROGRESS) {
        throw benchError(`nobody listens for clients of the console (errno ${String(-result)})`);
      }
    }
    this.#received = new Float64Array(count);
    this.#lastByte = new Int16Array(count).fill(-1);
  }

  /** What was received before counts no more. */
  clear(): void {
    this.#received.fill(0);
  }

  /** One client types up to so many bytes; how many went, 0 when its socket is full. */
  send(client: number, bytes: number): number {
    const count = send(this.#fds[client] as number, this.#output.address, bytes);
    if (count >= 0) return count;
    if (count === EAGAIN) return 0;
    throw benchError(`a client cannot send (errno ${String(-count)})`);
  }

  /** All clients take what there is; bytes of all of them together, 0 when there is nothing. */
  receive(): number {
    let all = 0;
    for (let client = 0; client < this.#fds.length; client++) {
      const count = receive(this.#fds[client] as number, this.#input.address, SCRATCH_BYTES);
      if (count > 0) {
        this.#received[client] = (this.#received[client] as number) + count;
        this.#lastByte[client] = this.#input.bytes[count - 1] as number;
        all += count;
      } else if (count !== EAGAIN) {
        throw benchError(`a client was hung up on (errno ${String(-count)})`);
      }
    }
    return all;
  }

  /** Goes away; others may come later. */
  disconnect(): void {
    for (const fd of this.#fds.splice(0)) closeFd(fd);
  }

  /** Gives everything back. */
  close(): void {
    this.disconnect();
    this.#input.free();
    this.#output.free();
  }
}

/** What went wrong, in words. */
export function benchError(text: string): VhostUserError {
  return new VhostUserError('ERR_VHU_CONSOLE_BENCH', `benchmark: ${text}`);
}
