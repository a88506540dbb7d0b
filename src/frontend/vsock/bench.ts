/**
 * The loops of a vsock benchmark: the guest's end and the host's end of a connection on one thread,
 * so that what is measured is the device between them.
 *
 * @module
 */
import { assert } from '../../util/index.ts';
import { LatencyHistogram } from '../latency-histogram.ts';
import type { FrontendSession } from '../session.ts';
import { BenchFlow } from './bench-flow.ts';
import { openVsockDriver } from './driver.ts';
import type { VsockDriverOptions } from './driver.ts';

const SPINS_PER_SYSCALL = 16; // looks at the rings between two system calls that found nothing
const BUFFER_BYTES = 256 * 1024;

const DEFAULTS = { stallMs: 10_000, connectWaitMs: 0 } as const;

/** How a {@link VsockBench} is made. */
export interface VsockBenchSetup extends VsockDriverOptions {
  /** Where the back-end listens for its front-end. */
  readonly socketPath: string;
  /** Its socket for host programs: they say `CONNECT port` there, and listen on `udsPath_port`. */
  readonly udsPath: string;
  /** Room of the guest for what it has not read; 256 KiB by default, as Linux has it. */
  readonly bufferBytes?: number;
  /** Gives up when nothing happens for so long; 10 s by default. */
  readonly stallMs?: number;
}

/**
 * - `send`: the guest sends packets of `blockBytes`, as fast as credit allows, the host reads.
 * - `receive`: the host writes `blockBytes` at a time, the guest reads.
 * - `round-trip`: the guest sends one byte, and when the host has it, that sends one back.
 * - `connect`: the guest connects to the host, and closes.
 * - `accept`: the host connects to the guest, and closes.
 */
export type VsockBenchOpName = 'send' | 'receive' | 'round-trip' | 'connect' | 'accept';

/** What {@link VsockBench.run} does. */
export interface VsockBenchOptions {
  readonly op: VsockBenchOpName;
  /** Of `send` and `receive`; 65536 by default. */
  readonly blockBytes?: number;
  readonly durationMs: number;
}

/** What was measured. */
export interface VsockBenchResult {
  /** Blocks, round trips or connections. */
  readonly operations: number;
  readonly seconds: number;
  readonly perSecond: number;
  /** Bytes that arrived at the other end; 0 for round trips and connections. */
  readonly bytesPerSecond: number;
  /** Of `receive`: packets that the device made of them. */
  readonly packets: number;
  readonly kicks: number;
  /** Microseconds of a round trip, or of a connection and its end; 0 for the others. */
  readonly latencyUs: {
    readonly mean: number;
    readonly p50: number;
    readonly p99: number;
    readonly max: number;
  };
}

/**
 * Measures any vhost-user-vsock back-end with the hybrid convention, from this thread, which `run`
 * does not give back until it is done.
 *
 * ```ts
 * const bench = await VsockBench.open({ socketPath: '/tmp/vsock.sock', udsPath: '/tmp/vm.vsock' });
 * console.log(bench.run({ op: 'send', blockBytes: 4096, durationMs: 1000 }).bytesPerSecond);
 * console.log(bench.run({ op: 'round-trip', durationMs: 1000 }).latencyUs.p50);
 * await bench.close();
 * ```
 */
export class VsockBench {
  readonly session: FrontendSession;
  readonly #flow: BenchFlow;
  readonly #histogram = new LatencyHistogram();
  #open = true;

  private constructor(session: FrontendSession, flow: BenchFlow) {
    this.session = session;
    this.#flow = flow;
  }

  /**
   * Connects to the back-end, and listens for what the guest connects to.
   * @throws VhostUserError see `VsockClient.connect`, and `ERR_VHU_SOCKET_PATH`.
   */
  static async open(setup: VsockBenchSetup): Promise<VsockBench> {
    const { socketPath, udsPath, bufferBytes = BUFFER_BYTES } = setup;
    const driver = await openVsockDriver({ socketPath }, { ...DEFAULTS, ...setup });
    try {
      const stallMs = setup.stallMs ?? DEFAULTS.stallMs;
      const flow = new BenchFlow(driver, udsPath, bufferBytes, stallMs);
      return new VsockBench(driver.session, flow);
    } catch (error) {
      driver.poller.close();
      await driver.session.close();
      throw error;
    }
  }

  /**
   * Runs one kind of load; before and after it there is no connection.
   * @throws VhostUserError `ERR_VHU_BENCH_STALLED`, `ERR_VHU_VSOCK_BENCH`, or the ring's fault.
   */
  run(options: VsockBenchOptions): VsockBenchResult {
    const { op, blockBytes = 65_536, durationMs } = options;
    const flow = this.#flow;
    assert(blockBytes > 0 && blockBytes <= flow.poller.txDataBytes, 'a block fits one packet');
    this.#histogram.clear();
    const kicksBefore = flow.poller.kickCount;
    const startMs = performance.now();
    const endMs = startMs + durationMs;
    let operations: number;
    let seconds = 0;
    if (op === 'connect' || op === 'accept') {
      operations = this.#connections(op, endMs);
      seconds = (performance.now() - startMs) / 1000;
    } else {
      flow.dial();
      const fromMs = performance.now();
      const untilMs = fromMs + durationMs;
      if (op === 'round-trip') operations = this.#roundTrips(untilMs);
      else if (op === 'send') operations = this.#send(blockBytes, untilMs) / blockBytes;
      else operations = this.#receive(blockBytes, untilMs) / blockBytes;
      seconds = (performance.now() - fromMs) / 1000;
    }
    const packets = flow.guestPackets;
    if (op !== 'connect' && op !== 'accept') flow.close('guest');
    const moves = op === 'send' || op === 'receive';
    const perSecond = operations / seconds;
    return {
      operations,
      seconds,
      perSecond,
      bytesPerSecond: moves ? perSecond * blockBytes : 0,
      packets,
      kicks: flow.poller.kickCount - kicksBefore,
      latencyUs: {
        mean: this.#histogram.meanNs / 1000,
        p50: this.#histogram.medianNs / 1000,
        p99: this.#histogram.percentileNs(99) / 1000,
        max: this.#histogram.maxNs / 1000,
      },
    };
  }

  /** Ends the session; may be called again. */
  async close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    this.#flow.poller.close();
    this.#flow.end();
    await this.session.close();
  }

  /** Bytes that the host received. */
  #send(blockBytes: number, endMs: number): number {
    const flow = this.#flow;
    let sent = 0;
    let quiet = 0;
    let more = true;
    while (more || flow.hostBytes < sent) {
      let moved = false;
      while (more && flow.sendGuest(blockBytes)) {
        sent += blockBytes;
        moved = true;
      }
      if (moved) flow.poller.flush();
      if (quiet === 0 || quiet >= SPINS_PER_SYSCALL) {
        quiet = flow.receiveHost() > 0 ? 0 : 1;
      } else {
        quiet++;
      }
      flow.turn();
      if (moved || quiet === 0) {
        flow.progress();
        if (more) more = performance.now() < endMs;
      } else {
        flow.idle('the guest sends');
      }
    }
    return flow.hostBytes;
  }

  /** Bytes that the guest received. */
  #receive(blockBytes: number, endMs: number): number {
    const flow = this.#flow;
    let sent = 0;
    let part = 0; // of the block at hand, that has gone
    let quiet = 0;
    let more = true;
    while (more || part > 0 || flow.guestBytes < sent) {
      const before = flow.guestBytes;
      if ((more || part > 0) && (quiet === 0 || quiet >= SPINS_PER_SYSCALL)) {
        const count = flow.sendHost(blockBytes - part);
        sent += count;
        part = (part + count) % blockBytes;
        quiet = count > 0 ? 0 : 1;
      } else {
        quiet++;
      }
      flow.turn();
      if (quiet === 0 || flow.guestBytes !== before) {
        flow.progress();
        if (more) more = performance.now() < endMs;
      } else {
        flow.idle('the host sends');
      }
    }
    return flow.guestBytes;
  }

  #roundTrips(endMs: number): number {
    const flow = this.#flow;
    let count = 0;
    let nowMs = performance.now();
    while (nowMs < endMs) {
      const there = flow.hostBytes + 1;
      const back = flow.guestBytes + 1;
      while (!flow.sendGuest(1)) this.#wait();
      flow.poller.flush();
      while (flow.hostBytes < there) {
        flow.receiveHost();
        this.#wait();
      }
      while (flow.sendHost(1) === 0) this.#wait();
      while (flow.guestBytes < back) this.#wait();
      flow.progress();
      const doneMs = performance.now();
      this.#histogram.record((doneMs - nowMs) * 1e6);
      nowMs = doneMs;
      count++;
    }
    return count;
  }

  #connections(op: 'connect' | 'accept', endMs: number): number {
    const flow = this.#flow;
    let count = 0;
    let nowMs = performance.now();
    while (nowMs < endMs) {
      if (op === 'connect') flow.dial();
      else flow.accept();
      flow.close(op === 'connect' ? 'guest' : 'host');
      const doneMs = performance.now();
      this.#histogram.record((doneMs - nowMs) * 1e6);
      nowMs = doneMs;
      count++;
    }
    return count;
  }

  #wait(): void {
    this.#flow.turn();
    this.#flow.idle('a byte goes there and back');
  }
}
