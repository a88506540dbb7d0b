/**
 * Both sides of one virtqueue over real shared memory, in one thread: for tests of a data plane, or
 * of a driver, without sockets.
 *
 * @module
 */
import { assert } from '../util/index.ts';
import { mapFd } from '../sys/index.ts';
import type { Mapping } from '../sys/index.ts';
import { GuestMemory } from '../memory/index.ts';
import type { MemoryRegion } from '../memory/index.ts';
import { DriverRing, SplitVirtqueue, splitRingLayout } from '../virtqueue/index.ts';
import type { DriverRingConfig, RingConfig, SplitRingLayout } from '../virtqueue/index.ts';
import { SharedMemory } from '../frontend/index.ts';
import type { SharedRange } from '../frontend/index.ts';
import { HostileDriver } from './hostile-driver.ts';
import { MockDriver } from './mock-driver.ts';

/**
 * Where the memory is for the driver and the device: above 2^32, and nothing like its host address.
 */
const PAIR_GPA = 0x12_3456_0000;
const PAIR_UVA = 0x7fed_0000_0000;
const PAGE_BYTES_MAX = 65536;

/** How a {@link RingPair} is made. */
export interface RingPairOptions {
  /** Entries; a power of two. */
  readonly size: number;
  /** The negotiated virtio features; none by default. */
  readonly features?: bigint;
  /** The longest indirect chain. */
  readonly indirectMax?: number;
  /** Room for buffers beside the ring. */
  readonly dataBytes?: number;
  /** Room for the buffers of a `mockDriver`, beside that; 64 KiB by default. */
  readonly bufferBytes?: number;
  /** Both indices begin here, as if so many chains had gone through before. */
  readonly startIndex?: number;
  /**
   * The device has the memory from `splitGpa` on as a second region, mapped elsewhere: for buffers
   * that cross from one region to the next.
   */
  readonly twoRegions?: boolean;
}

/**
 * One ring, its driver and its device.
 *
 * ```ts
 * const pair = new RingPair({ size: 4, dataBytes: 64 });
 * pair.driver.addChain([], [{ gpa: pair.dataGpa, lengthBytes: 5 }], 1);
 * pair.driver.publish();
 * const chain = pair.device.pop();
 * if (chain !== null) pair.device.push(chain, chain.copyToWritable(0, Buffer.from('hello')));
 * pair.device.publish();
 * pair.driver.take(); // 1
 * pair.close();
 * ```
 */
export class RingPair {
  /** The memory as the device sees it. */
  readonly memory: GuestMemory;
  /** The memory as the driver has it, for more buffers. */
  readonly shared: SharedMemory;
  readonly driver: DriverRing;
  readonly device: SplitVirtqueue;
  readonly config: RingConfig;
  /** First byte of the room for buffers. */
  readonly dataGpa: number;
  readonly dataBytes: number;
  /**
   * Where the second region begins, inside of the room for buffers; the end of memory without one.
   */
  readonly splitGpa: number;
  readonly #second: Mapping | null;
  readonly #layout: SplitRingLayout;
  readonly #ringRange: SharedRange;

  constructor(options: RingPairOptions) {
    const { size, features = 0n, indirectMax = 0, startIndex = 0, twoRegions = false } = options;
    const { bufferBytes = PAGE_BYTES_MAX } = options;
    const layout = splitRingLayout(size, indirectMax);
    const page = PAGE_BYTES_MAX;
    this.#layout = layout;
    this.dataBytes = twoRegions ? 4 * page : (options.dataBytes ?? 4096);
    this.shared = new SharedMemory(layout.totalBytes + this.dataBytes + bufferBytes, PAIR_GPA);
    const ring = this.shared.allocate(layout.totalBytes, 128);
    this.#ringRange = ring;
    this.dataGpa = this.shared.allocate(this.dataBytes, 64).gpa;
    const { sizeBytes } = this.shared.region;
    this.splitGpa = twoRegions
      ? Math.ceil((this.dataGpa + page) / page) * page
      : PAIR_GPA + sizeBytes;
    const splitOffset = this.splitGpa - PAIR_GPA;
    this.#second = twoRegions
      ? mapFd(this.shared.fd, sizeBytes - splitOffset, splitOffset, { writable: true })
      : null;
    this.memory = new GuestMemory(this.#regions(splitOffset));
    this.memory.writeU16(ring.gpa + layout.availOffset + 2, startIndex);
    this.memory.writeU16(ring.gpa + layout.usedOffset + 2, startIndex);
    const places = {
      descHva: ring.hva + layout.descOffset,
      availHva: ring.hva + layout.availOffset,
      usedHva: ring.hva + layout.usedOffset,
    };
    this.config = { index: 0, size, features, availIndex: startIndex, ...places };
    this.driver = new DriverRing(this.#driverConfig(indirectMax));
    this.device = new SplitVirtqueue(this.config, this.memory);
  }

  /** A driver that remembers what it asked and checks what it gets, on this ring and memory. */
  mockDriver(): MockDriver {
    return new MockDriver(this.driver, this.shared);
  }

  /** A driver that writes whatever it likes, on this ring and memory. */
  hostileDriver(): HostileDriver {
    const { gpa } = this.#ringRange;
    return new HostileDriver({
      memory: this.memory,
      size: this.config.size,
      descGpa: gpa + this.#layout.descOffset,
      availGpa: gpa + this.#layout.availOffset,
      usedGpa: gpa + this.#layout.usedOffset,
      scratchGpa: this.dataGpa,
      scratchBytes: this.dataBytes,
      splitGpa: this.splitGpa,
    });
  }

  /** Unmaps; neither side may be used after it. */
  close(): void {
    this.#second?.unmap();
    this.shared.close();
  }

  #driverConfig(indirectMax: number): DriverRingConfig {
    if (indirectMax === 0) return this.config;
    const { gpa, hva } = this.#ringRange;
    const at = this.#layout.tablesOffset;
    const indirect = { gpa: gpa + at, hva: hva + at, descriptorsMax: indirectMax };
    return { ...this.config, indirect };
  }

  #regions(splitOffset: number): MemoryRegion[] {
    const { gpa, sizeBytes, hva } = this.shared.region;
    const first = { gpa, sizeBytes: splitOffset, uva: PAIR_UVA, hva };
    if (this.#second === null) return [first];
    assert(splitOffset < sizeBytes, 'the split lies inside of the memory');
    const second = {
      gpa: gpa + splitOffset,
      sizeBytes: sizeBytes - splitOffset,
      uva: PAIR_UVA + 2 * sizeBytes,
      hva: this.#second.address,
    };
    return [first, second];
  }
}
