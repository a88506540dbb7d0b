/**
 * Calls the operations of a file system without a device, a queue or a guest: each request by its
 * opcode, and the common ones by methods. For tests of file systems.
 *
 * @module
 */
import { mapAnonymous, viewMemory } from '../sys/index.ts';
import type { Mapping } from '../sys/index.ts';
import { FUSE_INIT, FUSE_MINOR, FUSE_OPCODE } from '../fuse/index.ts';
import { PENDING } from '../devices/fs/index.ts';
import type { FuseCall, FuseOperations } from '../devices/fs/index.ts';

const DATA_BYTES_MAX = 1024 * 1024;
const IOVEC_BYTES = 16;
const IOVECS_MAX = 4;
const INPUT_BYTES_MAX = 128 * 1024;
const U32 = 0x1_0000_0000;
const ENOSYS = -38;

/** One request. */
export interface FuseRequest {
  readonly opcode: keyof typeof FUSE_OPCODE;
  readonly nodeId: number;
  /** The structure of its arguments. */
  readonly input?: Uint8Array;
  readonly name?: string | Uint8Array;
  readonly second?: string | Uint8Array;
  /** What a WRITE writes. */
  readonly data?: Uint8Array;
  /** Room for the answer, or for what a READ reads. */
  readonly outBytes?: number;
  /** RENAME2's. */
  readonly newDirectory?: number;
  readonly flags?: number;
}

/** What came of it. */
export interface FuseOutcome {
  /** Bytes of the answer, or a negative Linux errno. */
  readonly result: number;
  /** The answer, or what was read; a copy. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** Names of methods that are not spelt like their opcodes. */
const METHODS: Readonly<Record<string, string>> = {
  COPY_FILE_RANGE: 'copyFileRange',
  COPY_FILE_RANGE_64: 'copyFileRange',
  SETLKW: 'setlk',
  RENAME2: 'rename',
};

type Method = (call: FuseCall) => number;

class Call implements FuseCall {
  readonly opcode: number;
  readonly unique: number;
  readonly nodeId: number;
  readonly uid: number;
  readonly gid: number;
  readonly pid = 4711;
  readonly input: DataView;
  readonly inputBytes: number;
  readonly nameAddress = 0;
  readonly nameBytes: number;
  readonly secondAddress = 0;
  readonly secondBytes: number;
  readonly inputArray: Uint8Array;
  readonly nameOffset: number;
  readonly secondOffset: number;
  readonly out: DataView;
  readonly outArray: Uint8Array;
  readonly outAddress = 0;
  readonly outBytesMax: number;
  readonly iov: number;
  readonly iovCount = 2;
  readonly dataBytes: number;
  tag = 0;
  readonly #memory: Mapping;
  readonly #data: Uint8Array;
  readonly #finished: (result: number) => void;

  constructor(
    request: FuseRequest,
    unique: number,
    who: { readonly uid: number; readonly gid: number },
    scratch: Uint8Array,
    finished: (result: number) => void,
  ) {
    this.opcode = FUSE_OPCODE[request.opcode];
    this.unique = unique;
    this.nodeId = request.nodeId;
    this.uid = who.uid;
    this.gid = who.gid;
    this.#finished = finished;
    const input = request.input ?? new Uint8Array(0);
    const name = Buffer.from(request.name ?? '');
    const second = Buffer.from(request.second ?? '');
    this.inputArray = new Uint8Array(INPUT_BYTES_MAX);
    this.inputArray.set(input);
    this.nameOffset = input.length;
    this.nameBytes = name.length;
    this.inputArray.set(name, this.nameOffset);
    this.secondOffset = this.nameOffset + name.length + 1;
    this.secondBytes = second.length;
    this.inputArray.set(second, this.secondOffset);
    this.inputBytes = this.secondOffset + second.length;
    this.input = new DataView(this.inputArray.buffer);
    this.outArray = scratch;
    this.out = new DataView(scratch.buffer);
    this.outBytesMax = request.outBytes ?? scratch.length;
    const isRead = request.opcode === 'READ';
    this.dataBytes = isRead ? this.outBytesMax : (request.data?.length ?? 0);
    this.#memory = mapAnonymous(IOVECS_MAX * IOVEC_BYTES + DATA_BYTES_MAX);
    this.iov = this.#memory.address;
    // SAFETY: mapped until `close`, which is called when the answer is copied.
    const memory = viewMemory(this.iov, IOVECS_MAX * IOVEC_BYTES + DATA_BYTES_MAX);
    this.#data = new Uint8Array(memory, IOVECS_MAX * IOVEC_BYTES, DATA_BYTES_MAX);
    if (request.data !== undefined) this.#data.set(request.data);
    this.#fillIov(new DataView(memory));
  }

  /** Two pieces, so that nobody takes the first for everything. */
  #fillIov(view: DataView): void {
    const first = Math.floor(this.dataBytes / 3);
    let address = this.iov + IOVECS_MAX * IOVEC_BYTES;
    for (const [i, bytes] of [first, this.dataBytes - first].entries()) {
      view.setUint32(i * IOVEC_BYTES, address % U32, true);
      view.setUint32(i * IOVEC_BYTES + 4, Math.floor(address / U32), true);
      view.setUint32(i * IOVEC_BYTES + 8, bytes, true);
      address += bytes;
    }
  }

  copyData(into: Uint8Array): void {
    into.set(this.#data.subarray(0, Math.min(into.length, this.dataBytes)));
  }

  putData(from: Uint8Array): number {
    const bytes = Math.min(from.length, this.dataBytes);
    this.#data.set(from.subarray(0, bytes));
    return bytes;
  }

  finish(result: number): void {
    this.#finished(result);
  }

  answer(result: number): FuseOutcome {
    const length = Math.max(0, result);
    const from = this.opcode === FUSE_OPCODE.READ ? this.#data : this.outArray;
    const bytes = from.slice(0, length);
    return { result, bytes, view: new DataView(bytes.buffer) };
  }

  close(): void {
    this.#memory.unmap();
  }
}

/** See the module. `uid` and `gid` are who asks, and may be changed at any time. */
export class FuseCaller {
  readonly operations: FuseOperations;
  uid = 0;
  gid = 0;
  /** The number of the request that was made last: what an interrupt names. */
  unique = 1;
  readonly #scratch: Uint8Array;

  constructor(operations: FuseOperations) {
    this.operations = operations;
    this.#scratch = new Uint8Array(DATA_BYTES_MAX);
    // Tests open what they read.
    const unopened = FUSE_INIT.NO_OPEN_SUPPORT | FUSE_INIT.NO_OPENDIR_SUPPORT;
    const flags = operations.abilities.flags & ~unopened;
    operations.init({ minor: FUSE_MINOR, flags, flags2: 0 });
  }

  /** Makes one request; the answer comes when the file system has it. */
  request(request: FuseRequest): Promise<FuseOutcome> {
    const unique = ++this.unique;
    return new Promise((resolve) => {
      const done = (result: number): void => {
        const answer = call.answer(result);
        call.close();
        resolve(answer);
      };
      const call = new Call(request, unique, this, this.#scratch, done);
      const result = this.#dispatch(request, call);
      if (result !== PENDING) done(result);
    });
  }

  #dispatch(request: FuseRequest, call: Call): number {
    const { operations } = this;
    switch (request.opcode) {
      case 'RENAME':
      case 'RENAME2':
        return operations.rename?.(call, request.newDirectory ?? 0, request.flags ?? 0) ?? ENOSYS;
      case 'SETLK':
      case 'SETLKW':
        return operations.setlk?.(call, request.opcode === 'SETLKW') ?? ENOSYS;
      default: {
        const name = METHODS[request.opcode] ?? request.opcode.toLowerCase();
        const methods = operations as unknown as Record<string, Method | undefined>;
        return methods[name]?.(call) ?? ENOSYS;
      }
    }
  }
}
