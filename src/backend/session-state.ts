/**
 * What a session knows, and what its handlers share: one object for one connection.
 *
 * @module
 */
import { VhostUserError } from '../util/index.ts';
import type { RingPlacement } from '../virtqueue/index.ts';
import { protocolFeatures, virtioFeatures } from '../protocol/index.ts';
import type { PayloadKind, Payloads } from '../protocol/index.ts';
import { BackendRequests } from './backend-requests.ts';
import type { Device } from './device.ts';
import type { BackendEvents } from './events.ts';
import { MemoryTable } from './memory-table.ts';
import type { MemoryChange } from './memory-table.ts';
import type { QueueRunner } from './runner/index.ts';
import { Vring } from './vring.ts';

/** Virtio features that the transport brings to every device. */
const TRANSPORT_FEATURES = virtioFeatures(
  'VERSION_1',
  'INDIRECT_DESC',
  'EVENT_IDX',
  'PROTOCOL_FEATURES',
);

/** Protocol features that every device has. */
const PROTOCOL_FEATURES = protocolFeatures(
  'MQ',
  'REPLY_ACK',
  'BACKEND_REQ',
  'CONFIG',
  'RESET_DEVICE',
  'CONFIGURE_MEM_SLOTS',
  'STATUS',
);

/** VIRTIO_CONFIG_S_NEEDS_RESET (virtio 1.3, section 2.1). */
const STATUS_NEEDS_RESET = 0x40;

/** See the module. Owns the mappings, the rings' fds and the back-end's request socket. */
export class SessionState {
  readonly device: Device;
  readonly runner: QueueRunner;
  readonly events: BackendEvents;
  readonly memory: MemoryTable = new MemoryTable();
  readonly rings: readonly Vring[];
  /** Negotiated; 0 until SET_FEATURES. */
  features = 0n;
  /** Negotiated; 0 until SET_PROTOCOL_FEATURES. */
  protocolFeatures = 0n;
  backendRequests: BackendRequests | null = null;
  #status = 0;
  #needsReset = false;

  constructor(device: Device, runner: QueueRunner, events: BackendEvents) {
    this.device = device;
    this.runner = runner;
    this.events = events;
    this.rings = Array.from({ length: device.queueCount }, (_, index) => new Vring(index));
  }

  /** What GET_FEATURES answers. */
  get offeredFeatures(): bigint {
    return this.device.features | TRANSPORT_FEATURES;
  }

  /** What GET_PROTOCOL_FEATURES answers. */
  get offeredProtocolFeatures(): bigint {
    const { protocolFeatures: more = 0n, withheldProtocolFeatures: less = 0n } = this.device;
    return (PROTOCOL_FEATURES | more) & ~less;
  }

  /** The device status field, with NEEDS_RESET when a ring was broken. */
  get status(): number {
    return this.#needsReset ? this.#status | STATUS_NEEDS_RESET : this.#status;
  }

  set status(status: number) {
    this.#status = status;
  }

  /** A ring was broken: the driver has to reset the device to get it back. */
  ringBroken(): void {
    this.#needsReset = true;
  }

  /** @throws VhostUserError when the device has no queue of that index. */
  ring(index: number): Vring {
    const ring = this.rings[index];
    if (ring !== undefined) return ring;
    throw new VhostUserError(
      'ERR_VHU_QUEUE_INDEX',
      `there is no queue ${String(index)}: this ${this.device.name} device has ` +
        `${String(this.rings.length)}, numbered from 0 (raise its --num-queues, or lower the ` +
        "front-end's)",
    );
  }

  /**
   * Starts a ring that is complete and does not run yet. When that fails the ring is as before; the
   * caller takes back what has made it complete, so that it does not start later by itself.
   */
  async startIfComplete(ring: Vring): Promise<void> {
    if (ring.started || !ring.complete) return;
    const placement = ring.placement(this.memory.regions);
    const fds = ring.copyFds();
    ring.started = true;
    const { size, availIndex, enabled } = ring;
    const config = { ...placement, size, availIndex, features: this.features };
    try {
      await this.runner.startRing({ config, ...fds, enabled });
    } catch (error) {
      ring.started = false;
      throw error;
    }
    ring.setFd('kickFd', 'none'); // it had one, and the runner has it
  }

  /**
   * Completes what a running ring has in flight and stops it. A new SET_VRING_KICK starts it again.
   */
  async stop(ring: Vring): Promise<void> {
    if (ring.started) {
      const { availIndex } = await this.runner.stopRing(ring.index);
      ring.availIndex = availIndex;
      ring.started = false;
    }
    ring.setFd('kickFd', null);
  }

  /** Enables or disables a ring, running or not. */
  async enable(ring: Vring, enabled: boolean): Promise<void> {
    if (ring.enabled === enabled) return;
    if (ring.started) await this.runner.setEnabled(ring.index, enabled);
    ring.enabled = enabled;
  }

  /**
   * Puts a prepared memory table in the place of the current one. Running rings move with it.
   * @throws VhostUserError when a running ring would lose its memory; the old table then stays.
   */
  async changeMemory(change: MemoryChange): Promise<void> {
    let placements: RingPlacement[];
    try {
      const running = this.rings.filter((ring) => ring.started);
      placements = running.map((ring) => ring.placement(change.regions));
    } catch (error) {
      change.discard();
      throw error;
    }
    // This fails when a thread has ended. Others may have moved by then: nothing is unmapped,
    // neither the old nor the new, by a back-end that has failed as a whole.
    await this.runner.setMemory(change.regions, placements);
    const unmapOld = change.adopt();
    unmapOld();
  }

  /** Stops and disables all rings and resets the device: what a driver's reset means. */
  async reset(): Promise<void> {
    for (const ring of this.rings) {
      await this.stop(ring);
      ring.enabled = false;
      ring.availIndex = 0; // the driver makes the ring anew
    }
    this.#status = 0;
    this.#needsReset = false;
    this.device.reset?.();
  }

  /**
   * The front-end is gone: releases everything. The memory stays mapped when a ring cannot be
   * stopped, since whoever serves it may still use it.
   */
  async release(): Promise<void> {
    try {
      await this.reset();
      this.device.disconnected?.();
      await this.changeMemory(this.memory.clearing());
    } finally {
      for (const ring of this.rings) ring.forget();
      this.backendRequests?.close();
      this.backendRequests = null;
    }
  }
}

/** What a handler answers with. Its fds are lent for the sending. */
export interface HandlerReply<K extends PayloadKind = PayloadKind> {
  readonly kind: K;
  readonly payload: Payloads[K];
}

/** A reply of this kind. */
export function reply<K extends PayloadKind>(kind: K, payload: Payloads[K]): HandlerReply {
  return { kind, payload };
}

/**
 * Carries out one message. `values` are decoded and checked against the message's row; a handler
 * takes the fds that it wants out of `fds`, and the session closes those that are left. Throwing a
 * VhostUserError refuses the message.
 */
export type Handler<K extends PayloadKind> = (
  state: SessionState,
  values: Payloads[K],
  fds: number[],
) => HandlerReply | undefined | Promise<HandlerReply | undefined>;

/** A handler under the number of its message. */
export type HandlerEntry = readonly [request: number, handler: Handler<PayloadKind>];

/** Ties a handler to its message. The message's row says that `values` are of kind `K`. */
export function handle<K extends PayloadKind>(request: number, handler: Handler<K>): HandlerEntry {
  return [request, handler as Handler<PayloadKind>];
}
