/**
 * How a disk's requests reach its image.
 *
 * @module
 */

/** What a call returns when the result comes later, to the receiver of the engine's maker. */
export const PENDING = -0x7fff_ffff;

/** Bytes of a `struct iovec`. */
export const IOVEC_BYTES = 16;

/** What a range of the image is to become. */
export const RANGE_OP = {
  /** Its content is not needed any more. */
  discard: 0,
  /** Zeroes; its space may be given back. */
  zeroUnmap: 1,
  /** Zeroes, and its space stays. */
  zeroKeep: 2,
} as const;

/**
 * One engine of one thread. Each call returns bytes or a negative errno, or {@link PENDING}: then the
 * result comes to the receiver that the engine was made with, under the request's slot.
 */
export interface BlkEngine {
  readonly name: 'io_uring' | 'pread';
  /** Reads into one buffer. */
  read(slot: number, fd: number, address: number, lengthBytes: number, offset: number): number;
  write(slot: number, fd: number, address: number, lengthBytes: number, offset: number): number;
  /** Reads into the buffers of a `struct iovec` array, which stays until the result is there. */
  readv(slot: number, fd: number, iov: number, iovCount: number, offset: number): number;
  writev(slot: number, fd: number, iov: number, iovCount: number, offset: number): number;
  /** Makes written data durable. */
  sync(slot: number, fd: number): number;
  /** Discards or zeroes a range of a file; returns 0, or -EOPNOTSUPP where it cannot. */
  range(slot: number, fd: number, op: number, offset: number, lengthBytes: number): number;
}
