/**
 * What a driver can do wrong with one chain, and what looks wrong and is allowed: a table for tests
 * of any device side. It follows virtio 1.3, sections 2.7.5 and 2.7.6, and the faults that were
 * found in other implementations over the years.
 *
 * @module
 */
import {
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
} from '../virtqueue/index.ts';
import type { HostileDriver, RawDescriptor } from './hostile-driver.ts';

const NEXT = VIRTQ_DESC_F_NEXT;
const WRITE = VIRTQ_DESC_F_WRITE;
const INDIRECT = VIRTQ_DESC_F_INDIRECT;
const INDIRECT_DESC = 0x1000_0000n; // VIRTIO_F_INDIRECT_DESC
const DESC_BYTES = 16;

/** One case. The ring has at least 4 and at most 1024 entries, and nothing was offered before. */
export interface HostileChain {
  readonly name: string;
  /** The device has to serve it as if nothing were the matter. */
  readonly legal: boolean;
  /** Features that have to be negotiated for the case to mean what it says. */
  readonly features: bigint;
  /** Features that must not be. */
  readonly without: bigint;
  /** It needs memory in two regions (see `splitGpa`). */
  readonly twoRegions: boolean;
  /** Writes the chain and offers it. */
  readonly offer: (driver: HostileDriver) => void;
}

function wrong(name: string, offer: (driver: HostileDriver) => void): HostileChain {
  return { name, legal: false, features: 0n, without: 0n, twoRegions: false, offer };
}

function legal(name: string, offer: (driver: HostileDriver) => void): HostileChain {
  return { ...wrong(name, offer), legal: true };
}

function indirect(each: HostileChain): HostileChain {
  return { ...each, features: INDIRECT_DESC };
}

/** Descriptors 0, 1, … of the ring, and then head 0 is offered. */
function chain(driver: HostileDriver, descriptors: readonly RawDescriptor[]): void {
  descriptors.forEach((descriptor, i) => driver.desc(i, descriptor));
  driver.offer(0);
}

/** A table in the scratch room, behind one descriptor; `over` changes that descriptor. */
function table(
  driver: HostileDriver,
  list: readonly RawDescriptor[],
  over: RawDescriptor = {},
): void {
  const tableGpa = driver.ring.scratchGpa;
  list.forEach((descriptor, i) => driver.desc(i, descriptor, tableGpa));
  const len = list.length * DESC_BYTES;
  chain(driver, [{ addr: tableGpa, len, flags: INDIRECT, ...over }]);
}

/** A buffer behind the tables. */
function buffer(driver: HostileDriver, len = 16): RawDescriptor {
  return { addr: driver.ring.scratchGpa + 2048, len };
}

const DIRECT: readonly HostileChain[] = [
  wrong('a head beyond the table', (driver) => driver.offer(driver.ring.size)),
  wrong('a head of 65535', (driver) => driver.offer(0xffff)),
  wrong('a next beyond the table', (driver) => {
    chain(driver, [{ ...buffer(driver), flags: NEXT, next: driver.ring.size }]);
  }),
  wrong('a descriptor that goes on at itself', (driver) => {
    chain(driver, [{ ...buffer(driver), flags: NEXT, next: 0 }]);
  }),
  wrong('two descriptors that go on at each other', (driver) => {
    const to = (next: number): RawDescriptor => ({ ...buffer(driver), flags: NEXT, next });
    chain(driver, [to(1), to(0)]);
  }),
  wrong('a loop of the whole table', (driver) => {
    const { size } = driver.ring;
    const all = Array.from({ length: size }, (_, i) => i);
    chain(
      driver,
      all.map((i) => ({ ...buffer(driver), flags: NEXT, next: (i + 1) % size })),
    );
  }),
  wrong('a readable buffer after a writable one', (driver) => {
    const first = { ...buffer(driver), flags: NEXT | WRITE, next: 1 };
    chain(driver, [first, buffer(driver)]);
  }),
  wrong('a buffer outside of memory', (driver) => {
    chain(driver, [{ addr: driver.endGpa, len: 1 }]);
  }),
  wrong('a buffer that ends behind memory', (driver) => {
    chain(driver, [{ addr: driver.endGpa - 8, len: 9 }]);
  }),
  wrong('a buffer that begins in front of memory', (driver) => {
    const first = driver.ring.memory.regions[0];
    chain(driver, [{ addr: (first?.gpa ?? 0) - 8, len: 16 }]);
  }),
  wrong('a buffer of 2^32 - 1 bytes', (driver) => {
    chain(driver, [{ ...buffer(driver), len: 0xffff_ffff, flags: WRITE }]);
  }),
  wrong('buffers of more than 4 GiB together', (driver) => {
    const huge = { ...buffer(driver), len: 0xffff_ffff };
    chain(driver, [{ ...huge, flags: NEXT, next: 1 }, huge]);
  }),
  wrong('an address near 2^64, so that its end wraps', (driver) => {
    chain(driver, [{ addr: 2n ** 64n - 8n, len: 16 }]);
  }),
  wrong('an address beyond 2^53', (driver) => {
    chain(driver, [{ addr: 2n ** 60n + BigInt(driver.ring.scratchGpa), len: 16 }]);
  }),
  wrong('the same head twice', (driver) => {
    driver.desc(0, buffer(driver));
    driver.offer(0, 0);
  }),
  wrong('an index further ahead than the ring is long', (driver) => {
    driver.desc(0, buffer(driver));
    driver.offer(0);
    driver.availIndex(driver.ring.size + 1);
  }),
  wrong('an index that runs backwards', (driver) => driver.availIndex(0xffff)),
];

const INDIRECT_WRONG: readonly HostileChain[] = [
  wrong('an empty indirect table', (driver) => table(driver, [buffer(driver)], { len: 0 })),
  wrong('an indirect table of 24 bytes', (driver) => table(driver, [buffer(driver)], { len: 24 })),
  wrong('an indirect table of 4 GiB', (driver) => {
    table(driver, [{ ...buffer(driver), flags: NEXT, next: 0 }], { len: 0xffff_fff0 });
  }),
  wrong('an indirect table in an indirect table', (driver) => {
    table(driver, [{ addr: driver.ring.scratchGpa, len: 16, flags: INDIRECT }]);
  }),
  wrong('an indirect table with a next', (driver) => {
    table(driver, [buffer(driver)], { flags: INDIRECT | NEXT, next: 1 });
  }),
  wrong('an indirect table outside of memory', (driver) => {
    table(driver, [buffer(driver)], { addr: driver.endGpa });
  }),
  wrong('an indirect table that ends behind memory', (driver) => {
    const at = driver.endGpa - DESC_BYTES;
    driver.desc(0, { ...buffer(driver), flags: NEXT, next: 1 }, at);
    chain(driver, [{ addr: at, len: 2 * DESC_BYTES, flags: INDIRECT }]);
  }),
  wrong('a next beyond the indirect table', (driver) => {
    table(driver, [{ ...buffer(driver), flags: NEXT, next: 1 }]);
  }),
  wrong('an indirect table that loops', (driver) => {
    table(driver, [{ ...buffer(driver), flags: NEXT, next: 0 }]);
  }),
  wrong('a readable buffer after a writable one in a table', (driver) => {
    table(driver, [{ ...buffer(driver), flags: NEXT | WRITE, next: 1 }, buffer(driver)]);
  }),
].map(indirect);

const NOT_NEGOTIATED: HostileChain = {
  ...wrong('an indirect table that was not negotiated', (driver) =>
    table(driver, [buffer(driver)]),
  ),
  without: INDIRECT_DESC,
};

const LEGAL: readonly HostileChain[] = [
  legal('an empty buffer between two others', (driver) => {
    const { addr = 0 } = buffer(driver);
    const first = { ...buffer(driver), flags: NEXT, next: 1 };
    chain(driver, [first, { addr, len: 0, flags: NEXT, next: 2 }, buffer(driver)]);
  }),
  legal('a chain as long as the ring', (driver) => {
    const { size } = driver.ring;
    const all = Array.from({ length: size }, (_, i) => i);
    const last = size - 1;
    chain(
      driver,
      all.map((i) => ({ ...buffer(driver), flags: i < last ? NEXT : 0, next: i + 1 })),
    );
  }),
  indirect(
    legal('an indirect descriptor that says writable, which is ignored', (driver) => {
      table(driver, [buffer(driver)], { flags: INDIRECT | WRITE });
    }),
  ),
  indirect(
    legal('an indirect table behind a direct descriptor', (driver) => {
      const tableGpa = driver.ring.scratchGpa;
      driver.desc(0, buffer(driver), tableGpa);
      chain(driver, [
        { ...buffer(driver), flags: NEXT, next: 1 },
        { addr: tableGpa, len: DESC_BYTES, flags: INDIRECT },
      ]);
    }),
  ),
  indirect(
    legal('an indirect table out of order', (driver) => {
      table(driver, [
        { ...buffer(driver), flags: NEXT, next: 2 },
        { ...buffer(driver), flags: WRITE },
        { ...buffer(driver), flags: NEXT, next: 1 },
      ]);
    }),
  ),
  {
    ...legal('a buffer that crosses from one region to the next', (driver) => {
      chain(driver, [{ addr: driver.ring.splitGpa - 100, len: 300 }]);
    }),
    twoRegions: true,
  },
  {
    ...indirect(
      legal('an indirect table that crosses from one region to the next', (driver) => {
        const at = driver.ring.splitGpa - DESC_BYTES;
        driver.desc(0, { ...buffer(driver), flags: NEXT, next: 1 }, at);
        driver.desc(1, buffer(driver), at);
        chain(driver, [{ addr: at, len: 2 * DESC_BYTES, flags: INDIRECT }]);
      }),
    ),
    twoRegions: true,
  },
];

/** All cases, wrong ones first. */
export const HOSTILE_CHAINS: readonly HostileChain[] = [
  ...DIRECT,
  ...INDIRECT_WRONG,
  NOT_NEGOTIATED,
  ...LEGAL,
];
