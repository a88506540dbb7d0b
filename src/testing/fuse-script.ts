/**
 * A virtio-fs device whose answers a test writes, byte by byte if it likes: the counterpart of a
 * client. Knows no files; for a real one see `devices/fs`.
 *
 * @module
 */
import type { Chain, Virtqueue } from '../virtqueue/index.ts';
import type { DataPlaneContext, Device, LocalDataPlane } from '../backend/index.ts';
import { FUSE_IN_HEADER, FUSE_OPCODE, FUSE_OUT_HEADER, LINUX_E } from '../fuse/index.ts';
import { FS_CONFIG, FS_DEVICE_ID } from '../frontend/index.ts';

const FORGETS: readonly number[] = [FUSE_OPCODE.FORGET, FUSE_OPCODE.BATCH_FORGET];

/** A request as it came. */
export interface ScriptedRequest {
  readonly queueIndex: number;
  readonly opcode: number;
  readonly unique: number;
  readonly nodeId: number;
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  /** What follows the header. */
  readonly body: Buffer;
  /** Room for the answer without its header; negative when there is not even room for that. */
  readonly roomBytes: number;
  /** Bytes of all that was sent. */
  readonly readableBytes: number;
}

/**
 * The answer: bytes after a good header, a negative errno of Linux (0: nothing but the header),
 * all bytes with their header and how many the device says it wrote, `'silent'` for none at all,
 * `'hold'`: not yet, but with {@link FuseScript.release}.
 */
export type ScriptedAnswer =
  | Uint8Array
  | number
  | { readonly raw: Uint8Array; readonly usedBytes: number }
  | 'silent'
  | 'hold';

/** How a {@link FuseScript} is made. */
export interface FuseScriptOptions {
  readonly tag?: string;
  /** Queues for requests; 1 by default. */
  readonly requestQueues?: number;
  /** Decides about each request; undefined: FORGET is taken, all others are ENOSYS. */
  readonly answer?: (request: ScriptedRequest) => ScriptedAnswer | undefined;
}

/** See the module. Serves queues on the event loop. */
export class FuseScript implements Device {
  readonly name = 'fuse-script';
  readonly deviceId: number = FS_DEVICE_ID;
  readonly queueCount: number;
  readonly queueSizeMax = 1024;
  readonly features = 0n;
  readonly dataPlane: LocalDataPlane;
  /** All requests that came. */
  readonly requests: ScriptedRequest[] = [];
  /** See {@link FuseScriptOptions}. */
  answer: (request: ScriptedRequest) => ScriptedAnswer | undefined;
  readonly #tag: string;
  readonly #held = new Map<number, { readonly queue: Virtqueue; readonly chain: Chain }>();
  #context: DataPlaneContext | null = null;

  constructor(options: FuseScriptOptions = {}) {
    this.queueCount = 1 + (options.requestQueues ?? 1);
    this.#tag = options.tag ?? 'script';
    this.answer = options.answer ?? (() => undefined);
    this.dataPlane = {
      kind: 'local',
      create: (context) => {
        this.#context = context;
        return {
          serve: (queue, budget) => this.#serve(queue, budget),
          queueStopping: (queue) => this.#stop(queue),
        };
      },
    };
  }

  /** The requests of one kind that came. */
  of(opcode: number): ScriptedRequest[] {
    return this.requests.filter((request) => request.opcode === opcode);
  }

  /** Answers a request that is held. */
  release(unique: number, answer: ScriptedAnswer): void {
    const held = this.#held.get(unique);
    if (held === undefined) throw new RangeError(`request ${String(unique)} is not held`);
    this.#held.delete(unique);
    finish(held.queue, held.chain, unique, answer);
    this.#context?.flush();
  }

  attach(): void {
    // Nothing is asked of the back-end.
  }

  readConfig(): Uint8Array {
    const bytes = new Uint8Array(FS_CONFIG.SIZE);
    bytes.set(Buffer.from(this.#tag));
    new DataView(bytes.buffer).setUint32(FS_CONFIG.numRequestQueues, this.queueCount - 1, true);
    return bytes;
  }

  close(): void {
    this.#held.clear();
  }

  #serve(queue: Virtqueue, budget: number): number {
    let count = 0;
    for (; count < budget; count++) {
      const chain = queue.pop();
      if (chain === null) break;
      const request = requestOf(queue, chain);
      this.requests.push(request);
      const fallback = FORGETS.includes(request.opcode) ? 'silent' : -LINUX_E.NOSYS;
      const answer = this.answer(request) ?? fallback;
      if (answer === 'hold') this.#held.set(request.unique, { queue, chain });
      else finish(queue, chain, request.unique, answer);
    }
    return count;
  }

  #stop(queue: Virtqueue): void {
    for (const [unique, held] of this.#held) {
      if (held.queue !== queue) continue;
      this.#held.delete(unique);
      finish(queue, held.chain, unique, -LINUX_E.INTR);
    }
    this.#context?.flush();
  }
}

function requestOf(queue: Virtqueue, chain: Chain): ScriptedRequest {
  const { readableBytes } = chain;
  const bytes = Buffer.alloc(Math.max(readableBytes, FUSE_IN_HEADER.SIZE));
  chain.copyFromReadable(0, bytes.subarray(0, readableBytes));
  return {
    queueIndex: queue.index,
    opcode: bytes.readUInt32LE(FUSE_IN_HEADER.opcode),
    unique: Number(bytes.readBigUInt64LE(FUSE_IN_HEADER.unique)),
    nodeId: Number(bytes.readBigUInt64LE(FUSE_IN_HEADER.nodeid)),
    uid: bytes.readUInt32LE(FUSE_IN_HEADER.uid),
    gid: bytes.readUInt32LE(FUSE_IN_HEADER.gid),
    pid: bytes.readUInt32LE(FUSE_IN_HEADER.pid),
    body: bytes.subarray(FUSE_IN_HEADER.SIZE),
    roomBytes: chain.writableBytes - FUSE_OUT_HEADER.SIZE,
    readableBytes,
  };
}

function finish(queue: Virtqueue, chain: Chain, unique: number, answer: ScriptedAnswer): void {
  if (answer === 'silent' || answer === 'hold') {
    queue.push(chain, 0);
    return;
  }
  if (typeof answer === 'object' && 'raw' in answer) {
    chain.copyToWritable(0, answer.raw);
    queue.push(chain, answer.usedBytes);
    return;
  }
  const payload = typeof answer === 'number' ? new Uint8Array(0) : answer;
  const bytes = Buffer.alloc(FUSE_OUT_HEADER.SIZE + payload.length);
  bytes.writeUInt32LE(bytes.length, FUSE_OUT_HEADER.len);
  bytes.writeInt32LE(typeof answer === 'number' ? answer : 0, FUSE_OUT_HEADER.error);
  bytes.writeBigUInt64LE(BigInt(unique), FUSE_OUT_HEADER.unique);
  bytes.set(payload, FUSE_OUT_HEADER.SIZE);
  chain.copyToWritable(0, bytes);
  queue.push(chain, bytes.length);
}
