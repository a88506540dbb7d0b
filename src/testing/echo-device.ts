/**
 * A device that gives back what it is sent: the smallest one that has every part of a device, and
 * the one to try a transport with.
 *
 * @module
 */
import type { Chain, Virtqueue } from '../virtqueue/index.ts';
import { COUNTER } from '../backend/index.ts';
import type { DataPlaneContext, Device, DeviceLink, LocalDataPlane } from '../backend/index.ts';

/** An id that the virtio specification gives to nobody. */
const ECHO_DEVICE_ID = 63;

/** How an {@link EchoDevice} is made. */
export interface EchoOptions {
  /** 2 by default. */
  readonly queueCount?: number;
  /** 1024 by default. */
  readonly queueSizeMax?: number;
  /** Device feature bits; none by default. */
  readonly features?: bigint;
  /** Protocol features beyond those of every device. */
  readonly protocolFeatures?: bigint;
  /**
   * Bytes of the configuration space, 16 by default; the upper half is read-only for the driver.
   */
  readonly configBytes?: number;
  /** What is held is given back so long after a stop was asked for; 0, at once, by default. */
  readonly stopMs?: number;
}

/** See the module. Writes to the writable buffers of a chain what is in its readable ones. */
export class EchoDevice implements Device {
  readonly name = 'echo';
  readonly deviceId: number = ECHO_DEVICE_ID;
  readonly queueCount: number;
  readonly queueSizeMax: number;
  readonly features: bigint;
  readonly protocolFeatures: bigint;
  readonly dataPlane: LocalDataPlane;
  /**
   * While it is set, requests are taken and kept, until {@link release} or a stop of their queue.
   */
  hold = false;
  /** The configuration space. */
  readonly config: Uint8Array;
  /** How often it was reset. */
  resets = 0;
  closed = false;
  readonly #stopMs: number;
  readonly #held: { readonly queue: Virtqueue; readonly chain: Chain }[] = [];
  #link: DeviceLink | null = null;
  #context: DataPlaneContext | null = null;

  constructor(options: EchoOptions = {}) {
    this.queueCount = options.queueCount ?? 2;
    this.queueSizeMax = options.queueSizeMax ?? 1024;
    this.features = options.features ?? 0n;
    this.protocolFeatures = options.protocolFeatures ?? 0n;
    this.config = Uint8Array.from({ length: options.configBytes ?? 16 }, (_, i) => i + 1);
    this.#stopMs = options.stopMs ?? 0;
    this.dataPlane = {
      kind: 'local',
      create: (context) => {
        this.#context = context;
        return {
          serve: (queue, budget) => this.#serve(queue, budget),
          queueStopping: (queue) => this.#stop(queue),
        };
      },
    };
  }

  /** Requests that were taken and not given back. */
  get heldCount(): number {
    return this.#held.length;
  }

  attach(link: DeviceLink): void {
    this.#link = link;
  }

  readConfig(): Uint8Array {
    return this.config.slice();
  }

  writeConfig(offset: number, bytes: Uint8Array, kind: 'driver' | 'migration'): void {
    if (kind === 'driver' && offset + bytes.length > this.config.length / 2) {
      throw new RangeError('the upper half of the configuration space is read-only');
    }
    this.config.set(bytes, offset);
  }

  reset(): void {
    this.resets++;
  }

  close(): void {
    this.closed = true;
  }

  /** Gives back what is held, of one queue or of all. */
  release(queue?: Virtqueue): void {
    for (const held of this.#held.splice(0)) {
      if (queue !== undefined && held.queue !== queue) this.#held.push(held);
      else this.#answer(held.queue, held.chain);
    }
    this.#context?.flush();
  }

  /** Tells the front-end that the configuration space changed. */
  configChanged(): void {
    this.#link?.configChanged();
  }

  #serve(queue: Virtqueue, budget: number): number {
    let taken = 0;
    while (taken < budget) {
      const chain = queue.pop();
      if (chain === null) break;
      taken++;
      if (this.hold) this.#held.push({ queue, chain });
      else this.#answer(queue, chain);
    }
    return taken;
  }

  #answer(queue: Virtqueue, chain: Chain): void {
    const bytes = new Uint8Array(Math.min(chain.readableBytes, chain.writableBytes));
    chain.copyFromReadable(0, bytes);
    queue.push(chain, chain.copyToWritable(0, bytes));
    const counters = this.#context?.counters;
    if (counters === undefined) return;
    counters[COUNTER.requests] = (counters[COUNTER.requests] as number) + 1;
  }

  #stop(queue: Virtqueue): void {
    if (this.#stopMs === 0) this.release(queue);
    else setTimeout(() => this.release(queue), this.#stopMs);
  }
}
