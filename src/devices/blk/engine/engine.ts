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

/** The image as an engine needs it. Plain data. */
export interface EngineImage {
  readonly fd: number;
  readonly isDevice: boolean;
  /** It lives in memory: nothing ever waits for a device. */
  readonly inMemory: boolean;
}

/**
 * One engine of one thread. Each call returns bytes or a negative errno, or {@link PENDING}: then
 * the result comes to the receiver that the engine was made with, under the request's slot.
 */
export interface BlkEngine {
  readonly name: string;
  /** Reads into the buffers of a `struct iovec` array, which stays until the result is there. */
  read(slot: number, iov: number, iovCount: number, offset: number): number;
  write(slot: number, iov: number, iovCount: number, offset: number): number;
  /** Makes written data durable. */
  sync(slot: number): number;
  /** Discards or zeroes a range of the image; 0, or -EOPNOTSUPP where that cannot be done. */
  range(slot: number, op: number, offset: number, lengthBytes: number): number;
}
