/**
 * The loop of a file system benchmark: keeps queues full of operations of one kind and measures.
 *
 * @module
 */
import { VhostUserError, assert } from '../../util/index.ts';
import { FUSE_ROOT_ID, LINUX_O } from '../../fuse/index.ts';
import { virtioFeatures } from '../../protocol/index.ts';
import { splitRingLayout } from '../../virtqueue/index.ts';
import { FrontendSession } from '../session.ts';
import { BenchCalls } from './bench-calls.ts';
import type { FsBenchOptions, FsBenchResult, FsBenchSetup } from './bench-options.ts';
import {
  CreateOp,
  GetattrOp,
  LookupOp,
  OpenReadCloseOp,
  ReaddirplusOp,
  TransferOp,
  UnlinkOp,
} from './bench-ops.ts';
import { BenchRun } from './bench-run.ts';
import type { RunPlan } from './bench-run.ts';
import { FS_HIPRIO_QUEUE, FS_REQUEST_QUEUE, readFsInfo } from './config.ts';
import type { FsInfo } from './config.ts';
import type { FuseAgreement } from './init.ts';
import { FusePoller, fuseSegmentsMax, fuseSlotBytes } from './poller.ts';

const PAGE_BYTES = 4096;
const HIPRIO_SIZE = 16;

const DEFAULTS = {
  depthMax: 16,
  blockBytesMax: 1024 * 1024,
  queueCount: 1,
  queueSize: 256,
  stallMs: 10_000,
  blockBytes: 4096,
  listBytes: 32 * 1024, // what glibc asks a kernel for
} as const;

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
      await this.disconnect();
    }
  }

  /** Disconnects without a word, as a guest that is killed: the device is told of nothing. */
  async disconnect(): Promise<void> {
    await this.#session.close();
    for (const poller of this.#pollers) poller.close();
    this.#hiprio.close();
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
