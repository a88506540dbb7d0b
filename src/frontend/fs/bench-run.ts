/**
 * One run of a file system benchmark: keeps the queues full of operations until its end.
 *
 * @module
 */
import { VhostUserError } from '../../util/index.ts';
import { LatencyHistogram } from '../latency-histogram.ts';
import type { FsBenchOptions, FsBenchResult } from './bench-options.ts';
import { DONE, MORE, ReaddirplusOp } from './bench-ops.ts';
import type { BenchOp } from './bench-ops.ts';
import { errnoText } from './errors.ts';
import { BAD_REPLY } from './poller.ts';
import type { FusePoller } from './poller.ts';

const SPINS_PER_CLOCK = 4096; // looks at a ring between two looks at the clock, while nothing comes

/** What a run does on each queue. */
export interface RunPlan {
  readonly operationsMax: number;
  /** Bytes that each operation moves, for the result. */
  readonly blockBytes: number;
  readonly make: (poller: FusePoller) => BenchOp;
  readonly end: () => void;
}

/** Operations of one queue. */
interface Lane {
  readonly poller: FusePoller;
  readonly op: BenchOp;
  readonly startedNs: Float64Array; // by slot
  readonly idle: Int32Array; // a stack of idle slots
  idleCount: number;
  readonly onDone: (slot: number, error: number, bytes: number) => void;
}

/** See the module. */
export class BenchRun {
  readonly #options: FsBenchOptions;
  readonly #lanes: readonly Lane[];
  readonly #histogram = new LatencyHistogram();
  readonly #limit: number; // operations
  readonly #startNs: number;
  readonly #endNs: number;
  readonly #kicksBefore: number;
  #nowNs: number;
  #begun = 0;
  #ended = 0;
  #requests = 0;
  #errors = 0;
  #firstError = 0;
  #lastNs: number; // something came back

  constructor(pollers: readonly FusePoller[], options: FsBenchOptions, plan: RunPlan) {
    this.#options = options;
    this.#limit = Math.min(options.operations ?? Infinity, plan.operationsMax);
    this.#lanes = pollers.map((poller) => this.#lane(poller, plan.make(poller)));
    this.#kicksBefore = this.#kicks();
    this.#nowNs = performance.now() * 1e6;
    this.#startNs = this.#nowNs;
    this.#lastNs = this.#nowNs;
    this.#endNs = this.#startNs + (options.durationMs ?? Infinity) * 1e6;
  }

  /** Goes round the lanes until everything that was begun has ended and no more is to be. */
  loop(stallMs: number): void {
    let idleRounds = 0;
    for (const lane of this.#lanes) this.#fill(lane);
    while (this.#ended < this.#begun) {
      let found = 0;
      for (const lane of this.#lanes) {
        if (!lane.poller.hasCompleted()) continue;
        this.#nowNs = performance.now() * 1e6;
        found += lane.poller.poll(lane.onDone);
        this.#fill(lane);
      }
      if (found > 0) this.#lastNs = this.#nowNs;
      else if (++idleRounds % SPINS_PER_CLOCK === 0) this.#checkStall(stallMs);
    }
  }

  /** What the run has shown. */
  result(plan: RunPlan): FsBenchResult {
    const seconds = (this.#lastNs - this.#startNs) / 1e9;
    const perSecond = seconds > 0 ? this.#ended / seconds : 0;
    const us = (percent: number): number => this.#histogram.percentileNs(percent) / 1000;
    let entries = 0;
    for (const { op } of this.#lanes) if (op instanceof ReaddirplusOp) entries += op.entries;
    const first = this.#firstError;
    return {
      operations: this.#ended,
      requests: this.#requests,
      seconds,
      perSecond,
      bytesPerSecond: perSecond * plan.blockBytes,
      entriesPerSecond: seconds > 0 ? entries / seconds : 0,
      errors: this.#errors,
      firstError:
        first === 0 ? null : first === BAD_REPLY ? 'a bad or a short answer' : errnoText(-first),
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

  #lane(poller: FusePoller, op: BenchOp): Lane {
    const { depth } = this.#options;
    const lane: Lane = {
      poller,
      op,
      startedNs: new Float64Array(poller.slotCount),
      idle: Int32Array.from({ length: depth }, (_, i) => depth - 1 - i),
      idleCount: depth,
      onDone: (slot, error, bytes) => {
        this.#requests++;
        const result = op.advance(slot, error, bytes);
        if (result === MORE) return;
        this.#histogram.record(this.#nowNs - (lane.startedNs[slot] as number));
        if (result !== DONE) {
          this.#errors++;
          if (this.#firstError === 0) this.#firstError = result;
        }
        this.#ended++;
        lane.idle[lane.idleCount++] = slot;
      },
    };
    return lane;
  }

  /** Begins an operation on each idle slot, unless the end has come; and shows what was added. */
  #fill(lane: Lane): void {
    const { poller, op, startedNs, idle } = lane;
    const now = this.#nowNs;
    while (lane.idleCount > 0 && this.#begun < this.#limit && now < this.#endNs) {
      const slot = idle[--lane.idleCount] as number;
      op.begin(slot, this.#begun++);
      startedNs[slot] = now;
    }
    poller.kickIfWanted();
  }

  #kicks(): number {
    return this.#lanes.reduce((sum, lane) => sum + lane.poller.kickCount, 0);
  }

  #checkStall(stallMs: number): void {
    for (const { poller } of this.#lanes) {
      if (poller.fault !== null) throw new VhostUserError(poller.fault.code, poller.fault.message);
    }
    if (performance.now() * 1e6 - this.#lastNs < stallMs * 1e6) return;
    throw new VhostUserError(
      'ERR_VHU_BENCH_STALLED',
      `benchmark: no request came back for ${String(stallMs)} ms, operations in flight: ` +
        `${String(this.#begun - this.#ended)}: has the back-end died, or does it wait for a kick ` +
        'that was not sent?',
    );
  }
}
