/**
 * The control side of a vsock device.
 *
 * @module
 */
import { lookup } from 'node:dns/promises';
import { closeFd, hasUnixSeqpacket, raiseFdLimit } from '../../sys/index.ts';
import type { Device, DeviceLink, WorkerDataPlane } from '../../backend/index.ts';
import type { VsockDataPlane } from './data-plane.ts';
import { VIRTIO_ID_VSOCK, VIRTIO_VSOCK_F, VSOCK_CONFIG, VSOCK_QUEUE } from './layout.ts';
import { Listeners } from './listeners.ts';
import type { VsockNetwork } from './network.ts';
import { vsockSettings } from './options.ts';
import type { VsockOptions, VsockSettings } from './options.ts';
import type {
  NameQuestion,
  SiblingCall,
  VsockControl,
  VsockPlaneOptions,
  VsockReport,
} from './plan.ts';

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
  /** The guest's context id. */
  readonly guestCid: number;
  /** The groups that it is in. */
  readonly groups: readonly string[];
  readonly #network: VsockNetwork;
  readonly #listeners: Listeners;
  #link: DeviceLink | null = null;

  constructor(options: VsockOptions, network: VsockNetwork) {
    const settings = vsockSettings(options);
    this.guestCid = settings.guestCid;
    this.groups = settings.groups;
    this.queueSizeMax = settings.queueSize;
    this.features = VIRTIO_VSOCK_F.STREAM | VIRTIO_VSOCK_F.NO_IMPLIED_STREAM;
    if (settings.seqpacket ?? hasUnixSeqpacket()) this.features |= VIRTIO_VSOCK_F.SEQPACKET;
    raiseFdLimit(); // each connection is one
    this.#network = network;
    network.join(this);
    try {
      this.#listeners = new Listeners(settings);
    } catch (error) {
      network.leave(this);
      throw error;
    }
    this.dataPlane = planeOf(settings, this.#listeners);
  }

  /** Where it listens for connections to the guest, in words. */
  get listening(): readonly string[] {
    return this.#listeners.planned.map(({ name }) => name);
  }

  attach(link: DeviceLink): void {
    this.#link = link;
  }

  readConfig(): Uint8Array {
    const bytes = new Uint8Array(VSOCK_CONFIG.SIZE);
    new DataView(bytes.buffer).setUint32(VSOCK_CONFIG.guestCid, this.guestCid, true);
    return bytes;
  }

  disconnected(): void {
    this.#post({ kind: 'gone' });
  }

  told(message: unknown): void {
    const report = message as VsockReport;
    if (report.kind === 'call') this.#put(report.call);
    else void this.#resolve(report);
  }

  /** @internal Another guest calls this one. */
  called(call: SiblingCall): void {
    if (this.#link === null) closeFd(call.fd);
    else this.#post({ kind: 'call', call });
  }

  close(): void {
    this.#network.leave(this);
    this.#link = null;
    this.#listeners.close();
  }

  /** Puts a call through, or hangs up, which the caller's data plane sees at its own end. */
  #put(call: SiblingCall): void {
    const sibling = this.#network.sibling(this, call.toCid);
    if (sibling === null) closeFd(call.fd);
    else sibling.called(call);
  }

  async #resolve({ slot, serial, host }: NameQuestion): Promise<void> {
    let addresses: string[] = [];
    try {
      addresses = (await lookup(host, { all: true })).map(({ address }) => address);
    } catch {
      // The guest is refused, and the data plane says why.
    }
    this.#post({ kind: 'resolved', slot, serial, host, addresses });
  }

  #post(message: VsockControl): void {
    this.#link?.post(message);
  }
}

function planeOf(settings: VsockSettings, listeners: Listeners): WorkerDataPlane {
  const options: VsockPlaneOptions = {
    guestCid: settings.guestCid,
    udsPath: settings.udsPath,
    forwards: settings.forwards,
    listeners: listeners.planned,
    siblings: settings.groups.length > 0,
    bufAlloc: settings.txBufferBytes,
    connectionsMax: settings.connectionsMax,
  };
  const module = new URL(`./data-plane${ENDING}`, import.meta.url);
  // One thread: a connection's two halves are in one place.
  return { kind: 'worker', module, options, threads: 1, pollUs: settings.pollUs };
}

/** The module that the worker loads, by its type. */
export type VsockPlane = VsockDataPlane;
