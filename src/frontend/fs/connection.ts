/**
 * FUSE requests to any vhost-user-fs back-end, without a VM: what the guest's kernel has below its
 * file system. Knows queues, the two kinds of them, FUSE_INIT and INTERRUPT; knows nothing of
 * paths.
 *
 * @module
 */
import { VhostUserError, errorCode } from '../../util/index.ts';
import {
  FUSE_INIT_IN,
  FUSE_INIT_OUT,
  FUSE_INTERRUPT_IN,
  FUSE_OPCODE,
  fuseOpcodeName,
} from '../../fuse/index.ts';
import { splitRingLayout } from '../../virtqueue/index.ts';
import { FrontendSession } from '../session.ts';
import { FS_HIPRIO_QUEUE, FS_REQUEST_QUEUE, readFsInfo } from './config.ts';
import type { FsInfo } from './config.ts';
import { encodeInit, parseInit } from './init.ts';
import type { FuseAgreement, FuseInitRequest } from './init.ts';
import { FuseLane, requestFits } from './lane.ts';
import type { FuseIdentity, FuseRequest, FuseTicket, RawChain, RequestLimits } from './lane.ts';
import { NO_REPLY, fuseSegmentsMax, fuseSlotBytes } from './poller.ts';
import { putU64 } from './wire.ts';

const PAGE_BYTES = 4096;
const HIPRIO_SLOTS = 8;
const HIPRIO_BUFFER_BYTES = 16 * 1024;
const INTERRUPT_RETRY_MS = 10; // a server that has not met the request yet says EAGAIN
const INTERRUPT_TRIES_MAX = 100;

const DEFAULTS = {
  queueCount: 1,
  queueSize: 128,
  slotCount: 32,
  bufferBytes: 1024 * 1024,
} as const;

/** How a {@link FuseConnection} is made. */
export interface FuseConnectionOptions {
  /** Request queues to use, if the device has so many; 1 by default. */
  readonly queueCount?: number;
  /** Entries of each ring, a power of two; 128 by default. */
  readonly queueSize?: number;
  /** Requests in flight on each queue; 32 by default. More of them wait. */
  readonly slotCount?: number;
  /** The most data of one request; 1 MiB by default. */
  readonly bufferBytes?: number;
  /** Data in pieces of so many bytes, as a guest's pages are; in one piece by default. */
  readonly segmentBytes?: number;
  /** Whose requests these are; root's of the guest by default. */
  readonly identity?: FuseIdentity;
  /** What FUSE_INIT asks for; null: it is not sent, for tests. */
  readonly init?: FuseInitRequest | null;
  /** See `FrontendSessionOptions`. */
  readonly ringFeatures?: bigint;
  readonly protocolFeatures?: bigint;
  readonly replyTimeoutMs?: number;
  readonly connectWaitMs?: number;
  /** Something went wrong that does not end the session. */
  readonly onError?: (error: VhostUserError) => void;
  /** The session has ended: by an error (it still has to be closed), or null after `close`. */
  readonly onEnd?: (error: VhostUserError | null) => void;
}

/** What a request needs beyond its code and node. */
export interface FuseRequestOptions {
  /** What follows `fuse_in_header`; nothing by default. */
  readonly args?: Uint8Array;
  /** More of it, which is not copied before the request goes: the data of a WRITE. */
  readonly data?: Uint8Array;
  /** Room for the answer without its header, 0 by default. */
  readonly outBytes?: number;
  /** Where the answer goes, in place of a new array. */
  readonly into?: Uint8Array;
  /** Whose request it is. */
  readonly identity?: FuseIdentity;
  /**
   * Ends the request early: it is taken back, or the server is asked to answer soon (INTERRUPT).
   * One that the server carries out nevertheless resolves.
   */
  readonly signal?: AbortSignal | undefined;
}

const NO_BYTES = new Uint8Array(0);

/**
 * See the module. Requests may be made at any time, any number of them; answers come in any order.
 * A request rejects with an `FsError` when the server says no, with `ERR_VHU_FS_REPLY` when it
 * answers what is no answer, and with what ended the session.
 *
 * ```ts
 * const fuse = await FuseConnection.connect('/tmp/fs.sock');
 * const args = new Uint8Array(FUSE_GETATTR_IN.SIZE);
 * const outBytes = FUSE_ATTR_OUT.SIZE;
 * const answer = await fuse.request(FUSE_OPCODE.GETATTR, FUSE_ROOT_ID, { args, outBytes });
 * const view = new DataView(answer.buffer);
 * console.log(view.getUint32(FUSE_ATTR_OUT.attr + FUSE_ATTR.mode, true).toString(8)); // 40755
 * await fuse.close();
 * ```
 */
export class FuseConnection {
  readonly session: FrontendSession;
  readonly info: FsInfo;
  readonly identity: FuseIdentity;
  readonly #options: FuseConnectionOptions;
  #agreement: FuseAgreement | null = null;
  #hiprio: FuseLane | null = null;
  #lanes: readonly FuseLane[] = [];
  #closing: Promise<void> | null = null;

  private constructor(session: FrontendSession, info: FsInfo, options: FuseConnectionOptions) {
    this.session = session;
    this.info = info;
    this.identity = options.identity ?? { uid: 0, gid: 0, pid: 0 };
    this.#options = options;
  }

  /**
   * Connects to a back-end that listens on `socketPath`, starts the queues and sends FUSE_INIT.
   * @throws VhostUserError see `FrontendSession.open`, and `ERR_VHU_FS_INIT`, `ERR_VHU_FS_REPLY`;
   *   FsError when the server refuses FUSE_INIT.
   */
  static connect(socketPath: string, options: FuseConnectionOptions = {}): Promise<FuseConnection> {
    return FuseConnection.#open({ socketPath }, options);
  }

  /** The same on a connected socket, which the connection takes over. */
  static fromFd(fd: number, options: FuseConnectionOptions = {}): Promise<FuseConnection> {
    return FuseConnection.#open({ fd }, options);
  }

  static async #open(
    address: { readonly socketPath: string } | { readonly fd: number },
    options: FuseConnectionOptions,
  ): Promise<FuseConnection> {
    let connection: FuseConnection | null = null;
    const session = await FrontendSession.open({
      ...sessionOptions(options),
      ...address,
      memoryBytes: memoryBytesOf(options),
      onEnd: (error) => {
        if (connection !== null) connection.#onEnd(error);
      },
    });
    try {
      const info = await readFsInfo(session);
      const opened = new FuseConnection(session, info, options);
      connection = opened;
      await opened.#start();
      if (options.init !== null) await opened.init(options.init ?? {});
      return opened;
    } catch (error) {
      if (connection === null) await session.close();
      else await connection.close();
      throw error;
    }
  }

  /** What FUSE_INIT has agreed on. @throws VhostUserError `ERR_VHU_FS_INIT` before it. */
  get agreement(): FuseAgreement {
    if (this.#agreement !== null) return this.#agreement;
    throw new VhostUserError('ERR_VHU_FS_INIT', 'FUSE_INIT has not been sent');
  }

  /** The longest read and the longest write: what the server takes, and a slot holds. */
  get readBytesMax(): number {
    return Math.min(this.agreement.readBytesMax, this.#bufferBytes);
  }

  /** See `readBytesMax`. */
  get writeBytesMax(): number {
    return Math.min(this.agreement.writeBytesMax, this.#bufferBytes);
  }

  /** Request queues that are in use. */
  get queueCount(): number {
    return this.#lanes.length;
  }

  /** Sends FUSE_INIT, as `connect` does; a second one begins a new session with the server. */
  async init(request: FuseInitRequest = {}): Promise<FuseAgreement> {
    const args = new Uint8Array(FUSE_INIT_IN.SIZE);
    encodeInit(new DataView(args.buffer), 0, request);
    const outBytes = FUSE_INIT_OUT.SIZE;
    const answer = await this.request(FUSE_OPCODE.INIT, 0, { args, outBytes });
    const padded = new DataView(new ArrayBuffer(FUSE_INIT_OUT.SIZE)); // older servers say less
    new Uint8Array(padded.buffer).set(answer);
    this.#agreement = parseInit(padded, 0, request);
    return this.#agreement;
  }

  /**
   * Sends a request and resolves with its answer, without its header; the bytes are the caller's.
   */
  async request(
    opcode: number,
    nodeId: number,
    options: FuseRequestOptions = {},
  ): Promise<Uint8Array> {
    const { signal, into } = options;
    signal?.throwIfAborted();
    const request: FuseRequest = {
      opcode,
      nodeId,
      identity: options.identity ?? this.identity,
      args: options.args ?? NO_BYTES,
      data: options.data,
      outBytes: into?.length ?? options.outBytes ?? 0,
      into,
    };
    if (!requestFits(request, this.#limits)) {
      const { bufferBytes, queueSize } = this.#limits;
      throw new VhostUserError(
        'ERR_VHU_FS_REQUEST',
        `${fuseOpcodeName(opcode).toLowerCase()}: it does not fit a buffer of ` +
          `${String(bufferBytes)} bytes and a ring of ${String(queueSize)} entries`,
      );
    }
    const ticket = this.#lane().run(request);
    if (signal === undefined) return ticket.answer;
    return this.#abortable(ticket, signal);
  }

  /**
   * Sends a request that has no answer (FORGET) on the high-priority queue; resolves when the
   * server has taken it.
   */
  async post(opcode: number, nodeId: number, args: Uint8Array): Promise<void> {
    const { identity } = this;
    const request = { opcode, nodeId, identity, args, outBytes: NO_REPLY };
    await this.#hiprioLane().run(request).answer;
  }

  /**
   * Sends any bytes, in pieces as given, and resolves with what the device wrote: as many bytes as
   * it says it has, of those that the writable pieces hold. For tests.
   */
  async exchange(raw: RawChain, queue: 'requests' | 'hiprio' = 'requests'): Promise<Uint8Array> {
    const lane = queue === 'hiprio' ? this.#hiprioLane() : this.#lane();
    const bytes = (total: number, each: number): number => total + each;
    const readable = raw.readable.map((piece) => piece.length).reduce(bytes, 0);
    const pieces = raw.readable.length + raw.writableBytes.length;
    const fits = raw.writableBytes.reduce(bytes, readable) <= lane.bufferBytes;
    if (fits && pieces > 0 && pieces <= lane.queue.size) return lane.runRaw(raw);
    throw new VhostUserError(
      'ERR_VHU_FS_REQUEST',
      `a chain of no pieces, of more than ${String(lane.queue.size)}, or of more than ` +
        `${String(lane.bufferBytes)} bytes`,
    );
  }

  /**
   * Asks the server to answer a request soon, by its `unique`; `request` does so for its signal.
   * Rejects with `EAGAIN` when the server does not know the request (yet).
   */
  async interrupt(unique: number): Promise<void> {
    const args = new Uint8Array(FUSE_INTERRUPT_IN.SIZE);
    putU64(new DataView(args.buffer), FUSE_INTERRUPT_IN.unique, unique);
    const { identity } = this;
    const request = { opcode: FUSE_OPCODE.INTERRUPT, nodeId: 0, identity, args, outBytes: 0 };
    try {
      await this.#hiprioLane().run(request).answer;
    } catch (error) {
      // A server may say nothing at all, which is no answer and is well.
      if (errorCode(error) !== 'ERR_VHU_FS_REPLY') throw error;
    }
  }

  /** Lets the server finish what it holds, and ends the session; what still waits is rejected. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const closed = new VhostUserError('ERR_VHU_CLOSED', 'the connection was closed');
    const stops = this.#allLanes().map(async (lane) => {
      if (this.session.connected) await this.session.stopQueue(lane.queue);
      lane.collect();
    });
    await Promise.allSettled(stops);
    for (const lane of this.#allLanes()) lane.fail(closed);
    await this.session.close();
  }

  get #limits(): RequestLimits {
    const { segmentBytes = Infinity, queueSize = DEFAULTS.queueSize } = this.#options;
    return { bufferBytes: this.#bufferBytes, segmentBytes, queueSize };
  }

  get #bufferBytes(): number {
    return this.#options.bufferBytes ?? DEFAULTS.bufferBytes;
  }

  async #start(): Promise<void> {
    const { queueCount = DEFAULTS.queueCount, slotCount = DEFAULTS.slotCount } = this.#options;
    const { queueSize = DEFAULTS.queueSize, segmentBytes } = this.#options;
    const segments = fuseSegmentsMax(this.#bufferBytes, segmentBytes);
    if (queueSize < segments) {
      const text = `queue size ${String(queueSize)}: a request takes ${String(segments)} entries`;
      throw new VhostUserError('ERR_VHU_QUEUE_SIZE', text);
    }
    this.#hiprio = await this.#startLane(FS_HIPRIO_QUEUE, queueSize, {
      count: Math.min(HIPRIO_SLOTS, queueSize),
      bufferBytes: HIPRIO_BUFFER_BYTES,
    });
    const lanes: FuseLane[] = [];
    const count = Math.min(queueCount, this.info.requestQueueCount);
    for (let index = FS_REQUEST_QUEUE; index < FS_REQUEST_QUEUE + count; index++) {
      const slots = { count: slotCount, bufferBytes: this.#bufferBytes };
      lanes.push(await this.#startLane(index, queueSize, slots));
      this.#lanes = lanes;
    }
  }

  async #startLane(
    index: number,
    size: number,
    slots: { readonly count: number; readonly bufferBytes: number },
  ): Promise<FuseLane> {
    const { session } = this;
    const { segmentBytes = Infinity } = this.#options;
    const indirectMax = Math.min(size, fuseSegmentsMax(slots.bufferBytes, segmentBytes));
    const queue = await session.startQueue({ index, size, indirectMax });
    const bytes = fuseSlotBytes(slots.count, slots.bufferBytes);
    const { gpa, hva } = session.memory.allocate(bytes, PAGE_BYTES);
    const onFault = (error: VhostUserError): void => this.#onFault(error);
    return new FuseLane(queue, { ...slots, gpa, hva }, segmentBytes, onFault);
  }

  /** The queue that is the least busy. */
  #lane(): FuseLane {
    let best = this.#lanes[0] as FuseLane;
    for (const lane of this.#lanes) if (lane.load < best.load) best = lane;
    return best;
  }

  #hiprioLane(): FuseLane {
    return this.#hiprio as FuseLane;
  }

  #allLanes(): FuseLane[] {
    return this.#hiprio === null ? [...this.#lanes] : [this.#hiprio, ...this.#lanes];
  }

  async #abortable(ticket: FuseTicket, signal: AbortSignal): Promise<Uint8Array> {
    const onAbort = (): void => {
      const reason = signal.reason as Error;
      if (!ticket.cancel(reason)) void this.#interruptUntilAnswered(ticket);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      return await ticket.answer;
    } catch (error) {
      if (signal.aborted && errorCode(error) === 'EINTR') throw signal.reason;
      throw error;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** A server may meet the interrupt before the request, which is on another queue. */
  async #interruptUntilAnswered(ticket: FuseTicket): Promise<void> {
    for (let tries = 0; tries < INTERRUPT_TRIES_MAX; tries++) {
      const unique = ticket.unique();
      if (unique === 0 || !this.session.connected) return;
      try {
        await this.interrupt(unique);
        return;
      } catch (error) {
        if (errorCode(error) !== 'EAGAIN') return; // it has no such thing, or is gone
      }
      await new Promise((resolve) => setTimeout(resolve, INTERRUPT_RETRY_MS));
    }
  }

  #onEnd(error: VhostUserError | null): void {
    const closed = new VhostUserError('ERR_VHU_CLOSED', 'the connection was closed');
    for (const lane of this.#allLanes()) {
      if (error !== null) lane.collect(); // what came back before is still good
      lane.fail(error ?? closed);
    }
    this.#options.onEnd?.(error);
  }

  /** A device that lies about one ring is not to be believed about the others. */
  #onFault(error: VhostUserError): void {
    for (const lane of this.#allLanes()) lane.fail(error);
    this.#options.onError?.(error);
    void this.close();
  }
}

function sessionOptions(options: FuseConnectionOptions): {
  readonly features: bigint;
  readonly ringFeatures?: bigint;
  readonly protocolFeatures?: bigint;
  readonly replyTimeoutMs?: number;
  readonly connectWaitMs?: number;
  readonly onError?: (error: VhostUserError) => void;
} {
  const { ringFeatures, protocolFeatures, replyTimeoutMs, connectWaitMs, onError } = options;
  return {
    features: 0n, // with VIRTIO_FS_F_NOTIFICATION the request queues would begin at 2
    ...(ringFeatures === undefined ? {} : { ringFeatures }),
    ...(protocolFeatures === undefined ? {} : { protocolFeatures }),
    ...(replyTimeoutMs === undefined ? {} : { replyTimeoutMs }),
    ...(connectWaitMs === undefined ? {} : { connectWaitMs }),
    ...(onError === undefined ? {} : { onError }),
  };
}

/** Shared memory for rings and slots. */
function memoryBytesOf(options: FuseConnectionOptions): number {
  const { queueCount = DEFAULTS.queueCount, queueSize = DEFAULTS.queueSize } = options;
  const { slotCount = DEFAULTS.slotCount, bufferBytes = DEFAULTS.bufferBytes } = options;
  const { segmentBytes = Infinity } = options;
  const bytesOf = (slots: number, buffer: number): number => {
    const segments = Math.min(queueSize, fuseSegmentsMax(buffer, segmentBytes));
    const ring = splitRingLayout(queueSize, segments).totalBytes;
    return ring + fuseSlotBytes(slots, buffer) + 3 * PAGE_BYTES;
  };
  return bytesOf(HIPRIO_SLOTS, HIPRIO_BUFFER_BYTES) + queueCount * bytesOf(slotCount, bufferBytes);
}
