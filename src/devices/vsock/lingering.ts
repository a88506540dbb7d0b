/**
 * Reads what nobody wants any more. A program of the host that is still sending has to be read from
 * until it has got what the guest left for it: it may read only when it is done with sending, and a
 * TCP socket that is closed with bytes unread answers by a reset, upon which its kernel and the
 * program's throw away what was not read there.
 *
 * @module
 */
import { ERRNO, NativeBlock, receive } from '../../sys/index.ts';

const EAGAIN = -(ERRNO.EAGAIN as number);
const BYTES = 64 * 1024;
/** Reads until a socket is empty that nothing comes to any more: more than its queue ever holds. */
const EMPTY_READS_MAX = 1024;
/** Reads of one wake-up, so that a program that sends on and on holds up nobody. */
const READS_MAX = 4;

/** See the module. */
export class Lingering {
  #scratch: NativeBlock | null = null;

  /**
   * Drops what has come through a socket. Returns how many bytes; 0: there was nothing; -1: nothing
   * more comes, after the end of the stream or an error.
   */
  drop(fd: number): number {
    return this.#read(fd, READS_MAX);
  }

  /** Drops all that is in a socket to which nothing comes any more. */
  empty(fd: number): void {
    this.#read(fd, EMPTY_READS_MAX);
  }

  /** Frees its memory. */
  close(): void {
    this.#scratch?.free();
    this.#scratch = null;
  }

  #read(fd: number, readsMax: number): number {
    const { address } = (this.#scratch ??= new NativeBlock(BYTES));
    let dropped = 0;
    for (let reads = 0; reads < readsMax; reads++) {
      const got = receive(fd, address, BYTES);
      if (got === EAGAIN) break;
      if (got <= 0) return -1;
      dropped += got;
    }
    return dropped;
  }
}
