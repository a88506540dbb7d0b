/**
 * Direct I/O for buffers that are not aligned as it wants them: through memory of our own, at once.
 * Rare: drivers align their buffers.
 *
 * @module
 */
import { ERRNO, mapAnonymous, pread, pwrite, viewMemory } from '../../sys/index.ts';
import type { Mapping } from '../../sys/index.ts';
import type { Chain } from '../../virtqueue/index.ts';

const BOUNCE_BYTES = 256 * 1024;
const EINTR = -(ERRNO.EINTR as number);
const EIO = -(ERRNO.EIO as number);
const ATTEMPTS_MAX = 1000;

/** Zeroes to write from; touched by nobody else. */
let zeroes: Mapping | null = null;

/** What direct I/O needs. Plain data. */
export interface DirectIo {
  /** What offsets, lengths and addresses have to be a multiple of. */
  readonly alignBytes: number;
  /** The image through the page cache, for what is not aligned in it. */
  readonly bufferedFd: number;
}

/** See the module. Owns its buffer. */
export class Bounce {
  readonly #fd: number;
  readonly #bufferedFd: number;
  readonly #alignBytes: number;
  readonly #memory: Mapping = mapAnonymous(BOUNCE_BYTES);
  readonly #bytes: Uint8Array;

  constructor(fd: number, options: DirectIo) {
    this.#fd = fd;
    this.#bufferedFd = options.bufferedFd;
    this.#alignBytes = options.alignBytes;
    this.#bytes = new Uint8Array(viewMemory(this.#memory.address, BOUNCE_BYTES));
  }

  /**
   * Moves up to one buffer's worth, after `skip` bytes of the chain's readable or writable part.
   * Returns bytes or -errno. What is not aligned in the image goes through the page cache.
   */
  transfer(chain: Chain, write: boolean, skip: number, offset: number, rest: number): number {
    const count = Math.min(rest, BOUNCE_BYTES);
    const whole = offset % this.#alignBytes === 0 && count % this.#alignBytes === 0;
    const fd = whole ? this.#fd : this.#bufferedFd;
    const bytes = this.#bytes.subarray(0, count);
    if (write) {
      chain.copyFromReadable(skip, bytes);
      return pwrite(fd, this.#memory.address, count, offset);
    }
    const got = pread(fd, this.#memory.address, count, offset);
    if (got > 0) chain.copyToWritable(skip, bytes.subarray(0, got));
    return got;
  }

  close(): void {
    this.#memory.unmap();
  }
}

/** Writes zeroes to a range of a file; 0 or -errno. */
export function writeZeroes(fd: number, offset: number, lengthBytes: number): number {
  zeroes ??= mapAnonymous(BOUNCE_BYTES);
  let attempts = 0;
  for (let done = 0; done < lengthBytes;) {
    const count = Math.min(BOUNCE_BYTES, lengthBytes - done);
    const written = pwrite(fd, zeroes.address, count, offset + done);
    if (written === EINTR && ++attempts < ATTEMPTS_MAX) continue;
    if (written < 0) return written;
    if (written === 0) return EIO; // it cannot be, and the loop ends all the same
    done += written;
  }
  return 0;
}
