/**
 * One queue of a {@link BlkClient}: requests wait here for a slot, go through shared memory and
 * come back as promises.
 *
 * @module
 */
import { VhostUserError } from '../../util/index.ts';
import type { FrontendQueue } from '../queue.ts';
import { BLK_STATUS, BLK_TYPE, SECTOR_BYTES } from './layout.ts';
import { BlkPoller, STATUS_NOT_WRITTEN } from './poller.ts';
import type { BlkSlots } from './poller.ts';

/** One request, not longer than a slot's buffer. */
export interface BlkRequest {
  readonly type: number;
  /** The disk's bytes that it is about; for an error's text also in a request that has its own. */
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** What is sent, or filled; null: nothing. The caller's, who leaves it alone meanwhile. */
  readonly bytes: Uint8Array | null;
}

/** A request that waits, or is in flight. */
interface Pending {
  readonly request: BlkRequest;
  readonly resolve: () => void;
  readonly reject: (error: VhostUserError) => void;
}

const NAMES: ReadonlyMap<number, string> = new Map([
  [BLK_TYPE.IN, 'read'],
  [BLK_TYPE.OUT, 'write'],
  [BLK_TYPE.FLUSH, 'flush'],
  [BLK_TYPE.GET_ID, 'serial'],
  [BLK_TYPE.DISCARD, 'discard'],
  [BLK_TYPE.WRITE_ZEROES, 'write zeroes'],
]);

/** See the module. */
export class BlkLane {
  readonly queue: FrontendQueue;
  readonly #poller: BlkPoller;
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
    slots: BlkSlots,
    segmentBytesMax: number,
    onFault: (error: VhostUserError) => void = () => undefined,
  ) {
    this.queue = queue;
    this.#onFault = onFault;
    const { config: ring, kickFd } = queue;
    this.#poller = new BlkPoller({ ring, kickFd, slots, segmentBytesMax });
    this.#inFlight = Array.from({ length: slots.count }, () => null);
    this.#idle = Array.from({ length: slots.count }, (_, i) => slots.count - 1 - i);
    queue.watchCalls(() => this.collect());
    this.#poller.enableInterrupts();
  }

  /** Requests that wait or are in flight. */
  get load(): number {
    return this.#waiting.length + this.#poller.inFlight;
  }

  /** Puts a request in line; resolves when the device says OK. */
  run(request: BlkRequest): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      if (this.#end !== null) {
        reject(requestError(request, this.#end.code, this.#end.message));
        return;
      }
      this.#waiting.push({ request, resolve, reject });
      this.#schedule();
    });
  }

  /** Takes what came back. */
  collect(): void {
    if (this.#end !== null) return;
    do {
      this.#poller.poll((slot, status) => this.#complete(slot, status));
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
    for (const { request, reject } of pending) {
      reject(requestError(request, error.code, error.message));
    }
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
      taken++;
    }
    this.#waiting.splice(0, taken);
    if (taken > 0) this.#poller.kickIfWanted();
  }

  /** False when the ring is full. */
  #put(slot: number, pending: Pending): boolean {
    const { type, offsetBytes, bytes } = pending.request;
    const withSector = type === BLK_TYPE.IN || type === BLK_TYPE.OUT;
    const sector = withSector ? offsetBytes / SECTOR_BYTES : 0;
    const out = type !== BLK_TYPE.IN && type !== BLK_TYPE.GET_ID;
    if (bytes !== null && out) this.#poller.buffer(slot).set(bytes);
    if (!this.#poller.submit(type, sector, slot, bytes?.length ?? 0)) return false;
    this.#inFlight[slot] = pending;
    return true;
  }

  #complete(slot: number, status: number): void {
    const pending = this.#inFlight[slot];
    if (pending === null || pending === undefined) return; // the ring has checked that it is ours
    this.#inFlight[slot] = null;
    this.#idle.push(slot);
    const { request, resolve, reject } = pending;
    if (status !== BLK_STATUS.OK) {
      reject(statusError(request, status));
      return;
    }
    const { type, bytes } = request;
    if (bytes !== null && (type === BLK_TYPE.IN || type === BLK_TYPE.GET_ID)) {
      bytes.set(this.#poller.buffer(slot).subarray(0, bytes.length));
    }
    resolve();
  }
}

function statusError(request: BlkRequest, status: number): VhostUserError {
  if (status === BLK_STATUS.IOERR) {
    const text = 'the device reports an I/O error (VIRTIO_BLK_S_IOERR); its own log may say why';
    return requestError(request, 'ERR_VHU_BLK_IO', text);
  }
  if (status === BLK_STATUS.UNSUPP) {
    const text = 'the device does not support it (VIRTIO_BLK_S_UNSUPP)';
    return requestError(request, 'ERR_VHU_BLK_UNSUPPORTED', text);
  }
  const text =
    status === STATUS_NOT_WRITTEN
      ? 'the device gave it back without a status'
      : `the device answered with status ${String(status)}, which does not exist`;
  return requestError(request, 'ERR_VHU_BLK_STATUS', text);
}

/** An error with the request's name in front. */
function requestError(request: BlkRequest, code: string, text: string): VhostUserError {
  const { type, offsetBytes, lengthBytes } = request;
  const name = NAMES.get(type) ?? `request ${String(type)}`;
  const range =
    type === BLK_TYPE.FLUSH || type === BLK_TYPE.GET_ID
      ? ''
      : ` of ${String(lengthBytes)} bytes at ${String(offsetBytes)}`;
  return new VhostUserError(code, `${name}${range}: ${text}`);
}
