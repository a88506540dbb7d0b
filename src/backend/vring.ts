/**
 * One ring as the front-end has described it: what the messages said, and whether it runs.
 *
 * @module
 */
import { VhostUserError } from '../util/index.ts';
import { closeFd, closeFds, dupFd } from '../sys/index.ts';
import type { MemoryRegion } from '../memory/index.ts';
import { ALIGNMENT, availRingBytes, descTableBytes, usedRingBytes } from '../virtqueue/index.ts';
import type { RingPlacement } from '../virtqueue/index.ts';
import { MemoryTable } from './memory-table.ts';

/** Addresses of SET_VRING_ADDR, in the front-end's address space. */
export interface RingAddresses {
  readonly desc: number;
  readonly avail: number;
  readonly used: number;
}

/** An fd that a message brought: not yet any, none wanted, or one that the ring owns. */
export type RingFd = number | 'none' | null;

/** See the module. `stopped` and `started` are the specification's ring states. */
export class Vring {
  readonly index: number;
  size = 0;
  addresses: RingAddresses | null = null;
  availIndex = 0;
  enabled = false;
  started = false;
  /** Kept until the ring has started; then the runner has it. A stopped ring needs another one. */
  kickFd: RingFd = null;
  /** The ring's own; the runner has copies. They outlast a stop. */
  callFd: RingFd = null;
  errFd: RingFd = null;

  constructor(index: number) {
    this.index = index;
  }

  /**
   * Whether all is there that a ring needs to run: SET_VRING_KICK, _NUM and _ADDR have come, in any
   * order.
   */
  get complete(): boolean {
    return this.kickFd !== null && this.size > 0 && this.addresses !== null;
  }

  /** Replaces an fd that the ring holds, and closes the old one. */
  setFd(which: 'kickFd' | 'callFd' | 'errFd', fd: RingFd): void {
    const old = this[which];
    if (typeof old === 'number') closeFd(old);
    this[which] = fd;
  }

  /**
   * Copies of all fds for the runner, -1 where there is none; the ring keeps its own.
   * @throws SystemError when this process has no fd left; the ring is as before.
   */
  copyFds(): { readonly kickFd: number; readonly callFd: number; readonly errFd: number } {
    const copies: number[] = [];
    try {
      for (const fd of [this.kickFd, this.callFd, this.errFd]) copies.push(copyOf(fd));
    } catch (error) {
      closeFds(copies.filter((fd) => fd >= 0));
      throw error;
    }
    const [kickFd, callFd, errFd] = copies as [number, number, number];
    return { kickFd, callFd, errFd };
  }

  /** Closes all fds and forgets what the front-end said, but not whether the ring is enabled. */
  forget(): void {
    for (const which of ['kickFd', 'callFd', 'errFd'] as const) this.setFd(which, null);
  }

  /**
   * Where the ring is in our memory.
   * @throws VhostUserError `ERR_VHU_RING_ADDRESS` when a part is misaligned or not inside one
   *   region.
   */
  placement(regions: readonly MemoryRegion[]): RingPlacement {
    const { index, size, addresses } = this;
    if (addresses === null) throw ringError(index, 'it has no addresses (SET_VRING_ADDR)');
    const { desc, avail, used } = addresses;
    return {
      index,
      descHva: locate(index, regions, 'descriptor table', desc, descTableBytes(size), 'desc'),
      availHva: locate(index, regions, 'available ring', avail, availRingBytes(size), 'avail'),
      usedHva: locate(index, regions, 'used ring', used, usedRingBytes(size), 'used'),
    };
  }
}

/** A copy of an fd for the runner, or -1. */
export function copyOf(fd: RingFd): number {
  return typeof fd === 'number' ? dupFd(fd) : -1;
}

function locate(
  index: number,
  regions: readonly MemoryRegion[],
  what: string,
  uva: number,
  lengthBytes: number,
  part: keyof typeof ALIGNMENT,
): number {
  const at = `0x${uva.toString(16)}`;
  const hva = MemoryTable.hvaOf(regions, uva, lengthBytes);
  // Also where it is here, which differs when a region's address and offset in its file do not lie
  // alike in a page: an atomic access that is not aligned ends the process on some machines.
  if (uva % ALIGNMENT[part] !== 0 || (hva >= 0 && hva % ALIGNMENT[part] !== 0)) {
    throw ringError(
      index,
      `the ${what} at ${at} is not aligned to ${String(ALIGNMENT[part])} bytes`,
    );
  }
  if (hva >= 0) return hva;
  throw ringError(
    index,
    `the ${what} of ${String(lengthBytes)} bytes at front-end address ${at} is not inside one ` +
      'memory region of the memory table',
  );
}

function ringError(index: number, text: string): VhostUserError {
  return new VhostUserError('ERR_VHU_RING_ADDRESS', `queue ${String(index)}: ${text}`);
}
