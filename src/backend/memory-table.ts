/**
 * The memory that a front-end shares: fds in, mapped regions out. Owns the mappings.
 *
 * @module
 */
import { VhostUserError, errorMessage } from '../util/index.ts';
import { closeFds, mapFd } from '../sys/index.ts';
import type { Mapping } from '../sys/index.ts';
import { GuestMemory } from '../memory/index.ts';
import type { MemoryRegion } from '../memory/index.ts';
import type { WireMemoryRegion } from '../protocol/index.ts';

/** Regions by ADD_MEM_REG (QEMU asks for at most 512, of which it keeps 3). */
export const MEM_SLOTS_MAX = 509;

const ADVICE =
  'the front-end has to share its memory, for example with QEMU ' +
  '-object memory-backend-memfd,id=mem,size=…,share=on -machine memory-backend=mem';

interface MappedRegion {
  readonly region: MemoryRegion;
  readonly mapping: Mapping;
}

/**
 * See the module. Changes are prepared first, and take the place of the old when they are adopted.
 */
export class MemoryTable {
  #mapped: readonly MappedRegion[] = [];

  /** The regions as they are now; plain data. */
  get regions(): readonly MemoryRegion[] {
    return this.#mapped.map(({ region }) => region);
  }

  /**
   * Maps a whole new table. The fds are closed in any case: a mapping does not need them.
   * @throws VhostUserError naming the region that cannot be used.
   */
  replacement(wire: readonly WireMemoryRegion[], fds: number[]): MemoryChange {
    return this.#change([], mapAll(wire, fds));
  }

  /** Maps one more region. The fd is closed in any case. */
  addition(wire: WireMemoryRegion, fds: number[]): MemoryChange {
    if (this.#mapped.length >= MEM_SLOTS_MAX) {
      closeFds(fds);
      throw new VhostUserError(
        'ERR_VHU_MEMORY_SLOTS',
        `ADD_MEM_REG: all ${String(MEM_SLOTS_MAX)} memory slots are in use`,
      );
    }
    return this.#change(this.#mapped, mapAll([wire], fds));
  }

  /** Takes the region away that has this guest address, user address and size. */
  removal(wire: WireMemoryRegion): MemoryChange {
    const rest = this.#mapped.filter(
      ({ region }) =>
        region.gpa !== wire.gpa || region.uva !== wire.uva || region.sizeBytes !== wire.sizeBytes,
    );
    if (rest.length === this.#mapped.length) {
      throw new VhostUserError(
        'ERR_VHU_MEMORY_UNKNOWN',
        `REM_MEM_REG: no region has guest address 0x${wire.gpa.toString(16)}, user address ` +
          `0x${wire.uva.toString(16)} and ${String(wire.sizeBytes)} bytes`,
      );
    }
    return this.#change(rest, []);
  }

  /** An empty table. */
  clearing(): MemoryChange {
    return this.#change([], []);
  }

  /** The host address of a front-end address, or -1 when the range is not in one region. */
  static hvaOf(regions: readonly MemoryRegion[], uva: number, lengthBytes: number): number {
    for (const region of regions) {
      const offset = uva - region.uva;
      if (offset >= 0 && offset + lengthBytes <= region.sizeBytes) return region.hva + offset;
    }
    return -1;
  }

  #change(kept: readonly MappedRegion[], added: readonly MappedRegion[]): MemoryChange {
    const next = [...kept, ...added];
    try {
      new GuestMemory(next.map(({ region }) => region)); // sizes, sums and overlaps
      checkUserAddresses(next.map(({ region }) => region));
    } catch (error) {
      for (const { mapping } of added) mapping.unmap();
      throw error;
    }
    const before = this.#mapped;
    return {
      regions: next.map(({ region }) => region),
      adopt: () => {
        this.#mapped = next;
        return () => {
          for (const each of before) if (!next.includes(each)) each.mapping.unmap();
        };
      },
      discard: () => {
        for (const { mapping } of added) mapping.unmap();
      },
    };
  }
}

/** A table that could take the place of the current one. Either `adopt` or `discard` is called. */
export interface MemoryChange {
  readonly regions: readonly MemoryRegion[];
  /** Makes it the current table; call what it returns once nothing uses the old mappings. */
  adopt(): () => void;
  discard(): void;
}

function mapAll(wire: readonly WireMemoryRegion[], fds: number[]): MappedRegion[] {
  const mapped: MappedRegion[] = [];
  try {
    wire.forEach((each, i) => mapped.push(mapOne(each, fds[i] as number, i)));
    return mapped;
  } catch (error) {
    for (const { mapping } of mapped) mapping.unmap();
    throw error;
  } finally {
    closeFds(fds);
  }
}

function mapOne(wire: WireMemoryRegion, fd: number, index: number): MappedRegion {
  const { gpa, sizeBytes, uva, mmapOffset } = wire;
  const label = `memory region ${String(index)} (guest address 0x${gpa.toString(16)})`;
  // Sums are checked before anything is mapped: a hostile size must not reach mmap.
  new GuestMemory([{ gpa, sizeBytes, uva, hva: 0 }]);
  if (!Number.isSafeInteger(mmapOffset + sizeBytes)) {
    throw new VhostUserError('ERR_VHU_MEMORY_REGION', `${label}: it ends beyond 2^53`);
  }
  try {
    const mapping = mapFd(fd, sizeBytes, mmapOffset, { writable: true, label });
    return { region: { gpa, sizeBytes, uva, hva: mapping.address }, mapping };
  } catch (error) {
    throw new VhostUserError('ERR_VHU_MEMORY_MAP', `${errorMessage(error)}; ${ADVICE}`, {
      cause: error,
    });
  }
}

function checkUserAddresses(regions: readonly MemoryRegion[]): void {
  const sorted = regions.toSorted((a, b) => a.uva - b.uva);
  sorted.forEach((region, i) => {
    const previous = sorted[i - 1];
    if (previous === undefined || previous.uva + previous.sizeBytes <= region.uva) return;
    throw new VhostUserError(
      'ERR_VHU_MEMORY_OVERLAP',
      `memory regions at user address 0x${previous.uva.toString(16)} and ` +
        `0x${region.uva.toString(16)} overlap`,
    );
  });
}
