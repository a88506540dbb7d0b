/**
 * The engine over io_uring: requests are collected, and handed over together at the end of a round.
 *
 * @module
 */
import { assert } from '../../../util/index.ts';
import type { Uring } from '../../../sys/index.ts';
import { PENDING, RANGE_OP } from './engine.ts';
import type { BlkEngine } from './engine.ts';
import { deviceRange } from './pread.ts';

/** fallocate(2)'s modes, on the one system that has io_uring. */
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const FALLOC_FL_ZERO_RANGE = 16;

const ROOM = 'the submission queue has room after it was submitted';

/** See the module. A request's `userData` is `base + slot`. */
export class UringEngine implements BlkEngine {
  readonly name = 'io_uring';
  readonly #uring: Uring;
  readonly #base: number;
  readonly #isDevice: boolean;

  constructor(uring: Uring, base: number, isDevice: boolean) {
    this.#uring = uring;
    this.#base = base;
    this.#isDevice = isDevice;
  }

  read(slot: number, fd: number, address: number, lengthBytes: number, offset: number): number {
    const uring = this.#uring;
    if (!uring.prepRead(fd, address, lengthBytes, offset, this.#base + slot)) {
      uring.submit();
      assert(uring.prepRead(fd, address, lengthBytes, offset, this.#base + slot), ROOM);
    }
    return PENDING;
  }

  write(slot: number, fd: number, address: number, lengthBytes: number, offset: number): number {
    const uring = this.#uring;
    if (!uring.prepWrite(fd, address, lengthBytes, offset, this.#base + slot)) {
      uring.submit();
      assert(uring.prepWrite(fd, address, lengthBytes, offset, this.#base + slot), ROOM);
    }
    return PENDING;
  }

  readv(slot: number, fd: number, iov: number, iovCount: number, offset: number): number {
    const uring = this.#uring;
    if (!uring.prepReadv(fd, iov, iovCount, offset, this.#base + slot)) {
      uring.submit();
      assert(uring.prepReadv(fd, iov, iovCount, offset, this.#base + slot), ROOM);
    }
    return PENDING;
  }

  writev(slot: number, fd: number, iov: number, iovCount: number, offset: number): number {
    const uring = this.#uring;
    if (!uring.prepWritev(fd, iov, iovCount, offset, this.#base + slot)) {
      uring.submit();
      assert(uring.prepWritev(fd, iov, iovCount, offset, this.#base + slot), ROOM);
    }
    return PENDING;
  }

  sync(slot: number, fd: number): number {
    const uring = this.#uring;
    if (!uring.prepFsync(fd, true, this.#base + slot)) {
      uring.submit();
      assert(uring.prepFsync(fd, true, this.#base + slot), ROOM);
    }
    return PENDING;
  }

  range(slot: number, fd: number, op: number, offset: number, lengthBytes: number): number {
    if (this.#isDevice) return deviceRange(fd, op, offset, lengthBytes);
    const keep = op === RANGE_OP.zeroKeep;
    const mode = FALLOC_FL_KEEP_SIZE | (keep ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE);
    const uring = this.#uring;
    if (!uring.prepFallocate(fd, mode, offset, lengthBytes, this.#base + slot)) {
      uring.submit();
      assert(uring.prepFallocate(fd, mode, offset, lengthBytes, this.#base + slot), ROOM);
    }
    return PENDING;
  }
}
