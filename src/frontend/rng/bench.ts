/**
 * The loop of a benchmark of random bytes: so many requests of one size in flight, over and over.
 *
 * @module
 */
import { VhostUserError, assert } from '../../util/index.ts';
import { Notifier, dupFd } from '../../sys/index.ts';
import { DriverRing, splitRingLayout } from '../../virtqueue/index.ts';
import { BenchClock } from '../bench-clock.ts';
import { LatencyHistogram } from '../latency-histogram.ts';
import type { FrontendQueue } from '../queue.ts';
import { FrontendSession } from '../session.ts';

const RNG_QUEUE = 0; // virtio 1.3, section 5.4.2
const ALIGN_BYTES = 4096;

const DEFAULTS = { depthMax: 16, blockBytesMax: 65_536, stallMs: 10_000 } as const;

/** How an {@link RngBench} is made. */
export interface RngBenchSetup {
  /** Where the back-end listens for its front-end. */
  readonly socketPath: string;
  /** The most requests in flight, a power of two; 16 by default. */
  readonly depthMax?: number;
  /** The largest request; 65536 by default. */
  readonly blockBytesMax?: number;
  /** Gives up when nothing comes back for so long; 10 s by default. */
  readonly stallMs?: number;
}

/** What {@link RngBench.run} does. */
export interface RngBenchOptions {
  /** Bytes that each request asks for. */
  readonly blockBytes: number;
  /** Requests in flight. */
  readonly depth: number;
  readonly durationMs: number;
}

/** What was measured. */
export interface RngBenchResult {
  /** Requests. */
  readonly operations: number;
  readonly seconds: number;
  readonly perSecond: number;
  /** Bytes that the device gave, in all; less than it was asked for when answers were short. */
  readonly bytes: number;
  readonly bytesPerSecond: number;
  readonly kicks: number;
  /** Microseconds from the moment when a request was made until its answer was seen. */
  readonly latencyUs: {
    readonly mean: number;
    readonly p50: number;
    readonly p99: number;
    readonly max: number;
  };
}

/**
 * Measures any vhost-user-rng back-end, from this thread, which `run` does not give back until it
 * is done. It polls, and looks at none of the bytes.
 *
 * ```ts
 * const bench = await RngBench.open({ socketPath: '/tmp/rng.sock' });
 * console.log(bench.run({ blockBytes: 64, depth: 1, durationMs: 1000 }).latencyUs.p50);
 * console.log(bench.run({ blockBytes: 4096, depth: 16, durationMs: 1000 }).bytesPerSecond);
 * await bench.close();
 * ```
 */
export class RngBench {
  readonly session: FrontendSession;
  readonly #depthMax: number;
  readonly #blockBytesMax: number;
  readonly #gpa: number;
  readonly #ring: DriverRing;
  readonly #kick: Notifier;
  readonly #clock: BenchClock;
  readonly #histogram = new LatencyHistogram();
  readonly #startedMs: Float64Array; // by slot
  #kicks = 0;

  private constructor(
    session: FrontendSession,
    queue: FrontendQueue,
    gpa: number,
    setup: Required<RngBenchSetup>,
  ) {
    this.session = session;
    this.#depthMax = setup.depthMax;
    this.#blockBytesMax = setup.blockBytesMax;
    this.#gpa = gpa;
    this.#ring = queue.ring;
    this.#ring.disableInterrupts();
    this.#kick = new Notifier(dupFd(queue.kickFd));
    this.#clock = new BenchClock(setup.stallMs, () => this.#ring.fault);
    this.#startedMs = new Float64Array(setup.depthMax);
  }

  /** Connects to the back-end. @throws VhostUserError see `FrontendSession.open` */
  static async open(options: RngBenchSetup): Promise<RngBench> {
    const setup = { ...DEFAULTS, ...options };
    const { socketPath, depthMax, blockBytesMax } = setup;
    const dataBytes = depthMax * blockBytesMax;
    const ringBytes = splitRingLayout(depthMax, 0).totalBytes;
    const memoryBytes = dataBytes + ringBytes + 3 * ALIGN_BYTES;
    const session = await FrontendSession.open({ socketPath, memoryBytes });
    try {
      const queue = await session.startQueue({ index: RNG_QUEUE, size: depthMax });
      const { gpa } = session.memory.allocate(dataBytes, ALIGN_BYTES);
      return new RngBench(session, queue, gpa, setup);
    } catch (error) {
      await session.close();
      throw error;
    }
  }

  /**
   * Runs one kind of load; before and after it nothing is in flight.
   * @throws VhostUserError `ERR_VHU_BENCH_STALLED`, `ERR_VHU_RNG_EMPTY`, or the ring's fault.
   */
  run({ blockBytes, depth, durationMs }: RngBenchOptions): RngBenchResult {
    assert(depth > 0 && depth <= this.#depthMax, 'each request has a slot');
    assert(blockBytes > 0 && blockBytes <= this.#blockBytesMax, 'a request fits its slot');
    const ring = this.#ring;
    const startedMs = this.#startedMs;
    const kicksBefore = this.#kicks;
    this.#histogram.clear();
    this.#clock.progress();
    const startMs = performance.now();
    const endMs = startMs + durationMs;
    let [nowMs, bytes, operations] = [startMs, 0, 0];
    for (let slot = 0; slot < depth; slot++) this.#submit(slot, blockBytes, nowMs);
    this.#publish();
    while (ring.inFlight > 0) {
      if (!ring.hasUsed()) {
        this.#clock.idle('random bytes are waited for');
        continue;
      }
      nowMs = performance.now();
      for (let slot = ring.take(); slot >= 0; slot = ring.take()) {
        if (ring.usedBytes === 0) throw emptyAnswer();
        this.#histogram.record((nowMs - (startedMs[slot] as number)) * 1e6);
        bytes += ring.usedBytes;
        operations++;
        if (nowMs < endMs) this.#submit(slot, blockBytes, nowMs);
      }
      this.#clock.progress();
      this.#publish();
    }
    const seconds = (nowMs - startMs) / 1000;
    return {
      operations,
      seconds,
      perSecond: operations / seconds,
      bytes,
      bytesPerSecond: bytes / seconds,
      kicks: this.#kicks - kicksBefore,
      latencyUs: {
        mean: this.#histogram.meanNs / 1000,
        p50: this.#histogram.percentileNs(50) / 1000,
        p99: this.#histogram.percentileNs(99) / 1000,
        max: this.#histogram.maxNs / 1000,
      },
    };
  }

  /** Ends the session; may be called again. */
  async close(): Promise<void> {
    this.#kick.close();
    await this.session.close();
  }

  #submit(slot: number, blockBytes: number, nowMs: number): void {
    this.#ring.stageWritable(this.#gpa + slot * this.#blockBytesMax, blockBytes);
    assert(this.#ring.add(slot), 'each slot has room in the ring');
    this.#startedMs[slot] = nowMs;
  }

  #publish(): void {
    if (!this.#ring.publish()) return;
    this.#kicks++;
    this.#kick.signal();
  }
}

function emptyAnswer(): VhostUserError {
  const text = 'benchmark: a buffer came back with no byte in it (virtio 1.3, section 5.4.6.2)';
  return new VhostUserError('ERR_VHU_RNG_EMPTY', text);
}
