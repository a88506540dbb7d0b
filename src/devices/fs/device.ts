/**
 * The control side of a shared folder.
 *
 * @module
 */
import type { Device, DeviceLink, LocalDataPlane, WorkerDataPlane } from '../../backend/index.ts';
import { protocolFeatures } from '../../protocol/index.ts';
import { fsConfigSpace } from './config.ts';
import { FsDataPlane } from './data-plane.ts';
import type { FsControl, FsPlaneOptions, FsPlaneSettings } from './data-plane.ts';
import { VIRTIO_ID_FS } from './layout.ts';
import { fsSettings } from './options.ts';
import type { FsOptions, FsSettings } from './options.ts';
import { planSource } from './source.ts';
import type { FsPlan } from './source.ts';

/** `.ts` when the sources run directly (Node 22.18+, Deno, Bun), else `.js`. */
const ENDING = import.meta.url.endsWith('.ts') ? '.ts' : '.js';

/** Calls beyond this many would only be in use when each queue is full at the same time. */
const CALLS_MAX = 4096;

/**
 * See the module; made by `openFs`.
 *
 * The guest's session, with all that it has open, outlives a reset by the driver: a front-end
 * resets the device also when it only pauses the guest. It ends when the guest mounts again or
 * unmounts, and when the front-end goes away.
 */
export class FsDevice implements Device {
  readonly name = 'fs';
  readonly deviceId: number = VIRTIO_ID_FS;
  readonly queueCount: number;
  readonly queueSizeMax: number;
  readonly features = 0n;
  readonly withheldProtocolFeatures: bigint;
  readonly dataPlane: WorkerDataPlane | LocalDataPlane;
  /** The name by which the guest mounts it. */
  readonly tag: string;
  readonly #settings: FsSettings;
  #link: DeviceLink | null = null;

  constructor(options: FsOptions) {
    const settings = fsSettings(options);
    this.#settings = settings;
    this.tag = settings.tag;
    this.queueCount = 1 + settings.requestQueues;
    this.queueSizeMax = settings.queueSize;
    this.withheldProtocolFeatures = settings.offerConfig ? 0n : protocolFeatures('CONFIG');
    this.dataPlane = this.#plane(planSource(options.source));
  }

  attach(link: DeviceLink): void {
    this.#link = link;
  }

  readConfig(): Uint8Array {
    return fsConfigSpace(this.tag, this.#settings.requestQueues);
  }

  disconnected(): void {
    const message: FsControl = { kind: 'gone' };
    this.#link?.post(message);
  }

  /** The file system is its data plane's, and closed by it. */
  close(): void {
    this.#link = null;
  }

  #plane(plan: FsPlan): WorkerDataPlane | LocalDataPlane {
    const { pollUs, readdirPlus } = this.#settings;
    const callCount = Math.min(this.queueCount * this.queueSizeMax, CALLS_MAX);
    const settings: FsPlaneSettings = { callCount, readdirPlus };
    if (plan.place === 'local') {
      return {
        kind: 'local',
        create: (context) => FsDataPlane.create(context, settings, plan.create, undefined),
      };
    }
    const options: FsPlaneOptions = {
      ...settings,
      module: plan.module.href,
      options: plan.options,
    };
    const module = new URL(`./data-plane${ENDING}`, import.meta.url);
    // One thread: what a guest knows of a file system, nodes and handles, is in one place.
    return { kind: 'worker', module, options, threads: 1, pollUs };
  }
}
