/**
 * Memory that a front-end shares with a back-end: one object, mapped here, with an allocator over
 * it. What a virtual machine's memory is to a VMM.
 *
 * @module
 */
import { VhostUserError } from '../util/index.ts';
import { closeFd, createSharedMemory, mapFd, viewMemory } from '../sys/index.ts';
import type { Mapping } from '../sys/index.ts';
import type { MemoryRegion } from '../memory/index.ts';
import { RangeAllocator } from './allocator.ts';

const PAGE_BYTES_MAX = 65536; // sizes are rounded up to the largest page of any host

/**
 * A range that was given out: the same bytes for the back-end (`gpa`) and for this process (`hva`).
 */
export interface SharedRange {
  readonly offset: number;
  readonly gpa: number;
  readonly hva: number;
  readonly lengthBytes: number;
}

/** One region of shared memory. Owned by whoever made it, who calls `close` after its last use. */
export class SharedMemory {
  readonly region: MemoryRegion;
  readonly #mapping: Mapping;
  readonly #allocator: RangeAllocator;
  #fd: number;

  /**
   * Makes `sizeBytes` (rounded up to whole pages) of zeroed memory, known to the back-end at `gpa`.
   */
  constructor(sizeBytes: number, gpa: number) {
    const bytes = Math.ceil(sizeBytes / PAGE_BYTES_MAX) * PAGE_BYTES_MAX;
    this.#fd = createSharedMemory(bytes, 'vhost-user-frontend');
    try {
      this.#mapping = mapFd(this.#fd, bytes, 0, { writable: true, label: 'shared memory' });
    } catch (error) {
      closeFd(this.#fd);
      throw error;
    }
    const { address } = this.#mapping;
    this.region = { gpa, sizeBytes: bytes, uva: address, hva: address };
    this.#allocator = new RangeAllocator(bytes);
  }

  /** The fd to send to the back-end, borrowed; -1 once closed. */
  get fd(): number {
    return this.#fd;
  }

  /** Bytes that are given out. */
  get takenBytes(): number {
    return this.#allocator.takenBytes;
  }

  /**
   * A range of at least `lengthBytes`, aligned. It holds whatever its last user left there.
   * @throws VhostUserError `ERR_VHU_FRONTEND_MEMORY` when there is no room for it.
   */
  allocate(lengthBytes: number, alignBytes: number): SharedRange {
    const offset = this.#allocator.allocate(lengthBytes, alignBytes);
    if (offset < 0) {
      throw new VhostUserError(
        'ERR_VHU_FRONTEND_MEMORY',
        `shared memory: ${String(lengthBytes)} bytes wanted, of ${String(this.region.sizeBytes)} ` +
          `${String(this.takenBytes)} are taken and the largest hole has ` +
          `${String(this.#allocator.largestHoleBytes)}: share more memory, or use fewer ` +
          'or smaller queues and buffers',
      );
    }
    const { gpa, hva } = this.region;
    return { offset, gpa: gpa + offset, hva: hva + offset, lengthBytes };
  }

  /** Takes a range back; neither side may use it any more. */
  release(range: SharedRange): void {
    this.#allocator.release(range.offset);
  }

  /** A view of a range, borrowed until `close`: a new ArrayBuffer at each call, so keep it. */
  view(range: SharedRange): ArrayBuffer {
    // SAFETY: the range lies in the mapping, which `close` alone takes away.
    return viewMemory(range.hva, range.lengthBytes);
  }

  /** Unmaps and closes; may be called again. SAFETY: no view or ring over it is used any more. */
  close(): void {
    const fd = this.#fd;
    if (fd < 0) return;
    this.#fd = -1;
    this.#mapping.unmap();
    closeFd(fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
