/**
 * The operations of the file system benchmark: each is one or several requests, one after the
 * other, as a guest's kernel sends them. Nothing here allocates while it runs.
 *
 * @module
 */
import { assert } from '../../util/index.ts';
import {
  FUSE_CREATE_IN,
  FUSE_DIRENT,
  FUSE_DIRENTPLUS,
  FUSE_ENTRY_OUT,
  FUSE_FLUSH_IN,
  FUSE_GETATTR_IN,
  FUSE_ATTR_OUT,
  FUSE_OPCODE,
  FUSE_OPEN_IN,
  FUSE_OPEN_OUT,
  FUSE_READ_IN,
  FUSE_RELEASE_IN,
  FUSE_WRITE_IN,
  FUSE_WRITE_OUT,
  LINUX_E,
  LINUX_O,
  fuseRecordBytes,
} from '../../fuse/index.ts';
import type { LookupCounts } from './lookup-counts.ts';
import { BAD_REPLY } from './poller.ts';
import type { FusePoller } from './poller.ts';
import { getU64, putU64, putZeroes } from './wire.ts';

/** What `advance` returns when the operation is over, and well. */
export const DONE = 0;
/** What `advance` returns when it has submitted another request. */
export const MORE = 2;

const FILE_MODE = 0o100644;
const ZERO = 0x30; // '0'
const NAME_LETTER = 0x66; // 'f'
const DOT = 0x2e;

/** An operation on one queue; a slot carries one at a time. */
export interface BenchOp {
  /** Submits the first request of operation number `index`. */
  begin(slot: number, index: number): void;
  /** A request has come back: DONE, MORE, a negative errno, or BAD_REPLY. */
  advance(slot: number, error: number, bytes: number): number;
}

/** Writes `f4711` and a NUL to `at`; returns its bytes, with the NUL. */
export function putFileName(bytes: Uint8Array, at: number, index: number): number {
  let digits = 1;
  for (let rest = index; rest >= 10; rest = Math.floor(rest / 10)) digits++;
  bytes[at] = NAME_LETTER;
  let rest = index;
  for (let i = digits; i > 0; i--) {
    bytes[at + i] = ZERO + (rest % 10);
    rest = Math.floor(rest / 10);
  }
  bytes[at + digits + 1] = 0;
  return digits + 2;
}

/** An answer that came in time, and is long enough. */
function checked(error: number, bytes: number, bytesMin: number): number {
  if (error !== 0) return error;
  return bytes < bytesMin ? BAD_REPLY : DONE;
}

/** READ or WRITE of one open file, at offsets that `offsetOf` gives. */
export class TransferOp implements BenchOp {
  readonly #poller: FusePoller;
  readonly #write: boolean;
  readonly #node: number;
  readonly #handle: number;
  readonly #blockBytes: number;
  readonly #offsetOf: (index: number) => number;

  constructor(
    poller: FusePoller,
    file: { readonly node: number; readonly handle: number },
    options: { readonly write: boolean; readonly blockBytes: number },
    offsetOf: (index: number) => number,
  ) {
    this.#poller = poller;
    this.#write = options.write;
    this.#node = file.node;
    this.#handle = file.handle;
    this.#blockBytes = options.blockBytes;
    this.#offsetOf = offsetOf;
  }

  begin(slot: number, index: number): void {
    const poller = this.#poller;
    const { control } = poller;
    const at = poller.argsAt(slot);
    const bytes = this.#blockBytes;
    // fuse_read_in and fuse_write_in are the same here.
    putZeroes(control, at, FUSE_READ_IN.SIZE);
    putU64(control, at + FUSE_READ_IN.fh, this.#handle);
    putU64(control, at + FUSE_READ_IN.offset, this.#offsetOf(index));
    control.setUint32(at + FUSE_READ_IN.size, bytes, true);
    control.setUint32(at + FUSE_READ_IN.flags, LINUX_O.RDWR, true);
    const { READ, WRITE } = FUSE_OPCODE;
    const taken = this.#write
      ? poller.submit(slot, WRITE, this.#node, FUSE_WRITE_IN.SIZE, bytes, FUSE_WRITE_OUT.SIZE, 0)
      : poller.submit(slot, READ, this.#node, FUSE_READ_IN.SIZE, 0, 0, bytes);
    assert(taken, 'the ring has room for the requests of all slots');
  }

  advance(slot: number, error: number, bytes: number): number {
    if (!this.#write) return checked(error, bytes, this.#blockBytes);
    if (error !== 0) return error;
    const written = this.#poller.control.getUint32(this.#poller.outAt(slot), true);
    return written === this.#blockBytes ? DONE : BAD_REPLY;
  }
}

/** LOOKUP of the files of a folder, in turn. */
export class LookupOp implements BenchOp {
  readonly #poller: FusePoller;
  readonly #folder: number;
  readonly #count: number;
  readonly #lookups: LookupCounts;

  constructor(poller: FusePoller, folder: number, count: number, lookups: LookupCounts) {
    this.#poller = poller;
    this.#folder = folder;
    this.#count = count;
    this.#lookups = lookups;
  }

  begin(slot: number, index: number): void {
    const poller = this.#poller;
    const argBytes = putFileName(poller.controlBytes, poller.argsAt(slot), index % this.#count);
    const { LOOKUP } = FUSE_OPCODE;
    const taken = poller.submit(slot, LOOKUP, this.#folder, argBytes, 0, FUSE_ENTRY_OUT.SIZE, 0);
    assert(taken, 'the ring has room for the requests of all slots');
  }

  advance(slot: number, error: number, bytes: number): number {
    const result = checked(error, bytes, FUSE_ENTRY_OUT.SIZE);
    if (result !== DONE) return result;
    const at = this.#poller.outAt(slot) + FUSE_ENTRY_OUT.nodeid;
    const node = getU64(this.#poller.control, at);
    if (node === 0) return -LINUX_E.NOENT;
    this.#lookups.add(node);
    return DONE;
  }
}

/** GETATTR of nodes, in turn. */
export class GetattrOp implements BenchOp {
  readonly #poller: FusePoller;
  readonly #nodes: Float64Array;

  constructor(poller: FusePoller, nodes: Float64Array) {
    this.#poller = poller;
    this.#nodes = nodes;
  }

  begin(slot: number, index: number): void {
    const poller = this.#poller;
    putZeroes(poller.control, poller.argsAt(slot), FUSE_GETATTR_IN.SIZE);
    const node = this.#nodes[index % this.#nodes.length] as number;
    const { GETATTR } = FUSE_OPCODE;
    const { SIZE } = FUSE_GETATTR_IN;
    const taken = poller.submit(slot, GETATTR, node, SIZE, 0, FUSE_ATTR_OUT.SIZE, 0);
    assert(taken, 'the ring has room for the requests of all slots');
  }

  advance(_slot: number, error: number, bytes: number): number {
    return checked(error, bytes, FUSE_ATTR_OUT.SIZE);
  }
}

/** UNLINK of the files of a folder. */
export class UnlinkOp implements BenchOp {
  readonly #poller: FusePoller;
  readonly #folder: number;

  constructor(poller: FusePoller, folder: number) {
    this.#poller = poller;
    this.#folder = folder;
  }

  begin(slot: number, index: number): void {
    const poller = this.#poller;
    const argBytes = putFileName(poller.controlBytes, poller.argsAt(slot), index);
    const taken = poller.submit(slot, FUSE_OPCODE.UNLINK, this.#folder, argBytes, 0, 0, 0);
    assert(taken, 'the ring has room for the requests of all slots');
  }

  advance(_slot: number, error: number): number {
    return error;
  }
}

const STEP = { OPEN: 0, WORK: 1, FLUSH: 2, RELEASE: 3 } as const;

/** What operations on open files and folders share: where each slot is, and its handle. */
abstract class HandleOp {
  protected readonly poller: FusePoller;
  protected readonly step: Uint8Array; // by slot
  protected readonly nodes: Float64Array;
  protected readonly handles: Float64Array;
  readonly #failed: Int32Array;
  #noFlush = false; // the server has none (ENOSYS), which a kernel remembers

  constructor(poller: FusePoller) {
    this.poller = poller;
    this.step = new Uint8Array(poller.slotCount);
    this.nodes = new Float64Array(poller.slotCount);
    this.handles = new Float64Array(poller.slotCount);
    this.#failed = new Int32Array(poller.slotCount);
  }

  /** Makes a slot ready for its next operation. */
  protected enter(slot: number, node: number): void {
    this.step[slot] = STEP.OPEN;
    this.nodes[slot] = node;
    this.#failed[slot] = 0;
  }

  /** Submits the first step of a close(2): FLUSH, where the server has it, else RELEASE. */
  protected close(slot: number, error: number): number {
    this.#failed[slot] = error;
    if (this.#noFlush) return this.release(slot, FUSE_OPCODE.RELEASE);
    this.step[slot] = STEP.FLUSH;
    return this.#send(slot, FUSE_OPCODE.FLUSH, FUSE_FLUSH_IN.SIZE);
  }

  /** What comes after FLUSH, and after RELEASE or RELEASEDIR. */
  protected closing(slot: number, error: number): number {
    if (this.step[slot] === STEP.RELEASE) return (this.#failed[slot] as number) || error;
    if (error === -LINUX_E.NOSYS) this.#noFlush = true;
    else if (error !== 0) this.#failed[slot] = error;
    return this.release(slot, FUSE_OPCODE.RELEASE);
  }

  /** Submits RELEASE or RELEASEDIR. */
  protected release(slot: number, opcode: number): number {
    this.step[slot] = STEP.RELEASE;
    return this.#send(slot, opcode, FUSE_RELEASE_IN.SIZE);
  }

  /** Remembers that an operation has failed, and gives the handle back. */
  protected abandon(slot: number, opcode: number, error: number): number {
    this.#failed[slot] = error;
    return this.release(slot, opcode);
  }

  #send(slot: number, opcode: number, argBytes: number): number {
    const { control } = this.poller;
    const at = this.poller.argsAt(slot);
    putZeroes(control, at, argBytes);
    putU64(control, at + FUSE_RELEASE_IN.fh, this.handles[slot] as number); // as in fuse_flush_in
    this.submit(slot, opcode, argBytes, 0, 0);
    return MORE;
  }

  protected submit(
    slot: number,
    opcode: number,
    argBytes: number,
    outBytes: number,
    dataOut: number,
  ): void {
    const node = this.nodes[slot] as number;
    const taken = this.poller.submit(slot, opcode, node, argBytes, 0, outBytes, dataOut);
    assert(taken, 'the ring has room for the requests of all slots');
  }
}

/** OPEN, READ of the first bytes, FLUSH, RELEASE of files that are known, in turn. */
export class OpenReadCloseOp extends HandleOp implements BenchOp {
  readonly #files: Float64Array;
  readonly #blockBytes: number;

  constructor(poller: FusePoller, files: Float64Array, blockBytes: number) {
    super(poller);
    this.#files = files;
    this.#blockBytes = blockBytes;
  }

  begin(slot: number, index: number): void {
    this.enter(slot, this.#files[index % this.#files.length] as number);
    putZeroes(this.poller.control, this.poller.argsAt(slot), FUSE_OPEN_IN.SIZE); // O_RDONLY
    this.submit(slot, FUSE_OPCODE.OPEN, FUSE_OPEN_IN.SIZE, FUSE_OPEN_OUT.SIZE, 0);
  }

  advance(slot: number, error: number, bytes: number): number {
    if (this.step[slot] === STEP.OPEN) {
      const result = checked(error, bytes, FUSE_OPEN_OUT.SIZE);
      return result === DONE ? this.#read(slot) : result;
    }
    if (this.step[slot] === STEP.WORK) return this.close(slot, error);
    return this.closing(slot, error);
  }

  #read(slot: number): number {
    const { control } = this.poller;
    const handle = getU64(control, this.poller.outAt(slot) + FUSE_OPEN_OUT.fh);
    this.handles[slot] = handle;
    this.step[slot] = STEP.WORK;
    const at = this.poller.argsAt(slot);
    putZeroes(control, at, FUSE_READ_IN.SIZE);
    putU64(control, at + FUSE_READ_IN.fh, handle);
    control.setUint32(at + FUSE_READ_IN.size, this.#blockBytes, true);
    this.submit(slot, FUSE_OPCODE.READ, FUSE_READ_IN.SIZE, 0, this.#blockBytes);
    return MORE;
  }
}

/** CREATE, FLUSH, RELEASE of new files. */
export class CreateOp extends HandleOp implements BenchOp {
  readonly #folder: number;
  readonly #lookups: LookupCounts;

  constructor(poller: FusePoller, folder: number, lookups: LookupCounts) {
    super(poller);
    this.#folder = folder;
    this.#lookups = lookups;
  }

  begin(slot: number, index: number): void {
    const { control, controlBytes } = this.poller;
    const at = this.poller.argsAt(slot);
    this.enter(slot, this.#folder);
    putZeroes(control, at, FUSE_CREATE_IN.SIZE);
    const flags = LINUX_O.WRONLY | LINUX_O.CREAT | LINUX_O.EXCL;
    control.setUint32(at + FUSE_CREATE_IN.flags, flags, true);
    control.setUint32(at + FUSE_CREATE_IN.mode, FILE_MODE, true);
    const nameBytes = putFileName(controlBytes, at + FUSE_CREATE_IN.SIZE, index);
    const argBytes = FUSE_CREATE_IN.SIZE + nameBytes;
    this.submit(slot, FUSE_OPCODE.CREATE, argBytes, FUSE_ENTRY_OUT.SIZE + FUSE_OPEN_OUT.SIZE, 0);
  }

  advance(slot: number, error: number, bytes: number): number {
    if (this.step[slot] !== STEP.OPEN) return this.closing(slot, error);
    const result = checked(error, bytes, FUSE_ENTRY_OUT.SIZE + FUSE_OPEN_OUT.SIZE);
    if (result !== DONE) return result;
    const { control } = this.poller;
    const at = this.poller.outAt(slot);
    const node = getU64(control, at + FUSE_ENTRY_OUT.nodeid);
    this.#lookups.add(node);
    this.nodes[slot] = node;
    this.handles[slot] = getU64(control, at + FUSE_ENTRY_OUT.SIZE + FUSE_OPEN_OUT.fh);
    return this.close(slot, 0);
  }
}

/** OPENDIR, READDIRPLUS to the end, RELEASEDIR of a whole folder. */
export class ReaddirplusOp extends HandleOp implements BenchOp {
  /** Entries that were listed, `.` and `..` among them. */
  entries = 0;
  readonly #folder: number;
  readonly #bytes: number; // of one request
  readonly #lookups: LookupCounts;
  readonly #views: readonly DataView[]; // of the buffers, by slot
  readonly #cookieLow: Uint32Array; // by slot
  readonly #cookieHigh: Uint32Array;

  constructor(
    poller: FusePoller,
    folder: number,
    options: { readonly bytes: number; readonly lookups: LookupCounts },
  ) {
    super(poller);
    this.#folder = folder;
    this.#bytes = options.bytes;
    this.#lookups = options.lookups;
    this.#views = Array.from({ length: poller.slotCount }, (_, slot) => {
      const { buffer, byteOffset, length } = poller.buffer(slot);
      return new DataView(buffer, byteOffset, length);
    });
    this.#cookieLow = new Uint32Array(poller.slotCount);
    this.#cookieHigh = new Uint32Array(poller.slotCount);
  }

  begin(slot: number): void {
    this.enter(slot, this.#folder);
    putZeroes(this.poller.control, this.poller.argsAt(slot), FUSE_OPEN_IN.SIZE);
    this.submit(slot, FUSE_OPCODE.OPENDIR, FUSE_OPEN_IN.SIZE, FUSE_OPEN_OUT.SIZE, 0);
  }

  advance(slot: number, error: number, bytes: number): number {
    if (this.step[slot] === STEP.OPEN) {
      const result = checked(error, bytes, FUSE_OPEN_OUT.SIZE);
      if (result !== DONE) return result;
      const at = this.poller.outAt(slot) + FUSE_OPEN_OUT.fh;
      this.handles[slot] = getU64(this.poller.control, at);
      this.#cookieLow[slot] = 0;
      this.#cookieHigh[slot] = 0;
      return this.#list(slot);
    }
    if (this.step[slot] !== STEP.WORK) return this.closing(slot, error);
    const result = error === 0 ? this.#scan(slot, bytes) : error;
    if (result !== DONE) return this.abandon(slot, FUSE_OPCODE.RELEASEDIR, result);
    return bytes > 0 ? this.#list(slot) : this.release(slot, FUSE_OPCODE.RELEASEDIR);
  }

  #list(slot: number): number {
    const { control } = this.poller;
    const at = this.poller.argsAt(slot);
    this.step[slot] = STEP.WORK;
    putZeroes(control, at, FUSE_READ_IN.SIZE);
    putU64(control, at + FUSE_READ_IN.fh, this.handles[slot] as number);
    control.setUint32(at + FUSE_READ_IN.offset, this.#cookieLow[slot] as number, true);
    control.setUint32(at + FUSE_READ_IN.offset + 4, this.#cookieHigh[slot] as number, true);
    control.setUint32(at + FUSE_READ_IN.size, this.#bytes, true);
    this.submit(slot, FUSE_OPCODE.READDIRPLUS, FUSE_READ_IN.SIZE, 0, this.#bytes);
    return MORE;
  }

  /** Counts the entries of one answer, and what each of them has looked up. */
  #scan(slot: number, bytes: number): number {
    const view = this.#views[slot] as DataView;
    let at = 0;
    while (at + FUSE_DIRENTPLUS.SIZE <= bytes) {
      const dirent = at + FUSE_DIRENTPLUS.dirent;
      const nameBytes = view.getUint32(dirent + FUSE_DIRENT.namelen, true);
      const next = at + fuseRecordBytes(FUSE_DIRENTPLUS.SIZE, nameBytes);
      if (nameBytes === 0 || next > bytes) return BAD_REPLY;
      const node = getU64(view, at + FUSE_DIRENTPLUS.entryOut + FUSE_ENTRY_OUT.nodeid);
      if (node !== 0 && !isDots(view, at + FUSE_DIRENTPLUS.SIZE, nameBytes)) {
        this.#lookups.add(node);
      }
      this.#cookieLow[slot] = view.getUint32(dirent + FUSE_DIRENT.off, true);
      this.#cookieHigh[slot] = view.getUint32(dirent + FUSE_DIRENT.off + 4, true);
      this.entries++;
      at = next;
    }
    return DONE;
  }
}

/** Whether a name is `.` or `..`, which are listed and not looked up. */
function isDots(view: DataView, at: number, nameBytes: number): boolean {
  if (nameBytes > 2 || view.getUint8(at) !== DOT) return false;
  return nameBytes === 1 || view.getUint8(at + 1) === DOT;
}
