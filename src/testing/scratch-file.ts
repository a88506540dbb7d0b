/**
 * A file in a folder of its own and a block of memory to write into it, for tests of what writes
 * files; and writers that answer what a test says.
 *
 * @module
 */
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BriskWriter, ERRNO, mapAnonymous, pwritevCached, viewMemory } from '../sys/index.ts';
import type { Mapping } from '../sys/index.ts';

const BLOCK_BYTES = 4096;
const EAGAIN = -(ERRNO.EAGAIN as number);
const EOPNOTSUPP = -(ERRNO.EOPNOTSUPP as number);

/** See {@link openScratchFile}. Owns the file, its folder and the memory. */
export class ScratchFile {
  /** Length of the block, in bytes. */
  readonly blockBytes: number = BLOCK_BYTES;
  readonly path: string;
  /** Open for reading and writing; borrowed. */
  readonly fd: number;
  /** Address of a `struct iovec` of the block, until `close`. */
  readonly iov: number;
  /**
   * Why this file is none whose system refuses to tell of a write whether it would wait
   * (RWF_NOWAIT): a reason to skip a test. Undefined when it is one.
   */
  readonly tellsOfWrites: string | undefined;
  readonly #folder: string;
  readonly #memory: Mapping;

  /** With each byte of the block set to `fill`. */
  constructor(fill: number) {
    this.#folder = mkdtempSync(join(tmpdir(), 'vhu-scratch-'));
    this.path = join(this.#folder, 'file');
    this.fd = openSync(this.path, 'w+');
    this.#memory = mapAnonymous(2 * BLOCK_BYTES);
    const { address } = this.#memory;
    this.iov = address;
    const view = new DataView(viewMemory(address, 2 * BLOCK_BYTES));
    view.setBigUint64(0, BigInt(address + BLOCK_BYTES), true);
    view.setBigUint64(8, BigInt(BLOCK_BYTES), true);
    new Uint8Array(view.buffer, BLOCK_BYTES).fill(fill);
    const refused = pwritevCached(this.fd, this.iov, 1, 0) === EOPNOTSUPP;
    this.tellsOfWrites = refused ? undefined : 'the file system of the temporary folder can tell';
  }

  /** Removes the file and its folder, and frees the memory. */
  close(): void {
    this.#memory.unmap();
    closeSync(this.fd);
    rmSync(this.#folder, { recursive: true });
  }
}

/** An empty file, or one of one block where its file system tells of writes. */
export function openScratchFile(fill: number = 0x5a): ScratchFile {
  return new ScratchFile(fill);
}

/** @internal A writer that gives these results one after the other, and -EAGAIN after the last. */
export function scriptedWriter(results: readonly number[]): BriskWriter {
  const rest = [...results];
  const writer = new BriskWriter();
  writer.write = () => rest.shift() ?? EAGAIN;
  return writer;
}
