/**
 * The engine over io_uring: requests are collected, and handed over together at the end of a round.
 *
 * @module
 */
import { ERRNO, blockDeviceZero } from '../../../sys/index.ts';
import type { Uring } from '../../../sys/index.ts';
import { PENDING, RANGE_OP } from './engine.ts';
import type { BlkEngine, EngineImage } from './engine.ts';

/** fallocate(2)'s modes, on the one system that has io_uring. */
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const FALLOC_FL_ZERO_RANGE = 16;

/**
 * For a submission queue that is full after it was submitted too: the kernel is short of memory, or
 * wants its completions to be taken first.
 */
const EAGAIN = -(ERRNO.EAGAIN as number);

/** See the module. A request's `userData` is `base + slot`. */
export class UringEngine implements BlkEngine {
  readonly name: string = 'io_uring';
  readonly #uring: Uring;
  readonly #base: number;
  readonly #fd: number;
  readonly #isDevice: boolean;

  constructor(image: EngineImage, uring: Uring, base: number) {
    this.#uring = uring;
    this.#base = base;
    this.#fd = image.fd;
    this.#isDevice = image.isDevice;
  }

  read(slot: number, iov: number, iovCount: number, offset: number): number {
    const uring = this.#uring;
    if (!uring.prepReadv(this.#fd, iov, iovCount, offset, this.#base + slot)) {
      uring.submit();
      if (!uring.prepReadv(this.#fd, iov, iovCount, offset, this.#base + slot)) return EAGAIN;
    }
    return PENDING;
  }

  write(slot: number, iov: number, iovCount: number, offset: number): number {
    const uring = this.#uring;
    if (!uring.prepWritev(this.#fd, iov, iovCount, offset, this.#base + slot)) {
      uring.submit();
      if (!uring.prepWritev(this.#fd, iov, iovCount, offset, this.#base + slot)) return EAGAIN;
    }
    return PENDING;
  }

  sync(slot: number): number {
    const uring = this.#uring;
    if (!uring.prepFsync(this.#fd, true, this.#base + slot)) {
      uring.submit();
      if (!uring.prepFsync(this.#fd, true, this.#base + slot)) return EAGAIN;
    }
    return PENDING;
  }

  range(slot: number, op: number, offset: number, lengthBytes: number): number {
    if (this.#isDevice) {
      return blockDeviceZero(this.#fd, offset, lengthBytes, op !== RANGE_OP.discard);
    }
    const keep = op === RANGE_OP.zeroKeep;
    const mode = FALLOC_FL_KEEP_SIZE | (keep ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE);
    const uring = this.#uring;
    if (!uring.prepFallocate(this.#fd, mode, offset, lengthBytes, this.#base + slot)) {
      uring.submit();
      if (!uring.prepFallocate(this.#fd, mode, offset, lengthBytes, this.#base + slot))
        return EAGAIN;
    }
    return PENDING;
  }
}
