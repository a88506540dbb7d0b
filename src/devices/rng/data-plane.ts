/**
 * Serves the queue of an entropy device, on the event loop.
 *
 * A chain is taken when there are bytes for it, and answered at once: until then it waits in its
 * ring, where the guest may have as many as it likes. So nothing is ever in flight here, and a ring
 * can be stopped at any moment. What is waited for, a period of the rate limit or bytes of a file,
 * ends by a timer or a read.
 *
 * @module
 */
import { randomFillSync } from 'node:crypto';
import { COUNTER } from '../../backend/index.ts';
import type { DataPlane, DataPlaneContext, ReactorTimer } from '../../backend/index.ts';
import { NativeBlock } from '../../sys/index.ts';
import type { VhostUserError } from '../../util/index.ts';
import type { Chain, Virtqueue } from '../../virtqueue/index.ts';
import type { RngFile } from './file.ts';
import { RateLimit } from './rate-limit.ts';

/** The longest answer; a chain with more room is not filled up (section 5.4.6.2 allows that). */
const ANSWER_BYTES_MAX = 65_536;

/** A round holds the event loop for a millisecond or two, whatever the guest asks for. */
const ROUND_BYTES_MAX = 4 * ANSWER_BYTES_MAX;

/** Drawn at once from the host's generator, for the small requests that Linux makes. */
const BATCH_BYTES = 4096;

/**
 * What is read from a file at once: little at first and from slow devices, so that a guest gets
 * what there is; more and more while it comes quickly.
 */
const READ_BYTES_MIN = 64;
const QUICK_READ_MS = 2;
const SLOW_READ_MS = 50;

/** How long to wait for a file that has nothing now: longer and longer. */
const RETRY_MS_MIN = 5;
const RETRY_MS_MAX = 1000;

const ERROR_LINES_MAX = 20;

/** What a data plane is made from. */
export interface RngPlaneOptions {
  /** Borrowed; null is the host's generator. */
  readonly file: RngFile | null;
  /** Null: as much as the guest wants. */
  readonly limit: RateLimit | null;
}

/** See the module. */
export class RngDataPlane implements DataPlane {
  readonly #context: DataPlaneContext;
  readonly #file: RngFile | null;
  readonly #limit: RateLimit | null;
  readonly #pool = new NativeBlock(ANSWER_BYTES_MAX);
  #start = 0; // of the bytes in the pool that nobody has been given
  #end = 0;
  #roundBytes = 0;
  #readBytes = READ_BYTES_MIN;
  #isReading = false;
  #timer: ReactorTimer | null = null;
  #retryMs = RETRY_MS_MIN;
  #isDry = false; // the log says so
  #errorLines = 0;
  #closed = false;

  constructor(context: DataPlaneContext, options: RngPlaneOptions) {
    this.#context = context;
    this.#file = options.file;
    this.#limit = options.limit;
  }

  serve(queue: Virtqueue, budget: number): number {
    let taken = 0;
    while (taken < budget && this.#roundBytes < ROUND_BYTES_MAX) {
      const bytesMax = this.#bytesReady(queue);
      if (bytesMax === 0) break;
      const chain = queue.pop();
      if (chain === null) break;
      taken++;
      this.#answer(queue, chain, bytesMax);
    }
    return taken;
  }

  full(): boolean {
    return this.#isReading || this.#timer !== null;
  }

  submit(): number {
    this.#roundBytes = 0;
    return 0;
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    if (!this.#isReading) this.#pool.free();
  }

  /** The longest answer to the next chain; 0 when it has to wait, and what ends that is begun. */
  #bytesReady(queue: Virtqueue): number {
    if (this.full()) return 0;
    let bytesMax = ANSWER_BYTES_MAX;
    if (this.#limit !== null) {
      const nowMs = performance.now();
      bytesMax = Math.min(bytesMax, this.#limit.available(nowMs));
      if (bytesMax === 0) {
        if (queue.hasAvailable()) this.#wait(this.#limit.waitMs(nowMs));
        return 0;
      }
    }
    const file = this.#file;
    if (file === null) return bytesMax;
    const stock = this.#end - this.#start;
    // No more is read than may go out: the limit may be there to spare the device.
    if (stock === 0 && queue.hasAvailable()) this.#read(file, Math.min(this.#readBytes, bytesMax));
    return Math.min(stock, bytesMax);
  }

  #answer(queue: Virtqueue, chain: Chain, bytesMax: number): void {
    const { counters } = this.#context;
    const count = Math.min(chain.writableBytes, bytesMax);
    bump(counters, COUNTER.requests, 1);
    // Section 5.4.6.1: a driver offers buffers to be written to, and no others.
    if (count === 0 || chain.readableBytes > 0) bump(counters, COUNTER.guestFaults, 1);
    if (this.#file === null && this.#end - this.#start < count) this.#draw(count);
    const pool = this.#pool;
    chain.copyIn(0, pool, this.#start, count);
    pool.bytes.fill(0, this.#start, this.#start + count); // nobody else is to find it here
    this.#start += count;
    this.#roundBytes += count;
    this.#limit?.spend(count, performance.now());
    bump(counters, COUNTER.bytesRead, count);
    queue.push(chain, count);
  }

  /** Fills the pool from the host's generator. */
  #draw(count: number): void {
    this.#start = 0;
    this.#end = Math.max(count, BATCH_BYTES);
    randomFillSync(this.#pool.bytes, 0, this.#end);
  }

  #read(file: RngFile, lengthBytes: number): void {
    const askedMs = performance.now();
    this.#isReading = true;
    file.read(this.#pool.bytes, lengthBytes, (count, error) => {
      this.#isReading = false;
      if (this.#closed) {
        this.#pool.free();
        return;
      }
      if (count === 0) {
        this.#runDry(file, error);
        return;
      }
      this.#start = 0;
      this.#end = count;
      this.#isDry = false;
      this.#retryMs = RETRY_MS_MIN;
      this.#adapt(count === lengthBytes, performance.now() - askedMs);
      this.#context.flush();
    });
  }

  /** Decides how much the next read asks for. */
  #adapt(wasFull: boolean, tookMs: number): void {
    if (wasFull && tookMs < QUICK_READ_MS) {
      this.#readBytes = Math.min(2 * this.#readBytes, ANSWER_BYTES_MAX);
    } else if (tookMs > SLOW_READ_MS) {
      this.#readBytes = Math.max(this.#readBytes >> 1, READ_BYTES_MIN);
    }
  }

  /** The file has nothing now, and may have something later. */
  #runDry(file: RngFile, error: VhostUserError | null): void {
    const { counters } = this.#context;
    if (error !== null) {
      bump(counters, COUNTER.ioErrors, 1);
      this.#errorLines++;
      if (this.#errorLines <= ERROR_LINES_MAX) {
        this.#context.log('error', `${error.message}; the guest waits, and it is tried again`);
      }
    } else if (!this.#isDry) {
      this.#isDry = true;
      this.#context.log('warn', `${file.path} has no more bytes: the guest waits until it has`);
    }
    this.#wait(this.#retryMs);
    this.#retryMs = Math.min(2 * this.#retryMs, RETRY_MS_MAX);
  }

  #wait(ms: number): void {
    this.#timer = this.#context.reactor.after(ms, () => {
      this.#timer = null;
      this.#context.flush();
    });
  }
}

function bump(counters: Float64Array, slot: number, by: number): void {
  counters[slot] = (counters[slot] as number) + by;
}
