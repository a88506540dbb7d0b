/**
 * Requests of a benchmark outside of its loop, one at a time: each call waits, polling, until its
 * answer is there.
 *
 * @module
 */
import { VhostUserError, assert } from '../../util/index.ts';
import {
  FUSE_BATCH_FORGET_IN,
  FUSE_CREATE_IN,
  FUSE_ENTRY_OUT,
  FUSE_FORGET_ONE,
  FUSE_INIT_IN,
  FUSE_INIT_OUT,
  FUSE_MKDIR_IN,
  FUSE_OPCODE,
  FUSE_OPEN_IN,
  FUSE_OPEN_OUT,
  FUSE_RELEASE_IN,
  FUSE_ROOT_ID,
  FUSE_WRITE_IN,
  FUSE_WRITE_OUT,
  LINUX_E,
  LINUX_O,
  fuseOpcodeName,
} from '../../fuse/index.ts';
import { errnoText } from './errors.ts';
import { encodeInit, parseInit } from './init.ts';
import type { FuseAgreement, FuseInitRequest } from './init.ts';
import { LookupCounts } from './lookup-counts.ts';
import { BAD_REPLY, NO_REPLY } from './poller.ts';
import type { FusePoller } from './poller.ts';
import { getU64, putU64, putZeroes } from './wire.ts';

const SLOT = 0;
const SPINS_PER_CLOCK = 1024;
const FORGETS_PER_BATCH = 64; // fit a slot's block with room to spare
const FILE_MODE = 0o100644;
const FOLDER_MODE = 0o755;

/** See the module. Uses slot 0 of both pollers, which is idle outside of calls. */
export class BenchCalls {
  /** What was looked up, and is not forgotten yet. */
  readonly lookups: LookupCounts = new LookupCounts();
  readonly #requests: FusePoller;
  readonly #hiprio: FusePoller;
  readonly #stallMs: number;
  #done = false;
  #error = 0;
  #bytes = 0;
  readonly #onDone = (_slot: number, error: number, bytes: number): void => {
    this.#done = true;
    this.#error = error;
    this.#bytes = bytes;
  };

  constructor(requests: FusePoller, hiprio: FusePoller, stallMs: number) {
    this.#requests = requests;
    this.#hiprio = hiprio;
    this.#stallMs = stallMs;
  }

  /** FUSE_INIT. */
  init(request: FuseInitRequest): FuseAgreement {
    const { control } = this.#requests;
    encodeInit(control, this.#argsAt, request);
    this.#must(FUSE_OPCODE.INIT, 0, FUSE_INIT_IN.SIZE, 0, FUSE_INIT_OUT.SIZE, 'FUSE_INIT');
    return parseInit(control, this.#outAt, request);
  }

  /** The node of a path, which has no `..` and no symbolic links; 0 when it does not exist. */
  find(path: string): number {
    let node = FUSE_ROOT_ID;
    for (const name of path.split('/').filter((each) => each !== '')) {
      node = this.lookup(node, name);
      if (node === 0) return 0;
    }
    return node;
  }

  /** LOOKUP; 0 when there is nothing of that name. */
  lookup(parent: number, name: string): number {
    const argBytes = this.#putName(0, name);
    const error = this.#call(FUSE_OPCODE.LOOKUP, parent, argBytes, 0, FUSE_ENTRY_OUT.SIZE);
    if (error === -LINUX_E.NOENT) return 0;
    this.#check(error, FUSE_OPCODE.LOOKUP, name);
    return this.#entry();
  }

  /** MKDIR. */
  makeFolder(parent: number, name: string): number {
    const { control } = this.#requests;
    control.setUint32(this.#argsAt + FUSE_MKDIR_IN.mode, FOLDER_MODE, true);
    control.setUint32(this.#argsAt + FUSE_MKDIR_IN.umask, 0, true);
    const argBytes = this.#putName(FUSE_MKDIR_IN.SIZE, name);
    this.#must(FUSE_OPCODE.MKDIR, parent, argBytes, 0, FUSE_ENTRY_OUT.SIZE, name);
    return this.#entry();
  }

  /** CREATE for writing; returns the handle, and leaves the node in `lookups`. */
  create(parent: number, name: string): { node: number; handle: number } {
    const { control } = this.#requests;
    const args = this.#argsAt;
    putZeroes(control, args, FUSE_CREATE_IN.SIZE);
    control.setUint32(args + FUSE_CREATE_IN.flags, LINUX_O.RDWR | LINUX_O.CREAT, true);
    control.setUint32(args + FUSE_CREATE_IN.mode, FILE_MODE, true);
    const argBytes = this.#putName(FUSE_CREATE_IN.SIZE, name);
    const outBytes = FUSE_ENTRY_OUT.SIZE + FUSE_OPEN_OUT.SIZE;
    this.#must(FUSE_OPCODE.CREATE, parent, argBytes, 0, outBytes, name);
    const handle = getU64(control, this.#outAt + FUSE_ENTRY_OUT.SIZE + FUSE_OPEN_OUT.fh);
    return { node: this.#entry(), handle };
  }

  /** OPEN; handle 0 of a server that keeps none (ENOSYS). */
  open(node: number, flags: number, what: string): number {
    const { control } = this.#requests;
    putZeroes(control, this.#argsAt, FUSE_OPEN_IN.SIZE);
    control.setUint32(this.#argsAt + FUSE_OPEN_IN.flags, flags, true);
    const { OPEN } = FUSE_OPCODE;
    const error = this.#call(OPEN, node, FUSE_OPEN_IN.SIZE, 0, FUSE_OPEN_OUT.SIZE);
    if (error === -LINUX_E.NOSYS) return 0;
    this.#check(error, OPEN, what);
    return getU64(control, this.#outAt + FUSE_OPEN_OUT.fh);
  }

  /** WRITE of the first bytes of the slot's buffer. */
  write(node: number, handle: number, offset: number, bytes: number, what: string): void {
    const { control } = this.#requests;
    const args = this.#argsAt;
    putZeroes(control, args, FUSE_WRITE_IN.SIZE);
    putU64(control, args + FUSE_WRITE_IN.fh, handle);
    putU64(control, args + FUSE_WRITE_IN.offset, offset);
    control.setUint32(args + FUSE_WRITE_IN.size, bytes, true);
    const { WRITE } = FUSE_OPCODE;
    this.#must(WRITE, node, FUSE_WRITE_IN.SIZE, bytes, FUSE_WRITE_OUT.SIZE, what);
    const written = control.getUint32(this.#outAt + FUSE_WRITE_OUT.size, true);
    if (written === bytes) return;
    const text = `WRITE ${what}: ${String(written)} of ${String(bytes)} bytes were written`;
    throw new VhostUserError('ERR_VHU_FS_BENCH', text);
  }

  /** RELEASE. */
  release(node: number, handle: number): void {
    const { control } = this.#requests;
    putZeroes(control, this.#argsAt, FUSE_RELEASE_IN.SIZE);
    putU64(control, this.#argsAt + FUSE_RELEASE_IN.fh, handle);
    this.#call(FUSE_OPCODE.RELEASE, node, FUSE_RELEASE_IN.SIZE, 0, 0);
  }

  /** Forgets everything that was looked up (BATCH_FORGET, on the high-priority queue). */
  forgetAll(): void {
    const poller = this.#hiprio;
    const { control } = poller;
    const args = poller.argsAt(SLOT);
    let count = 0;
    const send = (): void => {
      putZeroes(control, args, FUSE_BATCH_FORGET_IN.SIZE);
      control.setUint32(args + FUSE_BATCH_FORGET_IN.count, count, true);
      const argBytes = FUSE_BATCH_FORGET_IN.SIZE + count * FUSE_FORGET_ONE.SIZE;
      count = 0;
      poller.submit(SLOT, FUSE_OPCODE.BATCH_FORGET, 0, argBytes, 0, NO_REPLY, 0);
      this.#wait(poller, FUSE_OPCODE.BATCH_FORGET);
    };
    this.lookups.drain((nodeId, lookups) => {
      const at = args + FUSE_BATCH_FORGET_IN.SIZE + count * FUSE_FORGET_ONE.SIZE;
      putU64(control, at + FUSE_FORGET_ONE.nodeid, nodeId);
      putU64(control, at + FUSE_FORGET_ONE.nlookup, lookups);
      if (++count === FORGETS_PER_BATCH) send();
    });
    if (count > 0) send();
  }

  /** DESTROY: the end of the session. */
  destroy(): void {
    this.#call(FUSE_OPCODE.DESTROY, 0, 0, 0, 0);
  }

  get #argsAt(): number {
    return this.#requests.argsAt(SLOT);
  }

  get #outAt(): number {
    return this.#requests.outAt(SLOT);
  }

  /** Writes a name behind `offset` bytes of arguments; returns the bytes of all of them. */
  #putName(offset: number, name: string): number {
    const bytes = Buffer.from(name);
    const at = this.#argsAt + offset;
    this.#requests.controlBytes.set(bytes, at);
    this.#requests.controlBytes[at + bytes.length] = 0;
    return offset + bytes.length + 1;
  }

  /** The node of an answer that is an entry. */
  #entry(): number {
    const node = getU64(this.#requests.control, this.#outAt + FUSE_ENTRY_OUT.nodeid);
    if (node !== 0) this.lookups.add(node);
    return node;
  }

  #must(
    opcode: number,
    nodeId: number,
    argBytes: number,
    dataIn: number,
    outBytes: number,
    what: string,
  ): void {
    this.#check(this.#call(opcode, nodeId, argBytes, dataIn, outBytes), opcode, what);
    if (this.#bytes >= outBytes) return;
    const text = `${fuseOpcodeName(opcode)} ${what}: an answer of ${String(this.#bytes)} bytes`;
    throw new VhostUserError('ERR_VHU_FS_REPLY', text);
  }

  #check(error: number, opcode: number, what: string): void {
    if (error === 0) return;
    const text = error === BAD_REPLY ? 'what came back is no answer' : errnoText(-error);
    throw new VhostUserError('ERR_VHU_FS_BENCH', `${fuseOpcodeName(opcode)} ${what}: ${text}`);
  }

  #call(
    opcode: number,
    nodeId: number,
    argBytes: number,
    dataIn: number,
    outBytes: number,
  ): number {
    const poller = this.#requests;
    const taken = poller.submit(SLOT, opcode, nodeId, argBytes, dataIn, outBytes, 0);
    assert(taken, 'an idle ring has room for one request');
    this.#wait(poller, opcode);
    return this.#error;
  }

  #wait(poller: FusePoller, opcode: number): void {
    this.#done = false;
    poller.kickIfWanted();
    const endMs = performance.now() + this.#stallMs;
    for (let spins = 1; !this.#done; spins++) {
      poller.poll(this.#onDone);
      if (spins % SPINS_PER_CLOCK !== 0) continue;
      if (poller.fault !== null) throw new VhostUserError(poller.fault.code, poller.fault.message);
      if (performance.now() < endMs) continue;
      throw new VhostUserError(
        'ERR_VHU_BENCH_STALLED',
        `benchmark: ${fuseOpcodeName(opcode)}: no answer for ${String(this.#stallMs)} ms`,
      );
    }
  }
}
