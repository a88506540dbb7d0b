/**
 * The loop of a block benchmark: keeps queues full of requests of one kind and measures.
 *
 * @module
 */
import { VhostUserError, assert } from '../../util/index.ts';
import { LatencyHistogram } from '../latency-histogram.ts';
import { BLK_STATUS, BLK_TYPE, SECTOR_BYTES } from './layout.ts';
import type { BlkPoller } from './poller.ts';

/** What {@link runBlkBench} does. */
export interface BlkBenchOptions {
  readonly op: 'read' | 'write';
  readonly order: 'sequential' | 'random';
  /** Bytes of each request: a multiple of 512, not more than the pollers' buffers. */
  readonly blockBytes: number;
  /** Requests in flight on each queue; not more than its slots. */
  readonly depth: number;
  /** Ends after so many requests … */
  readonly requests?: number;
  /** … or after so much time, whichever is first. One of the two is needed. */
  readonly durationMs?: number;
  /** Requests go to offsets below this. */
  readonly capacityBytes: number;
  /** Of the random order; the same seed gives the same offsets. */
  readonly seed?: number;
  /** Gives up when nothing comes back for so long. */
  readonly stallMs?: number;
}

/** What was measured. */
export interface BlkBenchResult {
  readonly requests: number;
  readonly seconds: number;
  readonly iops: number;
  readonly bytesPerSecond: number;
  /** Requests whose status was not OK. */
  readonly errors: number;
  readonly kicks: number;
  /** Microseconds from submission to its being seen. */
  readonly latencyUs: {
    readonly mean: number;
    readonly p50: number;
    readonly p90: number;
    readonly p99: number;
    readonly p999: number;
    readonly max: number;
  };
}

const STALL_MS = 10_000;
const SPINS_PER_CLOCK = 4096; // looks at a ring between two looks at the clock, while nothing comes

/**
 * Runs requests on all pollers from this thread, which it does not give back until it is done, and
 * returns what it measured. Before the first request and after the last one nothing is in flight.
 *
 * @throws VhostUserError `ERR_VHU_BENCH_STALLED` when nothing comes back any more (the back-end may
 *   have died), or the code of the ring's fault.
 */
export function runBlkBench(
  pollers: readonly BlkPoller[],
  options: BlkBenchOptions,
): BlkBenchResult {
  const run = new BenchRun(pollers, options);
  run.loop();
  return run.result();
}

/** Requests of one queue. */
interface Lane {
  readonly poller: BlkPoller;
  readonly startedNs: Float64Array; // by slot
  readonly idle: Int32Array; // a stack of idle slots
  idleCount: number;
  readonly onDone: (slot: number, status: number) => void;
}

class BenchRun {
  readonly #options: BlkBenchOptions;
  readonly #lanes: readonly Lane[];
  readonly #histogram = new LatencyHistogram();
  readonly #type: number;
  readonly #blocks: number; // in the capacity
  readonly #limit: number; // requests
  readonly #startNs: number;
  readonly #endNs: number;
  readonly #kicksBefore: number;
  #nowNs: number;
  #submitted = 0;
  #completed = 0;
  #errors = 0;
  #random: number;
  #lastNs: number; // something came back

  constructor(pollers: readonly BlkPoller[], options: BlkBenchOptions) {
    checkOptions(pollers, options);
    this.#options = options;
    this.#type = options.op === 'read' ? BLK_TYPE.IN : BLK_TYPE.OUT;
    this.#blocks = Math.floor(options.capacityBytes / options.blockBytes);
    this.#limit = options.requests ?? Infinity;
    this.#random = (options.seed ?? 1) | 1;
    this.#lanes = pollers.map((poller) => this.#lane(poller));
    this.#kicksBefore = this.#kicks();
    this.#nowNs = performance.now() * 1e6;
    this.#startNs = this.#nowNs;
    this.#lastNs = this.#nowNs;
    this.#endNs = this.#startNs + (options.durationMs ?? Infinity) * 1e6;
  }

  /** Goes round the lanes until everything that was submitted is back and no more is to be. */
  loop(): void {
    let idleRounds = 0;
    for (const lane of this.#lanes) this.#fill(lane);
    while (this.#completed < this.#submitted) {
      let found = 0;
      for (const lane of this.#lanes) {
        if (!lane.poller.hasCompleted()) continue;
        this.#nowNs = performance.now() * 1e6;
        found += lane.poller.poll(lane.onDone);
        this.#fill(lane);
      }
      if (found > 0) this.#lastNs = this.#nowNs;
      else if (++idleRounds % SPINS_PER_CLOCK === 0) this.#checkStall();
    }
  }

  result(): BlkBenchResult {
    const seconds = (this.#lastNs - this.#startNs) / 1e9;
    const iops = seconds > 0 ? this.#completed / seconds : 0;
    const us = (percent: number): number => this.#histogram.percentileNs(percent) / 1000;
    return {
      requests: this.#completed,
      seconds,
      iops,
      bytesPerSecond: iops * this.#options.blockBytes,
      errors: this.#errors,
      kicks: this.#kicks() - this.#kicksBefore,
      latencyUs: {
        mean: this.#histogram.meanNs / 1000,
        p50: this.#histogram.medianNs / 1000,
        p90: us(90),
        p99: us(99),
        p999: us(99.9),
        max: this.#histogram.maxNs / 1000,
      },
    };
  }

  #lane(poller: BlkPoller): Lane {
    const { depth } = this.#options;
    const lane: Lane = {
      poller,
      startedNs: new Float64Array(poller.slotCount),
      idle: Int32Array.from({ length: depth }, (_, i) => depth - 1 - i),
      idleCount: depth,
      onDone: (slot, status) => {
        this.#histogram.record(this.#nowNs - (lane.startedNs[slot] as number));
        if (status !== BLK_STATUS.OK) this.#errors++;
        this.#completed++;
        lane.idle[lane.idleCount++] = slot;
      },
    };
    return lane;
  }

  /** Submits a request for each idle slot, unless the end has come. */
  #fill(lane: Lane): void {
    const { poller, startedNs, idle } = lane;
    const { blockBytes } = this.#options;
    const now = this.#nowNs;
    while (lane.idleCount > 0 && this.#submitted < this.#limit && now < this.#endNs) {
      const slot = idle[lane.idleCount - 1] as number;
      const sector = this.#nextBlock() * (blockBytes / SECTOR_BYTES);
      if (!poller.submit(this.#type, sector, slot, blockBytes)) {
        assert(poller.inFlight > 0, 'the ring has room for one request');
        break;
      }
      lane.idleCount--;
      startedNs[slot] = now;
      this.#submitted++;
    }
    poller.kickIfWanted();
  }

  #nextBlock(): number {
    if (this.#options.order === 'sequential') return this.#submitted % this.#blocks;
    // xorshift32 (Marsaglia 2003)
    let x = this.#random;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#random = x;
    return (x >>> 0) % this.#blocks;
  }

  #kicks(): number {
    return this.#lanes.reduce((sum, lane) => sum + lane.poller.kickCount, 0);
  }

  #checkStall(): void {
    for (const { poller } of this.#lanes) {
      if (poller.fault !== null) throw new VhostUserError(poller.fault.code, poller.fault.message);
    }
    const stallMs = this.#options.stallMs ?? STALL_MS;
    if (performance.now() * 1e6 - this.#lastNs < stallMs * 1e6) return;
    throw new VhostUserError(
      'ERR_VHU_BENCH_STALLED',
      `benchmark: no request came back for ${String(stallMs)} ms, ` +
        `${String(this.#submitted - this.#completed)} are in flight: has the back-end died, or ` +
        'does it wait for a kick that was not sent?',
    );
  }
}

function checkOptions(pollers: readonly BlkPoller[], options: BlkBenchOptions): void {
  const { depth, blockBytes, capacityBytes } = options;
  assert(pollers.length > 0 && depth > 0, 'a benchmark has a queue and a depth');
  assert(blockBytes > 0 && blockBytes % SECTOR_BYTES === 0, 'blocks are a multiple of 512 bytes');
  assert(blockBytes <= capacityBytes, 'the disk holds a block');
  assert(
    options.requests !== undefined || options.durationMs !== undefined,
    'a benchmark ends after some requests, or some time',
  );
  for (const poller of pollers) {
    assert(depth <= poller.slotCount, 'each request in flight has a slot');
    assert(blockBytes <= poller.bufferBytes, 'a block fits the buffer of a slot');
    assert(poller.inFlight === 0, 'the pollers are idle');
  }
}
