/**
 * The FUSE server: takes chains apart, asks a file system, and gives chains back with the answer.
 *
 * Whatever the guest sends, each chain is given back once. Header and arguments are copied out of
 * the guest's memory once and looked at there; the data of READ and WRITE stays where it is, and a
 * file system gets its addresses. A request that cannot be right is answered with EINVAL and
 * counted, and the session goes on.
 *
 * @module
 */
import { assert } from '../../../util/index.ts';
import { joinU64 } from '../../../memory/index.ts';
import type { Chain, Virtqueue } from '../../../virtqueue/index.ts';
import { COUNTER } from '../../../backend/index.ts';
import type { LogLevel } from '../../../backend/index.ts';
import {
  FUSE_BATCH_FORGET_IN,
  FUSE_FORGET_IN,
  FUSE_FORGET_ONE,
  FUSE_INIT,
  FUSE_INIT_IN,
  FUSE_INIT_OUT,
  FUSE_INTERRUPT_IN,
  FUSE_IN_HEADER,
  FUSE_OPCODE,
  FUSE_OUT_HEADER,
  FUSE_READ_IN,
  FUSE_SETXATTR_IN,
  FUSE_WRITE_IN,
  LINUX_E,
} from '../../../fuse/index.ts';
import { PENDING } from '../operations.ts';
import type { FuseOperations } from '../operations.ts';
import { Answers, FaultLines } from './answers.ts';
import { CallPool, INPUT_BYTES_MAX, OUTPUT_BYTES_MAX, STATE, Scratch } from './call.ts';
import type { ServerCall } from './call.ts';
import { isTurnedInit, swapArguments, swapHeader, wantsValue } from './guest-order.ts';
import { negotiate } from './init.ts';
import type { ReaddirPlus } from './init.ts';
import { findNames } from './names.ts';
import { NAMES, requestRows } from './requests.ts';
import type { RequestRow } from './requests.ts';

const HEADER_BYTES = FUSE_IN_HEADER.SIZE;
const ANSWER_HEADER_BYTES = FUSE_OUT_HEADER.SIZE;
/** Where the data of a WRITE begins; what comes before it is copied. */
const WRITE_DATA = HEADER_BYTES + FUSE_WRITE_IN.SIZE;
/** `struct fuse_setxattr_in` of a guest without SETXATTR_EXT. */
const OLD_SETXATTR_BYTES = 8;
/** `total_extlen` counts in these. */
const EXTENSION_UNIT_BYTES = 8;

const EIO = -LINUX_E.IO;
const EINVAL = -LINUX_E.INVAL;
const ENOSYS = -LINUX_E.NOSYS;
const EINTR = -LINUX_E.INTR;

/** What a {@link FuseServer} is made from. */
export interface FuseServerOptions {
  /** The server closes them in the end. */
  readonly operations: FuseOperations;
  /** The thread's, by the slots of `COUNTER`. */
  readonly counters: Float64Array;
  /** Requests under way at most; as many as all rings have entries, and it never says full. */
  readonly callCount: number;
  readonly readdirPlus: ReaddirPlus;
  readonly log: (level: LogLevel, text: string) => void;
}

/** See the module. One for each data plane: all its queues, in one thread. */
export class FuseServer {
  readonly #operations: FuseOperations;
  readonly #readdirPlus: ReaddirPlus;
  readonly #rows: readonly (RequestRow | undefined)[];
  readonly #scratch = new Scratch();
  readonly #lines: FaultLines;
  readonly #answers: Answers;
  readonly #calls: CallPool;
  /** INIT came, and no DESTROY. */
  #mounted = false;
  #setxattrExt = false;
  #pendingCount = 0;
  /** An INIT or DESTROY that waits until nothing is pending. */
  #waiting: ServerCall | null = null;
  #initBytes = 0;
  readonly #initCopy = new DataView(new ArrayBuffer(FUSE_INIT_IN.SIZE));

  constructor(options: FuseServerOptions) {
    this.#operations = options.operations;
    this.#readdirPlus = options.readdirPlus;
    this.#lines = new FaultLines(options.log);
    this.#answers = new Answers(this.#scratch, options.counters, this.#lines);
    this.#rows = requestRows(options.operations);
    this.#calls = new CallPool(options.callCount, this.#scratch, WRITE_DATA, (call, result) => {
      this.#finishLater(call, result);
    });
  }

  /** Whether `handle` must not be called before something that is pending is finished. */
  get full(): boolean {
    return this.#calls.full || this.#waiting !== null;
  }

  /** FORGETs so far, but those that came many in one (BATCH_FORGET). */
  forgets = 0;

  /** Requests whose answers come later. */
  get pendingCount(): number {
    return this.#pendingCount;
  }

  /** Takes one request; it is answered at once, or is pending. The caller has looked at `full`. */
  handle(queue: Virtqueue, chain: Chain): void {
    this.#answers.count(COUNTER.requests);
    if (chain.readableBytes < HEADER_BYTES) {
      this.#answers.giveBack(queue, chain);
      return;
    }
    chain.copyOut(0, this.#scratch.in, 0, HEADER_BYTES);
    if (this.#answers.swapped) swapHeader(this.#scratch.in.view);
    this.#take(queue, chain);
  }

  /** Takes a request whose header was read. */
  #take(queue: Virtqueue, chain: Chain): void {
    const { view } = this.#scratch.in;
    const { readableBytes } = chain;
    const opcode = view.getUint32(FUSE_IN_HEADER.opcode, true);
    const lengthBytes = view.getUint32(FUSE_IN_HEADER.len, true);
    if (opcode === FUSE_OPCODE.FORGET || opcode === FUSE_OPCODE.BATCH_FORGET) {
      this.#forget(queue, chain, opcode, lengthBytes);
      return;
    }
    if (chain.writableBytes < ANSWER_HEADER_BYTES) {
      // Nobody could hear of the outcome, so that nothing must come of it. An interrupt has none.
      if (opcode === FUSE_OPCODE.INTERRUPT) this.#interrupt(queue, chain, lengthBytes);
      else this.#answers.giveBack(queue, chain);
      return;
    }
    if (lengthBytes < HEADER_BYTES || lengthBytes > readableBytes) {
      if (isTurnedInit(opcode, lengthBytes, readableBytes)) this.#turnByteOrder(queue, chain);
      else this.#answers.refuse(queue, chain);
      return;
    }
    const row = this.#rows[opcode];
    if (row === undefined) this.#own(queue, chain, opcode, lengthBytes);
    else if (!this.#mounted) this.#answers.answerNow(queue, chain, EIO);
    else if (row.method === null) this.#answers.answerNow(queue, chain, ENOSYS);
    else this.#ask(queue, chain, opcode, lengthBytes, row);
  }

  /** Begins with the session to come; what is pending is answered in the old order. */
  #turnByteOrder(queue: Virtqueue, chain: Chain): void {
    this.#answers.swapped = !this.#answers.swapped;
    swapHeader(this.#scratch.in.view);
    this.#take(queue, chain);
  }

  /** An INIT or DESTROY waits until nothing is pending any more. */
  get waiting(): boolean {
    return this.#waiting !== null;
  }

  /** Asks for the end of everything that is pending on a queue, which is being stopped. */
  interruptQueue(queue: Virtqueue): void {
    this.#interruptPending(queue);
    this.#calls.giveBack();
  }

  /**
   * Answers what is still pending with EINTR. Its file system may finish it later, in vain, and
   * must not have handed its buffers to the kernel.
   */
  abandonPending(): void {
    for (const call of this.#calls.calls) {
      if (call.state !== STATE.pending) continue;
      const { queue, chain } = call;
      call.state = STATE.abandoned;
      call.queue = null;
      call.chain = null;
      call.dataBytes = 0;
      if (queue !== null && chain !== null && chain.taken) {
        this.#answers.answer(queue, chain, call, EINTR);
      }
      this.#onePendingLess();
    }
  }

  /** The front-end went away: the guest's session is over. All queues are stopped. */
  reset(): void {
    this.#unmount();
  }

  /** Closes the file system and frees the memory; nothing is under way. */
  close(): void {
    this.#unmount();
    this.#guard(() => this.#operations.close());
    this.#calls.close();
    this.#scratch.close();
  }

  /** Hands a request to the file system. */
  #ask(queue: Virtqueue, chain: Chain, opcode: number, lengthBytes: number, row: RequestRow): void {
    const { view } = this.#scratch.in;
    const write = opcode === FUSE_OPCODE.WRITE;
    const argumentBytes = this.#copyArguments(chain, opcode, lengthBytes);
    const room = chain.writableBytes - ANSWER_HEADER_BYTES;
    const call = this.#calls.take(queue, chain);
    call.opcode = opcode;
    call.swapped = this.#answers.swapped;
    call.uniqueLow = view.getUint32(FUSE_IN_HEADER.unique, true);
    call.uniqueHigh = view.getUint32(FUSE_IN_HEADER.unique + 4, true);
    call.unique = joinU64(call.uniqueLow, call.uniqueHigh);
    call.nodeId = readU64(view, FUSE_IN_HEADER.nodeid);
    call.uid = view.getUint32(FUSE_IN_HEADER.uid, true);
    call.gid = view.getUint32(FUSE_IN_HEADER.gid, true);
    call.pid = view.getUint32(FUSE_IN_HEADER.pid, true);
    call.inputBytes = argumentBytes;
    if (call.swapped) call.wantsValue = wantsValue(this.#scratch.input, opcode);
    call.outBytesMax = Math.min(room, OUTPUT_BYTES_MAX);
    let fault = 0;
    if (
      argumentBytes < row.argumentBytes ||
      room < row.answerBytes ||
      call.unique === Infinity ||
      call.nodeId === Infinity
    ) {
      fault = EINVAL;
    } else if (row.names !== NAMES.none) {
      fault = this.#findNames(call, row);
    } else if (write) {
      fault = this.#findWriteData(call, chain, lengthBytes);
    } else if (opcode === FUSE_OPCODE.READ) {
      const size = this.#scratch.input.getUint32(FUSE_READ_IN.size, true);
      const bytes = Math.min(size, room);
      const first = chain.readableCount;
      const fits = call.fillIovecs(first, chain.segmentCount, ANSWER_HEADER_BYTES, bytes);
      if (!fits) fault = EINVAL;
    }
    if (fault < 0) {
      this.#answers.count(COUNTER.guestFaults);
      this.#complete(call, fault);
      return;
    }
    this.#run(call, row);
  }

  #run(call: ServerCall, row: RequestRow): void {
    let result: number;
    try {
      // Only rows with a method come here.
      result = (row.method as (call: ServerCall) => number)(call);
    } catch (error) {
      this.#lines.threw(call.opcode, error);
      result = EIO;
    }
    if (call.state === STATE.finished) {
      this.#calls.release(call);
    } else if (result === PENDING) {
      call.state = STATE.pending;
      this.#pendingCount++;
    } else {
      this.#complete(call, result);
    }
  }

  /**
   * Copies the arguments after the header, of a WRITE those before its data, and returns how many
   * bytes they are; -1 when they cannot be right.
   */
  #copyArguments(chain: Chain, opcode: number, lengthBytes: number): number {
    const { input, inputArray } = this.#scratch;
    const { view } = this.#scratch.in;
    const extensions = view.getUint16(FUSE_IN_HEADER.totalExtlen, true) * EXTENSION_UNIT_BYTES;
    let bytes = lengthBytes - HEADER_BYTES - extensions;
    if (opcode === FUSE_OPCODE.WRITE) bytes = Math.min(bytes, FUSE_WRITE_IN.SIZE);
    if (bytes < 0 || bytes > INPUT_BYTES_MAX - FUSE_SETXATTR_IN.SIZE) return -1;
    if (bytes > 0) chain.copyOut(HEADER_BYTES, this.#scratch.in, HEADER_BYTES, bytes);
    const old = opcode === FUSE_OPCODE.SETXATTR && !this.#setxattrExt;
    if (this.#answers.swapped) swapArguments(input, opcode, old ? OLD_SETXATTR_BYTES : bytes);
    if (old && bytes >= OLD_SETXATTR_BYTES) {
      inputArray.copyWithin(FUSE_SETXATTR_IN.SIZE, OLD_SETXATTR_BYTES, bytes);
      input.setUint32(OLD_SETXATTR_BYTES, 0, true);
      input.setUint32(OLD_SETXATTR_BYTES + 4, 0, true);
      bytes += FUSE_SETXATTR_IN.SIZE - OLD_SETXATTR_BYTES;
    }
    return bytes;
  }

  #findNames(call: ServerCall, row: RequestRow): number {
    const { inputAddress, inputArray } = this.#scratch;
    const fault = findNames(call, row.names, inputArray, row.argumentBytes, call.inputBytes);
    call.nameAddress = inputAddress + call.nameOffset;
    call.secondAddress = inputAddress + call.secondOffset;
    return fault;
  }

  #findWriteData(call: ServerCall, chain: Chain, lengthBytes: number): number {
    const size = this.#scratch.input.getUint32(FUSE_WRITE_IN.size, true);
    const given = lengthBytes - WRITE_DATA;
    if (size > given) return EINVAL;
    return call.fillIovecs(0, chain.readableCount, WRITE_DATA, size) ? 0 : EINVAL;
  }

  /** Requests that are the server's own business, and those that nobody knows. */
  #own(queue: Virtqueue, chain: Chain, opcode: number, lengthBytes: number): void {
    if (opcode === FUSE_OPCODE.INTERRUPT) {
      this.#interrupt(queue, chain, lengthBytes);
    } else if (opcode === FUSE_OPCODE.INIT || opcode === FUSE_OPCODE.DESTROY) {
      this.#turnSession(queue, chain, opcode, lengthBytes);
    } else {
      this.#answers.answerNow(queue, chain, ENOSYS);
    }
  }

  /** INIT and DESTROY: both end the session before, as soon as nothing of it is pending. */
  #turnSession(queue: Virtqueue, chain: Chain, opcode: number, lengthBytes: number): void {
    const { input } = this.#scratch;
    const { view } = this.#scratch.in;
    const call = this.#calls.take(queue, chain);
    call.opcode = opcode;
    call.swapped = this.#answers.swapped;
    call.uniqueLow = view.getUint32(FUSE_IN_HEADER.unique, true);
    call.uniqueHigh = view.getUint32(FUSE_IN_HEADER.unique + 4, true);
    call.outBytesMax = Math.min(chain.writableBytes - ANSWER_HEADER_BYTES, OUTPUT_BYTES_MAX);
    if (opcode === FUSE_OPCODE.INIT) {
      const bytes = this.#copyArguments(chain, opcode, lengthBytes);
      if (bytes < FUSE_INIT_IN.flags + 4 || call.outBytesMax < FUSE_INIT_OUT.SIZE) {
        this.#answers.count(COUNTER.guestFaults);
        this.#complete(call, EINVAL);
        return;
      }
      this.#initBytes = Math.min(bytes, FUSE_INIT_IN.SIZE);
      for (let at = 0; at < FUSE_INIT_IN.SIZE; at++) {
        this.#initCopy.setUint8(at, at < this.#initBytes ? input.getUint8(at) : 0);
      }
    }
    if (this.#pendingCount === 0) {
      this.#turnSessionNow(call);
      return;
    }
    call.state = STATE.running;
    this.#waiting = call;
    this.#interruptPending(null);
  }

  #turnSessionNow(call: ServerCall): void {
    this.#unmount();
    if (call.opcode === FUSE_OPCODE.DESTROY) {
      this.#complete(call, 0);
      return;
    }
    const { out } = this.#scratch;
    const outcome = negotiate(this.#initCopy, out, this.#operations, this.#readdirPlus);
    const { session } = outcome;
    let { result } = outcome;
    if (session !== null) {
      this.#mounted = this.#guard(() => this.#operations.init(session));
      this.#setxattrExt = (session.flags & FUSE_INIT.SETXATTR_EXT) !== 0;
      if (!this.#mounted) result = EIO;
    }
    this.#complete(call, result);
  }

  #unmount(): void {
    if (!this.#mounted) return;
    this.#mounted = false;
    this.#guard(() => this.#operations.destroy());
  }

  #interrupt(queue: Virtqueue, chain: Chain, lengthBytes: number): void {
    const bytes = lengthBytes > chain.readableBytes ? -1 : lengthBytes - HEADER_BYTES;
    if (bytes < FUSE_INTERRUPT_IN.SIZE) {
      if (chain.writableBytes < ANSWER_HEADER_BYTES) this.#answers.giveBack(queue, chain);
      else this.#answers.refuse(queue, chain);
      return;
    }
    const { input } = this.#scratch;
    chain.copyOut(HEADER_BYTES, this.#scratch.in, HEADER_BYTES, FUSE_INTERRUPT_IN.SIZE);
    if (this.#answers.swapped) swapArguments(input, FUSE_OPCODE.INTERRUPT, FUSE_INTERRUPT_IN.SIZE);
    const unique = readU64(input, FUSE_INTERRUPT_IN.unique);
    if (this.#mounted && unique !== Infinity) this.#interruptOne(unique);
    if (chain.writableBytes < ANSWER_HEADER_BYTES) queue.push(chain, 0);
    else this.#answers.answerNow(queue, chain, 0);
  }

  #interruptPending(queue: Virtqueue | null): void {
    for (const call of this.#calls.calls) {
      if (call.state !== STATE.pending) continue;
      if (queue === null || call.queue === queue) this.#interruptOne(call.unique);
    }
  }

  #interruptOne(unique: number): void {
    if (this.#operations.interrupt === undefined) return;
    this.#guard(() => this.#operations.interrupt?.(unique));
  }

  /** FORGET and BATCH_FORGET, which have no answer. */
  #forget(queue: Virtqueue, chain: Chain, opcode: number, lengthBytes: number): void {
    const single = opcode === FUSE_OPCODE.FORGET;
    const least = single ? FUSE_FORGET_IN.SIZE : FUSE_BATCH_FORGET_IN.SIZE;
    const bytes = lengthBytes - HEADER_BYTES;
    if (bytes < least || lengthBytes > chain.readableBytes || bytes > INPUT_BYTES_MAX) {
      this.#answers.giveBack(queue, chain);
      return;
    }
    const { input } = this.#scratch;
    const { view } = this.#scratch.in;
    chain.copyOut(HEADER_BYTES, this.#scratch.in, HEADER_BYTES, bytes);
    if (this.#answers.swapped) swapArguments(input, opcode, bytes);
    if (single) {
      this.forgets++;
      this.#forgetOne(readU64(view, FUSE_IN_HEADER.nodeid), readU64(input, 0));
      queue.push(chain, 0);
      return;
    }
    const count = input.getUint32(FUSE_BATCH_FORGET_IN.count, true);
    if (count * FUSE_FORGET_ONE.SIZE > bytes - FUSE_BATCH_FORGET_IN.SIZE) {
      this.#answers.giveBack(queue, chain);
      return;
    }
    for (let i = 0; i < count; i++) {
      const at = FUSE_BATCH_FORGET_IN.SIZE + i * FUSE_FORGET_ONE.SIZE;
      const nodeId = readU64(input, at + FUSE_FORGET_ONE.nodeid);
      this.#forgetOne(nodeId, readU64(input, at + FUSE_FORGET_ONE.nlookup));
    }
    queue.push(chain, 0);
  }

  #forgetOne(nodeId: number, count: number): void {
    if (!this.#mounted || nodeId === Infinity) return;
    try {
      this.#operations.forget(nodeId, Math.min(count, Number.MAX_SAFE_INTEGER));
    } catch (error) {
      this.#lines.threw(FUSE_OPCODE.FORGET, error);
    }
  }

  /** The answer to a call that was pending, or whose method still runs. */
  #finishLater(call: ServerCall, result: number): void {
    if (call.state === STATE.abandoned) {
      this.#calls.release(call);
      return;
    }
    const running = call.state === STATE.running;
    assert(running || call.state === STATE.pending, 'a call is finished once');
    if (running) {
      this.#answers.give(call, result);
      call.state = STATE.finished;
      return;
    }
    this.#complete(call, result);
    this.#onePendingLess();
  }

  #onePendingLess(): void {
    this.#pendingCount--;
    const waiting = this.#waiting;
    if (waiting === null || this.#pendingCount > 0) return;
    this.#waiting = null;
    this.#turnSessionNow(waiting);
  }

  /** Answers a call and frees it. */
  #complete(call: ServerCall, result: number): void {
    this.#answers.give(call, result);
    this.#calls.release(call);
  }

  /** Calls the file system where it returns nothing; false when it threw. */
  #guard(body: () => void): boolean {
    try {
      body();
      return true;
    } catch (error) {
      this.#lines.threw(0, error);
      return false;
    }
  }
}

/** A little-endian 64-bit number; `Infinity` stands for anything from 2^53 up. */
function readU64(view: DataView, at: number): number {
  return joinU64(view.getUint32(at, true), view.getUint32(at + 4, true));
}
