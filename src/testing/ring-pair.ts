/**
 * Both sides of one virtqueue over private memory, in one thread: for tests of a data plane, or of a
 * driver, without sockets.
 *
 * @module
 */
import { mapAnonymous } from '../sys/index.ts';
import type { Mapping } from '../sys/index.ts';
import { GuestMemory } from '../memory/index.ts';
import { DriverRing, SplitVirtqueue, splitRingLayout } from '../virtqueue/index.ts';
import type { RingConfig } from '../virtqueue/index.ts';

/** Where the memory is for the driver and the device: above 2^32, and nothing like its host address. */
const PAIR_GPA = 0x12_3456_0000;
const PAIR_UVA = 0x7fed_0000_0000;

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
  /** Both indices begin here, as if so many chains had gone through before. */
  readonly startIndex?: number;
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
  readonly memory: GuestMemory;
  readonly driver: DriverRing;
  readonly device: SplitVirtqueue;
  readonly config: RingConfig;
  /** First byte of the room for buffers. */
  readonly dataGpa: number;
  readonly #mapping: Mapping;

  constructor(options: RingPairOptions) {
    const { size, features = 0n, indirectMax = 0, dataBytes = 4096, startIndex = 0 } = options;
    const layout = splitRingLayout(size, indirectMax);
    const mapping = mapAnonymous(layout.totalBytes + dataBytes);
    const { address: hva, lengthBytes: sizeBytes } = mapping;
    this.#mapping = mapping;
    this.memory = new GuestMemory([{ gpa: PAIR_GPA, sizeBytes, uva: PAIR_UVA, hva }]);
    this.memory.writeU16(PAIR_GPA + layout.availOffset + 2, startIndex);
    this.memory.writeU16(PAIR_GPA + layout.usedOffset + 2, startIndex);
    this.config = {
      index: 0,
      size,
      features,
      availIndex: startIndex,
      descHva: hva + layout.descOffset,
      availHva: hva + layout.availOffset,
      usedHva: hva + layout.usedOffset,
    };
    const tables = { gpa: PAIR_GPA + layout.tablesOffset, hva: hva + layout.tablesOffset };
    const indirect = { ...tables, descriptorsMax: indirectMax };
    this.driver = new DriverRing(indirectMax > 0 ? { ...this.config, indirect } : this.config);
    this.device = new SplitVirtqueue(this.config, this.memory);
    this.dataGpa = PAIR_GPA + layout.totalBytes;
  }

  /** Unmaps; neither side may be used after it. */
  close(): void {
    this.#mapping.unmap();
  }
}
