/**
 * An honest driver for tests: it makes requests of bytes, and checks everything about their return.
 *
 * @module
 */
import { VhostUserError } from '../util/index.ts';
import type { DriverRing, Segment } from '../virtqueue/index.ts';
import type { SharedMemory, SharedRange } from '../frontend/index.ts';

/** Bytes that no device should ever leave there by chance, in front of and behind each buffer. */
const GUARD_BYTES = 16;
const GUARD = 0xa7;

/** A request that came back. */
export interface MockCompletion {
  readonly token: number;
  /** Bytes that the device says it wrote. */
  readonly usedBytes: number;
  /** The writable buffers, joined, as they are now; a copy. */
  readonly written: Uint8Array;
}

/** A buffer with its guards. */
interface Buffer {
  readonly range: SharedRange;
  readonly bytes: Uint8Array;
  readonly segment: Segment;
}

/** What is kept of a request in flight. */
interface Outstanding {
  readonly readable: readonly Buffer[];
  readonly writable: readonly Buffer[];
  readonly sent: readonly Uint8Array[];
}

/**
 * Drives one ring.
 *
 * ```ts
 * const token = driver.submit([Buffer.from('ask')], [16]);
 * if (driver.publish()) kick.signal();
 * for (const done of driver.completed()) console.log(done.token === token, done.written);
 * ```
 */
export class MockDriver {
  readonly ring: DriverRing;
  readonly #memory: SharedMemory;
  readonly #outstanding = new Map<number, Outstanding>();
  #nextToken = 0;

  /** Borrows both. */
  constructor(ring: DriverRing, memory: SharedMemory) {
    this.ring = ring;
    this.#memory = memory;
  }

  /** Requests that did not come back yet. */
  get inFlight(): number {
    return this.#outstanding.size;
  }

  /**
   * Adds a chain with one readable buffer for each of `readable`, which are copied, and one
   * writable buffer of each length in `writable`. The device does not see it before `publish`.
   * @throws VhostUserError `ERR_VHU_MOCK_RING_FULL`, `ERR_VHU_FRONTEND_MEMORY`.
   */
  submit(readable: readonly Uint8Array[], writable: readonly number[]): number {
    const token = this.#nextToken;
    const chain: Outstanding = {
      readable: readable.map((bytes) => this.#buffer(bytes.length, bytes)),
      writable: writable.map((lengthBytes) => this.#buffer(lengthBytes, null)),
      sent: readable.map((bytes) => bytes.slice()),
    };
    const segments = (list: readonly Buffer[]): Segment[] => list.map((each) => each.segment);
    if (!this.ring.addChain(segments(chain.readable), segments(chain.writable), token)) {
      this.#release(chain);
      throw new VhostUserError(
        'ERR_VHU_MOCK_RING_FULL',
        `mock driver: a chain of ${String(readable.length + writable.length)} buffers does not ` +
          `fit: ${String(this.ring.freeCount)} descriptors of ${String(this.ring.size)} are free`,
      );
    }
    this.#nextToken = (token + 1) % 2 ** 31;
    this.#outstanding.set(token, chain);
    return token;
  }

  /** Shows the device what was submitted; true when it wants a kick. */
  publish(): boolean {
    return this.ring.publish();
  }

  /**
   * Everything that came back since, in order.
   * @throws VhostUserError the ring's fault, `ERR_VHU_MOCK_OVERLONG` for a length beyond the
   * buffers,
   *   or `ERR_VHU_MOCK_OVERWRITTEN` for bytes that were not the device's to write.
   */
  completed(): MockCompletion[] {
    const list: MockCompletion[] = [];
    for (let token = this.ring.take(); token >= 0; token = this.ring.take()) {
      list.push(this.#complete(token));
    }
    const { fault } = this.ring;
    if (fault !== null) throw new VhostUserError(fault.code, fault.message);
    return list;
  }

  #complete(token: number): MockCompletion {
    const chain = this.#outstanding.get(token);
    if (chain === undefined) {
      throw new VhostUserError(
        'ERR_VHU_MOCK_TOKEN',
        `mock driver: token ${String(token)} is not ours`,
      );
    }
    this.#outstanding.delete(token);
    const written = Uint8Array.from(chain.writable.flatMap((each) => [...each.bytes]));
    const damage = findDamage(chain);
    this.#release(chain);
    if (damage !== null) {
      throw new VhostUserError(
        'ERR_VHU_MOCK_OVERWRITTEN',
        `mock driver: request ${String(token)}: the device wrote ${damage}`,
      );
    }
    if (this.ring.overlongCount > 0) {
      throw new VhostUserError(
        'ERR_VHU_MOCK_OVERLONG',
        `mock driver: request ${String(token)}: the device claims to have written more than the ` +
          `${String(written.length)} bytes that it had room for`,
      );
    }
    return { token, usedBytes: this.ring.usedBytes, written };
  }

  /** A buffer with guards around; `bytes` are copied into it. */
  #buffer(lengthBytes: number, bytes: Uint8Array | null): Buffer {
    const range = this.#memory.allocate(lengthBytes + 2 * GUARD_BYTES, GUARD_BYTES);
    const all = new Uint8Array(this.#memory.view(range)).fill(GUARD);
    const inner = all.subarray(GUARD_BYTES, GUARD_BYTES + lengthBytes);
    if (bytes !== null) inner.set(bytes);
    return { range, bytes: inner, segment: { gpa: range.gpa + GUARD_BYTES, lengthBytes } };
  }

  #release(chain: Outstanding): void {
    for (const each of [...chain.readable, ...chain.writable]) this.#memory.release(each.range);
  }
}

/** What was written that should not have been, in words. */
function findDamage(chain: Outstanding): string | null {
  for (const { bytes, range } of [...chain.readable, ...chain.writable]) {
    const all = new Uint8Array(bytes.buffer, 0, range.lengthBytes);
    const end = GUARD_BYTES + bytes.length;
    const intact = (part: Uint8Array): boolean => part.every((byte) => byte === GUARD);
    if (!intact(all.subarray(0, GUARD_BYTES))) return 'in front of a buffer';
    if (!intact(all.subarray(end))) return 'behind a buffer';
  }
  const changed = chain.readable.some((each, i) => !sameBytes(each.bytes, chain.sent[i]));
  return changed ? 'to a readable buffer' : null;
}

function sameBytes(a: Uint8Array, b: Uint8Array | undefined): boolean {
  return b !== undefined && a.length === b.length && a.every((byte, i) => byte === b[i]);
}
