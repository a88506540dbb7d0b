/**
 * One queue of a {@link FuseConnection}: requests wait here for a slot, go through shared memory
 * and come back as promises.
 *
 * @module
 */
import { VhostUserError } from '../../util/index.ts';
import { fuseOpcodeName } from '../../fuse/index.ts';
import type { FrontendQueue } from '../queue.ts';
import { FsError } from './errors.ts';
import { ARGS_BYTES_MAX, BAD_REPLY, FusePoller, OUT_BYTES_MAX } from './poller.ts';
import type { FuseSlots } from './poller.ts';

/** Whose request it is, in the guest's numbers. */
export interface FuseIdentity {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
}

/** One FUSE request. What it refers to is the caller's, who leaves it alone meanwhile. */
export interface FuseRequest {
  readonly opcode: number;
  readonly nodeId: number;
  readonly identity: FuseIdentity;
  /** What follows `fuse_in_header`: the structure, names; any bytes at all. */
  readonly args: Uint8Array;
  /** More of the same, which is not copied before the request goes: the data of a WRITE. */
  readonly data?: Uint8Array | undefined;
  /** Room for the answer without its header; `NO_REPLY`: there is none, not even a header. */
  readonly outBytes: number;
  /** Where the answer goes; it has `outBytes` bytes. A new array by default. */
  readonly into?: Uint8Array | undefined;
}

/** A chain of any bytes: what is sent, in pieces, and the pieces of room for an answer. */
export interface RawChain {
  readonly readable: readonly Uint8Array[];
  readonly writableBytes: readonly number[];
}

/** A request on its way, for whoever wants to end it early. */
export interface FuseTicket {
  /** Settles when it has come back. */
  readonly answer: Promise<Uint8Array>;
  /** The `unique` of a request that the device has; 0 before and afterwards. */
  readonly unique: () => number;
  /** Takes a request back that the device has not seen; false when it has, or has answered. */
  readonly cancel: (reason: Error) => boolean;
}

/** A request that waits, or is in flight. */
interface Pending {
  readonly request: FuseRequest | null;
  readonly raw: RawChain | null;
  readonly resolve: (bytes: Uint8Array) => void;
  readonly reject: (error: Error) => void;
  slot: number; // -1 while it waits, and when it has come back
}

/** See the module. */
export class FuseLane {
  readonly queue: FrontendQueue;
  readonly #poller: FusePoller;
  readonly #waiting: Pending[] = [];
  readonly #inFlight: (Pending | null)[]; // by slot
  readonly #idle: number[];
  readonly #onFault: (error: VhostUserError) => void;
  #scheduled = false;
  #end: VhostUserError | null = null;

  /**
   * Takes over a started queue; the slots' memory is borrowed until `fail`.
   * @param onFault the device broke the rules of the ring: everything was rejected, and it is over
   */
  constructor(
    queue: FrontendQueue,
    slots: FuseSlots,
    segmentBytes: number,
    onFault: (error: VhostUserError) => void,
  ) {
    this.queue = queue;
    this.#onFault = onFault;
    const { config: ring, kickFd } = queue;
    this.#poller = new FusePoller({ ring, kickFd, slots, segmentBytes });
    this.#inFlight = Array.from({ length: slots.count }, () => null);
    this.#idle = Array.from({ length: slots.count }, (_, i) => slots.count - 1 - i);
    queue.watchCalls(() => this.collect());
    this.#poller.enableInterrupts();
  }

  /** Requests that wait or are in flight. */
  get load(): number {
    return this.#waiting.length + this.#poller.inFlight;
  }

  /** The most data of one request. */
  get bufferBytes(): number {
    return this.#poller.bufferBytes;
  }

  /** Puts a request in line; it resolves with the answer, which is the caller's. */
  run(request: FuseRequest): FuseTicket {
    return this.#enter(request, null);
  }

  /**
   * Puts a chain in line that may be no request at all; it resolves with all of its writable bytes.
   */
  runRaw(raw: RawChain): Promise<Uint8Array> {
    return this.#enter(null, raw).answer;
  }

  /** Takes what came back. */
  collect(): void {
    if (this.#end !== null) return;
    do {
      this.#poller.poll((slot, error, bytes) => this.#complete(slot, error, bytes));
      const { fault } = this.#poller;
      if (fault !== null) {
        const error = new VhostUserError(fault.code, fault.message);
        this.fail(error);
        this.#onFault(error);
        return;
      }
    } while (this.#poller.enableInterrupts());
    this.#submit();
  }

  /** Ends the lane: everything that waits or is in flight is rejected, and so is what comes. */
  fail(error: VhostUserError): void {
    if (this.#end !== null) return;
    this.#end = error;
    const pending = [...this.#inFlight.filter((each) => each !== null), ...this.#waiting.splice(0)];
    this.#inFlight.fill(null);
    this.#poller.close();
    for (const each of pending) each.reject(laneError(each.request, error));
  }

  #enter(request: FuseRequest | null, raw: RawChain | null): FuseTicket {
    let resolve: Pending['resolve'] = () => undefined;
    let reject: Pending['reject'] = () => undefined;
    const answer = new Promise<Uint8Array>((yes, no) => {
      resolve = yes;
      reject = no;
    });
    const pending: Pending = { request, raw, resolve, reject, slot: -1 };
    if (this.#end !== null) {
      reject(laneError(request, this.#end));
    } else {
      this.#waiting.push(pending);
      this.#schedule();
    }
    return {
      answer,
      unique: () => (pending.slot < 0 ? 0 : this.#poller.uniqueOf(pending.slot)),
      cancel: (reason) => {
        const at = this.#waiting.indexOf(pending);
        if (at < 0) return false;
        this.#waiting.splice(at, 1);
        reject(reason);
        return true;
      },
    };
  }

  /** Submits at the end of this turn, so that requests made together share a kick. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#submit();
    });
  }

  #submit(): void {
    if (this.#end !== null) return;
    let taken = 0;
    for (const pending of this.#waiting) {
      const slot = this.#idle.at(-1);
      if (slot === undefined || !this.#put(slot, pending)) break;
      this.#idle.pop();
      pending.slot = slot;
      this.#inFlight[slot] = pending;
      taken++;
    }
    this.#waiting.splice(0, taken);
    if (taken > 0) this.#poller.kickIfWanted();
  }

  /** False when the ring is full. */
  #put(slot: number, { request, raw }: Pending): boolean {
    const poller = this.#poller;
    if (raw !== null) {
      let at = 0;
      for (const piece of raw.readable) {
        poller.buffer(slot).set(piece, at);
        at += piece.length;
      }
      const lengths = raw.readable.map((piece) => piece.length);
      return poller.submitRaw(slot, lengths, raw.writableBytes);
    }
    const { opcode, nodeId, identity, args, data, outBytes } = request as FuseRequest;
    const argBytes = Math.min(args.length, ARGS_BYTES_MAX);
    poller.controlBytes.set(args.subarray(0, argBytes), poller.argsAt(slot));
    const rest = args.length - argBytes;
    const dataIn = rest + (data?.length ?? 0);
    if (dataIn > 0) {
      const buffer = poller.buffer(slot);
      buffer.set(args.subarray(argBytes));
      if (data !== undefined) buffer.set(data, rest);
    }
    poller.uid = identity.uid;
    poller.gid = identity.gid;
    poller.pid = identity.pid;
    const inBlock = outBytes <= OUT_BYTES_MAX;
    const [out, dataOut] = inBlock ? [outBytes, 0] : [0, outBytes];
    return poller.submit(slot, opcode, nodeId, argBytes, dataIn, out, dataOut);
  }

  #complete(slot: number, error: number, bytes: number): void {
    const pending = this.#inFlight[slot];
    if (pending === null || pending === undefined) return; // the ring has checked that it is ours
    this.#inFlight[slot] = null;
    this.#idle.push(slot);
    pending.slot = -1;
    const { request, raw } = pending;
    if (raw !== null) {
      const from = raw.readable.reduce((sum, piece) => sum + piece.length, 0);
      const all = raw.writableBytes.reduce((sum, length) => sum + length, 0);
      const used = Math.min(this.#poller.usedBytes, all);
      pending.resolve(this.#poller.buffer(slot).slice(from, from + used));
    } else if (request !== null && error === 0) {
      pending.resolve(this.#answer(slot, request, bytes));
    } else if (request !== null) {
      pending.reject(answerError(request, error));
    }
  }

  #answer(slot: number, request: FuseRequest, bytes: number): Uint8Array {
    const { outBytes, into } = request;
    if (outBytes <= 0 || bytes === 0) return into?.subarray(0, 0) ?? new Uint8Array(0);
    const at = this.#poller.outAt(slot);
    const from =
      outBytes <= OUT_BYTES_MAX
        ? this.#poller.controlBytes.subarray(at, at + bytes)
        : this.#poller.buffer(slot).subarray(0, bytes);
    if (into === undefined) return from.slice();
    into.set(from);
    return into.subarray(0, bytes);
  }
}

/** What bounds a request. */
export interface RequestLimits {
  readonly bufferBytes: number;
  readonly segmentBytes: number;
  readonly queueSize: number;
}

/** Whether a slot and the ring can hold a request. */
export function requestFits(request: FuseRequest, limits: RequestLimits): boolean {
  const { bufferBytes, segmentBytes, queueSize } = limits;
  const { args, data, outBytes } = request;
  const dataIn = Math.max(0, args.length - ARGS_BYTES_MAX) + (data?.length ?? 0);
  const dataOut = outBytes <= OUT_BYTES_MAX ? 0 : outBytes;
  const pieces = Math.ceil(dataIn / segmentBytes) + Math.ceil(dataOut / segmentBytes);
  return dataIn <= bufferBytes && dataOut <= bufferBytes && 4 + pieces <= queueSize;
}

function answerError(request: FuseRequest, error: number): Error {
  const syscall = fuseOpcodeName(request.opcode).toLowerCase();
  if (error !== BAD_REPLY) return new FsError(-error, { syscall });
  return new VhostUserError(
    'ERR_VHU_FS_REPLY',
    `${syscall} of node ${String(request.nodeId)}: what came back is no answer to it`,
  );
}

function laneError(request: FuseRequest | null, { code, message }: VhostUserError): Error {
  const what = request === null ? 'a chain' : fuseOpcodeName(request.opcode).toLowerCase();
  return new VhostUserError(code, `${what}: ${message}`);
}
