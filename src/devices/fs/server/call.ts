/**
 * The requests that a server has under way. Each has a call object, which is made once and used
 * again, and room for the `struct iovec` array of its data; arguments and answers are in memory
 * that all share.
 *
 * @module
 */
import { assert } from '../../../util/index.ts';
import { mapAnew, mapAnonymous, viewMemory } from '../../../sys/index.ts';
import type { Mapping } from '../../../sys/index.ts';
import type { Chain, NativeBytes, Virtqueue } from '../../../virtqueue/index.ts';
import { FUSE_IN_HEADER, FUSE_OUT_HEADER } from '../../../fuse/index.ts';
import type { FuseCall } from '../operations.ts';
import type { NamePlaces } from './names.ts';

/** Arguments of one request: a value of 64 KiB and its name fit, and an ioctl. */
export const INPUT_BYTES_MAX: number = 128 * 1024;
/** The answer to one request, but for READ's: the largest READDIR that a kernel asks for. */
export const OUTPUT_BYTES_MAX: number = 1024 * 1024;
/** Buffers of one system call (IOV_MAX everywhere): a request whose data has more is refused. */
export const IOVECS_MAX = 1024;
const IOVEC_BYTES = 16;
const IOVEC_WORDS = IOVEC_BYTES / 4;
const IOVEC_BYTES_MAX = 2 ** 30; // of one piece: its length is 32 bits here
/** A name at the very end is followed by a NUL all the same. */
const GUARD_BYTES = 64;

/** What a call is doing. */
export const STATE = {
  free: 0,
  /** Its method runs. */
  running: 1,
  /** Its method runs, and has called `finish` already. */
  finished: 2,
  /** Its answer comes later. */
  pending: 3,
  /** It was answered without its file system, which still holds it. */
  abandoned: 4,
} as const;

/** Memory that all calls of a server share: one request's arguments, and one answer. */
export class Scratch {
  /** Header and arguments. */
  readonly in: NativeBytes;
  /** The arguments alone. */
  readonly input: DataView;
  readonly inputArray: Uint8Array;
  readonly inputAddress: number;
  /** Header and answer. */
  readonly answer: NativeBytes;
  /** The answer alone. */
  readonly out: DataView;
  readonly outArray: Uint8Array;
  readonly outAddress: number;
  readonly #memory: Mapping;

  constructor() {
    const inBytes = FUSE_IN_HEADER.SIZE + INPUT_BYTES_MAX + GUARD_BYTES;
    const outBytes = FUSE_OUT_HEADER.SIZE + OUTPUT_BYTES_MAX;
    const outAt = Math.ceil(inBytes / GUARD_BYTES) * GUARD_BYTES;
    this.#memory = mapAnonymous(outAt + outBytes);
    const { address } = this.#memory;
    // SAFETY: mapped until close(), which is the end of the server.
    const buffer = viewMemory(address, outAt + outBytes);
    this.in = { address, view: new DataView(buffer, 0, inBytes) };
    this.inputAddress = address + FUSE_IN_HEADER.SIZE;
    this.input = new DataView(buffer, FUSE_IN_HEADER.SIZE, INPUT_BYTES_MAX);
    this.inputArray = new Uint8Array(buffer, FUSE_IN_HEADER.SIZE, INPUT_BYTES_MAX + GUARD_BYTES);
    this.answer = { address: address + outAt, view: new DataView(buffer, outAt, outBytes) };
    const answerAt = outAt + FUSE_OUT_HEADER.SIZE;
    this.outAddress = address + answerAt;
    this.out = new DataView(buffer, answerAt, OUTPUT_BYTES_MAX);
    this.outArray = new Uint8Array(buffer, answerAt, OUTPUT_BYTES_MAX);
  }

  /** Unmaps it; no call is under way. */
  close(): void {
    this.#memory.unmap();
  }
}

/** One request; what its fields mean is said by {@link FuseCall}. */
export class ServerCall implements FuseCall, NamePlaces {
  opcode = 0;
  unique = 0;
  uniqueLow = 0;
  uniqueHigh = 0;
  /** The guest that asks is big-endian. */
  swapped = false;
  /** GETXATTR or LISTXATTR with room for the value: the answer is that, and no number. */
  wantsValue = false;
  nodeId = 0;
  uid = 0;
  gid = 0;
  pid = 0;
  readonly input: DataView;
  inputBytes = 0;
  nameOffset = 0;
  nameBytes = 0;
  secondOffset = 0;
  secondBytes = 0;
  nameAddress = 0;
  secondAddress = 0;
  readonly inputArray: Uint8Array;
  readonly out: DataView;
  readonly outArray: Uint8Array;
  readonly outAddress: number;
  outBytesMax = 0;
  iov: number;
  iovCount = 0;
  dataBytes = 0;
  tag = 0;
  /** Of {@link STATE}. */
  state: number = STATE.free;
  /** Where it came from; null when it is not under way, or was abandoned. */
  queue: Virtqueue | null = null;
  chain: Chain | null = null;
  readonly #index: number;
  readonly #pool: CallPool;

  constructor(pool: CallPool, index: number, scratch: Scratch, iov: number) {
    this.#pool = pool;
    this.#index = index;
    this.input = scratch.input;
    this.inputArray = scratch.inputArray;
    this.out = scratch.out;
    this.outArray = scratch.outArray;
    this.outAddress = scratch.outAddress;
    this.iov = iov;
  }

  copyData(into: Uint8Array): void {
    const bytes = into.length > this.dataBytes ? into.subarray(0, this.dataBytes) : into;
    this.chain?.copyFromReadable(this.#pool.writeDataOffset, bytes);
  }

  putData(from: Uint8Array): number {
    const bytes = from.length > this.dataBytes ? from.subarray(0, this.dataBytes) : from;
    return this.chain?.copyToWritable(FUSE_OUT_HEADER.SIZE, bytes) ?? 0;
  }

  finish(result: number): void {
    this.#pool.finish(this, result);
  }

  /**
   * Makes the `struct iovec` array over `limitBytes` of the segments `[first, end)` of the chain,
   * after `skip` bytes of them; false when it is too short for them.
   */
  fillIovecs(first: number, end: number, skip: number, limitBytes: number): boolean {
    const chain = this.chain as Chain;
    const words = this.#pool.iovecWords;
    let at = this.#index * IOVECS_MAX * IOVEC_WORDS;
    let count = 0;
    let before = skip;
    let rest = limitBytes;
    let joined = -1; // where the last piece ends: pages that lie side by side are one piece
    let joinedBytes = 0;
    for (let i = first; i < end && rest > 0; i++) {
      const length = chain.length[i] as number;
      if (before >= length) {
        before -= length;
        continue;
      }
      const address = (chain.hva[i] as number) + before;
      const bytes = Math.min(length - before, rest);
      before = 0;
      if (address === joined && joinedBytes + bytes <= IOVEC_BYTES_MAX) {
        joinedBytes += bytes;
        words[at - IOVEC_WORDS + 2] = joinedBytes;
      } else {
        if (count === IOVECS_MAX) break;
        words[at] = address;
        words[at + 1] = address / 0x1_0000_0000;
        words[at + 2] = bytes;
        words[at + 3] = 0;
        at += IOVEC_WORDS;
        joinedBytes = bytes;
        count++;
      }
      joined = address + bytes;
      rest -= bytes;
    }
    this.iovCount = count;
    this.dataBytes = limitBytes - rest;
    return rest === 0;
  }
}

/** The calls of a server. */
export class CallPool {
  /** All that were made so far, busy or not. */
  readonly calls: ServerCall[] = [];
  iovecWords: Uint32Array;
  /** Where the data of a WRITE begins in its chain. */
  readonly writeDataOffset: number;
  /** Answers a call that was pending; set by the server. */
  readonly finish: (call: ServerCall, result: number) => void;
  readonly #scratch: Scratch;
  #iovecs: Mapping;
  #givesBack = false;
  readonly #free: ServerCall[] = [];
  readonly #countMax: number;
  #busyCount = 0;

  constructor(
    countMax: number,
    scratch: Scratch,
    writeDataOffset: number,
    finish: (call: ServerCall, result: number) => void,
  ) {
    this.#countMax = countMax;
    this.#scratch = scratch;
    this.writeDataOffset = writeDataOffset;
    this.finish = finish;
    // Takes up memory only where long chains have been.
    const bytes = countMax * IOVECS_MAX * IOVEC_BYTES;
    this.#iovecs = mapAnonymous(bytes);
    this.iovecWords = new Uint32Array(viewMemory(this.#iovecs.address, bytes));
  }

  /** Whether all are busy. */
  get full(): boolean {
    return this.#busyCount === this.#countMax;
  }

  /** Takes a call for a chain; the caller has looked at `full`. */
  take(queue: Virtqueue, chain: Chain): ServerCall {
    assert(this.#busyCount < this.#countMax, 'a call is taken when one is free');
    this.#busyCount++;
    const call = this.#free.pop() ?? this.#make();
    call.queue = queue;
    call.chain = chain;
    call.state = STATE.running;
    call.nameBytes = 0;
    call.secondBytes = 0;
    call.iovCount = 0;
    call.dataBytes = 0;
    call.tag = 0;
    call.wantsValue = false;
    return call;
  }

  /** Takes a call back. */
  release(call: ServerCall): void {
    this.#busyCount--;
    call.state = STATE.free;
    call.queue = null;
    call.chain = null;
    this.#free.push(call);
    if (this.#givesBack) this.giveBack();
  }

  /** Gives the memory of the arrays back to the host, at once or when no call is busy. */
  giveBack(): void {
    this.#givesBack = this.#busyCount > 0;
    if (this.#givesBack) return;
    this.#iovecs = mapAnew(this.#iovecs);
    const { address, lengthBytes } = this.#iovecs;
    this.iovecWords = new Uint32Array(viewMemory(address, lengthBytes));
    this.calls.forEach((call, index) => {
      call.iov = this.#iovecAddress(index);
    });
  }

  /** Unmaps the arrays; nothing is under way. */
  close(): void {
    this.#iovecs.unmap();
  }

  #make(): ServerCall {
    const index = this.calls.length;
    const call = new ServerCall(this, index, this.#scratch, this.#iovecAddress(index));
    this.calls.push(call);
    return call;
  }

  #iovecAddress(index: number): number {
    return this.#iovecs.address + index * IOVECS_MAX * IOVEC_BYTES;
  }
}
