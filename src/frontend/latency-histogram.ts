/**
 * Latencies of very many requests in very little memory, without allocation.
 *
 * @module
 */

/**
 * Each power of two has 32 buckets, so a bucket is at most 3.2 % wide; below 64 ns each nanosecond
 * has its own. Buckets up to 2^36 ns (68 s); anything longer counts as that.
 */
const SUB_BITS = 5;
const SUB_COUNT = 2 ** SUB_BITS;
const EXPONENT_MAX = 36;
const BUCKETS = (EXPONENT_MAX - SUB_BITS + 1) * SUB_COUNT;

/** A histogram of nanoseconds, log-linear. */
export class LatencyHistogram {
  /** How many were recorded. */
  count = 0;
  /** The longest, in nanoseconds, exactly. */
  maxNs = 0;
  #sumNs = 0;
  readonly #buckets = new Uint32Array(BUCKETS);

  /** Counts one latency. */
  record(ns: number): void {
    this.count++;
    this.#sumNs += ns;
    if (ns > this.maxNs) this.maxNs = ns;
    const at = bucketOf(ns);
    this.#buckets[at] = (this.#buckets[at] as number) + 1;
  }

  /** The mean in nanoseconds, exactly; 0 when nothing was recorded. */
  get meanNs(): number {
    return this.count === 0 ? 0 : this.#sumNs / this.count;
  }

  /**
   * The latency in nanoseconds that `percent` (0 to 100) of the requests did not exceed, +3.2 %.
   */
  percentileNs(percent: number): number {
    const rank = Math.max(1, Math.ceil((percent / 100) * this.count));
    let seen = 0;
    for (let at = 0; at < BUCKETS; at++) {
      seen += this.#buckets[at] as number;
      if (seen >= rank) return Math.min(topOf(at), this.maxNs);
    }
    return this.maxNs;
  }

  /**
   * The middle latency in nanoseconds: within a bucket by its rank there, so that two loads are
   * told apart that differ by less than the width of a bucket. 0 when nothing was recorded.
   */
  get medianNs(): number {
    const rank = this.count / 2;
    let before = 0;
    for (let at = 0; at < BUCKETS; at++) {
      const here = this.#buckets[at] as number;
      if (here > 0 && before + here >= rank) {
        const from = at === 0 ? 0 : topOf(at - 1);
        const top = Math.min(topOf(at), this.maxNs);
        return from + (top - from) * ((rank - before) / here);
      }
      before += here;
    }
    return 0;
  }

  /** Adds what another histogram holds. */
  add(other: LatencyHistogram): void {
    for (let at = 0; at < BUCKETS; at++) {
      this.#buckets[at] = (this.#buckets[at] as number) + (other.#buckets[at] as number);
    }
    this.count += other.count;
    this.#sumNs += other.#sumNs;
    this.maxNs = Math.max(this.maxNs, other.maxNs);
  }

  /** Forgets everything. */
  clear(): void {
    this.#buckets.fill(0);
    this.count = 0;
    this.maxNs = 0;
    this.#sumNs = 0;
  }
}

function bucketOf(ns: number): number {
  if (ns < SUB_COUNT) return Math.max(0, Math.floor(ns));
  const whole = Math.min(Math.floor(ns), 2 ** 31 - 1);
  if (ns >= 2 ** 31) return bucketOfLong(ns);
  const exponent = 31 - Math.clz32(whole);
  return (exponent - SUB_BITS + 1) * SUB_COUNT + ((whole >>> (exponent - SUB_BITS)) - SUB_COUNT);
}

/** From 2.1 s on a number has more than 31 bits. */
function bucketOfLong(ns: number): number {
  const exponent = Math.floor(Math.log2(ns));
  if (exponent >= EXPONENT_MAX) return BUCKETS - 1;
  const sub = Math.floor(ns / 2 ** (exponent - SUB_BITS)) - SUB_COUNT;
  return (exponent - SUB_BITS + 1) * SUB_COUNT + sub;
}

/** The largest number of nanoseconds in a bucket. */
function topOf(at: number): number {
  if (at < SUB_COUNT) return at;
  const exponent = Math.floor(at / SUB_COUNT) + SUB_BITS - 1;
  const sub = (at % SUB_COUNT) + SUB_COUNT;
  return (sub + 1) * 2 ** (exponent - SUB_BITS) - 1;
}
