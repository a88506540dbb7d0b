/**
 * The loop of a file system benchmark: keeps queues full of operations of one kind and measures.
 *
 * @module
 */
import { VhostUserError, assert } from '../../util/index.ts';
import { FUSE_ROOT_ID, LINUX_O } from '../../fuse/index.ts';
import { virtioFeatures } from '../../protocol/index.ts';
import { splitRingLayout } from '../../virtqueue/index.ts';
import { LatencyHistogram } from '../latency-histogram.ts';
import { FrontendSession } from '../session.ts';
import { BenchCalls } from './bench-calls.ts';
import {
  CreateOp,
  DONE,
  GetattrOp,
  LookupOp,
  MORE,
  OpenReadCloseOp,
  ReaddirplusOp,
  TransferOp,
  UnlinkOp,
} from './bench-ops.ts';
import type { BenchOp } from './bench-ops.ts';
import { FS_HIPRIO_QUEUE, FS_REQUEST_QUEUE, readFsInfo } from './config.ts';
import type { FsInfo } from './config.ts';
import { errnoText } from './errors.ts';
import type { FuseAgreement, FuseInitRequest } from './init.ts';
import { BAD_REPLY, FusePoller, fuseSegmentsMax, fuseSlotBytes } from './poller.ts';

const PAGE_BYTES = 4096;
const HIPRIO_SIZE = 16;
const SPINS_PER_CLOCK = 4096; // looks at a ring between two looks at the clock, while nothing comes

const DEFAULTS = {
  depthMax: 16,
  blockBytesMax: 1024 * 1024,
  queueCount: 1,
  queueSize: 256,
  stallMs: 10_000,
  blockBytes: 4096,
  listBytes: 32 * 1024, // what glibc asks a kernel for
} as const;

/** How a {@link FsBench} is made. */
export interface FsBenchSetup {
  readonly socketPath: string;
  /** The most operations in flight on each queue, 16 by default. */
  readonly depthMax?: number;
  /** The longest read, write or listing in one request; 1 MiB by default. */
  readonly blockBytesMax?: number;
  /** Request queues, 1 by default. */
  readonly queueCount?: number;
  /** Entries of each ring, 256 by default. */
  readonly queueSize?: number;
  /** Data in pieces of so many bytes, as a guest's pages are; in one piece by default. */
  readonly segmentBytes?: number;
  readonly init?: FuseInitRequest;
  readonly connectWaitMs?: number;
  /** Gives up when nothing comes back for so long; 10 s by default. */
  readonly stallMs?: number;
}

/** What one operation of a run is; see the operations' own words in {@link FsBenchOptions}. */
export type FsBenchOpName =
  'read' | 'write' | 'lookup' | 'getattr' | 'open-read-close' | 'create' | 'readdirplus' | 'unlink';

/** What {@link FsBench.run} does. */
export interface FsBenchOptions {
  /**
   * - `read`, `write`: one READ or WRITE of the file `path`, which is open.
   * - `lookup`: one LOOKUP of a file of the folder `path`, in turn.
   * - `getattr`: one GETATTR of such a file, which was looked up before.
   * - `open-read-close`: OPEN, READ of `blockBytes` from the beginning, FLUSH and RELEASE of one.
   * - `create`: CREATE (exclusively), FLUSH and RELEASE of the next new file in the folder.
   * - `unlink`: one UNLINK of the next file.
   * - `readdirplus`: OPENDIR, READDIRPLUS of `blockBytes` at a time to the end, RELEASEDIR.
   */
  readonly op: FsBenchOpName;
  /** A file, or a folder whose files are `f0`, `f1` and so on; from the root, without links. */
  readonly path: string;
  /** Files of the folder; `create` and `unlink` end after so many. */
  readonly count?: number;
  /** Of reads and writes; sequential by default. */
  readonly order?: 'sequential' | 'random';
  /** Bytes of each request that moves data; 4096 by default, and 32768 for `readdirplus`. */
  readonly blockBytes?: number;
  /** Reads and writes go to offsets below this. */
  readonly fileBytes?: number;
  /** Operations in flight on each queue. */
  readonly depth: number;
  /** Ends after so many operations … */
  readonly operations?: number;
  /** … or after so much time, whichever is first. */
  readonly durationMs?: number;
  /** Of the random order; the same seed gives the same offsets. */
  readonly seed?: number;
}

/** What was measured. */
export interface FsBenchResult {
  readonly operations: number;
  /** FUSE requests that the operations took. */
  readonly requests: number;
  readonly seconds: number;
  readonly perSecond: number;
  /** Data of reads and writes; 0 for the other operations. */
  readonly bytesPerSecond: number;
  /** Entries of listings, `.` and `..` among them. */
  readonly entriesPerSecond: number;
  /** Operations that failed, and how the first of them did. */
  readonly errors: number;
  readonly firstError: string | null;
  readonly kicks: number;
  /** Microseconds from the submission of an operation's first request to its end. */
  readonly latencyUs: {
    readonly mean: number;
    readonly p50: number;
    readonly p90: number;
    readonly p99: number;
    readonly p999: number;
    readonly max: number;
  };
}

/**
 * Measures any vhost-user-fs back-end, from this thread, which `run` and the other methods do not
 * give back until they are done. Files can be made through it, or be there already.
 *
 * ```ts
 * const bench = await FsBench.open({ socketPath: '/tmp/fs.sock' });
 * bench.makeFile('data', 64 * 1024 * 1024);
 * const file = { path: 'data', fileBytes: 64 * 1024 * 1024 };
 * bench.run({ op: 'read', order: 'random', ...file, depth: 16, durationMs: 1000 });
 * bench.run({ op: 'write', ...file, blockBytes: 1024 * 1024, depth: 1, durationMs: 1000 });
 * bench.makeFiles('many', 5000, 1024);
 * const files = { path: 'many', count: 5000 };
 * const { perSecond } = bench.run({ op: 'lookup', ...files, depth: 1, durationMs: 1000 });
 * bench.run({ op: 'readdirplus', path: 'many', depth: 1, operations: 20 });
 * bench.forget();
 * bench.makeFolder('fresh');
 * bench.run({ op: 'create', path: 'fresh', count: 5000, depth: 1 });
 * bench.run({ op: 'unlink', path: 'fresh', count: 5000, depth: 1 });
 * await bench.close();
 * ```
 */
export class FsBench {
  /** What the server agreed to. */
  readonly agreement: FuseAgreement;
  readonly info: FsInfo;
  readonly #session: FrontendSession;
  readonly #pollers: readonly FusePoller[];
  readonly #hiprio: FusePoller;
  readonly #calls: BenchCalls;
  readonly #setup: FsBenchSetup;

  private constructor(
    session: FrontendSession,
    info: FsInfo,
    pollers: { readonly hiprio: FusePoller; readonly requests: readonly FusePoller[] },
    setup: FsBenchSetup,
  ) {
    this.#session = session;
    this.info = info;
    this.#pollers = pollers.requests;
    this.#hiprio = pollers.hiprio;
    this.#setup = setup;
    const stallMs = setup.stallMs ?? DEFAULTS.stallMs;
    this.#calls = new BenchCalls(pollers.requests[0] as FusePoller, pollers.hiprio, stallMs);
    this.agreement = this.#calls.init(setup.init ?? {});
  }

  /**
   * Connects, starts the queues and sends FUSE_INIT.
   * @throws VhostUserError see `FrontendSession.open`, and `ERR_VHU_FS_INIT`.
   */
  static async open(setup: FsBenchSetup): Promise<FsBench> {
    const depth = setup.depthMax ?? DEFAULTS.depthMax;
    const blockBytes = setup.blockBytesMax ?? DEFAULTS.blockBytesMax;
    const queueSize = setup.queueSize ?? DEFAULTS.queueSize;
    const segments = fuseSegmentsMax(blockBytes, setup.segmentBytes);
    checkRing(queueSize, segments);
    const ringBytes = splitRingLayout(queueSize, segments).totalBytes + PAGE_BYTES;
    const queueBytes = ringBytes + fuseSlotBytes(depth, blockBytes) + PAGE_BYTES;
    const queueCount = setup.queueCount ?? DEFAULTS.queueCount;
    const { connectWaitMs = 0 } = setup;
    const session = await FrontendSession.open({
      socketPath: setup.socketPath,
      memoryBytes: (queueCount + 1) * queueBytes,
      connectWaitMs,
    });
    const requests: FusePoller[] = [];
    try {
      const indirect = (session.features & virtioFeatures('INDIRECT_DESC')) !== 0n;
      if (!indirect) checkRing(queueSize, segments * depth);
      const info = await readFsInfo(session);
      const poller = async (index: number, size: number): Promise<FusePoller> => {
        const queue = await session.startQueue({ index, size, indirectMax: segments });
        const bufferBytes = index === FS_HIPRIO_QUEUE ? 0 : blockBytes;
        const count = index === FS_HIPRIO_QUEUE ? 1 : depth;
        const range = session.memory.allocate(fuseSlotBytes(count, bufferBytes), PAGE_BYTES);
        const slots = { count, bufferBytes, gpa: range.gpa, hva: range.hva };
        const { segmentBytes = Infinity } = setup;
        return new FusePoller({ ring: queue.config, kickFd: queue.kickFd, slots, segmentBytes });
      };
      const hiprio = await poller(FS_HIPRIO_QUEUE, HIPRIO_SIZE);
      requests.push(hiprio);
      const used = Math.min(queueCount, info.requestQueueCount);
      for (let i = 0; i < used; i++) requests.push(await poller(FS_REQUEST_QUEUE + i, queueSize));
      return new FsBench(session, info, { hiprio, requests: requests.slice(1) }, setup);
    } catch (error) {
      for (const each of requests) each.close();
      await session.close();
      throw error;
    }
  }

  /** Makes a file of `bytes` bytes that are not zeroes, in a folder that exists; or fills one. */
  makeFile(path: string, bytes: number): void {
    const { parent, name } = this.#parentOf(path);
    const poller = this.#pollers[0] as FusePoller;
    const { node, handle } = this.#calls.create(parent, name);
    const step = Math.min(poller.bufferBytes, this.agreement.writeBytesMax);
    const pattern = poller.buffer(0).subarray(0, step);
    for (let i = 0; i < pattern.length; i++) pattern[i] = (i * 31 + (i >> 12)) & 0xff;
    for (let at = 0; at < bytes; at += step) {
      this.#calls.write(node, handle, at, Math.min(step, bytes - at), path);
    }
    this.#calls.release(node, handle);
  }

  /** Makes a folder, unless it is there. */
  makeFolder(path: string): void {
    if (this.#calls.find(path) !== 0) return;
    const { parent, name } = this.#parentOf(path);
    this.#calls.makeFolder(parent, name);
  }

  /** Makes a folder with the files `f0`, `f1`, … of `bytes` bytes each. */
  makeFiles(path: string, count: number, bytes: number): void {
    this.makeFolder(path);
    const folder = this.#find(path);
    for (let i = 0; i < count; i++) {
      const name = `f${String(i)}`;
      const { node, handle } = this.#calls.create(folder, name);
      if (bytes > 0) this.#calls.write(node, handle, 0, bytes, name);
      this.#calls.release(node, handle);
    }
  }

  /**
   * Forgets all nodes that runs have looked up (FORGET). Outside of any measurement: a node that is
   * not forgotten is known to the server in the next run.
   */
  forget(): void {
    this.#calls.forgetAll();
  }

  /**
   * Runs operations and returns what it measured; files are opened and looked up before. Nothing is
   * in flight before and after.
   *
   * @throws VhostUserError `ERR_VHU_FS_BENCH` when a file is not there, `ERR_VHU_BENCH_STALLED`
   *   when nothing comes back any more, or the code of a ring's fault.
   */
  run(options: FsBenchOptions): FsBenchResult {
    const plan = this.#plan(options);
    try {
      const run = new BenchRun(this.#pollers, options, plan);
      run.loop(this.#setup.stallMs ?? DEFAULTS.stallMs);
      return run.result(plan);
    } finally {
      if (this.#pollers.every((poller) => poller.inFlight === 0)) plan.end();
    }
  }

  /** Forgets, says good-bye (FUSE_DESTROY) and disconnects. */
  async close(): Promise<void> {
    try {
      const idle = this.#pollers.every((poller) => poller.inFlight === 0);
      if (this.#session.connected && idle) {
        this.#calls.forgetAll();
        this.#calls.destroy();
      }
    } finally {
      await this.#session.close();
      for (const poller of this.#pollers) poller.close();
      this.#hiprio.close();
    }
  }

  #plan(options: FsBenchOptions): RunPlan {
    checkOptions(options, this.#pollers[0] as FusePoller);
    const node = this.#find(options.path);
    const { lookups } = this.#calls;
    const count = options.count ?? 0;
    const operationsMax = options.op === 'create' || options.op === 'unlink' ? count : Infinity;
    const blockBytes = options.blockBytes ?? DEFAULTS.blockBytes;
    const plan = { operationsMax, blockBytes: 0, end: () => undefined };
    switch (options.op) {
      case 'read':
      case 'write':
        return this.#transferPlan(node, options, blockBytes);
      case 'lookup':
        return { ...plan, make: (poller) => new LookupOp(poller, node, count, lookups) };
      case 'getattr': {
        const nodes = this.#nodesOf(node, count);
        return { ...plan, make: (poller) => new GetattrOp(poller, nodes) };
      }
      case 'open-read-close': {
        const nodes = this.#nodesOf(node, count);
        return { ...plan, make: (poller) => new OpenReadCloseOp(poller, nodes, blockBytes) };
      }
      case 'create':
        return { ...plan, make: (poller) => new CreateOp(poller, node, lookups) };
      case 'unlink':
        return { ...plan, make: (poller) => new UnlinkOp(poller, node) };
      case 'readdirplus': {
        const bytes = options.blockBytes ?? DEFAULTS.listBytes;
        return { ...plan, make: (poller) => new ReaddirplusOp(poller, node, { bytes, lookups }) };
      }
    }
  }

  #transferPlan(node: number, options: FsBenchOptions, blockBytes: number): RunPlan {
    const { order = 'sequential', path } = options;
    const handle = this.#calls.open(node, LINUX_O.RDWR, path);
    const blocks = Math.floor((options.fileBytes ?? 0) / blockBytes);
    const offsetOf =
      order === 'sequential'
        ? (index: number) => (index % blocks) * blockBytes
        : randomOffsets(blocks, blockBytes, options.seed ?? 1);
    const write = options.op === 'write';
    const file = { node, handle };
    return {
      operationsMax: Infinity,
      blockBytes,
      make: (poller) => new TransferOp(poller, file, { write, blockBytes }, offsetOf),
      end: () => this.#calls.release(node, handle),
    };
  }

  #nodesOf(folder: number, count: number): Float64Array {
    return Float64Array.from({ length: count }, (_, i) => {
      const name = `f${String(i)}`;
      const node = this.#calls.lookup(folder, name);
      if (node !== 0) return node;
      throw new VhostUserError('ERR_VHU_FS_BENCH', `${name}: there is no such file`);
    });
  }

  #find(path: string): number {
    const node = this.#calls.find(path);
    if (node !== 0) return node;
    throw new VhostUserError('ERR_VHU_FS_BENCH', `${path}: there is no such file or folder`);
  }

  #parentOf(path: string): { parent: number; name: string } {
    const parts = path.split('/').filter((each) => each !== '');
    const name = parts.pop() ?? '';
    const parent = parts.length === 0 ? FUSE_ROOT_ID : this.#find(parts.join('/'));
    return { parent, name };
  }
}

/** What a run does on each queue. */
interface RunPlan {
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

class BenchRun {
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
        p50: us(50),
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

/** Offsets of blocks in a random order: xorshift32 (Marsaglia 2003). */
function randomOffsets(blocks: number, blockBytes: number, seed: number): () => number {
  let x = seed | 1;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return ((x >>> 0) % blocks) * blockBytes;
  };
}

function checkRing(queueSize: number, entries: number): void {
  if (entries <= queueSize) return;
  throw new VhostUserError(
    'ERR_VHU_QUEUE_SIZE',
    `queue size ${String(queueSize)}: requests of this size and number take ${String(entries)} ` +
      'entries of the ring',
  );
}

function checkOptions(options: FsBenchOptions, poller: FusePoller): void {
  const { op, depth, count = 0, fileBytes = 0, blockBytes = DEFAULTS.blockBytes } = options;
  assert(depth > 0 && depth <= poller.slotCount, 'each operation in flight has a slot');
  assert(blockBytes > 0 && blockBytes <= poller.bufferBytes, 'a block fits the buffer of a slot');
  if (op === 'read' || op === 'write') {
    assert(fileBytes >= blockBytes, 'the file holds a block');
  } else if (op !== 'readdirplus') {
    assert(count > 0, 'the folder has files');
  }
  const bounded = op === 'create' || op === 'unlink';
  const { operations, durationMs } = options;
  assert(
    bounded || operations !== undefined || durationMs !== undefined,
    'a benchmark ends after some operations, or some time',
  );
}
