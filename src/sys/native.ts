/**
 * Memory outside of the JavaScript heap, for the arguments of system calls, and checked calls.
 *
 * @module
 */
import type { Field } from '../abi/index.ts';
import { ERRNO, SystemError } from './errno.ts';
import * as libc from './libc.ts';

const EINTR = ERRNO.EINTR as number;

/**
 * A block of zeroed native memory with views over it; lives until `free`, or as long as the
 * process.
 */
export class NativeBlock {
  readonly address: number;
  /** All of it; empty once it is freed, so that a late access throws instead of doing damage. */
  bytes: Uint8Array;
  view: DataView;

  constructor(sizeBytes: number) {
    this.address = libc.malloc(sizeBytes);
    if (this.address === 0) throw new SystemError(`malloc(${String(sizeBytes)} bytes)`, 12);
    // SAFETY: the block was just allocated with this size, and `free` drops the views.
    const buffer = libc.rawView(this.address, sizeBytes);
    this.bytes = new Uint8Array(buffer).fill(0);
    this.view = new DataView(buffer);
  }

  /** Gives the memory back; may be called again. */
  free(): void {
    if (this.bytes.length === 0) return;
    libc.free(this.address);
    this.bytes = new Uint8Array(0);
    this.view = new DataView(this.bytes.buffer);
  }

  /** Writes a field of a structure that begins at `base`; values are below 2^53. */
  set(base: number, field: Field, value: number): void {
    const at = base + field.offset;
    switch (field.bytes) {
      case 1:
        this.view.setUint8(at, value);
        break;
      case 2:
        this.view.setInt16(at, value, true);
        break;
      case 4:
        this.view.setUint32(at, value, true);
        break;
      case 8:
        this.view.setUint32(at, value >>> 0, true);
        this.view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true);
        break;
    }
  }

  /** Reads a field of a structure that begins at `base`. */
  get(base: number, field: Field): number {
    const at = base + field.offset;
    switch (field.bytes) {
      case 1:
        return this.view.getUint8(at);
      case 2:
        return this.view.getInt16(at, true);
      case 4:
        return this.view.getInt32(at, true);
      case 8:
        return this.view.getUint32(at, true) + this.view.getUint32(at + 4, true) * 0x1_0000_0000;
    }
  }
}

/** The result of a call that must not fail; throws {@link SystemError} when it is negative. */
export function check(result: number, call: string, advice?: string): number {
  if (result < 0) throw new SystemError(call, libc.errno(), advice);
  return result;
}

/** The result of a data-path call: what it returned, or a negative errno. */
export function orErrno(result: number): number {
  return result < 0 ? -libc.errno() : result;
}

/** Whether a call that returned `result` was interrupted by a signal and is to be made again. */
export function interrupted(result: number): boolean {
  return result < 0 && libc.errno() === EINTR;
}
