/**
 * The control side of a vsock device.
 *
 * @module
 */
import type { Device, WorkerDataPlane } from '../../backend/index.ts';
import type { VsockPlaneOptions } from './data-plane.ts';
import { VIRTIO_ID_VSOCK, VIRTIO_VSOCK_F, VSOCK_CONFIG, VSOCK_QUEUE } from './layout.ts';
import { VsockNetwork } from './network.ts';
import { vsockSettings } from './options.ts';
import type { VsockOptions, VsockSettings } from './options.ts';

/** `.ts` when the sources run directly (Node 22.18+, Deno, Bun), else `.js`. */
const ENDING = import.meta.url.endsWith('.ts') ? '.ts' : '.js';

/** See the module; made by `openVsock`. */
export class VsockDevice implements Device {
  readonly name = 'vsock';
  readonly deviceId: number = VIRTIO_ID_VSOCK;
  readonly queueCount: number = VSOCK_QUEUE.COUNT;
  readonly queueSizeMax: number;
  readonly features: bigint;
  readonly dataPlane: WorkerDataPlane;
  readonly guestCid: number;
  readonly groups: readonly string[];
  readonly #settings: VsockSettings;
  readonly #network: VsockNetwork;

  constructor(options: VsockOptions, network: VsockNetwork) {
    const settings = vsockSettings(options);
    this.#settings = settings;
    this.guestCid = settings.guestCid;
    this.groups = settings.groups;
    this.queueSizeMax = settings.queueSize;
    this.features = VIRTIO_VSOCK_F.STREAM;
    const module = new URL(`./data-plane${ENDING}`, import.meta.url);
    const { pollUs } = settings;
    const plane: VsockPlaneOptions = { settings };
    this.dataPlane = { kind: 'worker', module, options: plane, threads: 1, pollUs };
    this.#network = network;
    network.join(this);
  }

  /** Where it listens, in words. */
  get listening(): readonly string[] {
    return this.#settings.udsPath === '' ? [] : [this.#settings.udsPath];
  }

  attach(): void {
    // Nothing is told to the data plane yet.
  }

  readConfig(): Uint8Array {
    const bytes = new Uint8Array(VSOCK_CONFIG.SIZE);
    new DataView(bytes.buffer).setUint32(VSOCK_CONFIG.guestCid, this.guestCid, true);
    return bytes;
  }

  close(): void {
    this.#network.leave(this);
  }
}
