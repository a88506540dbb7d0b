/**
 * The loops of a benchmark of consoles: the guest's end of a port and the clients at its other end,
 * on one thread, so that what is measured is the device between them.
 *
 * @module
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { assert } from '../../util/index.ts';
import { BenchClock } from '../bench-clock.ts';
import { LatencyHistogram } from '../latency-histogram.ts';
import { FrontendSession } from '../session.ts';
import { BenchHosts, benchError } from './bench-hosts.ts';
import type { ConsoleBenchAddress } from './bench-hosts.ts';
import {
  CONSOLE_CONTROL,
  CONSOLE_CONTROL_QUEUE,
  CONSOLE_EVENT,
  CONSOLE_FEATURE,
  consoleReceiveQueue,
} from './layout.ts';
import { ConsoleBufferQueue } from './pipe.ts';
import { ConsolePoller } from './poller.ts';
import type { ConsoleQueuePlan } from './poller.ts';

const CONTROL_BUFFERS = { count: 16, bytes: 128 } as const;
const CONTROL_QUEUE_SIZE = 16;
const ALIGN_BYTES = 4096;
const ANY_PORT = 0xffff_ffff;
/** Input that is on its way at most: a console is typed at, and a paste is no flood. */
const WINDOW_BYTES = 256 * 1024;
const SPINS_PER_SYSCALL = 16; // looks at the rings between two system calls that found nothing
/** What the guest sends: a filler, and the mark by which clients know that they are heard. */
const FILLER = 0x2e;
const MARK = 0x0a;

const DEFAULTS = {
  queueSize: 64,
  bufferBytes: 4096,
  stallMs: 10_000,
} as const;

/** How a {@link ConsoleBench} is made. */
export interface ConsoleBenchSetup {
  /** Where the back-end listens for its front-end. */
  readonly socketPath: string;
  /** Where it listens for clients of its console. */
  readonly clients: ConsoleBenchAddress;
  /** Entries of the port's rings, all of them in use, a power of two; 64 by default. */
  readonly queueSize?: number;
  /** Bytes of each buffer; 4096 by default, as Linux has it. */
  readonly bufferBytes?: number;
  /** Gives up when nothing happens for so long; 10 s by default. */
  readonly stallMs?: number;
}

/**
 * - `output`: the guest writes buffers of `blockBytes`, so many at once, and every client reads.
 * - `input`: a client writes `blockBytes` at a time, the guest reads.
 * - `round-trip`: the guest writes one byte, and a client that has read it writes one back.
 */
export type ConsoleBenchOpName = 'output' | 'input' | 'round-trip';

/** What {@link ConsoleBench.run} does. */
export interface ConsoleBenchOptions {
  readonly op: ConsoleBenchOpName;
  /** Of `output` and `input`; 4096 by default. */
  readonly blockBytes?: number;
  /** Of `output`: buffers that the device has at once; as many as the ring has by default. */
  readonly depth?: number;
  /** Clients of the console's socket; 1 by default. */
  readonly clients?: number;
  readonly durationMs: number;
}

/** What was measured. */
export interface ConsoleBenchResult {
  /** Blocks or round trips. */
  readonly operations: number;
  readonly seconds: number;
  readonly perSecond: number;
  /** Bytes that arrived, of output at each client; 0 for round trips. */
  readonly bytesPerSecond: number;
  readonly kicks: number;
  /** Microseconds of a round trip; 0 for the others. */
  readonly latencyUs: {
    readonly mean: number;
    readonly p50: number;
    readonly p99: number;
    readonly max: number;
  };
}

/**
 * Measures port 0 of any vhost-user console whose other end is a socket, from this thread, which
 * `run` does not give back until it is done.
 *
 * ```ts
 * const clients = { family: 'unix', path: '/tmp/console' } as const;
 * const bench = await ConsoleBench.open({ socketPath: '/tmp/console.sock', clients });
 * console.log(bench.run({ op: 'output', blockBytes: 4096, durationMs: 1000 }).bytesPerSecond);
 * console.log(bench.run({ op: 'round-trip', durationMs: 1000 }).latencyUs.p50);
 * await bench.close();
 * ```
 */
export class ConsoleBench {
  readonly session: FrontendSession;
  readonly #poller: ConsolePoller;
  readonly #hosts: BenchHosts;
  readonly #clock: BenchClock;
  readonly #histogram = new LatencyHistogram();
  readonly #queueSize: number;

  private constructor(
    session: FrontendSession,
    poller: ConsolePoller,
    setup: Required<ConsoleBenchSetup>,
  ) {
    this.session = session;
    this.#poller = poller;
    this.#hosts = new BenchHosts(setup.clients);
    this.#clock = new BenchClock(setup.stallMs, () => poller.fault);
    this.#queueSize = setup.queueSize;
  }

  /**
   * Connects to the back-end, and opens the port as a driver does.
   * @throws VhostUserError see `FrontendSession.open`, and `ERR_VHU_CONSOLE_BENCH`.
   */
  static async open(options: ConsoleBenchSetup): Promise<ConsoleBench> {
    const setup = { ...DEFAULTS, ...options };
    const dataBytes = setup.queueSize * setup.bufferBytes;
    const session = await FrontendSession.open({
      socketPath: setup.socketPath,
      features: CONSOLE_FEATURE.MULTIPORT,
      memoryBytes: 2 * dataBytes + 2 ** 17 + 64 * setup.queueSize,
    });
    try {
      const plan = async (index: number): Promise<ConsoleQueuePlan> => {
        const queue = await session.startQueue({ index, size: setup.queueSize });
        const { gpa, hva } = session.memory.allocate(dataBytes, ALIGN_BYTES);
        const slots = { slotCount: setup.queueSize, slotBytes: setup.bufferBytes };
        return { ring: queue.config, kickFd: queue.kickFd, ...slots, gpa, hva };
      };
      const rx = await plan(consoleReceiveQueue(0));
      const tx = await plan(consoleReceiveQueue(0) + 1);
      if ((session.features & CONSOLE_FEATURE.MULTIPORT) !== 0n) {
        await openPort(session, setup.stallMs);
      }
      return new ConsoleBench(session, new ConsolePoller(rx, tx), setup);
    } catch (error) {
      await session.close();
      throw error;
    }
  }

  /**
   * Runs one kind of load; before and after it nothing is on its way.
   * @throws VhostUserError `ERR_VHU_BENCH_STALLED`, `ERR_VHU_CONSOLE_BENCH`, or the ring's fault.
   */
  run(options: ConsoleBenchOptions): ConsoleBenchResult {
    const { op, blockBytes = 4096, depth = this.#queueSize, clients = 1, durationMs } = options;
    assert(op !== 'output' || blockBytes <= this.#poller.txSlotBytes, 'a block fits its buffer');
    assert(clients > 0 && depth > 0 && depth <= this.#queueSize, 'somebody is there, and a buffer');
    this.#meet(clients);
    this.#histogram.clear();
    const kicksBefore = this.#poller.kickCount;
    const startMs = performance.now();
    const endMs = startMs + durationMs;
    let operations: number;
    if (op === 'round-trip') operations = this.#roundTrips(endMs);
    else if (op === 'output') operations = this.#output(blockBytes, depth, endMs) / blockBytes;
    else operations = this.#input(blockBytes, endMs) / blockBytes;
    const seconds = (performance.now() - startMs) / 1000;
    const perSecond = operations / seconds;
    return {
      operations,
      seconds,
      perSecond,
      bytesPerSecond: op === 'round-trip' ? 0 : perSecond * blockBytes,
      kicks: this.#poller.kickCount - kicksBefore,
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
    this.#poller.close();
    this.#hosts.close();
    await this.session.close();
  }

  /**
   * Sees to it that so many clients are there, and that the device knows: each types a byte, and
   * when the guest has all of them, the mark that it writes is the last that each client reads.
   */
  #meet(clients: number): void {
    const [poller, hosts, clock] = [this.#poller, this.#hosts, this.#clock];
    if (hosts.count === clients) return;
    clock.progress();
    this.#write(FILLER); // some back-ends take no input before the first output
    while (poller.txInFlight > 0) {
      if (poller.reclaimTx() === 0) clock.idle('the guest writes its first byte');
    }
    hosts.connect(clients);
    let typed = 0;
    let heard = 0;
    while (heard < clients) {
      if (typed < clients) typed += hosts.send(typed, 1);
      hosts.receive();
      heard += this.#receive();
      clock.idle('clients type their first bytes');
    }
    this.#write(MARK);
    while (!hosts.allEndWith(MARK)) {
      hosts.receive();
      clock.idle('clients are to see that they are there');
    }
  }

  /** Bytes that each client has received. */
  #output(blockBytes: number, depth: number, endMs: number): number {
    const [poller, hosts, clock] = [this.#poller, this.#hosts, this.#clock];
    hosts.clear();
    let sent = 0;
    let quiet = 0;
    let more = true;
    while (more || hosts.leastReceived < sent || poller.txInFlight > 0) {
      let moved = poller.reclaimTx() > 0;
      while (more && poller.txInFlight < depth) {
        poller.send(poller.takeTx(), blockBytes, FILLER);
        sent += blockBytes;
        moved = true;
      }
      if (moved) poller.flush();
      if (quiet === 0 || quiet >= SPINS_PER_SYSCALL) quiet = hosts.receive() > 0 ? 0 : 1;
      else quiet++;
      if (!moved && quiet > 0) {
        clock.idle('the guest writes');
        continue;
      }
      clock.progress();
      if (more) more = performance.now() < endMs;
    }
    return sent;
  }

  /** Bytes that the guest has received. */
  #input(blockBytes: number, endMs: number): number {
    const [hosts, clock] = [this.#hosts, this.#clock];
    let sent = 0;
    let received = 0;
    let quiet = 0;
    let more = true;
    while (more || sent % blockBytes !== 0 || received < sent) {
      const before = received;
      const part = blockBytes - (sent % blockBytes);
      const wanted = (more || part < blockBytes) && sent - received < WINDOW_BYTES;
      if (wanted && (quiet === 0 || quiet >= SPINS_PER_SYSCALL)) {
        const count = hosts.send(0, part);
        sent += count;
        quiet = count > 0 ? 0 : 1;
      } else {
        quiet++;
      }
      received += this.#receive();
      if (received === before && quiet > 0) {
        clock.idle('a client writes');
        continue;
      }
      clock.progress();
      if (more) more = performance.now() < endMs;
    }
    return received;
  }

  #roundTrips(endMs: number): number {
    const [hosts, clock] = [this.#hosts, this.#clock];
    let count = 0;
    let nowMs = performance.now();
    while (nowMs < endMs) {
      hosts.clear();
      this.#write(FILLER);
      while (hosts.leastReceived < 1) {
        if (hosts.receive() === 0) clock.idle('a byte goes to the clients');
      }
      while (hosts.send(0, 1) === 0) clock.idle('a client writes a byte');
      while (this.#receive() === 0) clock.idle('a byte goes to the guest');
      clock.progress();
      const doneMs = performance.now();
      this.#histogram.record((doneMs - nowMs) * 1e6);
      nowMs = doneMs;
      count++;
    }
    return count;
  }

  /** The guest writes a byte. */
  #write(byte: number): void {
    let slot = this.#poller.takeTx();
    while (slot < 0) {
      this.#clock.idle('the guest waits for a buffer');
      slot = this.#poller.takeTx();
    }
    this.#poller.send(slot, 1, byte);
    this.#poller.flush();
  }

  /** Bytes that came to the guest, which offers its buffers again. */
  #receive(): number {
    if (!this.#poller.hasRx()) return 0;
    const bytes = this.#poller.receive();
    this.#poller.flush();
    return bytes;
  }
}

/** What a driver says before it uses port 0 (section 5.3.6.2). */
async function openPort(session: FrontendSession, waitMs: number): Promise<void> {
  const start = (index: number): Promise<ConsoleBufferQueue> =>
    ConsoleBufferQueue.start(session, index, CONTROL_QUEUE_SIZE, CONTROL_BUFFERS);
  const receive = await start(CONSOLE_CONTROL_QUEUE.receive);
  const transmit = await start(CONSOLE_CONTROL_QUEUE.transmit);
  const say = (id: number, event: number): void => {
    const bytes = new Uint8Array(CONSOLE_CONTROL.SIZE);
    const view = new DataView(bytes.buffer);
    view.setUint32(CONSOLE_CONTROL.id, id, true);
    view.setUint16(CONSOLE_CONTROL.event, event, true);
    view.setUint16(CONSOLE_CONTROL.value, 1, true);
    transmit.send(bytes);
  };
  receive.offer();
  say(ANY_PORT, CONSOLE_EVENT.DEVICE_READY);
  const endMs = performance.now() + waitMs;
  let opened = false;
  while (!opened || transmit.queue.ring.inFlight > 0) {
    await sleep(1);
    for (let bytes = receive.receive(); bytes !== null; bytes = receive.receive()) {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      if (bytes.length < CONSOLE_CONTROL.SIZE || view.getUint32(CONSOLE_CONTROL.id, true) !== 0) {
        continue;
      }
      const event = view.getUint16(CONSOLE_CONTROL.event, true);
      if (event === CONSOLE_EVENT.DEVICE_ADD) say(0, CONSOLE_EVENT.PORT_READY);
      if (event !== CONSOLE_EVENT.CONSOLE_PORT) continue;
      say(0, CONSOLE_EVENT.PORT_OPEN);
      opened = true;
    }
    receive.offer();
    transmit.reclaim();
    if (performance.now() < endMs) continue;
    throw benchError(`the device tells of no console within ${String(waitMs)} ms`);
  }
}
