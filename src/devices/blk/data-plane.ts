/**
 * Serves the virtqueues of a disk, on a worker thread.
 *
 * Each request occupies a slot while it goes through its phases: a transfer (read or write), a
 * range (discard, zeroes), and a sync for a flush or after a write that must be durable. A transfer
 * that comes back short goes on where it ended. Whatever happens, each chain is given back once,
 * with a status.
 *
 * @module
 */
import { assert } from '../../util/index.ts';
import { ERRNO, errnoName } from '../../sys/index.ts';
import type { Chain, Virtqueue } from '../../virtqueue/index.ts';
import { COUNTER } from '../../backend/index.ts';
import type { DataPlane, DataPlaneContext, DataPlaneFactory } from '../../backend/index.ts';
import { Bounce, writeZeroes } from './bounce.ts';
import type { DirectIo } from './bounce.ts';
import { DISCARD_RANGES_MAX, RANGE_SECTORS_MAX, ZERO_RANGES_MAX } from './config.ts';
import { PENDING, RANGE_OP } from './engine/engine.ts';
import type { BlkEngine, EngineImage } from './engine/engine.ts';
import { CachedEngine } from './engine/cached.ts';
import { PreadEngine } from './engine/pread.ts';
import { UringEngine } from './engine/uring.ts';
import {
  RANGE,
  RANGE_F_UNMAP,
  REQUEST_HEADER,
  SECTOR_BYTES,
  VIRTIO_BLK_F,
  VIRTIO_BLK_ID_BYTES,
  VIRTIO_BLK_S,
  VIRTIO_BLK_T,
} from './layout.ts';
import type { BlkEngineName } from './options.ts';
import { PHASE, RequestSlots } from './requests.ts';

/** What the main thread hands over. Plain data; the fds stay the main thread's. */
export interface BlkPlaneOptions {
  readonly image: EngineImage;
  /** Null: through the page cache. */
  readonly direct: DirectIo | null;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly discard: boolean;
  readonly serial: string;
  readonly engine: BlkEngineName;
  /** Requests that the queues of one thread can hold together. */
  readonly slotCount: number;
}

/** What the main thread tells later. */
export type BlkControl =
  | { readonly kind: 'resize'; readonly sizeBytes: number }
  | { readonly kind: 'writeback'; readonly writeback: boolean };

const EINTR = -(ERRNO.EINTR as number);
const EAGAIN = -(ERRNO.EAGAIN as number);
const EINVAL = -(ERRNO.EINVAL as number);
const EOPNOTSUPP = -(ERRNO.EOPNOTSUPP as number);

/** Attempts of a call that a signal interrupts before it counts as failed. */
const ATTEMPTS_MAX = 1000;
/** Lines about I/O errors, after which one says that there will be no more. */
const ERROR_LINES_MAX = 20;

/** See the module. */
export class BlkDataPlane implements DataPlane {
  readonly #options: BlkPlaneOptions;
  readonly #context: DataPlaneContext;
  readonly #counters: Float64Array;
  readonly #engine: BlkEngine;
  readonly #slots: RequestSlots;
  readonly #bounce: Bounce | null;
  readonly #id = new Uint8Array(VIRTIO_BLK_ID_BYTES);
  readonly #readOnly: boolean;
  #sizeBytes: number;
  /** A write has to be durable before its request is finished. */
  #writeThrough = false;
  #features = 0n;
  #writeback = true;
  #errorLines = 0;
  /** Calls that were carried out at once and may have taken long. */
  #longCalls = 0;

  constructor(context: DataPlaneContext, options: BlkPlaneOptions) {
    this.#options = options;
    this.#context = context;
    this.#counters = context.counters;
    this.#sizeBytes = options.sizeBytes;
    this.#readOnly = options.readOnly;
    this.#slots = new RequestSlots(options.slotCount);
    this.#bounce = options.direct === null ? null : new Bounce(options.image.fd, options.direct);
    new TextEncoder().encodeInto(options.serial, this.#id);
    this.#engine = this.#pickEngine(options);
    context.log('debug', `the image is read and written by ${this.#engine.name}`);
  }

  serve(queue: Virtqueue, budget: number): number {
    let taken = 0;
    const before = this.#longCalls;
    // After a long call the rest waits for the next round, so that orders are taken in between.
    while (taken < budget && !this.#slots.full && this.#longCalls === before) {
      const chain = queue.pop();
      if (chain === null) break;
      taken++;
      this.#begin(queue, chain);
    }
    return taken;
  }

  full(): boolean {
    return this.#slots.full;
  }

  queueStopping(): void {
    this.#slots.giveBack();
  }

  featuresNegotiated(features: bigint): void {
    this.#features = features;
    this.#decideWriteThrough();
  }

  control(message: unknown): void {
    const order = message as BlkControl;
    if (order.kind === 'resize') {
      this.#sizeBytes = order.sizeBytes;
    } else {
      this.#writeback = order.writeback;
      this.#decideWriteThrough();
    }
  }

  close(): void {
    this.#slots.close();
    this.#bounce?.close();
  }

  /**
   * Section 5.2.6.2: CONFIG_WCE lets the driver say; without FLUSH nothing else makes data durable.
   */
  #decideWriteThrough(): void {
    const says = (this.#features & VIRTIO_BLK_F.CONFIG_WCE) !== 0n;
    const canFlush = (this.#features & VIRTIO_BLK_F.FLUSH) !== 0n;
    this.#writeThrough = says ? !this.#writeback : !canFlush;
  }

  #pickEngine(options: BlkPlaneOptions): BlkEngine {
    const { uring } = this.#context.reactor;
    const { engine, direct, image } = options;
    const inMemory = image.inMemory && engine === 'auto';
    if (uring === null || engine === 'pread' || inMemory) return new PreadEngine(image);
    const base = this.#context.reactor.onCompletion((slot, result) => {
      if (!this.#settle(slot, result)) this.#run(slot);
    });
    const cached = engine === 'auto' && direct === null;
    return cached ? new CachedEngine(image, uring, base) : new UringEngine(image, uring, base);
  }

  /** Takes a request apart (section 5.2.6) and starts it, or answers it at once. */
  #begin(queue: Virtqueue, chain: Chain): void {
    bump(this.#counters, COUNTER.requests, 1);
    if (chain.readableBytes < REQUEST_HEADER.SIZE || chain.writableBytes < 1) {
      // There may be no byte for a status: the driver gets its chain back with nothing written.
      bump(this.#counters, COUNTER.guestFaults, 1);
      queue.push(chain, 0);
      return;
    }
    const type = chain.readableU32(REQUEST_HEADER.type);
    if (type === VIRTIO_BLK_T.IN) {
      this.#beginTransfer(queue, chain, PHASE.read, chain.writableBytes - 1);
    } else if (type === VIRTIO_BLK_T.OUT) {
      this.#beginTransfer(queue, chain, PHASE.write, chain.readableBytes - REQUEST_HEADER.SIZE);
    } else if (type === VIRTIO_BLK_T.FLUSH) {
      bump(this.#counters, COUNTER.flushes, 1);
      this.#start(this.#slots.take(queue, chain), PHASE.sync, 0, 0);
    } else if (type === VIRTIO_BLK_T.GET_ID) {
      chain.copyToWritable(0, this.#id.subarray(0, chain.writableBytes - 1));
      this.#answer(queue, chain, VIRTIO_BLK_S.OK);
    } else if (type === VIRTIO_BLK_T.DISCARD || type === VIRTIO_BLK_T.WRITE_ZEROES) {
      this.#beginRanges(queue, chain, type);
    } else {
      this.#answer(queue, chain, VIRTIO_BLK_S.UNSUPP);
    }
  }

  #beginTransfer(queue: Virtqueue, chain: Chain, phase: number, lengthBytes: number): void {
    const offset = chain.readableU64(REQUEST_HEADER.sector) * SECTOR_BYTES;
    const refused =
      lengthBytes % SECTOR_BYTES !== 0 ||
      offset + lengthBytes > this.#sizeBytes || // an offset beyond 2^53 is Infinity
      (phase === PHASE.write && this.#readOnly);
    if (refused) {
      bump(this.#counters, COUNTER.guestFaults, 1);
      this.#answer(queue, chain, VIRTIO_BLK_S.IOERR);
    } else if (lengthBytes === 0) {
      this.#answer(queue, chain, VIRTIO_BLK_S.OK);
    } else {
      this.#start(this.#slots.take(queue, chain), phase, offset, lengthBytes);
    }
  }

  #beginRanges(queue: Virtqueue, chain: Chain, type: number): void {
    const count = (chain.readableBytes - REQUEST_HEADER.SIZE) / RANGE.SIZE;
    const max = type === VIRTIO_BLK_T.DISCARD ? DISCARD_RANGES_MAX : ZERO_RANGES_MAX;
    if (!this.#options.discard) {
      this.#answer(queue, chain, VIRTIO_BLK_S.UNSUPP);
    } else if (this.#readOnly || !Number.isInteger(count) || count < 1 || count > max) {
      bump(this.#counters, COUNTER.guestFaults, 1);
      this.#answer(queue, chain, VIRTIO_BLK_S.IOERR);
    } else {
      bump(this.#counters, COUNTER.discards, 1);
      const slot = this.#slots.take(queue, chain);
      this.#slots.phase[slot] = PHASE.range;
      this.#slots.rangeIndex[slot] = 0;
      this.#slots.rangeOp[slot] = RANGE_OP.discard;
      const status = this.#loadRange(slot, chain, type);
      if (status === VIRTIO_BLK_S.OK) this.#run(slot);
      else this.#finish(slot, status);
    }
  }

  /** Reads and checks the range that the slot is at; returns a status (section 5.2.6.2). */
  #loadRange(slot: number, chain: Chain, type: number): number {
    const slots = this.#slots;
    const at = REQUEST_HEADER.SIZE + (slots.rangeIndex[slot] as number) * RANGE.SIZE;
    const offset = chain.readableU64(at + RANGE.sector) * SECTOR_BYTES;
    const sectors = chain.readableU32(at + RANGE.sectorCount);
    const flags = chain.readableU32(at + RANGE.flags);
    const zeroes = type === VIRTIO_BLK_T.WRITE_ZEROES;
    if ((flags & ~(zeroes ? RANGE_F_UNMAP : 0)) !== 0) return VIRTIO_BLK_S.UNSUPP;
    const lengthBytes = sectors * SECTOR_BYTES;
    if (sectors > RANGE_SECTORS_MAX || offset + lengthBytes > this.#sizeBytes) {
      bump(this.#counters, COUNTER.guestFaults, 1);
      return VIRTIO_BLK_S.IOERR;
    }
    if (zeroes) {
      const unmap = (flags & RANGE_F_UNMAP) !== 0;
      slots.rangeOp[slot] = unmap ? RANGE_OP.zeroUnmap : RANGE_OP.zeroKeep;
    }
    slots.phase[slot] = PHASE.range;
    slots.offset[slot] = offset;
    slots.total[slot] = lengthBytes;
    slots.done[slot] = 0;
    return VIRTIO_BLK_S.OK;
  }

  #start(slot: number, phase: number, offset: number, totalBytes: number): void {
    const slots = this.#slots;
    slots.phase[slot] = phase;
    slots.offset[slot] = offset;
    slots.total[slot] = totalBytes;
    this.#run(slot);
  }

  /** Moves a request on until it is finished or waits for the kernel. */
  #run(slot: number): void {
    for (;;) {
      const result = this.#issue(slot);
      if (result === PENDING || this.#settle(slot, result)) return;
    }
  }

  /** Makes the next call of a request; its result, or PENDING. */
  #issue(slot: number): number {
    const slots = this.#slots;
    const phase = slots.phase[slot] as number;
    const done = slots.done[slot] as number;
    const offset = (slots.offset[slot] as number) + done;
    const rest = (slots.total[slot] as number) - done;
    if (phase === PHASE.sync) return this.#engine.sync(slot);
    if (phase === PHASE.range) {
      if (rest === 0) return 0;
      const result = this.#engine.range(slot, slots.rangeOp[slot] as number, offset, rest);
      if (result !== PENDING) this.#longCalls++;
      return result;
    }
    const chain = slots.chain[slot] as Chain;
    const write = phase === PHASE.write;
    const first = write ? 0 : chain.readableCount;
    const end = write ? chain.readableCount : chain.segmentCount;
    const skip = write ? REQUEST_HEADER.SIZE + done : done;
    const count = slots.fillIovecs(slot, first, end, skip, rest);
    const iov = slots.iovecAddress(slot);
    if (this.#bounce !== null && !this.#directFits(slot, count, offset, rest)) {
      return this.#bounce.transfer(chain, write, skip, offset, rest);
    }
    return write
      ? this.#engine.write(slot, iov, count, offset)
      : this.#engine.read(slot, iov, count, offset);
  }

  /** Whether direct I/O takes this transfer as it is. */
  #directFits(slot: number, iovCount: number, offset: number, lengthBytes: number): boolean {
    const align = this.#options.direct?.alignBytes ?? 1;
    return (
      offset % align === 0 &&
      lengthBytes % align === 0 &&
      this.#slots.aligned(slot, iovCount, align)
    );
  }

  /** Takes the result of a call in; true when the request is finished. */
  #settle(slot: number, result: number): boolean {
    const phase = this.#slots.phase[slot] as number;
    if (result === EINTR || result === EAGAIN) {
      const times = (this.#slots.interrupted[slot] as number) + 1;
      this.#slots.interrupted[slot] = times;
      return times < ATTEMPTS_MAX ? false : this.#fail(slot, 'a call that is interrupted', result);
    }
    if (phase === PHASE.read || phase === PHASE.write) return this.#settleTransfer(slot, result);
    if (phase === PHASE.range) return this.#settleRange(slot, result);
    return result < 0 ? this.#fail(slot, 'fdatasync', result) : this.#finish(slot, VIRTIO_BLK_S.OK);
  }

  #settleTransfer(slot: number, result: number): boolean {
    const slots = this.#slots;
    const read = slots.phase[slot] === PHASE.read;
    if (result < 0) return this.#fail(slot, read ? 'read' : 'write', result);
    if (result === 0) return this.#fail(slot, read ? 'read past the end' : 'write of nothing', 0);
    const done = (slots.done[slot] as number) + result;
    slots.done[slot] = done;
    if (done < (slots.total[slot] as number)) return false;
    bump(this.#counters, read ? COUNTER.bytesRead : COUNTER.bytesWritten, done);
    if (!read && this.#writeThrough) {
      slots.phase[slot] = PHASE.sync;
      return false;
    }
    return this.#finish(slot, VIRTIO_BLK_S.OK);
  }

  #settleRange(slot: number, result: number): boolean {
    const slots = this.#slots;
    const op = slots.rangeOp[slot] as number;
    const cannot = result === EOPNOTSUPP || result === EINVAL;
    if (result < 0 && !(cannot && op === RANGE_OP.discard)) {
      // A discard is advice, which a file system may not take. Zeroes have to be written then.
      const written = cannot ? this.#writeZeroes(slot) : result;
      if (written < 0) return this.#fail(slot, 'fallocate', written);
    }
    const chain = slots.chain[slot] as Chain;
    const index = (slots.rangeIndex[slot] as number) + 1;
    if (REQUEST_HEADER.SIZE + index * RANGE.SIZE >= chain.readableBytes) {
      if (!this.#writeThrough) return this.#finish(slot, VIRTIO_BLK_S.OK);
      slots.phase[slot] = PHASE.sync;
      return false;
    }
    slots.rangeIndex[slot] = index;
    const type = op === RANGE_OP.discard ? VIRTIO_BLK_T.DISCARD : VIRTIO_BLK_T.WRITE_ZEROES;
    const status = this.#loadRange(slot, chain, type);
    return status === VIRTIO_BLK_S.OK ? false : this.#finish(slot, status);
  }

  /** Writes zeroes where the file system has no call for that; 0 or -errno. */
  #writeZeroes(slot: number): number {
    const { image, direct } = this.#options;
    const offset = this.#slots.offset[slot] as number;
    const total = this.#slots.total[slot] as number;
    return writeZeroes(direct?.bufferedFd ?? image.fd, offset, total);
  }

  #fail(slot: number, what: string, result: number): boolean {
    bump(this.#counters, COUNTER.ioErrors, 1);
    const at = (this.#slots.offset[slot] as number) + (this.#slots.done[slot] as number);
    this.#reportError(what, at, result);
    return this.#finish(slot, VIRTIO_BLK_S.IOERR);
  }

  /** Gives the chain back and frees its slot. */
  #finish(slot: number, status: number): true {
    const slots = this.#slots;
    const queue = slots.queue[slot] as Virtqueue;
    const chain = slots.chain[slot] as Chain;
    assert(slots.phase[slot] !== PHASE.idle, 'a request is finished once');
    slots.release(slot);
    if (chain.taken) this.#answer(queue, chain, status); // else its ring was abandoned meanwhile
    return true;
  }

  /** The status is the last byte; what a read has filled comes before it. */
  #answer(queue: Virtqueue, chain: Chain, status: number): void {
    chain.writeWritableU8(chain.writableBytes - 1, status);
    queue.push(chain, chain.writableBytes);
  }

  #reportError(what: string, offset: number, result: number): void {
    this.#errorLines++;
    if (this.#errorLines > ERROR_LINES_MAX) return;
    const why = result === 0 ? 'the image is shorter than it was' : errnoName(-result);
    const last = this.#errorLines === ERROR_LINES_MAX ? ' (no more of these will be shown)' : '';
    this.#context.log('error', `${what} at byte ${String(offset)}: ${why}${last}`);
  }
}

function bump(counters: Float64Array, slot: number, by: number): void {
  counters[slot] = (counters[slot] as number) + by;
}

/** The factory that the worker calls. */
export const createDataPlane: DataPlaneFactory = (context) =>
  new BlkDataPlane(context, context.options as BlkPlaneOptions);
