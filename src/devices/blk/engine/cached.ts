/**
 * The engine for images that the page cache holds in part: what is there is moved at once, which
 * costs a fifth of a request that goes through io_uring; what is not goes through io_uring.
 *
 * @module
 */
import { BriskWriter, ERRNO, preadvCached, pwritevCached } from '../../../sys/index.ts';
import type { Uring } from '../../../sys/index.ts';
import type { EngineImage } from './engine.ts';
import { UringEngine } from './uring.ts';

const EAGAIN = -(ERRNO.EAGAIN as number);
const EOPNOTSUPP = -(ERRNO.EOPNOTSUPP as number);

/**
 * After a miss the next tries are left out, twice as many after each further miss in a row: an
 * image that is not cached costs one vain call in so many.
 */
const SKIP_MAX = 64;

/** Which tries are worth making, for one direction. */
interface Tries {
  /** Requests that go to io_uring before the next try. */
  skip: number;
  /** How many to skip after the next miss. */
  nextSkip: number;
}

/** See the module. */
export class CachedEngine extends UringEngine {
  override readonly name = 'io_uring, page cache first';
  readonly #fd: number;
  readonly #reads: Tries = { skip: 0, nextSkip: 1 };
  readonly #writes: Tries = { skip: 0, nextSkip: 1 };
  /** For a file system that cannot tell of a write whether it would wait: ext4. */
  readonly #brisk: BriskWriter;
  #canTellWrites = true;

  constructor(
    image: EngineImage,
    uring: Uring,
    base: number,
    brisk: BriskWriter = new BriskWriter(),
  ) {
    super(image, uring, base);
    this.#fd = image.fd;
    this.#brisk = brisk;
  }

  override read(slot: number, iov: number, iovCount: number, offset: number): number {
    if (worthTrying(this.#reads)) {
      const result = preadvCached(this.#fd, iov, iovCount, offset);
      if (result > 0) return hit(this.#reads, result);
      miss(this.#reads, result);
    }
    return super.read(slot, iov, iovCount, offset);
  }

  override write(slot: number, iov: number, iovCount: number, offset: number): number {
    if (this.#canTellWrites && worthTrying(this.#writes)) {
      const result = pwritevCached(this.#fd, iov, iovCount, offset);
      if (result > 0) return hit(this.#writes, result);
      if (result === EOPNOTSUPP) this.#canTellWrites = false;
      else miss(this.#writes, result);
    }
    if (!this.#canTellWrites) {
      const result = this.#brisk.write(this.#fd, iov, iovCount, offset);
      if (result !== EAGAIN) return result;
    }
    return super.write(slot, iov, iovCount, offset);
  }
}

function worthTrying(tries: Tries): boolean {
  if (tries.skip === 0) return true;
  tries.skip--;
  return false;
}

function hit(tries: Tries, result: number): number {
  tries.nextSkip = 1;
  return result;
}

function miss(tries: Tries, result: number): void {
  if (result === EOPNOTSUPP) {
    tries.skip = Infinity; // this file system cannot tell
  } else if (result === EAGAIN) {
    tries.skip = tries.nextSkip;
    tries.nextSkip = Math.min(tries.nextSkip * 2, SKIP_MAX);
  }
}
