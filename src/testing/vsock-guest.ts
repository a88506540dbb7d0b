/**
 * A guest's vsock driver for tests: it sends whatever packets it is told to, keeps the device
 * supplied with buffers, and hands out the packets that come.
 *
 * @module
 */
import { VhostUserError } from '../util/index.ts';
import type { MockFrontend } from './mock-frontend.ts';
import { MockGuest } from './mock-guest.ts';
import type { MockGuestOptions } from './mock-guest.ts';
import { MOCK_TIMEOUT_MS } from './mock-socket.ts';

/** `struct virtio_vsock_hdr` (virtio 1.3, section 5.10.6), and the data behind it. */
export interface VsockPacket {
  readonly srcCid: bigint;
  readonly dstCid: bigint;
  readonly srcPort: number;
  readonly dstPort: number;
  /** What the header says; other than the length of `data` only in a packet that is wrong. */
  readonly len: number;
  readonly type: number;
  readonly op: number;
  readonly flags: number;
  readonly bufAlloc: number;
  readonly fwdCnt: number;
  readonly data: Uint8Array;
}

/** How a {@link MockVsockGuest} is made. */
export interface MockVsockOptions extends MockGuestOptions {
  readonly guestCid: number;
  /** Buffers for packets of the device; half of the ring by default. */
  readonly rxCount?: number;
  /** The length of each; 4096 by default. */
  readonly rxBytes?: number;
  /** What it says of its own buffer in each packet; 65536 by default. */
  readonly bufAlloc?: number;
}

const HEADER_BYTES = 44;
const MEMORY_BYTES = 8 * 1024 * 1024;
const HOST_CID = 2n;
const [RX, TX, EVENT] = [0, 1, 2] as const;
const EVENT_COUNT = 8;
const EVENT_BYTES = 4;

/** See the module. Owns the guest's memory, borrows the front-end, which has negotiated. */
export class MockVsockGuest {
  readonly guest: MockGuest;
  readonly guestCid: number;
  readonly #options: MockVsockOptions;
  readonly #received: VsockPacket[] = [];

  constructor(frontend: MockFrontend, options: MockVsockOptions) {
    this.guest = new MockGuest(frontend, { memoryBytes: MEMORY_BYTES, ...options });
    this.guestCid = options.guestCid;
    this.#options = options;
  }

  /**
   * Shares the memory and starts the queues, from these indices on where a driver had them before.
   */
  async start(availBases: readonly [number, number, number] = [0, 0, 0]): Promise<void> {
    const { guest } = this;
    await guest.shareMemory();
    const rx = await guest.startQueue(RX, availBases[RX]);
    await guest.startQueue(TX, availBases[TX]);
    const event = await guest.startQueue(EVENT, availBases[EVENT]);
    const { rxCount = rx.raw.size / 2, rxBytes = 4096 } = this.#options;
    this.supply(rxCount, rxBytes);
    for (let i = 0; i < EVENT_COUNT; i++) event.driver.submit([], [EVENT_BYTES]);
    event.publish();
  }

  /** Gives the device more buffers. */
  supply(count: number, bytes: number): void {
    const rx = this.guest.queue(RX);
    for (let i = 0; i < count; i++) rx.driver.submit([], [bytes]);
    rx.publish();
  }

  /** Sends a packet in one buffer, or in pieces of these lengths and a rest. */
  send(packet: Partial<VsockPacket>, pieces: readonly number[] = []): void {
    const bytes = this.encode(packet);
    const parts: Uint8Array[] = [];
    let at = 0;
    for (const length of pieces) {
      parts.push(bytes.subarray(at, at + length));
      at += length;
    }
    if (at < bytes.length) parts.push(bytes.subarray(at));
    this.sendRaw(parts);
  }

  /** Sends buffers as they are. */
  sendRaw(parts: readonly Uint8Array[]): void {
    const tx = this.guest.queue(TX);
    tx.driver.completed(); // frees what has come back
    tx.driver.submit(parts, []);
    tx.publish();
  }

  /** The bytes of a packet; what is left out is what an honest guest would say, or 0. */
  encode(packet: Partial<VsockPacket>): Uint8Array {
    const { data = new Uint8Array(0) } = packet;
    const bytes = new Uint8Array(HEADER_BYTES + data.length);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0, packet.srcCid ?? BigInt(this.guestCid), true);
    view.setBigUint64(8, packet.dstCid ?? HOST_CID, true);
    view.setUint32(16, packet.srcPort ?? 0, true);
    view.setUint32(20, packet.dstPort ?? 0, true);
    view.setUint32(24, packet.len ?? data.length, true);
    view.setUint16(28, packet.type ?? 1, true);
    view.setUint16(30, packet.op ?? 0, true);
    view.setUint32(32, packet.flags ?? 0, true);
    view.setUint32(36, packet.bufAlloc ?? this.#options.bufAlloc ?? 65_536, true);
    view.setUint32(40, packet.fwdCnt ?? 0, true);
    bytes.set(data, HEADER_BYTES);
    return bytes;
  }

  /**
   * Waits for the next packet; its buffer is replaced by another one.
   * @throws VhostUserError `ERR_VHU_MOCK_TIMEOUT`.
   */
  async receive(timeoutMs: number = MOCK_TIMEOUT_MS): Promise<VsockPacket> {
    const endMs = performance.now() + timeoutMs;
    for (;;) {
      this.#collect();
      const packet = this.#received.shift();
      if (packet !== undefined) return packet;
      const restMs = endMs - performance.now();
      if (restMs <= 0) {
        throw new VhostUserError(
          'ERR_VHU_MOCK_TIMEOUT',
          `mock: no packet came within ${String(timeoutMs)} ms`,
        );
      }
      const rx = this.guest.queue(RX);
      if (!rx.raw.ring.enableInterrupts()) await rx.waitForCall(restMs);
    }
  }

  /** The packets that have come and were not received; waits for none. */
  pending(): VsockPacket[] {
    this.#collect();
    return this.#received.splice(0);
  }

  /** Waits for an event of the event queue, and returns its id. */
  async receiveEvent(timeoutMs: number = MOCK_TIMEOUT_MS): Promise<number> {
    const [done] = await this.guest.queue(EVENT).completions(1, timeoutMs);
    const bytes = done?.written ?? new Uint8Array(EVENT_BYTES);
    return new DataView(bytes.buffer).getUint32(0, true);
  }

  /** Frees its memory; close the front-end before. */
  close(): void {
    this.guest.close();
  }

  #collect(): void {
    const rx = this.guest.queue(RX);
    const { rxBytes = 4096 } = this.#options;
    const done = rx.driver.completed();
    for (const { written, usedBytes } of done) {
      if (usedBytes >= HEADER_BYTES) this.#received.push(decode(written.subarray(0, usedBytes)));
      rx.driver.submit([], [rxBytes]);
    }
    if (done.length > 0) rx.publish();
  }
}

function decode(bytes: Uint8Array): VsockPacket {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return {
    srcCid: view.getBigUint64(0, true),
    dstCid: view.getBigUint64(8, true),
    srcPort: view.getUint32(16, true),
    dstPort: view.getUint32(20, true),
    len: view.getUint32(24, true),
    type: view.getUint16(28, true),
    op: view.getUint16(30, true),
    flags: view.getUint32(32, true),
    bufAlloc: view.getUint32(36, true),
    fwdCnt: view.getUint32(40, true),
    data: bytes.slice(HEADER_BYTES),
  };
}
