/**
 * The engine of every POSIX host: each call is carried out at once. Also the fastest one for an
 * image in memory, where there is nothing to wait for.
 *
 * @module
 */
import {
  blockDeviceZero,
  dataSync,
  preadv,
  punchHole,
  pwritev,
  zeroRange,
} from '../../../sys/index.ts';
import { RANGE_OP } from './engine.ts';
import type { BlkEngine, EngineImage } from './engine.ts';

/** See the module. */
export class PreadEngine implements BlkEngine {
  readonly name = 'pread';
  readonly #fd: number;
  readonly #isDevice: boolean;

  constructor(image: EngineImage) {
    this.#fd = image.fd;
    this.#isDevice = image.isDevice;
  }

  read(_slot: number, iov: number, iovCount: number, offset: number): number {
    return preadv(this.#fd, iov, iovCount, offset);
  }

  write(_slot: number, iov: number, iovCount: number, offset: number): number {
    return pwritev(this.#fd, iov, iovCount, offset);
  }

  sync(): number {
    return dataSync(this.#fd);
  }

  range(_slot: number, op: number, offset: number, lengthBytes: number): number {
    const fd = this.#fd;
    // A discarded block of a device need not read as zeroes: zeroing never discards there.
    if (this.#isDevice) {
      return blockDeviceZero(fd, offset, lengthBytes, op !== RANGE_OP.discard);
    }
    return op === RANGE_OP.zeroKeep
      ? zeroRange(fd, offset, lengthBytes)
      : punchHole(fd, offset, lengthBytes);
  }
}
