/**
 * Serves the virtqueues of a vsock device, on a worker thread.
 *
 * Each end of the host's is a socket. Bytes go between it and the guest's buffers by one system
 * call, for many buffers at once, and are copied only where a program of the host does not read.
 *
 * @module
 */
import type { Chain, Virtqueue } from '../../virtqueue/index.ts';
import { COUNTER } from '../../backend/index.ts';
import type { DataPlane, DataPlaneContext, DataPlaneFactory } from '../../backend/index.ts';
import { Flows } from './flows.ts';
import { GuestPackets } from './guest-packets.ts';
import { HostSide } from './host-side.ts';
import { VIRTIO_VSOCK_EVENT_TRANSPORT_RESET, VIRTIO_VSOCK_F, VSOCK_EVENT } from './layout.ts';
import { VSOCK_QUEUE } from './layout.ts';
import { LimitedLog } from './limited-log.ts';
import type { VsockControl, VsockPlaneOptions } from './plan.ts';

/** See the module. */
export class VsockDataPlane implements DataPlane {
  readonly #context: DataPlaneContext;
  readonly #flows: Flows;
  readonly #host: HostSide;
  readonly #packets: GuestPackets;
  readonly #event = new Uint8Array(VSOCK_EVENT.SIZE);
  #tx: Virtqueue | null = null;
  #events: Virtqueue | null = null;
  readonly #eventChains: Chain[] = [];
  /** The guest's driver knows the connections that there are here. */
  #attached = false;
  /** The guest has to be told that its connections are gone. */
  #resetWanted = false;

  constructor(context: DataPlaneContext, options: VsockPlaneOptions) {
    const { reactor, counters } = context;
    const { guestCid, bufAlloc, connectionsMax } = options;
    this.#context = context;
    this.#flows = new Flows({
      reactor,
      counters,
      guestCid,
      bufAlloc,
      connectionsMax,
      onSetUp: (slot, events) => this.#host.onSetUp(slot, events),
      onFailed: (slot, errno) => this.#host.failed(slot, errno),
      onReleased: (slot) => this.#host.released(slot),
    });
    const log = new LimitedLog((level, text) => context.log(level, text));
    this.#host = new HostSide(this.#flows, context, options, log);
    this.#packets = new GuestPackets(this.#flows, this.#host, guestCid, counters);
    new DataView(this.#event.buffer).setUint32(
      VSOCK_EVENT.id,
      VIRTIO_VSOCK_EVENT_TRANSPORT_RESET,
      true,
    );
  }

  serve(queue: Virtqueue, budget: number): number {
    if (queue.index === VSOCK_QUEUE.rx) return this.#flows.rx.collect(budget);
    if (queue.index === VSOCK_QUEUE.event) return this.#collectEvents(queue, budget);
    let taken = 0;
    for (; taken < budget; taken++) {
      const chain = queue.pop();
      if (chain === null) break;
      this.#packets.handle(queue, chain);
    }
    return taken;
  }

  /**
   * A guest that gives back the buffer of each packet need not wake us for it: only when there is
   * no buffer left. Each round takes what has come all the same.
   */
  full(queue: Virtqueue): boolean {
    if (queue.index === VSOCK_QUEUE.rx) return this.#flows.rx.count > 0;
    return queue.index === VSOCK_QUEUE.event && this.#eventChains.length > 0;
  }

  submit(): number {
    const flows = this.#flows;
    const done = flows.submit();
    if (flows.rx.tooSmall > 0) {
      this.#count(COUNTER.guestFaults, flows.rx.tooSmall);
      flows.rx.tooSmall = 0;
    }
    return done;
  }

  queueStarted(queue: Virtqueue): void {
    if (queue.index === VSOCK_QUEUE.rx) this.#flows.rx.start(queue);
    else if (queue.index === VSOCK_QUEUE.event) this.#events = queue;
    else this.#txStarted(queue);
  }

  queueStopping(queue: Virtqueue): void {
    if (queue.index === VSOCK_QUEUE.rx) this.#flows.rx.stop();
    else if (queue.index === VSOCK_QUEUE.tx) this.#flows.flushBatch();
    else this.#returnEvents(queue);
  }

  featuresNegotiated(features: bigint): void {
    const { STREAM, SEQPACKET, NO_IMPLIED_STREAM } = VIRTIO_VSOCK_F;
    // Section 5.10.3.1: STREAM is taken for granted, unless it was agreed that it is not.
    this.#flows.streamsOffered =
      (features & STREAM) !== 0n || (features & NO_IMPLIED_STREAM) === 0n;
    this.#flows.messagesOffered = (features & SEQPACKET) !== 0n;
  }

  control(message: unknown): void {
    const order = message as VsockControl;
    if (order.kind !== 'gone') {
      this.#host.told(order);
      return;
    }
    this.#flows.ends.forgetGuest();
    this.#attached = false;
    this.#resetWanted = false;
  }

  close(): void {
    this.#host.close();
    this.#flows.close();
    this.#packets.close();
  }

  /**
   * A driver that begins has sent nothing yet: it is new, and knows no connection. One that goes on
   * where it was knows those of before, which are here only if its device never went away.
   */
  #txStarted(queue: Virtqueue): void {
    const resumed = queue === this.#tx; // the same ring in other memory
    this.#tx = queue;
    if (resumed) return;
    if (queue.savedState().availIndex === 0) {
      this.#flows.ends.forgetGuest();
      this.#resetWanted = false;
    } else if (!this.#attached) {
      this.#resetWanted = true;
    }
    this.#attached = true;
    this.#sendEvent();
  }

  #collectEvents(queue: Virtqueue, budget: number): number {
    let taken = 0;
    while (taken < budget && this.#eventChains.length < queue.size) {
      const chain = queue.pop();
      if (chain === null) break;
      this.#eventChains.push(chain);
      taken++;
    }
    this.#sendEvent();
    return taken;
  }

  #sendEvent(): void {
    while (this.#resetWanted && this.#eventChains.length > 0) {
      const chain = this.#eventChains.shift() as Chain;
      if (chain.writableBytes >= VSOCK_EVENT.SIZE) {
        this.#events?.push(chain, chain.copyToWritable(0, this.#event));
        this.#resetWanted = false;
      } else {
        this.#count(COUNTER.guestFaults, 1);
        this.#events?.push(chain, 0);
      }
    }
  }

  #returnEvents(queue: Virtqueue): void {
    for (const chain of this.#eventChains.splice(0).reverse()) queue.unpop(chain);
    this.#events = null;
  }

  #count(slot: number, by: number): void {
    const { counters } = this.#context;
    counters[slot] = (counters[slot] as number) + by;
  }
}

/** The factory that the worker calls. */
export const createDataPlane: DataPlaneFactory = (context) =>
  new VsockDataPlane(context, context.options as VsockPlaneOptions);
