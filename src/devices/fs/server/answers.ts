/**
 * Answers: the header, the shared answer behind it, and the counters.
 *
 * @module
 */
import { errorMessage } from '../../../util/index.ts';
import type { Chain, Virtqueue } from '../../../virtqueue/index.ts';
import { COUNTER } from '../../../backend/index.ts';
import type { LogLevel } from '../../../backend/index.ts';
import {
  FUSE_IN_HEADER,
  FUSE_OPCODE,
  FUSE_OUT_HEADER,
  FUSE_OUT_HEADER_WIDTHS,
  LINUX_E,
  fuseOpcodeName,
  swapFuseFields,
} from '../../../fuse/index.ts';
import { OUTPUT_BYTES_MAX } from './call.ts';
import type { Scratch, ServerCall } from './call.ts';
import { swapAnswer } from './guest-order.ts';

const ANSWER_HEADER_BYTES = FUSE_OUT_HEADER.SIZE;
/** A kernel takes nothing from the next number on for an error. */
const ERROR_MAX = 511;
/** Lines about what went wrong, after which one says that there will be no more. */
const LINES_MAX = 20;

const EIO = -LINUX_E.IO;
const EINVAL = -LINUX_E.INVAL;
const ERANGE = -LINUX_E.RANGE;

/** Lines of the log about a file system's mistakes: a bounded number of them. */
export class FaultLines {
  readonly #log: (level: LogLevel, text: string) => void;
  #count = 0;

  constructor(log: (level: LogLevel, text: string) => void) {
    this.#log = log;
  }

  /** A method of the file system threw; opcode 0 stands for what is no request. */
  threw(opcode: number, error: unknown): void {
    const what = opcode === 0 ? 'the file system' : fuseOpcodeName(opcode);
    this.add(`${what} failed: ${errorMessage(error)}`);
  }

  /** Any other mistake. */
  add(text: string): void {
    this.#count++;
    if (this.#count > LINES_MAX) return;
    const last = this.#count === LINES_MAX ? ' (no more of these will be shown)' : '';
    this.#log('error', `${text}${last}`);
  }
}

/** To whom an answer goes: what its header has of the request's. */
interface Asker {
  uniqueLow: number;
  uniqueHigh: number;
  /** Its guest is big-endian. */
  swapped: boolean;
}

/** See the module. */
export class Answers {
  /** Whether the guest of the request that was just read is big-endian. */
  swapped = false;
  readonly #scratch: Scratch;
  readonly #counters: Float64Array;
  readonly #lines: FaultLines;
  /** Of a request that is answered without a call. */
  readonly #now: Asker = { uniqueLow: 0, uniqueHigh: 0, swapped: false };

  constructor(scratch: Scratch, counters: Float64Array, lines: FaultLines) {
    this.#scratch = scratch;
    this.#counters = counters;
    this.#lines = lines;
  }

  /** One more of a slot of `COUNTER`. */
  count(slot: number): void {
    this.#add(slot, 1);
  }

  /** Gives the chain of a call back with a result that was checked by nobody. */
  give(call: ServerCall, result: number): void {
    const { queue, chain } = call;
    if (queue === null || chain === null || !chain.taken) return; // its ring was abandoned
    const read = call.opcode === FUSE_OPCODE.READ;
    const fits = result >= -ERROR_MAX && result <= (read ? call.dataBytes : call.outBytesMax);
    const checked = fits ? result : this.#misfit(call, result);
    if (checked === EIO) this.count(COUNTER.ioErrors);
    else if (checked >= 0) this.#countDone(call, checked);
    if (!read || checked < 0) {
      if (call.swapped) swapAnswer(this.#scratch.out, call, checked);
      this.answer(queue, chain, call, checked);
      return;
    }
    this.#writeHeader(call, checked);
    chain.copyIn(0, this.#scratch.answer, 0, ANSWER_HEADER_BYTES);
    queue.push(chain, ANSWER_HEADER_BYTES + checked);
  }

  /** An answer longer than the guest has room for, or a result that is none; the errno instead. */
  #misfit(call: ServerCall, result: number): number {
    if (result > call.outBytesMax && result <= OUTPUT_BYTES_MAX) {
      this.count(COUNTER.guestFaults);
      return ERANGE;
    }
    this.#lines.add(`${fuseOpcodeName(call.opcode)} has the result ${String(result)}`);
    return EIO;
  }

  #countDone(call: ServerCall, result: number): void {
    const { opcode } = call;
    if (opcode === FUSE_OPCODE.READ) {
      this.#add(COUNTER.bytesRead, result);
    } else if (opcode === FUSE_OPCODE.WRITE) {
      this.#add(COUNTER.bytesWritten, this.#scratch.out.getUint32(0, true));
    } else if (opcode === FUSE_OPCODE.FSYNC || opcode === FUSE_OPCODE.FSYNCDIR) {
      this.count(COUNTER.flushes);
    }
  }

  /**
   * Gives a chain back with what is in the shared answer: `result` bytes, or an error. What is
   * there is in the guest's byte order already.
   */
  answer(queue: Virtqueue, chain: Chain, to: Asker, result: number): void {
    this.#writeHeader(to, result);
    const bytes = ANSWER_HEADER_BYTES + Math.max(result, 0);
    chain.copyIn(0, this.#scratch.answer, 0, bytes);
    queue.push(chain, bytes);
  }

  #writeHeader(to: Asker, result: number): void {
    const { view } = this.#scratch.answer;
    const bytes = ANSWER_HEADER_BYTES + Math.max(result, 0);
    view.setUint32(FUSE_OUT_HEADER.len, bytes, true);
    view.setInt32(FUSE_OUT_HEADER.error, Math.min(result, 0), true);
    view.setUint32(FUSE_OUT_HEADER.unique, to.uniqueLow, true);
    view.setUint32(FUSE_OUT_HEADER.unique + 4, to.uniqueHigh, true);
    if (to.swapped) swapFuseFields(view, 0, ANSWER_HEADER_BYTES, FUSE_OUT_HEADER_WIDTHS);
  }

  /** Answers a request, whose header is the one that was just read, without a call. */
  answerNow(queue: Virtqueue, chain: Chain, result: number): void {
    const { view } = this.#scratch.in;
    this.#now.uniqueLow = view.getUint32(FUSE_IN_HEADER.unique, true);
    this.#now.uniqueHigh = view.getUint32(FUSE_IN_HEADER.unique + 4, true);
    this.#now.swapped = this.swapped;
    this.answer(queue, chain, this.#now, result);
  }

  /** A request that cannot be right. */
  refuse(queue: Virtqueue, chain: Chain): void {
    this.count(COUNTER.guestFaults);
    this.answerNow(queue, chain, EINVAL);
  }

  /** One that cannot be right and has no room for an answer. */
  giveBack(queue: Virtqueue, chain: Chain): void {
    this.count(COUNTER.guestFaults);
    queue.push(chain, 0);
  }

  #add(slot: number, by: number): void {
    this.#counters[slot] = (this.#counters[slot] as number) + by;
  }
}
