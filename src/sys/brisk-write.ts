/**
 * Writes through the page cache where a file system cannot say whether a write would wait (ext4
 * refuses RWF_NOWAIT). A buffered write is a copy almost always, and io_uring would hand each to a
 * kernel thread, at a multiple of its cost: so it is made at once, and looked at. Once writes keep
 * the thread waiting (the kernel throttles those who write faster than the disk, a part of a page
 * has to be read first), they are refused for a while, and the caller gives them to io_uring.
 *
 * Only time that the thread slept in the call counts: one that had to give its CPU to others, or
 * that copied much, would have been as slow elsewhere. To ask for that costs half as much as a
 * small write, so it is asked only while there is a suspicion: after a call that took long.
 *
 * @module
 */
import { monotonicUs } from './clock.ts';
import { ERRNO } from './errno.ts';
import { pwritev } from './file.ts';
import * as libc from './libc.ts';
import { NativeBlock } from './native.ts';

const EAGAIN = -(ERRNO.EAGAIN as number);

/** A call that takes this long is suspected to have slept; a copy of 1 MiB takes half of it. */
const LONG_US = 500;
/** How long calls are watched after one that took long. */
const WATCH_US = 1_000_000;
/**
 * Writes are refused for so many times as long as the last one slept, so that the thread spends at
 * most a thirtieth of its time in vain; and for at least, and at most, so long.
 */
const REFUSE_FACTOR = 32;
const REFUSE_US_MIN = 100_000;
const REFUSE_US_MAX = 10_000_000;

/** getrusage(2) of the one system that has io_uring; elsewhere nobody asks. */
const RUSAGE_THREAD = 1;
/** `struct rusage` of 64-bit programs: two `struct timeval` and 14 longs; musl's has 16 more. */
const RUSAGE = { nvcsw: 128, SIZE: 272 } as const;

/** What {@link BriskWriter} is made of. */
export interface BriskWriterParts {
  /** Microseconds of a clock that never goes back. */
  readonly now: () => number;
  /** How often this thread has slept so far; see {@link threadSleeps}. */
  readonly sleeps: () => number;
  /** pwritev(2): bytes or a negative errno. */
  readonly write: (fd: number, iov: number, iovCount: number, offset: number) => number;
}

/** See the module. For one thread. */
export class BriskWriter {
  readonly #parts: BriskWriterParts;
  #watchedUntil = 0;
  #refusedUntil = 0;

  /** @param parts for tests; by default those of this host. */
  constructor(parts: Partial<BriskWriterParts> = {}) {
    this.#parts = { now: monotonicUs, sleeps: threadSleeps, write: pwritev, ...parts };
  }

  /**
   * Writes the buffers of a `struct iovec` array: bytes or -errno, and -EAGAIN, with nothing
   * written, while writes are refused.
   */
  write(fd: number, iov: number, iovCount: number, offset: number): number {
    const { now, sleeps, write } = this.#parts;
    const before = now();
    if (before < this.#refusedUntil) return EAGAIN;
    const watched = before < this.#watchedUntil;
    const sleepsBefore = watched ? sleeps() : 0;
    const result = write(fd, iov, iovCount, offset);
    const after = now();
    const tookUs = after - before;
    if (tookUs < LONG_US) return result;
    this.#watchedUntil = after + WATCH_US;
    if (watched && sleeps() !== sleepsBefore) {
      const refuseUs = Math.min(Math.max(tookUs * REFUSE_FACTOR, REFUSE_US_MIN), REFUSE_US_MAX);
      this.#refusedUntil = after + refuseUs;
      this.#watchedUntil += refuseUs; // the first one after that is watched, too
    }
    return result;
  }
}

let usage: NativeBlock | null = null;

/**
 * How often this thread has given its CPU up to wait for something (not to others that wanted to
 * run), so far; 0 always where the host does not say.
 */
export function threadSleeps(): number {
  if (libc.getrusage === null) return 0;
  usage ??= new NativeBlock(RUSAGE.SIZE);
  if (libc.getrusage(RUSAGE_THREAD, usage.address) < 0) return 0;
  return usage.view.getUint32(RUSAGE.nvcsw, true); // its low half: it is compared, not counted
}
