/**
 * Reads what nobody wants any more. A program of the host that is still sending has to be read from
 * until it has got what the guest left for it: it may read only when it is done with sending, and a
 * TCP socket that is closed with bytes unread answers by a reset, upon which its kernel and the
 * program's throw away what was not read there.
 *
 * @module
 */
import { ERRNO, NativeBlock, receiveMessage } from '../../sys/index.ts';
import type { MessageMarks } from '../../sys/index.ts';

const EAGAIN = -(ERRNO.EAGAIN as number);
const BYTES = 64 * 1024;
/** Reads until a socket is empty that nothing comes to any more: more than its queue ever holds. */
const EMPTY_READS_MAX = 1024;
/** Reads of one wake-up, so that a program that sends on and on holds up nobody. */
const READS_MAX = 4;

/** See the module. */
export class Lingering {
  #scratch: NativeBlock | null = null;
  readonly #marks: MessageMarks = { truncated: false, endsRecord: false, ended: false };

  /**
   * Drops what has come through a socket. Returns how many reads found something, which may be an
   * empty message; 0: there was nothing; -1: nothing more comes, after the end or an error.
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
    let found = 0;
    while (found < readsMax) {
      // As a message also from a stream, where nothing is empty but its end.
      const got = receiveMessage(fd, address, BYTES, this.#marks);
      if (got === EAGAIN) break;
      if (got < 0 || (got === 0 && this.#marks.ended)) return -1;
      found++;
    }
    return found;
  }
}
